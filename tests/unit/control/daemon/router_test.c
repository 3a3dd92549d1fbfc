// The running router with real workers on loopback: what apply does, and that a refused one leaves everything as it was.
// No root: workers run unpinned and at ordinary priority where the host does not permit more.
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/daemon/answer.h"
#include "control/daemon/config.h"
#include "control/daemon/machine.h"
#include "control/daemon/router.h"

struct fixture {
	struct weir_router *router;
	char counters[64];
	char head[256]; // of every topology
};

static struct weir_topology *topology_of(const struct fixture *fixture, const char *topics, struct weir_trouble *trouble)
{
	struct weir_topology *topology;
	size_t size = strlen(fixture->head) + strlen(topics) + 1;
	char *text = malloc(size);

	snprintf(text, size, "%s%s", fixture->head, topics);
	cr_assert_eq(weir_config_parse(&topology, text, strlen(text), trouble), 0, "%s: %s", trouble->object, trouble->reason);
	free(text);
	return topology;
}

static void begin(struct fixture *fixture, const char *topics)
{
	struct weir_router_options options = { .counters_path = fixture->counters };
	struct weir_trouble trouble;
	struct weir_machine *machine;
	int err;

	snprintf(fixture->counters, sizeof(fixture->counters), "/tmp/weir-router-%d.counters", (int)getpid());
	// A loopback address of the test's own, so that tests side by side do not meet.
	snprintf(fixture->head, sizeof(fixture->head),
		 "hugepages: off\nworkers: [{core: auto}, {core: auto}]\n"
		 "ports: [{name: p, kind: kernel, address: 127.%d.%d.1, udp_port: 29347}]\n",
		 (getpid() >> 8 & 127) + 100, getpid() & 255);
	cr_assert_eq(weir_machine_detect(&machine), 0);
	err = weir_router_start(&fixture->router, machine, topology_of(fixture, topics, &trouble), &options, &trouble);
	cr_assert_eq(err, 0, "%s: %s: %s", trouble.object, trouble.action, trouble.reason);
}

static void end(struct fixture *fixture)
{
	weir_router_stop(fixture->router);
	cr_assert_neq(access(fixture->counters, F_OK), 0, "the counters file stayed");
}

// "kind topic/group shard;" of what was done.
static void apply(struct fixture *fixture, const char *topics, char *done, size_t size)
{
	struct weir_trouble trouble;
	struct weir_outcome outcome;
	size_t used = 0;
	int err = weir_router_apply(fixture->router, topology_of(fixture, topics, &trouble), &outcome, &trouble);

	cr_assert_eq(err, 0, "%s: %s: %s", trouble.object, trouble.action, trouble.reason);
	done[0] = 0;
	for (uint32_t c = 0; c < outcome.change_count; c++) {
		const struct weir_change *change = &outcome.changes[c].change;

		used += (size_t)snprintf(done + used, size - used, "%s %s/%s %u;", weir_change_name(change->kind),
					 change->topic, change->group, change->shard);
	}
	weir_outcome_fini(&outcome);
}

static char *topics_text(const struct fixture *fixture)
{
	json_t *status = weir_answer_status(fixture->router);
	char *text = json_dumps(json_object_get(status, "topics"), JSON_COMPACT | JSON_SORT_KEYS);

	json_decref(status);
	return text;
}

// Applies what must be refused, and checks that nothing changed by it.
static void refused(struct fixture *fixture, const char *topics, const char *object, const char *says)
{
	char *before = topics_text(fixture);
	uint64_t revision = fixture->router->revision;
	struct weir_trouble trouble;
	struct weir_outcome outcome;
	struct weir_topology *topology = topology_of(fixture, topics, &trouble);
	char *after;

	cr_assert_lt(weir_router_apply(fixture->router, topology, &outcome, &trouble), 0, "accepted: %s", topics);
	weir_topology_destroy(topology);
	weir_outcome_fini(&outcome);
	after = topics_text(fixture);
	cr_assert_str_eq(trouble.object, object);
	cr_assert(strstr(trouble.reason, says), "%s", trouble.reason);
	cr_assert_neq(trouble.fix[0], 0);
	cr_assert_str_eq(before, after);
	cr_assert_eq(fixture->router->revision, revision);
	cr_assert(!fixture->router->is_broken);
	free(before);
	free(after);
}

#define BASE "topics: [{name: a, shards: 2, homes: {0: 0, 1: 1}, groups: [{name: g}]}]\n"

Test(router, topics_and_groups_come_go_and_move, .timeout = 30)
{
	struct fixture fixture;
	char done[512];

	begin(&fixture, BASE);
	cr_assert_eq(fixture.router->revision, 1);
	apply(&fixture, BASE, done, sizeof(done));
	cr_assert_str_eq(done, "");
	cr_assert_eq(fixture.router->revision, 1);
	apply(&fixture, "topics: [{name: b, groups: [{name: x}]}, {name: a, shards: 2, homes: {0: 1}, groups: [{name: h}]}]\n",
	      done, sizeof(done));
	cr_assert_str_eq(done, "topic-added b/ 0;group-added b/x 0;group-added a/h 0;shard-moved a/ 0;group-removed a/g 0;");
	cr_assert_eq(fixture.router->revision, 2);
	cr_assert_eq(weir_router_find(fixture.router, "a")->owner[0], 1);
	apply(&fixture, "", done, sizeof(done));
	cr_assert_str_eq(done, "topic-removed b/ 0;topic-removed a/ 0;");
	cr_assert_eq(fixture.router->topic_count, 0);
	cr_assert_eq(fixture.router->group_count, 0);
	end(&fixture);
}

