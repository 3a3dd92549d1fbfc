// A producer of a run: publishes what its source says when it is due, whatever the router does meanwhile (open loop), and keeps
// apart two kinds of lateness: its own (the generator's lag) and waiting for credit (the router's). Each event carries the time
// it was meant for, from which latency counts; its type carries how late it was sent, as a bucket of the histogram.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "perf/payload.h"
#include "perf/run_parts.h"

#define CLOCK_EVERY 16u         // events between two looks at the clock
#define POLL_EVERY 256u         // events between two polls of the link
#define TURN_EVENTS 4096u       // then it looks at the schedule's end again
#define READY_NS 2000000ull     // between two looks at the phase
#define STALL_NS 1000000ull     // between two tries without credit
#define DEBT_NS RUN_SECOND_NS   // credit came this long ago: still being behind is the generator's fault
#define OPEN_NS (20 * RUN_SECOND_NS)
#define FLUSH_NS (20 * RUN_SECOND_NS)

_Static_assert(WEIR_HISTOGRAM_BUCKETS <= UINT16_MAX, "a bucket fits an event's type");

int run_producer_init(struct run_client *client)
{
	const struct weir_scenario_producers *set = &client->scenario->producers[client->set];
	const struct weir_trace *trace = set->trace.file[0] ? &client->run->traces[client->set] : NULL;
	uint64_t seed = weir_mix64(client->run->options.seed + client->index);
	weir_source_init(&client->source, client->scenario, set, trace, client->member, seed);
	client->sequences = calloc(weir_source_key_count(&client->source), sizeof(*client->sequences));
	client->bytes = malloc(weir_source_size_max(&client->source));
	return client->sequences && client->bytes ? 0 : -ENOMEM;
}

void run_producer_fini(struct run_client *client)
{
	free(client->sequences);
	free(client->bytes);
}

static uint64_t waiting(struct run_client *client, uint64_t now_ns)
{
	const struct weir_scenario_producers *set = &client->scenario->producers[client->set];
	struct weir_producer_options options = { .level = set->level, .linger_us = (uint32_t)(set->linger_ns / 1000),
						 .frame_events = set->frame_events };
	int result = weir_link_open(&client->link, client->run->address, client->run->device, client->index);
	if (result) {
		run_client_fail(client, "router %s: %s", client->run->address, strerror(-result));
		return now_ns;
	}
	client->is_open = true;
	client->opened_ns = now_ns;
	result = weir_link_producer_open(&client->link, set->topic, &options, &client->producer);
	if (result)
		run_client_fail(client, "topic %s: %s", set->topic, strerror(-result));
	else
		run_state_set(client, RUN_STATE_OPENING);
	return now_ns;
}

static uint64_t opening(struct run_client *client, uint64_t now_ns)
{
	const char *topic = client->scenario->producers[client->set].topic;
	int result = weir_core_producer_state(client->producer);
	if (result == 0) {
		run_state_set(client, RUN_STATE_READY);
		return now_ns;
	}
	if (result == -EAGAIN && now_ns < client->opened_ns + OPEN_NS)
		return now_ns + 10000000;
	run_client_fail(client, "topic %s at %s: %s", topic, client->run->address,
			result == -EAGAIN   ? "no answer from the router"
			: result == -ENOENT ? "the router has no such topic; weirperf topology SCENARIO prints what it needs"
					    : strerror(-result));
	return now_ns;
}

// 0, or what weir_publish() said.
static int publish(struct run_client *client, uint64_t intended_ns, uint64_t now_ns)
{
	const struct weir_scenario_producers *set = &client->scenario->producers[client->set];
	const struct weir_source_event *next = &client->source.next;
	struct weir_payload payload = { .sequence = client->sequences[next->key], .send_ns = intended_ns,
					.producer = client->number, .key = next->key };
	uint64_t late_ns = now_ns > intended_ns ? now_ns - intended_ns : 0;
	weir_payload_fill(client->bytes, next->size, &payload);
	struct weir_event event = { .key = weir_payload_key(&payload), .type = (uint16_t)weir_histogram_bucket(late_ns),
				    .payload = client->bytes, .payload_size = next->size };
	if (client->source.trace)
		event.key = client->source.trace->keys[next->key];
	else if (set->keys.is_shared)
		event.key = next->key;
	int result = weir_link_publish(&client->link, client->producer, &event);
	if (result)
		return result;
	client->sequences[next->key]++;
	struct run_slot *slot = client->slot;
	struct run_step *step = &slot->steps[next->step];
	bool is_missed = late_ns > client->scenario->lag_limit_ns;
	run_add(&slot->published, 1);
	run_add(&slot->missed, is_missed);
	step->published++;
	step->intended++;
	step->missed += is_missed;
	slot->intended++;
	if (!client->is_in_debt) {
		weir_histogram_add(&slot->lag, late_ns, 1);
		if (late_ns > run_load(&slot->lag_max_ns))
			atomic_store_explicit(&slot->lag_max_ns, late_ns, memory_order_relaxed);
	}
	return 0;
}

static void stalled(struct run_client *client, uint64_t now_ns)
{
	if (client->stalled_ns == 0) {
		client->stalled_ns = now_ns;
		run_add(&client->slot->stalls, 1);
	}
	client->is_in_debt = true;
}

