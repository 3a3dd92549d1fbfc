// The worker loop. turn() is the whole router seen from above: clock, ports, mesh, messages, engine, ports. What follows a
// turn in which nothing came is the idle ladder: poll, pause, sleep. Hot functions run on the worker's thread; create, start,
// stop and look are control's.
#include "dataplane/io/worker.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/io/eal.h"
#include "dataplane/io/lane.h"

#define MESH_BURST 64u       // frames from one worker in one turn
#define MESSAGE_BURST 64u    // messages from one sender in one turn
#define POLL_NS 50000u       // first step of the ladder
#define PAUSE_NS 200000u     // second step
#define PAUSES 32u           // a turn of the second step waits so many pause instructions, about 1 us
#define SLEEP_FIRST_NS 125000u
#define SLEEP_MAX_NS 1000000u
#define PORTS_MAX (WEIR_WORKER_PORTS_MAX + 1u) // the lanes' port comes on top
#define SLEEP_WATCHED_NS 100000000u // every port rings when frames come: only timers end the sleep
#define REST_NS 10000u       // of an empty socket beside lanes
#define LOOK_NS 10000000u    // between two looks at what ports lost: a system call each
#define ACCOUNT_NS 100000u   // time is handed to the engine's row in pieces of this size

struct weir_worker {
	struct weir_worker_settings settings;
	uint16_t workers;
	struct weir_engine *engine;
	struct weir_worker_row *row; // the engine's
	struct weir_mesh *mesh;
	struct weir_port *ports[PORTS_MAX];
	uint64_t empty_ns[PORTS_MAX]; // when it was asked in vain last; 0: it had something
	uint64_t drops_seen[PORTS_MAX];
	uint64_t dropped_seen[PORTS_MAX][WEIR_REASON_ROOM];
	uint16_t port_count;
	struct weir_port *lanes; // one of the ports; NULL: there are no lanes
	bool is_watched;     // every port has a descriptor to sleep on
	// Worker's thread.
	struct weir_port *sending; // reserved there last
	uint64_t turn_ns;    // when this turn began
	uint64_t input_ns;   // when something came in last
	uint64_t looked_ns;  // when the ports were asked for their losses last
	uint64_t sleep_ns;   // length of the next sleep
	bool was_busy;
	uint64_t busy_ns, idle_ns, slept_ns; // not handed over yet
	bool is_drowsy;      // lanes' clients were told that it sleeps
	struct pollfd waits[PORTS_MAX + 1];
	// Written by the worker's thread, read by control.
	_Alignas(64) _Atomic uint32_t stage; // enum weir_stage, port << 16
	_Atomic uint64_t stamp_ns;
	_Atomic uint64_t longest_ns;
	// Written by control.
	_Alignas(64) atomic_bool must_stop;
	_Atomic uint32_t resets;      // of longest_ns
	uint32_t resets_seen;         // worker's
	// Start and end, control.
	pthread_t thread;
	bool is_running;
	sem_t started;
	int nice_error, pin_error, eal_error; // written by the thread before `started`
};

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void stamp(struct weir_worker *worker, enum weir_stage stage, uint16_t port)
{
	atomic_store_explicit(&worker->stage, (uint32_t)stage | (uint32_t)port << 16, memory_order_relaxed);
}

// ---- What the engine calls ----

static void *send_reserve(void *context, const struct weir_path *path, uint32_t size)
{
	struct weir_worker *worker = context;

	assert(path->port < worker->port_count);
	worker->sending = worker->ports[path->port];
	return worker->sending->ops->send_reserve(worker->sending, path, size);
}

static void send_commit(void *context, uint32_t size)
{
	struct weir_worker *worker = context;

	worker->sending->ops->send_commit(worker->sending, size);
	if (size > 0) {
		worker->row->sent++;
		worker->row->sent_bytes += size;
	}
}

