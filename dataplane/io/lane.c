// The memory of lanes and the table that workers find them in. The client's memory is looked at only behind its seals and with
// all its pages present, so that no worker faults in it; the router's is sealed before anybody else holds it. Control makes
// and frees; workers look slots up.
#include "dataplane/io/lane.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

// What a worker looks at in each turn, alone in its line.
struct home {
	_Alignas(64) _Atomic uint64_t changes;
	uint32_t count; // lanes, control's
	int bells;
	uint16_t port; // index of the lanes' port
};

struct weir_lane_table {
	uint16_t workers;
	uint32_t per_worker;
	uint32_t slot_bits;
	_Atomic(struct weir_lane *) *slots; // [workers * per_worker], a worker's together; NULL: nobody finds it
	struct weir_lane **lanes;           // [workers * per_worker] control's: also those that are going
	uint32_t *uses;                     // [workers * per_worker] how often the slot was used
	struct home *homes;                 // [workers]
	int heads_memory;
	struct weir_lane_head *heads;
	uint32_t lines;
	uint32_t *lines_free; // stack
	uint32_t lines_free_count;
};

static int refuse(struct weir_fault *fault, int error, const char *action, const char *fix, const char *reason)
{
	return weir_fault_set(fault, error, "lane", action, fix, "%s", reason ? reason : strerror(-error));
}

// Its client may ask the kernel to push shared pages out of memory. Locked ones stay, so that no worker waits for a disk; where
// that is not permitted (RLIMIT_MEMLOCK) the lane works all the same.
static void keep_in_memory(const void *base, uint64_t size)
{
	(void)!mlock(base, size);
}

// ---- The table ----

static int create_heads(struct weir_lane_table *table, uint32_t shards)
{
	uint64_t size;
	int error;

	table->lines = WEIR_LANE_WORKER_LINES + shards;
	size = weir_lane_page_up((uint64_t)table->lines * sizeof(struct weir_lane_head));
	table->lines_free = calloc(shards + 1u, sizeof(*table->lines_free));
	if (!table->lines_free)
		return -ENOMEM;
	for (uint32_t line = table->lines; line-- > WEIR_LANE_WORKER_LINES;)
		table->lines_free[table->lines_free_count++] = line;
	table->heads_memory = memfd_create("weir-heads", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (table->heads_memory < 0)
		return -errno;
	// Workers write the heads, and may not fault for a page that cannot be had.
	if (ftruncate(table->heads_memory, (off_t)size) != 0 || fallocate(table->heads_memory, 0, 0, (off_t)size) != 0)
		return -errno;
	table->heads = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, table->heads_memory, 0);
	if (table->heads == MAP_FAILED) {
		error = -errno;
		table->heads = NULL;
		return error;
	}
	memset(table->heads, 0, size); // every page, so that no worker faults
	keep_in_memory(table->heads, size);
	return weir_lane_seal(table->heads_memory);
}

static int create_homes(struct weir_lane_table *table)
{
	table->homes = aligned_alloc(64, table->workers * sizeof(*table->homes));
	if (!table->homes)
		return -ENOMEM;
	memset(table->homes, 0, table->workers * sizeof(*table->homes));
	for (uint16_t w = 0; w < table->workers; w++)
		table->homes[w].bells = -1;
	for (uint16_t w = 0; w < table->workers; w++) {
		table->homes[w].bells = epoll_create1(EPOLL_CLOEXEC);
		if (table->homes[w].bells < 0)
			return -errno;
	}
	return 0;
}

int weir_lane_table_create(struct weir_lane_table **out, uint16_t workers, uint32_t per_worker, uint32_t shards,
			   struct weir_fault *fault)
{
	struct weir_lane_table *table = calloc(1, sizeof(*table));
	uint32_t room = workers * per_worker;
	int error = -ENOMEM;

