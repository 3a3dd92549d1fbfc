// Conducts a run: brings the crew up, begins the schedule when all are ready, acts at the beginning of each step, waits at the
// end until everything that was acknowledged has arrived or nothing moves any more, then judges. perf/run.h has the contract;
// the caller's thread does all of this.
#include "perf/run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "perf/machine.h"
#include "perf/run_parts.h"
#include "perf/selftest.h"

#define OPENING_NS (30 * RUN_SECOND_NS)
#define SETTLE_US 300000      // between the last member's joining and the schedule: shards are assigned
#define LEAD_NS 20000000ull   // from the decision to begin to time 0
#define TURN_US 2000
#define GRACE_NS 200000000ull // after the last expected event: what comes twice comes now
#define FLUSH_NS (25 * RUN_SECOND_NS)
#define SELFTEST_NS (RUN_SECOND_NS / 2)

// ---- Open ----

static int traces_load(struct weir_run *run, char error[WEIR_RESULT_ERROR])
{
	struct weir_trouble trouble = { 0 };
	run->traces = calloc(run->scenario->producers_count, sizeof(*run->traces));
	if (!run->traces)
		return -ENOMEM;
	for (uint32_t i = 0; i < run->scenario->producers_count; i++) {
		const char *file = run->scenario->producers[i].trace.file;
		int result = file[0] ? weir_trace_load(&run->traces[i], file, &trouble) : 0;
		if (result) {
			weir_trouble_text(&trouble, NULL, error, WEIR_RESULT_ERROR);
			return result;
		}
	}
	return 0;
}

static uint32_t client_count(const struct weir_scenario *scenario)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < scenario->producers_count; i++)
		count += scenario->producers[i].count;
	for (uint32_t i = 0; i < scenario->consumers_count; i++)
		count += scenario->consumers[i].count;
	return count;
}

static int router_open(struct weir_run *run, char error[WEIR_RESULT_ERROR])
{
	const char *router = run->options.router;
	char why[WEIR_LINK_ERROR];
	if (strcmp(router, "spawn") == 0 || strcmp(router, "spawn:unix") == 0) {
		int result = run_router_start(run, error);
		if (router[5] == ':')
			snprintf(run->address, sizeof(run->address), "unix:/run/weir/%s.lanes.sock", run->instance);
		return result;
	}
	snprintf(run->address, sizeof(run->address), "%s", router);
	snprintf(run->instance, sizeof(run->instance), "%s", run->options.instance ? run->options.instance : "");
	if (!weir_link_is_dpdk(router))
		return 0;
	int result = weir_link_device_open(&run->device, router, client_count(run->scenario), why);
	if (result)
		snprintf(error, WEIR_RESULT_ERROR, "%s", why);
	return result;
}

// Clients leave the cores to the router's workers that they are pinned to, unless nothing would be left for them.
static void cores_choose(struct weir_run *run)
{
	cpu_set_t others;
	size_t index;
	json_t *row;
	CPU_ZERO(&run->cores);
	if (sched_getaffinity(0, sizeof(run->cores), &run->cores))
		return;
	others = run->cores;
	json_array_foreach(json_object_get(run->status, "workers"), index, row) {
		json_int_t core = json_integer_value(json_object_get(row, "core"));
		if (core >= 0 && core < CPU_SETSIZE)
			CPU_CLR((size_t)core, &others);
	}
	if (CPU_COUNT(&others))
		run->cores = others;
}

// The loop that is most like the way to the router.
static enum weir_selftest_way way_of(const char *router)
{
	if (strncmp(router, "unix:", 5) == 0 || strcmp(router, "spawn:unix") == 0)
		return WEIR_SELFTEST_LANE;
	return weir_link_is_dpdk(router) ? WEIR_SELFTEST_MEMORY : WEIR_SELFTEST_UDP;
}

