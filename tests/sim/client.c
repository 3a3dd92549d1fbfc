// A client of a run: the real client core, and an application on it. Producers publish in bursts until their events are out;
// consumers take, check every view with the oracle, and settle at once or later. Instances die and come back.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/sim.h"
#include "wire/frame.h"
#include "wire/key.h"

static uint32_t output_send(void *context, const struct weir_datagram *datagrams, uint32_t count)
{
	struct sim_client *client = context;
	struct sim *sim = client->sim;
	for (uint32_t i = 0; i < count; i++) {
		const struct sim_packet packet = {
			.size = (uint32_t)datagrams[i].size,
			.client = client->index,
			.client_port = client->port,
			.worker = client->plan->worker,
			.is_to_router = true,
			.lane = client->local ? client->local->number : 0,
			.data = (uint8_t *)(uintptr_t)datagrams[i].data,
		};
		if (packet.size > WEIR_FRAME_MAX)
			sim_fail(sim, "client %u sends %u bytes", client->index, packet.size);
		sim_network_send(&sim->network, client->local ? sim_local_link() : &client->link, &packet, sim->now_ns);
	}
	return count;
}

// Another thread of the application says that it is at work, whatever the client itself is doing.
static void keepalive(struct sim_client *client, uint64_t now_ns)
{
	struct weir_frame_header ping;
	uint64_t session = weir_core_session(client->core);
	const struct weir_datagram datagram = { &ping, sizeof(ping) };
	if (session == 0 || client->plan->role != SIM_CONSUMER || !sim_chance(&client->sim->random, 5))
		return;
	weir_keepalive_make(&ping, session, WEIR_KEEPALIVE_PING | now_ns);
	output_send(client, &datagram, 1);
}

static void wake(struct sim_client *client, uint64_t *when, uint64_t at_ns)
{
	if (at_ns < client->paused_until_ns)
		at_ns = client->paused_until_ns;
	*when = at_ns;
}

static void parts_open(struct sim_client *client)
{
	struct sim *sim = client->sim;
	const struct sim_client_plan *plan = client->plan;
	char topic[WEIR_NAME_SIZE];
	char group[WEIR_NAME_SIZE];
	int error;
	if (plan->role == SIM_PRODUCER) {
		const struct weir_producer_options options = { .level = plan->level, .queue_bytes = 64u << 10 };
		sim_topic_name(topic, plan->topic);
		error = weir_core_producer_open(client->core, topic, &options, &client->producer);
	} else {
		const struct weir_consumer_options options = { .settle_by_hand = plan->settle_by_hand };
		sim_topic_name(topic, sim->plan.group[plan->group].topic);
		sim_group_name(group, plan->group);
		error = weir_core_consumer_open(client->core, topic, group, &options, &client->consumer);
	}
	// The one of before is closing.
	if (error && error != -EEXIST)
		sim_fail(sim, "client %u cannot open: %d", client->index, error);
}

void sim_client_start(struct sim_client *client)
{
	struct sim *sim = client->sim;
	char name[32];
	snprintf(name, sizeof(name), "client-%u", client->index);
	const struct weir_core_options options = {
		.name = client->plan->is_named ? name : NULL,
		.epoch = client->plan->is_named ? ++client->epoch : 0,
		.secret = { sim_random(&sim->random) },
		.realtime_offset_ns = 1700000000ll * (int64_t)SIM_S,
		.frame_size = client->plan->frame_size,
		.credit_bytes = client->plan->credit_bytes,
		.local = client->plan->is_local ? sim_local_create(client) : NULL,
	};
	client->port = sim->next_port++;
	client->instance++;
	client->is_leaving = client->is_closing = false;
	client->deaf_until_ns = 0;
	client->late_count = 0;
	client->start_at_ns = UINT64_MAX;
	int error = weir_core_create(&client->core, &options, sim->now_ns);
	if (error) {
		sim_fail(sim, "client %u cannot start: %d", client->index, error);
		return;
	}
	parts_open(client);
	client->poll_at_ns = client->act_at_ns = sim->now_ns;
	if (client->local)
		sim_local_up(client);
	sim_say(sim, "client %u starts, instance %u, port %u", client->index, client->instance, client->port);
}

// What the instance counted stays in the books; what was not acknowledged is in doubt.
static void books_keep(struct sim_client *client)
{
	struct weir_statistics statistics;
	weir_core_statistics(client->core, &statistics);
	client->sessions += statistics.sessions;
	if (client->producer) {
		struct weir_producer_counts counts;
		weir_producer_counts(client->producer, &counts);
		client->routed += counts.routed;
		client->refused += counts.refused;
		client->unknown += counts.unknown + counts.waiting;
	}
	client->producer = NULL;
	client->consumer = NULL;
	client->late_count = 0;
}

