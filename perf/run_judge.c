// The verdict of a run: merges what each client counted and kept, group by group, into one account of events, asks the router's
// ledger, and says in words what is wrong, the generator's own failures first: a run whose generator was late proves nothing
// about the router. After all clients ended, one thread.
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perf/run_parts.h"

#define RATE_SHARE 0.9 // of what the self-test proved; more is not asked for

__attribute__((format(printf, 2, 3))) static void object_to(struct weir_result_run *result, const char *format, ...)
{
	size_t used = strlen(result->verdict);
	va_list arguments;
	if (used && used + 3 < sizeof(result->verdict))
		used += (size_t)snprintf(result->verdict + used, sizeof(result->verdict) - used, "; ");
	va_start(arguments, format);
	if (used < sizeof(result->verdict))
		vsnprintf(result->verdict + used, sizeof(result->verdict) - used, format, arguments);
	va_end(arguments);
}

// ---- Producers ----

static void producers_sum(const struct run_crew *crew, struct weir_result_run *result, uint64_t *routed)
{
	for (uint32_t i = 0; i < crew->board->producers; i++) {
		const struct run_client *client = &crew->clients[i];
		const struct run_slot *slot = client->slot;
		struct weir_result_counts *counts = &result->counts;
		counts->intended += slot->intended;
		counts->published += run_load(&slot->published);
		counts->acknowledged += run_load(&slot->acknowledged);
		counts->refused += run_load(&slot->refused);
		counts->missed += run_load(&slot->missed);
		routed[crew->scenario->producers[client->set].topic_index] += run_load(&slot->acknowledged);
		weir_histogram_merge(&result->lag, &slot->lag);
		for (uint32_t s = 0; s < result->step_count; s++) {
			struct weir_result_counts *step = &result->steps[s]->counts;
			step->intended += slot->steps[s].intended;
			step->published += slot->steps[s].published;
			step->missed += slot->steps[s].missed;
		}
	}
}

// ---- Consumers ----

static void consumer_steps_sum(const struct run_slot *slot, struct weir_result_run *result)
{
	weir_histogram_merge(&result->service, &slot->service);
	for (uint32_t s = 0; s < result->step_count; s++) {
		weir_histogram_merge(&result->steps[s]->latency, &slot->steps[s].latency);
		weir_histogram_merge(&result->latency, &slot->steps[s].latency);
		result->steps[s]->counts.delivered += slot->steps[s].latency.count;
		result->steps[s]->counts.bytes += slot->steps[s].bytes;
	}
}

static void group_latency_add(const struct run_crew *crew, const struct run_client *client, struct weir_result_group *group)
{
	group->consumers++;
	group->killed += atomic_load(&client->slot->died);
	for (uint32_t s = 0; s < crew->scenario->step_count; s++)
		weir_histogram_merge(&group->latency, &client->slot->steps[s].latency);
}

static void counts_take(struct weir_result_group *into, const struct weir_group_verdict *from, uint64_t routed)
{
	into->counts = (struct weir_result_counts){ .acknowledged = routed, .expected = routed, .delivered = from->delivered,
						    .lost = from->lost, .duplicated = from->duplicated,
						    .reordered = from->reordered, .redelivered = from->redelivered,
						    .damaged = from->damaged, .bytes = from->bytes };
}

// One group of one topic: all consumers that are its members.
static int group_judge(const struct run_crew *crew, struct weir_result_run *result, uint32_t topic, const char *name,
		       uint64_t routed)
{
	struct weir_result_group *row = weir_result_group_add(result);
	struct weir_group_verdict *group = calloc(1, sizeof(*group));
	int error = group && row ? 0 : -ENOMEM;
	for (uint32_t i = crew->board->producers; i < crew->client_count && error == 0; i++) {
		const struct run_client *client = &crew->clients[i];
		const struct weir_scenario_consumers *set = &crew->scenario->consumers[client->set];
		if (set->topic_index != topic || strcmp(set->group, name))
			continue;
		group_latency_add(crew, client, row);
		error = weir_verdict_add(group, &client->account);
	}
	if (error) {
		if (group)
			weir_verdict_fini(group);
		free(group);
		return error;
	}
	weir_verdict_judge(group, routed);
	snprintf(row->topic, sizeof(row->topic), "%s", crew->scenario->topics[topic].name);
	snprintf(row->name, sizeof(row->name), "%s", name);
	counts_take(row, group, routed);
	// Published events were acknowledged once, whatever the number of groups.
	struct weir_result_counts delivered = row->counts;
	delivered.acknowledged = 0;
	weir_result_counts_add(&result->counts, &delivered);
	uint64_t lost = crew->scenario->is_loss_allowed ? 0 : group->lost;
	if (lost + group->duplicated + group->reordered + group->damaged)
		object_to(result, "group %s: lost %lu, duplicated %lu, reordered %lu, damaged %lu of %lu", name, group->lost,
			  group->duplicated, group->reordered, group->damaged, routed);
	weir_verdict_fini(group);
	free(group);
	return 0;
}

