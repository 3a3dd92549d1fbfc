// The lossy-network simulation: engines with their mesh, clients without sockets, the network between them and the control
// that moves shards and groups, in one process on a virtual clock. Whatever happens in a run follows from its seed.
//
//   plan.c     what a run is made of, from the seed
//   router.c   engines, rings between workers, messages, rows
//   control.c  topics, groups, snapshots, moves
//   client.c   producers and consumers: what an application does
//   local.c    clients that share memory with the router
//   happenings.c  what befalls a run
//   oracle.c   what must hold
//   silence.c  the end, when everybody falls silent
//   sim.c      the loop over time; many runs
#ifndef WEIR_SIM_H
#define WEIR_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "client/core.h"
#include "client/local.h"
#include "dataplane/core/engine.h"
#include "dataplane/core/shard.h"
#include "tests/sim/network.h"
#include "tests/sim/random.h"

#define SIM_WORKERS 3u
#define SIM_TOPICS 2u
#define SIM_SHARDS 8u
#define SIM_GROUPS 6u   // ids of a run, removed ones included
#define SIM_CLIENTS 16u
#define SIM_EVENTS 4096u // of one producer, all instances together
#define SIM_KEYS 16u
#define SIM_OPS 32u
#define SIM_LIVES 64u // of a topic or group, so many at most
#define SIM_TOPIC_IDS (1 + SIM_TOPICS * SIM_LIVES)
#define SIM_HAPPENINGS 15u
#define SIM_ARRIVALS 1024u // of a worker's turn; datagrams beyond 64 are lost
#define SIM_LANES 256u    // of one life of the router
#define SIM_CURSORS 12u   // of a lane: fewer than shards it may get, all groups together
#define SIM_MAPS 32u
#define SIM_LANE_REQUEST UINT64_MAX // of control, when a lane ended
#define SIM_US 1000ull
#define SIM_MS 1000000ull
#define SIM_S 1000000000ull

struct sim;

// ---- plan.c ----

struct sim_group_plan {
	uint32_t topic;  // index
	enum weir_group_kind kind;
	uint16_t coordinator;
	uint64_t quota_bytes;
	uint64_t progress_timeout_ns;
};

struct sim_topic_plan {
	uint32_t shards;
	enum weir_policy policy;
	uint32_t event_max;
	uint64_t log_bytes;
	uint16_t owner[SIM_SHARDS];
};

enum sim_role {
	SIM_PRODUCER,
	SIM_CONSUMER,
};

struct sim_client_plan {
	enum sim_role role;
	uint32_t topic;   // index; a consumer's comes from its group
	uint32_t group;   // index
	uint16_t worker;  // home
	uint32_t frame_size;
	uint32_t credit_bytes;
	bool is_local;    // on a lane
	struct sim_link link;
	// Producer.
	bool is_named;
	int level;
	uint32_t events;
	uint32_t keys;
	uint32_t size_max; // of payloads
	uint32_t large_percent; // events that need fragments
	uint32_t burst;
	uint32_t pause_us;
	// Consumer.
	uint32_t take;     // events a call
	bool settle_by_hand;
	uint32_t settle_late_us;
};

struct sim_plan {
	uint64_t seed;
	uint32_t workers;
	uint32_t topics;
	uint32_t groups; // at the start; more may be added
	uint32_t clients;
	uint32_t mesh_slots;
	uint32_t frame_size;
	uint32_t behind_frames; // of a turn, acknowledgements may wait then
	struct sim_topic_plan topic[SIM_TOPICS];
	struct sim_group_plan group[SIM_GROUPS];
	struct sim_client_plan client[SIM_CLIENTS];
	// Happenings, mean time between them; 0: never.
	uint32_t router_restart_ms;
	uint32_t producer_crash_ms;
	uint32_t consumer_crash_ms;
	uint32_t leave_ms;
	uint32_t move_ms;
	uint32_t group_change_ms;
	uint32_t group_again_ms; // one with members ends and comes again
	uint32_t topic_again_ms;
	uint32_t producer_again_ms; // closes and opens anew, in the same session
	uint32_t blocked_ms;  // a port takes nothing for a while
	uint32_t outage_ms;   // a link is dead for a while
	uint32_t rebind_ms;   // a client's address changes
	uint32_t pause_ms;    // a worker or client does not run for a while
	uint32_t deaf_ms;     // a consumer lives, but takes no shard for a while
	uint32_t shrink_ms;   // a path carries only smaller datagrams from then on, or all of them again
	bool is_long;
};

void sim_plan_make(struct sim_plan *plan, uint64_t seed);
void sim_plan_print(const struct sim_plan *plan);

// ---- router.c ----

struct sim_slot {
	struct weir_mesh_header header;
	uint8_t *frame;
};

struct sim_ring {
	struct sim_slot *slots;
	uint32_t size;
	uint64_t head;
	uint64_t tail;
	uint8_t *memory;
};

struct sim_messages {
	struct weir_message *items;
	uint32_t count;
	uint32_t room;
};

