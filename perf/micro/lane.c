// What a lane's frames cost in the core: headers of publishes in private memory, bodies in memory that a client may change,
// a member that reads the log in place. What the client and its port do is done by a few lines here and not timed: frames
// are made, headers copied, heads looked at, events read, cursors moved. One thread.
//
//   micro-lane FRAME_EVENTS SECONDS|TURNSt [SHARDS [FRAMES_A_TURN [LOG_KIB [TRAIN]]]]
//
// prints one JSON object. Under callgrind with --collect-atstart=no the same path alone is counted; with a number of turns, on
// a clock that moves with them, it is the same every time.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sys/socket.h>
#include <valgrind/callgrind.h>

#include "dataplane/core/engine.h"
#include "dataplane/core/shard.h"
#include "wire/codec.h"
#include "wire/key.h"
#include "wire/lane.h"

#define TOPIC 1u
#define GROUP 1u
#define LANE 1u
#define SHARDS_MAX 64u
#define BURST_MAX 256u
#define KEYS 64u
#define SLOTS 1024u // frames in the client's arena
#define SLOT_SIZE 2048u
#define PAYLOAD 64u
#define EVENT_SIZE (sizeof(struct weir_event_header) + PAYLOAD)
#define ANSWER_SIZE 4096u
#define TURNS_MAX (1u << 22)
#define WAIT_NS 1000000u // rows are published by then
#define TURN_NS 10000u   // on the clock of turns

struct bench {
	struct weir_engine *engine;
	struct weir_worker_row worker_row;
	struct weir_shard_row shard_rows[SHARDS_MAX];
	struct weir_group_row group_rows[SHARDS_MAX];
	struct weir_delivery_stream deliveries[SHARDS_MAX];
	struct weir_lane_head heads[SHARDS_MAX];
	struct weir_lane_cursor cursors[SHARDS_MAX];
	struct weir_lane_view view;
	struct weir_shard *shards[SHARDS_MAX];
	uint16_t owner[SHARDS_MAX];
	uint32_t by_id[TOPIC + 1];
	struct weir_topic_spec topic;
	struct weir_group_spec group;
	struct weir_snapshot snapshot;
	struct weir_path path;
	uint64_t session;
	uint32_t stream[SHARDS_MAX];
	uint64_t next[SHARDS_MAX];
	uint64_t read[SHARDS_MAX]; // position in the log
	uint64_t offset[SHARDS_MAX];
	uint64_t keys[SHARDS_MAX][KEYS];
	uint32_t shard_count;
	uint32_t frame_events;
	uint64_t turns;      // to make; 0: as many as there is time for
	uint64_t virtual_ns; // with turns
	uint32_t burst;
	uint32_t log_kib;
	uint32_t train; // frames of one stream, one behind the other
	uint32_t turn;  // shard of the next train
	uint64_t wrong;
	uint64_t refused;
	struct assigned {
		uint32_t handle;
		uint32_t term;
	} assigned[SHARDS_MAX];
	struct weir_arrival arrivals[BURST_MAX];
	_Alignas(64) uint8_t headers[BURST_MAX][64];
	uint8_t *arena;
	uint32_t slot;
	_Alignas(64) uint8_t answer[ANSWER_SIZE];
	uint64_t cookie;
};

static uint64_t clock_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

// The engine's clock.
static uint64_t now_ns(const struct bench *bench)
{
	return bench->turns ? bench->virtual_ns : clock_ns();
}

__attribute__((noreturn)) static void fail(const char *what)
{
	fprintf(stderr, "micro-lane: %s\n", what);
	exit(1);
}

// ---- What stands around the engine ----

static void *send_reserve(void *context, const struct weir_path *path, uint32_t size)
{
	struct bench *bench = context;
	return size <= sizeof(bench->answer) ? bench->answer : NULL;
}

static void send_commit(void *context, uint32_t size)
{
	struct bench *bench = context;
	const struct weir_frame_header *frame = (const void *)bench->answer;
	const void *body = frame + 1;
	if (size == 0)
		return;
	if (frame->kind == WEIR_KIND_CHALLENGE)
		bench->cookie = ((const struct weir_challenge *)body)->cookie;
	else if (frame->kind == WEIR_KIND_WELCOME)
		bench->session = ((const struct weir_welcome *)body)->session;
	else if (frame->kind == WEIR_KIND_OPENED)
		bench->stream[frame->shard] = frame->stream;
	else if (frame->kind == WEIR_KIND_ASSIGN && frame->flags & WEIR_FLAG_IN_PLACE)
		bench->assigned[frame->shard] = (struct assigned){ frame->stream, ((const struct weir_assign *)body)->term };
	else if (frame->kind == WEIR_KIND_REFUSE)
		bench->refused++;
}

