// weirstorm: engines in storms of clients that know the protocol and mean harm. Sessions, streams, memberships and terms are
// learned from the router's own answers and then used out of order, for others, after their end, or not at all; beside them
// shards move, ports are blocked, rings are short, groups and lanes come and go, and time jumps. After each storm everybody is
// silent, and then the router must be as new: all pools empty, every shard serves a newcomer, every row in balance.
// The clock is virtual and a storm repeats by its seed. Prints TAP. A quarter of WEIR_BUDGET_S, at least 5 s; an hour with
// WEIR_LONG=1; or so many seconds as its argument says. WEIR_SEED repeats one storm.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/unit/core/consumer.h"
#include "wire/key.h"

#define CLIENTS 24u
#define LANE_CLIENTS 6u // of them, on lanes
#define SHARDS 6u
#define GROUPS 2u
#define ACTS 2500u
#define SILENCE_MS 130000u // longer than lease, dedup window and every deadline of a state together
#define MESH_ROOM 512u

// What a client was told and may use, or misuse.
struct place {
	uint32_t stream;
	uint64_t request; // of its OPEN
	uint64_t next;
	uint32_t delivery;
	uint32_t group;
	uint32_t term;
	uint64_t from;
};

struct hostile {
	struct rig_client client;
	uint64_t cookie;
	uint64_t session; // told last; the client's may be another's
	uint64_t request;
	struct place places[SHARDS];
	uint32_t seen; // frames of its worker looked at
	uint64_t lane; // 0: a port
};

struct storm {
	struct rig *rig;
	uint64_t random;
	struct hostile hostile[CLIENTS];
	int moving; // shard, -1: none
	uint16_t move_to;
	uint16_t move_from;
	uint64_t lane_last;
	uint64_t met[WEIR_KIND_LIMIT]; // what they were answered, by kind
	uint64_t moves, groups_ended;
};

static uint64_t any(struct storm *storm)
{
	storm->random += 0x9e3779b97f4a7c15ull;
	return weir_mix64(storm->random);
}

static uint64_t pick(struct storm *storm, uint64_t below)
{
	return any(storm) % below;
}

// Mostly about the value, sometimes far off.
static uint64_t near(struct storm *storm, uint64_t value)
{
	static const uint64_t EDGES[] = { 0, 1, UINT32_MAX, 1ull << 62, 1ull << 63, UINT64_MAX };

	switch (pick(storm, 14)) {
	case 0:
		return EDGES[pick(storm, 6)];
	case 1:
		return any(storm);
	case 2:
	case 3:
		return value + pick(storm, 9) - 4;
	default:
		return value;
	}
}

// ---- What they learn ----

static void learn(struct storm *storm, struct hostile *hostile, const struct weir_frame_header *frame)
{
	const void *body = frame + 1;
	struct place *place = &hostile->places[frame->shard % SHARDS];

	storm->met[frame->kind]++;
	if (frame->kind == WEIR_KIND_CHALLENGE) {
		hostile->cookie = ((const struct weir_challenge *)body)->cookie;
	} else if (frame->kind == WEIR_KIND_WELCOME) {
		hostile->session = ((const struct weir_welcome *)body)->session;
	} else if (frame->kind == WEIR_KIND_OPENED) {
		place->stream = frame->stream;
		place->next = ((const struct weir_opened *)body)->next;
		place->request = ((const struct weir_opened *)body)->request;
	} else if (frame->kind == WEIR_KIND_ACK) {
		const struct weir_ack_entry *entry = body;

		hostile->places[entry->shard % SHARDS].next = entry->next;
	} else if (frame->kind == WEIR_KIND_ASSIGN) {
		const struct weir_assign *assign = body;

		place->delivery = frame->stream;
		place->group = assign->group;
		place->term = assign->term;
		place->from = assign->from;
	} else if (frame->kind == WEIR_KIND_DELIVER) {
		place->from = ((const struct weir_delivery *)body)->to;
	}
}

static void learn_all(struct storm *storm)
{
	struct rig *rig = storm->rig;

	for (uint32_t i = 0; i < CLIENTS; i++) {
		struct hostile *hostile = &storm->hostile[i];
		const struct rig_worker *worker = &rig->workers[hostile->client.worker];

		for (uint32_t n = 0; n < worker->sent_count; n++) {
			if (weir_path_is_same_peer(&worker->sent[n].path, &hostile->client.path))
				learn(storm, hostile, (const void *)worker->sent[n].bytes);
		}
	}
	rig_forget(rig);
}

