// What a consumer does with assignments, deliveries, gaps, credit and revocations: the core against a scripted router
// (rig.h), sections 10 to 12 of wire/PROTOCOL.md.
#include <errno.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "tests/unit/client/rig.h"

static struct rig rig;
static struct weir_view views[512];

static void setup(void)
{
	rig_init(&rig, NULL);
}

static void teardown(void)
{
	rig_fini(&rig);
}

TestSuite(delivery, .init = setup, .fini = teardown);

static int consume(struct weir_consumer *consumer)
{
	return weir_core_consume(consumer, views, 512, rig.now_ns);
}

static struct weir_consumer_counts counts_of(const struct weir_consumer *consumer)
{
	struct weir_consumer_counts counts;
	weir_consumer_counts(consumer, &counts);
	return counts;
}

// `count` events from `from` on, term 1, shard 1, charged behind `charge`.
static uint32_t deliver(uint64_t from, uint32_t count, uint64_t charge)
{
	return rig_deliver(&rig, &(struct rig_delivery){ .shard = 1, .term = 1, .from = from, .count = count, .size = 64,
							 .charge_from = charge });
}

static const struct weir_report_entry *report_now(uint16_t shard)
{
	rig_clear(&rig);
	rig_pass(&rig, RIG_MS);
	return rig_report(&rig, shard);
}

Test(delivery, assign_is_reported_at_once_with_credit)
{
	rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 1, 500, 500);
	const struct weir_report_entry *report = report_now(1);
	cr_assert_not_null(report);
	cr_expect_eq(report->topic, RIG_TOPIC);
	cr_expect_eq(report->group, RIG_GROUP);
	cr_expect_eq(report->stream, 201);
	cr_expect_eq(report->term, 1);
	cr_expect_eq(report->received_to, 500);
	cr_expect_eq(report->settled_to, 500);
	cr_expect_eq(report->charged, 0);
	cr_expect_gt(report->limit, 100000);
	rig_assign(&rig, 1, 1, 500, 500);
	cr_assert_not_null(report_now(1), "a repeated assign is answered again");
}

Test(delivery, events_come_out_in_order_with_their_identity)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 1, 500, 500);
	uint32_t charge = deliver(500, 3, 0);
	deliver(503, 2, charge);
	cr_assert_eq(consume(consumer), 5);
	for (uint32_t i = 0; i < 5; i++) {
		cr_expect_eq(views[i].offset, 500 + i);
		cr_expect_eq(views[i].key, 500 + i);
		cr_expect_eq(views[i].producer, 0xabc);
		cr_expect_eq(views[i].sequence, 5500 + i);
		cr_expect_eq(views[i].payload_size, 64);
		cr_expect_eq(*(const uint8_t *)views[i].payload, (uint8_t)(500 + i));
		cr_expect_eq(views[i].term, 1);
		cr_expect_eq(views[i].shard, 1);
		cr_expect_eq(views[i].type, 5);
		cr_expect_eq(views[i].flags, 0);
	}
	cr_assert_eq(consume(consumer), 0);
}

Test(delivery, views_can_be_taken_a_few_at_a_time)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 1, 0, 0);
	deliver(0, 10, 0);
	for (uint64_t at = 0; at < 10; at += 2) {
		cr_assert_eq(weir_core_consume(consumer, views, 2, rig.now_ns), 2);
		cr_assert_eq(views[0].offset, at);
		cr_assert_eq(views[1].offset, at + 1);
	}
	cr_assert_eq(consume(consumer), 0);
}

Test(delivery, handed_out_events_are_settled_by_the_next_call)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 1, 500, 500);
	deliver(500, 3, 0);
	cr_assert_eq(report_now(1)->received_to, 503);
	cr_assert_eq(consume(consumer), 3);
	rig_pass(&rig, 200 * RIG_MS);
	cr_assert_eq(rig_report(&rig, 1)->settled_to, 500);
	cr_assert_eq(consume(consumer), 0);
	cr_assert_eq(report_now(1)->settled_to, 503);
	cr_assert_eq(counts_of(consumer).settled, 3);
	cr_assert_eq(counts_of(consumer).delivered, 3);
}

