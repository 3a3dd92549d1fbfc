// What `weirperf selftest` says, as lines for people or as one JSON object. After the test, one thread.
#include "perf/selftest.h"

#include <jansson.h>

static json_t *histogram_json(const struct weir_histogram *histogram)
{
	return json_pack("{s:I,s:I,s:I,s:I}", "p50", (json_int_t)weir_histogram_percentile(histogram, 0.5), "p99",
			 (json_int_t)weir_histogram_percentile(histogram, 0.99), "p99_9",
			 (json_int_t)weir_histogram_percentile(histogram, 0.999), "max", (json_int_t)histogram->max);
}

static json_t *loop_json(const struct weir_selftest_loop *loop)
{
	json_t *object = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f}", "events", (json_int_t)loop->events, "received",
				   (json_int_t)loop->received, "lost", (json_int_t)loop->lost, "duplicated",
				   (json_int_t)loop->duplicated, "reordered", (json_int_t)loop->reordered, "damaged",
				   (json_int_t)loop->damaged, "rate_max", loop->rate_max, "rate_paced", loop->rate_paced);
	json_object_set_new(object, "latency_ns", histogram_json(&loop->latency));
	json_object_set_new(object, "lag_ns", histogram_json(&loop->lag));
	return object;
}

static void json_print(const struct weir_result_selftest *summary, const struct weir_selftest_details *details, FILE *stream)
{
	json_t *object = json_pack("{s:b,s:s,s:I,s:I,s:f}", "passed", summary->is_passed, "reason", summary->reason, "events",
				   (json_int_t)summary->events, "lost", (json_int_t)summary->lost, "rate_max",
				   summary->rate_max);
	json_t *clock = json_pack("{s:f,s:I,s:I}", "read_ns", details->clock_read_ns, "backwards",
				  (json_int_t)details->clock_backwards, "backwards_max_ns",
				  (json_int_t)details->clock_backwards_ns);
	json_object_set_new(clock, "overshoot_ns", histogram_json(&details->overshoot));
	json_object_set_new(object, "clock", clock);
	json_t *loops = json_object();
	for (uint32_t i = 0; i < WEIR_SELFTEST_WAYS; i++)
		json_object_set_new(loops, weir_selftest_way_name(i), loop_json(&details->loops[i]));
	json_object_set_new(object, "loops", loops);
	json_dumpf(object, stream, JSON_COMPACT | JSON_REAL_PRECISION(12));
	fputc('\n', stream);
	json_decref(object);
}

static double us(const struct weir_histogram *histogram, double share)
{
	return (double)weir_histogram_percentile(histogram, share) / 1e3;
}

void weir_selftest_print(const struct weir_result_selftest *summary, const struct weir_selftest_details *details, bool is_json,
			 FILE *stream)
{
	if (is_json) {
		json_print(summary, details, stream);
		return;
	}
	fprintf(stream, "clock: a read costs %.1f ns; backwards between cores %lu times (worst %lu ns)\n",
		details->clock_read_ns, details->clock_backwards, details->clock_backwards_ns);
	fprintf(stream, "timer: a sleep of 200 us ends late by %.1f us (p50), %.1f us (p99), %.1f us (most)\n",
		us(&details->overshoot, 0.5), us(&details->overshoot, 0.99), us(&details->overshoot, 1));
	for (uint32_t i = 0; i < WEIR_SELFTEST_WAYS; i++) {
		const struct weir_selftest_loop *loop = &details->loops[i];
		fprintf(stream, "loop over %-7s %.2f M events/s flat out; %lu sent, %lu lost, %lu duplicated, %lu reordered, "
			"%lu damaged\n", weir_selftest_way_name(i), loop->rate_max / 1e6, loop->events, loop->lost,
			loop->duplicated, loop->reordered, loop->damaged);
		fprintf(stream, "  at %.0f events/s, open loop: sent late p50 %.1f us p99 %.1f us; ", loop->rate_paced,
			us(&loop->lag, 0.5), us(&loop->lag, 0.99));
		fprintf(stream, "latency p50 %.1f us p99 %.1f us p99.9 %.1f us\n", us(&loop->latency, 0.5),
			us(&loop->latency, 0.99), us(&loop->latency, 0.999));
	}
	fprintf(stream, "%s%s\n", summary->is_passed ? "passed" : "NOT passed: ", summary->reason);
}
