// What one event costs in the core: parse, check, admit, append, cursor, frame, acknowledge, report; everything the
// engine does but input and output, which are copies in memory here. A producer and a consumer made of a few lines
// stand in for the clients: what they do is not timed, but it is real: frames differ, acknowledgements give credit,
// reports move cursors, and every delivered event is looked at. One thread, pinned by tools/bench.
//
//   micro-core FRAME_EVENTS SECONDS [SHARDS [LOG_KIB]]   prints one JSON object
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "dataplane/core/engine.h"
#include "dataplane/core/shard.h"
#include "wire/codec.h"
#include "wire/key.h"

#define TOPIC 1u
#define GROUP 1u
#define BURST 32u         // frames in one turn, as a port gives them
#define SLOTS 256u        // frames that one turn may send
#define SLOT_SIZE 2048u
#define FRAME_AT 42u      // behind Ethernet, IP and UDP: where a NIC leaves it
#define FRAME_SIZE 1552u  // 18 events of 64 bytes, delivered in one frame
#define PAYLOAD 64u
#define EVENT_SIZE (sizeof(struct weir_event_header) + PAYLOAD)
#define SHARDS_MAX 64u
#define KEYS 1024u        // a shard
#define CREDIT (4u << 20) // bytes a shard, consumer
#define TURNS_MAX (8u << 20)

struct producing {
	uint64_t next;        // to be sent
	uint64_t acknowledged;
	uint64_t limit;
	uint32_t stream;
	uint32_t key;         // index of the next
	uint64_t keys[KEYS];
};

struct receiving {
	uint64_t received_to;
	uint64_t charged;
	uint32_t handle;
	uint32_t term;
	bool is_assigned;
};

struct slot {
	uint32_t size;
	bool is_consumer; // to whom
	uint8_t bytes[SLOT_SIZE];
};

struct bench {
	struct weir_engine *engine;
	struct weir_worker_row worker_row;
	struct weir_shard_row shard_rows[SHARDS_MAX];
	struct weir_group_row group_rows[SHARDS_MAX];
	struct weir_topic_spec topic;
	struct weir_group_spec group;
	struct weir_snapshot snapshot;
	uint32_t by_id[TOPIC + 1];
	uint16_t owner[SHARDS_MAX];
	uint32_t shards;
	uint32_t frame_events;
	struct weir_path paths[2]; // producer, consumer
	uint64_t sessions[2];
	struct producing producing[SHARDS_MAX];
	struct receiving receiving[SHARDS_MAX];
	struct weir_arrival arrivals[BURST + 2];
	uint32_t arrival_count;
	uint8_t in[BURST + 2][SLOT_SIZE];
	struct slot out[SLOTS];
	uint32_t out_head; // next to be looked at
	uint32_t out_tail;
	bool is_reserved_consumer;
	uint64_t delivered;
	uint64_t wrong;
	uint64_t frames_out;
};

struct turn {
	uint32_t ns;
	uint32_t events;
};

struct costs { // ns an event
	double undisturbed;
	double all;
	double interrupted; // share of turns
};

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static void *send_reserve(void *context, const struct weir_path *path, uint32_t size)
{
	struct bench *bench = context;
	if (bench->out_tail - bench->out_head == SLOTS || size > SLOT_SIZE - FRAME_AT)
		return NULL;
	struct slot *slot = &bench->out[bench->out_tail % SLOTS];
	slot->is_consumer = path->remote_port == bench->paths[1].remote_port;
	return slot->bytes + FRAME_AT;
}

static void send_commit(void *context, uint32_t size)
{
	struct bench *bench = context;
	bench->out[bench->out_tail % SLOTS].size = size;
	bench->out_tail += size != 0;
}

// One worker: there is no mesh, and control's answers are not waited for.
static void *mesh_reserve(void *context, uint16_t worker, const struct weir_mesh_header *header, uint32_t size)
{
	return NULL;
}

static void mesh_commit(void *context, uint16_t worker, uint32_t size)
{
}

static void message_send(void *context, uint16_t worker, const struct weir_message *message)
{
	if (message->kind == WEIR_MESSAGE_DONE && message->result) {
		fprintf(stderr, "micro-core: command failed: %s\n", strerror(-message->result));
		exit(1);
	}
}

