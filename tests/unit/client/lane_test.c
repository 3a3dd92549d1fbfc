// libweir on a lane with a router that may be broken or hostile: a few lines that play its side of wire/lane.h by the book,
// and then do not. Whatever the router's memory holds, the client neither crashes nor reads beyond a mapping; it begins anew.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "client/weir.h"
#include "wire/codec.h"
#include "wire/key.h"
#include "wire/lane.h"

#define RING (64u << 10)
#define LOG (64u << 10)
#define HEADS 4096u
#define HEAD_LINE 70u
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)
#define SESSION 5u
#define TOPIC 7u
#define GROUP 9u
#define INCARNATION 77u

struct memory {
	uint8_t *base;
	int fd;
};

static struct weir *weir;
static char address[128];
static int listener, connection = -1, bell = -1, worker_bell = -1;
static struct memory mine, heads, log_memory;
static const struct weir_lane_client *page;
static const uint8_t *client_base;
static struct weir_lane_hello hello;
static uint64_t taken, sent, frames_sent;
static struct weir_frame_header last[WEIR_KIND_LIMIT]; // of each kind, the last one
static uint8_t last_body[WEIR_KIND_LIMIT][WEIR_FRAME_MAX];
static uint64_t frames[WEIR_KIND_LIMIT];
static uint64_t asks;

static struct memory memory_make(size_t size, bool is_sealed)
{
	struct memory memory = { .fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING) };
	cr_assert(memory.fd >= 0 && ftruncate(memory.fd, (off_t)size) == 0);
	memory.base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd, 0);
	cr_assert_neq(memory.base, MAP_FAILED);
	cr_assert(!is_sealed || fcntl(memory.fd, F_ADD_SEALS, SEALS) == 0);
	return memory;
}

static void setup(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	snprintf(at.sun_path, sizeof(at.sun_path), "/tmp/weir-lane-test-%d.sock", getpid());
	unlink(at.sun_path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	cr_assert(bind(listener, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(listener, 4) == 0);
	snprintf(address, sizeof(address), "unix:%s", at.sun_path);
	mine = memory_make(WEIR_LANE_RING_AT + RING, true);
	heads = memory_make(HEADS * sizeof(struct weir_lane_head), true);
	log_memory = memory_make(LOG, true);
	cr_assert_eq(weir_open(&weir, address, &(struct weir_options){ .frame_size = 2048 }), 0);
}

static void teardown(void)
{
	weir_close(weir, 0);
	unlink(address + 5);
}

TestSuite(lane, .init = setup, .fini = teardown, .timeout = 20);

static void fds_send(const void *data, size_t size, const int *fds, size_t count)
{
	char control[CMSG_SPACE(4 * sizeof(int))] = { 0 };
	struct iovec part = { (void *)data, size };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	if (count) {
		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(header), fds, count * sizeof(int));
	}
	cr_assert_eq(sendmsg(connection, &message, MSG_NOSIGNAL), (ssize_t)size);
}

// Takes a client's connection and its memory, as far as that has come.
static bool greet(void)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec part = { &hello, sizeof(hello) };
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control),
	};
	int fd = -1;
	struct stat stat;
	if (connection < 0)
		connection = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (connection < 0 || recvmsg(connection, &message, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(hello))
		return false;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	cr_assert_eq(fcntl(fd, F_GET_SEALS) & SEALS, SEALS, "the client's memory is sealed");
	cr_assert(fstat(fd, &stat) == 0);
	client_base = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_SHARED, fd, 0);
	cr_assert_neq(client_base, MAP_FAILED);
	page = (const void *)client_base;
	close(fd);
	return true;
}

static void welcome(const struct memory *memory, int32_t error)
{
	int pair[2];
	cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair), 0);
	worker_bell = eventfd(0, EFD_NONBLOCK);
	struct weir_lane_welcome body = {
		.magic = WEIR_LANE_MAGIC, .version = WEIR_LANE_VERSION, .error = error, .lane = 1,
		.ring_size = RING, .heads = HEADS,
	};
	memset(mine.base, 0, WEIR_LANE_RING_AT);
	taken = sent = 0;
	fds_send(&body, sizeof(body), (int[]){ memory->fd, heads.fd, pair[1], worker_bell }, error ? 0 : 4);
	bell = pair[0];
	close(pair[1]);
}

