// The loop over virtual time, and many runs of it. A run: things happen for a while, then calm comes and everything has to
// settle; then the books are compared. A failed run prints its seed; the seed replays it.
//
//   sim [--seed N] [--runs N] [--verbose] [--long]     WEIR_BUDGET_S: seconds to spend (20)
#include "tests/sim/sim.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define START_NS (10 * SIM_S)
#define EVENTFUL_MS 1500u        // most, of virtual time
#define QUIET_MS 10u  // nothing is under way any more
#define SETTLE_S 90u             // virtual time in which everything has to settle after calm came
#define STEPS_MAX 20000000ull    // a run that does not end
#define FAILURES_MAX 10u
#define WARM_RUNS 16u
#define MEMORY_SLACK (512u << 10) // what the allocator keeps in its bins

void sim_fail(struct sim *sim, const char *format, ...)
{
	if (sim->has_failed)
		return;
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(sim->failure, sizeof(sim->failure), format, arguments);
	va_end(arguments);
	sim->has_failed = true;
}

void sim_say(const struct sim *sim, const char *format, ...)
{
	if (!sim->is_verbose)
		return;
	va_list arguments;
	va_start(arguments, format);
	printf("%12.6f ", (double)(sim->now_ns - START_NS) / 1e9);
	vprintf(format, arguments);
	putchar('\n');
	va_end(arguments);
}

static uint64_t due_next(const struct sim *sim)
{
	uint64_t due = sim_network_due(&sim->network);
	for (uint32_t i = 0; i < sim->plan.workers; i++) {
		if (sim->router.worker[i].run_at_ns < due)
			due = sim->router.worker[i].run_at_ns;
	}
	for (uint32_t i = 0; i < sim->plan.clients; i++) {
		const struct sim_client *client = &sim->client[i];
		if (client->poll_at_ns < due)
			due = client->poll_at_ns;
		if (client->act_at_ns < due)
			due = client->act_at_ns;
		if (!client->core && client->start_at_ns < due)
			due = client->start_at_ns;
	}
	uint64_t happening = sim->is_calm ? UINT64_MAX : sim_happenings_due(sim);
	if (!sim->is_calm && happening > sim->calm_at_ns)
		happening = sim->calm_at_ns;
	return happening < due ? happening : due;
}

static void packets_deliver(struct sim *sim)
{
	struct sim_packet *packet;
	while ((packet = sim_network_take(&sim->network, sim->now_ns))) {
		if (!packet->is_to_router) {
			sim_client_input(&sim->client[packet->client], packet);
			sim_network_put(&sim->network, packet);
			continue;
		}
		struct sim_worker *worker = &sim->router.worker[packet->worker];
		if (worker->arrival_count >= (packet->lane ? SIM_ARRIVALS : 64)) {
			sim_network_put(&sim->network, packet); // the port's ring is full
			continue;
		}
		worker->arrivals[worker->arrival_count++] = packet;
		sim_router_wake(worker, sim->now_ns + sim_below(&sim->random, 5) * SIM_US);
	}
}

static void clients_run(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->plan.clients && !sim->has_failed; i++) {
		struct sim_client *client = &sim->client[i];
		if (!client->core && client->start_at_ns <= sim->now_ns)
			sim_client_start(client);
		if (client->core && client->act_at_ns <= sim->now_ns)
			sim_client_act(client);
		if (client->core && client->poll_at_ns <= sim->now_ns)
			sim_client_poll(client);
	}
}

// Who takes no shards may go on so, as long as somebody else of its group does.
static bool has_hearing_peer(const struct sim *sim, const struct sim_client *client)
{
	for (uint32_t i = 0; i < sim->plan.clients; i++) {
		const struct sim_client *other = &sim->client[i];
		if (other != client && other->plan->role == SIM_CONSUMER && other->plan->group == client->plan->group &&
		    other->deaf_until_ns == 0)
			return true;
	}
	return false;
}

// Links are good again, nobody dies any more, everybody is there.
static void calm_begin(struct sim *sim)
{
	sim_say(sim, "calm");
	sim->is_calm = true;
	for (uint32_t i = 0; i < sim->plan.clients; i++) {
		struct sim_client *client = &sim->client[i];
		client->link = (struct sim_link){ .delay_us = client->plan->link.delay_us, .size_max = client->link.size_max };
		client->paused_until_ns = 0;
		client->deaf_until_ns = has_hearing_peer(sim, client) ? client->deaf_until_ns : 0;
		if (!client->core && !client->is_done)
			client->start_at_ns = sim->now_ns;
		else if (client->core)
			client->poll_at_ns = client->act_at_ns = sim->now_ns;
	}
	// Groups that came on the way have no members and hold for ever. There may be no place behind all that waits.
	sim_control_forget(sim);
	for (uint32_t group = sim->plan.groups; group < sim->control.group_count; group++) {
		const struct sim_op op = { .kind = SIM_OP_GROUP_REMOVE, .group = group };
		if (sim->control.group_exists[group] || !sim_control_is_idle(sim))
			sim_control_op(sim, &op);
	}
	for (uint32_t i = 0; i < sim->plan.workers; i++) {
		struct sim_worker *worker = &sim->router.worker[i];
		worker->blocked_until_ns = worker->paused_until_ns = 0;
		sim_router_wake(worker, sim->now_ns);
	}
}

