// The counters file as its writer and its readers see it: rows come and go whole, a file that is not ours is refused,
// a router's death leaves nothing in the way of the next.
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dataplane/io/counters.h"

static char path[64];

static struct weir_counters *make(uint32_t shard_rows)
{
	struct weir_counters *counters = NULL;
	struct weir_counters_config config = { .path = path, .worker_rows = 2, .shard_rows = shard_rows, .group_rows = 3,
					       .router = 77 };
	struct weir_fault fault = { 0 };

	snprintf(path, sizeof(path), "/tmp/weir-counters-test.%d", (int)getpid());
	cr_assert_eq(weir_counters_create(&counters, &config, &fault), 0, "%s: %s", fault.object, fault.reason);
	return counters;
}

Test(counters, a_reader_sees_what_a_writer_published)
{
	struct weir_counters *counters = make(4);
	struct weir_worker_row *row = weir_counters_worker(counters, 1);
	struct weir_worker_row own = { .head = { .in_use = 1 }, .received = 5, .refused = { [WEIR_R_CRC] = 2 } };
	struct weir_worker_row copy;
	struct weir_counters_view view;

	cr_assert_not_null(row);
	cr_assert_eq(weir_counters_open(&view, path), 0);
	weir_row_publish(row, &own, sizeof(own));
	cr_assert_eq(weir_row_read(&copy, &view.workers[1], sizeof(copy)), 0);
	cr_expect_eq(copy.received, 5);
	cr_expect_eq(copy.refused[WEIR_R_CRC], 2);
	cr_expect_eq(copy.head.in_use, 1);
	cr_expect_eq(view.header->router, 77);
	cr_expect_eq(view.header->pid, getpid());
	weir_counters_close(&view);
	weir_counters_destroy(counters);
	cr_expect_neq(access(path, F_OK), 0, "the file goes with its router");
}

Test(counters, rows_are_taken_once_and_again_after_they_came_back)
{
	struct weir_counters *counters = make(2);
	struct weir_shard_row *first = weir_counters_shard_get(counters);
	struct weir_shard_row *second = weir_counters_shard_get(counters);
	struct weir_shard_row own = { .head = { .in_use = 1 }, .offered = 9 };

	cr_assert(first && second && first != second);
	cr_expect_null(weir_counters_shard_get(counters));
	weir_row_publish(second, &own, sizeof(own));
	weir_counters_shard_put(counters, second);
	cr_expect_eq(second->head.in_use, 0);
	cr_expect_eq(weir_counters_shard_get(counters), second);
	cr_expect_eq(second->offered, 0, "a new row begins at zero");
	cr_expect_null(weir_counters_worker(counters, 2));
	weir_counters_destroy(counters);
}

Test(counters, a_second_router_replaces_the_file_of_a_dead_one)
{
	struct weir_counters_view view;

	snprintf(path, sizeof(path), "/tmp/weir-counters-test.%d", (int)getpid());
	struct weir_counters_config config = { .path = path, .worker_rows = 1, .shard_rows = 8 };
	struct weir_counters *counters = NULL;
	pid_t dead = fork();
	if (dead == 0) {
		weir_counters_create(&counters, &config, NULL);
		_exit(0); // as after kill -9: nobody removes the file
	}
	cr_assert_eq(waitpid(dead, NULL, 0), dead);
	cr_assert_eq(access(path, F_OK), 0);
	cr_assert_eq(weir_counters_create(&counters, &config, NULL), 0);
	cr_assert_eq(weir_counters_open(&view, path), 0);
	cr_expect_eq(view.header->shard_rows, 8);
	weir_counters_close(&view);
	weir_counters_destroy(counters);
}

static void spoil(off_t offset, const void *bytes, size_t size)
{
	int fd = open(path, O_WRONLY);

	cr_assert_eq(pwrite(fd, bytes, size, offset), (ssize_t)size);
	close(fd);
}

Test(counters, a_file_that_is_no_counters_file_is_refused)
{
	struct weir_counters *counters = make(4);
	struct weir_counters_view view;
	uint64_t far = 1ull << 60;
	uint32_t version = WEIR_COUNTERS_VERSION + 1;

	spoil(offsetof(struct weir_counters_header, group_offset), &far, sizeof(far));
	cr_expect_eq(weir_counters_open(&view, path), -EPROTO, "rows outside the file");
	weir_counters_destroy(counters);
	counters = make(4);
	spoil(offsetof(struct weir_counters_header, version), &version, sizeof(version));
	cr_expect_eq(weir_counters_open(&view, path), -EPROTO, "another version");
	cr_expect_eq(truncate(path, 100), 0);
	cr_expect_eq(weir_counters_open(&view, path), -EPROTO, "too short");
	cr_expect_eq(weir_counters_open(&view, "/nonexistent/file"), -ENOENT);
	weir_counters_destroy(counters);
}

Test(counters, a_directory_that_is_not_there_is_named)
{
	struct weir_counters *counters = NULL;
	struct weir_counters_config config = { .path = "/nonexistent/weir.counters", .worker_rows = 1 };
	struct weir_fault fault = { 0 };

	cr_expect_eq(weir_counters_create(&counters, &config, &fault), -ENOENT);
	cr_expect_null(counters);
	cr_expect(strstr(fault.object, "/nonexistent/weir.counters"));
	cr_expect(fault.action[0] && fault.reason[0] && fault.fix[0]);
}
