// weir.h over the core and a transport, a UDP socket or a lane: the clock, the waiting, the file descriptor. No thread of
// its own: the application's calls drive everything.
#include "client/weir.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "client/core.h"
#include "client/lane.h"
#include "client/stream.h"
#include "client/udp.h"

#define PUBLISH_CHUNK 256 // events between two looks at what waits to be sent
#define AWAY_NS 100000000ull // who did not look for so long looks first what came meanwhile
#define KICK_FRAMES 40u // a publish sends when this many more frames wait than after the last time

// What weir_fd() gave out; behind a pointer because asking for it changes nothing of the client.
struct waiter {
	int epoll_fd;
	int timer_fd;
	bool is_used; // until then nobody looks at the timer
	uint64_t armed_ns;
	uint32_t generation; // of the transport's descriptors
	struct pollfd watched[WEIR_TRANSPORT_FDS_MAX];
};

struct weir {
	struct weir_core *core;
	struct weir_transport *transport;
	struct weir_core_output output;
	struct waiter *waiter;
	uint64_t kick_at; // backlog
	uint64_t system_calls;
	uint64_t driven_ns; // last time
	uint64_t session;   // for weir_keepalive(), which is another thread's
	enum weir_wait wait;
};

static uint64_t clock_now(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static uint64_t monotonic_now(void)
{
	return clock_now(CLOCK_MONOTONIC);
}

// ---- Open ----

static int waiter_open(struct waiter **waiter)
{
	struct waiter *made = calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	made->armed_ns = NEVER;
	made->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	made->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN };
	if (made->epoll_fd < 0 || made->timer_fd < 0 || epoll_ctl(made->epoll_fd, EPOLL_CTL_ADD, made->timer_fd, &event)) {
		int error = -errno;
		if (made->epoll_fd >= 0)
			close(made->epoll_fd);
		if (made->timer_fd >= 0)
			close(made->timer_fd);
		free(made);
		return error;
	}
	*waiter = made;
	return 0;
}

// A transport's descriptors change; those that are gone left the set with their end, and their numbers may stand for others.
static void waiter_watch(struct weir *weir)
{
	struct waiter *waiter = weir->waiter;
	struct pollfd fds[WEIR_TRANSPORT_FDS_MAX];
	uint32_t count = weir->transport->ops->wait_on(weir->transport, fds);
	for (uint32_t i = 0; waiter->generation != weir->transport->generation && i < WEIR_TRANSPORT_FDS_MAX; i++)
		waiter->watched[i].fd = -1;
	waiter->generation = weir->transport->generation;
	for (uint32_t i = 0; i < count; i++) {
		struct epoll_event event = { .events = (uint32_t)fds[i].events };
		if (fds[i].fd == waiter->watched[i].fd && fds[i].events == waiter->watched[i].events)
			continue;
		weir->system_calls++;
		if (epoll_ctl(waiter->epoll_fd, EPOLL_CTL_MOD, fds[i].fd, &event) && errno == ENOENT)
			epoll_ctl(waiter->epoll_fd, EPOLL_CTL_ADD, fds[i].fd, &event);
		waiter->watched[i] = fds[i];
	}
	for (uint32_t i = count; i < WEIR_TRANSPORT_FDS_MAX; i++)
		waiter->watched[i].fd = -1;
}

static void waiter_close(struct waiter *waiter)
{
	close(waiter->epoll_fd);
	close(waiter->timer_fd);
	free(waiter);
}

static int core_open(struct weir *weir, const struct weir_options *options)
{
	uint64_t now = monotonic_now();
	struct weir_core_options core = {
		.name = options ? options->name : NULL,
		.epoch = options ? options->epoch : 0,
		.realtime_offset_ns = (int64_t)(clock_now(CLOCK_REALTIME) - now),
		.frame_size = options && options->frame_size ? options->frame_size : weir->transport->frame_size,
		.credit_bytes = weir->transport->credit_bytes,
		.local = weir->transport->local,
	};
	// Once the machine has booted, so few bytes neither wait nor fail.
	while (getrandom(core.secret, sizeof(core.secret), 0) != sizeof(core.secret))
		;
	return weir_core_create(&weir->core, &core, now);
}

