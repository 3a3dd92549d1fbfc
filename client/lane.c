// A client's lane (wire/lane.h): set-up over the router's socket, frames out by descriptor, frames in through the router's
// ring, logs mapped on demand, bells. A lane that ends is set up again, in the same memory of ours. The router's memory is
// read once per decision and every number in it is bounded before it is followed.
#include "client/lane.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/lane_memory.h"
#include "client/local.h"
#include "wire/frame.h"

#define FRAMES 8192u           // descriptors: more than any window of frames that are taken late
#define CURSORS WEIR_LANE_READERS_MAX
#define ARENA_DEFAULT (16u << 20)
#define ARENA_LEAST (2u << 20)
#define STAGE_SLOTS 128u       // frames that do not lie in the arena are copied into these
#define STAGE_SIZE ((WEIR_FRAME_MAX + 63u) & ~63u)
#define RECEIVE_BURST 256u     // frames of one receive
#define LOGS_MAX WEIR_LANE_READERS_MAX
#define RETRY_FIRST_NS 20000000ull
#define RETRY_MAX_NS 1000000000ull
#define CHECK_NS 20000000ull   // between looks whether the router's socket still stands, while awake
#define BLOCKED_NS 50000ull     // until a full ring is looked at again
#define GREETING_NS 2000000000ull // a router that does not answer the hello so long is tried anew
#define HEADS_MAX (1u << 20)   // lines
#define RING_MAX (256u << 20)

enum lane_state {
	LANE_DOWN,
	LANE_GREETING, // hello sent, no welcome yet
	LANE_UP,
};

// A mapped log. refs 0: stays until nobody can look at it any more.
struct lane_log {
	struct weir_core_log log;
	uint64_t incarnation;
	uint32_t topic;
	uint16_t shard;
	uint32_t refs;
	bool is_asked; // the answer is under way
	bool is_refused;
};

struct lane {
	struct weir_transport transport;
	struct weir_core_local local;
	struct sockaddr_un address;
	enum lane_state state;
	int socket; // -1: none
	int bell;        // wakes us
	int worker_bell; // wakes the worker
	uint64_t retry_ns;
	uint64_t checked_ns;
	uint64_t random;
	// Our memory.
	struct weir_lane_memory memory;
	struct weir_lane_client *page;
	uint64_t *descriptors;
	uint8_t *arena;
	size_t arena_size;
	size_t frames_used; // of the arena behind the stage, handed to producers
	struct weir_lane_hello hello;
	// The router's; NULL unless up.
	const struct weir_lane_router *router;
	const uint8_t *ring;
	uint64_t ring_size;
	const struct weir_lane_head *heads;
	uint64_t head_lines;
	uint32_t worker;
	// Traffic.
	uint64_t sent;  // descriptors written
	uint64_t taken; // of them by the router, as last seen
	uint64_t read;  // bytes of the ring
	uint64_t staged[STAGE_SLOTS]; // descriptor + 1 that last used the slot
	uint32_t stage_next;
	bool is_blocked;
	bool is_dozing;
	bool is_nudge_due;
	// Logs.
	struct lane_log logs[LOGS_MAX];
	uint32_t log_count;
	uint32_t asked; // answers under way
	bool has_retired;
};