static void message_send(void *context, uint16_t worker, const struct weir_message *message)
{
	if (message->kind == WEIR_MESSAGE_DONE && message->result)
		fail("a command was refused");
}

static const struct weir_lane_view *lane_find(void *context, uint64_t lane)
{
	struct bench *bench = context;
	return lane == LANE ? &bench->view : NULL;
}

static void lane_wake(void *context, uint64_t lane)
{
}

// ---- Up to the first event ----

static void message(struct bench *bench, struct weir_message message)
{
	message.from = WEIR_FROM_CONTROL;
	message.topic = TOPIC;
	message.group = GROUP;
	message.request = 1;
	weir_engine_message(bench->engine, &message, now_ns(bench));
}

static void router_create(struct bench *bench)
{
	const struct weir_engine_config config = {
		.workers = 1,
		.sessions_max = 64,
		.shards_max = SHARDS_MAX,
		.topics_max = 4,
		.groups_max = 4,
		.members_max = 4,
		.park_frames = 64,
		.reassembly_slots = 1,
		.reassembly_bytes = 64 << 10,
		.limits = { .frame_size = 1472, .window_frames = 4096, .ping_ms = 1000, .lease_ms = 600000 },
		.secret = { 1 },
		.router = 2,
		.row = &bench->worker_row,
		.node = -1,
	};
	const struct weir_engine_io io = {
		.send_reserve = send_reserve,
		.send_commit = send_commit,
		.message_send = message_send,
		.lane_find = lane_find,
		.lane_wake = lane_wake,
		.context = bench,
	};
	if (weir_engine_create(&bench->engine, &config, &io))
		fail("cannot make an engine");
	bench->view = (struct weir_lane_view){ bench->cursors, SHARDS_MAX };
	bench->group = (struct weir_group_spec){ .id = { GROUP }, .name = "map" };
	bench->topic = (struct weir_topic_spec){
		.id = { TOPIC },
		.name = "positions",
		.shards = bench->shard_count,
		.ack_min = WEIR_ACK_ROUTED,
		.event_max = 8 << 10,
		.log_bytes = (uint64_t)bench->log_kib << 10,
		.streams_max = 16,
		.owner = bench->owner,
		.groups = &bench->group,
		.group_count = 1,
	};
	bench->by_id[0] = UINT32_MAX;
	bench->snapshot = (struct weir_snapshot){
		.revision = 1, .topics = &bench->topic, .topic_count = 1, .by_id = bench->by_id, .by_id_count = TOPIC + 1,
	};
}

static void topic_create(struct bench *bench)
{
	struct weir_message setup = { .kind = WEIR_MESSAGE_GROUP_SETUP, .shard = (uint16_t)bench->shard_count };
	setup.pointer = &bench->group;
	message(bench, setup);
	for (uint16_t shard = 0; shard < bench->shard_count; shard++) {
		const struct weir_shard_config config = {
			.topic = TOPIC,
			.shard = shard,
			.spec = &bench->topic,
			.incarnation = 1,
			.node = -1,
			.row = &bench->shard_rows[shard],
			.head = &bench->heads[shard],
		};
		if (weir_shard_create(&bench->shards[shard], &config))
			fail("cannot make a shard");
		message(bench, (struct weir_message){ .kind = WEIR_MESSAGE_SHARD_ADOPT, .pointer = bench->shards[shard] });
		struct weir_group_place place = { .spec = bench->group, .row = &bench->group_rows[shard],
						  .delivery = &bench->deliveries[shard] };
		message(bench, (struct weir_message){ .kind = WEIR_MESSAGE_GROUP_CREATE, .shard = shard, .pointer = &place });
		for (uint32_t found = 0, key = 1; found < KEYS; key++) {
			if (weir_shard_of(key, bench->shard_count) == shard)
				bench->keys[shard][found++] = key;
		}
	}
	message(bench, (struct weir_message){ .kind = WEIR_MESSAGE_SNAPSHOT, .pointer = &bench->snapshot });
}

static void client_send(struct bench *bench, struct weir_frame_header header, const void *body, uint16_t length)
{
	_Alignas(8) uint8_t bytes[WEIR_FRAME_MIN + sizeof(struct weir_hello)] = { 0 };
	struct weir_frame_header *frame = (void *)bytes;
	*frame = header;
	frame->session = bench->session;
	frame->topic = header.kind == WEIR_KIND_OPEN ? TOPIC : 0;
	memcpy(frame + 1, body, length);
	if (header.kind == WEIR_KIND_HELLO)
		length = WEIR_FRAME_MIN - sizeof(header);
	weir_frame_seal(frame, length);
	const struct weir_arrival arrival = {
		.frame = frame, .path = &bench->path, .size = (uint32_t)sizeof(header) + length, .trust_link = true,
	};
	weir_engine_receive(bench->engine, &arrival, 1, now_ns(bench));
	weir_engine_run(bench->engine, now_ns(bench));
}

