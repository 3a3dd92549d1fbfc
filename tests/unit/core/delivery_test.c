// Claims about deliveries, the tables "Assignment" and "Delivery" of wire/PROTOCOL.md from the router's side: frames, credit,
// loss, terms, marks, cutting loose. A consumer made of frames takes part; every test ends with rows in balance.
#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/core/consumer.h"

#define MS 1000000ull

static struct rig *rig;
static struct rig_client producer;
static struct consumer *consumer;

static void begin(const struct rig_options *options, uint32_t frame_size)
{
	struct rig_options own = *options;
	own.has_group = true;
	rig = rig_create(&own);
	rig_client_init(rig, &producer, 0, 1);
	rig_connect(&producer);
	cr_assert_not_null(rig_open(&producer, 0, WEIR_ACK_ROUTED));
	consumer = consumer_create(rig, (uint16_t)(own.workers > 1), 2, frame_size);
	consumers_run(rig, &consumer, 1);
}

static void setup(void)
{
	begin(&(struct rig_options){ 0 }, 1472);
}

static void setup_small_frames(void)
{
	begin(&(struct rig_options){ 0 }, 512);
}

static void setup_two_workers(void)
{
	begin(&(struct rig_options){ .workers = 2 }, 1472);
}

static void setup_follow(void)
{
	begin(&(struct rig_options){ .group_kind = WEIR_GROUP_FOLLOW, .quota_bytes = 8192 }, 1472);
}

static void setup_drop_old(void)
{
	begin(&(struct rig_options){ .policy = WEIR_POLICY_DROP_OLD, .log_bytes = 64u << 10 }, 1472);
}

static void setup_progress(void)
{
	begin(&(struct rig_options){ .progress_timeout_ns = 500 * MS }, 1472);
}

static const struct weir_group_row *row(void)
{
	return &rig->group_rows[0];
}

static struct consumer_shard *own(void)
{
	return &consumer->shards[0];
}

static void teardown(void)
{
	rig_run(rig);
	cr_expect(rig_balances(rig));
	uint64_t dropped = 0;
	for (int i = 0; i < (int)WEIR_REASON_ROOM; i++)
		dropped += row()->dropped[i];
	cr_expect_eq(row()->head_offset - row()->start_offset, row()->settled + row()->held + dropped);
	free(consumer);
	rig_destroy(rig);
}

static void run(void)
{
	consumers_run(rig, &consumer, 1);
}

// Frames of `count` events each, until `end`.
static void publish_to(uint64_t from, uint64_t end, uint16_t count)
{
	for (uint64_t at = from; at < end; at += count)
		rig_publish(&producer, 0, at, (uint16_t)(end - at < count ? end - at : count));
	rig_run(rig);
}

// Takes and reports until nothing comes any more, as a member does.
static void run_all(void)
{
	uint64_t before;
	do {
		before = own()->received_to + own()->fragment_to;
		run();
		consumer_report(consumer, 0, 0);
	} while (own()->received_to + own()->fragment_to != before);
	run();
}

static void payloads_expect(uint64_t from, uint64_t to)
{
	for (uint64_t offset = from; offset < to; offset++)
		cr_assert_eq(consumer->first_payload[0][offset % CONSUMER_EVENTS], offset, "offset %lu", (unsigned long)offset);
}

TestSuite(delivery, .fini = teardown);

Test(delivery, whole_runs_go_out_as_they_lie_in_the_log_in_one_frame, .init = setup)
{
	for (uint64_t i = 0; i < 3; i++)
		rig_publish(&producer, 0, 2 * i, 2);
	rig_run(rig);
	cr_assert_eq(rig_count(&consumer->client, WEIR_KIND_DELIVER), 1);
	const struct weir_frame_header *frame = rig_last(&consumer->client, WEIR_KIND_DELIVER);
	const struct weir_delivery *delivery = (const void *)(frame + 1);
	const struct weir_log *log = &rig->shards[0]->log;
	cr_assert_eq(frame->count, 3);
	cr_assert_eq(frame->sequence, 0);
	cr_assert_eq(delivery->to, 6);
	cr_assert_eq(delivery->charge_from, 0);
	cr_assert_eq(frame->body_length, sizeof(*delivery) + log->head);
	cr_assert_eq(memcmp(delivery + 1, log->base, log->head), 0);
}

