// Limits of control groups as the kernel's files tell them: both versions, limits further up, containers that see a part of
// the hierarchy.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/daemon/cgroup.h"

#define MIB (1ull << 20)

struct fixture {
	char root[64];
	struct weir_cgroup_room room;
};

static void write_file(const struct fixture *fixture, const char *path, const char *text)
{
	char full[512];
	FILE *file;

	snprintf(full, sizeof(full), "%s%s", fixture->root, path);
	for (char *at = full + strlen(fixture->root) + 1; (at = strchr(at, '/')) != NULL; *at++ = '/') {
		*at = 0;
		mkdir(full, 0755);
	}
	file = fopen(full, "w");
	cr_assert_not_null(file, "%s", full);
	fputs(text, file);
	fclose(file);
}

static void begin(struct fixture *fixture, const char *mounts, const char *places)
{
	strcpy(fixture->root, "/tmp/weir-cgroup-XXXXXX");
	cr_assert_not_null(mkdtemp(fixture->root));
	write_file(fixture, "/proc/self/mountinfo", mounts);
	write_file(fixture, "/proc/self/cgroup", places);
}

static void end(struct fixture *fixture)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -r %s", fixture->root);
	cr_assert_eq(system(command), 0);
}

#define V2 "25 1 0:22 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1                                                                                                   \
	"25 1 0:22 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n26 1 0:23 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" \
	"27 1 0:24 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"                                    \
	"28 1 0:25 / /sys/fs/cgroup/hugetlb rw - cgroup cgroup rw,hugetlb\n"

Test(cgroup, version_2_tells_what_is_left_with_what_the_kernel_can_give_back)
{
	struct fixture fixture;

	begin(&fixture, V2, "0::/a/b\n");
	write_file(&fixture, "/sys/fs/cgroup/a/b/memory.max", "536870912\n");
	write_file(&fixture, "/sys/fs/cgroup/a/b/memory.current", "104857600\n");
	write_file(&fixture, "/sys/fs/cgroup/a/b/memory.stat",
		   "anon 50000000\nfile 9\ninactive_file 10485760\nactive_file 10485760\nslab_reclaimable 0\n");
	write_file(&fixture, "/sys/fs/cgroup/a/b/hugetlb.2MB.max", "8388608\n");
	write_file(&fixture, "/sys/fs/cgroup/a/b/hugetlb.2MB.current", "2097152\n");
	weir_cgroup_read(fixture.root, &fixture.room);
	cr_expect_eq(fixture.room.memory.left, 512 * MIB - 80 * MIB);
	cr_expect_eq(fixture.room.memory.limit, 512 * MIB);
	cr_expect(strstr(fixture.room.memory.group, "/a/b"), "%s", fixture.room.memory.group);
	cr_expect_eq(fixture.room.hugepages.left, 6 * MIB);
	end(&fixture);
}

Test(cgroup, the_tightest_limit_above_counts)
{
	struct fixture fixture;

	begin(&fixture, V2, "0::/a/b\n");
	write_file(&fixture, "/sys/fs/cgroup/a/b/memory.max", "max\n");
	write_file(&fixture, "/sys/fs/cgroup/a/b/memory.current", "1\n");
	write_file(&fixture, "/sys/fs/cgroup/a/memory.max", "104857600\n");
	write_file(&fixture, "/sys/fs/cgroup/a/memory.current", "209715200\n");
	weir_cgroup_read(fixture.root, &fixture.room);
	cr_expect_eq(fixture.room.memory.left, 0);
	cr_expect_eq(fixture.room.memory.limit, 100 * MIB);
	cr_expect_eq(fixture.room.hugepages.left, WEIR_CGROUP_UNLIMITED);
	end(&fixture);
}

Test(cgroup, version_1_has_a_hierarchy_for_each_resource)
{
	struct fixture fixture;

	begin(&fixture, V1, "9:hugetlb:/h\n4:cpu,cpuacct:/c\n3:memory:/m/n\n");
	write_file(&fixture, "/sys/fs/cgroup/memory/m/n/memory.limit_in_bytes", "9223372036854771712\n");
	write_file(&fixture, "/sys/fs/cgroup/memory/m/n/memory.usage_in_bytes", "5\n");
	write_file(&fixture, "/sys/fs/cgroup/memory/m/memory.limit_in_bytes", "209715200\n");
	write_file(&fixture, "/sys/fs/cgroup/memory/m/memory.usage_in_bytes", "104857600\n");
	write_file(&fixture, "/sys/fs/cgroup/memory/m/memory.stat",
		   "inactive_file 52428800\ntotal_inactive_file 1048576\ntotal_active_file 0\n");
	write_file(&fixture, "/sys/fs/cgroup/hugetlb/h/hugetlb.2MB.limit_in_bytes", "4194304\n");
	write_file(&fixture, "/sys/fs/cgroup/hugetlb/h/hugetlb.2MB.usage_in_bytes", "0\n");
	weir_cgroup_read(fixture.root, &fixture.room);
	cr_expect_eq(fixture.room.memory.left, 101 * MIB);
	cr_expect(strstr(fixture.room.memory.group, "/memory/m"), "%s", fixture.room.memory.group);
	cr_expect_eq(fixture.room.hugepages.left, 4 * MIB);
	end(&fixture);
}

// Without a namespace of control groups the kernel names the host's path, and the mount shows what is below it.
Test(cgroup, a_container_finds_its_own_place)
{
	static const char *const PLACES[] = { "0::/docker/x\n", "0::/\n", "0::/../elsewhere\n" };

	for (size_t i = 0; i < sizeof(PLACES) / sizeof(*PLACES); i++) {
		struct fixture fixture;

		begin(&fixture, "25 1 0:22 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup rw\n", PLACES[i]);
		write_file(&fixture, "/sys/fs/cgroup/memory.max", "104857600\n");
		write_file(&fixture, "/sys/fs/cgroup/memory.current", "0\n");
		weir_cgroup_read(fixture.root, &fixture.room);
		cr_expect_eq(fixture.room.memory.left, 100 * MIB, "%s", PLACES[i]);
		end(&fixture);
	}
}

Test(cgroup, what_cannot_be_read_limits_nothing)
{
	struct weir_cgroup_room room;

	weir_cgroup_read("/nonexistent", &room);
	cr_expect_eq(room.memory.left, WEIR_CGROUP_UNLIMITED);
	cr_expect_eq(room.hugepages.left, WEIR_CGROUP_UNLIMITED);
}
