// Compares two topologies and their placements. What cannot change while running is refused first, then the changes are
// collected in the order in which they are safe to apply. Pure; control thread and tests.
#include "control/model/diff.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char RESTART[] = "restart weir with the new file, or keep the running value in the file";

static int refuse(struct weir_trouble *trouble, const char *object, const char *field, const char *why)
{
	char action[96];

	snprintf(action, sizeof(action), "change %s while running", field);
	return weir_trouble_set(trouble, object, action, RESTART, "%s", why);
}

// What is fixed while something lives, compared row by row.
struct fixed {
	const char *object; // NULL: the caller's
	const char *field;
	const char *why;
	size_t offset;
	size_t size;
	bool is_text;
};

#define AT(type, member) .offset = offsetof(struct type, member), .size = sizeof(((struct type *)0)->member)

static const char AT_START[] = "workers allocate it at start and never later";

static const struct fixed ROUTER[] = {
	{ "instance", "instance", "socket, lock and file names derive from it", AT(weir_topology, instance), .is_text = true },
	{ "control", "mode", "the control socket is open already", AT(weir_topology, control_mode) },
	{ "lanes", "per_worker", "their table and the heads of logs are made at start", AT(weir_topology, lanes_per_worker) },
	{ "lanes", "per_user", "lanes that stand were let in by the old one", AT(weir_topology, lanes_per_user) },
	{ "lanes", "memory_per_user", "lanes that stand were let in by the old one",
	  AT(weir_topology, lanes_memory_per_user) },
	{ "lanes", "pin_timeout", "clients that came before were promised the old one", AT(weir_topology, pin_timeout_ns) },
	{ "lanes", "group", "their socket is open already", AT(weir_topology, lanes_group), .is_text = true },
	{ "lanes", "socket_mode", "their socket is open already", AT(weir_topology, lanes_mode) },
	{ "workers", "poll", "workers take it at start", AT(weir_topology, poll) },
	{ "workers", "idle_sleep_max", "workers take it at start", AT(weir_topology, idle_sleep_max_ns) },
	{ "memory", "hugepages", "it is decided at start", AT(weir_topology, hugepages) },
	{ "limits", "sessions_per_worker", AT_START, AT(weir_topology, limits.sessions_per_worker) },
	{ "limits", "park_frames", AT_START, AT(weir_topology, limits.park_frames) },
	{ "limits", "reassembly_slots", AT_START, AT(weir_topology, limits.reassembly_slots) },
	{ "limits", "members_per_group", AT_START, AT(weir_topology, limits.members_per_group) },
};

static const char OPENED[] = "ports are opened at start";

static const struct fixed PORT[] = {
	{ NULL, "name", OPENED, AT(weir_topology_port, name), .is_text = true },
	{ NULL, "kind", OPENED, AT(weir_topology_port, kind) },
	{ NULL, "integrity", OPENED, AT(weir_topology_port, integrity) },
	{ NULL, "xdp", OPENED, AT(weir_topology_port, xdp) },
	{ NULL, "interface", OPENED, AT(weir_topology_port, interface), .is_text = true },
	{ NULL, "device", OPENED, AT(weir_topology_port, device), .is_text = true },
	{ NULL, "socket", OPENED, AT(weir_topology_port, socket), .is_text = true },
	{ NULL, "address", OPENED, AT(weir_topology_port, address), .is_text = true },
	{ NULL, "udp_port", OPENED, AT(weir_topology_port, udp_port) },
	{ NULL, "workers", OPENED, AT(weir_topology_port, worker_count) },
	{ NULL, "workers", OPENED, AT(weir_topology_port, workers) },
};

// The first row in which the two differ, NULL: none.
static const struct fixed *find_difference(const struct fixed *rows, size_t count, const void *from, const void *to)
{
	for (size_t i = 0; i < count; i++) {
		const char *a = (const char *)from + rows[i].offset;
		const char *b = (const char *)to + rows[i].offset;

		if (rows[i].is_text ? strcmp(a, b) != 0 : memcmp(a, b, rows[i].size) != 0)
			return &rows[i];
	}
	return NULL;
}