// ---- What they do ----

// At times as somebody else, or as nobody.
static void pose(struct storm *storm, struct hostile *hostile)
{
	uint64_t thief = pick(storm, 40);

	hostile->client.session = thief == 0   ? storm->hostile[pick(storm, CLIENTS)].session
				  : thief == 1 ? any(storm)
					       : hostile->session;
}

static struct weir_frame_header header_of(struct storm *storm, struct hostile *hostile, enum weir_kind kind, uint16_t shard)
{
	pose(storm, hostile);
	return (struct weir_frame_header){ .kind = (uint8_t)kind, .topic = RIG_TOPIC, .shard = shard };
}

static void shake_hands(struct hostile *hostile)
{
	const struct weir_frame_header *answer;

	rig_hello(&hostile->client, 0);
	answer = rig_last(&hostile->client, WEIR_KIND_CHALLENGE);
	if (answer)
		rig_hello(&hostile->client, ((const struct weir_challenge *)(const void *)(answer + 1))->cookie);
	answer = rig_last(&hostile->client, WEIR_KIND_WELCOME);
	if (answer)
		hostile->session = ((const struct weir_welcome *)(const void *)(answer + 1))->session;
}

static void say_hello(struct storm *storm, struct hostile *hostile)
{
	switch (pick(storm, 16)) {
	case 0: // another life
		hostile->client.nonce = any(storm);
		rig_hello(&hostile->client, 0);
		break;
	case 1: // the nonce of another
		hostile->client.nonce = storm->hostile[pick(storm, CLIENTS)].client.nonce;
		rig_hello(&hostile->client, hostile->cookie);
		break;
	case 2: // the producer of another, newer
		hostile->client.producer = storm->hostile[pick(storm, CLIENTS)].client.producer;
		hostile->client.epoch = pick(storm, 3);
		hostile->client.nonce = any(storm);
		rig_hello(&hostile->client, 0);
		break;
	case 3:
		rig_hello(&hostile->client, near(storm, hostile->cookie));
		break;
	default:
		shake_hands(hostile);
	}
}

static void publish(struct storm *storm, struct hostile *hostile, uint16_t shard)
{
	struct place *place = &hostile->places[shard];
	uint16_t count = (uint16_t)(1 + pick(storm, 4));

	pose(storm, hostile);
	hostile->client.stream = (uint32_t)near(storm, place->stream);
	hostile->client.is_shared = hostile->lane && pick(storm, 2);
	if (pick(storm, 6)) {
		rig_publish(&hostile->client, shard, near(storm, place->next), count);
		place->next += pick(storm, 3) ? count : 0;
		return;
	}
	// A piece of an event that may never be whole.
	_Alignas(8) uint8_t event[1200] = { 0 };
	const struct weir_event_header header = { .length = (uint32_t)(600 + pick(storm, 40000)),
						  .key = rig_key(storm->rig, shard) };
	uint32_t offset = 8 * (uint32_t)pick(storm, 70);

	memcpy(event, &header, sizeof(header));
	rig_fragment(&hostile->client, near(storm, place->next), event, pick(storm, 2) ? 0 : offset, 512);
}

static void join_or_leave(struct storm *storm, struct hostile *hostile, bool is_join)
{
	struct weir_frame_header header = header_of(storm, hostile, is_join ? WEIR_KIND_JOIN : WEIR_KIND_LEAVE, 0);
	uint32_t group = (uint32_t)pick(storm, GROUPS);
	uint64_t request = pick(storm, 10) ? ++hostile->request : near(storm, hostile->request);
	struct weir_join join = { .request = request, .topic = "positions",
				  .member = pick(storm, 2) ? 1 : near(storm, request) };
	struct weir_leave leave = { .request = request, .member = join.member, .group = storm->rig->groups[group].id.value };

	rig_group_name(join.group, (uint32_t)pick(storm, GROUPS + 1));
	if (is_join)
		rig_send(&hostile->client, &header, &join, sizeof(join));
	else
		rig_send(&hostile->client, &header, &leave, sizeof(leave));
}

