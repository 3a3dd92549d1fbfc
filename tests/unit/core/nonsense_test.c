// What a session may send that is well-formed and makes no sense: every kind, every field, sealed with a good checksum, so
// that it reaches the code behind the checks. Nothing breaks, nothing grows, every frame is accounted for, and a producer
// beside it notices nothing. Built with sanitizers it is the engine's fuzzer.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/core/rig.h"

#define FRAMES 60000

static uint64_t near(uint64_t value)
{
	static const uint64_t edges[] = { 0, 1, UINT32_MAX, 1ull << 62, 1ull << 63, UINT64_MAX };
	switch (rand() % 4) {
	case 0:
		return value;
	case 1:
		return value + (uint64_t)(rand() % 9) - 4;
	case 2:
		return edges[rand() % 6];
	default:
		return (uint64_t)rand() << 33 ^ (uint64_t)rand();
	}
}

static void fill(uint8_t *body, uint32_t length)
{
	for (uint32_t i = 0; i < length; i += 4) {
		uint32_t word = rand() % 3 ? (uint32_t)(rand() % 8) : (uint32_t)rand();
		memcpy(body + i, &word, length - i < 4 ? length - i : 4);
	}
}

// A body of a size the kind may have.
static uint16_t body_make(struct weir_frame_header *header, uint8_t *body)
{
	static const uint16_t sizes[WEIR_KIND_LIMIT] = {
		[WEIR_KIND_METADATA] = sizeof(struct weir_metadata_ask), [WEIR_KIND_OPEN] = sizeof(struct weir_open),
		[WEIR_KIND_SKIP] = sizeof(struct weir_skip),             [WEIR_KIND_JOIN] = sizeof(struct weir_join),
		[WEIR_KIND_REVOKED] = sizeof(struct weir_revoke),        [WEIR_KIND_LEAVE] = sizeof(struct weir_leave),
		[WEIR_KIND_HELLO] = 1472 - sizeof(struct weir_frame_header),
	};
	uint16_t length = sizes[header->kind];
	if (header->kind == WEIR_KIND_REPORT) {
		header->count = (uint16_t)(1 + rand() % 20);
		length = (uint16_t)(header->count * sizeof(struct weir_report_entry));
	} else if (header->kind == WEIR_KIND_PUBLISH) {
		header->count = (uint16_t)(1 + rand() % 3);
		length = (uint16_t)(header->count * 16 + 8 * (rand() % 20));
	}
	fill(body, length);
	if (header->kind == WEIR_KIND_PUBLISH && rand() % 3 == 0) {
		header->flags = WEIR_FLAG_FRAGMENT;
		header->count = 1;
		length = (uint16_t)(16 + 8 * (rand() % 20));
		struct weir_fragment fragment = { .total = (uint32_t)(16 + rand() % 600) };
		fragment.offset = 8u * (uint32_t)(rand() % 60);
		memcpy(body, &fragment, sizeof(fragment));
	}
	if (header->kind == WEIR_KIND_JOIN && rand() % 2) {
		const struct weir_join join = { .request = 1, .topic = "positions", .group = "map" };
		memcpy(body, &join, sizeof(join));
	}
	if (header->kind == WEIR_KIND_REPORT) {
		struct weir_report_entry *entries = (void *)body;
		for (uint16_t i = 0; i < header->count; i++) {
			entries[i].topic = RIG_TOPIC;
			entries[i].shard = (uint16_t)(rand() % 6);
			entries[i].stream = (uint32_t)(rand() % 2);
			entries[i].term = (uint32_t)(rand() % 4);
			entries[i].group = RIG_GROUP;
			entries[i].received_to = near(entries[i].received_to);
			entries[i].settled_to = near(entries[i].settled_to);
			entries[i].limit = near(1u << 20);
		}
	}
	return length;
}

