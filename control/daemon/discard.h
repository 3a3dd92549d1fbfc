// What an apply would throw away: a topic or a group that is not in the file any more goes with the events it holds, its
// members and its producers. That is refused unless each is named. Control thread.
#ifndef WEIR_DAEMON_DISCARD_H
#define WEIR_DAEMON_DISCARD_H

#include "control/daemon/router.h"

// Names of what may go: "TOPIC" with all its groups, or "TOPIC/GROUP".
struct weir_discards {
	const char *const *names;
	uint32_t count;
};

// Whether all that the changes would throw away is named. 0, or -EBUSY with *trouble saying how much of what would be lost
// and how to say that it may. `discards` may be NULL: nothing may go.
int weir_discard_check(const struct weir_router *router, const struct weir_diff *diff, const struct weir_discards *discards,
		       struct weir_trouble *trouble);

// Events that a group holds, of all shards.
uint64_t weir_discard_held(const struct weir_router_topic *topic, const struct weir_router_group *group);
// Members of a group.
uint32_t weir_discard_members(const struct weir_router_topic *topic, const struct weir_router_group *group);

#endif
