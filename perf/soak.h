// Soak runs: one steady load cut into equal parts, so that a drift of latency or of the router's memory shows as a difference
// between early parts and late ones. Pure functions on scenario and result.
#ifndef WEIR_PERF_SOAK_H
#define WEIR_PERF_SOAK_H

#include "perf/result.h"
#include "perf/scenario.h"

#define WEIR_SOAK_PARTS 20u // the first is warm-up and not judged

// Replaces the scenario's steps by equal parts of `length_ns` in sum at the first step's load; who would join later is there
// from the beginning. 0 or -ENOMEM.
int weir_soak_prepare(struct weir_scenario *scenario, uint64_t length_ns);

// Adds what drifted to the result's parameters; a run that drifted beyond its own noise is not passed.
void weir_soak_judge(struct weir_result *result);

#endif
