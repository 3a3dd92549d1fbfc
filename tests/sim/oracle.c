// What must hold, whatever happened: every view is an event that was published, whole, in its shard, at one offset for ever;
// each group sees each event once, in order, but for what is marked; terms fence; rows balance at any instant; in the end
// everything acknowledged was delivered and everything is settled.
#include <stdio.h>
#include <string.h>

#include "tests/sim/sim.h"
#include "wire/frame.h"
#include "wire/key.h"
#include "wire/reason.h"

static uint8_t pattern(uint32_t client, uint32_t serial, uint32_t at)
{
	return (uint8_t)(client * 151u + serial * 31u + at * 7u + (at >> 8));
}

void sim_oracle_payload(uint8_t *payload, uint32_t client, uint32_t serial, uint32_t size)
{
	for (uint32_t i = 12; i < size; i++)
		payload[i] = pattern(client, serial, i);
	memcpy(payload, &client, 4);
	memcpy(payload + 4, &serial, 4);
	memcpy(payload + 8, &size, 4);
}

static const struct sim_event *payload_check(struct sim *sim, const struct weir_view *view, uint32_t *client, uint32_t *serial)
{
	const uint8_t *payload = view->payload;
	uint32_t size;
	if (view->payload_size < SIM_PAYLOAD_MIN) {
		sim_fail(sim, "a view of %u bytes", view->payload_size);
		return NULL;
	}
	memcpy(client, payload, 4);
	memcpy(serial, payload + 4, 4);
	memcpy(&size, payload + 8, 4);
	if (*client >= sim->plan.clients || *serial >= SIM_EVENTS || size != view->payload_size) {
		sim_fail(sim, "a view of nobody's event: client %u serial %u size %u/%u", *client, *serial, size,
			 view->payload_size);
		return NULL;
	}
	const struct sim_event *event = &sim->oracle.events[*client][*serial];
	bool is_whole = event->is_sent && size == event->size && view->type == (uint16_t)*serial &&
			view->attributes_size == (*serial % 7 == 0 ? 8 : 0) &&
			view->key == ((uint64_t)*client << 32) + event->key;
	for (uint32_t i = 12; i < size && is_whole; i++)
		is_whole = payload[i] == pattern(*client, *serial, i);
	if (!is_whole) {
		sim_fail(sim, "event %u of client %u came damaged", *serial, *client);
		return NULL;
	}
	return event;
}

static bool may_gap(const struct sim *sim, uint32_t group)
{
	const struct sim_group_plan *plan = &sim->plan.group[group];
	return sim->oracle.has_ended[group] || plan->kind == WEIR_GROUP_FOLLOW ||
	       sim->plan.topic[plan->topic].policy == WEIR_POLICY_DROP_OLD;
}

static void order_forget(struct sim *sim, uint32_t group, uint16_t shard)
{
	uint32_t shards = sim->plan.topic[sim->plan.group[group].topic].shards;
	for (uint32_t client = 0; client < sim->plan.clients; client++) {
		for (uint32_t key = 0; key < SIM_KEYS; key++) {
			if (weir_shard_of(((uint64_t)client << 32) + key, shards) == shard)
				sim->oracle.last_serial[group][client][key] = 0;
		}
	}
}

// Terms fence and offsets are dense within them.
static void lane_check(struct sim_client *client, const struct weir_view *view, uint64_t incarnation)
{
	struct sim *sim = client->sim;
	uint32_t group = client->plan->group;
	struct sim_lane *lane = &sim->oracle.lanes[group][view->shard];
	bool is_marked = view->flags & WEIR_VIEW_REDELIVERED;
	if (incarnation == 0) {
		sim_fail(sim, "client %u was handed an event of shard %u, which it does not hold", client->index, view->shard);
		return;
	}
	if (lane->incarnation != incarnation) {
		// Another life of the log, where order begins anew: a member may still hold frames of the router that died.
		*lane = (struct sim_lane){ .incarnation = incarnation, .ended = lane->ended };
		order_forget(sim, group, view->shard);
	}
	if (view->term < lane->term || (view->term == lane->term && lane->client != client->index)) {
		sim_fail(sim, "group %u shard %u: client %u hands out in term %u, client %u has term %u", group, view->shard,
			 client->index, view->term, lane->client, lane->term);
		return;
	}
	uint64_t place = view->offset + 1;
	if (view->term > lane->term) {
		if (lane->highest && place > lane->highest + 1 && !may_gap(sim, group))
			sim_fail(sim, "group %u shard %u: term %u begins at %lu, beyond %lu", group, view->shard, view->term,
				 (unsigned long)view->offset, (unsigned long)lane->highest);
		lane->term = view->term;
		lane->client = client->index;
	} else if (place <= lane->last) {
		sim_fail(sim, "group %u shard %u term %u: offset %lu twice", group, view->shard, view->term,
			 (unsigned long)view->offset);
	} else if (place != lane->last + 1 && !may_gap(sim, group)) {
		sim_fail(sim, "group %u shard %u term %u: %lu follows %lu", group, view->shard, view->term,
			 (unsigned long)view->offset, (unsigned long)lane->last - 1);
	}
	if (place <= lane->highest && !is_marked)
		sim_fail(sim, "group %u shard %u: offset %lu again in term %u without the mark", group, view->shard,
			 (unsigned long)view->offset, view->term);
	if (is_marked && !sim->oracle.may_redeliver)
		sim_fail(sim, "group %u shard %u: offset %lu marked redelivered, but nobody died", group, view->shard,
			 (unsigned long)view->offset);
	lane->last = place;
	if (place > lane->highest)
		lane->highest = place;
}