Test(router, a_groups_quota_and_timeout_change_while_it_lives, .timeout = 30)
{
	struct fixture fixture;
	uint32_t id;
	char done[512];

	begin(&fixture, "topics: [{name: a, shards: 2, groups: [{name: f, kind: follow}]}]\n");
	id = fixture.router->topics[0]->groups[0]->spec.id.value;
	apply(&fixture,
	      "topics: [{name: a, shards: 2, groups: [{name: f, kind: follow, quota: 64KiB, progress_timeout: 2s}]}]\n", done,
	      sizeof(done));
	cr_assert_str_eq(done, "group-changed a/f 0;");
	cr_assert_eq(fixture.router->topics[0]->groups[0]->spec.id.value, id);
	cr_assert_eq(fixture.router->snapshot->topics[0].groups[0].quota_bytes, 65536);
	cr_assert_eq(fixture.router->snapshot->topics[0].groups[0].progress_timeout_ns, 2000000000u);
	end(&fixture);
}

Test(router, ids_of_topics_and_groups_are_never_used_twice, .timeout = 30)
{
	struct fixture fixture;
	uint32_t topic;
	uint32_t group;
	char done[512];

	begin(&fixture, BASE);
	topic = fixture.router->topics[0]->spec.id.value;
	group = fixture.router->topics[0]->groups[0]->spec.id.value;
	apply(&fixture, "", done, sizeof(done));
	apply(&fixture, BASE, done, sizeof(done));
	cr_assert_gt(fixture.router->topics[0]->spec.id.value, topic);
	cr_assert_gt(fixture.router->topics[0]->groups[0]->spec.id.value, group);
	end(&fixture);
}

Test(router, a_refused_apply_changes_nothing, .timeout = 60)
{
	struct fixture fixture;

	begin(&fixture, BASE);
	refused(&fixture, "topics: [{name: a, shards: 3}]\n", "topic a", "fixed for the topic's life");
	refused(&fixture, BASE "limits: {park_frames: 99}\n", "limits", "never later");
	// Room for events was set aside at start.
	refused(&fixture, "topics: [{name: b}, {name: large, log: 16MiB, event_max: 1MiB}]\n", "topic large", "room");
	// The first topics of the file could be made; the last one cannot, and takes them along.
	refused(&fixture,
		"topics: [{name: b, shards: 9, log: 64KiB, groups: [{name: x}]}, {name: huge, shards: 4096, log: 64GiB}]\n",
		"topic huge", "emory");
	end(&fixture);
}

Test(router, groups_past_the_limit_are_refused_and_all_of_them_undone, .timeout = 60)
{
	struct fixture fixture;
	char *topics = calloc(1, 1u << 16);
	size_t used = (size_t)sprintf(topics, "topics:\n- {name: a, shards: 2, groups: [{name: g}]}\n");

	begin(&fixture, BASE);
	for (int t = 0; t < 9; t++) {
		used += (size_t)sprintf(topics + used, "- {name: t%d, log: 64KiB, groups: [{name: g0}", t);
		for (int g = 1; g < 64; g++)
			used += (size_t)sprintf(topics + used, ", {name: g%d}", g);
		used += (size_t)sprintf(topics + used, "]}\n");
	}
	refused(&fixture, topics, "group g63 of topic t7", "limit of groups");
	cr_assert_eq(fixture.router->group_count, 1);
	free(topics);
	end(&fixture);
}

Test(router, every_answer_is_made_of_a_running_router, .timeout = 30)
{
	struct fixture fixture;
	json_t *ledger;
	json_t *plan;

	begin(&fixture, BASE);
	ledger = weir_answer_ledger(fixture.router);
	cr_assert_eq(json_integer_value(json_object_get(ledger, "unexplained")), 0);
	cr_assert_eq(json_array_size(json_object_get(ledger, "workers")), 2);
	cr_assert_eq(json_array_size(json_object_get(ledger, "shards")), 2);
	cr_assert_eq(json_array_size(json_object_get(ledger, "groups")), 2);
	plan = weir_answer_plan(fixture.router->machine, fixture.router->topology, fixture.router->plan, NULL);
	cr_assert_eq(json_array_size(json_object_get(plan, "workers")), 2);
	json_decref(plan);
	json_decref(ledger);
	end(&fixture);
}

Test(router, a_port_in_use_is_refused_by_name_and_leaves_nothing, .timeout = 30)
{
	struct weir_router_options options;
	struct fixture fixture;
	struct weir_router *second;
	struct weir_machine *machine;
	struct weir_trouble trouble;
	char counters[80];

	begin(&fixture, BASE);
	snprintf(counters, sizeof(counters), "%s.second", fixture.counters);
	options.counters_path = counters;
	cr_assert_eq(weir_machine_detect(&machine), 0);
	cr_assert_lt(weir_router_start(&second, machine, topology_of(&fixture, BASE, &trouble), &options, &trouble), 0);
	cr_assert(strstr(trouble.object, "29347"), "%s", trouble.object);
	cr_assert_neq(access(counters, F_OK), 0, "the counters file stayed");
	end(&fixture);
}