static void report(struct storm *storm, struct hostile *hostile)
{
	struct weir_frame_header header = header_of(storm, hostile, WEIR_KIND_REPORT, 0);
	struct weir_report_entry entries[SHARDS];

	header.topic = 0;
	header.count = (uint16_t)(1 + pick(storm, SHARDS));
	for (uint32_t i = 0; i < header.count; i++) {
		uint16_t shard = (uint16_t)pick(storm, SHARDS);
		const struct place *place = &hostile->places[shard];
		uint64_t position = near(storm, place->from);

		entries[i] = (struct weir_report_entry){
			.topic = RIG_TOPIC,
			.shard = shard,
			.flags = (uint16_t)(pick(storm, 3) ? 0 : pick(storm, 4)),
			.stream = (uint32_t)near(storm, place->delivery),
			.term = (uint32_t)near(storm, place->term),
			.received_to = position,
			.settled_to = pick(storm, 3) ? position : near(storm, place->from),
			.limit = pick(storm, 3) ? pick(storm, 1 << 20) : near(storm, 1 << 16),
			.charged = near(storm, 0),
			.group = place->group,
		};
	}
	rig_send(&hostile->client, &header, entries, (uint16_t)(header.count * sizeof(*entries)));
}

static void revoked(struct storm *storm, struct hostile *hostile, uint16_t shard)
{
	const struct place *place = &hostile->places[shard];
	struct weir_frame_header header = header_of(storm, hostile, WEIR_KIND_REVOKED, shard);
	const struct weir_revoke body = { .settled_to = near(storm, place->from), .group = place->group,
					  .term = (uint32_t)near(storm, place->term) };

	header.stream = place->delivery;
	header.sequence = near(storm, place->from);
	rig_send(&hostile->client, &header, &body, sizeof(body));
}

static void control(struct storm *storm, struct hostile *hostile, uint16_t shard)
{
	static const enum weir_kind KINDS[] = { WEIR_KIND_PROBE, WEIR_KIND_PING, WEIR_KIND_BYE };
	enum weir_kind kind = KINDS[pick(storm, 30) ? pick(storm, 2) : 2];
	struct weir_frame_header header = header_of(storm, hostile, kind, shard);

	if (kind == WEIR_KIND_PING || kind == WEIR_KIND_BYE)
		header.topic = header.shard = 0;
	else
		header.stream = hostile->places[shard].stream;
	header.sequence = near(storm, hostile->places[shard].next);
	rig_send(&hostile->client, &header, "", 0);
}

static void close_stream(struct storm *storm, struct hostile *hostile, uint16_t shard)
{
	const struct place *place = &hostile->places[shard];
	struct weir_frame_header header = header_of(storm, hostile, WEIR_KIND_CLOSE, shard);
	const struct weir_close body = { .request = near(storm, place->request) };

	header.stream = (uint32_t)near(storm, place->stream);
	header.sequence = near(storm, place->next);
	rig_send(&hostile->client, &header, &body, sizeof(body));
}

static void open_stream(struct storm *storm, struct hostile *hostile, uint16_t shard)
{
	struct weir_frame_header header = header_of(storm, hostile, WEIR_KIND_OPEN, shard);
	const struct weir_open body = {
		.request = near(storm, ++hostile->request),
		.epoch = pick(storm, 4) ? hostile->client.epoch : near(storm, 1),
		.level = (uint8_t)pick(storm, 3),
	};

	rig_send(&hostile->client, &header, &body, sizeof(body));
}

static void skip(struct storm *storm, struct hostile *hostile, uint16_t shard)
{
	const struct place *place = &hostile->places[shard];

	pose(storm, hostile);
	hostile->client.stream = place->stream;
	rig_skip(&hostile->client, shard, near(storm, place->next), near(storm, 3), (uint16_t)(1 + pick(storm, 47)));
}

// ---- What befalls the router ----

static void calm(struct rig *rig)
{
	for (uint16_t w = 0; w < RIG_WORKERS; w++) {
		rig->workers[w].is_port_blocked = false;
		rig->workers[w].mesh_room = MESH_ROOM;
	}
	rig_forget(rig);
	rig_run(rig);
}

static void move_on(struct storm *storm)
{
	struct rig *rig = storm->rig;
	uint16_t shard;

	if (storm->moving < 0 || rig->shards[storm->moving]->engine != rig->workers[storm->move_to].engine)
		return;
	shard = (uint16_t)storm->moving;
	rig->owner[shard] = storm->move_to;
	const struct weir_message publish = { .kind = WEIR_MESSAGE_SNAPSHOT, .pointer = &rig->snapshot };
	const struct weir_message end = { .kind = WEIR_MESSAGE_FORWARD_END, .topic = RIG_TOPIC, .shard = shard, .request = 78 };
	for (uint16_t worker = 0; worker < rig->options.workers; worker++)
		rig_message(rig, worker, &publish);
	rig_run(rig);
	rig_message(rig, storm->move_from, &end);
	storm->moving = -1;
	storm->moves++;
}

