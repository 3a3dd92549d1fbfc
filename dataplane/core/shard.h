// A shard as one relocatable object: log, streams, deliveries, rows. It belongs to one worker at a time; a handover sends
// the pointer to the next owner. Control makes and frees it. Internal to the core, but for create and destroy.
#ifndef WEIR_CORE_SHARD_H
#define WEIR_CORE_SHARD_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "dataplane/core/chains.h"
#include "dataplane/core/counters.h"
#include "dataplane/core/log.h"
#include "dataplane/core/message.h"
#include "dataplane/core/share.h"
#include "dataplane/core/snapshot.h"
#include "dataplane/core/wheel.h"

struct weir_engine;
struct weir_slab;
struct weir_lane_head;
struct weir_lane_cursor;
struct weir_parked; // a parked out-of-order frame, core/park.h

#define WEIR_SHARD_GROUPS_MAX 64u // groups on one topic; control refuses more
#define WEIR_PINS_MAX 16u         // clients that may keep bytes of the log after their term broke off
#define WEIR_PINS_ROOM (WEIR_PINS_MAX + WEIR_SHARD_GROUPS_MAX) // and those whose group was removed
#define WEIR_CHECKPOINTS 128u     // power of two
#define WEIR_PARK_PER_STREAM 200u // parked frames of one stream; more are refused `gap`

#define WEIR_ACK_WAITS 0x8000u // of weir_stream.ack_place

// Bits of weir_stream.state.
enum weir_stream_state {
	WEIR_STREAM_FREE = 0,
	WEIR_STREAM_OPEN,
	WEIR_STREAM_DORMANT, // its session is over: kept until dedup_window passed
	WEIR_STREAM_CLOSED,  // in order: kept as long as its session, a named one for dedup_window more
};

// One producer's order on one shard. Core state of the ingress side; dataplane/core/stream.c owns every field.
struct weir_stream {
	// Touched by every frame, and by every acknowledgement that has nothing special to say: one cache line.
	uint64_t next;       // sequence expected
	uint64_t session;    // id that may write; 0 when dormant or closed
	struct weir_shard *shard;
	uint64_t limit;      // credit told last
	uint64_t producer;
	struct weir_stream *ack_next; // list of due acknowledgements
	uint32_t handle;     // own index
	uint16_t home;       // worker of the session
	uint16_t frame_size; // of the session
	uint8_t round;       // shard's round in which it last published, modulo 256
	uint8_t ack_turn;    // worker's turn in which the last frame came whose acknowledgement waits, modulo 256
	uint16_t ack_place;  // WEIR_ACK_WAITS and its place among acknowledgements that wait, or how many do not
	// Alone: what is read together with a bit that was just written waits for the store.
	bool is_ack_due;     // in the list
	uint8_t unanswered;  // while one waits: frames it will answer for
	uint8_t parked_count;
	uint8_t state : 2;         // enum weir_stream_state
	uint8_t level : 2;         // enum weir_ack_level
	uint8_t is_waiting : 1;    // in the shard's queue of waiters
	uint8_t is_assembling : 1; // has a reassembly slot
	uint8_t wants_nack : 1;    // something came ahead of what is missing and was not kept
	uint8_t is_local : 1;      // its session is on a lane
	// Of gaps, refusals, large events and other workers.
	struct weir_parked *parked; // by sequence
	struct weir_parked *parked_last;
	uint64_t refused_to; // events below were refused drop-new: only a skip passes them
	uint64_t epoch;
	uint64_t nack_ns;    // last nack
	uint64_t nack_next;  // what was missing then
	uint32_t wanted;     // waiting: bytes of the run that was refused `full`; 0: waits for credit only
	uint16_t reassembly; // slot, while is_assembling
	uint8_t source;      // of the session that opened it last
	uint64_t outranked;  // highest epoch that a higher one took the stream from: it may live and must stay fenced
	// Rarely touched.
	uint64_t request;        // number of the open of this life
	uint64_t closed_by;      // session that closed it and still lives, 0: none
	LIST_ENTRY(weir_stream) of_session; // in the engine's lists, while it has a session or was closed by one
	struct weir_timer timer; // end of the dedup window
	struct weir_stream *wait_next; // in the shard's queue of waiters
	struct weir_stream *wait_previous;
	union {
		struct weir_stream *free_next;
		TAILQ_ENTRY(weir_stream) asked; // in the engine's list of those whose session is to be asked after
	};
} __attribute__((aligned(64)));

