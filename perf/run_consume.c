// A consumer of a run: a member of a group that checks and accounts for every event it is handed, as slowly as the scenario
// says. Its account and histograms lie in shared memory, so that they survive when it is killed. Latency counts from the time
// the event was meant to be sent; service from when it was sent.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "perf/payload.h"
#include "perf/run_parts.h"

#define VIEWS 512
#define SHARDS_MAX 4096u
#define READY_NS 20000000ull // between two looks at the phase
#define OPEN_NS (20 * RUN_SECOND_NS)
#define LEAVE_NS (3 * RUN_SECOND_NS)
#define WORK_NS 50000000ull  // most work done without a look at the network

struct run_incarnation {
	uint64_t incarnation;
	uint32_t term;
};

int run_consumer_init(struct run_client *client)
{
	const struct weir_scenario_consumers *set = &client->scenario->consumers[client->set];
	client->views = calloc(VIEWS, sizeof(*client->views));
	client->incarnations = calloc(SHARDS_MAX, sizeof(*client->incarnations));
	if (!client->views || !client->incarnations)
		return -ENOMEM;
	return weir_account_create(&client->account, NULL, set->topic, set->group);
}

void run_consumer_fini(struct run_client *client)
{
	free(client->views);
	free(client->incarnations);
	if (client->account.header)
		weir_account_close(&client->account);
}

// When a step begins, since the run's start.
static uint64_t begin_of(const struct weir_scenario *scenario, uint32_t step)
{
	uint64_t begin_ns = 0;
	for (uint32_t i = 0; i < step; i++)
		begin_ns += scenario->steps[i].length_ns;
	return begin_ns;
}

static bool has_begun(const struct run_client *client, uint32_t step, uint64_t now_ns)
{
	if (run_phase_of(client->board) == RUN_PHASE_OPENING)
		return false;
	return now_ns >= run_load(&client->board->start_ns) + begin_of(client->scenario, step);
}

static uint64_t waiting(struct run_client *client, uint64_t now_ns)
{
	const struct weir_scenario_consumers *set = &client->scenario->consumers[client->set];
	if (set->joins_step != UINT32_MAX && !has_begun(client, set->joins_step, now_ns))
		return now_ns + READY_NS / 4;
	int result = weir_link_open(&client->link, client->run->address, client->run->device, client->index);
	if (result) {
		run_client_fail(client, "router %s: %s", client->run->address, strerror(-result));
		return now_ns;
	}
	client->is_open = true;
	client->opened_ns = now_ns;
	result = weir_link_consumer_open(&client->link, set->topic, set->group, &client->consumer);
	if (result)
		run_client_fail(client, "group %s of topic %s: %s", set->group, set->topic, strerror(-result));
	else
		run_state_set(client, RUN_STATE_OPENING);
	return now_ns;
}

static uint64_t opening(struct run_client *client, uint64_t now_ns)
{
	const struct weir_scenario_consumers *set = &client->scenario->consumers[client->set];
	int result = weir_core_consumer_state(client->consumer);
	if (result == 0) {
		run_state_set(client, RUN_STATE_RUNNING);
		return now_ns;
	}
	if (result == -EAGAIN && now_ns < client->opened_ns + OPEN_NS)
		return now_ns + 10000000;
	run_client_fail(client, "group %s of topic %s at %s: %s", set->group, set->topic, client->run->address,
			result == -EAGAIN ? "no answer from the router"
			: result == -ENOENT
				? "the router has no such topic or group; weirperf topology SCENARIO prints what it needs"
				: strerror(-result));
	return now_ns;
}

// Which life of its log the shard's offsets belong to: asked once per term.
static uint64_t incarnation_of(struct run_client *client, const struct weir_view *view)
{
	struct run_incarnation *known = &client->incarnations[view->shard % SHARDS_MAX];
	if (known->term == view->term)
		return known->incarnation;
	struct weir_assignment *assignments = calloc(SHARDS_MAX, sizeof(*assignments));
	int count = assignments ? weir_consumer_assignments(client->consumer, assignments, SHARDS_MAX) : 0;
	for (int i = 0; i < count; i++) {
		if (assignments[i].shard == view->shard && assignments[i].term == view->term)
			*known = (struct run_incarnation){ assignments[i].incarnation, view->term };
	}
	free(assignments);
	return known->incarnation;
}

static bool is_right_key(const struct run_client *client, const struct weir_payload *payload, uint64_t key)
{
	if (key == weir_payload_key(payload) || key == payload->key)
		return true;
	for (uint32_t i = 0; i < client->scenario->producers_count; i++) {
		const struct weir_trace *trace = &client->run->traces[i];
		if (payload->key < trace->key_count && trace->keys[payload->key] == key)
			return true;
	}
	return false;
}

static uint32_t step_of(const struct weir_scenario *scenario, uint64_t since_ns, uint64_t *begin_ns)
{
	uint32_t step = 0;
	*begin_ns = 0;
	while (step + 1 < scenario->step_count && since_ns >= *begin_ns + scenario->steps[step].length_ns)
		*begin_ns += scenario->steps[step++].length_ns;
	return step;
}

// The step that an event was meant for; most often that of the event before.
static struct run_step *step_find(struct run_client *client, uint64_t send_ns)
{
	uint64_t start_ns = run_load(&client->board->start_ns);
	uint64_t since_ns = send_ns > start_ns ? send_ns - start_ns : 0;
	if (since_ns < client->step_begin || since_ns >= client->step_end) {
		client->step = step_of(client->scenario, since_ns, &client->step_begin);
		client->step_end = client->step_begin + client->scenario->steps[client->step].length_ns;
	}
	return &client->slot->steps[client->step];
}

