// Lanes: the shared memory between a local client and the router, and the words they exchange to set it up. Every memory has
// one writer, its maker: the client's memory holds the frames it sends and its cursors, the router's holds the frames it
// sends and how far it took the client's, the heads say how far each shard log reaches. Whoever maps another's memory
// maps it read-only, after it has seen the seals SHRINK, GROW, FUTURE_WRITE and SEAL on it: it cannot be truncated,
// punched or mapped writable again, so reading it never faults fatally. What is read there may change at any time:
// read once, then check, then use (PROTOCOL.md, section 18).
// Usable from client and router: no code but arithmetic, no includes beyond <stdint.h>.
#ifndef WEIR_WIRE_LANE_H
#define WEIR_WIRE_LANE_H

#include <stdint.h>

#include "wire/limits.h"

#define WEIR_LANE_MAGIC 0x454e414c52494557ull // "WEIRLANE": no JSON begins like this, control's socket tells by it
#define WEIR_LANE_VERSION 1u
#define WEIR_LANE_FRAMES_MAX (1u << 16)    // descriptors of a client's ring, a power of two
#define WEIR_LANE_READERS_MAX 1024u        // cursors of a client: shards it may read in place at a time
#define WEIR_LANE_ARENA_MAX (256u << 20)   // bytes of a client's frames
#define WEIR_LANE_TRAIN_MAX (64u << 10)    // bytes of one descriptor
#define WEIR_LANE_RING_MIN (64u << 10)     // bytes of the router's ring, a power of two
#define WEIR_LANE_PAGE 4096u

// A word that one side writes and the other polls, alone in its cache line.
struct weir_lane_word {
	uint64_t value;
	uint64_t reserved[7];
};

// ---- Client's memory: this page, cursors, descriptors, arena, each beginning on a page ----

// What the client writes most, and in the same line, so that looking costs nothing, its word that it is at work: a PING with
// flag WORKING, of this session and sequence. Any thread of the client may store it: the session, then the sequence with
// release.
struct weir_lane_sent {
	uint64_t value; // descriptors written so far; store with release
	uint64_t working_session;
	uint64_t working; // sequence; 0: never
	uint64_t reserved[5];
};
_Static_assert(sizeof(struct weir_lane_sent) == 64, "it is a cache line");

struct weir_lane_client {
	struct weir_lane_sent sent;
	struct weir_lane_word taken;  // bytes of the router's ring that may be overwritten
	struct weir_lane_word asleep; // 1: wants a word on the bell when something was sent or a head moved
};

// How far an assignment that is read in place is settled. `tag` is told in the report that begins the reading and never used
// again on this lane. The client stores settled_to first, then the tag, with release; the router loads the tag first.
struct weir_lane_cursor {
	uint64_t tag;
	uint64_t settled_to; // offset
	uint64_t reserved[6];
};

// A frame in the arena, or a train of them: publish frames of one stream, one behind the other, each at a multiple of 8
// from the first one, every one as long as its header says. It belongs to the router until `taken` of the router's memory
// has passed it.
#define WEIR_LANE_UNIT 64u // frames begin at multiples of this
static inline uint64_t weir_lane_descriptor(uint64_t arena_offset, uint32_t size)
{
	return arena_offset / WEIR_LANE_UNIT | (uint64_t)size << 32;
}

static inline uint64_t weir_lane_descriptor_offset(uint64_t descriptor)
{
	return (descriptor & UINT32_MAX) * WEIR_LANE_UNIT;
}

static inline uint32_t weir_lane_descriptor_size(uint64_t descriptor)
{
	return (uint32_t)(descriptor >> 32);
}

static inline uint64_t weir_lane_page_up(uint64_t size)
{
	return (size + WEIR_LANE_PAGE - 1) & ~(uint64_t)(WEIR_LANE_PAGE - 1);
}

static inline uint64_t weir_lane_cursors_at(void)
{
	return WEIR_LANE_PAGE;
}

static inline uint64_t weir_lane_descriptors_at(uint32_t cursors)
{
	return weir_lane_cursors_at() + weir_lane_page_up((uint64_t)cursors * sizeof(struct weir_lane_cursor));
}

