// What a lane carries: one thread that publishes and consumes through libweir, beside a router whose worker has a core of its
// own. Every event's key and place in its key's order are checked, and what an event holds is read. Prints one JSON object.
//
//   lanes throughput ADDRESS TOPIC GROUP[,GROUP...] FRAME_EVENTS PAYLOAD OUTSTANDING SECONDS
//   lanes round-trip ADDRESS TOPIC GROUP REPLY_TOPIC REPLY_GROUP SECONDS
//   lanes memcpy SECONDS
//   lanes bare CORE FRAME_EVENTS PAYLOAD OUTSTANDING SECONDS
//   lanes distance CORE
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "client/weir.h"
#include "perf/histogram.h"
#include "perf/lanes_bare.h"

#define KEYS WEIR_BARE_KEYS // spread over the shards by their hash
#define GROUPS_MAX 4u
#define PAYLOAD_MAX 8192u
#define VIEWS 512
#define PART_MAX 1024u // events
#define BATCH 64u // events published at once, fewer than keys
#define COPY_BYTES (64u << 20)
#define SETTLING_SHARE 8u // of the time is not measured: the beginning

struct ends {
	struct weir *weir;
	struct weir_producer *producer;
	struct weir_consumer *consumer;
};

struct load {
	struct ends ends;
	uint32_t payload_size;
	uint64_t outstanding; // events
	uint32_t groups;
	struct weir_consumer *consumers[GROUPS_MAX];
	uint64_t published;
	uint64_t consumed; // by every group
	uint64_t consumed_by[GROUPS_MAX];
	uint64_t wrong;
	uint64_t next_out[KEYS];
	uint64_t next_in[GROUPS_MAX][KEYS];
	uint64_t payload[PAYLOAD_MAX / 8]; // all but the first word
	struct weir_event events[BATCH];
	uint64_t payloads[BATCH * PAYLOAD_MAX / 8]; // payload_size each, one behind the other
	struct weir_view views[VIEWS];
};

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static int fail(const char *what, int error)
{
	fprintf(stderr, "lanes: %s: %s\n", what, strerror(-error));
	return 1;
}

static int member_open(struct weir *weir, const char *topic, const char *group, struct weir_consumer **consumer)
{
	int error = weir_consumer_open(consumer, weir, topic, group, NULL);
	return error ? error : weir_consumer_wait(*consumer, 5000);
}

// Shards are assigned some time after joining.
static int shards_wait(struct weir *weir, struct weir_consumer *consumer, uint32_t shards)
{
	struct weir_consumer_counts counts = { 0 };
	for (uint64_t end = now_ns() + 5000000000ull; counts.shards < shards;) {
		weir_poll(weir, 10);
		weir_consume(consumer, NULL, 0);
		weir_consumer_counts(consumer, &counts);
		if (now_ns() > end)
			return -ETIMEDOUT;
	}
	return 0;
}

static int ends_open(struct ends *ends, const char *address, const char *topic, const char *group, uint32_t frame_events)
{
	struct weir_options options = { .wait = WEIR_WAIT_SPIN };
	struct weir_producer_options producer = { .level = WEIR_LEVEL_ROUTED, .linger_us = 50, .frame_events = frame_events };
	int error = 0;
	if (!ends->weir)
		error = weir_open(&ends->weir, address, &options);
	if (!error)
		error = member_open(ends->weir, topic, group, &ends->consumer);
	if (!error)
		error = weir_producer_open(&ends->producer, ends->weir, topic, &producer);
	if (!error)
		error = weir_producer_wait(ends->producer, 5000);
	return error ? error : shards_wait(ends->weir, ends->consumer, weir_producer_shards(ends->producer));
}

// ---- Throughput ----

