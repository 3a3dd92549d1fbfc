// The port of a worker's lanes: reads descriptors from the clients' rings, writes frames into the router's. All that a client
// can change is read once into private memory, then checked, then used; what it says wrong costs it frames and nobody else
// anything. A frame of events is handed on with its body where it lies, all others are copied whole. Worker's thread.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "dataplane/core/memory.h"
#include "dataplane/io/lane.h"
#include "wire/codec.h"
#include "wire/frame.h"
#include "wire/prefetch.h"

#define LANE_BURST 128u       // descriptors of one lane in one turn
#define LANE_BYTES (128u << 10) // bytes of one lane in one turn, about
#define COPIES_SIZE (256u << 10) // private copies of one turn
#define AHEAD_LINES 4u        // at a time
#define AHEAD_BYTES 2048u     // of frames fetched before they are looked at
#define FULL_WAIT_NS 1000000u // a full ring is waited for so long
#define FULL_AGAIN_NS 100000000u // and again after this: until then its frames are lost
#define HEADER_SIZE ((uint32_t)sizeof(struct weir_frame_header))
#define BELLS 16u             // bells looked at in one go

// A header with its cache line.
struct header_copy {
	_Alignas(64) struct weir_frame_header header;
};

struct lane_port {
	struct weir_port port;
	struct weir_lane_table *table;
	struct weir_lane_word *sleep; // clients look there
	uint64_t changes;             // of the table, seen
	struct weir_lane **lanes;     // [per_worker] own ones
	uint32_t lane_count;
	uint32_t next;                // lane that is polled first
	struct weir_lane **polled;    // [per_worker] something was taken from them in this turn
	uint32_t polled_count;
	struct weir_lane **dirty;     // [per_worker] something was written for them in this turn
	uint32_t dirty_count;
	uint64_t *wakes;              // [lanes of all workers] lanes whose heads moved in this turn
	uint32_t wake_count;
	struct weir_lane *last;       // sent to last
	struct weir_lane *sending;    // reserved; NULL: into the void
	uint32_t arrival_count;
	uint8_t *copies;              // [COPIES_SIZE]
	uint32_t copied;
	uint8_t *void_frame;          // [WEIR_FRAME_MAX] frames to a lane that is gone
	size_t size;                  // of this allocation
	struct weir_arrival arrivals[WEIR_PORT_BURST];
	struct header_copy headers[WEIR_PORT_BURST];
};

static struct lane_port *lane_port_of(struct weir_port *port)
{
	return (struct lane_port *)(void *)port;
}

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// ---- In ----

static void look_for_lanes(struct lane_port *lanes)
{
	uint64_t changes = weir_lane_table_changes(lanes->table, lanes->port.worker);

	if (changes == lanes->changes)
		return;
	lanes->changes = changes;
	lanes->lane_count = weir_lane_table_list(lanes->table, lanes->port.worker, lanes->lanes);
	lanes->last = NULL;
	if (lanes->next >= lanes->lane_count)
		lanes->next = 0;
}

// The whole frame in private memory. `header` was copied before and is what counts.
static const void *copy_frame(struct lane_port *lanes, const struct weir_frame_header *header, const uint8_t *frame,
			      uint32_t size)
{
	uint8_t *copy = lanes->copies + lanes->copied;

	memcpy(copy, header, HEADER_SIZE);
	memcpy(copy + HEADER_SIZE, frame + HEADER_SIZE, size - HEADER_SIZE);
	lanes->copied += (size + 63) & ~63u;
	return copy;
}

// The eight bytes a frame begins with, as a number: magic, version, kind, flags.
#define FIRST_KIND(kind) ((uint64_t)(kind) << 24)
#define FIRST_FLAGS(flags) ((uint64_t)(flags) << 32)
_Static_assert(__builtin_offsetof(struct weir_frame_header, kind) == 3, "kind's place among the first bytes");
_Static_assert(__builtin_offsetof(struct weir_frame_header, flags) == 4, "flags' place among the first bytes");