	if (!table)
		return refuse(fault, error, "make the table", "free some memory", NULL);
	table->workers = workers;
	table->per_worker = per_worker;
	table->heads_memory = -1;
	while (room > 1u << table->slot_bits)
		table->slot_bits++;
	table->slots = calloc(room, sizeof(*table->slots));
	table->lanes = calloc(room, sizeof(*table->lanes));
	table->uses = calloc(room, sizeof(*table->uses));
	if (table->slots && table->lanes && table->uses)
		error = create_homes(table);
	if (!error)
		error = create_heads(table, shards);
	if (error) {
		weir_lane_table_destroy(table);
		return refuse(fault, error, "make the table", "free some memory, or raise the limit of open files", NULL);
	}
	*out = table;
	return 0;
}

void weir_lane_table_destroy(struct weir_lane_table *table)
{
	if (!table)
		return;
	for (uint32_t i = 0; table->lanes && i < weir_lane_table_room(table); i++) {
		if (!table->lanes[i])
			continue;
		weir_lane_detach(table, table->lanes[i]);
		weir_lane_destroy(table, table->lanes[i]);
	}
	for (uint16_t w = 0; table->homes && w < table->workers; w++) {
		if (table->homes[w].bells >= 0)
			close(table->homes[w].bells);
	}
	if (table->heads)
		munmap(table->heads, weir_lane_page_up((uint64_t)table->lines * sizeof(struct weir_lane_head)));
	if (table->heads_memory >= 0)
		close(table->heads_memory);
	free(table->lines_free);
	free(table->homes);
	free(table->uses);
	free(table->lanes);
	free(table->slots);
	free(table);
}

uint32_t weir_lane_table_room(const struct weir_lane_table *table)
{
	return table->workers * table->per_worker;
}

void weir_lane_table_port(struct weir_lane_table *table, uint16_t worker, uint16_t index)
{
	table->homes[worker].port = index;
}

const struct weir_lane *weir_lane_table_at(const struct weir_lane_table *table, uint32_t place)
{
	return table->lanes[place];
}

uint32_t weir_lane_table_per_worker(const struct weir_lane_table *table)
{
	return table->per_worker;
}

struct weir_lane_head *weir_lane_head_get(struct weir_lane_table *table, uint64_t incarnation)
{
	struct weir_lane_head *head;

	if (table->lines_free_count == 0)
		return NULL;
	head = &table->heads[table->lines_free[--table->lines_free_count]];
	__atomic_store_n(&head->head, 0, __ATOMIC_RELAXED);
	// Pairs with the reader's acquire: whoever sees the new incarnation does not see the old head.
	__atomic_store_n(&head->incarnation, incarnation, __ATOMIC_RELEASE);
	return head;
}

void weir_lane_head_put(struct weir_lane_table *table, struct weir_lane_head *head)
{
	if (!head)
		return;
	__atomic_store_n(&head->incarnation, 0, __ATOMIC_RELEASE);
	table->lines_free[table->lines_free_count++] = weir_lane_head_line(table, head);
}

uint32_t weir_lane_head_line(const struct weir_lane_table *table, const struct weir_lane_head *head)
{
	return (uint32_t)(head - table->heads);
}

// ---- The client's memory ----

static const char *hello_trouble(const struct weir_lane_hello *hello)
{
	if (hello->magic != WEIR_LANE_MAGIC)
		return "the hello does not begin with WEIRLANE";
	if (hello->version != WEIR_LANE_VERSION)
		return "the hello has a version of lanes that this router does not speak";
	if (hello->reserved != 0)
		return "the hello's reserved field is not 0";
	if (hello->cursors > WEIR_LANE_READERS_MAX)
		return "more than 1024 cursors";
	if (hello->frames == 0 || hello->frames > WEIR_LANE_FRAMES_MAX || hello->frames & (hello->frames - 1))
		return "frames is not a power of two up to 65536";
	if (hello->arena_size == 0 || hello->arena_size % WEIR_LANE_PAGE || hello->arena_size > WEIR_LANE_ARENA_MAX)
		return "arena_size is not a multiple of 4096 up to 256 MiB";
	return NULL;
}

