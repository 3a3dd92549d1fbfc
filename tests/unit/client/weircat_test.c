// What weircat writes: files by key, whatever the names, and lines of JSON, whatever payload and attributes. What it makes of
// the attributes of its command line. weircat's own sources, without its main().
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

// ---- Attributes ----

static const char *attributes_json(const struct weir_view *view)
{
	static char text[8192];
	char *line = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&line, &length);
	cat_attributes_write(out, view);
	fclose(out);
	snprintf(text, sizeof(text), "%s", line);
	free(line);
	return text;
}

static void attributes_check(const struct cat_attributes *attributes, const char *wanted)
{
	const struct weir_view view = { .attributes = attributes->bytes, .attributes_size = attributes->size };
	cr_expect_str_eq(attributes_json(&view), wanted);
	cr_expect_eq(attributes->need, attributes->size);
}

Test(weircat, what_the_command_line_gives_is_what_json_shows)
{
	static const char *const OPTIONS[] = {
		"id=7", "source=/ships", "subject=a \"b\"", "schema=s", "correlation=c", "traceparent=00-1",
		"content-type=text/csv", "time=2026-11-28T18:00:00Z", "dataref=file:///x", "causation=6", "region=eu=west",
		"3d=no number", "128=own", "254=\xff",
	};
	struct cat_attributes attributes = { 0 };
	for (size_t i = 0; i < sizeof(OPTIONS) / sizeof(*OPTIONS); i++)
		cr_expect_null(cat_attribute_parse(&attributes, OPTIONS[i]), "%s", OPTIONS[i]);
	cr_expect_null(cat_attribute_add(&attributes, WEIR_ATTRIBUTE_TYPE, "ship.moved"));
	cr_expect_null(cat_attribute_add(&attributes, WEIR_ATTRIBUTE_KEY, "h\xc3\xa9"));
	attributes_check(&attributes,
			 ",\"attributes\":{\"id\":\"7\",\"source\":\"/ships\",\"subject\":\"a \\\"b\\\"\",\"schema\":\"s\","
			 "\"correlation\":\"c\",\"traceparent\":\"00-1\",\"content-type\":\"text/csv\","
			 "\"time\":\"2026-11-28T18:00:00Z\",\"dataref\":\"file:///x\",\"causation\":\"6\","
			 "\"region\":\"eu=west\",\"3d\":\"no number\",\"128\":\"own\",\"254_base64\":\"/w==\","
			 "\"type\":\"ship.moved\",\"key\":\"h\xc3\xa9\"}");
}

// Ids as they go over the wire: a wrong one would come back from the same table unseen.
Test(weircat, names_have_the_ids_of_the_protocol)
{
	static const struct {
		const char *option;
		unsigned id;
		const char *value;
		uint16_t size;
	} WANTED[] = {
		{ "id=v", 1, "v", 1 }, { "source=v", 2, "v", 1 }, { "subject=v", 3, "v", 1 }, { "schema=v", 4, "v", 1 },
		{ "correlation=v", 5, "v", 1 }, { "traceparent=v", 6, "v", 1 }, { "content-type=v", 7, "v", 1 },
		{ "time=v", 9, "v", 1 }, { "dataref=v", 11, "v", 1 }, { "causation=v", 12, "v", 1 },
		{ "ext=v", 13, "ext\0v", 5 }, { "200=", 200, "", 0 },
	};
	for (size_t i = 0; i < sizeof(WANTED) / sizeof(*WANTED); i++) {
		struct cat_attributes attributes = { 0 };
		struct weir_attribute found = { 0 };
		cr_assert_null(cat_attribute_parse(&attributes, WANTED[i].option), "%s", WANTED[i].option);
		cr_assert_eq(weir_attribute_next(attributes.bytes, attributes.size, &found), 0);
		cr_expect(found.id == WANTED[i].id && found.size == WANTED[i].size, "%s: id %u", WANTED[i].option, found.id);
		cr_expect_eq(memcmp(found.value, WANTED[i].value, found.size), 0, "%s", WANTED[i].option);
	}
}

Test(weircat, what_is_no_attribute_is_refused_with_its_reason)
{
	static const char *const WRONG[][2] = {
		{ "source", "NAME=VALUE" }, { "=x", "NAME=VALUE" }, { "", "NAME=VALUE" }, { "source=", "empty" },
		{ "region=", "empty" },
		{ "source=\xff", "UTF-8" }, { "region=\xff", "UTF-8" }, { "Region=x", "a name is" }, { "a-b=x", "a name is" },
		{ "a b=x", "a name is" }, { "0=x", "128 to 254" }, { "13=x", "128 to 254" }, { "127=x", "128 to 254" },
		{ "255=x", "128 to 254" }, { "1280=x", "128 to 254" }, { "18446744073709551744=x", "128 to 254" },
		{ "type=x", "--type" }, { "key=x", "--key-text" }, { "datacontenttype=x", "content-type" },
		{ "dataschema=x", "schema" }, { "data=x", "payload" }, { "specversion=1.0", "CloudEvents" },
		{ "id=again", "twice" }, { "region=again", "twice" },
	};
	struct cat_attributes attributes = { 0 };
	cr_assert_null(cat_attribute_parse(&attributes, "id=1"));
	cr_assert_null(cat_attribute_parse(&attributes, "region=eu"));
	for (size_t i = 0; i < sizeof(WRONG) / sizeof(*WRONG); i++) {
		const char *reason = cat_attribute_parse(&attributes, WRONG[i][0]);
		cr_expect(reason && strstr(reason, WRONG[i][1]), "%s: %s", WRONG[i][0], reason);
	}
	attributes_check(&attributes, ",\"attributes\":{\"id\":\"1\",\"region\":\"eu\"}");
}

