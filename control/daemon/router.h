// The router as the daemon knows it: what runs now (topology, placement, topics with their ids and rows), and the
// exchanges with the workers by which it changes. Starting is applying the file to a router without topics; a change is
// one transaction: what can be refused is refused before anything is touched.
//
// Control thread only. Workers are reached through dataplane/io/gate.h and nothing else.
#ifndef WEIR_DAEMON_ROUTER_H
#define WEIR_DAEMON_ROUTER_H

#include <stdbool.h>
#include <stdint.h>

#include "control/daemon/exchange.h"
#include "control/daemon/terms.h"
#include "control/model/diff.h"
#include "control/model/machine.h"
#include "control/model/plan.h"
#include "control/model/topology.h"
#include "dataplane/core/counters.h"
#include "dataplane/core/snapshot.h"
#include "dataplane/io/dataplane.h"

#define WEIR_ROUTER_SHARDS_MAX 16384u // shards of all topics together; more are refused
#define WEIR_ROUTER_GROUPS_MAX 512u // groups of all topics together; more are refused
#define WEIR_ROUTER_GROUP_ROWS 65536u // (group, shard) pairs; more are refused
#define WEIR_ROUTER_TOPIC_IDS 65536u // topics in a router's life, ids are never used twice; then restart

// What a rate is computed from: the counter at the last sample.
struct weir_rate {
	uint64_t last;
	double per_second;
};

struct weir_router_group {
	struct weir_group_spec spec;
	struct weir_group_row **rows; // [shards]
	struct weir_delivery_stream **deliveries; // [shards] what their shards keep of the group, an array on each node
	uint64_t *starts; // [shards] offsets it began at
	struct weir_rate settled;
};

// A shard's log as local readers are given it.
struct weir_router_log {
	uint64_t incarnation;
	int memory; // the shard's
	struct weir_lane_head *head; // NULL: no lanes
};

struct weir_router_topic {
	struct weir_topic_spec spec; // owner points to `owner`; groups are filled in when a snapshot is built
	uint16_t *owner; // [shards]
	uint32_t *log_node; // [shards] where each log was born
	struct weir_shard_row **rows; // [shards]
	struct weir_shard **fresh; // [shards] made and not yet adopted by a worker; else NULL
	struct weir_rate *accepted; // [shards]
	struct weir_router_log *logs; // [shards]
	struct weir_router_group *groups[WEIR_TOPOLOGY_GROUPS_MAX];
	uint32_t group_count;
};

struct weir_router_worker {
	struct weir_rate received;
	struct weir_rate sent;
	struct weir_rate busy; // per_second is ns a second
	struct weir_rate idle;
	struct weir_rate sleep;
	uint64_t path_steps;  // said so far
	uint64_t turn_max_ns; // longest turn of the last sample's second
	bool is_stalled; // said so already
};

struct weir_transaction;
struct weir_discards;

// What was said of a port last.
struct weir_router_port {
	enum weir_port_condition condition;
	uint64_t since_ns; // when it was well last
	char reason[320];
};

struct weir_router {
	struct weir_machine *machine;
	struct weir_topology *topology; // what runs
	struct weir_plan *plan;
	struct weir_dataplane *dataplane;
	struct weir_snapshot *snapshot; // published; NULL before the first
	struct weir_router_topic **topics; // [topic_count], in the topology's order
	uint32_t topic_count;
	uint32_t group_count; // of all topics
	struct weir_router_worker workers[WEIR_WORKERS_MAX];
	struct weir_router_port ports[WEIR_TOPOLOGY_PORTS_MAX];
	uint64_t id; // random per life
	uint64_t event_room; // bytes, largest event the workers have room to put together
	uint64_t revision; // of the snapshot
	uint32_t topic_last; // ids given out
	uint32_t group_last;
	struct weir_requests requests;
	struct weir_terms terms;
	uint64_t start_ns; // monotonic
	uint64_t sample_ns; // monotonic
	char leftover[512]; // what a killed predecessor left and could not be taken away; empty: nothing
	uint32_t patience_ms; // of an apply with workers
	struct weir_transaction *unfinished; // an apply that waits for a worker's answers, NULL: none
	bool is_broken; // a worker refused half-way: what workers do is not known any more
};

// One change as it was done.
struct weir_outcome_change {
	struct weir_change change;
	uint64_t *starts; // group-added: [shards] start offsets
	uint32_t start_count;
	uint64_t pause_ns; // shard-moved: from release by the old owner to adoption by the new one
};

struct weir_outcome {
	struct weir_outcome_change *changes;
	uint32_t change_count;
	uint64_t duration_ns;
	uint64_t pause_max_ns;
	uint64_t revision;
};

struct weir_router_options {
	const char *counters_path;
	const char *terms_path; // of the file that keeps where terms begin; NULL: nothing is kept
	uint32_t patience_ms; // how long an apply waits for a worker's answers; 0: WEIR_EXCHANGE_TIMEOUT_MS
};

// Plans, opens ports, starts workers, applies the file's topics. machine and topology are taken over, also on failure.
// 0 or -errno with *trouble.
int weir_router_start(struct weir_router **router, struct weir_machine *machine, struct weir_topology *topology,
		      const struct weir_router_options *options, struct weir_trouble *trouble);

// Whether there is room for what `topology` has more: memory, descriptors, room for events. Nothing is touched. 0 or -errno
// with *trouble.
int weir_router_check(struct weir_router *router, struct weir_topology *topology, struct weir_plan *plan,
		      struct weir_trouble *trouble);

// Makes the router run `topology`, which is taken over, also on failure. On failure nothing has changed and *trouble says
// why. -EINPROGRESS: a worker did not answer in time; the change is kept `unfinished` until it has. *outcome is for
// weir_outcome_fini().
//
// What the change throws away has to be in `discards` (control/daemon/discard.h; NULL: nothing), else it is refused.
int weir_router_apply(struct weir_router *router, struct weir_topology *topology, const struct weir_discards *discards,
		      struct weir_outcome *outcome, struct weir_trouble *trouble);
void weir_outcome_fini(struct weir_outcome *outcome);
// Goes on with an unfinished change as far as workers have answered by now: it is undone if it was not in force, completed
// if it was half done. Waits for nobody.
void weir_router_settle(struct weir_router *router);
// Before the end, when no worker runs any more: an unfinished change is let go.
void weir_router_abandon(struct weir_router *router);

// Says goodbye to sessions, stops workers, closes ports, frees everything. NULL is allowed.
void weir_router_stop(struct weir_router *router);

// Once a second: rates, stalls.
void weir_router_sample(struct weir_router *router, uint64_t now_ns);

// The limits that workers take while running.
struct weir_engine_limits weir_router_limits(const struct weir_topology *topology);

// NULL when there is none.
struct weir_router_topic *weir_router_find(const struct weir_router *router, const char *topic);

#endif
