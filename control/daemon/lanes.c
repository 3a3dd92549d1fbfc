// Connections that become lanes. Each is a small state: waiting for the hello with the client's memory, then a lane that may
// ask for logs. Everything a client sends is bounded: one hello, one ask at a time, one descriptor, which is kept when it is a
// memory file and closed elsewhere when it is not, for that may take any time.
#include "control/daemon/lanes.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "control/daemon/exchange.h"
#include "control/daemon/say.h"
#include "dataplane/io/lane.h"
#include "lib/clock.h"
#include "wire/lane.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

#define EVENTS 64           // of one call
#define ASK_WAIT_MS 300u    // rows of the ledger lag behind decisions: so long an ask may come before its assignment
#define ASK_AGAIN_MS 2      // between two looks at the rows
#define IS_PROCESS 1u       // in an epoll event, beside the connection's number
#define IS_LISTENER UINT64_MAX
#define DEAF_MS 100u        // the listener is left alone when the router has no descriptor, or no close(), for who knocks
#define WELCOME_FDS 4u
#define PIN_TOLD_NS 1000000000u // what is pinned for longer is not let go by the next turn of its client
#define RECEIVED_FDS 253u   // the kernel lets no more come with a message

struct connection {
	int fd;       // -1: free
	int process;  // pidfd, -1: not known
	int memory;   // came with the hello, -1: not yet
	struct weir_lane_owner owner;
	uint32_t uid; // owner's
	bool is_pin_told;
	bool is_ended; // its process, for what it kept
	struct weir_lane *lane; // NULL: no hello so far
	union {
		struct weir_lane_hello hello;
		struct weir_lane_ask ask;
	} in;
	size_t got;   // bytes of it
	uint64_t deadline_ms; // of the hello, or of the ask that waits
	bool is_waiting; // an ask is whole and has no answer yet
	bool is_over;
};

struct weir_lanes {
	struct weir_router *router;
	struct weir_reaper *reaper;
	struct weir_lane_table *table;
	int epoll;
	int listener; // -1: none
	struct connection *connections; // [room]
	uint32_t room;
	uint32_t greeting; // connections without lane
	uint64_t deaf_ms;  // until then the listener is left alone; 0: it is heard
};

int weir_lanes_create(struct weir_lanes **out, struct weir_router *router, struct weir_reaper *reaper,
		      struct weir_trouble *trouble)
{
	struct weir_lanes *lanes = calloc(1, sizeof(*lanes));

	weir_trouble_set(trouble, "lanes", "take connections for them", "free some memory, or raise the limit of open files",
			 "out of memory or descriptors");
	if (!lanes)
		return -ENOMEM;
	lanes->router = router;
	lanes->reaper = reaper;
	lanes->table = weir_dataplane_lanes(router->dataplane);
	lanes->room = (lanes->table ? weir_lane_table_room(lanes->table) : 0) + WEIR_LANES_GREETING_MAX;
	lanes->connections = calloc(lanes->room, sizeof(*lanes->connections));
	lanes->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!lanes->connections || lanes->epoll < 0) {
		int err = lanes->connections ? -errno : -ENOMEM;

		if (lanes->epoll >= 0)
			close(lanes->epoll);
		free(lanes->connections);
		free(lanes);
		return err;
	}
	for (uint32_t i = 0; i < lanes->room; i++)
		lanes->connections[i].fd = -1;
	lanes->listener = -1;
	*out = lanes;
	return 0;
}

static void close_all(const struct weir_lanes *lanes, struct connection *connection)
{
	weir_local_close(lanes->reaper, connection->uid, connection->fd);
	if (connection->process >= 0)
		close(connection->process);
	if (connection->memory >= 0)
		close(connection->memory);
	*connection = (struct connection){ .fd = -1 };
}

void weir_lanes_destroy(struct weir_lanes *lanes)
{
	if (!lanes)
		return;
	for (uint32_t i = 0; i < lanes->room; i++) {
		if (lanes->connections[i].fd >= 0)
			close_all(lanes, &lanes->connections[i]);
	}
	close(lanes->epoll);
	free(lanes->connections);
	free(lanes);
}

int weir_lanes_fd(const struct weir_lanes *lanes)
{
	return lanes->epoll;
}

// ---- What is sent ----

