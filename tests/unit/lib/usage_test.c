// A program of three options and a command, called as users call programs: with every name of help, with letters swapped,
// with arguments forgotten. What it says is read back.
#include "lib/usage.h"

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

static const struct option OPTIONS[] = {
	{ "socket", required_argument, NULL, 256 },
	{ "json", no_argument, NULL, 257 },
	{ "watch", optional_argument, NULL, 258 },
	{ NULL, 0, NULL, 0 },
};

static void help(FILE *out)
{
	fputs("the help\n", out);
}

static char *said, *complained;

// How parsing the words ends; what was said is in the two texts.
static int parse(char *const *words)
{
	struct lib_program program = {
		.name = "tool", .version = "1.2", .help = help, .options = OPTIONS, .has_commands = true,
	};
	FILE *out = stdout, *err = stderr;
	char *copy[8] = { NULL };
	size_t sizes[2];
	int count = 0, answer;
	for (; words[count]; count++)
		copy[count] = words[count];
	stdout = open_memstream(&said, &sizes[0]);
	stderr = open_memstream(&complained, &sizes[1]);
	optind = 0;
	lib_usage_begin(&program, count, copy);
	do
		answer = lib_usage_next(&program, count, copy, NULL);
	while (answer >= 0);
	fclose(stdout);
	fclose(stderr);
	stdout = out;
	stderr = err;
	return answer;
}

#define PARSE(...) parse((char *const[]){ "tool", __VA_ARGS__, NULL })

Test(usage, help_and_version_have_every_name_that_people_try)
{
	cr_expect_eq(PARSE("--help"), LIB_OPTIONS_DONE);
	cr_expect_str_eq(said, "the help\n");
	cr_expect_eq(PARSE("-h"), LIB_OPTIONS_DONE);
	cr_expect_str_eq(said, "the help\n");
	cr_expect_eq(PARSE("help"), LIB_OPTIONS_DONE);
	cr_expect_str_eq(said, "the help\n");
	cr_expect_eq(PARSE("--version"), LIB_OPTIONS_DONE);
	cr_expect_str_eq(said, "tool 1.2\n");
	cr_expect_str_eq(complained, "");
	// Arguments and later words are not looked at.
	cr_expect_eq(PARSE("--socket", "--help"), LIB_OPTIONS_END);
	cr_expect_eq(PARSE("command", "help"), LIB_OPTIONS_END);
	cr_expect_eq(PARSE("--", "--help"), LIB_OPTIONS_END);
}

static void wrong(char *const *words, const char *wanted)
{
	cr_expect_eq(parse(words), LIB_OPTIONS_WRONG);
	cr_expect_str_eq(said, "");
	cr_expect_str_eq(complained, wanted);
}

#define WRONG(wanted, ...) wrong((char *const[]){ "tool", __VA_ARGS__, NULL }, wanted)

Test(usage, a_wrong_option_is_named_and_the_one_that_was_meant)
{
	WRONG("tool: --sokcet: cannot use it: there is no such option. Fix: --socket; tool --help says what there is\n",
	      "command", "--sokcet=x");
	WRONG("tool: --frobnicate: cannot use it: there is no such option. Fix: tool --help says what there is\n",
	      "--frobnicate");
	WRONG("tool: -x: cannot use it: there is no such option. Fix: tool --help says what there is\n", "command", "-xy");
	WRONG("tool: --socket: cannot use it: its argument is missing. Fix: tool --help says what there is\n", "--socket");
	WRONG("tool: --help: cannot use it: it takes no argument. Fix: tool --help says what there is\n", "--help=3");
}

Test(usage, with_json_mistakes_are_json_wherever_it_stands)
{
	static const char WANTED[] =
		"{\"error\":{\"object\":\"--wathc\",\"action\":\"use it\",\"reason\":\"there is no such option\","
		"\"fix\":\"--watch; tool --help says what there is\",\"file\":null,\"line\":null,\"column\":null}}\n";
	cr_expect_eq(PARSE("--wathc", "--json"), LIB_OPTIONS_WRONG);
	cr_expect_str_eq(said, WANTED);
	cr_expect_eq(PARSE("--json", "--wathc"), LIB_OPTIONS_WRONG);
	cr_expect_str_eq(said, WANTED);
	cr_expect_str_eq(complained, "");
	cr_expect_eq(PARSE("--socket", "--", "--json"), LIB_OPTIONS_END);
}

Test(usage, numbers_are_digits_within_their_bounds)
{
	uint64_t number = 0;
	cr_expect(lib_usage_number("18446744073709551615", 0, UINT64_MAX, &number));
	cr_expect_eq(number, UINT64_MAX);
	static const char *const NONE[] = { "", "-1", " 1", "+1", "1x", "0x1", "18446744073709551616", "9" };
	for (size_t i = 0; i < sizeof(NONE) / sizeof(*NONE); i++)
		cr_expect_not(lib_usage_number(NONE[i], 10, UINT64_MAX, &number), "%s", NONE[i]);
}