// After a retransmission timeout one frame goes out, the rest waits for a report.
enum weir_delivery_probing {
	WEIR_PROBING_NOT = 0,
	WEIR_PROBING_DUE,
	WEIR_PROBING_SENT,
};

// How the member of the term gets its events; core/reader.c.
enum weir_reading {
	WEIR_READING_FRAMES = 0, // deliver frames
	WEIR_READING_OFFERED,    // the assign said that it may read in place: perhaps it does, no report came yet
	WEIR_READING_IN_PLACE,
	WEIR_READING_OVER,       // it read in place, and its lane is gone or its client began anew: it reads no more
};

// Bytes from `position` on that a local client may still look at although its term is over.
struct weir_pin {
	LIST_ENTRY(weir_pin) of_lane; // in the engine's lists
	struct weir_shard *shard;
	uint64_t lane;    // 0: free
	uint64_t session; // 0: of several terms, let go with the lane alone
	uint64_t position;
	uint64_t since_ns;
	uint32_t group;
	uint32_t term;
	uint32_t handle; // of the delivery that was
	uint16_t home;   // worker of the session
};

// Begin of a run.
struct weir_checkpoint {
	uint64_t position;
	uint64_t offset;
};

// What may be under way to a member: charge positions and amounts, as weir_charge() counts. core/pace.c.
struct weir_pace {
	uint64_t limit;       // credit granted
	uint64_t seen;        // what was charged before has arrived or is lost, says the member
	uint64_t flight_from; // nothing that was charged before is taken to be under way
	uint64_t window;
	uint64_t slow_to;     // below, the window doubles each round trip
	uint64_t lost_to;     // losses of what was charged before are answered
};

