// The core alone with clients made of a few lines around it: an engine with shards and groups, producers that fill frames,
// consumers that look at every event and report. Input and output are copies in memory. What the clients do is real (frames
// differ, acknowledgements give credit, reports move cursors) and is left to the caller to time or not. One thread.
#ifndef WEIR_PERF_MICRO_RIG_H
#define WEIR_PERF_MICRO_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/core/engine.h"
#include "dataplane/core/shard.h"
#include "wire/frame.h"

#define WEIR_RIG_BURST_MAX 512u    // frames in one turn: the kernel UDP port's, those of a DPDK device give 128
#define WEIR_RIG_ARRIVALS 640u     // of a turn: the burst and reports
#define WEIR_RIG_SLOTS 1024u       // frames that one turn may send
#define WEIR_RIG_SLOT_SIZE 2048u
#define WEIR_RIG_FRAME_AT 42u      // behind Ethernet, IP and UDP: where a NIC leaves it
#define WEIR_RIG_FRAME_SIZE 1552u  // 18 events of 64 bytes, delivered in one frame
#define WEIR_RIG_KEYS 64u          // a shard
#define WEIR_RIG_SHARDS_MAX 1024u
#define WEIR_RIG_SESSIONS_MAX 10000u
#define WEIR_RIG_GROUPS_MAX 16u
#define WEIR_RIG_STREAMS_MAX (1u << 18) // sessions times shards

struct weir_rig_setup {
	uint32_t frame_events; // 0: as many as a frame holds
	uint32_t payload;      // bytes of an event
	uint32_t shards;
	uint32_t sessions; // producers
	uint32_t groups;   // with one consumer each
	uint32_t train;    // frames of one session, one behind the other
	uint32_t burst;    // frames of a turn
	uint64_t log_bytes;
	uint64_t first_log_bytes; // of shard 0; 0: as the others
	uint32_t guests;     // clients that have a session and nothing else
	bool is_link;        // no CRC over bodies
	bool is_clock_virtual; // every turn takes the same time: instruction counts repeat
};

// One producer's stream to one shard. Half a cache line: what the clients touch drives out what the worker left there.
struct weir_rig_producing {
	uint64_t session; // id
	uint64_t next;    // to be sent
	uint64_t limit;
	uint32_t stream;
	uint32_t acknowledged; // modulo 2^32
};
_Static_assert(sizeof(struct weir_rig_producing) == 32, "half a cache line");

// One group's place on one shard.
struct weir_rig_receiving {
	uint64_t received_to;
	uint64_t charged;
	uint32_t handle;
	uint32_t term;
	bool is_assigned;
	bool is_report_due;
	bool is_hoarded; // received and not settled
};

struct weir_rig_slot {
	uint32_t size;
	uint32_t client; // to whom
	uint8_t bytes[WEIR_RIG_SLOT_SIZE];
};

struct weir_rig {
	struct weir_rig_setup setup;
	uint32_t event_size;
	struct weir_engine *engine;
	struct weir_worker_row *worker_row;
	struct weir_shard_row *shard_rows;   // [shards]
	struct weir_group_row *group_rows;   // [groups * shards]
	struct weir_delivery_stream *deliveries; // [groups * shards]
	struct weir_topic_spec topic;
	struct weir_group_spec *groups;      // [groups]
	struct weir_snapshot snapshot;
	uint32_t by_id[2];
	uint16_t *owner;                     // [shards]
	uint32_t clients;                    // producers, then consumers, then guests
	uint64_t *sessions;                  // [clients] ids
	struct weir_rig_producing *producing; // [sessions * shards], session * shards + shard
	struct weir_rig_receiving *receiving; // [groups * shards], group * shards + shard
	struct weir_rig_producing guest;     // what a guest opened last
	uint64_t *keys;                      // [shards * WEIR_RIG_KEYS]
	uint16_t *reports_due;               // [groups * shards] shards
	uint32_t report_count[WEIR_RIG_GROUPS_MAX];
	uint32_t session_next; // whose turn it is
	uint32_t shard_next;
	uint32_t train_left;
	uint64_t now_ns;
	uint64_t clients_ns;   // that passed for them alone: a worker under load never waits, and its clock goes on without
	struct weir_arrival arrivals[WEIR_RIG_ARRIVALS];
	// As a port keeps them, in the same place every turn. Clients differ in the first bytes of their address.
	struct weir_path arrival_paths[WEIR_RIG_ARRIVALS];
	uint32_t arrival_count;
	uint32_t out_count;
	uint64_t delivered; // events
	uint64_t acknowledgements; // entries
	uint64_t wrong;
	uint64_t frames_out;
	uint8_t in[WEIR_RIG_ARRIVALS][WEIR_RIG_SLOT_SIZE];
	struct weir_rig_slot out[WEIR_RIG_SLOTS];
};

// Up to the first event: all sessions, streams and memberships stand. Prints what is wrong with the setup and ends the
// program if there is anything.
struct weir_rig *weir_rig_create(const struct weir_rig_setup *setup);
void weir_rig_destroy(struct weir_rig *rig);

uint64_t weir_rig_clock_ns(void);
// The clock of the next turn: the machine's without clients_ns, or one that goes on by the same step.
uint64_t weir_rig_now(struct weir_rig *rig);

// One frame of that kind, its body to be filled; `body_length` bytes of it are sealed.
struct weir_frame_header *weir_rig_frame_begin(struct weir_rig *rig, enum weir_kind kind, uint32_t client);
void weir_rig_frame_end(struct weir_rig *rig, struct weir_frame_header *frame, uint32_t body_length);
void weir_rig_hello_put(struct weir_rig *rig, uint32_t client, uint64_t nonce, uint64_t cookie);
// A full frame of events from producing->next on, whatever its credit.
void weir_rig_events_put(struct weir_rig *rig, uint32_t client, const struct weir_rig_producing *producing, uint32_t shard);

// A burst of publish frames, as far as credit goes; the reports that are due.
void weir_rig_publish(struct weir_rig *rig);
void weir_rig_report(struct weir_rig *rig);
// What the worker loop does: the engine takes what was put; then the end of its turn.
void weir_rig_receive(struct weir_rig *rig);
void weir_rig_run(struct weir_rig *rig);
// The clients look at what the engine sent.
void weir_rig_look(struct weir_rig *rig);
// Turns without new events until nothing moves. Returns events that were not acknowledged or not delivered to a group.
uint64_t weir_rig_drain(struct weir_rig *rig);

#endif
