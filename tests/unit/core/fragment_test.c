// Claims about large events on their way in: section 10 of wire/PROTOCOL.md from the router's side. One engine, one shard,
// an event of 5,003 bytes in pieces of 1,400, sent in order, out of order, twice, to a full log, to slots that
// others hold.
#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/core/rig.h"

#define TOTAL 5003u
#define PIECE 1400u

static struct rig *rig;
static struct rig_client client;
static _Alignas(8) uint8_t event[8192];

static void begin(const struct rig_options *options)
{
	rig = rig_create(options);
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	rig_open(&client, 0, WEIR_ACK_ROUTED);
	for (uint32_t i = 0; i < TOTAL; i++)
		event[i] = (uint8_t)(i * 7);
	const struct weir_event_header header = { .length = TOTAL, .key = rig_key(rig, 0) };
	memcpy(event, &header, sizeof(header));
}

static void setup(void)
{
	begin(&(struct rig_options){ 0 });
}

static void teardown(void)
{
	rig_run(rig);
	cr_expect(rig_balances(rig));
	rig_destroy(rig);
}

TestSuite(fragment, .init = setup, .fini = teardown);

static void piece(uint64_t sequence, uint32_t offset)
{
	uint32_t left = weir_pad8(TOTAL) - offset;
	rig_fragment(&client, sequence, event, offset, left < PIECE ? left : PIECE);
}

static const struct weir_shard_row *row(void)
{
	return &rig->shards[0]->row;
}

Test(fragment, pieces_in_order_become_one_event_with_a_good_checksum)
{
	for (uint32_t offset = 0; offset < TOTAL; offset += PIECE) {
		cr_assert_eq(row()->accepted, 0);
		piece(0, offset);
	}
	rig_run(rig);
	cr_assert_eq(row()->accepted, 1);
	cr_assert_eq(rig_ack(&client)->next, 1);
	cr_assert_eq(rig_ack(&client)->fragment_to, 0);
	const struct weir_run_header *run = weir_log_run(&rig->shards[0]->log, 0);
	cr_assert_eq(run->length, weir_pad8(TOTAL));
	cr_assert_eq(memcmp(run + 1, event, TOTAL), 0);
	cr_assert_eq(rig_log_next(rig, 0, client.producer, 0), 1);
	cr_assert_eq(rig->workers[0].row.reassembly_slots, 0);
}

// Pieces cannot be parked: without word of the gap its repair would wait for the sender's timer.
Test(fragment, a_piece_of_a_later_event_is_refused_and_what_is_missing_nacked)
{
	piece(1, 0);
	piece(1, PIECE);
	rig_run(rig);
	cr_assert_eq(row()->refused[WEIR_R_GAP], 2);
	cr_assert_eq(rig_refusal(&client)->reason, WEIR_R_GAP);
	cr_assert_eq(rig_ack(&client)->flags, WEIR_ACK_NACK);
	cr_assert_eq(rig_ack(&client)->next, 0);
	cr_assert_eq(rig_ack(&client)->have, 1);
}

Test(fragment, a_piece_beyond_a_gap_is_nacked_and_repetitions_do_no_harm)
{
	piece(0, 0);
	piece(0, 2 * PIECE);
	rig_run(rig);
	cr_assert_eq(rig_ack(&client)->fragment_to, PIECE);
	cr_assert(rig_ack(&client)->flags & WEIR_ACK_NACK);
	cr_assert_eq(rig_ack(&client)->have, 1);
	piece(0, 0);
	piece(0, PIECE);
	piece(0, PIECE);
	piece(0, 2 * PIECE);
	piece(0, 3 * PIECE);
	piece(0, 3 * PIECE);
	rig_run(rig);
	cr_assert_eq(row()->accepted, 1);
	cr_assert_eq(row()->duplicate, 1, "the last piece again: one event");
	cr_assert_eq(rig_log_next(rig, 0, client.producer, 0), 1);
}

