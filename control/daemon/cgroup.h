// What the control groups of this process still let it have, of versions 1 and 2: in a container the machine's free memory
// says nothing, and who goes past the group's limit is killed. Control thread.
#ifndef WEIR_DAEMON_CGROUP_H
#define WEIR_DAEMON_CGROUP_H

#include <stdint.h>

#define WEIR_CGROUP_UNLIMITED UINT64_MAX

struct weir_cgroup_limit {
	uint64_t left; // bytes, with what the kernel could give back; WEIR_CGROUP_UNLIMITED: no group limits it
	uint64_t limit; // of the group with the least left
	char group[160]; // its directory
};

struct weir_cgroup_room {
	struct weir_cgroup_limit memory; // ordinary pages
	struct weir_cgroup_limit hugepages; // of 2 MiB
};

// `root` stands before /proc and every mount point: "" on a real host, a directory in tests. What cannot be read limits
// nothing.
void weir_cgroup_read(const char *root, struct weir_cgroup_room *room);

#endif
