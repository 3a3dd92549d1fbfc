// Claims about members that read the shard log where it lies, and about publishes whose body their client may still change.
// The client is made of frames and of the two lines it shares with the router. Every test ends with rows in balance.
#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/core/consumer.h"
#include "wire/key.h"

#define MS 1000000ull
#define LANE 1

struct reader {
	struct rig_client client;
	uint64_t lane;
	uint32_t cursor;
	uint64_t tag;
	uint32_t stream;
	struct weir_assign assign;
	struct weir_assign_place place;
};

static struct rig *rig;
static struct rig_client producer;
static struct reader reader;

static void reader_join(struct reader *own, uint16_t worker, uint64_t lane)
{
	*own = (struct reader){ .lane = lane, .cursor = 3, .tag = 70 + lane };
	rig_client_init(rig, &own->client, worker, (uint16_t)(10 + lane));
	rig_lane_use(&own->client, lane);
	rig_connect(&own->client);
	struct weir_frame_header header = { .kind = WEIR_KIND_JOIN };
	struct weir_join join = { .request = 99, .topic = "positions", .group = "map" };
	rig_send(&own->client, &header, &join, sizeof(join));
	rig_run(rig);
}

// Takes the last assign; whether it offers to read in place.
static bool reader_assigned(struct reader *own)
{
	const struct weir_frame_header *frame = rig_last(&own->client, WEIR_KIND_ASSIGN);
	cr_assert_not_null(frame);
	own->stream = frame->stream;
	memcpy(&own->assign, frame + 1, sizeof(own->assign));
	memcpy(&own->place, (const uint8_t *)(frame + 1) + sizeof(own->assign), sizeof(own->place));
	return frame->flags & WEIR_FLAG_IN_PLACE;
}

static void reader_report(struct reader *own, uint16_t flags, uint64_t cursor)
{
	struct weir_frame_header header = { .kind = WEIR_KIND_REPORT, .count = 1 };
	const struct weir_report_entry entry = {
		.topic = RIG_TOPIC,
		.flags = flags,
		.stream = own->stream,
		.term = own->assign.term,
		.received_to = own->assign.from,
		.settled_to = own->assign.from,
		.limit = cursor,
		.charged = own->tag,
		.group = RIG_GROUP,
	};
	rig_send(&own->client, &header, &entry, sizeof(entry));
	rig_run(rig);
}

static void settle(const struct reader *own, uint64_t tag, uint64_t offset)
{
	rig->lanes[own->lane].cursors[own->cursor] = (struct weir_lane_cursor){ .tag = tag, .settled_to = offset };
}

static void reader_begin(struct reader *own, uint16_t worker, uint64_t lane)
{
	reader_join(own, worker, lane);
	cr_assert(reader_assigned(own));
	settle(own, own->tag, own->assign.from);
	reader_report(own, WEIR_REPORT_IN_PLACE, own->cursor);
}

static void reader_revoked(struct reader *own, uint64_t settled_to)
{
	struct weir_frame_header header = {
		.kind = WEIR_KIND_REVOKED, .topic = RIG_TOPIC, .stream = own->stream, .sequence = settled_to,
	};
	const struct weir_revoke answer = { .settled_to = settled_to, .group = RIG_GROUP, .term = own->assign.term };
	rig_send(&own->client, &header, &answer, sizeof(answer));
	rig_run(rig);
}

static void client_send(struct rig_client *client, enum weir_kind kind)
{
	struct weir_frame_header header = { .kind = (uint8_t)kind };
	rig_send(client, &header, "", 0);
	rig_run(rig);
}

static void begin(const struct rig_options *options)
{
	struct rig_options own = *options;
	own.has_group = true;
	rig = rig_create(&own);
	rig_client_init(rig, &producer, 0, 1);
	rig_connect(&producer);
	cr_assert_not_null(rig_open(&producer, 0, WEIR_ACK_ROUTED));
}

static void setup(void)
{
	begin(&(struct rig_options){ 0 });
}

static void setup_small_log(void)
{
	begin(&(struct rig_options){ .log_bytes = 64u << 10 });
}

static void setup_two_workers(void)
{
	begin(&(struct rig_options){ .workers = 2 });
}

