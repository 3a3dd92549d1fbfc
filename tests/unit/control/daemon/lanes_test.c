// Lanes from the first byte on the socket to the last on the client's side, with a running router: who gets one, what comes
// with it, who may read which log, and how it ends. The client is one by hand (tests/support/raw_lane.h).
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "control/daemon/config.h"
#include "control/daemon/lanes.h"
#include "control/daemon/machine.h"
#include "control/daemon/listener.h"
#include "dataplane/io/lane.h"
#include "tests/support/lingering.h"
#include "tests/support/raw_lane.h"
#include "wire/key.h"
#include "wire/reason.h"

#define ARENA (256u << 10)
#define FRAMES 256u
#define CURSORS 16u
#define EVENT_SIZE 64u

struct fixture {
	struct weir_router *router;
	struct weir_reaper *reaper;
	struct weir_lanes *lanes;
	char counters[64];
	char path[64];
	struct weir_listener listener;
	uint64_t nonce;
};

static const char TOPOLOGY[] = "hugepages: off\nworkers: [{core: auto}, {core: auto}]\n"
			       "ports: [{name: p, kind: kernel, address: 127.%d.%d.2, udp_port: 29347}]\n"
			       "lanes: {per_worker: 2, per_user: 5}\n"
			       "topics:\n"
			       "  - {name: block, shards: 2, log: 64KiB, event_max: 4KiB, groups: [{name: hold, kind: hold}, "
			       "{name: follow, kind: follow}]}\n"
			       "  - {name: drop, policy: drop-old, log: 64KiB, event_max: 4KiB, "
			       "groups: [{name: hold, kind: hold}]}\n";

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void begin(struct fixture *fixture)
{
	struct weir_router_options options = { .counters_path = fixture->counters };
	struct weir_trouble trouble;
	struct weir_topology *topology;
	struct weir_machine *machine;
	char text[1024];

	memset(fixture, 0, sizeof(*fixture));
	snprintf(fixture->counters, sizeof(fixture->counters), "/tmp/weir-lanes-%d.counters", (int)getpid());
	snprintf(fixture->path, sizeof(fixture->path), "/tmp/weir-lanes-%d.sock", (int)getpid());
	snprintf(text, sizeof(text), TOPOLOGY, (getpid() >> 8 & 127) + 100, getpid() & 255);
	cr_assert_eq(weir_config_parse(&topology, text, strlen(text), &trouble), 0, "%s", trouble.reason);
	cr_assert_eq(weir_machine_detect(&machine), 0);
	cr_assert_eq(weir_router_start(&fixture->router, machine, topology, &options, &trouble), 0, "%s: %s: %s",
		     trouble.object, trouble.action, trouble.reason);
	cr_assert_eq(weir_reaper_create(&fixture->reaper, &trouble), 0);
	cr_assert_eq(weir_lanes_create(&fixture->lanes, fixture->router, fixture->reaper, &trouble), 0, "%s", trouble.reason);
	cr_assert_eq(weir_listener_open(&fixture->listener, fixture->path, 0600, 64, &trouble), 0, "%s", trouble.reason);
	cr_assert_eq(weir_lanes_listen(fixture->lanes, fixture->listener.fd), 0);
}

static void end(struct fixture *fixture)
{
	weir_router_stop(fixture->router);
	weir_lanes_destroy(fixture->lanes);
	weir_reaper_destroy(fixture->reaper);
	weir_listener_close(&fixture->listener);
}

static void run(struct fixture *fixture, uint32_t milliseconds)
{
	struct pollfd wait = { .fd = weir_lanes_fd(fixture->lanes), .events = POLLIN };

	for (uint64_t until = now_ms() + milliseconds; now_ms() < until;) {
		poll(&wait, 1, 1);
		weir_lanes_run(fixture->lanes);
	}
}

static uint32_t lanes_now(const struct fixture *fixture)
{
	const struct weir_lane_table *table = weir_dataplane_lanes(fixture->router->dataplane);
	uint32_t count = 0;

	for (uint32_t i = 0; i < weir_lane_table_room(table); i++)
		count += weir_lane_table_at(table, i) != NULL;
	return count;
}