static void step(struct sim *sim)
{
	sim->steps++;
	sim->now_ns = due_next(sim) > sim->now_ns ? due_next(sim) : sim->now_ns;
	if (!sim->is_calm && sim->now_ns >= sim->calm_at_ns)
		calm_begin(sim);
	if (!sim->is_calm)
		sim_happenings_run(sim);
	packets_deliver(sim);
	for (uint32_t i = 0; i < sim->plan.workers && !sim->has_failed; i++) {
		if (sim->router.worker[i].run_at_ns <= sim->now_ns)
			sim_worker_run(&sim->router.worker[i]);
	}
	clients_run(sim);
	sim_control_step(sim);
	if (sim_chance(&sim->random, 1))
		sim_oracle_rows(sim);
}

void sim_run_until(struct sim *sim, uint64_t end_ns)
{
	while (!sim->has_failed && due_next(sim) < end_ns)
		step(sim);
	sim->now_ns = end_ns;
}

static bool all_closed(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->plan.clients; i++) {
		if (sim->client[i].core && !weir_core_is_closed(sim->client[i].core))
			return false;
	}
	return true;
}

static void clients_close(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->plan.clients; i++) {
		if (sim->client[i].core)
			sim_client_close(&sim->client[i]);
	}
}

// Says what is not quiet.
static void unquiet_fail(struct sim *sim)
{
	for (uint32_t i = 0; i < SIM_GROUPS * SIM_SHARDS; i++) {
		const struct weir_group_row *row = &sim->router.group_rows[i];
		if (row->head.in_use && row->held)
			sim_fail(sim, "no rest: group %u shard %u holds %lu events, state %u, term %u, settled %lu, "
				 "received %lu, sent %lu, credit %lu", i / SIM_SHARDS, row->shard, (unsigned long)row->held,
				 row->state, row->term, (unsigned long)row->settled_to,
				 (unsigned long)row->received_to, (unsigned long)row->sent_to,
				 (unsigned long)row->credit_bytes);
	}
	for (uint32_t i = 0; i < sim->plan.clients; i++) {
		const struct sim_client *client = &sim->client[i];
		struct weir_producer_counts counts = sim_client_counts(client);
		if (client->plan->role == SIM_PRODUCER && !client->is_done)
			sim_fail(sim, "no rest: client %u published %u of %u, routed %lu, waiting %lu", i, client->published,
				 client->plan->events, (unsigned long)counts.routed, (unsigned long)counts.waiting);
	}
	sim_fail(sim, "no rest: control is in phase %u with %u answers missing", sim->control.phase, sim->control.pending);
}

static void run_phases(struct sim *sim)
{
	// A busy worker's rows may be some milliseconds old: quiet is what lasts.
	uint64_t quiet_ns = UINT64_MAX;
	while (!sim->has_failed && sim->steps < STEPS_MAX) {
		step(sim);
		if (!sim->is_calm || !sim_oracle_is_quiet(sim))
			quiet_ns = UINT64_MAX;
		else if (quiet_ns == UINT64_MAX)
			quiet_ns = sim->now_ns;
		else if (sim->now_ns - quiet_ns >= QUIET_MS * SIM_MS)
			break;
		if (sim->is_calm && sim->now_ns > sim->calm_at_ns + SETTLE_S * SIM_S)
			unquiet_fail(sim);
	}
	if (sim->steps >= STEPS_MAX)
		sim_fail(sim, "no end after %lu steps at %.3f s", (unsigned long)sim->steps,
			 (double)(sim->now_ns - START_NS) / 1e9);
	sim_oracle_rows(sim);
	sim_say(sim, "quiet");
	bool is_orderly = sim_chance(&sim->random, 70);
	if (!sim->has_failed && is_orderly)
		clients_close(sim);
	uint64_t limit_ns = sim->now_ns + 20 * SIM_S;
	while (!sim->has_failed && is_orderly && !all_closed(sim)) {
		step(sim);
		if (sim->now_ns > limit_ns)
			sim_fail(sim, "a client does not close");
	}
	for (uint32_t i = 0; i < sim->plan.clients && !sim->has_failed; i++) {
		if (sim->client[i].local)
			sim_client_kill(&sim->client[i]);
	}
	if (!sim->has_failed && is_orderly) {
		// The streams of those who died give back what they held when the lease passed since the last late copy.
		sim_network_clear(&sim->network);
		sim_run_until(sim, sim->now_ns + 3 * SIM_S);
		sim_oracle_rows(sim);
		sim_oracle_end(sim);
	}
	if (!sim->has_failed)
		sim_silence_run(sim);
	sim_oracle_rows(sim);
}