int weir_open(struct weir **weir, const char *address, const struct weir_options *options)
{
	struct weir *made = calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	bool is_lane = strncmp(address, "unix:", 5) == 0;
	int error = is_lane ? weir_lane_open(&made->transport, address, options) :
			      weir_udp_open(&made->transport, address, options);
	if (error)
		goto err_free;
	error = core_open(made, options);
	if (error)
		goto err_transport_close;
	error = waiter_open(&made->waiter);
	if (error)
		goto err_core_destroy;
	made->output = (struct weir_core_output){ .send = made->transport->ops->send, .context = made->transport };
	made->wait = options ? options->wait : WEIR_WAIT_SLEEP;
	made->kick_at = KICK_FRAMES;
	weir_core_owner_set(made->core, made);
	*weir = made;
	return 0;

err_core_destroy:
	weir_core_destroy(made->core);
err_transport_close:
	made->transport->ops->close(made->transport);
err_free:
	free(made);
	return error;
}

// ---- Drive ----

static void run(struct weir *weir, uint64_t now_ns)
{
	weir->transport->ops->tend(weir->transport, weir->core, now_ns);
	weir_core_poll(weir->core, now_ns, &weir->output);
	uint32_t size = weir->transport->ops->too_large(weir->transport);
	if (size)
		weir_core_too_large(weir->core, size, now_ns);
}

static uint64_t deadline(const struct weir *weir)
{
	return min_u64(weir_core_deadline(weir->core), weir->transport->due_ns);
}

