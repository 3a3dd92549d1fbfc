// Producer and consumers of the relay comparison in one thread: the same sender (UDP_SEGMENT), the same receivers (one
// socket a shard, UDP_GRO), the same checks (every event's key and place in its shard's order, every body's CRC) for the
// relays, which only forward, and for weir, which also wants sessions, streams, credit and reports, and gets them.
// A window bounds what is under way, so that nothing is lost for want of buffers.
//
//   peer-client relay|weir ROUTER_IP PORT BASE_PORT SHARDS SECONDS WINDOW [none|routed]   prints one JSON object
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

#include "wire/codec.h"
#include "wire/key.h"

#define SHARDS_MAX 64u
#define KEYS 1024u
#define EVENTS 18u
#define PAYLOAD 64u
#define EVENT_SIZE (sizeof(struct weir_event_header) + PAYLOAD)
#define BODY_SIZE (EVENTS * EVENT_SIZE)
#define PUBLISH_SIZE (sizeof(struct weir_frame_header) + BODY_SIZE)
#define FRAME_SIZE 1552u  // so that a publish is delivered in one frame
#define SEGMENTS 40u      // frames in one send
#define RUN 8u            // of them in a row to one shard
#define BATCH 64u         // buffers of one receive
#define ROOM 65536u
#define REPORT_FRAMES 32u // a report goes out after so many, or when nothing moves
#define STALL_NS 100000000ull

struct session {
	int fd;
	uint64_t id;
	uint64_t nonce;
	uint64_t heard_ns;
	uint32_t unreported; // frames delivered since the last report
	bool is_dirty; // a report is due
};

struct shard {
	uint64_t keys[KEYS];
	uint64_t next;         // producer: sequence to send
	uint64_t acknowledged; // weir
	uint64_t limit;        // weir
	uint64_t received;     // consumer: next sequence expected
	uint64_t charged;
	uint64_t offset;       // weir: received_to
	uint64_t written_off;  // relay: what is below and comes later was given up, not overtaken
	uint64_t progress_ns;
	uint32_t stream;
	uint32_t handle;
	uint32_t term;
	uint32_t consumer;     // index of its session
	bool is_open;
	bool is_assigned;
};

struct client {
	bool is_weir;
	uint32_t level;
	uint32_t shards;
	uint32_t window;       // frames
	uint32_t topic;
	uint32_t group;
	struct sockaddr_in router;
	struct session producer;
	struct session consumers[SHARDS_MAX];
	struct shard shard[SHARDS_MAX];
	uint8_t out[SEGMENTS][PUBLISH_SIZE] __attribute__((aligned(64)));
	uint8_t in[BATCH][ROOM];
	uint64_t events;
	uint64_t wrong;
	uint64_t lost;         // relay: skipped sequences; weir: events sent again
	uint32_t shard_turn;
};

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "peer-client: %s: %s\n", what, errno ? strerror(errno) : "no answer");
	exit(1);
}

static int open_socket(uint16_t port)
{
	int size = 16 << 20;
	int on = 1;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)))
		die("UDP socket");
	if (setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof(on)))
		die("UDP_GRO");
	return fd;
}

static void send_bytes(struct client *client, const struct session *session, const void *bytes, size_t size)
{
	const struct sockaddr *to = (const struct sockaddr *)&client->router;
	(void)!sendto(session->fd, bytes, size, 0, to, sizeof(client->router));
}

static void send_frame(struct client *client, const struct session *session, struct weir_frame_header *frame, uint32_t length)
{
	frame->session = session->id;
	weir_frame_seal(frame, (uint16_t)length);
	send_bytes(client, session, frame, sizeof(*frame) + length);
}

// ---- The consumers' side ----

// One run's events of a shard, in order; both ways carry them byte for byte.
static void events_check(struct client *client, struct shard *shard, const uint8_t *at, uint32_t count)
{
	uint64_t wrong = 0;
	uint64_t sequence = shard->received;
	for (uint32_t i = 0; i < count; i++, sequence++, at += EVENT_SIZE) {
		const struct weir_event_header *event = (const void *)at;
		uint64_t found;
		memcpy(&found, event + 1, 8);
		wrong += found != sequence || event->key != shard->keys[sequence % KEYS];
	}
	client->wrong += wrong;
	shard->received = sequence;
	client->events += count;
}

