// Free memory by node from the kernel's meminfo files, and what new topics would take of it. A sixteenth of what is free
// stays free. Control thread, before an apply makes anything.
#include "control/daemon/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/core/shard.h"

#define MEMINFO_SIZE 8192
#define HUGEPAGE_SIZE (2ull << 20)

// Value of "NAME:  123 kB" in bytes, or of "NAME:  123" as it is; 0 when there is no such line.
static uint64_t field(const char *text, const char *name)
{
	const char *at = text;
	size_t length = strlen(name);

	while ((at = strstr(at, name)) != NULL) {
		if (at[length] == ':' && (at == text || at[-1] == ' ' || at[-1] == '\n')) {
			char *end;
			uint64_t value = strtoull(at + length + 1, &end, 10);

			return strncmp(end, " kB", 3) == 0 ? value << 10 : value;
		}
		at += length;
	}
	return 0;
}

void weir_memory_parse(const char *text, struct weir_memory *memory)
{
	memory->available = field(text, "MemAvailable");
	// A node's file has no MemAvailable: free pages and those of files can be had.
	if (!memory->available)
		memory->available = field(text, "MemFree") + field(text, "Active(file)") + field(text, "Inactive(file)");
	memory->hugepages = field(text, "HugePages_Free") * HUGEPAGE_SIZE;
}

static int read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return -errno;
	got = read(fd, text, size - 1);
	close(fd);
	if (got < 0)
		return -errno;
	text[got] = 0;
	return 0;
}

int weir_memory_read(uint32_t node, struct weir_memory *memory)
{
	char text[MEMINFO_SIZE];
	char path[64];
	int err;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/meminfo", node);
	err = read_text(path, text, sizeof(text));
	if (err)
		err = read_text("/proc/meminfo", text, sizeof(text));
	if (!err)
		weir_memory_parse(text, memory);
	return err;
}

// What a new topic takes on a node: ordinary pages and, where its logs may be in them, hugepages.
static void add_topic(const struct weir_router_target *target, uint32_t index, uint32_t node, struct weir_memory *need)
{
	const struct weir_topology_topic *topic = &target->topology->topics[index];
	uint64_t size = weir_shard_size(target->topology->limits.streams_per_shard);

	need->available += HUGEPAGE_SIZE; // what shards are made of may end within one
	for (uint32_t s = 0; s < topic->shards; s++) {
		if (target->plan->topics[index].log_node[s] != node)
			continue;
		need->available += size;
		if (topic->log_bytes >= HUGEPAGE_SIZE && target->topology->hugepages != WEIR_TOPOLOGY_HUGEPAGES_OFF)
			need->hugepages += topic->log_bytes;
		else
			need->available += topic->log_bytes;
	}
}

static int check_node(const struct weir_router_target *target, uint32_t node, struct weir_trouble *trouble)
{
	bool is_required = target->topology->hugepages == WEIR_TOPOLOGY_HUGEPAGES_REQUIRE;
	struct weir_memory need = { 0 };
	struct weir_memory free;

	// Without figures the kernel's own refusals have to do.
	if (weir_memory_read(node, &free) != 0)
		return 0;
	for (uint32_t t = 0; t < target->topology->topic_count; t++) {
		const struct weir_topology_topic *topic = &target->topology->topics[t];
		uint64_t ordinary;
		char object[160];
		char action[96];

		if (weir_router_find(target->router, topic->name))
			continue;
		add_topic(target, t, node, &need);
		ordinary = need.available;
		if (!is_required && need.hugepages > free.hugepages)
			ordinary += need.hugepages - free.hugepages;
		if (ordinary <= free.available - free.available / 16 && (!is_required || need.hugepages <= free.hugepages))
			continue;
		snprintf(object, sizeof(object), "topic %s", topic->name);
		snprintf(action, sizeof(action), "make its %u logs of %llu KiB", topic->shards,
			 (unsigned long long)(topic->log_bytes >> 10));
		if (is_required && need.hugepages > free.hugepages)
			weir_trouble_set(
				trouble, object, action,
				"reserve more (/proc/sys/vm/nr_hugepages), make log smaller, or set `hugepages: prefer`",
				"`hugepages: require` is set, and node %u has %llu MiB of hugepages free where %llu MiB are "
				"needed",
				node, (unsigned long long)(free.hugepages >> 20), (unsigned long long)(need.hugepages >> 20));
		else
			weir_trouble_set(trouble, object, action, "make log smaller, use fewer shards, or add memory",
					 "new topics need %llu MiB of memory on node %u, and %llu MiB can be had there",
					 (unsigned long long)(ordinary >> 20), node,
					 (unsigned long long)(free.available >> 20));
		trouble->mark = topic->mark;
		return -ENOMEM;
	}
	return 0;
}

int weir_memory_check(const struct weir_router_target *target, struct weir_trouble *trouble)
{
	const struct weir_machine *machine = target->router->machine;
	int err = 0;

	for (uint32_t n = 0; !err && n < machine->node_count; n++)
		err = check_node(target, machine->nodes[n].node, trouble);
	return err;
}
