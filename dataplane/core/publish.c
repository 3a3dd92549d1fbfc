// The usual publish: next in its stream, room in the log. A local producer's has a sum of its header alone and a body in memory
// that its client may still change, and comes in trains: one loop from the header to the log, for most of what a lane carries
// is this. Its events are copied to their place first, judged there, and only then part of the log. A port's was checked
// before. Engine's thread.
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
	if (!session || !weir_path_is_of_peer(arrival->path, session->peer))
		return NULL;
	weir_session_heard(session, arrival->path, engine->now_ns);
	return session;
}

// The frame's stream, if the frame is next in it.
static inline struct weir_stream *stream_of(const struct weir_place *place, const struct weir_frame_header *frame)
{
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

// Where the next run goes: what an append needs to know of the log, looked at once for many.
struct place {
	uint8_t *base;
	uint64_t mask;
	uint64_t head;
	uint64_t head_offset;
	uint64_t tail;
	uint64_t tail_offset;
	uint64_t room_to; // a run may end here
	bool is_far;      // not expected to be in the cache
};

static inline struct place place_begin(const struct weir_shard *shard)
{
	const struct weir_log *log = &shard->log;
	struct place place = {
		.base = log->base,
		.mask = log->mask,
		.head = log->head,
		.head_offset = log->head_offset,
		.tail = log->tail,
		.tail_offset = log->tail_offset,
		.room_to = shard->holders ? shard->hold + log->size : UINT64_MAX,
		.is_far = shard->engine->is_log_far,
	};
	// Only where nobody loses anything by it may the log be written before it is known that the events are good.
	if (!shard->is_lossless)
		place.room_to = 0;
	return place;
}

static inline struct weir_run_header *run_at(const struct place *place, uint64_t position)
{
	return (struct weir_run_header *)(void *)(place->base + (position & place->mask));
}

// The tail moves over what lies in the way of a run that ends at `end`.
static inline void tail_move(struct place *place, uint64_t end)
{
	while (end - place->tail > place->mask + 1) {
		const struct weir_run_header *oldest = run_at(place, place->tail);
		place->tail_offset += oldest->count;
		place->tail += weir_log_run_size(oldest->length);
	}
}

// The run's events are in their place.
static inline void run_write(struct place *place, const struct weir_run_header *run)
{
	struct weir_run_header *to = run_at(place, place->head);
	uint64_t size = weir_log_run_size(run->length);
	to->producer = run->producer;
	to->sequence = run->sequence;
	to->append_ns = run->append_ns;
	to->length = run->length;
	to->crc = run->crc;
	to->count = run->count;
	to->flags = run->flags;
	to->for_group = 0;
	place->head += size;
	place->head_offset += run->count;
	if (place->is_far)
		weir_log_fetch(place->base + (place->head & place->mask), size);
}

static inline void place_end(struct weir_log *log, const struct place *place, uint64_t append_ns)
{
	log->head = place->head;
	log->head_offset = place->head_offset;
	log->tail = place->tail;
	log->tail_offset = place->tail_offset;
	log->last_append_ns = append_ns;
}

static inline uint64_t append_time(const struct weir_log *log, uint64_t now_ns)
{
	return now_ns > log->last_append_ns ? now_ns : log->last_append_ns;
}

// The same way, session, stream, count and length as a frame before that was usual: what is left is its own, and its sum.
static inline bool is_alike(const struct weir_arrival *arrival, const struct weir_arrival *before)
{
	const struct weir_frame_header *frame = arrival->frame;
	uint64_t names[2][3]; // magic to count; session; stream and topic
	memcpy(names[0], frame, sizeof(names[0]));
	memcpy(names[1], before->frame, sizeof(names[1]));
	uint32_t rest[2]; // shard and length
	memcpy(&rest[0], &frame->shard, sizeof(rest[0]));
	memcpy(&rest[1], &((const struct weir_frame_header *)before->frame)->shard, sizeof(rest[1]));
	return arrival->path == before->path && arrival->size == before->size && names[0][0] == names[1][0] &&
	       names[0][1] == names[1][1] && names[0][2] == names[1][2] && rest[0] == rest[1] &&
	       weir_crc32c_small(0, frame, HEADER_SEALED_SIZE) == frame->crc;
}
_Static_assert(__builtin_offsetof(struct weir_frame_header, sequence) == 24, "what frames of a train share comes first");
_Static_assert(__builtin_offsetof(struct weir_frame_header, body_length) ==
		       __builtin_offsetof(struct weir_frame_header, shard) + 2, "a word of shard and length");

// Takes a train: the first frame, which is usual and the stream's next, and those like it that follow at once and in order.
// Returns how many; 0: nobody knows whether there is room.
static inline uint32_t train_take(struct weir_stream *stream, const struct weir_arrival *arrivals, uint32_t count,
				  uint64_t now_ns)
{
	struct weir_shard *shard = stream->shard;
	const struct weir_frame_header *first = arrivals[0].frame;
	struct place place = place_begin(shard);
	struct weir_run_header run = {
		.producer = stream->producer,
		.sequence = stream->next,
		.append_ns = append_time(&shard->log, now_ns),
		.length = first->body_length,
		.count = first->count,
		.flags = WEIR_RUN_UNCHECKED | WEIR_RUN_LOCAL,
	};
	enum weir_reason reason = WEIR_R_NONE;
	uint32_t taken = 0;
	while (taken < count) {
		const struct weir_arrival *arrival = &arrivals[taken];
		const struct weir_frame_header *frame = arrival->frame;
		if (taken && (!arrival->shared || frame->sequence != run.sequence || !is_alike(arrival, &arrivals[0])))
			break;
		uint64_t end = place.head + weir_log_run_size(run.length);
		if (end > place.room_to)
			break;
		tail_move(&place, end);
		uint8_t *events = (uint8_t *)(run_at(&place, place.head) + 1);
		copy(events, arrival->shared, run.length);
		reason = check(shard, events, run.length, run.count);
		if (reason != WEIR_R_NONE)
			break;
		run_write(&place, &run);
		run.sequence += run.count;
		taken++;
	}
	place_end(&shard->log, &place, run.append_ns);
	if (taken)
		weir_stream_advance(shard, stream, run.sequence, 0, now_ns);
	if (reason != WEIR_R_NONE) {
		weir_stream_refuse(shard, stream, run.sequence, run.count, reason);
		taken++;
	}
	return taken;
}

uint32_t weir_publish_shared(struct weir_engine *engine, const struct weir_arrival *arrivals, uint32_t count)
{
	struct weir_session *session = NULL;
	uint64_t now_ns = engine->now_ns;
	uint32_t taken = 0;
	while (taken < count) {
		const struct weir_arrival *arrival = &arrivals[taken];
		const struct weir_frame_header *frame = arrival->frame;
		if (!arrival->shared || !is_usual(frame, arrival))
			break;
		session = session_of(engine, arrival, arrival - (session != NULL), session);
		if (!session)
			break;
		struct weir_stream *stream =
			stream_of(weir_place_find(&engine->places, frame->topic, frame->shard), frame);
		uint32_t train = stream ? train_take(stream, arrival, count - taken, now_ns) : 0;
		if (train == 0)
			break;
		taken += train;
	}
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < taken; i++)
		bytes += arrivals[i].size;
	engine->row.handed_on += taken;
	engine->row.received_bytes += bytes;
	return taken;
}