static void publish_some(struct load *load)
{
	uint64_t room = load->outstanding - (load->published - load->consumed);
	uint32_t words = load->payload_size / 8;
	while (room) {
		uint32_t most = room < BATCH ? (uint32_t)room : BATCH;
		for (uint32_t i = 0; i < most; i++) {
			uint32_t key = (uint32_t)(load->published + i) % KEYS;
			load->events[i].key = key;
			load->payloads[i * words] = load->next_out[key];
		}
		int taken = weir_publish_many(load->ends.producer, load->events, (int)most);
		if (taken <= 0)
			return;
		for (int i = 0; i < taken; i++)
			load->next_out[(load->published + (uint64_t)i) % KEYS]++;
		load->published += (uint64_t)taken;
		room -= (uint64_t)taken;
	}
}

static bool is_right(const struct load *load, uint64_t next[KEYS], const struct weir_view *view)
{
	const uint64_t *words = view->payload;
	uint32_t last = load->payload_size / 8 - 1;
	if (view->key >= KEYS || view->payload_size != load->payload_size || words[0] != next[view->key]++)
		return false;
	// All of a large event, the last word of one that is a cache line.
	if (load->payload_size <= 64)
		return last == 0 || words[last] == load->payload[last];
	return memcmp(words + 1, load->payload + 1, last * 8) == 0;
}

// The last call settles what the one before handed out.
static void consume_some(struct load *load)
{
	uint64_t least = UINT64_MAX;
	for (uint32_t group = 0; group < load->groups; group++) {
		int count = weir_consume(load->consumers[group], load->views, VIEWS);
		for (int i = 0; i < count; i++)
			load->wrong += !is_right(load, load->next_in[group], &load->views[i]);
		load->consumed_by[group] += (uint64_t)count;
		least = load->consumed_by[group] < least ? load->consumed_by[group] : least;
	}
	load->consumed = least;
}

// What an application does that cares for throughput: reads as long as there is something, publishes when a good part of
// what it may have outstanding is free, and lets the client work then, or when there is nothing to read.
static void turn(struct load *load)
{
	uint64_t before = load->consumed;
	uint64_t part = load->outstanding / 4 < PART_MAX ? load->outstanding / 4 : PART_MAX;
	consume_some(load);
	bool is_due = load->outstanding - (load->published - load->consumed) >= part;
	if (is_due)
		publish_some(load);
	if (is_due || load->consumed == before)
		weir_poll(load->ends.weir, 0);
}

// The groups of a list, the first of which is the producer's too.
static int groups_open(struct load *load, const char *address, const char *topic, char *list, uint32_t frame_events)
{
	char *rest = NULL;
	const char *group = strtok_r(list, ",", &rest);
	int error = group ? ends_open(&load->ends, address, topic, group, frame_events) : -EINVAL;
	load->consumers[load->groups++] = load->ends.consumer;
	while (!error && (group = strtok_r(NULL, ",", &rest))) {
		if (load->groups == GROUPS_MAX)
			return -E2BIG;
		struct weir_consumer **consumer = &load->consumers[load->groups++];
		error = member_open(load->ends.weir, topic, group, consumer);
		if (!error)
			error = shards_wait(load->ends.weir, *consumer, weir_producer_shards(load->ends.producer));
	}
	return error;
}

