// Scenario files: what is read, what follows from it, and that every mistake is told where it stands. Texts only, but for
// the file that is not there.
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "client/weir.h"
#include "control/daemon/config.h"
#include "perf/scenario.h"
#include "wire/frame.h"

#define HEAD "name: test\ntopics:\n  - {name: positions}\n"
#define PRODUCERS "producers:\n  - {name: vehicles, topic: positions, rate: 20k}\n"
#define CONSUMERS "consumers:\n  - {name: map, topic: positions}\n"
#define V "producers:\n  - {name: v, topic: positions, "
#define A "steps:\n  - {name: a, for: "
#define STEPS "steps:\n  - {name: calm, for: 10s}\n"

static struct weir_scenario *parse(const char *text)
{
	struct weir_scenario *scenario = NULL;
	struct weir_trouble trouble = { 0 };
	char said[1024];
	int result = weir_scenario_parse(&scenario, text, strlen(text), &trouble);
	weir_trouble_text(&trouble, "test.yaml", said, sizeof(said));
	cr_assert_eq(result, 0, "%s", said);
	return scenario;
}

// The message's beginning: place, object; and a word of the reason.
static void expect_trouble(const char *text, const char *place, const char *word)
{
	struct weir_scenario *scenario = NULL;
	struct weir_trouble trouble = { 0 };
	char said[1024] = "accepted";
	if (weir_scenario_parse(&scenario, text, strlen(text), &trouble) == 0)
		weir_scenario_destroy(scenario);
	else
		weir_trouble_text(&trouble, "test.yaml", said, sizeof(said));
	bool is_right = strncmp(said, place, strlen(place)) == 0 && strstr(said, word);
	cr_expect(is_right, "%s: wanted %s and \"%s\"", said, place, word);
}

Test(scenario, the_shortest_one_has_sensible_defaults)
{
	struct weir_scenario *scenario = parse(HEAD PRODUCERS CONSUMERS STEPS);
	cr_expect_str_eq(scenario->name, "test");
	cr_expect_eq(scenario->topics[0].shards, 4);
	cr_expect_eq(scenario->topics[0].log_bytes, 1u << 20);
	cr_expect_eq(scenario->topics[0].group_count, 1);
	cr_expect_str_eq(scenario->topics[0].groups[0].name, "map");
	cr_expect_eq(scenario->producers[0].rate, 20000.0);
	cr_expect_eq(scenario->producers[0].arrivals, WEIR_ARRIVAL_POISSON);
	cr_expect_eq(scenario->producers[0].size_count, 1);
	cr_expect_eq(scenario->producers[0].sizes[0].bytes, 64);
	cr_expect_eq(scenario->producers[0].level, WEIR_LEVEL_DEFAULT);
	cr_expect_str_eq(scenario->consumers[0].group, "map");
	cr_expect_eq(weir_scenario_length(scenario), 10000000000);
	cr_expect(!scenario->is_loss_allowed);
	weir_scenario_destroy(scenario);
}

