// Rings with one writer and one reader, one thread each: bytes for frames, fixed slots for messages. Each side keeps a copy
// of the other's position and looks at the shared one only when the copy says full or empty. Internal to dataplane/io.
#ifndef WEIR_IO_RING_H
#define WEIR_IO_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "dataplane/core/engine.h"
#include "dataplane/core/message.h"

#define WEIR_RING_LINE 64u

// ---- Frames: records of header and bytes, whole cache lines, never wrapped ----

struct weir_frame_ring {
	// Written once.
	uint8_t *base;
	uint64_t size; // bytes, power of two
	// Written by the writer.
	_Alignas(WEIR_RING_LINE) _Atomic uint64_t head; // absolute bytes; read by the reader
	uint64_t tail_seen;
	uint64_t place; // of the record that was reserved
	// Written by the reader.
	_Alignas(WEIR_RING_LINE) _Atomic uint64_t tail; // absolute bytes; read by the writer
	uint64_t head_seen;
};

// kind of a record that only fills the ring up to its end.
#define WEIR_RING_FILLER 0u

static inline uint64_t weir_frame_ring_record(uint32_t size)
{
	return (sizeof(struct weir_mesh_header) + size + WEIR_RING_LINE - 1) & ~(uint64_t)(WEIR_RING_LINE - 1);
}

// Where a frame of at most `size` bytes goes, its header in front already; NULL: no room now.
static inline void *weir_frame_ring_reserve(struct weir_frame_ring *ring, const struct weir_mesh_header *header, uint32_t size)
{
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	uint64_t need = weir_frame_ring_record(size);
	uint64_t to_end = ring->size - (head & (ring->size - 1));
	uint64_t filler = to_end < need ? to_end : 0;

	if (head + filler + need - ring->tail_seen > ring->size) {
		// Pairs with the release in weir_frame_ring_release(): what was read there may be written over here.
		ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
		if (head + filler + need - ring->tail_seen > ring->size)
			return NULL;
	}
	if (filler)
		((struct weir_mesh_header *)(void *)(ring->base + (head & (ring->size - 1))))->kind = WEIR_RING_FILLER;
	ring->place = head + filler;
	struct weir_mesh_header *record = (void *)(ring->base + (ring->place & (ring->size - 1)));
	*record = *header;
	return record + 1;
}

// Publishes the reserved record with its final size.
static inline void weir_frame_ring_commit(struct weir_frame_ring *ring, uint32_t size)
{
	((struct weir_mesh_header *)(void *)(ring->base + (ring->place & (ring->size - 1))))->size = size;
	// Pairs with the acquire in weir_frame_ring_peek().
	atomic_store_explicit(&ring->head, ring->place + weir_frame_ring_record(size), memory_order_release);
}

// Whether nothing is in the ring. Reader.
static inline bool weir_frame_ring_is_empty(struct weir_frame_ring *ring)
{
	return atomic_load_explicit(&ring->head, memory_order_acquire) ==
	       atomic_load_explicit(&ring->tail, memory_order_relaxed);
}

static inline const struct weir_mesh_header *weir_frame_ring_peek(struct weir_frame_ring *ring)
{
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);

	if (tail == ring->head_seen) {
		// Pairs with the release in weir_frame_ring_commit().
		ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
		if (tail == ring->head_seen)
			return NULL;
	}
	const struct weir_mesh_header *record = (const void *)(ring->base + (tail & (ring->size - 1)));
	if (record->kind != WEIR_RING_FILLER)
		return record;
	// A filler is published together with the record behind it.
	tail += ring->size - (tail & (ring->size - 1));
	atomic_store_explicit(&ring->tail, tail, memory_order_release);
	return (const void *)ring->base;
}

static inline void weir_frame_ring_release(struct weir_frame_ring *ring)
{
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	const struct weir_mesh_header *record = (const void *)(ring->base + (tail & (ring->size - 1)));

	// Pairs with the acquire in weir_frame_ring_reserve().
	atomic_store_explicit(&ring->tail, tail + weir_frame_ring_record(record->size), memory_order_release);
}

// ---- Messages ----

#define WEIR_MESSAGE_RING_SLOTS 256u

struct weir_message_ring {
	_Alignas(WEIR_RING_LINE) _Atomic uint64_t head; // writer's
	uint64_t tail_seen;
	_Alignas(WEIR_RING_LINE) _Atomic uint64_t tail; // reader's
	uint64_t head_seen;
	_Alignas(WEIR_RING_LINE) struct weir_message slots[WEIR_MESSAGE_RING_SLOTS];
};

static inline bool weir_message_ring_has_room(struct weir_message_ring *ring)
{
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);

	// Pairs with the release in weir_message_ring_get().
	return head - ring->tail_seen < WEIR_MESSAGE_RING_SLOTS ||
	       head - atomic_load_explicit(&ring->tail, memory_order_acquire) < WEIR_MESSAGE_RING_SLOTS;
}

static inline bool weir_message_ring_put(struct weir_message_ring *ring, const struct weir_message *message)
{
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);

	if (head - ring->tail_seen == WEIR_MESSAGE_RING_SLOTS) {
		// Pairs with the release in weir_message_ring_get().
		ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
		if (head - ring->tail_seen == WEIR_MESSAGE_RING_SLOTS)
			return false;
	}
	ring->slots[head % WEIR_MESSAGE_RING_SLOTS] = *message;
	atomic_store_explicit(&ring->head, head + 1, memory_order_release);
	return true;
}

static inline bool weir_message_ring_get(struct weir_message_ring *ring, struct weir_message *message)
{
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);

	if (tail == ring->head_seen) {
		// Pairs with the release in weir_message_ring_put().
		ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
		if (tail == ring->head_seen)
			return false;
	}
	*message = ring->slots[tail % WEIR_MESSAGE_RING_SLOTS];
	atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
	return true;
}

static inline bool weir_message_ring_is_empty(struct weir_message_ring *ring)
{
	return atomic_load_explicit(&ring->head, memory_order_acquire) ==
	       atomic_load_explicit(&ring->tail, memory_order_relaxed);
}

#endif