static void wait_lanes(struct fixture *fixture, uint32_t count)
{
	for (uint64_t until = now_ms() + 5000; lanes_now(fixture) != count;) {
		cr_assert_lt(now_ms(), until, "%u lanes, expected %u", lanes_now(fixture), count);
		run(fixture, 2);
	}
}

static uint32_t descriptors_now(void)
{
	DIR *folder = opendir("/proc/self/fd");
	uint32_t count = 0;

	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static int connect_to(const struct fixture *fixture)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = 5 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", fixture->path);
	cr_assert_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

// Until the router has said something, or hung up.
static void wait_answer(struct fixture *fixture, int fd)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };

	for (uint64_t until = now_ms() + 5000; poll(&wait, 1, 0) == 0 && now_ms() < until;)
		run(fixture, 1);
}

static void make(struct raw_lane *raw)
{
	cr_assert(raw_lane_make(raw, CURSORS, FRAMES, ARENA, 0));
	cr_assert(raw_lane_seal(raw, RAW_LANE_SEALS));
}

static int open_lane(struct fixture *fixture, struct raw_lane *raw)
{
	struct weir_lane_welcome welcome;
	int fd = connect_to(fixture);

	make(raw);
	cr_assert(raw_lane_hello(raw, fd, 1));
	wait_answer(fixture, fd);
	cr_assert(raw_lane_welcome(raw, fd, &welcome), "%d: %s", welcome.error, welcome.text);
	cr_assert_eq(welcome.heads, WEIR_LANE_WORKER_LINES + WEIR_ROUTER_SHARDS_MAX);
	return fd;
}

// ---- Frames by hand ----

struct talk {
	struct fixture *fixture;
	struct raw_lane *raw;
	uint64_t session;
};

static const struct weir_frame_header *hear(struct talk *talk, enum weir_kind kind)
{
	uint32_t size;

	for (uint64_t until = now_ms() + 5000; now_ms() < until;) {
		const struct weir_frame_header *frame = raw_lane_next(talk->raw, &size);

		if (!frame) {
			run(talk->fixture, 1);
			continue;
		}
		cr_assert_eq(weir_frame_check(frame, size, false, true, NULL), WEIR_R_NONE);
		if (frame->kind == kind)
			return frame;
	}
	cr_assert_fail("no frame of kind %d came", kind);
	return NULL;
}

static void say(struct talk *talk, struct weir_frame_header header, const void *body, size_t length)
{
	header.session = talk->session;
	raw_lane_send(talk->raw, header, body, (uint16_t)length);
}

static void begin_session(struct talk *talk, struct fixture *fixture, struct raw_lane *raw)
{
	struct {
		struct weir_hello hello;
		uint8_t padding[WEIR_FRAME_DEFAULT - sizeof(struct weir_frame_header) - sizeof(struct weir_hello)];
	} body = { .hello = { .nonce = ++fixture->nonce, .producer = fixture->nonce, .frame_size = WEIR_FRAME_DEFAULT,
			      .receive_buffer = 1 << 20, .versions = { WEIR_VERSION } } };
	const struct weir_frame_header *frame = NULL;
	uint32_t size;

	*talk = (struct talk){ .fixture = fixture, .raw = raw };
	say(talk, (struct weir_frame_header){ .kind = WEIR_KIND_HELLO }, &body, sizeof(body));
	while (!frame) {
		frame = raw_lane_next(raw, &size);
		if (frame && frame->kind == WEIR_KIND_CHALLENGE) {
			body.hello.cookie = ((const struct weir_challenge *)(const void *)(frame + 1))->cookie;
			say(talk, (struct weir_frame_header){ .kind = WEIR_KIND_HELLO }, &body, sizeof(body));
			frame = NULL;
		}
		run(fixture, 1);
	}
	cr_assert_eq(frame->kind, WEIR_KIND_WELCOME);
	talk->session = ((const struct weir_welcome *)(const void *)(frame + 1))->session;
}

static uint32_t topic_id(struct talk *talk, const char *name)
{
	struct weir_metadata_ask ask = { .request = 1 };

	memcpy(ask.topic, name, strlen(name));
	say(talk, (struct weir_frame_header){ .kind = WEIR_KIND_METADATA }, &ask, sizeof(ask));
	return hear(talk, WEIR_KIND_TOPIC)->topic;
}

