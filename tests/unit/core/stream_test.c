// Claims about streams, the table "Stream" of wire/PROTOCOL.md from the router's side, and about credit: order, duplicates,
// gaps, refusals, epochs, full logs under each policy. What was appended is read back from the log, and every test
// ends with all rows in balance.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/core/rig.h"

static struct rig *rig;
static struct rig_client client;

static void begin(const struct rig_options *options)
{
	rig = rig_create(options);
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
}

static void setup(void)
{
	begin(&(struct rig_options){ 0 });
	cr_assert_not_null(rig_open(&client, 0, WEIR_ACK_ROUTED));
}

static void teardown(void)
{
	rig_run(rig);
	cr_expect(rig_balances(rig));
	rig_destroy(rig);
}

TestSuite(stream, .fini = teardown);

static const struct weir_shard_row *row(void)
{
	return &rig->shards[0]->row;
}

static void connect_as(struct rig_client *other, uint16_t number, uint64_t producer, uint64_t epoch)
{
	rig_client_init(rig, other, 0, number);
	other->producer = producer;
	other->epoch = epoch;
	rig_connect(other);
}

Test(stream, frames_in_order_are_appended_and_acknowledged_once_a_turn, .init = setup)
{
	for (uint64_t i = 0; i < 10; i++)
		rig_publish(&client, 0, i * 18, 18);
	cr_assert_eq(rig_count(&client, WEIR_KIND_ACK), 0, "not before the end of the turn");
	rig_run(rig);
	cr_assert_eq(rig_count(&client, WEIR_KIND_ACK), 1);
	cr_assert_eq(rig_ack(&client)->next, 180);
	cr_assert_eq(rig_ack(&client)->flags, 0);
	cr_assert_eq(row()->accepted, 180);
	cr_assert_eq(rig_log_next(rig, 0, client.producer, 0), 180);
}

Test(stream, a_repeated_frame_is_duplicate_and_acknowledged_again, .init = setup)
{
	rig_publish(&client, 0, 0, 5);
	rig_run(rig);
	rig_forget(rig);
	rig_publish(&client, 0, 0, 5);
	rig_run(rig);
	cr_assert_eq(row()->duplicate, 5);
	cr_assert_eq(row()->accepted, 5);
	cr_assert_eq(rig_ack(&client)->next, 5);
}

Test(stream, an_overlap_is_trimmed_and_the_rest_has_a_good_checksum, .init = setup)
{
	rig_publish(&client, 0, 0, 5);
	rig_publish(&client, 0, 2, 9);
	rig_run(rig);
	cr_assert_eq(row()->duplicate, 3);
	cr_assert_eq(row()->accepted, 11);
	cr_assert_eq(rig_log_next(rig, 0, client.producer, 0), 11, "rig_log_next checks each run's crc");
	const struct weir_log *log = &rig->shards[0]->log;
	const struct weir_run_header *run = weir_log_run(log, weir_log_run_size(5 * 80));
	const uint64_t *payload = (const uint64_t *)(const void *)((const uint8_t *)(run + 1) + 16);
	cr_assert_eq(*payload, 5);
}

Test(stream, frames_ahead_are_parked_nacked_once_and_drained_when_the_gap_closes, .init = setup)
{
	rig_publish(&client, 0, 0, 3);
	rig_publish(&client, 0, 6, 3);
	rig_publish(&client, 0, 12, 3);
	rig_publish(&client, 0, 9, 3);
	rig_run(rig);
	cr_assert_eq(rig_ack(&client)->next, 3);
	cr_assert(rig_ack(&client)->flags & WEIR_ACK_NACK);
	cr_assert_eq(rig_ack(&client)->have, 6);
	cr_assert_eq(rig->workers[0].row.parked_frames, 3);
	rig_publish(&client, 0, 15, 3);
	rig_run(rig);
	cr_assert_eq(rig_ack(&client)->flags, 0, "one nack per gap and round trip");
	rig_advance_ms(rig, 11);
	rig_publish(&client, 0, 18, 3);
	rig_run(rig);
	cr_assert(rig_ack(&client)->flags & WEIR_ACK_NACK, "and another one when it stays");
	rig_publish(&client, 0, 3, 3);
	rig_run(rig);
	cr_assert_eq(rig_ack(&client)->next, 21);
	cr_assert_eq(rig_ack(&client)->flags, 0);
	cr_assert_eq(row()->accepted, 21);
	cr_assert_eq(rig->workers[0].row.parked_frames, 0);
	cr_assert_eq(rig_log_next(rig, 0, client.producer, 0), 21);
}