static void *mesh_reserve(void *context, uint16_t to, const struct weir_mesh_header *header, uint32_t size)
{
	struct weir_worker *worker = context;

	return weir_mesh_reserve(worker->mesh, worker->settings.worker, to, header, size);
}

static void mesh_commit(void *context, uint16_t to, uint32_t size)
{
	struct weir_worker *worker = context;

	if (weir_mesh_commit(worker->mesh, worker->settings.worker, to, size))
		worker->row->mesh_enqueued++;
}

static void message_send(void *context, uint16_t to, const struct weir_message *message)
{
	struct weir_worker *worker = context;

	weir_mesh_tell(worker->mesh, worker->settings.worker, to, message);
}

static bool message_has_room(void *context, uint16_t to)
{
	struct weir_worker *worker = context;

	return weir_mesh_may_tell(worker->mesh, worker->settings.worker, to);
}

static const struct weir_lane_view *lane_find(void *context, uint64_t lane)
{
	struct weir_worker *worker = context;

	return worker->lanes ? weir_port_lane_find(worker->lanes, lane) : NULL;
}

static uint64_t wall_clock(void *context)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void lane_wake(void *context, uint64_t lane)
{
	struct weir_worker *worker = context;

	if (worker->lanes)
		weir_port_lane_wake(worker->lanes, lane);
}

// ---- The stages of a turn ----

// What a port dropped on its own belongs into the worker's row: received and refused.
static void count_drops(struct weir_worker *worker, uint16_t i)
{
	const struct weir_port *port = worker->ports[i];

	if (port->drops_total == worker->drops_seen[i])
		return;
	worker->drops_seen[i] = port->drops_total;
	for (uint32_t reason = 0; reason < WEIR_REASON_COUNT; reason++) {
		uint64_t dropped = weir_counted(&port->statistics.dropped[reason]);

		if (dropped != worker->dropped_seen[i][reason])
			weir_engine_count_drop(worker->engine, reason, dropped - worker->dropped_seen[i][reason]);
		worker->dropped_seen[i][reason] = dropped;
	}
}

// A socket that was empty is not asked again at once while there are lanes: the system call takes longer than all else in a
// turn of a few frames of theirs. Polled in every turn it took 60 % of a worker's time.
static bool may_rest(const struct weir_worker *worker, uint16_t i, uint64_t now_ns)
{
	return worker->ports[i]->kind == WEIR_PORT_KERNEL && now_ns - worker->empty_ns[i] < REST_NS && worker->lanes &&
	       weir_port_lane_count(worker->lanes) > 0 && !worker->is_drowsy;
}

static bool receive_ports(struct weir_worker *worker, uint64_t now_ns)
{
	bool is_busy = false;

	for (uint16_t i = 0; i < worker->port_count; i++) {
		struct weir_port *port = worker->ports[i];
		const struct weir_arrival *arrivals;
		uint32_t count;

		if (may_rest(worker, i, now_ns))
			continue;
		stamp(worker, WEIR_STAGE_RECEIVE, i);
		count = port->ops->receive(port, &arrivals);
		count_drops(worker, i);
		worker->empty_ns[i] = count ? 0 : now_ns;
		if (count == 0)
			continue;
		weir_engine_receive(worker->engine, arrivals, count, now_ns);
		port->ops->receive_done(port);
		is_busy = true;
	}
	return is_busy;
}

// What never reached receive().
static void count_lost(struct weir_worker *worker, uint64_t now_ns)
{
	if (now_ns - worker->looked_ns < LOOK_NS)
		return;
	worker->looked_ns = now_ns;
	for (uint16_t i = 0; i < worker->port_count; i++) {
		worker->ports[i]->ops->count_lost(worker->ports[i]);
		count_drops(worker, i);
	}
}