static struct weir_frame_header *frame_begin(struct bench *bench, enum weir_kind kind, int client)
{
	struct weir_arrival *arrival = &bench->arrivals[bench->arrival_count];
	struct weir_frame_header *frame = (void *)(bench->in[bench->arrival_count] + FRAME_AT);
	arrival->frame = frame;
	arrival->path = &bench->paths[client];
	memset(frame, 0, sizeof(*frame));
	frame->kind = (uint8_t)kind;
	frame->session = bench->sessions[client];
	frame->topic = TOPIC;
	return frame;
}

static void frame_end(struct bench *bench, struct weir_frame_header *frame, uint32_t body_length)
{
	weir_frame_seal(frame, (uint16_t)body_length);
	bench->arrivals[bench->arrival_count++].size = (uint32_t)sizeof(*frame) + body_length;
}

static void hello_put(struct bench *bench, int client, uint64_t cookie)
{
	struct weir_frame_header *frame = frame_begin(bench, WEIR_KIND_HELLO, client);
	struct weir_hello *hello = (void *)(frame + 1);
	memset(hello, 0, FRAME_SIZE - sizeof(*frame));
	hello->nonce = 100u + (uint64_t)client;
	hello->producer = 7u + (uint64_t)client;
	hello->cookie = cookie;
	hello->frame_size = FRAME_SIZE;
	hello->versions[0] = WEIR_VERSION;
	frame->topic = 0;
	frame->session = 0;
	frame_end(bench, frame, FRAME_SIZE - sizeof(*frame));
}

static void delivery_look(struct bench *bench, const struct weir_frame_header *frame)
{
	struct receiving *receiving = &bench->receiving[frame->shard];
	const struct weir_delivery *delivery = (const void *)(frame + 1);
	const uint8_t *at = (const uint8_t *)(delivery + 1);
	bench->frames_out++;
	if (frame->sequence != receiving->received_to) {
		bench->wrong += frame->count != 0;
		return;
	}
	uint64_t offset = frame->sequence;
	for (uint32_t i = 0; i < frame->count; i++) {
		const struct weir_run_header *run = (const void *)at;
		at += sizeof(*run);
		for (uint32_t k = 0; k < run->count; k++, at += EVENT_SIZE, offset++) {
			// The payload begins with the event's sequence, which is its offset: one producer a shard.
			bench->wrong += memcmp(at + sizeof(struct weir_event_header), &offset, 8) != 0;
		}
	}
	if (frame->count)
		receiving->charged = delivery->charge_from +
				     weir_charge((uint32_t)sizeof(*frame) + frame->body_length);
	bench->delivered += offset - receiving->received_to;
	bench->wrong += offset != delivery->to;
	receiving->received_to = delivery->to;
}

static void ack_look(struct bench *bench, const struct weir_frame_header *frame)
{
	const struct weir_ack_entry *entries = (const void *)(frame + 1);
	for (uint32_t i = 0; i < frame->count; i++) {
		struct producing *producing = &bench->producing[entries[i].shard];
		producing->acknowledged = entries[i].next;
		if (entries[i].limit > producing->limit)
			producing->limit = entries[i].limit;
		bench->wrong += entries[i].flags & WEIR_ACK_NACK;
	}
}

static void frame_look(struct bench *bench, const struct weir_frame_header *frame, int client)
{
	const void *body = frame + 1;
	switch (frame->kind) {
	case WEIR_KIND_CHALLENGE:
		hello_put(bench, client, ((const struct weir_challenge *)body)->cookie);
		break;
	case WEIR_KIND_WELCOME:
		bench->sessions[client] = ((const struct weir_welcome *)body)->session;
		break;
	case WEIR_KIND_OPENED:
		bench->producing[frame->shard].stream = frame->stream;
		bench->producing[frame->shard].next = ((const struct weir_opened *)body)->next;
		bench->producing[frame->shard].acknowledged = ((const struct weir_opened *)body)->next;
		bench->producing[frame->shard].limit = ((const struct weir_opened *)body)->limit;
		break;
	case WEIR_KIND_ASSIGN:
		bench->receiving[frame->shard].handle = frame->stream;
		bench->receiving[frame->shard].term = ((const struct weir_assign *)body)->term;
		bench->receiving[frame->shard].is_assigned = true;
		break;
	case WEIR_KIND_ACK:
		ack_look(bench, frame);
		break;
	case WEIR_KIND_DELIVER:
		delivery_look(bench, frame);
		break;
	case WEIR_KIND_REFUSE:
	case WEIR_KIND_ERROR:
		bench->wrong++;
		break;
	default:
		break;
	}
}

