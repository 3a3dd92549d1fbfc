// What the files of the core share about the engine: sending to a session wherever its home is, messages, timers,
// lists of shards with work. Not for use outside dataplane/core.
#ifndef WEIR_CORE_INTERNAL_H
#define WEIR_CORE_INTERNAL_H

#include "dataplane/core/engine.h"
#include "dataplane/core/shard.h"
#include "dataplane/core/wheel.h"
#include "wire/codec.h"

// ---- engine.c: for everybody ----

// A frame to a session, sent through its home worker: reserve hands back a header to fill (kind, count, stream, topic,
// shard, sequence, flags; the rest is set by send) with room for `size` bytes in all, or NULL when there is no room now.
// Exactly one weir_frame_send() (body_length < 0: nothing after all) follows.
struct weir_frame_header *weir_frame_to(struct weir_engine *engine, const struct weir_session_ref *to, uint32_t size);
// Seals (crc over everything, see wire/codec.h) and commits. For a deliver frame of runs only prefix and run headers are
// summed: their bodies' crc travels with them.
void weir_frame_send(struct weir_engine *engine, struct weir_frame_header *frame, int32_t body_length);
// Instead of send, for a frame that was filled and sealed otherwise; size in all, 0: nothing after all.
void weir_frame_commit(struct weir_engine *engine, uint32_t size);

void weir_engine_tell(struct weir_engine *engine, uint16_t worker, const struct weir_message *message);
// Whether a decision that may wait is to be told now.
bool weir_engine_may_tell(const struct weir_engine *engine, uint16_t worker);
struct weir_wheel *weir_engine_wheel(struct weir_engine *engine);
uint16_t weir_engine_worker(const struct weir_engine *engine);
const struct weir_engine_limits *weir_engine_limits_of(const struct weir_engine *engine);
const struct weir_snapshot *weir_engine_snapshot(const struct weir_engine *engine);
uint64_t weir_engine_now(const struct weir_engine *engine); // of the running turn
// NULL: not owned by this worker.
struct weir_shard *weir_engine_shard(struct weir_engine *engine, uint32_t topic, uint16_t shard);
// Puts the shard into the list of those whose rows are published, or whose deliveries are tried, at the end of the turn.
void weir_engine_mark_dirty(struct weir_engine *engine, struct weir_shard *shard);
void weir_engine_mark_deliverable(struct weir_engine *engine, struct weir_shard *shard);
#define WEIR_DELIVER_THIN_BYTES 1024u // to send of a shard: less may wait for more
// The same after an append, which is in no hurry as long as it is small.
void weir_engine_mark_grown(struct weir_engine *engine, struct weir_shard *shard);
void weir_engine_unmark_deliverable(struct weir_engine *engine, struct weir_shard *shard);

// An ingress frame at the shard's owner, checked by wire/codec.h, from a proven session.
struct weir_ingress {
	const struct weir_frame_header *frame;
	const struct weir_session_ref *session;
	uint32_t body_crc;
	const void *shared; // see weir_arrival; NULL: the body follows the header
	const struct weir_place *place; // see weir_place_again()
};

// ---- stream.c: producers' side (open, publish, probe, skip, close) ----
void weir_stream_receive(struct weir_shard *shard, const struct weir_ingress *ingress, uint64_t now_ns);
// Sends what acknowledgements are due; some stay for want of room. What waited long enough is due with the next turn.
void weir_stream_flush(struct weir_engine *engine, uint64_t now_ns);
// Room came free (a hold cursor moved): serves waiters round-robin with fresh credit.
void weir_stream_room(struct weir_shard *shard, uint64_t now_ns);
// Asks homes whether sessions of streams that were opened lately are there; at most `budget` messages. Returns how many.
uint32_t weir_stream_ask(struct weir_engine *engine, uint32_t budget);
// The session's streams on this worker's shards end.
void weir_stream_session_gone(struct weir_engine *engine, uint64_t session);
// Topic removal: every stream is refused topic-removed and freed.
void weir_stream_remove_all(struct weir_shard *shard, uint64_t now_ns);
// Handover: timers, parked frames, reassembly slots and list memberships that belong to the old engine are given back
// (parked frames are forgotten: the producer sends them again) / timers armed anew at the new engine.
void weir_stream_detach(struct weir_shard *shard);
void weir_stream_attach(struct weir_shard *shard, uint64_t now_ns);

