// Publishing: an append into the frame under construction of the key's shard. Called by the application's thread through
// weir.c; everything else that concerns a producer happens once a frame, in producer.c and stream.c.
#include "client/stream.h"
#include "wire/prefetch.h"

#include <errno.h>
#include <string.h>

#define EVENT_HEADER ((uint32_t)sizeof(struct weir_event_header))
#define FRAME_HEADER ((uint32_t)sizeof(struct weir_frame_header))
#define FETCH_AHEAD 1024u // bytes of a frame asked for before they are written
#define PIECE 16u       // bytes copied at once
#define PIECES_MAX 512u // above, memcpy() is faster

static inline void event_header_fill(struct weir_event_header *header, const struct weir_event *event, uint64_t key)
{
	header->length = EVENT_HEADER + event->attributes_size + event->payload_size;
	header->type = event->type;
	header->flags = 0;
	header->attribute_words = (uint8_t)(event->attributes_size / 8);
	header->key = key;
}

static int frame_begin(struct stream *stream)
{
	struct weir_producer *producer = stream->producer;
	struct weir_core *core = producer->core;
	if (stream->tail - stream->head >= stream->capacity)
		return -EAGAIN;
	uint8_t *frame = producer_frame_get(producer);
	if (!frame)
		return -EAGAIN;
	struct slot *slot = stream_slot(stream, stream->tail);
	*slot = (struct slot){ .frame = frame, .first = stream->next, .state = SLOT_QUEUED };
	if (core->local) {
		// Frames that are filled before the stream is open are filled again when they are sent.
		slot->sealed_for = stream->state == STREAM_OPEN ? stream->seal : 0;
		// The router's core has read these lines, and to write them again takes a word from it.
		for (uint32_t at = 0; at < FETCH_AHEAD; at += 64)
			weir_prefetch_write(frame + at);
		stream->train = (void *)frame;
	}
	stream->write = slot_body(slot);
	stream->room = producer->body_max;
	stream->started_ns = core->now_ns;
	stream_activate(stream);
	if (producer->linger_ns != NEVER)
		core_due(core, core->now_ns + producer->linger_ns);
	return 0;
}

// The bytes [at, at + size) of header, attributes, payload and padding laid end to end.
static void image_copy(uint8_t *to, uint32_t at, uint32_t size, const struct weir_event_header *header,
		       const struct weir_event *event)
{
	const struct {
		const void *bytes;
		uint32_t size;
	} parts[] = {
		{ header, EVENT_HEADER },
		{ event->attributes, event->attributes_size },
		{ event->payload, event->payload_size },
	};
	for (uint32_t i = 0; i < 3 && size; i++) {
		if (at >= parts[i].size) {
			at -= parts[i].size;
			continue;
		}
		uint32_t piece = parts[i].size - at < size ? parts[i].size - at : size;
		memcpy(to, (const uint8_t *)parts[i].bytes + at, piece);
		to += piece;
		size -= piece;
		at = 0;
	}
	memset(to, 0, size);
}

static __attribute__((noinline)) int publish_large(struct stream *stream, const struct weir_event *event, uint64_t key)
{
	struct weir_producer *producer = stream->producer;
	struct weir_event_header header;
	event_header_fill(&header, event, key);
	uint32_t whole = weir_pad8(header.length);
	uint32_t pieces = producer_fragments(producer, whole);
	stream_frame_close(stream); // order
	if (stream->capacity - (stream->tail - stream->head) < pieces)
		return -EAGAIN;
	for (uint32_t i = 0; i < pieces; i++) {
		uint8_t *frame = producer_frame_get(producer);
		if (!frame) {
			// The pool of a topic with very many shards is empty: take the pieces back, wholly or not at all.
			while (i--)
				producer_frame_put(producer, stream_slot(stream, stream->tail + i)->frame);
			return -EAGAIN;
		}
		stream_slot(stream, stream->tail + i)->frame = frame;
	}
	uint32_t chunk = producer_chunk_max(producer);
	for (uint32_t i = 0, at = 0; i < pieces; i++, at += chunk) {
		struct slot *slot = stream_slot(stream, stream->tail);
		uint32_t size = whole - at < chunk ? whole - at : chunk;
		*slot = (struct slot){
			.frame = slot->frame,
			.first = stream->next,
			.count = i + 1 == pieces,
			.body_length = (uint16_t)(sizeof(struct weir_fragment) + size),
			.state = SLOT_QUEUED,
			.is_fragment = true,
		};
		uint8_t *body = slot_body(slot);
		*(struct weir_fragment *)(void *)body = (struct weir_fragment){ .total = header.length, .offset = at };
		image_copy(body + sizeof(struct weir_fragment), at, size, &header, event);
		slot->body_crc = body_crc(producer->core, body, slot->body_length);
		stream->tail++;
		producer->core->backlog++;
	}
	stream->next++;
	producer->counts.published++;
	stream_activate(stream);
	core_due(producer->core, producer->core->now_ns);
	return 0;
}

