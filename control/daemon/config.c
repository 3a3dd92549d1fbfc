// The topology file's keys as tables, one per mapping, and the checks between keys that a table cannot express. Defaults
// stand in the init functions. From text to struct weir_topology; control thread, at start and at `apply`.
#include "control/daemon/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/daemon/binder.h"

#define SECOND_NS 1000000000ull
#define MILLISECOND_NS 1000000ull
#define STREAMS_MOST 1024u // of a shard, where nothing is said
#define STREAMS_LEAST 64u
#define STREAMS_ALL (1u << 20) // of all shards together, but for the least of each
#define EVENT_MAX_DEFAULT (64ull << 10)
#define LOG_DEFAULT (1ull << 20)
#define LOG_LIMIT (64ull << 30)

static const char NAME[] = "a name of 1 to 63 of the characters A-Z a-z 0-9 . _ -";

static int bind_core(struct weir_binder *binder, const struct weir_field *field, yaml_node_t *node, void *at)
{
	uint32_t core;
	int err;

	if (node->type == YAML_SCALAR_NODE && strcmp((const char *)node->data.scalar.value, "auto") == 0) {
		*(int32_t *)at = -1;
		return 0;
	}
	err = weir_bind_number(binder, field, node, &core);
	if (!err)
		*(int32_t *)at = (int32_t)core;
	return err;
}

static int bind_file_mode(struct weir_binder *binder, const struct weir_field *field, yaml_node_t *node, void *at)
{
	uint64_t mode;

	if (node->type != YAML_SCALAR_NODE || !weir_number_parse((const char *)node->data.scalar.value, 8, &mode) ||
	    mode > 0777)
		return weir_binder_refuse(binder, binder->path, node, field->expected);
	*(uint32_t *)at = (uint32_t)mode;
	return 0;
}

static void init_worker(void *at)
{
	((struct weir_topology_worker *)at)->core = -1;
}

static void init_port(void *at)
{
	((struct weir_topology_port *)at)->udp_port = WEIR_PORT_BASE;
}

static void init_group(void *at)
{
	((struct weir_topology_group *)at)->progress_timeout_ns = 30 * SECOND_NS;
}

static void init_topic(void *at)
{
	struct weir_topology_topic *topic = at;

	topic->shards = 1;
	topic->policy = WEIR_POLICY_BLOCK;
	topic->ack = WEIR_ACK_ROUTED;
	topic->log_bytes = LOG_DEFAULT;
}

static void init_topology(struct weir_topology *topology)
{
	snprintf(topology->instance, sizeof(topology->instance), "weir");
	topology->control_mode = 0660;
	topology->lanes_per_worker = 256;
	topology->lanes_mode = 0660;
	topology->idle_sleep_max_ns = MILLISECOND_NS;
	topology->limits = (struct weir_topology_limits){
		.sessions_per_worker = 1024,
		.park_frames = 4096,
		.reassembly_slots = 64,
		.members_per_group = 256,
		.event_max = EVENT_MAX_DEFAULT,
		.window_frames = 1024,
		.frame_size = WEIR_FRAME_DEFAULT,
		.ping_ns = SECOND_NS,
		.lease_ns = 5 * SECOND_NS,
		.dedup_window_ns = 60 * SECOND_NS,
	};
}

static const struct weir_word POLL[] = { { "adaptive", WEIR_POLL_ADAPTIVE }, { "always", WEIR_POLL_ALWAYS }, { 0 } };
static const struct weir_word HUGEPAGES[] = { { "prefer", WEIR_TOPOLOGY_HUGEPAGES_PREFER },
					      { "require", WEIR_TOPOLOGY_HUGEPAGES_REQUIRE },
					      { "off", WEIR_TOPOLOGY_HUGEPAGES_OFF },
					      { 0 } };
static const struct weir_word PORT_KIND[] = { { "kernel", WEIR_TOPOLOGY_PORT_KERNEL },
					      { "afxdp", WEIR_TOPOLOGY_PORT_AFXDP },
					      { "dpdk", WEIR_TOPOLOGY_PORT_DPDK },
					      { "vhost", WEIR_TOPOLOGY_PORT_VHOST },
					      { 0 } };