int weir_run_open(struct weir_run **out, const struct weir_scenario *scenario, const struct weir_run_options *options,
		  char error[WEIR_RESULT_ERROR])
{
	struct weir_run *run = calloc(1, sizeof(*run));
	snprintf(error, WEIR_RESULT_ERROR, "scenario %s: cannot set it up: out of memory. Fix: free some memory",
		 scenario->name);
	if (!run)
		return -ENOMEM;
	run->scenario = scenario;
	run->options = *options;
	if (run->options.seed == 0)
		run->options.seed = 1;
	int result = traces_load(run, error);
	if (result == 0 && options->needs_selftest)
		result = weir_selftest_run(&run->selftest, way_of(options->router), SELFTEST_NS, NULL, error);
	if (result == 0)
		result = router_open(run, error);
	if (result) {
		weir_run_close(run);
		return result;
	}
	run->status = run_router_ask(run, "status");
	cores_choose(run);
	*out = run;
	return 0;
}

void weir_run_close(struct weir_run *run)
{
	for (uint32_t i = 0; i < run->scenario->producers_count && run->traces; i++)
		weir_trace_fini(&run->traces[i]);
	free(run->traces);
	if (run->router)
		run_router_stop(run->router);
	if (run->device)
		weir_link_device_close(run->device);
	json_decref(run->status);
	free(run);
}

// ---- One run ----

static bool is_stopped(const struct weir_run *run)
{
	return run->options.stop && *run->options.stop;
}

static int client_failed(struct run_crew *crew, char error[WEIR_RESULT_ERROR])
{
	const struct run_client *client = run_crew_failed(crew);
	if (!client) {
		if (!crew->run->router || !run_router_is_dead(crew->run->router))
			return 0;
		snprintf(error, WEIR_RESULT_ERROR, "router: the daemon of this run ended by itself: it crashed or was killed. "
			 "Fix: start weir yourself, look at its messages, and name it with --router");
		return -ECONNRESET;
	}
	const char *name = client->is_producer ? crew->scenario->producers[client->set].name
					       : crew->scenario->consumers[client->set].name;
	snprintf(error, WEIR_RESULT_ERROR, "%s %s[%u]: cannot go on: %s. Fix: see that the router runs and has the topics",
		 client->is_producer ? "producer" : "consumer", name, client->member, client->slot->error);
	return -ECONNABORTED;
}

// All who are there from the beginning have come up.
static bool is_ready(const struct run_crew *crew)
{
	for (uint32_t i = 0; i < crew->client_count; i++) {
		const struct run_client *client = &crew->clients[i];
		enum run_state state = run_state_of(client->slot);
		bool joins_later = !client->is_producer && crew->scenario->consumers[client->set].joins_step != UINT32_MAX;
		if (state < RUN_STATE_READY && !joins_later)
			return false;
	}
	return true;
}

static int come_up(struct run_crew *crew, char error[WEIR_RESULT_ERROR])
{
	uint64_t until_ns = run_now_ns() + OPENING_NS;
	while (!is_ready(crew)) {
		int result = client_failed(crew, error);
		if (result)
			return result;
		if (is_stopped(crew->run) || run_now_ns() > until_ns) {
			snprintf(error, WEIR_RESULT_ERROR, "scenario %s: cannot begin: %s. Fix: see that the router at %s runs",
				 crew->scenario->name, is_stopped(crew->run) ? "interrupted" : "not all clients came up",
				 crew->run->address);
			return is_stopped(crew->run) ? -EINTR : -ETIMEDOUT;
		}
		usleep(TURN_US);
	}
	usleep(SETTLE_US);
	return 0;
}

static uint64_t sum_of(const struct run_crew *crew, bool of_received)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < crew->client_count; i++) {
		const struct run_slot *slot = crew->clients[i].slot;
		sum += of_received ? run_load(&slot->received) : run_load(&slot->acknowledged);
	}
	return sum;
}