Test(stream, a_parked_frame_that_overlaps_what_filled_the_gap_is_trimmed, .init = setup)
{
	rig_publish(&client, 0, 4, 4);
	rig_publish(&client, 0, 4, 4);
	rig_publish(&client, 0, 0, 6);
	rig_run(rig);
	cr_assert_eq(row()->accepted, 8);
	cr_assert_eq(row()->duplicate, 4 + 2);
	cr_assert_eq(rig_log_next(rig, 0, client.producer, 0), 8);
}

Test(stream, a_window_in_any_order_is_put_in_order)
{
	begin(&(struct rig_options){ .park_frames = 256 });
	rig_open(&client, 0, WEIR_ACK_ROUTED);
	enum { FRAMES = 150 };
	uint64_t order[FRAMES];
	srand(31);
	for (int round = 0; round < 20; round++) {
		uint64_t first = (uint64_t)round * FRAMES * 2;
		for (uint64_t i = 0; i < FRAMES; i++)
			order[i] = first + 2 * i;
		for (int i = FRAMES - 1; i > 0; i--) {
			int with = rand() % (i + 1);
			uint64_t other = order[with];
			order[with] = order[i];
			order[i] = other;
		}
		for (int i = 0; i < FRAMES; i++)
			rig_publish(&client, 0, order[i], 2);
		rig_run(rig);
		cr_assert_eq(rig_ack(&client)->next, first + 2 * FRAMES);
	}
	cr_assert_eq(row()->duplicate, 0);
	cr_assert_eq(row()->refused[WEIR_R_GAP], 0);
	cr_assert_eq(rig_log_next(rig, 0, client.producer, 0), 20 * 2 * FRAMES);
}

Test(stream, a_gap_is_told_where_others_have_parked_all_that_fits)
{
	struct rig_client other;
	begin(&(struct rig_options){ .park_frames = 1 });
	rig_open(&client, 0, WEIR_ACK_ROUTED);
	connect_as(&other, 2, 99, 0);
	rig_open(&other, 0, WEIR_ACK_ROUTED);
	rig_publish(&other, 0, 2, 2);
	rig_publish(&client, 0, 2, 2);
	rig_run(rig);
	cr_assert_eq(rig_refusal(&client)->reason, WEIR_R_GAP);
	cr_assert_eq(rig_ack(&client)->flags, WEIR_ACK_NACK);
	cr_assert_eq(rig_ack(&client)->have, 1);
}

Test(stream, more_frames_ahead_than_fit_are_refused_gap)
{
	begin(&(struct rig_options){ .park_frames = 4 });
	rig_open(&client, 0, WEIR_ACK_ROUTED);
	for (uint64_t i = 1; i <= 6; i++)
		rig_publish(&client, 0, i * 2, 2);
	rig_run(rig);
	cr_assert_eq(row()->refused[WEIR_R_GAP], 4);
	cr_assert_eq(rig_refusal(&client)->reason, WEIR_R_GAP);
	cr_assert_eq(rig_refusal(&client)->sequence, 12);
	cr_assert_eq(rig_refusal(&client)->next, 0);
	rig_publish(&client, 0, 0, 2);
	rig_run(rig);
	cr_assert_eq(rig_ack(&client)->next, 10);
}

Test(stream, a_frame_of_an_unknown_stream_is_refused_and_creates_nothing)
{
	begin(&(struct rig_options){ 0 });
	rig_publish(&client, 0, 0, 4);
	client.stream = 9999;
	rig_publish(&client, 0, 0, 4);
	rig_run(rig);
	cr_assert_eq(row()->refused[WEIR_R_NO_STREAM], 8);
	cr_assert_eq(row()->streams, 0);
	cr_assert_eq(rig_refusal(&client)->reason, WEIR_R_NO_STREAM);
	cr_assert_eq(rig_refusal(&client)->count, 4);
}

Test(stream, an_event_of_another_shard_is_refused_for_good_and_a_skip_goes_on)
{
	begin(&(struct rig_options){ .shards = 2 });
	rig_open(&client, 0, WEIR_ACK_ROUTED);
	_Alignas(8) struct weir_event_header event = { .length = 16, .key = rig_key(rig, 1) };
	struct weir_frame_header header = {
		.kind = WEIR_KIND_PUBLISH, .topic = RIG_TOPIC, .stream = client.stream, .count = 1,
	};
	rig_send(&client, &header, &event, sizeof(event));
	rig_run(rig);
	cr_assert_eq(rig_refusal(&client)->reason, WEIR_R_WRONG_SHARD);
	cr_assert_eq(rig->shards[0]->streams[client.stream].next, 0, "a refusal advances nothing");
	rig_skip(&client, 0, 0, 1, WEIR_R_WRONG_SHARD);
	rig_publish(&client, 0, 1, 2);
	rig_run(rig);
	cr_assert_eq(row()->skipped[WEIR_R_WRONG_SHARD], 1);
	cr_assert_eq(row()->accepted, 2);
	cr_assert_eq(rig_ack(&client)->next, 3);
}