static const struct weir_word XDP[] = { { "native", WEIR_XDP_NATIVE }, { "generic", WEIR_XDP_GENERIC }, { 0 } };
static const struct weir_word INTEGRITY[] = { { "full", WEIR_INTEGRITY_FULL }, { "link", WEIR_INTEGRITY_LINK }, { 0 } };
static const struct weir_word POLICY[] = { { "block", WEIR_POLICY_BLOCK },
					   { "drop-new", WEIR_POLICY_DROP_NEW },
					   { "drop-old", WEIR_POLICY_DROP_OLD },
					   { 0 } };
static const struct weir_word ACK[] = { { "none", WEIR_ACK_NONE }, { "routed", WEIR_ACK_ROUTED }, { 0 } };
static const struct weir_word GROUP_KIND[] = { { "hold", WEIR_TOPOLOGY_GROUP_HOLD },
					       { "follow", WEIR_TOPOLOGY_GROUP_FOLLOW },
					       { 0 } };
static const struct weir_word GROUP_MODE[] = { { "keyed", WEIR_TOPOLOGY_GROUP_KEYED }, { 0 } };
static const struct weir_word START[] = { { "latest", WEIR_TOPOLOGY_START_LATEST },
					  { "earliest", WEIR_TOPOLOGY_START_EARLIEST },
					  { 0 } };

// One row: key, bind, member; then what is particular as designated fields.
#define AT(type, member) .offset = offsetof(struct type, member), .size = sizeof(((struct type *)0)->member)

#define FIELD_NAME(type)                                                                                                       \
	{                                                                                                                      \
		.key = "name", .bind = weir_bind_name, AT(type, name), .expected = NAME, .is_required = true                   \
	}

static const struct weir_field CONTROL[] = {
	{ .key = "mode",
	  .bind = bind_file_mode,
	  AT(weir_topology, control_mode),
	  .expected = "an octal file mode such as \"0660\"" },
	{ 0 },
};

static const struct weir_field LANES[] = {
	{ .key = "per_worker",
	  .bind = weir_bind_number,
	  AT(weir_topology, lanes_per_worker),
	  .max = 4096,
	  .expected = "a number of local clients from 0 to 4096" },
	{ .key = "per_user",
	  .bind = weir_bind_number,
	  AT(weir_topology, lanes_per_user),
	  .min = 1,
	  .max = 4096 * WEIR_WORKERS_MAX,
	  .expected = "a number of local clients from 1 on" },
	{ .key = "memory_per_user",
	  .bind = weir_bind_size,
	  AT(weir_topology, lanes_memory_per_user),
	  .min = 16u << 20,
	  .max = 1ull << 46,
	  .expected = "a size of 16MiB or more" },
	{ .key = "group",
	  .bind = weir_bind_text,
	  AT(weir_topology, lanes_group),
	  .min = 1,
	  .expected = "the name of a group of users (1 to 31 characters)" },
	{ .key = "pin_timeout",
	  .bind = weir_bind_duration,
	  AT(weir_topology, pin_timeout_ns),
	  .max = 24 * 3600 * SECOND_NS,
	  .expected = "a duration up to 24h, 0s for never" },
	{ .key = "socket_mode",
	  .bind = bind_file_mode,
	  AT(weir_topology, lanes_mode),
	  .expected = "an octal file mode such as \"0666\"" },
	{ 0 },
};

static const struct weir_field WORKER[] = {
	{ .key = "core",
	  .bind = bind_core,
	  AT(weir_topology_worker, core),
	  .max = 65535,
	  .expected = "auto or the number of a core" },
	{ 0 },
};

