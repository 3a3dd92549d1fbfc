// The memories of a lane: making the client's own, mapping the router's. Every mapping of somebody else's memory is read-only
// and made only behind seals that keep it readable. Any thread.
#ifndef WEIR_CLIENT_LANE_MEMORY_H
#define WEIR_CLIENT_LANE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

struct weir_lane_memory {
	uint8_t *base;
	size_t size;
	int fd;
};

// Writable for us, and for nobody else ever: sealed after mapping. Hugepages when enough of them are free. 0 or -errno.
int weir_lane_memory_make(struct weir_lane_memory *memory, size_t size);
void weir_lane_memory_free(struct weir_lane_memory *memory);

// Maps `head` bytes and behind them `ring` bytes twice in a row (ring 0: none), read-only. *base is the head. -EPERM: the
// memory lacks a seal, -EINVAL: it is smaller than that, or mmap()'s. The descriptor stays the caller's.
int weir_lane_memory_map(const uint8_t **base, int fd, size_t head, size_t ring);
void weir_lane_memory_unmap(const uint8_t *base, size_t head, size_t ring);

#endif
