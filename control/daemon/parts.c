// Makes and frees the running router's topics, groups and snapshots. Everything a worker will touch is allocated here, on
// its node, so that running out of memory is a refusal and never an accident. Control thread.
#include "control/daemon/parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "dataplane/core/memory.h"
#include "dataplane/core/shard.h"

static int refuse_topic(struct weir_trouble *trouble, const struct weir_topology_topic *config, const char *action,
			const char *fix, const char *reason, int err)
{
	char object[160];

	snprintf(object, sizeof(object), "topic %s", config->name);
	weir_trouble_set(trouble, object, action, fix, "%s", reason);
	trouble->mark = config->mark;
	return err;
}

static void spec_fill(struct weir_topic_spec *spec, const struct weir_topology_topic *config,
		      const struct weir_topology *topology)
{
	memcpy(spec->name, config->name, sizeof(spec->name));
	spec->shards = config->shards;
	spec->policy = config->policy;
	spec->ack_min = config->ack;
	spec->event_max = (uint32_t)config->event_max;
	spec->log_bytes = config->log_bytes;
	spec->streams_max = topology->limits.streams_per_shard;
}

static enum weir_hugepages hugepages_of(const struct weir_topology *topology)
{
	switch (topology->hugepages) {
	case WEIR_TOPOLOGY_HUGEPAGES_REQUIRE:
		return WEIR_HUGEPAGES_REQUIRE;
	case WEIR_TOPOLOGY_HUGEPAGES_OFF:
		return WEIR_HUGEPAGES_OFF;
	default:
		return WEIR_HUGEPAGES_PREFER;
	}
}

static uint64_t random_id(void)
{
	uint64_t id = 0;

	// Never 0: that means "none". getrandom() of 8 bytes neither blocks nor fails once the machine has booted.
	while (id == 0 && getrandom(&id, sizeof(id), 0) != sizeof(id))
		;
	return id;
}

static int shard_refused(struct weir_trouble *trouble, const struct weir_topology_topic *config, uint32_t shard, int err)
{
	char action[96];
	char reason[160];
	const char *fix = "make log smaller, add memory, or free some";

	snprintf(action, sizeof(action), "make the log of shard %u (%llu KiB)", shard,
		 (unsigned long long)(config->log_bytes >> 10));
	snprintf(reason, sizeof(reason), "%s", strerror(-err));
	if (err == -ENOSPC) {
		snprintf(reason, sizeof(reason), "not enough free hugepages on its node, and `hugepages: require` is set");
		fix = "reserve more (/proc/sys/vm/nr_hugepages), make log smaller, or set `hugepages: prefer`";
	}
	if (err == -EMFILE || err == -ENFILE)
		fix = "raise the limit of open files (LimitNOFILE= of the service, ulimit -n), or use fewer shards";
	return refuse_topic(trouble, config, action, fix, reason, err);
}

static int rows_refused(struct weir_trouble *trouble, const struct weir_topology_topic *config)
{
	if (errno == EOVERFLOW)
		return refuse_topic(trouble, config, "count its shards", "use fewer shards, or a second instance",
				    "the router's limit of shards over all topics is reached", -ENOSPC);
	return refuse_topic(trouble, config, "count its shards", "make room there (df /run/weir), or use fewer shards",
			    "the file of counters in /run/weir cannot grow: its file system is full", -ENOSPC);
}

// The memories of a topic's shards, one for each node.
struct slabs {
	uint32_t count;
	uint32_t node[WEIR_MACHINE_NODES_MAX];
	struct weir_slab *of[WEIR_MACHINE_NODES_MAX];
};

// NULL where there is none: the shard asks for memory of its own, and tells why that cannot be had.
static struct weir_slab *slab_on(struct slabs *slabs, const struct weir_router_topic *topic, bool has_lanes, uint32_t node)
{
	uint64_t size = weir_shard_size(topic->spec.streams_max, has_lanes && weir_shard_is_readable(topic->spec.policy));
	uint32_t shards = 0;

