// Loops and clocks, see perf/selftest.h. A generator thread and a sink thread share a window: the generator never has more
// on the way than the sockets hold, so an event that is missing at the end was lost by the tool itself.
#include "perf/selftest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/lane_memory.h"
#include "perf/payload.h"
#include "perf/run_parts.h"
#include "wire/lane.h"

#define EVENT_BYTES 64u
#define FRAME_EVENTS 22u
#define BATCH_FRAMES 20u
#define WINDOW 3u // batches on the way
#define LANE_FRAMES 64u // descriptors, a power of two, at least a window
#define KEYS 1000u
#define PACED_RATE 100000.0
#define OVERSHOOT_SLEEPS 60u
#define SLEEP_NS 200000u
#define QUIET_NS RUN_SECOND_NS // what has not come by then is lost

struct frame {
	uint64_t first; // offset of its first event
	uint32_t count;
	uint32_t reserved;
	uint8_t events[FRAME_EVENTS][EVENT_BYTES];
	uint8_t padding[48];
};
_Static_assert(sizeof(struct frame) == WEIR_FRAME_DEFAULT, "a frame like others");
_Static_assert(sizeof(struct frame) % WEIR_LANE_UNIT == 0, "frames lie where lanes want them");

struct batch {
	struct frame frames[BATCH_FRAMES];
};

struct loop {
	enum weir_selftest_way way;
	struct weir_selftest_loop *out;
	uint64_t length_ns;
	bool is_paced;
	int from, to; // sockets
	struct weir_lane_memory lane; // the generator's side
	const uint8_t *lane_view;     // the sink's, read-only
	struct batch slots[WINDOW]; // memory
	uint32_t slot_frames[WINDOW];
	_Atomic uint64_t sent_batches, taken_frames;
	_Atomic uint32_t is_over;
	struct weir_source source;
	uint64_t sequences[KEYS];
	uint64_t offset;
	uint64_t taken; // batches, lane
	struct weir_account account;
};

// ---- Clock ----

struct pendulum {
	_Atomic uint64_t *last;
	_Atomic uint32_t *is_over;
	uint32_t core;
	uint64_t backwards, worst_ns;
	pthread_t thread;
};

static void *swing(void *at)
{
	struct pendulum *pendulum = at;
	cpu_set_t cores;
	CPU_ZERO(&cores);
	CPU_SET(pendulum->core, &cores);
	pthread_setaffinity_np(pthread_self(), sizeof(cores), &cores);
	while (!atomic_load_explicit(pendulum->is_over, memory_order_relaxed)) {
		// Acquire pairs with the other's release: what it read, it read before this.
		uint64_t before = atomic_load_explicit(pendulum->last, memory_order_acquire);
		uint64_t now_ns = run_now_ns();
		if (now_ns < before) {
			pendulum->backwards++;
			if (before - now_ns > pendulum->worst_ns)
				pendulum->worst_ns = before - now_ns;
		}
		atomic_store_explicit(pendulum->last, now_ns, memory_order_release);
	}
	return NULL;
}

static void clock_compare(struct weir_selftest_details *details, uint64_t length_ns)
{
	_Atomic uint64_t last = 0;
	_Atomic uint32_t is_over = 0;
	struct pendulum pendulums[2] = { { .last = &last, .is_over = &is_over }, { .last = &last, .is_over = &is_over } };
	cpu_set_t cores;
	uint32_t count = 0;
	if (sched_getaffinity(0, sizeof(cores), &cores))
		return;
	// The first and the last core we may use: the farthest apart as a rule.
	for (uint32_t core = 0; core < CPU_SETSIZE; core++) {
		if (CPU_ISSET(core, &cores))
			pendulums[count++ ? 1 : 0].core = core;
	}
	for (uint32_t i = 0; i < 2 && count > 1; i++) {
		if (pthread_create(&pendulums[i].thread, NULL, swing, &pendulums[i]))
			pendulums[i].thread = 0;
	}
	usleep((useconds_t)(length_ns / 1000));
	atomic_store(&is_over, 1);
	for (uint32_t i = 0; i < 2; i++) {
		if (pendulums[i].thread)
			pthread_join(pendulums[i].thread, NULL);
		details->clock_backwards += pendulums[i].backwards;
		if (pendulums[i].worst_ns > details->clock_backwards_ns)
			details->clock_backwards_ns = pendulums[i].worst_ns;
	}
}