// Killed: nothing is said to anybody.
void sim_client_kill(struct sim_client *client)
{
	if (!client->core)
		return;
	books_keep(client);
	weir_core_destroy(client->core);
	client->core = NULL;
	if (client->local)
		sim_local_die(client);
	client->poll_at_ns = client->act_at_ns = UINT64_MAX;
}

// In order. The core frees its producers and consumers as the router confirms.
void sim_client_close(struct sim_client *client)
{
	books_keep(client);
	client->is_closing = true;
	weir_core_close(client->core, client->sim->now_ns);
	client->poll_at_ns = client->sim->now_ns;
}

void sim_client_renew(struct sim_client *client)
{
	struct weir_producer *producer = client->producer;
	books_keep(client);
	weir_core_producer_close(producer);
	client->poll_at_ns = client->sim->now_ns;
}

struct weir_producer_counts sim_client_counts(const struct sim_client *client)
{
	struct weir_producer_counts counts = { 0 };
	if (client->producer)
		weir_producer_counts(client->producer, &counts);
	counts.published = client->published;
	counts.routed += client->routed;
	counts.refused += client->refused;
	counts.unknown += client->unknown;
	return counts;
}

void sim_client_input(struct sim_client *client, const struct sim_packet *packet)
{
	uint64_t lane = client->local ? client->local->number : 0;
	if (!client->core || packet->client_port != client->port || packet->lane != lane)
		return;
	const struct weir_frame_header *frame = (const void *)packet->data;
	if (client->sim->now_ns < client->deaf_until_ns && packet->size >= sizeof(*frame) && frame->kind == WEIR_KIND_ASSIGN)
		return;
	weir_core_input(client->core, packet->data, packet->size, client->sim->now_ns);
	uint64_t at_ns = client->sim->now_ns + sim_below(&client->sim->random, 10) * SIM_US;
	if (at_ns < client->poll_at_ns)
		wake(client, &client->poll_at_ns, at_ns);
}

void sim_client_poll(struct sim_client *client)
{
	const struct weir_core_output output = { .send = output_send, .context = client };
	uint64_t now_ns = client->sim->now_ns;
	keepalive(client, now_ns);
	weir_core_poll(client->core, now_ns, &output);
	uint64_t next = weir_core_deadline(client->core);
	wake(client, &client->poll_at_ns, next > now_ns ? next : now_ns + 10 * SIM_US);
}

// ---- Producer ----

// True when the event was taken.
static bool event_publish(struct sim_client *client)
{
	struct sim *sim = client->sim;
	const struct sim_client_plan *plan = client->plan;
	uint32_t serial = client->published;
	struct sim_event *event = &sim->oracle.events[client->index][serial];
	static const uint8_t ATTRIBUTES[8] = { 1, 0, 4, 0, 'i', 'd', '-', '1' };
	uint8_t payload[16u << 10];
	if (event->size == 0) {
		event->key = sim_below(&sim->random, plan->keys);
		event->size = SIM_PAYLOAD_MIN + sim_below(&sim->random, plan->size_max);
		if (sim_chance(&sim->random, plan->large_percent))
			event->size = sim_between(&sim->random, 400, sim->plan.topic[plan->topic].event_max - 32);
	}
	sim_oracle_payload(payload, client->index, serial, event->size);
	const struct weir_event published = {
		.key = ((uint64_t)client->index << 32) + event->key,
		.type = (uint16_t)serial,
		.payload = payload,
		.payload_size = event->size,
		.attributes = ATTRIBUTES,
		.attributes_size = serial % 7 == 0 ? sizeof(ATTRIBUTES) : 0,
	};
	int error = weir_core_publish(client->producer, &published);
	if (error == -EAGAIN || error == -ENOTCONN || error == -ENOENT)
		return false;
	if (error == -EPROTO) {
		client->is_done = true;
		sim_fail(sim, "client %u: stream refused for good", client->index);
		return false;
	}
	if (error) {
		sim_fail(sim, "client %u cannot publish %u bytes: %d", client->index, event->size, error);
		return false;
	}
	event->is_sent = true;
	event->life = sim->router.life;
	client->published++;
	return true;
}

