// What weircat writes: files by key, whatever the names, and lines of JSON, whatever the payload. weircat's own sources,
// without its main().
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "client/weircat/weircat.h"

int cat_fail(const struct cat_options *of, const char *format, ...)
{
	(void)of;
	(void)format;
	return CAT_FAILED;
}

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

static void write_text(struct cat_keyfiles *files, const char *subject, const char *text, enum cat_mark mark)
{
	struct weir_view view = { .key = 0xabc, .payload = text, .payload_size = (uint32_t)strlen(text) };
	uint8_t attributes[64];
	view.attributes = attributes;
	if (mark)
		cr_assert_eq(cat_mark_put(attributes, sizeof(attributes), &view.attributes_size, mark), 0);
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
	write_text(files, "a", "", CAT_MARK_FILE);
	write_text(files, "a", "one", 0);
	write_text(files, "a", "", 0);
	write_text(files, "a", "long ", CAT_MARK_UNENDED);
	write_text(files, "a", "line", 0);
	write_text(files, "a", "last", CAT_MARK_UNENDED);
	write_text(files, "empty", "", CAT_MARK_FILE);
	cr_assert_eq(cat_keyfiles_flush(files), 0);
	content_check("a", "one\n\nlong line\nlast");
	content_check("empty", "");
	cr_assert_eq(cat_keyfiles_close(files), 0);
}

// The type is the application's: whatever it says, a line is a line. So are its own attributes.
Test(weircat, no_type_and_no_attribute_of_others_is_a_mark)
{
	static const char OTHERS[] = "weircat:something";
	struct cat_keyfiles *files = cat_keyfiles_open(folder);
	uint8_t attributes[256];
	struct weir_view view = { .payload = "x", .payload_size = 1, .attributes = attributes };
	for (unsigned id = WEIR_ATTRIBUTE_USER; id <= 255; id += 127) {
		struct weir_attribute attribute = { .id = (uint16_t)id, .value = OTHERS, .size = sizeof(OTHERS) - 1 };
		cr_assert_eq(weir_attribute_put(attributes, sizeof(attributes), &view.attributes_size, &attribute), 0);
	}
	for (unsigned type = 0; type < 64; type++) {
		view.type = (uint16_t)type;
		cr_assert_eq(cat_mark_get(&view), CAT_MARK_NONE);
		cr_assert_eq(cat_keyfiles_write(files, &view, "types", 5), 0);
	}
	cr_assert_eq(cat_keyfiles_close(files), 0);
	char wanted[129] = "";
	for (int i = 0; i < 64; i++)
		strcat(wanted, "x\n");
	content_check("types", wanted);
}

Test(weircat, a_mark_is_found_behind_what_else_there_is)
{
	uint8_t attributes[2040];
	char name[2040 - CAT_MARK_ROOM - 4];
	struct weir_view view = { .attributes = attributes };
	struct weir_attribute subject = { .id = WEIR_ATTRIBUTE_SUBJECT, .value = name, .size = sizeof(name) };
	memset(name, 'n', sizeof(name));
	cr_assert_eq(weir_attribute_put(attributes, sizeof(attributes), &view.attributes_size, &subject), 0);
	cr_assert_eq(cat_mark_put(attributes, sizeof(attributes), &view.attributes_size, CAT_MARK_UNENDED), 0);
	cr_assert_eq(cat_mark_get(&view), CAT_MARK_UNENDED);
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

static void many_keys_check(int rounds, int keys)
{
	struct cat_keyfiles *files = cat_keyfiles_open(folder);
	for (int round = 0; round < rounds; round++) {
		for (int i = 0; i < keys; i++) {
			char name[16];
			snprintf(name, sizeof(name), "file%d", i);
			write_text(files, name, name, 0);
		}
	}
	cr_assert_eq(cat_keyfiles_close(files), 0);
}

Test(weircat, more_keys_than_open_files_lose_nothing)
{
	many_keys_check(3, 600);
	content_check("file0", "file0\nfile0\nfile0\n");
	content_check("file599", "file599\nfile599\nfile599\n");
	cr_assert_eq(files_remove(), 600);
}

// Programs that read numbers as doubles change what is beyond 2^53, and say nothing.
Test(weircat, json_has_numbers_of_64_bits_as_strings)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);
	struct weir_view view = { .key = 0x0ac7093f4700b5db, .shard = 3, .offset = 7, .term = 2, .producer = 1, .type = 5,
				  .sequence = 1ull << 63, .append_ns = 255, .payload = "x", .payload_size = 1 };
	cat_json_write(out, &view, "a\"b", 3);
	fclose(out);
	cr_expect_str_eq(text, "{\"key\":\"0x0ac7093f4700b5db\",\"shard\":3,\"offset\":7,\"term\":2,"
			       "\"producer\":\"0x0000000000000001\",\"sequence\":\"0x8000000000000000\",\"type\":5,"
			       "\"append_ns\":\"0x00000000000000ff\",\"redelivered\":false,\"subject\":\"a\\\"b\","
			       "\"payload\":\"x\"}\n");
	free(text);
}

Test(weircat, fewer_descriptors_than_keys_lose_nothing)
{
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = 16;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	many_keys_check(3, 100);
	content_check("file0", "file0\nfile0\nfile0\n");
	content_check("file99", "file99\nfile99\nfile99\n");
	cr_assert_eq(files_remove(), 100);
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
	cr_expect_eq(strncmp(text, "{\"key\":\"0xffffffffffffffff\",\"shard\":3,", 38), 0, "%s", text);
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
