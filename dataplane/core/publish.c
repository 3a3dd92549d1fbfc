// The usual publish: next in its stream, room in the log. A local producer's has a sum of its header alone and a body in memory
// that its client may still change: one function from the header to the log, for most of what a lane carries is this. A port's
// was checked before. Shared events are copied to their place first, judged there, and only then part of the log. Engine's.
#include <string.h>

#include "dataplane/core/stream.h"
#include "wire/key.h"

#define HEADER_SIZE ((uint32_t)sizeof(struct weir_frame_header))
#define HEADER_SEALED_SIZE __builtin_offsetof(struct weir_frame_header, crc)

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

// The sender's session, if this is its path. `heard` is that of the frame before.
static inline struct weir_session *session_of(struct weir_engine *engine, const struct weir_arrival *arrival,
					      const struct weir_arrival *before, struct weir_session *heard)
{
	const struct weir_frame_header *frame = arrival->frame;
	if (heard && before->path == arrival->path && heard->ref.id == frame->session)
		return heard;
	struct weir_session *session = weir_session_find(&engine->sessions, frame->session);
	if (!session || memcmp(&session->path, arrival->path, sizeof(session->path)) != 0)
		return NULL;
	session->heard_ns = engine->now_ns;
	return session;
}

// The frame's stream, if the frame is next in it.
static inline struct weir_stream *stream_of(struct weir_engine *engine, const struct weir_frame_header *frame)
{
	const struct weir_place *place = weir_place_find(&engine->places, frame->topic, frame->shard);
	struct weir_shard *shard = place ? place->shard : NULL;
	if (!shard || frame->stream >= shard->streams_max)
		return NULL;
	struct weir_stream *stream = &shard->streams[frame->stream];
	bool is_next = stream->session == frame->session && stream->next == frame->sequence &&
		       stream->next <= WEIR_SEQUENCE_MAX && !stream->parked_count && !stream->is_assembling;
	return is_next ? stream : NULL;
}

// A small event's bytes without a call, in two halves that may overlap: what is judged is what arrived.
static inline void copy(uint8_t *to, const uint8_t *from, uint32_t length)
{
	if (length - 64 > 64) {
		memcpy(to, from, length);
		return;
	}
	memcpy(to, from, 64);
	memcpy(to + length - 64, from + length - 64, 64);
}

static inline enum weir_reason check(const struct weir_shard *shard, const uint8_t *events, uint32_t length, uint32_t count)
{
	uint64_t header[2]; // length, type, flags, attribute_words; key
	memcpy(header, events, sizeof(header));
	uint32_t size = (uint32_t)header[0];
	// One plain event. The general way knows the others, and the name of what is wrong.
	if (count == 1 && header[0] >> 48 == 0 && weir_pad8(size) == length && size <= shard->event_max &&
	    size >= sizeof(header) && weir_shard_of(header[1], shard->shards) == shard->shard)
		return WEIR_R_NONE;
	return weir_events_check(events, length, count, shard->event_max, shard->shard, shard->shards);
}

// The tail moves over what the next `size` bytes overwrite.
static inline void tail_move(struct weir_log *log, uint64_t end)
{
	uint64_t tail = log->tail;
	uint64_t offset = log->tail_offset;
	do {
		const struct weir_run_header *oldest = weir_log_run(log, tail);
		offset += oldest->count;
		tail += weir_log_run_size(oldest->length);
	} while (end - tail > log->size);
	log->tail = tail;
	log->tail_offset = offset;
}

struct source {
	const void *events;
	uint32_t crc;
	uint16_t flags; // WEIR_RUN_*
	bool is_shared; // a client may change them while they are looked at
};

// The log may be written before it is known that the events are good: nobody loses anything by it. What weir_log_reserve()
// and weir_log_commit() do, with every word of the log looked at once. false: nobody knows whether there is room.
static inline bool append(struct weir_stream *stream, const struct weir_frame_header *frame, const struct source *source,
			  uint64_t now_ns)
{
	struct weir_shard *shard = stream->shard;
	struct weir_log *log = &shard->log;
	uint32_t length = frame->body_length;
	uint32_t count = frame->count;
	uint64_t head = log->head;
	uint64_t end = head + weir_log_run_size(length);
	uint64_t hold = shard->holders ? shard->hold : head;
	if (!shard->is_lossless || end - hold > log->size)
		return false;
	// Judged where they come from if that may be: to read at once what was just written waits for the stores.
	if (!source->is_shared && check(shard, source->events, length, count) != WEIR_R_NONE)
		return false;
	if (end - log->tail > log->size)
		tail_move(log, end);
	struct weir_run_header *run = weir_log_run(log, head);
	uint8_t *events = (uint8_t *)(run + 1);
	if (source->is_shared)
		copy(events, source->events, length);
	else
		memcpy(events, source->events, length);
	enum weir_reason reason = source->is_shared ? check(shard, events, length, count) : WEIR_R_NONE;
	if (__builtin_expect(reason != WEIR_R_NONE, 0)) {
		weir_stream_refuse(shard, stream, frame->sequence, count, reason);
		return true;
	}
	uint64_t append_ns = now_ns > log->last_append_ns ? now_ns : log->last_append_ns;
	run->producer = stream->producer;
	run->sequence = frame->sequence;
	run->append_ns = append_ns;
	run->length = length;
	run->crc = source->crc;
	run->count = (uint16_t)count;
	run->flags = source->flags;
	run->reserved = 0;
	log->last_append_ns = append_ns;
	log->head = end;
	log->head_offset += count;
	weir_log_fetch(log->base + (end & log->mask), end - head);
	weir_stream_advance(shard, stream, frame->sequence + count, now_ns);
	return true;
}

uint32_t weir_publish_shared(struct weir_engine *engine, const struct weir_arrival *arrivals, uint32_t count)
{
	struct weir_session *session = NULL;
	uint64_t now_ns = engine->now_ns;
	uint64_t bytes = 0;
	uint32_t taken = 0;
	for (; taken < count; taken++) {
		const struct weir_arrival *arrival = &arrivals[taken];
		const struct weir_frame_header *frame = arrival->frame;
		if (!arrival->shared || !is_usual(frame, arrival))
			break;
		session = session_of(engine, arrival, arrival - (session != NULL), session);
		struct weir_stream *stream = session ? stream_of(engine, frame) : NULL;
		const struct source source = {
			.events = arrival->shared, .flags = WEIR_RUN_UNCHECKED | WEIR_RUN_LOCAL, .is_shared = true,
		};
		if (!stream || !append(stream, frame, &source, now_ns))
			break;
		bytes += arrival->size;
	}
	engine->row.handed_on += taken;
	engine->row.received_bytes += bytes;
	return taken;
}

bool weir_publish_next(struct weir_engine *engine, const struct weir_ingress *ingress)
{
	const struct weir_frame_header *frame = ingress->frame;
	if (frame->flags & WEIR_FLAG_FRAGMENT || ingress->shared || ingress->session->lane)
		return false;
	struct source source = { .events = frame + 1, .crc = ingress->body_crc };
	if (frame->flags & WEIR_FLAG_HEADER_ONLY)
		source = (struct source){ .events = frame + 1, .flags = WEIR_RUN_UNCHECKED };
	struct weir_stream *stream = stream_of(engine, frame);
	return stream && append(stream, frame, &source, engine->now_ns);
}
