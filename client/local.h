// What a transport in shared memory offers the client core beyond datagrams: memory that the router reads frames from, and
// shard logs to read where they lie. Over sockets there is none. Same thread as client/core.h.
#ifndef WEIR_CLIENT_LOCAL_H
#define WEIR_CLIENT_LOCAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/lane.h"

// A shard log, mapped twice in a row and read-only: whatever is read there may change at any time.
struct weir_core_log {
	const uint8_t *base;
	uint64_t size; // bytes of one copy, a power of two
	const struct weir_lane_head *head;
};

struct weir_core_local {
	void *context;
	// Frames of producers, at a multiple of 64; NULL: no room, ordinary memory serves and is copied at every send.
	uint8_t *(*frames_get)(void *context, size_t size);
	void (*frames_put)(void *context, uint8_t *frames, size_t size);
	// Everything sent so far was taken by the router.
	bool (*is_taken)(const void *context);
	// 0 and *log; -EAGAIN: asked for, weir_core_log_ready() tells; anything else: not to be had.
	int (*log_get)(void *context, uint32_t topic, uint16_t shard, uint64_t incarnation, struct weir_core_log *log);
	// The mapping stays until logs_release().
	void (*log_put)(void *context, const struct weir_core_log *log);
	// Nobody looks at what was put before any more.
	void (*logs_release)(void *context);
	// The client's cursors. NULL: nothing is read in place.
	struct weir_lane_cursor *cursors;
	uint32_t cursor_count;
};

#endif
