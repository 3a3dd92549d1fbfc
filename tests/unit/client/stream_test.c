// What a producer's stream does with acknowledgements, losses, refusals and lost sessions: the core against a scripted
// router (rig.h), sections 8 to 10 of wire/PROTOCOL.md.
#include <errno.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "tests/unit/client/rig.h"

static struct rig rig;

static void setup(void)
{
	rig_init(&rig, NULL);
}

static void teardown(void)
{
	rig_fini(&rig);
}

TestSuite(stream, .init = setup, .fini = teardown);

static const struct weir_frame_header *publish_sent(uint32_t nth)
{
	return rig_sent(&rig, WEIR_KIND_PUBLISH, nth);
}

static void session_again(uint64_t router)
{
	struct weir_error error = { .reason = WEIR_R_NO_SESSION, .kind = WEIR_KIND_PUBLISH };
	rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_ERROR, .session = rig.session }, &error, sizeof(error));
	rig.session++;
	rig.router = router;
	rig_clear(&rig);
	rig_pass(&rig, 100 * RIG_MS);
	rig_connect(&rig);
	rig_answer(&rig);
}

Test(stream, seventeen_events_of_64_bytes_fill_a_frame_that_a_deliver_frame_can_carry)
{
	struct weir_producer *producer = rig_producer(&rig, NULL);
	for (int i = 0; i < 17; i++)
		cr_assert_eq(rig_publish(producer, 4, 2, 64, (uint8_t)i), 0);
	rig_poll(&rig);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 1, "a full frame does not wait");
	const struct weir_frame_header *frame = publish_sent(0);
	cr_expect_eq(frame->count, 17);
	cr_expect_eq(frame->sequence, 1000);
	cr_expect_eq(frame->shard, 2);
	cr_expect_eq(frame->stream, 102);
	cr_expect_eq(frame->topic, RIG_TOPIC);
	cr_expect_eq(frame->session, rig.session);
	cr_expect_eq(frame->body_length + WEIR_DELIVER_OVERHEAD, 1472);
	cr_expect_eq(weir_events_check(frame + 1, frame->body_length, 17, 4096, 2, 4), WEIR_R_NONE);
}

Test(stream, frames_leave_as_much_room_as_the_router_says_that_a_delivery_takes)
{
	rig.deliver_overhead = 176; // of a router of another release
	struct weir_producer *producer = rig_producer(&rig, NULL);
	for (int i = 0; i < 17; i++)
		cr_assert_eq(rig_publish(producer, 4, 2, 64, (uint8_t)i), 0);
	rig_poll(&rig);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 1);
	cr_expect_eq(publish_sent(0)->count, 16);
	cr_expect_leq(publish_sent(0)->body_length + 176, 1472);
}

Test(stream, part_of_a_frame_waits_for_its_linger)
{
	struct weir_producer_options options = { .level = WEIR_LEVEL_ROUTED, .linger_us = 2000 };
	struct weir_producer *producer = rig_producer(&rig, &options);
	cr_assert_eq(rig_publish(producer, 4, 2, 64, 1), 0);
	rig_pass(&rig, 1 * RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 0);
	rig_pass(&rig, 1 * RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 1);
}

Test(stream, flush_ends_the_linger_and_is_done_when_acknowledged)
{
	struct weir_producer_options options = { .level = WEIR_LEVEL_ROUTED, .linger_us = UINT32_MAX };
	struct weir_producer *producer = rig_producer(&rig, &options);
	cr_assert_eq(rig_publish(producer, 4, 2, 64, 1), 0);
	rig_pass(&rig, 50 * RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 0);
	weir_core_flush(producer);
	rig_poll(&rig);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 1);
	cr_assert_eq(weir_core_flush_state(producer), -EAGAIN);
	rig_ack(&rig, 2, 1001, 100000, 0, 0);
	cr_assert_eq(weir_core_flush_state(producer), 0);
	cr_assert_eq(rig_counts(producer).routed, 1);
}

