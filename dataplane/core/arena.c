// See arena.h.
#include "dataplane/core/arena.h"

#include <assert.h>
#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NODES_MAX 1024u
#define PAGE_SIZE 4096u

int weir_arena_create(struct weir_arena *arena, uint64_t size, int node)
{
	size = (size + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
	uint8_t *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED)
		return -ENOMEM;
	if (node >= 0 && (unsigned)node < NODES_MAX) {
		unsigned long mask[NODES_MAX / (8 * sizeof(unsigned long))] = { 0 };
		unsigned bits = 8 * sizeof(unsigned long);
		mask[(unsigned)node / bits] = 1ul << ((unsigned)node % bits);
		// A far node is slow and shown as such; not being able to ask for the near one is no reason to fail.
		(void)syscall(SYS_mbind, base, size, MPOL_PREFERRED, mask, (unsigned long)NODES_MAX, 0);
	}
	for (uint64_t at = 0; at < size; at += PAGE_SIZE)
		((volatile uint8_t *)base)[at] = 0;
	*arena = (struct weir_arena){ .base = base, .size = size };
	return 0;
}

void weir_arena_destroy(struct weir_arena *arena)
{
	munmap(arena->base, arena->size);
	*arena = (struct weir_arena){ 0 };
}

void *weir_arena_take(struct weir_arena *arena, uint64_t size)
{
	assert(weir_arena_need(size) <= arena->size - arena->used);
	void *taken = arena->base + arena->used;
	arena->used += weir_arena_need(size);
	return taken;
}
