// Producer and consumers of the relay comparison in one thread: the same sender, the same receivers (one endpoint a shard),
// the same checks (every event's key and place in its shard's order, every body's CRC) for the relays, which only forward,
// for who sends each frame back (testpmd), and for weir, which also wants sessions, streams, credit and reports, and gets
// them. A window bounds what is under way, so that nothing is lost for want of buffers.
//
//   peer-client relay|echo|weir ROUTER_IP PORT BASE_PORT SHARDS SECONDS WINDOW [none|routed [EVENTS [DEVARGS OWN_IP]]]
//   prints one JSON object. EVENTS in a frame, at most 18; with DEVARGS over a DPDK device instead of sockets.
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "perf/peers/link.h"
#include "wire/codec.h"
#include "wire/key.h"

#define SHARDS_MAX 64u
#define KEYS 1024u
#define EVENTS_MAX 18u
#define PAYLOAD 64u
#define EVENT_SIZE (sizeof(struct weir_event_header) + PAYLOAD)
#define PUBLISH_MAX (sizeof(struct weir_frame_header) + EVENTS_MAX * EVENT_SIZE)
#define FRAME_MAX 1552u   // so that a publish is delivered in one frame
#define SEGMENTS 40u      // frames in one send
#define RUN 8u            // of them in a row to one shard
#define REPORT_FRAMES 32u // a report goes out after so many, or when nothing moves
#define STALL_NS 100000000ull

struct session {
	uint32_t endpoint;
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
	uint64_t looked_at;    // received, when somebody looked last
	uint32_t stream;
	uint32_t handle;
	uint32_t term;
	uint32_t consumer;     // index of its session
	bool is_open;
	bool is_assigned;
};

