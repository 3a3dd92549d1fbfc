// From the topology that runs to the one that is wanted: the ordered list of changes `apply` makes, or the first reason
// why it cannot be done while running. A pure function.
#ifndef WEIR_MODEL_DIFF_H
#define WEIR_MODEL_DIFF_H

#include <stdint.h>

#include "control/model/plan.h"
#include "control/model/topology.h"

// In the order they are applied: what is new is made before anything is taken away, so that a change that cannot be made
// leaves everything as it was.
enum weir_change_kind {
	WEIR_CHANGE_TOPIC_ADDED,
	WEIR_CHANGE_GROUP_ADDED, // also those of an added topic
	WEIR_CHANGE_SHARD_MOVED,
	WEIR_CHANGE_GROUP_CHANGED, // quota, progress_timeout
	WEIR_CHANGE_GROUP_REMOVED,
	WEIR_CHANGE_TOPIC_REMOVED, // its groups go with it, without changes of their own
	WEIR_CHANGE_LIMITS,
};

struct weir_change {
	enum weir_change_kind kind;
	char topic[WEIR_NAME_SIZE];
	char group[WEIR_NAME_SIZE];
	uint32_t shard; // of a move
	uint16_t from; // worker
	uint16_t to;
};

struct weir_diff {
	struct weir_change *changes;
	uint32_t change_count;
};

// Both plans belong to their topologies. 0; -ENOMEM; -EINVAL with *trouble when something differs that is fixed while the
// router, the topic or the group lives.
int weir_diff_create(struct weir_diff **diff, const struct weir_topology *from, const struct weir_plan *from_plan,
		     const struct weir_topology *to, const struct weir_plan *to_plan, struct weir_trouble *trouble);
void weir_diff_destroy(struct weir_diff *diff);

// "topic-added", ... Static storage.
const char *weir_change_name(enum weir_change_kind kind);

#endif
