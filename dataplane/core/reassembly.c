// See reassembly.h. Slots are few, so looking for one walks them all.
#include "dataplane/core/reassembly.h"

#include "dataplane/core/shard.h"
#include "wire/codec.h"

uint64_t weir_reassembly_need(uint32_t slots, uint32_t slot_bytes)
{
	return weir_arena_need((uint64_t)slots * sizeof(struct weir_slot)) + slots * weir_arena_need(weir_pad8(slot_bytes));
}

void weir_reassembly_init(struct weir_reassembly *pool, struct weir_arena *arena, uint32_t slots, uint32_t slot_bytes)
{
	*pool = (struct weir_reassembly){ .count = slots, .slot_bytes = weir_pad8(slot_bytes) };
	pool->slots = weir_arena_take(arena, (uint64_t)slots * sizeof(struct weir_slot));
	for (uint32_t i = 0; i < slots; i++)
		pool->slots[i].bytes = weir_arena_take(arena, pool->slot_bytes);
}

struct weir_slot *weir_reassembly_take(struct weir_reassembly *pool, struct weir_stream *stream, uint64_t now_ns)
{
	struct weir_slot *found = NULL;
	for (uint32_t i = 0; i < pool->count && (!found || found->stream); i++) {
		struct weir_slot *slot = &pool->slots[i];
		bool is_old = now_ns - slot->touched_ns >= WEIR_REASSEMBLY_IDLE_NS ||
			      now_ns - slot->began_ns >= WEIR_REASSEMBLY_OLD_NS;
		if (!slot->stream || (!found && is_old))
			found = slot;
	}
	if (!found)
		return NULL;
	if (found->stream)
		found->stream->is_assembling = false;
	else
		pool->used++;
	found->stream = stream;
	found->touched_ns = found->began_ns = now_ns;
	found->total = 0;
	found->arrived = 0;
	found->crc = 0;
	found->is_unchecked = false;
	stream->reassembly = (uint16_t)(found - pool->slots);
	stream->is_assembling = true;
	return found;
}

void weir_reassembly_give(struct weir_reassembly *pool, struct weir_stream *stream)
{
	if (!stream->is_assembling)
		return;
	pool->slots[stream->reassembly].stream = NULL;
	pool->used--;
	stream->is_assembling = false;
}