// A publish whose checksum leaves out the body can stay where it is: the core copies its events before it judges them.
static inline bool stays(const struct weir_frame_header *header)
{
	uint64_t first;

	memcpy(&first, header, sizeof(first));
	return (first & (FIRST_KIND(0xff) | FIRST_FLAGS(WEIR_FLAG_HEADER_ONLY | WEIR_FLAG_FRAGMENT))) ==
	       (FIRST_KIND(WEIR_KIND_PUBLISH) | FIRST_FLAGS(WEIR_FLAG_HEADER_ONLY));
}

// What is read of the arena was written by another core just now: the way here is long, so lines are asked for well before
// their turn, across trains.
struct ahead {
	const uint8_t *at;  // line to ask for next
	const uint8_t *end; // of its train
	uint64_t position;  // of its descriptor
	uint64_t sent;
	uint32_t due; // bytes
};

static inline void ahead_train(struct ahead *ahead, const struct weir_lane *lane)
{
	uint64_t descriptor = __atomic_load_n(&lane->descriptors[ahead->position & lane->descriptor_mask], __ATOMIC_RELAXED);

	// A hint that points nowhere is no fault.
	ahead->at = lane->arena + weir_lane_descriptor_offset(descriptor);
	ahead->end = ahead->at + weir_lane_descriptor_size(descriptor);
}

// So many bytes further, but not into what the client may be writing now. Of a large frame the processor finds all but the
// beginning by itself.
static inline void ahead_move(struct ahead *ahead, const struct weir_lane *lane, uint32_t bytes)
{
	uint32_t lines = (ahead->due + bytes) / 64;

	ahead->due = (ahead->due + bytes) % 64;
	for (uint32_t i = 0; i < lines && i < AHEAD_LINES; i++, ahead->at += 64) {
		if (ahead->at >= ahead->end) {
			if (ahead->position + 1 >= ahead->sent)
				return;
			ahead->position++;
			ahead_train(ahead, lane);
		}
		weir_prefetch(ahead->at);
	}
	if (lines > AHEAD_LINES)
		ahead->at += (lines - AHEAD_LINES) * 64ull;
}

static void drop(struct lane_port *lanes, struct weir_lane *lane)
{
	weir_port_drop(&lanes->port, WEIR_R_LENGTH, 1);
	weir_count(&lane->dropped, 1);
}

// Frames of a train, one behind the other, from where the last turn left it. false: some of it is left for the next turn.
// This is the path of every frame, apart so that what the loop needs stays in registers.
static __attribute__((noinline)) bool take_train(struct lane_port *lanes, struct weir_lane *lane, const uint8_t *train,
						 uint32_t size, struct ahead *before)
{
	struct ahead ahead = *before;
	const uint8_t *frame = train + lane->train_taken;
	const uint8_t *end = train + size;
	struct weir_arrival *arrival = &lanes->arrivals[lanes->arrival_count];
	const struct weir_arrival *last = &lanes->arrivals[WEIR_PORT_BURST];
	struct header_copy *copy = &lanes->headers[lanes->arrival_count];
	bool is_full = false;

	while (frame < end) {
		uint64_t left = (uint64_t)(end - frame);
		uint32_t length;

		is_full = arrival == last;
		if (is_full || left < HEADER_SIZE)
			break;
		memcpy(&copy->header, frame, HEADER_SIZE);
		// From here on the compiler must not look at the client's header instead of the copy.
		__asm__ volatile("" : : "r"(copy) : "memory");
		length = HEADER_SIZE + copy->header.body_length;
		if (length > left || length > WEIR_FRAME_MAX)
			break;
		arrival->frame = &copy->header;
		arrival->path = &lane->path;
		arrival->size = length;
		arrival->trust_link = true;
		arrival->shared = frame + HEADER_SIZE;
		if (__builtin_expect(!stays(&copy->header), 0)) {
			is_full = COPIES_SIZE - lanes->copied < WEIR_FRAME_MAX + 64;
			if (is_full)
				break;
			arrival->frame = copy_frame(lanes, &copy->header, frame, length);
			arrival->shared = NULL;
		}
		length = (length + 7u) & ~7u;
		ahead_move(&ahead, lane, length);
		frame += length;
		arrival++;
		copy++;
	}
	*before = ahead;
	lanes->arrival_count = (uint32_t)(arrival - lanes->arrivals);
	lane->train_taken = is_full ? (uint32_t)(frame - train) : 0;
	if (frame < end && !is_full)
		drop(lanes, lane); // what is left is no frame
	return !is_full;
}