// ---- delivery.c: consumers' side ----
// Report and revoked frames (each entry of a report is one call).
void weir_delivery_report(struct weir_shard *shard, const struct weir_ingress *ingress, const struct weir_report_entry *entry,
			  uint64_t now_ns);
void weir_delivery_revoked(struct weir_shard *shard, const struct weir_ingress *ingress, uint64_t now_ns);
// Sends deliveries of the shard while there is credit and room, at most `frames`, and tells those who read in place.
enum weir_delivery_turn {
	WEIR_DELIVERY_TURN_QUIET, // no group had frames to send
	WEIR_DELIVERY_TURN_DONE,
	WEIR_DELIVERY_TURN_MORE,  // more could be sent
};
enum weir_delivery_turn weir_delivery_run(struct weir_shard *shard, uint32_t frames, uint64_t now_ns);
// Tells coordinators what is to be told of deliveries: released, or stalled; at most `budget` messages. Returns how many.
uint32_t weir_delivery_tell(struct weir_engine *engine, uint32_t budget);
// Assign, revoke, revoke-now from the coordinator.
void weir_delivery_message(struct weir_shard *shard, const struct weir_message *message, uint64_t now_ns);
int weir_delivery_create(struct weir_shard *shard, const struct weir_group_place *place, uint64_t *start_offset);
int weir_delivery_remove(struct weir_shard *shard, uint32_t group, uint64_t now_ns);
// Takes quota and progress timeout from the spec. -ENOENT.
int weir_delivery_change(struct weir_shard *shard, const struct weir_group_spec *spec);
// Before an append overwrites what follow groups (or any, under drop-old) have not sent yet: cut them loose up to
// `position` and count. After an append: cursors at the head stay valid by themselves.
void weir_delivery_overwrite(struct weir_shard *shard, uint64_t position);
void weir_delivery_detach(struct weir_shard *shard);
void weir_delivery_attach(struct weir_shard *shard, uint64_t now_ns);

// ---- reader.c: members that read the log where it lies ----
// Looks at the cursors of readers in place, each once, at most READERS_TURN of them.
void weir_readers_look(struct weir_engine *engine, uint64_t now_ns);
void weir_reader_look_shard(struct weir_shard *shard, uint64_t now_ns);
// A producer waits for room: whoever pins the log is asked to let go, now and then.
void weir_reader_ask(struct weir_shard *shard, uint64_t now_ns);
// When to look again by itself. UINT64_MAX: never, a bell tells.
uint64_t weir_readers_deadline(const struct weir_engine *engine);
// At the end of a turn in which the log grew, or may have.
void weir_reader_head(struct weir_shard *shard);
// The lane is gone, or its client is now `session` (0: gone) and let go of what earlier sessions had.
void weir_reader_lane_over(struct weir_engine *engine, uint64_t lane, uint64_t session);
// How the member gets its events from now on.
void weir_reading_set(struct weir_delivery_stream *delivery, enum weir_reading reading);

// ---- group.c: coordinator ----
struct weir_coordinator;
uint64_t weir_coordinator_need(const struct weir_engine_config *config);
int weir_coordinator_create(struct weir_coordinator **coordinator, struct weir_engine *engine,
			    const struct weir_engine_config *config);
void weir_coordinator_destroy(struct weir_coordinator *coordinator);
// member join/leave/gone, released, returned, stalled, group setup/teardown.
void weir_coordinator_message(struct weir_coordinator *coordinator, const struct weir_message *message, uint64_t now_ns);
// Balances the next group that needs it and tells owners what was decided, at most `budget` messages. Returns what that cost,
// in messages; 0: there was nothing to do, or no room to tell it.
uint32_t weir_coordinator_run(struct weir_coordinator *coordinator, uint32_t budget, uint64_t now_ns);
// Something is left to do.
bool weir_coordinator_is_busy(const struct weir_coordinator *coordinator);

// ---- ledger.c ----
// Recomputes derived fields of the private rows (head, held, settled, earliest) and publishes them.
void weir_shard_publish(struct weir_shard *shard, uint64_t now_ns);

#endif