static const struct weir_field PORT[] = {
	FIELD_NAME(weir_topology_port),
	{ .key = "kind",
	  .bind = weir_bind_word,
	  AT(weir_topology_port, kind),
	  .words = PORT_KIND,
	  .expected = "kernel, afxdp, dpdk or vhost",
	  .is_required = true },
	{ .key = "interface",
	  .bind = weir_bind_text,
	  AT(weir_topology_port, interface),
	  .min = 1,
	  .expected = "the name of a network interface (1 to 15 characters)" },
	{ .key = "device",
	  .bind = weir_bind_text,
	  AT(weir_topology_port, device),
	  .min = 1,
	  .expected = "a DPDK device (devargs, 1 to 255 characters)" },
	{ .key = "socket",
	  .bind = weir_bind_text,
	  AT(weir_topology_port, socket),
	  .min = 1,
	  .expected = "the path of a unix socket (1 to 107 characters)" },
	{ .key = "address",
	  .bind = weir_bind_text,
	  AT(weir_topology_port, address),
	  .min = 1,
	  .expected = "an IPv4 or IPv6 address" },
	{ .key = "udp_port",
	  .bind = weir_bind_number,
	  AT(weir_topology_port, udp_port),
	  .min = 1,
	  .max = 65535,
	  .expected = "a UDP port from 1 to 65535" },
	{ .key = "workers",
	  .bind = weir_bind_numbers,
	  AT(weir_topology_port, workers),
	  .max = WEIR_WORKERS_MAX - 1,
	  .expected = "a list of worker numbers, one per queue",
	  .count_offset = offsetof(struct weir_topology_port, worker_count) },
	{ .key = "integrity",
	  .bind = weir_bind_word,
	  AT(weir_topology_port, integrity),
	  .words = INTEGRITY,
	  .expected = "full or link" },
	{ .key = "xdp",
	  .bind = weir_bind_word,
	  AT(weir_topology_port, xdp),
	  .words = XDP,
	  .expected = "native or generic" },
	{ 0 },
};

static const struct weir_field LIMITS[] = {
	{ .key = "sessions_per_worker",
	  .bind = weir_bind_number,
	  AT(weir_topology_limits, sessions_per_worker),
	  .min = 16,
	  .max = 1u << 20,
	  .expected = "a power of two from 16 to 1048576" },
	{ .key = "streams_per_shard",
	  .bind = weir_bind_number,
	  AT(weir_topology_limits, streams_per_shard),
	  .min = 1,
	  .max = 1u << 20,
	  .expected = "a number from 1 to 1048576" },
	{ .key = "park_frames",
	  .bind = weir_bind_number,
	  AT(weir_topology_limits, park_frames),
	  .min = 16,
	  .max = 1u << 16,
	  .expected = "a number from 16 to 65536" },
	{ .key = "reassembly_slots",
	  .bind = weir_bind_number,
	  AT(weir_topology_limits, reassembly_slots),
	  .min = 1,
	  .max = 4096,
	  .expected = "a number from 1 to 4096" },
	{ .key = "members_per_group",
	  .bind = weir_bind_number,
	  AT(weir_topology_limits, members_per_group),
	  .min = 1,
	  .max = 65534,
	  .expected = "a number from 1 to 65534" },
	{ .key = "event_max",
	  .bind = weir_bind_size,
	  AT(weir_topology_limits, event_max),
	  .min = 64,
	  .max = WEIR_EVENT_LIMIT,
	  .expected = "a size from 64 bytes to 16MiB" },
	{ .key = "window_frames",
	  .bind = weir_bind_number,
	  AT(weir_topology_limits, window_frames),
	  .min = 1,
	  .max = 1u << 16,
	  .expected = "a number from 1 to 65536" },
	{ .key = "frame_size",
	  .bind = weir_bind_number,
	  AT(weir_topology_limits, frame_size),
	  .min = WEIR_FRAME_MIN,
	  .max = WEIR_FRAME_MAX,
	  .expected = "a number of bytes from 512 to 9216" },
	{ .key = "ping",
	  .bind = weir_bind_duration,
	  AT(weir_topology_limits, ping_ns),
	  .min = 10 * MILLISECOND_NS,
	  .max = 3600 * SECOND_NS,
	  .expected = "a duration from 10ms to 1h" },
	{ .key = "lease",
	  .bind = weir_bind_duration,
	  AT(weir_topology_limits, lease_ns),
	  .min = 30 * MILLISECOND_NS,
	  .max = 3600 * SECOND_NS,
	  .expected = "a duration from 30ms to 1h" },
	{ .key = "dedup_window",
	  .bind = weir_bind_duration,
	  AT(weir_topology_limits, dedup_window_ns),
	  .min = MILLISECOND_NS,
	  .max = 24 * 3600 * SECOND_NS,
	  .expected = "a duration from 1ms to 24h" },
	{ 0 },
};