Test(delivery, nothing_is_sent_before_the_member_reported_and_the_assign_is_repeated, .init = setup)
{
	struct consumer *deaf = consumer;
	consumer_bye(deaf);
	free(deaf);
	consumer = consumer_create(rig, 0, 3, 1472);
	consumer->is_deaf = true;
	publish_to(0, 4, 4);
	cr_assert_eq(rig_count(&consumer->client, WEIR_KIND_ASSIGN), 1);
	rig_advance_ms(rig, 1600);
	cr_assert_eq(rig_count(&consumer->client, WEIR_KIND_ASSIGN), 5, "after 100, 200, 400 and 800 ms");
	cr_assert_eq(rig_count(&consumer->client, WEIR_KIND_DELIVER), 0);
	consumer->is_deaf = false;
	run();
	cr_assert_eq(own()->received_to, 4);
	rig_advance_ms(rig, 350);
	cr_assert_eq(rig_count(&consumer->client, WEIR_KIND_ASSIGN), 5);
}

Test(delivery, never_more_is_charged_than_granted, .init = setup)
{
	consumer->credit = 3 * weir_charge(1472);
	// The new limit is above what was granted at the beginning only when the credit shrinks below it: a new term.
	consumer_bye(consumer);
	free(consumer);
	consumer = consumer_create(rig, 0, 3, 1472);
	consumer->credit = 3 * weir_charge(1472);
	run();
	publish_to(0, 18 * 10, 17);
	cr_assert_eq(rig_count(&consumer->client, WEIR_KIND_DELIVER), 3);
	cr_assert_eq(rig->shards[0]->deliveries[0]->charged, 3 * weir_charge(1472));
	run();
	cr_assert_eq(own()->received_to, 3 * 17);
	consumer_settle_all(consumer);
	run();
	cr_assert_eq(own()->received_to, 6 * 17);
}

Test(delivery, a_run_larger_than_the_frame_is_split_between_events, .init = setup_small_frames)
{
	publish_to(0, 17, 17);
	run();
	cr_assert_eq(own()->received_to, 17);
	cr_assert_gt(rig_count(&consumer->client, WEIR_KIND_DELIVER), 2);
	payloads_expect(0, 17);
	consumer_settle_all(consumer);
	cr_assert_eq(row()->held, 0);
	cr_assert_eq(row()->settled, 17);
}

static void large_publish(uint64_t sequence, uint32_t length)
{
	_Alignas(8) uint8_t event[64 * 1024];
	memset(event, 0x5a, sizeof(event));
	struct weir_event_header header = { .length = length, .key = rig_key(rig, 0) };
	memcpy(event, &header, sizeof(header));
	memcpy(event + sizeof(header), &sequence, sizeof(sequence));
	memset(event + length, 0, 8);
	uint32_t padded = weir_pad8(length);
	for (uint32_t at = 0; at < padded; at += 1200)
		rig_fragment(&producer, sequence, event, at, padded - at < 1200 ? padded - at : 1200);
	rig_run(rig);
}

Test(delivery, an_event_larger_than_the_frame_goes_out_in_fragments, .init = setup_small_frames)
{
	large_publish(0, 30001);
	publish_to(1, 3, 2);
	run_all();
	cr_assert_eq(own()->received_to, 3);
	payloads_expect(0, 3);
}

Test(delivery, lost_fragments_are_sent_again_from_the_first_that_is_missing, .init = setup_small_frames)
{
	large_publish(0, 30001);
	rig_run(rig);
	// Three pieces arrive, the rest is lost.
	uint32_t first = consumer->seen;
	for (uint32_t pieces = 0; pieces < 3; first++) {
		const struct rig_sent *sent = &rig->workers[0].sent[first];
		pieces += ((const struct weir_frame_header *)(const void *)sent->bytes)->kind == WEIR_KIND_DELIVER;
	}
	rig->workers[0].sent_count = first;
	consumer_look(consumer);
	cr_assert_eq(own()->fragment_to, 3 * 392);
	consumer_report(consumer, 0, 0);
	rig_advance_ms(rig, 200);
	run_all();
	cr_assert_eq(own()->received_to, 1);
	payloads_expect(0, 1);
}