// Seals first: they are asked of the descriptor alone, and only memory files have them, so nothing behind a stranger's
// file system is ever waited for.
static const char *memory_trouble(int fd, const struct weir_lane_hello *hello, uint64_t *size)
{
	uint64_t wanted = weir_lane_arena_at(hello->cursors, hello->frames) + hello->arena_size;
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat stat;
	struct statfs fs;

	if (seals < 0)
		return "the descriptor is no memfd that allows seals";
	if ((seals & SEALS) != SEALS)
		return "the memory lacks one of the seals SHRINK, GROW, FUTURE_WRITE, SEAL";
	if (fstat(fd, &stat) != 0 || fstatfs(fd, &fs) != 0)
		return "the memory cannot be looked at";
	if (fs.f_type == HUGETLBFS_MAGIC) {
		if ((uint64_t)fs.f_bsize != WEIR_LANE_HUGE_PAGE)
			return "hugepages of another size than 2 MiB";
		wanted = (wanted + WEIR_LANE_HUGE_PAGE - 1) & ~(WEIR_LANE_HUGE_PAGE - 1);
	}
	if ((uint64_t)stat.st_size != wanted)
		return "the memory's size is not the one that cursors, frames and arena_size give";
	if ((uint64_t)stat.st_blocks * 512 < wanted)
		return "the memory has holes: write or fallocate() all of it first";
	*size = wanted;
	return NULL;
}

static int map_client(struct weir_lane *lane, const struct weir_lane_request *request, struct weir_fault *fault)
{
	const struct weir_lane_hello *hello = request->hello;
	const char *fix = "use a libweir of the router's version";
	const char *trouble = hello_trouble(hello);
	uint64_t size = 0;
	uint8_t *base;

	if (!trouble)
		trouble = memory_trouble(request->memory, hello, &size);
	if (trouble)
		return refuse(fault, -EPROTO, "take the client's memory", fix, trouble);
	base = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_NORESERVE, request->memory, 0);
	if (base == MAP_FAILED)
		return refuse(fault, -errno, "map the client's memory", "free some memory, or use a smaller arena", NULL);
	// Says so when a page cannot be had; a fault in a worker would end the router.
	if (madvise(base, size, MADV_POPULATE_READ) != 0) {
		int error = -errno;

		munmap(base, size);
		return refuse(fault, error, "get all pages of the client's memory",
			      "free some memory; Linux older than 5.14 has no lanes", NULL);
	}
	keep_in_memory(base, size);
	lane->client = (const void *)base;
	lane->client_size = size;
	lane->view.cursors = (const void *)(base + weir_lane_cursors_at());
	lane->view.cursor_count = hello->cursors;
	lane->descriptors = (const void *)(base + weir_lane_descriptors_at(hello->cursors));
	lane->descriptor_mask = hello->frames - 1;
	lane->arena = base + weir_lane_arena_at(hello->cursors, hello->frames);
	lane->arena_size = hello->arena_size;
	return 0;
}

// ---- The router's memory ----

