// Anonymous memory, bound to a node and touched: what engines, shards, mesh and ports live in. Control makes and frees it
// before and after its worker uses it, so that workers neither allocate nor fault. Control thread.
#include "dataplane/core/memory.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NODES_MAX 1024
#define PAGE_SIZE 4096ul
#define HUGE_PAGE_SIZE (2ul << 20)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static size_t round_up(size_t size, size_t page)
{
	return (size + page - 1) & ~(page - 1);
}

// Whole pages; whole huge ones where that takes at most a quarter more, so that the end does not lie on small ones.
size_t weir_memory_size(size_t size)
{
	size_t huge = round_up(size, HUGE_PAGE_SIZE);

	return huge - size <= size / 4 ? huge : round_up(size, PAGE_SIZE);
}

int weir_memory_bind(void *memory, size_t size, int node)
{
	unsigned long mask[NODES_MAX / (8 * sizeof(unsigned long))] = { 0 };
	const unsigned bits = 8 * sizeof(unsigned long);

	if (node < 0)
		return 0;
	if (node >= NODES_MAX)
		return -EINVAL;
	mask[(unsigned)node / bits] = 1ul << ((unsigned)node % bits);
	if (syscall(SYS_mbind, memory, size, MPOL_PREFERRED, mask, (unsigned long)NODES_MAX, 0) == 0)
		return 0;
	return errno == ENOSYS || errno == EPERM ? 0 : -errno;
}

// At the start of a huge page where it fills one: not every kernel sees to that.
static void *map(size_t size)
{
	size_t spare = size >= HUGE_PAGE_SIZE ? HUGE_PAGE_SIZE : 0;
	uint8_t *memory = mmap(NULL, size + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t before;

	if (memory == MAP_FAILED || spare == 0)
		return memory;
	before = -(uintptr_t)memory % HUGE_PAGE_SIZE;
	if (before)
		munmap(memory, before);
	if (before < spare)
		munmap(memory + before + size, spare - before);
	return memory + before;
}

void *weir_memory_get(size_t size, int node)
{
	void *memory;

	size = weir_memory_size(size);
	memory = map(size);
	if (memory == MAP_FAILED)
		return NULL;
	// A far node is slow and shown as remote; not being able to ask for the near one is no reason to fail.
	(void)weir_memory_bind(memory, size, node);
	if (size >= HUGE_PAGE_SIZE)
		madvise(memory, size, MADV_HUGEPAGE);
	if (madvise(memory, size, MADV_POPULATE_WRITE) == 0)
		return memory;
	if (errno != EINVAL) {
		int error = errno;

		munmap(memory, size);
		errno = error;
		return NULL;
	}
	memset(memory, 0, size); // kernels before 5.14
	return memory;
}

void weir_memory_put(void *memory, size_t size)
{
	if (memory)
		munmap(memory, weir_memory_size(size));
}

struct weir_slab {
	uint8_t *memory;
	size_t size; // of a piece
	uint32_t count;
	uint32_t taken;
	uint32_t held; // pieces that were not put back, and the maker's hold
};

struct weir_slab *weir_slab_create(size_t size, uint32_t count, int node)
{
	struct weir_slab *slab = calloc(1, sizeof(*slab));

	if (!slab)
		return NULL;
	*slab = (struct weir_slab){ .size = round_up(size, PAGE_SIZE), .count = count, .held = 1 };
	slab->memory = weir_memory_get(slab->size * count, node);
	if (!slab->memory) {
		free(slab);
		return NULL;
	}
	return slab;
}

void *weir_slab_take(struct weir_slab *slab)
{
	if (slab->taken == slab->count)
		return NULL;
	slab->held++;
	return slab->memory + slab->size * slab->taken++;
}

void weir_slab_put(struct weir_slab *slab)
{
	if (--slab->held)
		return;
	weir_memory_put(slab->memory, slab->size * slab->count);
	free(slab);
}
