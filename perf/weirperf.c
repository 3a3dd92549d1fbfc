// weirperf: load tests of a weir router. This file is its command line: verbs, options, signals, where reports go. Running is
// perf/run.h's, reports are perf/report.h's. Exit status: 0 passed, 1 it ran and did not pass, 2 usage or it could not run.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "lib/standard.h"
#include "lib/stop.h"
#include "lib/usage.h"
#include "perf/report.h"
#include "perf/run.h"
#include "perf/selftest.h"
#include "perf/soak.h"
#include "perf/verbs.h"

#define REPEATS_MAX 32u

static const char USAGE[] =
	"usage: weirperf run SCENARIO.yaml [OPTION...]       run a scenario and judge what became of every event\n"
	"       weirperf latency [SCENARIO.yaml] [OPTION...]  latency at a fixed rate, open loop\n"
	"       weirperf soak [SCENARIO.yaml] [OPTION...]     a long run: does latency or the router's memory drift?\n"
	"       weirperf selftest [OPTION...]                 what the generator and its clock are worth, without a router\n"
	"       weirperf topology SCENARIO.yaml               the topology file of a router that serves the scenario\n"
	"       weirperf search SCENARIO.yaml                 the highest rate without loss, and with a given loss\n"
	"       weirperf report RESULT.json...                page, series, latencies of saved results; joins repeats\n"
	"       weirperf compare A.json B.json                what changed beyond noise\n"
	"search, report and compare have options of their own: weirperf compare --help. The others:\n"
	"\n"
	"  --router ADDRESS   udp://HOST:PORT, unix:PATH (a lane), dpdk:DEVARGS;address=IP;router=IP[:PORT]; or spawn\n"
	"                     (default) or spawn:unix: start a private router with the scenario's topology, spoken to\n"
	"                     over UDP or over lanes\n"
	"  --instance NAME    of that router, for weirctl: placement, ledger, memory (spawn knows its own)\n"
	"  --seconds S        stretch or squeeze the whole scenario to S seconds\n"
	"  --rate R           events/s of all producers together at a load of 100 % (k and M may follow)\n"
	"  --repeat N         run it N times (1): compare needs repeats to tell a change from noise\n"
	"  --payload BYTES    latency, soak without a scenario: bytes of an event (64)\n"
	"  --linger US        the same two: how long a frame that is not full waits for more (10)\n"
	"  --seed N           of everything random (1)\n"
	"  --spin US          producers busy-wait the last US microseconds before an event is due (0)\n"
	"  --label TEXT       what this variant is called in reports\n"
	"  --output FILE      save the result as JSON, for report and compare\n"
	"  --html FILE        save the report as one page\n"
	"  --csv FILE         save the series, a row a second\n"
	"  --json             print the result as JSON, not as text\n"
	"  --quiet            no progress line a second on stderr\n"
	"  --help, -h, --version\n";

struct options {
	struct weir_run_options run;
	double seconds, rate;
	uint32_t repeats;
	uint32_t payload;
	uint32_t linger_us;
	const char *path, *output, *html, *csv;
	bool is_json;
};

// Those whose values are numbers come last.
enum option_id {
	OPTION_ROUTER = 256, OPTION_INSTANCE, OPTION_LABEL, OPTION_OUTPUT, OPTION_HTML, OPTION_CSV, OPTION_JSON, OPTION_QUIET,
	OPTION_SECONDS, OPTION_RATE, OPTION_REPEAT, OPTION_PAYLOAD, OPTION_SEED, OPTION_SPIN, OPTION_LINGER,
};

static const struct option OPTIONS[] = {
	{ "router", required_argument, NULL, OPTION_ROUTER }, { "instance", required_argument, NULL, OPTION_INSTANCE },
	{ "seconds", required_argument, NULL, OPTION_SECONDS }, { "rate", required_argument, NULL, OPTION_RATE },
	{ "repeat", required_argument, NULL, OPTION_REPEAT }, { "payload", required_argument, NULL, OPTION_PAYLOAD },
	{ "seed", required_argument, NULL, OPTION_SEED }, { "spin", required_argument, NULL, OPTION_SPIN },
	{ "linger", required_argument, NULL, OPTION_LINGER }, { "label", required_argument, NULL, OPTION_LABEL },
	{ "output", required_argument, NULL, OPTION_OUTPUT },
	{ "html", required_argument, NULL, OPTION_HTML }, { "csv", required_argument, NULL, OPTION_CSV },
	{ "json", no_argument, NULL, OPTION_JSON }, { "quiet", no_argument, NULL, OPTION_QUIET },
	{ NULL, 0, NULL, 0 },
};

