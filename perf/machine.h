// What machine a load test ran on and how the router is placed on it, in words, for its result: a figure without its machine
// is worth nothing. Reads /proc and /sys once, before or after a run, never during it.
#ifndef WEIR_PERF_MACHINE_H
#define WEIR_PERF_MACHINE_H

#include "perf/result.h"

// Adds cpu, cores, caches, numa, memory, hugepages, governor, isolated cores, kernel, system, hypervisor, versions. What this
// machine does not tell is left out. 0 or -ENOSPC.
int weir_machine_facts(struct weir_result_facts *facts);

// Adds what `weirctl --json status` said (its text): router's version, poll mode, each worker's core and why, each port, each
// topic. 0, -EINVAL when it is not such a text, -ENOSPC.
int weir_machine_placement(struct weir_result_facts *facts, const char *status_json);

#endif