static void nonsense_send(struct rig_client *client)
{
	static const uint8_t kinds[] = {
		WEIR_KIND_HELLO, WEIR_KIND_PING,  WEIR_KIND_METADATA, WEIR_KIND_OPEN, WEIR_KIND_PUBLISH, WEIR_KIND_PUBLISH,
		WEIR_KIND_PROBE, WEIR_KIND_SKIP,  WEIR_KIND_CLOSE,    WEIR_KIND_JOIN, WEIR_KIND_REPORT,  WEIR_KIND_REVOKED,
		WEIR_KIND_LEAVE, WEIR_KIND_REPORT, WEIR_KIND_PUBLISH, WEIR_KIND_SKIP,
	};
	_Alignas(8) uint8_t body[WEIR_FRAME_MAX] = { 0 };
	uint16_t shard = (uint16_t)(rand() % 5);
	const struct weir_shard *target = shard < 4 ? client->rig->shards[shard] : client->rig->shards[0];
	struct weir_frame_header header = {
		.kind = kinds[rand() % (int)sizeof(kinds)],
		.topic = rand() % 20 ? RIG_TOPIC : (uint32_t)rand(),
		.shard = shard,
		.stream = rand() % 10 ? (uint32_t)(rand() % 6) : (uint32_t)near(1u << 30),
	};
	header.sequence = near(target->streams[header.stream % target->streams_max].next);
	uint16_t length = body_make(&header, body);
	uint64_t session = client->session;
	if (header.kind == WEIR_KIND_HELLO)
		client->session = 0;
	rig_send(client, &header, body, length);
	client->session = session;
}

Test(nonsense, breaks_nothing_grows_nothing_and_harms_nobody_else)
{
	const struct rig_options options = {
		.workers = 3,
		.shards = 4,
		.has_group = true,
		.event_max = 512,
		.policy = WEIR_POLICY_DROP_OLD,
		.streams_max = 8,
	};
	struct rig *rig = rig_create(&options);
	struct rig_client vandals[4];
	struct rig_client producer;
	srand(20);
	rig_client_init(rig, &producer, 0, 100);
	rig_connect(&producer);
	cr_assert_not_null(rig_open(&producer, 1, WEIR_ACK_ROUTED));
	for (uint16_t i = 0; i < 4; i++) {
		rig_client_init(rig, &vandals[i], i % 3, i);
		vandals[i].epoch = i;
		rig_connect(&vandals[i]);
	}
	uint64_t next = 0;
	uint16_t owner = 1;
	for (int i = 0; i < FRAMES; i++) {
		nonsense_send(&vandals[rand() % 4]);
		if (i % 20 == 0) {
			rig_publish(&producer, 1, next, 5);
			next += 5;
		}
		if (i % 50 == 0) {
			rig_forget(rig);
			rig_run(rig);
			rig->now_ns += (uint64_t)rand() % 100000000;
		}
		if (i % 4000 == 0) {
			// The shard moves; its old owner stops forwarding when all know.
			uint16_t to = (uint16_t)((owner + 1) % 3);
			rig_move(rig, 1, to);
			rig_run(rig);
			rig->owner[1] = to;
			rig_message(rig, owner, &(struct weir_message){
				.kind = WEIR_MESSAGE_FORWARD_END, .topic = RIG_TOPIC, .shard = 1, .request = 78,
			});
			owner = to;
			rig->done_count = 0;
		}
	}
	rig_run(rig);
	for (uint16_t i = 0; i < 3; i++)
		cr_assert_leq(rig->workers[i].row.sessions, 3);
	cr_assert(rig_balances(rig));
	rig_forget(rig);
	rig_control(&producer, WEIR_KIND_PROBE, 1, 0);
	rig_run(rig);
	cr_assert_eq(rig_ack(&producer)->next, next, "the producer beside them lost nothing");
	cr_assert_gt(rig->shards[0]->row.offered, 100);
	cr_assert_gt(rig->workers[0].row.handed_on, 1000);
	rig_destroy(rig);
}

// Cuts the frame short, or changes a byte of its header.
static void damage(struct weir_arrival *arrival)
{
	uint8_t *bytes = (uint8_t *)(uintptr_t)arrival->frame;
	if (rand() % 2) {
		arrival->size = (uint32_t)rand() % arrival->size;
		arrival->frame = realloc(bytes, arrival->size + (arrival->size == 0));
	} else {
		bytes[(uint32_t)rand() % sizeof(struct weir_frame_header)] ^= (uint8_t)(1 + rand() % 255);
	}
}