Test(stream, lost_frame_is_sent_again_after_the_timeout_with_the_same_bytes)
{
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 1);
	struct rig_frame first = rig.frames[0];
	rig_clear(&rig);
	rig_pass(&rig, 99 * RIG_MS + WEIR_LATER_NS); // its acknowledgement may wait
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 0);
	rig_pass(&rig, 2 * RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 1);
	cr_assert_eq(memcmp(first.bytes, publish_sent(0), first.size), 0);
	// Doubling: the third comes 200 ms later.
	rig_clear(&rig);
	rig_pass(&rig, 190 * RIG_MS + WEIR_LATER_NS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 0);
	rig_pass(&rig, 20 * RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 1);
}

Test(stream, timeout_sends_the_oldest_first_and_the_rest_when_it_stays_silent)
{
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 8);
	rig_clear(&rig);
	rig_pass(&rig, 101 * RIG_MS + WEIR_LATER_NS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 1);
	cr_assert_eq(publish_sent(0)->sequence, 1000);
	// The oldest arrived, nothing else follows: the others were lost with it.
	rig_ack(&rig, 1, 1001, 100000, 0, 0);
	rig_clear(&rig);
	rig_pass(&rig, 50 * RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 7);
	cr_assert_eq(publish_sent(0)->sequence, 1001);
	rig_ack(&rig, 1, 1008, 100000, 0, 0);
	cr_assert_eq(rig_counts(producer).routed, 8);
}

Test(stream, nack_brings_the_missing_frames_at_once_and_only_them)
{
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 10);
	rig_clear(&rig);
	rig.now_ns += RIG_MS;
	rig_ack(&rig, 1, 1003, 100000, WEIR_ACK_NACK, 1005);
	rig_poll(&rig);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 2);
	cr_assert_eq(publish_sent(0)->sequence, 1003);
	cr_assert_eq(publish_sent(1)->sequence, 1004);
	// The same nack again within the round trip is the same gap.
	rig_ack(&rig, 1, 1003, 100000, WEIR_ACK_NACK, 1005);
	rig_poll(&rig);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 2);
	rig_ack(&rig, 1, 1010, 100000, 0, 0);
	cr_assert_eq(rig_counts(producer).routed, 10);
	cr_assert_eq(rig_counts(producer).waiting, 0);
}

Test(stream, acknowledgements_may_be_doubled_overtaken_or_nonsense)
{
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 4);
	rig_ack(&rig, 1, 1003, 100000, 0, 0);
	rig_ack(&rig, 1, 1001, 100000, 0, 0);
	rig_ack(&rig, 1, 1003, 100000, 0, 0);
	rig_ack(&rig, 1, 5000, 100000, 0, 0); // beyond anything sent
	rig_ack(&rig, 3, 1001, 100000, 0, 0); // another stream, nothing sent
	cr_assert_eq(rig_counts(producer).routed, 3);
	cr_assert_eq(rig_counts(producer).waiting, 1);
}

Test(stream, no_more_than_the_window_flies)
{
	rig.window_frames = 8;
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 20);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 8);
	rig_ack(&rig, 1, 1003, 100000, 0, 0);
	rig_poll(&rig);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 11);
}

Test(stream, window_doubles_until_a_loss_and_is_halved_by_it)
{
	struct weir_statistics statistics;
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 32);
	rig.now_ns += RIG_MS;
	rig_ack(&rig, 1, 1032, 100000, 0, 0);
	weir_core_statistics(rig.core, &statistics);
	cr_assert_eq(statistics.window_frames, 64);
	cr_assert_eq(statistics.round_trip_ns, RIG_MS);
	rig_publish_frames(&rig, producer, 64);
	rig.now_ns += RIG_MS;
	rig_ack(&rig, 1, 1033, 100000, WEIR_ACK_NACK, 1035);
	weir_core_statistics(rig.core, &statistics);
	cr_assert_eq(statistics.window_frames, 32, "is %u", statistics.window_frames);
	cr_assert_eq(statistics.nacks, 1);
}

Test(stream, what_waited_for_a_repair_is_not_taken_for_a_long_way)
{
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 8);
	rig.now_ns += RIG_MS;
	rig_ack(&rig, 1, 1008, 100000, 0, 0);
	rig_publish_frames(&rig, producer, 8);
	rig.now_ns += RIG_MS;
	rig_ack(&rig, 1, 1008, 100000, WEIR_ACK_NACK, 1009);
	rig_poll(&rig);
	rig.now_ns += 500 * RIG_MS;
	rig_ack(&rig, 1, 1016, 100000, 0, 0);
	cr_assert_eq(rig_counts(producer).routed, 16);
	cr_assert_eq(rig_round_trip_ns(&rig), RIG_MS);
}