static bool take_mesh(struct weir_worker *worker, uint64_t now_ns)
{
	uint16_t self = worker->settings.worker;
	bool is_busy = false;

	stamp(worker, WEIR_STAGE_MESH, 0);
	for (uint16_t from = 0; from < worker->workers; from++) {
		const struct weir_mesh_header *header;

		if (from == self)
			continue;
		for (uint32_t i = 0; i < MESH_BURST && (header = weir_mesh_peek(worker->mesh, from, self)); i++) {
			if (!weir_engine_mesh(worker->engine, header, header + 1, now_ns))
				break;
			weir_mesh_release(worker->mesh, from, self);
			worker->row->mesh_dequeued++;
			is_busy = true;
		}
	}
	return is_busy;
}

static bool take_messages_from(struct weir_worker *worker, uint16_t from, uint64_t now_ns)
{
	struct weir_message message;
	uint32_t i;

	for (i = 0; i < MESSAGE_BURST && weir_mesh_hear(worker->mesh, from, worker->settings.worker, &message); i++) {
		// First: the engine's answer lets control unmap it.
		if (message.kind == WEIR_MESSAGE_LANE_GONE && worker->lanes)
			weir_port_lane_gone(worker->lanes, message.value);
		weir_engine_message(worker->engine, &message, now_ns);
	}
	return i > 0;
}

static bool take_messages(struct weir_worker *worker, uint64_t now_ns)
{
	bool is_busy;

	stamp(worker, WEIR_STAGE_MESSAGES, 0);
	is_busy = take_messages_from(worker, WEIR_FROM_CONTROL, now_ns);
	for (uint16_t from = 0; from < worker->workers; from++)
		is_busy |= take_messages_from(worker, from, now_ns);
	return is_busy;
}

static bool run_engine(struct weir_worker *worker, uint64_t now_ns)
{
	stamp(worker, WEIR_STAGE_RUN, 0);
	return weir_engine_run(worker->engine, now_ns);
}

// true: everything is out of our hands.
static bool flush_ports(struct weir_worker *worker)
{
	bool is_out = true;

	for (uint16_t i = 0; i < worker->port_count; i++) {
		stamp(worker, WEIR_STAGE_FLUSH, i);
		is_out &= worker->ports[i]->ops->flush(worker->ports[i]);
	}
	is_out &= weir_mesh_flush(worker->mesh, worker->settings.worker);
	return is_out;
}

// ---- Time ----

static void hand_over_time(struct weir_worker *worker)
{
	weir_engine_count_time(worker->engine, worker->busy_ns, worker->idle_ns, worker->slept_ns);
	worker->busy_ns = 0;
	worker->idle_ns = 0;
	worker->slept_ns = 0;
}

static void note_longest(struct weir_worker *worker, uint64_t elapsed_ns)
{
	uint32_t resets = atomic_load_explicit(&worker->resets, memory_order_relaxed);

	if (resets != worker->resets_seen) {
		worker->resets_seen = resets;
		atomic_store_explicit(&worker->longest_ns, 0, memory_order_relaxed);
	}
	if (elapsed_ns > atomic_load_explicit(&worker->longest_ns, memory_order_relaxed))
		atomic_store_explicit(&worker->longest_ns, elapsed_ns, memory_order_relaxed);
}

// The one look at the clock in a turn; the time since the last one belongs to the turn before.
static uint64_t begin_turn(struct weir_worker *worker)
{
	uint64_t now_ns = clock_ns();
	uint64_t elapsed_ns = now_ns - worker->turn_ns;

	if (worker->was_busy)
		worker->busy_ns += elapsed_ns;
	else
		worker->idle_ns += elapsed_ns;
	worker->turn_ns = now_ns;
	note_longest(worker, elapsed_ns);
	atomic_store_explicit(&worker->stamp_ns, now_ns, memory_order_relaxed);
	if (worker->busy_ns + worker->idle_ns + worker->slept_ns > ACCOUNT_NS)
		hand_over_time(worker);
	return now_ns;
}

