// Out-of-order frames of streams, copied into a bounded pool per worker until the gap in front of them closes, so that one
// lost frame costs one frame and not everything behind it. A gap closes within a few round trips: where the pool is empty, a
// frame that waits for longer than WEIR_PARK_OLD_NS makes place for another. Engine's thread.
#ifndef WEIR_CORE_PARK_H
#define WEIR_CORE_PARK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "dataplane/core/arena.h"
#include "wire/limits.h"

struct weir_stream;

#define WEIR_PARK_OLD_NS 1000000000ull

struct weir_parked {
	struct weir_parked *next; // of its stream
	TAILQ_ENTRY(weir_parked) age;
	struct weir_stream *stream;
	uint64_t parked_ns;
	uint64_t sequence;
	uint64_t count;
	uint32_t body_crc;
	uint16_t length;
	uint16_t skip_reason; // of a skip; 0: a publish
	bool is_unchecked;
	_Alignas(8) uint8_t body[WEIR_FRAME_MAX];
};

struct weir_park {
	struct weir_parked *free;
	TAILQ_HEAD(, weir_parked) ages; // the oldest first
	uint32_t used;
};

uint64_t weir_park_need(uint32_t frames);
void weir_park_init(struct weir_park *park, struct weir_arena *arena, uint32_t frames);
// NULL: the pool is empty.
struct weir_parked *weir_park_take(struct weir_park *park, struct weir_stream *stream, uint64_t now_ns);
// An old frame makes place when the pool is empty, whose ever it is.
void weir_park_age(struct weir_park *park, uint64_t now_ns);
void weir_park_give(struct weir_park *park, struct weir_parked *parked);

#endif
