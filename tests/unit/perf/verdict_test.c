// The verdict's definitions, one history each: accounts are written as consumers would write them, and the real
// weirload judges them. Each test's name is what a person would say of the history.
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "perf/account.h"

struct history {
	char folder[64];
	struct weir_account accounts[3];
	int count;
};

static void begin(struct history *history, int consumers, uint64_t published)
{
	char path[128];
	snprintf(history->folder, sizeof(history->folder), "/tmp/weir-verdict-XXXXXX");
	cr_assert_not_null(mkdtemp(history->folder));
	history->count = consumers;
	for (int i = 0; i < consumers; i++) {
		snprintf(path, sizeof(path), "%s/%d.state", history->folder, i);
		cr_assert_eq(weir_account_create(&history->accounts[i], path, "positions", "map"), 0);
	}
	snprintf(path, sizeof(path), "%s/producer.json", history->folder);
	FILE *file = fopen(path, "w");
	fprintf(file, "{\"role\":\"producer\",\"topic\":\"positions\",\"published\":%lu,\"routed\":%lu}\n", published,
		published);
	fclose(file);
}

// Consumer `who` is handed [from, to) of shard 0: one key, sequence = offset.
static void hand_out(struct history *history, int who, uint64_t from, uint64_t to, uint32_t term, bool is_marked)
{
	for (uint64_t i = from; i < to; i++) {
		struct weir_account_event event = { .incarnation = 1, .offset = i, .sequence = i, .term = term, .producer = 5,
						    .is_marked = is_marked };
		cr_assert_eq(weir_account_add(&history->accounts[who], &event), 0);
	}
}

static void hand_out_one(struct history *history, uint64_t offset, uint64_t sequence)
{
	struct weir_account_event event = { .incarnation = 1, .offset = offset, .sequence = sequence, .term = 1 };
	event.producer = 5;
	cr_assert_eq(weir_account_add(&history->accounts[0], &event), 0);
}

static void expect(struct history *history, int status, const char *numbers)
{
	char command[512];
	for (int i = 0; i < history->count; i++)
		weir_account_close(&history->accounts[i]);
	snprintf(command, sizeof(command), "%s verdict --json %s/*", WEIRLOAD, history->folder);
	FILE *pipe = popen(command, "r");
	json_t *said = json_loadf(pipe, 0, NULL);
	cr_expect_eq(WEXITSTATUS(pclose(pipe)), status);
	cr_assert_not_null(said);
	static const char *const NAMES[] = { "delivered", "lost", "duplicated", "reordered", "redelivered" };
	char found[256] = "";
	for (int i = 0; i < 5; i++)
		snprintf(found + strlen(found), sizeof(found) - strlen(found), "%s%lld", i ? " " : "",
			 json_integer_value(json_object_get(said, NAMES[i])));
	cr_expect_str_eq(found, numbers, "delivered lost duplicated reordered redelivered: %s, wanted %s", found, numbers);
	json_decref(said);
	snprintf(command, sizeof(command), "rm -r %s", history->folder);
	cr_expect_eq(system(command), 0);
}

Test(verdict, of_a_clean_run_is_clean)
{
	struct history history;
	begin(&history, 1, 1000);
	hand_out(&history, 0, 0, 1000, 1, false);
	expect(&history, 0, "1000 0 0 0 0");
}

Test(verdict, what_nobody_got_is_lost)
{
	struct history history;
	begin(&history, 1, 1000);
	hand_out(&history, 0, 0, 400, 1, false);
	hand_out(&history, 0, 410, 1000, 1, false);
	expect(&history, 1, "990 10 0 0 0");
}

Test(verdict, a_moved_shard_is_neither_lost_nor_doubled)
{
	struct history history;
	begin(&history, 2, 1000);
	hand_out(&history, 0, 0, 400, 1, false);
	hand_out(&history, 1, 400, 700, 2, false);
	hand_out(&history, 0, 700, 1000, 3, false);
	expect(&history, 0, "1000 0 0 0 0");
}

Test(verdict, what_a_dead_member_had_comes_again_marked)
{
	struct history history;
	begin(&history, 2, 1000);
	hand_out(&history, 0, 0, 400, 1, false);
	hand_out(&history, 1, 350, 450, 2, true);
	hand_out(&history, 1, 450, 1000, 2, false);
	expect(&history, 0, "1000 0 0 0 100");
}

Test(verdict, the_same_without_the_mark_is_duplicated)
{
	struct history history;
	begin(&history, 2, 1000);
	hand_out(&history, 0, 0, 400, 1, false);
	hand_out(&history, 1, 350, 1000, 2, false);
	expect(&history, 1, "1000 0 50 0 0");
}

Test(verdict, a_repetition_within_a_term_is_duplicated_even_when_marked)
{
	struct history history;
	begin(&history, 1, 100);
	hand_out(&history, 0, 0, 100, 1, false);
	hand_out(&history, 0, 99, 100, 1, true);
	expect(&history, 1, "100 0 1 0 1");
}

Test(verdict, an_event_at_two_offsets_was_appended_twice)
{
	struct history history;
	begin(&history, 1, 10);
	hand_out(&history, 0, 0, 10, 1, false);
	hand_out_one(&history, 10, 9);
	expect(&history, 1, "10 0 1 0 0");
}

Test(verdict, a_key_handed_out_backwards_is_reordered)
{
	struct history history;
	begin(&history, 1, 4);
	hand_out_one(&history, 0, 0);
	hand_out_one(&history, 1, 2);
	hand_out_one(&history, 2, 1);
	hand_out_one(&history, 3, 3);
	expect(&history, 1, "4 0 0 1 0");
}

Test(verdict, offsets_handed_out_backwards_are_reordered)
{
	struct history history;
	begin(&history, 1, 4);
	hand_out_one(&history, 0, 0);
	hand_out_one(&history, 2, 2);
	hand_out_one(&history, 1, 1);
	hand_out_one(&history, 3, 3);
	expect(&history, 1, "4 0 0 1 0");
}

Test(verdict, order_is_judged_between_consumers_too)
{
	struct history history;
	begin(&history, 2, 20);
	hand_out(&history, 0, 0, 10, 1, false);
	// Sequences 10 to 19 at offsets below those of 0 to 9.
	for (uint64_t i = 10; i < 20; i++) {
		struct weir_account_event event = { .incarnation = 1, .offset = i - 10, .sequence = i, .shard = 1, .term = 1,
						    .producer = 5 };
		cr_assert_eq(weir_account_add(&history.accounts[1], &event), 0);
	}
	expect(&history, 1, "20 0 0 1 0");
}

Test(verdict, a_run_closed_as_its_consumer_died_counts_once)
{
	struct history history;
	begin(&history, 2, 100);
	hand_out(&history, 0, 0, 50, 1, false);
	// As SIGKILL leaves it between closing a run and beginning the next.
	struct weir_account_header *header = history.accounts[0].header;
	history.accounts[0].runs[header->run_count++] =
		(struct weir_account_run){ .kind = WEIR_RUN_OFFSETS, .first = 0, .next = 50, .owner = 0 };
	hand_out(&history, 1, 50, 100, 2, true);
	expect(&history, 0, "100 0 0 0 50");
}

Test(verdict, of_a_file_that_is_none_is_an_error)
{
	FILE *pipe = popen(WEIRLOAD " verdict --json /etc/passwd 2>/dev/null", "r");
	cr_expect_eq(fgetc(pipe), EOF);
	cr_expect_eq(WEXITSTATUS(pclose(pipe)), 2);
}
