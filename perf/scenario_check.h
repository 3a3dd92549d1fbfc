// Checks between a scenario's keys, with the place of each mistake. Called by perf/scenario.c after the tables are bound.
#ifndef WEIR_PERF_SCENARIO_CHECK_H
#define WEIR_PERF_SCENARIO_CHECK_H

#include "control/daemon/binder.h"
#include "perf/scenario.h"

// Resolves names to indices, adds the groups that consumers name to their topics. 0, -EINVAL with the binder's trouble, or
// -ENOMEM.
int weir_scenario_check(struct weir_binder *binder, struct weir_scenario *scenario);

#endif
