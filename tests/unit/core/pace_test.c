// Claims about how much of a delivery is under way and how large its frames are (core/pace.c): a path that carries less than it
// did, one that loses, a member that reads late, one that reports losses without end. Time passes in steps of a millisecond.
#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/core/consumer.h"

static struct rig *rig;
static struct rig_client producer;
static struct consumer *consumer;
static uint32_t carried;   // bytes of the largest datagram that passes
static uint32_t lost_ppm;
static uint64_t random_state;
static uint32_t datagrams; // with events, that were sent
static uint32_t counted;   // frames of the worker that were looked at for it
static uint64_t under_way; // most charge that ever waited to be read
static uint64_t published; // events

static bool passes(const struct weir_frame_header *frame, uint32_t size)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return size <= carried && (random_state >> 33) % 1000000 >= lost_ppm;
}

static void setup(void)
{
	carried = 9000;
	lost_ppm = datagrams = counted = 0;
	published = under_way = 0;
	random_state = 7;
	rig = rig_create(&(struct rig_options){ .has_group = true, .log_bytes = 4u << 20, .event_max = 64 << 10 });
	rig_client_init(rig, &producer, 0, 1);
	rig_connect(&producer);
	cr_assert_not_null(rig_open(&producer, 0, WEIR_ACK_ROUTED));
	consumer = consumer_create(rig, 0, 2, 1472);
	consumers_run(rig, &consumer, 1);
	consumer->passes = passes;
}

static void teardown(void)
{
	cr_expect(rig_balances(rig));
	free(consumer);
	rig_destroy(rig);
}

TestSuite(pace, .init = setup, .fini = teardown);

static struct consumer_shard *own(void)
{
	return &consumer->shards[0];
}

static const struct weir_delivery_stream *delivery(void)
{
	return rig->shards[0]->deliveries[0];
}

static void large_publish(uint32_t length)
{
	_Alignas(8) uint8_t event[64 * 1024];
	memset(event, 0x5a, sizeof(event));
	struct weir_event_header header = { .length = length, .key = rig_key(rig, 0) };
	memcpy(event, &header, sizeof(header));
	memset(event + length, 0, 8);
	uint32_t padded = weir_pad8(length);
	for (uint32_t at = 0; at < padded; at += 1200)
		rig_fragment(&producer, published, event, at, padded - at < 1200 ? padded - at : 1200);
	published++;
}

static void frames_publish(uint32_t frames)
{
	for (; frames; frames--, published += 17)
		rig_publish(&producer, 0, published, 17);
}

// What waits in the member's socket; frames with events are counted once.
static void socket_look(void)
{
	const struct rig_worker *worker = &rig->workers[0];
	uint64_t charge = 0;
	for (uint32_t i = consumer->seen; i < worker->sent_count; i++) {
		const struct weir_frame_header *frame = (const void *)worker->sent[i].bytes;
		bool is_events = frame->kind == WEIR_KIND_DELIVER && frame->count;
		charge += is_events ? weir_charge(worker->sent[i].size) : 0;
		datagrams += is_events && i >= counted;
	}
	counted = worker->sent_count;
	under_way = charge > under_way ? charge : under_way;
}

static void look(void)
{
	uint64_t charged = own()->charged;
	uint64_t received = own()->received_to + own()->fragment_to;
	consumer_look(consumer);
	rig_forget(rig);
	consumer->seen = counted = 0;
	own()->settled_to = own()->received_to;
	bool is_progress = own()->received_to + own()->fragment_to != received;
	if (own()->is_behind || own()->is_asked || is_progress || own()->charged != charged)
		consumer_report(consumer, 0, own()->is_behind && !is_progress ? WEIR_REPORT_GAP : 0);
	own()->is_behind = own()->is_asked = false;
	rig_run(rig);
}

static void pass_ms(uint32_t ms)
{
	struct weir_frame_header ping = { .kind = WEIR_KIND_PING };
	for (; ms; ms--) {
		uint64_t charged = delivery()->charged;
		bool is_active = delivery()->state == WEIR_DELIVERY_ACTIVE;
		rig_advance_ms(rig, 1);
		if (ms % 500 == 0) {
			rig_send(&consumer->client, &ping, "", 0);
			rig_send(&producer, &ping, "", 0);
		}
		socket_look();
		if (!consumer->is_deaf)
			look();
		is_active = is_active && delivery()->state == WEIR_DELIVERY_ACTIVE;
		cr_assert(!is_active || delivery()->charged >= charged, "what was charged stays charged");
	}
}