static void join(struct talk *talk, const char *topic, const char *group)
{
	static uint64_t asked;
	struct weir_join ask = { .request = ++asked };

	memcpy(ask.topic, topic, strlen(topic));
	memcpy(ask.group, group, strlen(group));
	say(talk, (struct weir_frame_header){ .kind = WEIR_KIND_JOIN }, &ask, sizeof(ask));
	hear(talk, WEIR_KIND_JOINED);
}

static int ask_log(struct fixture *fixture, int fd, uint32_t topic, uint16_t shard, uint64_t incarnation,
		   struct weir_lane_log *log)
{
	struct weir_lane_ask ask = { .magic = WEIR_LANE_MAGIC, .incarnation = incarnation, .topic = topic, .shard = shard };
	int fds[4] = { -1, -1, -1, -1 };

	cr_assert_eq(send(fd, &ask, sizeof(ask), MSG_NOSIGNAL), sizeof(ask));
	wait_answer(fixture, fd);
	cr_assert_eq(raw_lane_hear(fd, log, sizeof(*log), fds), log->error == 0);
	cr_assert_eq(log->magic, WEIR_LANE_MAGIC);
	cr_assert_eq(log->topic, topic);
	cr_assert_eq(log->shard, shard);
	return fds[0];
}

// ---- The whole way ----

// A key of shard 0 of 2.
static uint64_t key_of_shard_0(void)
{
	for (uint64_t key = 1;; key++) {
		if (weir_shard_of(key, 2) == 0)
			return key;
	}
}

Test(lanes, events_go_in_by_descriptor_and_are_read_where_they_lie)
{
	struct fixture fixture;
	struct raw_lane raw;
	struct talk talk;
	struct weir_lane_log log;
	union {
		struct weir_event_header header;
		uint8_t bytes[EVENT_SIZE];
	} event = { .bytes = { 0 } };

	begin(&fixture);
	int fd = open_lane(&fixture, &raw);
	begin_session(&talk, &fixture, &raw);
	uint32_t topic = topic_id(&talk, "block");
	join(&talk, "block", "hold");
	const struct weir_frame_header *frame = hear(&talk, WEIR_KIND_ASSIGN);
	const struct weir_assign *assign = (const void *)(frame + 1);
	while (frame->shard != 0) {
		frame = hear(&talk, WEIR_KIND_ASSIGN);
		assign = (const void *)(frame + 1);
	}
	cr_assert(frame->flags & WEIR_FLAG_IN_PLACE, "a member on a lane was not offered to read in place");
	uint64_t incarnation = assign->incarnation;
	const struct weir_report_entry report = { .topic = topic, .shard = 0, .flags = WEIR_REPORT_IN_PLACE,
						  .stream = frame->stream, .term = assign->term, .limit = 3, .charged = 99,
						  .group = assign->group };
	say(&talk, (struct weir_frame_header){ .kind = WEIR_KIND_REPORT, .count = 1 }, &report, sizeof(report));
	int memory = ask_log(&fixture, fd, topic, 0, incarnation, &log);
	cr_assert_eq(log.error, 0);
	cr_assert_eq(log.size, 65536);
	cr_assert_eq(fcntl(memory, F_GET_SEALS) & RAW_LANE_SEALS, RAW_LANE_SEALS);
	cr_assert_eq(mmap(NULL, log.size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0), MAP_FAILED, "the log can be written");
	const uint8_t *base = mmap(NULL, log.size, PROT_READ, MAP_SHARED, memory, 0);
	cr_assert_neq(base, MAP_FAILED);
	const struct weir_lane_head *head = (const void *)&raw.heads[log.head];
	cr_assert_eq(head->incarnation, incarnation);
	cr_assert_eq(head->head, 0);

	struct weir_open open = { .request = 3, .level = WEIR_ACK_ROUTED };
	say(&talk, (struct weir_frame_header){ .kind = WEIR_KIND_OPEN, .topic = topic }, &open, sizeof(open));
	frame = hear(&talk, WEIR_KIND_OPENED);
	uint32_t stream = frame->stream;
	uint64_t next = ((const struct weir_opened *)(const void *)(frame + 1))->next;
	event.header = (struct weir_event_header){ .length = EVENT_SIZE, .type = 7, .key = key_of_shard_0() };
	memset(event.bytes + 16, 0x5a, EVENT_SIZE - 16);
	say(&talk, (struct weir_frame_header){ .kind = WEIR_KIND_PUBLISH, .flags = WEIR_FLAG_HEADER_ONLY, .count = 1,
					       .stream = stream, .topic = topic, .sequence = next }, &event, sizeof(event));
	frame = hear(&talk, WEIR_KIND_ACK);
	cr_expect_eq(((const struct weir_ack_entry *)(const void *)(frame + 1))->next, next + 1);
	cr_expect_eq(__atomic_load_n(&head->head, __ATOMIC_ACQUIRE), sizeof(struct weir_run_header) + EVENT_SIZE);
	cr_expect_eq(memcmp(base + sizeof(struct weir_run_header), &event, sizeof(event)), 0);

	// Settled by the cursor line: the ledger says so.
	struct weir_lane_cursor *cursor = (void *)(raw.base + weir_lane_cursors_at() + 3 * sizeof(*cursor));
	struct weir_group_row row = { 0 };
	__atomic_store_n(&cursor->settled_to, 1, __ATOMIC_RELEASE);
	__atomic_store_n(&cursor->tag, 99, __ATOMIC_RELEASE);
	for (uint64_t until = now_ms() + 5000; row.settled_to < 1 && now_ms() < until; run(&fixture, 1))
		weir_row_read(&row, weir_router_find(fixture.router, "block")->groups[0]->rows[0], sizeof(row));
	cr_expect_eq(row.settled_to, 1);
	cr_expect_neq(row.lane, 0);
	munmap((void *)(uintptr_t)base, log.size);
	close(memory);
	close(fd);
	wait_lanes(&fixture, 0);
	raw_lane_unmap(&raw);
	end(&fixture);
}

