// The usual publish of a local producer: header alone summed, body in memory that its client may still change, next in its
// stream, room in the log. One function from the header to the log, for most of what a lane carries is this: the events are
// copied to their place first, judged there, and only then part of the log. Engine's thread.
#include <string.h>

#include "dataplane/core/stream.h"
#include "wire/key.h"

#define HEADER_SIZE ((uint32_t)sizeof(struct weir_frame_header))
#define HEADER_SEALED_SIZE __builtin_offsetof(struct weir_frame_header, crc)
#define COPY_SMALL 256u

// As weir_frame_check() says of a trusted link: nothing is wrong with the header. Of other kinds and flags it does not know.
static inline bool is_usual(const struct weir_frame_header *frame, const struct weir_arrival *arrival)
{
	const uint64_t begin = WEIR_MAGIC | (uint64_t)WEIR_VERSION << 16 | (uint64_t)WEIR_KIND_PUBLISH << 24 |
			       (uint64_t)WEIR_FLAG_HEADER_ONLY << 32;
	uint64_t head; // magic, version, kind, flags; count
	memcpy(&head, frame, sizeof(head));
	uint32_t count = (uint32_t)(head >> 48);
	uint32_t length = frame->body_length;
	return head << 16 == begin << 16 && arrival->trust_link && arrival->size == HEADER_SIZE + length &&
	       arrival->size <= WEIR_FRAME_MAX && length % 8 == 0 && count - 1 < WEIR_COUNT_MAX &&
	       length >= count * sizeof(struct weir_event_header) &&
	       weir_crc32c_small(0, frame, HEADER_SEALED_SIZE) == frame->crc;
}

// The sender's session, if this is its path.
static inline struct weir_session *session_of(struct weir_engine *engine, const struct weir_arrival *arrival,
					      struct weir_heard *heard)
{
	const struct weir_frame_header *frame = arrival->frame;
	struct weir_session *session = heard->session;
	if (session && heard->path == arrival->path && session->ref.id == frame->session)
		return session;
	session = weir_session_find(&engine->sessions, frame->session);
	if (!session || memcmp(&session->path, arrival->path, sizeof(session->path)) != 0)
		return NULL;
	session->heard_ns = engine->now_ns;
	*heard = (struct weir_heard){ .path = arrival->path, .session = session };
	return session;
}

// The log may be written before it is known that the events are good: nobody loses anything by it.
static inline bool may_copy_first(const struct weir_shard *shard, uint32_t length)
{
	return shard->is_lossless && weir_log_has_room(&shard->log, weir_shard_hold(shard), length);
}

// Multiples of 8 bytes; small ones without a call.
static inline void copy(uint8_t *to, const uint8_t *from, uint32_t length)
{
	if (length > COPY_SMALL) {
		memcpy(to, from, length);
		return;
	}
	for (; length >= 64; length -= 64, to += 64, from += 64)
		memcpy(to, from, 64);
	if (length & 32) {
		memcpy(to, from, 32);
		to += 32;
		from += 32;
	}
	if (length & 16) {
		memcpy(to, from, 16);
		to += 16;
		from += 16;
	}
	if (length & 8)
		memcpy(to, from, 8);
}

static inline enum weir_reason check(const struct weir_shard *shard, const struct weir_batch *batch)
{
	uint64_t header[2]; // length, type, flags, attribute_words; key
	memcpy(header, batch->events, sizeof(header));
	uint32_t size = (uint32_t)header[0];
	// One plain event. The general way knows the others, and the name of what is wrong.
	if (batch->count == 1 && header[0] >> 48 == 0 && weir_pad8(size) == batch->length && size <= shard->event_max &&
	    size >= sizeof(header) && weir_shard_of(header[1], shard->shards) == shard->shard)
		return WEIR_R_NONE;
	return weir_events_check(batch->events, batch->length, batch->count, shard->event_max, shard->shard, shard->shards);
}

bool weir_publish_shared(struct weir_engine *engine, const struct weir_arrival *arrival, struct weir_heard *heard)
{
	const struct weir_frame_header *frame = arrival->frame;
	if (!is_usual(frame, arrival) || !session_of(engine, arrival, heard))
		return false;
	const struct weir_place *place = weir_place_find(&engine->places, frame->topic, frame->shard);
	struct weir_shard *shard = place ? place->shard : NULL;
	if (!shard || frame->stream >= shard->streams_max || !may_copy_first(shard, frame->body_length))
		return false;
	struct weir_stream *stream = &shard->streams[frame->stream];
	if (stream->session != frame->session || stream->next != frame->sequence || stream->next > WEIR_SEQUENCE_MAX ||
	    stream->parked_count || stream->is_assembling)
		return false;
	struct weir_batch batch = {
		.sequence = frame->sequence,
		.length = frame->body_length,
		.count = frame->count,
		.is_unchecked = true,
	};
	uint8_t *to = weir_log_reserve(&shard->log, batch.length);
	copy(to, arrival->shared, batch.length);
	batch.events = to;
	enum weir_reason reason = check(shard, &batch);
	if (reason == WEIR_R_NONE)
		weir_stream_commit(shard, stream, &batch, true, engine->now_ns);
	else
		weir_stream_refuse(shard, stream, batch.sequence, batch.count, reason);
	return true;
}