static int publish_refused(const struct weir_producer *producer)
{
	if (producer->is_closing)
		return -EPROTO;
	return producer->state == PRODUCER_NO_TOPIC ? -ENOENT : -ENOTCONN;
}

// The next frame of the train begins behind the last one.
static inline void train_next(struct stream *stream)
{
	stream->train = (void *)stream->write;
	stream->write += FRAME_HEADER;
	stream->room -= FRAME_HEADER;
}

static __attribute__((noinline)) int train_ended(struct stream *stream)
{
	if (stream->train_events >= stream->producer->frame_events)
		train_frame_end(stream);
	if (stream->room < FRAME_HEADER + EVENT_HEADER)
		stream_frame_close(stream);
	return 0;
}

static __attribute__((noinline)) int frame_ended(struct stream *stream)
{
	stream_frame_close(stream);
	return 0;
}

// An event was put into the frame under construction, or into the train's. 0.
static inline int published(struct stream *stream, uint32_t size)
{
	struct weir_producer *producer = stream->producer;
	stream->write += size;
	stream->room -= size;
	stream->events++;
	producer->counts.published++;
	producer->keyless++;
	if (stream->train) {
		stream->train_events++;
		bool is_ended = stream->train_events >= producer->frame_events || stream->room < FRAME_HEADER + EVENT_HEADER;
		return is_ended ? train_ended(stream) : 0;
	}
	return stream->room < EVENT_HEADER || stream->events >= producer->frame_events ? frame_ended(stream) : 0;
}

// Any event, anywhere.
static __attribute__((noinline)) int publish_any(struct weir_producer *producer, const struct weir_event *event)
{
	if (producer->state != PRODUCER_READY || producer->is_closing)
		return publish_refused(producer);
	if (event->attributes_size % 8 || event->attributes_size > UINT8_MAX * 8)
		return -EINVAL;
	uint64_t length = (uint64_t)EVENT_HEADER + event->attributes_size + event->payload_size;
	if (length > producer->event_max)
		return -EMSGSIZE;
	uint64_t key = event->flags & WEIR_EVENT_KEYLESS ? producer->keyless : event->key;
	struct stream *stream = &producer->streams[weir_shard_of(key, producer->shards)];
	if (stream->state == STREAM_DEAD)
		return -EPROTO;
	uint32_t size = weir_pad8((uint32_t)length);
	if (stream->write && !stream->train && producer->core->local && size + FRAME_HEADER <= stream->room)
		train_next(stream);
	if (size > stream->room || (!stream->train && producer->core->local)) {
		int error = 0;
		if (size > producer->body_max) {
			error = publish_large(stream, event, key);
			producer->keyless += !error;
			return error;
		}
		stream_frame_close(stream);
		error = frame_begin(stream);
		if (error)
			return error;
	}
	uint8_t *at = stream->write;
	event_header_fill((struct weir_event_header *)(void *)at, event, key);
	// The padding first: whole words below, so that the last one is zero where nothing is written over it.
	if (size > EVENT_HEADER)
		memset(at + size - 8, 0, 8);
	if (event->attributes_size)
		memcpy(at + EVENT_HEADER, event->attributes, event->attributes_size);
	if (event->payload_size)
		memcpy(at + EVENT_HEADER + event->attributes_size, event->payload, event->payload_size);
	return published(stream, size);
}

