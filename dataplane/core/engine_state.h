// The engine's own state, for the files of the ingress half: engine.c, send.c, dispatch.c, hello.c, member.c, command.c,
// stream.c, fragment.c. Engine's thread.
#ifndef WEIR_CORE_ENGINE_STATE_H
#define WEIR_CORE_ENGINE_STATE_H

#include "dataplane/core/arena.h"
#include "dataplane/core/internal.h"
#include "dataplane/core/park.h"
#include "dataplane/core/place.h"
#include "dataplane/core/reassembly.h"
#include "dataplane/core/session.h"
#include "dataplane/core/strangers.h"

#define WEIR_ACK_BUCKETS 64u        // due acknowledgements, by session
#define WEIR_MEMBERS_PER_SESSION 64u // groups one session may join; more: ERROR busy
#define WEIR_FRESH_SLOTS 256u
#define WEIR_PORTS_KNOWN 128u // of a worker, more than it may have

// A session's membership in a group, kept at its home worker.
struct weir_member {
	struct weir_member *next;
	TAILQ_ENTRY(weir_member) told_next; // in the engine's list of those with something to tell
	uint64_t session;
	uint16_t telling; // what the coordinator is to be told: enum weir_message_kind, 0: nothing
	uint32_t topic;
	uint32_t group;
	uint16_t coordinator;
	bool is_joined;
	bool is_joining; // the coordinator was asked
	bool is_leaving;
	uint64_t working_ns; // the coordinator was told then that the client is at work
	uint64_t number; // client's name for the membership
	uint64_t request; // client's, of the last join or leave; 0 when nothing was asked
};

// Lanes whose client began anew lately, for shards that are on their way here.
struct weir_fresh {
	uint64_t lane;
	uint64_t session;
};

// Answers collected for one session, sent as one frame.
struct weir_refusals {
	struct weir_session_ref to;
	uint32_t count;
	struct weir_refuse_entry entries[WEIR_ENTRIES_MAX];
};

// The one frame that is being written.
enum weir_sending {
	WEIR_SENDING_NOTHING,
	WEIR_SENDING_HERE,
	WEIR_SENDING_MESH,
	WEIR_SENDING_VOID, // its session is gone
};

// A port that takes nothing of what other workers send.
struct weir_port_wait {
	uint64_t since_ns; // 0: it does
	uint64_t tried_ns;
};

// Messages of this worker to itself.
struct weir_message_queue {
	struct weir_message *messages;
	uint32_t mask;
	uint32_t head;
	uint32_t tail;
};

#define WEIR_SHARDS_WARM 16u // so many of an engine are taken to be in the cache

// Streams with an acknowledgement due, of sessions that share the bucket.
struct weir_ack_bucket {
	struct weir_stream *first;
	uint32_t count;
};

#define WEIR_ACK_FRAMES 64u // to answer for so many does not wait

// An acknowledgement that answers for few frames and may wait: where many streams send a frame now and then, one each costs as
// much as the frame. A worker that is behind lets them wait, by age, until they answer for more (RFC 9000, section 13.2).
struct weir_waiting_ack {
	struct weir_stream *stream; // NULL: its shard went away
	uint32_t since;             // weir_waiting_time()
	uint8_t turn;               // that was in this turn, as weir_stream.ack_turn
};

#define WEIR_WAITING_MAX WEIR_ACK_WAITS // power of two: a stream knows its place modulo as many

struct weir_waiting_acks {
	struct weir_waiting_ack *slots; // [WEIR_WAITING_MAX]
	uint32_t head;
	uint32_t fetched; // below: asked for, they are due soon
	uint32_t tail;
};

// In units of 1,024 ns, modulo 2^32.
static inline uint32_t weir_waiting_time(uint64_t now_ns)
{
	return (uint32_t)(now_ns >> 10);
}

LIST_HEAD(weir_session_streams, weir_stream);

#define WEIR_LANE_BUCKETS 256u

// What clients on lanes read in place, or may still look at.
struct weir_lane_holdings {
	LIST_HEAD(, weir_delivery_stream) deliveries;
	LIST_HEAD(, weir_pin) pins;
};

