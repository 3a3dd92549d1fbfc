// What goes into a JSON document can be read back, whatever bytes it was made of.
#include "lib/json.h"

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

static void check(void (*write)(FILE *, const void *, size_t), const char *bytes, size_t size, const char *wanted)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);
	write(out, bytes, size);
	fclose(out);
	cr_expect_str_eq(text, wanted);
	free(text);
}

Test(json, a_string_is_text_whatever_its_bytes_are)
{
	check(lib_json_string_write, "a\"\\\n\x01h\xc3\xa9", 8, "\"a\\\"\\\\\\u000a\\u0001h\xc3\xa9\"");
	check(lib_json_string_write, "a\xff" "b", 3, "\"a\xef\xbf\xbd" "b\"");
	check(lib_json_string_write, "\xc3", 1, "\"\xef\xbf\xbd\"");
	check(lib_json_string_write, "", 0, "\"\"");
}

Test(json, text_is_what_rfc_3629_says)
{
	cr_expect(lib_json_is_text("h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 10));
	cr_expect(lib_json_is_text("", 0));
	cr_expect(lib_json_is_text("a\0b", 3));
	cr_expect_not(lib_json_is_text("\xc0\x80", 2), "overlong");
	cr_expect_not(lib_json_is_text("\xed\xa0\x80", 3), "a surrogate");
	cr_expect_not(lib_json_is_text("\xf4\x90\x80\x80", 4), "beyond the last character");
	cr_expect_not(lib_json_is_text("ab\xc3", 3), "cut");
}

Test(json, base64_has_its_padding)
{
	check(lib_json_base64_write, "\xff\xfe\xfd", 3, "\"//79\"");
	check(lib_json_base64_write, "\xff\x00", 2, "\"/wA=\"");
	check(lib_json_base64_write, "\xff", 1, "\"/w==\"");
}