// Page and ring, and the ring once more behind them.
static int map_router(struct weir_lane *lane, int fd)
{
	uint64_t ring = lane->ring_size;
	int error;
	uint8_t *base = mmap(NULL, WEIR_LANE_RING_AT + 2 * ring, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED)
		return -errno;
	if (mmap(base, WEIR_LANE_RING_AT + ring, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ||
	    mmap(base + WEIR_LANE_RING_AT + ring, ring, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
		 WEIR_LANE_RING_AT) == MAP_FAILED ||
	    madvise(base, WEIR_LANE_RING_AT + 2 * ring, MADV_POPULATE_WRITE) != 0) {
		error = -errno;
		munmap(base, WEIR_LANE_RING_AT + 2 * ring);
		return error;
	}
	keep_in_memory(base, WEIR_LANE_RING_AT + ring);
	lane->router = (void *)base;
	lane->ring = base + WEIR_LANE_RING_AT;
	return 0;
}

static int create_router(struct weir_lane *lane, int *memory, struct weir_fault *fault)
{
	int fd = memfd_create("weir-lane", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int error = fd < 0 ? -errno : 0;

	lane->ring_size = WEIR_LANE_RING_SIZE;
	if (!error && ftruncate(fd, (off_t)(WEIR_LANE_RING_AT + lane->ring_size)) != 0)
		error = -errno;
	if (!error)
		error = map_router(lane, fd);
	if (!error)
		error = weir_lane_seal(fd);
	if (error) {
		if (fd >= 0)
			close(fd);
		return refuse(fault, error, "make its ring", "free some memory, or raise the limit of open files", NULL);
	}
	*memory = fd;
	return 0;
}

int weir_lane_seal(int memory)
{
	int seals = fcntl(memory, F_GET_SEALS);

	if (seals < 0)
		return -errno;
	if ((seals & SEALS) == SEALS)
		return 0;
	return fcntl(memory, F_ADD_SEALS, SEALS) == 0 ? 0 : -errno;
}

// ---- Coming and going ----

static bool take_slot(struct weir_lane_table *table, struct weir_lane *lane)
{
	uint16_t worker = 0;

	for (uint16_t w = 1; w < table->workers; w++) {
		if (table->homes[w].count < table->homes[worker].count)
			worker = w;
	}
	for (uint32_t i = 0; i < table->per_worker; i++) {
		uint32_t slot = worker * table->per_worker + i;

		if (table->lanes[slot])
			continue;
		table->lanes[slot] = lane;
		table->homes[worker].count++;
		lane->slot = slot;
		lane->worker = worker;
		lane->number = (uint64_t)++table->uses[slot] << table->slot_bits | slot;
		return true;
	}
	return false;
}

// The worker's bell is an eventfd, so that nothing but a ring can come through it, and it is never read: the client may have
// made reads of it wait. Ours to the client is a socket, because a send that must not wait can say so itself; its end here
// hears nothing, so that nothing can lie in it either.
static int create_bells(struct weir_lane *lane, const struct weir_lane_table *table, int *theirs, struct weir_fault *fault)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u64 = lane->number };
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
		return refuse(fault, -errno, "make its bell", "raise the limit of open files", NULL);
	*theirs = ends[1];
	lane->client_bell = ends[0];
	shutdown(lane->client_bell, SHUT_RD);
	lane->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (lane->bell < 0)
		return refuse(fault, -errno, "make its worker's bell", "raise the limit of open files", NULL);
	if (epoll_ctl(table->homes[lane->worker].bells, EPOLL_CTL_ADD, lane->bell, &event) != 0)
		return refuse(fault, -errno, "hear its bell", "raise /proc/sys/fs/epoll/max_user_watches", NULL);
	return 0;
}

// Letters that a terminal and JSON can show.
static void name_copy(char to[WEIR_NAME_SIZE], const char from[WEIR_NAME_SIZE])
{
	for (uint32_t i = 0; i + 1 < WEIR_NAME_SIZE && from[i]; i++)
		to[i] = from[i] > ' ' && from[i] < 127 ? from[i] : '?';
}

int weir_lane_create(struct weir_lane **out, struct weir_lane_table *table, const struct weir_lane_request *request,
		     struct weir_lane_grant *grant, struct weir_fault *fault)
{
	struct weir_lane *lane = aligned_alloc(64, sizeof(*lane));
	int router = -1, bell = -1;
	int error;

