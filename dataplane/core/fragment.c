// Large events on their way in: pieces of the event at `next`, in order of offset, put together in a slot and appended as a
// run of one when whole. What was settled in the pieces' checks (wire/codec.c) is not looked at again.
#include <string.h>

#include "dataplane/core/stream.h"
#include "wire/key.h"

struct piece {
	uint32_t total;
	uint32_t offset;
	uint32_t length;
	const uint8_t *bytes;
	bool is_unchecked;
};

static void nack(struct weir_shard *shard, struct weir_stream *stream)
{
	stream->wants_nack = true;
	weir_ack_mark(shard->engine, stream);
}

// The first piece: whether the event can become one at all.
static enum weir_reason begin(struct weir_shard *shard, struct weir_stream *stream, const struct piece *piece, uint64_t now_ns)
{
	struct weir_reassembly *pool = &shard->engine->reassembly;
	if (piece->total > shard->event_max || weir_pad8(piece->total) > pool->slot_bytes)
		return WEIR_R_SIZE;
	struct weir_slot *slot = weir_reassembly_take(pool, stream, now_ns);
	if (!slot)
		return WEIR_R_BUSY;
	slot->total = piece->total;
	return WEIR_R_NONE;
}

static void finish(struct weir_shard *shard, struct weir_stream *stream, struct weir_slot *slot, const struct weir_slot *before,
		   uint64_t now_ns)
{
	const struct weir_batch batch = {
		.sequence = stream->next,
		.events = slot->bytes,
		.length = weir_pad8(slot->total),
		.count = 1,
		.crc = slot->crc,
		.is_unchecked = slot->is_unchecked,
	};
	const struct weir_event_header *event = (const void *)slot->bytes;
	enum weir_reason reason = WEIR_R_BAD_EVENT;
	if (event->length == slot->total)
		reason = weir_stream_append(shard, stream, &batch, now_ns);
	else
		weir_stream_refuse(shard, stream, stream->next, 1, reason);
	// Full: the last piece did not happen, and comes again when there is room.
	if (reason == WEIR_R_FULL && stream->level != WEIR_ACK_NONE)
		*slot = *before;
	else
		weir_reassembly_give(&shard->engine->reassembly, stream);
}

// The piece's event is the one at `next`.
static void take(struct weir_shard *shard, struct weir_stream *stream, struct piece piece, uint64_t now_ns)
{
	struct weir_reassembly *pool = &shard->engine->reassembly;
	if (!stream->is_assembling) {
		if (piece.offset != 0) {
			nack(shard, stream);
			return;
		}
		enum weir_reason reason = begin(shard, stream, &piece, now_ns);
		if (reason != WEIR_R_NONE) {
			weir_stream_refuse(shard, stream, stream->next, 1, reason);
			return;
		}
	}
	struct weir_slot *slot = &pool->slots[stream->reassembly];
	slot->touched_ns = now_ns;
	if (slot->total != piece.total) {
		weir_reassembly_give(pool, stream);
		weir_stream_refuse(shard, stream, stream->next, 1, WEIR_R_BAD_EVENT);
		return;
	}
	weir_ack_mark(shard->engine, stream);
	if (piece.offset > slot->arrived) {
		nack(shard, stream);
		return;
	}
	uint32_t known = slot->arrived - piece.offset;
	if (known >= piece.length)
		return;
	const struct weir_slot before = *slot;
	uint32_t fresh = piece.length - known;
	memcpy(slot->bytes + slot->arrived, piece.bytes + known, fresh);
	slot->crc = weir_crc32c(slot->crc, piece.bytes + known, fresh);
	slot->arrived += fresh;
	slot->is_unchecked |= piece.is_unchecked;
	if (slot->arrived == weir_pad8(slot->total))
		finish(shard, stream, slot, &before, now_ns);
}

void weir_fragment_receive(struct weir_shard *shard, struct weir_stream *stream, const struct weir_ingress *ingress,
			   uint64_t now_ns)
{
	const struct weir_frame_header *frame = ingress->frame;
	const struct weir_fragment *fragment = (const void *)(frame + 1);
	struct piece piece = {
		.total = fragment->total,
		.offset = fragment->offset,
		.length = frame->body_length - (uint32_t)sizeof(*fragment),
		.bytes = (const uint8_t *)(fragment + 1),
		.is_unchecked = frame->flags & WEIR_FLAG_HEADER_ONLY,
	};
	bool is_last = piece.offset + piece.length >= piece.total;
	if (frame->sequence < stream->next) {
		// Once an event, not once a piece.
		shard->row.offered += is_last;
		shard->row.duplicate += is_last;
		weir_engine_mark_dirty(shard->engine, shard);
		if (stream->level != WEIR_ACK_NONE)
			weir_ack_mark(shard->engine, stream);
		return;
	}
	if (frame->sequence > stream->next) {
		if (stream->level != WEIR_ACK_NONE || frame->sequence > weir_stream_horizon(stream)) {
			stream->wants_nack = stream->level != WEIR_ACK_NONE;
			weir_ack_mark(shard->engine, stream);
			weir_stream_refuse(shard, stream, frame->sequence, 1, WEIR_R_GAP);
			return;
		}
		weir_stream_lose(shard, stream, frame->sequence);
	}
	take(shard, stream, piece, now_ns);
}