Test(stream, a_skip_counts_once_however_often_it_comes_and_waits_for_a_gap, .init = setup)
{
	rig_skip(&client, 0, 2, 3, WEIR_R_ABANDONED);
	rig_run(rig);
	cr_assert_eq(rig_ack(&client)->next, 0);
	cr_assert(rig_ack(&client)->flags & WEIR_ACK_NACK);
	rig_publish(&client, 0, 0, 2);
	rig_skip(&client, 0, 2, 3, WEIR_R_ABANDONED);
	rig_run(rig);
	cr_assert_eq(rig_ack(&client)->next, 5);
	cr_assert_eq(row()->skipped[WEIR_R_ABANDONED], 3);
}

Test(stream, an_event_over_the_limit_is_refused_size)
{
	begin(&(struct rig_options){ .event_max = 40 });
	rig_open(&client, 0, WEIR_ACK_ROUTED);
	rig_publish(&client, 0, 0, 1);
	rig_run(rig);
	cr_assert_eq(rig_refusal(&client)->reason, WEIR_R_SIZE);
	cr_assert_eq(row()->refused[WEIR_R_SIZE], 1);
}

Test(stream, open_is_idempotent_and_names_where_it_stands, .init = setup)
{
	rig_publish(&client, 0, 0, 7);
	uint32_t handle = client.stream;
	const struct weir_opened *opened = rig_open(&client, 0, WEIR_ACK_NONE);
	cr_assert_eq(client.stream, handle);
	cr_assert_eq(opened->next, 7);
	cr_assert_eq(opened->level, WEIR_ACK_ROUTED, "the level stays while it is open");
	cr_assert_eq(opened->incarnation, 1000);
	cr_assert_eq(row()->streams, 1);
}

Test(stream, a_full_table_refuses_streams)
{
	begin(&(struct rig_options){ .streams_max = 1 });
	rig_open(&client, 0, WEIR_ACK_ROUTED);
	struct rig_client other;
	connect_as(&other, 2, 42, 0);
	cr_assert_null(rig_open(&other, 0, WEIR_ACK_ROUTED));
	cr_assert_eq(rig_refusal(&other)->reason, WEIR_R_STREAMS);
	cr_assert_eq(rig_refusal(&other)->sequence, other.opened, "the request");
}

Test(stream, each_of_many_ends_with_its_session_and_goes_on_with_its_producer)
{
	enum { MANY = 40 };
	begin(&(struct rig_options){ .streams_max = MANY });
	struct rig_client others[MANY];
	for (uint16_t i = 0; i < MANY; i++) {
		connect_as(&others[i], 2 + i, 100 + i, 0);
		cr_assert_not_null(rig_open(&others[i], 0, WEIR_ACK_ROUTED));
		rig_publish(&others[i], 0, 0, 1 + i % 9);
	}
	rig_run(rig);
	for (uint16_t i = 1; i < MANY; i += 2)
		rig_control(&others[i], WEIR_KIND_BYE, 0, 0);
	rig_run(rig);
	rig_forget(rig);
	for (uint16_t i = 0; i < MANY; i += 2)
		rig_publish(&others[i], 0, 1 + i % 9, 1);
	rig_run(rig);
	for (uint16_t i = 0; i < MANY; i += 2)
		cr_assert_eq(rig_ack(&others[i])->next, 2 + i % 9);
	for (uint16_t i = 1; i < MANY; i += 2) {
		connect_as(&others[i], 2 + MANY + i, 100 + i, 0);
		cr_assert_eq(rig_open(&others[i], 0, WEIR_ACK_ROUTED)->next, 1 + i % 9);
	}
	cr_assert_eq(row()->streams, MANY);
}

Test(stream, a_level_the_topic_does_not_offer_is_refused_and_less_than_the_least_is_raised)
{
	begin(&(struct rig_options){ .ack_min = WEIR_ACK_ROUTED });
	cr_assert_null(rig_open(&client, 0, WEIR_ACK_DURABLE));
	cr_assert_eq(rig_refusal(&client)->reason, WEIR_R_LEVEL);
	cr_assert_eq(rig_open(&client, 0, WEIR_ACK_NONE)->level, WEIR_ACK_ROUTED);
}

