// What the files of the ingress side of a shard share: stream.c (order), fragment.c (large events), acknowledge.c (acks,
// credit, waiters). Engine's thread.
#ifndef WEIR_CORE_STREAM_H
#define WEIR_CORE_STREAM_H

#include "dataplane/core/engine_state.h"

#define WEIR_SEQUENCE_MAX (1ull << 62) // beyond is no sequence but an attack on the arithmetic

#define WEIR_SEQUENCES_AHEAD 65536u // beyond the credit: nobody sends, skips or loses so many more

// What a producer says of sequences reaches at most so far: what it says it passed over counts in the ledger.
static inline uint64_t weir_stream_horizon(const struct weir_stream *stream)
{
	uint64_t from = stream->limit > stream->next ? stream->limit : stream->next;
	return from + WEIR_SEQUENCES_AHEAD < WEIR_SEQUENCE_MAX ? from + WEIR_SEQUENCES_AHEAD : WEIR_SEQUENCE_MAX;
}

// Events that want into the log: a frame's, a parked frame's, or one large event.
struct weir_batch {
	uint64_t sequence;
	const void *events;
	uint32_t length;
	uint32_t count;
	uint32_t crc;
	bool is_unchecked;
	uint16_t flags; // WEIR_FLAG_LATER or not, of what it came in
};

// ---- stream.c ----
// Judges the batch, which begins at or below `next`, and appends what is new of it. WEIR_R_NONE, or the reason it was refused
// and told.
enum weir_reason weir_stream_append(struct weir_shard *shard, struct weir_stream *stream, const struct weir_batch *batch,
				    uint64_t now_ns);
// Counts and tells a refusal of [sequence, + count).
void weir_stream_refuse(struct weir_shard *shard, struct weir_stream *stream, uint64_t sequence, uint32_t count,
			enum weir_reason reason);
// level none: counts [next, sequence) as lost.
void weir_stream_lose(struct weir_shard *shard, struct weir_stream *stream, uint64_t sequence);

// ---- fragment.c ----
void weir_fragment_receive(struct weir_shard *shard, struct weir_stream *stream, const struct weir_ingress *ingress,
			   uint64_t now_ns);

// The session that may write the stream, as any worker needs it to answer.
static inline struct weir_session_ref weir_stream_ref(const struct weir_stream *stream)
{
	return (struct weir_session_ref){
		.id = stream->session,
		.producer = stream->producer,
		.epoch = stream->epoch,
		.home = stream->home,
		.frame_size = stream->frame_size,
	};
}

// ---- acknowledge.c ----
// Sent at the end of the turn.
static inline void weir_ack_mark(struct weir_engine *engine, struct weir_stream *stream)
{
	if (stream->is_ack_due)
		return;
	uint32_t number = (uint32_t)(stream->session >> 32) % WEIR_ACK_BUCKETS;
	struct weir_ack_bucket *bucket = &engine->acks[number];
	bucket->count++;
	stream->is_ack_due = true;
	stream->ack_next = bucket->first;
	bucket->first = stream;
	engine->acks_due |= 1ull << number;
	engine->has_work = true;
}

// One more frame of a stream whose acknowledgement waits, and goes on to. false: it does not.
static inline bool weir_ack_waits(const struct weir_engine *engine, struct weir_stream *stream, uint32_t flags)
{
	if (!(flags & WEIR_FLAG_LATER) || !(stream->ack_place & WEIR_ACK_WAITS) || stream->unanswered + 1u >= WEIR_ACK_FRAMES)
		return false;
	stream->unanswered++;
	stream->ack_turn = (uint8_t)engine->row.loops;
	return true;
}

// The acknowledgement of a frame begins to wait, or is due: it did so long enough, or in vain lately, or there is no place.
void weir_ack_later(struct weir_engine *engine, struct weir_stream *stream);
// Takes the shard's streams out of the engine's lists of acknowledgements; is_ack_due and ack_place stay.
void weir_ack_detach(struct weir_engine *engine, struct weir_shard *shard);
// Grants credit beyond what was granted before, as far as there is room.
void weir_credit_renew(struct weir_shard *shard, struct weir_stream *stream);
void weir_credit_wait(struct weir_shard *shard, struct weir_stream *stream, uint32_t wanted);
// The stream has a frame that ends at `sequence`, which its credit does not cover. 0: not known.
void weir_credit_probe(struct weir_shard *shard, struct weir_stream *stream, uint64_t sequence);
void weir_credit_forget(struct weir_shard *shard, struct weir_stream *stream);

// ---- An append ----

// What an append brings with it: on the stream, as long as no acknowledgement is due, and on the shard, where it grew.
// flags: WEIR_FLAG_LATER or not, others do not matter.
void weir_stream_appended(struct weir_shard *shard, struct weir_stream *stream, uint32_t flags, uint64_t now_ns);
void weir_shard_grew(struct weir_shard *shard);

// Everything below `next` is in the log now. The row's account of what was accepted is how far the log reaches: nothing is
// counted here.
static inline void weir_stream_advance(struct weir_shard *shard, struct weir_stream *stream, uint64_t next, uint32_t flags,
				       uint64_t now_ns)
{
	stream->next = next;
	if (!stream->is_ack_due && !weir_ack_waits(shard->engine, stream, flags))
		weir_stream_appended(shard, stream, flags, now_ns);
	if (shard->log.head >= shard->sort_at)
		weir_shard_grew(shard);
}

#endif
