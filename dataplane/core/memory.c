// Anonymous memory, bound to a node and touched: what engines, shards, mesh and ports live in. Control makes and frees it
// before and after its worker uses it, so that workers neither allocate nor fault. Control thread.
#include "dataplane/core/memory.h"

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

void *weir_memory_get(size_t size, int node)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

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
		munmap(memory, size);
}
