// Lanes as the router's machine side holds them (wire/lane.h says what lies in their memory): one table per dataplane with the
// lanes of all workers, the heads that their readers look at, and a port per worker (port_lane.c) that polls its own lanes.
//
// Control makes, detaches and destroys lanes while workers run. A lane leaves in three steps: detach (nobody finds it any
// more), WEIR_MESSAGE_LANE_GONE to every worker, destroy after all have answered.
#ifndef WEIR_IO_LANE_H
#define WEIR_IO_LANE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "dataplane/core/engine.h"
#include "dataplane/core/path.h"
#include "dataplane/io/fault.h"
#include "dataplane/io/port.h"
#include "wire/lane.h"

struct weir_lane_table;

#define WEIR_LANE_PER_WORKER_MAX 4096u    // lanes of a worker, at most
#define WEIR_LANE_RING_SIZE (256u << 10)  // bytes of the router's ring to a client
#define WEIR_LANE_HUGE_PAGE (2ull << 20)

// The process at the other end, as the kernel names it.
struct weir_lane_owner {
	int64_t pid;
	uint32_t uid;
	char program[16];
};

struct weir_lane {
	// Written once by control.
	uint64_t number;
	uint32_t slot;   // place in the table
	uint16_t worker; // home
	struct weir_lane_view view;
	struct weir_path path;
	const struct weir_lane_client *client; // may change at any time, like descriptors, arena and the view's cursors
	const uint64_t *descriptors;
	uint32_t descriptor_mask;
	const uint8_t *arena;
	uint64_t arena_size;
	struct weir_lane_router *router;
	uint8_t *ring;
	uint64_t ring_size;
	uint64_t client_size; // bytes mapped of the client's memory
	int bell;             // eventfd: its client wakes the worker
	int client_bell;      // socket: wakes the client
	struct weir_lane_owner owner; // for people
	char name[WEIR_NAME_SIZE];    // that the client says it has
	// The home worker's alone.
	_Alignas(64) uint64_t taken; // descriptors
	uint64_t working; // sequence of the client's last word that it is at work
	uint64_t sent;        // bytes of the ring
	uint64_t room_to;     // position up to which the ring may be written, as the client last said
	uint64_t full_ns;     // when a wait for room began
	uint32_t train_taken; // bytes of the descriptor at `taken` that were taken already
	uint64_t frames_in_turn; // read in this turn
	uint64_t bytes_in_turn;
	bool is_dirty;        // has bytes that were not published
	// Written by the home worker, read by control.
	_Alignas(64) _Atomic uint64_t frames_in;
	_Atomic uint64_t bytes_in;
	_Atomic uint64_t frames_out;
	_Atomic uint64_t bytes_out;
	_Atomic uint64_t dropped; // descriptors that pointed nowhere
	_Atomic uint64_t lost;    // frames to a client that did not empty its ring
	_Atomic uint64_t session; // name of the one welcomed last, 0: none
};

// ---- Control thread ----

// per_worker: lanes of each worker, 1 to WEIR_LANE_PER_WORKER_MAX; shards: lines for heads. 0, -ENOMEM, -errno with *fault.
int weir_lane_table_create(struct weir_lane_table **table, uint16_t workers, uint32_t per_worker, uint32_t shards,
			   struct weir_fault *fault);
// Before the worker starts: place of its lanes' port among its ports.
void weir_lane_table_port(struct weir_lane_table *table, uint16_t worker, uint16_t index);
// After the workers ended. Lanes that are left are destroyed.
void weir_lane_table_destroy(struct weir_lane_table *table);

// Most lanes of all workers together.
uint32_t weir_lane_table_room(const struct weir_lane_table *table);

// The lane in a place from 0 to room - 1, also one that is going; NULL: free.
const struct weir_lane *weir_lane_table_at(const struct weir_lane_table *table, uint32_t place);

// A line that says how far a shard's log reaches; NULL when all are taken. It goes back when no lane can be told of the
// shard any more: readers see incarnation 0.
struct weir_lane_head *weir_lane_head_get(struct weir_lane_table *table, uint64_t incarnation);
void weir_lane_head_put(struct weir_lane_table *table, struct weir_lane_head *head); // NULL is allowed
// Its number among the lines.
uint32_t weir_lane_head_line(const struct weir_lane_table *table, const struct weir_lane_head *head);

struct weir_lane_request {
	const struct weir_lane_hello *hello;
	int memory;  // the client's; stays the caller's
	struct weir_lane_owner owner;
};

// What the client is to be sent. `router` and `bell` are the caller's, to close; `heads_memory` is not.
struct weir_lane_grant {
	int router;
	int heads_memory;
	int bell;       // the client's, beside that of the lane, which it rings
	uint32_t heads; // lines
};

// Checks everything a client said, maps its memory, makes the router's, and gives the lane to the worker with the fewest.
// -EPROTO and -EINVAL for what the client did wrong, -ENOSPC no room for more lanes, or a system call's -errno; *fault says
// what and why.
int weir_lane_create(struct weir_lane **lane, struct weir_lane_table *table, const struct weir_lane_request *request,
		     struct weir_lane_grant *grant, struct weir_fault *fault);
// From now on it is polled and found.
void weir_lane_attach(struct weir_lane_table *table, struct weir_lane *lane);
void weir_lane_detach(struct weir_lane_table *table, struct weir_lane *lane);
void weir_lane_destroy(struct weir_lane_table *table, struct weir_lane *lane);

// Bytes that the lane keeps mapped.
uint64_t weir_lane_bytes(const struct weir_lane *lane);

// Seals a log so that whoever gets its descriptor can only read it. 0 or -errno.
int weir_lane_seal(int memory);

// ---- Workers ----

// The lane of that number; NULL: it is gone or going.
struct weir_lane *weir_lane_find(const struct weir_lane_table *table, uint64_t number);
// Of the worker's own: changes when lanes came or went.
uint64_t weir_lane_table_changes(const struct weir_lane_table *table, uint16_t worker);
// The worker's own lanes as they are now, at most as many as per_worker says.
uint32_t weir_lane_table_list(const struct weir_lane_table *table, uint16_t worker, struct weir_lane **lanes);
uint32_t weir_lane_table_per_worker(const struct weir_lane_table *table);
// Descriptor that is readable while a bell of the worker's lanes has rung.
int weir_lane_table_bells(const struct weir_lane_table *table, uint16_t worker);
// The line that tells clients whether the worker sleeps.
struct weir_lane_word *weir_lane_table_sleep(const struct weir_lane_table *table, uint16_t worker);

// ---- port_lane.c: the port of a worker's lanes ----

// Control thread, before the worker starts. The table outlives the port.
int weir_port_lane_open(struct weir_port **port, struct weir_lane_table *table, uint16_t worker, uint16_t index,
			struct weir_fault *fault);

// The rest is the worker's. `port` is that of weir_port_lane_open().
const struct weir_lane_view *weir_port_lane_find(struct weir_port *port, uint64_t number);
void weir_port_lane_wake(struct weir_port *port, uint64_t number);
// Forgets the lane: before the engine answers WEIR_MESSAGE_LANE_GONE.
void weir_port_lane_gone(struct weir_port *port, uint64_t number);
// Tells clients that the worker is about to sleep. It then looks at everything once more before it does.
void weir_port_lane_doze(struct weir_port *port);
void weir_port_lane_awake(struct weir_port *port);
// Lanes it polls.
uint32_t weir_port_lane_count(const struct weir_port *port);
// Bells that rang are heard.
void weir_port_lane_hush(struct weir_port *port);

#endif