Test(lanes, only_members_of_hold_groups_of_block_topics_get_a_log)
{
	struct fixture fixture;
	struct raw_lane raw;
	struct talk talk;
	struct weir_lane_log log;

	begin(&fixture);
	int fd = open_lane(&fixture, &raw);
	begin_session(&talk, &fixture, &raw);
	uint32_t block = topic_id(&talk, "block");
	uint32_t drop = topic_id(&talk, "drop");
	uint64_t block_0 = weir_router_find(fixture.router, "block")->logs[0].incarnation;
	uint64_t drop_0 = weir_router_find(fixture.router, "drop")->logs[0].incarnation;
	ask_log(&fixture, fd, block + 77, 0, block_0, &log);
	cr_expect_eq(log.error, -ENOENT);
	ask_log(&fixture, fd, block, 2, block_0, &log);
	cr_expect_eq(log.error, -ENOENT);
	ask_log(&fixture, fd, block, 0, block_0 + 1, &log);
	cr_expect_eq(log.error, -ENOENT);
	ask_log(&fixture, fd, block, 0, block_0, &log);
	cr_expect_eq(log.error, -EACCES, "a log was given to no member");
	join(&talk, "drop", "hold");
	hear(&talk, WEIR_KIND_ASSIGN);
	ask_log(&fixture, fd, drop, 0, drop_0, &log);
	cr_expect_eq(log.error, -EACCES, "a log that drops what is old was given away");
	join(&talk, "block", "follow");
	hear(&talk, WEIR_KIND_ASSIGN);
	ask_log(&fixture, fd, block, 0, block_0, &log);
	cr_expect_eq(log.error, -EACCES, "a log was given to a follower");
	join(&talk, "block", "hold");
	hear(&talk, WEIR_KIND_ASSIGN);
	close(ask_log(&fixture, fd, block, 0, block_0, &log));
	cr_expect_eq(log.error, 0);
	// Another lane gains nothing by it.
	struct raw_lane other;
	struct talk other_talk;
	int other_fd = open_lane(&fixture, &other);
	begin_session(&other_talk, &fixture, &other);
	ask_log(&fixture, other_fd, block, 0, block_0, &log);
	cr_expect_eq(log.error, -EACCES);
	close(fd);
	close(other_fd);
	raw_lane_unmap(&raw);
	raw_lane_unmap(&other);
	end(&fixture);
}

