// Anonymous memory, bound to a node and touched. Control thread.
#include "dataplane/io/memory.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NODES_MAX 1024
#define HUGE_PAGE_SIZE (2ul << 20)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static void bind_to_node(void *memory, size_t size, int node)
{
	unsigned long mask[NODES_MAX / (8 * sizeof(unsigned long))] = { 0 };
	const unsigned bits = 8 * sizeof(unsigned long);

	if (node < 0 || node >= NODES_MAX)
		return;
	mask[(unsigned)node / bits] = 1ul << ((unsigned)node % bits);
	syscall(SYS_mbind, memory, size, MPOL_PREFERRED, mask, (unsigned long)NODES_MAX, 0);
}

void *weir_memory_get(size_t size, int node)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	bind_to_node(memory, size, node);
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
		munmap(memory, size);
}
