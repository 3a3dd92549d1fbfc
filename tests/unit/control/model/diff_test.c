// What `apply` would do between two topology files, in which order, and what it refuses with which fix. Files go through
// the configuration reader and the planner, as they do in the daemon.
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/daemon/config.h"
#include "control/daemon/machine.h"
#include "control/model/diff.h"

#define HEAD "workers: [{core: 0}, {core: 1}]\nports: [{name: front, kind: kernel}]\n"
#define BASE HEAD "topics: [{name: a, shards: 2, homes: {0: 0, 1: 1}, groups: [{name: g}, {name: h}]}, {name: b}]\n"

// Compares two files; prints the changes as "kind topic group shard from>to;".
static int compare(const char *from_text, const char *to_text, char *changes, size_t size, struct weir_trouble *trouble)
{
	struct weir_topology *from;
	struct weir_topology *to;
	struct weir_machine *machine;
	struct weir_plan *from_plan;
	struct weir_plan *to_plan;
	struct weir_diff *diff;
	size_t used = 0;
	int err;

	cr_assert_eq(weir_machine_describe(&machine, "synthetic:node:2 core:2 pu:1"), 0);
	cr_assert_eq(weir_config_parse(&from, from_text, strlen(from_text), trouble), 0);
	cr_assert_eq(weir_config_parse(&to, to_text, strlen(to_text), trouble), 0, "%s: %s", trouble->object, trouble->reason);
	cr_assert_eq(weir_plan_create(&from_plan, machine, from, NULL, trouble), 0);
	cr_assert_eq(weir_plan_create(&to_plan, machine, to, from_plan, trouble), 0);
	err = weir_diff_create(&diff, from, from_plan, to, to_plan, trouble);
	changes[0] = 0;
	for (uint32_t i = 0; !err && i < diff->change_count; i++) {
		const struct weir_change *change = &diff->changes[i];

		used += (size_t)snprintf(changes + used, size - used, "%s %s %s %u %u>%u;", weir_change_name(change->kind),
					 change->topic, change->group, change->shard, change->from, change->to);
	}
	if (!err)
		weir_diff_destroy(diff);
	weir_plan_destroy(from_plan);
	weir_plan_destroy(to_plan);
	weir_topology_destroy(from);
	weir_topology_destroy(to);
	free(machine);
	return err;
}

struct step {
	const char *to;
	const char *changes;
};

static const struct step STEPS[] = {
	{ BASE, "" },
	{ HEAD "topics: [{name: a, shards: 2, groups: [{name: h}, {name: g}]}, {name: b}]\n", "" },
	{ HEAD "topics: [{name: a, shards: 2, homes: {0: 1}, groups: [{name: g}]}, {name: c, groups: [{name: x}]}]\n",
	  "topic-added c  0 0>0;group-added c x 0 0>0;shard-moved a  0 0>1;group-removed a h 0 0>0;topic-removed b  0 0>0;" },
	{ HEAD "limits: {lease: 9s}\n", "topic-removed a  0 0>0;topic-removed b  0 0>0;limits-changed   0 0>0;" },
	{ HEAD "topics: [{name: a, shards: 2, groups: [{name: g}, {name: h}, {name: i, kind: follow}]}, {name: b}]\n",
	  "group-added a i 0 0>0;" },
	{ HEAD "topics: [{name: a, shards: 2, groups: [{name: g, progress_timeout: 5s}, {name: h}]}, {name: b}]\n",
	  "group-changed a g 0 0>0;" },
};

static void check_step(const struct step *step)
{
	struct weir_trouble trouble = { 0 };
	char changes[1024];

	cr_assert_eq(compare(BASE, step->to, changes, sizeof(changes), &trouble), 0, "%s: %s", trouble.object, trouble.reason);
	cr_assert_str_eq(changes, step->changes);
}

Test(diff, changes_come_in_the_order_they_are_applied)
{
	for (size_t i = 0; i < sizeof(STEPS) / sizeof(*STEPS); i++)
		check_step(&STEPS[i]);
}

struct refusal {
	const char *to;
	const char *object;
	const char *action;
	uint32_t line;
};

static const struct refusal REFUSALS[] = {
	{ HEAD "topics: [{name: a, shards: 3}, {name: b}]\n", "topic a", "change shards from 2 to 3", 3 },
	{ HEAD "topics:\n- {name: b, log: 2MiB}\n", "topic b", "change log from 1048576 to 2097152", 4 },
	{ HEAD "topics: [{name: b, policy: drop-old}]\n", "topic b", "change policy from block to drop-old", 3 },
	{ HEAD "topics: [{name: b, ack: none}]\n", "topic b", "change ack from routed to none", 3 },
	{ HEAD "topics: [{name: a, shards: 2, groups: [{name: g, kind: follow}]}]\n", "group g of topic a", "change kind", 3 },
	{ HEAD "instance: other\n", "instance", "change instance while running", 0 },
	{ HEAD "poll: always\n", "workers", "change poll and idle_sleep_max while running", 0 },
	{ HEAD "limits: {park_frames: 99}\n", "limits", NULL, 0 },
	{ "workers: [{core: 0}]\nports: [{name: front, kind: kernel}]\n", "workers",
	  "change the number of workers while running", 0 },
	{ "workers: [{core: 0}, {core: auto}]\nports: [{name: front, kind: kernel}]\n", "workers", "change core while running",
	  1 },
	{ "workers: [{core: 0}, {core: 1}]\nports: [{name: front, kind: kernel, udp_port: 1}]\n", "port front", NULL, 2 },
};

static void check_refusal(const struct refusal *refusal)
{
	struct weir_trouble trouble = { 0 };
	char changes[1024];

	cr_assert_eq(compare(BASE, refusal->to, changes, sizeof(changes), &trouble), -EINVAL, "%s", refusal->to);
	cr_assert_str_eq(trouble.object, refusal->object);
	if (refusal->action)
		cr_assert_str_eq(trouble.action, refusal->action);
	cr_assert_eq(trouble.mark.line, refusal->line);
	cr_assert_neq(trouble.fix[0], 0);
}

Test(diff, what_is_fixed_is_refused_with_a_fix)
{
	for (size_t i = 0; i < sizeof(REFUSALS) / sizeof(*REFUSALS); i++)
		check_refusal(&REFUSALS[i]);
}
