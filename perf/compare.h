// Two results side by side, and what changed beyond noise. Repeats decide, not single figures: a figure has changed when every
// pair of repeats (the first of A with the first of B, ...) says so, the rank test gives chance at most 1 %, and the pair
// ratios spread over no more than 15 %. What spreads further is noisy, never a gain; fewer than five repeats show nothing.
// Repeats should have run in turn (A B A B ...): when they did not, that is among the cautions.
#ifndef WEIR_PERF_COMPARE_H
#define WEIR_PERF_COMPARE_H

#include <stdbool.h>
#include <stdio.h>

#include "perf/result.h"

#define WEIR_COMPARE_ROWS_MAX 16u
#define WEIR_COMPARE_CAUTIONS_MAX 64u
#define WEIR_COMPARE_REPEATS_MIN 5u
#define WEIR_COMPARE_CHANCE 0.01 // most that the rank test may leave to chance
#define WEIR_COMPARE_NOISY 0.15  // spread of pair ratios: (largest - smallest) / median

enum weir_compare_verdict {
	WEIR_COMPARE_SAME, // no change beyond noise
	WEIR_COMPARE_BETTER,
	WEIR_COMPARE_WORSE,
	WEIR_COMPARE_NOISY_SPREAD,
	WEIR_COMPARE_TOO_FEW, // repeats
};

enum weir_compare_unit { WEIR_COMPARE_COUNT, WEIR_COMPARE_NS, WEIR_COMPARE_RATIO };

struct weir_compare_side {
	double median;
	double min;
	double max;
};

// A figure of both. What differs is B over A; for ratios, which may be 0, B minus A.
struct weir_compare_row {
	const char *name;
	enum weir_compare_unit unit;
	bool more_is_better;
	bool is_difference;
	uint32_t a_count;
	uint32_t b_count;
	double a[WEIR_RESULT_RUNS_MAX]; // of each repeat
	double b[WEIR_RESULT_RUNS_MAX];
	struct weir_compare_side a_side;
	struct weir_compare_side b_side;
	struct weir_compare_side change; // of pairs
	double spread;  // of pair ratios; 0 for differences
	double chance;  // rank test
	bool is_apart;  // no repeat of one side reaches into the other's
	enum weir_compare_verdict verdict;
};

struct weir_compare {
	const struct weir_result *a;
	const struct weir_result *b;
	uint32_t row_count;
	struct weir_compare_row rows[WEIR_COMPARE_ROWS_MAX];
	uint32_t caution_count; // what makes the comparison doubtful, and how the two differ in conditions
	char cautions[WEIR_COMPARE_CAUTIONS_MAX][2 * WEIR_RESULT_TEXT + WEIR_RESULT_NAME + 64];
};

const char *weir_compare_verdict_name(enum weir_compare_verdict verdict);

// Compares; both results are kept by reference. 0, -EINVAL when one has no run, -ENOMEM.
int weir_compare(const struct weir_result *a, const struct weir_result *b, struct weir_compare *compare);

// How many figures got worse, respectively better.
uint32_t weir_compare_count(const struct weir_compare *compare, enum weir_compare_verdict verdict);

// As text for a terminal, as JSON, as a page. Names are those of the files. 0 or -errno; the page sets `error`.
void weir_compare_print(const struct weir_compare *compare, const char *const names[2], FILE *stream);
int weir_compare_write_json(const struct weir_compare *compare, const char *const names[2], FILE *stream);
int weir_compare_write_html(const struct weir_compare *compare, const char *const names[2], FILE *stream,
			    char error[WEIR_RESULT_ERROR]);

#endif