static const struct weir_field GROUP[] = {
	FIELD_NAME(weir_topology_group),
	{ .key = "kind",
	  .bind = weir_bind_word,
	  AT(weir_topology_group, kind),
	  .words = GROUP_KIND,
	  .expected = "hold or follow" },
	{ .key = "mode", .bind = weir_bind_word, AT(weir_topology_group, mode), .words = GROUP_MODE, .expected = "keyed" },
	{ .key = "start",
	  .bind = weir_bind_word,
	  AT(weir_topology_group, start),
	  .words = START,
	  .expected = "latest or earliest" },
	{ .key = "quota",
	  .bind = weir_bind_size,
	  AT(weir_topology_group, quota_bytes),
	  .min = 4096,
	  .max = LOG_LIMIT,
	  .expected = "a size from 4KiB to 64GiB" },
	{ .key = "progress_timeout",
	  .bind = weir_bind_duration,
	  AT(weir_topology_group, progress_timeout_ns),
	  .min = 0,
	  .max = 24 * 3600 * SECOND_NS,
	  .expected = "a duration up to 24h, 0s for never" },
	{ 0 },
};

static const struct weir_field TOPIC[] = {
	FIELD_NAME(weir_topology_topic),
	{ .key = "shards",
	  .bind = weir_bind_number,
	  AT(weir_topology_topic, shards),
	  .min = 1,
	  .max = WEIR_SHARDS_MAX,
	  .expected = "a number from 1 to 4096" },
	{ .key = "policy",
	  .bind = weir_bind_word,
	  AT(weir_topology_topic, policy),
	  .words = POLICY,
	  .expected = "block, drop-new or drop-old" },
	{ .key = "ack", .bind = weir_bind_word, AT(weir_topology_topic, ack), .words = ACK, .expected = "none or routed" },
	{ .key = "event_max",
	  .bind = weir_bind_size,
	  AT(weir_topology_topic, event_max),
	  .min = 64,
	  .max = WEIR_EVENT_LIMIT,
	  .expected = "a size from 64 bytes to 16MiB" },
	{ .key = "log",
	  .bind = weir_bind_size,
	  AT(weir_topology_topic, log_bytes),
	  .min = WEIR_LOG_SIZE_MIN,
	  .max = LOG_LIMIT,
	  .expected = "a power of two from 64KiB to 64GiB" },
	{ .key = "homes", .bind = weir_bind_later },
	{ .key = "groups",
	  .bind = weir_bind_sequence,
	  .offset = offsetof(struct weir_topology_topic, groups),
	  .size = sizeof(struct weir_topology_group),
	  .max = WEIR_TOPOLOGY_GROUPS_MAX,
	  .expected = "a list of at most 64 groups",
	  .fields = GROUP,
	  .count_offset = offsetof(struct weir_topology_topic, group_count),
	  .init = init_group,
	  .mark_offset = offsetof(struct weir_topology_group, mark) },
	{ 0 },
};