Test(fragment, an_event_over_the_limit_is_refused_at_its_first_piece)
{
	rig_destroy(rig);
	begin(&(struct rig_options){ .event_max = TOTAL - 1 });
	piece(0, 0);
	rig_run(rig);
	cr_assert_eq(rig_refusal(&client)->reason, WEIR_R_SIZE);
	cr_assert_eq(rig_refusal(&client)->count, 1);
	cr_assert_eq(rig->workers[0].row.reassembly_slots, 0);
}

Test(fragment, without_a_free_slot_it_is_busy_until_one_is_idle_for_a_second)
{
	struct rig_client others[2];
	for (uint16_t i = 0; i < 2; i++) {
		rig_client_init(rig, &others[i], 0, 2 + i);
		rig_connect(&others[i]);
		rig_open(&others[i], 0, WEIR_ACK_ROUTED);
		rig_fragment(&others[i], 0, event, 0, PIECE);
	}
	piece(0, 0);
	rig_run(rig);
	cr_assert_eq(rig_refusal(&client)->reason, WEIR_R_BUSY);
	rig_advance_ms(rig, 1001);
	for (uint32_t offset = 0; offset < TOTAL; offset += PIECE)
		piece(0, offset);
	rig_run(rig);
	cr_assert_eq(rig_ack(&client)->next, 1);
	// The one that lost its slot is told to begin again.
	rig_fragment(&others[0], 0, event, PIECE, PIECE);
	rig_run(rig);
	cr_assert_eq(rig_ack(&others[0])->fragment_to, 0);
	cr_assert(rig_ack(&others[0])->flags & WEIR_ACK_NACK);
}

Test(fragment, an_event_whose_key_or_length_is_wrong_is_refused_for_good)
{
	((struct weir_event_header *)(void *)event)->attribute_words = 255;
	((struct weir_event_header *)(void *)event)->length = 1000;
	rig_fragment(&client, 0, event, 0, 1000);
	rig_run(rig);
	cr_assert_eq(rig_refusal(&client)->reason, WEIR_R_BAD_EVENT);
	cr_assert_eq(rig->workers[0].row.reassembly_slots, 0);
	rig_skip(&client, 0, 0, 1, WEIR_R_BAD_EVENT);
	rig_publish(&client, 0, 1, 3);
	rig_run(rig);
	cr_assert_eq(rig_ack(&client)->next, 4);
}

Test(fragment, a_full_log_takes_the_last_piece_again)
{
	rig_destroy(rig);
	begin(&(struct rig_options){ .log_bytes = 65536, .has_group = true });
	uint64_t next = 0;
	while (rig_count(&client, WEIR_KIND_REFUSE) == 0) {
		for (uint32_t offset = 0; offset < TOTAL; offset += PIECE)
			piece(next, offset);
		rig_run(rig);
		next = rig_ack(&client)->next;
	}
	cr_assert_eq(next, 65536 / (weir_pad8(TOTAL) + 40));
	cr_assert_eq(rig_refusal(&client)->reason, WEIR_R_FULL);
	cr_assert_eq(rig_ack(&client)->fragment_to, 3 * PIECE);
	struct weir_delivery_stream *delivery = rig->shards[0]->deliveries[0];
	delivery->settled = weir_log_latest(&rig->shards[0]->log);
	rig->shards[0]->hold = rig->shards[0]->log.head;
	weir_stream_room(rig->shards[0], rig->now_ns);
	piece(next, 3 * PIECE);
	rig_run(rig);
	cr_assert_eq(rig_ack(&client)->next, next + 1);
}

Test(fragment, an_event_behind_a_fragmented_one_is_parked_until_it_is_whole)
{
	piece(0, 0);
	rig_publish(&client, 0, 1, 4);
	rig_run(rig);
	cr_assert_eq(rig_ack(&client)->next, 0);
	for (uint32_t offset = PIECE; offset < TOTAL; offset += PIECE)
		piece(0, offset);
	rig_run(rig);
	cr_assert_eq(rig_ack(&client)->next, 5);
	cr_assert_eq(rig_log_next(rig, 0, client.producer, 0), 5);
}