Test(delivery, settling_moves_the_hold_cursor_and_the_row, .init = setup)
{
	publish_to(0, 40, 4);
	run();
	const struct weir_shard *shard = rig->shards[0];
	cr_assert_eq(weir_shard_hold(shard), 0);
	own()->settled_to = 10; // within a run
	consumer_report(consumer, 0, 0);
	rig_run(rig);
	cr_assert_eq(row()->settled, 10);
	cr_assert_eq(row()->held, 30);
	cr_assert_eq(row()->settled_to, 10);
	cr_assert_eq(weir_shard_hold(shard), 2 * (sizeof(struct weir_run_header) + 4 * 80), "a run is held whole");
	consumer_settle_all(consumer);
	cr_assert_eq(weir_shard_hold(shard), shard->log.head);
}

Test(delivery, a_report_cannot_settle_or_receive_what_was_not_sent, .init = setup)
{
	publish_to(0, 4, 4);
	run();
	own()->received_to = own()->settled_to = 1000;
	consumer_report(consumer, 0, 0);
	publish_to(4, 8, 4);
	cr_assert_eq(row()->settled, 4);
	cr_assert_eq(row()->settled_to, 4);
	own()->received_to = own()->settled_to = 2;
	consumer_report(consumer, 0, 0);
	rig_run(rig);
	cr_assert_eq(row()->settled, 4, "never backwards");
}

Test(delivery, after_a_timeout_one_frame_is_sent_again_and_the_rest_waits_for_a_report, .init = setup)
{
	consumer->is_deaf = true;
	publish_to(0, 17 * 8, 17);
	cr_assert_eq(rig_count(&consumer->client, WEIR_KIND_DELIVER), 8);
	rig_forget(rig);
	consumer->seen = 0;
	rig_advance_ms(rig, 110);
	cr_assert_eq(rig_count(&consumer->client, WEIR_KIND_DELIVER), 2, "the frame, and an announcement behind it");
	cr_assert_eq(rig_last(&consumer->client, WEIR_KIND_DELIVER)->count, 0);
	consumer->is_deaf = false;
	run();
	consumer_report(consumer, 0, 0);
	run();
	cr_assert_eq(own()->received_to, 17 * 8);
	cr_assert_geq(row()->resent_events, 17 * 8);
	cr_assert_eq(row()->redelivered, 0, "a repetition within a term is not marked");
	payloads_expect(0, 17 * 8);
}

Test(delivery, a_reported_gap_is_repaired_at_once_but_once_a_round_trip, .init = setup)
{
	publish_to(0, 17, 17);
	run();
	consumer_report(consumer, 0, 0);
	rig_advance_ms(rig, 50);
	consumer->is_deaf = true;
	publish_to(17, 17 * 5, 17);
	rig_forget(rig);
	consumer->seen = 0;
	consumer_report(consumer, 0, WEIR_REPORT_GAP);
	rig_run(rig);
	cr_assert_eq(rig_count(&consumer->client, WEIR_KIND_DELIVER), 4);
	consumer_report(consumer, 0, WEIR_REPORT_GAP);
	rig_run(rig);
	cr_assert_eq(rig_count(&consumer->client, WEIR_KIND_DELIVER), 4, "the same gap, within the round trip");
	consumer->is_deaf = false;
	run();
	cr_assert_eq(own()->received_to, 17 * 5);
}

Test(delivery, a_planned_move_redelivers_nothing, .init = setup)
{
	publish_to(0, 40, 4);
	run();
	own()->settled_to = 12;
	consumer_report(consumer, 0, 0);
	rig_run(rig);
	uint32_t term = own()->term;
	consumer_leave(consumer);
	run();
	cr_assert(consumer->has_left);
	struct consumer *next = consumer_create(rig, 0, 3, 1472);
	consumers_run(rig, &next, 1);
	cr_assert_eq(next->shards[0].from, 12);
	cr_assert_eq(next->shards[0].term, term + 1);
	cr_assert_eq(next->shards[0].received_to, 40);
	cr_assert_eq(next->shards[0].marked, 0);
	free(next);
}