static inline uint64_t load_acquire(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void store_release(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

// ---- Logs ----

static void log_unmap(struct lane *lane, struct lane_log *log)
{
	if (log->log.base)
		weir_lane_memory_unmap(log->log.base, 0, log->log.size);
	*log = lane->logs[--lane->log_count];
}

static struct lane_log *log_find(struct lane *lane, uint32_t topic, uint16_t shard, uint64_t incarnation)
{
	for (uint32_t i = 0; i < lane->log_count; i++) {
		struct lane_log *log = &lane->logs[i];
		if (log->topic == topic && log->shard == shard && log->incarnation == incarnation)
			return log;
	}
	return NULL;
}

static void log_ask(struct lane *lane, struct lane_log *log)
{
	const struct weir_lane_ask ask = {
		.magic = WEIR_LANE_MAGIC, .incarnation = log->incarnation, .topic = log->topic, .shard = log->shard,
	};
	lane->transport.system_calls++;
	log->is_asked = send(lane->socket, &ask, sizeof(ask), MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(ask);
	log->is_refused = !log->is_asked;
	lane->asked += log->is_asked;
}

static int log_get(void *context, uint32_t topic, uint16_t shard, uint64_t incarnation, struct weir_core_log *out)
{
	struct lane *lane = context;
	struct lane_log *log = log_find(lane, topic, shard, incarnation);
	if (lane->state != LANE_UP)
		return -ENOTCONN;
	if (!log) {
		if (lane->log_count == LOGS_MAX)
			return -ENOSPC;
		log = &lane->logs[lane->log_count++];
		*log = (struct lane_log){ .topic = topic, .shard = shard, .incarnation = incarnation };
		log_ask(lane, log);
	}
	if (log->is_asked)
		return -EAGAIN;
	if (log->is_refused) {
		log_unmap(lane, log); // asked anew for the next term
		return -EACCES;
	}
	log->refs++;
	*out = log->log;
	return 0;
}

static void log_put(void *context, const struct weir_core_log *put)
{
	struct lane *lane = context;
	for (uint32_t i = 0; i < lane->log_count; i++) {
		if (lane->logs[i].log.base != put->base)
			continue;
		lane->logs[i].refs--;
		lane->has_retired = lane->has_retired || lane->logs[i].refs == 0;
		return;
	}
}

static void logs_release(void *context)
{
	struct lane *lane = context;
	if (!lane->has_retired)
		return;
	lane->has_retired = false;
	for (uint32_t i = lane->log_count; i-- > 0;) {
		if (lane->logs[i].refs == 0 && !lane->logs[i].is_asked)
			log_unmap(lane, &lane->logs[i]);
	}
}

// A log that the router gave. fd -1: it did not.
static void log_answer(struct lane *lane, struct weir_core *core, const struct weir_lane_log *answer, int fd, uint64_t now_ns)
{
	struct lane_log *log = log_find(lane, answer->topic, answer->shard, answer->incarnation);
	if (!log || !log->is_asked)
		return;
	log->is_asked = false;
	lane->asked--;
	bool is_sane = answer->error == 0 && fd >= 0 && answer->size >= WEIR_LOG_SIZE_MIN &&
		       (answer->size & (answer->size - 1)) == 0 && answer->head < lane->head_lines;
	const uint8_t *base = NULL;
	log->is_refused = !is_sane || weir_lane_memory_map(&base, fd, 0, answer->size);
	if (!log->is_refused)
		log->log = (struct weir_core_log){ .base = base, .size = answer->size, .head = &lane->heads[answer->head] };
	weir_core_log_ready(core, log->topic, log->shard, now_ns);
}

// ---- Set-up and end ----

static void bells_close(struct lane *lane)
{
	if (lane->bell >= 0)
		close(lane->bell);
	if (lane->worker_bell >= 0)
		close(lane->worker_bell);
	lane->bell = lane->worker_bell = -1;
}

static void lane_down(struct lane *lane, struct weir_core *core, uint64_t now_ns)
{
	bool was_up = lane->state == LANE_UP;
	if (lane->socket >= 0)
		close(lane->socket);
	bells_close(lane);
	lane->socket = -1;
	lane->state = LANE_DOWN;
	lane->asked = 0;
	lane->is_dozing = false;
	if (was_up && core)
		weir_core_path_down(core, now_ns);
	// What the core put back is unmapped at its next release; what nobody asked an answer for any more goes with it.
	for (uint32_t i = 0; i < lane->log_count; i++)
		lane->logs[i].is_asked = false;
	lane->has_retired = lane->log_count > 0;
	lane->random = lane->random * 6364136223846793005ull + 1442695040888963407ull;
	uint64_t wait = was_up ? RETRY_FIRST_NS : RETRY_MAX_NS / 4;
	lane->transport.due_ns = lane->retry_ns = now_ns + wait / 2 + (lane->random >> 33) % wait;
}

static void router_unmap(struct lane *lane)
{
	if (lane->router)
		weir_lane_memory_unmap((const uint8_t *)lane->router, WEIR_LANE_RING_AT, lane->ring_size);
	if (lane->heads)
		weir_lane_memory_unmap((const uint8_t *)lane->heads, lane->head_lines * sizeof(*lane->heads), 0);
	lane->router = NULL;
	lane->heads = NULL;
}

static bool hello_send(struct lane *lane)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec part = { &lane->hello, sizeof(lane->hello) };
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &lane->memory.fd, sizeof(int));
	lane->transport.system_calls++;
	return sendmsg(lane->socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(lane->hello);
}

static int connect_to(struct lane *lane)
{
	lane->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (lane->socket < 0)
		return -errno;
	lane->transport.system_calls += 2;
	if (connect(lane->socket, (const struct sockaddr *)&lane->address, sizeof(lane->address)))
		return -errno;
	// The old router, should it still live, lost the right to expect anything here when its socket closed.
	memset(lane->page, 0, sizeof(*lane->page));
	memset(lane->staged, 0, sizeof(lane->staged));
	lane->sent = lane->taken = lane->read = 0;
	lane->is_blocked = lane->is_dozing = false;
	return hello_send(lane) ? 0 : -EAGAIN;
}

static void lane_connect(struct lane *lane, struct weir_core *core, uint64_t now_ns)
{
	int error = connect_to(lane);
	lane->transport.generation++;
	if (error) {
		lane->transport.error = error;
		lane_down(lane, core, now_ns);
		return;
	}
	lane->state = LANE_GREETING;
	lane->transport.due_ns = lane->retry_ns = now_ns + GREETING_NS;
}

#define FDS_MAX 8

// One message of `size` bytes with the descriptors that came with it. 0 when it is there, -EAGAIN not yet, else the lane
// is over.
static int message_take(struct lane *lane, void *to, size_t size, int fds[FDS_MAX], uint32_t *fd_count)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	struct iovec part = { to, size };
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.bytes),
	};
	*fd_count = 0;
	lane->transport.system_calls++;
	ssize_t got = recvmsg(lane->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : -errno;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		uint32_t count = (uint32_t)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (uint32_t i = 0; i < count && *fd_count < FDS_MAX; i++)
			memcpy(&fds[(*fd_count)++], CMSG_DATA(header) + i * sizeof(int), sizeof(int));
	}
	// The router writes a message at once: part of one is none.
	return (size_t)got == size ? 0 : -ECONNRESET;
}

