// A producer: finds its topic, keeps its streams open, has frames for their events, keeps the counts. What happens once an
// event is in publish.c, what happens once a frame is here and in stream.c.
#include "client/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINGER_DEFAULT_US 100u
#define QUEUE_DEFAULT (1u << 20)
#define POOL_MAX (256u << 20) // bytes of frames of one producer, whatever its shards: beyond that publish says -EAGAIN
#define SLOTS_LEAST 4u
#define OPENING_MAX 64u // streams being opened at a time
#define SEND_BURST 16u  // frames a stream sends before it is the next one's turn
#define NO_MEMORY_NS (100 * MS) // until what waits is cut anew once more
#define EVENT_HEADER ((uint32_t)sizeof(struct weir_event_header))

// ---- Frame buffers ----

uint8_t *producer_frame_get(struct weir_producer *producer)
{
	uint8_t *frame = producer->pool_free;
	if (frame) {
		memcpy(&producer->pool_free, frame, sizeof(producer->pool_free));
		return frame;
	}
	if (producer->pool_used == producer->pool_count)
		return NULL;
	return producer->pool + (size_t)producer->slot_size * producer->pool_used++;
}

void producer_frame_put(struct weir_producer *producer, uint8_t *frame)
{
	memcpy(frame, &producer->pool_free, sizeof(producer->pool_free));
	producer->pool_free = frame;
}

// ---- Open ----

int weir_core_producer_open(struct weir_core *core, const char *topic, const struct weir_producer_options *options,
			    struct weir_producer **producer)
{
	char name[WEIR_NAME_SIZE];
	if (strlen(topic) >= WEIR_NAME_SIZE)
		return -ENAMETOOLONG;
	if (!name_copy(name, topic))
		return -EINVAL;
	if (options && (options->level < WEIR_LEVEL_DEFAULT || options->level > WEIR_LEVEL_ROUTED))
		return -EINVAL;
	for (struct weir_producer *other = core->producers; other; other = other->next) {
		if (memcmp(other->name, name, sizeof(name)) == 0)
			return -EEXIST;
	}
	struct weir_producer *made = calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	uint32_t linger_us = options && options->linger_us ? options->linger_us : LINGER_DEFAULT_US;
	made->core = core;
	made->level = options ? options->level : WEIR_LEVEL_DEFAULT;
	made->linger_ns = linger_us == UINT32_MAX ? NEVER : linger_us * US;
	made->frame_events = options && options->frame_events ? options->frame_events : WEIR_COUNT_MAX;
	if (made->frame_events > WEIR_COUNT_MAX)
		made->frame_events = WEIR_COUNT_MAX;
	made->queue_bytes = options && options->queue_bytes ? options->queue_bytes : QUEUE_DEFAULT;
	made->keyless = core_random(core);
	made->train_header = core->local ? sizeof(struct weir_frame_header) : 0;
	memcpy(made->name, name, sizeof(name));
	made->next = core->producers;
	core->producers = made;
	request_start(core, &made->request, core->now_ns);
	*producer = made;
	return 0;
}

struct weir_core *weir_producer_core(const struct weir_producer *producer)
{
	return producer->core;
}

static void streams_free(struct weir_producer *producer)
{
	producer_queues_free(producer);
	free(producer->streams);
	producer->streams = NULL;
	producer->shards = 0;
	producer->done_count = 0;
}

static void producer_free(struct weir_producer *producer)
{
	struct weir_core *core = producer->core;
	struct weir_producer **link = &core->producers;
	while (*link != producer)
		link = &(*link)->next;
	*link = producer->next;
	streams_free(producer);
	free(producer);
}

void producers_free(struct weir_core *core)
{
	while (core->producers)
		producer_free(core->producers);
}

uint32_t producer_chunk_max(const struct weir_producer *producer)
{
	return (producer->body_max - (uint32_t)sizeof(struct weir_fragment)) & ~7u;
}