static void answer(struct weir_frame_header header, const void *body, uint16_t size)
{
	struct weir_lane_router *router = (void *)mine.base;
	struct weir_lane_record record = { .size = (uint32_t)sizeof(header) + size };
	uint8_t bytes[WEIR_FRAME_MAX + 64] __attribute__((aligned(8))) = { 0 };
	memcpy(bytes, &record, sizeof(record));
	memcpy(bytes + sizeof(record), &header, sizeof(header));
	if (size)
		memcpy(bytes + sizeof(record) + sizeof(header), body, size);
	weir_frame_seal((void *)(bytes + sizeof(record)), size);
	uint64_t whole = weir_lane_record_size(record.size);
	for (uint64_t i = 0; i < whole; i++)
		mine.base[WEIR_LANE_RING_AT + (sent + i) % RING] = bytes[i];
	sent += whole;
	__atomic_store_n(&router->sent.value, sent, __ATOMIC_RELEASE);
	frames_sent++;
}

static void answer_hello(const struct weir_hello *from)
{
	uint8_t body[2048 - sizeof(struct weir_frame_header)] = { 0 };
	struct weir_welcome *to = (void *)body;
	*to = (struct weir_welcome){
		.nonce = from->nonce, .session = SESSION, .router = 3, .frame_size = 2048, .window_frames = 64,
		.ping_ms = 1000, .lease_ms = 5000, .dedup_window_ms = 1000, .version = WEIR_VERSION,
		.deliver_overhead = WEIR_DELIVER_OVERHEAD,
	};
	answer((struct weir_frame_header){ .kind = WEIR_KIND_WELCOME, .session = SESSION }, body, sizeof(body));
}

static void answer_frame(const struct weir_frame_header *frame)
{
	const struct weir_metadata_ask *ask = (const void *)last_body[WEIR_KIND_METADATA];
	const struct weir_open *open = (const void *)last_body[WEIR_KIND_OPEN];
	const struct weir_join *join = (const void *)last_body[WEIR_KIND_JOIN];
	if (frame->kind == WEIR_KIND_HELLO)
		answer_hello((const void *)last_body[WEIR_KIND_HELLO]);
	if (frame->kind == WEIR_KIND_METADATA) {
		uint8_t body[sizeof(struct weir_topic_info) + 1] = { 0 };
		struct weir_topic_info info = { .request = ask->request, .revision = 1, .topic = TOPIC, .shards = 1,
						.event_max = 4096, .ack_min = 1, .ack_max = 1 };
		memcpy(info.name, ask->topic, sizeof(info.name));
		memcpy(body, &info, sizeof(info));
		answer((struct weir_frame_header){ .kind = WEIR_KIND_TOPIC, .session = SESSION, .topic = TOPIC, .count = 1 },
		       body, sizeof(body));
	}
	if (frame->kind == WEIR_KIND_OPEN) {
		struct weir_opened opened = { .request = open->request, .limit = 1u << 20, .incarnation = INCARNATION,
					      .level = 1 };
		answer((struct weir_frame_header){ .kind = WEIR_KIND_OPENED, .session = SESSION, .topic = TOPIC }, &opened,
		       sizeof(opened));
	}
	if (frame->kind == WEIR_KIND_PUBLISH) {
		struct weir_ack_entry entry = { .topic = TOPIC, .next = frame->sequence + frame->count, .limit = 1u << 20,
						.have = frame->sequence + frame->count };
		answer((struct weir_frame_header){ .kind = WEIR_KIND_ACK, .session = SESSION, .count = 1 }, &entry,
		       sizeof(entry));
	}
	if (frame->kind == WEIR_KIND_JOIN) {
		struct weir_joined joined = { .request = join->request, .group = GROUP, .shards = 1, .event_max = 4096 };
		answer((struct weir_frame_header){ .kind = WEIR_KIND_JOINED, .session = SESSION, .topic = TOPIC }, &joined,
		       sizeof(joined));
	}
}