// All of it at once, or the client is not worth waiting for. Descriptors stay ours.
static bool send_with(int fd, const void *bytes, size_t size, const int *fds, uint32_t count)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(WELCOME_FDS * sizeof(int))];
	} control = { 0 };
	struct iovec part = { (void *)(uintptr_t)bytes, size };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	if (count) {
		struct cmsghdr *header;

		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(header), fds, count * sizeof(int));
	}
	return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size;
}

static void refuse(int fd, int error, const char *reason, const char *fix)
{
	struct weir_lane_welcome welcome = { .magic = WEIR_LANE_MAGIC, .version = WEIR_LANE_VERSION, .error = error };

	if (snprintf(welcome.text, sizeof(welcome.text), "%s. %s", reason, fix) < 0)
		welcome.text[0] = '\0'; // what does not fit is cut: the reason comes first
	send_with(fd, &welcome, sizeof(welcome), NULL, 0);
}

// ---- Beginning ----

// What the process calls itself; empty where it cannot be seen.
static void name_program(struct weir_lane_owner *owner)
{
	char path[48];
	ssize_t size;
	int fd;

	snprintf(path, sizeof(path), "/proc/%lld/comm", (long long)owner->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	size = read(fd, owner->program, sizeof(owner->program) - 1);
	close(fd);
	for (ssize_t i = 0; i < size; i++) {
		if (owner->program[i] <= ' ' || owner->program[i] > '~')
			owner->program[i] = i + 1 == size ? 0 : '?';
	}
}

// Tells of the process's death even when a child keeps its socket. Without it (older kernel, another pid namespace) the
// socket has to do.
static int process_of(int fd, struct weir_lane_owner *owner)
{
	struct ucred peer = { 0 };
	socklen_t size = sizeof(peer);
	int process = -1;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) {
		owner->pid = peer.pid;
		owner->uid = peer.uid;
		name_program(owner);
	}
	size = sizeof(process);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &process, &size) == 0)
		return process;
	return peer.pid > 0 ? (int)syscall(SYS_pidfd_open, peer.pid, 0) : -1;
}

static bool watch(struct weir_lanes *lanes, int fd, uint64_t what)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = what };

	return epoll_ctl(lanes->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

int weir_lanes_listen(struct weir_lanes *lanes, int fd)
{
	lanes->listener = fd;
	return watch(lanes, fd, IS_LISTENER) ? 0 : -errno;
}

static uint32_t greetings_of(const struct weir_lanes *lanes, uint32_t uid)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < lanes->room; i++)
		count += lanes->connections[i].fd >= 0 && !lanes->connections[i].lane && lanes->connections[i].uid == uid;
	return count;
}

void weir_lanes_take(struct weir_lanes *lanes, int fd)
{
	struct connection *connection = lanes->connections;
	uint32_t uid = weir_local_uid(fd);
	uint64_t number = 0;

	if (!lanes->table) {
		refuse(fd, -EOPNOTSUPP, "this router has no lanes",
		       "Set `lanes: {per_worker: 256}` in its topology and restart it");
		weir_local_close(lanes->reaper, uid, fd);
		return;
	}
	if (weir_reaper_is_busy(lanes->reaper, uid)) {
		refuse(fd, -EBUSY, "a descriptor that your user sent instead of memory is still being closed",
		       "End the process that sent it, or what its file system waits for");
		weir_local_close(lanes->reaper, uid, fd);
		return;
	}
	while (number < lanes->room && connection->fd >= 0) {
		number++;
		connection++;
	}
	if (number == lanes->room || lanes->greeting == WEIR_LANES_GREETING_MAX ||
	    greetings_of(lanes, uid) >= WEIR_LANES_GREETING_USER) {
		refuse(fd, -EBUSY, "too many clients are saying hello at once", "Try again");
		weir_local_close(lanes->reaper, uid, fd);
		return;
	}
	*connection = (struct connection){ .fd = fd, .process = -1, .memory = -1, .uid = uid };
	connection->process = process_of(fd, &connection->owner);
	connection->deadline_ms = lib_clock_ms() + WEIR_LANES_GREETING_MS;
	if (!watch(lanes, fd, number << 1) ||
	    (connection->process >= 0 && !watch(lanes, connection->process, number << 1 | IS_PROCESS))) {
		refuse(fd, -errno, "the router can watch no more clients", "Raise /proc/sys/fs/epoll/max_user_watches");
		close_all(lanes, connection);
		return;
	}
	lanes->greeting++;
}