static int check_router(const struct weir_topology *from, const struct weir_topology *to, struct weir_trouble *trouble)
{
	const struct fixed *row = find_difference(ROUTER, sizeof(ROUTER) / sizeof(*ROUTER), from, to);

	if (row)
		return refuse(trouble, row->object, row->field, row->why);
	// Where the file does not say it, it is what topics need, which is looked at when they are added.
	if (to->has_event_max && from->limits.event_max != to->limits.event_max)
		return refuse(trouble, "limits", "event_max", AT_START);
	return 0;
}

static int check_workers(const struct weir_topology *from, const struct weir_topology *to, struct weir_trouble *trouble)
{
	if (from->worker_count != to->worker_count)
		return refuse(trouble, "workers", "the number of workers", "threads and rings are made at start");
	for (uint32_t w = 0; w < to->worker_count; w++) {
		if (from->workers[w].core != to->workers[w].core) {
			refuse(trouble, "workers", "core", "threads are pinned at start");
			trouble->mark = to->workers[w].mark;
			return -EINVAL;
		}
	}
	return 0;
}

static int check_ports(const struct weir_topology *from, const struct weir_topology *to, struct weir_trouble *trouble)
{
	char object[160];

	if (from->port_count != to->port_count)
		return refuse(trouble, "ports", "the number of ports", "ports are opened at start");
	for (uint32_t i = 0; i < to->port_count; i++) {
		const struct fixed *row =
			find_difference(PORT, sizeof(PORT) / sizeof(*PORT), &from->ports[i], &to->ports[i]);

		if (!row)
			continue;
		snprintf(object, sizeof(object), "port %s", to->ports[i].name);
		refuse(trouble, object, row->field, row->why);
		trouble->mark = to->ports[i].mark;
		return -EINVAL;
	}
	return 0;
}

static int refuse_topic(struct weir_trouble *trouble, const struct weir_topology_topic *topic, const char *field,
			const char *was, const char *is)
{
	char object[160];
	char action[96];

	snprintf(object, sizeof(object), "topic %s", topic->name);
	snprintf(action, sizeof(action), "change %s from %s to %s", field, was, is);
	weir_trouble_set(trouble, object, action,
			 "add a topic of another name, move its producers and consumers, then remove this one",
			 "it is fixed for the topic's life");
	trouble->mark = topic->mark;
	return -EINVAL;
}

static int refuse_topic_number(struct weir_trouble *trouble, const struct weir_topology_topic *topic, const char *field,
			       uint64_t was, uint64_t is)
{
	char before[24];
	char after[24];

	snprintf(before, sizeof(before), "%llu", (unsigned long long)was);
	snprintf(after, sizeof(after), "%llu", (unsigned long long)is);
	return refuse_topic(trouble, topic, field, before, after);
}

static int check_group(const struct weir_topology_topic *topic, const struct weir_topology_group *from,
		       const struct weir_topology_group *to, struct weir_trouble *trouble)
{
	const char *field = NULL;
	char object[160];
	char action[96];

	if (from->kind != to->kind)
		field = "kind";
	else if (from->mode != to->mode)
		field = "mode";
	else if (from->start != to->start)
		field = "start";
	if (!field)
		return 0;
	snprintf(object, sizeof(object), "group %s of topic %s", to->name, topic->name);
	snprintf(action, sizeof(action), "change %s", field);
	weir_trouble_set(trouble, object, action, "add a group of another name with the new value, then remove this one",
			 from->start != to->start && from->kind == to->kind && from->mode == to->mode
				 ? "it says where a new group begins, and this one has begun"
				 : "it is fixed for the group's life");
	trouble->mark = to->mark;
	return -EINVAL;
}

