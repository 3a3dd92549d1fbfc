// Slots in which large events are put together, a bounded number per worker. A slot that nobody touched for a second, or whose
// event is not whole after ten, may be taken from its stream, which then begins the event again. Engine's thread.
#ifndef WEIR_CORE_REASSEMBLY_H
#define WEIR_CORE_REASSEMBLY_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/core/arena.h"

struct weir_stream;

#define WEIR_REASSEMBLY_IDLE_NS 1000000000ull
#define WEIR_REASSEMBLY_OLD_NS 10000000000ull

struct weir_slot {
	struct weir_stream *stream; // NULL: free
	uint64_t touched_ns;
	uint64_t began_ns;
	uint32_t total;    // bytes of the event, unpadded
	uint32_t arrived;  // bytes, a multiple of 8
	uint32_t crc;      // of what arrived
	bool is_unchecked; // a piece came without a checksum of its body
	uint8_t *bytes;
};

struct weir_reassembly {
	struct weir_slot *slots;
	uint32_t count;
	uint32_t used;
	uint32_t slot_bytes;
};

uint64_t weir_reassembly_need(uint32_t slots, uint32_t slot_bytes);
void weir_reassembly_init(struct weir_reassembly *pool, struct weir_arena *arena, uint32_t slots, uint32_t slot_bytes);
// Gives the stream a slot and marks it. NULL: none is free and none is idle.
struct weir_slot *weir_reassembly_take(struct weir_reassembly *pool, struct weir_stream *stream, uint64_t now_ns);
// The stream's slot becomes free; nothing when it has none.
void weir_reassembly_give(struct weir_reassembly *pool, struct weir_stream *stream);

#endif