Test(stream, epochs_fence_the_older_instance)
{
	begin(&(struct rig_options){ 0 });
	struct rig_client one;
	struct rig_client two;
	connect_as(&one, 2, 42, 100);
	connect_as(&two, 3, 42, 100);
	cr_assert_not_null(rig_open(&one, 0, WEIR_ACK_ROUTED));
	rig_publish(&one, 0, 0, 4);
	cr_assert_null(rig_open(&two, 0, WEIR_ACK_ROUTED));
	cr_assert_eq(rig_refusal(&two)->reason, WEIR_R_BUSY, "equal epoch, and the other lives");
	two.epoch = 101;
	cr_assert_eq(rig_open(&two, 0, WEIR_ACK_ROUTED)->next, 4, "a higher one goes on where it stands");
	rig_publish(&one, 0, 4, 4);
	rig_run(rig);
	cr_assert_eq(rig_refusal(&one)->reason, WEIR_R_FENCED);
	cr_assert_null(rig_open(&one, 0, WEIR_ACK_ROUTED));
	cr_assert_eq(rig_refusal(&one)->reason, WEIR_R_FENCED);
	rig_publish(&two, 0, 4, 4);
	rig_run(rig);
	cr_assert_eq(rig_ack(&two)->next, 8);
}

// Its id is in every run that consumers get.
Test(stream, no_epoch_fences_an_anonymous_producer_that_lives)
{
	begin(&(struct rig_options){ 0 });
	struct rig_client one;
	struct rig_client thief;
	connect_as(&one, 2, 42, 0);
	connect_as(&thief, 3, 42, 7);
	cr_assert_not_null(rig_open(&one, 0, WEIR_ACK_ROUTED));
	rig_publish(&one, 0, 0, 4);
	cr_assert_null(rig_open(&thief, 0, WEIR_ACK_ROUTED));
	cr_assert_eq(rig_refusal(&thief)->reason, WEIR_R_BUSY);
	rig_publish(&one, 0, 4, 4);
	rig_run(rig);
	cr_assert_eq(rig_ack(&one)->next, 8);
}

static uint64_t skipped(void)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < WEIR_REASON_ROOM; i++)
		sum += row()->skipped[i];
	return sum;
}

// What a producer passes over counts in the ledger: it cannot be more than it could have sent.
Test(stream, nobody_skips_or_loses_what_could_never_have_been_sent)
{
	static const uint8_t LEVELS[] = { WEIR_ACK_NONE, WEIR_ACK_ROUTED };
	static const uint64_t FAR[] = { 1u << 24, 1ull << 40, (1ull << 62) - 1, 1ull << 62, 1ull << 63, UINT64_MAX };
	begin(&(struct rig_options){ .has_group = true });
	for (uint32_t i = 0; i < 2; i++) {
		struct rig_client one;
		rig_client_init(rig, &one, 0, (uint16_t)(2 + i));
		rig_connect(&one);
		cr_assert_not_null(rig_open(&one, 0, LEVELS[i]));
		rig_publish(&one, 0, one.next, 4);
		for (size_t k = 0; k < sizeof(FAR) / sizeof(FAR[0]); k++) {
			rig_skip(&one, 0, one.next + 4, FAR[k], WEIR_R_ABANDONED);
			rig_skip(&one, 0, FAR[k], 1, WEIR_R_ABANDONED);
			rig_skip(&one, 0, FAR[k], FAR[k], WEIR_R_ABANDONED);
			rig_control(&one, WEIR_KIND_PROBE, 0, FAR[k]);
			rig_publish(&one, 0, FAR[k], 1);
			rig_control(&one, WEIR_KIND_CLOSE, 0, FAR[k]);
			rig_run(rig);
		}
		cr_assert_leq(row()->offered, 200, "%lu offered", (unsigned long)row()->offered);
		cr_assert_eq(skipped(), 0);
	}
}

Test(stream, a_skip_of_what_was_sent_counts, .init = setup)
{
	rig_publish(&client, 0, 0, 4);
	rig_skip(&client, 0, 4, client.limit - 4, WEIR_R_ABANDONED);
	rig_run(rig);
	cr_assert_eq(row()->skipped[WEIR_R_ABANDONED], client.limit - 4);
	cr_assert_eq(rig_ack(&client)->next, client.limit);
}

Test(stream, an_epoch_that_no_clock_can_have_shown_is_refused_and_fences_nobody)
{
	begin(&(struct rig_options){ 0 });
	struct rig_client one;
	connect_as(&one, 2, 42, UINT64_MAX);
	cr_assert_null(rig_open(&one, 0, WEIR_ACK_ROUTED));
	cr_assert_eq(rig_refusal(&one)->reason, WEIR_R_EPOCH);
	one.epoch = RIG_WALL_NS + rig->now_ns + 25ull * 3600 * 1000000000;
	cr_assert_null(rig_open(&one, 0, WEIR_ACK_ROUTED));
	cr_assert_eq(rig_refusal(&one)->reason, WEIR_R_EPOCH);
	one.epoch = RIG_WALL_NS + rig->now_ns + 23ull * 3600 * 1000000000;
	cr_assert_not_null(rig_open(&one, 0, WEIR_ACK_ROUTED));
}