struct weir_shard_list {
	struct weir_shard *first;
	struct weir_shard *last;
};

struct weir_engine {
	struct weir_engine_config config;
	struct weir_engine_io io;
	uint64_t now_ns;
	struct weir_worker_row row; // private
	const struct weir_snapshot *snapshot;
	struct weir_sessions sessions;
	struct weir_places places;
	struct weir_shard *owned;
	uint32_t owned_count;
	uint64_t owned_log_bytes;
	bool is_log_far; // where the next runs go is not expected to be in the cache
	struct weir_shard_list dirty;
	struct weir_shard_list deliverable; // WEIR_DELIVERING_FULL
	struct weir_shard_list thin;        // WEIR_DELIVERING_THIN
	struct weir_shard *moving;
	// Found by the session that ends or the lane that does, so that neither costs more than what is its own.
	struct weir_session_streams *of_session; // [of_session_mask + 1] see weir_streams_of()
	uint32_t of_session_mask;
	struct weir_lane_holdings of_lane[WEIR_LANE_BUCKETS];
	struct weir_delivery_stream *readers; // in place
	struct weir_delivery_stream *readers_at; // the next to be looked at
	struct weir_fresh fresh[WEIR_FRESH_SLOTS];
	struct weir_ack_bucket acks[WEIR_ACK_BUCKETS];
	uint64_t acks_due; // bit per bucket
	struct weir_waiting_acks waiting;
	uint32_t turn_frames; // that came since the last turn ended
	bool is_behind;       // many came in the turn before
	struct weir_refusals refusals;
	struct weir_port_wait port_waits[WEIR_PORTS_KNOWN];
	enum weir_sending sending;
	uint16_t sending_worker;
	bool has_work;      // something was done since the last turn ended
	bool is_row_dirty;
	bool is_time_dirty; // busy, idle or sleep time was added
	uint64_t rows_ns;   // last publication
	bool is_blocked;    // something waits for room to send
	struct weir_park park;
	struct weir_reassembly reassembly;
	struct weir_member *members_free;
	uint32_t members_count; // of the pool
	struct weir_message_queue self;
	bool is_handling; // a message: no other one is meanwhile
	bool has_to_tell; // a message to itself, or something in one of the lists below or of the coordinator
	TAILQ_HEAD(, weir_delivery_stream) telling; // deliveries whose coordinator is to be told something
	TAILQ_HEAD(, weir_member) members_telling;
	TAILQ_HEAD(, weir_stream) asking; // streams whose session's home is to be asked whether it is there
	bool is_stopping;
	uint32_t stop_slot;
	uint64_t stop_request;
	struct weir_coordinator *coordinator;
	struct weir_arena arena;
	uint8_t *scratch;
	uint8_t *bounce; // private copy of a frame whose body is shared
	struct weir_wheel wheel;
	struct weir_strangers strangers;
};

// The list that has the streams of the session. The low bits of an id are its slot at its home; the others are random.
static inline struct weir_session_streams *weir_streams_of(const struct weir_engine *engine, uint64_t session)
{
	return &engine->of_session[session >> 32 & engine->of_session_mask];
}

static inline struct weir_lane_holdings *weir_holdings_of(struct weir_engine *engine, uint64_t lane)
{
	return &engine->of_lane[lane % WEIR_LANE_BUCKETS];
}

// ---- engine.c ----
void weir_engine_limits_clamp(struct weir_engine_limits *limits);

// ---- send.c ----
// weir_frame_to() of a session whose home is here.
struct weir_frame_header *weir_frame_home(struct weir_engine *engine, uint64_t id, uint32_t size);
// A frame along the path of a session.
struct weir_frame_header *weir_frame_to_path(struct weir_engine *engine, const struct weir_path *path, uint64_t session,
					     uint32_t size);
// The same to somebody without a session. NULL: no room in what strangers have, and it is not worth waiting for.
struct weir_frame_header *weir_frame_to_stranger(struct weir_engine *engine, const struct weir_path *path, uint64_t session,
						 uint32_t size);