Test(delivery, after_a_death_exactly_what_was_sent_is_marked, .init = setup)
{
	publish_to(0, 20, 5);
	run();
	own()->settled_to = 7;
	consumer_report(consumer, 0, 0);
	rig_run(rig);
	consumer_bye(consumer);
	publish_to(20, 30, 10);
	struct consumer *next = consumer_create(rig, 0, 3, 1472);
	consumers_run(rig, &next, 1);
	cr_assert_eq(next->shards[0].from, 7);
	cr_assert_eq(next->shards[0].redelivered_to, 20);
	cr_assert_eq(next->shards[0].received_to, 30);
	cr_assert_eq(next->shards[0].marked, 13);
	cr_assert_eq(row()->redelivered, 13);
	free(next);
}

// One that pings is none that lives: what it never said it would take goes to somebody who does.
Test(delivery, a_member_that_never_answers_an_assign_loses_its_shards_and_gets_them_seldom, .init = setup)
{
	consumer_bye(consumer);
	struct consumer *deaf = consumer_create(rig, 0, 4, 1472);
	deaf->is_deaf = true;
	publish_to(0, 8, 4);
	uint32_t assigns = 0;
	uint32_t held_ms = 0;
	for (uint32_t ms = 0; ms < 120000; ms += 100) {
		rig_control(&deaf->client, WEIR_KIND_PING, 0, 1);
		rig_advance_ms(rig, 100);
		assigns += rig_count(&deaf->client, WEIR_KIND_ASSIGN);
		held_ms += row()->session == deaf->client.session ? 100 : 0;
		rig_forget(rig);
	}
	cr_expect_leq(held_ms, 20000, "held for %u ms of two minutes", held_ms);
	cr_expect_leq(assigns, 40, "%u assigns", assigns);
	cr_expect_geq(assigns, 5, "it may come to its senses");
	cr_expect_eq(weir_engine_row(rig->workers[0].engine)->sessions, 1, "it lives");
	free(consumer);
	consumer = consumer_create(rig, 0, 5, 1472);
	for (uint32_t ms = 0; ms < 3100 && own()->received_to < 8; ms += 100) {
		rig_control(&deaf->client, WEIR_KIND_PING, 0, 1);
		rig_control(&consumer->client, WEIR_KIND_PING, 0, 1);
		rig_advance_ms(rig, 100);
		run();
	}
	cr_expect_eq(own()->received_to, 8, "a newcomer is served within a lease");
	free(deaf);
}

Test(delivery, a_member_that_stopped_answering_loses_the_shard_after_the_lease_and_the_rest_is_marked, .init = setup)
{
	publish_to(0, 8, 4);
	run();
	consumer->keeps = true;
	struct consumer *other = consumer_create(rig, 0, 3, 1472);
	consumer_leave(consumer);
	struct consumer *both[] = { consumer, other };
	consumers_run(rig, both, 2);
	cr_assert_eq(other->shards[0].term, 0);
	for (int i = 0; i < 8; i++) {
		// Both live: they ping.
		rig_control(&consumer->client, WEIR_KIND_PING, 0, 1);
		rig_control(&other->client, WEIR_KIND_PING, 0, 1);
		rig_advance_ms(rig, 400);
		consumers_run(rig, both, 2);
	}
	cr_assert_geq(own()->revokes, 5, "asked at 0, 100, 300, 700 and 1,500 ms");
	cr_assert_leq(own()->revokes, 7);
	cr_assert_eq(other->shards[0].received_to, 8);
	cr_assert_eq(other->shards[0].marked, 8);
	cr_assert(consumer->has_left);
	free(other);
}

Test(delivery, a_late_report_of_an_old_term_is_counted_and_answered_with_revoke, .init = setup)
{
	own()->term--;
	rig_forget(rig);
	consumer->seen = 0;
	consumer_report(consumer, 0, 0);
	rig_run(rig);
	cr_assert_eq(rig->workers[0].row.refused[WEIR_R_STALE_TERM], 1);
	const struct weir_frame_header *answer = rig_last(&consumer->client, WEIR_KIND_REVOKE);
	cr_assert_not_null(answer);
	cr_assert_eq(((const struct weir_revoke *)(const void *)(answer + 1))->term, own()->term);
}