uint32_t producer_fragments(const struct weir_producer *producer, uint32_t size)
{
	uint32_t chunk = producer_chunk_max(producer);
	return (size + chunk - 1) / chunk;
}

// Frames where the router can read them, fewer than wanted if need be; else in ordinary memory.
static uint8_t *pool_get(struct weir_producer *producer, uint64_t *count, uint32_t least)
{
	const struct weir_core_local *local = producer->core->local;
	uint64_t wanted = *count;
	producer->is_pool_shared = false;
	while (local && wanted >= least && !producer->is_pool_shared) {
		uint8_t *pool = local->frames_get(local->context, wanted * producer->slot_size);
		if (pool) {
			producer->is_pool_shared = true;
			*count = wanted;
			return pool;
		}
		wanted -= wanted / 4 + 1;
	}
	return aligned_alloc(64, *count * producer->slot_size);
}

// Memory is reserved here and touched as it is used.
int producer_queues_build(struct weir_producer *producer, uint32_t slots_least, uint64_t pool_least)
{
	producer->body_max = core_body_max(producer->core);
	producer->slot_size = ((uint32_t)sizeof(struct weir_frame_header) + producer->body_max + 63) & ~63u;
	uint32_t capacity = producer->queue_bytes / producer->slot_size;
	uint32_t large = producer_fragments(producer, weir_pad8(producer->event_max)) + 1;
	capacity = (uint32_t)max_u64(capacity, max_u64(SLOTS_LEAST, max_u64(large, slots_least)));
	uint32_t ring = 1;
	while (ring < capacity)
		ring *= 2;
	uint64_t pool = min_u64((uint64_t)capacity * producer->shards, max_u64(POOL_MAX / producer->slot_size, capacity));
	pool = max_u64(pool, pool_least);
	producer->slots = calloc((size_t)producer->shards * ring, sizeof(*producer->slots));
	producer->pool = pool_get(producer, &pool, capacity);
	producer->pool_free = NULL;
	producer->pool_used = 0;
	producer->pool_count = (uint32_t)pool;
	producer->mask = ring - 1;
	producer->capacity = capacity;
	if (producer->slots && producer->pool)
		return 0;
	producer_queues_free(producer);
	return -ENOMEM;
}

void producer_queues_free(struct weir_producer *producer)
{
	const struct weir_core_local *local = producer->core->local;
	free(producer->slots);
	if (producer->is_pool_shared)
		local->frames_put(local->context, producer->pool, (size_t)producer->pool_count * producer->slot_size);
	else
		free(producer->pool);
	producer->is_pool_shared = false;
	producer->slots = NULL;
	producer->pool = producer->pool_free = NULL;
	producer->pool_used = producer->pool_count = 0;
}

// The part of the producer's slots that is the stream's.
void producer_queue_give(const struct weir_producer *producer, struct stream *stream)
{
	stream->slots = producer->slots + (size_t)stream->shard * (producer->mask + 1);
	stream->mask = producer->mask;
	stream->capacity = producer->capacity;
}

static int streams_build(struct weir_producer *producer, uint32_t shards)
{
	producer->shards = shards;
	producer->streams = calloc(shards, sizeof(*producer->streams));
	if (!producer->streams || producer_queues_build(producer, 0, 0)) {
		streams_free(producer);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < shards; i++) {
		struct stream *stream = &producer->streams[i];
		*stream = (struct stream){
			.producer = producer,
			.shard = (uint16_t)i,
			.timer_ns = NEVER,
			.hold_from = UINT64_MAX,
			.probe_ns = NEVER,
			.probe_wait_ns = PROBE_FIRST_NS,
		};
		producer_queue_give(producer, stream);
	}
	return 0;
}

// ---- Topic ----

static struct weir_producer *producer_of_request(struct weir_core *core, uint64_t request)
{
	for (struct weir_producer *producer = core->producers; producer; producer = producer->next) {
		if (producer->request.id == request && producer->state != PRODUCER_READY)
			return producer;
	}
	return NULL;
}