// Hands an ingress frame to another worker. false: its ring is full.
bool weir_frame_forward(struct weir_engine *engine, uint16_t worker, const struct weir_ingress *ingress, uint8_t hops);
// Copies a frame that another worker wrote for one of this worker's sessions to its port. false: no room now.
bool weir_frame_relay(struct weir_engine *engine, const struct weir_mesh_header *header, const void *frame);
void weir_engine_refuse(struct weir_engine *engine, const struct weir_session_ref *to, const struct weir_refuse_entry *entry);
// Sends collected refusals; those without room are dropped, for the producer repeats what was refused.
void weir_engine_refuse_flush(struct weir_engine *engine);
// ERROR to a session. name may be NULL.
void weir_engine_error(struct weir_engine *engine, const struct weir_session_ref *to, enum weir_reason reason,
		       const struct weir_frame_header *about, uint64_t request, const char *name);

// ---- hello.c ----
enum weir_reason weir_hello_receive(struct weir_engine *engine, const struct weir_arrival *arrival);
enum weir_reason weir_hello_no_session(struct weir_engine *engine, const struct weir_arrival *arrival);
enum weir_reason weir_hello_stranger(struct weir_engine *engine, struct weir_session *session,
				     const struct weir_arrival *arrival);
// The session is over: streams, memberships, slot.
void weir_session_end(struct weir_engine *engine, struct weir_session *session);
// The path carries no frames larger than to->frame_size: its home tells all who ask. Where there is no room to say so, they
// find out for themselves.
void weir_session_smaller(struct weir_engine *engine, const struct weir_session_ref *to);
// BYE to every session while there is room; true when all are gone.
bool weir_session_stop_all(struct weir_engine *engine);

// ---- publish.c ----
// Takes the first frames of a burst as long as they are publishes in two parts, in order, on open streams of shards that are
// here and have room: nearly all that come through a lane. Returns how many; the general way knows what the next one is.
uint32_t weir_publish_shared(struct weir_engine *engine, const struct weir_arrival *arrivals, uint32_t count);
// The same of one publish in one piece, checked and of a proven session: nearly all that come through a port. `found`: where
// its shard was found before, or NULL. false: nothing was done, the general way knows.
bool weir_publish_next(struct weir_engine *engine, const struct weir_frame_header *frame, uint32_t body_crc,
		       const struct weir_place *found);

// ---- dispatch.c ----
// A shard frame or a report's entries, here or forwarded.
enum weir_reason weir_dispatch_shard(struct weir_engine *engine, const struct weir_ingress *ingress, uint8_t hops);
enum weir_reason weir_dispatch_report(struct weir_engine *engine, const struct weir_ingress *ingress, uint8_t hops);

// ---- member.c ----
enum weir_reason weir_member_join(struct weir_engine *engine, struct weir_session *session,
				  const struct weir_frame_header *frame);
// The session's client says that it is at work: the coordinators of its groups are told.
void weir_member_working(struct weir_engine *engine, struct weir_session *session);
enum weir_reason weir_member_leave(struct weir_engine *engine, struct weir_session *session,
				   const struct weir_frame_header *frame);
void weir_member_joined(struct weir_engine *engine, const struct weir_message *message);
void weir_member_left(struct weir_engine *engine, const struct weir_message *message);
void weir_member_end_all(struct weir_engine *engine, struct weir_session *session);
// Tells coordinators what is to be told of memberships, at most `budget` messages. Returns how many.
uint32_t weir_member_tell(struct weir_engine *engine, uint32_t budget);

// ---- command.c ----
void weir_command_adopt(struct weir_engine *engine, const struct weir_mesh_header *header);
// Moves that waited for room in the mesh.
void weir_command_move_retry(struct weir_engine *engine);
// Tells what coordinators, owners and homes decided, and handles what of it is for this worker itself. Returns how much that
// was, in messages.
uint32_t weir_command_run(struct weir_engine *engine);
// Messages of a worker to itself that may be under way at once; a power of two.
uint32_t weir_command_self_max(const struct weir_engine_config *config);
// The client of a local lane began anew as that session.
void weir_command_lane_fresh(struct weir_engine *engine, uint64_t lane, uint64_t session);
void weir_engine_done(struct weir_engine *engine, const struct weir_message *command, int32_t result, uint64_t value,
		      void *pointer);

#endif
