// What a producer holds, cut anew when frames become smaller: a new session agreed on less than the one before, or the path
// turned out to carry less. What fits stays as it is, on its way too. Rare, and the only place where a producer's queues are
// built a second time. Called by producer.c.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/stream.h"

// Takes frames for one stream.
struct packer {
	struct stream *stream; // its slots are the new ones
	struct weir_producer *producer; // with the new pool
};

static struct slot *slot_add(struct packer *packer, const struct slot *like, uint64_t first, uint32_t count)
{
	struct stream *stream = packer->stream;
	struct slot *slot = stream_slot(stream, stream->tail++);
	*slot = (struct slot){
		.frame = producer_frame_get(packer->producer),
		.first = first,
		.count = count,
		.reason = like->reason,
		.state = SLOT_QUEUED,
		.sends = like->sends,
		.is_awaited = like->is_awaited,
	};
	return slot;
}

static void events_add(struct packer *packer, const struct slot *like, uint64_t first, uint32_t count, const uint8_t *bytes,
		       uint32_t size)
{
	if (count == 0)
		return;
	struct slot *slot = slot_add(packer, like, first, count);
	memcpy(slot_body(slot), bytes, size);
	slot->body_length = (uint16_t)size;
	slot->body_crc = body_crc(packer->producer->core, slot_body(slot), size);
}

static void large_add(struct packer *packer, const struct slot *like, uint64_t first, const uint8_t *image)
{
	uint32_t total = ((const struct weir_event_header *)(const void *)image)->length;
	uint32_t whole = weir_pad8(total);
	uint32_t chunk = producer_chunk_max(packer->producer);
	for (uint32_t at = 0; at < whole; at += chunk) {
		uint32_t size = whole - at < chunk ? whole - at : chunk;
		struct slot *slot = slot_add(packer, like, first, at + size == whole);
		struct weir_fragment *fragment = (void *)slot_body(slot);
		*fragment = (struct weir_fragment){ .total = total, .offset = at };
		memcpy(fragment + 1, image + at, size);
		slot->is_fragment = true;
		slot->body_length = (uint16_t)(sizeof(*fragment) + size);
		slot->body_crc = body_crc(packer->producer->core, fragment, slot->body_length);
	}
}

static void frame_cut(struct packer *packer, const struct slot *old)
{
	const uint8_t *body = slot_body(old);
	uint64_t first = old->first;
	uint32_t from = 0;
	uint32_t count = 0;
	for (uint32_t at = 0; at < old->body_length;) {
		uint32_t size = weir_pad8(((const struct weir_event_header *)(const void *)(body + at))->length);
		bool is_large = size > packer->producer->body_max;
		if (is_large || at + size - from > packer->producer->body_max) {
			events_add(packer, old, first, count, body + from, at - from);
			first += count;
			count = 0;
			from = at;
		}
		at += size;
		if (is_large) {
			large_add(packer, old, first++, body + from);
			from = at;
		} else {
			count++;
		}
	}
	events_add(packer, old, first, count, body + from, old->body_length - from);
}

static bool fits(const struct packer *packer, const struct slot *slot)
{
	return slot->body_length <= packer->producer->body_max;
}

static void slot_keep(struct packer *packer, const struct slot *old)
{
	struct stream *stream = packer->stream;
	struct slot *slot = stream_slot(stream, stream->tail++);
	*slot = *old;
	slot->frame = producer_frame_get(packer->producer);
	memcpy(slot->frame, old->frame, sizeof(struct weir_frame_header) + old->body_length);
}

// All pieces of the event that begins at `index` fit.
static bool pieces_fit(const struct packer *packer, const struct stream *old, uint64_t index)
{
	while (stream_slot(old, index)->count == 0 && fits(packer, stream_slot(old, index)))
		index++;
	return fits(packer, stream_slot(old, index));
}

static int pieces_keep(struct packer *packer, const struct stream *old, uint64_t index)
{
	int count = 0;
	do
		slot_keep(packer, stream_slot(old, index + (uint64_t)count++));
	while (stream_slot(old, index + (uint64_t)count - 1)->count == 0);
	return count;
}

// The pieces from `index` on are one event. Returns how many there are; -ENOMEM.
static int pieces_cut(struct packer *packer, const struct stream *old, uint64_t index)
{
	const struct slot *slot = stream_slot(old, index);
	const struct weir_fragment *fragment = (const void *)slot_body(slot);
	uint8_t *image = malloc(weir_pad8(fragment->total));
	if (!image)
		return -ENOMEM;
	int count = 0;
	do {
		slot = stream_slot(old, index + (uint64_t)count++);
		fragment = (const void *)slot_body(slot);
		memcpy(image + fragment->offset, fragment + 1, slot->body_length - sizeof(*fragment));
	} while (slot->count == 0);
	// Sent is what was sent whole.
	large_add(packer, slot, slot->first, image);
	free(image);
	return count;
}

