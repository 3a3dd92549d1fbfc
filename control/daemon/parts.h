// Topics and groups of the running router as objects: made with all their memory before anything is told to a worker, freed
// after the last worker let go. Between router.c, which owns the list, and apply.c, which changes it. Control thread.
#ifndef WEIR_DAEMON_PARTS_H
#define WEIR_DAEMON_PARTS_H

#include "control/daemon/router.h"

// What is being made true: the wanted topology and its placement.
struct weir_router_target {
	struct weir_router *router;
	struct weir_topology *topology;
	struct weir_plan *plan;
};

// The index'th topic of the target without groups, with its rows and with shards that no worker owns yet. 0 or -errno
// with *trouble.
int weir_router_topic_create(struct weir_router_topic **topic, const struct weir_router_target *target, uint32_t index,
			     struct weir_trouble *trouble);
// Fresh shards are destroyed, rows given back, groups destroyed. Shards that workers own must be gone.
void weir_router_topic_destroy(struct weir_router *router, struct weir_router_topic *topic);

int weir_router_group_create(struct weir_router_group **group, struct weir_router *router,
			     const struct weir_router_topic *topic, const struct weir_topology_group *config,
			     struct weir_trouble *trouble);
// The topic's shards must have let go of it: their removals are answered, or the workers have stopped.
void weir_router_group_destroy(struct weir_router *router, struct weir_router_group *group,
			       const struct weir_router_topic *topic);

// A snapshot of `count` topics: one allocation to free(), owners copied. NULL without memory.
struct weir_snapshot *weir_router_snapshot(struct weir_router_topic *const *topics, uint32_t count, uint32_t ids,
					   uint64_t revision);

// NULL when there is none.
struct weir_router_group *weir_router_topic_group(const struct weir_router_topic *topic, const char *name);

#endif