static void client_begin(struct bench *bench)
{
	bench->path = (struct weir_path){ .family = AF_UNIX, .remote_ip = { LANE } };
	struct weir_hello hello = { .nonce = 5, .producer = 6, .frame_size = WEIR_FRAME_MIN, .versions = { WEIR_VERSION } };
	client_send(bench, (struct weir_frame_header){ .kind = WEIR_KIND_HELLO }, &hello, sizeof(hello));
	hello.cookie = bench->cookie;
	client_send(bench, (struct weir_frame_header){ .kind = WEIR_KIND_HELLO }, &hello, sizeof(hello));
	const struct weir_join join = { .request = 1, .topic = "positions", .group = "map" };
	client_send(bench, (struct weir_frame_header){ .kind = WEIR_KIND_JOIN }, &join, sizeof(join));
	for (int i = 0; i < 8; i++)
		weir_engine_run(bench->engine, now_ns(bench));
	for (uint16_t shard = 0; shard < bench->shard_count; shard++) {
		const struct weir_open open = { .request = 1, .level = WEIR_ACK_ROUTED };
		client_send(bench, (struct weir_frame_header){ .kind = WEIR_KIND_OPEN, .shard = shard }, &open, sizeof(open));
		if (bench->assigned[shard].term == 0)
			fail("a shard was not assigned in place");
		bench->cursors[shard].tag = shard + 1u;
		const struct weir_report_entry entry = {
			.topic = TOPIC,
			.shard = shard,
			.flags = WEIR_REPORT_IN_PLACE,
			.stream = bench->assigned[shard].handle,
			.term = bench->assigned[shard].term,
			.limit = shard,
			.charged = shard + 1u,
			.group = GROUP,
		};
		client_send(bench, (struct weir_frame_header){ .kind = WEIR_KIND_REPORT, .count = 1 }, &entry, sizeof(entry));
	}
}

// ---- A turn ----

// The client writes frames; the port copies their headers.
static void produce(struct bench *bench)
{
	for (uint32_t i = 0; i < bench->burst; i++) {
		uint16_t shard = (uint16_t)bench->turn;
		if (i % bench->train == bench->train - 1)
			bench->turn = (bench->turn + 1) % bench->shard_count;
		// One behind the other, as clients put them.
		uint32_t stride = ((uint32_t)sizeof(struct weir_frame_header) + bench->frame_events * EVENT_SIZE + 63) & ~63u;
		struct weir_frame_header *frame = (void *)(bench->arena + (size_t)bench->slot * stride);
		bench->slot = (bench->slot + 1) % SLOTS;
		uint8_t *at = (uint8_t *)(frame + 1);
		*frame = (struct weir_frame_header){
			.kind = WEIR_KIND_PUBLISH,
			.flags = WEIR_FLAG_HEADER_ONLY,
			.count = (uint16_t)bench->frame_events,
			.session = bench->session,
			.stream = bench->stream[shard],
			.topic = TOPIC,
			.sequence = bench->next[shard],
			.shard = shard,
		};
		for (uint32_t k = 0; k < bench->frame_events; k++, at += EVENT_SIZE) {
			uint64_t sequence = bench->next[shard]++;
			struct weir_event_header *event = (void *)at;
			*event = (struct weir_event_header){ .length = EVENT_SIZE, .key = bench->keys[shard][sequence % KEYS] };
			memcpy(event + 1, &sequence, sizeof(sequence));
		}
		uint32_t length = (uint32_t)(at - (uint8_t *)(frame + 1));
		weir_frame_seal(frame, (uint16_t)length);
		memcpy(bench->headers[i], frame, sizeof(*frame));
		bench->arrivals[i] = (struct weir_arrival){
			.frame = bench->headers[i],
			.path = &bench->path,
			.size = (uint32_t)sizeof(*frame) + length,
			.trust_link = true,
			.shared = frame + 1,
		};
	}
}

// The client reads every event where it lies.
static void consume(struct bench *bench)
{
	for (uint32_t shard = 0; shard < bench->shard_count; shard++) {
		const struct weir_log *log = &bench->shards[shard]->log;
		uint64_t head = __atomic_load_n(&bench->heads[shard].head, __ATOMIC_ACQUIRE);
		while (bench->read[shard] != head) {
			const struct weir_run_header *run = weir_log_run(log, bench->read[shard]);
			const uint8_t *at = (const uint8_t *)(run + 1);
			for (uint32_t i = 0; i < run->count; i++, at += EVENT_SIZE) {
				uint64_t sequence;
				memcpy(&sequence, at + sizeof(struct weir_event_header), sizeof(sequence));
				bench->wrong += sequence != bench->offset[shard];
				bench->offset[shard]++;
			}
			bench->read[shard] += weir_log_run_size(run->length);
		}
		__atomic_store_n(&bench->cursors[shard].settled_to, bench->offset[shard], __ATOMIC_RELEASE);
	}
}