// Keeps the descriptor when it is what the hello may bring: one, of a memory file, which alone knows seals and whose close()
// waits for nobody. Whatever else came is for the reaper.
static bool keep_memory(const struct weir_lanes *lanes, struct connection *connection, const int *fds, uint32_t count,
			bool is_cut)
{
	bool is_one = count == 1 && !is_cut && connection->memory < 0;

	if (is_one && fcntl(fds[0], F_GET_SEALS) >= 0) {
		connection->memory = fds[0];
		return true;
	}
	weir_reaper_close(lanes->reaper, connection->uid, fds, count);
	if (is_one)
		refuse(connection->fd, -EPROTO, "the descriptor is no memfd that allows seals",
		       "Send one made with MFD_ALLOW_SEALING");
	else
		refuse(connection->fd, -EPROTO, "the hello came with more than one descriptor, or the router has none to spare",
		       "Send one, or raise the router's limit of open files");
	return false;
}

// There is room for as many descriptors as can come: what the kernel found no room for it would close here and now.
static ssize_t receive_hello(const struct weir_lanes *lanes, struct connection *connection)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(RECEIVED_FDS * sizeof(int))];
	} control;
	struct iovec part = { (char *)&connection->in.hello + connection->got, sizeof(connection->in.hello) - connection->got };
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.bytes),
	};
	ssize_t got = recvmsg(connection->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	bool is_cut = message.msg_flags & MSG_CTRUNC;
	int fds[RECEIVED_FDS];
	uint32_t count = 0;

	if (got <= 0)
		return got;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		count = (uint32_t)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(header), count * sizeof(int));
	}
	if ((count || is_cut) && !keep_memory(lanes, connection, fds, count, is_cut))
		return 0;
	return got;
}

// What the user's lanes keep in memory, and how many they are. Locked memory is taken from everybody.
static bool has_share(const struct weir_lanes *lanes, const struct connection *connection, char reason[128])
{
	const struct weir_topology *topology = lanes->router->topology;
	const struct weir_lane_hello *hello = &connection->in.hello;
	uint32_t room = weir_lane_table_room(lanes->table);
	uint32_t most = topology->lanes_per_user ? topology->lanes_per_user : (room + 1) / 2;
	uint64_t machine_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t most_bytes = topology->lanes_memory_per_user ? topology->lanes_memory_per_user : machine_bytes / 4;
	uint64_t bytes = hello->arena_size;
	uint32_t count = 0;

	for (uint32_t i = 0; i < lanes->room; i++) {
		const struct connection *other = &lanes->connections[i];

		if (other->fd < 0 || !other->lane || other->uid != connection->uid)
			continue;
		count++;
		bytes += weir_lane_bytes(other->lane);
	}
	if (count >= most)
		snprintf(reason, 128, "user %u has %u lanes, its share", (unsigned)connection->uid, (unsigned)count);
	else if (bytes > most_bytes)
		snprintf(reason, 128, "user %u would have %llu MiB in lanes, its share is %llu", (unsigned)connection->uid,
			 (unsigned long long)bytes >> 20, (unsigned long long)most_bytes >> 20);
	return count < most && bytes <= most_bytes;
}

static bool welcome(struct weir_lanes *lanes, struct connection *connection)
{
	const struct weir_lane_request request = {
		.hello = &connection->in.hello, .memory = connection->memory, .owner = connection->owner,
	};
	struct weir_lane_welcome welcome = { .magic = WEIR_LANE_MAGIC, .version = WEIR_LANE_VERSION };
	struct weir_lane_grant grant;
	struct weir_fault fault = { 0 };
	struct weir_lane *lane;
	char reason[128];
	bool is_sent;
	int err;

	if (connection->memory < 0) {
		refuse(connection->fd, -EPROTO, "the hello came without the client's memory", "Send its descriptor along");
		return false;
	}
	if (!has_share(lanes, connection, reason)) {
		refuse(connection->fd, -EDQUOT, reason,
		       "End some of its clients, give them smaller arenas, or raise `lanes: {per_user, memory_per_user}`");
		return false;
	}
	err = weir_lane_create(&lane, lanes->table, &request, &grant, &fault);
	if (err) {
		refuse(connection->fd, err, fault.reason, fault.fix);
		return false;
	}
	close(connection->memory);
	connection->memory = -1;
	connection->lane = lane;
	connection->got = 0;
	lanes->greeting--;
	weir_lane_attach(lanes->table, lane);
	weir_local_refuse_descriptors(connection->fd);
	welcome.lane = lane->number;
	welcome.ring_size = lane->ring_size;
	welcome.heads = grant.heads;
	welcome.worker = lane->worker;
	is_sent = send_with(connection->fd, &welcome, sizeof(welcome),
			    (const int[]){ grant.router, grant.heads_memory, grant.bell, lane->bell }, WELCOME_FDS);
	close(grant.router);
	close(grant.bell);
	return is_sent;
}

