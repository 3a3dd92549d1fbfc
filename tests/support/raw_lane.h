// A client of lanes by hand, for tests: its memory, sealed or not as a test wants it, the router's as the welcome gives it,
// and frames both ways. Trusts what it reads; it is the router's care that is tested. Any thread, one at a time.
#ifndef WEIR_TESTS_RAW_LANE_H
#define WEIR_TESTS_RAW_LANE_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire/codec.h"
#include "wire/frame.h"
#include "wire/lane.h"

#define RAW_LANE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

struct raw_lane {
	struct weir_lane_hello hello;
	int memory;
	uint8_t *base;
	uint64_t size;
	// After the welcome.
	const struct weir_lane_router *router;
	const struct weir_lane_word *heads;
	uint64_t lines;
	uint64_t ring_size;
	int bell;        // hears
	int worker_bell; // is rung
	uint64_t sent; // descriptors
	uint64_t read; // bytes of the ring
	uint64_t arena_at;
};

static inline struct weir_lane_client *raw_lane_page(struct raw_lane *lane)
{
	return (void *)lane->base;
}

static inline uint64_t *raw_lane_descriptors(struct raw_lane *lane)
{
	return (void *)(lane->base + weir_lane_descriptors_at(lane->hello.cursors));
}

static inline uint8_t *raw_lane_arena(struct raw_lane *lane)
{
	return lane->base + weir_lane_arena_at(lane->hello.cursors, lane->hello.frames);
}