static void setup_progress(void)
{
	begin(&(struct rig_options){ .progress_timeout_ns = 500 * MS });
}

static const struct weir_group_row *row(void)
{
	return &rig->group_rows[0];
}

static const struct weir_shard_row *shard_row(void)
{
	return &rig->shard_rows[0];
}

static void teardown(void)
{
	rig_run(rig);
	cr_expect(rig_balances(rig));
	uint64_t dropped = 0;
	for (int i = 0; i < (int)WEIR_REASON_ROOM; i++)
		dropped += row()->dropped[i];
	cr_expect_eq(row()->head_offset - row()->start_offset, row()->settled + row()->held + dropped);
	rig_destroy(rig);
}

TestSuite(reader, .init = setup, .fini = teardown, .timeout = 30);
TestSuite(reader_small, .init = setup_small_log, .fini = teardown, .timeout = 30);
TestSuite(reader_two, .init = setup_two_workers, .fini = teardown, .timeout = 30);
TestSuite(reader_progress, .init = setup_progress, .fini = teardown, .timeout = 30);

// Publishes `frames` frames of 10 and runs.
static void publish(uint32_t frames)
{
	for (uint32_t i = 0; i < frames; i++, producer.next += 10)
		rig_publish(&producer, 0, producer.next, 10);
	rig_run(rig);
}

Test(reader, is_told_where_the_term_begins_in_the_log)
{
	publish(3);
	reader_begin(&reader, 0, LANE);
	cr_expect_eq(reader.assign.from, 0);
	cr_expect_eq(reader.place.position, 0);
	cr_expect_eq(reader.place.run_offset, 0);
	cr_expect_eq(rig->heads[0].incarnation, 1000);
	cr_expect_eq(rig->heads[0].head, rig->shards[0]->log.head);
	cr_expect_eq(row()->state, WEIR_DELIVERY_ACTIVE);
	cr_expect_eq(row()->lane, LANE);
}

Test(reader, in_the_middle_of_a_run_begins_at_the_run)
{
	publish(3);
	reader_begin(&reader, 0, LANE);
	settle(&reader, reader.tag, 15);
	rig_run(rig);
	cr_expect_eq(row()->settled_to, 15);
	client_send(&reader.client, WEIR_KIND_BYE);
	struct reader next;
	reader_begin(&next, 0, 2);
	cr_expect_eq(next.assign.from, 15);
	cr_expect_eq(next.place.run_offset, 10);
	cr_expect_eq(weir_log_run(&rig->shards[0]->log, next.place.position)->sequence, 10);
	cr_expect_eq(next.assign.redelivered_to, 30);
}

Test(reader, gets_again_what_it_takes_not_what_lies_there)
{
	publish(3);
	reader_begin(&reader, 0, LANE);
	settle(&reader, reader.tag, 5);
	client_send(&reader.client, WEIR_KIND_BYE);
	struct reader next;
	reader_begin(&next, 0, 2);
	publish(1);
	cr_expect_eq(row()->redelivered, 0, "nothing was taken yet");
	settle(&next, next.tag, 12);
	rig_run(rig);
	cr_expect_eq(row()->redelivered, 7);
	struct weir_frame_header header = { .kind = WEIR_KIND_LEAVE };
	struct weir_leave leave = { .group = RIG_GROUP };
	rig_send(&next.client, &header, &leave, sizeof(leave));
	rig_run(rig);
	reader_revoked(&next, 35);
	cr_expect_eq(row()->redelivered, 25, "what lies beyond was never handed out");
}

Test(reader, gets_no_frames_and_is_woken_once_a_turn)
{
	reader_begin(&reader, 0, LANE);
	uint32_t before = rig->lanes[LANE].wakes;
	publish(5);
	rig_advance_ms(rig, 2000);
	cr_expect_eq(rig_count(&reader.client, WEIR_KIND_DELIVER), 0);
	cr_expect_eq(rig->lanes[LANE].wakes, before + 1);
	cr_expect_eq(rig->heads[0].head, rig->shards[0]->log.head);
	cr_expect_eq(row()->sent_to, 50);
	cr_expect_eq(row()->received_to, 50);
	cr_expect_eq(row()->sent_events, 50);
	cr_expect_eq(row()->settled_to, 0);
}

