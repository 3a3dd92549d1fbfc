// The topology as plain data: search, words, release.
#include "control/model/topology.h"

#include <stdlib.h>
#include <string.h>

void weir_topology_destroy(struct weir_topology *topology)
{
	if (!topology)
		return;
	for (uint32_t i = 0; i < topology->topic_count; i++) {
		free(topology->topics[i].homes);
		free(topology->topics[i].groups);
	}
	free(topology->topics);
	free(topology->ports);
	free(topology->workers);
	free(topology);
}

const struct weir_topology_topic *weir_topology_find(const struct weir_topology *topology, const char *name)
{
	for (uint32_t i = 0; i < topology->topic_count; i++) {
		if (strcmp(topology->topics[i].name, name) == 0)
			return &topology->topics[i];
	}
	return NULL;
}

const struct weir_topology_group *weir_topology_find_group(const struct weir_topology_topic *topic, const char *name)
{
	for (uint32_t i = 0; i < topic->group_count; i++) {
		if (strcmp(topic->groups[i].name, name) == 0)
			return &topic->groups[i];
	}
	return NULL;
}

const char *weir_policy_name(enum weir_policy policy)
{
	static const char *const NAMES[] = { "block", "drop-new", "drop-old" };

	return (unsigned)policy < sizeof(NAMES) / sizeof(*NAMES) ? NAMES[policy] : "unknown";
}

const char *weir_ack_name(enum weir_ack_level level)
{
	static const char *const NAMES[] = { "none", "routed", "durable", "replicated" };

	return (unsigned)level < sizeof(NAMES) / sizeof(*NAMES) ? NAMES[level] : "unknown";
}

const char *weir_topology_port_kind_name(enum weir_topology_port_kind kind)
{
	static const char *const NAMES[] = { "kernel", "afxdp", "dpdk", "vhost" };

	return (unsigned)kind < sizeof(NAMES) / sizeof(*NAMES) ? NAMES[kind] : "unknown";
}

const char *weir_topology_group_kind_name(enum weir_topology_group_kind kind)
{
	return kind == WEIR_TOPOLOGY_GROUP_FOLLOW ? "follow" : "hold";
}

const char *weir_topology_start_name(enum weir_topology_start start)
{
	return start == WEIR_TOPOLOGY_START_EARLIEST ? "earliest" : "latest";
}