Test(delivery, a_report_of_a_stranger_to_the_group_is_counted_no_member, .init = setup)
{
	struct consumer *stranger = calloc(1, sizeof(*stranger));
	rig_client_init(rig, &stranger->client, 0, 9);
	rig_connect(&stranger->client);
	stranger->shards[0] = *own();
	stranger->shards[0].settled_to = 1;
	publish_to(0, 4, 4);
	consumer_report(stranger, 0, 0);
	rig_run(rig);
	cr_assert_eq(rig->workers[0].row.refused[WEIR_R_NO_MEMBER], 1);
	cr_assert_eq(row()->settled, 0);
	free(stranger);
}

Test(delivery, a_follow_group_past_its_quota_is_cut_loose_and_told_the_gap, .init = setup_follow)
{
	consumer->is_deaf = true;
	publish_to(0, 400, 16);
	rig_advance_ms(rig, 20);
	const struct weir_shard *shard = rig->shards[0];
	cr_assert_gt(row()->dropped[WEIR_R_CUT_LOOSE], 0);
	cr_assert_leq(shard->log.head - shard->deliveries[0]->settled.position, 8192);
	cr_assert_eq(weir_shard_hold(shard), shard->log.head, "it holds nothing");
	uint64_t cut = row()->settled_to;
	// What had been sent and was lost does not come back: one empty frame brings the member to the cut.
	rig_forget(rig);
	consumer->seen = 0;
	consumer->is_deaf = false;
	consumer_report(consumer, 0, WEIR_REPORT_GAP);
	run();
	cr_assert_eq(own()->received_to, 400);
	cr_assert_eq(own()->gaps, cut);
	payloads_expect(cut, 400);
}

Test(delivery, dropping_the_oldest_cuts_hold_groups_loose_too, .init = setup_drop_old)
{
	consumer->is_deaf = true;
	publish_to(0, 1600, 16);
	uint64_t earliest = rig->shards[0]->log.tail_offset;
	cr_assert_gt(earliest, 0);
	cr_assert_eq(row()->settled_to, earliest);
	cr_assert_eq(row()->dropped[WEIR_R_CUT_LOOSE], earliest);
	cr_assert_eq(row()->held, 1600 - earliest);
}

Test(delivery, an_idle_stream_is_announced_each_second, .init = setup)
{
	publish_to(0, 4, 4);
	run();
	consumer_settle_all(consumer);
	rig_forget(rig);
	consumer->seen = 0;
	for (int i = 0; i < 10; i++) {
		rig_control(&consumer->client, WEIR_KIND_PING, 0, 1);
		rig_advance_ms(rig, 500);
	}
	cr_assert_eq(rig_count(&consumer->client, WEIR_KIND_DELIVER), 5);
	const struct weir_frame_header *frame = rig_last(&consumer->client, WEIR_KIND_DELIVER);
	cr_assert_eq(frame->count, 0);
	cr_assert_eq(frame->sequence, 4);
	cr_assert_eq(((const struct weir_delivery *)(const void *)(frame + 1))->to, 4);
}

Test(delivery, a_member_without_credit_is_told_where_the_router_stands, .init = setup)
{
	consumer_bye(consumer);
	free(consumer);
	consumer = consumer_create(rig, 0, 3, 1472);
	consumer->credit = 0;
	run();
	publish_to(0, 4, 4);
	cr_assert_eq(rig_count(&consumer->client, WEIR_KIND_DELIVER), 0);
	rig_advance_ms(rig, 50);
	cr_assert_geq(rig_count(&consumer->client, WEIR_KIND_DELIVER), 1);
	consumer->credit = 1u << 20;
	consumer_report(consumer, 0, 0);
	run();
	cr_assert_eq(own()->received_to, 4);
}

Test(delivery, a_member_that_settles_nothing_for_the_progress_timeout_is_revoked, .init = setup_progress)
{
	publish_to(0, 4, 4);
	run();
	struct consumer *other = consumer_create(rig, 0, 3, 1472);
	struct consumer *both[] = { consumer, other };
	consumers_run(rig, both, 2);
	cr_assert_eq(consumer_held(consumer), 1);
	rig_advance_ms(rig, 450);
	consumers_run(rig, both, 2);
	cr_assert_eq(consumer_held(consumer), 1);
	rig_advance_ms(rig, 100);
	consumers_run(rig, both, 2);
	cr_assert_eq(consumer_held(consumer), 0);
	cr_assert_eq(other->shards[0].received_to, 4);
	free(other);
}