// Where events come one by one, each would cost a system call and a frame.
Test(delivery, progress_that_nobody_waits_for_is_reported_in_a_while_and_together)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 1, 0, 0);
	rig_pass(&rig, RIG_MS);
	rig_clear(&rig);
	for (uint64_t i = 0; i < 10; i++) {
		deliver(i, 1, i);
		cr_assert_eq(consume(consumer), 1);
		rig.now_ns += RIG_MS / 200;
		rig_poll(&rig);
	}
	cr_assert_eq(rig_count(&rig, WEIR_KIND_REPORT), 1);
	cr_assert_eq(consume(consumer), 0);
	rig_pass(&rig, RIG_MS / 5);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_REPORT), 2);
	cr_assert_eq(rig_report(&rig, 1)->received_to, 10);
	cr_assert_eq(rig_report(&rig, 1)->settled_to, 10);
}

Test(delivery, settling_by_hand_settles_what_it_is_told)
{
	struct weir_consumer_options options = { .settle_by_hand = true };
	struct weir_consumer *consumer = rig_consumer(&rig, &options);
	rig_assign(&rig, 1, 1, 500, 500);
	deliver(500, 4, 0);
	cr_assert_eq(consume(consumer), 4);
	struct weir_view second = views[1];
	struct weir_view last = views[3];
	cr_assert_eq(consume(consumer), 0);
	cr_assert_eq(report_now(1)->settled_to, 500);
	cr_assert_eq(weir_core_settle(consumer, &second), 0);
	cr_assert_eq(report_now(1)->settled_to, 502);
	cr_assert_eq(weir_core_settle(consumer, &last), 0);
	cr_assert_eq(weir_core_settle(consumer, &second), 0);
	cr_assert_eq(report_now(1)->settled_to, 504);
	last.term++;
	cr_assert_eq(weir_core_settle(consumer, &last), -ESTALE);
	last.term--;
	last.offset = 504;
	cr_assert_eq(weir_core_settle(consumer, &last), -EINVAL);
}

Test(delivery, open_deliveries_are_reported_every_100_ms)
{
	rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 1, 500, 500);
	deliver(500, 3, 0);
	rig_pass(&rig, RIG_MS);
	rig_clear(&rig);
	rig_pass(&rig, 1000 * RIG_MS);
	cr_assert_geq(rig_count(&rig, WEIR_KIND_REPORT), 9);
	cr_assert_leq(rig_count(&rig, WEIR_KIND_REPORT), 11);
}

Test(delivery, gap_is_dropped_and_reported_once)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 1, 500, 500);
	uint32_t charge = deliver(500, 3, 0);
	rig_pass(&rig, RIG_MS);
	rig_clear(&rig);
	deliver(506, 3, 2 * charge);
	deliver(509, 3, 3 * charge);
	rig_pass(&rig, RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_REPORT), 1);
	cr_assert_eq(rig_report(&rig, 1)->flags, WEIR_REPORT_GAP);
	cr_assert_eq(rig_report(&rig, 1)->received_to, 503);
	cr_assert_eq(rig_report(&rig, 1)->charged, 4 * charge, "what was dropped left the socket, too");
	deliver(512, 3, 4 * charge);
	cr_assert_null(report_now(1), "the same gap within a round trip");
	rig.now_ns += 11 * RIG_MS;
	deliver(515, 3, 5 * charge);
	cr_assert_eq(report_now(1)->flags, WEIR_REPORT_GAP);
	cr_assert_eq(consume(consumer), 3);
	deliver(503, 3, 6 * charge);
	cr_assert_eq(consume(consumer), 3);
	cr_assert_eq(views[0].offset, 503);
	cr_assert_eq(report_now(1)->charged, 7 * charge);
	cr_assert_eq(counts_of(consumer).frames_lost, 4);
}

Test(delivery, repeated_frames_are_dropped_and_reported)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 1, 500, 500);
	deliver(500, 3, 0);
	rig_pass(&rig, RIG_MS);
	deliver(500, 3, 0);
	cr_assert_eq(report_now(1)->received_to, 503);
	uint32_t charge = deliver(503, 3, 2304);
	deliver(500, 3, 0);
	cr_assert_eq(report_now(1)->received_to, 506);
	cr_assert_eq(report_now(1), NULL);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_REPORT), 0);
	cr_assert_eq(consume(consumer), 6);
	cr_assert_eq(consume(consumer), 0);
	cr_assert_eq(report_now(1)->charged, 2304 + charge);
}

