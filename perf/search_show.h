// What a search did and found, for people and programs: text, JSON, page.
#ifndef WEIR_PERF_SEARCH_SHOW_H
#define WEIR_PERF_SEARCH_SHOW_H

#include <stdbool.h>
#include <stdio.h>

#include "perf/result.h"
#include "perf/search.h"

// What a trial was made of; the search itself knows only the sum. Same index as weir_search.trials.
struct weir_search_detail {
	uint64_t lost;
	uint64_t refused;
	uint64_t missed;
	uint64_t late; // arrived, but later than allowed; 0 when nothing was
	uint64_t lag_p99_ns;     // the generator's own lateness
	uint64_t latency_p99_ns;
	bool is_generator_late;  // beyond the scenario's limit: the trial says as much about the generator as about the router
	uint32_t discarded;      // tries before it, thrown away because the generator was late and events were lost
};

struct weir_search_document {
	const struct weir_result *head; // scenario, parameters, machine, placement, selftest; without runs
	const struct weir_search *search;
	const struct weir_search_detail *details;
	bool is_cut; // stopped, or out of time, before every goal had its result
};

// Whether the generator was late in a trial at the goal's upper bound: then that bound is the generator's.
bool weir_search_is_generator_bound(const struct weir_search_document *document, uint32_t goal);

void weir_search_print(const struct weir_search_document *document, FILE *stream);

// 0 or -errno; the page sets `error`.
int weir_search_write_json(const struct weir_search_document *document, FILE *stream);
int weir_search_write_html(const struct weir_search_document *document, FILE *stream, char error[WEIR_RESULT_ERROR]);

#endif