// Judged where they come from: to read at once what was just written waits for the stores.
static inline bool append(struct weir_stream *stream, const struct weir_frame_header *frame, uint32_t body_crc, uint64_t now_ns)
{
	struct weir_shard *shard = stream->shard;
	bool is_unchecked = frame->flags & WEIR_FLAG_HEADER_ONLY;
	struct place place = place_begin(shard);
	const struct weir_run_header run = {
		.producer = stream->producer,
		.sequence = frame->sequence,
		.append_ns = append_time(&shard->log, now_ns),
		.length = frame->body_length,
		.crc = is_unchecked ? 0 : body_crc,
		.count = frame->count,
		.flags = is_unchecked ? WEIR_RUN_UNCHECKED : 0,
	};
	uint64_t end = place.head + weir_log_run_size(run.length);
	const uint8_t *events = (const uint8_t *)(frame + 1);
	if (end > place.room_to || check(shard, events, run.length, run.count) != WEIR_R_NONE)
		return false;
	tail_move(&place, end);
	memcpy(run_at(&place, place.head) + 1, events, run.length);
	run_write(&place, &run);
	place_end(&shard->log, &place, run.append_ns);
	weir_stream_advance(shard, stream, run.sequence + run.count, frame->flags, now_ns);
	return true;
}

bool weir_publish_next(struct weir_engine *engine, const struct weir_frame_header *frame, uint32_t body_crc,
		       const struct weir_place *found)
{
	const struct weir_place *place = weir_place_again(&engine->places, found, frame->topic, frame->shard);
	struct weir_stream *stream = frame->flags & WEIR_FLAG_FRAGMENT ? NULL : stream_of(place, frame);
	return stream && append(stream, frame, body_crc, engine->now_ns);
}