// flags: of memfd_create() beside MFD_ALLOW_SEALING. false: such memory cannot be had here.
static inline bool raw_lane_make(struct raw_lane *lane, uint32_t cursors, uint32_t frames, uint64_t arena, unsigned flags)
{
	uint64_t size = weir_lane_arena_at(cursors, frames) + arena;

	*lane = (struct raw_lane){ .hello = { .magic = WEIR_LANE_MAGIC, .version = WEIR_LANE_VERSION, .cursors = cursors,
					      .frames = frames, .arena_size = arena, .name = "raw" },
				    .bell = -1, .worker_bell = -1 };
	lane->size = flags & MFD_HUGETLB ? (size + (2u << 20) - 1) & ~(uint64_t)((2u << 20) - 1) : size;
	lane->memory = memfd_create("raw-lane", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
	if (lane->memory < 0)
		return false;
	if (ftruncate(lane->memory, (off_t)lane->size) == 0 && fallocate(lane->memory, 0, 0, (off_t)lane->size) == 0) {
		lane->base = mmap(NULL, lane->size, PROT_READ | PROT_WRITE, MAP_SHARED, lane->memory, 0);
		if (lane->base != MAP_FAILED)
			return true;
	}
	close(lane->memory);
	return false;
}

static inline bool raw_lane_seal(struct raw_lane *lane, int seals)
{
	return fcntl(lane->memory, F_ADD_SEALS, seals) == 0;
}

static inline bool raw_lane_map(struct raw_lane *lane, int router, int heads, uint64_t ring_size, uint64_t lines)
{
	uint8_t *base = mmap(NULL, WEIR_LANE_RING_AT + 2 * ring_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *words = mmap(NULL, lines * 64, PROT_READ, MAP_SHARED, heads, 0);

	if (base == MAP_FAILED || words == MAP_FAILED ||
	    mmap(base, WEIR_LANE_RING_AT + ring_size, PROT_READ, MAP_SHARED | MAP_FIXED, router, 0) == MAP_FAILED ||
	    mmap(base + WEIR_LANE_RING_AT + ring_size, ring_size, PROT_READ, MAP_SHARED | MAP_FIXED, router,
		 WEIR_LANE_RING_AT) == MAP_FAILED)
		return false;
	lane->router = (void *)base;
	lane->heads = words;
	lane->lines = lines;
	lane->ring_size = ring_size;
	return true;
}

static inline void raw_lane_unmap(struct raw_lane *lane)
{
	if (lane->router) {
		munmap((void *)(uintptr_t)lane->router, WEIR_LANE_RING_AT + 2 * lane->ring_size);
		munmap((void *)(uintptr_t)lane->heads, lane->lines * 64);
	}
	munmap(lane->base, lane->size);
	close(lane->memory);
	if (lane->bell >= 0)
		close(lane->bell);
	if (lane->worker_bell >= 0)
		close(lane->worker_bell);
}

// Writes a descriptor as it is and publishes it.
static inline void raw_lane_put(struct raw_lane *lane, uint64_t descriptor)
{
	raw_lane_descriptors(lane)[lane->sent & (lane->hello.frames - 1)] = descriptor;
	__atomic_store_n(&raw_lane_page(lane)->sent.value, ++lane->sent, __ATOMIC_RELEASE);
}

static inline bool raw_lane_has_room(struct raw_lane *lane)
{
	return lane->sent - __atomic_load_n(&lane->router->taken.value, __ATOMIC_ACQUIRE) < lane->hello.frames;
}

// Seals a frame of these fields and this body in the arena and publishes it. The arena is used round and round: it has to be
// twice as large as all frames under way. Wakes the worker when it sleeps.
static inline void raw_lane_send(struct raw_lane *lane, struct weir_frame_header fields, const void *body, uint16_t length)
{
	uint64_t room = (sizeof(fields) + length + WEIR_LANE_UNIT - 1) & ~(uint64_t)(WEIR_LANE_UNIT - 1);
	struct weir_frame_header *frame;

	if (lane->arena_at + room > lane->hello.arena_size)
		lane->arena_at = 0;
	frame = (void *)(raw_lane_arena(lane) + lane->arena_at);
	*frame = fields;
	if (length)
		memcpy(frame + 1, body, length);
	weir_frame_seal(frame, length);
	raw_lane_put(lane, weir_lane_descriptor(lane->arena_at, (uint32_t)sizeof(fields) + length));
	lane->arena_at += room;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (lane->worker_bell >= 0)
		(void)!write(lane->worker_bell, &(uint64_t){ 1 }, sizeof(uint64_t));
}

// Oldest frame of the router's; NULL: none now. It may be overwritten after the next call.
static inline const struct weir_frame_header *raw_lane_next(struct raw_lane *lane, uint32_t *size)
{
	const struct weir_lane_record *record = (const void *)((const uint8_t *)lane->router + WEIR_LANE_RING_AT +
							       (lane->read & (lane->ring_size - 1)));

	__atomic_store_n(&raw_lane_page(lane)->taken.value, lane->read, __ATOMIC_RELEASE);
	if (__atomic_load_n(&lane->router->sent.value, __ATOMIC_ACQUIRE) == lane->read)
		return NULL;
	*size = record->size;
	lane->read += weir_lane_record_size(record->size);
	return (const void *)(record + 1);
}

// ---- Over a socket ----

// Sends the hello with `count` descriptors, of which the first is the lane's memory and the others the same again.
static inline bool raw_lane_hello(struct raw_lane *lane, int socket, uint32_t count)
{
	enum { MOST = 253 }; // the kernel's
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(MOST * sizeof(int))];
	} control = { 0 };
	struct iovec part = { &lane->hello, sizeof(lane->hello) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	struct cmsghdr *header;

	if (count) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(count * sizeof(int));
		for (uint32_t i = 0; i < count; i++)
			memcpy(CMSG_DATA(header) + i * sizeof(int), &lane->memory, sizeof(int));
	}
	return sendmsg(socket, &message, MSG_NOSIGNAL) == (ssize_t)sizeof(lane->hello);
}

// Waits for `size` bytes and the descriptors with them, at most four. Returns how many came, -1: the socket was closed.
static inline int raw_lane_hear(int socket, void *answer, size_t size, int fds[4])
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(4 * sizeof(int))];
	} control;
	struct iovec part = { answer, size };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
				  .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *header;

	if (recvmsg(socket, &message, MSG_WAITALL | MSG_CMSG_CLOEXEC) != (ssize_t)size)
		return -1;
	header = CMSG_FIRSTHDR(&message);
	if (!header)
		return 0;
	memcpy(fds, CMSG_DATA(header), header->cmsg_len - CMSG_LEN(0));
	return (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
}

// The welcome, and what came with it mapped. false: refused (welcome->text says why) or cut off (welcome->magic is 0).
static inline bool raw_lane_welcome(struct raw_lane *lane, int socket, struct weir_lane_welcome *welcome)
{
	int fds[4];
	int count;
	bool is_mapped;

	memset(welcome, 0, sizeof(*welcome));
	count = raw_lane_hear(socket, welcome, sizeof(*welcome), fds);
	if (count != 4)
		return false;
	is_mapped = raw_lane_map(lane, fds[0], fds[1], welcome->ring_size, welcome->heads);
	close(fds[0]);
	close(fds[1]);
	lane->bell = fds[2];
	lane->worker_bell = fds[3];
	return is_mapped;
}

#endif
