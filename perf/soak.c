// Drift of a soak run, see perf/soak.h. Latency has drifted when every late part is above every early one and their medians are
// a fifth apart; memory has when its fitted line rises by more than a twentieth and 8 MiB over the run.
#include "perf/soak.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATENCY_DRIFT 1.2
#define MEMORY_SHARE 0.05
#define MEMORY_BYTES (8.0 * (1 << 20))

int weir_soak_prepare(struct weir_scenario *scenario, uint64_t length_ns)
{
	double load = scenario->steps[0].load;
	struct weir_scenario_step *steps = calloc(WEIR_SOAK_PARTS, sizeof(*steps));
	if (!steps)
		return -ENOMEM;
	for (uint32_t i = 0; i < WEIR_SOAK_PARTS; i++) {
		steps[i] = (struct weir_scenario_step){ .length_ns = length_ns / WEIR_SOAK_PARTS, .load = load, .load_to = -1 };
		snprintf(steps[i].name, sizeof(steps[i].name), "%u", i + 1);
	}
	for (uint32_t i = 0; i < scenario->step_count; i++) {
		free(scenario->steps[i].slow);
		free(scenario->steps[i].kill);
	}
	free(scenario->steps);
	scenario->steps = steps;
	scenario->step_count = WEIR_SOAK_PARTS;
	for (uint32_t i = 0; i < scenario->consumers_count; i++) {
		scenario->consumers[i].joins[0] = scenario->consumers[i].leaves[0] = 0;
		scenario->consumers[i].joins_step = scenario->consumers[i].leaves_step = UINT32_MAX;
	}
	return 0;
}

static int compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a;
	uint64_t right = *(const uint64_t *)b;
	return left < right ? -1 : left > right;
}

static void object_to(struct weir_result_run *run, const char *what)
{
	size_t used = strlen(run->verdict);
	snprintf(run->verdict + used, sizeof(run->verdict) - used, "%s%s", used ? "; " : "", what);
	run->is_passed = false;
}

// The same percentile of the first and the last third of the parts, the warm-up left out.
static void latency_judge(struct weir_result *result, struct weir_result_run *run, double share, const char *name)
{
	uint64_t early[WEIR_RESULT_STEPS_MAX];
	uint64_t late[WEIR_RESULT_STEPS_MAX];
	char fact[WEIR_RESULT_NAME];
	uint32_t third = run->step_count > 3 ? (run->step_count - 1) / 3 : 0;
	if (third == 0)
		return;
	for (uint32_t i = 0; i < third; i++) {
		early[i] = weir_histogram_percentile(&run->steps[1 + i]->latency, share);
		late[i] = weir_histogram_percentile(&run->steps[run->step_count - 1 - i]->latency, share);
	}
	qsort(early, third, sizeof(*early), compare);
	qsort(late, third, sizeof(*late), compare);
	double ratio = early[third / 2] ? (double)late[third / 2] / (double)early[third / 2] : 1;
	snprintf(fact, sizeof(fact), "drift of latency %s", name);
	weir_result_fact_add(&result->parameters, fact,
			     "%.1f us (%.1f to %.1f) in the first third, %.1f us (%.1f to %.1f) in the last",
			     (double)early[third / 2] / 1e3, (double)early[0] / 1e3, (double)early[third - 1] / 1e3,
			     (double)late[third / 2] / 1e3, (double)late[0] / 1e3, (double)late[third - 1] / 1e3);
	if (ratio > LATENCY_DRIFT && late[0] > early[third - 1]) {
		char what[96];
		snprintf(what, sizeof(what), "latency %s drifted to %.2f times what it was", name, ratio);
		object_to(run, what);
	}
}

// A line through the router's memory by least squares, the first twentieth left out.
static void memory_judge(struct weir_result *result, struct weir_result_run *run)
{
	double n = 0, x = 0, y = 0, xx = 0, xy = 0;
	for (uint32_t i = run->second_count / WEIR_SOAK_PARTS; i < run->second_count; i++) {
		const struct weir_result_second *second = &run->seconds[i];
		double at = (double)second->start_ns / 1e9;
		if (second->router_bytes == 0)
			continue;
		n++;
		x += at;
		y += (double)second->router_bytes;
		xx += at * at;
		xy += at * (double)second->router_bytes;
	}
	if (n < 3 || n * xx - x * x <= 0) {
		weir_result_fact_add(&result->parameters, "drift of memory", "not known: name the router's --instance");
		return;
	}
	double slope = (n * xy - x * y) / (n * xx - x * x);
	double growth = slope * (double)run->duration_ns / 1e9;
	weir_result_fact_add(&result->parameters, "drift of memory", "%+.0f bytes/s at %.1f MiB resident", slope,
			     y / n / (1 << 20));
	if (growth > MEMORY_BYTES && growth > MEMORY_SHARE * y / n) {
		char what[96];
		snprintf(what, sizeof(what), "the router's memory grows by %.1f MiB an hour", slope * 3600 / (1 << 20));
		object_to(run, what);
	}
}

void weir_soak_judge(struct weir_result *result)
{
	for (uint32_t i = 0; i < result->run_count; i++) {
		latency_judge(result, result->runs[i], 0.5, "p50");
		latency_judge(result, result->runs[i], 0.99, "p99");
		memory_judge(result, result->runs[i]);
	}
}
