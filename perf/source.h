// What one producer of a scenario sends next: its share of a pattern, or of a trace. A pure function of scenario, place among
// the producers and seed; the producer's thread asks it.
#ifndef WEIR_PERF_SOURCE_H
#define WEIR_PERF_SOURCE_H

#include <stdint.h>

#include "perf/pattern.h"
#include "perf/scenario.h"
#include "perf/trace.h"

struct weir_source_event {
	uint64_t time_ns; // since the run's start; UINT64_MAX: there is none any more
	uint32_t key;     // index
	uint32_t size;    // payload, bytes
	uint32_t step;    // of the scenario
};

struct weir_source {
	struct weir_source_event next;
	struct weir_profile profile;
	struct weir_arrivals arrivals;
	struct weir_keys keys;
	struct weir_sizes sizes;
	const struct weir_trace *trace; // NULL: the pattern above
	double speed;
	uint64_t length_ns;
	uint64_t round;
	uint32_t at; // in the trace
	uint32_t member, members;
	uint32_t piece;
};

// Producer `member` of the set; trace: that of the set, or NULL. `next` is its first event afterwards.
void weir_source_init(struct weir_source *source, const struct weir_scenario *scenario,
		      const struct weir_scenario_producers *producers, const struct weir_trace *trace, uint32_t member,
		      uint64_t seed);
void weir_source_advance(struct weir_source *source);

uint32_t weir_source_key_count(const struct weir_source *source);
uint32_t weir_source_size_max(const struct weir_source *source);

#endif