static void clock_measure(struct weir_selftest_details *details, uint64_t length_ns)
{
	const uint32_t reads = 20000;
	uint64_t best_ns = UINT64_MAX;
	// The least of several: what others took from us is not the clock's.
	for (uint32_t round = 0; round < 5; round++) {
		uint64_t begin_ns = run_now_ns();
		for (uint32_t i = 0; i < reads; i++)
			run_now_ns();
		uint64_t took_ns = run_now_ns() - begin_ns;
		best_ns = took_ns < best_ns ? took_ns : best_ns;
	}
	details->clock_read_ns = (double)best_ns / reads;
	int slack = prctl(PR_GET_TIMERSLACK);
	prctl(PR_SET_TIMERSLACK, 1ul);
	for (uint32_t i = 0; i < OVERSHOOT_SLEEPS; i++) {
		uint64_t due_ns = run_now_ns() + SLEEP_NS;
		struct timespec until = { (time_t)(due_ns / RUN_SECOND_NS), (long)(due_ns % RUN_SECOND_NS) };
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
		uint64_t now_ns = run_now_ns();
		weir_histogram_add(&details->overshoot, now_ns > due_ns ? now_ns - due_ns : 0, 1);
	}
	prctl(PR_SET_TIMERSLACK, (unsigned long)(slack > 0 ? slack : 50000));
	clock_compare(details, length_ns);
}

// ---- The ways ----

static int sockets_open(struct loop *loop)
{
	struct sockaddr_in addresses[2];
	int fds[2] = { -1, -1 };
	int size = 1 << 20;
	int on = 1;
	int result = 0;
	for (int i = 0; i < 2 && result == 0; i++) {
		socklen_t length = sizeof(addresses[i]);
		addresses[i] = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fds[i] < 0 || bind(fds[i], (struct sockaddr *)&addresses[i], length) ||
		    getsockname(fds[i], (struct sockaddr *)&addresses[i], &length))
			result = -errno;
	}
	for (int i = 0; i < 2 && result == 0; i++) {
		if (connect(fds[i], (struct sockaddr *)&addresses[1 - i], sizeof(addresses[i])))
			result = -errno;
		setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
		setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	}
	if (result == 0)
		setsockopt(fds[1], IPPROTO_UDP, UDP_GRO, &on, sizeof(on));
	loop->from = fds[0];
	loop->to = fds[1];
	return result;
}