Test(delivery, what_is_known_of_a_frame_is_trimmed)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 1, 500, 500);
	deliver(500, 3, 0);
	deliver(501, 5, 2304);
	cr_assert_eq(consume(consumer), 6);
	for (uint32_t i = 0; i < 6; i++)
		cr_assert_eq(views[i].offset, 500 + i);
}

Test(delivery, skipped_offsets_move_on_and_are_counted)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 1, 500, 500);
	rig_deliver(&rig, &(struct rig_delivery){ .shard = 1, .term = 1, .from = 500, .skipped = 20 });
	cr_assert_eq(report_now(1)->received_to, 520);
	cr_assert_eq(report_now(1), NULL);
	rig_deliver(&rig, &(struct rig_delivery){ .shard = 1, .term = 1, .from = 520, .count = 2, .skipped = 3, .size = 8 });
	rig_deliver(&rig, &(struct rig_delivery){ .shard = 1, .term = 1, .from = 525, .skipped = 5 });
	cr_assert_eq(consume(consumer), 2);
	cr_assert_eq(consume(consumer), 0);
	cr_assert_eq(report_now(1)->settled_to, 530);
	cr_assert_eq(counts_of(consumer).gap_events, 28);
}

Test(delivery, announcement_beyond_what_was_received_is_a_gap)
{
	rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 1, 500, 500);
	rig_pass(&rig, RIG_MS);
	rig_deliver(&rig, &(struct rig_delivery){ .shard = 1, .term = 1, .from = 500 });
	cr_assert_eq(report_now(1)->flags, 0);
	rig_deliver(&rig, &(struct rig_delivery){ .shard = 1, .term = 1, .from = 503 });
	cr_assert_eq(report_now(1)->flags, WEIR_REPORT_GAP);
}

Test(delivery, events_of_an_earlier_term_are_marked)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 4, 500, 502);
	rig_deliver(&rig, &(struct rig_delivery){
				  .shard = 1, .term = 4, .from = 500, .count = 4, .size = 8, .flags = WEIR_FLAG_REDELIVERED });
	cr_assert_eq(consume(consumer), 4);
	cr_assert_eq(views[0].flags, WEIR_VIEW_REDELIVERED);
	cr_assert_eq(views[1].flags, WEIR_VIEW_REDELIVERED);
	cr_assert_eq(views[2].flags, 0);
	cr_assert_eq(counts_of(consumer).redelivered, 2);
}

Test(delivery, other_terms_handles_and_shards_are_ignored)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 4, 500, 500);
	rig_deliver(&rig, &(struct rig_delivery){ .shard = 1, .term = 3, .from = 500, .count = 1, .size = 8 });
	rig_deliver(&rig, &(struct rig_delivery){ .shard = 1, .term = 5, .from = 500, .count = 1, .size = 8 });
	rig_deliver(&rig, &(struct rig_delivery){ .shard = 2, .term = 4, .from = 500, .count = 1, .size = 8 });
	rig_deliver(&rig, &(struct rig_delivery){ .shard = 9, .term = 4, .from = 500, .count = 1, .size = 8 });
	cr_assert_eq(consume(consumer), 0);
	rig_assign(&rig, 1, 3, 0, 0); // overtaken
	cr_assert_eq(report_now(1)->term, 4);
}

Test(delivery, newer_term_drops_what_the_older_one_left)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 1, 500, 500);
	deliver(500, 3, 0);
	rig_assign(&rig, 1, 2, 501, 503);
	cr_assert_eq(consume(consumer), 0);
	rig_deliver(&rig, &(struct rig_delivery){
				  .shard = 1, .term = 2, .from = 501, .count = 2, .size = 8, .flags = WEIR_FLAG_REDELIVERED });
	cr_assert_eq(consume(consumer), 2);
	cr_assert_eq(views[0].term, 2);
	cr_assert_eq(report_now(1)->settled_to, 501);
}