static void fds_close(const int *fds, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		close(fds[i]);
}

static int welcome_use(struct lane *lane, const struct weir_lane_welcome *welcome, const int *fds)
{
	bool is_sane = welcome->ring_size >= WEIR_LANE_RING_MIN && welcome->ring_size <= RING_MAX &&
		       (welcome->ring_size & (welcome->ring_size - 1)) == 0 && welcome->heads >= WEIR_LANE_WORKER_LINES &&
		       welcome->heads <= HEADS_MAX && welcome->worker < WEIR_LANE_WORKER_LINES;
	if (!is_sane)
		return -EPROTO;
	const uint8_t *router = NULL;
	const uint8_t *heads = NULL;
	int error = weir_lane_memory_map(&router, fds[0], WEIR_LANE_RING_AT, welcome->ring_size);
	if (error)
		return error;
	error = weir_lane_memory_map(&heads, fds[1], welcome->heads * sizeof(struct weir_lane_head), 0);
	if (error) {
		weir_lane_memory_unmap(router, WEIR_LANE_RING_AT, welcome->ring_size);
		return error;
	}
	router_unmap(lane);
	lane->router = (const void *)router;
	lane->ring = router + WEIR_LANE_RING_AT;
	lane->ring_size = welcome->ring_size;
	lane->heads = (const void *)heads;
	lane->head_lines = welcome->heads;
	lane->worker = welcome->worker;
	lane->bell = fds[2];
	lane->worker_bell = fds[3];
	return 0;
}

static void greeting_poll(struct lane *lane, struct weir_core *core, uint64_t now_ns)
{
	struct weir_lane_welcome welcome;
	int fds[FDS_MAX];
	uint32_t count = 0;
	int error = message_take(lane, &welcome, sizeof(welcome), fds, &count);
	if (error == -EAGAIN && now_ns < lane->retry_ns)
		return;
	bool is_welcome = !error && welcome.magic == WEIR_LANE_MAGIC && welcome.version == WEIR_LANE_VERSION &&
			  welcome.error == 0 && count == 4;
	// Views of the session before lie in logs, never in the ring: the old mapping can go.
	if (!is_welcome || welcome_use(lane, &welcome, fds)) {
		fds_close(fds, count);
		lane_down(lane, core, now_ns);
		return;
	}
	close(fds[0]);
	close(fds[1]);
	lane->state = LANE_UP;
	lane->transport.generation++;
	lane->checked_ns = now_ns;
	weir_core_path_up(core, now_ns);
}