Test(scenario, every_key_is_read)
{
	struct weir_scenario *scenario = parse(
		"name: full\nabout: all of it\nworkers: 2\ndrain: 5s\nlag_limit: 2ms\n"
		"topics:\n  - {name: a, shards: 8, policy: drop-old, ack: none, log: 64KiB, event_max: 4KiB,\n"
		"     groups: [{name: audit, kind: follow, quota: 8KiB}]}\n"
		"producers:\n  - name: p\n    topic: a\n    count: 3\n    rate: 1.5M\n    arrivals: bursts\n    burst: 50\n"
		"    keys: {count: 77, pick: zipf, exponent: 1.2, share: 30%, shared: true}\n"
		"    payload: [{bytes: 64, weight: 9}, {bytes: 1024}]\n    level: none\n    linger: 50us\n    frame_events: 4\n"
		"    runs_as: process\n"
		"consumers:\n  - {name: c, topic: a, group: audit, count: 5, joins: two, leaves: three, delay: 10us,\n"
		"     runs_as: process}\n"
		"steps:\n  - {name: one, for: 1s, load: 50%}\n  - {name: two, for: 500ms, load: 1, ramp_to: 1000%,\n"
		"     slow: [{consumers: c, members: 2, delay: 1ms}]}\n  - {name: three, for: 1m, kill: [{consumers: c}]}\n");
	const struct weir_scenario_producers *p = &scenario->producers[0];
	const struct weir_scenario_consumers *c = &scenario->consumers[0];
	cr_expect_eq(scenario->workers, 2);
	cr_expect_eq(scenario->drain_ns, 5000000000);
	cr_expect_eq(scenario->lag_limit_ns, 2000000);
	cr_expect_eq(scenario->topics[0].policy, WEIR_POLICY_DROP_OLD);
	cr_expect_eq(scenario->topics[0].group_count, 1);
	cr_expect_eq(scenario->topics[0].groups[0].is_follow, 1);
	cr_expect_eq(p->rate, 1.5e6);
	cr_expect_eq(p->keys.pick, WEIR_KEYS_ZIPF);
	cr_expect_float_eq(p->keys.exponent, 1.2, 1e-12);
	cr_expect_float_eq(p->keys.share, 0.3, 1e-12);
	cr_expect_eq(p->keys.is_shared, 1);
	cr_expect_eq(p->size_count, 2);
	cr_expect_eq(p->sizes[0].weight, 9);
	cr_expect_eq(p->sizes[1].bytes, 1024);
	cr_expect_eq(p->level, WEIR_LEVEL_NONE);
	cr_expect_eq(p->linger_ns, 50000);
	cr_expect_eq(p->is_process, 1);
	cr_expect_eq(c->joins_step, 1);
	cr_expect_eq(c->leaves_step, 2);
	cr_expect_eq(c->is_process, 1);
	cr_expect_float_eq(scenario->steps[0].load, 0.5, 1e-12);
	cr_expect_float_eq(scenario->steps[1].load_to, 10, 1e-12);
	cr_expect_eq(scenario->steps[1].slow[0].delay_ns, 1000000);
	cr_expect_eq(scenario->steps[2].kill[0].members, 1);
	cr_expect(scenario->is_loss_allowed);
	cr_expect_float_eq(weir_scenario_rate_max(scenario), 15e6, 1);
	weir_scenario_destroy(scenario);
}

Test(scenario, whom_a_step_kills_is_a_process)
{
	struct weir_scenario *scenario;
	scenario = parse(HEAD PRODUCERS CONSUMERS "steps:\n  - {name: a, for: 1s, kill: [{consumers: map}]}\n");
	cr_expect_eq(scenario->consumers[0].is_process, 1);
	weir_scenario_destroy(scenario);
}

Test(scenario, is_shortened_in_proportion)
{
	struct weir_scenario *scenario = parse(HEAD PRODUCERS CONSUMERS STEPS "  - {name: rush, for: 30s}\n");
	weir_scenario_set_length(scenario, 4000000000);
	cr_expect_eq(scenario->steps[0].length_ns, 1000000000);
	cr_expect_eq(scenario->steps[1].length_ns, 3000000000);
	weir_scenario_set_rate(scenario, 500);
	cr_expect_float_eq(weir_scenario_rate(scenario), 500, 1e-9);
	weir_scenario_destroy(scenario);
}

Test(scenario, makes_a_topology_that_the_router_reads)
{
	struct weir_scenario *scenario = parse(HEAD PRODUCERS CONSUMERS STEPS);
	struct weir_topology *topology = NULL;
	struct weir_trouble trouble = { 0 };
	char *text = weir_scenario_topology(scenario, "perf-1", 19999);
	cr_assert_eq(weir_config_parse(&topology, text, strlen(text), &trouble), 0, "%s: %s", trouble.object, trouble.reason);
	cr_expect_eq(topology->topic_count, 1);
	cr_expect_eq(topology->topics[0].group_count, 1);
	cr_expect_eq(topology->ports[0].udp_port, 19999);
	weir_topology_destroy(topology);
	free(text);
	weir_scenario_destroy(scenario);
}

