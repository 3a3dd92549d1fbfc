// weirload produce: publishes events of known content, open loop at a rate (the intended send time is what latency counts
// from, so a stalled sender cannot hide its delay) or as fast as credit allows. One thread.
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "client/weir.h"
#include "lib/clock.h"
#include "lib/stop.h"
#include "perf/load.h"
#include "perf/payload.h"

#define BURST 64u      // events between two looks at the clock
#define CLOSE_MS 2000
#define POLL_EVERY 512u // events between two weir_poll()

struct producing {
	const struct load_options *options;
	struct weir *weir;
	struct weir_producer *producer;
	uint8_t *bytes;
	struct weir_payload next; // key and sequence of the next event
	uint64_t published;
	uint64_t starved;         // times there was no credit
	uint64_t start_ns;
	uint64_t end_ns;
	uint64_t progress_ns;
	uint64_t progress_published;
};

static void progress_print(struct producing *p, uint64_t now_ns)
{
	struct weir_producer_counts counts;
	if (!p->options->has_progress || now_ns < p->progress_ns + 1000000000ull)
		return;
	weir_producer_counts(p->producer, &counts);
	fprintf(stderr, "{\"role\":\"producer\",\"seconds\":%.3f,\"published\":%lu,\"routed\":%lu,\"waiting\":%lu,"
		"\"starved\":%lu,\"events_per_second\":%.0f}\n",
		(double)(now_ns - p->start_ns) / 1e9, counts.published, counts.routed,
		counts.waiting, p->starved,
		(double)(p->published - p->progress_published) * 1e9 / (double)(now_ns - p->progress_ns));
	p->progress_ns = now_ns;
	p->progress_published = p->published;
}

// 0, -EAGAIN without credit, or what ends the run.
static int publish_one(struct producing *p, uint64_t send_ns)
{
	const struct load_options *options = p->options;
	p->next.send_ns = send_ns;
	weir_payload_fill(p->bytes, options->payload, &p->next);
	struct weir_event event = { .key = weir_payload_key(&p->next), .type = 1, .payload = p->bytes,
				    .payload_size = options->payload };
	int result = weir_publish(p->producer, &event);
	if (result)
		return result;
	p->published++;
	if (++p->next.key == options->keys) {
		p->next.key = 0;
		p->next.sequence++;
	}
	return 0;
}

// Until the next event is due, something can be received, or 1 ms passed.
static void wait_until(struct producing *p, uint64_t due_ns)
{
	uint64_t now_ns = lib_clock_ns();
	if (due_ns <= now_ns)
		return;
	uint64_t left_ns = due_ns - now_ns < 1000000 ? due_ns - now_ns : 1000000;
	struct pollfd pollfd = { .fd = weir_fd(p->weir), .events = POLLIN };
	ppoll(&pollfd, 1, &(struct timespec){ .tv_nsec = (long)left_ns }, NULL);
}

// One burst. 0 to go on, 1 at the end, or -errno.
static int step(struct producing *p)
{
	const struct load_options *options = p->options;
	uint64_t now_ns = lib_clock_ns();
	progress_print(p, now_ns);
	if (lib_stop_signal() || now_ns >= p->end_ns || p->published == options->events)
		return 1;
	uint64_t due = p->published + POLL_EVERY;
	double period_ns = options->rate > 0 ? 1e9 / options->rate : 0;
	if (period_ns > 0) {
		uint64_t by_now = (uint64_t)((double)(now_ns - p->start_ns) / period_ns) + 1;
		due = by_now < due ? by_now : due;
	}
	due = due < options->events ? due : options->events;
	bool is_starved = false;
	while (p->published < due && !is_starved) {
		uint64_t send_ns = now_ns;
		if (period_ns > 0)
			send_ns = p->start_ns + (uint64_t)((double)p->published * period_ns);
		else if (p->published % BURST == 0)
			now_ns = lib_clock_ns();
		int result = publish_one(p, send_ns);
		if (result && result != -EAGAIN)
			return result;
		is_starved = result == -EAGAIN;
	}
	p->starved += is_starved;
	int result = weir_poll(p->weir, is_starved ? 10 : 0);
	if (result < 0 && result != -EINTR)
		return result;
	if (period_ns > 0 && !is_starved)
		wait_until(p, p->start_ns + (uint64_t)((double)p->published * period_ns));
	return 0;
}

