// What befalls a run while it is not calm: restarts, crashes, leaves, moves, groups that come and go, blocked ports, dead
// links, new addresses, pauses.
#include <string.h>

#include "tests/sim/sim.h"

static struct sim_client *client_pick(struct sim *sim, enum sim_role role)
{
	uint32_t start = sim_below(&sim->random, sim->plan.clients);
	for (uint32_t i = 0; i < sim->plan.clients; i++) {
		struct sim_client *client = &sim->client[(start + i) % sim->plan.clients];
		if (client->plan->role == role)
			return client;
	}
	return NULL;
}

static void router_restart(struct sim *sim)
{
	sim_say(sim, "the router dies");
	sim_oracle_rows(sim);
	sim_router_stop(sim);
	sim_oracle_router_died(sim);
	sim_router_start(sim);
}

static void producer_crash(struct sim *sim)
{
	struct sim_client *client = client_pick(sim, SIM_PRODUCER);
	if (!client->core || client->is_done)
		return;
	sim_say(sim, "producer %u dies", client->index);
	sim_client_kill(client);
	client->start_at_ns = sim->now_ns + sim_below(&sim->random, 3000) * SIM_MS;
}

static void consumer_crash(struct sim *sim)
{
	struct sim_client *client = client_pick(sim, SIM_CONSUMER);
	if (!client->core)
		return;
	sim_say(sim, "consumer %u dies", client->index);
	sim->oracle.may_redeliver = true;
	sim_client_kill(client);
	client->start_at_ns = sim->now_ns + sim_below(&sim->random, 3000) * SIM_MS;
}

static void consumer_leave(struct sim *sim)
{
	struct sim_client *client = client_pick(sim, SIM_CONSUMER);
	if (!client->core || !client->consumer || client->is_leaving)
		return;
	sim_say(sim, "consumer %u leaves", client->index);
	// What was handed out last is not settled.
	sim->oracle.may_redeliver = true;
	client->is_leaving = true;
	weir_core_consumer_leave(client->consumer);
	client->poll_at_ns = client->act_at_ns = sim->now_ns;
}

static void shard_move(struct sim *sim)
{
	struct sim_op op = { .kind = SIM_OP_MOVE, .topic = sim_below(&sim->random, sim->plan.topics) };
	op.shard = (uint16_t)sim_below(&sim->random, sim->plan.topic[op.topic].shards);
	op.to = (uint16_t)sim_below(&sim->random, sim->plan.workers);
	sim_control_op(sim, &op);
}

// Adds a group while there are ids, removes one that was added.
static void group_change(struct sim *sim)
{
	struct sim_control *control = &sim->control;
	struct sim_op op = { .kind = SIM_OP_GROUP_ADD, .group = control->group_count };
	if (control->group_count > sim->plan.groups && control->group_exists[control->group_count - 1]) {
		op.kind = SIM_OP_GROUP_REMOVE;
		op.group = control->group_count - 1;
	} else if (control->group_count == SIM_GROUPS || !sim_control_is_idle(sim)) {
		return;
	} else {
		control->group_count++;
	}
	if (sim_control_is_idle(sim))
		sim_control_op(sim, &op);
}

static void group_again(struct sim *sim)
{
	struct sim_op op = { .kind = SIM_OP_GROUP_AGAIN, .group = sim_below(&sim->random, sim->plan.groups) };
	op.until_ns = sim->now_ns + sim_below(&sim->random, 400) * SIM_MS;
	if (!sim_control_is_idle(sim) || sim->control.group_life[op.group] + 2 > SIM_LIVES)
		return;
	sim_say(sim, "group %u ends and comes again", op.group);
	sim_control_op(sim, &op);
}

static void topic_again(struct sim *sim)
{
	struct sim_op op = { .kind = SIM_OP_TOPIC_AGAIN, .topic = sim_below(&sim->random, sim->plan.topics) };
	op.until_ns = sim->now_ns + sim_below(&sim->random, 400) * SIM_MS;
	if (!sim_control_is_idle(sim) || sim->control.topic_life[op.topic] + 2 > SIM_LIVES)
		return;
	sim_say(sim, "topic %u ends and comes again", op.topic);
	sim_control_op(sim, &op);
}

// Its streams end, others of the same names begin in the same session.
static void producer_again(struct sim *sim)
{
	struct sim_client *client = client_pick(sim, SIM_PRODUCER);
	if (!client->core || !client->producer || client->is_done)
		return;
	sim_say(sim, "producer %u closes and opens anew", client->index);
	sim_client_renew(client);
}