Test(pace, frames_that_vanish_while_smaller_ones_arrive_become_smaller)
{
	frames_publish(3);
	pass_ms(20);
	carried = 1252;
	frames_publish(20);
	pass_ms(3000);
	cr_assert_eq(own()->received_to, published);
	cr_assert_eq(delivery()->member.frame_size, 1232);
	cr_assert_eq(rig->group_rows[0].frame_size, 1232);
	cr_assert_eq(rig->workers[0].row.path_steps, 1);
	cr_assert_eq(rig->workers[0].row.path_size, 1232);
	cr_assert_neq(rig->workers[0].row.path_session, 0);
	// A new term begins small, for the session is.
	consumer_leave(consumer);
	pass_ms(5);
	consumer_join(consumer);
	frames_publish(3);
	uint64_t steps = rig->workers[0].row.path_steps;
	pass_ms(50);
	cr_assert_eq(own()->received_to, published);
	cr_assert_eq(rig->workers[0].row.path_steps, steps);
}

Test(pace, it_steps_down_as_often_as_it_takes_and_large_events_go_on_in_smaller_pieces)
{
	large_publish(30000);
	pass_ms(1);
	carried = 540;
	large_publish(20000);
	frames_publish(5);
	pass_ms(8000);
	cr_assert_eq(own()->received_to, published);
	cr_assert_eq(delivery()->member.frame_size, 512);
	cr_assert_eq(rig->workers[0].row.path_steps, 2);
}

Test(pace, silence_says_nothing_about_sizes)
{
	carried = 0;
	frames_publish(20);
	pass_ms(3000);
	cr_assert_eq(delivery()->member.frame_size, 1472);
	carried = 9000;
	pass_ms(3000);
	cr_assert_eq(own()->received_to, published);
	cr_assert_eq(delivery()->member.frame_size, 1472);
}

Test(pace, a_hello_of_the_session_makes_frames_larger_again)
{
	carried = 540;
	frames_publish(20);
	pass_ms(4000);
	cr_assert_eq(delivery()->member.frame_size, 512);
	carried = 9000;
	uint64_t session = consumer->client.session;
	rig_connect(&consumer->client);
	cr_assert_eq(consumer->client.session, session, "the same nonce is the same session");
	frames_publish(20);
	pass_ms(100);
	cr_assert_eq(own()->received_to, published);
	cr_assert_eq(delivery()->member.frame_size, 1472);
}

Test(pace, two_percent_loss_costs_less_than_half_of_the_datagrams)
{
	lost_ppm = 20000;
	for (uint32_t i = 0; i < 200; i++) {
		frames_publish(30);
		pass_ms(5);
	}
	pass_ms(5000);
	cr_assert_eq(own()->received_to, published);
	cr_assert_leq(datagrams, 2 * 200 * 30, "%u datagrams for %u", datagrams, 200 * 30);
	cr_assert_eq(delivery()->member.frame_size, 1472, "loss is not taken for a path that carries less");
}

// 20 KiB events to a member that stops for 60 of each 100 ms.
static void late_reader(uint32_t events)
{
	for (uint32_t ms = 0; ms < 100 * events / 8; ms++) {
		consumer->is_deaf = ms % 100 < 60;
		if (ms % 100 < 80 && ms % 10 == 0)
			large_publish(20000);
		pass_ms(1);
	}
	consumer->is_deaf = false;
	pass_ms(200);
}

Test(pace, a_late_reader_of_large_events_gets_next_to_nothing_twice_and_its_socket_is_enough)
{
	late_reader(160);
	uint32_t needed = 160 * ((20000 + 1311) / 1312); // 1,472 less headers of frame, delivery, run and fragment
	cr_assert_eq(own()->received_to, published);
	cr_assert_leq(datagrams, needed + needed / 20, "%u datagrams for %u", datagrams, needed);
	cr_assert_leq(under_way, consumer->credit);
}

Test(pace, a_late_reader_with_little_room_never_has_more_in_its_socket_than_that)
{
	consumer_leave(consumer);
	pass_ms(2);
	consumer->credit = 20 * weir_charge(1472);
	consumer_join(consumer);
	pass_ms(2);
	under_way = 0;
	late_reader(80);
	pass_ms(2000);
	cr_assert_eq(own()->received_to, published);
	cr_assert_leq(under_way, consumer->credit);
}

Test(pace, reports_of_gaps_without_end_draw_next_to_nothing)
{
	consumer->credit = 1ull << 40;
	frames_publish(300);
	carried = 0;
	pass_ms(1);
	uint32_t reports = 1000;
	for (uint32_t i = 0; i < reports; i++) {
		consumer_report(consumer, 0, WEIR_REPORT_GAP);
		own()->is_behind = own()->is_asked = false;
		pass_ms(12);
	}
	cr_assert_leq(datagrams, 100 + 4 * reports, "%u datagrams for %u reports", datagrams, reports);
}
