// See arena.h.
#include "dataplane/core/arena.h"

#include <assert.h>
#include <errno.h>

#include "dataplane/core/memory.h"

#define PAGE_SIZE 4096u

int weir_arena_create(struct weir_arena *arena, uint64_t size, int node)
{
	size = (size + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
	uint8_t *base = weir_memory_get(size, node);
	if (!base)
		return -ENOMEM;
	*arena = (struct weir_arena){ .base = base, .size = size };
	return 0;
}

void weir_arena_destroy(struct weir_arena *arena)
{
	weir_memory_put(arena->base, arena->size);
	*arena = (struct weir_arena){ 0 };
}

void *weir_arena_take(struct weir_arena *arena, uint64_t size)
{
	assert(weir_arena_need(size) <= arena->size - arena->used);
	void *taken = arena->base + arena->used;
	arena->used += weir_arena_need(size);
	return taken;
}
