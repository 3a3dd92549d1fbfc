// Memory of an engine: one block, sized beforehand, on the worker's NUMA node, touched at creation so that the worker
// never allocates and never faults. Control thread.
#ifndef WEIR_CORE_ARENA_H
#define WEIR_CORE_ARENA_H

#include <stdint.h>

#define WEIR_ARENA_ALIGN 64u

struct weir_arena {
	uint8_t *base;
	uint64_t size;
	uint64_t used;
};

// node -1: any. 0 or -ENOMEM.
int weir_arena_create(struct weir_arena *arena, uint64_t size, int node);
void weir_arena_destroy(struct weir_arena *arena);
// Zeroed, aligned to a cache line. The caller summed the sizes before: a request beyond the block is a programmer's error.
void *weir_arena_take(struct weir_arena *arena, uint64_t size);

// What a request of `size` bytes adds to the block.
static inline uint64_t weir_arena_need(uint64_t size)
{
	return (size + WEIR_ARENA_ALIGN - 1) & ~(uint64_t)(WEIR_ARENA_ALIGN - 1);
}

#endif