static const struct weir_field ROOT[] = {
	{ .key = "instance", .bind = weir_bind_name, AT(weir_topology, instance), .expected = NAME },
	{ .key = "control", .bind = weir_bind_mapping, .fields = CONTROL },
	{ .key = "lanes", .bind = weir_bind_mapping, .fields = LANES },
	{ .key = "poll", .bind = weir_bind_word, AT(weir_topology, poll), .words = POLL, .expected = "adaptive or always" },
	{ .key = "idle_sleep_max",
	  .bind = weir_bind_duration,
	  AT(weir_topology, idle_sleep_max_ns),
	  .min = 1000,
	  .max = SECOND_NS,
	  .expected = "a duration from 1us to 1s" },
	{ .key = "hugepages",
	  .bind = weir_bind_word,
	  AT(weir_topology, hugepages),
	  .words = HUGEPAGES,
	  .expected = "require, prefer or off" },
	{ .key = "workers",
	  .bind = weir_bind_sequence,
	  .offset = offsetof(struct weir_topology, workers),
	  .size = sizeof(struct weir_topology_worker),
	  .min = 1,
	  .max = WEIR_WORKERS_MAX,
	  .expected = "a list of 1 to 64 workers",
	  .fields = WORKER,
	  .count_offset = offsetof(struct weir_topology, worker_count),
	  .init = init_worker,
	  .mark_offset = offsetof(struct weir_topology_worker, mark) },
	{ .key = "ports",
	  .bind = weir_bind_sequence,
	  .offset = offsetof(struct weir_topology, ports),
	  .size = sizeof(struct weir_topology_port),
	  .min = 1,
	  .max = WEIR_TOPOLOGY_PORTS_MAX,
	  .expected = "a list of 1 to 32 ports",
	  .is_required = true,
	  .fields = PORT,
	  .count_offset = offsetof(struct weir_topology, port_count),
	  .init = init_port,
	  .mark_offset = offsetof(struct weir_topology_port, mark) },
	{ .key = "limits", .bind = weir_bind_mapping, .offset = offsetof(struct weir_topology, limits), .fields = LIMITS },
	{ .key = "topics",
	  .bind = weir_bind_sequence,
	  .offset = offsetof(struct weir_topology, topics),
	  .size = sizeof(struct weir_topology_topic),
	  .max = WEIR_TOPOLOGY_TOPICS_MAX,
	  .expected = "a list of at most 4096 topics",
	  .fields = TOPIC,
	  .count_offset = offsetof(struct weir_topology, topic_count),
	  .init = init_topic,
	  .mark_offset = offsetof(struct weir_topology_topic, mark) },
	{ 0 },
};

// Where a check between fields complains: the key's value when it is written, else the mapping it belongs to.
static yaml_node_t *place(struct weir_binder *binder, yaml_node_t *mapping, const char *key)
{
	yaml_node_t *node = weir_binder_child(binder, mapping, key);

	return node ? node : mapping;
}

static yaml_node_t *root_of(struct weir_binder *binder)
{
	return yaml_document_get_root_node(&binder->document);
}

static int check_limits(struct weir_binder *binder, const struct weir_topology_limits *limits)
{
	yaml_node_t *node = weir_binder_child(binder, root_of(binder), "limits");

	if (limits->sessions_per_worker & (limits->sessions_per_worker - 1))
		return weir_binder_refuse(binder, "limits.sessions_per_worker", place(binder, node, "sessions_per_worker"),
					  "a power of two from 16 to 1048576");
	if (limits->lease_ns < 3 * limits->ping_ns)
		return weir_binder_fail(binder, "limits.lease", place(binder, node, "lease"), "raise lease or lower ping",
					"expected at least three times ping, so that one lost ping ends no session");
	return 0;
}

static int check_port_keys(struct weir_binder *binder, const char *path, const struct weir_topology_port *port,
			   yaml_node_t *node)
{
	static const struct {
		const char *key;
		bool needed[WEIR_TOPOLOGY_PORT_KINDS];
		bool allowed[WEIR_TOPOLOGY_PORT_KINDS];
	} RULES[] = {
		{ "interface", { false, true, false, false }, { false, true, false, false } },
		{ "device", { false, false, true, false }, { false, false, true, false } },
		{ "socket", { false, false, false, true }, { false, false, false, true } },
		{ "address", { false, false, true, true }, { true, true, true, true } },
	};
	const char *kind = weir_topology_port_kind_name(port->kind);

	for (size_t i = 0; i < sizeof(RULES) / sizeof(*RULES); i++) {
		yaml_node_t *value = weir_binder_child(binder, node, RULES[i].key);

		if (!value && RULES[i].needed[port->kind])
			return weir_binder_fail(binder, path, node, "add the key",
						"the key %s is missing, a port of kind %s needs it", RULES[i].key, kind);
		if (value && !RULES[i].allowed[port->kind])
			return weir_binder_fail(binder, path, value, "remove the key, or correct the port's kind",
						"a port of kind %s has no %s", kind, RULES[i].key);
	}
	return 0;
}

