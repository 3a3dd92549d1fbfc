// Claims about acknowledgements that wait (section 9 of wire/PROTOCOL.md): a worker that is behind lets those wait whose
// senders go on without them, for so many frames and for so long, and never for ever. A second client keeps the worker busy.
#include <criterion/criterion.h>

#include "tests/unit/core/rig.h"

#define MOST 64u // frames one acknowledgement waits for
#define LONGEST_NS 16000000ull
#define IN_VAIN 15u // acknowledgements that do not wait after one that did so in vain

static struct rig *rig;
static struct rig_client client;
static struct rig_client crowd;
static uint64_t sent;         // next of the client
static uint64_t sent_by_crowd;

static void begin(const struct rig_options *options)
{
	sent = sent_by_crowd = 0;
	rig = rig_create(options);
	rig_client_init(rig, &crowd, 0, 1);
	rig_connect(&crowd);
	cr_assert_not_null(rig_open(&crowd, 0, WEIR_ACK_ROUTED));
	rig_client_init(rig, &client, 0, 2);
	rig_connect(&client);
	cr_assert_not_null(rig_open(&client, 0, WEIR_ACK_ROUTED));
	client.flags = WEIR_FLAG_LATER;
}

// Two workers: shards move. One frame makes a turn that is behind.
static void setup(void)
{
	begin(&(struct rig_options){ .workers = 2, .behind_frames = 1 });
}

static void teardown(void)
{
	rig_run(rig);
	cr_expect(rig_balances(rig));
	rig_destroy(rig);
}

TestSuite(acknowledge, .init = setup, .fini = teardown);

static void publish(uint16_t count)
{
	rig_publish(&client, 0, sent, count);
	sent += count;
}

// The worker gets a frame and turns once.
static void turn_behind(void)
{
	rig_publish(&crowd, 0, sent_by_crowd++, 1);
	weir_engine_run(rig->workers[0].engine, rig->now_ns);
}

static void turn_idle(void)
{
	weir_engine_run(rig->workers[0].engine, rig->now_ns);
}

// Frames of the client, one in each turn.
static void publish_in_turns(uint32_t frames)
{
	for (uint32_t i = 0; i < frames; i++) {
		publish(1);
		turn_behind();
	}
}

static uint32_t acks(void)
{
	return rig_count(&client, WEIR_KIND_ACK);
}

// Nothing of the client waits, and the turn before was one of a worker that is behind.
static void start(void)
{
	turn_behind();
	rig_forget(rig);
}

Test(acknowledge, waits_while_the_worker_is_behind_and_no_longer)
{
	start();
	publish_in_turns(3);
	cr_assert_eq(acks(), 0);
	cr_assert_eq(rig_count(&crowd, WEIR_KIND_ACK), 3, "who does not say that it may wait is answered in each turn");
	turn_idle();
	turn_idle();
	cr_assert_eq(acks(), 1);
	cr_assert_eq(rig_ack(&client)->next, 3);
}

Test(acknowledge, a_worker_that_is_not_behind_answers_in_each_turn)
{
	turn_idle();
	rig_forget(rig);
	for (uint32_t i = 1; i <= 5; i++) {
		publish(1);
		turn_idle();
		cr_assert_eq(acks(), i);
		turn_idle();
	}
}

Test(acknowledge, answers_for_many_frames_at_once)
{
	start();
	for (uint32_t round = 1; round <= 3; round++) {
		publish_in_turns(MOST - 1);
		cr_assert_eq(acks(), round - 1);
		publish_in_turns(1);
		cr_assert_eq(acks(), round);
		cr_assert_eq(rig_ack(&client)->next, round * MOST);
	}
}

Test(acknowledge, waits_for_sixteen_milliseconds_at_most)
{
	start();
	publish_in_turns(2);
	rig->now_ns += LONGEST_NS - 50000;
	turn_behind();
	turn_behind();
	cr_assert_eq(acks(), 0);
	rig->now_ns += 100000;
	turn_behind();
	turn_behind();
	cr_assert_eq(acks(), 1);
	cr_assert_eq(rig_ack(&client)->next, 2);
}

Test(acknowledge, a_frame_that_cannot_wait_takes_those_along_that_can)
{
	start();
	publish_in_turns(3);
	client.flags = 0;
	publish_in_turns(1);
	cr_assert_eq(acks(), 1);
	cr_assert_eq(rig_ack(&client)->next, 4);
	rig->now_ns += 2 * LONGEST_NS;
	turn_behind();
	turn_behind();
	cr_assert_eq(acks(), 1, "what waited was answered");
}