Test(delivery, credit_grows_only_with_what_was_taken)
{
	struct weir_consumer_options options = { .credit_bytes = 64 << 10 };
	struct weir_consumer *consumer = rig_consumer(&rig, &options);
	rig_assign(&rig, 1, 1, 0, 0);
	uint64_t limit = report_now(1)->limit;
	cr_assert_eq(limit, 64 << 10);
	uint64_t charge = 0;
	uint64_t from = 0;
	uint64_t frames = 0;
	while (charge + 2304 <= limit) {
		charge += deliver(from, 17, charge);
		from += 17;
		frames++;
		const struct weir_report_entry *report = report_now(1);
		cr_assert_eq(report->limit, limit);
		cr_assert_eq(report->charged, charge);
	}
	cr_assert_eq(weir_core_consume(consumer, views, 17, rig.now_ns), 17);
	weir_core_release(rig.core);
	cr_assert_eq(report_now(1)->limit, limit + 2304);
	while (consume(consumer))
		continue;
	cr_assert_eq(report_now(1)->limit, charge + (64 << 10));
	cr_assert_eq(counts_of(consumer).delivered, frames * 17);
}

Test(delivery, shards_share_the_credit)
{
	struct weir_consumer_options options = { .credit_bytes = 256 << 10 };
	rig_consumer(&rig, &options);
	uint64_t total = 0;
	for (uint16_t shard = 0; shard < 4; shard++)
		rig_assign(&rig, shard, 1, 0, 0);
	rig_clear(&rig);
	rig_pass(&rig, RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_REPORT), 1, "one frame for all");
	for (uint16_t shard = 0; shard < 4; shard++) {
		cr_assert_eq(rig_report(&rig, shard)->limit, 64 << 10);
		total += rig_report(&rig, shard)->limit;
	}
	cr_assert_eq(total, 256 << 10);
}

Test(delivery, late_shards_get_no_credit_that_others_still_hold)
{
	struct weir_consumer_options options = { .credit_bytes = 256 << 10 };
	rig_consumer(&rig, &options);
	rig_assign(&rig, 0, 1, 0, 0);
	cr_assert_eq(report_now(0)->limit, 256 << 10);
	rig_assign(&rig, 1, 1, 0, 0);
	cr_assert_eq(report_now(1)->limit, weir_charge(1472), "room for one frame, not to wait for ever");
}

Test(delivery, revoke_lets_what_was_handed_out_finish_and_drops_the_rest)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 1, 500, 500);
	deliver(500, 10, 0);
	cr_assert_eq(weir_core_consume(consumer, views, 4, rig.now_ns), 4);
	rig_revoke(&rig, 1, 1);
	rig_clear(&rig);
	rig_pass(&rig, RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_REVOKED), 0, "4 events are still being worked on");
	deliver(510, 3, 2304);
	cr_assert_eq(consume(consumer), 0);
	rig_pass(&rig, RIG_MS);
	const struct weir_frame_header *frame = rig_sent(&rig, WEIR_KIND_REVOKED, 0);
	cr_assert_not_null(frame);
	const struct weir_revoke *revoked = (const void *)(frame + 1);
	cr_assert_eq(revoked->settled_to, 504);
	cr_assert_eq(revoked->term, 1);
	cr_assert_eq(revoked->group, RIG_GROUP);
	cr_assert_eq(frame->sequence, 504);
	cr_assert_eq(frame->stream, 201);
	cr_assert_eq(counts_of(consumer).shards, 0);
	// Asked again: the same answer. An assign of the old term that comes late: nothing.
	rig_revoke(&rig, 1, 1);
	rig_assign(&rig, 1, 1, 500, 500);
	rig_clear(&rig);
	rig_pass(&rig, RIG_MS);
	frame = rig_sent(&rig, WEIR_KIND_REVOKED, 0);
	cr_assert_eq(((const struct weir_revoke *)(frame + 1))->settled_to, 504);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_REPORT), 0);
}

Test(delivery, revoke_is_answered_after_a_third_of_the_lease_at_the_latest)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 1, 500, 500);
	deliver(500, 10, 0);
	cr_assert_eq(weir_core_consume(consumer, views, 4, rig.now_ns), 4);
	rig_revoke(&rig, 1, 1);
	rig_clear(&rig);
	rig_pass(&rig, 990 * RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_REVOKED), 0);
	rig_pass(&rig, 20 * RIG_MS);
	const struct weir_frame_header *frame = rig_sent(&rig, WEIR_KIND_REVOKED, 0);
	cr_assert_not_null(frame);
	cr_assert_eq(((const struct weir_revoke *)(frame + 1))->settled_to, 500);
	cr_assert_eq(frame->sequence, 504, "4 were handed out and will be marked");
}