static struct weir_producer *producer_of_topic(struct weir_core *core, uint32_t topic)
{
	for (struct weir_producer *producer = core->producers; producer; producer = producer->next) {
		if (producer->topic == topic && producer->streams && producer->state == PRODUCER_READY)
			return producer;
	}
	return NULL;
}

// The queues no longer fit: other shard count, or no memory for smaller frames. What waits is told as unknown.
static void streams_drop(struct weir_producer *producer)
{
	for (uint32_t i = 0; i < producer->shards; i++) {
		struct stream *stream = &producer->streams[i];
		uint16_t last_refusal = producer->counts.last_refusal;
		uint64_t refused = producer->counts.refused;
		stream_dead(stream, WEIR_R_NONE);
		producer->counts.unknown += producer->counts.refused - refused;
		producer->counts.refused = refused;
		producer->counts.last_refusal = last_refusal;
	}
	streams_free(producer);
}

void producers_topic(struct weir_core *core, const struct weir_frame_header *frame)
{
	const struct weir_topic_info *info = (const void *)(frame + 1);
	struct weir_producer *producer = producer_of_request(core, info->request);
	if (!producer || memcmp(info->name, producer->name, sizeof(info->name)) != 0)
		return;
	if (info->shards == 0 || info->shards > WEIR_SHARDS_MAX || info->event_max < EVENT_HEADER ||
	    info->event_max > WEIR_EVENT_LIMIT)
		return;
	producer->topic = info->topic;
	producer->event_max = info->event_max;
	bool is_too_large = producer->streams && core_body_max(core) < producer->body_max;
	if (producer->streams && (producer->shards != info->shards || (is_too_large && producer_repack(producer))))
		streams_drop(producer);
	if (!producer->streams && streams_build(producer, info->shards))
		return; // no memory now: asked again at the request timer
	// The limit may have been raised since the queues were built; they bound what can be sent whole.
	uint64_t carried = (uint64_t)(producer->capacity - 1) * producer_chunk_max(producer);
	producer->event_max = (uint32_t)min_u64(producer->event_max, carried);
	producer->state = PRODUCER_READY;
	producer->request.due_ns = NEVER;
	producer->open_from = 0;
	uint8_t level = (uint8_t)producer->level;
	if (producer->level == WEIR_LEVEL_DEFAULT)
		level = info->ack_min > WEIR_ACK_ROUTED ? info->ack_min : WEIR_ACK_ROUTED;
	for (uint32_t i = 0; i < producer->shards; i++) {
		if (!producer->streams[i].was_open)
			producer->streams[i].level = level;
	}
	core->is_urgent = true;
	core_due(core, core->now_ns);
}

void producers_error(struct weir_core *core, const struct weir_error *error)
{
	struct weir_producer *producer = producer_of_request(core, error->request);
	if (!producer)
		return;
	producer->state = PRODUCER_NO_TOPIC;
	if (producer->streams) {
		producer->counts.last_refusal = error->reason;
		producer_topic_gone(producer);
	}
}

void producer_topic_gone(struct weir_producer *producer)
{
	uint16_t reason = producer->counts.last_refusal ? producer->counts.last_refusal : WEIR_R_NO_TOPIC;
	for (uint32_t i = 0; i < producer->shards; i++)
		stream_dead(&producer->streams[i], reason);
	streams_free(producer);
	producer->state = PRODUCER_NO_TOPIC;
	request_start(producer->core, &producer->request, producer->core->now_ns);
}

void producer_stream_done(struct weir_producer *producer)
{
	producer->done_count++;
}

void producers_session_new(struct weir_core *core, uint64_t now_ns)
{
	for (struct weir_producer *producer = core->producers; producer; producer = producer->next) {
		producer->state = PRODUCER_ASKING;
		request_start(core, &producer->request, now_ns);
	}
}

