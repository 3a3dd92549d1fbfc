// The highest rate at which a router loses no more than a goal allows, found by Multiple Loss Ratio Search: the method of
// draft-ietf-bmwg-mlrsearch (version 15, RFC 9971), whose terms are named here. This is its Controller, a pure module: ask it
// for the next trial, run that trial by any means, feed its result back, until it asks for no more. It knows no clock, no I/O.
//
// Kept from it: Load Classification with short and full-length trials (appendix Load Classification Code), Relevant Lower and
// Upper Bound, Goal Width, Conditional Throughput (appendix of that name), Regular and Irregular Goal Result.
// Simplified: a load is one number of whole events/s; Goal Width is relative; a goal is approached in phases whose
// trial durations grow geometrically from the Goal Initial to the Goal Final Trial Duration while widths halve, each
// before the last content with one trial's Duration Sum; within a phase steps away from the last bound double until they
// would pass the middle. All goals judge the same trials.
#ifndef WEIR_PERF_SEARCH_H
#define WEIR_PERF_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

#define WEIR_SEARCH_GOALS_MAX 8u
#define WEIR_SEARCH_TRIALS_MAX 2048u // more: the search ends, what is not found is irregular
#define WEIR_SEARCH_PHASES_MAX 4u
#define WEIR_SEARCH_ERROR 256u

// Search Goal.
struct weir_search_goal {
	double loss_ratio;   // Goal Loss Ratio: a trial that loses more has high loss; 0 <= x < 1
	double exceed_ratio; // Goal Exceed Ratio: share of the time that may have high loss; 0 <= x < 1
	double width;        // Goal Width: 1 - lower / upper of the bounds, when they are close enough; 0 < x < 1
	double initial_s;    // Goal Initial Trial Duration, at most final_s
	double final_s;      // Goal Final Trial Duration
	double sum_s;        // Goal Duration Sum: time a load is tried at full length before it is judged; at least final_s
};

// Controller Input.
struct weir_search_input {
	double rate_min;  // Min Load, events/s, at least 1
	double rate_max;  // Max Load
	double seconds_max; // of all trials together, 0: no limit
	uint32_t goal_count;
	struct weir_search_goal goals[WEIR_SEARCH_GOALS_MAX];
};

// Trial Input and Trial Output.
struct weir_search_trial {
	double rate;       // Trial Load, events/s
	double duration_s; // Trial Duration, as asked for
	double took_s;     // Trial Effective Duration; less than duration_s counts as duration_s
	uint64_t intended; // events of the schedule
	uint64_t lost;     // of them: lost, refused, or missed their time
};

enum weir_search_class {
	WEIR_SEARCH_UNDECIDED = 0,
	WEIR_SEARCH_LOWER, // Lower Bound
	WEIR_SEARCH_UPPER, // Upper Bound
};

// Goal Result.
struct weir_search_result {
	bool is_regular;     // both bounds are there and as close as the Goal Width
	bool is_at_max;      // not regular: Max Load is a Lower Bound
	bool is_at_min;      // not regular: Min Load is an Upper Bound
	double lower;        // Relevant Lower Bound, events/s; 0: none
	double upper;        // Relevant Upper Bound; 0: none
	double conditional;  // Conditional Throughput at the Relevant Lower Bound, events/s that arrived
	double full_s;       // time tried at the Relevant Lower Bound with full-length trials
};

// Where one goal stands; private.
struct weir_search_state {
	uint32_t phase;
	int32_t streak;   // moves in one direction: +2 the last two loads were Lower Bounds
	double pending;   // load under trial, 0: none
	double hint_low;  // bounds of the phase before
	double hint_high;
	bool is_done;
};

struct weir_search {
	struct weir_search_input input;
	struct weir_search_state states[WEIR_SEARCH_GOALS_MAX];
	uint32_t trial_count;
	double seconds; // of all trials
	struct weir_search_trial trials[WEIR_SEARCH_TRIALS_MAX];
};

// 0, or -EINVAL when the input contradicts itself; `error` then says what, and what it has to be.
int weir_search_init(struct weir_search *search, const struct weir_search_input *input, char error[WEIR_SEARCH_ERROR]);

// The trial to run next; false: every goal has its result, or a limit was reached. Asking twice gives the same answer.
bool weir_search_next_trial(struct weir_search *search, double *rate, double *duration_s);

// The result of a trial, normally the one asked for; any other is judged as well. 0 or -ENOSPC, -EINVAL (nothing intended).
int weir_search_feed(struct weir_search *search, const struct weir_search_trial *trial);

// How the trials at `rate` so far judge it for a goal, at full length.
enum weir_search_class weir_search_classify(const struct weir_search *search, uint32_t goal, double rate);

struct weir_search_result weir_search_result(const struct weir_search *search, uint32_t goal);

// Share of the intended events that a trial lost: Trial Loss Ratio.
static inline double weir_search_loss_ratio(const struct weir_search_trial *trial)
{
	return (double)trial->lost / (double)trial->intended;
}

#endif