// ---- Logs ----

static struct weir_router_topic *topic_of(const struct weir_lanes *lanes, uint32_t id)
{
	for (uint32_t t = 0; t < lanes->router->topic_count; t++) {
		if (lanes->router->topics[t]->spec.id.value == id)
			return lanes->router->topics[t];
	}
	return NULL;
}

// Whether a session of the lane is the shard's member in a group whose events wait for it.
static bool may_read(const struct weir_lane *lane, const struct weir_router_topic *topic, uint16_t shard)
{
	struct weir_group_row row;

	if (topic->spec.policy != WEIR_POLICY_BLOCK)
		return false;
	for (uint32_t g = 0; g < topic->group_count; g++) {
		if (topic->groups[g]->spec.kind == WEIR_GROUP_HOLD &&
		    weir_row_read(&row, topic->groups[g]->rows[shard], sizeof(row)) == 0 &&
		    row.member_lane == lane->number)
			return true;
	}
	return false;
}

// false: cut the client off.
static bool answer(struct weir_lanes *lanes, struct connection *connection, uint64_t time_ms)
{
	const struct weir_lane_ask *ask = &connection->in.ask;
	const struct weir_router_topic *topic = topic_of(lanes, ask->topic);
	struct weir_lane_log log = {
		.magic = WEIR_LANE_MAGIC, .incarnation = ask->incarnation, .topic = ask->topic, .shard = ask->shard,
		.error = -ENOENT,
	};
	const struct weir_router_log *known = topic && ask->shard < topic->spec.shards ? &topic->logs[ask->shard] : NULL;
	int fd = -1;

	if (known && known->incarnation == ask->incarnation && known->head) {
		bool is_member = may_read(connection->lane, topic, ask->shard);

		if (!is_member && time_ms < connection->deadline_ms)
			return true;
		log.error = is_member ? weir_lane_seal(known->memory) : -EACCES;
		log.size = topic->spec.log_bytes;
		log.head = weir_lane_head_line(lanes->table, known->head);
		fd = log.error ? -1 : known->memory;
	}
	connection->is_waiting = false;
	connection->got = 0;
	return send_with(connection->fd, &log, sizeof(log), &fd, fd >= 0);
}

static bool receive_ask(struct weir_lanes *lanes, struct connection *connection)
{
	ssize_t got = weir_local_receive(connection->fd, (char *)&connection->in.ask + connection->got,
					 sizeof(connection->in.ask) - connection->got);

	if (got <= 0)
		return got < 0 && (errno == EAGAIN || errno == EINTR);
	connection->got += (size_t)got;
	if (connection->got < sizeof(connection->in.ask))
		return true;
	if (connection->in.ask.magic != WEIR_LANE_MAGIC)
		return false;
	connection->is_waiting = true;
	connection->deadline_ms = lib_clock_ms() + ASK_WAIT_MS;
	return answer(lanes, connection, connection->deadline_ms - ASK_WAIT_MS);
}

// ---- End ----

