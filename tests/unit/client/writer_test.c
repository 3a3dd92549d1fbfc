// weircat's writer: an output that stands still keeps nobody waiting, and what is said to be written was written. weircat's own
// sources without its main(); the output is a pipe that the test reads or does not.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "client/weircat/writer.h"

#define LINE_SIZE 101 // with its end

static int ends[2];
static struct cat_options options = { .is_quiet = true };
static struct cat_writer *writer;

int cat_fail(const struct cat_options *of, const char *format, ...)
{
	(void)of;
	(void)format;
	return CAT_FAILED;
}

static void setup(void)
{
	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	signal(SIGPIPE, SIG_IGN);
	cr_assert_eq(cat_writer_open(&writer, &options, NULL, ends[1]), 0);
}

TestSuite(writer, .init = setup, .timeout = 20);

// Lines of 100 bytes that begin with their offset.
static void give(uint64_t *next, int count, uint16_t shard, uint32_t term)
{
	struct weir_view views[256];
	static char lines[256][LINE_SIZE];
	for (int i = 0; i < count; i++, ++*next) {
		snprintf(lines[i], sizeof(lines[i]), "%0100llu", (unsigned long long)*next);
		views[i] = (struct weir_view){
			.offset = *next, .payload = lines[i], .payload_size = LINE_SIZE - 1, .shard = shard, .term = term,
		};
	}
	cr_assert_eq(cat_writer_give(writer, views, count), 0);
	memset(lines, 'x', sizeof(lines)); // the writer has its own copy
}

static void fill(uint64_t *next)
{
	for (int room = 0; (room = cat_writer_room(writer)) > 0;)
		give(next, room, 0, 1);
}

// Takes back what was written, which comes in order. Returns how many.
static uint64_t take(uint64_t *next)
{
	const struct weir_view *views = NULL;
	uint64_t taken = 0;
	for (int count = 0; (count = cat_writer_take(writer, &views)) > 0;) {
		for (int i = 0; i < count; i++, taken++)
			cr_assert_eq(views[i].offset, (*next)++);
	}
	return taken;
}

static void read_line(char line[LINE_SIZE + 1])
{
	for (size_t at = 0; at < LINE_SIZE;) {
		ssize_t size = read(ends[0], line + at, LINE_SIZE - at);
		cr_assert_gt(size, 0);
		at += (size_t)size;
	}
}

static void read_lines(uint64_t from, uint64_t to)
{
	char line[LINE_SIZE + 1] = { 0 };
	for (uint64_t i = from; i < to; i++) {
		read_line(line);
		cr_assert_eq(strtoull(line, NULL, 10), i);
		cr_assert_eq(line[LINE_SIZE - 1], '\n');
	}
}

Test(writer, is_full_and_blocks_nobody_while_its_output_stands_still)
{
	uint64_t given = 0;
	uint64_t taken = 0;
	fill(&given);
	cr_assert_gt(given, 500);
	cat_writer_wait(writer, 200);
	take(&taken);
	// A pipe holds 64 KiB: the rest waits, and is not said to be written.
	cr_assert_lt(taken * LINE_SIZE, 70000);
	cr_assert_eq(cat_writer_outstanding(writer), given - taken);
	cr_assert_eq(cat_writer_status(writer), 0);
	cr_assert_not(cat_writer_close(writer, 0), "nobody reads, and all is written?");
	read_lines(0, given);
	cr_assert(cat_writer_close(writer, 5000));
}

Test(writer, says_what_a_slow_reader_took_before_a_batch_is_through)
{
	uint64_t given = 0;
	uint64_t taken = 0;
	uint64_t seen = 0;
	while (given < 4000) {
		fill(&given);
		read_lines(seen, seen + 100);
		seen += 100;
		take(&taken);
	}
	// Batches are of 256 lines by now: told of by the batch, a round of 164 would often hear nothing.
	for (int round = 0; round < 8; round++) {
		read_lines(seen, seen + 164);
		seen += 164;
		uint64_t more = 0;
		for (int i = 0; i < 500 && !more; i++) {
			cat_writer_wait(writer, 10);
			more = take(&taken);
		}
		cr_assert_gt(more, 0, "round %d", round);
		cr_assert_leq(taken, seen + 65536 / LINE_SIZE + 1);
	}
	read_lines(seen, given);
	cr_assert(cat_writer_close(writer, 5000));
}

Test(writer, writes_everything_in_order_once_it_is_read)
{
	uint64_t given = 0;
	uint64_t taken = 0;
	uint64_t seen = 0;
	while (seen < 20000) {
		fill(&given);
		read_lines(seen, seen + 200);
		seen += 200;
		take(&taken);
	}
	uint64_t progress = cat_writer_progress(writer);
	read_lines(seen, given);
	while (cat_writer_outstanding(writer))
		cat_writer_wait(writer, 10), take(&taken);
	cr_assert_eq(taken, given);
	cr_assert_gt(cat_writer_progress(writer), progress);
	cr_assert(cat_writer_close(writer, 5000));
}

Test(writer, passes_over_what_belongs_to_somebody_else_by_now)
{
	const struct weir_assignment again = { .shard = 0, .term = 2 };
	const struct weir_view *views = NULL;
	uint64_t given = 0;
	uint64_t stale = 0;
	uint64_t passed = 0;
	uint64_t lines = 0;
	char line[LINE_SIZE + 1] = { 0 };
	fill(&given);
	cat_writer_shards(writer, &again, 1); // more lies in the batches than in the pipe
	while (!stale || cat_writer_outstanding(writer)) {
		for (int count = 0; (count = cat_writer_take(writer, &views)) > 0;) {
			for (int i = 0; i < count; i++)
				passed += views[i].term == 0;
		}
		if (!stale && cat_writer_room(writer)) {
			stale = given;
			give(&given, 1, 0, 2);
		}
		if (poll(&(struct pollfd){ .fd = ends[0], .events = POLLIN }, 1, 10) > 0) {
			read_line(line);
			lines++;
		}
	}
	while (lines < given - passed) {
		read_line(line);
		lines++;
	}
	cr_assert_geq(passed, 400, "only %llu were passed over", (unsigned long long)passed);
	cr_assert_eq(strtoull(line, NULL, 10), stale, "the event of the new term is the last line");
	cr_assert(cat_writer_close(writer, 5000));
}

Test(writer, fails_where_nobody_reads_any_more)
{
	uint64_t given = 0;
	close(ends[0]);
	give(&given, 1, 0, 1);
	for (int i = 0; i < 500 && !cat_writer_status(writer); i++)
		cat_writer_wait(writer, 10);
	cr_assert_eq(cat_writer_status(writer), CAT_FAILED);
	cr_assert(cat_writer_close(writer, 5000));
}
