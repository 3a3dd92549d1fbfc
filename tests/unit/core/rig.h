// A router without a machine, for tests of the core: engines that talk through queues of this process, a clock that stands
// until it is told to move, and what was sent kept for looking at. Nothing of the core is replaced.
#ifndef WEIR_TESTS_UNIT_CORE_RIG_H
#define WEIR_TESTS_UNIT_CORE_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/core/engine_state.h"
#include "wire/lane.h"

#define RIG_WORKERS 3
#define RIG_SENT 2048
#define RIG_TOPIC 7
#define RIG_GROUP 5
#define RIG_GROUPS 40  // most, with ids from RIG_GROUP on
#define RIG_SHARDS 256 // most
#define RIG_LANES 24   // numbers from 1 on
#define RIG_CURSORS 20 // of each
#define RIG_WALL_NS 1790000000000000000ull // of the wall clock where the rig's begins
#define RIG_DONE 256   // answers of control that are kept
#define RIG_BURST 64   // frames

struct rig_sent {
	struct weir_path path;
	uint32_t size;
	_Alignas(8) uint8_t bytes[WEIR_FRAME_MAX];
};

struct rig_slot {
	struct weir_mesh_header header;
	_Alignas(8) uint8_t bytes[WEIR_FRAME_MAX];
};

struct rig_worker {
	struct rig *rig;
	uint16_t number;
	struct weir_engine *engine;
	struct weir_worker_row row;
	struct rig_sent *sent;
	uint32_t sent_count;
	struct rig_slot *mesh; // to this worker
	uint32_t mesh_count;
	uint32_t mesh_room;    // slots that may be used
	struct weir_message *messages;
	uint32_t message_count;
	uint16_t reserved_worker;
	bool is_port_blocked;
	uint32_t frame_max; // of its port, 0: any
};

// What a local client would have mapped.
struct rig_lane {
	struct weir_lane_cursor cursors[RIG_CURSORS];
	struct weir_lane_view view;
	uint32_t wakes;
	bool is_gone;
};

struct rig_options {
	uint16_t workers;
	uint32_t shards;       // of the topic
	uint32_t sessions_max;
	uint64_t offers;
	uint32_t park_frames;
	uint32_t behind_frames;
	uint32_t reassembly_slots;
	uint32_t event_max;
	uint64_t log_bytes;
	uint32_t streams_max;
	enum weir_policy policy;
	enum weir_ack_level ack_min;
	bool has_group;        // a hold group without members: the log fills up
	uint32_t groups;       // as many of them
	enum weir_group_kind group_kind;
	uint64_t quota_bytes;
	uint64_t progress_timeout_ns;
	uint32_t terms_base;
};

struct rig {
	struct rig_options options;
	uint64_t now_ns;
	struct rig_worker workers[RIG_WORKERS];
	struct weir_topic_spec topic;
	struct weir_group_spec groups[RIG_GROUPS];
	uint16_t owner[RIG_SHARDS];
	uint32_t by_id[RIG_TOPIC + 1];
	struct weir_snapshot snapshot;
	struct weir_shard *shards[RIG_SHARDS];
	struct weir_shard_row shard_rows[RIG_SHARDS];
	struct weir_group_row (*rows)[RIG_SHARDS]; // [RIG_GROUPS]
	struct weir_delivery_stream (*deliveries)[RIG_SHARDS]; // [RIG_GROUPS]
	struct weir_group_row *group_rows;          // of the first group
	struct weir_lane_head heads[RIG_SHARDS];
	struct rig_lane lanes[RIG_LANES + 1];
	struct weir_message done[RIG_DONE];
	uint32_t done_count;
	bool is_gathering;
	struct weir_arrival burst[RIG_BURST];
	uint32_t burst_count;
};

struct rig_client {
	struct rig *rig;
	uint16_t worker;
	struct weir_path path;
	uint64_t nonce;
	uint64_t producer;
	uint64_t epoch;
	uint64_t session;
	uint32_t frame_size;
	bool has_options; // its hellos say what it knows
	uint64_t knows;
	uint32_t stream; // of the last opened
	uint64_t opened; // number of the last open
	uint64_t next;
	uint64_t limit;
	uint16_t flags; // of what it publishes, besides
	bool is_shared; // publishes in two parts, with a checksum over the header alone
};

// All zero options take sensible values.
struct rig *rig_create(const struct rig_options *options);
void rig_destroy(struct rig *rig);
// Lets every worker turn until nothing is left to do, then publishes.
void rig_run(struct rig *rig);
void rig_advance_ms(struct rig *rig, uint64_t ms);
// The name of a group, by index.
void rig_group_name(char name[WEIR_NAME_SIZE], uint32_t group);
void rig_message(struct rig *rig, uint16_t worker, const struct weir_message *message);
// Moves a shard: command, and what the daemon does after it.
void rig_move(struct rig *rig, uint16_t shard, uint16_t to);

struct weir_path rig_path(uint16_t number);
// The client speaks through the lane instead of a port.
void rig_lane_use(struct rig_client *client, uint64_t lane);
// Tells every worker that the lane is gone.
void rig_lane_gone(struct rig *rig, uint64_t lane);
void rig_client_init(struct rig *rig, struct rig_client *client, uint16_t worker, uint16_t number);
// Hello, challenge, hello, welcome.
void rig_connect(struct rig_client *client);
// One frame; the header's session is the client's. The frame is sealed here.
void rig_send(struct rig_client *client, struct weir_frame_header *header, const void *body, uint16_t length);
// Gives bytes as they are to the worker's port.
void rig_arrive(struct rig *rig, uint16_t worker, const struct weir_path *path, const void *frame, uint32_t size);
// From here on what comes to a port waits, up to RIG_BURST frames; then it comes to the worker's in one burst.
void rig_burst_gather(struct rig *rig);
void rig_burst_arrive(struct rig *rig, uint16_t worker);
void rig_hello(struct rig_client *client, uint64_t cookie);
// Opens the stream of the shard and runs.
const struct weir_opened *rig_open(struct rig_client *client, uint16_t shard, uint8_t level);
// `count` events of 64 bytes of payload with keys of the shard; payloads hold their sequence. Does not run.
void rig_publish(struct rig_client *client, uint16_t shard, uint64_t sequence, uint16_t count);
void rig_control(struct rig_client *client, enum weir_kind kind, uint16_t shard, uint64_t sequence);
void rig_skip(struct rig_client *client, uint16_t shard, uint64_t sequence, uint64_t count, uint16_t reason);
void rig_fragment(struct rig_client *client, uint64_t sequence, const uint8_t *event, uint32_t offset, uint32_t length);
// A key of the shard.
uint64_t rig_key(const struct rig *rig, uint16_t shard);

// The last frame of the kind that the client's worker sent to the client's address since rig_forget(), or NULL.
const struct weir_frame_header *rig_last(const struct rig_client *client, enum weir_kind kind);
uint32_t rig_count(const struct rig_client *client, enum weir_kind kind);
const struct weir_ack_entry *rig_ack(const struct rig_client *client);
const struct weir_refuse_entry *rig_refusal(const struct rig_client *client);
void rig_forget(struct rig *rig);

// Whether every row balances, and none tells what proves a session.
bool rig_balances(struct rig *rig);
// Events of the producer in the shard's log in order from `first`, without gap: returns the next one.
uint64_t rig_log_next(struct rig *rig, uint16_t shard, uint64_t producer, uint64_t first);

#endif
