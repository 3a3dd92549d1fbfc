// Writes the page of a made-up result, of two compared, or of a search, to a file, and the short form to standard output:
// report_test.py reads both.
#include "perf/report.h"

#include <string.h>

#include "perf/compare.h"
#include "perf/search_show.h"
#include "tests/unit/perf/sample.h"

static int compare_page(const char *path, char error[WEIR_RESULT_ERROR])
{
	static const char *const NAMES[] = { "a <1>.json", "b.json" };
	static struct weir_compare compare;
	struct weir_result a = { 0 };
	struct weir_result b = { 0 };
	sample_fill_noisy(&a, 5, 1, 0.005, 1);
	sample_fill_noisy(&b, 5, 1.1, 0.005, 2);
	FILE *stream = fopen(path, "w");
	int code = stream ? weir_compare(&a, &b, &compare) : -1;
	if (code == 0)
		code = weir_compare_write_html(&compare, NAMES, stream, error);
	if (code == 0)
		weir_compare_print(&compare, NAMES, stdout);
	if (stream)
		fclose(stream);
	weir_result_fini(&a);
	weir_result_fini(&b);
	return code;
}

// A router that forwards at most 1.2 M events/s, searched for no loss and for a loss of 2 %.
static int search_page(const char *path, char error[WEIR_RESULT_ERROR])
{
	static struct weir_search search;
	static struct weir_search_detail details[WEIR_SEARCH_TRIALS_MAX];
	struct weir_search_goal goal = { .width = 0.01, .initial_s = 0.5, .final_s = 2, .sum_s = 2 };
	struct weir_search_input input = { .rate_min = 1000, .rate_max = 1e7, .goal_count = 2, .goals = { goal, goal } };
	struct weir_result head = { 0 };
	double rate, duration_s;
	input.goals[1].loss_ratio = 0.02;
	sample_fill(&head, 0, 1, 1);
	if (weir_search_init(&search, &input, error))
		return -1;
	while (weir_search_next_trial(&search, &rate, &duration_s)) {
		uint64_t intended = (uint64_t)(rate * duration_s);
		uint64_t forwarded = (uint64_t)(1.2e6 * duration_s);
		uint64_t gone = intended > forwarded ? intended - forwarded : 0;
		struct weir_search_trial trial = { rate, duration_s, duration_s, intended, gone };
		details[search.trial_count] = (struct weir_search_detail){ .missed = gone, .lag_p99_ns = 900,
									  .is_generator_late = rate > 5e6 };
		weir_search_feed(&search, &trial);
	}
	struct weir_search_document document = { &head, &search, details, false };
	FILE *stream = fopen(path, "w");
	int code = stream ? weir_search_write_html(&document, stream, error) : -1;
	if (stream)
		fclose(stream);
	weir_search_print(&document, stdout);
	if (code == 0)
		code = weir_search_write_json(&document, stdout);
	return code;
}

// A result of one run: `speed` as given, for the verbs that read files.
static int result_file(const char *path, const char *speed, const char *seed, char error[WEIR_RESULT_ERROR])
{
	struct weir_result result = { 0 };
	sample_fill_noisy(&result, 1, atof(speed), 0.005, (unsigned)atoi(seed));
	snprintf(result.label, sizeof(result.label), "speed %s", speed);
	result.runs[0]->start_unix_ns += (uint64_t)atoi(seed);
	int code = weir_result_save(&result, path, error);
	weir_result_fini(&result);
	return code;
}

static int report_page(const char *path, bool is_empty, char error[WEIR_RESULT_ERROR])
{
	struct weir_result result = { 0 };
	if (!is_empty) {
		sample_fill(&result, 3, 1.0, 1);
		result.runs[1]->is_passed = true;
	}
	int code = weir_report_save_html(&result, path, error);
	if (code == 0)
		weir_report_print(&result, stdout);
	weir_result_fini(&result);
	return code;
}

int main(int argc, char **argv)
{
	char error[WEIR_RESULT_ERROR] = "";
	const char *what = argc > 2 ? argv[2] : "";
	if (argc < 2) {
		fputs("usage: report_sample FILE [empty | compare | search | result SPEED SEED]\n", stderr);
		return 2;
	}
	int code;
	if (strcmp(what, "compare") == 0)
		code = compare_page(argv[1], error);
	else if (strcmp(what, "result") == 0 && argc == 5)
		code = result_file(argv[1], argv[3], argv[4], error);
	else if (strcmp(what, "search") == 0)
		code = search_page(argv[1], error);
	else
		code = report_page(argv[1], strcmp(what, "empty") == 0, error);
	if (code)
		fprintf(stderr, "%s\n", error);
	return code ? 1 : 0;
}
