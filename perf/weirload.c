// weirload: producers and consumers that put a known load on a router and can say afterwards what became of every event.
// `produce` and `consume` are users of libweir like any other; `verdict` merges what several of them counted.
#include "perf/load.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "client/weir.h"
#include "lib/standard.h"
#include "lib/stop.h"
#include "lib/usage.h"
#include "perf/payload.h"

static const char USAGE[] =
	"usage: weirload produce [OPTION...]        publish events\n"
	"       weirload consume [OPTION...]        receive them as a member of a group, keep account of each\n"
	"       weirload verdict [--json] FILE...   merge producers' outputs and consumers' state files\n"
	"both:      --router udp://HOST:PORT (udp://127.0.0.1:9347)  --topic T (positions)  --seconds S  --events N\n"
	"           --rate R events/s  --name NAME  --frame-size BYTES  --timeout S (20)  --json  --progress\n"
	"produce:   --payload BYTES (64)  --keys N (1000)  --level none|routed|default (routed)  --number N (random)\n"
	"           --linger-us N  --frame-events N\n"
	"consume:   --group G (all)  --state FILE  --delay-us N  --pause-after N --pause-ms M  --exit-after N\n"
	"           --settle-by-hand\n"
	"--help, -h, --version\n";

// Those whose values are no numbers come first.
enum option_id {
	OPTION_ROUTER = 256, OPTION_TOPIC, OPTION_GROUP, OPTION_STATE, OPTION_NAME, OPTION_LEVEL, OPTION_SETTLE_BY_HAND,
	OPTION_JSON, OPTION_PROGRESS,
	OPTION_RATE, OPTION_SECONDS, OPTION_EVENTS, OPTION_EXIT_AFTER, OPTION_PAUSE_AFTER, OPTION_PAUSE_MS, OPTION_PAYLOAD,
	OPTION_KEYS, OPTION_NUMBER, OPTION_DELAY_US, OPTION_LINGER_US, OPTION_FRAME_EVENTS, OPTION_FRAME_SIZE, OPTION_TIMEOUT,
};

static const struct option OPTIONS[] = {
	{ "router", required_argument, NULL, OPTION_ROUTER },
	{ "topic", required_argument, NULL, OPTION_TOPIC },
	{ "group", required_argument, NULL, OPTION_GROUP },
	{ "state", required_argument, NULL, OPTION_STATE },
	{ "name", required_argument, NULL, OPTION_NAME },
	{ "rate", required_argument, NULL, OPTION_RATE },
	{ "seconds", required_argument, NULL, OPTION_SECONDS },
	{ "events", required_argument, NULL, OPTION_EVENTS },
	{ "exit-after", required_argument, NULL, OPTION_EXIT_AFTER },
	{ "pause-after", required_argument, NULL, OPTION_PAUSE_AFTER },
	{ "pause-ms", required_argument, NULL, OPTION_PAUSE_MS },
	{ "payload", required_argument, NULL, OPTION_PAYLOAD },
	{ "keys", required_argument, NULL, OPTION_KEYS },
	{ "number", required_argument, NULL, OPTION_NUMBER },
	{ "delay-us", required_argument, NULL, OPTION_DELAY_US },
	{ "linger-us", required_argument, NULL, OPTION_LINGER_US },
	{ "frame-events", required_argument, NULL, OPTION_FRAME_EVENTS },
	{ "frame-size", required_argument, NULL, OPTION_FRAME_SIZE },
	{ "timeout", required_argument, NULL, OPTION_TIMEOUT },
	{ "level", required_argument, NULL, OPTION_LEVEL },
	{ "settle-by-hand", no_argument, NULL, OPTION_SETTLE_BY_HAND },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "progress", no_argument, NULL, OPTION_PROGRESS },
	{ NULL, 0, NULL, 0 },
};