void sim_oracle_view(struct sim_client *client, const struct weir_view *view, uint64_t incarnation)
{
	struct sim *sim = client->sim;
	struct sim_oracle *oracle = &sim->oracle;
	uint32_t group = client->plan->group;
	uint32_t producer;
	uint32_t serial;
	if (!payload_check(sim, view, &producer, &serial))
		return;
	struct sim_event *event = &oracle->events[producer][serial];
	uint32_t topic = sim->plan.group[group].topic;
	if (sim->plan.client[producer].topic != topic ||
	    view->shard != weir_shard_of(view->key, sim->plan.topic[topic].shards)) {
		sim_fail(sim, "event %u of client %u is in the wrong place", serial, producer);
		return;
	}
	// What a member of a group that ended still had.
	const struct sim_lane *lane = &oracle->lanes[group][view->shard];
	if (view->term <= lane->ended) {
		event->deliveries[group]++;
		return;
	}
	lane_check(client, view, incarnation);
	for (uint32_t i = 0; i < SIM_GROUPS; i++) {
		if (event->offset[i] && event->offset[i] != view->offset + 1)
			sim_fail(sim, "event %u of client %u is at offsets %lu and %lu", serial, producer,
				 (unsigned long)view->offset, (unsigned long)event->offset[i] - 1);
	}
	event->offset[group] = view->offset + 1;
	if (event->deliveries[group]++ == 0) {
		uint32_t *last = &oracle->last_serial[group][producer][event->key];
		if (serial + 1 <= *last)
			sim_fail(sim, "group %u: event %u of client %u, key %u, after event %u", group, serial, producer,
				 event->key, *last - 1);
		*last = serial + 1;
		oracle->delivered++;
	} else {
		oracle->redelivered++;
	}
}

void sim_oracle_router_died(struct sim *sim)
{
	sim->oracle.may_lose = true;
	sim->oracle.may_redeliver = true;
}

static uint64_t sum(const uint64_t *counts)
{
	uint64_t total = 0;
	for (uint32_t i = 0; i < WEIR_REASON_ROOM; i++)
		total += counts[i];
	return total;
}

static uint32_t term_of(const struct sim *sim, uint32_t group, uint16_t shard)
{
	const struct weir_shard *home = sim->router.shards[sim->plan.group[group].topic][shard];
	for (uint32_t i = 0; home && i < home->deliveries_limit; i++) {
		if (home->deliveries[i] && home->deliveries[i]->group == sim_group_id(sim, group))
			return home->deliveries[i]->term;
	}
	return 0;
}

// It may come again under the same name, from the head of the log on. Members of the one that ended are not waited for.
void sim_oracle_group_ended(struct sim *sim, uint32_t group)
{
	sim->oracle.has_ended[group] = true;
	sim->oracle.may_redeliver = true;
	for (uint16_t shard = 0; shard < sim->plan.topic[sim->plan.group[group].topic].shards; shard++) {
		struct sim_lane *lane = &sim->oracle.lanes[group][shard];
		uint32_t term = term_of(sim, group, shard);
		lane->ended = term > lane->term ? term : lane->term;
		order_forget(sim, group, shard);
	}
}

static void group_row_check(struct sim *sim, const struct weir_group_row *public_row)
{
	struct weir_group_row row;
	if (weir_row_read(&row, public_row, sizeof(row))) {
		sim_fail(sim, "a group's row cannot be read");
		return;
	}
	if (row.head_offset - row.start_offset != row.settled + row.held + sum(row.dropped))
		sim_fail(sim, "row of group %u shard %u: head %lu - start %lu != settled %lu + held %lu + dropped %lu",
			 row.group, row.shard, (unsigned long)row.head_offset, (unsigned long)row.start_offset,
			 (unsigned long)row.settled, (unsigned long)row.held, (unsigned long)sum(row.dropped));
	sim->oracle.in_place += row.head.in_use && row.lane;
	if (row.head.in_use && row.settled_to - row.start_offset != row.settled + sum(row.dropped))
		sim_fail(sim, "row of group %u shard %u: settled to %lu", row.group, row.shard, (unsigned long)row.settled_to);
}

