// weirload: producers and consumers that put a known load on a router and can say afterwards what became of every event.
// `produce` and `consume` are users of libweir like any other; `verdict` merges what several of them counted.
#include "perf/load.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "client/weir.h"
#include "perf/payload.h"

volatile sig_atomic_t load_is_stopped;

static const char USAGE[] =
	"usage: weirload produce [OPTION...]        publish events\n"
	"       weirload consume [OPTION...]        receive them as a member of a group, keep account of each\n"
	"       weirload verdict [--json] FILE...   merge producers' outputs and consumers' state files\n"
	"both:      --router udp://HOST:PORT (udp://127.0.0.1:9347)  --topic T (positions)  --seconds S  --events N\n"
	"           --rate R events/s  --name NAME  --frame-size BYTES  --timeout S (20)  --json  --progress\n"
	"produce:   --payload BYTES (64)  --keys N (1000)  --level none|routed|default (routed)  --number N (random)\n"
	"           --linger-us N  --frame-events N\n"
	"consume:   --group G (all)  --state FILE  --delay-us N  --pause-after N --pause-ms M  --exit-after N\n"
	"           --settle-by-hand\n";

enum option_id {
	OPTION_ROUTER = 256, OPTION_TOPIC, OPTION_GROUP, OPTION_STATE, OPTION_NAME, OPTION_RATE, OPTION_SECONDS, OPTION_EVENTS,
	OPTION_EXIT_AFTER, OPTION_PAUSE_AFTER, OPTION_PAUSE_MS, OPTION_PAYLOAD, OPTION_KEYS, OPTION_NUMBER, OPTION_DELAY_US,
	OPTION_LINGER_US, OPTION_FRAME_EVENTS, OPTION_FRAME_SIZE, OPTION_TIMEOUT, OPTION_LEVEL, OPTION_SETTLE_BY_HAND,
	OPTION_JSON, OPTION_PROGRESS, OPTION_HELP,
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
	{ "help", no_argument, NULL, OPTION_HELP },
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

static void stop(int number)
{
	load_is_stopped = 1;
}

// Exits with 2 on anything but a number between low and high.
static double number_of(const char *text, double low, double high)
{
	char *end;
	double value = strtod(text, &end);
	if (end == text || *end || !(value >= low && value <= high)) {
		fprintf(stderr, "weirload: \"%s\" is no number between %.0f and %.0f\n", text, low, high);
		exit(2);
	}
	return value;
}

static int level_of(const char *text)
{
	if (strcmp(text, "none") == 0)
		return WEIR_LEVEL_NONE;
	if (strcmp(text, "routed") == 0)
		return WEIR_LEVEL_ROUTED;
	if (strcmp(text, "default") == 0)
		return WEIR_LEVEL_DEFAULT;
	fprintf(stderr, "weirload: --level %s: it is none, routed or default\n", text);
	exit(2);
}

static bool set_text(struct load_options *options, int id, const char *text)
{
	switch (id) {
	case OPTION_ROUTER: options->router = text; break;
	case OPTION_TOPIC: options->topic = text; break;
	case OPTION_GROUP: options->group = text; break;
	case OPTION_STATE: options->state = text; break;
	case OPTION_NAME: options->name = text; break;
	case OPTION_LEVEL: options->level = level_of(text); break;
	case OPTION_SETTLE_BY_HAND: options->settle_by_hand = true; break;
	case OPTION_JSON: options->is_json = true; break;
	case OPTION_PROGRESS: options->has_progress = true; break;
	default: return false;
	}
	return true;
}

static bool set_number(struct load_options *options, int id, const char *text)
{
	switch (id) {
	case OPTION_RATE: options->rate = number_of(text, 0, 1e9); break;
	case OPTION_SECONDS: options->seconds = number_of(text, 0, 1e9); break;
	case OPTION_EVENTS: options->events = (uint64_t)number_of(text, 0, 1e15); break;
	case OPTION_EXIT_AFTER: options->exit_after = (uint64_t)number_of(text, 0, 1e15); break;
	case OPTION_PAUSE_AFTER: options->pause_after = (uint64_t)number_of(text, 0, 1e15); break;
	case OPTION_PAUSE_MS: options->pause_ms = (uint32_t)number_of(text, 0, 1e9); break;
	case OPTION_PAYLOAD: options->payload = (uint32_t)number_of(text, WEIR_PAYLOAD_MIN, 16 << 20); break;
	case OPTION_KEYS: options->keys = (uint32_t)number_of(text, 1, 1 << 18); break;
	case OPTION_NUMBER: options->number = (uint32_t)number_of(text, 1, UINT32_MAX); break;
	case OPTION_DELAY_US: options->delay_us = (uint32_t)number_of(text, 0, 1e9); break;
	case OPTION_LINGER_US: options->linger_us = (uint32_t)number_of(text, 0, UINT32_MAX); break;
	case OPTION_FRAME_EVENTS: options->frame_events = (uint32_t)number_of(text, 0, 4096); break;
	case OPTION_FRAME_SIZE: options->frame_size = (uint32_t)number_of(text, 512, 9216); break;
	case OPTION_TIMEOUT: options->timeout_s = (uint32_t)number_of(text, 1, 1e6); break;
	default: return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct load_options options = { .router = "udp://127.0.0.1:9347", .topic = "positions", .group = "all", .payload = 64,
					.keys = 1000, .level = WEIR_LEVEL_ROUTED, .timeout_s = 20, .pause_ms = 1000 };
	const char *verb = argc > 1 ? argv[1] : "";
	int id;
	optind = 2;
	while ((id = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
		if (id == OPTION_HELP) {
			fputs(USAGE, stdout);
			return 0;
		}
		if (!set_text(&options, id, optarg) && !set_number(&options, id, optarg))
			return 2;
	}
	struct sigaction action = { .sa_handler = stop };
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	// Timed waits end when they should, not 50 us later.
	prctl(PR_SET_TIMERSLACK, 1000ul);
	bool is_verdict = strcmp(verb, "verdict") == 0;
	if (!is_verdict && optind < argc) {
		load_fail("%s: what is \"%s\"?", verb, argv[optind]);
		return 2;
	}
	if (strcmp(verb, "produce") == 0)
		return load_produce(&options);
	if (strcmp(verb, "consume") == 0)
		return load_consume(&options);
	if (is_verdict && optind < argc)
		return load_verdict(&options, argv + optind, argc - optind);
	fputs(USAGE, stderr);
	return 2;
}