static void clients_look(struct bench *bench)
{
	for (; bench->out_head != bench->out_tail; bench->out_head++) {
		struct slot *slot = &bench->out[bench->out_head % SLOTS];
		const struct weir_frame_header *frame = (const void *)(slot->bytes + FRAME_AT);
		if (weir_frame_check(frame, slot->size, false, false, NULL) != WEIR_R_NONE)
			bench->wrong++;
		else
			frame_look(bench, frame, slot->is_consumer);
	}
	// The next turn writes where this one wrote: a pool gives out first what came back last.
	bench->out_head = bench->out_tail = 0;
}

static void publish_put(struct bench *bench, uint32_t shard)
{
	struct producing *producing = &bench->producing[shard];
	if (producing->next + bench->frame_events > producing->limit)
		return;
	struct weir_frame_header *frame = frame_begin(bench, WEIR_KIND_PUBLISH, 0);
	uint8_t *at = (uint8_t *)(frame + 1);
	for (uint32_t i = 0; i < bench->frame_events; i++, at += EVENT_SIZE) {
		struct weir_event_header *event = (void *)at;
		uint64_t sequence = producing->next + i;
		*event = (struct weir_event_header){ .length = EVENT_SIZE, .type = 1, .key = producing->keys[producing->key] };
		producing->key = (producing->key + 1) % KEYS;
		memset(event + 1, (int)sequence, PAYLOAD);
		memcpy(event + 1, &sequence, 8);
	}
	frame->shard = (uint16_t)shard;
	frame->stream = producing->stream;
	frame->count = (uint16_t)bench->frame_events;
	frame->sequence = producing->next;
	frame_end(bench, frame, bench->frame_events * (uint32_t)EVENT_SIZE);
	producing->next += bench->frame_events;
}

static void reports_put(struct bench *bench)
{
	for (uint32_t first = 0; first < bench->shards; first += WEIR_ENTRIES_MAX) {
		struct weir_frame_header *frame = frame_begin(bench, WEIR_KIND_REPORT, 1);
		struct weir_report_entry *entry = (void *)(frame + 1);
		for (uint32_t shard = first; shard < bench->shards && shard < first + WEIR_ENTRIES_MAX; shard++) {
			const struct receiving *receiving = &bench->receiving[shard];
			if (!receiving->is_assigned)
				continue;
			*entry++ = (struct weir_report_entry){
				.topic = TOPIC, .shard = (uint16_t)shard, .stream = receiving->handle,
				.term = receiving->term, .group = GROUP, .received_to = receiving->received_to,
				.settled_to = receiving->received_to, .charged = receiving->charged,
				.limit = receiving->charged + CREDIT,
			};
			frame->count++;
		}
		if (frame->count)
			frame_end(bench, frame, frame->count * (uint32_t)sizeof(*entry));
	}
}

// One turn of the worker loop. Returns how long the engine took.
static uint64_t turn(struct bench *bench)
{
	uint64_t start = now_ns();
	weir_engine_receive(bench->engine, bench->arrivals, bench->arrival_count, start);
	weir_engine_run(bench->engine, start);
	uint64_t took = now_ns() - start;
	bench->arrival_count = 0;
	clients_look(bench);
	return took;
}

static void shard_add(struct bench *bench, uint16_t shard)
{
	const struct weir_shard_config config = { .topic = TOPIC, .shard = shard, .spec = &bench->topic, .node = -1,
						  .incarnation = 1000u + shard, .hugepages = WEIR_HUGEPAGES_OFF,
						  .row = &bench->shard_rows[shard] };
	struct weir_shard *made;
	int error = weir_shard_create(&made, &config);
	if (error) {
		fprintf(stderr, "micro-core: shard %u: %s\n", shard, strerror(-error));
		exit(1);
	}
	struct weir_message message = { .kind = WEIR_MESSAGE_SHARD_ADOPT, .from = WEIR_FROM_CONTROL, .pointer = made };
	weir_engine_message(bench->engine, &message, now_ns());
	struct weir_group_place place = { .spec = bench->group, .row = &bench->group_rows[shard] };
	message = (struct weir_message){ .kind = WEIR_MESSAGE_GROUP_CREATE, .from = WEIR_FROM_CONTROL, .topic = TOPIC,
					 .group = GROUP, .shard = shard, .pointer = &place };
	weir_engine_message(bench->engine, &message, now_ns());
}