Test(stream, who_closes_in_order_gives_the_name_back_and_who_was_taken_over_stays_fenced)
{
	begin(&(struct rig_options){ 0 });
	struct rig_client zombie;
	struct rig_client two;
	struct rig_client three;
	connect_as(&zombie, 2, 42, 100);
	connect_as(&two, 3, 42, 300);
	rig_open(&zombie, 0, WEIR_ACK_ROUTED);
	rig_publish(&zombie, 0, 0, 4);
	cr_assert_eq(rig_open(&two, 0, WEIR_ACK_ROUTED)->next, 4);
	rig_publish(&two, 0, 4, 4);
	rig_control(&two, WEIR_KIND_CLOSE, 0, 8);
	rig_control(&two, WEIR_KIND_BYE, 0, 0);
	rig_run(rig);
	cr_assert_null(rig_open(&zombie, 0, WEIR_ACK_ROUTED));
	cr_assert_eq(rig_refusal(&zombie)->reason, WEIR_R_FENCED, "it does not know what was appended since");
	connect_as(&three, 4, 42, 200);
	cr_assert_eq(rig_open(&three, 0, WEIR_ACK_ROUTED)->next, 8, "an earlier clock, and nobody to be fenced from");
	rig_publish(&three, 0, 8, 4);
	rig_run(rig);
	cr_assert_eq(rig_ack(&three)->next, 12);
	cr_assert_null(rig_open(&zombie, 0, WEIR_ACK_ROUTED));
	rig_control(&three, WEIR_KIND_BYE, 0, 0);
	rig_run(rig);
	struct rig_client four;
	connect_as(&four, 5, 42, 150);
	cr_assert_null(rig_open(&four, 0, WEIR_ACK_ROUTED), "the third did not close: it may come back");
	cr_assert_eq(rig_refusal(&four)->reason, WEIR_R_FENCED);
}

Test(stream, a_producer_whose_session_ended_goes_on_within_the_dedup_window)
{
	begin(&(struct rig_options){ 0 });
	struct rig_client one;
	connect_as(&one, 2, 42, 100);
	rig_open(&one, 0, WEIR_ACK_ROUTED);
	rig_publish(&one, 0, 0, 4);
	rig_publish(&one, 0, 8, 4);
	rig_control(&one, WEIR_KIND_BYE, 0, 0);
	rig_run(rig);
	cr_assert_eq(rig->workers[0].row.parked_frames, 0, "parked frames are dropped");
	struct rig_client two;
	rig_advance_ms(rig, 59000);
	connect_as(&two, 3, 42, 100);
	cr_assert_eq(rig_open(&two, 0, WEIR_ACK_ROUTED)->next, 4);
	rig_control(&two, WEIR_KIND_BYE, 0, 0);
	rig_advance_ms(rig, 60100);
	cr_assert_eq(row()->streams, 0);
	connect_as(&two, 3, 42, 100);
	cr_assert_eq(rig_open(&two, 0, WEIR_ACK_ROUTED)->next, 0, "past the window it is another stream");
}

Test(stream, close_with_everything_there_is_confirmed_and_frees_an_anonymous_one_with_its_session, .init = setup)
{
	rig_publish(&client, 0, 0, 4);
	rig_control(&client, WEIR_KIND_CLOSE, 0, 6);
	rig_run(rig);
	cr_assert_eq(rig_count(&client, WEIR_KIND_CLOSED), 0, "events are missing");
	cr_assert_eq(rig_ack(&client)->next, 4);
	rig_publish(&client, 0, 4, 2);
	rig_control(&client, WEIR_KIND_CLOSE, 0, 6);
	rig_control(&client, WEIR_KIND_CLOSE, 0, 6);
	rig_run(rig);
	cr_assert_eq(rig_count(&client, WEIR_KIND_CLOSED), 2, "a repeated close is confirmed again");
	cr_assert_eq(row()->streams, 1, "copies that come late find it");
	rig_control(&client, WEIR_KIND_BYE, 0, 0);
	rig_run(rig);
	cr_assert_eq(row()->streams, 0);
}

// ---- Lives of one stream in one session ----

static uint64_t late(void)
{
	return rig->workers[0].row.refused[WEIR_R_LATE];
}

static void open_again(uint64_t request)
{
	client.opened = request - 1;
	rig_open(&client, 0, WEIR_ACK_ROUTED);
}