// ---- The idle ladder ----

static void pause_briefly(void)
{
	for (uint32_t i = 0; i < PAUSES; i++) {
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#else
		__asm__ volatile("yield");
#endif
	}
}

// false: clients were not told so far; now they are, and one more turn looks at everything they may have done before.
static bool is_drowsy(struct weir_worker *worker)
{
	bool was_drowsy = worker->is_drowsy || !worker->lanes;

	if (!was_drowsy)
		weir_port_lane_doze(worker->lanes);
	worker->is_drowsy = true;
	return was_drowsy;
}

static void rouse(struct weir_worker *worker)
{
	if (worker->is_drowsy && worker->lanes)
		weir_port_lane_awake(worker->lanes);
	worker->is_drowsy = false;
}

static void sleep_until_rung(struct weir_worker *worker, uint64_t most_ns)
{
	struct timespec timeout = { .tv_sec = (time_t)(most_ns / 1000000000u), .tv_nsec = (long)(most_ns % 1000000000u) };
	uint64_t begin_ns, end_ns;

	if (!weir_mesh_doze(worker->mesh, worker->settings.worker))
		return;
	begin_ns = clock_ns();
	stamp(worker, WEIR_STAGE_SLEEP, 0);
	ppoll(worker->waits, worker->port_count + 1u, &timeout, NULL);
	end_ns = clock_ns();
	atomic_store_explicit(&worker->stamp_ns, end_ns, memory_order_relaxed);
	stamp(worker, WEIR_STAGE_IDLE, 0);
	weir_mesh_awake(worker->mesh, worker->settings.worker);
	if (worker->lanes && worker->waits[worker->port_count].revents)
		weir_port_lane_hush(worker->lanes);
	worker->slept_ns += end_ns - begin_ns;
	worker->idle_ns += begin_ns - worker->turn_ns;
	worker->turn_ns = end_ns;
}

// Descriptors to sleep on. Those of ports that are away are none of ours.
static void watch_ports(struct weir_worker *worker)
{
	worker->is_watched = true;
	for (uint16_t i = 0; i < worker->port_count; i++) {
		const struct weir_port *port = worker->ports[i];

		worker->waits[i + 1].fd = port->is_away ? -1 : port->fd;
		worker->is_watched &= port->is_away || port->fd >= 0;
	}
}

// Nothing came and nothing is left to send: climb the ladder by how long that has been so.
static void idle(struct weir_worker *worker, uint64_t now_ns)
{
	uint64_t idle_ns = now_ns - worker->input_ns;
	uint64_t max_ns, deadline_ns;

	if (worker->settings.poll == WEIR_POLL_MODE_ALWAYS || idle_ns < POLL_NS)
		return;
	watch_ports(worker);
	max_ns = worker->is_watched ? SLEEP_WATCHED_NS : worker->settings.idle_sleep_max_ns;
	stamp(worker, WEIR_STAGE_IDLE, 0);
	if (idle_ns < POLL_NS + PAUSE_NS) {
		worker->sleep_ns = worker->is_watched ? max_ns : SLEEP_FIRST_NS;
		pause_briefly();
		return;
	}
	deadline_ns = weir_engine_deadline(worker->engine);
	if (deadline_ns <= now_ns || !is_drowsy(worker))
		return;
	if (worker->sleep_ns > max_ns)
		worker->sleep_ns = max_ns;
	sleep_until_rung(worker, deadline_ns - now_ns < worker->sleep_ns ? deadline_ns - now_ns : worker->sleep_ns);
	worker->sleep_ns *= 2;
	rouse(worker);
}

// ---- The loop ----