// Answers about logs, and whether the router is still there.
static void socket_poll(struct lane *lane, struct weir_core *core, uint64_t now_ns)
{
	int error = 0;
	lane->checked_ns = now_ns;
	while (!error) {
		struct weir_lane_log answer;
		int fds[FDS_MAX];
		uint32_t count = 0;
		error = message_take(lane, &answer, sizeof(answer), fds, &count);
		if (!error && answer.magic != WEIR_LANE_MAGIC)
			error = -EPROTO;
		if (!error)
			log_answer(lane, core, &answer, count ? fds[0] : -1, now_ns);
		fds_close(fds, count);
	}
	if (error != -EAGAIN)
		lane_down(lane, core, now_ns);
}

// ---- Way out ----

// The router sleeps and would not see what we wrote. The fence orders our stores before its word: it looks at them again
// between saying that it sleeps and sleeping.
static void nudge_now(struct lane *lane)
{
	lane->is_nudge_due = false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	const struct weir_lane_word *worker = (const void *)&lane->heads[lane->worker];
	if (__atomic_load_n(&worker->value, __ATOMIC_RELAXED) != 1)
		return;
	lane->transport.system_calls++;
	(void)!write(lane->worker_bell, &(uint64_t){ 1 }, sizeof(uint64_t));
}

static void nudge(struct weir_transport *transport)
{
	struct lane *lane = (struct lane *)transport;
	if (lane->state == LANE_UP && lane->is_nudge_due)
		nudge_now(lane);
}

static void taken_look(struct lane *lane)
{
	uint64_t taken = load_acquire(&lane->router->taken.value);
	// A number that cannot be is not believed: the lane stands still and its session's lease ends it.
	if (taken - lane->taken <= lane->sent - lane->taken)
		lane->taken = taken;
}

static bool is_taken(const void *context)
{
	const struct lane *lane = context;
	return lane->state != LANE_UP || load_acquire(&lane->router->taken.value) == lane->sent;
}

// Where the frame lies in the arena, after a copy if need be. UINT64_MAX: no room.
static uint64_t frame_place(struct lane *lane, const struct weir_datagram *datagram)
{
	uintptr_t at = (uintptr_t)datagram->data - (uintptr_t)lane->arena;
	if (at < lane->arena_size)
		return at;
	uint32_t slot = lane->stage_next;
	if (lane->staged[slot] > lane->taken)
		taken_look(lane);
	if (lane->staged[slot] > lane->taken || datagram->size > STAGE_SIZE)
		return UINT64_MAX;
	lane->stage_next = (slot + 1) % STAGE_SLOTS;
	lane->staged[slot] = lane->sent + 1;
	memcpy(lane->arena + (size_t)slot * STAGE_SIZE, datagram->data, datagram->size);
	return (uint64_t)slot * STAGE_SIZE;
}

static uint32_t lane_send(void *context, const struct weir_datagram *datagrams, uint32_t count)
{
	struct lane *lane = context;
	lane->is_blocked = false;
	if (lane->state != LANE_UP)
		return count; // like datagrams to an unreachable router: nobody gets them
	uint32_t done = 0;
	for (; done < count; done++) {
		if (lane->sent - lane->taken == FRAMES)
			taken_look(lane);
		uint64_t place = lane->sent - lane->taken < FRAMES ? frame_place(lane, &datagrams[done]) : UINT64_MAX;
		if (place == UINT64_MAX)
			break;
		lane->descriptors[lane->sent % FRAMES] = weir_lane_descriptor(place, (uint32_t)datagrams[done].size);
		lane->sent++;
	}
	lane->is_blocked = done < count;
	store_release(&lane->page->sent.value, lane->sent);
	nudge_now(lane);
	return done;
}

// ---- Way in ----