static int throughput(char **arguments)
{
	static struct load load;
	uint32_t frame_events = (uint32_t)strtoul(arguments[3], NULL, 10);
	load.payload_size = (uint32_t)strtoul(arguments[4], NULL, 10);
	load.outstanding = strtoull(arguments[5], NULL, 10) * frame_events;
	double seconds = strtod(arguments[6], NULL);
	if (load.payload_size < 8 || load.payload_size > PAYLOAD_MAX || load.payload_size % 8 || !load.outstanding)
		return fail("PAYLOAD (8 to 8192, a multiple of 8) or OUTSTANDING", -EINVAL);
	for (uint32_t i = 0; i < PAYLOAD_MAX / 8; i++)
		load.payload[i] = i * 0x9e3779b97f4a7c15ull;
	for (uint32_t i = 0; i < BATCH; i++) {
		uint64_t *payload = &load.payloads[i * (load.payload_size / 8)];
		memcpy(payload, load.payload, load.payload_size);
		load.events[i] = (struct weir_event){ .payload = payload, .payload_size = load.payload_size };
	}
	int error = groups_open(&load, arguments[0], arguments[1], arguments[2], frame_events);
	if (error)
		return fail(arguments[0], error);
	uint64_t begin = now_ns();
	uint64_t end = begin + (uint64_t)(seconds * 1e9);
	uint64_t measured_from = begin + (end - begin) / SETTLING_SHARE;
	uint64_t before = 0;
	uint64_t started = 0;
	uint64_t now = begin;
	for (; now < end; now = now_ns()) {
		for (uint32_t i = 0; i < 64; i++)
			turn(&load);
		if (!started && now >= measured_from) {
			started = now_ns();
			before = load.consumed;
		}
	}
	double rate = started ? (double)(load.consumed - before) * 1e9 / (double)(now - started) : 0;
	weir_flush(load.ends.producer, 1000);
	for (uint64_t until = now_ns() + 2000000000ull; load.consumed < load.published && now_ns() < until;) {
		weir_poll(load.ends.weir, 1);
		consume_some(&load);
	}
	for (uint32_t group = 0; group < load.groups; group++)
		weir_consume(load.consumers[group], NULL, 0);
	struct weir_statistics statistics;
	weir_statistics(load.ends.weir, &statistics);
	error = weir_close(load.ends.weir, 2000);
	printf("{\"events_per_second\": %.0f, \"bytes_per_second\": %.0f, \"published\": %llu, \"consumed\": %llu, "
	       "\"wrong\": %llu, \"frames_resent\": %llu, \"system_calls\": %llu, \"closed\": %s}\n",
	       rate, rate * load.payload_size, (unsigned long long)load.published, (unsigned long long)load.consumed,
	       (unsigned long long)load.wrong, (unsigned long long)statistics.frames_resent,
	       (unsigned long long)statistics.system_calls, error ? "false" : "true");
	return load.wrong || load.consumed != load.published;
}

// ---- Round trip: publish, consume, publish the reply, consume it ----

static bool pass(struct ends *ends, uint64_t number)
{
	struct weir_event event = { .key = number, .payload = &number, .payload_size = sizeof(number) };
	struct weir_view view;
	uint64_t until = 0;
	while (weir_publish(ends->producer, &event) == -EAGAIN)
		weir_poll(ends->weir, 0);
	for (uint64_t spins = 1;; spins++) {
		weir_poll(ends->weir, 0);
		if (weir_consume(ends->consumer, &view, 1) == 1)
			return memcmp(view.payload, &number, sizeof(number)) == 0;
		if (spins % 4096 == 0 && (until == 0 || now_ns() > until)) {
			if (until)
				return false;
			until = now_ns() + 1000000000ull;
		}
	}
}

static int round_trip(char **arguments)
{
	static struct weir_histogram there_and_back;
	struct ends ask = { 0 };
	int error = ends_open(&ask, arguments[0], arguments[1], arguments[2], 1);
	struct ends reply = { .weir = ask.weir };
	if (!error)
		error = ends_open(&reply, arguments[0], arguments[3], arguments[4], 1);
	if (error)
		return fail(arguments[0], error);
	uint64_t begin = now_ns();
	uint64_t end = begin + (uint64_t)(strtod(arguments[5], NULL) * 1e9);
	uint64_t number = 0;
	for (uint64_t now = begin; now < end; number++) {
		uint64_t from = now;
		if (!pass(&ask, number) || !pass(&reply, number)) {
			fprintf(stderr, "lanes: event %llu did not come back\n", (unsigned long long)number);
			return 1;
		}
		now = now_ns();
		weir_histogram_add(&there_and_back, now - from, 1);
	}
	printf("{\"round_trip_p50_ns\": %llu, \"round_trip_p99_ns\": %llu, \"round_trip_p99_9_ns\": %llu, "
	       "\"round_trips\": %llu}\n",
	       (unsigned long long)weir_histogram_percentile(&there_and_back, 0.5),
	       (unsigned long long)weir_histogram_percentile(&there_and_back, 0.99),
	       (unsigned long long)weir_histogram_percentile(&there_and_back, 0.999), (unsigned long long)number);
	// What is not settled would come again in the next run.
	weir_consume(ask.consumer, NULL, 0);
	weir_consume(reply.consumer, NULL, 0);
	return weir_close(ask.weir, 2000) != 0;
}

