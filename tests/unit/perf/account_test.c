// A consumer's account: what came in order is one run, anything else begins another, and what a second process maps is
// what the first one counted, also after SIGKILL.
#include "perf/account.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

static struct weir_account_event event(uint64_t offset, uint32_t key, uint64_t sequence)
{
	return (struct weir_account_event){ .incarnation = 9, .offset = offset, .sequence = sequence, .shard = 2, .term = 1,
					    .producer = 77, .key = key };
}

Test(account, what_comes_in_order_closes_no_run)
{
	struct weir_account account;
	cr_assert_eq(weir_account_create(&account, NULL, "t", "g"), 0);
	for (uint64_t i = 0; i < 1000; i++) {
		struct weir_account_event e = event(100 + i, (uint32_t)(i % 10), i / 10);
		cr_assert_eq(weir_account_add(&account, &e), 0);
	}
	cr_assert_eq(account.header->run_count, 0);
	cr_assert_eq(account.header->events, 1000);
	cr_assert_eq(account.header->back, 0);
	cr_assert_eq(account.header->shards[2].first, 100);
	cr_assert_eq(account.header->shards[2].next, 1100);
	cr_assert_eq(weir_account_key_of(&account, 0, 9)->next, 100);
	weir_account_close(&account);
}

Test(account, a_gap_a_repetition_and_a_mark_begin_new_runs)
{
	struct weir_account account;
	cr_assert_eq(weir_account_create(&account, NULL, "t", "g"), 0);
	struct weir_account_event events[] = { event(0, 1, 0), event(1, 1, 1), event(5, 1, 5), event(1, 1, 1), event(2, 1, 2) };
	events[4].is_marked = true;
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		cr_assert_eq(weir_account_add(&account, &events[i]), 0);
	// Of the shard [0,2), [5,6), [1,2) are closed and [2,3) marked is open; of the key [0,2), [5,6) are closed, [1,3) open.
	cr_assert_eq(account.header->run_count, 5);
	cr_assert_eq(account.header->back, 1, "the second offset 1, within its term");
	cr_assert_eq(account.header->redelivered, 1);
	cr_assert_eq(account.header->shards[2].is_marked, 1);
	weir_account_close(&account);
}

Test(account, two_lives_of_a_log_are_two_shards)
{
	struct weir_account account;
	cr_assert_eq(weir_account_create(&account, NULL, "t", "g"), 0);
	struct weir_account_event first = event(10, 1, 0);
	struct weir_account_event second = event(0, 1, 1);
	second.incarnation = 10;
	cr_assert_eq(weir_account_add(&account, &first), 0);
	cr_assert_eq(weir_account_add(&account, &second), 0);
	cr_assert_eq(account.header->shards[2].events, 1);
	cr_assert_eq(account.header->shards[3].events, 1);
	cr_assert_eq(account.header->shards[3].shard, 2);
	weir_account_close(&account);
}

Test(account, says_so_when_it_cannot_hold_more)
{
	struct weir_account account;
	cr_assert_eq(weir_account_create(&account, NULL, "t", "g"), 0);
	struct weir_account_event e = event(0, WEIR_ACCOUNT_KEYS, 0);
	cr_assert_lt(weir_account_add(&account, &e), 0);
	cr_assert_eq(account.header->is_full, 1);
	for (uint32_t i = 0; i <= WEIR_ACCOUNT_PRODUCERS; i++) {
		e = event(i, 0, 0);
		e.producer = 1000 + i;
		cr_assert_eq(weir_account_add(&account, &e) == 0, i < WEIR_ACCOUNT_PRODUCERS);
	}
	weir_account_close(&account);
}

Test(account, survives_the_death_of_its_process)
{
	char path[] = "/tmp/weir-account-XXXXXX";
	close(mkstemp(path));
	pid_t child = fork();
	if (child == 0) {
		struct weir_account account;
		if (weir_account_create(&account, path, "positions", "map"))
			_exit(1);
		for (uint64_t i = 0;; i++) {
			struct weir_account_event e = event(i, (uint32_t)(i % 100), i / 100);
			weir_account_add(&account, &e);
			if (i == 50000)
				kill(getppid(), SIGCONT);
		}
	}
	struct weir_account account;
	uint64_t events = 0;
	for (int i = 0; i < 1000 && events < 50000; i++) {
		usleep(10000);
		if (weir_account_open(&account, path))
			continue;
		events = account.header->events;
		weir_account_close(&account);
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	cr_assert_eq(weir_account_open(&account, path), 0);
	cr_assert_str_eq(account.header->group, "map");
	cr_assert_geq(account.header->events, 50000);
	uint64_t sequences = 0;
	for (uint32_t k = 0; k < 100; k++)
		sequences += weir_account_key_of(&account, 0, k)->next;
	// At most the event under way when it was killed differs.
	cr_assert_leq(sequences - account.header->shards[2].next, 1);
	cr_assert_leq(account.header->shards[2].next - account.header->events, 1);
	weir_account_close(&account);
	unlink(path);
}

Test(account, refuses_a_file_that_is_none)
{
	char path[] = "/tmp/weir-account-XXXXXX";
	int fd = mkstemp(path);
	struct weir_account account;
	cr_assert_eq(weir_account_open(&account, path), -EINVAL);
	cr_assert_eq(write(fd, "{}", 2), 2);
	cr_assert_eq(weir_account_open(&account, path), -EINVAL);
	close(fd);
	unlink(path);
	cr_assert_eq(weir_account_open(&account, path), -ENOENT);
}
