// The shard log: a power-of-two ring of runs in a memfd, mapped twice in a row so that no run wraps. One writer, the
// shard's owner; everything that reads it is a cursor. Control creates and destroys logs; workers only append and read,
// and never allocate or fault: pages are bound to their node, allocated and touched at creation.
#ifndef WEIR_CORE_LOG_H
#define WEIR_CORE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/frame.h"
#include "wire/prefetch.h"

enum weir_hugepages {
	WEIR_HUGEPAGES_PREFER,
	WEIR_HUGEPAGES_REQUIRE,
	WEIR_HUGEPAGES_OFF,
};

struct weir_log {
	// Written once at creation.
	uint64_t incarnation;
	int fd;        // memfd, sealed against shrinking
	int node;      // NUMA node it was born on, -1: unknown
	bool is_huge;
	// What an append looks at, one cache line where the owner puts it so.
	uint8_t *base; // size bytes, then the same bytes again
	uint64_t size; // bytes, power of two
	uint64_t mask; // size - 1
	// Written by the owner at append.
	uint64_t head;          // absolute position in bytes; next run goes here
	uint64_t head_offset;   // offset of the next event
	uint64_t tail;          // position of the oldest run not overwritten
	uint64_t tail_offset;   // offset of its first event: `earliest`
	uint64_t last_append_ns;
	struct weir_log_mark *marks; // [size / WEIR_MARK_BYTES] by position / WEIR_MARK_BYTES
	uint64_t marked;             // position of the head when marks were set last
};

// A run that begins at or behind each multiple of so many bytes: the way from an offset to its position walks no further than
// to the next one, and what came in one turn, however large the log is and however far a peer says it came.
#define WEIR_MARK_BYTES (16u << 10)
#define WEIR_MARK_SHIFT 14u

struct weir_log_mark {
	uint64_t position;
	uint64_t offset;
};

// Sets the marks that the head has passed. Once a turn of the shard: at each append it would cost every frame.
void weir_log_mark(struct weir_log *log);

// A place in the log. `position` and `offset` are those of a run's first byte and first event; events/bytes of it have
// been passed. A cursor at the head has position == log->head and offset == log->head_offset.
struct weir_cursor {
	uint64_t position;
	uint64_t offset;
	uint32_t events;
	uint32_t bytes; // of events within the run that were passed, run header not counted
};

static inline uint64_t weir_cursor_offset(const struct weir_cursor *cursor)
{
	return cursor->offset + cursor->events;
}

// Control thread. size: power of two >= WEIR_LOG_SIZE_MIN. node -1: no binding. incarnation: random, not 0.
// 0, -EINVAL, -ENOSPC (hugepages required and not there), -ENOMEM, or a system call's -errno. Logs under 2 MiB use
// ordinary shared memory.
int weir_log_create(struct weir_log *log, uint64_t size, int node, enum weir_hugepages hugepages, uint64_t incarnation);
void weir_log_destroy(struct weir_log *log);

static inline struct weir_run_header *weir_log_run(const struct weir_log *log, uint64_t position)
{
	return (struct weir_run_header *)(void *)(log->base + (position & log->mask));
}

// Bytes a run of `length` bytes of events takes.
static inline uint64_t weir_log_run_size(uint32_t length)
{
	return sizeof(struct weir_run_header) + length;
}

// Whether a run fits without overwriting anything at or behind `hold` (position of the slowest hold cursor; log->head
// when nothing holds).
static inline bool weir_log_has_room(const struct weir_log *log, uint64_t hold, uint32_t length)
{
	return log->head + weir_log_run_size(length) - hold <= log->size;
}

// Appends one run: header fields but append_ns come from *run, events are copied (run->length bytes, multiple of 8).
// Moves the tail over what gets overwritten; the caller checked room. now_ns below last_append_ns is raised to it.
void weir_log_append(struct weir_log *log, const struct weir_run_header *run, const void *events, uint64_t now_ns);

// The same in two steps, for runs whose events are assembled in place or come in pieces: reserve makes room for the
// run (moving the tail) and returns where its `length` bytes of events go; commit publishes it. Nothing else may happen
// to the log in between.
static inline void *weir_log_reserve(struct weir_log *log, uint32_t length)
{
	uint64_t end = log->head + weir_log_run_size(length);
	while (end - log->tail > log->size) {
		const struct weir_run_header *oldest = weir_log_run(log, log->tail);
		log->tail_offset += oldest->count;
		log->tail += weir_log_run_size(oldest->length);
	}
	return weir_log_run(log, log->head) + 1;
}

// A ring is written end to end, so where there is much of it the next run's place is seldom in the cache: fetched now, it is by
// the time it is needed. A frame of 1,440 bytes from a lane into four rings of 64 MiB: 190 ns without, 73 ns with; of 4 MiB: 77
// and 51; of 1 MiB: 2 % more with. Behind a small run, that is some runs on.
static inline void weir_log_fetch(const uint8_t *next, uint64_t size)
{
	if (size <= 128) {
		weir_prefetch_write(next + 256);
		weir_prefetch_write(next + 320);
		return;
	}
	for (const uint8_t *end = next + size; next < end; next += 256) {
		weir_prefetch_write(next);
		weir_prefetch_write(next + 64);
		weir_prefetch_write(next + 128);
		weir_prefetch_write(next + 192);
	}
}

static inline void weir_log_commit(struct weir_log *log, const struct weir_run_header *run, uint64_t now_ns)
{
	if (now_ns > log->last_append_ns)
		log->last_append_ns = now_ns;
	struct weir_run_header *place = weir_log_run(log, log->head);
	*place = *run;
	place->append_ns = log->last_append_ns;
	log->head += weir_log_run_size(run->length);
	log->head_offset += run->count;
	weir_log_fetch((const uint8_t *)weir_log_run(log, log->head), weir_log_run_size(run->length));
}

// Moves a cursor forward to `offset` (between its own and the head's), walking run headers; within a run it walks
// event headers. The cursor must not have been overwritten.
void weir_cursor_advance(const struct weir_log *log, struct weir_cursor *cursor, uint64_t offset);

static inline struct weir_cursor weir_log_earliest(const struct weir_log *log)
{
	return (struct weir_cursor){ .position = log->tail, .offset = log->tail_offset };
}

static inline struct weir_cursor weir_log_latest(const struct weir_log *log)
{
	return (struct weir_cursor){ .position = log->head, .offset = log->head_offset };
}

#endif