static void shard_row_check(struct sim *sim, const struct weir_shard_row *public_row)
{
	struct weir_shard_row row;
	if (weir_row_read(&row, public_row, sizeof(row))) {
		sim_fail(sim, "a shard's row cannot be read");
		return;
	}
	if (row.offered != row.accepted + row.duplicate + sum(row.refused) + sum(row.skipped))
		sim_fail(
			sim,
			"row of topic %u shard %u: offered %lu != accepted %lu + duplicate %lu + refused %lu + skipped %lu",
			row.topic, row.shard, (unsigned long)row.offered, (unsigned long)row.accepted,
			(unsigned long)row.duplicate, (unsigned long)sum(row.refused), (unsigned long)sum(row.skipped));
	if (row.head_offset != row.accepted)
		sim_fail(sim, "row of topic %u shard %u: accepted %lu, head %lu", row.topic, row.shard,
			 (unsigned long)row.accepted, (unsigned long)row.head_offset);
}

static void worker_row_check(struct sim *sim, uint32_t worker)
{
	struct weir_worker_row row;
	if (weir_row_read(&row, &sim->router.worker_rows[worker], sizeof(row))) {
		sim_fail(sim, "a worker's row cannot be read");
		return;
	}
	if (row.received != row.handed_on + sum(row.refused))
		sim_fail(sim, "row of worker %u: received %lu != handed on %lu + refused %lu", worker,
			 (unsigned long)row.received, (unsigned long)row.handed_on, (unsigned long)sum(row.refused));
}

void sim_oracle_rows(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->plan.workers; i++)
		worker_row_check(sim, i);
	for (uint32_t i = 0; i < SIM_TOPICS * SIM_SHARDS; i++)
		shard_row_check(sim, &sim->router.shard_rows[i]);
	for (uint32_t i = 0; i < SIM_GROUPS * SIM_SHARDS; i++)
		group_row_check(sim, &sim->router.group_rows[i]);
}

// Everything is out, acknowledged and settled.
bool sim_oracle_is_quiet(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->plan.clients; i++) {
		if (sim->client[i].plan->role == SIM_PRODUCER && !sim->client[i].is_done)
			return false;
	}
	for (uint32_t i = 0; i < SIM_GROUPS * SIM_SHARDS; i++) {
		struct weir_group_row row;
		if (weir_row_read(&row, &sim->router.group_rows[i], sizeof(row)))
			return false;
		uint32_t group = i / SIM_SHARDS;
		if (row.head.in_use && sim->control.group_exists[group] && row.held)
			return false;
	}
	return sim_control_is_idle(sim);
}

// Groups that were there from the first event to the last saw everything that was acknowledged.
static void producer_end(struct sim *sim, uint32_t client, uint32_t group)
{
	const struct sim_client *producer = &sim->client[client];
	struct weir_producer_counts counts = sim_client_counts(producer);
	uint64_t seen = 0;
	for (uint32_t serial = 0; serial < producer->published; serial++)
		seen += sim->oracle.events[client][serial].deliveries[group] > 0;
	if (counts.published != counts.routed + counts.refused + counts.unknown + counts.waiting)
		sim_fail(sim, "client %u: published %lu != routed %lu + refused %lu + unknown %lu + waiting %lu", client,
			 (unsigned long)counts.published, (unsigned long)counts.routed, (unsigned long)counts.refused,
			 (unsigned long)counts.unknown, (unsigned long)counts.waiting);
	bool is_acked = producer->plan->level != WEIR_LEVEL_NONE;
	if (is_acked && seen > counts.routed + counts.unknown)
		sim_fail(sim, "client %u: group %u saw %lu events, only %lu were routed and %lu are unknown", client, group,
			 (unsigned long)seen, (unsigned long)counts.routed, (unsigned long)counts.unknown);
	bool sees_all = !sim->oracle.may_lose && !may_gap(sim, group) && group < sim->plan.groups;
	if (is_acked && sees_all && seen < counts.routed)
		sim_fail(sim, "client %u: %lu events were routed, group %u saw %lu", client, (unsigned long)counts.routed,
			 group, (unsigned long)seen);
}

void sim_oracle_end(struct sim *sim)
{
	for (uint32_t client = 0; client < sim->plan.clients; client++) {
		for (uint32_t group = 0; group < SIM_GROUPS; group++) {
			if (sim->client[client].plan->role == SIM_PRODUCER &&
			    sim->plan.group[group].topic == sim->client[client].plan->topic)
				producer_end(sim, client, group);
		}
	}
	for (uint32_t i = 0; i < SIM_TOPICS * SIM_SHARDS; i++) {
		struct weir_shard_row row;
		if (weir_row_read(&row, &sim->router.shard_rows[i], sizeof(row)) == 0 && row.pins)
			sim_fail(sim, "topic %u shard %u at rest: %lu pins of clients that are gone", row.topic, row.shard,
				 (unsigned long)row.pins);
	}
	for (uint32_t i = 0; i < sim->plan.workers; i++) {
		struct weir_worker_row row;
		if (weir_row_read(&row, &sim->router.worker_rows[i], sizeof(row)) == 0 &&
		    (row.parked_frames || row.reassembly_slots))
			sim_fail(sim, "worker %u at rest: %lu frames parked, %lu slots in use", i,
				 (unsigned long)row.parked_frames, (unsigned long)row.reassembly_slots);
	}
}