static inline uint64_t weir_lane_arena_at(uint32_t cursors, uint32_t frames)
{
	return weir_lane_descriptors_at(cursors) + weir_lane_page_up((uint64_t)frames * sizeof(uint64_t));
}

// ---- Router's memory: this page, then the ring, mapped twice in a row by both sides so that no record wraps ----

struct weir_lane_router {
	struct weir_lane_word taken; // descriptors whose frames the router no longer reads
	struct weir_lane_word sent;  // bytes written to the ring so far; store with release
};

// In front of every frame in the ring; records begin at multiples of 8 and positions only grow.
struct weir_lane_record {
	uint32_t size; // of the frame behind this
	uint32_t reserved;
};

static inline uint64_t weir_lane_record_size(uint32_t frame_size)
{
	return (sizeof(struct weir_lane_record) + frame_size + 7u) & ~(uint64_t)7u;
}

#define WEIR_LANE_RING_AT WEIR_LANE_PAGE

// ---- Heads: one memory for the whole router. Lines of 64 bytes ----

// Line w: worker w. value 1: it sleeps; whoever then gives it work writes to the bell.
#define WEIR_LANE_WORKER_LINES WEIR_WORKERS_MAX

// Lines from WEIR_LANE_WORKER_LINES on: shards.
struct weir_lane_head {
	uint64_t incarnation; // of the log this line speaks of; 0: none any more
	uint64_t head;        // position in bytes: runs below it may be read; store with release
	uint64_t reserved[6];
};
_Static_assert(sizeof(struct weir_lane_word) == 64, "a word is a cache line");
_Static_assert(sizeof(struct weir_lane_cursor) == 64, "a cursor is a cache line");
_Static_assert(sizeof(struct weir_lane_head) == 64, "a head is a cache line");

// ---- Set-up, over control's unix stream socket ----

// Client to router, first thing; with it one descriptor: the client's memory, sealed, of the size the layout above gives.
struct weir_lane_hello {
	uint64_t magic;
	uint32_t version;
	uint32_t cursors;    // 0 to WEIR_LANE_READERS_MAX
	uint32_t frames;     // power of two up to WEIR_LANE_FRAMES_MAX
	uint32_t reserved;
	uint64_t arena_size; // multiple of WEIR_LANE_PAGE up to WEIR_LANE_ARENA_MAX
	char name[WEIR_NAME_SIZE]; // of the client, for people
};
_Static_assert(sizeof(struct weir_lane_hello) == 96, "lane hello layout");

// Router to client; with it, when error is 0, four descriptors: router's memory, heads, the client's bell (a socket that hears
// datagrams and sends none; each means: look again), the worker's bell (an eventfd that the client adds 1 to). The router
// makes both, so that nothing but a ring can come to it through them.
struct weir_lane_welcome {
	uint64_t magic;
	uint32_t version;
	int32_t error;      // -errno, then `text` says why and what to do; the router closes the socket
	uint64_t lane;      // number, never used again in a router's life
	uint64_t ring_size; // bytes, power of two
	uint64_t heads;     // lines
	uint32_t worker;    // home: line of its sleep in the heads
	uint32_t reserved;
	char text[208];
};
_Static_assert(sizeof(struct weir_lane_welcome) == 256, "lane welcome layout");

// Client to router: the log of a shard that it was assigned in place.
struct weir_lane_ask {
	uint64_t magic;
	uint64_t incarnation;
	uint32_t topic;
	uint16_t shard;
	uint16_t reserved;
};
_Static_assert(sizeof(struct weir_lane_ask) == 24, "lane ask layout");

// The answer; with it, when error is 0, one descriptor: the log, to be mapped twice in a row, read-only. -ENOENT no such shard
// or another incarnation, -EACCES the client's session is no member of a group there that may read in place.
struct weir_lane_log {
	uint64_t magic;
	uint64_t incarnation;
	uint64_t size; // bytes of the log's ring, a power of two: position p lies at p modulo size
	uint32_t topic;
	uint16_t shard;
	uint16_t reserved;
	uint32_t head; // line of its head in the heads
	int32_t error;
};
_Static_assert(sizeof(struct weir_lane_log) == 40, "lane log layout");

#endif
