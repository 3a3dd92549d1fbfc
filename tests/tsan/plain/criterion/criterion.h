// The part of Criterion that the threaded unit tests use, without Criterion, whose shared arena does not start under the
// thread sanitizer. The same test sources are built against this header: each test runs in its own process, one after the
// other, and prints TAP.
#ifndef WEIR_PLAIN_CRITERION_H
#define WEIR_PLAIN_CRITERION_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct plain_test {
	const char *suite;
	const char *name;
	void (*run)(void);
	struct plain_test *next;
};

extern struct plain_test *plain_tests;
extern bool plain_has_failed; // in the test's own process

#define Test(suite_, name_, ...)                                                                 \
	static void suite_##_##name_(void);                                                      \
	__attribute__((constructor)) static void suite_##_##name_##_register(void)               \
	{                                                                                        \
		static struct plain_test test = { #suite_, #name_, suite_##_##name_, NULL };     \
		test.next = plain_tests;                                                         \
		plain_tests = &test;                                                             \
	}                                                                                        \
	static void suite_##_##name_(void)

__attribute__((format(printf, 4, 5))) void plain_report(const char *file, int line, const char *claim, const char *format, ...);

// The message is optional, as in Criterion.
#define PLAIN_CHECK(is_fatal_, claim_, text_, ...)                                               \
	do {                                                                                     \
		if (!(claim_)) {                                                                 \
			plain_report(__FILE__, __LINE__, text_, " " __VA_ARGS__);                \
			if (is_fatal_)                                                           \
				_exit(1);                                                        \
		}                                                                                \
	} while (0)

#define cr_assert(a, ...) PLAIN_CHECK(true, a, #a, __VA_ARGS__)
#define cr_assert_not(a, ...) PLAIN_CHECK(true, !(a), "not " #a, __VA_ARGS__)
#define cr_assert_eq(a, b, ...) PLAIN_CHECK(true, (a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...) PLAIN_CHECK(true, (a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...) PLAIN_CHECK(true, (a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_assert_not_null(a, ...) PLAIN_CHECK(true, (a) != NULL, #a " is not NULL", __VA_ARGS__)
#define cr_expect(a, ...) PLAIN_CHECK(false, a, #a, __VA_ARGS__)
#define cr_expect_not(a, ...) PLAIN_CHECK(false, !(a), "not " #a, __VA_ARGS__)
#define cr_expect_eq(a, b, ...) PLAIN_CHECK(false, (a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_expect_str_eq(a, b, ...) PLAIN_CHECK(false, strcmp(a, b) == 0, #a " == " #b, __VA_ARGS__)
#define cr_expect_neq(a, b, ...) PLAIN_CHECK(false, (a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_expect_gt(a, b, ...) PLAIN_CHECK(false, (a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_expect_geq(a, b, ...) PLAIN_CHECK(false, (a) >= (b), #a " >= " #b, __VA_ARGS__)
#define cr_expect_lt(a, b, ...) PLAIN_CHECK(false, (a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_expect_null(a, ...) PLAIN_CHECK(false, (a) == NULL, #a " is NULL", __VA_ARGS__)
#define cr_expect_not_null(a, ...) PLAIN_CHECK(false, (a) != NULL, #a " is not NULL", __VA_ARGS__)

#endif