// The account overflowing is the only failure.
static int take(struct run_client *client, const struct weir_view *view, uint64_t now_ns)
{
	struct weir_payload payload;
	struct run_slot *slot = client->slot;
	struct weir_account_header *header = client->account.header;
	bool is_whole = weir_payload_check(view->payload, view->payload_size, &payload);
	if (is_whole && payload.producer - client->number >= client->board->producers) {
		slot->foreign++;
		return 0;
	}
	if (!is_whole || !is_right_key(client, &payload, view->key)) {
		header->damaged++;
		return 0;
	}
	struct weir_account_event event = {
		.incarnation = incarnation_of(client, view), .offset = view->offset, .sequence = payload.sequence,
		.shard = view->shard, .term = view->term, .producer = payload.producer, .key = payload.key,
		.is_marked = view->flags & WEIR_VIEW_REDELIVERED,
	};
	uint64_t latency_ns = now_ns > payload.send_ns ? now_ns - payload.send_ns : 0;
	uint64_t late_ns = weir_histogram_bucket_top(view->type);
	struct run_step *step = step_find(client, payload.send_ns);
	weir_histogram_add(&step->latency, latency_ns, 1);
	weir_histogram_add(&slot->service, latency_ns > late_ns ? latency_ns - late_ns : 0, 1);
	step->bytes += view->payload_size;
	header->bytes += view->payload_size;
	return weir_account_add(&client->account, &event);
}

// Work for each event, now.
static uint64_t delay_of(const struct run_client *client, uint64_t now_ns)
{
	uint64_t delay_ns = client->scenario->consumers[client->set].delay_ns;
	if (run_phase_of(client->board) != RUN_PHASE_LOAD)
		return delay_ns;
	uint64_t start_ns = run_load(&client->board->start_ns);
	uint64_t begin_ns;
	uint32_t index = step_of(client->scenario, now_ns > start_ns ? now_ns - start_ns : 0, &begin_ns);
	const struct weir_scenario_step *step = &client->scenario->steps[index];
	for (uint32_t i = 0; i < step->slow_count; i++) {
		const struct weir_scenario_action *slow = &step->slow[i];
		if (slow->set == client->set && client->member < slow->members && slow->delay_ns > delay_ns)
			delay_ns = slow->delay_ns;
	}
	return delay_ns;
}

static void work(uint64_t work_ns)
{
	struct timespec left = { (time_t)(work_ns / RUN_SECOND_NS), (long)(work_ns % RUN_SECOND_NS) };
	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

// Returns whether anything was there.
static bool consume(struct run_client *client, uint64_t now_ns)
{
	struct weir_account_header *header = client->account.header;
	uint64_t delay_ns = delay_of(client, now_ns);
	uint64_t most = delay_ns ? WORK_NS / delay_ns + 1 : VIEWS;
	most = most < VIEWS ? most : VIEWS;
	int count = weir_link_consume(&client->link, client->consumer, client->views, (int)most, now_ns);
	if (count <= 0)
		return false;
	now_ns = run_now_ns();
	if (header->first_ns == 0)
		header->first_ns = now_ns;
	uint64_t redelivered = header->redelivered;
	for (int i = 0; i < count; i++) {
		if (take(client, &client->views[i], now_ns))
			run_client_fail(client, "account: more shards, producers, keys or gaps than it can hold");
	}
	header->last_ns = now_ns;
	run_add(&client->slot->received, (uint64_t)count);
	run_add(&client->slot->redelivered, header->redelivered - redelivered);
	if (delay_ns)
		work(delay_ns * (uint64_t)count);
	return true;
}

static uint64_t running(struct run_client *client, uint64_t now_ns)
{
	const struct weir_scenario_consumers *set = &client->scenario->consumers[client->set];
	bool is_over = run_phase_of(client->board) == RUN_PHASE_STOP;
	if (is_over || (set->leaves_step != UINT32_MAX && has_begun(client, set->leaves_step, now_ns))) {
		// Settles what was handed out last; hands out nothing more.
		weir_link_consume(&client->link, client->consumer, client->views, 0, now_ns);
		weir_core_consumer_leave(client->consumer);
		client->opened_ns = now_ns;
		run_state_set(client, RUN_STATE_LEAVING);
		return now_ns;
	}
	bool has_more = consume(client, now_ns);
	struct weir_consumer_counts counts;
	weir_consumer_counts(client->consumer, &counts);
	atomic_store_explicit(&client->slot->gaps, counts.gap_events, memory_order_relaxed);
	return has_more ? now_ns : now_ns + READY_NS;
}

static uint64_t leaving(struct run_client *client, uint64_t now_ns)
{
	if (!weir_core_consumer_has_left(client->consumer) && now_ns < client->opened_ns + LEAVE_NS)
		return now_ns + READY_NS;
	client->account.header->is_complete = 1;
	run_state_set(client, RUN_STATE_DONE);
	return now_ns;
}

uint64_t run_consumer_step(struct run_client *client, uint64_t now_ns)
{
	enum run_state state = run_state_of(client->slot);
	if (client->is_open) {
		int result = weir_link_poll(&client->link, now_ns);
		if (result < 0 && result != -EINTR)
			run_client_fail(client, "router %s: %s", client->run->address, strerror(-result));
	}
	if (run_phase_of(client->board) == RUN_PHASE_STOP && state < RUN_STATE_RUNNING) {
		client->account.header->is_complete = 1;
		run_state_set(client, RUN_STATE_DONE);
	}
	switch (run_state_of(client->slot)) {
	case RUN_STATE_WAITING: return waiting(client, now_ns);
	case RUN_STATE_OPENING: return opening(client, now_ns);
	case RUN_STATE_RUNNING: return running(client, now_ns);
	case RUN_STATE_LEAVING: return leaving(client, now_ns);
	default: return now_ns;
	}
}