// So many descriptors, each a frame or a train of them, or fewer when arrivals, private copies or bytes reach their limit.
// Returns where it stopped.
static uint64_t take_frames(struct lane_port *lanes, struct weir_lane *lane, uint64_t most, uint64_t sent)
{
	const uint8_t *arena = lane->arena;
	uint64_t position = lane->taken;
	uint64_t end = position + most;
	uint64_t bytes = 0;
	struct ahead ahead = { .position = position, .sent = sent };

	ahead_train(&ahead, lane);
	ahead.at += lane->train_taken & ~63u;
	for (uint32_t i = 0; i < AHEAD_BYTES; i += AHEAD_LINES * 64)
		ahead_move(&ahead, lane, AHEAD_LINES * 64);
	for (; position < end && bytes < LANE_BYTES; position++) {
		uint64_t descriptor = __atomic_load_n(&lane->descriptors[position & lane->descriptor_mask], __ATOMIC_RELAXED);
		uint64_t at = weir_lane_descriptor_offset(descriptor);
		uint32_t size = weir_lane_descriptor_size(descriptor);

		if (__builtin_expect(size - HEADER_SIZE > WEIR_LANE_TRAIN_MAX - HEADER_SIZE ||
				     at + size > lane->arena_size, 0)) {
			drop(lanes, lane);
			lane->train_taken = 0;
			continue;
		}
		bytes += size;
		if (!take_train(lanes, lane, arena + at, size, &ahead))
			break;
	}
	return position;
}

// What the client's threads say beside its frames: the ping that it stands for, which the core judges like any other.
static __attribute__((noinline)) void take_working(struct lane_port *lanes, struct weir_lane *lane)
{
	struct weir_frame_header *header = &lanes->headers[lanes->arrival_count].header;

	lane->working = __atomic_load_n(&lane->client->sent.working, __ATOMIC_ACQUIRE);
	*header = (struct weir_frame_header){
		.kind = WEIR_KIND_PING,
		.flags = WEIR_FLAG_WORKING,
		.session = __atomic_load_n(&lane->client->sent.working_session, __ATOMIC_RELAXED),
		.sequence = lane->working,
	};
	weir_frame_seal(header, 0);
	lanes->arrivals[lanes->arrival_count++] = (struct weir_arrival){
		.frame = header, .path = &lane->path, .size = HEADER_SIZE, .trust_link = true,
	};
}

static void take_lane(struct lane_port *lanes, struct weir_lane *lane)
{
	uint64_t sent = __atomic_load_n(&lane->client->sent.value, __ATOMIC_ACQUIRE);
	uint64_t waiting = sent - lane->taken;
	uint32_t before = lanes->arrival_count;
	bool is_working = __atomic_load_n(&lane->client->sent.working, __ATOMIC_RELAXED) != lane->working;
	uint64_t most;

	if (waiting == 0 && !is_working)
		return;
	lanes->polled[lanes->polled_count++] = lane;
	if (waiting > lane->descriptor_mask + 1ull) {
		// More than the ring holds: its word is as good as any other place to go on from.
		drop(lanes, lane);
		lane->taken = sent;
		lane->train_taken = 0;
		return;
	}
	if (is_working)
		take_working(lanes, lane);
	most = WEIR_PORT_BURST - lanes->arrival_count;
	if (most > LANE_BURST)
		most = LANE_BURST;
	if (most > waiting)
		most = waiting;
	lane->taken = take_frames(lanes, lane, most, sent);
	for (uint32_t i = before; i < lanes->arrival_count; i++)
		lane->bytes_in_turn += lanes->arrivals[i].size;
	lane->frames_in_turn = lanes->arrival_count - before;
}

