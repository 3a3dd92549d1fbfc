// weirperf: load tests of a weir router. This file is its command line: verbs, options, signals, where reports go. Running is
// perf/run.h's, reports are perf/report.h's. Exit status: 0 passed, 1 it ran and did not pass, 2 usage or it could not run.
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

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
	"  --quiet            no progress line a second on stderr\n";

struct options {
	struct weir_run_options run;
	double seconds, rate;
	uint32_t repeats;
	uint32_t payload;
	uint32_t linger_us;
	const char *output, *html, *csv;
	bool is_json;
};

enum option_id {
	OPTION_ROUTER = 256, OPTION_INSTANCE, OPTION_SECONDS, OPTION_RATE, OPTION_REPEAT, OPTION_PAYLOAD, OPTION_SEED,
	OPTION_SPIN, OPTION_LINGER, OPTION_LABEL, OPTION_OUTPUT, OPTION_HTML, OPTION_CSV, OPTION_JSON, OPTION_QUIET,
	OPTION_HELP,
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
	{ "help", no_argument, NULL, OPTION_HELP }, { NULL, 0, NULL, 0 },
};

// A signal handler has no other way to speak.
static volatile sig_atomic_t is_stopped;

static void on_signal(int number)
{
	is_stopped = 1;
}

static int fail(const char *message)
{
	fprintf(stderr, "weirperf: %s\n", message);
	return 2;
}

// "20k", "1.5M". Exits with 2 on anything else.
static double number_of(const char *option, const char *text, double low, double high)
{
	char *end;
	double value = strtod(text, &end);
	if (*end == 'k' || *end == 'M')
		value *= *end++ == 'k' ? 1e3 : 1e6;
	if (end == text || *end || !(value >= low && value <= high)) {
		fprintf(stderr, "weirperf: --%s %s: cannot use it: it is no number from %g to %g. Fix: give one\n", option,
			text, low, high);
		exit(2);
	}
	return value;
}

static void option_set(struct options *options, int id, const char *text)
{
	switch (id) {
	case OPTION_ROUTER: options->run.router = text; break;
	case OPTION_INSTANCE: options->run.instance = text; break;
	case OPTION_SECONDS: options->seconds = number_of("seconds", text, 0.1, WEIR_SCENARIO_SECONDS_MAX); break;
	case OPTION_RATE: options->rate = number_of("rate", text, 0.001, 1e9); break;
	case OPTION_REPEAT: options->repeats = (uint32_t)number_of("repeat", text, 1, REPEATS_MAX); break;
	case OPTION_PAYLOAD: options->payload = (uint32_t)number_of("payload", text, 32, 65520); break;
	case OPTION_SEED: options->run.seed = (uint64_t)number_of("seed", text, 1, 1e15); break;
	case OPTION_SPIN: options->run.spin_us = (uint32_t)number_of("spin", text, 0, 1000); break;
	case OPTION_LINGER: options->linger_us = (uint32_t)number_of("linger", text, 1, 1000000); break;
	case OPTION_LABEL: options->run.label = text; break;
	case OPTION_OUTPUT: options->output = text; break;
	case OPTION_HTML: options->html = text; break;
	case OPTION_CSV: options->csv = text; break;
	case OPTION_JSON: options->is_json = true; break;
	case OPTION_QUIET: options->run.has_progress = false; break;
	default: break;
	}
}

// The scenario's path in *path, NULL when none was given. Exits on --help and on what it does not know.
static struct options options_read(int argc, char **argv, const char **path)
{
	struct options options = { .run.router = "spawn", .run.has_progress = true, .run.needs_selftest = true,
				   .run.stop = &is_stopped, .repeats = 1, .payload = 64, .linger_us = 10 };
	int id;
	while ((id = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
		if (id == OPTION_HELP) {
			fputs(USAGE, stdout);
			exit(0);
		}
		if (id == '?')
			exit(2);
		option_set(&options, id, optarg);
	}
	*path = optind < argc ? argv[optind] : NULL;
	if (optind + 1 < argc) {
		fprintf(stderr, "weirperf: %s: what is this? one scenario a call; weirperf --help\n", argv[optind + 1]);
		exit(2);
	}
	return options;
}

// Signals end the schedule, not the program: what was sent is still judged and reported.
static void signals_catch(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
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
	for (uint32_t i = 0; i < options->repeats && failed == 0 && !is_stopped; i++)
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
	const char *path;
	struct options options = options_read(argc, argv, &path);
	if (!path)
		return fail("run: cannot begin: no scenario was named. Fix: weirperf run perf/scenarios/telemetry-flood.yaml");
	struct weir_scenario *scenario = scenario_read(path);
	if (!scenario)
		return 2;
	scenario_scale(scenario, &options);
	signals_catch();
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
	const char *path;
	struct options options = options_read(argc, argv, &path);
	double seconds = options.seconds > 0 ? options.seconds : 10;
	struct weir_scenario *scenario = path ? scenario_read(path) : scenario_make("latency", &options, seconds, 1);
	if (!scenario)
		return 2;
	if (path)
		scenario_scale(scenario, &options);
	signals_catch();
	return run_and_report(scenario, &options, false);
}

static int verb_soak(int argc, char **argv)
{
	const char *path;
	struct options options = options_read(argc, argv, &path);
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
	signals_catch();
	return run_and_report(scenario, &options, true);
}

static int verb_topology(int argc, char **argv)
{
	const char *path;
	options_read(argc, argv, &path);
	struct weir_scenario *scenario = path ? scenario_read(path) : NULL;
	if (!scenario)
		return path ? 2 : fail("topology: cannot print it: no scenario was named. Fix: name one");
	char *text = weir_scenario_topology(scenario, "weir", WEIR_PORT_BASE);
	if (text)
		fputs(text, stdout);
	free(text);
	weir_scenario_destroy(scenario);
	return text ? 0 : 2;
}

static int verb_selftest(int argc, char **argv)
{
	const char *path;
	struct options options = options_read(argc, argv, &path);
	char error[WEIR_RESULT_ERROR] = "";
	struct weir_result_selftest summary;
	struct weir_selftest_details *details = calloc(1, sizeof(*details));
	if (path || !details) {
		free(details);
		return fail(path ? "selftest: it takes no scenario. Fix: leave it out" : "selftest: out of memory");
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

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";
	if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
		fputs(USAGE, stdout);
		return 0;
	}
	for (size_t i = 0; i < sizeof(VERBS) / sizeof(*VERBS); i++) {
		if (strcmp(VERBS[i].name, name) == 0)
			return VERBS[i].run(argc - 1, argv + 1);
	}
	fputs(USAGE, stderr);
	return 2;
}