struct client {
	bool is_weir;
	bool is_echo;          // what comes back comes to the producer
	bool is_one_read;      // one read brings all that arrived: echo, or a device
	uint32_t events_a_frame;
	uint32_t frame_size;   // of a session
	struct peer_link *link;
	uint32_t level;
	uint32_t shards;
	uint32_t window;       // frames
	uint32_t topic;
	uint32_t group;
	struct session producer;
	struct session consumers[SHARDS_MAX];
	struct shard shard[SHARDS_MAX];
	uint8_t out[SEGMENTS * PUBLISH_MAX] __attribute__((aligned(64)));
	uint64_t events;
	uint64_t wrong;
	uint64_t joins;        // sent so far
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

static void send_frame(struct client *client, const struct session *session, struct weir_frame_header *frame, uint32_t length)
{
	frame->session = session->id;
	weir_frame_seal(frame, (uint16_t)length);
	peer_link_send(client->link, session->endpoint, frame, (uint32_t)sizeof(*frame) + length, 1);
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
		uint8_t padding[FRAME_MAX - sizeof(struct weir_frame_header) - sizeof(struct weir_hello)];
	} frame = { .header.kind = WEIR_KIND_HELLO };
	frame.body = (struct weir_hello){ .nonce = session->nonce, .cookie = cookie, .producer = session->nonce | 1,
					  .frame_size = client->frame_size, .versions = { WEIR_VERSION } };
	send_frame(client, session, &frame.header, client->frame_size - (uint32_t)sizeof(frame.header));
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

static void received(void *context, uint32_t endpoint, const uint8_t *bytes, uint32_t size)
{
	struct client *client = context;
	struct session *session = endpoint ? &client->consumers[endpoint - 1] : &client->producer;
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

static uint32_t receive(struct client *client, const struct session *session)
{
	return peer_link_receive(client->link, session->endpoint);
}

// ---- Sending ----

static bool may_send(const struct client *client, const struct shard *shard)
{
	uint64_t window = (uint64_t)client->window * client->events_a_frame / client->shards;
	if (shard->next + client->events_a_frame > shard->received + window)
		return false;
	return !client->is_weir || shard->next + client->events_a_frame <= shard->limit;
}

static void frame_make(struct client *client, uint8_t *at, uint32_t number)
{
	struct shard *shard = &client->shard[number];
	struct weir_frame_header *frame = (void *)at;
	uint8_t *event_at = (uint8_t *)(frame + 1);
	*frame = (struct weir_frame_header){ .kind = WEIR_KIND_PUBLISH, .session = client->producer.id,
					     .count = (uint16_t)client->events_a_frame, .stream = shard->stream,
					     .topic = client->topic, .sequence = shard->next, .shard = (uint16_t)number };
	for (uint32_t i = 0; i < client->events_a_frame; i++, event_at += EVENT_SIZE) {
		struct weir_event_header *event = (void *)event_at;
		uint64_t sequence = shard->next + i;
		*event = (struct weir_event_header){ .length = EVENT_SIZE, .type = 1, .key = shard->keys[sequence % KEYS] };
		memcpy(event + 1, &sequence, 8);
	}
	shard->next += client->events_a_frame;
	weir_frame_seal(frame, (uint16_t)(client->events_a_frame * EVENT_SIZE));
}

// Up to SEGMENTS frames at once, in runs of one shard. Returns how many.
static uint32_t send_some(struct client *client)
{
	uint32_t size = (uint32_t)(sizeof(struct weir_frame_header) + client->events_a_frame * EVENT_SIZE);
	uint32_t count = 0;
	uint32_t idle = 0;
	while (count < SEGMENTS && idle < client->shards) {
		uint32_t number = client->shard_turn;
		uint32_t run = 0;
		while (run < RUN && count < SEGMENTS && may_send(client, &client->shard[number])) {
			frame_make(client, client->out + size * count++, number);
			run++;
		}
		idle = run ? 0 : idle + 1;
		client->shard_turn = (number + 1) % client->shards;
	}
	if (count == 0)
		return 0;
	uint32_t taken = peer_link_send(client->link, client->producer.endpoint, client->out, size, count);
	for (uint32_t i = taken; i < count; i++) {
		const struct weir_frame_header *frame = (const void *)(client->out + size * i);
		client->shard[frame->shard].next -= client->events_a_frame; // made again next time
	}
	return taken;
}

static void probe(struct client *client, uint32_t number)
{
	const struct shard *shard = &client->shard[number];
	struct weir_frame_header frame = { .kind = WEIR_KIND_PROBE, .stream = shard->stream, .topic = client->topic,
					   .shard = (uint16_t)number, .sequence = shard->next + client->events_a_frame };
	send_frame(client, &client->producer, &frame, 0);
}

// What did not arrive by now will not: relays go on behind it, weir is sent it again.
static void recover(struct client *client, uint64_t now)
{
	for (uint32_t i = 0; i < client->shards; i++) {
		struct shard *shard = &client->shard[i];
		bool is_starved = client->is_weir && shard->next + client->events_a_frame > shard->limit;
		if (shard->received != shard->looked_at)
			shard->progress_ns = now;
		shard->looked_at = shard->received;
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

// ---- Beginning ----

// Sends `ask` every 50 ms until `is_done`; everything that arrives is taken meanwhile.
static void until(struct client *client, void (*ask)(struct client *), bool (*is_done)(const struct client *), const char *what)
{
	for (int i = 0; i < 100 && !is_done(client); i++) {
		ask(client);
		for (uint64_t end = now_ns() + 50000000; now_ns() < end && !is_done(client);) {
			peer_link_wait(client->link);
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
		} join = {
			.header.kind = WEIR_KIND_JOIN,
			.body = { .request = ++client->joins, .member = i + 1, .topic = "positions", .group = "all" },
		};
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

static void begin(struct client *client)
{
	for (uint32_t i = 0; i < client->shards; i++)
		client->consumers[i].endpoint = i + 1;
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
	peer_link_wait(client->link);
}

// Sends and receives until `end`; then only receives, until all is there or 1 s passed.
static void run(struct client *client, uint64_t end)
{
	uint64_t now = now_ns();
	for (uint64_t look = now; now < end; now = now_ns()) {
		uint32_t moved = send_some(client);
		if (client->is_weir || client->is_one_read)
			moved += receive(client, &client->producer);
		for (uint32_t i = 0; i < client->shards; i++) {
			struct session *consumer = &client->consumers[i];
			if (!client->is_one_read)
				moved += receive(client, consumer);
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

static void usage(void)
{
	fputs("usage: peer-client relay|echo|weir ROUTER_IP PORT BASE_PORT SHARDS SECONDS WINDOW [none|routed [EVENTS [DEVARGS "
	      "OWN_IP]]]\n",
	      stderr);
	exit(2);
}

static void read_arguments(struct client *client, int argc, char **argv)
{
	struct peer_link_options options = { .sink = received, .context = client };
	if (argc < 8 || argc == 11 || atoi(argv[5]) < 1 || atoi(argv[5]) > (int)SHARDS_MAX)
		usage();
	client->is_weir = strcmp(argv[1], "weir") == 0;
	client->is_echo = strcmp(argv[1], "echo") == 0;
	client->shards = (uint32_t)atoi(argv[5]);
	client->window = (uint32_t)atoi(argv[7]);
	client->level = argc > 8 && strcmp(argv[8], "none") == 0 ? WEIR_ACK_NONE : WEIR_ACK_ROUTED;
	client->events_a_frame = argc > 9 ? (uint32_t)atoi(argv[9]) : EVENTS_MAX;
	if ((!client->is_weir && !client->is_echo && strcmp(argv[1], "relay") != 0) || client->events_a_frame < 1 ||
	    client->events_a_frame > EVENTS_MAX)
		usage();
	client->frame_size = (uint32_t)(WEIR_DELIVER_OVERHEAD + client->events_a_frame * EVENT_SIZE);
	if (client->frame_size < WEIR_FRAME_MIN)
		client->frame_size = WEIR_FRAME_MIN;
	options.router = argv[2];
	options.port = (uint16_t)atoi(argv[3]);
	options.local_port = (uint16_t)(atoi(argv[4]) - 1);
	options.endpoints = client->shards + 1;
	options.device = argc > 11 ? argv[10] : NULL;
	options.address = argc > 11 ? argv[11] : NULL;
	options.is_mute = !client->is_weir;
	client->is_one_read = client->is_echo || options.device;
	client->link = peer_link_open(&options);
}

int main(int argc, char **argv)
{
	static struct client client;
	read_arguments(&client, argc, argv);
	begin(&client);
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
	peer_link_close(client.link);
	double rate = (double)(client.events - events) * 1e9 / (double)took;
	printf("{\"events\":%lu,\"seconds\":%.3f,\"events_per_second\":%.0f,\"frames_per_second\":%.0f,\"wrong\":%lu,"
	       "\"lost\":%lu,\"level\":\"%s\"}\n",
	       client.events - events, (double)took / 1e9, rate, rate / client.events_a_frame, client.wrong, client.lost - lost,
	       client.is_weir ? (client.level ? "routed" : "none") : "-");
	return client.wrong || client.events == events;
}