static void topic_add(struct bench *bench, uint64_t log_bytes)
{
	bench->group = (struct weir_group_spec){ .id = { GROUP }, .name = "map", .kind = WEIR_GROUP_HOLD };
	bench->topic = (struct weir_topic_spec){ .id = { TOPIC }, .name = "positions", .shards = bench->shards,
						 .policy = WEIR_POLICY_BLOCK, .ack_min = WEIR_ACK_NONE, .event_max = 4096,
						 .log_bytes = log_bytes, .streams_max = 64, .owner = bench->owner,
						 .groups = &bench->group, .group_count = 1 };
	bench->by_id[0] = UINT32_MAX;
	bench->snapshot = (struct weir_snapshot){ .revision = 1, .topics = &bench->topic, .topic_count = 1,
						  .by_id = bench->by_id, .by_id_count = TOPIC + 1 };
	struct weir_message message = { .kind = WEIR_MESSAGE_SNAPSHOT, .from = WEIR_FROM_CONTROL, .pointer = &bench->snapshot };
	weir_engine_message(bench->engine, &message, now_ns());
	message = (struct weir_message){ .kind = WEIR_MESSAGE_GROUP_SETUP, .from = WEIR_FROM_CONTROL, .topic = TOPIC,
					 .group = GROUP, .shard = (uint16_t)bench->shards, .pointer = &bench->group };
	weir_engine_message(bench->engine, &message, now_ns());
	for (uint32_t shard = 0; shard < bench->shards; shard++)
		shard_add(bench, (uint16_t)shard);
}

static void engine_start(struct bench *bench)
{
	const struct weir_engine_config config = {
		.workers = 1, .sessions_max = 64, .shards_max = SHARDS_MAX, .topics_max = 4, .groups_max = 4, .members_max = 4,
		.park_frames = 256, .reassembly_slots = 4, .reassembly_bytes = 1 << 16, .seed = 1, .router = 2, .node = -1,
		.row = &bench->worker_row,
		.limits = { .frame_size = FRAME_SIZE, .window_frames = 1024, .ping_ms = 500, .lease_ms = 60000,
			    .dedup_window_ms = 60000 },
	};
	const struct weir_engine_io io = {
		.send_reserve = send_reserve, .send_commit = send_commit, .mesh_reserve = mesh_reserve,
		.mesh_commit = mesh_commit, .message_send = message_send, .context = bench,
	};
	int error = weir_engine_create(&bench->engine, &config, &io);
	if (error) {
		fprintf(stderr, "micro-core: engine: %s\n", strerror(-error));
		exit(1);
	}
}

// Sessions, streams and the group's membership, by the same frames as any client's.
static void clients_join(struct bench *bench)
{
	for (int client = 0; client < 2; client++) {
		bench->paths[client] = (struct weir_path){ .family = AF_INET, .remote_port = (uint16_t)(1000 + client),
							   .local_port = 9347 };
		hello_put(bench, client, 0);
	}
	turn(bench);
	turn(bench);
	for (uint32_t shard = 0; shard < bench->shards; shard++) {
		struct weir_frame_header *frame = frame_begin(bench, WEIR_KIND_OPEN, 0);
		frame->shard = (uint16_t)shard;
		*(struct weir_open *)(frame + 1) = (struct weir_open){ .request = shard, .level = WEIR_ACK_ROUTED };
		frame_end(bench, frame, sizeof(struct weir_open));
		turn(bench);
	}
	struct weir_frame_header *frame = frame_begin(bench, WEIR_KIND_JOIN, 1);
	*(struct weir_join *)(frame + 1) = (struct weir_join){ .request = 1, .topic = "positions", .group = "map" };
	frame->topic = 0;
	frame_end(bench, frame, sizeof(struct weir_join));
	for (int i = 0; i < 8; i++)
		turn(bench);
	for (uint32_t shard = 0; shard < bench->shards; shard++) {
		if (bench->receiving[shard].is_assigned && bench->producing[shard].limit)
			continue;
		fprintf(stderr, "micro-core: shard %u is not %s\n", shard,
			bench->producing[shard].limit ? "assigned" : "open for the producer");
		exit(1);
	}
}

static void keys_choose(struct bench *bench)
{
	for (uint32_t shard = 0; shard < bench->shards; shard++) {
		uint64_t key = shard * 1000003u;
		for (uint32_t i = 0; i < KEYS; key++) {
			if (weir_shard_of(key, bench->shards) == shard)
				bench->producing[shard].keys[i++] = key;
		}
	}
}

