// Trains: in shared memory a slot holds as many frames as fit, one behind the other at multiples of 8, and is handed over,
// kept, acknowledged and sent again as one. So what a small frame costs is its header; the events of the slot are consecutive.
// Called by producer.c and stream.c.
#include "client/stream.h"

#include <string.h>

// In words: reading it back took 70 % of ending a frame.
static inline void header_fill(const struct stream *stream, struct weir_frame_header *frame, uint64_t sequence, uint32_t count,
			       uint32_t body_length)
{
	const struct weir_core *core = stream->producer->core;
	uint64_t words[sizeof(*frame) / 8] = {
		WEIR_MAGIC | WEIR_VERSION << 16 | (uint64_t)WEIR_KIND_PUBLISH << 24 | (uint64_t)WEIR_FLAG_HEADER_ONLY << 32 |
			(uint64_t)count << 48,
		core->session.id,
		stream->handle | (uint64_t)stream->producer->topic << 32,
		sequence,
		core->now_ns + (uint64_t)core->realtime_offset_ns,
		stream->shard | (uint64_t)body_length << 16,
	};
	words[5] |= (uint64_t)weir_crc32c_small(0, words, __builtin_offsetof(struct weir_frame_header, crc)) << 32;
	weir_words_put(frame, words, sizeof(words) / 8);
}

void train_frame_end(struct stream *stream)
{
	struct weir_frame_header *frame = stream->train;
	uint32_t length = (uint32_t)(stream->write - (uint8_t *)(frame + 1));
	header_fill(stream, frame, stream->next + stream->events - stream->train_events, stream->train_events, length);
	stream->train = NULL;
	stream->train_events = 0;
}

void train_seal(const struct stream *stream, const struct slot *slot)
{
	uint64_t sequence = slot->first;
	uint8_t *at = slot->frame;
	const uint8_t *end = slot_body(slot) + slot->body_length;
	while (at < end) {
		struct weir_frame_header *frame = (void *)at;
		header_fill(stream, frame, sequence, frame->count, frame->body_length);
		sequence += frame->count;
		at += sizeof(*frame) + frame->body_length;
	}
}

bool train_refused(const struct stream *stream, struct slot *slot, const struct weir_refuse_entry *entry)
{
	uint64_t from = max_u64(entry->sequence, slot->first);
	uint64_t to = min_u64(entry->sequence + entry->count, slot->first + slot->count);
	if (!stream->producer->core->local || slot->is_fragment ||
	    (from <= max_u64(stream->acked, slot->first) && to == slot->first + slot->count))
		return false;
	slot->skip_first = from;
	slot->skip_count = (uint32_t)(to - from);
	slot->skip_reason = entry->reason;
	slot->is_skip_due = true;
	// The same refusal may come again, should the skip be lost.
	if (from >= slot->refused_to) {
		slot->refused += slot->skip_count;
		slot->refused_to = to;
	}
	return true;
}
