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
	{ HEAD "poll: always\n", "workers", "change poll while running", 0 },
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

// ---- Every key of the file is applied or refused by its name ----

#define PORTS "ports: [{name: front, kind: kernel}]\n"
#define A_TOPIC(what) PORTS "workers: [{core: 0}, {core: 1}]\ntopics: [{name: a, " what "}]\n"
#define A_GROUP(what) A_TOPIC("groups: [{name: g, " what "}]")
#define A_PORT(what) "workers: [{core: 0}, {core: 1}]\nports: [{name: front, " what "}]\n"

// Two files that differ in one key. `done`: the change that makes it true; NULL: it is refused by the key's name.
struct key {
	const char *path;
	const char *from;
	const char *to;
	const char *done;
};

static const struct key KEYS[] = {
	{ "instance", PORTS, PORTS "instance: other\n", NULL },
	{ "control.mode", PORTS, PORTS "control: {mode: \"0600\"}\n", NULL },
	{ "lanes.per_worker", PORTS, PORTS "lanes: {per_worker: 3}\n", NULL },
	{ "lanes.pin_timeout", PORTS, PORTS "lanes: {pin_timeout: 9s}\n", NULL },
	{ "lanes.socket_mode", PORTS, PORTS "lanes: {socket_mode: \"0600\"}\n", NULL },
	{ "lanes.per_user", PORTS, PORTS "lanes: {per_user: 3}\n", NULL },
	{ "lanes.memory_per_user", PORTS, PORTS "lanes: {memory_per_user: 32MiB}\n", NULL },
	{ "lanes.group", PORTS, PORTS "lanes: {group: users}\n", NULL },
	{ "poll", PORTS, PORTS "poll: always\n", NULL },
	{ "idle_sleep_max", PORTS, PORTS "idle_sleep_max: 2ms\n", NULL },
	{ "hugepages", PORTS, PORTS "hugepages: off\n", NULL },
	{ "workers.core", PORTS "workers: [{core: 0}]\n", PORTS "workers: [{core: 1}]\n", NULL },
	{ "ports.name", PORTS, "ports: [{name: back, kind: kernel}]\n", NULL },
	{ "ports.kind", A_PORT("kind: kernel, address: 10.0.0.1"), A_PORT("kind: dpdk, device: net_null0, address: 10.0.0.1"),
	  NULL },
	{ "ports.interface", A_PORT("kind: afxdp, interface: e0"), A_PORT("kind: afxdp, interface: e1"), NULL },
	{ "ports.device", A_PORT("kind: dpdk, device: net_null0, address: 10.0.0.1"),
	  A_PORT("kind: dpdk, device: net_null1, address: 10.0.0.1"), NULL },
	{ "ports.socket", A_PORT("kind: vhost, socket: /run/a, address: 10.0.0.1"),
	  A_PORT("kind: vhost, socket: /run/b, address: 10.0.0.1"), NULL },
	{ "ports.address", A_PORT("kind: kernel"), A_PORT("kind: kernel, address: 10.0.0.1"), NULL },
	{ "ports.udp_port", A_PORT("kind: kernel"), A_PORT("kind: kernel, udp_port: 7"), NULL },
	{ "ports.workers", A_PORT("kind: kernel, workers: [0]"), A_PORT("kind: kernel, workers: [1]"), NULL },
	{ "ports.integrity", A_PORT("kind: kernel"), A_PORT("kind: kernel, integrity: link"), NULL },
	{ "ports.xdp", A_PORT("kind: afxdp, interface: a"), A_PORT("kind: afxdp, interface: a, xdp: generic"), NULL },
	{ "limits.sessions_per_worker", PORTS, PORTS "limits: {sessions_per_worker: 64}\n", NULL },
	{ "limits.streams_per_shard", PORTS, PORTS "limits: {streams_per_shard: 64}\n", "limits-changed" },
	{ "limits.park_frames", PORTS, PORTS "limits: {park_frames: 64}\n", NULL },
	{ "limits.reassembly_slots", PORTS, PORTS "limits: {reassembly_slots: 9}\n", NULL },
	{ "limits.members_per_group", PORTS, PORTS "limits: {members_per_group: 9}\n", NULL },
	{ "limits.event_max", PORTS, PORTS "limits: {event_max: 1MiB}\n", NULL },
	{ "limits.window_frames", PORTS, PORTS "limits: {window_frames: 9}\n", "limits-changed" },
	{ "limits.frame_size", PORTS, PORTS "limits: {frame_size: 1400}\n", "limits-changed" },
	{ "limits.ping", PORTS, PORTS "limits: {ping: 900ms}\n", "limits-changed" },
	{ "limits.lease", PORTS, PORTS "limits: {lease: 9s}\n", "limits-changed" },
	{ "limits.dedup_window", PORTS, PORTS "limits: {dedup_window: 9s}\n", "limits-changed" },
	{ "topics.name", A_TOPIC(""), PORTS "workers: [{core: 0}, {core: 1}]\ntopics: [{name: b}]\n", "topic-added" },
	{ "topics.shards", A_TOPIC(""), A_TOPIC("shards: 2"), NULL },
	{ "topics.policy", A_TOPIC(""), A_TOPIC("policy: drop-new"), NULL },
	{ "topics.ack", A_TOPIC(""), A_TOPIC("ack: none"), NULL },
	{ "topics.event_max", A_TOPIC(""), A_TOPIC("event_max: 1KiB"), NULL },
	{ "topics.log", A_TOPIC("event_max: 1KiB"), A_TOPIC("event_max: 1KiB, log: 2MiB"), NULL },
	{ "topics.homes", A_TOPIC("homes: {0: 0}"), A_TOPIC("homes: {0: 1}"), "shard-moved" },
	{ "topics.groups.name", A_TOPIC(""), A_TOPIC("groups: [{name: g}]"), "group-added" },
	{ "topics.groups.kind", A_GROUP(""), A_GROUP("kind: follow"), NULL },
	{ "topics.groups.mode", A_GROUP(""), A_GROUP("mode: keyed"), "" }, // there is one only
	{ "topics.groups.start", A_GROUP(""), A_GROUP("start: earliest"), NULL },
	{ "topics.groups.quota", A_GROUP("kind: follow"), A_GROUP("kind: follow, quota: 8KiB"), "group-changed" },
	{ "topics.groups.progress_timeout", A_GROUP(""), A_GROUP("progress_timeout: 2s"), "group-changed" },
};