// Deliveries that are owed: what each topic acknowledged, times the groups that the scenario's consumers are in.
static uint64_t owed(const struct run_crew *crew)
{
	const struct weir_scenario *scenario = crew->scenario;
	uint64_t sum = 0;
	for (uint32_t i = 0; i < crew->board->producers; i++) {
		uint32_t topic = scenario->producers[crew->clients[i].set].topic_index;
		uint32_t groups = 0;
		for (uint32_t g = 0; g < scenario->topics[topic].group_count; g++)
			groups += run_has_members(scenario, topic, scenario->topics[topic].groups[g].name);
		sum += groups * run_load(&crew->clients[i].slot->acknowledged);
	}
	return sum;
}

static bool are_flushed(const struct run_crew *crew)
{
	for (uint32_t i = 0; i < crew->board->producers; i++) {
		if (run_state_of(crew->clients[i].slot) < RUN_STATE_DONE)
			return false;
	}
	return true;
}

// Until all that was acknowledged has arrived, or nothing moved for the scenario's `drain`. Returns when the last event came.
static uint64_t drain(struct run_crew *crew, struct run_watch *watch)
{
	uint64_t moved_ns = run_now_ns();
	uint64_t flush_until_ns = moved_ns + FLUSH_NS;
	uint64_t received = 0;
	uint64_t acknowledged = 0;
	for (;;) {
		uint64_t now_ns = run_now_ns();
		uint64_t in = sum_of(crew, true);
		uint64_t out = sum_of(crew, false);
		if (in != received || out != acknowledged)
			moved_ns = now_ns;
		received = in;
		acknowledged = out;
		run_watch_tick(watch, now_ns, false);
		bool is_flushed = are_flushed(crew) || now_ns > flush_until_ns;
		uint64_t patience_ns = is_flushed && in >= owed(crew) ? GRACE_NS : crew->scenario->drain_ns;
		if (is_flushed && now_ns > moved_ns + patience_ns)
			return moved_ns;
		usleep(TURN_US);
	}
}

static void step_begins(struct run_crew *crew, uint32_t step)
{
	const struct weir_scenario_step *at = &crew->scenario->steps[step];
	for (uint32_t i = 0; i < at->kill_count; i++)
		run_crew_kill(crew, at->kill[i].set, at->kill[i].members);
}

// From time 0 to the schedule's end, or until it was stopped. 0 or -errno.
static int load(struct run_crew *crew, struct run_watch *watch, char error[WEIR_RESULT_ERROR])
{
	struct run_board *board = crew->board;
	uint64_t start_ns = run_load(&board->start_ns);
	uint64_t end_ns = run_load(&board->end_ns);
	uint64_t next_ns = start_ns;
	uint32_t step = 0;
	int result = 0;
	while (result == 0) {
		uint64_t now_ns = run_now_ns();
		while (step < crew->scenario->step_count && now_ns >= next_ns) {
			step_begins(crew, step);
			next_ns += crew->scenario->steps[step++].length_ns;
		}
		if (is_stopped(crew->run) && now_ns < end_ns) {
			end_ns = now_ns;
			atomic_store(&board->end_ns, end_ns);
		}
		if (now_ns >= end_ns)
			break;
		run_watch_tick(watch, now_ns, false);
		result = client_failed(crew, error);
		uint64_t left_us = (end_ns - now_ns) / 1000;
		usleep(left_us < TURN_US ? (useconds_t)left_us + 1 : TURN_US);
	}
	atomic_store_explicit(&board->phase, RUN_PHASE_DRAIN, memory_order_release);
	return result;
}

