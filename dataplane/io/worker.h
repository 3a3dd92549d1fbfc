// A worker: a polling thread on one core that owns an engine and some (port, queue) pairs. Created, started, stopped and
// observed by control.
#ifndef WEIR_IO_WORKER_H
#define WEIR_IO_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/core/engine.h"
#include "dataplane/io/fault.h"
#include "dataplane/io/mesh.h"
#include "dataplane/io/port.h"

struct weir_worker;

#define WEIR_WORKER_PORTS_MAX 32u // (port, queue) pairs of one worker; more are refused at start
#define WEIR_WORKER_NICE (-15)
#define WEIR_STALL_NS 10000000u   // a turn longer than this is named

enum weir_poll {
	WEIR_POLL_MODE_ADAPTIVE, // poll, pause, sleep
	WEIR_POLL_MODE_ALWAYS,
};

struct weir_worker_settings {
	uint16_t worker;
	int core;       // OS number of the CPU, -1: not pinned
	int node;       // NUMA node of its memory, -1: any
	int nice;       // 0: as the process
	enum weir_poll poll;
	uint64_t idle_sleep_max_ns; // 0: 1 ms
	bool needs_eal; // some port is a DPDK device
};

// Control thread. The engine is created here; ports stay the caller's and are closed after destroy.
// engine: template, worker and io are filled in.
int weir_worker_create(struct weir_worker **worker, const struct weir_worker_settings *settings,
		       const struct weir_engine_config *engine, struct weir_mesh *mesh, struct weir_fault *fault);
// Before start: gives it a port. port->index must be its place (0, 1, ...).
int weir_worker_add_port(struct weir_worker *worker, struct weir_port *port);
// The same for the port of its lanes (lane.h), behind all others; there is room for it.
void weir_worker_add_lanes(struct weir_worker *worker, struct weir_port *port);
// Starts the thread and waits until it runs on its core. warning (may be NULL) tells what was not permitted but does not
// stop it (nice, pinning outside the cpuset); warning->object is empty when there is none.
int weir_worker_start(struct weir_worker *worker, struct weir_fault *warning, struct weir_fault *fault);
// Ends the loop after its turn and joins. Nothing is sent any more.
void weir_worker_stop(struct weir_worker *worker);
void weir_worker_destroy(struct weir_worker *worker); // stops it when needed

enum weir_stage {
	WEIR_STAGE_STOPPED,
	WEIR_STAGE_RECEIVE,  // port says which
	WEIR_STAGE_MESH,
	WEIR_STAGE_MESSAGES,
	WEIR_STAGE_RUN,
	WEIR_STAGE_FLUSH,    // port says which
	WEIR_STAGE_IDLE,     // polled in vain, pausing
	WEIR_STAGE_SLEEP,
};

// What the worker was doing when looked at, any thread.
struct weir_pulse {
	enum weir_stage stage;
	uint16_t port;          // index into its ports
	uint64_t turn_ns;       // when the turn began, CLOCK_MONOTONIC
	uint64_t longest_ns;    // longest turn since the last look with reset
};
void weir_worker_look(struct weir_worker *worker, bool reset, struct weir_pulse *pulse);
// now_ns - turn_ns over WEIR_STALL_NS in any stage but SLEEP and STOPPED is a stall.
static inline bool weir_pulse_is_stall(const struct weir_pulse *pulse, uint64_t now_ns)
{
	return pulse->stage != WEIR_STAGE_SLEEP && pulse->stage != WEIR_STAGE_STOPPED &&
	       now_ns > pulse->turn_ns + WEIR_STALL_NS;
}
const char *weir_stage_name(enum weir_stage stage);

#endif
