// Claims about the shard log: nothing wraps, the oldest goes first, cursors land where they should. Real memory files of
// ordinary pages; what needs hugepages is asked for in vain on purpose.
// No root, no hugepages.
#include "dataplane/core/log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "wire/limits.h"

#define EVENT 80u // bytes, header included

static struct weir_log create(uint64_t size)
{
	struct weir_log log;
	cr_assert_eq(weir_log_create(&log, size, -1, WEIR_HUGEPAGES_OFF, 99), 0);
	return log;
}

static void append(struct weir_log *log, uint64_t sequence, uint16_t count)
{
	_Alignas(8) uint8_t events[20 * EVENT] = { 0 };
	for (uint16_t i = 0; i < count; i++) {
		const struct weir_event_header event = { .length = EVENT - 3, .key = sequence + i };
		memcpy(events + i * EVENT, &event, sizeof(event));
	}
	const struct weir_run_header run = { .producer = 1, .sequence = sequence, .length = count * EVENT, .count = count };
	weir_log_append(log, &run, events, 1000 + sequence);
}

static uint64_t key_at(const struct weir_log *log, const struct weir_cursor *cursor)
{
	const uint8_t *events = (const uint8_t *)(weir_log_run(log, cursor->position) + 1);
	return ((const struct weir_event_header *)(const void *)(events + cursor->bytes))->key;
}

Test(log, a_run_across_the_end_reads_in_one_piece)
{
	struct weir_log log = create(WEIR_LOG_SIZE_MIN);
	uint64_t sequence = 0;
	bool has_wrapped = false;
	for (int i = 0; i < 200; i++) {
		uint64_t before = log.head & log.mask;
		append(&log, sequence, 18);
		const struct weir_run_header *run = weir_log_run(&log, log.head - weir_log_run_size(18 * EVENT));
		cr_assert_eq(run->sequence, sequence);
		const uint8_t *events = (const uint8_t *)(run + 1);
		for (uint64_t k = 0; k < 18; k++)
			cr_assert_eq(((const struct weir_event_header *)(const void *)(events + k * EVENT))->key, sequence + k);
		has_wrapped |= before + weir_log_run_size(18 * EVENT) > log.size;
		sequence += 18;
	}
	cr_assert(has_wrapped);
	weir_log_destroy(&log);
}

Test(log, the_oldest_runs_are_overwritten_and_the_tail_stays_exact)
{
	struct weir_log log = create(WEIR_LOG_SIZE_MIN);
	for (uint64_t i = 0; i < 500; i++) {
		append(&log, i * 7, 7);
		cr_assert_leq(log.head - log.tail, log.size);
		if (log.tail > 0)
			cr_assert_gt(log.head - log.tail + weir_log_run_size(7 * EVENT), log.size, "no more than needed goes");
		cr_assert_eq(weir_log_run(&log, log.tail)->sequence, log.tail_offset);
	}
	cr_assert_eq(log.head_offset, 3500);
	weir_log_destroy(&log);
}

Test(log, room_ends_where_the_slowest_holder_stands)
{
	struct weir_log log = create(WEIR_LOG_SIZE_MIN);
	uint32_t runs = 0;
	while (weir_log_has_room(&log, 0, 18 * EVENT)) {
		append(&log, runs * 18, 18);
		runs++;
	}
	cr_assert_eq(runs, WEIR_LOG_SIZE_MIN / weir_log_run_size(18 * EVENT));
	cr_assert_eq(log.tail, 0, "nothing was overwritten");
	cr_assert(weir_log_has_room(&log, weir_log_run_size(18 * EVENT), 18 * EVENT), "one run released makes room for one");
	uint64_t least = log.head + weir_log_run_size(18 * EVENT) - log.size;
	cr_assert(weir_log_has_room(&log, least, 18 * EVENT));
	cr_assert_not(weir_log_has_room(&log, least - 1, 18 * EVENT), "a byte short");
	weir_log_destroy(&log);
}