Test(stream, a_way_longer_than_the_timer_is_found_out)
{
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	for (uint64_t i = 0; i < 8; i++) {
		rig_clear(&rig);
		rig_publish_frames(&rig, producer, 1);
		rig_pass(&rig, 300 * RIG_MS);
		rig_ack(&rig, 1, 1001 + i, 100000, 0, 0);
	}
	cr_assert_eq(rig_round_trip_ns(&rig), 300 * RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 1, "nothing is sent twice any more");
}

Test(stream, without_credit_it_probes_and_goes_on_with_credit)
{
	rig.opened_limit = 1002;
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 5);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 2);
	rig_ack(&rig, 1, 1002, 1002, 0, 0);
	rig_clear(&rig);
	rig_pass(&rig, 1000 * RIG_MS);
	// 10 ms doubling: about 7 in a second.
	cr_assert_geq(rig_count(&rig, WEIR_KIND_PROBE), 5);
	cr_assert_leq(rig_count(&rig, WEIR_KIND_PROBE), 9);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 0);
	cr_assert_eq(rig_sent(&rig, WEIR_KIND_PROBE, 0)->stream, 101);
	rig_ack(&rig, 1, 1002, 1004, 0, 0);
	rig_poll(&rig);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 2);
}

Test(stream, publish_says_again_later_when_the_queue_is_full)
{
	rig.opened_limit = 1000;
	struct weir_producer_options options = { .level = WEIR_LEVEL_ROUTED, .queue_bytes = 64 << 10, .frame_events = 1 };
	rig.event_max = 4096;
	struct weir_producer *producer = rig_producer(&rig, &options);
	int count = 0;
	while (rig_publish(producer, 4, 1, 64, 1) == 0)
		cr_assert_lt(++count, 100);
	cr_assert_geq(count, 40);
	cr_assert_eq(rig_publish(producer, 4, 1, 64, 1), -EAGAIN);
	cr_assert_eq(rig_publish(producer, 4, 2, 64, 1), 0, "another shard does not wait for it");
	cr_assert_eq(rig_counts(producer).waiting, (uint64_t)count + 1);
}

Test(stream, full_is_held_until_an_ack_without_full)
{
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 3);
	rig_refuse(&rig, 1, WEIR_R_FULL, 1001, 1);
	rig_refuse(&rig, 1, WEIR_R_GAP, 1002, 1);
	rig_ack(&rig, 1, 1001, 2000, WEIR_ACK_FULL, 0);
	rig_clear(&rig);
	rig_pass(&rig, 5 * RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 2, "progress opens the hold once");
	rig_refuse(&rig, 1, WEIR_R_FULL, 1001, 1);
	rig_ack(&rig, 1, 1001, 2000, WEIR_ACK_FULL, 0);
	rig_clear(&rig);
	rig_pass(&rig, 200 * RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 0);
	cr_assert_geq(rig_count(&rig, WEIR_KIND_PROBE), 3);
	rig_ack(&rig, 1, 1001, 2000, 0, 0);
	rig_poll(&rig);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 2);
	rig_ack(&rig, 1, 1003, 2000, 0, 0);
	cr_assert_eq(rig_counts(producer).routed, 3);
}

Test(stream, busy_and_moving_are_tried_again_after_a_while)
{
	static const enum weir_reason REASONS[] = { WEIR_R_BUSY, WEIR_R_MOVING };
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	for (uint32_t i = 0; i < 2; i++) {
		rig_publish_frames(&rig, producer, 1);
		rig_refuse(&rig, 1, REASONS[i], 1000 + i, 1);
		rig_clear(&rig);
		rig_pass(&rig, 5 * RIG_MS);
		cr_expect_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 0);
		rig_pass(&rig, 20 * RIG_MS);
		cr_expect_geq(rig_count(&rig, WEIR_KIND_PUBLISH), 1);
		rig_ack(&rig, 1, 1001 + i, 2000, 0, 0);
	}
	cr_assert_eq(rig_counts(producer).routed, 2);
}

