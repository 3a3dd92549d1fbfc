// The end of a run: everybody falls silent, in order or not. Whoever comes then is given every shard of its group within the
// sum of the deadlines; and when nobody is left, no worker has anything of anybody any more.
#include "dataplane/core/engine_state.h"
#include "tests/sim/sim.h"

#define SERVED_MS 5000u // a lease until the last one is gone, one more until what it was asked for ended, and some repetitions
#define EMPTY_MS 25000u // a lease, and the window in which streams are kept

// One for each group that has consumers.
static void newcomers_start(struct sim *sim)
{
	for (uint32_t group = 0; group < SIM_GROUPS; group++) {
		for (uint32_t i = 0; sim->control.group_exists[group] && i < sim->plan.clients; i++) {
			struct sim_client *client = &sim->client[i];
			if (client->plan->role != SIM_CONSUMER || client->plan->group != group)
				continue;
			sim_client_start(client);
			break;
		}
	}
}

static void newcomers_check(struct sim *sim)
{
	struct weir_assignment assignments[SIM_SHARDS];
	for (uint32_t i = 0; i < sim->plan.clients; i++) {
		const struct sim_client *client = &sim->client[i];
		if (!client->core)
			continue;
		uint32_t shards = sim->plan.topic[sim->plan.group[client->plan->group].topic].shards;
		int held = weir_consumer_assignments(client->consumer, assignments, SIM_SHARDS);
		if (held < 0 || (uint32_t)held != shards)
			sim_fail(sim, "group %u: %u ms after everybody fell silent a newcomer has %d of %u shards",
				 client->plan->group, SERVED_MS, held, shards);
	}
}

static uint32_t members_free(const struct weir_engine *engine)
{
	uint32_t count = 0;
	for (const struct weir_member *member = engine->members_free; member; member = member->next)
		count++;
	return count;
}

static void worker_check(struct sim *sim, uint32_t worker)
{
	const struct weir_engine *engine = sim->router.worker[worker].engine;
	if (engine->sessions.live || engine->park.used || engine->reassembly.used)
		sim_fail(sim, "worker %u at the end: %u sessions, %u frames parked, %u slots in use", worker,
			 engine->sessions.live, engine->park.used, engine->reassembly.used);
	if (members_free(engine) != engine->members_count)
		sim_fail(sim, "worker %u at the end: %u of %u memberships are free", worker, members_free(engine),
			 engine->members_count);
	if (!TAILQ_EMPTY(&engine->telling) || !TAILQ_EMPTY(&engine->asking) || weir_coordinator_is_busy(engine->coordinator))
		sim_fail(sim, "worker %u at the end: something is still to be told", worker);
}

static void rows_check(struct sim *sim)
{
	for (uint32_t i = 0; i < SIM_TOPICS * SIM_SHARDS; i++) {
		struct weir_shard_row row;
		int error = weir_row_read(&row, &sim->router.shard_rows[i], sizeof(row));
		if (error || row.streams || row.waiters || row.pins)
			sim_fail(sim, "topic %u shard %u at the end: %lu streams, %lu waiters, %lu pins", row.topic, row.shard,
				 (unsigned long)row.streams, (unsigned long)row.waiters, (unsigned long)row.pins);
	}
	for (uint32_t i = 0; i < SIM_GROUPS * SIM_SHARDS; i++) {
		struct weir_group_row row;
		if (weir_row_read(&row, &sim->router.group_rows[i], sizeof(row)) == 0 && row.head.in_use && row.session)
			sim_fail(sim, "group %u shard %u at the end: state %u, session %lx", row.group, row.shard, row.state,
				 (unsigned long)row.session);
	}
}

void sim_silence_run(struct sim *sim)
{
	sim->oracle.may_redeliver = true;
	for (uint32_t i = 0; i < sim->plan.clients; i++)
		sim_client_kill(&sim->client[i]);
	sim_network_clear(&sim->network); // copies that come late would keep their sessions
	sim_say(sim, "silence");
	newcomers_start(sim);
	sim_run_until(sim, sim->now_ns + SERVED_MS * SIM_MS);
	if (sim->has_failed)
		return;
	newcomers_check(sim);
	for (uint32_t i = 0; i < sim->plan.clients; i++)
		sim_client_kill(&sim->client[i]);
	sim_run_until(sim, sim->now_ns + EMPTY_MS * SIM_MS);
	if (sim->has_failed)
		return;
	for (uint32_t i = 0; i < sim->plan.workers; i++)
		worker_check(sim, i);
	rows_check(sim);
}