static int steps_describe(const struct weir_scenario *scenario, struct weir_result_run *result)
{
	uint64_t start_ns = 0;
	double rate = weir_scenario_rate(scenario);
	for (uint32_t i = 0; i < scenario->step_count; i++) {
		const struct weir_scenario_step *step = &scenario->steps[i];
		double to = step->load_to >= 0 ? step->load_to : step->load;
		struct weir_result_step *made = weir_result_step_add(result, step->name);
		if (!made)
			return -ENOMEM;
		made->start_ns = start_ns;
		made->duration_ns = step->length_ns;
		made->rate = rate * to;
		start_ns += step->length_ns;
		if (step->load_to >= 0)
			snprintf(made->what, sizeof(made->what), "%.1f s, ramp from %.0f to %.0f events/s",
				 (double)step->length_ns / 1e9, rate * step->load, rate * to);
		else
			snprintf(made->what, sizeof(made->what), "%.1f s at %.0f events/s", (double)step->length_ns / 1e9,
				 rate * to);
		size_t used = strlen(made->what);
		if (step->slow_count && used < sizeof(made->what))
			used += (size_t)snprintf(made->what + used, sizeof(made->what) - used, ", slow: %u of %s",
						 step->slow[0].members, step->slow[0].consumers);
		if (step->kill_count && used < sizeof(made->what))
			snprintf(made->what + used, sizeof(made->what) - used, ", killed: %u of %s", step->kill[0].members,
				 step->kill[0].consumers);
	}
	return 0;
}

static int perform(struct run_crew *crew, struct weir_result_run *result, char error[WEIR_RESULT_ERROR])
{
	struct run_watch *watch = NULL;
	struct timespec real;
	int err = run_crew_start(crew, error);
	if (err == 0)
		err = come_up(crew, error);
	if (err == 0)
		err = run_watch_create(&watch, crew, result);
	if (err)
		return err;
	uint64_t start_ns = run_now_ns() + LEAD_NS;
	clock_gettime(CLOCK_REALTIME, &real);
	result->start_unix_ns = (uint64_t)real.tv_sec * RUN_SECOND_NS + (uint64_t)real.tv_nsec + LEAD_NS;
	atomic_store(&crew->board->start_ns, start_ns);
	atomic_store(&crew->board->end_ns, start_ns + weir_scenario_length(crew->scenario));
	run_watch_begin(watch, start_ns);
	atomic_store_explicit(&crew->board->phase, RUN_PHASE_LOAD, memory_order_release);
	usleep(LEAD_NS / 1000);
	err = load(crew, watch, error);
	if (err == 0) {
		uint64_t end_ns = run_load(&crew->board->end_ns);
		uint64_t last_ns = drain(crew, watch);
		result->duration_ns = end_ns - start_ns;
		result->drain_ns = last_ns > end_ns ? last_ns - end_ns : 0;
		run_watch_tick(watch, run_now_ns(), true);
		run_watch_end(watch);
	}
	run_watch_destroy(watch);
	return err;
}

static int run_scenario(struct weir_run *run, const struct weir_scenario *scenario, struct weir_result_run *result,
			char error[WEIR_RESULT_ERROR])
{
	struct run_crew crew;
	snprintf(error, WEIR_RESULT_ERROR, "scenario %s: cannot run it: out of memory. Fix: free some memory", scenario->name);
	int err = steps_describe(scenario, result);
	if (err)
		return err;
	err = run_crew_gather(&crew, run, scenario, error);
	if (err)
		return err;
	err = perform(&crew, result, error);
	run_crew_end(&crew);
	if (err == 0)
		err = client_failed(&crew, error);
	if (err == 0)
		err = run_judge(&crew, result, error);
	run_crew_disband(&crew);
	return err;
}

int weir_run_once(struct weir_run *run, struct weir_result *result, char error[WEIR_RESULT_ERROR])
{
	struct weir_result_run *made = weir_result_run_add(result);
	if (!made) {
		snprintf(error, WEIR_RESULT_ERROR, "result: cannot hold another run: %u are the most, or memory is short. Fix: "
			 "ask for fewer repeats", WEIR_RESULT_RUNS_MAX);
		return -ENOSPC;
	}
	return run_scenario(run, run->scenario, made, error);
}