static void relayed(struct client *client, const struct weir_frame_header *frame, uint32_t size)
{
	if (frame->shard >= client->shards || weir_frame_check(frame, size, true, false, NULL) != WEIR_R_NONE) {
		client->wrong++;
		return;
	}
	struct shard *shard = &client->shard[frame->shard];
	if (frame->sequence < shard->received) {
		client->wrong += frame->sequence >= shard->written_off;
		return;
	}
	client->lost += frame->sequence - shard->received;
	shard->received = frame->sequence;
	events_check(client, shard, (const uint8_t *)(frame + 1), frame->count);
}

static void delivered(struct client *client, struct session *session, const struct weir_frame_header *frame)
{
	if (frame->shard >= client->shards) {
		client->wrong++;
		return;
	}
	struct shard *shard = &client->shard[frame->shard];
	const struct weir_delivery *delivery = (const void *)(frame + 1);
	const uint8_t *at = (const uint8_t *)(delivery + 1);
	session->is_dirty = true;
	session->unreported++;
	if (!shard->is_assigned || delivery->term != shard->term || frame->sequence != shard->offset)
		return;
	for (uint32_t i = 0; i < frame->count; i++) {
		const struct weir_run_header *run = (const void *)at;
		client->wrong += run->sequence != shard->received;
		events_check(client, shard, at + sizeof(*run), run->count);
		at += sizeof(*run) + run->length;
	}
	if (frame->count)
		shard->charged = delivery->charge_from + weir_charge((uint32_t)sizeof(*frame) + frame->body_length);
	shard->offset = delivery->to;
}

static void report(struct client *client, uint32_t consumer)
{
	struct {
		struct weir_frame_header header;
		struct weir_report_entry entries[WEIR_ENTRIES_MAX];
	} frame = { .header.kind = WEIR_KIND_REPORT };
	for (uint32_t i = 0; i < client->shards; i++) {
		const struct shard *shard = &client->shard[i];
		if (!shard->is_assigned || shard->consumer != consumer)
			continue;
		frame.entries[frame.header.count++] = (struct weir_report_entry){
			.topic = client->topic, .shard = (uint16_t)i, .stream = shard->handle, .term = shard->term,
			.received_to = shard->offset, .settled_to = shard->offset, .charged = shard->charged,
			.limit = shard->charged + (8 << 20), .group = client->group,
		};
	}
	client->consumers[consumer].is_dirty = false;
	client->consumers[consumer].unreported = 0;
	if (frame.header.count)
		send_frame(client, &client->consumers[consumer], &frame.header,
			   frame.header.count * (uint32_t)sizeof(frame.entries[0]));
}

// A shard that goes to another of the consumers: settled is what was received.
static void revoked(struct client *client, struct session *session, const struct weir_frame_header *ask)
{
	struct {
		struct weir_frame_header header;
		struct weir_revoke body;
	} frame = { .header = { .kind = WEIR_KIND_REVOKED, .stream = ask->stream, .topic = ask->topic, .shard = ask->shard },
		    .body = *(const struct weir_revoke *)(const void *)(ask + 1) };
	struct shard *shard = &client->shard[ask->shard % SHARDS_MAX];
	bool is_mine = shard->is_assigned && shard->term == frame.body.term;
	frame.body.settled_to = is_mine ? shard->offset : 0;
	frame.header.sequence = is_mine ? shard->offset : UINT64_MAX;
	if (is_mine)
		shard->is_assigned = false;
	send_frame(client, session, &frame.header, sizeof(frame.body));
}

static void assigned(struct client *client, struct session *session, const struct weir_frame_header *frame)
{
	const struct weir_assign *assign = (const void *)(frame + 1);
	struct shard *shard = &client->shard[frame->shard % SHARDS_MAX];
	session->is_dirty = true;
	if (assign->term <= shard->term)
		return;
	shard->term = assign->term;
	shard->handle = frame->stream;
	shard->offset = assign->from;
	shard->charged = 0;
	shard->consumer = (uint32_t)(session - client->consumers);
	shard->is_assigned = true;
}

// ---- The producer's side ----