static void sim_run(struct sim *sim)
{
	sim->random.state = sim->plan.seed ^ 0x5deece66dull;
	sim->now_ns = START_NS;
	sim->calm_at_ns = START_NS + (100 + sim_below(&sim->random, EVENTFUL_MS)) * SIM_MS * (sim->plan.is_long ? 5 : 1);
	sim->next_port = 20000;
	sim_network_init(&sim->network, &sim->random);
	sim->oracle.events = calloc(sim->plan.clients, sizeof(*sim->oracle.events));
	if (!sim->oracle.events)
		abort();
	for (uint32_t i = 0; i < sim->plan.clients; i++) {
		struct sim_client *client = &sim->client[i];
		*client = (struct sim_client){ .sim = sim, .index = (uint16_t)i, .plan = &sim->plan.client[i] };
		client->link = client->plan->link;
		client->start_at_ns = START_NS + sim_below(&sim->random, 50) * SIM_MS;
		client->poll_at_ns = client->act_at_ns = UINT64_MAX;
		if (sim->plan.group[client->plan->group].progress_timeout_ns && client->plan->role == SIM_CONSUMER)
			sim->oracle.may_redeliver = true;
	}
	sim_router_start(sim);
	run_phases(sim);
	for (uint32_t i = 0; i < sim->plan.clients; i++)
		sim_client_kill(&sim->client[i]);
	sim_router_stop(sim);
	sim_network_fini(&sim->network);
	free(sim->oracle.events);
}

struct totals {
	uint64_t runs, failures, delivered, redelivered, in_place, moves, lost, steps;
	size_t warm_bytes;
};

static void seed_run(uint64_t seed, bool is_verbose, bool is_long, struct totals *totals)
{
	struct sim *sim = calloc(1, sizeof(*sim));
	if (!sim)
		abort();
	sim->is_verbose = is_verbose;
	sim->plan.is_long = is_long;
	sim_plan_make(&sim->plan, seed);
	if (is_verbose)
		sim_plan_print(&sim->plan);
	sim_run(sim);
	totals->runs++;
	totals->failures += sim->has_failed;
	totals->delivered += sim->oracle.delivered;
	totals->redelivered += sim->oracle.redelivered;
	totals->in_place += sim->oracle.in_place > 0;
	totals->moves += sim->control.moves;
	totals->lost += sim->network.lost;
	totals->steps += sim->steps;
	if (sim->has_failed)
		printf("seed %lu failed at %.6f s: %s\n", (unsigned long)seed, (double)(sim->now_ns - START_NS) / 1e9,
		       sim->failure);
	free(sim);
	// The first runs warm the allocator's own caches.
	if (totals->runs == WARM_RUNS)
		totals->warm_bytes = mallinfo2().uordblks;
}

// Runs give back what they took: many of them leave no more behind than a few.
static void memory_check(struct totals *totals)
{
	size_t bytes = mallinfo2().uordblks;
	if (totals->runs <= WARM_RUNS || bytes <= totals->warm_bytes + MEMORY_SLACK)
		return;
	printf("%lu runs left %zu bytes of memory behind\n", (unsigned long)totals->runs, bytes - totals->warm_bytes);
	totals->failures++;
}

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int count, char **words)
{
	const char *budget = getenv("WEIR_BUDGET_S");
	double budget_s = budget ? atof(budget) : 20.0;
	uint64_t seed = 1;
	uint64_t runs = UINT64_MAX;
	bool is_verbose = false;
	bool is_long = false;
	for (int i = 1; i < count; i++) {
		if (strcmp(words[i], "--verbose") == 0)
			is_verbose = true;
		else if (strcmp(words[i], "--long") == 0)
			is_long = true;
		else if (strcmp(words[i], "--seed") == 0 && i + 1 < count)
			seed = strtoull(words[++i], NULL, 0);
		else if (strcmp(words[i], "--runs") == 0 && i + 1 < count)
			runs = strtoull(words[++i], NULL, 0);
		else
			return fprintf(stderr, "usage: %s [--seed N] [--runs N] [--verbose] [--long]\n", words[0]), 2;
	}
	struct totals totals = { 0 };
	// Failures are read while it runs.
	setvbuf(stdout, NULL, _IOLBF, 0);
	double start = seconds();
	for (uint64_t i = 0; i < runs && totals.failures < FAILURES_MAX; i++) {
		if (runs == UINT64_MAX && seconds() - start > budget_s)
			break;
		seed_run(seed + i, is_verbose, is_long, &totals);
	}
	memory_check(&totals);
	printf("%lu runs in %.1f s, %lu with readers in place, %lu deliveries, %lu redelivered, %lu frames lost, %lu moves, "
	       "%lu failed\n",
	       (unsigned long)totals.runs, seconds() - start, (unsigned long)totals.in_place, (unsigned long)totals.delivered,
	       (unsigned long)totals.redelivered, (unsigned long)totals.lost, (unsigned long)totals.moves,
	       (unsigned long)totals.failures);
	return totals.failures ? 1 : 0;
}