static int turn_compare(const void *a, const void *b)
{
	const struct turn *left = a;
	const struct turn *right = b;
	return left->ns < right->ns ? -1 : left->ns > right->ns;
}

// Turns are alike. One of more than three times the median was interrupted: another task or the hypervisor took the
// core. Those are left out of `undisturbed`, and their share is told. Sorts the turns.
static struct costs costs_of(struct turn *turns, uint64_t count)
{
	struct costs costs = { 0 };
	uint64_t ns[2] = { 0, 0 };
	uint64_t events[2] = { 0, 0 };
	uint64_t interrupted = 0;
	if (count == 0)
		return costs;
	qsort(turns, count, sizeof(*turns), turn_compare);
	uint32_t limit = 3 * turns[count / 2].ns;
	for (uint64_t i = 0; i < count; i++) {
		bool is_interrupted = turns[i].ns > limit;
		ns[is_interrupted] += turns[i].ns;
		events[is_interrupted] += turns[i].events;
		interrupted += is_interrupted;
	}
	costs.undisturbed = events[0] ? (double)ns[0] / (double)events[0] : 0;
	costs.all = events[0] + events[1] ? (double)(ns[0] + ns[1]) / (double)(events[0] + events[1]) : 0;
	costs.interrupted = (double)interrupted / (double)count;
	return costs;
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fputs("usage: micro-core FRAME_EVENTS SECONDS [SHARDS [LOG_KIB]]\n", stderr);
		return 2;
	}
	struct bench *bench = aligned_alloc(64, (sizeof(*bench) + 63) & ~63ull);
	memset(bench, 0, sizeof(*bench));
	bench->frame_events = (uint32_t)atoi(argv[1]);
	bench->shards = argc > 3 ? (uint32_t)atoi(argv[3]) : 4;
	uint64_t log_bytes = (argc > 4 ? strtoull(argv[4], NULL, 0) : 1024) << 10;
	if (bench->frame_events < 1 || bench->frame_events > 18 || bench->shards < 1 || bench->shards > SHARDS_MAX) {
		fputs("micro-core: 1 to 18 events a frame, 1 to 64 shards\n", stderr);
		return 2;
	}
	engine_start(bench);
	topic_add(bench, log_bytes);
	keys_choose(bench);
	clients_join(bench);
	reports_put(bench);
	turn(bench);

	static struct turn turns_taken[TURNS_MAX];
	uint64_t turns = 0;
	uint64_t start = now_ns();
	uint64_t end = start + (uint64_t)(atof(argv[2]) * 1e9);
	bench->delivered = bench->frames_out = 0;
	uint32_t shard = 0;
	for (uint64_t now = start; now < end && turns < TURNS_MAX; now = now_ns(), turns++) {
		for (uint32_t i = 0; i < BURST; i++, shard = (shard + 1) % bench->shards)
			publish_put(bench, shard);
		reports_put(bench);
		uint64_t before = bench->delivered;
		turns_taken[turns].ns = (uint32_t)turn(bench);
		turns_taken[turns].events = (uint32_t)(bench->delivered - before);
	}
	uint64_t sent = bench->delivered;
	for (int i = 0; i < 64; i++) {
		reports_put(bench);
		turn(bench);
	}
	uint64_t left = 0;
	for (uint32_t i = 0; i < bench->shards; i++) {
		left += bench->producing[i].next - bench->producing[i].acknowledged;
		left += bench->producing[i].next - bench->receiving[i].received_to;
	}
	struct costs costs = costs_of(turns_taken, turns);
	printf("{\"frame_events\":%u,\"shards\":%u,\"log_bytes\":%lu,\"events\":%lu,\"frames_out\":%lu,\"turns\":%lu,"
	       "\"ns_per_event\":%.3f,\"with_interruptions_ns_per_event\":%.3f,\"interrupted_turns\":%.4f,"
	       "\"wrong\":%lu,\"left\":%lu}\n",
	       bench->frame_events, bench->shards, log_bytes, sent, bench->frames_out, turns,
	       costs.undisturbed, costs.all, costs.interrupted, bench->wrong, left);
	weir_engine_destroy(bench->engine);
	bool is_wrong = bench->wrong || left || !sent;
	free(bench);
	return is_wrong;
}
