// DPDK's environment: started at the first port that needs it, never for kernel ports. DPDK ends the process when it
// panics, so everything it would panic about is checked here first.
#ifndef WEIR_IO_EAL_H
#define WEIR_IO_EAL_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/io/fault.h"

enum weir_eal_memory {
	WEIR_EAL_HUGEPAGES,   // ports' buffers in hugepages
	WEIR_EAL_ORDINARY,    // --no-huge: tests, and hosts where hugepages are off
};

struct weir_eal_config {
	const char *instance;  // its file prefix is weir-<instance>
	enum weir_eal_memory memory;
	uint32_t memory_mb;    // most it may take; 0: 512
	bool needs_pci;
};

// Control thread, once per process; a second call with EAL running returns 0. The caller's CPU affinity is kept.
// -ENOMEM no hugepages, -EACCES not permitted, -ENOTSUP CPU, or what DPDK said.
int weir_eal_start(const struct weir_eal_config *config, struct weir_fault *fault);
bool weir_eal_is_running(void);
// After all ports are closed. EAL cannot be started again in this process.
void weir_eal_stop(void);

#endif