Test(stream, final_refusal_is_skipped_counted_and_told)
{
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 3);
	rig_refuse(&rig, 1, WEIR_R_DROP_NEW, 1001, 1);
	rig_clear(&rig);
	rig_poll(&rig);
	const struct weir_frame_header *frame = rig_sent(&rig, WEIR_KIND_SKIP, 0);
	cr_assert_not_null(frame);
	const struct weir_skip *skip = (const void *)(frame + 1);
	cr_assert_eq(frame->sequence, 1001);
	cr_assert_eq(skip->count, 1);
	cr_assert_eq(skip->reason, WEIR_R_DROP_NEW);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 0);
	// Lost skips are sent again.
	rig_ack(&rig, 1, 1001, 2000, 0, 0);
	rig_clear(&rig);
	rig_pass(&rig, 300 * RIG_MS);
	cr_assert_geq(rig_count(&rig, WEIR_KIND_SKIP), 1);
	rig_ack(&rig, 1, 1003, 2000, 0, 0);
	cr_assert_eq(rig_counts(producer).routed, 2);
	cr_assert_eq(rig_counts(producer).refused, 1);
	cr_assert_eq(rig_counts(producer).last_refusal, WEIR_R_DROP_NEW);
	cr_assert_eq(weir_core_flush_state(producer), -EPROTO);
	cr_assert_eq(weir_core_flush_state(producer), 0);
}

Test(stream, lost_stream_of_the_same_session_goes_on_where_the_router_stands)
{
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 4);
	rig_refuse(&rig, 1, WEIR_R_NO_STREAM, 1000, 1);
	rig.opened_next = 1002;
	rig_clear(&rig);
	rig_answer(&rig);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_OPEN), 1);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 2);
	cr_assert_eq(publish_sent(0)->sequence, 1002);
	rig_ack(&rig, 1, 1004, 2000, 0, 0);
	cr_assert_eq(rig_counts(producer).routed, 4);
}

Test(stream, lost_session_goes_on_without_loss_or_doubles)
{
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 4);
	rig.opened_next = 1003;
	session_again(rig.router);
	cr_assert_eq(rig_counts(producer).routed, 3);
	const struct weir_frame_header *frame = publish_sent(0);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 1);
	cr_assert_eq(frame->sequence, 1003);
	cr_assert_eq(frame->session, rig.session);
	rig_ack(&rig, 1, 1004, 2000, 0, 0);
	cr_assert_eq(rig_counts(producer).routed, 4);
	cr_assert_eq(rig_counts(producer).unknown, 0);
}

Test(stream, another_router_makes_what_was_sent_unknown_and_renumbers_the_rest)
{
	rig.window_frames = 4;
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 6); // 4 sent, 2 not
	rig.opened_next = 7;
	rig.incarnation++;
	session_again(rig.router + 1);
	cr_assert_eq(rig_counts(producer).unknown, 4);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 2);
	cr_assert_eq(publish_sent(0)->sequence, 7);
	cr_assert_eq(publish_sent(1)->sequence, 8);
	rig_ack(&rig, 1, 9, 2000, 0, 0);
	cr_assert_eq(rig_counts(producer).routed, 2);
	cr_assert_eq(rig_counts(producer).waiting, 0);
}

Test(stream, stream_that_stands_lower_than_acknowledged_is_another_one)
{
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 4);
	rig_ack(&rig, 1, 1002, 2000, 0, 0);
	rig.opened_next = 0;
	session_again(rig.router);
	cr_assert_eq(rig_counts(producer).routed, 2);
	cr_assert_eq(rig_counts(producer).unknown, 2);
}

Test(stream, fenced_ends_the_producer)
{
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 2);
	rig_refuse(&rig, 1, WEIR_R_FENCED, 1000, 1);
	cr_assert_eq(rig_publish(producer, 4, 1, 64, 1), -EPROTO);
	cr_assert_eq(weir_core_producer_state(producer), -EPROTO);
	cr_assert_eq(rig_counts(producer).last_refusal, WEIR_R_FENCED);
	rig_clear(&rig);
	rig_pass(&rig, 500 * RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_SKIP) + rig_count(&rig, WEIR_KIND_PUBLISH), 0);
}

