// The generator looped to the sink, without a router between them: what the load tool can do and what its clock is worth, known
// before it judges anybody else. The same sources, payloads, accounts and histograms as in a run; between them once a ring in
// memory, once a pair of UDP sockets on the loopback, once a lane's shared memory. A few threads of its own while it runs.
#ifndef WEIR_PERF_SELFTEST_H
#define WEIR_PERF_SELFTEST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "perf/result.h"

enum weir_selftest_way {
	WEIR_SELFTEST_MEMORY = 0,
	WEIR_SELFTEST_UDP,
	WEIR_SELFTEST_LANE,
	WEIR_SELFTEST_WAYS
};

// One way, flat out and then paced.
struct weir_selftest_loop {
	uint64_t events; // sent, in both parts
	uint64_t received; // different ones
	uint64_t lost, duplicated, reordered, damaged;
	double rate_max; // events/s, flat out
	double rate_paced; // events/s asked for in the paced part
	struct weir_histogram latency; // ns, paced, from the intended time
	struct weir_histogram lag; // ns, paced: sent after the intended time
};

struct weir_selftest_details {
	double clock_read_ns;        // what reading the clock costs
	uint64_t clock_backwards;    // times a core's clock was behind what another one had read before
	uint64_t clock_backwards_ns; // the worst of them
	struct weir_histogram overshoot; // ns, a timed sleep of 200 us ended so much later
	struct weir_selftest_loop loops[WEIR_SELFTEST_WAYS];
};

const char *weir_selftest_way_name(enum weir_selftest_way way);

// Takes about length_ns. The summary's rate and latencies are those of `way`. details may be NULL. Returns 0 also when the test
// is not passed; -errno with `error` when it could not be done.
int weir_selftest_run(struct weir_result_selftest *summary, enum weir_selftest_way way, uint64_t length_ns,
		      struct weir_selftest_details *details, char error[WEIR_RESULT_ERROR]);

void weir_selftest_print(const struct weir_result_selftest *summary, const struct weir_selftest_details *details, bool is_json,
			 FILE *stream);

#endif