static int ns_compare(const void *a, const void *b)
{
	return *(const uint32_t *)a < *(const uint32_t *)b ? -1 : *(const uint32_t *)a > *(const uint32_t *)b;
}

static uint32_t word(int argc, char **argv, int index, uint32_t otherwise)
{
	return argc > index ? (uint32_t)strtoul(argv[index], NULL, 0) : otherwise;
}

static bool arguments_take(struct bench *bench, int argc, char **argv)
{
	bench->frame_events = word(argc, argv, 1, 0);
	bench->shard_count = word(argc, argv, 3, 4);
	bench->burst = word(argc, argv, 4, 64);
	bench->log_kib = word(argc, argv, 5, 1024);
	bench->train = word(argc, argv, 6, 1);
	bool fits = bench->frame_events * EVENT_SIZE <= SLOT_SIZE - sizeof(struct weir_frame_header);
	return bench->frame_events >= 1 && fits && bench->shard_count >= 1 && bench->shard_count <= SHARDS_MAX &&
	       bench->burst >= 1 && bench->burst <= BURST_MAX && bench->train >= 1;
}

// false: something was not right.
static bool result_print(struct bench *bench, uint32_t *turns, uint64_t count)
{
	uint64_t sent = 0;
	uint64_t seen = 0;
	uint64_t settled = 0;
	uint64_t total_ns = 0;
	for (uint32_t shard = 0; shard < bench->shard_count; shard++) {
		sent += bench->next[shard];
		seen += bench->offset[shard];
		settled += bench->group_rows[shard].settled;
	}
	for (uint64_t i = 0; i < count; i++)
		total_ns += turns[i];
	qsort(turns, count, sizeof(turns[0]), ns_compare);
	double frame_ns = turns[count / 2] / (double)bench->burst;
	printf("{\"frame_events\":%u,\"shards\":%u,\"frames_a_turn\":%u,\"train\":%u,\"events\":%lu,\"turns\":%lu,"
	       "\"median_ns_per_frame\":%.2f,\"median_ns_per_event\":%.3f,\"mean_ns_per_event\":%.3f,\"wrong\":%lu,"
	       "\"refused\":%lu,\"unread\":%lu,\"unsettled\":%lu}\n",
	       bench->frame_events, bench->shard_count, bench->burst, bench->train, sent, count, frame_ns,
	       frame_ns / bench->frame_events, (double)total_ns / (double)sent, bench->wrong, bench->refused, sent - seen,
	       seen - settled);
	return !bench->wrong && !bench->refused && sent == seen && seen == settled;
}

int main(int argc, char **argv)
{
	static struct bench bench;
	static uint32_t turns[TURNS_MAX];
	char *unit = NULL;
	double length = argc > 2 ? strtod(argv[2], &unit) : 0;
	if (!arguments_take(&bench, argc, argv) || length <= 0 || (*unit && strcmp(unit, "t") != 0)) {
		fputs("usage: micro-lane FRAME_EVENTS SECONDS|TURNSt [SHARDS [FRAMES_A_TURN [LOG_KIB [TRAIN]]]]\n", stderr);
		return 2;
	}
	bench.turns = *unit ? (uint64_t)length : 0;
	bench.arena = aligned_alloc(64, SLOTS * SLOT_SIZE);
	if (!bench.arena)
		fail("out of memory");
	router_create(&bench);
	topic_create(&bench);
	client_begin(&bench);
	uint64_t count = 0;
	uint64_t most = bench.turns && bench.turns < TURNS_MAX ? bench.turns : TURNS_MAX;
	uint64_t end = bench.turns ? UINT64_MAX : clock_ns() + (uint64_t)(length * 1e9);
	for (uint64_t now = 0; now < end && count < most; count++) {
		produce(&bench);
		bench.virtual_ns += TURN_NS;
		CALLGRIND_TOGGLE_COLLECT;
		uint64_t begun = clock_ns();
		now = bench.turns ? bench.virtual_ns : begun;
		weir_engine_receive(bench.engine, bench.arrivals, bench.burst, now);
		weir_engine_run(bench.engine, now);
		turns[count] = (uint32_t)(clock_ns() - begun);
		CALLGRIND_TOGGLE_COLLECT;
		consume(&bench);
	}
	for (int i = 0; i < 8; i++) {
		bench.virtual_ns += WAIT_NS;
		weir_engine_run(bench.engine, now_ns(&bench) + WAIT_NS);
	}
	bool is_right = result_print(&bench, turns, count);
	weir_engine_destroy(bench.engine);
	free(bench.arena);
	return is_right ? 0 : 1;
}