Test(acknowledge, a_probe_a_repetition_and_a_skip_are_answered_at_once)
{
	start();
	publish_in_turns(2);
	rig_control(&client, WEIR_KIND_PROBE, 0, 0);
	turn_behind();
	cr_assert_eq(acks(), 1);
	publish_in_turns(1);
	rig_publish(&client, 0, 0, 1);
	turn_behind();
	cr_assert_eq(acks(), 2);
	publish_in_turns(1);
	rig_skip(&client, 0, sent, 5, WEIR_R_ABANDONED);
	turn_behind();
	cr_assert_eq(acks(), 3);
	cr_assert_eq(rig_ack(&client)->next, sent + 5);
}

Test(acknowledge, a_gap_is_told_and_its_end_too)
{
	start();
	publish_in_turns(1);
	sent++;
	publish_in_turns(1);
	cr_assert_eq(acks(), 1);
	cr_assert(rig_ack(&client)->flags & WEIR_ACK_NACK);
	rig_publish(&client, 0, 1, 1);
	turn_behind();
	cr_assert_eq(acks(), 2);
	cr_assert_eq(rig_ack(&client)->next, 3);
}

// One acknowledgement at the end of the turn would have answered for all of a train.
Test(acknowledge, a_stream_that_waited_in_vain_does_not_for_a_while)
{
	start();
	for (uint32_t i = 0; i < MOST; i++)
		publish(1);
	turn_behind();
	cr_assert_eq(acks(), 1);
	publish_in_turns(IN_VAIN);
	cr_assert_eq(acks(), 1 + IN_VAIN);
	publish_in_turns(1);
	cr_assert_eq(acks(), 1 + IN_VAIN);
	rig->now_ns += 2 * LONGEST_NS;
	turn_behind();
	turn_behind();
	cr_assert_eq(acks(), 2 + IN_VAIN);
	publish_in_turns(1);
	cr_assert_eq(acks(), 3 + IN_VAIN, "and so it was with the one frame");
}

Test(acknowledge, what_waits_goes_with_the_shard_to_its_next_owner)
{
	start();
	publish_in_turns(2);
	rig_move(rig, 0, 1);
	weir_engine_run(rig->workers[1].engine, rig->now_ns);
	rig_run(rig);
	cr_assert_eq(acks(), 1);
	cr_assert_eq(rig_ack(&client)->next, 2);
	rig_run(rig);
	cr_assert_eq(acks(), 1);
}

Test(acknowledge, a_stream_that_ends_is_not_answered_and_its_place_serves_another)
{
	start();
	publish_in_turns(2);
	rig_control(&client, WEIR_KIND_CLOSE, 0, sent);
	turn_behind();
	cr_assert_eq(rig_count(&client, WEIR_KIND_CLOSED), 1);
	rig_control(&client, WEIR_KIND_BYE, 0, 0);
	rig_run(rig);
	struct rig_client next;
	rig_client_init(rig, &next, 0, 3);
	rig_connect(&next);
	const struct weir_opened *opened = rig_open(&next, 0, WEIR_ACK_ROUTED);
	cr_assert_not_null(opened);
	cr_assert_eq(next.stream, client.stream);
	rig_forget(rig);
	rig->now_ns += 2 * LONGEST_NS;
	turn_behind();
	turn_behind();
	cr_assert_eq(acks(), 0);
	cr_assert_eq(rig_count(&next, WEIR_KIND_ACK), 0);
}

Test(acknowledge, a_shard_that_is_removed_leaves_nothing_that_waits)
{
	start();
	publish_in_turns(2);
	rig_message(rig, 0, &(struct weir_message){ .kind = WEIR_MESSAGE_SHARD_REMOVE, .topic = RIG_TOPIC, .request = 2 });
	const struct weir_waiting_acks *waiting = &rig->workers[0].engine->waiting;
	for (uint32_t i = waiting->head; i != waiting->tail; i++)
		cr_assert_null(waiting->slots[i % WEIR_WAITING_MAX].stream);
	weir_shard_destroy(rig->shards[0]);
	rig->now_ns += 2 * LONGEST_NS;
	rig_run(rig);
	cr_assert_eq(acks(), 0);
}

Test(acknowledge, with_no_place_to_wait_it_goes_at_once)
{
	start();
	struct weir_waiting_acks *waiting = &rig->workers[0].engine->waiting;
	while (waiting->tail - waiting->head < WEIR_WAITING_MAX) {
		waiting->slots[waiting->tail++ % WEIR_WAITING_MAX] =
			(struct weir_waiting_ack){ .since = weir_waiting_time(rig->now_ns) };
	}
	publish_in_turns(2);
	cr_assert_eq(acks(), 2);
	rig->now_ns += 2 * LONGEST_NS;
	for (uint32_t turn = 0; waiting->head != waiting->tail; turn++) {
		cr_assert_lt(turn, 1000);
		turn_behind();
	}
	rig_forget(rig);
	publish_in_turns(2);
	cr_assert_eq(acks(), 0, "there is place again");
}
