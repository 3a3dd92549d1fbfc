// Counts what removals would lose, from the rows that owners publish, and holds it against the names that may go.
#include "control/daemon/discard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/daemon/parts.h"

// Of a topic with all its groups, or of one group.
struct loss {
	uint64_t held;
	uint64_t streams;
	uint32_t members;
};

uint64_t weir_discard_held(const struct weir_router_topic *topic, const struct weir_router_group *group)
{
	struct weir_group_row row;
	uint64_t held = 0;

	for (uint32_t s = 0; group->spec.kind == WEIR_GROUP_HOLD && s < topic->spec.shards; s++) {
		if (weir_row_read(&row, group->rows[s], sizeof(row)) == 0)
			held += row.held;
	}
	return held;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *left = a;
	const uint64_t *right = b;

	return (*left > *right) - (*left < *right);
}

uint32_t weir_discard_members(const struct weir_router_topic *topic, const struct weir_router_group *group)
{
	uint64_t sessions[WEIR_SHARDS_MAX];
	uint32_t count = 0;
	uint32_t members = 0;
	struct weir_group_row row;

	for (uint32_t s = 0; s < topic->spec.shards; s++) {
		if (weir_row_read(&row, group->rows[s], sizeof(row)) == 0 && row.session)
			sessions[count++] = row.session;
	}
	qsort(sessions, count, sizeof(*sessions), compare);
	for (uint32_t i = 0; i < count; i++)
		members += i == 0 || sessions[i] != sessions[i - 1];
	return members;
}

static struct loss loss_of(const struct weir_router_topic *topic, const struct weir_router_group *only)
{
	struct loss loss = { 0 };
	struct weir_shard_row row;

	for (uint32_t g = 0; g < topic->group_count; g++) {
		if (only && topic->groups[g] != only)
			continue;
		loss.held += weir_discard_held(topic, topic->groups[g]);
		loss.members += weir_discard_members(topic, topic->groups[g]);
	}
	for (uint32_t s = 0; !only && s < topic->spec.shards; s++) {
		if (weir_row_read(&row, topic->rows[s], sizeof(row)) == 0)
			loss.streams += row.streams;
	}
	return loss;
}

static bool may_go(const struct weir_discards *discards, const char *name)
{
	for (uint32_t i = 0; discards && i < discards->count; i++) {
		if (strcmp(discards->names[i], name) == 0)
			return true;
	}
	return false;
}

static void say_first(struct weir_trouble *trouble, const struct weir_change *change, const struct loss *loss)
{
	char object[160];

	if (change->group[0])
		snprintf(object, sizeof(object), "group %s of topic %s", change->group, change->topic);
	else
		snprintf(object, sizeof(object), "topic %s", change->topic);
	weir_trouble_set(trouble, object, "remove it", "",
			 "its hold groups hold %llu events, it has %u members and %llu streams of producers (open, or ended "
			 "within dedup_window)",
			 (unsigned long long)loss->held, loss->members, (unsigned long long)loss->streams);
	if (change->group[0])
		snprintf(trouble->reason, sizeof(trouble->reason), "it holds %llu events and has %u members",
			 (unsigned long long)loss->held, loss->members);
}

int weir_discard_check(const struct weir_router *router, const struct weir_diff *diff, const struct weir_discards *discards,
		       struct weir_trouble *trouble)
{
	char names[240] = "";
	size_t used = 0;
	uint32_t refused = 0;

	for (uint32_t c = 0; c < diff->change_count; c++) {
		const struct weir_change *change = &diff->changes[c];
		const struct weir_router_topic *topic;
		char name[2 * WEIR_NAME_SIZE];
		struct loss loss;

		if (change->kind != WEIR_CHANGE_TOPIC_REMOVED && change->kind != WEIR_CHANGE_GROUP_REMOVED)
			continue;
		topic = weir_router_find(router, change->topic);
		loss = loss_of(topic, change->group[0] ? weir_router_topic_group(topic, change->group) : NULL);
		snprintf(name, sizeof(name), "%s%s%s", change->topic, change->group[0] ? "/" : "", change->group);
		if ((!loss.held && !loss.members && !loss.streams) || may_go(discards, name))
			continue;
		if (refused++ == 0)
			say_first(trouble, change, &loss);
		if (used + strlen(name) + sizeof(" --discard ") < sizeof(names))
			used += (size_t)snprintf(names + used, sizeof(names) - used, " --discard %s", name);
	}
	if (!refused)
		return 0;
	snprintf(trouble->fix, sizeof(trouble->fix), "keep it in the file, or say what may go:%s%s", names,
		 refused > 1 ? " (each by its name)" : "");
	return -EBUSY;
}
