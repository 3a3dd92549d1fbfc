// The immutable table of topics, shards, groups and endpoints that workers read. Control builds one, publishes it
// through the gate, and frees the old one when every worker has passed a quiescent state. Nothing here is written after
// publication. Owners create and destroy shards and groups by message (core/message.h), never by reading a snapshot.
#ifndef WEIR_CORE_SNAPSHOT_H
#define WEIR_CORE_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/frame.h"
#include "wire/limits.h"

struct weir_topic_id {
	uint32_t value; // from 1, never reused
};

struct weir_group_id {
	uint32_t value; // from 1, never reused
};

enum weir_group_kind {
	WEIR_GROUP_HOLD,   // its cursor limits reclaim
	WEIR_GROUP_FOLLOW, // cut loose past its quota; slows nobody
};

enum weir_group_start {
	WEIR_START_LATEST,   // the log's head when the group is created (default)
	WEIR_START_EARLIEST, // the oldest event not overwritten
};

struct weir_group_spec {
	struct weir_group_id id;
	char name[WEIR_NAME_SIZE];
	enum weir_group_kind kind;
	enum weir_group_start start;
	uint64_t quota_bytes;      // follow: cut loose when further than this behind the head; 0: the log's size
	uint64_t progress_timeout_ns; // member with events outstanding that settles nothing this long is revoked; 0: never
	uint16_t coordinator;      // worker that decides its assignments; fixed for the group's life
};

struct weir_topic_spec {
	struct weir_topic_id id;
	char name[WEIR_NAME_SIZE];
	uint32_t shards;           // 1 to WEIR_SHARDS_MAX, fixed for life
	enum weir_policy policy;
	enum weir_ack_level ack_min; // NONE or ROUTED in this version
	uint32_t event_max;        // bytes; at most log_bytes / 8
	uint64_t log_bytes;        // per shard, power of two
	uint32_t streams_max;      // per shard
	const uint16_t *owner;     // [shards] worker that owns each shard
	const struct weir_group_spec *groups;
	uint32_t group_count;
};

struct weir_snapshot {
	uint64_t revision; // from 1, grows by one with every publication; 0: none came yet
	const struct weir_topic_spec *topics;
	uint32_t topic_count;
	const uint32_t *by_name; // [topic_count] indices in the order of names; NULL: there are few
	// topic id -> index into topics, or UINT32_MAX: one array access on the path.
	const uint32_t *by_id;
	uint32_t by_id_count;
};

// NULL when no such topic. O(1).
static inline const struct weir_topic_spec *weir_snapshot_topic(const struct weir_snapshot *snapshot, uint32_t topic_id)
{
	if (topic_id >= snapshot->by_id_count || snapshot->by_id[topic_id] == UINT32_MAX)
		return NULL;
	return &snapshot->topics[snapshot->by_id[topic_id]];
}

// By zero-padded name, linear: for metadata and join, not for the path. NULL when there is none.
const struct weir_topic_spec *weir_snapshot_find(const struct weir_snapshot *snapshot, const char name[WEIR_NAME_SIZE]);
const struct weir_group_spec *weir_topic_find_group(const struct weir_topic_spec *topic, const char name[WEIR_NAME_SIZE]);

#endif