static void move(struct storm *storm)
{
	move_on(storm);
	if (storm->moving >= 0)
		return;
	storm->moving = (int)pick(storm, SHARDS);
	storm->move_from = storm->rig->owner[storm->moving];
	storm->move_to = (uint16_t)((storm->move_from + 1 + pick(storm, RIG_WORKERS - 1)) % RIG_WORKERS);
	rig_move(storm->rig, (uint16_t)storm->moving, storm->move_to);
}

// The last group ends and one of its name, with another id, begins, as control does it: while nothing is on its way.
static void group_again(struct storm *storm)
{
	struct rig *rig = storm->rig;
	struct weir_group_spec *spec = &rig->groups[GROUPS - 1];
	struct weir_message message = { .topic = RIG_TOPIC, .group = spec->id.value, .request = 5 };

	move_on(storm);
	if (storm->moving >= 0)
		return;
	calm(rig);
	message.kind = WEIR_MESSAGE_GROUP_REMOVE;
	for (message.shard = 0; message.shard < SHARDS; message.shard++)
		rig_message(rig, rig->owner[message.shard], &message);
	rig_run(rig);
	message.kind = WEIR_MESSAGE_GROUP_TEARDOWN;
	rig_message(rig, 0, &message);
	rig_run(rig);
	spec->id.value += GROUPS;
	memset(rig->rows[GROUPS - 1], 0, sizeof(rig->rows[GROUPS - 1]));
	message = (struct weir_message){ .kind = WEIR_MESSAGE_GROUP_SETUP, .topic = RIG_TOPIC, .group = spec->id.value,
					 .shard = SHARDS, .request = 5, .pointer = spec };
	rig_message(rig, 0, &message);
	for (uint16_t shard = 0; shard < SHARDS; shard++) {
		struct weir_group_place place = { .spec = *spec, .row = &rig->rows[GROUPS - 1][shard],
						  .delivery = &rig->deliveries[GROUPS - 1][shard] };

		message = (struct weir_message){ .kind = WEIR_MESSAGE_GROUP_CREATE, .topic = RIG_TOPIC, .group = spec->id.value,
						 .shard = shard, .request = 5, .pointer = &place };
		rig_message(rig, rig->owner[shard], &message);
	}
	storm->groups_ended++;
}

static void lane_begin(struct storm *storm, struct hostile *hostile)
{
	struct rig *rig = storm->rig;

	// Numbers are never used again: the last ones of a storm are kept for good.
	if (storm->lane_last == RIG_LANES)
		return;
	if (hostile->lane)
		rig_lane_gone(rig, hostile->lane);
	hostile->lane = ++storm->lane_last;
	rig_lane_use(&hostile->client, hostile->lane);
	hostile->session = 0;
}

static void scribble(struct storm *storm, const struct hostile *hostile)
{
	struct weir_lane_cursor *cursor;

	if (!hostile->lane)
		return;
	cursor = &storm->rig->lanes[hostile->lane].cursors[pick(storm, RIG_CURSORS)];
	cursor->settled_to = near(storm, hostile->places[pick(storm, SHARDS)].from);
	cursor->tag = near(storm, 0);
}

static void befall(struct storm *storm)
{
	struct rig *rig = storm->rig;
	struct rig_worker *worker = &rig->workers[pick(storm, RIG_WORKERS)];

	switch (pick(storm, 16)) {
	case 0:
		worker->is_port_blocked = !worker->is_port_blocked;
		break;
	case 1:
		worker->mesh_room = pick(storm, 3) ? MESH_ROOM : (uint32_t)pick(storm, 4);
		break;
	case 2:
	case 3:
		move(storm);
		break;
	case 4:
		lane_begin(storm, &storm->hostile[CLIENTS - 1 - pick(storm, LANE_CLIENTS)]);
		break;
	case 6:
		group_again(storm);
		break;
	case 5:
		rig_advance_ms(rig, pick(storm, 4000));
		break;
	default:
		rig_advance_ms(rig, pick(storm, 120));
	}
}

