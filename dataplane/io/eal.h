// DPDK's environment: started at the first port that needs it, never for kernel ports. DPDK ends the process when it
// panics, so everything it would panic about is checked here first.
#ifndef WEIR_IO_EAL_H
#define WEIR_IO_EAL_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "dataplane/io/fault.h"

enum weir_eal_memory {
	WEIR_EAL_HUGEPAGES,   // ports' buffers in hugepages
	WEIR_EAL_ORDINARY,    // ordinary pages: hosts where hugepages are off
	WEIR_EAL_PREFER,      // hugepages when enough are free, else ordinary pages
};

struct weir_eal_config {
	const char *instance;  // its file prefix is weir-<instance>
	enum weir_eal_memory memory;
	uint32_t memory_mb;    // what ports need: checked for hugepages, taken of ordinary pages; 0: 256
	bool needs_pci;
	FILE *log;             // what it says after its start; NULL: stderr
	cpu_set_t polled;      // cores of workers: DPDK's own threads stay off them where there are others
};

// Control thread, once per process; a second call while EAL runs returns 0. The caller's CPU affinity is kept.
// -ENOMEM no hugepages, -ENOTSUP CPU, or what DPDK said.
int weir_eal_start(const struct weir_eal_config *config, struct weir_fault *fault);
// A worker's own thread makes itself known to DPDK (buffers' caches per thread) and says goodbye. -ENOMEM: too many threads.
int weir_eal_enter(void);
void weir_eal_leave(void);
// After all ports are closed. EAL cannot be started again in this process.
void weir_eal_stop(void);

#endif