Test(delivery, revoke_of_an_unknown_term_is_answered_with_nothing_settled)
{
	rig_consumer(&rig, NULL);
	rig_revoke(&rig, 2, 9);
	rig_clear(&rig);
	rig_pass(&rig, RIG_MS);
	const struct weir_frame_header *frame = rig_sent(&rig, WEIR_KIND_REVOKED, 0);
	cr_assert_not_null(frame);
	cr_assert_eq(((const struct weir_revoke *)(frame + 1))->settled_to, 0);
	cr_assert_eq(((const struct weir_revoke *)(frame + 1))->term, 9);
	cr_assert_eq(frame->sequence, UINT64_MAX);
}

// The number of the last ping.
static uint64_t pinged(void)
{
	uint64_t number = 0;
	for (uint32_t i = 0; rig_sent(&rig, WEIR_KIND_PING, i); i++)
		number = rig_sent(&rig, WEIR_KIND_PING, i)->sequence;
	return number;
}

static void pong(uint64_t number)
{
	const struct weir_frame_header header = { .kind = WEIR_KIND_PONG, .session = rig.session, .sequence = number };
	rig_give(&rig, header, NULL, 0);
}

Test(delivery, nothing_is_handed_out_after_two_thirds_of_a_lease_in_silence)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 1, 500, 500);
	deliver(500, 3, 0);
	rig_pass(&rig, 1900 * RIG_MS);
	cr_assert_eq(weir_core_consume(consumer, views, 1, rig.now_ns), 1);
	rig_pass(&rig, 700 * RIG_MS);
	cr_assert_eq(consume(consumer), 0);
	pong(pinged());
	cr_assert_eq(consume(consumer), 0, "what it answers went out 2.1 s ago for the first time");
	rig_poll(&rig);
	pong(pinged());
	cr_assert_eq(consume(consumer), 2);
}

// The way to the router is dead, or the client slept and reads what came meanwhile: the router has given the shards away.
Test(delivery, what_is_heard_does_not_prove_that_the_router_hears)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 1, 500, 500);
	deliver(500, 3, 0);
	for (int i = 0; i < 21; i++) {
		rig_pass(&rig, 100 * RIG_MS);
		rig_deliver(&rig, &(struct rig_delivery){ .shard = 1, .term = 1, .from = 503 });
	}
	cr_assert_eq(weir_core_state(rig.core), WEIR_STATE_READY);
	cr_assert_eq(consume(consumer), 0);
}

Test(delivery, a_busy_member_pings_and_repeats_itself_until_it_is_answered)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 1, 500, 500);
	uint64_t offset = 500;
	rig_clear(&rig);
	for (int i = 0; i < 500; i++) {
		deliver(offset++, 1, 0);
		cr_assert_eq(consume(consumer), 1);
		rig_pass(&rig, 10 * RIG_MS);
		// Every other ping is lost, or its answer is.
		if (i % 50 == 49)
			pong(pinged());
	}
	cr_assert_geq(rig_count(&rig, WEIR_KIND_PING), 9);
	cr_assert_leq(rig_count(&rig, WEIR_KIND_PING), 40);
}

Test(delivery, lost_session_discards_what_was_not_handed_out_and_joins_again)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 1, 500, 500);
	deliver(500, 6, 0);
	cr_assert_eq(weir_core_consume(consumer, views, 2, rig.now_ns), 2);
	struct weir_view handed = views[0];
	rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_BYE, .session = rig.session }, NULL, 0);
	cr_assert_eq(*(const uint8_t *)handed.payload, (uint8_t)500, "what was handed out stays readable");
	rig.session++;
	rig_clear(&rig);
	rig_pass(&rig, 100 * RIG_MS);
	rig_connect(&rig);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_JOIN), 1);
	cr_assert_eq(consume(consumer), 0);
	cr_assert_eq(weir_core_settle(consumer, &handed), -ESTALE);
	cr_assert_eq(counts_of(consumer).shards, 0);
}