// Reads the client's descriptors and answers what a router answers.
static void serve(void)
{
	struct weir_lane_router *router = (void *)mine.base;
	uint64_t to = __atomic_load_n(&page->sent.value, __ATOMIC_ACQUIRE);
	const uint64_t *descriptors = (const void *)(client_base + weir_lane_descriptors_at(hello.cursors));
	const uint8_t *arena = client_base + weir_lane_arena_at(hello.cursors, hello.frames);
	for (; taken < to; taken++) {
		uint64_t descriptor = descriptors[taken % hello.frames];
		const struct weir_frame_header *frame = (const void *)(arena + weir_lane_descriptor_offset(descriptor));
		uint32_t size = weir_lane_descriptor_size(descriptor);
		cr_assert(weir_lane_descriptor_offset(descriptor) + size <= hello.arena_size);
		cr_assert_eq(weir_frame_check(frame, size, true, true, NULL), WEIR_R_NONE);
		last[frame->kind] = *frame;
		memcpy(last_body[frame->kind], frame + 1, frame->body_length);
		frames[frame->kind]++;
		answer_frame(frame);
	}
	__atomic_store_n(&router->taken.value, taken, __ATOMIC_RELEASE);
	struct weir_lane_ask ask;
	if (recv(connection, &ask, sizeof(ask), 0) == (ssize_t)sizeof(ask)) {
		struct weir_lane_log log = { .magic = WEIR_LANE_MAGIC, .incarnation = ask.incarnation, .size = LOG,
					     .topic = ask.topic, .shard = ask.shard, .head = HEAD_LINE };
		asks++;
		fds_send(&log, sizeof(log), &log_memory.fd, 1);
	}
}

static void turn_until(bool (*is_done)(void), const char *what)
{
	for (int i = 0; i < 4000; i++) {
		weir_poll(weir, 1);
		if (connection >= 0 && page)
			serve();
		if (is_done())
			return;
	}
	cr_assert(false, "never: %s", what);
}

static bool is_greeted(void)
{
	return greet();
}

static bool is_ready(void)
{
	return weir_state(weir) == WEIR_STATE_READY;
}

static bool is_lost(void)
{
	return weir_state(weir) == WEIR_STATE_LOST;
}

static void begin(void)
{
	turn_until(is_greeted, "a hello");
	welcome(&mine, 0);
	turn_until(is_ready, "a session");
}

// The router's side is gone; the client says a lane hello again.
static void expect_another_hello(void)
{
	close(connection);
	connection = -1;
	page = NULL;
	turn_until(is_greeted, "another hello");
}

Test(lane, a_session_comes_up_and_frames_are_header_only)
{
	struct weir_producer *producer;
	begin();
	cr_assert_eq(weir_producer_open(&producer, weir, "t", NULL), 0);
	for (int i = 0; i < 100; i++) {
		if (weir_publish(producer, &(struct weir_event){ .key = 1, .payload = "12345678", .payload_size = 8 }))
			i--;
		weir_poll(weir, 0);
		serve();
	}
	for (int i = 0; i < 1000 && weir_flush(producer, 1); i++)
		serve();
	struct weir_producer_counts counts;
	weir_producer_counts(producer, &counts);
	cr_assert_eq(counts.routed, 100);
	cr_assert(last[WEIR_KIND_PUBLISH].flags & WEIR_FLAG_HEADER_ONLY);
}

Test(lane, a_refusal_is_tried_again_later)
{
	turn_until(is_greeted, "a hello");
	welcome(&mine, -EBUSY);
	expect_another_hello();
	welcome(&mine, 0);
	turn_until(is_ready, "a session");
}

Test(lane, memory_without_seals_is_not_mapped)
{
	struct memory open = memory_make(WEIR_LANE_RING_AT + RING, false);
	turn_until(is_greeted, "a hello");
	welcome(&open, 0);
	for (int i = 0; i < 20; i++)
		weir_poll(weir, 1);
	char byte;
	cr_assert_eq(recv(connection, &byte, 1, MSG_DONTWAIT), 0, "the client hung up");
	expect_another_hello();
}

static void expect_lost_and_anew(void)
{
	turn_until(is_lost, "the client lets go of the lane");
	expect_another_hello();
	welcome(&mine, 0);
	turn_until(is_ready, "a session after that");
}