static void acknowledged(struct client *client, const struct weir_frame_header *frame)
{
	const struct weir_ack_entry *entries = (const void *)(frame + 1);
	for (uint32_t i = 0; i < frame->count; i++) {
		struct shard *shard = &client->shard[entries[i].shard % SHARDS_MAX];
		if (entries[i].next > shard->acknowledged) {
			shard->acknowledged = entries[i].next;
			shard->progress_ns = now_ns();
		}
		if (entries[i].limit > shard->limit)
			shard->limit = entries[i].limit;
		if (entries[i].flags & WEIR_ACK_NACK && shard->next > entries[i].next) {
			client->lost += shard->next - entries[i].next;
			shard->next = entries[i].next;
		}
	}
}

static void refused(struct client *client, const struct weir_frame_header *frame)
{
	const struct weir_refuse_entry *entries = (const void *)(frame + 1);
	for (uint32_t i = 0; i < frame->count; i++) {
		struct shard *shard = &client->shard[entries[i].shard % SHARDS_MAX];
		if (weir_reason_class(entries[i].reason) != WEIR_REASON_RETRY) {
			fprintf(stderr, "peer-client: refused: %s\n", weir_reason_name(entries[i].reason));
			exit(1);
		}
		if (entries[i].count && shard->next > entries[i].next)
			shard->next = entries[i].next;
	}
}

static void answered(struct client *client, struct session *session, const struct weir_frame_header *frame)
{
	const void *body = frame + 1;
	struct shard *shard = &client->shard[frame->shard % SHARDS_MAX];
	switch (frame->kind) {
	case WEIR_KIND_TOPIC:
		client->topic = ((const struct weir_topic_info *)body)->topic;
		break;
	case WEIR_KIND_OPENED:
		shard->stream = frame->stream;
		shard->next = shard->acknowledged = shard->received = ((const struct weir_opened *)body)->next;
		shard->limit = ((const struct weir_opened *)body)->limit;
		shard->is_open = true;
		break;
	case WEIR_KIND_JOINED:
		client->group = ((const struct weir_joined *)body)->group;
		session->nonce = 0;
		break;
	case WEIR_KIND_ASSIGN:
		assigned(client, session, frame);
		break;
	case WEIR_KIND_REVOKE:
		revoked(client, session, frame);
		break;
	case WEIR_KIND_DELIVER:
		delivered(client, session, frame);
		break;
	case WEIR_KIND_ACK:
		acknowledged(client, frame);
		break;
	case WEIR_KIND_REFUSE:
		refused(client, frame);
		break;
	case WEIR_KIND_ERROR:
		fprintf(stderr, "peer-client: error: %s\n", weir_reason_name(((const struct weir_error *)body)->reason));
		exit(1);
	default:
		break;
	}
}

static void hello(struct client *client, struct session *session, uint64_t cookie)
{
	struct {
		struct weir_frame_header header;
		struct weir_hello body;
		uint8_t padding[FRAME_SIZE - sizeof(struct weir_frame_header) - sizeof(struct weir_hello)];
	} frame = { .header.kind = WEIR_KIND_HELLO };
	frame.body = (struct weir_hello){ .nonce = session->nonce, .cookie = cookie, .producer = session->nonce | 1,
					  .frame_size = FRAME_SIZE, .versions = { WEIR_VERSION } };
	send_frame(client, session, &frame.header, FRAME_SIZE - sizeof(frame.header));
}

static void greeted(struct client *client, struct session *session, const struct weir_frame_header *frame)
{
	const struct weir_challenge *challenge = (const void *)(frame + 1);
	if (challenge->nonce != session->nonce)
		return;
	if (frame->kind == WEIR_KIND_CHALLENGE)
		hello(client, session, challenge->cookie);
	else
		session->id = ((const struct weir_welcome *)(const void *)challenge)->session;
}

static void received(struct client *client, struct session *session, const uint8_t *bytes, uint32_t size)
{
	const struct weir_frame_header *frame = (const void *)bytes;
	if (!client->is_weir) {
		relayed(client, frame, size);
		return;
	}
	enum weir_reason reason = weir_frame_check(frame, size, false, false, NULL);
	if (reason != WEIR_R_NONE) {
		client->wrong++;
	} else if (frame->kind == WEIR_KIND_CHALLENGE || frame->kind == WEIR_KIND_WELCOME) {
		greeted(client, session, frame);
	} else if (frame->session == session->id) {
		answered(client, session, frame);
	}
}

