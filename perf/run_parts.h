// What the parts of the run engine share. One memory is shared by all threads and processes of a run: the board. Each client
// writes its own slot, the conductor reads them all while they run (counters, histograms: stale by a moment at most) and for
// the verdict after they ended. Internal to perf/run*.c.
#ifndef WEIR_PERF_RUN_PARTS_H
#define WEIR_PERF_RUN_PARTS_H

#include <jansson.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/types.h>
#include <time.h>

#include "perf/account.h"
#include "perf/link.h"
#include "perf/run.h"
#include "perf/source.h"
#include "perf/trace.h"
#include "perf/verdict.h"

#define RUN_CLIENT_ERROR 256u
#define RUN_SECOND_NS 1000000000ull

enum run_phase {
	RUN_PHASE_OPENING = 0, // clients come up
	RUN_PHASE_LOAD,        // from start_ns on
	RUN_PHASE_DRAIN,       // the schedule is over, acknowledgements and deliveries still come
	RUN_PHASE_STOP,
};

enum run_state {
	RUN_STATE_WAITING = 0, // not yet its time to join
	RUN_STATE_OPENING,
	RUN_STATE_READY,
	RUN_STATE_RUNNING,
	RUN_STATE_FLUSHING, // producers
	RUN_STATE_LEAVING,  // consumers
	RUN_STATE_DONE,
	RUN_STATE_FAILED, // error says why
};

// Written by its client, but for `died`.
struct run_slot {
	_Atomic uint32_t state; // enum run_state
	_Atomic uint32_t died;  // killed by the conductor
	char error[RUN_CLIENT_ERROR];
	// Producers.
	_Atomic uint64_t published, acknowledged, refused, missed, stalls, stall_ns;
	_Atomic uint64_t lag_max_ns; // taken and zeroed by the conductor once a second
	uint64_t intended;           // after the end: all that the schedule asked for
	uint64_t unknown;            // in doubt or unacknowledged at the end
	struct weir_histogram lag;
	// Consumers.
	_Atomic uint64_t received, redelivered, gaps;
	uint64_t foreign; // events of others, not in the account
	struct weir_histogram service;
	// By step.
	struct run_step {
		uint64_t intended, published, missed, bytes;
		struct weir_histogram latency;
	} steps[];
};

struct run_board {
	_Atomic uint32_t phase;
	_Atomic uint64_t start_ns; // CLOCK_MONOTONIC of the schedule's time 0
	_Atomic uint64_t end_ns;   // nothing is intended from here on
	uint32_t producers, consumers;
	size_t slot_size, size;
};

// One client, in the memory of whoever drives it.
struct run_client {
	struct weir_run *run;
	struct run_board *board;
	struct run_slot *slot;
	const struct weir_scenario *scenario;
	uint32_t index;  // of all clients
	uint32_t set;    // in the scenario
	uint32_t member; // of the set
	bool is_producer;
	bool is_open; // the link
	struct weir_link link;
	uint64_t opened_ns; // when opening began
	// Producer.
	struct weir_producer *producer;
	struct weir_source source;
	uint64_t *sequences; // next of each key
	uint8_t *bytes;
	uint32_t number;     // in payloads; a consumer: of the first producer
	uint64_t stalled_ns; // since when there is no credit; 0: there is
	uint64_t freed_ns;   // when credit came last
	bool is_in_debt;     // behind for want of credit, not by its own fault
	uint64_t flush_ns;
	// Consumer.
	struct weir_consumer *consumer;
	struct weir_view *views;
	struct weir_account account;
	uint64_t step_begin, step_end; // since the start, of the step that the last event was in
	uint32_t step;
	struct run_incarnation *incarnations; // by shard; perf/run_consume.c
	pthread_t thread;
	pid_t pid;
	bool is_started;
};

struct run_router; // perf/run_router.c