static int udp_send(const struct loop *loop, const struct batch *batch, uint32_t frames)
{
	struct iovec part = { (void *)batch, frames * sizeof(struct frame) };
	union {
		char bytes[CMSG_SPACE(sizeof(uint16_t))];
		struct cmsghdr align;
	} control = { 0 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
				  .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	uint16_t segment = sizeof(struct frame);
	header->cmsg_level = SOL_UDP;
	header->cmsg_type = UDP_SEGMENT;
	header->cmsg_len = CMSG_LEN(sizeof(segment));
	memcpy(CMSG_DATA(header), &segment, sizeof(segment));
	while (sendmsg(loop->from, &message, 0) < 0) {
		if (errno != EAGAIN && errno != ENOBUFS && errno != EINTR)
			return -errno;
		sched_yield();
	}
	return 0;
}

// A client's memory as wire/lane.h lays it out, and a read-only mapping of it where the router's would be.
static int lane_open(struct loop *loop)
{
	size_t size = weir_lane_page_up(weir_lane_arena_at(1, LANE_FRAMES) + WINDOW * sizeof(struct batch));
	int result = weir_lane_memory_make(&loop->lane, size);
	if (result)
		return result;
	result = weir_lane_memory_map(&loop->lane_view, loop->lane.fd, loop->lane.size, 0);
	if (result)
		weir_lane_memory_free(&loop->lane);
	return result;
}

static struct batch *lane_batch(const struct loop *loop, uint64_t number)
{
	return (struct batch *)(void *)(loop->lane.base + weir_lane_arena_at(1, LANE_FRAMES)) + number % WINDOW;
}

static void lane_send(struct loop *loop, const struct batch *batch, uint32_t frames, uint64_t *sent)
{
	struct weir_lane_client *client = (void *)loop->lane.base;
	uint64_t *descriptors = (void *)(loop->lane.base + weir_lane_descriptors_at(1));
	const uint8_t *arena = loop->lane.base + weir_lane_arena_at(1, LANE_FRAMES);
	for (uint32_t i = 0; i < frames; i++) {
		uint64_t offset = (uint64_t)((const uint8_t *)&batch->frames[i] - arena);
		descriptors[*sent % LANE_FRAMES] = weir_lane_descriptor(offset, sizeof(struct frame));
		++*sent;
	}
	// Release pairs with the sink's acquire: descriptors and frames are written.
	__atomic_store_n(&client->sent.value, *sent, __ATOMIC_RELEASE);
}

// Frames are counted, for GRO joins and parts batches as it likes.
static bool is_window_full(const struct loop *loop, uint64_t sent)
{
	return sent - atomic_load_explicit(&loop->taken_frames, memory_order_acquire) >= WINDOW * BATCH_FRAMES;
}

// ---- Generator ----

static uint32_t batch_fill(struct loop *loop, struct batch *batch, uint64_t start_ns, uint64_t now_ns)
{
	uint32_t frames = 0;
	while (frames < BATCH_FRAMES) {
		struct frame *frame = &batch->frames[frames];
		frame->first = loop->offset;
		frame->count = 0;
		while (frame->count < FRAME_EVENTS) {
			uint64_t due_ns = start_ns + loop->source.next.time_ns;
			if (loop->is_paced && due_ns > now_ns)
				break;
			uint32_t key = loop->source.next.key;
			struct weir_payload payload = { .sequence = loop->sequences[key]++, .producer = 1, .key = key,
							.send_ns = loop->is_paced ? due_ns : now_ns };
			weir_payload_fill(frame->events[frame->count++], EVENT_BYTES, &payload);
			if (loop->is_paced)
				weir_histogram_add(&loop->out->lag, now_ns - due_ns, 1);
			weir_source_advance(&loop->source);
		}
		loop->offset += frame->count;
		frames += frame->count > 0;
		if (frame->count < FRAME_EVENTS)
			break;
	}
	return frames;
}

static void *generate(void *at)
{
	struct loop *loop = at;
	struct batch *own = calloc(1, sizeof(*own));
	uint64_t start_ns = run_now_ns();
	uint64_t sent = 0;
	uint64_t number = 0;
	uint64_t descriptors = 0;
	prctl(PR_SET_TIMERSLACK, 1ul);
	while (own && loop->source.next.time_ns != UINT64_MAX) {
		uint64_t now_ns = run_now_ns();
		if (now_ns - start_ns >= loop->length_ns)
			break;
		if (is_window_full(loop, sent)) {
			sched_yield();
			continue;
		}
		struct batch *batch = loop->way == WEIR_SELFTEST_MEMORY ? &loop->slots[number % WINDOW]
				      : loop->way == WEIR_SELFTEST_LANE ? lane_batch(loop, number)
									: own;
		uint32_t frames = batch_fill(loop, batch, start_ns, now_ns);
		if (frames == 0) {
			uint64_t due_ns = start_ns + loop->source.next.time_ns;
			struct timespec until = { (time_t)(due_ns / RUN_SECOND_NS), (long)(due_ns % RUN_SECOND_NS) };
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
			continue;
		}
		if (loop->way == WEIR_SELFTEST_UDP && udp_send(loop, batch, frames))
			break;
		if (loop->way == WEIR_SELFTEST_LANE)
			lane_send(loop, batch, frames, &descriptors);
		// In memory a slot is a window's place whatever it holds, so that it is not filled again too soon.
		loop->slot_frames[number++ % WINDOW] = frames;
		sent += loop->way == WEIR_SELFTEST_UDP ? frames : BATCH_FRAMES;
		// Release pairs with the sink's acquire: the slot is filled.
		atomic_store_explicit(&loop->sent_batches, number, memory_order_release);
	}
	uint64_t took_ns = run_now_ns() - start_ns;
	if (!loop->is_paced)
		loop->out->rate_max = (double)loop->offset * 1e9 / (double)took_ns;
	free(own);
	atomic_store_explicit(&loop->is_over, 1, memory_order_release);
	return NULL;
}

// ---- Sink ----

static void frame_take(struct loop *loop, const struct frame *frame, uint64_t now_ns)
{
	for (uint32_t i = 0; i < frame->count && i < FRAME_EVENTS; i++) {
		struct weir_payload payload;
		if (!weir_payload_check(frame->events[i], EVENT_BYTES, &payload)) {
			loop->out->damaged++;
			continue;
		}
		struct weir_account_event event = { .incarnation = 1, .offset = frame->first + i, .term = 1,
						    .sequence = payload.sequence, .producer = payload.producer,
						    .key = payload.key };
		weir_account_add(&loop->account, &event);
		if (loop->is_paced)
			weir_histogram_add(&loop->out->latency, now_ns > payload.send_ns ? now_ns - payload.send_ns : 0, 1);
	}
}

// The frames of one batch at least; number counts descriptors. A batch has its window's place whatever it holds.
static uint32_t lane_some(struct loop *loop, uint64_t *number)
{
	const struct weir_lane_client *client = (const void *)loop->lane_view;
	const uint64_t *descriptors = (const void *)(loop->lane_view + weir_lane_descriptors_at(1));
	const uint8_t *arena = loop->lane_view + weir_lane_arena_at(1, LANE_FRAMES);
	uint64_t batches = atomic_load_explicit(&loop->sent_batches, memory_order_acquire);
	uint64_t sent = __atomic_load_n(&client->sent.value, __ATOMIC_ACQUIRE);
	if (loop->taken == batches)
		return 0;
	uint32_t frames = loop->slot_frames[loop->taken % WINDOW];
	for (uint32_t i = 0; i < frames && *number < sent; i++, ++*number) {
		uint64_t descriptor = descriptors[*number % LANE_FRAMES];
		if (weir_lane_descriptor_size(descriptor) == sizeof(struct frame))
			frame_take(loop, (const void *)(arena + weir_lane_descriptor_offset(descriptor)), run_now_ns());
	}
	loop->taken++;
	return BATCH_FRAMES;
}

// Frames taken, 0: none there.
static uint32_t sink_some(struct loop *loop, uint8_t *bytes, size_t room, uint64_t *number)
{
	if (loop->way == WEIR_SELFTEST_MEMORY) {
		if (atomic_load_explicit(&loop->sent_batches, memory_order_acquire) == *number)
			return 0;
		uint32_t slot = (uint32_t)(*number % WINDOW);
		for (uint32_t i = 0; i < loop->slot_frames[slot]; i++)
			frame_take(loop, &loop->slots[slot].frames[i], run_now_ns());
		++*number;
		return BATCH_FRAMES;
	}
	if (loop->way == WEIR_SELFTEST_LANE)
		return lane_some(loop, number);
	ssize_t size = recv(loop->to, bytes, room, 0);
	uint32_t frames = size > 0 ? (uint32_t)((size_t)size / sizeof(struct frame)) : 0;
	uint64_t now_ns = run_now_ns();
	for (uint32_t i = 0; i < frames; i++)
		frame_take(loop, (const struct frame *)(const void *)(bytes + i * sizeof(struct frame)), now_ns);
	return frames;
}

static void sink(struct loop *loop)
{
	size_t room = 64u << 10;
	uint8_t *bytes = aligned_alloc(64, room);
	uint64_t number = 0;
	uint64_t quiet_ns = 0;
	while (bytes) {
		bool is_over = atomic_load_explicit(&loop->is_over, memory_order_acquire);
		uint32_t frames = sink_some(loop, bytes, room, &number);
		if (frames) {
			quiet_ns = 0;
			// Release pairs with the generator's acquire: the slot may be filled again.
			atomic_fetch_add_explicit(&loop->taken_frames, frames, memory_order_release);
			continue;
		}
		uint64_t now_ns = run_now_ns();
		if (!quiet_ns)
			quiet_ns = now_ns;
		if (is_over && (loop->account.header->events == loop->offset || now_ns > quiet_ns + QUIET_NS))
			break;
		if (loop->way == WEIR_SELFTEST_UDP && loop->is_paced)
			poll(&(struct pollfd){ .fd = loop->to, .events = POLLIN }, 1, 1);
		else
			sched_yield();
	}
	free(bytes);
}

// ---- A loop ----

static void source_init(struct loop *loop)
{
	struct weir_scenario_step step = { .length_ns = loop->length_ns, .load = 1, .load_to = -1 };
	struct weir_scenario_size size = { .bytes = EVENT_BYTES, .weight = 1 };
	struct weir_scenario scenario = { .steps = &step, .step_count = 1 };
	struct weir_scenario_producers producers = { .count = 1, .sizes = &size, .size_count = 1,
						     .rate = loop->is_paced ? PACED_RATE : 1e9 };
	producers.arrivals = loop->is_paced ? WEIR_ARRIVAL_POISSON : WEIR_ARRIVAL_CONSTANT;
	producers.keys.count = KEYS;
	weir_source_init(&loop->source, &scenario, &producers, NULL, 0, 1);
}

static void loop_judge(struct loop *loop)
{
	struct weir_group_verdict *group = calloc(1, sizeof(*group));
	struct weir_selftest_loop *out = loop->out;
	loop->account.header->is_complete = 1;
	if (!group || weir_verdict_add(group, &loop->account)) {
		out->lost += loop->offset;
	} else {
		weir_verdict_judge(group, loop->offset);
		out->received += group->delivered;
		out->lost += group->lost;
		out->duplicated += group->duplicated;
		out->reordered += group->reordered;
		weir_verdict_fini(group);
	}
	out->events += loop->offset;
	free(group);
}

static int loop_run(struct weir_selftest_loop *out, enum weir_selftest_way way, bool is_paced, uint64_t length_ns)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	pthread_t generator;
	if (!loop)
		return -ENOMEM;
	loop->way = way;
	loop->out = out;
	loop->length_ns = length_ns;
	loop->is_paced = is_paced;
	loop->from = loop->to = -1;
	out->rate_paced = PACED_RATE;
	source_init(loop);
	int result = weir_account_create(&loop->account, NULL, "selftest", "selftest");
	if (result == 0 && way == WEIR_SELFTEST_UDP)
		result = sockets_open(loop);
	if (result == 0 && way == WEIR_SELFTEST_LANE)
		result = lane_open(loop);
	if (result == 0)
		result = -pthread_create(&generator, NULL, generate, loop);
	if (result == 0) {
		sink(loop);
		pthread_join(generator, NULL);
		loop_judge(loop);
	}
	if (loop->from >= 0)
		close(loop->from);
	if (loop->to >= 0)
		close(loop->to);
	if (loop->lane_view) {
		weir_lane_memory_unmap(loop->lane_view, loop->lane.size, 0);
		weir_lane_memory_free(&loop->lane);
	}
	if (loop->account.header)
		weir_account_close(&loop->account);
	free(loop);
	return result;
}

