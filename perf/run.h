// Runs scenarios: starts producers and consumers, each a client of its own, keeps the schedule, watches the machine and the
// router meanwhile, and judges afterwards what became of every event. Where clients run: threads by default, processes where a
// step kills them, one polling thread for all over a DPDK port. The caller's thread conducts.
#ifndef WEIR_PERF_RUN_H
#define WEIR_PERF_RUN_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "perf/result.h"
#include "perf/scenario.h"

struct weir_run;

// What is not set (zero) takes its default.
struct weir_run_options {
	const char *router;   // weir_open()'s address, "dpdk:DEVARGS,..." (perf/link.h), or "spawn", "spawn:unix":
			      // a daemon of its own, spoken to over UDP or lanes
	const char *instance; // of the router, for weirctl; NULL: not asked (spawn knows its own)
	const char *label;    // the result's
	bool has_progress;    // a line a second on stderr
	bool needs_selftest;  // weir_run_open() tests generator and clock first, about half a second
	uint64_t seed;        // of everything random; 0: 1
	uint32_t spin_us;     // busy-wait so long before an event is due, instead of sleeping; 0: never
	const volatile sig_atomic_t *stop; // not 0: end the schedule now, drain, judge
};

// Reads traces, starts the router when asked to, tests the generator. The scenario stays the caller's and must outlive the
// run. On failure `error` says object, action, reason and fix.
int weir_run_open(struct weir_run **run, const struct weir_scenario *scenario, const struct weir_run_options *options,
		  char error[WEIR_RESULT_ERROR]);
void weir_run_close(struct weir_run *run);

// The whole scenario once, as one more run of the result. Returns 0 also when the verdict is bad: is_passed and verdict tell.
int weir_run_once(struct weir_run *run, struct weir_result *result, char error[WEIR_RESULT_ERROR]);

// A trial for searches: all steps replaced by one of `seconds` with all producers together at `rate` events/s; consumers that
// would join later are there from the beginning, nobody is slowed or killed. *out is a run of some result.
int weir_run_trial(struct weir_run *run, double rate, double seconds, struct weir_result_run *out,
		   char error[WEIR_RESULT_ERROR]);

// Fills the result's head: scenario, parameters, machine, placement, self-test.
int weir_run_describe(struct weir_run *run, struct weir_result *result);

#endif