	for (uint32_t i = 0; i < slabs->count; i++)
		if (slabs->node[i] == node)
			return slabs->of[i];
	if (slabs->count == WEIR_MACHINE_NODES_MAX)
		return NULL;
	for (uint32_t s = 0; s < topic->spec.shards; s++)
		shards += topic->log_node[s] == node;
	slabs->node[slabs->count] = node;
	slabs->of[slabs->count] = weir_slab_create(size, shards, (int)node);
	return slabs->of[slabs->count++];
}

static void slabs_put(struct slabs *slabs)
{
	for (uint32_t i = 0; i < slabs->count; i++)
		if (slabs->of[i])
			weir_slab_put(slabs->of[i]);
}

static int shards_create(struct weir_router_topic *topic, struct slabs *slabs, const struct weir_router_target *target,
			 const struct weir_topology_topic *config, struct weir_trouble *trouble)
{
	struct weir_counters *counters = weir_dataplane_counters(target->router->dataplane);
	struct weir_lane_table *lanes = weir_dataplane_lanes(target->router->dataplane);

	for (uint32_t s = 0; s < config->shards; s++) {
		struct weir_router_log *log = &topic->logs[s];
		struct weir_shard_config shard = {
			.topic = topic->spec.id.value,
			.shard = (uint16_t)s,
			.spec = &topic->spec,
			.incarnation = random_id(),
			.node = (int)topic->log_node[s],
			.hugepages = hugepages_of(target->topology),
			.slab = slab_on(slabs, topic, lanes, topic->log_node[s]),
		};
		int err;

		topic->rows[s] = weir_counters_shard_get(counters);
		if (!topic->rows[s])
			return rows_refused(trouble, config);
		shard.row = topic->rows[s];
		log->incarnation = shard.incarnation;
		log->head = lanes ? weir_lane_head_get(lanes, shard.incarnation) : NULL;
		shard.head = log->head;
		err = weir_shard_create(&topic->fresh[s], &shard);
		if (err)
			return shard_refused(trouble, config, s, err);
		log->memory = topic->fresh[s]->log.fd;
	}
	return 0;
}

int weir_router_topic_create(struct weir_router_topic **out, const struct weir_router_target *target, uint32_t index,
			     struct weir_trouble *trouble)
{
	const struct weir_topology_topic *config = &target->topology->topics[index];
	const struct weir_plan_topic *placed = &target->plan->topics[index];
	struct weir_router *router = target->router;
	struct weir_router_topic *topic;
	struct slabs slabs = { 0 };
	int err;

	if (router->topic_last + 1 >= WEIR_ROUTER_TOPIC_IDS)
		return refuse_topic(trouble, config, "number it", "restart weir",
				    "all topic ids of this router's life are used, and none is used twice", -ENOSPC);
	topic = calloc(1, sizeof(*topic));
	if (!topic)
		return refuse_topic(trouble, config, "add it", "free some memory", "out of memory", -ENOMEM);
	spec_fill(&topic->spec, config, target->topology);
	topic->spec.id.value = ++router->topic_last;
	topic->owner = calloc(config->shards, sizeof(*topic->owner));
	topic->log_node = calloc(config->shards, sizeof(*topic->log_node));
	topic->rows = calloc(config->shards, sizeof(*topic->rows));
	topic->fresh = calloc(config->shards, sizeof(*topic->fresh));
	topic->accepted = calloc(config->shards, sizeof(*topic->accepted));
	topic->logs = calloc(config->shards, sizeof(*topic->logs));
	if (!topic->owner || !topic->log_node || !topic->rows || !topic->fresh || !topic->accepted || !topic->logs) {
		err = refuse_topic(trouble, config, "add it", "free some memory", "out of memory", -ENOMEM);
		goto err_topic;
	}
	topic->spec.owner = topic->owner;
	memcpy(topic->owner, placed->owner, config->shards * sizeof(*topic->owner));
	memcpy(topic->log_node, placed->log_node, config->shards * sizeof(*topic->log_node));
	err = shards_create(topic, &slabs, target, config, trouble);
	slabs_put(&slabs);
	if (err)
		goto err_topic;
	*out = topic;
	return 0;

err_topic:
	weir_router_topic_destroy(router, topic);
	return err;
}