int load_fail(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	fputs("weirload: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	return 1;
}

static void help(FILE *out)
{
	fputs(USAGE, out);
}

static struct lib_program program = {
	.name = "weirload",
	.version = WEIR_PERF_VERSION,
	.help = help,
	.options = OPTIONS,
	.has_commands = true,
};

static bool level_take(const char *text, int *level)
{
	static const struct {
		const char *name;
		int level;
	} LEVELS[] = { { "none", WEIR_LEVEL_NONE }, { "routed", WEIR_LEVEL_ROUTED }, { "default", WEIR_LEVEL_DEFAULT } };
	for (size_t i = 0; i < sizeof(LEVELS) / sizeof(*LEVELS); i++) {
		if (strcmp(text, LEVELS[i].name) == 0) {
			*level = LEVELS[i].level;
			return true;
		}
	}
	return false;
}

static bool set_text(struct load_options *options, int id, const char *text)
{
	switch (id) {
	case OPTION_ROUTER: options->router = text; break;
	case OPTION_TOPIC: options->topic = text; break;
	case OPTION_GROUP: options->group = text; break;
	case OPTION_STATE: options->state = text; break;
	case OPTION_NAME: options->name = text; break;
	case OPTION_LEVEL: return level_take(text, &options->level);
	case OPTION_SETTLE_BY_HAND: options->settle_by_hand = true; break;
	case OPTION_JSON: options->is_json = true; break;
	default: options->has_progress = true; break;
	}
	return true;
}

static bool set_number(struct load_options *options, int id, const char *text)
{
	static const struct {
		int id;
		double low, high;
	} RANGES[] = {
		{ OPTION_RATE, 0, 1e9 }, { OPTION_SECONDS, 0, 1e9 }, { OPTION_EVENTS, 0, 1e15 }, { OPTION_EXIT_AFTER, 0, 1e15 },
		{ OPTION_PAUSE_AFTER, 0, 1e15 }, { OPTION_PAUSE_MS, 0, 1e9 }, { OPTION_PAYLOAD, WEIR_PAYLOAD_MIN, 16 << 20 },
		{ OPTION_KEYS, 1, 1 << 18 }, { OPTION_NUMBER, 1, UINT32_MAX }, { OPTION_DELAY_US, 0, 1e9 },
		{ OPTION_LINGER_US, 0, UINT32_MAX }, { OPTION_FRAME_EVENTS, 0, 4096 }, { OPTION_FRAME_SIZE, 512, 9216 },
		{ OPTION_TIMEOUT, 1, 1e6 },
	};
	double number = 0;
	for (size_t i = 0; i < sizeof(RANGES) / sizeof(*RANGES); i++) {
		if (RANGES[i].id == id && !lib_usage_real(text, RANGES[i].low, RANGES[i].high, &number))
			return false;
	}
	switch (id) {
	case OPTION_RATE: options->rate = number; break;
	case OPTION_SECONDS: options->seconds = number; break;
	case OPTION_EVENTS: options->events = (uint64_t)number; break;
	case OPTION_EXIT_AFTER: options->exit_after = (uint64_t)number; break;
	case OPTION_PAUSE_AFTER: options->pause_after = (uint64_t)number; break;
	case OPTION_PAUSE_MS: options->pause_ms = (uint32_t)number; break;
	case OPTION_PAYLOAD: options->payload = (uint32_t)number; break;
	case OPTION_KEYS: options->keys = (uint32_t)number; break;
	case OPTION_NUMBER: options->number = (uint32_t)number; break;
	case OPTION_DELAY_US: options->delay_us = (uint32_t)number; break;
	case OPTION_LINGER_US: options->linger_us = (uint32_t)number; break;
	case OPTION_FRAME_EVENTS: options->frame_events = (uint32_t)number; break;
	case OPTION_FRAME_SIZE: options->frame_size = (uint32_t)number; break;
	default: options->timeout_s = (uint32_t)number; break;
	}
	return true;
}

static int verb_run(const struct load_options *options, int count, char **words)
{
	static const char *const VERBS[] = { "produce", "consume", "verdict", NULL };
	if (count == 0)
		return lib_usage_wrong(&program, "command line", "it names no command", "weirload produce, consume or verdict");
	bool is_verdict = strcmp(words[0], "verdict") == 0;
	if (is_verdict && count == 1)
		return lib_usage_wrong(&program, words[0], "it needs files", NULL);
	if (is_verdict)
		return load_verdict(options, words + 1, count - 1);
	bool is_produce = strcmp(words[0], "produce") == 0;
	if (!is_produce && strcmp(words[0], "consume") != 0)
		return lib_usage_unknown(&program, words[0], "command", VERBS);
	if (count > 1)
		return lib_usage_wrong(&program, words[1], "the command is complete before it", NULL);
	return is_produce ? load_produce(options) : load_consume(options);
}

static int run(int argc, char **argv)
{
	struct load_options options = { .router = "udp://127.0.0.1:9347", .topic = "positions", .group = "all", .payload = 64,
					.keys = 1000, .level = WEIR_LEVEL_ROUTED, .timeout_s = 20, .pause_ms = 1000 };
	const struct option *row = NULL;
	int id;
	lib_usage_begin(&program, argc, argv);
	while ((id = lib_usage_next(&program, argc, argv, &row)) >= 0) {
		bool is_text = id < OPTION_RATE;
		if (is_text ? !set_text(&options, id, optarg) : !set_number(&options, id, optarg)) {
			char object[128];
			snprintf(object, sizeof(object), "--%s %s", row->name, optarg);
			return lib_usage_wrong(&program, object, "that is no value it takes", NULL);
		}
	}
	if (id != LIB_OPTIONS_END)
		return id == LIB_OPTIONS_DONE ? 0 : LIB_STATUS_USAGE;
	lib_stop_catch();
	// Timed waits end when they should, not 50 us later.
	prctl(PR_SET_TIMERSLACK, 1000ul);
	return verb_run(&options, argc - optind, argv + optind);
}

int main(int argc, char **argv)
{
	lib_standard_open();
	return lib_output_end("weirload", run(argc, argv), 1);
}
