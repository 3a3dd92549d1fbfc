// A slot's way: queued, flying, arrived, gone. What is queued counts as backlog, what flies counts against the window.
// Called by stream.c and refusal.c alone.
#ifndef WEIR_CLIENT_SLOT_H
#define WEIR_CLIENT_SLOT_H

#include "client/stream.h"

static inline uint64_t slot_end(const struct slot *slot)
{
	return slot->first + (slot->is_fragment ? 1 : slot->count);
}

static inline uint32_t slot_size(const struct slot *slot)
{
	return (uint32_t)sizeof(struct weir_frame_header) + slot->body_length;
}

static inline void slot_state_set(struct stream *stream, struct slot *slot, enum slot_state state)
{
	struct weir_core *core = stream->producer->core;
	uint32_t watched = stream->level != WEIR_ACK_NONE; // level none: nobody says that it arrived, credit alone bounds it
	if (slot->state == SLOT_FLYING) {
		stream->flying--;
		core->window.in_flight -= watched;
	} else if (slot->state == SLOT_QUEUED) {
		core->backlog--;
	}
	if (state == SLOT_FLYING) {
		stream->flying++;
		core->window.in_flight += watched;
	} else if (state == SLOT_QUEUED) {
		core->backlog++;
	}
	slot->state = (uint8_t)state;
}

static inline void slot_queue(struct stream *stream, uint64_t index)
{
	slot_state_set(stream, stream_slot(stream, index), SLOT_QUEUED);
	if (index < stream->send)
		stream->send = index;
}

// The oldest: it arrived, or nobody waits for it any more.
static inline void slot_pop(struct stream *stream)
{
	struct slot *slot = stream_slot(stream, stream->head);
	slot_state_set(stream, slot, SLOT_ARRIVED);
	producer_frame_put(stream->producer, slot->frame);
	slot->frame = NULL;
	stream->head++;
	if (stream->send < stream->head)
		stream->send = stream->head;
}

#endif