// One group's place on the shard, and the delivery stream to its member. dataplane/core/delivery.c owns every field.
struct weir_delivery_stream {
	struct weir_shard *shard;
	uint32_t group;
	uint32_t handle;     // own index
	uint8_t kind;        // enum weir_group_kind
	uint8_t state;       // enum weir_delivery_state
	uint8_t probing;     // enum weir_delivery_probing
	uint16_t coordinator; // worker
	uint16_t backoff;    // doublings of the retransmission or announcement time
	uint32_t term;
	struct weir_session_ref member; // id 0: none
	uint64_t membership; // its number
	struct weir_cursor settled; // drives reclaim
	struct weir_cursor sent;
	uint64_t from;           // where the next frame begins: below `sent` when events were cut loose
	uint64_t sent_to;        // highest offset sent in this term
	uint64_t received_to;
	uint64_t told_to;        // settled as the member last said; `settled` may be cut loose beyond it
	uint64_t redelivered_to; // below: an earlier term may have handed them out
	uint64_t allowed;        // charge position up to which may be sent: credit and window
	uint64_t charged;        // of all that was sent in this term, repetitions too
	struct weir_cursor resume; // while probing: where sending stood before the timeout, if it was only a late report
	uint64_t resume_from;
	uint32_t resume_fragment;
	bool has_resume;
	bool is_first_due;       // the next frame is the first that is missing
	uint8_t vanished;        // copies of it running that did not arrive, while something sent later did
	uint32_t first_size;     // of its last copy, bytes
	uint64_t first_end;      // charge position behind that copy; UINT64_MAX: none is being waited for
	uint32_t agreed_size;    // the session's frame size when it was looked at last
	uint32_t probe_fragment;
	uint64_t probe_to;       // while probing: where the one frame that was sent again ends
	struct weir_pace pace;
	uint32_t fragment_sent;  // bytes of event `sent` that went out as fragments
	uint32_t fragment_received; // bytes of event `received_to` that arrived as fragments
	uint32_t fragment_most;  // bytes of event `sent_to` that ever went out as fragments in this term
	bool is_measuring;       // a round trip is being measured
	bool is_starved;         // events to send, nothing under way, no credit
	bool is_stalled;         // told the coordinator
	bool wants_pin;          // the term is over as soon as there is a pin for what its member may still look at
	bool is_dirty;
	uint64_t command_due_ns; // when the assign or revoke is said again
	uint64_t asked_ns;       // when the member was first asked to begin, or to stop
	uint64_t outstanding_ns; // since when nothing moved while something was under way
	uint64_t go_back_ns;     // last time frames were sent again
	uint64_t announce_ns;    // last frame of any kind
	uint64_t progress_ns;    // last time settled_to moved, or nothing was outstanding
	uint64_t measure_ns;     // when the frame that ends at measure_to went out
	uint64_t measure_to;
	uint64_t round_trip_ns;  // smoothed, 0: not measured yet
	uint64_t quota_bytes;
	uint64_t progress_timeout_ns;
	uint8_t reading;         // enum weir_reading
	uint32_t reader_cursor;  // index on the member's lane
	uint64_t reader_tag;
	const struct weir_lane_cursor *reader_line; // in the client's memory; NULL: not in the engine's list of readers
	uint64_t checkpoint;     // number of the shard's first one that may lie beyond `settled`
	LIST_ENTRY(weir_delivery_stream) of_lane; // in the engine's lists, while it is offered or in place
	struct weir_delivery_stream *reader_next;
	struct weir_delivery_stream *reader_previous;
	struct weir_timer timer;
	uint16_t telling;        // what the coordinator is to be told of the term: enum weir_message_kind, 0: nothing
	TAILQ_ENTRY(weir_delivery_stream) told_next; // in the engine's list of those with something to tell
	struct weir_group_row *public_row;
	struct weir_group_row row; // private, published when dirty
	uint64_t row_dropped;      // sum of row.dropped that was published + 1, 0: never
} __attribute__((aligned(64)));

// In which of the engine's lists of shards with something to send. Few bytes may wait for more where many shards are in need.
enum weir_delivering {
	WEIR_DELIVERING_NOT,
	WEIR_DELIVERING_THIN,
	WEIR_DELIVERING_FULL,
};