Test(stream, removed_topic_is_told_and_asked_for_again)
{
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 2);
	rig_refuse(&rig, 1, WEIR_R_TOPIC_REMOVED, 1000, 1);
	cr_assert_eq(rig_publish(producer, 4, 1, 64, 1), -ENOENT);
	cr_assert_eq(rig_counts(producer).waiting, 0);
	rig_clear(&rig);
	rig_poll(&rig);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_METADATA), 1);
	rig_answer(&rig);
	cr_assert_eq(rig_publish(producer, 4, 1, 64, 1), 0);
}

Test(stream, refused_open_is_tried_again_or_given_up_by_its_class)
{
	struct weir_producer *producer = NULL;
	rig_connect(&rig);
	cr_assert_eq(weir_core_producer_open(rig.core, "positions", NULL, &producer), 0);
	rig_poll(&rig);
	rig.shards = 1;
	uint32_t opens = 0;
	for (uint32_t i = 0; i < rig.count && opens == 0; i++) {
		rig_answer(&rig);
		opens = rig_count(&rig, WEIR_KIND_OPEN);
	}
	cr_assert_eq(weir_core_producer_state(producer), 0);
	rig_refuse(&rig, 0, WEIR_R_NO_STREAM, 0, 1);
	rig_clear(&rig);
	rig_poll(&rig);
	const struct weir_frame_header *frame = rig_sent(&rig, WEIR_KIND_OPEN, 0);
	cr_assert_not_null(frame);
	struct weir_refuse_entry entry = { .topic = RIG_TOPIC,
					   .reason = WEIR_R_STREAMS,
					   .sequence = ((const struct weir_open *)(frame + 1))->request };
	rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_REFUSE, .session = rig.session, .count = 1 }, &entry,
		 sizeof(entry));
	rig_clear(&rig);
	rig_pass(&rig, 20 * RIG_MS);
	cr_assert_geq(rig_count(&rig, WEIR_KIND_OPEN), 1);
	entry.reason = WEIR_R_LEVEL;
	rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_REFUSE, .session = rig.session, .count = 1 }, &entry,
		 sizeof(entry));
	cr_assert_eq(weir_core_producer_state(producer), -EPROTO);
	cr_assert_eq(rig_counts(producer).last_refusal, WEIR_R_LEVEL);
}

Test(stream, level_none_is_sent_once_and_forgotten)
{
	struct weir_producer_options options = { .level = WEIR_LEVEL_NONE, .frame_events = 1 };
	struct weir_producer *producer = rig_producer(&rig, &options);
	rig_publish_frames(&rig, producer, 5);
	cr_assert_eq(rig_counts(producer).routed, 5);
	cr_assert_eq(rig_counts(producer).waiting, 0);
	rig_refuse(&rig, 1, WEIR_R_FULL, 1002, 1);
	rig_refuse(&rig, 1, WEIR_R_DROP_NEW, 1003, 1);
	rig_clear(&rig);
	rig_pass(&rig, 2000 * RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH) + rig_count(&rig, WEIR_KIND_SKIP), 0);
	cr_assert_eq(rig_counts(producer).refused, 0);
}

// Nobody acknowledges it frame by frame: what left may not fill a window, or credit would go unused until a timer.
Test(stream, level_none_is_bounded_by_credit_alone)
{
	struct weir_producer_options options = { .level = WEIR_LEVEL_NONE, .frame_events = 1 };
	struct weir_producer *producer = rig_producer(&rig, &options);
	struct weir_statistics before, after;
	weir_core_statistics(rig.core, &before);
	rig_publish_frames(&rig, producer, 10 * before.window_frames);
	cr_assert_eq(rig_counts(producer).routed, 10 * before.window_frames);
	cr_assert_eq(rig_counts(producer).waiting, 0);
	rig_pass(&rig, 2000 * RIG_MS);
	weir_core_statistics(rig.core, &after);
	cr_assert_eq(after.window_frames, before.window_frames);
	cr_assert_eq(after.timeouts, 0);
	cr_assert_eq(after.frames_resent, 0);
}

static void pieces_check(uint32_t first, uint32_t total)
{
	uint32_t at = 0;
	for (uint32_t i = first; publish_sent(i); i++) {
		const struct weir_frame_header *frame = publish_sent(i);
		const struct weir_fragment *fragment = (const void *)(frame + 1);
		cr_assert(frame->flags & WEIR_FLAG_FRAGMENT);
		cr_assert_eq(frame->count, 1);
		cr_assert_eq(frame->sequence, 1000);
		cr_assert_eq(fragment->total, total);
		cr_assert_eq(fragment->offset, at);
		at += frame->body_length - (uint32_t)sizeof(*fragment);
	}
	cr_assert_eq(at, weir_pad8(total));
}