// All that are over go together: one round of commands, however many died at once.
static void end_lanes(struct weir_lanes *lanes)
{
	struct weir_exchange exchange;
	uint16_t workers = (uint16_t)lanes->router->topology->worker_count;
	uint32_t failed;
	int err = 0;

	weir_exchange_init(&exchange, &lanes->router->requests);
	for (uint32_t i = 0; i < lanes->room; i++) {
		struct connection *connection = &lanes->connections[i];

		if (connection->fd < 0 || !connection->is_over || !connection->lane)
			continue;
		weir_lane_detach(lanes->table, connection->lane);
		for (uint16_t w = 0; w < workers && err >= 0; w++)
			err = weir_exchange_add(&exchange, w,
						&(struct weir_message){ .kind = WEIR_MESSAGE_LANE_GONE,
									.value = connection->lane->number,
									.pointer = &connection->lane->path });
	}
	if (exchange.count && err >= 0)
		err = weir_exchange_run(&exchange, &failed);
	if (err < 0)
		weir_say(WEIR_SAY_ERROR,
			 "lanes: cannot end those of clients that are gone: %s. Their memory stays; restart weir",
			 strerror(-err));
	weir_exchange_fini(&exchange);
	for (uint32_t i = 0; i < lanes->room; i++) {
		struct connection *connection = &lanes->connections[i];

		if (connection->fd < 0 || !connection->is_over)
			continue;
		if (!connection->lane)
			lanes->greeting--;
		else if (err >= 0)
			weir_lane_destroy(lanes->table, connection->lane);
		close_all(lanes, connection);
	}
}

// ---- The loop ----

// false: the connection is over.
static bool serve(struct weir_lanes *lanes, struct connection *connection)
{
	ssize_t got;

	if (connection->is_waiting)
		return true;
	if (connection->lane)
		return receive_ask(lanes, connection);
	got = receive_hello(lanes, connection);
	if (got <= 0)
		return got < 0 && (errno == EAGAIN || errno == EINTR);
	connection->got += (size_t)got;
	return connection->got < sizeof(connection->in.hello) || welcome(lanes, connection);
}

static void quiet(const struct weir_lanes *lanes, const struct connection *connection, bool is_quiet)
{
	struct epoll_event event = { .events = is_quiet ? 0 : EPOLLIN,
				     .data.u64 = (uint64_t)(connection - lanes->connections) << 1 };

	epoll_ctl(lanes->epoll, EPOLL_CTL_MOD, connection->fd, &event);
}

static void listen_for(struct weir_lanes *lanes, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.u64 = IS_LISTENER };

	epoll_ctl(lanes->epoll, EPOLL_CTL_MOD, lanes->listener, &event);
}

