// The worker mesh: for every ordered pair of workers a ring of frames (may refuse, counted by the sender) and a ring of
// messages (never refuses: what does not fit waits in the sender's backlog). Between control and each worker a ring of
// messages either way. All rings have one writer and one reader. Frames are copied in, so a slow worker holds no port's
// buffers. Measured on one busy core, best of 20 times 20,000 frames: in and out of the ring, both copies and everything else,
// 84 ns at 1,472 bytes and 42 ns at 96.
#ifndef WEIR_IO_MESH_H
#define WEIR_IO_MESH_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/core/engine.h"
#include "dataplane/core/message.h"

struct weir_mesh;

#define WEIR_MESH_SLOTS 256u         // full frames of the default size that a ring holds at least, on up to 8 workers
#define WEIR_MESH_MESSAGES 256u      // messages a ring holds; more wait in the backlog of the sender
#define WEIR_MESH_BUDGET (256u << 20) // bytes that all frame rings together may take

// Control thread. node[w]: NUMA node of worker w, -1: any. -ENOMEM, -errno of eventfd.
// Bytes that weir_mesh_create() takes.
uint64_t weir_mesh_size(uint16_t workers);
int weir_mesh_create(struct weir_mesh **mesh, uint16_t workers, const int *node);
void weir_mesh_destroy(struct weir_mesh *mesh);

// ---- Worker `from` alone ----
// Contract of weir_engine_io: reserve, then one commit (size 0: nothing after all, but for a handover, which is its header
// alone). commit says whether the frame is on its way.
void *weir_mesh_reserve(struct weir_mesh *mesh, uint16_t from, uint16_t to, const struct weir_mesh_header *header,
			uint32_t size);
bool weir_mesh_commit(struct weir_mesh *mesh, uint16_t from, uint16_t to, uint32_t size);
// to: a worker, or WEIR_FROM_CONTROL. `from` in the message is set here.
void weir_mesh_tell(struct weir_mesh *mesh, uint16_t from, uint16_t to, const struct weir_message *message);
// The next one would go into the ring, not into the backlog.
bool weir_mesh_may_tell(struct weir_mesh *mesh, uint16_t from, uint16_t to);
// Once a turn: moves the backlog on and wakes those that were given something and sleep. false: a backlog remains.
bool weir_mesh_flush(struct weir_mesh *mesh, uint16_t from);

// ---- Worker `to` alone ----
// Oldest frame from a worker; NULL when there is none. Valid until it is released.
const struct weir_mesh_header *weir_mesh_peek(struct weir_mesh *mesh, uint16_t from, uint16_t to);
void weir_mesh_release(struct weir_mesh *mesh, uint16_t from, uint16_t to);
// Next message from a worker or from control (from: WEIR_FROM_CONTROL). false: none.
bool weir_mesh_hear(struct weir_mesh *mesh, uint16_t from, uint16_t to, struct weir_message *message);

// ---- Sleeping. Worker `to` alone ----
// Says that the worker is about to sleep and looks once more: false when something has come in. Then sleeping must not
// happen. After a true the worker waits for its fd (or a timeout) and calls awake.
bool weir_mesh_doze(struct weir_mesh *mesh, uint16_t to);
void weir_mesh_awake(struct weir_mesh *mesh, uint16_t to);
int weir_mesh_fd(const struct weir_mesh *mesh, uint16_t worker); // eventfd

// ---- Any thread: instead of a message, e.g. to stop a worker ----
void weir_mesh_wake(struct weir_mesh *mesh, uint16_t worker);

#endif
