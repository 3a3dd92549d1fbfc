// `weirperf search`: the controller of perf/search.h tells what to try, weir_run_trial() tries it, the pages of
// perf/search_show.h tell what came of it. What counts as loss of a trial under a lossless router is decided here: every
// intended event that was lost, refused, missed its send time, or, when a limit was given, arrived late.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/stop.h"
#include "lib/usage.h"
#include "perf/run.h"
#include "perf/search_show.h"
#include "perf/verbs.h"

#define TRIES_MAX 3u // of a trial, until the generator is in time

static const char USAGE[] =
	"usage: weirperf search SCENARIO.yaml [OPTION...]\n"
	"  --loss RATIO       a goal: at most this share of events lost; up to 8 of them (0 and 0.005)\n"
	"  --exceed RATIO     share of the time that may lose more (0.2)\n"
	"  --width RATIO      how close the bounds shall be (0.01)\n"
	"  --initial S        length of the first trials (0.5)\n"
	"  --final S          length of the trials that count (2)\n"
	"  --sum S            how long a rate is tried before it is judged (10)\n"
	"  --late S           what arrives later than this after its intended time counts as lost (no limit)\n"
	"  --min R, --max R   events/s of all producers together (1000, what the generator reached in its selftest)\n"
	"  --limit S          end the search after so many seconds of trials\n"
	"  --router ADDRESS, --instance NAME, --seed N, --spin US, --label TEXT   as for weirperf run\n"
	"  --output FILE      save goals and trials as JSON\n"
	"  --html FILE        save them as one page\n"
	"  --json             print them as JSON, not as text\n"
	"  --quiet            no line a trial on stderr\n";

struct options {
	struct weir_run_options run;
	struct weir_search_input input;
	struct weir_search_goal goal; // what all goals share
	double late_s; // 0: no limit
	const char *path, *output, *html;
	bool is_json, is_quiet;
};

// Those whose values are numbers come last.
enum option_id {
	OPTION_ROUTER = 256, OPTION_INSTANCE, OPTION_LABEL, OPTION_OUTPUT, OPTION_HTML, OPTION_JSON, OPTION_QUIET,
	OPTION_LOSS, OPTION_EXCEED, OPTION_WIDTH, OPTION_INITIAL, OPTION_FINAL, OPTION_SUM, OPTION_LATE, OPTION_MIN, OPTION_MAX,
	OPTION_LIMIT, OPTION_SEED, OPTION_SPIN,
};

static const struct option OPTIONS[] = {
	{ "loss", required_argument, NULL, OPTION_LOSS },
	{ "exceed", required_argument, NULL, OPTION_EXCEED },
	{ "width", required_argument, NULL, OPTION_WIDTH },
	{ "initial", required_argument, NULL, OPTION_INITIAL },
	{ "final", required_argument, NULL, OPTION_FINAL },
	{ "sum", required_argument, NULL, OPTION_SUM },
	{ "late", required_argument, NULL, OPTION_LATE },
	{ "min", required_argument, NULL, OPTION_MIN },
	{ "max", required_argument, NULL, OPTION_MAX },
	{ "limit", required_argument, NULL, OPTION_LIMIT },
	{ "router", required_argument, NULL, OPTION_ROUTER },
	{ "instance", required_argument, NULL, OPTION_INSTANCE },
	{ "seed", required_argument, NULL, OPTION_SEED },
	{ "spin", required_argument, NULL, OPTION_SPIN },
	{ "label", required_argument, NULL, OPTION_LABEL },
	{ "output", required_argument, NULL, OPTION_OUTPUT },
	{ "html", required_argument, NULL, OPTION_HTML },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "quiet", no_argument, NULL, OPTION_QUIET },
	{ NULL, 0, NULL, 0 },
};

static void help(FILE *out)
{
	fputs(USAGE, out);
}

static struct lib_program program = {
	.name = "weirperf search",
	.version = WEIR_PERF_VERSION,
	.help = help,
	.options = OPTIONS,
};

static int goal_add(struct options *options, double loss_ratio)
{
	char reason[64];
	snprintf(reason, sizeof(reason), "a search has at most %u goals", WEIR_SEARCH_GOALS_MAX);
	if (options->input.goal_count == WEIR_SEARCH_GOALS_MAX)
		return lib_usage_wrong(&program, "--loss", reason, "leave some out");
	options->input.goals[options->input.goal_count++].loss_ratio = loss_ratio;
	return 0;
}

