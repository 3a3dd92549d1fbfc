// A made-up result for tests of what works from results: every field is set, figures scale with `speed` and vary with `seed`.
#ifndef WEIR_TESTS_UNIT_PERF_SAMPLE_H
#define WEIR_TESTS_UNIT_PERF_SAMPLE_H

#include <stdio.h>
#include <stdlib.h>

#include "perf/result.h"

enum { SAMPLE_CORES = 2, SAMPLE_SECONDS = 6 };

static inline double sample_random(void)
{
	return (double)rand() / RAND_MAX;
}

static inline void sample_second(struct weir_result_run *run, uint32_t index, double speed)
{
	struct weir_result_second *second = weir_result_second_add(run);
	uint64_t events = (uint64_t)(speed * (90000 + 20000 * sample_random()));
	*second = (struct weir_result_second){
		.start_ns = index * 1000000000ull, .duration_ns = 1000000000, .step = index / 3, .intended = events + 7,
		.sent = events, .acknowledged = events - 1, .received = events - 2, .lost = 1, .refused = 2, .missed = 7,
		.redelivered = 3,
		.credit_stalls = 4, .credit_stall_ns = 5000000, .lag_max_ns = 6000, .latency_p50_ns = (uint64_t)(30000 / speed),
		.latency_p99_ns = (uint64_t)(90000 / speed), .latency_max_ns = (uint64_t)(400000 / speed),
		.router_bytes = (80 + index) << 20,
	};
	for (uint32_t c = 0; c < SAMPLE_CORES; c++) {
		double user = 0.5 * sample_random();
		struct weir_result_cpu cpu = { user, 0.2, 0.05, 0.01, 1 - 0.26 - user };
		weir_result_second_cpu(run, index)[c] = cpu;
	}
}

// `noise`: how much repeats differ, 0.02 is 2 %.
static inline void sample_run(struct weir_result *result, double speed, double noise)
{
	struct weir_result_run *run = weir_result_run_add(result);
	speed *= 1 + noise * (2 * sample_random() - 1);
	uint64_t events = (uint64_t)(6e5 * speed);
	run->start_unix_ns = 1790000000000000000ull + result->run_count;
	run->duration_ns = SAMPLE_SECONDS * 1000000000ull;
	run->drain_ns = 1000000;
	run->is_passed = false;
	snprintf(run->verdict, sizeof(run->verdict), "6 events were lost & \"7\" <missed>");
	weir_result_cores(run, SAMPLE_CORES);
	for (uint32_t s = 0; s < 2; s++) {
		struct weir_result_step *step = weir_result_step_add(run, s ? "flood" : "warm up");
		snprintf(step->what, sizeof(step->what), "constant %u k/s", 100 * (s + 1));
		step->start_ns = s * 3000000000ull;
		step->duration_ns = 3000000000ull;
		step->rate = 1e5 * (s + 1) / 3.0;
		for (int i = 0; i < 20000; i++) {
			double tail = sample_random();
			double value = (20000 + 1500 / (1.00001 - tail)) / speed;
			weir_histogram_add(&step->latency, (uint64_t)value, 1 + (uint64_t)(rand() % 3));
			weir_histogram_add(&run->service, (uint64_t)(value / 2), 1);
			weir_histogram_add(&run->lag, (uint64_t)(tail * 1000), 1);
		}
		weir_histogram_merge(&run->latency, &step->latency);
	}
	for (uint32_t g = 0; g < 2; g++) {
		struct weir_result_group *group = weir_result_group_add(run);
		snprintf(group->topic, sizeof(group->topic), "positions");
		snprintf(group->name, sizeof(group->name), "%s", g ? "archive" : "map");
		group->consumers = 2 - g;
		group->killed = g;
		group->counts.delivered = group->counts.expected = run->latency.count;
		weir_histogram_merge(&group->latency, &run->latency);
	}
	for (uint32_t i = 0; i < SAMPLE_SECONDS; i++)
		sample_second(run, i, speed);
	run->counts = (struct weir_result_counts){
		.intended = events, .published = events - 7, .acknowledged = events - 9, .refused = 2, .missed = 7,
		.expected = events - 9, .delivered = events - 15, .lost = 6, .duplicated = 1, .reordered = 2, .redelivered = 18,
		.damaged = 3, .unexplained = WEIR_RESULT_UNKNOWN, .bytes = 38400000,
	};
	for (uint32_t c = 0; c < SAMPLE_CORES; c++) {
		snprintf(run->cores[c].role, sizeof(run->cores[c].role), "%s", c ? "worker 0" : "generator");
		run->cores[c].cpu = (struct weir_result_cpu){ 0.5 / speed, 0.2 / 3, 0.05, 0.01, 0.1 };
	}
	struct weir_result_worker *worker = weir_result_worker_add(run);
	*worker = (struct weir_result_worker){ .worker = 0, .core = 1, .cpu_ns = 5900000000ull, .voluntary_switches = 4,
					       .involuntary_switches = 11, .busy_ratio = 1.0 / 3 };
}

static inline void sample_fill_noisy(struct weir_result *result, uint32_t runs, double speed, double noise,
				     unsigned seed)
{
	srand(seed);
	snprintf(result->scenario, sizeof(result->scenario), "telemetry flood");
	snprintf(result->description, sizeof(result->description), "vehicles' positions <b>&amp; \"more\"");
	snprintf(result->label, sizeof(result->label), "sample %u", seed);
	snprintf(result->transport, sizeof(result->transport), "udp");
	weir_result_fact_add(&result->parameters, "payload", "%u bytes", 64);
	weir_result_fact_add(&result->machine, "kernel", "6.18.0");
	weir_result_fact_add(&result->machine, "cpu", "Sample(R) CPU @ 2.00GHz");
	weir_result_fact_add(&result->placement, "worker 0", "core 1, node 0: alone on its core");
	result->selftest = (struct weir_result_selftest){
		.is_done = true, .is_passed = true, .events = 1000000, .rate_max = 4.2e6, .clock_error_ns = 900,
		.latency_p50_ns = 4000, .latency_p99_ns = 9000,
	};
	for (uint32_t i = 0; i < runs; i++)
		sample_run(result, speed, noise);
}

static inline void sample_fill(struct weir_result *result, uint32_t runs, double speed, unsigned seed)
{
	sample_fill_noisy(result, runs, speed, 0.02, seed);
}

#endif