	if (!lane)
		return refuse(fault, -ENOMEM, "make it", "free some memory", NULL);
	memset(lane, 0, sizeof(*lane));
	lane->bell = lane->client_bell = -1;
	lane->owner = request->owner;
	lane->owner.program[sizeof(lane->owner.program) - 1] = 0;
	if (!take_slot(table, lane)) {
		free(lane);
		return refuse(fault, -ENOSPC, "make it", "raise `lanes: per_worker`, or end some clients",
			      "all lanes of this router are taken");
	}
	error = map_client(lane, request, fault);
	if (!error)
		error = create_router(lane, &router, fault);
	if (!error)
		error = create_bells(lane, table, &bell, fault);
	if (error) {
		if (router >= 0)
			close(router);
		if (bell >= 0)
			close(bell);
		weir_lane_destroy(table, lane);
		return error;
	}
	name_copy(lane->name, request->hello->name);
	lane->room_to = lane->ring_size;
	lane->path.family = AF_UNIX;
	lane->path.port = table->homes[lane->worker].port;
	memcpy(lane->path.remote_ip, &lane->number, sizeof(lane->number));
	*grant = (struct weir_lane_grant){ router, table->heads_memory, bell, table->lines };
	*out = lane;
	return 0;
}

void weir_lane_attach(struct weir_lane_table *table, struct weir_lane *lane)
{
	struct home *home = &table->homes[lane->worker];

	atomic_store_explicit(&table->slots[lane->slot], lane, memory_order_release);
	atomic_fetch_add_explicit(&home->changes, 1, memory_order_release);
}

void weir_lane_detach(struct weir_lane_table *table, struct weir_lane *lane)
{
	struct home *home = &table->homes[lane->worker];

	atomic_store_explicit(&table->slots[lane->slot], NULL, memory_order_release);
	atomic_fetch_add_explicit(&home->changes, 1, memory_order_release);
	epoll_ctl(home->bells, EPOLL_CTL_DEL, lane->bell, NULL);
}

void weir_lane_destroy(struct weir_lane_table *table, struct weir_lane *lane)
{
	table->lanes[lane->slot] = NULL;
	table->homes[lane->worker].count--;
	if (lane->bell >= 0)
		close(lane->bell);
	if (lane->client_bell >= 0)
		close(lane->client_bell);
	if (lane->router)
		munmap(lane->router, WEIR_LANE_RING_AT + 2 * lane->ring_size);
	if (lane->client)
		munmap((void *)(uintptr_t)lane->client, lane->client_size);
	free(lane);
}

uint64_t weir_lane_bytes(const struct weir_lane *lane)
{
	return lane->client_size + WEIR_LANE_RING_AT + lane->ring_size;
}

// ---- Workers ----

struct weir_lane *weir_lane_find(const struct weir_lane_table *table, uint64_t number)
{
	uint64_t slot = number & ((1ull << table->slot_bits) - 1);
	struct weir_lane *lane;

	if (slot >= weir_lane_table_room(table))
		return NULL;
	lane = atomic_load_explicit(&table->slots[slot], memory_order_acquire);
	return lane && lane->number == number ? lane : NULL;
}

uint64_t weir_lane_table_changes(const struct weir_lane_table *table, uint16_t worker)
{
	return atomic_load_explicit(&table->homes[worker].changes, memory_order_acquire);
}

uint32_t weir_lane_table_list(const struct weir_lane_table *table, uint16_t worker, struct weir_lane **lanes)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < table->per_worker; i++) {
		struct weir_lane *lane =
			atomic_load_explicit(&table->slots[worker * table->per_worker + i], memory_order_acquire);

		if (lane)
			lanes[count++] = lane;
	}
	return count;
}

int weir_lane_table_bells(const struct weir_lane_table *table, uint16_t worker)
{
	return table->homes[worker].bells;
}

struct weir_lane_word *weir_lane_table_sleep(const struct weir_lane_table *table, uint16_t worker)
{
	return (struct weir_lane_word *)(void *)&table->heads[worker];
}