// 0, or LIB_STATUS_USAGE.
static int number_set(struct options *options, int id, const struct option *row, const char *text)
{
	static const double RANGES[][2] = {
		[OPTION_LOSS - OPTION_LOSS] = { 0, 0.99 },     [OPTION_EXCEED - OPTION_LOSS] = { 0, 0.99 },
		[OPTION_WIDTH - OPTION_LOSS] = { 1e-6, 0.5 },  [OPTION_INITIAL - OPTION_LOSS] = { 0.05, 3600 },
		[OPTION_FINAL - OPTION_LOSS] = { 0.05, 86400 }, [OPTION_SUM - OPTION_LOSS] = { 0.05, 86400 },
		[OPTION_LATE - OPTION_LOSS] = { 1e-6, 3600 },  [OPTION_MIN - OPTION_LOSS] = { 1, 1e9 },
		[OPTION_MAX - OPTION_LOSS] = { 2, 1e9 },       [OPTION_LIMIT - OPTION_LOSS] = { 0.1, 1e7 },
		[OPTION_SEED - OPTION_LOSS] = { 1, 1e15 },     [OPTION_SPIN - OPTION_LOSS] = { 0, 1000 },
	};
	double number;
	if (lib_usage_amount(&program, row, text, RANGES[id - OPTION_LOSS], &number))
		return LIB_STATUS_USAGE;
	switch (id) {
	case OPTION_LOSS: return goal_add(options, number);
	case OPTION_EXCEED: options->goal.exceed_ratio = number; break;
	case OPTION_WIDTH: options->goal.width = number; break;
	case OPTION_INITIAL: options->goal.initial_s = number; break;
	case OPTION_FINAL: options->goal.final_s = number; break;
	case OPTION_SUM: options->goal.sum_s = number; break;
	case OPTION_LATE: options->late_s = number; break;
	case OPTION_MIN: options->input.rate_min = number; break;
	case OPTION_MAX: options->input.rate_max = number; break;
	case OPTION_LIMIT: options->input.seconds_max = number; break;
	case OPTION_SEED: options->run.seed = (uint64_t)number; break;
	default: options->run.spin_us = (uint32_t)number; break;
	}
	return 0;
}

static int option_set(struct options *options, int id, const struct option *row, const char *text)
{
	switch (id) {
	case OPTION_ROUTER: options->run.router = text; return 0;
	case OPTION_INSTANCE: options->run.instance = text; return 0;
	case OPTION_LABEL: options->run.label = text; return 0;
	case OPTION_OUTPUT: options->output = text; return 0;
	case OPTION_HTML: options->html = text; return 0;
	case OPTION_JSON: options->is_json = true; return 0;
	case OPTION_QUIET: options->is_quiet = true; return 0;
	default: return number_set(options, id, row, text);
	}
}

static void goals_complete(struct options *options)
{
	if (options->input.goal_count == 0) {
		options->input.goal_count = 2;
		options->input.goals[1].loss_ratio = 0.005;
	}
	for (uint32_t i = 0; i < options->input.goal_count; i++) {
		double ratio = options->input.goals[i].loss_ratio;
		options->input.goals[i] = options->goal;
		options->input.goals[i].loss_ratio = ratio;
	}
}

// 0; 1: help was printed; -1: a mistake was said.
static int options_read(struct options *options, int argc, char **argv)
{
	*options = (struct options){
		.run = { .router = "spawn", .needs_selftest = true, .stop = lib_stop_word() },
		.input = { .rate_min = 1000 },
		.goal = { .exceed_ratio = 0.2, .width = 0.01, .initial_s = 0.5, .final_s = 2, .sum_s = 10 },
	};
	const struct option *row = NULL;
	int id;
	lib_usage_begin(&program, argc, argv);
	while ((id = lib_usage_next(&program, argc, argv, &row)) >= 0) {
		if (option_set(options, id, row, optarg))
			return -1;
	}
	if (id != LIB_OPTIONS_END)
		return id == LIB_OPTIONS_DONE ? 1 : -1;
	if (argc - optind != 1) {
		lib_usage_wrong(&program, "command line", "it names no scenario, or several", "weirperf search SCENARIO.yaml");
		return -1;
	}
	options->path = argv[optind];
	goals_complete(options);
	return 0;
}