Test(lane, a_record_larger_than_what_was_sent_ends_the_lane)
{
	begin();
	struct weir_lane_record record = { .size = 4096 };
	memcpy(mine.base + WEIR_LANE_RING_AT + sent % RING, &record, sizeof(record));
	__atomic_store_n(&((struct weir_lane_router *)(void *)mine.base)->sent.value, sent + 64, __ATOMIC_RELEASE);
	expect_lost_and_anew();
}

Test(lane, a_ring_that_runs_ahead_of_itself_ends_the_lane)
{
	begin();
	__atomic_store_n(&((struct weir_lane_router *)(void *)mine.base)->sent.value, sent + 2 * RING, __ATOMIC_RELEASE);
	expect_lost_and_anew();
}

Test(lane, a_ring_full_of_noise_is_counted_and_outlived)
{
	begin();
	struct weir_statistics before, after;
	weir_statistics(weir, &before);
	srand(1);
	for (int i = 0; i < 2000 && weir_state(weir) == WEIR_STATE_READY; i++) {
		uint8_t noise[256];
		for (size_t k = 0; k < sizeof(noise); k++)
			noise[k] = (uint8_t)rand();
		struct weir_frame_header header;
		memcpy(&header, noise, sizeof(header));
		header.session = SESSION;
		header.kind = (uint8_t)(noise[0] % WEIR_KIND_DELIVER); // those cannot be sealed without being right
		answer(header, noise, (uint16_t)(noise[1] % 128));
		weir_poll(weir, 0);
		serve();
	}
	weir_statistics(weir, &after);
	cr_assert_gt(after.frames_bad, before.frames_bad);
}

Test(lane, taken_beyond_sent_is_not_believed)
{
	begin();
	struct weir_producer *producer;
	cr_assert_eq(weir_producer_open(&producer, weir, "t", NULL), 0);
	for (int i = 0; i < 200 && weir_producer_wait(producer, 0); i++)
		serve();
	__atomic_store_n(&((struct weir_lane_router *)(void *)mine.base)->taken.value, taken + (1ull << 40), __ATOMIC_RELEASE);
	for (int i = 0; i < 100000; i++) {
		weir_publish(producer, &(struct weir_event){ .key = 1, .payload = "12345678", .payload_size = 8 });
		if (i % 100 == 0)
			weir_poll(weir, 0);
	}
	cr_assert(page->sent.value - taken <= hello.frames);
}

// ---- In place ----

static struct weir_consumer *consumer;

static void assign(uint64_t position)
{
	const struct weir_join *join = (const void *)last_body[WEIR_KIND_JOIN];
	struct {
		struct weir_assign assign;
		struct weir_assign_place place;
	} body = { .assign = { .incarnation = INCARNATION, .member = join->member, .group = GROUP, .term = 1,
			       .lease_ms = 5000 },
		   .place = { .position = position } };
	answer((struct weir_frame_header){ .kind = WEIR_KIND_ASSIGN, .flags = WEIR_FLAG_IN_PLACE, .session = SESSION,
					   .topic = TOPIC },
	       &body, sizeof(body));
}

static struct weir_lane_head *head_line(void)
{
	return (struct weir_lane_head *)(void *)heads.base + HEAD_LINE;
}

static bool is_member(void)
{
	return weir_consumer_wait(consumer, 0) == 0;
}

static bool is_reported(void)
{
	return frames[WEIR_KIND_REPORT] > 0;
}

static void begin_in_place(void)
{
	begin();
	*head_line() = (struct weir_lane_head){ .incarnation = INCARNATION };
	cr_assert_eq(weir_consumer_open(&consumer, weir, "t", "g", NULL), 0);
	turn_until(is_member, "joined");
	assign(0);
	turn_until(is_reported, "a report");
}

static uint64_t run_write(uint64_t position, uint16_t count, uint32_t payload)
{
	struct weir_run_header run = { .producer = 1, .count = count,
				       .length = count * (uint32_t)weir_pad8(sizeof(struct weir_event_header) + payload) };
	uint8_t *at = log_memory.base + position % LOG;
	memcpy(at, &run, sizeof(run));
	at += sizeof(run);
	for (uint16_t i = 0; i < count; i++, at += weir_pad8(sizeof(struct weir_event_header) + payload)) {
		struct weir_event_header event = { .length = (uint32_t)sizeof(event) + payload, .key = i };
		memcpy(at, &event, sizeof(event));
		memset(at + sizeof(event), 'a' + i, payload);
	}
	return position + sizeof(run) + run.length;
}