struct weir_shard {
	// What every frame touches, in three cache lines. Written once by control, but for who holds what:
	uint32_t topic;
	uint16_t shard;
	bool is_lossless;   // policy block and no follow group: an append takes nothing from anybody
	bool has_local;     // a client on a lane has published here
	uint32_t shards;    // of the topic
	uint32_t event_max;
	uint32_t streams_max;
	uint32_t holders;   // hold groups and pins
	uint64_t hold;      // position of the slowest hold cursor, see weir_shard_hold()
	struct weir_stream *streams; // [streams_max]
	struct weir_log log;
	// Owned by the worker that owns the shard.
	struct weir_engine *engine; // owner; NULL on its way
	uint64_t sort_at;    // position of the head from which on its place in the engine's lists is another one
	enum weir_policy policy;
	// How many streams share the log's free space: those that published in this round or the last one.
	uint32_t round;
	uint32_t round_active;
	uint32_t round_active_last;
	uint64_t round_ns; // when this round began
	// Recent runs: how large an event is in the log since about here.
	uint64_t recent_position;
	uint64_t recent_offset;
	uint64_t credit;      // events, counted when this was free and this the head
	uint64_t credit_free;
	uint64_t credit_head;
	struct weir_stream *waiters_first;
	// What its turn to send touches: one cache line, with the way to what it keeps of its first group.
	struct weir_shard *deliver_next __attribute__((aligned(64)));
	struct weir_shard *deliver_previous;
	struct weir_shard *dirty_next;
	uint64_t delivered_head; // position of the head when its groups had their turn last
	struct weir_lane_head *head_line; // public, NULL: nobody reads in place
	uint64_t head_told;               // how far the log may be read in place
	bool is_dirty;       // in the engine's list of shards to publish
	uint8_t delivering;  // enum weir_delivering
	uint32_t deliveries_limit; // highest used index + 1
	struct weir_delivery_stream *deliveries[WEIR_SHARD_GROUPS_MAX]; // the groups' own; NULL: free
	uint32_t followers; // follow groups
	enum weir_ack_level ack_min;
	struct weir_shard_row *public_row;
	struct weir_stream *waiters_last;
	struct weir_stream *streams_free;
	uint32_t streams_used; // open and dormant
	uint32_t of_source[WEIR_SOURCES]; // the same, of each
	uint32_t streams_limit; // highest handle ever used + 1
	struct weir_chains by_producer; // open and dormant streams
	// Readers in place: where in the log the head was when it was told, lately.
	uint64_t checkpoints_made;
	struct weir_checkpoint *checkpoints; // [WEIR_CHECKPOINTS], NULL without a head line
	uint32_t pins_used;
	bool is_unpinned;                 // a lane that ends let go of something here
	struct weir_shard *unpinned_next; // list of those
	uint64_t pins_asked_ns; // when those who pin the log were last asked to let go
	bool is_going; // being removed: its log is not written any more
	struct weir_pin *pins; // [WEIR_PINS_ROOM], NULL without a head line
	struct weir_shard_row row; // private, published when dirty
	uint64_t row_dropped; // sum of row.refused and row.skipped that was published + 1, 0: never
	struct weir_shard *owned_next; // the engine's list of its shards
	struct weir_shard *owned_previous;
	struct weir_shard *move_next; // list of shards that wait for room in the mesh
	uint64_t move_request; // control's, 0: stays
	uint16_t move_to;      // worker
	uint64_t removed_request; // removal under way: control's request
	uint64_t allocated;       // bytes of the one allocation this is
	struct weir_slab *slab;   // of which it is a piece, NULL: none
} __attribute__((aligned(64)));

// There may be thousands with small logs: what only some of them need is not in here.
static_assert(sizeof(struct weir_shard) <= 4096);
static_assert(offsetof(struct weir_shard, deliveries) / 64 == offsetof(struct weir_shard, deliver_next) / 64);

// Nothing at or behind this position may be overwritten: the slowest hold cursor, the head when nothing holds.
static inline uint64_t weir_shard_hold(const struct weir_shard *shard)
{
	return shard->holders ? shard->hold : shard->log.head;
}

struct weir_shard_config {
	uint32_t topic;
	uint16_t shard;
	const struct weir_topic_spec *spec; // read during create only
	uint64_t incarnation;
	int node;
	enum weir_hugepages hugepages;
	struct weir_shard_row *row;       // public
	struct weir_lane_head *head;      // public line for readers in place (wire/lane.h); NULL: there are none. Used where
	                                  // the topic's policy lets them read (weir_shard_is_readable())
	struct weir_slab *slab;           // of pieces of weir_shard_size() on that node; NULL: memory of its own
};

// What WEIR_MESSAGE_GROUP_CREATE points at. Lives until the answer came. What it points at in turn is the group's and goes
// with it: the shard uses it, wherever it moves, until a removal of the group or of the shard is answered.
struct weir_group_place {
	struct weir_group_spec spec;
	struct weir_group_row *row; // public, free
	struct weir_delivery_stream *delivery; // near the shard, touched
};

// Members read in place what is not overwritten before they settled it.
static inline bool weir_shard_is_readable(enum weir_policy policy)
{
	return policy == WEIR_POLICY_BLOCK;
}

// Bytes of a shard without its log and its groups. has_head: weir_shard_config.head will be given and used.
uint64_t weir_shard_size(uint32_t streams_max, bool has_head);
// Control thread. Everything the shard ever needs is allocated here, on its node. 0 or -errno as weir_log_create().
int weir_shard_create(struct weir_shard **shard, const struct weir_shard_config *config);
void weir_shard_destroy(struct weir_shard *shard);

#endif
