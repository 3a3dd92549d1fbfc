// The rows of the ledger as tools see them: fixed-width counters in one shared mapping, each row with one writer,
// published under a seqlock once a burst so that every row balances at its own instant. The mapping is a file that the
// router creates and tools map read-only: reading disturbs nobody. Every user of the machine may read it, so nothing in it
// proves anything: sessions go by their names. Layout crosses a process border: asserts below.
//
// Equations (docs/ARCHITECTURE.md, The ledger): worker: received = handed_on + sum(refused). shard: offered = accepted +
// duplicate + sum(refused) + sum(skipped). (group, shard): head - start = settled + held + sum(dropped).
#ifndef WEIR_CORE_COUNTERS_H
#define WEIR_CORE_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

#include "wire/limits.h"
#include "wire/reason.h"

#define WEIR_COUNTERS_MAGIC 0x5245544e554f4357ull // "WCOUNTER"
#define WEIR_COUNTERS_VERSION 2u

// First 4096 bytes of the mapping. Written by control before workers start; counts grow when control adds rows.
struct weir_counters_header {
	uint64_t magic;
	uint32_t version;
	uint32_t worker_rows;
	// Rows there are now; they grow. What lies behind them has no memory yet: it must not be touched.
	_Atomic uint32_t shard_rows;
	_Atomic uint32_t group_rows;
	uint64_t worker_offset; // bytes from the start of the mapping
	uint64_t shard_offset;
	uint64_t group_offset;
	uint64_t size_bytes;
	uint64_t router;      // random per life
	int64_t pid;
	uint64_t start_ns;    // CLOCK_REALTIME
};

// Seqlock: odd while the writer is in the row. Readers retry (weir_row_read()).
struct weir_row_head {
	_Atomic uint32_t sequence;
	uint32_t in_use; // 0: free row
	uint64_t changed_ns; // router's monotonic clock at the last publication
};

// Written by one worker.
struct weir_worker_row {
	struct weir_row_head head;
	uint64_t received;      // frames from ports and lanes
	uint64_t handed_on;     // to a shard, a session or the mesh
	uint64_t refused[WEIR_REASON_ROOM]; // frames dropped before admission
	uint64_t received_bytes;
	uint64_t sent;          // frames given to ports
	uint64_t sent_bytes;
	uint64_t send_blocked;  // times a port or the mesh had no room: the cursor stayed
	uint64_t mesh_enqueued; // frames and handovers put into rings to other workers
	uint64_t mesh_dequeued; // read first when summing
	uint64_t sessions;      // live now
	uint64_t sessions_opened;
	uint64_t loops;
	uint64_t busy_ns;       // in loops that did work
	uint64_t idle_ns;       // polled in vain
	uint64_t sleep_ns;      // in futex waits
	uint64_t parked_frames; // in the worker's park pool now
	uint64_t reassembly_slots; // in use now
	uint64_t path_steps;    // times that frames of a session became smaller because its path carried no more
	uint64_t path_session;  // the last one's name (weir_session_name()),
	uint64_t path_size;     // and how large its frames are now
	uint64_t reserved[3];
};

// Written by the shard's owner.
struct weir_shard_row {
	struct weir_row_head head;
	uint32_t topic;
	uint16_t shard;
	uint16_t worker;     // owner
	uint64_t incarnation;
	uint64_t offered;    // events
	uint64_t accepted;   // events appended: the log's head offset counts the same
	uint64_t duplicate;
	uint64_t refused[WEIR_REASON_ROOM]; // events
	uint64_t skipped[WEIR_REASON_ROOM]; // events
	uint64_t accepted_bytes; // log bytes, run headers included
	uint64_t head_offset;
	uint64_t earliest_offset; // oldest not overwritten
	uint64_t log_bytes;
	uint64_t held_bytes; // from the slowest hold cursor to the head
	uint64_t streams;    // now
	uint64_t waiters;    // streams waiting for room now
	uint64_t moves;      // handovers
	uint64_t move_pause_max_ns; // longest time from release by the old owner to adoption by the new one
	uint64_t pins;       // local clients that keep bytes of the log beyond their term
	uint64_t pin_lane;     // of the one that does so for longest, 0: none
	uint64_t pin_since_ns; // router's monotonic clock
	uint64_t pin_bytes;    // of the log that it keeps, what was written since among them
	uint64_t reserved[4];
};

enum weir_delivery_state {
	WEIR_DELIVERY_IDLE = 0,  // no member
	WEIR_DELIVERY_ASSIGNING, // assign sent, no report of the term yet
	WEIR_DELIVERY_ACTIVE,
	WEIR_DELIVERY_REVOKING,
};

// (group, shard). Written by the shard's owner.
struct weir_group_row {
	struct weir_row_head head;
	uint32_t topic;
	uint32_t group;
	uint16_t shard;
	uint16_t state;      // enum weir_delivery_state
	uint32_t term;
	uint64_t session;    // name of the member's (weir_session_name()), 0: none
	uint64_t start_offset; // where the group began
	uint64_t head_offset;
	uint64_t settled;    // events
	uint64_t held;       // events between settled_to and head
	uint64_t dropped[WEIR_REASON_ROOM]; // events
	uint64_t sent_to;    // offsets
	uint64_t received_to;
	uint64_t settled_to;
	uint64_t sent_events;   // first transmissions in their term
	uint64_t resent_events; // go-back-N repeats within a term
	// Events of an earlier term that a member got again, each once a term: sent to it or, where it reads in place, taken
	// by it as far as it said so.
	uint64_t redelivered;
	uint64_t credit_bytes;  // limit - charged
	uint64_t lane;          // of the member that reads the log in place, 0: it gets frames
	uint64_t member_lane;   // of the member, 0: it talks through a port
	uint64_t frame_size;    // largest that is sent to the member, 0: there is none
	uint64_t reserved[5];
};

_Static_assert(sizeof(struct weir_row_head) == 16, "row layout");
_Static_assert(sizeof(struct weir_worker_row) % 64 == 0, "rows are whole cache lines");
_Static_assert(sizeof(struct weir_shard_row) % 64 == 0, "rows are whole cache lines");
_Static_assert(sizeof(struct weir_group_row) % 64 == 0, "rows are whole cache lines");

// Publishes `size` bytes of a private row over the public one (both begin with weir_row_head; the head's sequence is
// kept by the public row). Writer only.
void weir_row_publish(void *public_row, const void *private_row, uint32_t size);

// Copies a consistent row. Readers, any process. Returns 0, or -EAGAIN when the writer never let go (it died inside).
int weir_row_read(void *copy, const void *public_row, uint32_t size);

#endif