static int consume(struct weir_view *views, int most)
{
	weir_poll(weir, 0);
	return weir_consume(consumer, views, most);
}

Test(lane, events_are_handed_out_where_they_lie_and_settled_in_the_cursor)
{
	struct weir_view views[8];
	begin_in_place();
	const struct weir_report_entry *report = (const void *)last_body[WEIR_KIND_REPORT];
	cr_assert_eq(report->flags, WEIR_REPORT_IN_PLACE);
	const struct weir_lane_cursor *cursor = (const void *)(client_base + weir_lane_cursors_at());
	cr_assert_eq(cursor[report->limit].tag, report->charged);
	cr_assert_eq(consume(views, 8), 0);
	uint64_t end = run_write(0, 3, 24);
	__atomic_store_n(&head_line()->head, end, __ATOMIC_RELEASE);
	cr_assert_eq(weir_poll(weir, 100), 1);
	cr_assert_eq(weir_consume(consumer, views, 2), 2);
	cr_assert_eq(consume(views, 8), 1);
	cr_assert_eq(views[0].offset, 2);
	cr_assert_eq(((const char *)views[0].payload)[23], 'c');
	cr_assert_eq(cursor[report->limit].settled_to, 2);
	cr_assert_eq(consume(views, 8), 0);
	cr_assert_eq(cursor[report->limit].settled_to, 3);
}

static void expect_anew_after(uint64_t head)
{
	struct weir_view views[8];
	__atomic_store_n(&head_line()->head, head, __ATOMIC_RELEASE);
	for (int i = 0; i < 4; i++)
		consume(views, 8);
	cr_assert_eq(weir_state(weir), WEIR_STATE_LOST);
	struct weir_statistics statistics;
	weir_statistics(weir, &statistics);
	cr_assert_gt(statistics.frames_bad, 0);
}

Test(lane, a_run_longer_than_the_log_is_not_read)
{
	begin_in_place();
	struct weir_run_header run = { .count = 1, .length = UINT32_MAX & ~7u };
	memcpy(log_memory.base, &run, sizeof(run));
	expect_anew_after(4096);
}

Test(lane, an_event_longer_than_its_run_is_not_read)
{
	begin_in_place();
	uint64_t end = run_write(0, 1, 24);
	uint32_t length = 1u << 30;
	memcpy(log_memory.base + sizeof(struct weir_run_header), &length, sizeof(length));
	expect_anew_after(end);
}

Test(lane, a_head_beyond_the_log_is_not_followed)
{
	begin_in_place();
	run_write(0, 1, 24);
	expect_anew_after(1ull << 60);
}

Test(lane, a_head_of_another_log_is_not_followed)
{
	struct weir_view views[8];
	begin_in_place();
	head_line()->incarnation = INCARNATION + 1;
	__atomic_store_n(&head_line()->head, run_write(0, 1, 24), __ATOMIC_RELEASE);
	cr_assert_eq(consume(views, 8), 0);
	cr_assert_eq(weir_state(weir), WEIR_STATE_READY);
}

Test(lane, a_client_that_sleeps_says_so_and_is_woken_by_the_bell)
{
	begin();
	struct pollfd fd = { .fd = weir_fd(weir), .events = POLLIN };
	while (weir_poll(weir, 0) > 0)
		;
	cr_assert_eq(page->asleep.value, 1);
	while (poll(&fd, 1, 0) > 0)
		weir_poll(weir, 0);
	cr_assert_eq(send(bell, "", 1, 0), 1);
	cr_assert_eq(poll(&fd, 1, 1000), 1);
	weir_poll(weir, 0);
	uint64_t rings;
	// Who writes to a router that sleeps rings; one that does not sleep hears nothing.
	cr_assert_eq(read(worker_bell, &rings, sizeof(rings)), -1);
	((struct weir_lane_word *)(void *)heads.base)->value = 1;
	struct weir_producer *producer;
	cr_assert_eq(weir_producer_open(&producer, weir, "t", NULL), 0);
	weir_poll(weir, 0);
	cr_assert_eq(read(worker_bell, &rings, sizeof(rings)), (ssize_t)sizeof(rings));
}