static void turn(struct weir_worker *worker)
{
	uint64_t now_ns = begin_turn(worker);
	bool has_input = receive_ports(worker, now_ns);

	count_lost(worker, now_ns);
	has_input |= take_mesh(worker, now_ns);
	has_input |= take_messages(worker, now_ns);
	bool has_work = run_engine(worker, now_ns);
	bool is_out = flush_ports(worker);

	worker->was_busy = has_input || has_work;
	if (has_input || has_work || !is_out)
		rouse(worker);
	if (has_input)
		worker->input_ns = now_ns;
	else if (!has_work && is_out)
		idle(worker, now_ns);
	else if (!is_out)
		pause_briefly(); // the way out is full: asking again at once only takes time from whoever empties it
}

static void settle_in(struct weir_worker *worker)
{
	char name[16];
	cpu_set_t cores;

	snprintf(name, sizeof(name), "weir-w%u", worker->settings.worker);
	pthread_setname_np(pthread_self(), name);
	if (worker->settings.core >= 0) {
		CPU_ZERO(&cores);
		CPU_SET((size_t)worker->settings.core, &cores);
		worker->pin_error = pthread_setaffinity_np(pthread_self(), sizeof(cores), &cores);
	}
	if (worker->settings.nice != 0 && setpriority(PRIO_PROCESS, (id_t)gettid(), worker->settings.nice) < 0)
		worker->nice_error = errno;
	if (worker->settings.needs_eal)
		worker->eal_error = weir_eal_enter();
}

static void *loop(void *argument)
{
	struct weir_worker *worker = argument;

	settle_in(worker);
	sem_post(&worker->started);
	worker->turn_ns = clock_ns();
	worker->input_ns = worker->turn_ns;
	while (!atomic_load_explicit(&worker->must_stop, memory_order_acquire))
		turn(worker);
	hand_over_time(worker);
	stamp(worker, WEIR_STAGE_STOPPED, 0);
	if (worker->settings.needs_eal && worker->eal_error == 0)
		weir_eal_leave();
	return NULL;
}

// ---- Life ----

static int fail(struct weir_fault *fault, int error, uint16_t worker, const char *action)
{
	char object[32];

	snprintf(object, sizeof(object), "worker %u", worker);
	return weir_fault_set(fault, error, object, action,
			      error == -ENOMEM ? "free memory, or lower the limits" : "check the limits", "%s",
			      strerror(-error));
}

int weir_worker_create(struct weir_worker **out, const struct weir_worker_settings *settings,
		       const struct weir_engine_config *engine, struct weir_mesh *mesh, struct weir_fault *fault)
{
	struct weir_engine_config config = *engine;
	struct weir_worker *worker = aligned_alloc(64, sizeof(*worker));
	struct weir_engine_io io = { .send_reserve = send_reserve, .send_commit = send_commit, .mesh_reserve = mesh_reserve,
				     .mesh_commit = mesh_commit, .message_send = message_send,
				     .message_has_room = message_has_room,
				     .lane_find = lane_find, .lane_wake = lane_wake,
				     .wall_clock = wall_clock, .context = worker };
	int error;

	if (!worker)
		return fail(fault, -ENOMEM, settings->worker, "allocate it");
	memset(worker, 0, sizeof(*worker));
	worker->settings = *settings;
	if (worker->settings.idle_sleep_max_ns == 0)
		worker->settings.idle_sleep_max_ns = SLEEP_MAX_NS;
	worker->workers = config.workers;
	worker->mesh = mesh;
	worker->is_watched = true;
	worker->waits[0] = (struct pollfd){ .fd = weir_mesh_fd(mesh, settings->worker), .events = POLLIN };
	config.worker = settings->worker;
	config.node = settings->node;
	error = weir_engine_create(&worker->engine, &config, &io);
	if (error) {
		free(worker);
		return fail(fault, error, settings->worker, "make its engine");
	}
	worker->row = weir_engine_row(worker->engine);
	sem_init(&worker->started, 0, 0);
	*out = worker;
	return 0;
}