Test(stream, late_copies_of_a_whole_life_change_nothing, .init = setup)
{
	uint64_t first = client.opened;
	rig_publish(&client, 0, 0, 4);
	rig_control(&client, WEIR_KIND_CLOSE, 0, 4);
	rig_run(rig);
	// All of it once more while the stream is closed.
	open_again(first);
	cr_assert_eq(late(), 1);
	rig_publish(&client, 0, 0, 4);
	rig_run(rig);
	cr_assert_eq(row()->accepted, 4);
	rig_control(&client, WEIR_KIND_CLOSE, 0, 4);
	rig_run(rig);
	cr_assert_eq(rig_count(&client, WEIR_KIND_CLOSED), 2);
	// And once more in its next life.
	rig_forget(rig);
	const struct weir_opened *opened = (open_again(first + 1), (const void *)(rig_last(&client, WEIR_KIND_OPENED) + 1));
	cr_assert_eq(opened->next, 4, "it goes on where it stood");
	open_again(first);
	cr_assert_eq(rig_count(&client, WEIR_KIND_OPENED), 1);
	rig_publish(&client, 0, 0, 4);
	rig_run(rig);
	cr_assert_eq(row()->accepted, 4);
	cr_assert_eq(row()->duplicate, 4);
	client.opened = first;
	rig_control(&client, WEIR_KIND_CLOSE, 0, 4);
	rig_run(rig);
	cr_assert_eq(rig_count(&client, WEIR_KIND_CLOSED), 0, "what it ends is over");
	cr_assert_eq(late(), 3);
	rig_publish(&client, 0, 4, 4);
	rig_run(rig);
	cr_assert_eq(row()->accepted, 8, "the stream is open");
}

Test(stream, a_close_below_next_ends_nothing, .init = setup)
{
	rig_publish(&client, 0, 0, 4);
	rig_control(&client, WEIR_KIND_CLOSE, 0, 3);
	rig_run(rig);
	cr_assert_eq(rig_count(&client, WEIR_KIND_CLOSED), 0);
	cr_assert_eq(late(), 1);
	rig_publish(&client, 0, 4, 4);
	rig_run(rig);
	cr_assert_eq(row()->accepted, 8);
}

Test(stream, who_closed_in_order_gave_the_name_back)
{
	begin(&(struct rig_options){ 0 });
	struct rig_client one;
	struct rig_client two;
	connect_as(&one, 3, 42, 200);
	rig_open(&one, 0, WEIR_ACK_ROUTED);
	rig_publish(&one, 0, 0, 4);
	rig_control(&one, WEIR_KIND_CLOSE, 0, 4);
	rig_control(&one, WEIR_KIND_BYE, 0, 0);
	rig_run(rig);
	connect_as(&two, 4, 42, 100);
	cr_assert_eq(rig_open(&two, 0, WEIR_ACK_ROUTED)->next, 4, "a clock that stepped back does not matter");
}

Test(stream, level_none_counts_gaps_exactly_and_never_goes_back, .init = NULL)
{
	begin(&(struct rig_options){ 0 });
	rig_open(&client, 0, WEIR_ACK_NONE);
	rig_publish(&client, 0, 0, 4);
	rig_publish(&client, 0, 10, 4);
	rig_publish(&client, 0, 4, 4);
	rig_publish(&client, 0, 12, 4);
	rig_run(rig);
	cr_assert_eq(row()->accepted, 8);
	cr_assert_eq(row()->skipped[WEIR_R_LOST], 6);
	cr_assert_eq(row()->duplicate, 8);
	cr_assert_eq(rig_count(&client, WEIR_KIND_ACK), 1, "more credit as soon as the size of events is known");
	rig_publish(&client, 0, 14, 4);
	rig_publish(&client, 0, 18, 4);
	rig_run(rig);
	cr_assert_eq(rig_count(&client, WEIR_KIND_ACK), 1, "credit is plenty: nothing to say");
	rig_control(&client, WEIR_KIND_PROBE, 0, 0);
	rig_run(rig);
	cr_assert_eq(rig_ack(&client)->next, 22);
	rig_control(&client, WEIR_KIND_CLOSE, 0, 28);
	rig_run(rig);
	cr_assert_eq(row()->skipped[WEIR_R_LOST], 12);
	cr_assert_eq(rig_count(&client, WEIR_KIND_CLOSED), 1);
}

Test(stream, level_none_is_told_of_credit_before_it_runs_out)
{
	begin(&(struct rig_options){ 0 });
	uint64_t limit = rig_open(&client, 0, WEIR_ACK_NONE)->limit;
	uint64_t next = 0;
	while (rig_count(&client, WEIR_KIND_ACK) == 0 && next + 18 <= limit) {
		rig_publish(&client, 0, next, 18);
		rig_run(rig);
		next += 18;
	}
	cr_assert_eq(rig_count(&client, WEIR_KIND_ACK), 1);
	cr_assert_gt(rig_ack(&client)->limit, limit);
	cr_assert_lt(next, limit);
}

// ---- Full logs ----

static uint64_t fill(struct rig_client *producer, uint64_t next)
{
	while (rig_count(producer, WEIR_KIND_REFUSE) == 0) {
		rig_publish(producer, 0, next, 18);
		rig_run(rig);
		if (rig_count(producer, WEIR_KIND_REFUSE) == 0)
			next += 18;
	}
	return next;
}