void producers_session_lost(struct weir_core *core)
{
	for (struct weir_producer *producer = core->producers; producer; producer = producer->next) {
		// What the router that ended said of its topics is not what the next one says.
		if (producer->state == PRODUCER_NO_TOPIC)
			producer->state = PRODUCER_ASKING;
		for (uint32_t i = 0; i < producer->shards; i++)
			stream_session_lost(&producer->streams[i]);
	}
}

int weir_core_producer_state(const struct weir_producer *producer)
{
	if (producer->state == PRODUCER_NO_TOPIC)
		return -ENOENT;
	if (producer->state != PRODUCER_READY)
		return -EAGAIN;
	if (producer->done_count)
		return -EPROTO;
	return producer->open_count == producer->shards ? 0 : -EAGAIN;
}

unsigned weir_producer_refusal(const struct weir_producer *producer)
{
	return producer->open_refusal ? producer->open_refusal : producer->counts.last_refusal;
}

uint32_t weir_producer_shards(const struct weir_producer *producer)
{
	return producer->shards;
}

// ---- Flush ----

void weir_core_flush(struct weir_producer *producer)
{
	for (uint32_t i = 0; i < producer->shards; i++) {
		if (producer->streams[i].write)
			producer->streams[i].is_flushing = true;
		producer->streams[i].is_asking = true;
	}
	core_due(producer->core, producer->core->now_ns);
}

void weir_producer_counts(const struct weir_producer *producer, struct weir_producer_counts *counts)
{
	*counts = producer->counts;
	counts->waiting = counts->published - counts->routed - counts->refused - counts->unknown;
}

int weir_core_flush_state(struct weir_producer *producer)
{
	struct weir_producer_counts counts;
	weir_producer_counts(producer, &counts);
	if (counts.waiting)
		return -EAGAIN;
	bool is_refused = counts.refused > producer->flush_refused;
	producer->flush_refused = counts.refused;
	return is_refused ? -EPROTO : 0;
}

void weir_core_producer_close(struct weir_producer *producer)
{
	if (producer->is_closing)
		return;
	producer->is_closing = true;
	for (uint32_t i = 0; i < producer->shards; i++) {
		struct stream *stream = &producer->streams[i];
		if (stream->state != STREAM_CLOSED && stream->state != STREAM_DEAD)
			stream_give_up(stream);
	}
	core_due(producer->core, producer->core->now_ns);
}

void producers_close(struct weir_core *core)
{
	for (struct weir_producer *producer = core->producers; producer; producer = producer->next)
		weir_core_producer_close(producer);
	// Nothing was ever confirmed to a client without a session: there is nobody to close with.
	if (core->session.state == SESSION_HELLO)
		producers_free(core);
}

// ---- Router's answers about streams ----

static struct stream *stream_of(struct weir_core *core, uint32_t topic, uint16_t shard)
{
	struct weir_producer *producer = producer_of_topic(core, topic);
	return producer && shard < producer->shards ? &producer->streams[shard] : NULL;
}

void producers_opened(struct weir_core *core, const struct weir_frame_header *frame)
{
	struct stream *stream = stream_of(core, frame->topic, frame->shard);
	if (stream)
		stream_opened(stream, frame, core->now_ns);
}

void producers_closed(struct weir_core *core, const struct weir_frame_header *frame)
{
	struct stream *stream = stream_of(core, frame->topic, frame->shard);
	if (stream)
		stream_closed(stream, ((const struct weir_close *)(const void *)(frame + 1))->request);
	core_due(core, core->now_ns);
}

void producers_ack(struct weir_core *core, const struct weir_frame_header *frame)
{
	const struct weir_ack_entry *entry = (const void *)(frame + 1);
	for (uint32_t i = 0; i < frame->count; i++, entry++) {
		struct stream *stream = stream_of(core, entry->topic, entry->shard);
		if (stream)
			stream_ack(stream, entry, core->now_ns);
	}
}