Test(log, a_cursor_moves_to_any_offset_within_and_between_runs)
{
	struct weir_log log = create(WEIR_LOG_SIZE_MIN);
	for (uint64_t i = 0; i < 10; i++)
		append(&log, i * 5, 5);
	for (uint64_t from = 0; from <= 50; from++) {
		for (uint64_t to = from; to <= 50; to++) {
			struct weir_cursor cursor = weir_log_earliest(&log);
			weir_cursor_advance(&log, &cursor, from);
			weir_cursor_advance(&log, &cursor, to);
			cr_assert_eq(weir_cursor_offset(&cursor), to);
			if (to < 50)
				cr_assert_eq(key_at(&log, &cursor), to);
			else
				cr_assert_eq(cursor.position, log.head);
		}
	}
	weir_log_destroy(&log);
}

Test(log, append_time_never_goes_back)
{
	struct weir_log log = create(WEIR_LOG_SIZE_MIN);
	const struct weir_run_header run = { .count = 1, .length = 16 };
	const struct weir_event_header event = { .length = 16 };
	weir_log_append(&log, &run, &event, 500);
	weir_log_append(&log, &run, &event, 400);
	cr_assert_eq(weir_log_run(&log, 56)->append_ns, 500);
	weir_log_destroy(&log);
}

Test(log, a_size_that_is_no_power_of_two_or_too_small_is_refused)
{
	struct weir_log log;
	cr_assert_eq(weir_log_create(&log, WEIR_LOG_SIZE_MIN / 2, -1, WEIR_HUGEPAGES_OFF, 1), -EINVAL);
	cr_assert_eq(weir_log_create(&log, 100000, -1, WEIR_HUGEPAGES_OFF, 1), -EINVAL);
	cr_assert_eq(weir_log_create(&log, WEIR_LOG_SIZE_MIN, -1, WEIR_HUGEPAGES_OFF, 0), -EINVAL, "incarnation 0");
}

Test(log, the_file_cannot_be_cut_but_can_be_sealed_against_new_writers)
{
	struct weir_log log = create(WEIR_LOG_SIZE_MIN);
	cr_assert_neq(ftruncate(log.fd, 4096), 0);
	cr_assert_eq(errno, EPERM);
	cr_assert_eq(fcntl(log.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
	append(&log, 0, 3);
	cr_assert_eq(log.head_offset, 3, "the router's own mapping stays writable");
	weir_log_destroy(&log);
}

Test(log, more_hugepages_than_there_are_is_no_space_when_required_and_ordinary_pages_when_preferred)
{
	struct weir_log log;
	cr_assert_eq(weir_log_create(&log, 1ull << 45, -1, WEIR_HUGEPAGES_REQUIRE, 1), -ENOSPC);
	cr_assert_eq(weir_log_create(&log, 2u << 20, -1, WEIR_HUGEPAGES_PREFER, 1), 0);
	append(&log, 0, 18);
	weir_log_destroy(&log);
}

// A peer may say that it came all the way through a large log.
Test(log, the_way_to_a_far_offset_does_not_walk_the_runs_in_between)
{
	struct weir_log log = create(1u << 20);
	for (uint64_t i = 0; i < 20000; i++) {
		append(&log, i, 1);
		if (i % 7 == 0)
			weir_log_mark(&log);
	}
	struct weir_cursor from = weir_log_earliest(&log);
	uint64_t size = weir_log_run_size(EVENT);
	for (uint64_t offset = log.tail_offset; offset < log.head_offset; offset += 97) {
		struct weir_cursor cursor = from;
		weir_cursor_advance(&log, &cursor, offset);
		cr_assert_eq(weir_cursor_offset(&cursor), offset);
		cr_assert_eq(cursor.position, offset * size);
	}
	// What lies in between is not looked at.
	for (uint64_t at = log.tail; at < log.head - 3 * WEIR_MARK_BYTES; at += size)
		weir_log_run(&log, at)->count = 0;
	weir_log_run(&log, from.position)->count = 1;
	struct weir_cursor cursor = from;
	weir_cursor_advance(&log, &cursor, log.head_offset - 10);
	cr_assert_eq(cursor.position, (log.head_offset - 10) * size);
	weir_log_destroy(&log);
}
