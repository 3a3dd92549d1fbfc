// Memory of a result document, and what is summed from it. Files are result_json.c and result_csv.c.
#include "perf/result.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS_ROOM 64u

static void run_free(struct weir_result_run *run)
{
	for (uint32_t i = 0; i < run->step_count; i++)
		free(run->steps[i]);
	for (uint32_t i = 0; i < run->group_count; i++)
		free(run->groups[i]);
	free(run->cores);
	free(run->seconds);
	free(run->second_cpus);
	free(run);
}

void weir_result_fini(struct weir_result *result)
{
	for (uint32_t i = 0; i < result->run_count; i++)
		run_free(result->runs[i]);
	memset(result, 0, sizeof(*result));
}

struct weir_result_run *weir_result_run_add(struct weir_result *result)
{
	if (result->run_count == WEIR_RESULT_RUNS_MAX)
		return NULL;
	struct weir_result_run *run = calloc(1, sizeof(*run));
	if (run)
		result->runs[result->run_count++] = run;
	return run;
}

struct weir_result_step *weir_result_step_add(struct weir_result_run *run, const char *name)
{
	if (run->step_count == WEIR_RESULT_STEPS_MAX)
		return NULL;
	struct weir_result_step *step = calloc(1, sizeof(*step));
	if (!step)
		return NULL;
	snprintf(step->name, sizeof(step->name), "%s", name);
	run->steps[run->step_count++] = step;
	return step;
}

struct weir_result_group *weir_result_group_add(struct weir_result_run *run)
{
	if (run->group_count == WEIR_RESULT_GROUPS_MAX)
		return NULL;
	struct weir_result_group *group = calloc(1, sizeof(*group));
	if (group)
		run->groups[run->group_count++] = group;
	return group;
}

static bool seconds_grow(struct weir_result_run *run)
{
	size_t room = run->second_room ? 2 * (size_t)run->second_room : SECONDS_ROOM;
	struct weir_result_second *seconds = realloc(run->seconds, room * sizeof(*seconds));
	if (!seconds)
		return false;
	run->seconds = seconds;
	if (run->core_count) {
		size_t row = run->core_count * sizeof(struct weir_result_cpu);
		struct weir_result_cpu *cpus = realloc(run->second_cpus, room * row);
		if (!cpus)
			return false;
		run->second_cpus = cpus;
	}
	run->second_room = (uint32_t)room;
	return true;
}

struct weir_result_second *weir_result_second_add(struct weir_result_run *run)
{
	if (run->second_count == WEIR_RESULT_SECONDS_MAX)
		return NULL;
	if (run->second_count == run->second_room && !seconds_grow(run))
		return NULL;
	struct weir_result_second *second = &run->seconds[run->second_count++];
	memset(second, 0, sizeof(*second));
	if (run->core_count)
		memset(weir_result_second_cpu(run, run->second_count - 1), 0, run->core_count * sizeof(struct weir_result_cpu));
	return second;
}

struct weir_result_worker *weir_result_worker_add(struct weir_result_run *run)
{
	return run->worker_count < WEIR_RESULT_WORKERS_MAX ? &run->workers[run->worker_count++] : NULL;
}

int weir_result_cores(struct weir_result_run *run, uint32_t count)
{
	if (run->core_count || run->second_count || count == 0 || count > WEIR_RESULT_CORES_MAX)
		return -EINVAL;
	run->cores = calloc(count, sizeof(*run->cores));
	if (!run->cores)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		run->cores[i].core = i;
	run->core_count = count;
	return 0;
}

struct weir_result_cpu *weir_result_second_cpu(const struct weir_result_run *run, uint32_t second)
{
	return &run->second_cpus[(size_t)second * run->core_count];
}

int weir_result_fact_add(struct weir_result_facts *facts, const char *name, const char *format, ...)
{
	if (facts->count == WEIR_RESULT_FACTS_MAX)
		return -ENOSPC;
	struct weir_result_fact *fact = &facts->all[facts->count++];
	snprintf(fact->name, sizeof(fact->name), "%s", name);
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(fact->value, sizeof(fact->value), format, arguments);
	va_end(arguments);
	return 0;
}

const char *weir_result_fact(const struct weir_result_facts *facts, const char *name)
{
	for (uint32_t i = 0; i < facts->count; i++) {
		if (strcmp(facts->all[i].name, name) == 0)
			return facts->all[i].value;
	}
	return NULL;
}

void weir_result_counts_add(struct weir_result_counts *into, const struct weir_result_counts *from)
{
	bool is_unknown = into->unexplained == WEIR_RESULT_UNKNOWN || from->unexplained == WEIR_RESULT_UNKNOWN;
	into->intended += from->intended;
	into->published += from->published;
	into->acknowledged += from->acknowledged;
	into->refused += from->refused;
	into->missed += from->missed;
	into->expected += from->expected;
	into->delivered += from->delivered;
	into->lost += from->lost;
	into->duplicated += from->duplicated;
	into->reordered += from->reordered;
	into->redelivered += from->redelivered;
	into->damaged += from->damaged;
	into->unexplained = is_unknown ? WEIR_RESULT_UNKNOWN : into->unexplained + from->unexplained;
	into->bytes += from->bytes;
}

static double rate_of(uint64_t events, uint64_t time_ns)
{
	return time_ns ? (double)events * 1e9 / (double)time_ns : 0;
}

double weir_result_sent_rate(const struct weir_result_run *run)
{
	return rate_of(run->counts.published, run->duration_ns);
}

double weir_result_delivered_rate(const struct weir_result_run *run)
{
	return rate_of(run->counts.delivered, run->duration_ns + run->drain_ns);
}

double weir_result_loss_ratio(const struct weir_result_counts *counts)
{
	uint64_t whole = counts->intended ? counts->intended : counts->published;
	uint64_t gone = counts->lost + counts->missed + counts->refused;
	if (whole == 0)
		return 0;
	return gone >= whole ? 1 : (double)gone / (double)whole;
}

int weir_result_append(struct weir_result *into, struct weir_result *from)
{
	if (into->run_count == 0) {
		*into = *from;
		memset(from, 0, sizeof(*from));
		return 0;
	}
	if (strcmp(into->scenario, from->scenario) || strcmp(into->transport, from->transport) ||
	    strcmp(into->label, from->label))
		return -EINVAL;
	if (into->run_count + from->run_count > WEIR_RESULT_RUNS_MAX)
		return -ENOSPC;
	memcpy(&into->runs[into->run_count], from->runs, from->run_count * sizeof(from->runs[0]));
	into->run_count += from->run_count;
	memset(from, 0, sizeof(*from));
	return 0;
}

void weir_result_latency(const struct weir_result *result, struct weir_histogram *into)
{
	for (uint32_t i = 0; i < result->run_count; i++)
		weir_histogram_merge(into, &result->runs[i]->latency);
}