static int check_topic(const struct weir_topology_topic *from, const struct weir_topology_topic *to,
		       struct weir_trouble *trouble)
{
	if (from->shards != to->shards)
		return refuse_topic_number(trouble, to, "shards", from->shards, to->shards);
	if (from->log_bytes != to->log_bytes)
		return refuse_topic_number(trouble, to, "log", from->log_bytes, to->log_bytes);
	if (from->event_max != to->event_max)
		return refuse_topic_number(trouble, to, "event_max", from->event_max, to->event_max);
	if (from->policy != to->policy)
		return refuse_topic(trouble, to, "policy", weir_policy_name(from->policy), weir_policy_name(to->policy));
	if (from->ack != to->ack)
		return refuse_topic(trouble, to, "ack", weir_ack_name(from->ack), weir_ack_name(to->ack));
	for (uint32_t g = 0; g < to->group_count; g++) {
		const struct weir_topology_group *before = weir_topology_find_group(from, to->groups[g].name);
		int err = before ? check_group(to, before, &to->groups[g], trouble) : 0;

		if (err)
			return err;
	}
	return 0;
}

static int check(const struct weir_topology *from, const struct weir_topology *to, struct weir_trouble *trouble)
{
	int err = check_router(from, to, trouble);

	if (!err)
		err = check_workers(from, to, trouble);
	if (!err)
		err = check_ports(from, to, trouble);
	for (uint32_t t = 0; !err && t < to->topic_count; t++) {
		const struct weir_topology_topic *before = weir_topology_find(from, to->topics[t].name);

		if (before)
			err = check_topic(before, &to->topics[t], trouble);
	}
	return err;
}

// Appends one change; the array grows by doubling. Out of memory is remembered in `failed`, the rest is then moot.
struct collector {
	struct weir_diff *diff;
	uint32_t room;
	bool failed;
};

static void add(struct collector *list, const struct weir_change *change)
{
	struct weir_diff *diff = list->diff;

	if (diff->change_count == list->room) {
		uint32_t room = list->room ? 2 * list->room : 16;
		struct weir_change *grown = realloc(diff->changes, room * sizeof(*grown));

		if (!grown) {
			list->failed = true;
			return;
		}
		diff->changes = grown;
		list->room = room;
	}
	diff->changes[diff->change_count++] = *change;
}

static void add_named(struct collector *list, enum weir_change_kind kind, const char *topic, const char *group)
{
	struct weir_change change = { .kind = kind };

	snprintf(change.topic, sizeof(change.topic), "%s", topic);
	snprintf(change.group, sizeof(change.group), "%s", group);
	add(list, &change);
}

static void collect_moves(struct collector *list, const struct weir_plan *from_plan, const struct weir_plan *to_plan)
{
	for (uint32_t t = 0; t < to_plan->topic_count; t++) {
		const struct weir_plan_topic *after = &to_plan->topics[t];
		const struct weir_plan_topic *before = weir_plan_find(from_plan, after->name);

		for (uint32_t s = 0; before && s < after->shards; s++) {
			struct weir_change change = { .kind = WEIR_CHANGE_SHARD_MOVED, .shard = s };

			if (before->owner[s] == after->owner[s])
				continue;
			memcpy(change.topic, after->name, sizeof(change.topic));
			change.from = before->owner[s];
			change.to = after->owner[s];
			add(list, &change);
		}
	}
}

static void collect_removals(struct collector *list, const struct weir_topology *from, const struct weir_topology *to)
{
	for (uint32_t t = 0; t < from->topic_count; t++) {
		const struct weir_topology_topic *before = &from->topics[t];
		const struct weir_topology_topic *after = weir_topology_find(to, before->name);

		for (uint32_t g = 0; after && g < before->group_count; g++) {
			if (!weir_topology_find_group(after, before->groups[g].name))
				add_named(list, WEIR_CHANGE_GROUP_REMOVED, before->name, before->groups[g].name);
		}
	}
	for (uint32_t t = 0; t < from->topic_count; t++) {
		if (!weir_topology_find(to, from->topics[t].name))
			add_named(list, WEIR_CHANGE_TOPIC_REMOVED, from->topics[t].name, "");
	}
}