static void act(struct storm *storm)
{
	struct hostile *hostile = &storm->hostile[pick(storm, CLIENTS)];
	// Each has two shards that it mostly talks to.
	uint64_t favourite = (uint64_t)(hostile - storm->hostile) + pick(storm, 2);
	uint16_t shard = (uint16_t)((pick(storm, 4) ? favourite : any(storm)) % SHARDS);

	switch (pick(storm, 20)) {
	case 0:
	case 1:
	case 2:
		say_hello(storm, hostile);
		break;
	case 3:
	case 4:
		open_stream(storm, hostile, shard);
		break;
	case 5:
	case 6:
	case 7:
	case 8:
		publish(storm, hostile, shard);
		break;
	case 9:
		if (pick(storm, 3))
			control(storm, hostile, shard);
		else
			close_stream(storm, hostile, shard);
		break;
	case 10:
	case 11:
		join_or_leave(storm, hostile, pick(storm, 4) != 0);
		break;
	case 12:
	case 13:
	case 14:
		report(storm, hostile);
		break;
	case 15:
		revoked(storm, hostile, shard);
		break;
	case 16:
		skip(storm, hostile, shard);
		break;
	case 17:
		scribble(storm, hostile);
		break;
	default:
		befall(storm);
	}
	if (pick(storm, 3) == 0) {
		rig_run(storm->rig);
		move_on(storm);
		learn_all(storm);
	}
}

// ---- Afterwards ----

static bool claim(bool is_true, uint64_t seed, const char *what, uint64_t number)
{
	if (!is_true)
		printf("# WEIR_SEED=%llu: %s: %llu\n", (unsigned long long)seed, what, (unsigned long long)number);
	return is_true;
}

static void fall_silent(struct storm *storm)
{
	struct rig *rig = storm->rig;

	calm(rig);
	// Lanes end, as control ends them when their clients do.
	for (uint32_t i = 0; i < CLIENTS; i++) {
		if (storm->hostile[i].lane)
			rig_lane_gone(rig, storm->hostile[i].lane);
	}
	for (uint32_t ms = 0; ms < SILENCE_MS; ms += 500) {
		rig_advance_ms(rig, 500);
		move_on(storm);
		rig_forget(rig);
	}
}

static bool is_empty(struct storm *storm, uint64_t seed)
{
	const struct rig *rig = storm->rig;
	bool is_fine = claim(storm->moving < 0, seed, "a shard is still on its way", (uint64_t)storm->moving);

	for (uint16_t w = 0; w < RIG_WORKERS; w++) {
		const struct weir_engine *engine = rig->workers[w].engine;

		is_fine &= claim(engine->sessions.live == 0, seed, "sessions are left", engine->sessions.live);
		is_fine &= claim(engine->park.used == 0, seed, "parked frames are left", engine->park.used);
		is_fine &= claim(engine->reassembly.used == 0, seed, "reassembly slots are left", engine->reassembly.used);
		is_fine &= claim(rig->workers[w].message_count == 0 && rig->workers[w].mesh_count == 0, seed,
				 "messages or frames wait", rig->workers[w].message_count + rig->workers[w].mesh_count);
	}
	for (uint32_t s = 0; s < SHARDS; s++) {
		const struct weir_shard *shard = rig->shards[s];

		is_fine &= claim(shard->streams_used == 0, seed, "streams are left", shard->streams_used);
		is_fine &= claim(shard->pins_used == 0, seed, "pins are left", shard->pins_used);
		for (uint32_t g = 0; g < GROUPS; g++)
			is_fine &= claim(rig->rows[g][s].state == WEIR_DELIVERY_IDLE, seed, "a term is left in state",
					 rig->rows[g][s].state);
	}
	return is_fine;
}

// A producer and a consumer that come now get every shard, and its events.
static bool serves(struct storm *storm, uint64_t seed)
{
	struct rig *rig = storm->rig;
	struct rig_client producer;
	struct consumer *consumer = consumer_create(rig, 1, 900, 1472);
	bool is_fine = true;

	consumers_run(rig, &consumer, 1);
	is_fine &= claim(consumer_held(consumer) == SHARDS, seed, "shards that the newcomer got", consumer_held(consumer));
	for (int i = 0; i < 50; i++) {
		consumer_settle_all(consumer);
		consumers_run(rig, &consumer, 1);
	}
	rig_forget(rig);
	consumer->seen = 0;
	rig_client_init(rig, &producer, 2, 901);
	rig_connect(&producer);
	for (uint16_t shard = 0; shard < SHARDS; shard++) {
		uint64_t head = rig->shards[shard]->log.head_offset;

		const struct weir_opened *opened = rig_open(&producer, shard, WEIR_ACK_ROUTED);

		if (!claim(opened != NULL, seed, "the newcomer cannot open shard", shard)) {
			is_fine = false;
			continue;
		}
		rig_publish(&producer, shard, producer.next, 3);
		consumers_run(rig, &consumer, 1);
		is_fine &= claim(rig->shards[shard]->log.head_offset == head + 3, seed, "no events were taken by shard", shard);
		is_fine &= claim(consumer->shards[shard].received_to == head + 3, seed, "no events came from shard", shard);
	}
	free(consumer);
	return is_fine;
}