// All that has arrived for a session, as the kernel gathered it.
static int receive(struct client *client, struct session *session)
{
	struct mmsghdr messages[BATCH];
	struct iovec vectors[BATCH];
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control[BATCH];
	for (uint32_t i = 0; i < BATCH; i++) {
		vectors[i] = (struct iovec){ client->in[i], ROOM };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &vectors[i], .msg_iovlen = 1, .msg_control = &control[i],
						       .msg_controllen = sizeof(control[i].room) };
	}
	int count = recvmmsg(session->fd, messages, BATCH, MSG_DONTWAIT, NULL);
	for (int i = 0; i < count; i++) {
		int size = (int)messages[i].msg_len;
		int segment = size;
		struct cmsghdr *c = CMSG_FIRSTHDR(&messages[i].msg_hdr);
		if (c && c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO)
			memcpy(&segment, CMSG_DATA(c), sizeof(segment));
		for (int at = 0; at < size; at += segment)
			received(client, session, client->in[i] + at, (uint32_t)(at + segment <= size ? segment : size - at));
	}
	return count > 0 ? count : 0;
}

// ---- Sending ----

static bool may_send(const struct client *client, const struct shard *shard)
{
	uint64_t window = (uint64_t)client->window * EVENTS / client->shards;
	if (shard->next + EVENTS > shard->received + window)
		return false;
	return !client->is_weir || shard->next + EVENTS <= shard->limit;
}

static void frame_make(struct client *client, uint8_t *at, uint32_t number)
{
	struct shard *shard = &client->shard[number];
	struct weir_frame_header *frame = (void *)at;
	uint8_t *event_at = (uint8_t *)(frame + 1);
	*frame = (struct weir_frame_header){ .kind = WEIR_KIND_PUBLISH, .count = EVENTS, .session = client->producer.id,
					     .stream = shard->stream, .topic = client->topic, .sequence = shard->next,
					     .shard = (uint16_t)number };
	for (uint32_t i = 0; i < EVENTS; i++, event_at += EVENT_SIZE) {
		struct weir_event_header *event = (void *)event_at;
		uint64_t sequence = shard->next + i;
		*event = (struct weir_event_header){ .length = EVENT_SIZE, .type = 1, .key = shard->keys[sequence % KEYS] };
		memcpy(event + 1, &sequence, 8);
	}
	shard->next += EVENTS;
	weir_frame_seal(frame, BODY_SIZE);
}

// Up to SEGMENTS frames in one message, in runs of one shard. Returns how many.
static uint32_t send_some(struct client *client)
{
	uint32_t count = 0;
	uint32_t idle = 0;
	while (count < SEGMENTS && idle < client->shards) {
		uint32_t number = client->shard_turn;
		uint32_t run = 0;
		while (run < RUN && count < SEGMENTS && may_send(client, &client->shard[number])) {
			frame_make(client, client->out[count++], number);
			run++;
		}
		idle = run ? 0 : idle + 1;
		client->shard_turn = (number + 1) % client->shards;
	}
	if (count == 0)
		return 0;
	struct iovec vector = { client->out, count * PUBLISH_SIZE };
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(uint16_t))];
	} control = { .header = { .cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof(uint16_t)) } };
	uint16_t segment = PUBLISH_SIZE;
	memcpy(CMSG_DATA(&control.header), &segment, sizeof(segment));
	struct msghdr message = { .msg_name = &client->router, .msg_namelen = sizeof(client->router), .msg_iov = &vector,
				  .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.room) };
	if (sendmsg(client->producer.fd, &message, 0) < 0 && errno != EAGAIN && errno != ECONNREFUSED)
		die("send");
	return count;
}

static void probe(struct client *client, uint32_t number)
{
	const struct shard *shard = &client->shard[number];
	struct weir_frame_header frame = { .kind = WEIR_KIND_PROBE, .stream = shard->stream, .topic = client->topic,
					   .shard = (uint16_t)number, .sequence = shard->next + EVENTS };
	send_frame(client, &client->producer, &frame, 0);
}

