// The dataplane as the daemon holds it: workers, ports, mesh, gate, counters. Everything here is called by the one control
// thread. Order of a life: create, start, commands through the gate, WEIR_MESSAGE_STOP to every worker, stop, destroy.
#ifndef WEIR_IO_DATAPLANE_H
#define WEIR_IO_DATAPLANE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "dataplane/core/engine.h"
#include "dataplane/io/counters.h"
#include "dataplane/io/eal.h"
#include "dataplane/io/fault.h"
#include "dataplane/io/gate.h"
#include "dataplane/io/lane.h"
#include "dataplane/io/port.h"
#include "dataplane/io/worker.h"

struct weir_dataplane;

struct weir_dataplane_worker {
	int core; // -1: not pinned
	int node; // -1: any
};

struct weir_dataplane_config {
	const char *instance;
	struct weir_counters_config counters; // worker_rows and router are filled in from below
	const struct weir_dataplane_worker *workers;
	uint16_t worker_count;
	const struct weir_port_config *ports;
	uint32_t port_count;
	// Template of every worker's engine: worker, workers, row, node are filled in; seed is varied per worker.
	struct weir_engine_config engine;
	enum weir_poll poll;
	uint64_t idle_sleep_max_ns; // 0: 1 ms
	int nice;                   // of the workers; WEIR_WORKER_NICE is the default of the daemon
	enum weir_eal_memory memory; // of DPDK ports
	FILE *dpdk_log; // what DPDK says on its own, from any thread: never blocks; NULL: stderr
	uint32_t lanes_per_worker;  // 0: no lanes; at most WEIR_LANE_PER_WORKER_MAX
};

// Bytes of ordinary memory that weir_dataplane_create() takes, but for a few MiB of each port and lane.
uint64_t weir_dataplane_size(const struct weir_dataplane_config *config);

// Opens everything, starts nothing. On failure everything is undone and *fault says what to do.
int weir_dataplane_create(struct weir_dataplane **dataplane, const struct weir_dataplane_config *config,
			  struct weir_fault *fault);

// Starts the workers' threads. warnings (may be NULL) gets at most `most` of them, *count how many.
int weir_dataplane_start(struct weir_dataplane *dataplane, struct weir_fault *warnings, uint32_t most, uint32_t *count,
			 struct weir_fault *fault);

struct weir_gate *weir_dataplane_gate(struct weir_dataplane *dataplane);
struct weir_counters *weir_dataplane_counters(struct weir_dataplane *dataplane);
// NULL: there are none.
struct weir_lane_table *weir_dataplane_lanes(struct weir_dataplane *dataplane);
struct weir_worker *weir_dataplane_worker(struct weir_dataplane *dataplane, uint16_t worker);

// Queue `queue` of the port'th configured port; NULL when there is none. For its statistics, guard, fd, link state.
const struct weir_port *weir_dataplane_port(const struct weir_dataplane *dataplane, uint32_t port, uint16_t queue);

// Now and then, once a second: looks how the ports fare and follows what changed on the host (port.h, watch).
void weir_dataplane_watch(struct weir_dataplane *dataplane, uint64_t now_ns);
// How the port'th configured port fares, as of the last watch. NULL when there is none.
const struct weir_port_state *weir_dataplane_port_state(const struct weir_dataplane *dataplane, uint32_t port);

void weir_dataplane_stop(struct weir_dataplane *dataplane);
// Stops when needed. Shards that the workers still own are destroyed with their engines. The gate is gone afterwards.
void weir_dataplane_destroy(struct weir_dataplane *dataplane);

#endif
