// Claims about where terms begin: never below what was given before, whatever restarts, reboots and clocks do, and without a
// write for each of them.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/daemon/terms.h"
#include "dataplane/core/message.h"

#define S 1000000000ull
#define WALL (1795000000ull * S) // in 2026

static char folder[] = "/tmp/weir-terms-XXXXXX";
static char path[128];
static struct weir_terms terms;

static void setup(void)
{
	cr_assert_not_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/state/r1.terms", folder);
}

static void teardown(void)
{
	char command[256];
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	cr_expect_eq(system(command), 0);
}

TestSuite(terms, .init = setup, .fini = teardown);

static ino_t file_number(void)
{
	struct stat found;
	return stat(path, &found) == 0 ? found.st_ino : 0;
}

// The highest term that a place can have after so long.
static uint64_t highest(uint32_t base, uint64_t seconds)
{
	return (uint64_t)base + WEIR_TERMS_BURST + seconds;
}

Test(terms, grow_over_restarts_whatever_the_clocks_say)
{
	uint64_t last = 0;
	static const struct {
		uint64_t wall_ns, now_ns, lives_s;
	} LIVES[] = {
		{ WALL, 1000 * S, 5 },         { WALL + 5 * S, 1005 * S, 4000 }, { WALL + 4005 * S, 10 * S, 1 },
		{ WALL - 900000 * S, 2 * S, 90 }, { 0, 1 * S, 20000 },          { WALL, 1 * S, 0 },
	};
	for (size_t i = 0; i < sizeof(LIVES) / sizeof(LIVES[0]); i++) {
		weir_terms_open(&terms, path, LIVES[i].wall_ns, LIVES[i].now_ns);
		uint32_t base = weir_terms_take(&terms, LIVES[i].now_ns);
		cr_assert_geq(base, last, "life %zu", i);
		for (uint64_t s = 0; s <= LIVES[i].lives_s; s++)
			weir_terms_renew(&terms, LIVES[i].now_ns + s * S);
		last = highest(base, LIVES[i].lives_s);
	}
}

Test(terms, of_a_group_that_comes_again_are_above_those_it_had)
{
	weir_terms_open(&terms, path, WALL, 5 * S);
	uint32_t first = weir_terms_take(&terms, 5 * S);
	uint32_t second = weir_terms_take(&terms, 65 * S);
	cr_assert_gt(second, highest(first, 60));
	struct weir_terms next;
	weir_terms_open(&next, path, WALL, 1 * S);
	cr_assert_gt(weir_terms_take(&next, 1 * S), highest(second, 0), "and the file knows");
}

Test(terms, cost_a_write_in_minutes)
{
	weir_terms_open(&terms, path, WALL, 5 * S);
	weir_terms_take(&terms, 5 * S);
	uint32_t writes = 0;
	ino_t before = file_number();
	for (uint64_t s = 5; s < 3605; s++) {
		weir_terms_renew(&terms, s * S);
		writes += file_number() != before;
		before = file_number();
	}
	cr_assert_leq(writes, 13);
	cr_assert_geq(writes, 3);
}

Test(terms, of_a_router_that_restarts_each_second_last_for_weeks)
{
	uint32_t base = 0;
	for (uint64_t i = 0; i < 1000; i++) {
		weir_terms_open(&terms, path, 0, i * S);
		base = weir_terms_take(&terms, i * S);
	}
	cr_assert_leq(base, 1000 * 2048u, "2^32 / 2,048: 24 days of a restart each second");
}

Test(terms, that_cannot_be_kept_begin_at_the_wall_clock)
{
	cr_assert_eq(symlink("/proc/self/status", path), -1, "no directory yet");
	weir_terms_open(&terms, "/proc/weir/r1.terms", WALL, 5 * S);
	uint32_t first = weir_terms_take(&terms, 5 * S);
	cr_assert(terms.is_failing);
	weir_terms_open(&terms, "/proc/weir/r1.terms", WALL + 5000 * S, 1 * S);
	cr_assert_gt(weir_terms_take(&terms, 1 * S), first);
	weir_terms_open(&terms, NULL, WALL, 1 * S);
	cr_assert_gt(weir_terms_take(&terms, 1 * S), 0);
	cr_assert_not(terms.is_failing);
}

Test(terms, a_file_of_somebody_else_is_left_alone)
{
	char text[32] = "";
	char state[128];
	snprintf(state, sizeof(state), "%s/state", folder);
	cr_assert_eq(mkdir(state, 0755), 0);
	FILE *file = fopen(path, "w");
	fputs("my notes\n", file);
	fclose(file);
	weir_terms_open(&terms, path, WALL, 5 * S);
	weir_terms_take(&terms, 5 * S);
	weir_terms_renew(&terms, 5000 * S);
	cr_assert(terms.is_failing);
	file = fopen(path, "r");
	cr_assert_not_null(fgets(text, sizeof(text), file));
	fclose(file);
	cr_assert_str_eq(text, "my notes\n");
}
