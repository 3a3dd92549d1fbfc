// What the operator wants: the topology file as plain data. Built by the daemon's configuration reader, checked, then
// only read: by the planner, by the diff, by the daemon. Pure: no files, no host.
#ifndef WEIR_MODEL_TOPOLOGY_H
#define WEIR_MODEL_TOPOLOGY_H

#include <stdbool.h>
#include <stdint.h>

#include "control/model/trouble.h"
#include "wire/frame.h"
#include "wire/limits.h"

#define WEIR_TOPOLOGY_TOPICS_MAX 4096u // topics in one file; more are refused
#define WEIR_TOPOLOGY_GROUPS_MAX 64u // groups on one topic; more are refused
#define WEIR_TOPOLOGY_PORTS_MAX 32u // ports; Debian's DPDK knows 32 devices
#define WEIR_TOPOLOGY_INTERFACE_SIZE 16u // IFNAMSIZ
#define WEIR_TOPOLOGY_DEVICE_SIZE 256u // DPDK devargs
#define WEIR_TOPOLOGY_SOCKET_SIZE 108u // path of a unix socket
#define WEIR_TOPOLOGY_ADDRESS_SIZE 46u // text of an IPv6 address

enum weir_topology_poll {
	WEIR_POLL_ADAPTIVE, // poll, pause, sleep: below a tenth of a core when idle
	WEIR_POLL_ALWAYS,
};

enum weir_topology_hugepages {
	WEIR_TOPOLOGY_HUGEPAGES_PREFER,
	WEIR_TOPOLOGY_HUGEPAGES_REQUIRE,
	WEIR_TOPOLOGY_HUGEPAGES_OFF,
};

enum weir_topology_port_kind {
	WEIR_TOPOLOGY_PORT_KERNEL, // kernel UDP sockets, one per worker
	WEIR_TOPOLOGY_PORT_AFXDP, // interface, AF_XDP socket per queue
	WEIR_TOPOLOGY_PORT_DPDK, // any other DPDK device, by devargs
	WEIR_TOPOLOGY_PORT_VHOST, // another DPDK program of this host, by a vhost-user socket
	WEIR_TOPOLOGY_PORT_KINDS,
};

enum weir_topology_integrity {
	WEIR_INTEGRITY_FULL, // CRC over header and body
	WEIR_INTEGRITY_LINK, // header only: the link is trusted with bodies
};

enum weir_topology_xdp {
	WEIR_XDP_NATIVE, // in the interface's driver
	WEIR_XDP_GENERIC, // in the kernel above it where the driver cannot: slow
};

enum weir_topology_group_kind {
	WEIR_TOPOLOGY_GROUP_HOLD,
	WEIR_TOPOLOGY_GROUP_FOLLOW,
};

enum weir_topology_group_mode {
	WEIR_TOPOLOGY_GROUP_KEYED, // a shard belongs to one member
};

enum weir_topology_start {
	WEIR_TOPOLOGY_START_LATEST,
	WEIR_TOPOLOGY_START_EARLIEST,
};

struct weir_topology_worker {
	int32_t core; // CPU number as the OS counts, -1: the planner chooses
	struct weir_mark mark;
};

struct weir_topology_port {
	char name[WEIR_NAME_SIZE];
	enum weir_topology_port_kind kind;
	enum weir_topology_integrity integrity;
	enum weir_topology_xdp xdp; // afxdp
	char interface[WEIR_TOPOLOGY_INTERFACE_SIZE]; // afxdp
	char device[WEIR_TOPOLOGY_DEVICE_SIZE]; // dpdk
	char socket[WEIR_TOPOLOGY_SOCKET_SIZE]; // vhost
	char address[WEIR_TOPOLOGY_ADDRESS_SIZE]; // kernel, dpdk, vhost: own IP address; afxdp: the interface's
	uint32_t udp_port;
	uint32_t workers[WEIR_WORKERS_MAX]; // queue (or socket) i is polled by workers[i]
	uint32_t worker_count;
	struct weir_mark mark;
};

struct weir_topology_limits {
	uint32_t sessions_per_worker; // power of two
	uint32_t streams_per_shard;
	uint32_t park_frames; // parked out-of-order frames per worker
	uint32_t reassembly_slots; // large events under way per worker
	uint32_t members_per_group;
	uint64_t event_max; // largest event_max any topic may have
	// The following change live.
	uint32_t window_frames;
	uint32_t frame_size;
	uint64_t ping_ns;
	uint64_t lease_ns;
	uint64_t dedup_window_ns;
};

struct weir_topology_group {
	char name[WEIR_NAME_SIZE];
	enum weir_topology_group_kind kind;
	enum weir_topology_group_mode mode;
	enum weir_topology_start start;
	uint64_t quota_bytes; // follow; 0: the log's size
	uint64_t progress_timeout_ns; // 0: never
	struct weir_mark mark;
};

struct weir_topology_topic {
	char name[WEIR_NAME_SIZE];
	uint32_t shards;
	enum weir_policy policy;
	enum weir_ack_level ack;
	uint64_t event_max;
	uint64_t log_bytes; // per shard
	int32_t *homes; // [shards] worker the file names, -1: not named
	struct weir_topology_group *groups;
	uint32_t group_count;
	struct weir_mark mark;
};

struct weir_topology {
	char instance[WEIR_NAME_SIZE];
	uint32_t control_mode; // permission bits of the control socket
	uint32_t lanes_per_worker; // of local clients; 0: none
	uint64_t pin_timeout_ns; // clients that keep a log so long after their term are killed; 0: never
	uint32_t lanes_per_user;        // of lanes_per_worker * workers; 0: half of them
	uint64_t lanes_memory_per_user; // bytes that one user's lanes keep in memory; 0: a quarter of the machine's
	char lanes_group[32];           // of the socket for lanes alone; "": the process's
	uint32_t lanes_mode; // permission bits of the socket for lanes alone; 0: there is none
	enum weir_topology_poll poll;
	uint64_t idle_sleep_max_ns;
	enum weir_topology_hugepages hugepages;
	struct weir_topology_worker *workers;
	uint32_t worker_count;
	struct weir_topology_port *ports;
	uint32_t port_count;
	struct weir_topology_limits limits;
	bool has_event_max; // the file says limits.event_max
	struct weir_topology_topic *topics;
	uint32_t topic_count;
};

// Frees what the topology holds and the topology. NULL is allowed.
void weir_topology_destroy(struct weir_topology *topology);

// By name; NULL when there is none.
const struct weir_topology_topic *weir_topology_find(const struct weir_topology *topology, const char *name);
const struct weir_topology_group *weir_topology_find_group(const struct weir_topology_topic *topic, const char *name);

// Words as the file spells them. Static storage.
const char *weir_policy_name(enum weir_policy policy);
const char *weir_ack_name(enum weir_ack_level level);
const char *weir_topology_port_kind_name(enum weir_topology_port_kind kind);
const char *weir_topology_group_kind_name(enum weir_topology_group_kind kind);
const char *weir_topology_start_name(enum weir_topology_start start);

#endif
