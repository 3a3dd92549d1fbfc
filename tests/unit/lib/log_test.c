// The log writes into a pipe whose other end the test holds: it reads, or it does not, or it goes away. Whatever it does, who
// logs goes on at once, and each line is either read or counted.
#include "lib/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "lib/clock.h"

static int ends[2];

static struct lib_log *log_open(void)
{
	struct lib_log *log = NULL;
	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	cr_assert_eq(lib_log_open(&log, "test", LIB_LOG_TIMED, ends[1]), 0);
	return log;
}

// The next line, without its end. The pipe's other end may be open: read() waits for it.
static char *line_read(FILE *in, char line[LIB_LOG_LINE_MAX + 1])
{
	cr_assert_not_null(fgets(line, LIB_LOG_LINE_MAX + 1, in), "the log ended");
	line[strcspn(line, "\n")] = 0;
	return line;
}

static const char *const LEVELS[] = { "info", "warning", "error" };

Test(log, lines_arrive_in_order_with_name_time_and_level)
{
	char line[LIB_LOG_LINE_MAX + 1], long_text[3000], level[16];
	struct lib_log *log = log_open();
	FILE *in = fdopen(ends[0], "r");
	long long seconds;
	int micros, number;
	memset(long_text, 'x', sizeof(long_text));
	long_text[sizeof(long_text) - 1] = 0;
	for (int i = 0; i < 100; i++)
		lib_log_write(log, i % 3, "number %d", i);
	lib_log_write(log, LIB_LOG_ERROR, "%s", long_text);
	lib_log_close(log);
	for (int i = 0; i < 100; i++) {
		int found = sscanf(line_read(in, line), "test[%lld.%d] %15[^:]: number %d", &seconds, &micros, level, &number);
		cr_assert_eq(found, 4, "%s", line);
		cr_expect_eq(number, i);
		cr_expect_str_eq(level, LEVELS[i % 3]);
	}
	cr_expect_eq(strlen(line_read(in, line)), LIB_LOG_LINE_MAX - 1, "a long line is cut");
	fclose(in);
	close(ends[1]);
}

// Full pipe, full buffer: nobody waits, and afterwards dropped and written lines make up all of them.
Test(log, who_logs_never_waits_and_every_line_is_accounted_for, .timeout = 60)
{
	enum { LINES = 20000 };
	char line[LIB_LOG_LINE_MAX + 1];
	struct lib_log *log = log_open();
	FILE *in = fdopen(ends[0], "r");
	for (int i = 0; i < LINES; i++)
		lib_log_write(log, LIB_LOG_INFO, "number %d of many, which are long enough to fill what there is", i);
	cr_assert_gt(lib_log_dropped(log), 0);
	unsigned long long told = 0;
	unsigned written = 0, number;
	// A line says where lines are missing, and how many until there.
	while (written + told < LINES) {
		char *text = strstr(line_read(in, line), ": ") + 2;
		if (sscanf(text, "number %u", &number) == 1) {
			cr_assert_eq(number, written + told, "%s", line);
			written++;
		} else {
			cr_assert_eq(sscanf(text, "log: %llu lines were dropped", &told), 1, "%s", line);
			cr_assert_not_null(strstr(line, "warning"));
		}
	}
	cr_expect_eq(told, lib_log_dropped(log));
	cr_expect_gt(written, 1000);
	lib_log_write(log, LIB_LOG_INFO, "as ever");
	cr_expect_not_null(strstr(line_read(in, line), "info: as ever"));
	lib_log_close(log);
	fclose(in);
	close(ends[1]);
}

Test(log, the_end_does_not_wait_for_a_reader_that_stopped, .timeout = 60)
{
	struct lib_log *log = log_open();
	for (int i = 0; i < 10000; i++)
		lib_log_write(log, LIB_LOG_INFO, "nobody reads this");
	uint64_t begin = lib_clock_ns();
	lib_log_close(log);
	cr_expect_lt(lib_clock_ns() - begin, 10000000000ull);
	// The pipe stays open: what is stuck in it ends with the process.
}

Test(log, a_reader_that_went_away_is_survived)
{
	struct lib_log *log = log_open();
	close(ends[0]);
	for (int i = 0; i < 100; i++)
		lib_log_write(log, LIB_LOG_INFO, "to nobody");
	while (lib_log_dropped(log) < 100)
		usleep(1000);
	lib_log_close(log);
	close(ends[1]);
}

Test(log, what_tools_say_has_their_name_alone)
{
	char line[LIB_LOG_LINE_MAX + 1];
	struct lib_log *log = NULL;
	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	cr_assert_eq(lib_log_open(&log, "tool", LIB_LOG_PLAIN, ends[1]), 0);
	FILE *in = fdopen(ends[0], "r");
	lib_log_write(log, LIB_LOG_WARNING, "topic %s ended", "t");
	lib_log_close(log);
	cr_expect_str_eq(line_read(in, line), "tool: topic t ended");
	fclose(in);
	close(ends[1]);
}

// DPDK and others write where and when they like, also half a line.
Test(log, what_libraries_write_comes_in_lines)
{
	char line[LIB_LOG_LINE_MAX + 1];
	struct lib_log *log = log_open();
	FILE *in = fdopen(ends[0], "r");
	FILE *stream = lib_log_stream(log, LIB_LOG_WARNING, "DPDK: ");
	fputs("half a ", stream);
	fflush(stream);
	fputs("line\nanother\n\nand the ", stream);
	fputs("last", stream);
	fclose(stream);
	lib_log_close(log);
	cr_expect_not_null(strstr(line_read(in, line), "warning: DPDK: half a line"), "%s", line);
	cr_expect_not_null(strstr(line_read(in, line), "warning: DPDK: another"), "%s", line);
	cr_expect_not_null(strstr(line_read(in, line), "warning: DPDK: and the last"), "%s", line);
	fclose(in);
	close(ends[1]);
}

static void *write_some(void *log)
{
	for (int i = 0; i < 1000; i++)
		lib_log_write(log, LIB_LOG_INFO, "%d", i);
	return NULL;
}

Test(log, threads_may_log_together)
{
	pthread_t threads[4];
	char line[LIB_LOG_LINE_MAX + 1];
	struct lib_log *log = log_open();
	FILE *in = fdopen(ends[0], "r");
	for (int i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, write_some, log), 0);
	int sum = 0;
	for (int i = 0; i < 4000; i++) {
		int number = -1;
		cr_assert_eq(sscanf(strstr(line_read(in, line), ": "), ": %d", &number), 1, "%s", line);
		sum += number;
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	cr_expect_eq(sum, 4 * 999 * 500);
	lib_log_close(log);
	fclose(in);
	close(ends[1]);
}