static uint32_t lane_receive(struct weir_port *port, const struct weir_arrival **arrivals)
{
	struct lane_port *lanes = lane_port_of(port);
	uint32_t begin;

	look_for_lanes(lanes);
	lanes->arrival_count = 0;
	lanes->copied = 0;
	lanes->polled_count = 0;
	begin = lanes->next;
	for (uint32_t i = 0; i < lanes->lane_count && lanes->arrival_count < WEIR_PORT_BURST; i++) {
		take_lane(lanes, lanes->lanes[begin]);
		begin = begin + 1 == lanes->lane_count ? 0 : begin + 1;
	}
	// Whoever was not reached is first next time; else everybody moves up by one.
	if (lanes->arrival_count == WEIR_PORT_BURST)
		lanes->next = begin;
	else
		lanes->next = lanes->next + 1 < lanes->lane_count ? lanes->next + 1 : 0;
	*arrivals = lanes->arrivals;
	if (lanes->arrival_count == 0 && lanes->polled_count)
		port->ops->receive_done(port);
	return lanes->arrival_count;
}

static void lane_receive_done(struct weir_port *port)
{
	struct lane_port *lanes = lane_port_of(port);
	uint64_t frames = 0, bytes = 0;

	for (uint32_t i = 0; i < lanes->polled_count; i++) {
		struct weir_lane *lane = lanes->polled[i];

		// Release: nothing of the frames is read after this.
		__atomic_store_n(&lane->router->taken.value, lane->taken, __ATOMIC_RELEASE);
		weir_count(&lane->frames_in, lane->frames_in_turn);
		weir_count(&lane->bytes_in, lane->bytes_in_turn);
		frames += lane->frames_in_turn;
		bytes += lane->bytes_in_turn;
		lane->frames_in_turn = 0;
		lane->bytes_in_turn = 0;
	}
	lanes->polled_count = 0;
	weir_count(&port->statistics.received, frames);
	weir_count(&port->statistics.received_bytes, bytes);
	weir_count(&port->statistics.receive_calls, 1);
}

// ---- Out ----

static struct weir_lane *lane_of(struct lane_port *lanes, const struct weir_path *path)
{
	uint64_t number;

	memcpy(&number, path->remote_ip, sizeof(number));
	if (!lanes->last || lanes->last->number != number)
		lanes->last = weir_lane_find(lanes->table, number);
	return lanes->last;
}

static bool has_room(struct weir_lane *lane, uint64_t size)
{
	uint64_t taken;

	if (lane->sent + size <= lane->room_to)
		return true;
	taken = __atomic_load_n(&lane->client->taken.value, __ATOMIC_ACQUIRE);
	// A place it cannot have reached tells nothing.
	if (lane->sent - taken > lane->ring_size)
		return false;
	lane->room_to = taken + lane->ring_size;
	return lane->sent + size <= lane->room_to;
}

// A client that does not empty its ring: for a moment its frames wait, and with them, through the mesh, those of others. So
// the moment is short and does not come again soon. true: the frame is lost.
static bool gives_up(struct weir_lane *lane)
{
	uint64_t now_ns = clock_ns();

	if (now_ns - lane->full_ns > FULL_AGAIN_NS)
		lane->full_ns = now_ns;
	return now_ns - lane->full_ns > FULL_WAIT_NS;
}

static void *lane_send_reserve(struct weir_port *port, const struct weir_path *path, uint32_t size)
{
	struct lane_port *lanes = lane_port_of(port);
	struct weir_lane *lane = lane_of(lanes, path);

	if (size > WEIR_FRAME_MAX)
		return NULL;
	lanes->sending = NULL;
	if (lane && has_room(lane, weir_lane_record_size(size))) {
		lanes->sending = lane;
		return lane->ring + (lane->sent & (lane->ring_size - 1)) + sizeof(struct weir_lane_record);
	}
	if (lane && !gives_up(lane)) {
		weir_count(&port->statistics.send_blocked, 1);
		return NULL;
	}
	weir_count(&port->statistics.send_lost, 1);
	if (lane)
		weir_count(&lane->lost, 1);
	return lanes->void_frame;
}

