// Attributes and keys as applications put them together and take them apart: what was put comes back, what does not fit or
// is no attribute changes nothing. What comes in is a stranger's, so lengths lie and end early here.
// No client is needed.
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "client/weir.h"

static struct weir_attribute text(unsigned id, const char *value)
{
	return (struct weir_attribute){ .id = (uint16_t)id, .value = value, .size = (uint16_t)strlen(value) };
}

Test(attribute, what_was_put_comes_back_in_order)
{
	uint8_t bytes[256];
	memset(bytes, 0xaa, sizeof(bytes));
	uint16_t size = 0;
	const struct weir_attribute put[] = { text(WEIR_ATTRIBUTE_SUBJECT, "car 7"), text(WEIR_ATTRIBUTE_TYPE, "position"),
					      text(WEIR_ATTRIBUTE_SUBJECT, "another"), text(200, "") };
	for (int i = 0; i < 4; i++)
		cr_assert_eq(weir_attribute_put(bytes, sizeof(bytes), &size, &put[i]), 0);
	cr_assert_eq(size, 16 + 16 + 16 + 8);
	struct weir_attribute found = { 0 };
	for (int i = 0; i < 4; i++) {
		cr_assert_eq(weir_attribute_next(bytes, size, &found), 0);
		cr_expect_eq(found.id, put[i].id);
		cr_assert_eq(found.size, put[i].size);
		cr_expect_arr_eq(found.value, put[i].value, found.size);
	}
	cr_expect_eq(weir_attribute_next(bytes, size, &found), -ENOENT);
	cr_assert_eq(weir_attribute_get(bytes, size, WEIR_ATTRIBUTE_SUBJECT, &found), 0);
	cr_expect_arr_eq(found.value, "car 7", 5, "the first counts");
	cr_expect_eq(weir_attribute_get(bytes, size, WEIR_ATTRIBUTE_TIME, &found), -ENOENT);
	cr_expect_eq(bytes[9] | bytes[10] | bytes[15], 0, "what fills up to 8 bytes is zero");
}

Test(attribute, layout_is_that_of_the_protocol)
{
	uint8_t bytes[16] = { 0 };
	uint16_t size = 0;
	struct weir_attribute id = text(WEIR_ATTRIBUTE_ID, "id-1");
	cr_assert_eq(weir_attribute_put(bytes, sizeof(bytes), &size, &id), 0);
	cr_expect_eq(size, 8);
	cr_expect_arr_eq(bytes, "\x01\x00\x04\x00id-1", 8);
}

Test(attribute, what_does_not_fit_changes_nothing)
{
	uint8_t bytes[4096];
	static const char LONG[2048];
	uint16_t size = 0;
	struct weir_attribute attribute = { .id = 128, .value = LONG, .size = 2037 };
	cr_expect_eq(weir_attribute_put(bytes, sizeof(bytes), &size, &attribute), -ENOSPC, "an event has room for 2040 bytes");
	attribute.size = UINT16_MAX;
	cr_expect_eq(weir_attribute_put(bytes, sizeof(bytes), &size, &attribute), -ENOSPC);
	attribute.size = 2036;
	cr_expect_eq(weir_attribute_put(bytes, 2039, &size, &attribute), -ENOSPC, "nor is there more than the buffer");
	cr_expect_eq(size, 0);
	cr_expect_eq(weir_attribute_put(bytes, sizeof(bytes), &size, &attribute), 0);
	cr_expect_eq(size, 2040);
	attribute.size = 0;
	cr_expect_eq(weir_attribute_put(bytes, sizeof(bytes), &size, &attribute), -ENOSPC);
	cr_expect_eq(size, 2040);
}

Test(attribute, an_id_that_cannot_be_is_refused)
{
	uint8_t bytes[64];
	uint16_t size = 0;
	struct weir_attribute attribute = { .id = 0, .value = "x", .size = 1 };
	cr_expect_eq(weir_attribute_put(bytes, sizeof(bytes), &size, &attribute), -EINVAL);
	attribute.id = 256;
	cr_expect_eq(weir_attribute_put(bytes, sizeof(bytes), &size, &attribute), -EINVAL);
	attribute = (struct weir_attribute){ .id = 1, .size = 1 };
	cr_expect_eq(weir_attribute_put(bytes, sizeof(bytes), &size, &attribute), -EINVAL, "a value that is nowhere");
	cr_expect_eq(size, 0);
}

// Every way to cut or to lie about a length ends, and within the bytes: the sanitizers watch.
Test(attribute, a_strangers_bytes_are_not_believed)
{
	uint8_t bytes[16];
	uint16_t size = 0;
	struct weir_attribute attribute = text(WEIR_ATTRIBUTE_SOURCE, "123456");
	cr_assert_eq(weir_attribute_put(bytes, sizeof(bytes), &size, &attribute), 0);
	struct weir_attribute found = { 0 };
	for (size_t cut = 1; cut < size; cut++)
		cr_expect_eq(weir_attribute_next(bytes, cut, &found), -EBADMSG, "%zu bytes", cut);
	for (unsigned length = 13; length <= UINT16_MAX; length++) {
		memcpy(bytes + 2, &(uint16_t){ (uint16_t)length }, 2);
		cr_assert_eq(weir_attribute_get(bytes, size, WEIR_ATTRIBUTE_SOURCE, &found), -EBADMSG, "%u", length);
	}
	memset(bytes, 0, sizeof(bytes));
	cr_expect_eq(weir_attribute_get(bytes, size, 1, &found), -EBADMSG, "id 0 is no attribute");
	cr_expect_null(found.value);
}

Test(attribute, the_key_of_a_text_is_that_of_the_protocol)
{
	cr_expect_eq(weir_key("positions", 9), 0x0ac7093f4700b5dbull);
	cr_expect_eq(weir_key("", 0), 0xcbf29ce484222325ull);
}
