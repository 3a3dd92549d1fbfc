// The shard log's memory and its single-writer append. Creation and destruction run on the control thread and do all the
// system calls; append, reserve, commit and cursor moves run on the owner's worker and touch nothing but the ring.
#include "dataplane/core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dataplane/core/memory.h"
#include "wire/codec.h"
#include "wire/limits.h"

#define FAR_EVENTS 64u // less is walked
#define HUGE_PAGE_SIZE (2ul << 20)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

// Reserves twice the size, aligned for huge pages, and maps the file into both halves. NULL: errno says why.
static uint8_t *map_twice(int fd, uint64_t size)
{
	uint64_t room = 2 * size + HUGE_PAGE_SIZE;
	uint8_t *reserved = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (reserved == MAP_FAILED)
		return NULL;
	uint8_t *base = (uint8_t *)(((uintptr_t)reserved + HUGE_PAGE_SIZE - 1) & ~(HUGE_PAGE_SIZE - 1));
	if (base > reserved)
		munmap(reserved, (size_t)(base - reserved));
	uint8_t *end = reserved + room;
	if (end > base + 2 * size)
		munmap(base + 2 * size, (size_t)(end - (base + 2 * size)));
	// NORESERVE: huge pages are taken by fallocate, which says ENOSPC, not by mmap, which says ENOMEM.
	int flags = MAP_SHARED | MAP_FIXED | MAP_NORESERVE;
	if (mmap(base, size, PROT_READ | PROT_WRITE, flags, fd, 0) != MAP_FAILED &&
	    mmap(base + size, size, PROT_READ | PROT_WRITE, flags, fd, 0) != MAP_FAILED)
		return base;
	int error = errno;
	munmap(base, 2 * size);
	errno = error;
	return NULL;
}

// Both mappings get their page tables now, so that no worker ever faults.
static int prefault(uint8_t *base, uint64_t size)
{
	if (madvise(base, size, MADV_POPULATE_WRITE) == 0)
		return 0;
	if (errno != EINVAL)
		return -errno;
	for (uint64_t at = 0; at < size; at += 4096)
		((volatile uint8_t *)base)[at] = 0;
	return 0;
}

static int create_with(struct weir_log *log, uint64_t size, int node, bool is_huge)
{
	int fd = memfd_create("weir-log", MFD_CLOEXEC | MFD_ALLOW_SEALING | (is_huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0));
	if (fd < 0)
		return -errno;
	int error;
	if (ftruncate(fd, (off_t)size) != 0) {
		error = -errno;
		goto err_close;
	}
	uint8_t *base = map_twice(fd, size);
	if (!base) {
		error = -errno;
		goto err_close;
	}
	// The policy of a shared mapping sticks to the file: fallocate and the second mapping follow it.
	error = weir_memory_bind(base, size, node);
	if (error)
		goto err_unmap;
	if (fallocate(fd, 0, 0, (off_t)size) != 0) {
		error = -errno;
		// What a failed fallocate took stays taken until the file is cut.
		if (ftruncate(fd, 0) != 0)
			error = -errno;
		goto err_unmap;
	}
	error = prefault(base, 2 * size);
	if (error)
		goto err_unmap;
	// Local readers could ask the kernel to push pages out. Where locking is not permitted, those of the log may leave.
	(void)!mlock(base, size);
	// Not F_SEAL_SEAL: a lane that hands the file to a local reader adds F_SEAL_FUTURE_WRITE.
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
		error = -errno;
		goto err_unmap;
	}
	log->base = base;
	log->fd = fd;
	log->is_huge = is_huge;
	return 0;
err_unmap:
	munmap(base, 2 * size);
err_close:
	close(fd);
	return error;
}

int weir_log_create(struct weir_log *log, uint64_t size, int node, enum weir_hugepages hugepages, uint64_t incarnation)
{
	if (size < WEIR_LOG_SIZE_MIN || size & (size - 1) || size > 1ull << 46 || incarnation == 0)
		return -EINVAL;
	struct weir_log fresh = { .size = size, .mask = size - 1, .incarnation = incarnation, .node = node, .fd = -1 };
	bool may_be_huge = hugepages != WEIR_HUGEPAGES_OFF && size >= HUGE_PAGE_SIZE;
	int error = may_be_huge ? create_with(&fresh, size, node, true) : -ENOSPC;
	if (error && may_be_huge && hugepages == WEIR_HUGEPAGES_REQUIRE)
		return error == -ENOMEM ? -ENOSPC : error;
	if (error)
		error = create_with(&fresh, size, node, false);
	if (error)
		return error;
	uint64_t marks = (size >> WEIR_MARK_SHIFT) * sizeof(*fresh.marks);
	fresh.marks = malloc(marks);
	if (!fresh.marks) {
		weir_log_destroy(&fresh);
		return -ENOMEM;
	}
	memset(fresh.marks, 0, marks); // written to, so that no worker faults
	*log = fresh;
	return 0;
}

void weir_log_destroy(struct weir_log *log)
{
	munmap(log->base, 2 * log->size);
	close(log->fd);
	free(log->marks);
	*log = (struct weir_log){ .fd = -1 };
}

void weir_log_append(struct weir_log *log, const struct weir_run_header *run, const void *events, uint64_t now_ns)
{
	memcpy(weir_log_reserve(log, run->length), events, run->length);
	weir_log_commit(log, run, now_ns);
}

void weir_log_mark(struct weir_log *log)
{
	uint64_t count = log->size >> WEIR_MARK_SHIFT;
	uint64_t from = log->head - log->marked > log->size ? log->head - log->size : log->marked;
	log->marked = log->head;
	for (uint64_t at = (from >> WEIR_MARK_SHIFT) + 1; at <= log->head >> WEIR_MARK_SHIFT; at++)
		log->marks[at & (count - 1)] = (struct weir_log_mark){ log->head, log->head_offset };
}

// The furthest mark that lies beyond the cursor and not beyond `offset`.
static void jump(const struct weir_log *log, struct weir_cursor *cursor, uint64_t offset)
{
	uint64_t count = log->size >> WEIR_MARK_SHIFT;
	uint64_t low = cursor->position >> WEIR_MARK_SHIFT; // at or before the place looked for
	uint64_t high = (log->marked >> WEIR_MARK_SHIFT) + 1; // beyond it
	while (high > low + 1) {
		uint64_t middle = low + (high - low) / 2;
		if (log->marks[middle & (count - 1)].offset <= offset)
			low = middle;
		else
			high = middle;
	}
	const struct weir_log_mark *mark = &log->marks[low & (count - 1)];
	if (low > cursor->position >> WEIR_MARK_SHIFT && mark->position > cursor->position)
		*cursor = (struct weir_cursor){ .position = mark->position, .offset = mark->offset };
}

void weir_cursor_advance(const struct weir_log *log, struct weir_cursor *cursor, uint64_t offset)
{
	if (offset - cursor->offset > FAR_EVENTS && log->head - cursor->position > WEIR_MARK_BYTES)
		jump(log, cursor, offset);
	while (cursor->position != log->head) {
		const struct weir_run_header *run = weir_log_run(log, cursor->position);
		if (offset < cursor->offset + run->count) {
			const uint8_t *events = (const uint8_t *)(run + 1);
			for (; cursor->offset + cursor->events < offset; cursor->events++)
				cursor->bytes += weir_events_size(events + cursor->bytes, 1);
			return;
		}
		cursor->position += weir_log_run_size(run->length);
		cursor->offset += run->count;
		cursor->events = 0;
		cursor->bytes = 0;
	}
}
