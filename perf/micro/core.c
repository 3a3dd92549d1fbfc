// What one event costs in the core: parse, check, admit, append, cursor, frame, acknowledge, report; everything the
// engine does but input and output. The clients' own work is not timed. One thread, pinned by tools/bench.
//
//   micro-core [--events N|full] [--payload BYTES] [--shards N] [--sessions N] [--train FRAMES] [--burst FRAMES] [--groups N]
//              [--log-kib KIB] [--link] [--seconds S | --stages ROUNDS]
//
// prints one JSON object: the whole path's nanoseconds, or each stage's (perf/micro/stages.h).
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perf/micro/stages.h"

#define TURNS_MAX (8u << 20)

struct turn {
	uint32_t ns;
	uint32_t events; // appended, which groups may see several times
};

struct costs { // ns an event
	double undisturbed;
	double all;
	double interrupted; // share of turns
};

static int turn_compare(const void *a, const void *b)
{
	const struct turn *left = a;
	const struct turn *right = b;
	return left->ns < right->ns ? -1 : left->ns > right->ns;
}

// Turns are alike. One of more than three times the median was interrupted: another task or the hypervisor took the
// core. Those are left out of `undisturbed`, and their share is told. Sorts the turns.
static struct costs costs_of(struct turn *turns, uint64_t count)
{
	struct costs costs = { 0 };
	uint64_t ns[2] = { 0, 0 };
	uint64_t events[2] = { 0, 0 };
	uint64_t interrupted = 0;
	if (count == 0)
		return costs;
	qsort(turns, count, sizeof(*turns), turn_compare);
	uint32_t limit = 3 * turns[count / 2].ns;
	for (uint64_t i = 0; i < count; i++) {
		bool is_interrupted = turns[i].ns > limit;
		ns[is_interrupted] += turns[i].ns;
		events[is_interrupted] += turns[i].events;
		interrupted += is_interrupted;
	}
	costs.undisturbed = events[0] ? (double)ns[0] / (double)events[0] : 0;
	costs.all = events[0] + events[1] ? (double)(ns[0] + ns[1]) / (double)(events[0] + events[1]) : 0;
	costs.interrupted = (double)interrupted / (double)count;
	return costs;
}

static bool path_run(struct weir_rig *rig, double seconds)
{
	static struct turn turns[TURNS_MAX];
	uint64_t count = 0;
	uint64_t since = weir_rig_clock_ns(); // the clients work
	uint64_t end = since + (uint64_t)(seconds * 1e9);
	for (; since < end && count < TURNS_MAX; count++) {
		weir_rig_publish(rig);
		uint32_t frames = rig->arrival_count;
		weir_rig_report(rig);
		rig->clients_ns += weir_rig_clock_ns() - since;
		uint64_t begin = weir_rig_now(rig);
		weir_rig_receive(rig);
		weir_rig_run(rig);
		since = weir_rig_clock_ns();
		turns[count].ns = (uint32_t)(since - rig->clients_ns - begin);
		turns[count].events = frames * rig->setup.frame_events;
		weir_rig_look(rig);
	}
	uint64_t sent = rig->delivered;
	uint64_t left = weir_rig_drain(rig);
	struct costs costs = costs_of(turns, count);
	const struct weir_rig_setup *setup = &rig->setup;
	printf("{\"frame_events\":%u,\"payload\":%u,\"shards\":%u,\"sessions\":%u,\"train\":%u,\"burst\":%u,"
	       "\"groups\":%u,\"log_bytes\":%lu,\"body_crc\":%s,\"events\":%lu,\"frames_out\":%lu,\"turns\":%lu,"
	       "\"ns_per_event\":%.3f,\"with_interruptions_ns_per_event\":%.3f,\"interrupted_turns\":%.4f,\"wrong\":%lu,"
	       "\"left\":%lu}\n",
	       setup->frame_events, setup->payload, setup->shards, setup->sessions, setup->train, setup->burst,
	       setup->groups, setup->log_bytes, setup->is_link ? "false" : "true", sent, rig->frames_out, count,
	       costs.undisturbed, costs.all, costs.interrupted, rig->wrong, left);
	return !rig->wrong && !left && sent;
}

__attribute__((noreturn)) static void usage(void)
{
	fputs("usage: micro-core [--events N|full] [--payload BYTES] [--shards N] [--sessions N] [--train FRAMES]\n"
	      "                  [--burst FRAMES] [--groups N] [--log-kib KIB] [--link]\n"
	      "                  [--seconds S | --stages ROUNDS]\n",
	      stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option OPTIONS[] = {
		{ "events", required_argument, NULL, 'e' },  { "payload", required_argument, NULL, 'p' },
		{ "shards", required_argument, NULL, 's' },  { "sessions", required_argument, NULL, 'n' },
		{ "train", required_argument, NULL, 't' },   { "groups", required_argument, NULL, 'g' },
		{ "log-kib", required_argument, NULL, 'l' }, { "link", no_argument, NULL, 'L' },
		{ "seconds", required_argument, NULL, 'S' }, { "stages", required_argument, NULL, 'r' },
		{ "burst", required_argument, NULL, 'b' },   { 0 },
	};
	struct weir_rig_setup setup = { .frame_events = 18, .payload = 64, .shards = 4, .sessions = 1, .groups = 1,
					.train = 32, .burst = 128, .log_bytes = 1 << 20 };
	double seconds = 1;
	uint32_t rounds = 0;
	for (int option; (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
		uint32_t number = optarg ? (uint32_t)strtoul(optarg, NULL, 0) : 0;
		switch (option) {
		case 'e': setup.frame_events = number; break; // "full" is 0
		case 'p': setup.payload = number; break;
		case 's': setup.shards = number; break;
		case 'n': setup.sessions = number; break;
		case 't': setup.train = number; break;
		case 'b': setup.burst = number; break;
		case 'g': setup.groups = number; break;
		case 'l': setup.log_bytes = (uint64_t)number << 10; break;
		case 'L': setup.is_link = true; break;
		case 'S': seconds = atof(optarg); break;
		case 'r': rounds = number; break;
		default: usage();
		}
	}
	if (optind != argc)
		usage();
	// A stage alone is the same every time: no timer fires because the machine paused.
	setup.is_clock_virtual = rounds != 0;
	struct weir_rig *rig = weir_rig_create(&setup);
	bool is_right = rounds ? weir_stages_run(rig, rounds) : path_run(rig, seconds);
	weir_rig_destroy(rig);
	return !is_right;
}