// ---- The whole ----

const char *weir_selftest_way_name(enum weir_selftest_way way)
{
	static const char *const NAMES[] = { "memory", "udp", "lane" };
	return NAMES[way];
}

static void sum_up(struct weir_result_selftest *summary, const struct weir_selftest_details *details,
		   enum weir_selftest_way way)
{
	const struct weir_selftest_loop *best = &details->loops[way];
	*summary = (struct weir_result_selftest){ .is_done = true, .is_passed = true, .rate_max = best->rate_max };
	summary->clock_error_ns = weir_histogram_percentile(&best->lag, 0.999);
	summary->latency_p50_ns = weir_histogram_percentile(&best->latency, 0.5);
	summary->latency_p99_ns = weir_histogram_percentile(&best->latency, 0.99);
	for (uint32_t i = 0; i < WEIR_SELFTEST_WAYS; i++) {
		const struct weir_selftest_loop *loop = &details->loops[i];
		summary->events += loop->events;
		summary->lost += loop->lost;
		if (!summary->is_passed || loop->lost + loop->duplicated + loop->reordered + loop->damaged == 0)
			continue;
		summary->is_passed = false;
		snprintf(summary->reason, sizeof(summary->reason),
			 "looped over %s: %lu of %lu events lost, %lu duplicated, %lu reordered, %lu damaged",
			 weir_selftest_way_name(i), loop->lost, loop->events, loop->duplicated, loop->reordered, loop->damaged);
	}
	if (summary->is_passed && details->clock_backwards) {
		summary->is_passed = false;
		snprintf(summary->reason, sizeof(summary->reason),
			 "the clock went backwards between cores %lu times, by up to %lu ns: latencies mean nothing here",
			 details->clock_backwards, details->clock_backwards_ns);
	}
}

int weir_selftest_run(struct weir_result_selftest *summary, enum weir_selftest_way way, uint64_t length_ns,
		      struct weir_selftest_details *details, char error[WEIR_RESULT_ERROR])
{
	struct weir_selftest_details *own = calloc(1, sizeof(*own));
	int result = own ? 0 : -ENOMEM;
	if (own)
		clock_measure(own, length_ns / 10);
	for (uint32_t i = 0; i < WEIR_SELFTEST_WAYS && result == 0; i++) {
		result = loop_run(&own->loops[i], i, false, length_ns / 7);
		if (result == 0)
			result = loop_run(&own->loops[i], i, true, length_ns / 7);
	}
	if (result == 0) {
		sum_up(summary, own, way);
		if (details)
			*details = *own;
	} else {
		snprintf(error, WEIR_RESULT_ERROR, "self-test: cannot loop the generator to the sink: %s. Fix: free memory, "
			 "allow UDP on the loopback", strerror(-result));
	}
	free(own);
	return result;
}