// false: the ring holds what cannot be.
static bool record_read(struct lane *lane, struct weir_core *core, uint64_t sent, uint64_t now_ns)
{
	const uint8_t *at = lane->ring + (lane->read & (lane->ring_size - 1));
	uint32_t size = __atomic_load_n((const uint32_t *)(const void *)at, __ATOMIC_RELAXED);
	uint64_t whole = weir_lane_record_size(size);
	if (size > WEIR_FRAME_MAX || whole > sent - lane->read)
		return false;
	weir_core_input(core, at + sizeof(struct weir_lane_record), size, now_ns);
	lane->read += whole;
	return true;
}

static int ring_receive(struct lane *lane, struct weir_core *core, uint64_t now_ns)
{
	uint64_t sent = load_acquire(&lane->router->sent.value);
	int count = 0;
	if (sent == lane->read)
		return 0;
	if (sent - lane->read > lane->ring_size) {
		lane_down(lane, core, now_ns);
		return 0;
	}
	for (; lane->read != sent && count < (int)RECEIVE_BURST; count++) {
		if (!record_read(lane, core, sent, now_ns)) {
			lane_down(lane, core, now_ns);
			return count;
		}
	}
	store_release(&lane->page->taken.value, lane->read);
	lane->is_nudge_due = true;
	return count;
}

static void bell_drain(struct lane *lane)
{
	char bytes[8];
	if (lane->bell < 0)
		return;
	do
		lane->transport.system_calls++;
	while (recv(lane->bell, bytes, sizeof(bytes), MSG_DONTWAIT) >= 0);
}

static void awake(struct weir_transport *transport)
{
	struct lane *lane = (struct lane *)transport;
	if (!lane->is_dozing)
		return;
	lane->is_dozing = false;
	store_release(&lane->page->asleep.value, 0);
	bell_drain(lane);
	lane->checked_ns = 0;
}

static int lane_receive(struct weir_transport *transport, struct weir_core *core, uint64_t now_ns)
{
	struct lane *lane = (struct lane *)transport;
	if (lane->state == LANE_DOWN && now_ns >= lane->retry_ns)
		lane_connect(lane, core, now_ns);
	if (lane->state == LANE_GREETING)
		greeting_poll(lane, core, now_ns);
	if (lane->state != LANE_UP)
		return 0;
	// No bell tells that there is room again.
	lane->transport.due_ns = lane->is_blocked ? now_ns + BLOCKED_NS : UINT64_MAX;
	if (lane->asked || now_ns - lane->checked_ns >= CHECK_NS)
		socket_poll(lane, core, now_ns);
	if (lane->state != LANE_UP)
		return 0;
	int count = ring_receive(lane, core, now_ns);
	return count == 0 && weir_core_has_places(core) ? 1 : count;
}

static uint32_t wait_on(struct weir_transport *transport, struct pollfd *fds)
{
	const struct lane *lane = (const struct lane *)transport;
	uint32_t count = 0;
	if (lane->socket >= 0)
		fds[count++] = (struct pollfd){ .fd = lane->socket, .events = POLLIN };
	if (lane->bell >= 0)
		fds[count++] = (struct pollfd){ .fd = lane->bell, .events = POLLIN };
	return count;
}