// Whole cache lines, then whole pieces, the last one over the end of the one before; size is at least a piece.
static inline void pieces_copy(uint8_t *to, const uint8_t *from, uint32_t size)
{
	uint32_t at = 0;
	for (; at + 64 <= size; at += 64)
		memcpy(to + at, from + at, 64);
	if (at == size)
		return;
	for (; at + PIECE < size; at += PIECE)
		memcpy(to + at, from + at, PIECE);
	memcpy(to + size - PIECE, from + size - PIECE, PIECE);
}

// An event without attributes where the stream's next one goes; `size` is what it takes there.
static inline void plain_put(const struct stream *stream, const struct weir_event *event, uint32_t size)
{
	uint8_t *at = stream->write;
	struct weir_event_header *header = (void *)at;
	weir_prefetch_write(at + FETCH_AHEAD);
	weir_prefetch_write(at + FETCH_AHEAD + 64);
	header->length = EVENT_HEADER + event->payload_size;
	header->type = event->type;
	header->flags = header->attribute_words = 0;
	header->key = event->key;
	memset(at + size - 8, 0, 8);
	pieces_copy(at + EVENT_HEADER, event->payload, event->payload_size);
}

// The usual event, which is small, has a key and no attributes, and goes into the frame under construction, takes no call:
// 158 -> 112 instructions with weir_publish(), for 64 bytes of payload.
int weir_core_publish(struct weir_producer *producer, const struct weir_event *event)
{
	uint32_t payload = event->payload_size;
	bool is_usual = payload >= PIECE && payload <= PIECES_MAX && !(event->flags | event->attributes_size);
	if (!is_usual || producer->state != PRODUCER_READY || producer->is_closing ||
	    payload + EVENT_HEADER > producer->event_max)
		return publish_any(producer, event);
	struct stream *stream = &producer->streams[weir_shard_of(event->key, producer->shards)];
	uint32_t size = weir_pad8(EVENT_HEADER + payload);
	// A dead stream has no frame under construction, and no room; through a lane each frame begins in a train.
	if (size > stream->room || (producer->core->local && !stream->train))
		return publish_any(producer, event);
	plain_put(stream, event, size);
	return published(stream, size);
}

// What most events are: small, without attributes, with room in the frame of their shard. Returns how many were put away from
// the front; the next one is none of those.
static inline int publish_plain(struct weir_producer *producer, const struct weir_event *events, int count)
{
	struct stream *streams = producer->streams;
	uint32_t shards = producer->shards;
	uint32_t frame_events = producer->frame_events;
	uint32_t payload_max = (uint32_t)min_u64(producer->event_max - EVENT_HEADER, PIECES_MAX);
	int i = 0;
	for (; i < count; i++) {
		const struct weir_event *event = &events[i];
		uint32_t payload = event->payload_size;
		struct stream *stream = &streams[weir_shard_of(event->key, shards)];
		uint32_t size = weir_pad8(EVENT_HEADER + payload);
		uint32_t need = stream->train ? size : size + FRAME_HEADER;
		if ((event->attributes_size | event->flags) || payload < PIECE || payload > payload_max || need > stream->room)
			break;
		if (!stream->train)
			train_next(stream);
		plain_put(stream, event, size);
		stream->write += size;
		stream->room -= size;
		stream->events++;
		if (++stream->train_events >= frame_events)
			train_frame_end(stream);
		if (stream->room < FRAME_HEADER + EVENT_HEADER)
			stream_frame_close(stream);
	}
	producer->counts.published += (uint64_t)i;
	producer->keyless += (uint64_t)i;
	return i;
}

int weir_core_publish_many(struct weir_producer *producer, const struct weir_event *events, int count)
{
	bool is_plain = producer->state == PRODUCER_READY && !producer->is_closing && producer->train_header;
	int done = 0;
	while (done < count) {
		if (is_plain)
			done += publish_plain(producer, events + done, count - done);
		int error = done < count ? publish_any(producer, &events[done]) : 0;
		if (error)
			return done ? done : error;
		done += done < count;
	}
	return done;
}