// What did not arrive by now will not: relays go on behind it, weir is sent it again.
static void recover(struct client *client, uint64_t now)
{
	for (uint32_t i = 0; i < client->shards; i++) {
		struct shard *shard = &client->shard[i];
		bool is_starved = client->is_weir && shard->next + EVENTS > shard->limit;
		if ((shard->next == shard->received && !is_starved) || now < shard->progress_ns + STALL_NS)
			continue;
		shard->progress_ns = now;
		if (is_starved)
			probe(client, i);
		if (!client->is_weir) {
			client->lost += shard->next - shard->received;
			shard->received = shard->written_off = shard->next;
		} else if (shard->acknowledged < shard->next) {
			client->lost += shard->next - shard->acknowledged;
			shard->next = shard->acknowledged;
		}
	}
}

static void wait_for_input(struct client *client)
{
	struct pollfd fds[SHARDS_MAX + 1];
	for (uint32_t i = 0; i < client->shards; i++)
		fds[i] = (struct pollfd){ .fd = client->consumers[i].fd, .events = POLLIN };
	fds[client->shards] = (struct pollfd){ .fd = client->producer.fd, .events = POLLIN };
	poll(fds, client->shards + 1, 1);
}

// ---- Beginning ----

// Sends `ask` every 50 ms until `is_done`; everything that arrives is taken meanwhile.
static void until(struct client *client, void (*ask)(struct client *), bool (*is_done)(const struct client *), const char *what)
{
	for (int i = 0; i < 100 && !is_done(client); i++) {
		ask(client);
		for (uint64_t end = now_ns() + 50000000; now_ns() < end && !is_done(client);) {
			wait_for_input(client);
			receive(client, &client->producer);
			for (uint32_t k = 0; k < client->shards; k++) {
				receive(client, &client->consumers[k]);
				if (client->consumers[k].is_dirty)
					report(client, k);
			}
		}
	}
	errno = 0;
	if (!is_done(client))
		die(what);
}

static void ask_hello(struct client *client)
{
	if (!client->producer.id)
		hello(client, &client->producer, 0);
	for (uint32_t i = 0; i < client->shards; i++) {
		if (!client->consumers[i].id)
			hello(client, &client->consumers[i], 0);
	}
}

static bool is_welcome(const struct client *client)
{
	bool is_done = client->producer.id;
	for (uint32_t i = 0; i < client->shards; i++)
		is_done = is_done && client->consumers[i].id;
	return is_done;
}

static void ask_topic(struct client *client)
{
	struct {
		struct weir_frame_header header;
		struct weir_metadata_ask body;
	} frame = { .header.kind = WEIR_KIND_METADATA, .body = { .request = 1, .topic = "positions" } };
	send_frame(client, &client->producer, &frame.header, sizeof(frame.body));
}

static bool has_topic(const struct client *client)
{
	return client->topic;
}

static void ask_streams_and_groups(struct client *client)
{
	for (uint32_t i = 0; i < client->shards; i++) {
		struct {
			struct weir_frame_header header;
			struct weir_open body;
		} frame = { .header = { .kind = WEIR_KIND_OPEN, .topic = client->topic, .shard = (uint16_t)i },
			    .body = { .request = i + 1, .level = (uint8_t)client->level } };
		if (!client->shard[i].is_open)
			send_frame(client, &client->producer, &frame.header, sizeof(frame.body));
		struct {
			struct weir_frame_header header;
			struct weir_join body;
		} join = { .header.kind = WEIR_KIND_JOIN, .body = { .request = i + 1, .topic = "positions", .group = "all" } };
		if (client->consumers[i].nonce)
			send_frame(client, &client->consumers[i], &join.header, sizeof(join.body));
	}
}

// Every shard open and assigned, each to another consumer.
static bool is_spread(const struct client *client)
{
	uint64_t consumers = 0;
	for (uint32_t i = 0; i < client->shards; i++) {
		if (!client->shard[i].is_open || !client->shard[i].is_assigned)
			return false;
		consumers |= 1ull << client->shard[i].consumer;
	}
	return (uint32_t)__builtin_popcountll(consumers) == client->shards;
}