static bool doze(struct weir_transport *transport, const struct weir_core *core)
{
	struct lane *lane = (struct lane *)transport;
	if (lane->state != LANE_UP)
		return true;
	lane->is_dozing = true;
	__atomic_store_n(&lane->page->asleep.value, 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (load_acquire(&lane->router->sent.value) == lane->read && !weir_core_has_places(core))
		return true;
	awake(transport);
	return false;
}

static uint32_t too_large(struct weir_transport *transport)
{
	return 0;
}

// ---- Memory for frames ----

static uint8_t *frames_get(void *context, size_t size)
{
	struct lane *lane = context;
	size_t stage = (size_t)STAGE_SLOTS * STAGE_SIZE;
	size = (size + 63) & ~(size_t)63;
	if (size > lane->arena_size - stage - lane->frames_used)
		return NULL;
	uint8_t *frames = lane->arena + stage + lane->frames_used;
	lane->frames_used += size;
	return frames;
}

// Producers come and go like a stack at best; what was put below the top comes back when all is.
static void frames_put(void *context, uint8_t *frames, size_t size)
{
	struct lane *lane = context;
	size_t stage = (size_t)STAGE_SLOTS * STAGE_SIZE;
	size = (size + 63) & ~(size_t)63;
	if ((size_t)(frames - lane->arena) + size == stage + lane->frames_used)
		lane->frames_used -= size;
}

// ---- Open and close ----

static void lane_close(struct weir_transport *transport)
{
	struct lane *lane = (struct lane *)transport;
	if (lane->socket >= 0)
		close(lane->socket);
	bells_close(lane);
	while (lane->log_count)
		log_unmap(lane, &lane->logs[lane->log_count - 1]);
	router_unmap(lane);
	weir_lane_memory_free(&lane->memory);
	free(lane);
}

// The worker looks there when it looks for frames; it is not rung for, a thousandth of a second is soon enough.
static void keepalive(struct weir_transport *transport, uint64_t session, uint64_t sequence)
{
	struct weir_lane_sent *sent = &((struct lane *)transport)->page->sent;
	__atomic_store_n(&sent->working_session, session, __ATOMIC_RELAXED);
	__atomic_store_n(&sent->working, sequence, __ATOMIC_RELEASE);
}

static void tend(struct weir_transport *transport, struct weir_core *core, uint64_t now_ns)
{
}

static const struct weir_transport_ops OPS = {
	.tend = tend,
	.send = lane_send,
	.receive = lane_receive,
	.wait_on = wait_on,
	.doze = doze,
	.awake = awake,
	.too_large = too_large,
	.keepalive = keepalive,
	.nudge = nudge,
	.close = lane_close,
};

static int memory_make(struct lane *lane, const struct weir_options *options)
{
	uint64_t arena = options && options->lane_bytes ? options->lane_bytes : ARENA_DEFAULT;
	arena = arena < ARENA_LEAST ? ARENA_LEAST : arena > WEIR_LANE_ARENA_MAX ? WEIR_LANE_ARENA_MAX : arena;
	arena = weir_lane_page_up(arena);
	int error = weir_lane_memory_make(&lane->memory, weir_lane_arena_at(CURSORS, FRAMES) + arena);
	if (error)
		return error;
	lane->page = (void *)lane->memory.base;
	lane->descriptors = (void *)(lane->memory.base + weir_lane_descriptors_at(CURSORS));
	lane->arena = lane->memory.base + weir_lane_arena_at(CURSORS, FRAMES);
	lane->arena_size = arena;
	lane->hello = (struct weir_lane_hello){
		.magic = WEIR_LANE_MAGIC,
		.version = WEIR_LANE_VERSION,
		.cursors = CURSORS,
		.frames = FRAMES,
		.arena_size = arena,
	};
	if (options && options->name)
		strncpy(lane->hello.name, options->name, sizeof(lane->hello.name) - 1);
	return 0;
}

int weir_lane_open(struct weir_transport **transport, const char *address, const struct weir_options *options)
{
	const char *path = address + strlen("unix:");
	// "unix:///run/weir/weir.lanes.sock" means the same.
	if (strncmp(path, "//", 2) == 0)
		path += 2;
	if (strncmp(address, "unix:", 5) != 0 || *path != '/' || strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return -EINVAL;
	struct lane *lane = calloc(1, sizeof(*lane));
	if (!lane)
		return -ENOMEM;
	lane->socket = lane->bell = lane->worker_bell = -1;
	lane->memory.fd = -1;
	lane->random = (uintptr_t)lane ^ (uint64_t)getpid() << 32;
	lane->address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	strcpy(lane->address.sun_path, path);
	if (access(path, F_OK) == 0 && access(path, R_OK | W_OK) && errno == EACCES) {
		free(lane);
		return -EACCES;
	}
	int error = memory_make(lane, options);
	if (error) {
		free(lane);
		return error;
	}
	lane->local = (struct weir_core_local){
		.context = lane,
		.frames_get = frames_get,
		.frames_put = frames_put,
		.is_taken = is_taken,
		.log_get = log_get,
		.log_put = log_put,
		.logs_release = logs_release,
		.cursors = (void *)(lane->memory.base + weir_lane_cursors_at()),
		.cursor_count = CURSORS,
	};
	lane->transport = (struct weir_transport){
		.ops = &OPS, .local = &lane->local, .frame_size = WEIR_LANE_FRAME_DEFAULT, .due_ns = 0,
	};
	*transport = &lane->transport;
	return 0;
}