Test(stream, large_event_is_cut_into_pieces_that_are_the_event)
{
	struct weir_producer *producer = rig_producer(&rig, NULL);
	cr_assert_eq(rig_publish(producer, 4, 1, 20001, 7), 0);
	rig_poll(&rig);
	pieces_check(0, 20001 + 16);
	rig_ack(&rig, 1, 1001, 2000, 0, 0);
	cr_assert_eq(rig_counts(producer).routed, 1);
	cr_assert_eq(rig_publish(producer, 4, 1, 128 << 10, 7), -EMSGSIZE);
}

static void piece_ack(uint32_t fragment_to, bool is_nack)
{
	struct weir_ack_entry entry = {
		.topic = RIG_TOPIC,
		.shard = 1,
		.stream = 101,
		.flags = is_nack ? WEIR_ACK_NACK : 0,
		.fragment_to = fragment_to,
		.next = 1000,
		.have = is_nack ? 1001 : 1000,
		.limit = 2000,
	};
	rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_ACK, .session = rig.session, .count = 1 }, &entry,
		 sizeof(entry));
}

Test(stream, large_event_larger_than_the_window_flows_through_it)
{
	rig.window_frames = 8;
	struct weir_producer *producer = rig_producer(&rig, NULL);
	cr_assert_eq(rig_publish(producer, 4, 1, 60000, 7), 0);
	rig_poll(&rig);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 8);
	uint32_t acked = 0;
	for (uint32_t i = 0; publish_sent(i); i++) {
		acked += publish_sent(i)->body_length - (uint32_t)sizeof(struct weir_fragment);
		piece_ack(acked < 60016 ? acked : 60016, false);
		rig_poll(&rig);
	}
	pieces_check(0, 60016);
}

Test(stream, pieces_are_sent_again_from_where_the_router_stands)
{
	struct weir_producer *producer = rig_producer(&rig, NULL);
	cr_assert_eq(rig_publish(producer, 4, 1, 20000, 7), 0);
	rig_poll(&rig);
	uint32_t chunk = publish_sent(0)->body_length - (uint32_t)sizeof(struct weir_fragment);
	rig.now_ns += RIG_MS;
	rig_clear(&rig);
	piece_ack(3 * chunk, true);
	rig_poll(&rig);
	const struct weir_fragment *fragment = (const void *)(publish_sent(0) + 1);
	cr_assert_eq(fragment->offset, 3 * chunk);
	// The slot was given away: from the beginning.
	rig.now_ns += 20 * RIG_MS;
	rig_clear(&rig);
	piece_ack(0, true);
	rig_poll(&rig);
	fragment = (const void *)(publish_sent(0) + 1);
	cr_assert_eq(fragment->offset, 0);
	pieces_check(0, 20016);
}

Test(stream, close_waits_for_acknowledgement_then_shakes_hands)
{
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 2);
	weir_core_producer_close(producer);
	rig_clear(&rig);
	rig_poll(&rig);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_CLOSE), 3, "shard 1 still waits");
	rig_ack(&rig, 1, 1002, 2000, 0, 0);
	rig_clear(&rig);
	rig_pass(&rig, 150 * RIG_MS);
	const struct weir_frame_header *close = NULL;
	for (uint32_t i = 0; rig_sent(&rig, WEIR_KIND_CLOSE, i); i++) {
		if (rig_sent(&rig, WEIR_KIND_CLOSE, i)->shard == 1)
			close = rig_sent(&rig, WEIR_KIND_CLOSE, i);
	}
	cr_assert_not_null(close);
	cr_assert_eq(close->sequence, 1002);
	const struct weir_close first = *(const struct weir_close *)(const void *)(close + 1);
	for (uint16_t shard = 0; shard < 4; shard++) {
		// Each shard's open has a number of its own, one after the other.
		const struct weir_close closed = { .request = first.request - 1 + shard };
		rig_give(&rig,
			 (struct weir_frame_header){ .kind = WEIR_KIND_CLOSED,
						     .session = rig.session,
						     .topic = RIG_TOPIC,
						     .shard = shard,
						     .stream = 100u + shard },
			 &closed, sizeof(closed));
	}
	rig_clear(&rig);
	weir_core_close(rig.core, rig.now_ns);
	rig_pass(&rig, 10 * RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_CLOSE), 0);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_BYE), 1);
}