static void begin(struct client *client, uint16_t base_port)
{
	client->producer.fd = open_socket((uint16_t)(base_port - 1));
	for (uint32_t i = 0; i < client->shards; i++)
		client->consumers[i].fd = open_socket((uint16_t)(base_port + i));
	for (uint32_t i = 0; i < client->shards; i++) {
		uint64_t key = i * 7919u;
		for (uint32_t k = 0; k < KEYS; key++) {
			if (weir_shard_of(key, client->shards) == i)
				client->shard[i].keys[k++] = key;
		}
	}
	if (!client->is_weir)
		return;
	if (getrandom(&client->producer.nonce, 8, 0) != 8)
		die("random numbers");
	for (uint32_t i = 0; i < client->shards; i++)
		client->consumers[i].nonce = weir_mix64(client->producer.nonce + i + 1) | 1;
	until(client, ask_hello, is_welcome, "hello");
	until(client, ask_topic, has_topic, "topic positions");
	until(client, ask_streams_and_groups, is_spread, "streams and group all");
}

static void bye(struct client *client)
{
	struct weir_frame_header frame = { .kind = WEIR_KIND_BYE };
	send_frame(client, &client->producer, &frame, 0);
	for (uint32_t i = 0; i < client->shards; i++)
		send_frame(client, &client->consumers[i], &frame, 0);
}

static void idle(struct client *client)
{
	for (uint32_t i = 0; i < client->shards; i++) {
		if (client->consumers[i].is_dirty)
			report(client, i);
	}
	wait_for_input(client);
}

// Sends and receives until `end`; then only receives, until all is there or 1 s passed.
static void run(struct client *client, uint64_t end)
{
	uint64_t now = now_ns();
	for (uint64_t look = now; now < end; now = now_ns()) {
		uint32_t moved = send_some(client);
		if (client->is_weir)
			moved += (uint32_t)receive(client, &client->producer);
		for (uint32_t i = 0; i < client->shards; i++) {
			struct session *consumer = &client->consumers[i];
			uint64_t before = client->events;
			moved += (uint32_t)receive(client, consumer);
			if (client->events != before)
				client->shard[i].progress_ns = now;
			if (consumer->is_dirty && consumer->unreported >= REPORT_FRAMES)
				report(client, i);
		}
		if (now > look + STALL_NS) {
			recover(client, now);
			look = now;
		}
		if (!moved)
			idle(client);
	}
}

int main(int argc, char **argv)
{
	static struct client client;
	bool is_fine = argc >= 8 && (strcmp(argv[1], "relay") == 0 || strcmp(argv[1], "weir") == 0);
	if (!is_fine || inet_pton(AF_INET, argv[2], &client.router.sin_addr) != 1 || atoi(argv[5]) < 1 || atoi(argv[5]) > 64) {
		fputs("usage: peer-client relay|weir ROUTER_IP PORT BASE_PORT SHARDS SECONDS WINDOW [none|routed]\n", stderr);
		return 2;
	}
	client.is_weir = strcmp(argv[1], "weir") == 0;
	client.router.sin_family = AF_INET;
	client.router.sin_port = htons((uint16_t)atoi(argv[3]));
	client.shards = (uint32_t)atoi(argv[5]);
	client.window = (uint32_t)atoi(argv[7]);
	client.level = argc > 8 && strcmp(argv[8], "none") == 0 ? WEIR_ACK_NONE : WEIR_ACK_ROUTED;
	begin(&client, (uint16_t)atoi(argv[4]));
	// A fifth of the time to warm up, which is not counted.
	uint64_t length = (uint64_t)(atof(argv[6]) * 1e9);
	run(&client, now_ns() + length / 5);
	uint64_t events = client.events;
	uint64_t lost = client.lost;
	uint64_t start = now_ns();
	run(&client, start + length);
	uint64_t took = now_ns() - start;
	if (client.is_weir)
		bye(&client);
	printf("{\"events\":%lu,\"seconds\":%.3f,\"events_per_second\":%.0f,\"wrong\":%lu,\"lost\":%lu,\"level\":\"%s\"}\n",
	       client.events - events, (double)took / 1e9, (double)(client.events - events) * 1e9 / (double)took, client.wrong,
	       client.lost - lost, client.is_weir ? (client.level ? "routed" : "none") : "-");
	return client.wrong || client.events == events;
}