// ---- Refusals ----

static void refused(struct fixture *fixture, int fd, const char *why)
{
	struct weir_lane_welcome welcome;
	int fds[4];

	wait_answer(fixture, fd);
	cr_assert_eq(raw_lane_hear(fd, &welcome, sizeof(welcome), fds), 0, "no refusal, expected: %s", why);
	cr_expect_lt(welcome.error, 0);
	cr_expect_not_null(strstr(welcome.text, why), "\"%s\" lacks \"%s\"", welcome.text, why);
	cr_expect_eq(raw_lane_hear(fd, &welcome, sizeof(welcome), fds), -1, "the socket stays open");
	close(fd);
}

Test(lanes, a_hello_without_its_memory_or_with_more_is_refused_and_nothing_leaks)
{
	struct fixture fixture;
	struct raw_lane raw;

	begin(&fixture);
	make(&raw);
	uint32_t before = descriptors_now();
	for (uint32_t count = 0; count < 4; count++) {
		int fd = connect_to(&fixture);

		if (count == 1) {
			close(fd);
			continue;
		}
		cr_assert(raw_lane_hello(&raw, fd, count == 3 ? 253 : count));
		refused(&fixture, fd, count == 0 ? "without the client's memory" : "more than one descriptor");
	}
	// A hello in pieces, each with a descriptor.
	int fd = connect_to(&fixture);
	struct weir_lane_hello hello = raw.hello;
	cr_assert_eq(send(fd, &hello, 8, 0), 8);
	run(&fixture, 5);
	cr_assert(raw_lane_hello(&raw, fd, 1));
	refused(&fixture, fd, "version"); // what followed was no continuation
	fd = connect_to(&fixture);
	raw.hello.frames = 3;
	cr_assert(raw_lane_hello(&raw, fd, 1));
	refused(&fixture, fd, "frames");
	run(&fixture, 20);
	cr_expect_eq(descriptors_now(), before);
	cr_expect_eq(lanes_now(&fixture), 0);
	raw_lane_unmap(&raw);
	end(&fixture);
}

// ---- Descriptors whose close() waits ----

enum where { INSTEAD_OF_THE_MEMORY, BESIDE_THE_MEMORY, BEHIND_THE_HELLO, IN_PIECES, WHERES };

// The message's is the last hold on the descriptor.
static void send_lingering(const struct raw_lane *raw, int fd, int slow, enum where where)
{
	const struct weir_lane_ask ask = { .magic = WEIR_LANE_MAGIC };
	const struct weir_lane_hello *hello = &raw->hello;

	if (where == BEHIND_THE_HELLO) {
		cr_assert(send_descriptors(fd, hello, sizeof(*hello), &raw->memory, 1));
		cr_assert(send_descriptors(fd, &ask, sizeof(ask), &slow, 1));
	} else if (where == BESIDE_THE_MEMORY) {
		cr_assert(send_descriptors(fd, hello, sizeof(*hello), (int[]){ raw->memory, slow }, 2));
	} else {
		cr_assert(send_descriptors(fd, hello, where == IN_PIECES ? 8 : sizeof(*hello), &slow, 1));
	}
	close(slow);
}

Test(lanes, a_descriptor_whose_close_waits_holds_up_nobody, .timeout = 60)
{
	struct fixture fixture;
	struct raw_lane raw, next;

	begin(&fixture);
	make(&raw);
	uint32_t before = descriptors_now();
	for (enum where where = 0; where < WHERES; where++) {
		int keep[2];
		int fd = connect_to(&fixture);
		uint64_t began = now_ms();

		send_lingering(&raw, fd, lingering(keep), where);
		run(&fixture, 20);
		cr_expect_lt(now_ms() - began, 1000, "case %d: control waited", (int)where);
		close(fd);
		wait_lanes(&fixture, 0);
		for (uint64_t until = now_ms() + 5000; weir_reaper_is_busy(fixture.reaper, getuid()) && now_ms() < until;)
			run(&fixture, 1);
		cr_expect_not(weir_reaper_is_busy(fixture.reaper, getuid()), "case %d: the close still waits", (int)where);
		close(keep[0]);
		close(keep[1]);
	}
	run(&fixture, 20);
	cr_expect_eq(descriptors_now(), before);
	int fd = open_lane(&fixture, &next); // and it still serves the user
	close(fd);
	wait_lanes(&fixture, 0);
	raw_lane_unmap(&raw);
	raw_lane_unmap(&next);
	end(&fixture);
}

