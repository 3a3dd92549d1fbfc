// The machine as the planner sees it: plain data, read from hwloc by the daemon, written by hand in tests.
#ifndef WEIR_MODEL_MACHINE_H
#define WEIR_MODEL_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#define WEIR_MACHINE_CPUS_MAX 1024u // further CPUs are not used
#define WEIR_MACHINE_NODES_MAX 64u
#define WEIR_MACHINE_NICS_MAX 256u

struct weir_machine_cpu {
	uint32_t cpu; // number as the OS counts
	uint32_t core; // physical core, numbered over the machine
	uint32_t node; // OS number of its NUMA node
	uint32_t l3; // which L3, numbered over the machine
	uint64_t l2_bytes; // 0: unknown
	uint64_t l3_bytes; // of the whole L3, 0: none
	bool is_sibling; // not the first thread of its core
};

struct weir_machine_node {
	uint32_t node; // OS number
	uint64_t memory_bytes;
};

struct weir_machine_nic {
	char name[16];
	int32_t node; // -1: the machine does not say
};

struct weir_machine {
	struct weir_machine_cpu cpus[WEIR_MACHINE_CPUS_MAX]; // those this process may use, in the machine's order
	uint32_t cpu_count;
	struct weir_machine_node nodes[WEIR_MACHINE_NODES_MAX];
	uint32_t node_count;
	struct weir_machine_nic nics[WEIR_MACHINE_NICS_MAX];
	uint32_t nic_count;
};

#endif