Test(reader, settles_by_its_cursor)
{
	reader_begin(&reader, 0, LANE);
	publish(5);
	publish(5);
	for (uint64_t offset = 1; offset <= 100; offset += 7) {
		settle(&reader, reader.tag, offset);
		rig_run(rig);
		cr_expect_eq(row()->settled_to, offset);
		cr_expect_eq(row()->settled + row()->held, 100);
		const struct weir_cursor *cursor = &rig->shards[0]->deliveries[0]->settled;
		cr_expect_eq(cursor->offset, offset / 10 * 10);
		cr_expect_eq(cursor->bytes, offset % 10 * 80);
	}
	settle(&reader, reader.tag, 100);
	rig_run(rig);
	cr_expect_eq(rig->shards[0]->hold, rig->shards[0]->log.head);
}

Test(reader, that_lies_settles_nothing_but_its_own)
{
	reader_begin(&reader, 0, LANE);
	publish(3);
	settle(&reader, reader.tag + 1, 20);
	rig_run(rig);
	cr_expect_eq(row()->settled_to, 0);
	settle(&reader, reader.tag, 12);
	rig_run(rig);
	settle(&reader, reader.tag, 3);
	rig_run(rig);
	cr_expect_eq(row()->settled_to, 12);
	settle(&reader, reader.tag, UINT64_MAX);
	rig_run(rig);
	cr_expect_eq(row()->settled_to, 30);
	publish(1);
	rig_run(rig);
	cr_expect_leq(row()->settled_to, row()->head_offset);
}

Test(reader, with_a_cursor_out_of_range_is_no_answer)
{
	reader_join(&reader, 0, LANE);
	cr_assert(reader_assigned(&reader));
	reader_report(&reader, WEIR_REPORT_IN_PLACE, RIG_CURSORS);
	cr_expect_eq(row()->state, WEIR_DELIVERY_ASSIGNING);
	reader_report(&reader, WEIR_REPORT_IN_PLACE, UINT64_MAX);
	cr_expect_eq(row()->state, WEIR_DELIVERY_ASSIGNING);
	reader_report(&reader, WEIR_REPORT_IN_PLACE, RIG_CURSORS - 1);
	cr_expect_eq(row()->state, WEIR_DELIVERY_ACTIVE);
}

Test(reader, that_declines_gets_frames)
{
	publish(2);
	reader_join(&reader, 0, LANE);
	cr_assert(reader_assigned(&reader));
	reader_report(&reader, 0, 1u << 20);
	cr_expect_eq(rig_count(&reader.client, WEIR_KIND_DELIVER), 2);
	cr_expect_eq(row()->lane, 0);
	settle(&reader, reader.tag, 20);
	rig_run(rig);
	cr_expect_eq(row()->settled_to, 0);
}

Test(reader_small, holds_the_log_until_it_settles)
{
	reader_begin(&reader, 0, LANE);
	publish(60);
	publish(60);
	cr_expect_gt(rig_count(&producer, WEIR_KIND_REFUSE), 0);
	uint64_t accepted = shard_row()->accepted;
	cr_expect_lt(accepted, 1200);
	producer.next = accepted;
	settle(&reader, reader.tag, accepted);
	// Not even a turn between: the refusal asks the cursor first.
	rig_publish(&producer, 0, producer.next, 10);
	rig_run(rig);
	cr_expect_geq(shard_row()->accepted, accepted + 10);
}

Test(reader, that_revokes_leaves_no_pin)
{
	reader_begin(&reader, 0, LANE);
	publish(3);
	struct weir_frame_header header = { .kind = WEIR_KIND_LEAVE };
	struct weir_leave leave = { .group = RIG_GROUP };
	rig_send(&reader.client, &header, &leave, sizeof(leave));
	rig_run(rig);
	cr_expect_eq(row()->state, WEIR_DELIVERY_REVOKING);
	publish(1);
	reader_revoked(&reader, 35);
	cr_expect_eq(row()->state, WEIR_DELIVERY_IDLE);
	cr_expect_eq(row()->settled_to, 35);
	cr_expect_eq(shard_row()->pins, 0);
	cr_expect_eq(rig->shards[0]->deliveries[0]->redelivered_to, 35);
}