Test(scenario, mistakes_are_told_where_they_stand)
{
	static const struct {
		const char *text;
		const char *place;
		const char *word;
	} MISTAKES[] = {
		{ "", "test.yaml:1:1: ", "empty" },
		{ "name: [", "test.yaml:", "YAML" },
		{ "nam: x\n", "test.yaml:1:1: ", "unknown key, expected name, about" },
		{ HEAD PRODUCERS CONSUMERS, "test.yaml:1:1: ", "steps is missing" },
		{ HEAD V "rate: fast}\n" CONSUMERS STEPS, "test.yaml:5:39: ", "events a second" },
		{ HEAD V "rate: 0}\n" CONSUMERS STEPS, "test.yaml:5:39: ", "events a second" },
		{ HEAD "producers:\n  - {name: v, topic: position, rate: 1k}\n" CONSUMERS STEPS,
		  "test.yaml:5:22: ", "no such topic" },
		{ HEAD "producers:\n  - {name: v, topic: positions}\n" CONSUMERS STEPS,
		  "test.yaml:5:5: ", "neither a rate nor a trace" },
		{ HEAD V "rate: 1, trace: {file: x}}\n" CONSUMERS STEPS, "test.yaml:5:39: ",
		  "the trace says" },
		{ HEAD V "rate: 1k, payload: 31}\n" CONSUMERS STEPS, "test.yaml:5:52: ",
		  "bytes from 32" },
		{ HEAD V "rate: 1k, payload: 70000}\n" CONSUMERS STEPS, "test.yaml:5:52: ",
		  "event_max, 65536 bytes" },
		{ HEAD V "rate: 1k, payload: [{bytes: 64}, {byte: 3}]}\n" CONSUMERS STEPS,
		  "test.yaml:5:67: ", "unknown key, expected bytes or weight" },
		{ HEAD V "rate: 1k, keys: {pick: random}}\n" CONSUMERS STEPS,
		  "test.yaml:5:56: ", "uniform, zipf, hot or in-turn" },
		{ HEAD V "rate: 1k, count: 65}\n" CONSUMERS STEPS, "test.yaml:5:50: ",
		  "from 1 to 64" },
		{ HEAD V "rate: 1k, count: 60}\n"
		       "  - {name: w, topic: positions, rate: 1k, count: 5}\n" CONSUMERS STEPS,
		  "test.yaml:6:50: ", "more than 64" },
		{ HEAD PRODUCERS "consumers:\n  - {name: map, topic: positions, joins: later}\n" STEPS,
		  "test.yaml:7:42: ", "no such step" },
		{ HEAD PRODUCERS "consumers:\n  - {name: map, topic: positions, joins: calm, leaves: calm}\n" STEPS,
		  "test.yaml:7:56: ",
		  "before they joined" },
		{ HEAD PRODUCERS CONSUMERS "steps:\n  - {name: calm, for: 10}\n", "test.yaml:9:23: ", "a duration" },
		{ HEAD PRODUCERS CONSUMERS STEPS "  - {name: calm, for: 1s}\n", "test.yaml:10:12: ", "this name already" },
		{ HEAD PRODUCERS CONSUMERS A "1s, kill: [{consumers: mop}]}\n", "test.yaml:9:43: ", "no such set" },
		{ HEAD PRODUCERS CONSUMERS A "1s, slow: [{consumers: map}]}\n", "test.yaml:9:31: ",
		  "delay is missing" },
		{ HEAD PRODUCERS CONSUMERS A "1s, kill: [{consumers: map, members: 2}]}\n", "test.yaml:9:57: ",
		  "the set has 1 members" },
		{ HEAD PRODUCERS CONSUMERS A "100h}\n  - {name: b, for: 100h}\n", "test.yaml:9:20: ", "longer than a week" },
		{ "name: x\ntopics:\n  - {name: a, log: 100KiB}\n" PRODUCERS CONSUMERS STEPS,
		  "test.yaml:3:20: ", "no power of two" },
		{ "name: x\ntopics:\n  - {name: a, log: 64KiB, event_max: 16KiB}\n" PRODUCERS CONSUMERS STEPS,
		  "test.yaml:3:38: ",
		  "an eighth" },
	};
	for (size_t i = 0; i < sizeof(MISTAKES) / sizeof(*MISTAKES); i++)
		expect_trouble(MISTAKES[i].text, MISTAKES[i].place, MISTAKES[i].word);
}

Test(scenario, of_a_file_that_is_not_there_says_so)
{
	struct weir_scenario *scenario;
	struct weir_trouble trouble = { 0 };
	char said[1024];
	cr_expect_lt(weir_scenario_load(&scenario, "/nonexistent/x.yaml", &trouble), 0);
	weir_trouble_text(&trouble, NULL, said, sizeof(said));
	cr_expect(strstr(said, "/nonexistent/x.yaml") && strstr(said, "No such file"), "%s", said);
}