static void take_some(struct weir_lanes *lanes)
{
	for (uint32_t i = 0; i < WEIR_LANES_GREETING_MAX; i++) {
		bool may_close = weir_reaper_has_room(lanes->reaper);
		int fd = may_close ? accept4(lanes->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : -1;

		if (fd >= 0) {
			weir_lanes_take(lanes, fd);
		} else if (!may_close || errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			// They go on knocking: hearing them all the time would leave no time for anything else.
			lanes->deaf_ms = lib_clock_ms() + DEAF_MS;
			listen_for(lanes, 0);
			return;
		} else if (errno == EAGAIN) {
			return;
		}
	}
}

static void hear(struct weir_lanes *lanes, const struct epoll_event *event)
{
	struct connection *connection;

	if (event->data.u64 == IS_LISTENER) {
		take_some(lanes);
		return;
	}
	connection = &lanes->connections[event->data.u64 >> 1];
	if (connection->fd < 0 || connection->is_over)
		return;
	if ((event->data.u64 & IS_PROCESS) || (event->events & (EPOLLHUP | EPOLLERR)) || !serve(lanes, connection))
		connection->is_over = true;
	else if (connection->is_waiting)
		quiet(lanes, connection, true);
}

// What time brings: hellos that did not come, asks whose rows may have come. How long until the next look.
static int look(struct weir_lanes *lanes, bool *has_ended)
{
	uint64_t time_ms = lib_clock_ms();
	int wait_ms = -1;

	if (lanes->deaf_ms && time_ms >= lanes->deaf_ms) {
		lanes->deaf_ms = 0;
		listen_for(lanes, EPOLLIN);
	}
	if (lanes->deaf_ms)
		wait_ms = DEAF_MS;
	for (uint32_t i = 0; i < lanes->room; i++) {
		struct connection *connection = &lanes->connections[i];

		if (connection->fd < 0)
			continue;
		if (connection->is_waiting && !connection->is_over) {
			connection->is_over = !answer(lanes, connection, time_ms);
			if (connection->is_waiting)
				wait_ms = ASK_AGAIN_MS; // the shortest there is
			else
				quiet(lanes, connection, false);
		} else if (!connection->lane && time_ms >= connection->deadline_ms) {
			refuse(connection->fd, -ETIMEDOUT, "the hello did not come in time", "Send it with the connection");
			connection->is_over = true;
		} else if (!connection->lane && wait_ms < 0) {
			wait_ms = WEIR_LANES_GREETING_MS / 4;
		}
		*has_ended |= connection->is_over;
	}
	return wait_ms;
}

// ---- Pins ----

static struct connection *connection_of(struct weir_lanes *lanes, uint64_t lane)
{
	for (uint32_t i = 0; i < lanes->room; i++) {
		if (lanes->connections[i].lane && lanes->connections[i].lane->number == lane)
			return &lanes->connections[i];
	}
	return NULL;
}

bool weir_lanes_pin_text(struct weir_lanes_text *text, const struct weir_lane *lane, const char *topic, uint32_t shard,
			 const struct weir_shard_row *row, uint64_t time_ns)
{
	const struct weir_lane_owner *owner = &lane->owner;

	if (time_ns < row->pin_since_ns + PIN_TOLD_NS)
		return false;
	snprintf(text->bytes, sizeof(text->bytes),
		 "lane %llu: process %lld (%s, uid %u) has not let go of %llu KiB of topic %s, shard %u, that it may "
		 "still read, for %llu s. Fix: `kill -CONT %lld` if it is stopped, else `kill -KILL %lld`",
		 (unsigned long long)lane->number, (long long)owner->pid, owner->program[0] ? owner->program : "unknown",
		 (unsigned)owner->uid, (unsigned long long)row->pin_bytes / 1024, topic, (unsigned)shard,
		 (unsigned long long)((time_ns - row->pin_since_ns) / 1000000000u), (long long)owner->pid,
		 (long long)owner->pid);
	return true;
}

// It lets go when it is dead, which its pidfd tells: until then it may be reading.
static void end_process(struct connection *connection, const char *topic)
{
	bool is_killed = syscall(SYS_pidfd_send_signal, connection->process, SIGKILL, NULL, 0) == 0;

	weir_say(WEIR_SAY_WARNING, "lane %llu: process %lld (%s) kept events of topic %s for longer than lanes.pin_timeout: %s",
		 (unsigned long long)connection->lane->number, (long long)connection->owner.pid, connection->owner.program,
		 topic, is_killed ? "it was killed" : strerror(errno));
	connection->is_ended = true;
}

static void look_at_pin(struct weir_lanes *lanes, const struct weir_router_topic *topic, uint32_t shard, uint64_t time_ns)
{
	uint64_t timeout_ns = lanes->router->topology->pin_timeout_ns;
	struct connection *connection;
	struct weir_lanes_text text;
	struct weir_shard_row row;

	if (weir_row_read(&row, topic->rows[shard], sizeof(row)) != 0 || row.pin_lane == 0)
		return;
	connection = connection_of(lanes, row.pin_lane);
	if (!connection)
		return;
	if (!connection->is_pin_told &&
	    weir_lanes_pin_text(&text, connection->lane, topic->spec.name, shard, &row, time_ns)) {
		weir_say(WEIR_SAY_WARNING, "%s", text.bytes);
		connection->is_pin_told = true;
	}
	if (timeout_ns && time_ns >= row.pin_since_ns + timeout_ns && connection->process >= 0 && !connection->is_ended)
		end_process(connection, topic->spec.name);
}

void weir_lanes_watch_pins(struct weir_lanes *lanes, uint64_t time_ns)
{
	for (uint32_t t = 0; t < lanes->router->topic_count; t++) {
		const struct weir_router_topic *topic = lanes->router->topics[t];

		for (uint32_t shard = 0; shard < topic->spec.shards; shard++) {
			if (__atomic_load_n(&topic->rows[shard]->pins, __ATOMIC_RELAXED))
				look_at_pin(lanes, topic, shard, time_ns);
		}
	}
}

// ---- A turn ----

int weir_lanes_run(struct weir_lanes *lanes)
{
	struct epoll_event events[EVENTS];
	int count = epoll_wait(lanes->epoll, events, EVENTS, 0);
	bool has_ended = false;
	int wait_ms;

	for (int i = 0; i < count; i++)
		hear(lanes, &events[i]);
	wait_ms = look(lanes, &has_ended);
	if (has_ended)
		end_lanes(lanes);
	return wait_ms;
}