// All of it on the heap: each is large.
struct work {
	struct weir_search search;
	struct weir_search_detail details[WEIR_SEARCH_TRIALS_MAX];
	struct weir_result head;
	struct weir_result trial; // one run at a time
	struct weir_search_document document;
	uint64_t lag_limit_ns; // the scenario's
	uint64_t late_ns;      // 0: no limit
	double discarded_s;    // took the trials that were thrown away
	char error[WEIR_RESULT_ERROR];
};

static bool is_out_of_time(const struct work *work)
{
	double limit_s = work->search.input.seconds_max;
	return limit_s > 0 && work->search.seconds + work->discarded_s >= limit_s;
}

// What the run says, as a trial of the search and its parts.
static void trial_read(const struct work *work, const struct weir_result_run *run, struct weir_search_trial *trial,
		       struct weir_search_detail *detail)
{
	const struct weir_result_counts *counts = &run->counts;
	// Latencies are counted a delivery, loss an event.
	uint64_t groups = counts->acknowledged ? counts->expected / counts->acknowledged : 1;
	if (work->late_ns)
		detail->late = weir_histogram_above(&run->latency, work->late_ns) / (groups ? groups : 1);
	// What was sent too late arrives too late as well: counted once, beside what was never sent.
	uint64_t never = counts->intended > counts->published ? counts->intended - counts->published : 0;
	uint64_t behind = detail->late + never > counts->missed ? detail->late + never : counts->missed;
	uint64_t gone = counts->lost + counts->refused + behind;
	trial->took_s = (double)run->duration_ns / 1e9;
	trial->intended = counts->intended;
	// An event may both miss its time and be lost afterwards.
	trial->lost = gone < counts->intended ? gone : counts->intended;
	detail->lost = counts->lost;
	detail->refused = counts->refused;
	detail->missed = counts->missed;
	detail->lag_p99_ns = weir_histogram_percentile(&run->lag, 0.99);
	detail->latency_p99_ns = weir_histogram_percentile(&run->latency, 0.99);
	detail->is_generator_late = detail->lag_p99_ns > work->lag_limit_ns;
}

static void trial_tell(const struct work *work, const struct weir_search_trial *trial)
{
	const struct weir_search_detail *detail = &work->details[work->search.trial_count];
	fprintf(stderr, "trial %u: %.0f events/s for %.2f s: lost %lu, refused %lu, missed %lu, late %lu of %lu%s\n",
		work->search.trial_count + 1, trial->rate, trial->duration_s, detail->lost, detail->refused, detail->missed,
		detail->late, trial->intended, detail->is_generator_late ? "; the generator was late" : "");
	if (detail->discarded)
		fprintf(stderr, "  tried %u times, because the generator was late\n", detail->discarded + 1);
}

static int trial_run(struct work *work, struct weir_run *run, struct weir_search_trial *trial)
{
	struct weir_result_run *out = weir_result_run_add(&work->trial);
	int code = out ? weir_run_trial(run, trial->rate, trial->duration_s, out, work->error) : -ENOMEM;
	if (code == 0)
		trial_read(work, out, trial, &work->details[work->search.trial_count]);
	weir_result_fini(&work->trial);
	return code;
}

// A trial that loses events while the generator is late says nothing about the router: it is run again before it is believed.
// Beyond what the generator can do it stays late.
static int trial_repeat(struct work *work, struct weir_run *run, struct weir_search_trial *trial)
{
	struct weir_search_detail *detail = &work->details[work->search.trial_count];
	int code = 0;
	for (uint32_t tried = 0; tried < TRIES_MAX && code == 0; tried++) {
		code = trial_run(work, run, trial);
		detail->discarded = tried;
		if (lib_stop_signal() || !detail->is_generator_late || trial->lost == 0 || is_out_of_time(work))
			break;
		work->discarded_s += trial->took_s;
	}
	return code;
}

static int search_run(struct work *work, struct weir_run *run, bool is_quiet)
{
	struct weir_search_trial trial = { 0 };
	int code = 0;
	while (!lib_stop_signal() && !is_out_of_time(work) &&
	       weir_search_next_trial(&work->search, &trial.rate, &trial.duration_s)) {
		code = trial_repeat(work, run, &trial);
		if (code || lib_stop_signal())
			break;
		if (!is_quiet)
			trial_tell(work, &trial);
		code = weir_search_feed(&work->search, &trial);
		if (code) {
			snprintf(work->error, sizeof(work->error),
				 "search: cannot judge the trial at %.0f events/s: it intended %lu events: give a higher "
				 "--min or longer trials", trial.rate, trial.intended);
			break;
		}
	}
	return code;
}