struct weir_run {
	struct weir_run_options options;
	const struct weir_scenario *scenario;
	char address[320];
	char instance[64]; // "": not known
	struct run_router *router; // a daemon of our own, or NULL
	struct weir_trace *traces; // by set of producers
	struct weir_link_device *device;
	struct weir_result_selftest selftest;
	double selftest_rate;
	json_t *status; // weirctl's, before the load; NULL: not known
	cpu_set_t cores; // where clients run: not where the router polls, if there are others
};

static inline uint64_t run_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static inline struct run_slot *run_slot_of(struct run_board *board, uint32_t index)
{
	return (struct run_slot *)((uint8_t *)(board + 1) + index * board->slot_size);
}

static inline uint64_t run_load(const _Atomic uint64_t *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

static inline void run_add(_Atomic uint64_t *value, uint64_t more)
{
	// One writer: no locked instruction needed.
	atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + more, memory_order_relaxed);
}

static inline enum run_phase run_phase_of(const struct run_board *board)
{
	return atomic_load_explicit(&board->phase, memory_order_acquire);
}

static inline void run_state_set(struct run_client *client, enum run_state state)
{
	atomic_store_explicit(&client->slot->state, state, memory_order_release);
}

static inline enum run_state run_state_of(const struct run_slot *slot)
{
	return atomic_load_explicit(&slot->state, memory_order_acquire);
}

// Sets state FAILED and the error.
void run_client_fail(struct run_client *client, const char *format, ...) __attribute__((format(printf, 2, 3)));

// One turn of a client; returns when the next one is due at the latest (CLOCK_MONOTONIC).
uint64_t run_producer_step(struct run_client *client, uint64_t now_ns);
uint64_t run_consumer_step(struct run_client *client, uint64_t now_ns);
// Memory of a client, before it is driven; -errno. Fini frees it.
int run_producer_init(struct run_client *client);
void run_producer_fini(struct run_client *client);
int run_consumer_init(struct run_client *client);
void run_consumer_fini(struct run_client *client);

// Board and clients of one run of a scenario.
struct run_crew {
	struct weir_run *run;
	const struct weir_scenario *scenario;
	struct run_board *board;
	struct run_client *clients; // producers first
	uint32_t client_count;
	pthread_t polling; // over DPDK: drives all
	bool is_polling;
};

// 0 or -errno with `error`. Disband ends whatever still runs.
int run_crew_gather(struct run_crew *crew, struct weir_run *run, const struct weir_scenario *scenario,
		    char error[WEIR_RESULT_ERROR]);
int run_crew_start(struct run_crew *crew, char error[WEIR_RESULT_ERROR]);
// Waits until all ended; a second after the phase STOP they are overdue and processes are killed.
void run_crew_end(struct run_crew *crew);
void run_crew_disband(struct run_crew *crew);
// First client that failed, or NULL.
const struct run_client *run_crew_failed(struct run_crew *crew);
// Kills the first `members` that live of a set.
void run_crew_kill(struct run_crew *crew, uint32_t set, uint32_t members);

// ---- The watch: what machine and router do meanwhile ----

struct run_watch;

int run_watch_create(struct run_watch **watch, struct run_crew *crew, struct weir_result_run *result);
void run_watch_destroy(struct run_watch *watch);
void run_watch_begin(struct run_watch *watch, uint64_t now_ns);
// Adds an interval to the series when a second is over (or is_last), prints the progress line.
void run_watch_tick(struct run_watch *watch, uint64_t now_ns, bool is_last);
// Cores and workers over the whole run.
void run_watch_end(struct run_watch *watch);

// ---- The verdict ----

// Is anybody of the scenario ever in the group? Groups without members are owed nothing.
bool run_has_members(const struct weir_scenario *scenario, uint32_t topic, const char *group);
int run_judge(struct run_crew *crew, struct weir_result_run *result, char error[WEIR_RESULT_ERROR]);

// ---- The router ----

int run_router_start(struct weir_run *run, char error[WEIR_RESULT_ERROR]);
void run_router_stop(struct run_router *router);
// Has it ended by itself?
bool run_router_is_dead(struct run_router *router);
// `weirctl --json COMMAND`, or NULL.
json_t *run_router_ask(const struct weir_run *run, const char *command);

#endif