static void lane_send_commit(struct weir_port *port, uint32_t size)
{
	struct lane_port *lanes = lane_port_of(port);
	struct weir_lane *lane = lanes->sending;
	struct weir_lane_record *record;
	const struct weir_frame_header *frame;

	if (!lane || size == 0)
		return;
	record = (void *)(lane->ring + (lane->sent & (lane->ring_size - 1)));
	record->size = size;
	record->reserved = 0;
	frame = (const void *)(record + 1);
	// Status tells which session this is. The ring is written by nobody else, so what lies there is what was sent.
	if (frame->kind == WEIR_KIND_WELCOME) {
		const struct weir_welcome *welcome = (const void *)(frame + 1);

		atomic_store_explicit(&lane->session, (uint64_t)welcome->worker << 32 | welcome->number,
				      memory_order_relaxed);
	}
	lane->sent += weir_lane_record_size(size);
	weir_count(&lane->frames_out, 1);
	weir_count(&lane->bytes_out, size);
	weir_count(&port->statistics.sent, 1);
	weir_count(&port->statistics.sent_bytes, size);
	if (!lane->is_dirty) {
		lane->is_dirty = true;
		lanes->dirty[lanes->dirty_count++] = lane;
	}
}

static void ring_if_asleep(const struct weir_lane *lane)
{
	// Does not wait, does not fail but for a bell that has rung already.
	if (__atomic_load_n(&lane->client->asleep.value, __ATOMIC_RELAXED) == 1)
		(void)!send(lane->client_bell, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static bool lane_flush(struct weir_port *port)
{
	struct lane_port *lanes = lane_port_of(port);

	if (lanes->dirty_count + lanes->wake_count == 0)
		return true;
	for (uint32_t i = 0; i < lanes->dirty_count; i++)
		__atomic_store_n(&lanes->dirty[i]->router->sent.value, lanes->dirty[i]->sent, __ATOMIC_RELEASE);
	// Pairs with the client's fence between saying that it sleeps and looking once more.
	atomic_thread_fence(memory_order_seq_cst);
	for (uint32_t i = 0; i < lanes->dirty_count; i++) {
		lanes->dirty[i]->is_dirty = false;
		ring_if_asleep(lanes->dirty[i]);
	}
	for (uint32_t i = 0; i < lanes->wake_count; i++) {
		const struct weir_lane *lane = weir_lane_find(lanes->table, lanes->wakes[i]);

		if (lane)
			ring_if_asleep(lane);
	}
	if (lanes->dirty_count)
		weir_count(&port->statistics.send_calls, 1);
	lanes->dirty_count = 0;
	lanes->wake_count = 0;
	return true;
}

static void lane_count_lost(struct weir_port *port)
{
	// Descriptors that point nowhere are counted where they are met.
	(void)port;
}

static bool lane_link_is_up(const struct weir_port *port)
{
	(void)port;
	return true;
}

static void lane_close(struct weir_port *port)
{
	struct lane_port *lanes = lane_port_of(port);

	free(lanes->lanes);
	free(lanes->polled);
	free(lanes->dirty);
	free(lanes->wakes);
	weir_memory_put(lanes->copies, COPIES_SIZE);
	weir_memory_put(lanes->void_frame, WEIR_FRAME_MAX);
	weir_memory_put(lanes, sizeof(*lanes));
}

static const struct weir_port_ops OPS = {
	.receive = lane_receive,
	.receive_done = lane_receive_done,
	.send_reserve = lane_send_reserve,
	.send_commit = lane_send_commit,
	.flush = lane_flush,
	.count_lost = lane_count_lost,
	.link_is_up = lane_link_is_up,
	.close = lane_close,
};

int weir_port_lane_open(struct weir_port **port, struct weir_lane_table *table, uint16_t worker, uint16_t index,
			struct weir_fault *fault)
{
	struct lane_port *lanes = weir_memory_get(sizeof(*lanes), -1);
	uint32_t own = weir_lane_table_per_worker(table);
	uint32_t all = weir_lane_table_room(table);

	if (!lanes)
		return weir_fault_set(fault, -ENOMEM, "lanes", "make their port", "free some memory", "out of memory");
	lanes->lanes = calloc(own, sizeof(*lanes->lanes));
	lanes->polled = calloc(own, sizeof(*lanes->polled));
	lanes->dirty = calloc(own, sizeof(*lanes->dirty));
	lanes->wakes = calloc(all, sizeof(*lanes->wakes));
	lanes->copies = weir_memory_get(COPIES_SIZE, -1);
	lanes->void_frame = weir_memory_get(WEIR_FRAME_MAX, -1);
	if (!lanes->lanes || !lanes->polled || !lanes->dirty || !lanes->wakes || !lanes->copies || !lanes->void_frame) {
		lane_close(&lanes->port);
		return weir_fault_set(fault, -ENOMEM, "lanes", "make their port", "free some memory", "out of memory");
	}
	lanes->table = table;
	lanes->sleep = weir_lane_table_sleep(table, worker);
	lanes->port = (struct weir_port){
		.ops = &OPS,
		.name = "lanes",
		.kind = WEIR_PORT_LANE,
		.index = index,
		.worker = worker,
		.frame_max = WEIR_FRAME_MAX,
		.fd = weir_lane_table_bells(table, worker),
		.trust_link = true,
	};
	weir_lane_table_port(table, worker, index);
	*port = &lanes->port;
	return 0;
}

// ---- What the engine and the worker's loop ask ----

const struct weir_lane_view *weir_port_lane_find(struct weir_port *port, uint64_t number)
{
	const struct weir_lane *lane = weir_lane_find(lane_port_of(port)->table, number);

	return lane ? &lane->view : NULL;
}

void weir_port_lane_wake(struct weir_port *port, uint64_t number)
{
	struct lane_port *lanes = lane_port_of(port);

	for (uint32_t i = 0; i < lanes->wake_count; i++) {
		if (lanes->wakes[i] == number)
			return;
	}
	if (lanes->wake_count < weir_lane_table_room(lanes->table))
		lanes->wakes[lanes->wake_count++] = number;
}

static uint32_t strike(uint64_t *numbers, uint32_t count, uint64_t number)
{
	for (uint32_t i = 0; i < count; i++) {
		if (numbers[i] == number)
			numbers[i] = numbers[--count];
	}
	return count;
}

void weir_port_lane_gone(struct weir_port *port, uint64_t number)
{
	struct lane_port *lanes = lane_port_of(port);
	uint32_t kept = 0;

	lanes->wake_count = strike(lanes->wakes, lanes->wake_count, number);
	for (uint32_t i = 0; i < lanes->dirty_count; i++) {
		if (lanes->dirty[i]->number != number)
			lanes->dirty[kept++] = lanes->dirty[i];
	}
	lanes->dirty_count = kept;
	look_for_lanes(lanes);
	lanes->last = NULL;
}

void weir_port_lane_doze(struct weir_port *port)
{
	__atomic_store_n(&lane_port_of(port)->sleep->value, 1, __ATOMIC_RELAXED);
	// Pairs with the client's fence between giving work and asking whether the worker sleeps.
	atomic_thread_fence(memory_order_seq_cst);
}

void weir_port_lane_awake(struct weir_port *port)
{
	__atomic_store_n(&lane_port_of(port)->sleep->value, 0, __ATOMIC_RELAXED);
}

uint32_t weir_port_lane_count(const struct weir_port *port)
{
	return ((const struct lane_port *)(const void *)port)->lane_count;
}

void weir_port_lane_hush(struct weir_port *port)
{
	struct epoll_event events[BELLS];
	uint32_t most = lane_port_of(port)->lane_count / BELLS + 1;

	// A ring is told once: to be told is to have heard it.
	while (most-- > 0 && epoll_wait(port->fd, events, BELLS, 0) == BELLS)
		;
}