// As if the group's member had settled everything: the hold cursor goes to the head.
static void drain(struct rig *of)
{
	struct weir_delivery_stream *delivery = of->shards[0]->deliveries[0];
	delivery->settled = weir_log_latest(&of->shards[0]->log);
	delivery->sent = delivery->settled;
	of->shards[0]->hold = of->shards[0]->log.head;
	weir_stream_room(of->shards[0], of->now_ns);
}

Test(stream, under_block_a_full_log_refuses_without_loss_and_tells_when_there_is_room)
{
	begin(&(struct rig_options){ .log_bytes = 65536, .has_group = true });
	rig_open(&client, 0, WEIR_ACK_ROUTED);
	uint64_t next = fill(&client, 0);
	cr_assert_eq(next, 44 * 18, "as many frames as fit");
	cr_assert_eq(rig_refusal(&client)->reason, WEIR_R_FULL);
	cr_assert_eq(rig_refusal(&client)->next, next);
	rig_control(&client, WEIR_KIND_PROBE, 0, 0);
	rig_run(rig);
	cr_assert(rig_ack(&client)->flags & WEIR_ACK_FULL);
	rig_run(rig);
	cr_assert_eq(rig->shard_rows[0].waiters, 1);
	rig_forget(rig);
	drain(rig);
	rig_run(rig);
	cr_assert_eq(rig_count(&client, WEIR_KIND_ACK), 1, "told without being asked");
	cr_assert_eq(rig_ack(&client)->flags, 0);
	cr_assert_geq(rig_ack(&client)->limit, next + 500);
	rig_publish(&client, 0, next, 18);
	rig_run(rig);
	cr_assert_eq(rig_ack(&client)->next, next + 18);
	cr_assert_eq(rig->shard_rows[0].waiters, 0);
}

Test(stream, a_producer_that_keeps_to_its_credit_is_never_refused_full)
{
	begin(&(struct rig_options){ .log_bytes = 65536, .has_group = true });
	uint64_t limit = rig_open(&client, 0, WEIR_ACK_ROUTED)->limit;
	uint64_t next = 0;
	uint64_t smallest = limit;
	for (int turn = 0; turn < 2000; turn++) {
		if (next + 18 > limit) {
			cr_assert_geq(rig->shard_rows[0].held_bytes, 50000, "credit ends when the log is nearly full");
			drain(rig);
			rig_run(rig);
		} else {
			rig_publish(&client, 0, next, 18);
			next += 18;
			rig_run(rig);
		}
		cr_assert_geq(rig_ack(&client)->limit, limit, "never taken back");
		limit = rig_ack(&client)->limit;
		smallest = limit - next < smallest ? limit - next : smallest;
		rig_forget(rig);
		rig_control(&client, WEIR_KIND_PROBE, 0, 0);
		rig_run(rig);
	}
	cr_assert_eq(row()->refused[WEIR_R_FULL], 0);
	cr_assert_lt(smallest, 64);
	cr_assert_gt(next, 20000);
}

// Eight bytes short of a whole number of these frames: an average rounded up is enough to grant one too many.
Test(stream, credit_is_never_for_more_than_fits)
{
	begin(&(struct rig_options){ .log_bytes = 2 << 20, .has_group = true });
	uint64_t limit = rig_open(&client, 0, WEIR_ACK_ROUTED)->limit;
	uint64_t next = 0;
	for (int turn = 0; turn < 200; turn++) {
		for (int i = 0; i < 128 && next + 18 <= limit; i++, next += 18)
			rig_publish(&client, 0, next, 18);
		rig_run(rig);
		limit = rig_ack(&client)->limit;
		if (next + 18 > limit)
			drain(rig);
		rig_forget(rig);
		rig_control(&client, WEIR_KIND_PROBE, 0, 0);
		rig_run(rig);
		limit = rig_ack(&client)->limit;
	}
	cr_assert_gt(next, 100000);
	cr_assert_eq(row()->refused[WEIR_R_FULL], 0);
}

Test(stream, streams_that_publish_together_share_the_room)
{
	begin(&(struct rig_options){ .log_bytes = 65536, .has_group = true });
	struct rig_client others[3];
	rig_open(&client, 0, WEIR_ACK_ROUTED);
	rig_publish(&client, 0, 0, 18);
	rig_run(rig);
	uint64_t alone = rig_ack(&client)->limit - rig_ack(&client)->next;
	for (uint16_t i = 0; i < 3; i++) {
		connect_as(&others[i], 2 + i, 50 + i, 0);
		rig_open(&others[i], 0, WEIR_ACK_ROUTED);
		rig_publish(&others[i], 0, 0, 18);
		rig_run(rig);
	}
	uint64_t shared = rig_ack(&others[2])->limit - rig_ack(&others[2])->next;
	cr_assert(shared > alone / 6 && shared < alone / 3, "%lu of %lu", shared, alone);
}

