// The engine: one worker's share of everything the router decides. Sans-I/O: frames come in as bytes with the path they
// came from, frames go out through weir_engine_io, the clock is an argument, randomness comes from a secret. The same
// code runs on a worker, in unit tests and in the lossy-network simulation. One thread at a time.
//
// A turn of the worker loop:
//   weir_engine_receive(engine, arrivals, n, now)    bursts from ports and lanes
//   weir_engine_mesh(engine, header, frame, now)     frames from other workers, one by one, until it says stop
//   weir_engine_message(engine, message, now)        commands from control and other workers
//   weir_engine_run(engine, now)                     timers, acknowledgements, deliveries, rows
#ifndef WEIR_CORE_ENGINE_H
#define WEIR_CORE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/core/counters.h"
#include "dataplane/core/message.h"
#include "dataplane/core/path.h"
#include "dataplane/core/snapshot.h"

struct weir_engine;
struct weir_lane_cursor;

// A datagram from a port. The bytes need to live until weir_engine_receive() returns.
struct weir_arrival {
	const void *frame;
	const struct weir_path *path;
	uint32_t size;
	bool trust_link; // the port's integrity is `link`
	// NULL: the body follows the header. Else `frame` is a private copy of the header alone, of a publish that is no
	// fragment, and its body lies here, where the client may change it at any time.
	const void *shared;
};

// A lane as the engine sees it: the client's cursors, which may change at any time.
struct weir_lane_view {
	const struct weir_lane_cursor *cursors; // wire/lane.h
	uint32_t cursor_count;
};

// What goes in front of a frame in the mesh: ring slots hold this and then `size` bytes.
enum weir_mesh_kind {
	WEIR_MESH_INGRESS = 1, // from a home worker to a shard's owner: checked, session proven
	WEIR_MESH_EGRESS,      // from an owner to the session's home: to be sent as it is
	WEIR_MESH_HANDOVER,    // pointer: a shard changes its owner
};

struct weir_mesh_header {
	uint8_t kind;
	uint8_t hops; // forwarded this often
	uint16_t from;
	uint32_t size;
	uint32_t body_crc; // ingress: CRC of a publish's body
	uint32_t reserved;
	void *pointer;
	uint64_t request;  // handover: control's
	uint64_t value;    // handover: when the old owner let go, ns
	struct weir_session_ref session;
};

#define WEIR_MESH_SLOT_SIZE (sizeof(struct weir_mesh_header) + WEIR_FRAME_MAX)

// How an engine reaches the outside. reserve returns where to write a frame of at most `size` bytes, or NULL when there is
// no room now (nothing is lost: the cursor or the pending acknowledgement stays, and is tried again next turn).
// After a successful reserve exactly one commit with the final size (0: nothing after all) follows before anything else.
#define WEIR_SEND_NEVER ((void *)8) // of send_reserve: there will never be room for a frame of this size along this path

struct weir_engine_io {
	void *(*send_reserve)(void *context, const struct weir_path *path, uint32_t size);
	void (*send_commit)(void *context, uint32_t size);
	// header.size is set by commit.
	void *(*mesh_reserve)(void *context, uint16_t worker, const struct weir_mesh_header *header, uint32_t size);
	void (*mesh_commit)(void *context, uint16_t worker, uint32_t size);
	// Never fails: the caller bounds what is under way. `worker` WEIR_FROM_CONTROL: to control.
	void (*message_send)(void *context, uint16_t worker, const struct weir_message *message);
	// Whether the worker's ring takes another message. Decisions that come by the thousand wait until it does, where they
	// were written down. NULL: it always does.
	bool (*message_has_room)(void *context, uint16_t worker);
	// The lane of that number; NULL: gone or going. Valid until this worker handled its WEIR_MESSAGE_LANE_GONE; a shard
	// that comes from another worker looks its lanes up again. NULL, like the next one, where there are no lanes.
	const struct weir_lane_view *(*lane_find)(void *context, uint64_t lane);
	// A head moved that the lane's client reads: it is woken at the end of the turn if it sleeps.
	void (*lane_wake)(void *context, uint64_t lane);
	// Nanoseconds since 1970. NULL: nobody knows.
	uint64_t (*wall_clock)(void *context);
	void *context;
};

// May change while the router runs.
struct weir_engine_limits {
	uint32_t frame_size;       // bytes, largest frame of a session
	uint32_t window_frames;    // advertised at welcome
	uint32_t ping_ms;
	uint32_t lease_ms;
	uint32_t dedup_window_ms;
};

#define WEIR_BEHIND_FRAMES 64u // what a router sets behind_frames to

struct weir_engine_config {
	uint16_t worker;
	uint16_t workers;
	uint32_t sessions_max;     // power of two; full: hello is dropped as `sessions`
	uint32_t shards_max;       // shards this worker may own
	uint32_t topics_max;       // topic ids it may see
	uint32_t groups_max;       // groups it may coordinate
	uint32_t members_max;      // members of one group
	uint32_t park_frames;      // pool of parked out-of-order frames; full: refused `gap`
	uint32_t behind_frames;    // in a turn: the worker is behind, acknowledgements may wait; 0: they never do
	uint32_t reassembly_slots; // large events under way; full: refused `busy`
	uint32_t reassembly_bytes; // bytes of one slot: the largest event of any topic it may own
	struct weir_engine_limits limits;
	uint64_t secret[2];        // of session ids and cookies: as random as the system can
	uint64_t router;           // random per router life, the same on all workers
	uint64_t offers;           // WEIR_OFFER_*: what welcomes offer
	struct weir_worker_row *row; // public row to publish to
	int node;                  // NUMA node of its memory, -1: any
};

// Bytes that weir_engine_create() takes.
uint64_t weir_engine_size(const struct weir_engine_config *config);

// Control thread; allocates everything the engine will ever need. io is copied. 0, -EINVAL, -ENOMEM.
int weir_engine_create(struct weir_engine **engine, const struct weir_engine_config *config, const struct weir_engine_io *io);
// Shards it still owns are destroyed.
void weir_engine_destroy(struct weir_engine *engine);

void weir_engine_receive(struct weir_engine *engine, const struct weir_arrival *arrivals, uint32_t count, uint64_t now_ns);

// One frame from another worker. false: could not be taken now (no room to send); leave it in the ring, try next turn.
bool weir_engine_mesh(struct weir_engine *engine, const struct weir_mesh_header *header, const void *frame, uint64_t now_ns);

void weir_engine_message(struct weir_engine *engine, const struct weir_message *message, uint64_t now_ns);

// Timers, pending acknowledgements, deliveries, rows. Returns true when there was anything to do (the worker is busy).
bool weir_engine_run(struct weir_engine *engine, uint64_t now_ns);

// When weir_engine_run() has to be called again at the latest, without new input. UINT64_MAX: never.
uint64_t weir_engine_deadline(const struct weir_engine *engine);

// The io layer's own drops before parsing (ip-fragment, ip-header, no-buffer, ...), counted in the worker's row as
// received and refused.
void weir_engine_count_drop(struct weir_engine *engine, enum weir_reason reason, uint64_t frames);

// The worker loop's account of time, published with the row.
void weir_engine_count_time(struct weir_engine *engine, uint64_t busy_ns, uint64_t idle_ns, uint64_t sleep_ns);

// Worker row fields that io fills (sent, sent_bytes, mesh counters): owned by the engine's thread.
struct weir_worker_row *weir_engine_row(struct weir_engine *engine);

#endif