static int fail(const char *message)
{
	fprintf(stderr, "weirperf: %s\n", message);
	return 2;
}

static void help(FILE *out)
{
	fputs(USAGE, out);
}

static struct lib_program program = {
	.name = "weirperf",
	.version = WEIR_PERF_VERSION,
	.help = help,
	.options = OPTIONS,
	.has_commands = true,
};

// 0, or LIB_STATUS_USAGE.
static int number_set(struct options *options, int id, const struct option *row, const char *text)
{
	static const double RANGES[][2] = {
		[OPTION_SECONDS - OPTION_SECONDS] = { 0.1, WEIR_SCENARIO_SECONDS_MAX },
		[OPTION_RATE - OPTION_SECONDS] = { 0.001, 1e9 },
		[OPTION_REPEAT - OPTION_SECONDS] = { 1, REPEATS_MAX },
		[OPTION_PAYLOAD - OPTION_SECONDS] = { 32, 65520 },
		[OPTION_SEED - OPTION_SECONDS] = { 1, 1e15 },
		[OPTION_SPIN - OPTION_SECONDS] = { 0, 1000 },
		[OPTION_LINGER - OPTION_SECONDS] = { 1, 1000000 },
	};
	double number;
	if (lib_usage_amount(&program, row, text, RANGES[id - OPTION_SECONDS], &number))
		return LIB_STATUS_USAGE;
	switch (id) {
	case OPTION_SECONDS: options->seconds = number; break;
	case OPTION_RATE: options->rate = number; break;
	case OPTION_REPEAT: options->repeats = (uint32_t)number; break;
	case OPTION_PAYLOAD: options->payload = (uint32_t)number; break;
	case OPTION_SEED: options->run.seed = (uint64_t)number; break;
	case OPTION_SPIN: options->run.spin_us = (uint32_t)number; break;
	default: options->linger_us = (uint32_t)number; break;
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
	case OPTION_CSV: options->csv = text; return 0;
	case OPTION_JSON: options->is_json = true; return 0;
	case OPTION_QUIET: options->run.has_progress = false; return 0;
	default: return number_set(options, id, row, text);
	}
}

// The scenario's path in options->path, NULL when none was given. 0; 1: help was printed; -1: a mistake was said.
static int options_read(struct options *options, int argc, char **argv)
{
	*options = (struct options){ .run.router = "spawn", .run.has_progress = true, .run.needs_selftest = true,
				     .run.stop = lib_stop_word(), .repeats = 1, .payload = 64, .linger_us = 10 };
	const struct option *row = NULL;
	int id;
	while ((id = lib_usage_next(&program, argc, argv, &row)) >= 0) {
		if (option_set(options, id, row, optarg))
			return -1;
	}
	if (id != LIB_OPTIONS_END)
		return id == LIB_OPTIONS_DONE ? 1 : -1;
	options->path = optind < argc ? argv[optind] : NULL;
	if (optind + 1 < argc)
		return lib_usage_wrong(&program, argv[optind + 1], "one scenario a call", NULL) ? -1 : 0;
	return 0;
}

// ---- Reports ----

static int csv_save(const struct weir_result *result, const char *path)
{
	FILE *file = fopen(path, "we");
	int error = file ? weir_result_write_csv(result, file) : -errno;
	if (file && fclose(file) && error == 0)
		error = -errno;
	if (error)
		fprintf(stderr, "weirperf: file %s: cannot write it: %s. Fix: check the path\n", path, strerror(-error));
	return error;
}

static int deliver(const struct weir_result *result, const struct options *options)
{
	char error[WEIR_RESULT_ERROR] = "";
	int failed = 0;
	if (options->is_json)
		failed |= weir_result_write_json(result, stdout);
	else
		weir_report_print(result, stdout);
	if (options->output)
		failed |= weir_result_save(result, options->output, error);
	if (options->html && error[0] == 0)
		failed |= weir_report_save_html(result, options->html, error);
	if (error[0])
		fail(error);
	if (options->csv)
		failed |= csv_save(result, options->csv);
	return failed;
}

