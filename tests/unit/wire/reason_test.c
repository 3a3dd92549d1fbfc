// Reason numbers are on the wire and on disk in people's dashboards: they never change.
#include "wire/reason.h"

#include <stdint.h>
#include <string.h>

#include <criterion/criterion.h>

Test(reason, numbers_stay_what_they_are)
{
	cr_assert_eq(WEIR_R_NONE, 0);
	cr_assert_eq(WEIR_R_CRC, 8);
	cr_assert_eq(WEIR_R_NO_SESSION, 12);
	cr_assert_eq(WEIR_R_NO_TOPIC, 17);
	cr_assert_eq(WEIR_R_NO_STREAM, 21);
	cr_assert_eq(WEIR_R_SIZE, 26);
	cr_assert_eq(WEIR_R_FULL, 30);
	cr_assert_eq(WEIR_R_BUSY, 33);
	cr_assert_eq(WEIR_R_LOST, 37);
	cr_assert_eq(WEIR_R_ABANDONED, 38);
	cr_assert_eq(WEIR_R_DUPLICATE_HELLO, 47);
	cr_assert_eq(WEIR_R_LATE, 48);
	cr_assert_eq(WEIR_R_MEMBERS, 51);
	cr_assert_eq(WEIR_R_EPOCH, 49);
	cr_assert_eq(WEIR_R_QUOTA, 50);
	cr_assert_eq(WEIR_R_NOT_OFFERED, 52);
	cr_assert_eq(WEIR_R_PAUSED, 53);
	cr_assert_eq(WEIR_R_JOURNAL, 54);
	cr_assert_eq(WEIR_R_ELSEWHERE, 55);
	cr_assert_eq(WEIR_R_WRITER, 56);
	cr_assert_eq(WEIR_R_REJECTED, 57);
	cr_assert_eq(WEIR_R_EXHAUSTED, 58);
	cr_assert_eq(WEIR_R_AUTH, 59);
	cr_assert_eq(WEIR_R_REPLAY, 60);
}

Test(reason, names_are_distinct_and_spelled_for_configuration)
{
	for (unsigned i = 0; i < WEIR_REASON_COUNT; i++) {
		const char *name = weir_reason_name(i);
		cr_assert_gt(strlen(name), 0);
		cr_assert_eq(strspn(name, "abcdefghijklmnopqrstuvwxyz-"), strlen(name), "%s", name);
		cr_assert_gt(strlen(weir_reason_text(i)), 0);
		for (unsigned j = 0; j < i; j++)
			cr_assert_str_neq(name, weir_reason_name(j));
	}
}

Test(reason, of_a_later_version_is_unknown_and_harmless)
{
	cr_assert_str_eq(weir_reason_name(WEIR_REASON_COUNT), "unknown");
	cr_assert_str_eq(weir_reason_name(UINT32_MAX), "unknown");
	cr_assert_gt(strlen(weir_reason_text(65535)), 0);
	cr_assert_eq(weir_reason_class(65535), WEIR_REASON_FRAME);
}

Test(reason, classes_say_what_a_producer_does)
{
	cr_assert_eq(weir_reason_class(WEIR_R_FULL), WEIR_REASON_RETRY);
	cr_assert_eq(weir_reason_class(WEIR_R_NO_STREAM), WEIR_REASON_RETRY);
	cr_assert_eq(weir_reason_class(WEIR_R_SIZE), WEIR_REASON_FINAL);
	cr_assert_eq(weir_reason_class(WEIR_R_FENCED), WEIR_REASON_FINAL);
	cr_assert_eq(weir_reason_class(WEIR_R_NOT_OFFERED), WEIR_REASON_FINAL);
	cr_assert_eq(weir_reason_class(WEIR_R_PAUSED), WEIR_REASON_RETRY);
	cr_assert_eq(weir_reason_class(WEIR_R_JOURNAL), WEIR_REASON_RETRY);
	cr_assert_eq(weir_reason_class(WEIR_R_ELSEWHERE), WEIR_REASON_RETRY);
	cr_assert_eq(weir_reason_class(WEIR_R_WRITER), WEIR_REASON_FINAL);
	cr_assert_eq(weir_reason_class(WEIR_R_REJECTED), WEIR_REASON_DROP);
	cr_assert_eq(weir_reason_class(WEIR_R_EXHAUSTED), WEIR_REASON_DROP);
	cr_assert_eq(weir_reason_class(WEIR_R_AUTH), WEIR_REASON_FRAME);
	cr_assert_eq(weir_reason_class(WEIR_R_REPLAY), WEIR_REASON_FRAME);
	cr_assert_eq(weir_reason_class(WEIR_R_LOST), WEIR_REASON_SKIP);
	cr_assert_eq(weir_reason_class(WEIR_R_CUT_LOOSE), WEIR_REASON_DROP);
	cr_assert_eq(weir_reason_class(WEIR_R_CRC), WEIR_REASON_FRAME);
}
