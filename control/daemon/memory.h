// Whether the memory of new topics is there, asked before any of it is taken: the kernel would rather hand out pages it does
// not have and kill somebody later. Control thread.
#ifndef WEIR_DAEMON_MEMORY_H
#define WEIR_DAEMON_MEMORY_H

#include <stdint.h>

#include "control/daemon/parts.h"

struct weir_memory {
	uint64_t available; // bytes that can be had without pushing anybody out
	uint64_t hugepages; // bytes in free hugepages, which are not in `available`
};

// Of a NUMA node, or of the whole machine where the kernel does not tell nodes apart. 0 or -errno.
int weir_memory_read(uint32_t node, struct weir_memory *memory);

// Text of a meminfo file (/proc/meminfo or a node's). Separate for tests.
void weir_memory_parse(const char *text, struct weir_memory *memory);

// Sums the new topics of the target by node and for the process's control groups, and the descriptors that their logs are. 0,
// or -ENOMEM or -EMFILE with *trouble naming the first topic that does not fit.
int weir_memory_check(const struct weir_router_target *target, struct weir_trouble *trouble);

// Whether `need` bytes for workers can be had at all. 0, or -ENOMEM with *trouble.
int weir_memory_check_start(uint64_t need, const struct weir_machine *machine, struct weir_trouble *trouble);

#endif