static void fragment(uint64_t offset, const uint8_t *event, uint32_t total, uint32_t at, uint32_t size, uint64_t charge)
{
	uint8_t body[2048] __attribute__((aligned(8)));
	struct weir_delivery *prefix = (void *)body;
	struct weir_run_header *run = (void *)(prefix + 1);
	struct weir_fragment *piece = (void *)(run + 1);
	bool is_last = at + size >= weir_pad8(total);
	*prefix = (struct weir_delivery){ .to = offset + is_last, .charge_from = charge, .term = 1 };
	*run = (struct weir_run_header){ .producer = 9, .sequence = 77, .length = weir_pad8(total), .count = 1 };
	run->crc = weir_crc32c(0, event, weir_pad8(total));
	*piece = (struct weir_fragment){ .total = total, .offset = at };
	memcpy(piece + 1, event + at, size);
	struct weir_frame_header header = { .kind = WEIR_KIND_DELIVER,
					    .flags = WEIR_FLAG_FRAGMENT,
					    .count = 1,
					    .session = rig.session,
					    .stream = 201,
					    .topic = RIG_TOPIC,
					    .shard = 1,
					    .sequence = offset };
	rig_give(&rig, header, body, sizeof(*prefix) + sizeof(*run) + sizeof(*piece) + size);
}

#define LARGE_TOTAL 10005u

static uint8_t *large_event(void)
{
	uint8_t *event = calloc(1, weir_pad8(LARGE_TOTAL));
	struct weir_event_header header = { .length = LARGE_TOTAL, .type = 3, .key = 4 };
	memcpy(event, &header, sizeof(header));
	for (uint32_t i = sizeof(header); i < LARGE_TOTAL; i++)
		event[i] = (uint8_t)(i * 7);
	return event;
}

Test(delivery, large_event_is_put_together_whatever_is_lost_or_doubled_on_the_way)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	uint8_t *event = large_event();
	rig_assign(&rig, 1, 1, 500, 500);
	uint32_t whole = weir_pad8(LARGE_TOTAL);
	fragment(500, event, LARGE_TOTAL, 0, 1000, 0);
	fragment(500, event, LARGE_TOTAL, 0, 1000, 0);
	fragment(500, event, LARGE_TOTAL, 2000, 1000, 4608); // a gap
	cr_assert_eq(report_now(1)->fragment_to, 1000);
	cr_assert_eq(consume(consumer), 0);
	uint64_t charge = 2304;
	for (uint32_t at = 1000; at < whole; at += 1000, charge += 2304)
		fragment(500, event, LARGE_TOTAL, at, whole - at < 1000 ? whole - at : 1000, charge);
	rig_clear(&rig);
	rig_pass(&rig, RIG_MS);
	cr_assert_eq(rig_report(&rig, 1)->received_to, 501);
	cr_assert_eq(rig_report(&rig, 1)->fragment_to, 0);
	cr_assert_eq(consume(consumer), 1);
	cr_assert_eq(views[0].payload_size, LARGE_TOTAL - 16);
	cr_assert_eq(memcmp(views[0].payload, event + 16, LARGE_TOTAL - 16), 0);
	cr_assert_eq(views[0].sequence, 77);
	deliver(501, 2, charge);
	cr_assert_eq(consume(consumer), 2);
	free(event);
}

Test(delivery, large_event_that_was_damaged_is_asked_for_again)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	uint8_t *event = large_event();
	uint32_t whole = weir_pad8(LARGE_TOTAL);
	rig_assign(&rig, 1, 1, 500, 500);
	fragment(500, event, LARGE_TOTAL, 0, 1000, 0);
	// Pieces are from another life of the offset: the checksum in front of the first does not cover them.
	event[5999] ^= 1;
	for (uint32_t at = 1000; at < whole; at += 1000)
		fragment(500, event, LARGE_TOTAL, at, whole - at < 1000 ? whole - at : 1000, 0);
	cr_assert_eq(consume(consumer), 0);
	rig_clear(&rig);
	rig_pass(&rig, RIG_MS);
	cr_assert_eq(rig_report(&rig, 1)->fragment_to, 0);
	cr_assert_eq(rig_report(&rig, 1)->flags, WEIR_REPORT_GAP);
	for (uint32_t at = 0; at < whole; at += 1000)
		fragment(500, event, LARGE_TOTAL, at, whole - at < 1000 ? whole - at : 1000, 0);
	cr_assert_eq(consume(consumer), 1);
	free(event);
}