static int check_port_workers(struct weir_binder *binder, const char *path, struct weir_topology *topology, uint32_t index)
{
	struct weir_topology_port *port = &topology->ports[index];
	yaml_node_t *node = weir_binder_element(binder, weir_binder_child(binder, root_of(binder), "ports"), index);
	yaml_node_t *list = weir_binder_child(binder, node, "workers");

	if (!list) {
		// Every worker has its own kernel socket; other ports have one queue unless the file says more.
		port->worker_count = port->kind == WEIR_TOPOLOGY_PORT_KERNEL ? topology->worker_count : 1;
		for (uint32_t w = 0; w < port->worker_count; w++)
			port->workers[w] = w;
	}
	for (uint32_t q = 0; q < port->worker_count; q++) {
		yaml_node_t *item = list ? weir_binder_element(binder, list, q) : node;

		if (port->workers[q] >= topology->worker_count)
			return weir_binder_fail(binder, path, item, "name a worker of the list `workers`, counted from 0",
						"there are %u workers", topology->worker_count);
		// A worker has one kernel socket, but may poll several queues of an interface.
		for (uint32_t other = 0; port->kind == WEIR_TOPOLOGY_PORT_KERNEL && other < q; other++) {
			if (port->workers[other] == port->workers[q])
				return weir_binder_fail(binder, path, item, "name each worker once",
							"the worker has a socket of this port already");
		}
		if (port->udp_port + port->workers[q] > 65535)
			return weir_binder_fail(binder, path, place(binder, node, "udp_port"), "take a lower udp_port",
						"worker %u would listen beyond UDP port 65535", port->workers[q]);
	}
	return 0;
}

static bool ports_collide(const struct weir_topology_port *a, const struct weir_topology_port *b)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind == WEIR_TOPOLOGY_PORT_AFXDP)
		return strcmp(a->interface, b->interface) == 0;
	if (a->kind == WEIR_TOPOLOGY_PORT_DPDK)
		return strcmp(a->device, b->device) == 0;
	if (a->kind == WEIR_TOPOLOGY_PORT_VHOST)
		return strcmp(a->socket, b->socket) == 0;
	if (strcmp(a->address, b->address) != 0)
		return false;
	for (uint32_t i = 0; i < a->worker_count; i++) {
		for (uint32_t j = 0; j < b->worker_count; j++) {
			if (a->udp_port + a->workers[i] == b->udp_port + b->workers[j])
				return true;
		}
	}
	return false;
}

static int check_port(struct weir_binder *binder, struct weir_topology *topology, uint32_t index)
{
	struct weir_topology_port *port = &topology->ports[index];
	yaml_node_t *node = weir_binder_element(binder, weir_binder_child(binder, root_of(binder), "ports"), index);
	uint8_t address[16];
	char path[64];
	int err;

	snprintf(path, sizeof(path), "ports[%u]", index);
	err = check_port_keys(binder, path, port, node);
	if (err)
		return err;
	if (!port->address[0] && port->kind == WEIR_TOPOLOGY_PORT_KERNEL)
		snprintf(port->address, sizeof(port->address), "0.0.0.0");
	if (port->address[0] && inet_pton(AF_INET, port->address, address) != 1 &&
	    inet_pton(AF_INET6, port->address, address) != 1)
		return weir_binder_refuse(binder, path, place(binder, node, "address"), "an IPv4 or IPv6 address");
	// It becomes part of devargs, where a comma ends it and quotes and brackets group.
	if (port->socket[0] && (port->socket[0] != '/' || strpbrk(port->socket, ",\"'[]")))
		return weir_binder_refuse(binder, path, place(binder, node, "socket"),
					  "an absolute path without a comma, quote or bracket");
	err = check_port_workers(binder, path, topology, index);
	if (err)
		return err;
	for (uint32_t other = 0; other < index; other++) {
		if (strcmp(topology->ports[other].name, port->name) == 0)
			return weir_binder_fail(binder, path, place(binder, node, "name"), "give each port its own name",
						"ports[%u] has this name already", other);
		if (ports_collide(&topology->ports[other], port))
			return weir_binder_fail(binder, path, node,
						"give each port its own interface, device, socket, or address and UDP ports",
						"port %s listens there already", topology->ports[other].name);
	}
	return 0;
}

static int read_home(struct weir_binder *binder, const char *path, const struct weir_topology *topology,
		     struct weir_topology_topic *topic, const yaml_node_pair_t *pair)
{
	yaml_node_t *key = yaml_document_get_node(&binder->document, pair->key);
	yaml_node_t *value = yaml_document_get_node(&binder->document, pair->value);
	uint64_t shard;
	uint64_t worker;

