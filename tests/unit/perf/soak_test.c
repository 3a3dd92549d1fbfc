// Drift: results made of numbers, with and without one, and what a soak run is said to have done. Nothing runs here; the
// numbers are what a run would have measured.
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "perf/soak.h"

#define MIB (1u << 20)

// A run of 200 s whose parts have the given p50 in us at first and at last, and whose router grows from one size to another.
static void fill(struct weir_result *result, double first_us, double last_us, double first_mib, double last_mib)
{
	struct weir_result_run *run = weir_result_run_add(result);
	run->is_passed = true;
	run->duration_ns = 200000000000;
	for (uint32_t i = 0; i < WEIR_SOAK_PARTS; i++) {
		struct weir_result_step *step = weir_result_step_add(run, "part");
		// The parts differ by up to 6 % without any drift.
		double us = first_us + (last_us - first_us) * i / (WEIR_SOAK_PARTS - 1);
		weir_histogram_add(&step->latency, (uint64_t)(us * 1000 * (1 + 0.03 * (i % 3))), 1000);
	}
	for (uint32_t i = 0; i < 200; i++) {
		struct weir_result_second *second = weir_result_second_add(run);
		second->start_ns = i * 1000000000ull;
		second->duration_ns = 1000000000;
		second->router_bytes = (uint64_t)((first_mib + (last_mib - first_mib) * i / 199) * MIB);
	}
}

static void expect(double first_us, double last_us, double first_mib, double last_mib, const char *verdict)
{
	struct weir_result result = { 0 };
	fill(&result, first_us, last_us, first_mib, last_mib);
	weir_soak_judge(&result);
	const struct weir_result_run *run = result.runs[0];
	cr_expect_eq(run->is_passed, verdict[0] == 0);
	cr_expect(verdict[0] ? strstr(run->verdict, verdict) != NULL : run->verdict[0] == 0, "%s, wanted %s", run->verdict,
		  verdict);
	cr_expect_not_null(weir_result_fact(&result.parameters, "drift of latency p99"));
	cr_expect_not_null(weir_result_fact(&result.parameters, "drift of memory"));
	weir_result_fini(&result);
}

Test(soak, without_drift_is_passed)
{
	expect(100, 100, 80, 80, "");
}

Test(soak, small_drift_is_noise)
{
	expect(100, 108, 80, 83, "");
}

Test(soak, latency_that_grows_is_told)
{
	expect(100, 200, 80, 80, "latency p50 drifted to");
}

Test(soak, latency_that_falls_is_no_failure)
{
	expect(200, 100, 80, 80, "");
}

Test(soak, a_leak_is_told_by_the_hour)
{
	// 20 MiB in 199 s.
	expect(100, 100, 80, 100, "memory grows by 361.8 MiB an hour");
}

Test(soak, warm_up_is_not_drift)
{
	struct weir_result result = { 0 };
	fill(&result, 100, 100, 80, 80);
	memset(&result.runs[0]->steps[0]->latency, 0, sizeof(struct weir_histogram));
	weir_histogram_add(&result.runs[0]->steps[0]->latency, 50000000, 1000);
	for (uint32_t i = 0; i < 10; i++)
		result.runs[0]->seconds[i].router_bytes = 10 * MIB;
	weir_soak_judge(&result);
	cr_expect(result.runs[0]->is_passed, "%s", result.runs[0]->verdict);
	weir_result_fini(&result);
}

Test(soak, of_a_scenario_is_a_steady_load_in_equal_parts)
{
	static const char TEXT[] =
		"name: t\ntopics: [{name: a}]\nproducers: [{name: p, topic: a, rate: 1k}]\n"
		"consumers: [{name: c, topic: a, joins: two}]\n"
		"steps: [{name: one, for: 1s, load: 50%}, {name: two, for: 9s, ramp_to: 200%, kill: [{consumers: c}]}]\n";
	struct weir_scenario *scenario = NULL;
	struct weir_trouble trouble;
	cr_assert_eq(weir_scenario_parse(&scenario, TEXT, sizeof(TEXT) - 1, &trouble), 0);
	cr_assert_eq(weir_soak_prepare(scenario, 40000000000), 0);
	cr_expect_eq(scenario->step_count, WEIR_SOAK_PARTS);
	cr_expect_eq(weir_scenario_length(scenario), 40000000000);
	cr_expect_eq(weir_scenario_rate_max(scenario), 500.0);
	cr_expect_eq(scenario->consumers[0].joins_step, UINT32_MAX);
	cr_expect_eq(scenario->steps[19].kill_count, 0);
	weir_scenario_destroy(scenario);
}