void producers_refuse(struct weir_core *core, const struct weir_frame_header *frame)
{
	const struct weir_refuse_entry *entry = (const void *)(frame + 1);
	for (uint32_t i = 0; i < frame->count; i++, entry++) {
		struct stream *stream = stream_of(core, entry->topic, entry->shard);
		if (stream)
			stream_refuse(stream, entry, core->now_ns);
	}
}

// ---- Poll ----

static void metadata_send(struct weir_producer *producer)
{
	struct weir_core *core = producer->core;
	struct weir_frame_header *frame = core_frame(core, WEIR_KIND_METADATA, sizeof(struct weir_metadata_ask));
	if (!frame)
		return;
	struct weir_metadata_ask *ask = (struct weir_metadata_ask *)(frame + 1);
	ask->request = producer->request.id;
	memcpy(ask->topic, producer->name, sizeof(ask->topic));
	core_frame_send(core, frame, sizeof(*ask));
}

static void open_some(struct weir_producer *producer, uint64_t now_ns)
{
	while (producer->open_from < producer->shards && producer->opening_count < OPENING_MAX) {
		struct stream *stream = &producer->streams[producer->open_from++];
		bool has_waiting = stream->head < stream->tail || stream->write;
		if (stream->state != STREAM_NONE)
			continue;
		if (producer->is_closing && !has_waiting)
			stream_dead(stream, producer->counts.last_refusal); // nothing to ask the router any more
		else
			stream_open(stream, now_ns);
	}
}

static void producer_poll(struct weir_producer *producer, uint64_t now_ns)
{
	if (producer->state == PRODUCER_READY) {
		open_some(producer, now_ns);
		for (uint32_t i = 0; producer->is_closing && i < producer->shards; i++) {
			if (producer->streams[i].state == STREAM_OPEN)
				stream_activate(&producer->streams[i]);
		}
	} else if (request_is_due(producer->core, &producer->request, now_ns)) {
		metadata_send(producer);
	}
}

static bool is_finished(const struct weir_producer *producer)
{
	if (!producer->is_closing)
		return false;
	return producer->streams ? producer->done_count == producer->shards : true;
}

static void streams_send(struct weir_core *core, uint64_t now_ns)
{
	uint32_t sent = 1;
	while (sent && !core->is_blocked) {
		sent = 0;
		for (struct stream *stream = core->active; stream; stream = stream->active_next)
			sent += stream_send(stream, SEND_BURST, now_ns);
	}
	// Another one is first next time.
	struct stream *first = core->active;
	if (first && first->active_next) {
		core->active = first->active_next;
		core->active->active_before = NULL;
		first->active_next = NULL;
		first->active_before = core->active_tail;
		core->active_tail->active_next = first;
		core->active_tail = first;
	}
}

// The path carries larger or smaller frames than before.
static void producer_resize(struct weir_producer *producer, uint64_t now_ns)
{
	struct weir_core *core = producer->core;
	if (core->local || !producer->streams || producer->body_max == core_body_max(core))
		return;
	core_batch_flush(core);
	if (producer_repack(producer)) {
		core_due(core, now_ns + NO_MEMORY_NS);
		return;
	}
	for (uint32_t i = 0; i < producer->shards; i++)
		stream_repacked(&producer->streams[i], now_ns);
}

void producers_poll(struct weir_core *core, uint64_t now_ns)
{
	for (struct weir_producer *producer = core->producers, *next = NULL; producer; producer = next) {
		next = producer->next;
		producer_poll(producer, now_ns);
	}
	for (struct stream *stream = core->active, *next = NULL; stream; stream = next) {
		next = stream->active_next;
		stream_poll(stream, now_ns);
	}
	for (struct weir_producer *producer = core->producers; producer; producer = producer->next)
		producer_resize(producer, now_ns);
	streams_send(core, now_ns);
	for (struct weir_producer *producer = core->producers, *next = NULL; producer; producer = next) {
		next = producer->next;
		if (is_finished(producer)) {
			// Frames in the batch lie in its pool.
			core_batch_flush(core);
			producer_free(producer);
			core_due(core, now_ns);
		}
	}
}