bool run_has_members(const struct weir_scenario *scenario, uint32_t topic, const char *name)
{
	for (uint32_t i = 0; i < scenario->consumers_count; i++) {
		if (scenario->consumers[i].topic_index == topic && strcmp(scenario->consumers[i].group, name) == 0)
			return true;
	}
	return false;
}

static int groups_judge(const struct run_crew *crew, struct weir_result_run *result, const uint64_t *routed)
{
	const struct weir_scenario *scenario = crew->scenario;
	int error = 0;
	for (uint32_t t = 0; t < scenario->topic_count; t++) {
		for (uint32_t g = 0; g < scenario->topics[t].group_count && error == 0; g++) {
			const char *name = scenario->topics[t].groups[g].name;
			if (run_has_members(scenario, t, name))
				error = group_judge(crew, result, t, name, routed[t]);
		}
	}
	return error;
}

// ---- The whole ----

static void ledger_ask(const struct run_crew *crew, struct weir_result_counts *counts)
{
	json_t *ledger = run_router_ask(crew->run, "ledger");
	const json_t *unexplained = json_object_get(ledger, "unexplained");
	counts->unexplained = unexplained ? (uint64_t)json_integer_value(unexplained) : WEIR_RESULT_UNKNOWN;
	json_decref(ledger);
}

// Most that any moment asks of any one producer, events/s.
static double rate_asked(const struct weir_scenario *scenario)
{
	double load = weir_scenario_rate_max(scenario) / fmax(weir_scenario_rate(scenario), 1);
	double most = 0;
	for (uint32_t i = 0; i < scenario->producers_count; i++)
		most = fmax(most, load * scenario->producers[i].rate / scenario->producers[i].count);
	return most;
}

// What makes a run worth nothing, whatever the router did.
static void generator_judge(const struct run_crew *crew, struct weir_result_run *result)
{
	uint64_t lag_ns = weir_histogram_percentile(&result->lag, 0.99);
	uint64_t unknown = 0;
	double rate = rate_asked(crew->scenario);
	if (lag_ns > crew->scenario->lag_limit_ns)
		object_to(result, "invalid: the generator itself was late, p99 %.1f ms, limit %.1f ms", (double)lag_ns / 1e6,
			  (double)crew->scenario->lag_limit_ns / 1e6);
	if (crew->run->selftest.is_done && !crew->run->selftest.is_passed)
		object_to(result, "invalid: self-test: %.100s", crew->run->selftest.reason);
	if (crew->run->selftest.is_done && rate > RATE_SHARE * crew->run->selftest.rate_max)
		object_to(result, "invalid: %.0f events/s were asked of a producer, the generator proved %.0f", rate,
			  crew->run->selftest.rate_max);
	if (result->counts.published == 0)
		object_to(result, "invalid: nothing was published");
	for (uint32_t i = 0; i < crew->board->producers; i++)
		unknown += crew->clients[i].slot->unknown;
	if (unknown)
		object_to(result, "%lu events were never acknowledged", unknown);
}

int run_judge(struct run_crew *crew, struct weir_result_run *result, char error[WEIR_RESULT_ERROR])
{
	uint64_t routed[64] = { 0 };
	struct weir_result_counts *counts = &result->counts;
	producers_sum(crew, result, routed);
	generator_judge(crew, result);
	bool is_valid = result->verdict[0] == 0;
	for (uint32_t i = crew->board->producers; i < crew->client_count; i++)
		consumer_steps_sum(crew->clients[i].slot, result);
	int err = groups_judge(crew, result, routed);
	if (err) {
		snprintf(error, WEIR_RESULT_ERROR, "scenario %s: cannot judge the run: %s. Fix: %s", crew->scenario->name,
			 err == -ENOSPC ? "a consumer saw more gaps, keys or shards than its account holds" : strerror(-err),
			 err == -ENOSPC ? "lower the rate or the number of keys" : "free some memory");
		return err;
	}
	ledger_ask(crew, counts);
	if (counts->unexplained && counts->unexplained != WEIR_RESULT_UNKNOWN)
		object_to(result, "the router's ledger leaves %lu events unexplained", counts->unexplained);
	uint64_t wrong = counts->duplicated + counts->reordered + counts->damaged;
	wrong += crew->scenario->is_loss_allowed ? 0 : counts->lost;
	wrong += counts->unexplained != WEIR_RESULT_UNKNOWN ? counts->unexplained : 0;
	result->is_passed = is_valid && wrong == 0;
	return 0;
}
