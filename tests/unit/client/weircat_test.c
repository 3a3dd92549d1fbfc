// What weircat writes: files by key, whatever the names, and lines of JSON, whatever the payload. weircat's own sources,
// without its main().
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "client/weircat/weircat.h"

static char folder[64];

static void setup(void)
{
	snprintf(folder, sizeof(folder), "/tmp/weircat-test-XXXXXX");
	cr_assert_not_null(mkdtemp(folder));
}

// Removes what is in the folder and returns how many files there were.
static int files_remove(void)
{
	int count = 0;
	DIR *directory = opendir(folder);
	for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory)) {
		char path[512];
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		count += unlink(path) == 0;
	}
	closedir(directory);
	return count;
}

static void teardown(void)
{
	files_remove();
	rmdir(folder);
}

TestSuite(weircat, .init = setup, .fini = teardown);

static void write_text(struct cat_keyfiles *files, const char *subject, const char *text, uint16_t type)
{
	struct weir_view view = { .key = 0xabc, .payload = text, .payload_size = (uint32_t)strlen(text), .type = type };
	cr_assert_eq(cat_keyfiles_write(files, &view, subject, strlen(subject)), 0, "%s", subject);
}

static void content_check(const char *name, const char *wanted)
{
	char path[512];
	char content[256] = { 0 };
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *file = fopen(path, "r");
	cr_assert_not_null(file, "no file %s", path);
	size_t size = fread(content, 1, sizeof(content) - 1, file);
	fclose(file);
	cr_assert_eq(size, strlen(wanted));
	cr_assert_str_eq(content, wanted);
}

Test(weircat, lines_come_back_as_they_were)
{
	struct cat_keyfiles *files = cat_keyfiles_open(folder);
	write_text(files, "a", "", CAT_TYPE_FILE);
	write_text(files, "a", "one", 0);
	write_text(files, "a", "", 0);
	write_text(files, "a", "long ", CAT_TYPE_UNENDED);
	write_text(files, "a", "line", 0);
	write_text(files, "a", "last", CAT_TYPE_UNENDED);
	write_text(files, "empty", "", CAT_TYPE_FILE);
	cr_assert_eq(cat_keyfiles_flush(files), 0);
	content_check("a", "one\n\nlong line\nlast");
	content_check("empty", "");
	cr_assert_eq(cat_keyfiles_close(files), 0);
}

Test(weircat, names_stay_in_the_folder)
{
	struct cat_keyfiles *files = cat_keyfiles_open(folder);
	char longest[1000];
	memset(longest, 'x', sizeof(longest));
	longest[999] = 0;
	write_text(files, "/usr/include/a b.h", "x", 0);
	write_text(files, "..", "x", 0);
	write_text(files, ".", "x", 0);
	write_text(files, "../../etc/passwd", "x", 0);
	write_text(files, "\xff\n", "x", 0);
	write_text(files, "", "x", 0);
	write_text(files, longest, "x", 0);
	cr_assert_eq(cat_keyfiles_close(files), 0);
	content_check("%2Fusr%2Finclude%2Fa%20b.h", "x\n");
	content_check("%2E%2E", "x\n");
	content_check("%2E", "x\n");
	content_check("..%2F..%2Fetc%2Fpasswd", "x\n");
	content_check("%FF%0A", "x\n");
	content_check("key-0000000000000abc", "x\n");
	cr_assert_eq(files_remove(), 7);
}

Test(weircat, more_keys_than_open_files_lose_nothing)
{
	struct cat_keyfiles *files = cat_keyfiles_open(folder);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 600; i++) {
			char name[16];
			snprintf(name, sizeof(name), "file%d", i);
			write_text(files, name, name, 0);
		}
	}
	cr_assert_eq(cat_keyfiles_close(files), 0);
	content_check("file0", "file0\nfile0\nfile0\n");
	content_check("file599", "file599\nfile599\nfile599\n");
	cr_assert_eq(files_remove(), 600);
}

static void json_check(const void *payload, uint32_t size, const char *wanted)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);
	struct weir_view view = { .key = 18446744073709551615ull, .payload = payload, .payload_size = size, .shard = 3 };
	cat_json_write(out, &view, NULL, 0);
	fclose(out);
	const char *tail = strstr(text, "\"payload");
	cr_assert_not_null(tail);
	cr_expect_str_eq(tail, wanted);
	cr_expect_eq(strncmp(text, "{\"key\":18446744073709551615,\"shard\":3,", 38), 0, "%s", text);
	free(text);
}

Test(weircat, json_is_text_where_it_can_be_and_base64_elsewhere)
{
	json_check("abc", 3, "\"payload\":\"abc\"}\n");
	json_check("", 0, "\"payload\":\"\"}\n");
	json_check("\"\\\n\x01", 4, "\"payload\":\"\\\"\\\\\\u000a\\u0001\"}\n");
	json_check("h\xc3\xa9", 3, "\"payload\":\"h\xc3\xa9\"}\n");
	json_check("\xff\xfe\xfd", 3, "\"payload_base64\":\"//79\"}\n");
	json_check("\xff", 1, "\"payload_base64\":\"/w==\"}\n");
	json_check("\xff\x00", 2, "\"payload_base64\":\"/wA=\"}\n");
	json_check("\xc0\x80", 2, "\"payload_base64\":\"wIA=\"}\n");         // overlong
	json_check("\xed\xa0\x80", 3, "\"payload_base64\":\"7aCA\"}\n");     // a surrogate
	json_check("\xf4\x90\x80\x80", 4, "\"payload_base64\":\"9JCAgA==\"}\n"); // beyond the last character
	json_check("ab\xc3", 3, "\"payload_base64\":\"YWLD\"}\n");           // cut
}