static bool is_passed(const struct weir_result *result)
{
	for (uint32_t i = 0; i < result->run_count; i++) {
		if (!result->runs[i]->is_passed)
			return false;
	}
	return result->run_count > 0;
}

// Runs what was read and reports; frees the scenario.
static int run_and_report(struct weir_scenario *scenario, const struct options *options, bool is_soak)
{
	char error[WEIR_RESULT_ERROR] = "";
	struct weir_result *result = calloc(1, sizeof(*result));
	struct weir_run *run = NULL;
	int failed = result ? weir_run_open(&run, scenario, &options->run, error) : -ENOMEM;
	if (failed == 0)
		failed = weir_run_describe(run, result);
	for (uint32_t i = 0; i < options->repeats && failed == 0 && !lib_stop_signal(); i++)
		failed = weir_run_once(run, result, error);
	if (failed == 0 && is_soak)
		weir_soak_judge(result);
	if (failed)
		fail(error[0] ? error : strerror(-failed));
	else
		failed = deliver(result, options);
	bool has_passed = result && is_passed(result);
	if (run)
		weir_run_close(run);
	if (result)
		weir_result_fini(result);
	free(result);
	weir_scenario_destroy(scenario);
	return failed ? 2 : has_passed ? 0 : 1;
}

// ---- Verbs ----

static struct weir_scenario *scenario_read(const char *path)
{
	struct weir_scenario *scenario;
	struct weir_trouble trouble = { 0 };
	char text[1024];
	if (weir_scenario_load(&scenario, path, &trouble) == 0)
		return scenario;
	weir_trouble_text(&trouble, trouble.mark.line ? path : NULL, text, sizeof(text));
	fail(text);
	return NULL;
}

static void scenario_scale(struct weir_scenario *scenario, const struct options *options)
{
	if (options->seconds > 0)
		weir_scenario_set_length(scenario, (uint64_t)(options->seconds * 1e9));
	if (options->rate > 0)
		weir_scenario_set_rate(scenario, options->rate);
}

static int verb_run(int argc, char **argv)
{
	struct options options;
	int wrong = options_read(&options, argc, argv);
	if (wrong)
		return wrong > 0 ? 0 : LIB_STATUS_USAGE;
	if (!options.path)
		return fail("run: cannot begin: no scenario was named. Fix: weirperf run perf/scenarios/telemetry-flood.yaml");
	struct weir_scenario *scenario = scenario_read(options.path);
	if (!scenario)
		return 2;
	scenario_scale(scenario, &options);
	// A signal ends the schedule, not the program: what was sent is still judged and reported.
	lib_stop_catch();
	return run_and_report(scenario, &options, false);
}

// One producer, one consumer, Poisson arrivals: what latency and soak do without a scenario.
static struct weir_scenario *scenario_make(const char *name, const struct options *options, double seconds, uint32_t steps)
{
	struct weir_scenario *scenario = NULL;
	struct weir_trouble trouble = { 0 };
	char text[8192];
	double rate = options->rate > 0 ? options->rate : 100000;
	int used = snprintf(text, sizeof(text),
			    "name: %s\nabout: One producer and one consumer, Poisson arrivals.\n"
			    "topics:\n  - {name: weirperf, shards: 4}\n"
			    "producers:\n  - {name: producer, topic: weirperf, rate: %.3f, payload: %u, linger: %uus}\n"
			    "consumers:\n  - {name: consumer, topic: weirperf}\nsteps:\n", name, rate, options->payload,
			    options->linger_us);
	for (uint32_t i = 0; i < steps; i++)
		used += snprintf(text + used, sizeof(text) - (size_t)used, "  - {name: \"%u\", for: %.0fms}\n", i + 1,
				 seconds * 1e3 / steps);
	if (weir_scenario_parse(&scenario, text, (size_t)used, &trouble)) {
		weir_trouble_text(&trouble, NULL, text, sizeof(text));
		fail(text);
	}
	return scenario;
}

static int verb_latency(int argc, char **argv)
{
	struct options options;
	int wrong = options_read(&options, argc, argv);
	if (wrong)
		return wrong > 0 ? 0 : LIB_STATUS_USAGE;
	const char *path = options.path;
	double seconds = options.seconds > 0 ? options.seconds : 10;
	struct weir_scenario *scenario = path ? scenario_read(path) : scenario_make("latency", &options, seconds, 1);
	if (!scenario)
		return 2;
	if (path)
		scenario_scale(scenario, &options);
	lib_stop_catch();
	return run_and_report(scenario, &options, false);
}

