// Free memory by node from the kernel's meminfo files and by control group, free descriptors, and what new topics would take
// of them. A sixteenth of what is free stays free. Control thread, before a start or an apply makes anything.
#include "control/daemon/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/daemon/cgroup.h"
#include "control/daemon/files.h"
#include "dataplane/core/memory.h"
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

#define ALL_NODES UINT32_MAX

// What the topic's new groups take of its shards' node, each in an array of its own.
static void add_groups(const struct weir_router_target *target, uint32_t index, uint32_t node, struct weir_memory *need)
{
	const struct weir_topology_topic *topic = &target->topology->topics[index];
	const struct weir_router_topic *running = weir_router_find(target->router, topic->name);
	uint64_t size = 0;

	for (uint32_t s = 0; s < topic->shards; s++) {
		if (node == ALL_NODES || target->plan->topics[index].log_node[s] == node)
			size += sizeof(struct weir_delivery_stream);
	}
	for (uint32_t g = 0; size && g < topic->group_count; g++) {
		if (!running || !weir_router_topic_group(running, topic->groups[g].name))
			need->available += weir_memory_size(size);
	}
}

// What a new topic takes on a node: ordinary pages and, where its logs may be in them, hugepages.
static void add_topic(const struct weir_router_target *target, uint32_t index, uint32_t node, struct weir_memory *need)
{
	const struct weir_topology_topic *topic = &target->topology->topics[index];
	uint64_t size = weir_shard_size(target->topology->limits.streams_per_shard, weir_shard_is_readable(topic->policy));

	need->available += HUGEPAGE_SIZE; // what shards are made of may end within one
	for (uint32_t s = 0; s < topic->shards; s++) {
		if (node != ALL_NODES && target->plan->topics[index].log_node[s] != node)
			continue;
		need->available += size;
		if (topic->log_bytes >= HUGEPAGE_SIZE && target->topology->hugepages != WEIR_TOPOLOGY_HUGEPAGES_OFF)
			need->hugepages += topic->log_bytes;
		else
			need->available += topic->log_bytes;
	}
}

// A sixteenth of what is left stays.
static bool fits(uint64_t need, uint64_t left)
{
	return need <= left - left / 16;
}

static unsigned long long mib(uint64_t bytes)
{
	return bytes >> 20;
}

// What stands between new topics and their memory, as it is asked of one place: a node, or a control group.
struct offer {
	const struct weir_router_target *target;
	uint32_t node; // ALL_NODES: of a control group
	uint64_t ordinary;
	uint64_t hugepages;
	char place[256]; // "node 1", "control group /sys/fs/cgroup/x (limit 512 MiB)"
	char hugepages_place[256];
};

static int refuse(const struct offer *offer, const struct weir_topology_topic *topic, uint64_t ordinary, uint64_t hugepages,
		  struct weir_trouble *trouble)
{
	bool is_new = !weir_router_find(offer->target->router, topic->name);
	char object[160];
	char action[96];

	snprintf(object, sizeof(object), "topic %s", topic->name);
	if (is_new)
		snprintf(action, sizeof(action), "make its %u logs of %llu KiB", topic->shards,
			 (unsigned long long)(topic->log_bytes >> 10));
	else
		snprintf(action, sizeof(action), "add its new groups on %u shards", topic->shards);
	if (hugepages > offer->hugepages)
		weir_trouble_set(trouble, object, action,
				 "reserve more (/proc/sys/vm/nr_hugepages), make log smaller, or set `hugepages: prefer`",
				 "`hugepages: require` is set, and %s has %llu MiB of hugepages free where %llu MiB are needed",
				 offer->hugepages_place, mib(offer->hugepages), mib(hugepages));
	else if (!is_new)
		weir_trouble_set(trouble, object, action, "use fewer groups, add memory, or free some",
				 "new topics and groups need %llu MiB of memory, and %s has %llu MiB left", mib(ordinary),
				 offer->place, mib(offer->ordinary));
	else
		weir_trouble_set(trouble, object, action,
				 offer->node == ALL_NODES ? "make log smaller, use fewer shards, or raise the group's limit"
							  : "make log smaller, use fewer shards, or add memory",
				 "new topics and groups need %llu MiB of memory, and %s has %llu MiB left", mib(ordinary),
				 offer->place, mib(offer->ordinary));
	trouble->mark = topic->mark;
	return -ENOMEM;
}