Test(reader, that_stays_silent_is_pinned_until_its_lane_is_gone)
{
	reader_begin(&reader, 0, LANE);
	publish(3);
	settle(&reader, reader.tag, 12);
	rig_advance_ms(rig, 4000);
	cr_expect_eq(row()->state, WEIR_DELIVERY_IDLE);
	cr_expect_eq(row()->settled_to, 12);
	cr_expect_eq(shard_row()->pins, 1);
	cr_expect_eq(shard_row()->pin_lane, LANE);
	cr_expect_gt(shard_row()->pin_bytes, 0);
	cr_expect(shard_row()->pin_since_ns <= rig->now_ns && shard_row()->pin_since_ns + 4000000000u > rig->now_ns);
	struct reader next;
	reader_begin(&next, 0, 2);
	cr_expect_eq(next.assign.from, 12);
	settle(&next, next.tag, 30);
	rig_run(rig);
	cr_expect_eq(row()->settled_to, 30);
	cr_expect_lt(rig->shards[0]->hold, rig->shards[0]->log.head);
	cr_expect_eq(weir_log_run(&rig->shards[0]->log, rig->shards[0]->hold)->sequence, 10);
	rig_lane_gone(rig, LANE);
	rig_run(rig);
	cr_expect_eq(shard_row()->pins, 0);
	cr_expect_eq(shard_row()->pin_lane, 0);
	cr_expect_eq(rig->shards[0]->hold, rig->shards[0]->log.head);
}

Test(reader, that_begins_anew_lets_its_pins_go)
{
	reader_begin(&reader, 0, LANE);
	publish(3);
	rig_advance_ms(rig, 4000);
	cr_expect_eq(shard_row()->pins, 1);
	reader.client.nonce++;
	rig_connect(&reader.client);
	cr_expect_eq(shard_row()->pins, 0);
}

Test(reader, that_begins_anew_while_it_reads_is_not_pinned)
{
	reader_begin(&reader, 0, LANE);
	publish(3);
	settle(&reader, reader.tag, 7);
	reader.client.nonce++;
	rig_connect(&reader.client);
	cr_expect_eq(row()->state, WEIR_DELIVERY_IDLE);
	cr_expect_eq(row()->settled_to, 7);
	cr_expect_eq(shard_row()->pins, 0);
}

Test(reader, whose_lane_goes_keeps_what_it_settled_last)
{
	reader_begin(&reader, 0, LANE);
	publish(3);
	settle(&reader, reader.tag, 25);
	rig_lane_gone(rig, LANE);
	rig_run(rig);
	cr_expect_eq(row()->state, WEIR_DELIVERY_IDLE);
	cr_expect_eq(row()->settled_to, 25);
	cr_expect_eq(shard_row()->pins, 0);
	cr_expect_eq(rig->shards[0]->deliveries[0]->redelivered_to, 30);
}

Test(reader, whose_lane_goes_before_it_reported_may_have_read)
{
	reader_join(&reader, 0, LANE);
	publish(2);
	rig_lane_gone(rig, LANE);
	rig_run(rig);
	cr_expect_eq(row()->state, WEIR_DELIVERY_IDLE);
	cr_expect_eq(rig->shards[0]->deliveries[0]->redelivered_to, 20);
}

Test(reader, whose_lane_goes_while_it_is_revoked_is_over_at_once)
{
	reader_begin(&reader, 0, LANE);
	publish(1);
	struct weir_frame_header header = { .kind = WEIR_KIND_LEAVE };
	struct weir_leave leave = { .group = RIG_GROUP };
	rig_send(&reader.client, &header, &leave, sizeof(leave));
	rig_run(rig);
	rig_lane_gone(rig, LANE);
	rig_run(rig);
	cr_expect_eq(row()->state, WEIR_DELIVERY_IDLE);
	cr_expect_eq(shard_row()->pins, 0);
}