static void freed(struct run_client *client, uint64_t now_ns)
{
	run_add(&client->slot->stall_ns, now_ns - client->stalled_ns);
	client->stalled_ns = 0;
	client->freed_ns = now_ns;
}

// Everything that is due. Returns whether credit ran out; a failure shows in the state.
static bool publish_due(struct run_client *client, uint64_t start_ns, uint64_t end_ns, uint64_t now_ns)
{
	for (uint32_t i = 1; i <= TURN_EVENTS; i++) {
		uint64_t intended_ns = client->source.next.time_ns + start_ns;
		if (client->source.next.time_ns == UINT64_MAX || intended_ns >= end_ns || intended_ns > now_ns) {
			client->is_in_debt = false;
			break;
		}
		int result = publish(client, intended_ns, now_ns);
		if (result == -EAGAIN || result == -ENOTCONN) {
			stalled(client, now_ns);
			return true;
		}
		if (result) {
			run_client_fail(client, "topic %s: cannot publish %u bytes: %s",
					client->scenario->producers[client->set].topic, client->source.next.size,
					strerror(-result));
			return false;
		}
		if (client->stalled_ns)
			freed(client, now_ns);
		weir_source_advance(&client->source);
		if (i % CLOCK_EVERY == 0)
			now_ns = run_now_ns();
		if (i % POLL_EVERY == 0)
			weir_link_poll(&client->link, now_ns);
	}
	return false;
}

static void counts_note(struct run_client *client)
{
	struct weir_producer_counts counts;
	weir_producer_counts(client->producer, &counts);
	atomic_store_explicit(&client->slot->acknowledged, counts.routed, memory_order_relaxed);
	atomic_store_explicit(&client->slot->refused, counts.refused, memory_order_relaxed);
	client->slot->unknown = counts.unknown + counts.waiting;
}

// The schedule is over; what it still asked for was never sent.
static void finish(struct run_client *client, uint64_t start_ns, uint64_t end_ns, uint64_t now_ns)
{
	struct run_slot *slot = client->slot;
	uint64_t never = 0;
	while (client->source.next.time_ns != UINT64_MAX && client->source.next.time_ns + start_ns < end_ns) {
		struct run_step *step = &slot->steps[client->source.next.step];
		step->intended++;
		step->missed++;
		never++;
		weir_source_advance(&client->source);
	}
	slot->intended += never;
	run_add(&slot->missed, never);
	if (client->stalled_ns)
		freed(client, now_ns);
	weir_core_flush(client->producer);
	client->flush_ns = now_ns;
	run_state_set(client, RUN_STATE_FLUSHING);
}

static uint64_t running(struct run_client *client, uint64_t now_ns)
{
	uint64_t start_ns = run_load(&client->board->start_ns);
	uint64_t end_ns = run_load(&client->board->end_ns);
	if (client->is_in_debt && client->stalled_ns == 0 && now_ns > client->freed_ns + DEBT_NS)
		client->is_in_debt = false;
	bool is_starved = publish_due(client, start_ns, end_ns, now_ns);
	counts_note(client);
	if (run_state_of(client->slot) == RUN_STATE_FAILED)
		return now_ns;
	uint64_t next = client->source.next.time_ns;
	if (now_ns >= end_ns || next == UINT64_MAX || next + start_ns >= end_ns) {
		finish(client, start_ns, end_ns, now_ns);
		return now_ns;
	}
	if (is_starved)
		return now_ns + STALL_NS;
	return next + start_ns < now_ns + 100000000 ? next + start_ns : now_ns + 100000000;
}

static uint64_t flushing(struct run_client *client, uint64_t now_ns)
{
	int result = weir_core_flush_state(client->producer);
	counts_note(client);
	bool is_over = run_phase_of(client->board) == RUN_PHASE_STOP || now_ns >= client->flush_ns + FLUSH_NS;
	if (result == -EAGAIN && !is_over)
		return now_ns + 5000000;
	run_state_set(client, RUN_STATE_DONE);
	return now_ns;
}

uint64_t run_producer_step(struct run_client *client, uint64_t now_ns)
{
	enum run_phase phase = run_phase_of(client->board);
	enum run_state state = run_state_of(client->slot);
	if (client->is_open) {
		int result = weir_link_poll(&client->link, now_ns);
		if (result < 0 && result != -EINTR)
			run_client_fail(client, "router %s: %s", client->run->address, strerror(-result));
	}
	if (phase == RUN_PHASE_STOP && state < RUN_STATE_RUNNING)
		run_state_set(client, RUN_STATE_DONE);
	switch (run_state_of(client->slot)) {
	case RUN_STATE_WAITING: return waiting(client, now_ns);
	case RUN_STATE_OPENING: return opening(client, now_ns);
	case RUN_STATE_READY:
		if (phase >= RUN_PHASE_LOAD)
			run_state_set(client, RUN_STATE_RUNNING);
		return now_ns + (phase >= RUN_PHASE_LOAD ? 0 : READY_NS);
	case RUN_STATE_RUNNING: return running(client, now_ns);
	case RUN_STATE_FLUSHING: return flushing(client, now_ns);
	default: return now_ns;
	}
}