Test(lanes, once_a_lane_stands_no_descriptor_gets_in, .timeout = 20)
{
	struct fixture fixture;
	struct raw_lane raw;
	const struct weir_lane_ask ask = { .magic = WEIR_LANE_MAGIC };

	begin(&fixture);
	int fd = open_lane(&fixture, &raw);
	// Older kernels let it through to the socket; there the connection ends.
	bool is_sent = send_descriptors(fd, &ask, sizeof(ask), &raw.memory, 1);
	if (is_sent)
		wait_lanes(&fixture, 0);
	close(fd);
	wait_lanes(&fixture, 0);
	raw_lane_unmap(&raw);
	end(&fixture);
}

// ---- Garbage ----

Test(lanes, garbage_of_any_length_is_survived)
{
	struct fixture fixture;
	struct raw_lane raw;
	uint32_t before;

	begin(&fixture);
	make(&raw);
	before = descriptors_now();
	srand(1);
	for (uint32_t i = 0; i < 300; i++) {
		int fd = connect_to(&fixture);
		uint8_t *bytes = (void *)&raw.hello;
		struct weir_lane_hello good = raw.hello;

		// Mostly a good hello with a few bytes wrong: that gets furthest.
		for (uint32_t n = (uint32_t)rand() % 4 + 1; n > 0; n--)
			bytes[rand() % (i % 2 ? 32 : (int)sizeof(raw.hello))] = (uint8_t)rand();
		cr_assert(raw_lane_hello(&raw, fd, (uint32_t)rand() % 3));
		raw.hello = good;
		if (i % 3)
			run(&fixture, 1);
		close(fd);
		run(&fixture, 1);
	}
	run(&fixture, 20);
	wait_lanes(&fixture, 0);
	cr_expect_eq(descriptors_now(), before);
	int fd = open_lane(&fixture, &raw); // and it still serves
	close(fd);
	raw_lane_unmap(&raw);
	end(&fixture);
}

Test(lanes, one_more_than_there_is_room_for_is_told_so)
{
	struct fixture fixture;
	struct raw_lane raw[5];
	int fd[5];

	begin(&fixture);
	for (uint32_t i = 0; i < 4; i++)
		fd[i] = open_lane(&fixture, &raw[i]);
	make(&raw[4]);
	fd[4] = connect_to(&fixture);
	cr_assert(raw_lane_hello(&raw[4], fd[4], 1));
	refused(&fixture, fd[4], "all lanes of this router are taken");
	close(fd[1]);
	wait_lanes(&fixture, 3);
	raw_lane_unmap(&raw[4]);
	fd[4] = open_lane(&fixture, &raw[4]);
	cr_expect_eq(lanes_now(&fixture), 4);
	for (uint32_t i = 0; i < 5; i++) {
		if (i != 1)
			close(fd[i]);
		raw_lane_unmap(&raw[i]);
	}
	wait_lanes(&fixture, 0);
	end(&fixture);
}

