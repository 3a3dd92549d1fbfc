// The counters file as its writer and its readers see it: rows come and go whole, a file that is not ours is refused,
// a router's death leaves nothing in the way of the next.
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
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
	cr_expect_eq(view.header->shard_rows, 0, "none was taken");
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

// A file system of 128 KiB at `folder`, for this process alone.
static void mount_small(const char *folder)
{
	bool is_root = geteuid() == 0;
	char map[32];
	int fd;

	snprintf(map, sizeof(map), "0 %u 1", (unsigned)geteuid());
	if (unshare(is_root ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0)
		cr_skip_test("neither root nor namespaces of users");
	if (!is_root) {
		fd = open("/proc/self/uid_map", O_WRONLY);
		cr_assert_eq(write(fd, map, strlen(map)), (ssize_t)strlen(map));
		close(fd);
	}
	cr_assert_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	cr_assert_eq(mount("tmpfs", folder, "tmpfs", 0, "size=128k"), 0);
}

Test(counters, a_row_that_there_is_no_room_for_is_refused_before_it_is_touched)
{
	struct weir_counters_config config = { .path = path, .worker_rows = 2, .shard_rows = 4096, .group_rows = 4096 };
	struct weir_counters *counters = NULL;
	struct weir_fault fault = { 0 };
	char folder[32] = "/tmp/weir-counters-XXXXXX";
	uint32_t rows = 0;

	cr_assert_not_null(mkdtemp(folder));
	mount_small(folder);
	snprintf(path, sizeof(path), "%s/c", folder);
	cr_assert_eq(weir_counters_create(&counters, &config, &fault), 0, "%s", fault.reason);
	while (weir_counters_shard_get(counters))
		rows++;
	cr_expect_eq(errno, ENOSPC);
	cr_expect_gt(rows, 4);
	cr_expect_lt(rows, 4096);
	cr_expect_null(weir_counters_group_get(counters));
	cr_expect_eq(errno, ENOSPC);
	weir_counters_destroy(counters);
	umount(folder);
	rmdir(folder);
}

Test(counters, the_end_of_the_rows_is_told_from_the_end_of_the_room)
{
	struct weir_counters *counters = make(1);
	struct weir_shard_row *row = weir_counters_shard_get(counters);

	cr_assert_not_null(row);
	cr_expect_null(weir_counters_shard_get(counters));
	cr_expect_eq(errno, EOVERFLOW);
	weir_counters_shard_put(counters, row);
	cr_expect_eq(weir_counters_shard_get(counters), row);
	weir_counters_destroy(counters);
}

static void stays(const char *says)
{
	struct weir_counters_config config = { .path = path, .worker_rows = 1 };
	struct weir_counters *counters = NULL;
	struct weir_fault fault = { 0 };
	struct stat before;
	struct stat after;

	cr_assert_eq(lstat(path, &before), 0);
	cr_expect_eq(weir_counters_create(&counters, &config, &fault), -EEXIST, "%s", says);
	cr_expect(strstr(fault.object, path) && fault.fix[0], "%s", says);
	cr_assert_eq(lstat(path, &after), 0);
	cr_expect_eq(before.st_ino, after.st_ino, "%s", says);
}

Test(counters, what_is_no_counters_file_stays)
{
	int fd;

	snprintf(path, sizeof(path), "/tmp/weir-counters-test.%d", (int)getpid());
	fd = open(path, O_CREAT | O_WRONLY, 0644);
	cr_assert_eq(write(fd, "three days of notes", 19), 19);
	close(fd);
	stays("a file");
	unlink(path);
	cr_assert_eq(symlink("/etc/hostname", path), 0);
	stays("a link");
	unlink(path);
	cr_assert_eq(mkdir(path, 0755), 0);
	stays("a directory");
	rmdir(path);
}

Test(counters, the_end_removes_no_file_but_its_own)
{
	struct weir_counters *counters = make(1);
	int fd;

	cr_assert_eq(unlink(path), 0);
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);
	cr_assert_geq(fd, 0);
	close(fd);
	weir_counters_destroy(counters);
	cr_expect_eq(unlink(path), 0, "it was removed");
}
