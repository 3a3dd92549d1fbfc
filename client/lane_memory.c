// Memory shared with the router, see lane_memory.h. A memfd that is sealed FUTURE_WRITE can be written only through
// mappings that exist already, and can be neither truncated nor punched: who maps it read-only may read all of it for ever.
#include "client/lane_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

static int make(struct weir_lane_memory *memory, size_t size, unsigned flags)
{
	int fd = memfd_create("weir-lane", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
	if (fd < 0)
		return -errno;
	int error = ftruncate(fd, (off_t)size) || fallocate(fd, 0, 0, (off_t)size) ? -errno : 0;
	if (error) {
		close(fd);
		return error;
	}
	uint8_t *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED || fcntl(fd, F_ADD_SEALS, SEALS)) {
		error = -errno;
		if (base != MAP_FAILED)
			munmap(base, size);
		close(fd);
		return error;
	}
	*memory = (struct weir_lane_memory){ .base = base, .size = size, .fd = fd };
	return 0;
}

int weir_lane_memory_make(struct weir_lane_memory *memory, size_t size)
{
	size_t whole = (size + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
	if (size >= HUGE_PAGE && make(memory, whole, MFD_HUGETLB) == 0)
		return 0;
	return make(memory, size, 0);
}

void weir_lane_memory_free(struct weir_lane_memory *memory)
{
	if (memory->base) {
		munmap(memory->base, memory->size);
		close(memory->fd);
	}
	*memory = (struct weir_lane_memory){ .fd = -1 };
}

int weir_lane_memory_map(const uint8_t **base, int fd, size_t head, size_t ring)
{
	struct stat stat;
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & SEALS & ~F_SEAL_SEAL) != (SEALS & ~F_SEAL_SEAL))
		return -EPERM;
	if (fstat(fd, &stat) || stat.st_size < 0 || (size_t)stat.st_size < head + ring)
		return -EINVAL;
	// A hugepage mapping has to begin at one: room for that is kept in front.
	size_t align = (size_t)stat.st_blksize > 4096 ? (size_t)stat.st_blksize : 4096;
	if (ring && (head % align || ring % align))
		return -EINVAL;
	size_t size = head + 2 * ring;
	uint8_t *room = mmap(NULL, size + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room == MAP_FAILED)
		return -errno;
	uint8_t *at = (uint8_t *)(((uintptr_t)room + align - 1) & ~(uintptr_t)(align - 1));
	int flags = MAP_SHARED | MAP_FIXED;
	int error = 0;
	if (head + ring && mmap(at, head + ring, PROT_READ, flags | MAP_POPULATE, fd, 0) == MAP_FAILED)
		error = -errno;
	if (!error && ring && mmap(at + head + ring, ring, PROT_READ, flags, fd, (off_t)head) == MAP_FAILED)
		error = -errno;
	if (error) {
		munmap(room, size + align);
		return error;
	}
	if (at > room)
		munmap(room, (size_t)(at - room));
	munmap(at + size, (size_t)(room + align - at));
	*base = at;
	return 0;
}

void weir_lane_memory_unmap(const uint8_t *base, size_t head, size_t ring)
{
	munmap((void *)base, head + 2 * ring);
}