void weir_router_topic_destroy(struct weir_router *router, struct weir_router_topic *topic)
{
	struct weir_counters *counters = weir_dataplane_counters(router->dataplane);

	for (uint32_t g = 0; g < topic->group_count; g++)
		weir_router_group_destroy(router, topic->groups[g], topic);
	for (uint32_t s = 0; topic->rows && topic->fresh && s < topic->spec.shards; s++) {
		if (topic->fresh[s])
			weir_shard_destroy(topic->fresh[s]);
		if (topic->rows[s])
			weir_counters_shard_put(counters, topic->rows[s]);
		if (topic->logs && topic->logs[s].head)
			weir_lane_head_put(weir_dataplane_lanes(router->dataplane), topic->logs[s].head);
	}
	free(topic->logs);
	free(topic->accepted);
	free(topic->fresh);
	free(topic->rows);
	free(topic->log_node);
	free(topic->owner);
	free(topic);
}

static int refuse_group(struct weir_trouble *trouble, const struct weir_router_topic *topic,
			const struct weir_topology_group *config, const char *reason, int err)
{
	char object[160];

	snprintf(object, sizeof(object), "group %s of topic %s", config->name, topic->spec.name);
	weir_trouble_set(trouble, object, "add it", "use fewer groups or shards, or a second instance", "%s", reason);
	trouble->mark = config->mark;
	return err;
}

// Shards from `from` on whose logs are on the node of that one's.
static uint32_t neighbours(const struct weir_router_topic *topic, uint32_t from)
{
	uint32_t count = 0;

	for (uint32_t s = from; s < topic->spec.shards; s++)
		count += topic->log_node[s] == topic->log_node[from];
	return count;
}

static int deliveries_create(struct weir_router_group *group, const struct weir_router_topic *topic)
{
	for (uint32_t s = 0; s < topic->spec.shards; s++) {
		struct weir_delivery_stream *next;

		if (group->deliveries[s])
			continue;
		next = weir_memory_get(neighbours(topic, s) * sizeof(*next), (int)topic->log_node[s]);
		if (!next)
			return -ENOMEM;
		for (uint32_t i = s; i < topic->spec.shards; i++) {
			if (topic->log_node[i] == topic->log_node[s])
				group->deliveries[i] = next++;
		}
	}
	return 0;
}

// The first shard of a node has the first of its array.
static void deliveries_destroy(struct weir_router_group *group, const struct weir_router_topic *topic)
{
	for (uint32_t s = 0; s < topic->spec.shards; s++) {
		bool is_first = group->deliveries[s];

		for (uint32_t i = 0; is_first && i < s; i++)
			is_first = topic->log_node[i] != topic->log_node[s];
		if (is_first)
			weir_memory_put(group->deliveries[s], neighbours(topic, s) * sizeof(**group->deliveries));
	}
}

int weir_router_group_create(struct weir_router_group **out, struct weir_router *router,
			     const struct weir_router_topic *topic, const struct weir_topology_group *config,
			     struct weir_trouble *trouble)
{
	struct weir_counters *counters = weir_dataplane_counters(router->dataplane);
	struct weir_router_group *group;

	if (router->group_count >= WEIR_ROUTER_GROUPS_MAX)
		return refuse_group(trouble, topic, config, "the router's limit of groups over all topics is reached", -ENOSPC);
	group = calloc(1, sizeof(*group));
	if (!group)
		return refuse_group(trouble, topic, config, "out of memory", -ENOMEM);
	group->rows = calloc(topic->spec.shards, sizeof(*group->rows));
	group->deliveries = calloc(topic->spec.shards, sizeof(struct weir_delivery_stream *));
	group->starts = calloc(topic->spec.shards, sizeof(*group->starts));
	router->group_count++;
	if (!group->rows || !group->deliveries || !group->starts || deliveries_create(group, topic)) {
		weir_router_group_destroy(router, group, topic);
		return refuse_group(trouble, topic, config, "out of memory", -ENOMEM);
	}
	for (uint32_t s = 0; s < topic->spec.shards; s++) {
		group->rows[s] = weir_counters_group_get(counters);
		if (!group->rows[s]) {
			const char *reason = errno == EOVERFLOW ? "the router's limit of groups times shards is reached"
								: "the file of counters in /run/weir cannot grow: its file "
								  "system is full (df /run/weir)";

			weir_router_group_destroy(router, group, topic);
			return refuse_group(trouble, topic, config, reason, -ENOSPC);
		}
	}
	memcpy(group->spec.name, config->name, sizeof(group->spec.name));
	group->spec.id.value = ++router->group_last;
	group->spec.kind = config->kind == WEIR_TOPOLOGY_GROUP_FOLLOW ? WEIR_GROUP_FOLLOW : WEIR_GROUP_HOLD;
	group->spec.start = config->start == WEIR_TOPOLOGY_START_EARLIEST ? WEIR_START_EARLIEST : WEIR_START_LATEST;
	group->spec.quota_bytes = config->quota_bytes;
	group->spec.progress_timeout_ns = config->progress_timeout_ns;
	group->spec.coordinator = (uint16_t)(group->spec.id.value % router->topology->worker_count);
	*out = group;
	return 0;
}

