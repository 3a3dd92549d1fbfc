// What producers of a scenario send, as the sum of their shares: nothing twice, nothing left out, whatever their number; and
// what becomes of a trace. Pure functions of the scenario.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "perf/source.h"

static struct weir_scenario *parse(const char *text)
{
	struct weir_scenario *scenario = NULL;
	struct weir_trouble trouble = { 0 };
	cr_assert_eq(weir_scenario_parse(&scenario, text, strlen(text), &trouble), 0, "%s: %s", trouble.object, trouble.reason);
	return scenario;
}

#define TOPICS "name: t\ntopics: [{name: a}]\nconsumers: [{name: c, topic: a}]\n"

static uint64_t count_of(struct weir_source *source, uint64_t *last_ns)
{
	uint64_t count = 0;
	*last_ns = 0;
	for (; source->next.time_ns != UINT64_MAX; weir_source_advance(source)) {
		cr_assert_geq(source->next.time_ns, *last_ns, "events go back in time");
		*last_ns = source->next.time_ns;
		count++;
	}
	return count;
}

Test(source, members_of_a_set_share_its_rate_evenly)
{
	struct weir_scenario *scenario =
		parse(TOPICS "producers: [{name: p, topic: a, count: 3, rate: 3k, arrivals: constant}]\n"
			     "steps: [{name: s, for: 1s}, {name: u, for: 1s, load: 200%}]\n");
	uint64_t last_ns;
	for (uint32_t i = 0; i < 3; i++) {
		struct weir_source source;
		weir_source_init(&source, scenario, &scenario->producers[0], NULL, i, 1);
		cr_expect_eq(count_of(&source, &last_ns), 3000, "1,000 in the first second, 2,000 in the second");
		cr_expect_lt(last_ns, 2000000000);
	}
	weir_scenario_destroy(scenario);
}

Test(source, bursts_and_poisson_keep_the_rate_too)
{
	static const char *const KINDS[] = { "poisson", "bursts" };
	for (uint32_t k = 0; k < 2; k++) {
		char text[512];
		snprintf(text, sizeof(text), TOPICS "producers: [{name: p, topic: a, count: 4, rate: 40k, burst: 50, "
			 "arrivals: %s}]\nsteps: [{name: s, for: 1s, load: 0, ramp_to: 200%%}]\n", KINDS[k]);
		struct weir_scenario *scenario = parse(text);
		uint64_t sum = 0;
		uint64_t last_ns;
		for (uint32_t i = 0; i < 4; i++) {
			struct weir_source source;
			weir_source_init(&source, scenario, &scenario->producers[0], NULL, i, i + 1);
			sum += count_of(&source, &last_ns);
		}
		// Poisson: five standard deviations; bursts: a part of a burst for each producer.
		cr_expect(llabs((long long)sum - 40000) <= (k ? 200 : 5 * 200), "%s: %lu events", KINDS[k], sum);
		weir_scenario_destroy(scenario);
	}
}

Test(source, events_know_their_step)
{
	struct weir_scenario *scenario =
		parse(TOPICS "producers: [{name: p, topic: a, rate: 100, arrivals: constant}]\n"
			     "steps: [{name: s, for: 1s}, {name: t, for: 1s, load: 0}, {name: u, for: 1s}]\n");
	struct weir_source source;
	uint32_t in[3] = { 0 };
	weir_source_init(&source, scenario, &scenario->producers[0], NULL, 0, 1);
	for (; source.next.time_ns != UINT64_MAX; weir_source_advance(&source)) {
		cr_assert_eq(source.next.step, source.next.time_ns / 1000000000);
		in[source.next.step]++;
	}
	cr_expect_eq(in[0], 100);
	cr_expect_eq(in[1], 0);
	cr_expect_eq(in[2], 100);
	weir_scenario_destroy(scenario);
}

static struct weir_trace_event events[] = { { 0, 0, 64 }, { 100000000, 1, 64 }, { 200000000, 0, 128 }, { 300000000, 2, 64 } };
static uint64_t keys[] = { 70, 80, 90 };
static const struct weir_trace TRACE = { .events = events, .keys = keys, .count = 4, .key_count = 3, .length_ns = 400000000 };

#define REPLAY TOPICS "producers: [{name: p, topic: a, count: 2, trace: {file: x, speed: 2}}]\nsteps: [{name: s, for: 1s}]\n"

Test(source, a_trace_is_replayed_at_its_speed_and_begins_again)
{
	struct weir_scenario *scenario = parse(REPLAY);
	uint64_t sum = 0;
	uint64_t last_ns;
	for (uint32_t i = 0; i < 2; i++) {
		struct weir_source source;
		weir_source_init(&source, scenario, &scenario->producers[0], &TRACE, i, 1);
		sum += count_of(&source, &last_ns);
	}
	// At twice its speed a round takes 200 ms.
	cr_expect_eq(sum, 20);
	weir_scenario_destroy(scenario);
}

Test(source, a_key_of_a_trace_has_one_producer)
{
	struct weir_scenario *scenario = parse(REPLAY);
	uint32_t owner[3] = { 9, 9, 9 };
	for (uint32_t i = 0; i < 2; i++) {
		struct weir_source source;
		weir_source_init(&source, scenario, &scenario->producers[0], &TRACE, i, 1);
		for (; source.next.time_ns != UINT64_MAX; weir_source_advance(&source)) {
			cr_assert(owner[source.next.key] == 9 || owner[source.next.key] == i);
			owner[source.next.key] = i;
		}
	}
	weir_scenario_destroy(scenario);
}

Test(source, a_producer_without_a_key_of_the_trace_ends_at_once)
{
	struct weir_scenario *scenario = parse(REPLAY);
	struct weir_trace_event one[] = { { 0, 0, 64 } };
	struct weir_trace trace = { .events = one, .keys = keys, .count = 1, .key_count = 1, .length_ns = 1000000 };
	struct weir_source source;
	weir_source_init(&source, scenario, &scenario->producers[0], &trace, 1, 1);
	cr_expect_eq(source.next.time_ns, UINT64_MAX);
	weir_scenario_destroy(scenario);
}