static int save(struct work *work, const char *path, bool is_html)
{
	FILE *stream = fopen(path, "we");
	int code = stream ? 0 : -errno;
	if (stream)
		code = is_html ? weir_search_write_html(&work->document, stream, work->error)
			       : weir_search_write_json(&work->document, stream);
	if (stream && fclose(stream) && code == 0)
		code = -errno;
	if (code && work->error[0] == '\0')
		snprintf(work->error, sizeof(work->error),
			 "file %.300s: cannot write it: %s: give a path on a disk with room", path, strerror(-code));
	return code;
}

static int deliver(struct work *work, const struct options *options)
{
	int code = 0;
	if (options->is_json)
		code = weir_search_write_json(&work->document, stdout);
	else
		weir_search_print(&work->document, stdout);
	if (code == 0 && options->output)
		code = save(work, options->output, false);
	if (code == 0 && options->html)
		code = save(work, options->html, true);
	return code;
}

// Opens the run, searches, reports. 0 or -errno with work->error.
static int search_all(struct work *work, const struct weir_scenario *scenario, const struct options *options)
{
	struct weir_search_input input = options->input;
	struct weir_run *run;
	// Goals are judged before a router is started; the highest rate may be known only afterwards.
	input.rate_max = options->input.rate_max > 0 ? options->input.rate_max : 1e9;
	int code = weir_search_init(&work->search, &input, work->error);
	if (code)
		return code;
	work->lag_limit_ns = scenario->lag_limit_ns;
	work->late_ns = (uint64_t)(options->late_s * 1e9);
	code = weir_run_open(&run, scenario, &options->run, work->error);
	if (code)
		return code;
	code = weir_run_describe(run, &work->head);
	// Beyond what the generator can do nothing is learnt about the router.
	if (code == 0 && options->input.rate_max == 0)
		input.rate_max = work->head.selftest.is_done ? work->head.selftest.rate_max : 1e7;
	if (code == 0)
		code = weir_search_init(&work->search, &input, work->error);
	if (code == 0)
		code = search_run(work, run, options->is_quiet);
	weir_run_close(run);
	if (code)
		return code;
	work->document = (struct weir_search_document){ &work->head, &work->search, work->details, false };
	for (uint32_t g = 0; g < input.goal_count; g++) {
		struct weir_search_result result = weir_search_result(&work->search, g);
		work->document.is_cut |= !result.is_regular && !result.is_at_max && !result.is_at_min;
	}
	return deliver(work, options);
}

static struct weir_scenario *scenario_read(const char *path)
{
	struct weir_scenario *scenario;
	struct weir_trouble trouble = { 0 };
	char text[1024];
	if (weir_scenario_load(&scenario, path, &trouble) == 0)
		return scenario;
	weir_trouble_text(&trouble, trouble.mark.line ? path : NULL, text, sizeof(text));
	fprintf(stderr, "weirperf: %s\n", text);
	return NULL;
}

// 1 when a goal has no lower bound.
static int verdict_of(const struct weir_search *search)
{
	for (uint32_t g = 0; g < search->input.goal_count; g++) {
		if (!(weir_search_result(search, g).lower > 0))
			return 1;
	}
	return 0;
}

int weir_search_verb(int argc, char **argv)
{
	struct options options;
	int wrong = options_read(&options, argc, argv);
	if (wrong)
		return wrong > 0 ? 0 : LIB_STATUS_USAGE;
	struct weir_scenario *scenario = scenario_read(options.path);
	if (!scenario)
		return 2;
	lib_stop_catch();
	struct work *work = calloc(1, sizeof(*work));
	int code = work ? search_all(work, scenario, &options) : -ENOMEM;
	if (code)
		fprintf(stderr, "weirperf: %s\n", work && work->error[0] ? work->error : strerror(-code));
	int verdict = code ? 2 : verdict_of(&work->search);
	if (work)
		weir_result_fini(&work->head);
	free(work);
	weir_scenario_destroy(scenario);
	return verdict;
}