static void result_print(const struct producing *p, const struct weir_producer_counts *counts, uint64_t end_ns)
{
	const struct load_options *options = p->options;
	struct weir_statistics statistics;
	weir_statistics(p->weir, &statistics);
	double seconds = (double)(end_ns - p->start_ns) / 1e9;
	double rate = seconds > 0 ? (double)counts->routed / seconds : 0;
	if (!options->is_json) {
		printf("published %lu, routed %lu, refused %lu, unknown %lu in %.3f s: %.0f events/s\n",
		       counts->published, counts->routed,
		       counts->refused, (counts->unknown + counts->waiting), seconds, rate);
		return;
	}
	printf("{\"role\":\"producer\",\"number\":%u,\"topic\":\"%s\",\"level\":\"%s\",\"payload\":%u,\"keys\":%u,"
	       "\"published\":%lu,\"routed\":%lu,\"refused\":%lu,\"unknown\":%lu,\"waiting\":%lu,"
	       "\"last_refusal\":\"%s\",\"starved\":%lu,\"seconds\":%.6f,\"events_per_second\":%.0f,",
	       p->next.producer, options->topic, options->level == WEIR_LEVEL_NONE ? "none" : "routed", options->payload,
	       options->keys, counts->published, counts->routed,
	       counts->refused, counts->unknown, counts->waiting,
	       counts->last_refusal ? weir_refusal_name(counts->last_refusal) : "", p->starved, seconds, rate);
	printf("\"frames_sent\":%lu,\"frames_resent\":%lu,\"frames_received\":%lu,\"frames_bad\":%lu,\"nacks\":%lu,"
	       "\"timeouts\":%lu,\"sessions\":%lu,\"system_calls\":%lu,\"round_trip_ns\":%lu}\n",
	       statistics.frames_sent, statistics.frames_resent,
	       statistics.frames_received, statistics.frames_bad,
	       statistics.nacks, statistics.timeouts,
	       statistics.sessions, statistics.system_calls,
	       statistics.round_trip_ns);
}

// Publishes until the end; then waits for acknowledgements and reports. Returns the exit status.
static int run(struct producing *p)
{
	const struct load_options *options = p->options;
	p->start_ns = p->progress_ns = lib_clock_ns();
	p->end_ns = options->seconds > 0 ? p->start_ns + (uint64_t)(options->seconds * 1e9) : UINT64_MAX;
	int result = 0;
	while (result == 0)
		result = step(p);
	int status = 0;
	if (result == -EMSGSIZE)
		status = load_fail("publish to topic %s: %u bytes of payload are over the topic's event_max (size): "
				   "publish less at once, or raise event_max", options->topic, options->payload);
	else if (result < 0)
		status = load_fail("publish to topic %s: %s", options->topic, strerror(-result));
	int flushed = weir_flush(p->producer, (int)options->timeout_s * 1000);
	uint64_t end_ns = lib_clock_ns();
	struct weir_producer_counts counts;
	weir_producer_counts(p->producer, &counts);
	if (flushed == -ETIMEDOUT)
		status = load_fail("topic %s: %lu events are not acknowledged after %u s", options->topic,
				   counts.waiting, options->timeout_s);
	if (counts.refused)
		status = load_fail("topic %s: %lu events were refused for good: %s (%s)", options->topic,
				   counts.refused, weir_refusal_name(counts.last_refusal),
				   weir_refusal_text(counts.last_refusal));
	result_print(p, &counts, end_ns);
	return status;
}

int load_produce(const struct load_options *given)
{
	struct load_options options = *given;
	if (options.events == 0)
		options.events = UINT64_MAX;
	struct producing p = { .options = &options, .next.producer = options.number };
	if (p.next.producer == 0 && getrandom(&p.next.producer, sizeof(p.next.producer), 0) < 0)
		return load_fail("random producer number: %s", strerror(errno));
	struct weir_options client = { .name = options.name, .frame_size = options.frame_size };
	struct weir_producer_options producer = { .level = options.level, .linger_us = options.linger_us,
						  .frame_events = options.frame_events };
	p.bytes = malloc(options.payload);
	if (!p.bytes)
		return load_fail("payload of %u bytes: no memory", options.payload);
	int status = 1;
	int close_ms = 0; // a router that did not answer is not waited for once more
	int result = weir_open(&p.weir, options.router, &client);
	if (result) {
		load_fail("router %s: %s", options.router, strerror(-result));
		goto err_free;
	}
	result = weir_producer_open(&p.producer, p.weir, options.topic, &producer);
	if (result == 0)
		result = weir_producer_wait(p.producer, (int)options.timeout_s * 1000);
	if (result) {
		load_fail("topic %s at %s: %s", options.topic, options.router,
			  result == -ENOENT ? "no such topic" : result == -ETIMEDOUT ? "no answer" : strerror(-result));
		goto err_close;
	}
	status = run(&p);
	close_ms = CLOSE_MS;
err_close:
	result = weir_close(p.weir, close_ms);
	if (status == 0 && result)
		status = load_fail("close: %s", strerror(-result));
err_free:
	free(p.bytes);
	return status;
}