Test(stream, unknown_topic_is_told_and_asked_for_again)
{
	struct weir_producer *producer = NULL;
	struct weir_event event = { .key = 1 };
	rig_connect(&rig);
	cr_assert_eq(weir_core_producer_open(rig.core, "positions", NULL, &producer), 0);
	cr_assert_eq(weir_core_publish(producer, &event), -ENOTCONN);
	rig_poll(&rig);
	const struct weir_metadata_ask *ask = (const void *)(rig_sent(&rig, WEIR_KIND_METADATA, 0) + 1);
	struct weir_error error = { .reason = WEIR_R_NO_TOPIC, .kind = WEIR_KIND_METADATA, .request = ask->request };
	rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_ERROR, .session = rig.session }, &error, sizeof(error));
	cr_assert_eq(weir_core_publish(producer, &event), -ENOENT);
	cr_assert_eq(weir_core_producer_state(producer), -ENOENT);
	rig_clear(&rig);
	rig_pass(&rig, 150 * RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_METADATA), 1);
	rig_answer(&rig);
	cr_assert_eq(weir_core_producer_state(producer), 0);
}

Test(stream, keyless_events_spread_evenly)
{
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	uint32_t per_shard[4] = { 0 };
	for (int i = 0; i < 400; i++) {
		struct weir_event event = { .flags = WEIR_EVENT_KEYLESS, .payload = "x", .payload_size = 1 };
		cr_assert_eq(weir_core_publish(producer, &event), 0);
		rig_poll(&rig);
		rig_ack(&rig, publish_sent(0)->shard, 1001 + per_shard[publish_sent(0)->shard], 100000, 0, 0);
		per_shard[publish_sent(0)->shard]++;
		rig_clear(&rig);
	}
	for (int i = 0; i < 4; i++)
		cr_expect(per_shard[i] > 60 && per_shard[i] < 140, "shard %d got %u of 400", i, per_shard[i]);
}

// Puts together what was sent of shard 1 from sequence 1000 on, event by event; returns how many events.
static uint32_t sent_check(uint32_t small, uint32_t large)
{
	uint32_t events = 0;
	uint32_t bytes = 0;
	for (uint32_t i = 0; publish_sent(i); i++) {
		const struct weir_frame_header *frame = publish_sent(i);
		cr_assert_leq(frame->body_length + WEIR_DELIVER_OVERHEAD, rig.frame_size);
		cr_assert_eq(frame->sequence, 1000 + events);
		if (!(frame->flags & WEIR_FLAG_FRAGMENT)) {
			enum weir_reason reason =
				weir_events_check(frame + 1, frame->body_length, frame->count, small + 16, 1, 4);
			cr_assert_eq(reason, WEIR_R_NONE);
			events += frame->count;
			continue;
		}
		const struct weir_fragment *fragment = (const void *)(frame + 1);
		cr_assert_eq(fragment->total, large + 16);
		cr_assert_eq(fragment->offset, bytes);
		bytes += frame->body_length - (uint32_t)sizeof(*fragment);
		if (bytes == weir_pad8(fragment->total)) {
			events++;
			bytes = 0;
		}
	}
	cr_assert_eq(bytes, 0);
	return events;
}

Test(stream, what_waits_is_cut_anew_for_smaller_frames)
{
	rig.opened_limit = 1000; // nothing may leave
	struct weir_producer *producer = rig_producer(&rig, NULL);
	for (int i = 0; i < 40; i++)
		cr_assert_eq(rig_publish(producer, 4, 1, 64, (uint8_t)i), 0);
	cr_assert_eq(rig_publish(producer, 4, 1, 900, 0), 0); // fits the old frames, not the new ones
	cr_assert_eq(rig_publish(producer, 4, 1, 900, 0), 0);
	rig_poll(&rig);
	rig.frame_size = 512;
	rig.opened_limit = 100000;
	session_again(rig.router);
	rig_pass(&rig, 1 * RIG_MS);
	cr_assert_eq(sent_check(64, 900), 42);
	rig_ack(&rig, 1, 1042, 100000, 0, 0);
	cr_assert_eq(rig_counts(producer).routed, 42);
	cr_assert_eq(rig_counts(producer).waiting, 0);
}