// So many sessions and such bursts that frames are looked at ahead of their turn, before they were checked.
Test(nonsense, damaged_frames_harm_nobody_in_bursts_of_many_sessions)
{
	enum { SESSIONS = 1100, BURSTS = 1500 };
	static struct rig_client clients[SESSIONS];
	static uint64_t next[SESSIONS];
	const struct rig_options options = { .shards = 4, .sessions_max = 2048, .streams_max = SESSIONS, .behind_frames = 16 };
	struct rig *rig = rig_create(&options);
	srand(22);
	for (uint16_t i = 0; i < SESSIONS; i++) {
		rig_client_init(rig, &clients[i], 0, i);
		rig_connect(&clients[i]);
		cr_assert_not_null(rig_open(&clients[i], i % 4, WEIR_ACK_ROUTED));
		rig_forget(rig);
	}
	uint64_t refused = 0;
	for (int burst = 0; burst < BURSTS; burst++) {
		rig_burst_gather(rig);
		for (int i = rand() % RIG_BURST; i >= 0; i--) {
			uint32_t number = (uint32_t)rand() % SESSIONS;
			struct rig_client *client = &clients[number];
			uint16_t count = rand() % 2 ? 1 : 17;
			client->flags = rand() % 4 ? WEIR_FLAG_LATER : 0;
			rig_publish(client, number % 4, next[number], count);
			if (rand() % 4) {
				next[number] += count;
				continue;
			}
			damage(&rig->burst[rig->burst_count - 1]);
			refused++;
		}
		rig_burst_arrive(rig, 0);
		rig_run(rig);
		rig_forget(rig);
	}
	uint64_t named = 0;
	for (uint32_t reason = 0; reason < WEIR_REASON_ROOM; reason++)
		named += rig->workers[0].row.refused[reason];
	cr_assert_eq(named, refused);
	for (uint32_t i = 0; i < SESSIONS; i++) {
		rig_control(&clients[i], WEIR_KIND_PROBE, i % 4, 0);
		rig_run(rig);
		cr_assert_eq(rig_ack(&clients[i])->next, next[i], "session %u", i);
		rig_forget(rig);
	}
	cr_assert(rig_balances(rig));
	rig_destroy(rig);
}

Test(nonsense, damaged_frames_are_refused_by_name_and_reach_no_shard)
{
	struct rig *rig = rig_create(&(struct rig_options){ 0 });
	struct rig_client client;
	srand(21);
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	rig_open(&client, 0, WEIR_ACK_ROUTED);
	_Alignas(8) uint8_t good[1488] = { 0 };
	struct weir_frame_header *frame = (void *)good;
	*frame = (struct weir_frame_header){
		.kind = WEIR_KIND_PUBLISH, .session = client.session, .topic = RIG_TOPIC, .stream = client.stream, .count = 18,
	};
	for (uint32_t i = 0; i < 18; i++) {
		const struct weir_event_header event = { .length = 80, .key = i };
		memcpy(good + sizeof(*frame) + i * 80, &event, sizeof(event));
	}
	weir_frame_seal(frame, 1440);
	uint64_t handed_on = weir_engine_row(rig->workers[0].engine)->handed_on;
	for (int i = 0; i < 100000; i++) {
		_Alignas(8) uint8_t bad[1488];
		memcpy(bad, good, sizeof(good));
		uint32_t size = rand() % 3 ? sizeof(good) : (uint32_t)rand() % sizeof(good);
		for (int flips = size == sizeof(good) ? 1 + rand() % 8 : 0; flips; flips--) {
			uint32_t at = (uint32_t)rand() % (rand() % 2 ? 48u : 1488u);
			bad[at] = (uint8_t)(bad[at] + 1 + rand() % 255);
		}
		if (size != sizeof(good) || memcmp(bad, good, size) != 0)
			rig_arrive(rig, 0, &client.path, bad, size);
	}
	rig_run(rig);
	cr_assert_eq(weir_engine_row(rig->workers[0].engine)->handed_on, handed_on);
	cr_assert_eq(rig->shards[0]->row.offered, 0);
	cr_assert(rig_balances(rig));
	rig_destroy(rig);
}
