// Misspelt words find the one that was meant, and nothing where nothing is near.
#include "lib/nearest.h"

#include <string.h>

#include <criterion/criterion.h>

static const char *nearest(const char *typed)
{
	static const char *const WORDS[] = { "status", "ledger", "plan", "apply", "version", "per-key", "key" };
	struct lib_nearest nearest;
	lib_nearest_begin(&nearest, typed);
	for (size_t i = 0; i < sizeof(WORDS) / sizeof(*WORDS); i++)
		lib_nearest_offer(&nearest, WORDS[i]);
	return nearest.word ? nearest.word : "-";
}

Test(nearest, is_the_word_that_was_meant)
{
	cr_expect_str_eq(nearest("stauts"), "status");
	cr_expect_str_eq(nearest("statuss"), "status");
	cr_expect_str_eq(nearest("aply"), "apply");
	cr_expect_str_eq(nearest("plna"), "plan");
	cr_expect_str_eq(nearest("stat"), "status"); // not typed to its end
	cr_expect_str_eq(nearest("perkey"), "per-key");
	cr_expect_str_eq(nearest("ke"), "key");
}

Test(nearest, is_none_where_nothing_is_near)
{
	char endless[1000];
	memset(endless, 's', sizeof(endless));
	endless[999] = 0;
	cr_expect_str_eq(nearest("frobnicate"), "-");
	cr_expect_str_eq(nearest("x"), "-");
	cr_expect_str_eq(nearest(""), "-");
	cr_expect_str_eq(nearest(endless), "-");
}