// The application waits on weir_fd() by itself, so this is the moment to say that the client may sleep.
static void timer_arm(struct weir *weir)
{
	struct waiter *waiter = weir->waiter;
	if (!waiter->is_used)
		return;
	waiter_watch(weir);
	uint64_t due = weir->transport->ops->doze(weir->transport, weir->core) ? deadline(weir) : monotonic_now();
	if (due == waiter->armed_ns)
		return;
	waiter->armed_ns = due;
	struct itimerspec at = { 0 };
	if (due != NEVER) {
		at.it_value.tv_sec = (time_t)(due / 1000000000ull);
		at.it_value.tv_nsec = (long)(due % 1000000000ull) | 1; // all zero would disarm it
	}
	weir->system_calls++;
	timerfd_settime(waiter->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void sleep_until(struct weir *weir, uint64_t now_ns, uint64_t until_ns)
{
	uint64_t wait = until_ns > now_ns ? until_ns - now_ns : 0;
	struct timespec timeout = { (time_t)(wait / 1000000000ull), (long)(wait % 1000000000ull) };
	struct pollfd fds[WEIR_TRANSPORT_FDS_MAX];
	uint32_t count = weir->transport->ops->wait_on(weir->transport, fds);
	if (!weir->transport->ops->doze(weir->transport, weir->core))
		return;
	weir->system_calls++;
	ppoll(fds, count, until_ns == NEVER ? NULL : &timeout, NULL);
	weir->transport->ops->awake(weir->transport);
}

static void pause_briefly(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#else
	__asm__ volatile("yield");
#endif
}

// Waits as the application chose; returns what was received in the end.
static int wait_until(struct weir *weir, uint64_t now_ns, uint64_t until_ns)
{
	const struct weir_transport_ops *ops = weir->transport->ops;
	if (weir->wait == WEIR_WAIT_SLEEP) {
		sleep_until(weir, now_ns, until_ns);
		return ops->receive(weir->transport, weir->core, monotonic_now());
	}
	int received = 0;
	do {
		if (weir->wait == WEIR_WAIT_YIELD) {
			weir->system_calls++;
			sched_yield();
		} else {
			pause_briefly();
		}
		now_ns = monotonic_now();
		received = ops->receive(weir->transport, weir->core, now_ns);
	} while (received == 0 && now_ns < until_ns);
	return received;
}

static uint64_t end_of(int timeout_ms)
{
	if (timeout_ms == 0)
		return 0; // over, without a look at the clock
	return timeout_ms < 0 ? NEVER : monotonic_now() + (uint64_t)timeout_ms * 1000000ull;
}

// One round: send, receive, answer what cannot wait; waits for datagrams or timers until end_ns. Returns after
// datagrams came, a timer was due, or the time is over.
static int drive(struct weir *weir, uint64_t end_ns)
{
	uint64_t now = monotonic_now();
	if (weir->waiter->is_used)
		weir->transport->ops->awake(weir->transport);
	// Looking into memory is for nothing, and who was off its core for long finds there what its timers would ask for.
	bool is_first = weir->transport->local || now - weir->driven_ns >= AWAY_NS;
	int received = is_first ? weir->transport->ops->receive(weir->transport, weir->core, now) : 0;
	weir->driven_ns = now;
	run(weir, now);
	if (!weir->transport->local && received == 0) {
		now = monotonic_now(); // what is received now may answer what was just sent: the round trip is not zero
		received = weir->transport->ops->receive(weir->transport, weir->core, now);
	}
	if (received == 0 && now < end_ns) {
		received = wait_until(weir, now, min_u64(deadline(weir), end_ns));
		now = monotonic_now();
	}
	if (received >= 0 && (weir_core_is_urgent(weir->core) || weir_core_deadline(weir->core) <= now))
		run(weir, now);
	weir->kick_at = weir->core->backlog + KICK_FRAMES;
	__atomic_store_n(&weir->session, weir_core_session(weir->core), __ATOMIC_RELAXED);
	timer_arm(weir);
	return received;
}

int weir_keepalive(struct weir *weir)
{
	uint64_t session = __atomic_load_n(&weir->session, __ATOMIC_RELAXED);
	if (!session)
		return -ENOTCONN;
	weir->transport->ops->keepalive(weir->transport, session, WEIR_KEEPALIVE_PING | monotonic_now());
	return 0;
}

int weir_poll(struct weir *weir, int timeout_ms)
{
	uint64_t end = end_of(timeout_ms);
	enum weir_state state = weir_state(weir);
	weir_core_release(weir->core);
	for (;;) {
		int received = drive(weir, end);
		if (received || weir_state(weir) != state || timeout_ms == 0 || (end != NEVER && monotonic_now() >= end))
			return received;
	}
}

int weir_fd(const struct weir *weir)
{
	struct waiter *waiter = weir->waiter;
	if (!waiter->is_used) {
		waiter->is_used = true;
		timer_arm((struct weir *)weir);
	}
	return waiter->epoll_fd;
}

enum weir_state weir_state(const struct weir *weir)
{
	return weir_core_state(weir->core);
}

int weir_error(const struct weir *weir)
{
	return weir_state(weir) == WEIR_STATE_READY ? 0 : weir->transport->error;
}

void weir_statistics(const struct weir *weir, struct weir_statistics *statistics)
{
	weir_core_statistics(weir->core, statistics);
	statistics->system_calls = weir->system_calls + weir->transport->system_calls;
}

static struct weir *weir_of(const struct weir_core *core)
{
	return core->owner;
}

// Until `is_done` says something else than -EAGAIN.
static int drive_until(struct weir *weir, int (*is_done)(void *), void *of, int timeout_ms)
{
	uint64_t end = end_of(timeout_ms);
	for (;;) {
		int result = is_done(of);
		if (result != -EAGAIN)
			return result;
		if (end != NEVER && monotonic_now() >= end)
			return -ETIMEDOUT;
		int received = drive(weir, end);
		if (received < 0)
			return received;
	}
}

unsigned weir_refusal(const struct weir *weir)
{
	return weir_core_refusal(weir->core);
}

// ---- Producers ----

int weir_producer_open(struct weir_producer **producer, struct weir *weir, const char *topic,
		       const struct weir_producer_options *options)
{
	return weir_core_producer_open(weir->core, topic, options, producer);
}

static int producer_state(void *producer)
{
	return weir_core_producer_state(producer);
}

int weir_producer_wait(struct weir_producer *producer, int timeout_ms)
{
	return drive_until(weir_of(producer->core), producer_state, producer, timeout_ms);
}

void weir_producer_close(struct weir_producer *producer)
{
	struct weir *weir = weir_of(producer->core);
	weir_core_producer_close(producer);
	run(weir, monotonic_now());
	timer_arm(weir);
}

// Frames wait: send them now instead of at the next poll, and read what lets more of them go.
static void kick(struct weir *weir)
{
	run(weir, monotonic_now());
	uint64_t now = monotonic_now();
	if (weir->transport->ops->receive(weir->transport, weir->core, now) > 0 && weir_core_is_urgent(weir->core))
		run(weir, now);
	weir->kick_at = weir->core->backlog + KICK_FRAMES;
	timer_arm(weir);
}

// Frames that wait leave first, if they are enough for a call; whoever waits for weir_fd() is told of what became due.
static __attribute__((noinline)) int publish_driven(struct weir *weir, struct weir_producer *producer,
						    const struct weir_event *event)
{
	if (producer->core->backlog >= weir->kick_at)
		kick(weir);
	int error = weir_core_publish(producer, event);
	if (weir->waiter->is_used && producer->core->deadline_ns < weir->waiter->armed_ns)
		timer_arm(weir);
	return error;
}

int weir_publish(struct weir_producer *producer, const struct weir_event *event)
{
	struct weir *weir = weir_of(producer->core);
	if (producer->core->backlog >= weir->kick_at || weir->waiter->is_used)
		return publish_driven(weir, producer, event);
	return weir_core_publish(producer, event);
}

int weir_publish_many(struct weir_producer *producer, const struct weir_event *events, int count)
{
	struct weir *weir = weir_of(producer->core);
	int done = 0;
	while (done < count) {
		int most = count - done < PUBLISH_CHUNK ? count - done : PUBLISH_CHUNK;
		if (producer->core->backlog >= weir->kick_at)
			kick(weir);
		int taken = weir_core_publish_many(producer, events + done, most);
		if (weir->waiter->is_used && producer->core->deadline_ns < weir->waiter->armed_ns)
			timer_arm(weir);
		if (taken < 0)
			return done ? done : taken;
		done += taken;
		if (taken < most)
			break;
	}
	return done;
}

static int flush_state(void *producer)
{
	return weir_core_flush_state(producer);
}

int weir_flush(struct weir_producer *producer, int timeout_ms)
{
	weir_core_flush(producer);
	return drive_until(weir_of(producer->core), flush_state, producer, timeout_ms);
}

// ---- Consumers ----

int weir_consumer_open(struct weir_consumer **consumer, struct weir *weir, const char *topic, const char *group,
		       const struct weir_consumer_options *options)
{
	return weir_core_consumer_open(weir->core, topic, group, options, consumer);
}

static int consumer_state(void *consumer)
{
	return weir_core_consumer_state(consumer);
}

int weir_consumer_wait(struct weir_consumer *consumer, int timeout_ms)
{
	return drive_until(weir_of(weir_consumer_core(consumer)), consumer_state, consumer, timeout_ms);
}

int weir_consume(struct weir_consumer *consumer, struct weir_view *views, int most)
{
	struct weir *weir = weir_of(weir_consumer_core(consumer));
	// Leases are seconds long: the time of the last tick will do, and costs a few nanoseconds.
	int count = weir_core_consume(consumer, views, most, clock_now(CLOCK_MONOTONIC_COARSE));
	weir->transport->ops->nudge(weir->transport);
	return count;
}

int weir_settle(struct weir_consumer *consumer, const struct weir_view *view)
{
	struct weir_transport *transport = weir_of(weir_consumer_core(consumer))->transport;
	int error = weir_core_settle(consumer, view);
	transport->ops->nudge(transport);
	return error;
}

static int consumer_has_left(void *consumer)
{
	return weir_core_consumer_has_left(consumer) ? 0 : -EAGAIN;
}

int weir_consumer_close(struct weir_consumer *consumer, int timeout_ms)
{
	struct weir *weir = weir_of(weir_consumer_core(consumer));
	weir_core_consumer_leave(consumer);
	int error = drive_until(weir, consumer_has_left, consumer, timeout_ms);
	weir_core_consumer_free(consumer);
	return error;
}

// ---- Close ----

static int all_flushed(void *of)
{
	struct weir_core *core = of;
	for (struct weir_producer *producer = core->producers; producer; producer = producer->next) {
		struct weir_producer_counts counts;
		weir_producer_counts(producer, &counts);
		if (counts.waiting && !producer->is_closing)
			return -EAGAIN;
	}
	return 0;
}

static int is_closed(void *core)
{
	return weir_core_is_closed(core) ? 0 : -EAGAIN;
}

static int left_ms(uint64_t end_ns)
{
	uint64_t now = monotonic_now();
	if (end_ns == NEVER)
		return -1;
	return end_ns > now ? (int)((end_ns - now) / 1000000ull) : 0;
}

int weir_close(struct weir *weir, int timeout_ms)
{
	uint64_t end = end_of(timeout_ms);
	struct weir_core *core = weir->core;
	for (struct weir_producer *producer = core->producers; producer; producer = producer->next)
		weir_core_flush(producer);
	int error = drive_until(weir, all_flushed, core, timeout_ms);
	weir_core_close(core, monotonic_now());
	int close_error = drive_until(weir, is_closed, core, left_ms(end));
	if (close_error) {
		// No time to be sure; the router should know all the same.
		weir_core_bye(core, monotonic_now());
		run(weir, monotonic_now());
	}
	waiter_close(weir->waiter);
	weir_core_destroy(core);
	weir->transport->ops->close(weir->transport);
	free(weir);
	return error ? error : close_error;
}

const char *weir_refusal_name(unsigned reason)
{
	return weir_reason_name(reason);
}

const char *weir_refusal_text(unsigned reason)
{
	return weir_reason_text(reason);
}