static const struct key *key_of(const char *path)
{
	for (size_t i = 0; i < sizeof(KEYS) / sizeof(*KEYS); i++) {
		if (strcmp(KEYS[i].path, path) == 0)
			return &KEYS[i];
	}
	return NULL;
}

static void check_key(const struct key *key)
{
	const char *dot = strrchr(key->path, '.');
	const char *name = dot ? dot + 1 : key->path;
	struct weir_trouble trouble = { 0 };
	char changes[1024];
	int err = compare(key->from, key->to, changes, sizeof(changes), &trouble);

	if (key->done) {
		cr_expect_eq(err, 0, "%s: %s: %s", key->path, trouble.object, trouble.reason);
		cr_expect_eq(strncmp(changes, key->done, strlen(key->done)), 0, "%s: %s", key->path, changes);
		cr_expect_eq(changes[0] == 0, key->done[0] == 0, "%s: %s", key->path, changes);
		return;
	}
	cr_expect_eq(err, -EINVAL, "%s: answered by \"%s\"", key->path, changes);
	cr_expect(strstr(trouble.action, name), "%s: %s: cannot %s", key->path, trouble.object, trouble.action);
	cr_expect(trouble.reason[0] && trouble.fix[0], "%s", key->path);
}

// Every key has a row above, and does what the row says.
static uint32_t check_keys(const struct weir_field *fields, const char *above)
{
	uint32_t count = 0;

	for (const struct weir_field *field = fields; field->key; field++) {
		const struct key *key;
		char path[128];

		snprintf(path, sizeof(path), "%s%s%s", above, above[0] ? "." : "", field->key);
		if (field->fields) {
			count += check_keys(field->fields, path);
			continue;
		}
		key = key_of(path);
		cr_expect_not_null(key, "nobody says what becomes of a changed %s", path);
		count++;
		if (key)
			check_key(key);
	}
	return count;
}

Test(diff, every_key_of_the_file_is_applied_or_refused_by_its_name)
{
	cr_expect_eq(check_keys(weir_config_schema(), ""), sizeof(KEYS) / sizeof(*KEYS));
}