static void collect_additions(struct collector *list, const struct weir_topology *from, const struct weir_topology *to)
{
	for (uint32_t t = 0; t < to->topic_count; t++) {
		if (!weir_topology_find(from, to->topics[t].name))
			add_named(list, WEIR_CHANGE_TOPIC_ADDED, to->topics[t].name, "");
	}
	for (uint32_t t = 0; t < to->topic_count; t++) {
		const struct weir_topology_topic *after = &to->topics[t];
		const struct weir_topology_topic *before = weir_topology_find(from, after->name);

		for (uint32_t g = 0; g < after->group_count; g++) {
			if (!before || !weir_topology_find_group(before, after->groups[g].name))
				add_named(list, WEIR_CHANGE_GROUP_ADDED, after->name, after->groups[g].name);
		}
	}
}

static void collect_group_changes(struct collector *list, const struct weir_topology *from, const struct weir_topology *to)
{
	for (uint32_t t = 0; t < to->topic_count; t++) {
		const struct weir_topology_topic *after = &to->topics[t];
		const struct weir_topology_topic *before = weir_topology_find(from, after->name);

		for (uint32_t g = 0; before && g < after->group_count; g++) {
			const struct weir_topology_group *group = weir_topology_find_group(before, after->groups[g].name);

			if (group && (group->quota_bytes != after->groups[g].quota_bytes ||
				      group->progress_timeout_ns != after->groups[g].progress_timeout_ns))
				add_named(list, WEIR_CHANGE_GROUP_CHANGED, after->name, after->groups[g].name);
		}
	}
}

static bool is_same_live_limits(const struct weir_topology_limits *a, const struct weir_topology_limits *b)
{
	return a->window_frames == b->window_frames && a->frame_size == b->frame_size && a->ping_ns == b->ping_ns &&
	       a->lease_ns == b->lease_ns && a->dedup_window_ns == b->dedup_window_ns &&
	       a->streams_per_shard == b->streams_per_shard;
}

int weir_diff_create(struct weir_diff **out, const struct weir_topology *from, const struct weir_plan *from_plan,
		     const struct weir_topology *to, const struct weir_plan *to_plan, struct weir_trouble *trouble)
{
	struct collector list = { 0 };
	int err = check(from, to, trouble);

	if (err)
		return err;
	list.diff = calloc(1, sizeof(*list.diff));
	if (!list.diff)
		return -ENOMEM;
	collect_additions(&list, from, to);
	collect_moves(&list, from_plan, to_plan);
	collect_group_changes(&list, from, to);
	collect_removals(&list, from, to);
	if (!is_same_live_limits(&from->limits, &to->limits))
		add_named(&list, WEIR_CHANGE_LIMITS, "", "");
	if (list.failed) {
		weir_diff_destroy(list.diff);
		return -ENOMEM;
	}
	*out = list.diff;
	return 0;
}

void weir_diff_destroy(struct weir_diff *diff)
{
	if (!diff)
		return;
	free(diff->changes);
	free(diff);
}

const char *weir_change_name(enum weir_change_kind kind)
{
	static const char *const NAMES[] = {
		[WEIR_CHANGE_TOPIC_ADDED] = "topic-added",     [WEIR_CHANGE_GROUP_ADDED] = "group-added",
		[WEIR_CHANGE_SHARD_MOVED] = "shard-moved",     [WEIR_CHANGE_GROUP_CHANGED] = "group-changed",
		[WEIR_CHANGE_GROUP_REMOVED] = "group-removed", [WEIR_CHANGE_TOPIC_REMOVED] = "topic-removed",
		[WEIR_CHANGE_LIMITS] = "limits-changed",
	};

	return NAMES[kind];
}