Test(reader_progress, that_settles_nothing_is_revoked_and_its_late_answer_lets_the_pin_go)
{
	reader_begin(&reader, 0, LANE);
	publish(3);
	for (int i = 0; i < 100 && shard_row()->pins == 0; i++) {
		rig_advance_ms(rig, 100);
		client_send(&reader.client, WEIR_KIND_PING);
		rig_forget(rig);
	}
	cr_expect_eq(shard_row()->pins, 1, "the lease of the revoke has passed");
	reader_revoked(&reader, 30);
	cr_expect_eq(shard_row()->pins, 0);
	cr_expect_eq(row()->settled_to, 0, "too late to settle");
}

Test(reader_progress, that_settles_is_not_revoked)
{
	reader_begin(&reader, 0, LANE);
	for (uint64_t i = 1; i < 60; i++) {
		publish(1);
		settle(&reader, reader.tag, i * 10 - 5);
		rig_advance_ms(rig, 100);
		client_send(&reader.client, WEIR_KIND_PING);
		rig_forget(rig);
	}
	cr_expect_eq(row()->state, WEIR_DELIVERY_ACTIVE);
}

Test(reader, term_waits_for_a_pin_when_there_is_none)
{
	// Each reads a little, falls silent, and keeps its lane.
	for (uint64_t lane = 1; lane <= WEIR_PINS_MAX; lane++) {
		publish(1);
		reader_begin(&reader, 0, lane);
		rig_advance_ms(rig, 4000);
		rig_forget(rig);
		cr_assert_eq(shard_row()->pins, lane);
	}
	rig_connect(&producer);
	reader_begin(&reader, 0, WEIR_PINS_MAX + 1);
	rig_advance_ms(rig, 10000);
	rig_forget(rig);
	cr_expect_eq(row()->state, WEIR_DELIVERY_REVOKING);
	cr_expect_eq(shard_row()->pins, WEIR_PINS_MAX);
	rig_lane_gone(rig, 5);
	rig_run(rig);
	cr_expect_eq(row()->state, WEIR_DELIVERY_IDLE);
	cr_expect_eq(shard_row()->pins, WEIR_PINS_MAX);
	for (uint64_t lane = 1; lane <= WEIR_PINS_MAX + 1; lane++) {
		if (lane != 5)
			rig_lane_gone(rig, lane);
	}
	rig_run(rig);
	cr_expect_eq(shard_row()->pins, 0);
	cr_expect_eq(rig->shards[0]->holders, 1);
}

Test(reader_progress, that_stalls_again_and_again_takes_no_more_than_half_of_the_pins)
{
	reader_begin(&reader, 0, LANE);
	publish(3);
	uint32_t terms = 0;
	for (int i = 0; i < 40000 && terms < WEIR_PINS_MAX; i++) {
		rig_advance_ms(rig, 100);
		client_send(&reader.client, WEIR_KIND_PING);
		if (row()->state == WEIR_DELIVERY_ASSIGNING && reader_assigned(&reader)) {
			terms++;
			reader_report(&reader, WEIR_REPORT_IN_PLACE, reader.cursor);
		}
		rig_forget(rig);
	}
	cr_expect_eq(terms, WEIR_PINS_MAX);
	cr_expect_eq(shard_row()->pins, WEIR_PINS_MAX / 2);
	rig_lane_gone(rig, LANE);
	rig_run(rig);
	cr_expect_eq(shard_row()->pins, 0);
}

Test(reader, of_a_removed_group_is_pinned)
{
	reader_begin(&reader, 0, LANE);
	publish(3);
	const struct weir_message remove = {
		.kind = WEIR_MESSAGE_GROUP_REMOVE, .topic = RIG_TOPIC, .group = RIG_GROUP, .request = 8,
	};
	rig_message(rig, 0, &remove);
	rig_run(rig);
	cr_expect_eq(shard_row()->pins, 1);
	cr_expect_eq(rig->shards[0]->hold, 0);
	reader_revoked(&reader, 30);
	cr_expect_eq(shard_row()->pins, 0);
	cr_expect_eq(rig->shards[0]->holders, 0);
}