// Sums the new topics and groups in the file's order, up to the first that does not fit.
static int check_offer(const struct offer *offer, struct weir_trouble *trouble)
{
	const struct weir_router_target *target = offer->target;
	bool is_required = target->topology->hugepages == WEIR_TOPOLOGY_HUGEPAGES_REQUIRE;
	struct weir_memory need = { 0 };

	for (uint32_t t = 0; t < target->topology->topic_count; t++) {
		const struct weir_topology_topic *topic = &target->topology->topics[t];
		uint64_t ordinary;
		uint64_t before;

		before = need.available;
		if (!weir_router_find(target->router, topic->name))
			add_topic(target, t, offer->node, &need);
		add_groups(target, t, offer->node, &need);
		if (need.available == before)
			continue;
		ordinary = need.available;
		if (!is_required && need.hugepages > offer->hugepages)
			ordinary += need.hugepages - offer->hugepages;
		if (!fits(ordinary, offer->ordinary) || (is_required && need.hugepages > offer->hugepages))
			return refuse(offer, topic, ordinary, is_required ? need.hugepages : 0, trouble);
	}
	return 0;
}

static void name_group(char *place, size_t size, const struct weir_cgroup_limit *limit)
{
	snprintf(place, size, "control group %s (limit %llu MiB)", limit->group, mib(limit->limit));
}

static int check_files(const struct weir_router_target *target, struct weir_trouble *trouble)
{
	uint64_t limit = weir_files_limit();
	uint64_t used = weir_files_used();
	uint64_t need = 0;
	char object[160];

	for (uint32_t t = 0; t < target->topology->topic_count; t++) {
		const struct weir_topology_topic *topic = &target->topology->topics[t];

		if (weir_router_find(target->router, topic->name))
			continue;
		need += topic->shards;
		if (used + need + WEIR_FILES_SPARE <= limit)
			continue;
		snprintf(object, sizeof(object), "topic %s", topic->name);
		weir_trouble_set(trouble, object, "make its logs",
				 "raise the limit of open files (LimitNOFILE= of the service, ulimit -n), or use fewer shards",
				 "new topics need %llu descriptors, one a shard, %llu are in use and %u are kept for clients, "
				 "where %llu are permitted",
				 (unsigned long long)need, (unsigned long long)used, WEIR_FILES_SPARE,
				 (unsigned long long)limit);
		trouble->mark = topic->mark;
		return -EMFILE;
	}
	if (used + WEIR_FILES_SPARE <= limit)
		return 0;
	weir_trouble_set(trouble, "open files", "serve clients",
			 "raise the limit of open files (LimitNOFILE= of the service, ulimit -n)",
			 "%llu descriptors are in use and %u are kept for clients, where %llu are permitted",
			 (unsigned long long)used, WEIR_FILES_SPARE, (unsigned long long)limit);
	return -EMFILE;
}

int weir_memory_check(const struct weir_router_target *target, struct weir_trouble *trouble)
{
	const struct weir_machine *machine = target->router->machine;
	struct weir_cgroup_room room;
	struct offer all = { .target = target, .node = ALL_NODES };
	int err = check_files(target, trouble);

	for (uint32_t n = 0; !err && n < machine->node_count; n++) {
		struct offer offer = { .target = target, .node = machine->nodes[n].node };
		struct weir_memory free;

		// Without figures the kernel's own refusals have to do.
		if (weir_memory_read(offer.node, &free) != 0)
			continue;
		offer.ordinary = free.available;
		offer.hugepages = free.hugepages;
		all.hugepages += free.hugepages;
		snprintf(offer.place, sizeof(offer.place), "node %u", offer.node);
		memcpy(offer.hugepages_place, offer.place, sizeof(offer.place));
		err = check_offer(&offer, trouble);
	}
	if (err)
		return err;
	weir_cgroup_read("", &room);
	all.ordinary = room.memory.left;
	if (room.hugepages.left < all.hugepages)
		all.hugepages = room.hugepages.left;
	name_group(all.place, sizeof(all.place), &room.memory);
	name_group(all.hugepages_place, sizeof(all.hugepages_place), &room.hugepages);
	return check_offer(&all, trouble);
}

int weir_memory_check_start(uint64_t need, const struct weir_machine *machine, struct weir_trouble *trouble)
{
	struct weir_cgroup_room room;
	struct weir_memory memory;
	uint64_t free = 0;
	char place[256] = "this machine";

	for (uint32_t n = 0; n < machine->node_count; n++) {
		if (weir_memory_read(machine->nodes[n].node, &memory) != 0)
			return 0;
		free += memory.available;
	}
	weir_cgroup_read("", &room);
	if (room.memory.left < free) {
		free = room.memory.left;
		name_group(place, sizeof(place), &room.memory);
	}
	if (fits(need, free))
		return 0;
	weir_trouble_set(trouble, "workers", "make what they work with",
			 "lower limits (sessions_per_worker, park_frames, reassembly_slots, event_max, members_per_group), "
			 "use fewer workers, or add memory",
			 "they need %llu MiB of memory, and %s has %llu MiB left", mib(need), place, mib(free));
	return -ENOMEM;
}