// Of several copies of its word one a tenth of a second goes further; the last one counts for as long as the time-out.
Test(delivery, a_member_that_says_it_is_at_work_keeps_its_shards_meanwhile, .init = setup_progress)
{
	publish_to(0, 4, 4);
	run();
	struct consumer *other = consumer_create(rig, 0, 3, 1472);
	struct consumer *both[] = { consumer, other };
	consumers_run(rig, both, 2);
	uint32_t term = consumer->shards[0].term;
	for (int i = 0; i < 20; i++) {
		struct weir_frame_header ping = { .kind = WEIR_KIND_PING, .flags = WEIR_FLAG_WORKING };
		rig_send(&consumer->client, &ping, "", 0);
		rig_send(&consumer->client, &ping, "", 0);
		rig_control(&other->client, WEIR_KIND_PING, 0, 1);
		rig_advance_ms(rig, 200);
		consumers_run(rig, both, 2);
	}
	cr_assert_eq(consumer_held(consumer), 1);
	cr_assert_eq(consumer->shards[0].term, term);
	cr_assert_eq(consumer->shards[0].revokes, 0);
	for (int i = 0; i < 6; i++) {
		rig_control(&other->client, WEIR_KIND_PING, 0, 1);
		rig_advance_ms(rig, 200);
		consumers_run(rig, both, 2);
	}
	cr_assert_eq(consumer_held(consumer), 0);
	cr_assert_eq(other->shards[0].received_to, 4);
	free(other);
}

Test(delivery, a_changed_progress_timeout_holds_for_what_is_outstanding_already, .init = setup)
{
	publish_to(0, 4, 4);
	run();
	struct consumer *other = consumer_create(rig, 0, 3, 1472);
	struct consumer *both[] = { consumer, other };
	consumers_run(rig, both, 2);
	rig_advance_ms(rig, 450);
	consumers_run(rig, both, 2);
	cr_assert_eq(consumer_held(consumer), 1);
	struct weir_group_spec spec = rig->groups[0];
	spec.progress_timeout_ns = 500 * MS;
	const struct weir_message change = {
		.kind = WEIR_MESSAGE_GROUP_CHANGE, .topic = RIG_TOPIC, .group = RIG_GROUP, .request = 56, .pointer = &spec,
	};
	rig_message(rig, 0, &change);
	rig_advance_ms(rig, 100);
	consumers_run(rig, both, 2);
	cr_assert_eq(consumer_held(consumer), 0);
	cr_assert_eq(other->shards[0].received_to, 4);
	free(other);
}

Test(delivery, a_lowered_quota_cuts_loose_what_is_behind_it, .init = setup_follow)
{
	consumer->is_deaf = true;
	publish_to(0, 60, 16);
	rig_advance_ms(rig, 20);
	cr_assert_eq(row()->dropped[WEIR_R_CUT_LOOSE], 0);
	struct weir_group_spec spec = rig->groups[0];
	spec.quota_bytes = 2048;
	const struct weir_message change = {
		.kind = WEIR_MESSAGE_GROUP_CHANGE, .topic = RIG_TOPIC, .group = RIG_GROUP, .request = 57, .pointer = &spec,
	};
	rig_message(rig, 0, &change);
	rig_run(rig);
	const struct weir_shard *shard = rig->shards[0];
	cr_assert_gt(row()->dropped[WEIR_R_CUT_LOOSE], 0);
	cr_assert_leq(shard->log.head - shard->deliveries[0]->settled.position, 2048);
}

Test(delivery, a_removed_group_counts_what_it_had_not_settled_and_revokes_its_member, .init = setup)
{
	publish_to(0, 10, 5);
	run();
	own()->settled_to = 3;
	consumer_report(consumer, 0, 0);
	rig_run(rig);
	const struct weir_message remove = {
		.kind = WEIR_MESSAGE_GROUP_REMOVE, .topic = RIG_TOPIC, .group = RIG_GROUP, .shard = 0, .request = 55,
	};
	rig_message(rig, 0, &remove);
	run();
	cr_assert_eq(own()->revokes, 1);
	cr_assert_eq(row()->settled, 3);
	cr_assert_eq(row()->dropped[WEIR_R_TOPIC_REMOVED], 7);
	cr_assert_eq(row()->held, 0);
	cr_assert_eq(row()->head.in_use, 0);
	cr_assert_eq(weir_shard_hold(rig->shards[0]), rig->shards[0]->log.head);
}