static int verb_soak(int argc, char **argv)
{
	struct options options;
	int wrong = options_read(&options, argc, argv);
	if (wrong)
		return wrong > 0 ? 0 : LIB_STATUS_USAGE;
	const char *path = options.path;
	double seconds = options.seconds > 0 ? options.seconds : 600;
	struct weir_scenario *scenario = path ? scenario_read(path) : scenario_make("soak", &options, seconds, WEIR_SOAK_PARTS);
	if (!scenario)
		return 2;
	if (path && weir_soak_prepare(scenario, (uint64_t)(seconds * 1e9))) {
		weir_scenario_destroy(scenario);
		return fail("soak: cannot begin: out of memory. Fix: free some memory");
	}
	if (path && options.rate > 0)
		weir_scenario_set_rate(scenario, options.rate);
	lib_stop_catch();
	return run_and_report(scenario, &options, true);
}

static int verb_topology(int argc, char **argv)
{
	struct options options;
	int wrong = options_read(&options, argc, argv);
	if (wrong)
		return wrong > 0 ? 0 : LIB_STATUS_USAGE;
	struct weir_scenario *scenario = options.path ? scenario_read(options.path) : NULL;
	if (!scenario)
		return options.path ? 2 : fail("topology: cannot print it: no scenario was named. Fix: name one");
	char *text = weir_scenario_topology(scenario, "weir", WEIR_PORT_BASE);
	if (text)
		fputs(text, stdout);
	free(text);
	weir_scenario_destroy(scenario);
	return text ? 0 : 2;
}

static int verb_selftest(int argc, char **argv)
{
	struct options options;
	int wrong = options_read(&options, argc, argv);
	if (wrong)
		return wrong > 0 ? 0 : LIB_STATUS_USAGE;
	char error[WEIR_RESULT_ERROR] = "";
	struct weir_result_selftest summary;
	struct weir_selftest_details *details = calloc(1, sizeof(*details));
	if (options.path || !details) {
		free(details);
		return fail(options.path ? "selftest: it takes no scenario. Fix: leave it out" : "selftest: out of memory");
	}
	double seconds = options.seconds > 0 ? options.seconds : 5;
	int failed = weir_selftest_run(&summary, WEIR_SELFTEST_UDP, (uint64_t)(seconds * 1e9), details, error);
	if (failed)
		fail(error);
	else
		weir_selftest_print(&summary, details, options.is_json, stdout);
	free(details);
	return failed ? 2 : summary.is_passed ? 0 : 1;
}

static const struct verb {
	const char *name;
	int (*run)(int argc, char **argv);
} VERBS[] = {
	{ "run", verb_run }, { "latency", verb_latency }, { "soak", verb_soak },
	{ "selftest", verb_selftest }, { "topology", verb_topology }, { "search", weir_search_verb },
	{ "report", weir_report_verb }, { "compare", weir_compare_verb },
};

static int run(int argc, char **argv)
{
	const char *names[sizeof(VERBS) / sizeof(*VERBS) + 1] = { NULL };
	lib_usage_begin(&program, argc, argv);
	for (size_t i = 0; i < sizeof(VERBS) / sizeof(*VERBS); i++) {
		names[i] = VERBS[i].name;
		if (argc > 1 && strcmp(VERBS[i].name, argv[1]) == 0)
			return VERBS[i].run(argc - 1, argv + 1);
	}
	// Options before the verb: help, or a mistake.
	int id = argc > 1 ? lib_usage_next(&program, argc, argv, NULL) : LIB_OPTIONS_END;
	if (id == LIB_OPTIONS_DONE || id == LIB_OPTIONS_WRONG)
		return id == LIB_OPTIONS_DONE ? 0 : LIB_STATUS_USAGE;
	if (argc == 1)
		return lib_usage_wrong(&program, "command line", "it names no command", "weirperf run SCENARIO.yaml");
	if (id >= 0)
		return lib_usage_wrong(&program, argv[1], "the command comes first", "weirperf run SCENARIO.yaml");
	return lib_usage_unknown(&program, argv[1], "command", names);
}

int main(int argc, char **argv)
{
	lib_standard_open();
	return lib_output_end("weirperf", run(argc, argv), 2);
}