Test(reader_two, on_another_workers_lane_reads_and_settles)
{
	reader_begin(&reader, 1, LANE);
	publish(3);
	cr_expect_eq(row()->sent_to, 30);
	cr_expect_lt(weir_engine_deadline(rig->workers[0].engine), rig->now_ns + 20 * MS, "no bell will tell");
	settle(&reader, reader.tag, 30);
	rig_run(rig);
	cr_expect_eq(row()->settled_to, 30);
}

Test(reader_two, goes_with_its_shard)
{
	reader_begin(&reader, 1, LANE);
	publish(3);
	settle(&reader, reader.tag, 10);
	rig_move(rig, 0, 1);
	rig_run(rig);
	cr_expect_null(rig->workers[0].engine->readers);
	settle(&reader, reader.tag, 20);
	rig_run(rig);
	cr_expect_eq(row()->settled_to, 20);
	publish(1);
	cr_expect_eq(row()->sent_to, 40);
	cr_expect_eq(rig->heads[0].head, rig->shards[0]->log.head);
}

Test(reader_two, whose_lane_goes_while_its_shard_moves_is_not_looked_up)
{
	reader_begin(&reader, 1, LANE);
	publish(3);
	rig_move(rig, 0, 1);
	rig_lane_gone(rig, LANE);
	rig_run(rig);
	cr_expect_null(rig->workers[1].engine->readers);
	cr_expect_eq(row()->state, WEIR_DELIVERY_IDLE);
	cr_expect_eq(shard_row()->pins, 0);
}

Test(reader_two, that_began_anew_while_its_shard_moved_keeps_no_pin)
{
	reader_begin(&reader, 1, LANE);
	publish(3);
	rig_advance_ms(rig, 4000);
	cr_expect_eq(shard_row()->pins, 1);
	rig_move(rig, 0, 1);
	reader.client.nonce++;
	rig_connect(&reader.client);
	cr_expect_eq(shard_row()->pins, 0);
}

// ---- Shared bodies ----

static void shared_producer(void)
{
	rig_client_init(rig, &producer, 0, 3);
	rig_lane_use(&producer, 4);
	rig_connect(&producer);
	cr_assert_not_null(rig_open(&producer, 0, WEIR_ACK_ROUTED));
}

Test(reader, producer_on_a_lane_is_appended_unchecked)
{
	shared_producer();
	publish(4);
	cr_expect_eq(shard_row()->accepted, 40);
	cr_expect_eq(rig_log_next(rig, 0, producer.producer, 0), 40);
	cr_expect(weir_log_run(&rig->shards[0]->log, 0)->flags & WEIR_RUN_UNCHECKED);
}

static void publish_bytes(const void *body, uint16_t length, uint16_t count)
{
	struct weir_frame_header header = {
		.kind = WEIR_KIND_PUBLISH,
		.flags = WEIR_FLAG_HEADER_ONLY,
		.topic = RIG_TOPIC,
		.stream = producer.stream,
		.sequence = producer.next,
		.count = count,
	};
	rig_send(&producer, &header, body, length);
	rig_run(rig);
}

Test(reader, bad_events_in_shared_memory_are_refused_and_not_committed)
{
	shared_producer();
	publish(1);
	uint64_t head = rig->shards[0]->log.head;
	struct {
		struct weir_event_header event;
		uint64_t payload;
	} body[2];
	for (uint32_t length = 0; length < 64; length++) {
		for (int i = 0; i < 2; i++)
			body[i].event = (struct weir_event_header){ .length = sizeof(body[0]), .key = rig_key(rig, 0) };
		if (length == sizeof(body[0]) || (length > 16 && length <= sizeof(body[0])))
			continue;
		body[1].event.length = length;
		publish_bytes(body, sizeof(body), 2);
		cr_expect_eq(rig->shards[0]->log.head, head);
		cr_expect_eq(rig->heads[0].head, head);
	}
	cr_expect_gt(shard_row()->refused[WEIR_R_BAD_EVENT], 0);
	cr_expect_eq(shard_row()->accepted, 10);
	body[1].event.length = sizeof(body[0]);
	publish_bytes(body, sizeof(body), 2);
	cr_expect_eq(shard_row()->accepted, 12);
}