// Control frees it then: neither the shard's next owner nor a timer may look at it.
Test(delivery, what_a_shard_kept_of_a_group_is_not_touched_once_its_removal_is_answered, .init = setup_two_workers)
{
	uint8_t *memory = (uint8_t *)&rig->deliveries[0][0];
	const size_t size = sizeof(rig->deliveries[0][0]);
	publish_to(0, 10, 5);
	cr_assert_eq(rig->shards[0]->deliveries[0], &rig->deliveries[0][0]);
	const struct weir_message remove = {
		.kind = WEIR_MESSAGE_GROUP_REMOVE, .topic = RIG_TOPIC, .group = RIG_GROUP, .shard = 0, .request = 55,
	};
	rig_message(rig, 0, &remove);
	run();
	cr_assert_null(rig->shards[0]->deliveries[0]);
	memset(memory, 0xff, size);
	publish_to(10, 20, 5);
	run();
	rig_message(rig, 0,
		    &(struct weir_message){ .kind = WEIR_MESSAGE_SHARD_MOVE, .topic = RIG_TOPIC, .worker = 1, .request = 56 });
	rig_run(rig);
	cr_assert_eq(rig->shards[0]->row.worker, 1);
	publish_to(20, 30, 5);
	rig_advance_ms(rig, 5000);
	rig_message(rig, 1, &(struct weir_message){ .kind = WEIR_MESSAGE_SHARD_REMOVE, .topic = RIG_TOPIC, .request = 57 });
	rig_run(rig);
	for (size_t i = 0; i < size; i++)
		cr_assert_eq(memory[i], 0xff, "byte %zu", i);
}

Test(delivery, a_blocked_port_stops_the_cursor_and_loses_nothing, .init = setup)
{
	rig->workers[0].is_port_blocked = true;
	publish_to(0, 40, 4);
	cr_assert_eq(rig->shards[0]->deliveries[0]->sent_to, 0);
	rig->workers[0].is_port_blocked = false;
	run();
	cr_assert_eq(own()->received_to, 40);
}

Test(delivery, a_shard_goes_on_with_its_member_after_a_move, .init = setup_two_workers)
{
	publish_to(0, 8, 4);
	run();
	own()->settled_to = 2;
	consumer_report(consumer, 0, 0);
	rig_run(rig);
	rig_move(rig, 0, 1);
	run();
	cr_assert_eq(rig->shards[0]->row.worker, 1);
	uint32_t term = own()->term;
	publish_to(8, 20, 4);
	run();
	cr_assert_eq(own()->received_to, 20);
	cr_assert_eq(own()->term, term);
	consumer_settle_all(consumer);
	rig_run(rig);
	cr_assert_eq(row()->settled, 20);
	payloads_expect(0, 20);
}

Test(delivery, a_port_that_takes_nothing_holds_up_other_workers_frames_for_no_more_than_a_millisecond,
     .init = setup_two_workers)
{
	rig->workers[1].is_port_blocked = true;
	publish_to(0, 170, 17);
	cr_assert_gt(rig->workers[1].mesh_count, 0);
	rig_advance_ms(rig, 1);
	rig_advance_ms(rig, 1);
	cr_assert_eq(rig->workers[1].mesh_count, 0, "nobody waits behind it");
	rig->workers[1].is_port_blocked = false;
	for (int i = 0; i < 20; i++) {
		rig_advance_ms(rig, 50);
		run_all();
	}
	cr_assert_eq(own()->received_to, 170);
}

Test(delivery, a_frame_that_its_port_will_never_carry_makes_the_sessions_frames_smaller, .init = setup_two_workers)
{
	rig->workers[1].frame_max = 600; // the session moved there
	publish_to(0, 170, 17);
	cr_assert_eq(rig->workers[1].mesh_count, 0, "nobody waits behind it");
	for (int i = 0; i < 20; i++) {
		rig_advance_ms(rig, 50);
		run_all();
	}
	cr_assert_eq(own()->received_to, 170);
	cr_assert_eq(row()->frame_size, 512);
}
