// Finding by name in the immutable snapshot: for metadata and join, never per frame. Any thread that holds the snapshot.
#include "dataplane/core/snapshot.h"

#include <string.h>

static const struct weir_topic_spec *find_sorted(const struct weir_snapshot *snapshot, const char name[WEIR_NAME_SIZE])
{
	uint32_t low = 0;
	uint32_t high = snapshot->topic_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		const struct weir_topic_spec *topic = &snapshot->topics[snapshot->by_name[middle]];
		int order = memcmp(topic->name, name, WEIR_NAME_SIZE);
		if (order == 0)
			return topic;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

const struct weir_topic_spec *weir_snapshot_find(const struct weir_snapshot *snapshot, const char name[WEIR_NAME_SIZE])
{
	if (snapshot->by_name)
		return find_sorted(snapshot, name);
	for (uint32_t i = 0; i < snapshot->topic_count; i++) {
		if (memcmp(snapshot->topics[i].name, name, WEIR_NAME_SIZE) == 0)
			return &snapshot->topics[i];
	}
	return NULL;
}

const struct weir_group_spec *weir_topic_find_group(const struct weir_topic_spec *topic, const char name[WEIR_NAME_SIZE])
{
	for (uint32_t i = 0; i < topic->group_count; i++) {
		if (memcmp(topic->groups[i].name, name, WEIR_NAME_SIZE) == 0)
			return &topic->groups[i];
	}
	return NULL;
}