static bool blow(uint64_t seed, struct storm *sum)
{
	const struct rig_options options = {
		.workers = RIG_WORKERS,
		.shards = SHARDS,
		.sessions_max = 16,
		.park_frames = 24,
		.reassembly_slots = 2,
		.streams_max = 12,
		.log_bytes = 1u << 20,
		.groups = GROUPS,
		.progress_timeout_ns = 2000000000u,
		// The consumers' side of the storm is about hold groups: what nobody settles is settled by the newcomer.
		.group_kind = seed % 4 ? WEIR_GROUP_HOLD : WEIR_GROUP_FOLLOW,
		.quota_bytes = 1u << 18,
	};
	static struct storm storm;
	bool is_fine;

	storm = (struct storm){ .rig = rig_create(&options), .random = seed, .moving = -1 };
	for (uint16_t i = 0; i < CLIENTS; i++) {
		struct hostile *hostile = &storm.hostile[i];

		rig_client_init(storm.rig, &hostile->client, i % RIG_WORKERS, i + 1);
		if (i >= CLIENTS - LANE_CLIENTS)
			lane_begin(&storm, hostile);
	}
	for (uint32_t i = 0; i < ACTS; i++)
		act(&storm);
	fall_silent(&storm);
	is_fine = is_empty(&storm, seed);
	is_fine &= claim(rig_balances(storm.rig), seed, "rows do not balance", 0);
	is_fine &= serves(&storm, seed);
	is_fine &= claim(rig_balances(storm.rig), seed, "rows do not balance after the newcomers", 0);
	for (uint32_t kind = 0; kind < WEIR_KIND_LIMIT; kind++)
		sum->met[kind] += storm.met[kind];
	sum->moves += storm.moves;
	sum->groups_ended += storm.groups_ended;
	rig_destroy(storm.rig);
	return is_fine;
}

static const uint8_t ANSWERS[] = { WEIR_KIND_CHALLENGE, WEIR_KIND_WELCOME, WEIR_KIND_PONG, WEIR_KIND_BYE, WEIR_KIND_ERROR,
				   WEIR_KIND_OPENED, WEIR_KIND_ACK, WEIR_KIND_REFUSE, WEIR_KIND_CLOSED, WEIR_KIND_JOINED,
				   WEIR_KIND_ASSIGN, WEIR_KIND_DELIVER, WEIR_KIND_REVOKE, WEIR_KIND_LEFT };

int main(int count, char **words)
{
	const char *budget = getenv("WEIR_BUDGET_S");
	const char *seed = getenv("WEIR_SEED");
	double seconds = getenv("WEIR_LONG") ? 3600 : budget && atoi(budget) > 20 ? atoi(budget) / 4.0 : 5;
	uint64_t first = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 1000;
	static struct storm sum;
	uint64_t storms = 0, failed = 0, unmet = 0;
	time_t end;

	seconds = count > 1 ? atof(words[1]) : seconds;
	end = time(NULL) + (time_t)(seconds + 1);
	printf("1..2\n");
	do {
		failed += !blow(first + storms, &sum);
		storms++;
	} while (!seed && time(NULL) < end && failed < 5);
	for (uint32_t i = 0; i < sizeof(ANSWERS) / sizeof(*ANSWERS); i++)
		unmet += sum.met[ANSWERS[i]] == 0;
	unmet += sum.moves == 0 || sum.groups_ended == 0;
	printf("%s 1 - after each storm the router is as new\n", failed ? "not ok" : "ok");
	printf("%s 2 - the storms got everywhere: every kind of answer came\n", unmet && !seed ? "not ok" : "ok");
	printf("# %llu storms of %u acts from seed %llu on, %llu failed\n#", (unsigned long long)storms, ACTS,
	       (unsigned long long)first, (unsigned long long)failed);
	for (uint32_t i = 0; i < sizeof(ANSWERS) / sizeof(*ANSWERS); i++)
		printf(" %u:%llu", ANSWERS[i], (unsigned long long)sum.met[ANSWERS[i]]);
	printf(", %llu shards moved, %llu groups ended\n", (unsigned long long)sum.moves,
	       (unsigned long long)sum.groups_ended);
	return failed || (unmet && !seed);
}