// ---- The bound ----

static int copy(char **arguments)
{
	uint64_t limit_ns = (uint64_t)(strtod(arguments[0], NULL) * 1e9);
	uint8_t *from = mmap(NULL, 2 * (size_t)COPY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (from == MAP_FAILED)
		return fail("memory for the copy", -errno);
	madvise(from, 2 * (size_t)COPY_BYTES, MADV_HUGEPAGE);
	memset(from, 1, 2 * (size_t)COPY_BYTES);
	uint64_t best_ns = UINT64_MAX;
	uint64_t sum_ns = 0;
	uint64_t times = 0;
	for (uint64_t begin = now_ns(); now_ns() - begin < limit_ns; times++) {
		uint64_t start = now_ns();
		memcpy(from + COPY_BYTES, from, COPY_BYTES);
		__asm__ volatile("" : : "r"(from) : "memory");
		uint64_t took = now_ns() - start;
		best_ns = took < best_ns ? took : best_ns;
		sum_ns += took;
	}
	printf("{\"memcpy_bytes_per_second\": %.0f, \"best\": %.0f, \"copies\": %llu}\n",
	       (double)times * COPY_BYTES * 1e9 / (double)sum_ns, COPY_BYTES * 1e9 / (double)best_ns,
	       (unsigned long long)times);
	return 0;
}

// A lane without weir: what two cores do with the same events when nothing is promised.
static int bare(char **arguments)
{
	struct weir_bare shape = {
		.core = atoi(arguments[0]),
		.frame_events = (uint32_t)strtoul(arguments[1], NULL, 10),
		.payload_size = (uint32_t)strtoul(arguments[2], NULL, 10),
		.outstanding = (uint32_t)strtoul(arguments[3], NULL, 10),
		.duration_ns = (uint64_t)(strtod(arguments[4], NULL) * 1e9),
	};
	double rate = 0;
	int error = weir_bare_run(&shape, &rate);
	if (error)
		return fail("the bare copy", error);
	printf("{\"events_per_second\": %.0f, \"bytes_per_second\": %.0f}\n", rate, rate * shape.payload_size);
	return 0;
}

static int distance(char **arguments)
{
	double round_trip_ns = 0;
	int error = weir_bare_distance(atoi(arguments[0]), &round_trip_ns);
	if (error)
		return fail("the other core", error);
	printf("{\"line_round_trip_ns\": %.0f}\n", round_trip_ns);
	return 0;
}

int main(int count, char **arguments)
{
	static const struct {
		const char *name;
		int arguments;
		int (*run)(char **arguments);
	} MODES[] = { { "throughput", 7, throughput }, { "round-trip", 6, round_trip }, { "memcpy", 1, copy },
		      { "bare", 5, bare }, { "distance", 1, distance } };
	for (size_t i = 0; count > 1 && i < sizeof(MODES) / sizeof(MODES[0]); i++) {
		if (strcmp(arguments[1], MODES[i].name) == 0 && count == 2 + MODES[i].arguments)
			return MODES[i].run(arguments + 2);
	}
	fprintf(stderr, "lanes: usage: see the head of perf/lanes.c\n");
	return 2;
}