Test(reader, shared_bodies_are_parked_trimmed_and_forwarded_as_private_ones)
{
	shared_producer();
	rig_publish(&producer, 0, 10, 10);
	rig_publish(&producer, 0, 0, 10);
	rig_publish(&producer, 0, 15, 10);
	rig_publish(&producer, 0, 0, 10);
	rig_run(rig);
	cr_expect_eq(shard_row()->accepted, 25);
	cr_expect_eq(shard_row()->duplicate, 15);
	cr_expect_eq(rig_log_next(rig, 0, producer.producer, 0), 25);
}

Test(reader_two, shared_bodies_cross_the_mesh)
{
	rig_client_init(rig, &producer, 1, 3);
	rig_lane_use(&producer, 4);
	rig_connect(&producer);
	cr_assert_not_null(rig_open(&producer, 0, WEIR_ACK_ROUTED));
	publish(3);
	cr_expect_eq(rig_log_next(rig, 0, producer.producer, 0), 30);
}

Test(reader, what_came_through_a_lane_is_summed_before_it_leaves)
{
	shared_producer();
	publish(2);
	rig_publish(&producer, 0, producer.next + 10, 10);
	rig_publish(&producer, 0, producer.next, 10);
	rig_run(rig);
	struct consumer *consumer = consumer_create(rig, 0, 2, 1472);
	consumers_run(rig, &consumer, 1);
	const struct weir_frame_header *frame = rig_last(&consumer->client, WEIR_KIND_DELIVER);
	cr_assert_not_null(frame);
	const struct weir_run_header *run = (const void *)((const struct weir_delivery *)(const void *)(frame + 1) + 1);
	cr_expect_eq(run->flags, 0);
	cr_expect_eq(run->crc, weir_crc32c(0, run + 1, run->length));
	cr_expect_eq(consumer->shards[0].received_to, 40);
	// The log itself is not touched: who reads in place sees what its owner wrote.
	cr_expect_eq(weir_log_run(&rig->shards[0]->log, 0)->flags, WEIR_RUN_UNCHECKED | WEIR_RUN_LOCAL);
	free(consumer);
}

Test(reader, the_client_that_never_saw_its_assign_read_nothing)
{
	publish(3);
	reader_join(&reader, 0, LANE);
	cr_assert(reader_assigned(&reader));
	struct weir_frame_header header = { .kind = WEIR_KIND_LEAVE };
	struct weir_leave leave = { .group = RIG_GROUP };
	rig_send(&reader.client, &header, &leave, sizeof(leave));
	rig_run(rig);
	header = (struct weir_frame_header){
		.kind = WEIR_KIND_REVOKED, .topic = RIG_TOPIC, .stream = reader.stream, .sequence = UINT64_MAX,
	};
	const struct weir_revoke answer = { .group = RIG_GROUP, .term = reader.assign.term };
	rig_send(&reader.client, &header, &answer, sizeof(answer));
	rig_run(rig);
	cr_expect_eq(row()->state, WEIR_DELIVERY_IDLE);
	cr_expect_eq(rig->shards[0]->deliveries[0]->redelivered_to, 0);
}

Test(reader, shared_body_with_a_checksum_is_checked)
{
	shared_producer();
	_Alignas(8) struct weir_event_header event = { .length = sizeof(event), .key = rig_key(rig, 0) };
	struct weir_frame_header header = {
		.kind = WEIR_KIND_PUBLISH, .topic = RIG_TOPIC, .stream = producer.stream, .count = 1,
	};
	header.session = producer.session;
	struct {
		struct weir_frame_header header;
		struct weir_event_header event;
	} frame = { header, event };
	weir_frame_seal(&frame.header, sizeof(event));
	struct weir_arrival arrival = {
		.frame = &frame.header, .path = &producer.path, .size = sizeof(frame), .trust_link = true, .shared = &event,
	};
	event.type = 1;
	weir_engine_receive(rig->workers[0].engine, &arrival, 1, rig->now_ns);
	rig_run(rig);
	cr_expect_eq(rig->workers[0].row.refused[WEIR_R_CRC], 1);
	event.type = 0;
	weir_engine_receive(rig->workers[0].engine, &arrival, 1, rig->now_ns);
	rig_run(rig);
	cr_expect_eq(shard_row()->accepted, 1);
}