Test(stream, what_was_sent_in_larger_frames_is_neither_lost_nor_doubled)
{
	struct weir_producer *producer = rig_producer(&rig, NULL);
	for (int i = 0; i < 34; i++)
		cr_assert_eq(rig_publish(producer, 4, 1, 64, (uint8_t)i), 0);
	cr_assert_eq(rig_publish(producer, 4, 1, 5000, 0), 0);
	rig_poll(&rig);
	rig.frame_size = 512;
	rig.opened_next = 1017; // the first frame arrived
	session_again(rig.router);
	rig_pass(&rig, 1 * RIG_MS);
	cr_assert_eq(rig_counts(producer).routed, 17);
	cr_assert_eq(publish_sent(0)->sequence, 1017);
	rig_ack(&rig, 1, 1035, 100000, 0, 0);
	cr_assert_eq(rig_counts(producer).routed, 35);
	cr_assert_eq(rig_counts(producer).unknown, 0);
	for (int i = 0; i < 100; i++)
		cr_assert_eq(rig_publish(producer, 4, 1, 64, (uint8_t)i), 0);
	rig_clear(&rig);
	rig_pass(&rig, 1 * RIG_MS);
	cr_assert_geq(rig_count(&rig, WEIR_KIND_PUBLISH), 20);
}

Test(stream, retransmission_never_waits_for_more_than_two_seconds)
{
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 1);
	for (int i = 0; i < 60; i++) {
		rig_pass(&rig, 500 * RIG_MS);
		rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_PONG, .session = rig.session }, NULL, 0);
	}
	cr_assert_geq(rig_count(&rig, WEIR_KIND_PUBLISH), 15);
	cr_assert_leq(rig_count(&rig, WEIR_KIND_PUBLISH), 22);
}

Test(stream, another_router_life_is_another_stream_even_where_the_numbers_agree)
{
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 4);
	rig.opened_next = 1002;
	session_again(rig.router + 1);
	cr_assert_eq(rig_counts(producer).unknown, 4);
	cr_assert_eq(rig_counts(producer).routed, 0);
}

Test(stream, stream_is_in_doubt_when_the_dedup_window_passed)
{
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 4);
	rig_pass(&rig, 4000 * RIG_MS); // the lease ends in silence
	cr_assert_eq(weir_core_state(rig.core), WEIR_STATE_LOST);
	rig_clear(&rig);
	rig_pass(&rig, 57000 * RIG_MS);
	rig.session++;
	rig_connect(&rig);
	rig_answer(&rig);
	cr_assert_eq(rig_counts(producer).unknown, 4);
	cr_assert_eq(rig_counts(producer).waiting, 0);
}

Test(stream, stream_that_stands_beyond_what_was_sent_is_another_one)
{
	rig.window_frames = 2;
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 4); // 2 sent
	rig.opened_next = 1003;
	session_again(rig.router);
	cr_assert_eq(rig_counts(producer).unknown, 2);
	cr_assert_eq(rig_counts(producer).routed, 0);
	cr_assert_eq(publish_sent(0)->sequence, 1003);
	cr_assert_eq(publish_sent(1)->sequence, 1004);
}

Test(stream, close_gives_up_what_never_left_and_says_where_it_ended)
{
	rig.window_frames = 2;
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 5); // 2 sent
	weir_core_producer_close(producer);
	cr_assert_eq(rig_counts(producer).unknown, 3);
	cr_assert_eq(rig_publish(producer, 4, 1, 64, 1), -EPROTO);
	rig_ack(&rig, 1, 1002, 100000, 0, 0);
	rig_clear(&rig);
	rig_poll(&rig);
	const struct weir_frame_header *close = NULL;
	for (uint32_t i = 0; rig_sent(&rig, WEIR_KIND_CLOSE, i); i++) {
		if (rig_sent(&rig, WEIR_KIND_CLOSE, i)->shard == 1)
			close = rig_sent(&rig, WEIR_KIND_CLOSE, i);
	}
	cr_assert_not_null(close);
	cr_assert_eq(close->sequence, 1002);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 0);
}