// Where they do not fit, what they need is still known to the byte.
Test(weircat, attributes_without_room_are_counted)
{
	static char longest[70000];
	struct cat_attributes attributes = { 0 };
	memset(longest, 'x', 2036);
	cr_assert_null(cat_attribute_add(&attributes, WEIR_ATTRIBUTE_ID, longest));
	cr_expect(attributes.need == 2040 && attributes.size == 2040);
	cr_assert_null(cat_attribute_parse(&attributes, "200="));
	cr_expect(attributes.need == 2048 && attributes.size == 2040, "%u", attributes.need);
	memset(longest, 'x', 4000);
	longest[1] = '=';
	cr_assert_null(cat_attribute_parse(&attributes, longest));
	cr_expect(attributes.need == 2048 + 4008 && attributes.size == 2040, "%u", attributes.need);
	memset(longest, 'x', sizeof(longest) - 1);
	cr_expect_not_null(cat_attribute_add(&attributes, WEIR_ATTRIBUTE_SOURCE, longest));
}

static void put(struct weir_view *view, uint8_t *attributes, unsigned id, const char *value, uint16_t size)
{
	struct weir_attribute attribute = { .id = (uint16_t)id, .value = value, .size = size };
	view->attributes = attributes;
	cr_assert_eq(weir_attribute_put(attributes, CAT_ATTRIBUTES_MAX, &view->attributes_size, &attribute), 0);
}

Test(weircat, json_has_each_name_of_the_attributes_once)
{
	uint8_t attributes[CAT_ATTRIBUTES_MAX];
	struct weir_view view = { 0 };
	put(&view, attributes, 200, "a", 1);
	put(&view, attributes, 2, "first", 5);
	put(&view, attributes, 200, "\xff", 1);
	put(&view, attributes, 13, "ext\0one", 7);
	put(&view, attributes, 200, "b", 1);
	put(&view, attributes, 2, "second", 6);
	put(&view, attributes, 13, "ext\0two", 7);
	put(&view, attributes, 13, "exte\0", 5);
	put(&view, attributes, 200, "c", 1);
	cr_expect_str_eq(attributes_json(&view),
			 ",\"attributes\":{\"200\":[\"a\",\"b\",\"c\"],\"source\":[\"first\",\"second\"],"
			 "\"200_base64\":\"/w==\",\"ext\":[\"one\",\"two\"],\"exte\":\"\"}");
}

// A stranger's extension takes no name that means something else, and breaks no line.
Test(weircat, json_shows_extensions_without_a_name_as_they_came)
{
	uint8_t attributes[CAT_ATTRIBUTES_MAX];
	struct weir_view view = { 0 };
	put(&view, attributes, 13, "source\0x", 8);
	put(&view, attributes, 13, "128\0x", 5);
	put(&view, attributes, 13, "\0x", 2);
	put(&view, attributes, 13, "Up\0x", 4);
	put(&view, attributes, 13, "noend", 5);
	put(&view, attributes, 13, "", 0);
	cr_expect_str_eq(attributes_json(&view), ",\"attributes\":{\"13\":[\"source\\u0000x\",\"128\\u0000x\",\"\\u0000x\","
						 "\"Up\\u0000x\",\"noend\",\"\"]}");
}

Test(weircat, json_shows_unknown_ids_and_no_mark_twice)
{
	uint8_t attributes[CAT_ATTRIBUTES_MAX];
	struct weir_view view = { 0 };
	cr_expect_str_eq(attributes_json(&view), "");
	view.attributes = attributes;
	cr_assert_eq(cat_mark_put(attributes, sizeof(attributes), &view.attributes_size, CAT_MARK_FILE), 0);
	cr_expect_str_eq(attributes_json(&view), "");
	put(&view, attributes, 255, "other", 5);
	put(&view, attributes, 14, "x", 1);
	cr_expect_str_eq(attributes_json(&view), ",\"attributes\":{\"255\":\"other\",\"14\":\"x\"}");
}

Test(weircat, json_says_where_attributes_are_none)
{
	uint8_t attributes[CAT_ATTRIBUTES_MAX] = { 0 };
	struct weir_view view = { .attributes = attributes, .attributes_size = 8 };
	cr_expect_str_eq(attributes_json(&view), ",\"attributes_broken\":true");
	view.attributes_size = 0;
	put(&view, attributes, 1, "1", 1);
	memset(attributes + view.attributes_size, 0xff, 8);
	view.attributes_size += 8;
	cr_expect_str_eq(attributes_json(&view), ",\"attributes\":{\"id\":\"1\"},\"attributes_broken\":true");
}