static void producer_act(struct sim_client *client)
{
	struct sim *sim = client->sim;
	const struct sim_client_plan *plan = client->plan;
	uint32_t burst = 1 + sim_below(&sim->random, plan->burst);
	while (burst > 0 && client->published < plan->events && !sim->has_failed && event_publish(client))
		burst--;
	if (client->published == plan->events || sim_chance(&sim->random, 10))
		weir_core_flush(client->producer);
	if (client->published == plan->events && weir_core_flush_state(client->producer) != -EAGAIN)
		client->is_done = true;
	uint32_t pause_us = sim_between(&sim->random, plan->pause_us / 2, plan->pause_us);
	wake(client, &client->act_at_ns, sim->now_ns + pause_us * SIM_US + SIM_US);
	// As weir_publish() does when frames are full.
	if (client->poll_at_ns > sim->now_ns && weir_core_deadline(client->core) <= sim->now_ns)
		wake(client, &client->poll_at_ns, sim->now_ns);
	else if (weir_core_deadline(client->core) < client->poll_at_ns)
		wake(client, &client->poll_at_ns, weir_core_deadline(client->core));
	if (weir_core_is_urgent(client->core))
		wake(client, &client->poll_at_ns, sim->now_ns);
}

// ---- Consumer ----

static bool may_settle_wrongly(const struct sim *sim, uint32_t group)
{
	return sim->oracle.may_lose || sim->oracle.has_ended[group];
}

static void late_settle(struct sim_client *client)
{
	for (uint32_t i = 0; i < client->late_count; i++) {
		int error = weir_core_settle(client->consumer, &client->late[i]);
		// A view of a former life of the router may be of no term, or beyond what was handed out in this one.
		if (error && error != -ESTALE && !(error == -EINVAL && may_settle_wrongly(client->sim, client->plan->group)))
			sim_fail(client->sim, "client %u cannot settle: %d", client->index, error);
	}
	client->late_count = 0;
}

static void late_add(struct sim_client *client, const struct weir_view *view)
{
	for (uint32_t i = 0; i < client->late_count; i++) {
		if (client->late[i].shard == view->shard) {
			client->late[i] = *view;
			return;
		}
	}
	if (client->late_count == 0)
		client->late_at_ns =
			client->sim->now_ns + sim_below(&client->sim->random, client->plan->settle_late_us + 1) * SIM_US;
	client->late[client->late_count++] = *view;
}

static uint64_t incarnation_of(const struct weir_assignment *assignments, int count, uint16_t shard)
{
	for (int i = 0; i < count; i++) {
		if (assignments[i].shard == shard)
			return assignments[i].incarnation;
	}
	return 0;
}

static void consumer_take(struct sim_client *client)
{
	struct sim *sim = client->sim;
	struct weir_view views[64];
	struct weir_assignment assignments[SIM_SHARDS];
	int most = (int)(client->plan->take < 64 ? client->plan->take : 64);
	weir_core_release(client->core);
	int held = weir_consumer_assignments(client->consumer, assignments, SIM_SHARDS);
	int count = weir_core_consume(client->consumer, views, most, sim->now_ns);
	for (int i = 0; i < count && !sim->has_failed; i++) {
		sim_oracle_view(client, &views[i], incarnation_of(assignments, held, views[i].shard));
		if (client->plan->settle_by_hand)
			late_add(client, &views[i]);
	}
	client->consumed += (uint64_t)(count > 0 ? count : 0);
}

static void consumer_act(struct sim_client *client)
{
	struct sim *sim = client->sim;
	const struct sim_client_plan *plan = client->plan;
	uint32_t pause_us = sim->is_calm && plan->pause_us > 2000 ? 2000 : plan->pause_us;
	wake(client, &client->act_at_ns, sim->now_ns + sim_between(&sim->random, pause_us / 2, pause_us) * SIM_US + SIM_US);
	if (client->late_count && (client->is_leaving || sim->now_ns >= client->late_at_ns))
		late_settle(client);
	if (client->is_leaving) {
		if (weir_core_consumer_has_left(client->consumer)) {
			weir_core_consumer_free(client->consumer);
			client->consumer = NULL;
			client->is_leaving = false;
			sim_say(sim, "client %u has left", client->index);
			// Comes back after a while, on the same session.
			wake(client, &client->act_at_ns, sim->now_ns + sim_below(&sim->random, 500) * SIM_MS);
		}
		return;
	}
	consumer_take(client);
	// As weir_poll() would: what was settled goes out at the end of the burst.
	wake(client, &client->poll_at_ns, sim->now_ns);
	// A bell for its home; other owners look by themselves.
	if (client->local)
		sim_router_wake(&sim->router.worker[plan->worker], sim->now_ns + sim_below(&sim->random, 5) * SIM_US);
}

void sim_client_act(struct sim_client *client)
{
	if (client->is_closing) {
		client->act_at_ns = UINT64_MAX;
		return;
	}
	if (client->producer)
		producer_act(client);
	else if (client->consumer)
		consumer_act(client);
	else
		parts_open(client), wake(client, &client->act_at_ns, client->sim->now_ns + SIM_MS);
}