Test(lanes, a_user_has_no_more_than_its_share)
{
	struct fixture fixture;
	struct raw_lane raw[4];
	struct weir_topology *topology;
	int fd[4];

	begin(&fixture);
	topology = fixture.router->topology;
	topology->lanes_per_user = 2;
	for (uint32_t i = 0; i < 2; i++)
		fd[i] = open_lane(&fixture, &raw[i]);
	make(&raw[2]);
	fd[2] = connect_to(&fixture);
	cr_assert(raw_lane_hello(&raw[2], fd[2], 1));
	refused(&fixture, fd[2], "has 2 lanes, its share");
	topology->lanes_per_user = 5;
	const struct weir_lane *first = weir_lane_table_at(weir_dataplane_lanes(fixture.router->dataplane), 0);
	topology->lanes_memory_per_user = weir_lane_bytes(first) * 3;
	raw[2].hello.arena_size = 1ull << 62;
	fd[2] = connect_to(&fixture);
	cr_assert(raw_lane_hello(&raw[2], fd[2], 1));
	refused(&fixture, fd[2], "MiB in lanes");
	raw_lane_unmap(&raw[2]);
	fd[2] = open_lane(&fixture, &raw[2]);
	make(&raw[3]);
	fd[3] = connect_to(&fixture);
	cr_assert(raw_lane_hello(&raw[3], fd[3], 1));
	refused(&fixture, fd[3], "MiB in lanes");
	for (uint32_t i = 0; i < 4; i++) {
		if (i < 3)
			close(fd[i]);
		raw_lane_unmap(&raw[i]);
	}
	wait_lanes(&fixture, 0);
	end(&fixture);
}

Test(lanes, silence_and_clients_that_read_nothing_are_cut_off)
{
	struct fixture fixture;
	struct raw_lane raw;
	struct weir_lane_ask ask = { .magic = WEIR_LANE_MAGIC };
	int size = 4096;

	begin(&fixture);
	int silent = connect_to(&fixture);
	refused(&fixture, silent, "did not come in time");
	int fd = open_lane(&fixture, &raw);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	for (uint32_t i = 0; i < 100000 && lanes_now(&fixture); i++) {
		(void)!send(fd, &ask, sizeof(ask), MSG_DONTWAIT | MSG_NOSIGNAL);
		weir_lanes_run(fixture.lanes);
	}
	cr_expect_eq(lanes_now(&fixture), 0, "a client that reads no answers is served for ever");
	close(fd);
	raw_lane_unmap(&raw);
	end(&fixture);
}

// ---- Ends ----

static uint64_t mapped_bytes(void)
{
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	cr_assert_eq(fscanf(file, "%lu", &pages), 1);
	fclose(file);
	return (uint64_t)pages * 4096;
}

Test(lanes, a_thousand_ends_leave_nothing_behind)
{
	struct fixture fixture;
	struct raw_lane raw;
	uint32_t before = 0;
	uint64_t mapped = 0;

	begin(&fixture);
	for (uint32_t i = 0; i < 1000; i++) {
		if (i == 10) {
			before = descriptors_now();
			mapped = mapped_bytes();
		}
		int fd = open_lane(&fixture, &raw);
		raw_lane_put(&raw, UINT64_MAX - i);
		close(fd);
		raw_lane_unmap(&raw);
		if (i % 3 == 0)
			wait_lanes(&fixture, 0);
		else if (i % 3 == 2)
			run(&fixture, 1);
	}
	wait_lanes(&fixture, 0);
	cr_expect_eq(descriptors_now(), before);
	cr_expect_leq(mapped_bytes(), mapped + (8u << 20), "%llu bytes more are mapped",
		      (unsigned long long)(mapped_bytes() - mapped));
	end(&fixture);
}

Test(lanes, a_lane_ends_with_its_process_even_when_a_child_keeps_the_socket)
{
	struct fixture fixture;

	begin(&fixture);
	pid_t parent = fork();
	if (parent == 0) {
		struct raw_lane raw;
		struct weir_lane_welcome welcome;
		int fd = connect_to(&fixture);

		if (!raw_lane_make(&raw, CURSORS, FRAMES, ARENA, 0) || !raw_lane_seal(&raw, RAW_LANE_SEALS) ||
		    !raw_lane_hello(&raw, fd, 1) || !raw_lane_welcome(&raw, fd, &welcome))
			_exit(1);
		if (fork() == 0) {
			usleep(3000000);
			_exit(0);
		}
		pause();
	}
	wait_lanes(&fixture, 1);
	run(&fixture, 50);
	cr_expect_eq(lanes_now(&fixture), 1);
	kill(parent, SIGKILL);
	uint64_t killed = now_ms();
	wait_lanes(&fixture, 0);
	cr_expect_lt(now_ms() - killed, 2000);
	waitpid(parent, NULL, 0);
	end(&fixture);
}