int weir_run_trial(struct weir_run *run, double rate, double seconds, struct weir_result_run *out,
		   char error[WEIR_RESULT_ERROR])
{
	struct weir_scenario trial = *run->scenario;
	struct weir_scenario_step step = { .length_ns = (uint64_t)(seconds * 1e9), .load = 1, .load_to = -1, .name = "trial" };
	trial.producers = calloc(trial.producers_count, sizeof(*trial.producers));
	trial.consumers = calloc(trial.consumers_count, sizeof(*trial.consumers));
	int result = -ENOMEM;
	if (trial.producers && trial.consumers) {
		memcpy(trial.producers, run->scenario->producers, trial.producers_count * sizeof(*trial.producers));
		memcpy(trial.consumers, run->scenario->consumers, trial.consumers_count * sizeof(*trial.consumers));
		for (uint32_t i = 0; i < trial.consumers_count; i++)
			trial.consumers[i].joins_step = trial.consumers[i].leaves_step = UINT32_MAX;
		trial.steps = &step;
		trial.step_count = 1;
		weir_scenario_set_rate(&trial, rate);
		result = run_scenario(run, &trial, out, error);
	}
	free(trial.producers);
	free(trial.consumers);
	return result;
}

// ---- The result's head ----

static void producers_describe(const struct weir_scenario *scenario, struct weir_result_facts *facts)
{
	static const char *const ARRIVALS[] = { "constant", "poisson", "bursts" };
	static const char *const PICK[] = { "uniform", "zipf", "hot", "in-turn" };
	for (uint32_t i = 0; i < scenario->producers_count; i++) {
		const struct weir_scenario_producers *set = &scenario->producers[i];
		char name[WEIR_RESULT_NAME];
		snprintf(name, sizeof(name), "producers %.50s", set->name);
		if (set->trace.file[0])
			weir_result_fact_add(facts, name, "%u to %s, trace %.100s at %g times its speed", set->count,
					     set->topic, set->trace.file, set->trace.speed);
		else
			weir_result_fact_add(facts, name, "%u to %s, %.0f events/s %s, %u %s keys, payload %u%s bytes",
					     set->count, set->topic, set->rate, ARRIVALS[set->arrivals], set->keys.count,
					     PICK[set->keys.pick], set->sizes[0].bytes,
					     set->size_count > 1 ? " and other" : "");
	}
}

int weir_run_describe(struct weir_run *run, struct weir_result *result)
{
	const struct weir_scenario *scenario = run->scenario;
	const char *address = run->address;
	snprintf(result->scenario, sizeof(result->scenario), "%s", scenario->name);
	snprintf(result->description, sizeof(result->description), "%.255s", scenario->about);
	snprintf(result->label, sizeof(result->label), "%s", run->options.label ? run->options.label : "");
	snprintf(result->transport, sizeof(result->transport), "%s",
		 run->device ? "dpdk" : strncmp(address, "unix:", 5) == 0 ? "lane" : "udp");
	result->selftest = run->selftest;
	struct weir_result_facts *facts = &result->parameters;
	weir_result_fact_add(facts, "router", "%s%s", address, run->router ? " (started for this run)" : "");
	weir_result_fact_add(facts, "seed", "%lu", run->options.seed);
	weir_result_fact_add(facts, "lag limit", "%.3f ms", (double)scenario->lag_limit_ns / 1e6);
	producers_describe(scenario, facts);
	for (uint32_t i = 0; i < scenario->consumers_count; i++) {
		const struct weir_scenario_consumers *set = &scenario->consumers[i];
		char name[WEIR_RESULT_NAME];
		snprintf(name, sizeof(name), "consumers %.50s", set->name);
		weir_result_fact_add(facts, name, "%u of group %s of topic %s%s%s", set->count, set->group, set->topic,
				     set->joins[0] ? ", join at step " : "", set->joins);
	}
	int err = weir_machine_facts(&result->machine);
	if (err)
		return err;
	char *status = run->status ? json_dumps(run->status, JSON_COMPACT) : NULL;
	if (status)
		err = weir_machine_placement(&result->placement, status);
	free(status);
	return err;
}