	if (key->type != YAML_SCALAR_NODE || !weir_number_parse((const char *)key->data.scalar.value, 10, &shard) ||
	    shard >= topic->shards)
		return weir_binder_fail(binder, path, key, "name a shard of the topic, counted from 0",
					"the topic has %u shards", topic->shards);
	if (value->type != YAML_SCALAR_NODE || !weir_number_parse((const char *)value->data.scalar.value, 10, &worker) ||
	    worker >= topology->worker_count)
		return weir_binder_fail(binder, path, value, "name a worker of the list `workers`, counted from 0",
					"there are %u workers", topology->worker_count);
	if (topic->homes[shard] >= 0)
		return weir_binder_fail(binder, path, key, "keep one of them", "the shard stands here a second time");
	topic->homes[shard] = (int32_t)worker;
	return 0;
}

static int read_homes(struct weir_binder *binder, const struct weir_topology *topology, struct weir_topology_topic *topic,
		      uint32_t index, yaml_node_t *node)
{
	char path[64];

	snprintf(path, sizeof(path), "topics[%u].homes", index);
	topic->homes = calloc(topic->shards, sizeof(*topic->homes));
	if (!topic->homes)
		return -ENOMEM;
	for (uint32_t s = 0; s < topic->shards; s++)
		topic->homes[s] = -1;
	if (!node)
		return 0;
	if (node->type != YAML_MAPPING_NODE)
		return weir_binder_refuse(binder, path, node, "a mapping of shard: worker");
	for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
		int err = read_home(binder, path, topology, topic, pair);

		if (err)
			return err;
	}
	return 0;
}

static int check_group(struct weir_binder *binder, const struct weir_topology_topic *topic, uint32_t topic_index,
		       uint32_t index, yaml_node_t *node)
{
	const struct weir_topology_group *group = &topic->groups[index];
	char path[64];

	snprintf(path, sizeof(path), "topics[%u].groups[%u]", topic_index, index);
	if (group->quota_bytes && group->kind != WEIR_TOPOLOGY_GROUP_FOLLOW)
		return weir_binder_fail(binder, path, place(binder, node, "quota"),
					"remove quota, or make the group `kind: follow`", "only a follow group has a quota");
	if (group->quota_bytes > topic->log_bytes)
		return weir_binder_fail(binder, path, place(binder, node, "quota"), "lower quota or raise log",
					"expected at most the topic's log, %llu bytes", (unsigned long long)topic->log_bytes);
	for (uint32_t other = 0; other < index; other++) {
		if (strcmp(topic->groups[other].name, group->name) == 0)
			return weir_binder_fail(binder, path, place(binder, node, "name"),
						"give each group of a topic its own name", "groups[%u] has this name already",
						other);
	}
	return 0;
}

static int check_topic(struct weir_binder *binder, struct weir_topology *topology, uint32_t index)
{
	struct weir_topology_topic *topic = &topology->topics[index];
	yaml_node_t *node = weir_binder_element(binder, weir_binder_child(binder, root_of(binder), "topics"), index);
	yaml_node_t *groups = weir_binder_child(binder, node, "groups");
	char path[64];
	int err;

	snprintf(path, sizeof(path), "topics[%u]", index);
	if (topic->log_bytes & (topic->log_bytes - 1))
		return weir_binder_refuse(binder, path, place(binder, node, "log"), "a power of two from 64KiB to 64GiB");
	if (!topic->event_max)
		topic->event_max = topic->log_bytes / 8 < EVENT_MAX_DEFAULT ? topic->log_bytes / 8 : EVENT_MAX_DEFAULT;
	if (topic->event_max > topic->log_bytes / 8)
		return weir_binder_fail(binder, path, place(binder, node, "event_max"), "lower event_max or raise log",
					"expected at most an eighth of the log, %llu bytes",
					(unsigned long long)topic->log_bytes / 8);
	if (topology->has_event_max) {
		if (topic->event_max > topology->limits.event_max)
			return weir_binder_fail(binder, path, place(binder, node, "event_max"),
						"lower it, or raise limits.event_max",
						"expected at most limits.event_max, %llu bytes",
						(unsigned long long)topology->limits.event_max);
	} else if (topic->event_max > topology->limits.event_max) {
		topology->limits.event_max = topic->event_max;
	}
	for (uint32_t other = 0; other < index; other++) {
		if (strcmp(topology->topics[other].name, topic->name) == 0)
			return weir_binder_fail(binder, path, place(binder, node, "name"), "give each topic its own name",
						"topics[%u] has this name already", other);
	}
	err = read_homes(binder, topology, topic, index, weir_binder_child(binder, node, "homes"));
	for (uint32_t g = 0; !err && g < topic->group_count; g++)
		err = check_group(binder, topic, index, g, weir_binder_element(binder, groups, g));
	return err;
}