struct sim_worker {
	struct sim *sim;
	uint16_t index;
	struct weir_engine *engine;
	uint64_t run_at_ns;
	uint64_t blocked_until_ns;
	uint64_t paused_until_ns;
	struct sim_packet *arrivals[SIM_ARRIVALS];
	uint32_t arrival_count;
	struct sim_messages inbox;
	uint8_t reserved_frame[WEIR_FRAME_MAX + 64];
	struct weir_path reserved_path;
	struct weir_mesh_header reserved_header;
	bool is_reserved;
};

// A lane as control and workers know it.
struct sim_lane_entry {
	uint64_t number;
	struct sim_local *local;
	struct sim_client *client;
	struct weir_path path;
	bool is_gone;
	uint32_t answers; // of workers, still to come
};

struct sim_router {
	struct sim_worker worker[SIM_WORKERS];
	struct sim_ring mesh[SIM_WORKERS][SIM_WORKERS]; // [from][to]
	struct weir_worker_row *worker_rows;
	struct weir_shard_row *shard_rows; // [topic][shard]
	struct weir_group_row *group_rows; // [group][shard]
	struct weir_delivery_stream *deliveries; // [group][shard]
	struct weir_shard *shards[SIM_TOPICS][SIM_SHARDS];
	struct weir_lane_head heads[SIM_TOPICS * SIM_SHARDS];
	struct sim_lane_entry lanes[SIM_LANES];
	uint32_t lane_count;
	uint32_t life;
	bool is_up;
};

void sim_router_start(struct sim *sim);
void sim_router_stop(struct sim *sim);
void sim_router_send(struct sim *sim, uint16_t worker, const struct weir_message *message);
void sim_worker_run(struct sim_worker *worker);
void sim_router_wake(struct sim_worker *worker, uint64_t at_ns);

// ---- control.c ----

enum sim_op_kind {
	SIM_OP_CREATE, // everything the plan begins with
	SIM_OP_MOVE,
	SIM_OP_GROUP_ADD,
	SIM_OP_GROUP_REMOVE,
	SIM_OP_GROUP_AGAIN,
	SIM_OP_TOPIC_AGAIN,
};

struct sim_op {
	enum sim_op_kind kind;
	uint32_t topic;
	uint32_t group;
	uint16_t shard;
	uint16_t to;
	uint16_t from;
	uint64_t until_ns;
};

struct sim_snapshot {
	struct weir_snapshot snapshot;
	struct weir_topic_spec topics[SIM_TOPICS];
	struct weir_group_spec groups[SIM_TOPICS][SIM_GROUPS];
	uint16_t owner[SIM_TOPICS][SIM_SHARDS];
	uint32_t by_id[SIM_TOPIC_IDS];
};

struct sim_control {
	struct sim_op ops[SIM_OPS];
	uint32_t op_head;
	uint32_t op_tail;
	uint32_t phase;
	uint32_t pending;   // answers that are still to come
	uint64_t request;
	uint64_t revision;
	struct sim_snapshot *snapshot;
	struct sim_snapshot *old;
	uint64_t drained[SIM_WORKERS]; // ring positions to be passed before forwarding ends
	uint16_t owner[SIM_TOPICS][SIM_SHARDS];
	bool group_exists[SIM_GROUPS];
	bool topic_is_gone[SIM_TOPICS];
	uint32_t group_life[SIM_GROUPS];
	uint32_t topic_life[SIM_TOPICS];
	uint32_t group_count; // ids given out
	struct weir_group_place places[SIM_GROUPS][SIM_SHARDS];
	struct weir_group_spec setup[SIM_GROUPS];
	uint64_t moves;
};

void sim_control_start(struct sim *sim);
void sim_control_stop(struct sim *sim);
// What waits for the operation under way is forgotten.
void sim_control_forget(struct sim *sim);
void sim_control_op(struct sim *sim, const struct sim_op *op);
void sim_control_answer(struct sim *sim, const struct weir_message *message);
void sim_control_step(struct sim *sim);
bool sim_control_is_idle(const struct sim *sim);
uint32_t sim_topic_id(const struct sim *sim, uint32_t topic);
uint32_t sim_group_id(const struct sim *sim, uint32_t group);
void sim_topic_name(char name[WEIR_NAME_SIZE], uint32_t topic);
void sim_group_name(char name[WEIR_NAME_SIZE], uint32_t group);

// ---- client.c ----

struct sim_client {
	struct sim *sim;
	uint16_t index;
	const struct sim_client_plan *plan;
	struct sim_link link;
	struct weir_core *core;
	struct sim_local *local; // NULL: speaks datagrams
	struct weir_producer *producer;
	struct weir_consumer *consumer;
	uint16_t port;        // address of this instance
	uint64_t poll_at_ns;
	uint64_t act_at_ns;
	uint64_t paused_until_ns;
	uint64_t deaf_until_ns; // hears no assign
	uint64_t start_at_ns; // when there is no core
	uint32_t instance;
	uint64_t epoch;
	bool is_leaving;
	bool is_closing;
	bool is_done;         // producer: all published, or given up
	// Producer, over all instances.
	uint32_t published;
	uint64_t routed, refused, unknown; // of former instances
	// Consumer: settle later.
	struct weir_view late[64];
	uint64_t late_at_ns;
	uint32_t late_count;
	uint64_t consumed;
	uint64_t sessions; // of former instances
};