Test(stream, waiters_are_served_in_turn)
{
	begin(&(struct rig_options){ .log_bytes = 65536, .has_group = true });
	struct rig_client others[3];
	rig_open(&client, 0, WEIR_ACK_ROUTED);
	fill(&client, 0);
	for (uint16_t i = 0; i < 3; i++) {
		connect_as(&others[i], 2 + i, 50 + i, 0);
		rig_open(&others[i], 0, WEIR_ACK_ROUTED);
		rig_publish(&others[i], 0, 0, 18);
		rig_run(rig);
		cr_assert_eq(rig_refusal(&others[i])->reason, WEIR_R_FULL);
	}
	cr_assert_eq(rig->shard_rows[0].waiters, 4);
	rig_forget(rig);
	// Room for two of them.
	struct weir_delivery_stream *delivery = rig->shards[0]->deliveries[0];
	weir_cursor_advance(&rig->shards[0]->log, &delivery->settled, 6 * 18);
	rig->shards[0]->hold = delivery->settled.position;
	weir_stream_room(rig->shards[0], rig->now_ns);
	rig_run(rig);
	cr_assert_eq(rig_count(&client, WEIR_KIND_ACK), 1);
	cr_assert_eq(rig_count(&others[0], WEIR_KIND_ACK), 1);
	cr_assert_eq(rig_count(&others[1], WEIR_KIND_ACK), 0);
	cr_assert_eq(rig_count(&others[2], WEIR_KIND_ACK), 0);
}

Test(stream, drop_new_refuses_for_good)
{
	begin(&(struct rig_options){ .log_bytes = 65536, .has_group = true, .policy = WEIR_POLICY_DROP_NEW });
	rig_open(&client, 0, WEIR_ACK_ROUTED);
	uint64_t next = fill(&client, 0);
	cr_assert_eq(rig_refusal(&client)->reason, WEIR_R_DROP_NEW);
	rig_skip(&client, 0, next, 18, WEIR_R_DROP_NEW);
	rig_run(rig);
	cr_assert_eq(row()->skipped[WEIR_R_DROP_NEW], 18);
	cr_assert_eq(rig_ack(&client)->next, next + 18);
}

Test(stream, drop_old_overwrites_and_counts_what_the_group_will_not_see)
{
	begin(&(struct rig_options){ .log_bytes = 65536, .has_group = true, .policy = WEIR_POLICY_DROP_OLD });
	rig_open(&client, 0, WEIR_ACK_ROUTED);
	for (uint64_t i = 0; i < 100; i++)
		rig_publish(&client, 0, i * 18, 18);
	rig_run(rig);
	cr_assert_eq(row()->accepted, 1800);
	const struct weir_group_row *group = &rig->group_rows[0];
	cr_assert_eq(group->dropped[WEIR_R_CUT_LOOSE], row()->earliest_offset);
	cr_assert_eq(group->head_offset - group->start_offset, group->settled + group->held + group->dropped[WEIR_R_CUT_LOOSE]);
}

Test(stream, without_a_hold_group_the_oldest_goes_and_nobody_waits, .init = setup)
{
	for (uint64_t i = 0; i < 1000; i++)
		rig_publish(&client, 0, i * 18, 18);
	rig_run(rig);
	cr_assert_eq(row()->accepted, 18000);
	cr_assert_gt(rig->shard_rows[0].earliest_offset, 0);
}

Test(stream, a_removed_topic_refuses_and_its_rows_balance, .init = setup)
{
	rig_publish(&client, 0, 0, 9);
	rig->done_count = 0;
	rig_message(rig, 0, &(struct weir_message){ .kind = WEIR_MESSAGE_SHARD_REMOVE, .topic = RIG_TOPIC, .request = 5 });
	rig_run(rig);
	cr_assert_eq(rig->done[0].pointer, rig->shards[0]);
	cr_assert_eq(rig_refusal(&client)->reason, WEIR_R_TOPIC_REMOVED);
	rig->by_id[RIG_TOPIC] = UINT32_MAX;
	rig_publish(&client, 0, 9, 9);
	rig_run(rig);
	cr_assert_eq(rig_refusal(&client)->reason, WEIR_R_NO_TOPIC);
	weir_shard_destroy(rig->done[0].pointer);
}

Test(stream, acknowledgements_wait_for_room_to_send, .init = setup)
{
	rig->workers[0].is_port_blocked = true;
	rig_publish(&client, 0, 0, 9);
	rig_run(rig);
	cr_assert_eq(weir_engine_deadline(rig->workers[0].engine), rig->now_ns, "not to be slept on");
	rig_forget(rig);
	rig->workers[0].is_port_blocked = false;
	rig_run(rig);
	cr_assert_eq(rig_ack(&client)->next, 9);
}