// Why the router refused the event that `slot` is a later piece of, and whose first pieces are skipped already; 0: it is none.
static uint16_t rest_reason(const struct stream *old, uint64_t index)
{
	const struct slot *slot = stream_slot(old, index);
	const struct slot *before = stream_slot(old, index - 1);
	bool is_rest = index > old->head && slot->is_fragment && before->is_fragment && before->first == slot->first;
	return is_rest ? before->reason : 0;
}

static uint32_t slots_needed(const struct weir_producer *fresh, const struct stream *old)
{
	uint32_t needed = 1;
	for (uint64_t i = old->head; i < old->tail; i++)
		needed += 2 * (stream_slot(old, i)->body_length / producer_chunk_max(fresh) + 1);
	return needed;
}

static int stream_cut(struct packer *packer, const struct stream *old)
{
	for (uint64_t i = old->head; i < old->tail;) {
		const struct slot *slot = stream_slot(old, i);
		uint16_t reason = slot->reason ? slot->reason : rest_reason(old, i);
		int count = 1;
		if (reason)
			slot_add(packer, slot, slot->first, slot->count)->reason = reason;
		else if (slot->is_fragment)
			count = pieces_fit(packer, old, i) ? pieces_keep(packer, old, i) : pieces_cut(packer, old, i);
		else if (fits(packer, slot))
			slot_keep(packer, slot);
		else
			frame_cut(packer, slot);
		if (count < 0)
			return count;
		i += (uint64_t)count;
	}
	return 0;
}

// Takes the stream's slots out of the core's books, or enters them.
static void slots_account(struct stream *stream, bool is_entry)
{
	struct weir_core *core = stream->producer->core;
	for (uint64_t i = stream->head; i < stream->tail; i++) {
		uint32_t flies = stream_slot(stream, i)->state == SLOT_FLYING;
		uint32_t waits = stream_slot(stream, i)->state == SLOT_QUEUED;
		uint32_t watched = stream->level == WEIR_ACK_NONE ? 0 : flies;
		stream->flying += is_entry ? flies : -flies;
		core->window.in_flight += is_entry ? watched : -watched;
		core->backlog += is_entry ? waits : -(uint64_t)waits;
	}
}

// Puts the new queues in the place of the old ones.
static void commit(struct weir_producer *producer, const struct weir_producer *fresh, const struct stream *after)
{
	for (uint32_t i = 0; i < producer->shards; i++)
		slots_account(&producer->streams[i], false);
	producer_queues_free(producer);
	producer->slots = fresh->slots;
	producer->mask = fresh->mask;
	producer->capacity = fresh->capacity;
	producer->pool = fresh->pool;
	producer->is_pool_shared = fresh->is_pool_shared;
	producer->pool_free = fresh->pool_free;
	producer->pool_used = fresh->pool_used;
	producer->pool_count = fresh->pool_count;
	producer->slot_size = fresh->slot_size;
	producer->body_max = fresh->body_max;
	for (uint32_t i = 0; i < producer->shards; i++) {
		struct stream *stream = &producer->streams[i];
		producer_queue_give(producer, stream);
		stream->head = stream->send = 0;
		stream->tail = after[i].tail;
		slots_account(stream, true);
	}
}

int producer_repack(struct weir_producer *producer)
{
	struct weir_producer fresh = *producer;
	struct stream *after = calloc(producer->shards, sizeof(*after));
	uint32_t slots = 0;
	uint64_t pool = 0;
	if (!after)
		return -ENOMEM;
	fresh.body_max = core_body_max(producer->core);
	for (uint32_t i = 0; i < producer->shards; i++) {
		stream_frame_close(&producer->streams[i]);
		uint32_t needed = slots_needed(&fresh, &producer->streams[i]);
		slots = needed > slots ? needed : slots;
		pool += needed;
	}
	int error = producer_queues_build(&fresh, slots, pool);
	if (error) {
		free(after);
		return error;
	}
	for (uint32_t i = 0; !error && i < producer->shards; i++) {
		struct packer packer = { .stream = &after[i], .producer = &fresh };
		after[i].shard = (uint16_t)i;
		producer_queue_give(&fresh, &after[i]);
		error = stream_cut(&packer, &producer->streams[i]);
	}
	if (error)
		producer_queues_free(&fresh);
	else
		commit(producer, &fresh, after);
	free(after);
	return error;
}
