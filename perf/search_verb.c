// `weirperf search`: the controller of perf/search.h tells what to try, weir_run_trial() tries it, the pages of
// perf/search_show.h tell what came of it. What counts as loss of a trial under a lossless router is decided here: every
// intended event that was lost, refused, missed its send time, or, when a limit was given, arrived late.
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

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

enum option_id {
	OPTION_LOSS = 256, OPTION_EXCEED, OPTION_WIDTH, OPTION_INITIAL, OPTION_FINAL, OPTION_SUM, OPTION_LATE, OPTION_MIN,
	OPTION_MAX, OPTION_LIMIT, OPTION_ROUTER, OPTION_INSTANCE, OPTION_SEED, OPTION_SPIN, OPTION_LABEL, OPTION_OUTPUT,
	OPTION_HTML, OPTION_JSON, OPTION_QUIET, OPTION_HELP,
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
	{ "help", no_argument, NULL, OPTION_HELP },
	{ NULL, 0, NULL, 0 },
};

// A signal handler has no other way to speak.
static volatile sig_atomic_t is_stopped;

static void on_signal(int number)
{
	is_stopped = 1;
}

// "20k", "1.5M". Exits with 2 on anything else.
static double number_of(const char *option, const char *text, double low, double high)
{
	char *end;
	double value = strtod(text, &end);
	if (*end == 'k' || *end == 'M')
		value *= *end++ == 'k' ? 1e3 : 1e6;
	if (end == text || *end || !(value >= low && value <= high)) {
		fprintf(stderr, "weirperf: --%s %s: cannot use it: it is no number from %g to %g: give one\n", option, text,
			low, high);
		exit(2);
	}
	return value;
}

static void goal_add(struct options *options, const char *text)
{
	if (options->input.goal_count == WEIR_SEARCH_GOALS_MAX) {
		fprintf(stderr, "weirperf: --loss %s: cannot add it: a search has at most %u goals: leave some out\n", text,
			WEIR_SEARCH_GOALS_MAX);
		exit(2);
	}
	options->input.goals[options->input.goal_count++].loss_ratio = number_of("loss", text, 0, 0.99);
}

static void option_set(struct options *options, int id, const char *text)
{
	switch (id) {
	case OPTION_LOSS: goal_add(options, text); break;
	case OPTION_EXCEED: options->goal.exceed_ratio = number_of("exceed", text, 0, 0.99); break;
	case OPTION_WIDTH: options->goal.width = number_of("width", text, 1e-6, 0.5); break;
	case OPTION_INITIAL: options->goal.initial_s = number_of("initial", text, 0.05, 3600); break;
	case OPTION_FINAL: options->goal.final_s = number_of("final", text, 0.05, 86400); break;
	case OPTION_SUM: options->goal.sum_s = number_of("sum", text, 0.05, 86400); break;
	case OPTION_LATE: options->late_s = number_of("late", text, 1e-6, 3600); break;
	case OPTION_MIN: options->input.rate_min = number_of("min", text, 1, 1e9); break;
	case OPTION_MAX: options->input.rate_max = number_of("max", text, 2, 1e9); break;
	case OPTION_LIMIT: options->input.seconds_max = number_of("limit", text, 0.1, 1e7); break;
	case OPTION_ROUTER: options->run.router = text; break;
	case OPTION_INSTANCE: options->run.instance = text; break;
	case OPTION_SEED: options->run.seed = (uint64_t)number_of("seed", text, 1, 1e15); break;
	case OPTION_SPIN: options->run.spin_us = (uint32_t)number_of("spin", text, 0, 1000); break;
	case OPTION_LABEL: options->run.label = text; break;
	case OPTION_OUTPUT: options->output = text; break;
	case OPTION_HTML: options->html = text; break;
	case OPTION_JSON: options->is_json = true; break;
	case OPTION_QUIET: options->is_quiet = true; break;
	default: break;
	}
}

static struct options options_read(int argc, char **argv)
{
	struct options options = {
		.run = { .router = "spawn", .needs_selftest = true, .stop = &is_stopped },
		.input = { .rate_min = 1000 },
		.goal = { .exceed_ratio = 0.2, .width = 0.01, .initial_s = 0.5, .final_s = 2, .sum_s = 10 },
	};
	int id;
	while ((id = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
		if (id == OPTION_HELP || id == '?') {
			fputs(USAGE, id == '?' ? stderr : stdout);
			exit(id == '?' ? 2 : 0);
		}
		option_set(&options, id, optarg);
	}
	if (argc - optind != 1) {
		fputs(USAGE, stderr);
		exit(2);
	}
	options.path = argv[optind];
	if (options.input.goal_count == 0) {
		options.input.goal_count = 2;
		options.input.goals[1].loss_ratio = 0.005;
	}
	for (uint32_t i = 0; i < options.input.goal_count; i++) {
		double ratio = options.input.goals[i].loss_ratio;
		options.input.goals[i] = options.goal;
		options.input.goals[i].loss_ratio = ratio;
	}
	return options;
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
		if (is_stopped || !detail->is_generator_late || trial->lost == 0 || is_out_of_time(work))
			break;
		work->discarded_s += trial->took_s;
	}
	return code;
}

static int search_run(struct work *work, struct weir_run *run, bool is_quiet)
{
	struct weir_search_trial trial = { 0 };
	int code = 0;
	while (!is_stopped && !is_out_of_time(work) &&
	       weir_search_next_trial(&work->search, &trial.rate, &trial.duration_s)) {
		code = trial_repeat(work, run, &trial);
		if (code || is_stopped)
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
	struct options options = options_read(argc, argv);
	struct sigaction action = { .sa_handler = on_signal };
	struct weir_scenario *scenario = scenario_read(options.path);
	if (!scenario)
		return 2;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
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