void weir_router_group_destroy(struct weir_router *router, struct weir_router_group *group,
			       const struct weir_router_topic *topic)
{
	struct weir_counters *counters = weir_dataplane_counters(router->dataplane);

	for (uint32_t s = 0; group->rows && s < topic->spec.shards; s++) {
		if (group->rows[s])
			weir_counters_group_put(counters, group->rows[s]);
	}
	if (group->deliveries)
		deliveries_destroy(group, topic);
	router->group_count--;
	free(group->deliveries);
	free(group->rows);
	free(group->starts);
	free(group);
}

struct weir_router_group *weir_router_topic_group(const struct weir_router_topic *topic, const char *name)
{
	for (uint32_t g = 0; g < topic->group_count; g++) {
		if (strcmp(topic->groups[g]->spec.name, name) == 0)
			return topic->groups[g];
	}
	return NULL;
}

static int name_compare(const void *a, const void *b, void *context)
{
	const struct weir_topic_spec *specs = context;
	const uint32_t *one = a;
	const uint32_t *other = b;

	return memcmp(specs[*one].name, specs[*other].name, WEIR_NAME_SIZE);
}

// Everything in one block, in this order: header, topics, index by id, index by name, groups, owners.
struct weir_snapshot *weir_router_snapshot(struct weir_router_topic *const *topics, uint32_t count, uint32_t ids,
					   uint64_t revision)
{
	size_t groups = 0;
	size_t shards = 0;
	struct weir_snapshot *snapshot;
	struct weir_topic_spec *specs;
	struct weir_group_spec *group;
	uint32_t *by_name;
	uint32_t *by_id;
	uint16_t *owner;

	for (uint32_t t = 0; t < count; t++) {
		groups += topics[t]->group_count;
		shards += topics[t]->spec.shards;
	}
	snapshot = calloc(1, sizeof(*snapshot) + count * sizeof(*specs) + groups * sizeof(*group) +
				     (ids + count) * sizeof(*by_id) + shards * sizeof(*owner));
	if (!snapshot)
		return NULL;
	specs = (void *)(snapshot + 1);
	group = (void *)(specs + count);
	by_id = (void *)(group + groups);
	by_name = by_id + ids;
	owner = (void *)(by_name + count);
	memset(by_id, 0xff, ids * sizeof(*by_id));
	for (uint32_t t = 0; t < count; t++) {
		const struct weir_router_topic *topic = topics[t];

		specs[t] = topic->spec;
		specs[t].owner = owner;
		specs[t].groups = group;
		specs[t].group_count = topic->group_count;
		memcpy(owner, topic->owner, topic->spec.shards * sizeof(*owner));
		owner += topic->spec.shards;
		for (uint32_t g = 0; g < topic->group_count; g++)
			*group++ = topic->groups[g]->spec;
		by_id[topic->spec.id.value] = t;
		by_name[t] = t;
	}
	qsort_r(by_name, count, sizeof(*by_name), name_compare, specs);
	snapshot->revision = revision;
	snapshot->topics = specs;
	snapshot->topic_count = count;
	snapshot->by_name = by_name;
	snapshot->by_id = by_id;
	snapshot->by_id_count = ids;
	return snapshot;
}