static void add_port(struct weir_worker *worker, struct weir_port *port)
{
	assert(port->index == worker->port_count && port->worker == worker->settings.worker && !worker->is_running);
	worker->ports[worker->port_count++] = port;
	worker->waits[worker->port_count] = (struct pollfd){ .fd = -1, .events = POLLIN };
	watch_ports(worker);
}

int weir_worker_add_port(struct weir_worker *worker, struct weir_port *port)
{
	if (worker->port_count == WEIR_WORKER_PORTS_MAX)
		return -ENOSPC;
	add_port(worker, port);
	return 0;
}

void weir_worker_add_lanes(struct weir_worker *worker, struct weir_port *port)
{
	assert(!worker->lanes);
	add_port(worker, port);
	worker->lanes = port;
}

static void warn(const struct weir_worker *worker, struct weir_fault *warning)
{
	const struct weir_worker_settings *settings = &worker->settings;
	char object[32];

	snprintf(object, sizeof(object), "worker %u", settings->worker);
	if (worker->pin_error)
		weir_fault_set(warning, -worker->pin_error, object, "pin it to its core",
			       "give the service all cores (AllowedCPUs, cpuset), or choose another core",
			       "core %d: %s; it runs wherever the scheduler puts it", settings->core,
			       strerror(worker->pin_error));
	else if (worker->nice_error)
		weir_fault_set(warning, -worker->nice_error, object, "raise its priority",
			       "run as root or give weir CAP_SYS_NICE (LimitNICE=-15)",
			       "nice %d: %s; other tasks may take its core for milliseconds", settings->nice,
			       strerror(worker->nice_error));
	else if (worker->eal_error)
		weir_fault_set(warning, worker->eal_error, object, "register its thread with DPDK",
			       "use fewer workers than DPDK has lcores", "%s; its buffers are not cached and sending is slower",
			       strerror(-worker->eal_error));
}

int weir_worker_start(struct weir_worker *worker, struct weir_fault *warning, struct weir_fault *fault)
{
	sigset_t all, before;
	int error;

	assert(!worker->is_running);
	atomic_store_explicit(&worker->must_stop, false, memory_order_relaxed);
	// Signals are for control's thread.
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&worker->thread, NULL, loop, worker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		return fail(fault, -error, worker->settings.worker, "start its thread");
	worker->is_running = true;
	while (sem_wait(&worker->started) < 0 && errno == EINTR)
		;
	if (warning) {
		warning->object[0] = 0;
		warn(worker, warning);
	}
	return 0;
}

void weir_worker_stop(struct weir_worker *worker)
{
	if (!worker->is_running)
		return;
	atomic_store_explicit(&worker->must_stop, true, memory_order_release);
	weir_mesh_wake(worker->mesh, worker->settings.worker);
	pthread_join(worker->thread, NULL);
	worker->is_running = false;
}

void weir_worker_destroy(struct weir_worker *worker)
{
	if (!worker)
		return;
	weir_worker_stop(worker);
	weir_engine_destroy(worker->engine);
	sem_destroy(&worker->started);
	free(worker);
}

void weir_worker_look(struct weir_worker *worker, bool reset, struct weir_pulse *pulse)
{
	uint32_t stage = atomic_load_explicit(&worker->stage, memory_order_relaxed);

	pulse->stage = stage & 0xffff;
	pulse->port = (uint16_t)(stage >> 16);
	pulse->turn_ns = atomic_load_explicit(&worker->stamp_ns, memory_order_relaxed);
	pulse->longest_ns = atomic_load_explicit(&worker->longest_ns, memory_order_relaxed);
	if (reset)
		atomic_fetch_add_explicit(&worker->resets, 1, memory_order_relaxed);
}

const char *weir_stage_name(enum weir_stage stage)
{
	static const char *const names[] = { "stopped", "receive", "mesh", "messages", "run", "flush", "idle", "sleep" };

	return (unsigned)stage < sizeof(names) / sizeof(names[0]) ? names[stage] : "unknown";
}