void sim_client_start(struct sim_client *client);
void sim_client_kill(struct sim_client *client);
void sim_client_close(struct sim_client *client);
void sim_client_renew(struct sim_client *client); // closes its producer; another one is opened when it acts next
void sim_client_input(struct sim_client *client, const struct sim_packet *packet);
void sim_client_poll(struct sim_client *client);
void sim_client_act(struct sim_client *client);
// Every producer counter over all instances.
struct weir_producer_counts sim_client_counts(const struct sim_client *client);

// ---- local.c ----

struct sim_map {
	struct weir_core_log log; // base NULL: free
	uint64_t incarnation;
	uint32_t refs;
};

// The memory of one client instance. Lives as long as it or a worker may look at it.
struct sim_local {
	struct sim *sim;
	uint32_t refs;
	uint64_t number; // of its lane, 0: none
	struct weir_core_local local;
	struct weir_lane_view view;
	struct weir_lane_cursor cursors[SIM_CURSORS];
	struct sim_map maps[SIM_MAPS];
};

const struct weir_core_local *sim_local_create(struct sim_client *client);
void sim_local_up(struct sim_client *client);
void sim_local_die(struct sim_client *client);
void sim_local_answer(struct sim *sim, const struct weir_message *message);
void sim_locals_forget(struct sim *sim);
void sim_locals_return(struct sim *sim);
const struct sim_link *sim_local_link(void);
bool sim_local_arrival(struct sim *sim, const struct sim_packet *packet, struct weir_frame_header *header,
		       struct weir_arrival *arrival);
struct sim_client *sim_local_client(struct sim *sim, const struct weir_path *path);
const struct weir_lane_view *sim_lane_find(void *context, uint64_t lane);
void sim_lane_wake(void *context, uint64_t lane);

// ---- oracle.c ----

struct sim_event {
	uint32_t key;     // index
	uint32_t size;    // of the payload
	uint32_t life;    // router's, when it was published
	bool is_sent;
	uint64_t offset[SIM_GROUPS]; // + 1, of its first delivery
	uint32_t deliveries[SIM_GROUPS];
};

// One (group, shard) as its members see it.
struct sim_lane {
	uint64_t incarnation;
	uint32_t term;
	uint64_t last;    // offset + 1 of the last event handed out in this term
	uint64_t highest; // offset + 1 handed out in any term
	uint32_t client;  // of the term
	uint32_t ended;   // the highest term of a group of that name that ended
};

struct sim_oracle {
	struct sim_event (*events)[SIM_EVENTS]; // [client]
	struct sim_lane lanes[SIM_GROUPS][SIM_SHARDS];
	uint32_t last_serial[SIM_GROUPS][SIM_CLIENTS][SIM_KEYS]; // + 1, first deliveries per key
	uint64_t delivered;
	uint64_t redelivered;
	uint64_t in_place; // shards that were seen to be read in place, now and then
	bool may_redeliver; // a member died or lost its session
	bool may_lose;      // the router died
	bool has_ended[SIM_GROUPS];
};

#define SIM_PAYLOAD_MIN 16u
void sim_oracle_payload(uint8_t *payload, uint32_t client, uint32_t serial, uint32_t size);
void sim_oracle_view(struct sim_client *client, const struct weir_view *view, uint64_t incarnation);
void sim_oracle_router_died(struct sim *sim);
void sim_oracle_group_ended(struct sim *sim, uint32_t group);
void sim_oracle_rows(struct sim *sim);
bool sim_oracle_is_quiet(struct sim *sim);
void sim_oracle_end(struct sim *sim);

// ---- silence.c ----

void sim_silence_run(struct sim *sim);

// ---- happenings.c ----

void sim_happenings_run(struct sim *sim);
uint64_t sim_happenings_due(const struct sim *sim);

// ---- sim.c ----

struct sim {
	struct sim_plan plan;
	struct sim_random random;
	struct sim_network network;
	struct sim_router router;
	struct sim_control control;
	struct sim_client client[SIM_CLIENTS];
	struct sim_oracle oracle;
	uint64_t now_ns;
	uint64_t calm_at_ns;    // happenings end, links become good
	bool is_calm;
	uint64_t next_happening_ns[SIM_HAPPENINGS];
	uint16_t next_port;
	uint64_t lane_number; // given out last
	bool is_verbose;
	bool has_failed;
	char failure[512];
	uint64_t steps;
};

// Notes the first failure of the run; the loop ends at its next step.
void sim_fail(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Goes on until then.
void sim_run_until(struct sim *sim, uint64_t end_ns);
void sim_say(const struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