Test(delivery, event_lengths_that_lie_end_the_run_and_nothing_else)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	uint8_t body[256] __attribute__((aligned(8))) = { 0 };
	struct weir_delivery *prefix = (void *)body;
	struct weir_run_header *run = (void *)(prefix + 1);
	struct weir_event_header *event = (void *)(run + 1);
	rig_assign(&rig, 1, 1, 500, 500);
	*prefix = (struct weir_delivery){ .to = 502, .term = 1 };
	event[0] = (struct weir_event_header){ .length = 16 };
	event[1] = (struct weir_event_header){ .length = 4000000000u, .attribute_words = 255 };
	*run = (struct weir_run_header){ .length = 32, .count = 2, .crc = weir_crc32c(0, event, 32) };
	struct weir_frame_header header = { .kind = WEIR_KIND_DELIVER,
					    .count = 1,
					    .session = rig.session,
					    .stream = 201,
					    .topic = RIG_TOPIC,
					    .shard = 1,
					    .sequence = 500 };
	rig_give(&rig, header, body, sizeof(*prefix) + sizeof(*run) + 32);
	cr_assert_eq(consume(consumer), 1);
	cr_assert_eq(consume(consumer), 0);
	deliver(502, 1, 1);
	cr_assert_eq(consume(consumer), 1);
}

Test(delivery, leave_is_repeated_until_left_and_answers_revokes)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 1, 500, 500);
	deliver(500, 4, 0);
	cr_assert_eq(consume(consumer), 4);
	cr_assert_eq(consume(consumer), 0);
	weir_core_consumer_leave(consumer);
	rig_clear(&rig);
	rig_pass(&rig, 150 * RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_LEAVE), 2);
	cr_assert_eq(rig_report(&rig, 1)->settled_to, 504);
	rig_revoke(&rig, 1, 1);
	rig_pass(&rig, RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_REVOKED), 1);
	cr_assert(!weir_core_consumer_has_left(consumer));
	rig_left(&rig, rig.member);
	cr_assert(weir_core_consumer_has_left(consumer));
	weir_core_consumer_free(consumer);
}

Test(delivery, unknown_group_is_told_and_asked_for_again)
{
	struct weir_consumer *consumer = NULL;
	rig_connect(&rig);
	cr_assert_eq(weir_core_consumer_open(rig.core, "positions", "nobody", NULL, &consumer), 0);
	rig_pass(&rig, RIG_MS);
	const struct weir_join *join = (const void *)(rig_sent(&rig, WEIR_KIND_JOIN, 0) + 1);
	struct weir_error error = { .reason = WEIR_R_NO_GROUP, .kind = WEIR_KIND_JOIN, .request = join->request };
	rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_ERROR, .session = rig.session }, &error, sizeof(error));
	cr_assert_eq(weir_core_consumer_state(consumer), -ENOENT);
	rig_clear(&rig);
	rig_pass(&rig, 150 * RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_JOIN), 1);
}

Test(delivery, full_buffers_lose_frames_and_not_more)
{
	struct weir_core_options small = { .secret = { 1 }, .credit_bytes = 64 << 10 };
	struct rig other;
	rig_init(&other, &small);
	struct weir_consumer *consumer = rig_consumer(&other, NULL);
	rig_assign(&other, 1, 1, 0, 0);
	uint64_t from = 0;
	for (uint32_t i = 0; i < 4000; i++) {
		// A router that ignores credit.
		rig_deliver(&other, &(struct rig_delivery){ .shard = 1, .term = 1, .from = from, .count = 17, .size = 64 });
		from += 17;
	}
	cr_assert_eq(weir_core_state(other.core), WEIR_STATE_READY);
	uint64_t count = 0;
	for (int n = 0; (n = weir_core_consume(consumer, views, 512, other.now_ns)) > 0;) {
		cr_assert_eq(views[0].offset, count);
		count += (uint64_t)n;
	}
	cr_assert_gt(count, 0);
	cr_assert_lt(count, from);
	rig_deliver(&other, &(struct rig_delivery){ .shard = 1, .term = 1, .from = count, .count = 17, .size = 64 });
	cr_assert_eq(weir_core_consume(consumer, views, 512, other.now_ns), 17);
	rig_fini(&other);
}