static void port_block(struct sim *sim)
{
	struct sim_worker *worker = &sim->router.worker[sim_below(&sim->random, sim->plan.workers)];
	worker->blocked_until_ns = sim->now_ns + sim_below(&sim->random, 20000) * SIM_US;
}

static void link_outage(struct sim *sim)
{
	struct sim_client *client = &sim->client[sim_below(&sim->random, sim->plan.clients)];
	uint32_t most_ms = sim_chance(&sim->random, 30) ? 3000 : 300;
	if (client->local)
		return;
	client->link.dead_until_ns = sim->now_ns + sim_below(&sim->random, most_ms) * SIM_MS;
	sim_say(sim, "link of client %u is dead for a while", client->index);
	if (most_ms > 500)
		sim->oracle.may_redeliver = true;
}

// What does not fit any more is not told: it vanishes. It stays so when calm comes.
static void path_change(struct sim *sim)
{
	static const uint32_t SIZES[] = { 0, 560, 1252, 1300, 1500 };
	struct sim_client *client = &sim->client[sim_below(&sim->random, sim->plan.clients)];
	if (client->local)
		return;
	client->link.size_max = SIZES[sim_below(&sim->random, 5)];
	sim_say(sim, "path of client %u carries %u bytes", client->index, client->link.size_max);
}

static void address_change(struct sim *sim)
{
	struct sim_client *client = &sim->client[sim_below(&sim->random, sim->plan.clients)];
	if (!client->core || client->local)
		return;
	client->port = sim->next_port++;
	sim_say(sim, "client %u now has port %u", client->index, client->port);
}

static void pause_one(struct sim *sim)
{
	uint64_t until = sim->now_ns + sim_below(&sim->random, sim_chance(&sim->random, 20) ? 2500 : 50) * SIM_MS;
	if (sim_chance(&sim->random, 50)) {
		struct sim_worker *worker = &sim->router.worker[sim_below(&sim->random, sim->plan.workers)];
		worker->paused_until_ns = until;
		worker->run_at_ns = until;
	} else {
		struct sim_client *client = &sim->client[sim_below(&sim->random, sim->plan.clients)];
		client->paused_until_ns = until;
		client->poll_at_ns = client->act_at_ns = client->core ? until : UINT64_MAX;
	}
	if (until > sim->now_ns + 300 * SIM_MS)
		sim->oracle.may_redeliver = true;
}

static void consumer_deafen(struct sim *sim)
{
	struct sim_client *client = client_pick(sim, SIM_CONSUMER);
	bool is_for_ever = sim_chance(&sim->random, 50);
	client->deaf_until_ns = is_for_ever ? UINT64_MAX : sim->now_ns + sim_below(&sim->random, 8000) * SIM_MS;
	sim_say(sim, "consumer %u takes no shards any more", client->index);
	// What it was offered to read in place it has read, for all the router knows.
	if (client->local)
		sim->oracle.may_redeliver = true;
}

void sim_happenings_run(struct sim *sim)
{
	const struct sim_plan *plan = &sim->plan;
	const struct {
		uint32_t each_ms;
		void (*happen)(struct sim *sim);
	} all[SIM_HAPPENINGS] = {
		{ plan->router_restart_ms, router_restart }, { plan->producer_crash_ms, producer_crash },
		{ plan->consumer_crash_ms, consumer_crash }, { plan->leave_ms, consumer_leave },
		{ plan->group_again_ms, group_again },       { plan->topic_again_ms, topic_again },
		{ plan->producer_again_ms, producer_again },
		{ plan->move_ms, shard_move },               { plan->group_change_ms, group_change },
		{ plan->blocked_ms, port_block },            { plan->outage_ms, link_outage },
		{ plan->rebind_ms, address_change },         { plan->pause_ms, pause_one },
		{ plan->deaf_ms, consumer_deafen },          { plan->shrink_ms, path_change },
	};
	for (uint32_t i = 0; i < SIM_HAPPENINGS; i++) {
		if (all[i].each_ms == 0 || sim->now_ns < sim->next_happening_ns[i])
			continue;
		if (sim->next_happening_ns[i])
			all[i].happen(sim);
		sim->next_happening_ns[i] = sim->now_ns + (1 + sim_below(&sim->random, 2 * all[i].each_ms)) * SIM_MS;
	}
}

uint64_t sim_happenings_due(const struct sim *sim)
{
	uint64_t due = UINT64_MAX;
	for (uint32_t i = 0; i < SIM_HAPPENINGS; i++) {
		if (sim->next_happening_ns[i] && sim->next_happening_ns[i] < due)
			due = sim->next_happening_ns[i];
	}
	return due;
}