// A place for a stream takes memory, used or not. Where nothing is said, thousands of shards share what a thousand may take.
static uint32_t streams_default(const struct weir_topology *topology)
{
	uint64_t shards = 0;

	for (uint32_t i = 0; i < topology->topic_count; i++)
		shards += topology->topics[i].shards;
	if (shards <= STREAMS_ALL / STREAMS_MOST)
		return STREAMS_MOST;
	return shards < STREAMS_ALL / STREAMS_LEAST ? (uint32_t)(STREAMS_ALL / shards) : STREAMS_LEAST;
}

static int check(struct weir_binder *binder, struct weir_topology *topology)
{
	int err;

	if (topology->worker_count == 0) {
		topology->workers = calloc(1, sizeof(*topology->workers));
		if (!topology->workers)
			return -ENOMEM;
		init_worker(topology->workers);
		topology->worker_count = 1;
	}
	topology->has_event_max =
		weir_binder_child(binder, weir_binder_child(binder, root_of(binder), "limits"), "event_max") != NULL;
	err = check_limits(binder, &topology->limits);
	for (uint32_t i = 0; !err && i < topology->port_count; i++)
		err = check_port(binder, topology, i);
	for (uint32_t i = 0; !err && i < topology->topic_count; i++)
		err = check_topic(binder, topology, i);
	if (!topology->limits.streams_per_shard)
		topology->limits.streams_per_shard = streams_default(topology);
	return err;
}

const struct weir_field *weir_config_schema(void)
{
	return ROOT;
}

int weir_config_parse(struct weir_topology **out, const char *text, size_t size, struct weir_trouble *trouble)
{
	struct weir_topology *topology;
	struct weir_binder binder;
	int err = weir_binder_init(&binder, text, size, trouble);

	if (err)
		return err;
	topology = calloc(1, sizeof(*topology));
	if (!topology) {
		err = -ENOMEM;
		goto err_binder;
	}
	init_topology(topology);
	err = weir_binder_run(&binder, ROOT, topology);
	if (!err)
		err = check(&binder, topology);
	if (err)
		goto err_topology;
	weir_binder_fini(&binder);
	*out = topology;
	return 0;

err_topology:
	weir_topology_destroy(topology);
err_binder:
	weir_binder_fini(&binder);
	if (err == -ENOMEM)
		weir_trouble_set(trouble, "file", "use it", "free some memory", "out of memory");
	return err;
}

static int load_failed(struct weir_trouble *trouble, const char *file, int err)
{
	char object[160];

	snprintf(object, sizeof(object), "file %s", file);
	weir_trouble_set(trouble, object, "read it", "check the path and its permissions", "%s", strerror(-err));
	return err;
}

int weir_config_load(const char *file, char **out, size_t *size, struct weir_trouble *trouble)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t got;
	char *text;

	if (fd < 0)
		return load_failed(trouble, file, -errno);
	text = malloc(WEIR_CONFIG_SIZE_MAX + 1);
	if (!text) {
		close(fd);
		return load_failed(trouble, file, -ENOMEM);
	}
	do {
		got = read(fd, text + used, WEIR_CONFIG_SIZE_MAX + 1 - used);
		if (got > 0)
			used += (size_t)got;
	} while ((got > 0 && used <= WEIR_CONFIG_SIZE_MAX) || (got < 0 && errno == EINTR));
	if (got < 0 || used > WEIR_CONFIG_SIZE_MAX) {
		int err = got < 0 ? -errno : -EFBIG;

		close(fd);
		free(text);
		return load_failed(trouble, file, err);
	}
	close(fd);
	text[used] = 0;
	*out = text;
	*size = used;
	return 0;
}
