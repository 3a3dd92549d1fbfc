// A path that carries less than it did: full frames vanish, small ones arrive. The core against a router that takes only
// what is small enough (wire/PROTOCOL.md, section 6).
#include <criterion/criterion.h>

#include "tests/unit/client/rig.h"

static struct rig rig;
static uint32_t carried; // bytes of the largest datagram that passes, either way
static uint64_t next;    // of shard 1
static uint32_t pieces;  // bytes of the large event at `next`
static uint32_t seen;    // frames looked at

static void setup(void)
{
	rig_init(&rig, NULL);
	carried = 1472;
	next = rig.opened_next;
	pieces = seen = 0;
}

static void teardown(void)
{
	rig_fini(&rig);
}

TestSuite(path, .init = setup, .fini = teardown);

static struct weir_statistics statistics(void)
{
	struct weir_statistics all;
	weir_core_statistics(rig.core, &all);
	return all;
}

static void publish_take(const struct weir_frame_header *frame)
{
	if (!(frame->flags & WEIR_FLAG_FRAGMENT)) {
		uint64_t end = frame->sequence + frame->count;
		if (frame->sequence <= next && end > next) {
			next = end;
			pieces = 0;
		}
		return;
	}
	const struct weir_fragment *fragment = (const void *)(frame + 1);
	uint32_t end = fragment->offset + frame->body_length - (uint32_t)sizeof(*fragment);
	if (frame->sequence != next || fragment->offset > pieces || end <= pieces)
		return;
	pieces = end;
	if (pieces == weir_pad8(fragment->total)) {
		next++;
		pieces = 0;
	}
}

static void ack(void)
{
	struct weir_ack_entry entry = { .topic = RIG_TOPIC, .shard = 1, .stream = 101, .next = next, .limit = 1u << 20,
					.have = next, .fragment_to = pieces };
	rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_ACK, .session = rig.session, .count = 1 }, &entry,
		 sizeof(entry));
}

static void hello_answer(const struct weir_frame_header *frame)
{
	const struct weir_hello *hello = (const void *)(frame + 1);
	struct weir_challenge challenge = { .nonce = hello->nonce, .cookie = 0xc00c1e };
	struct {
		struct weir_welcome welcome;
		uint8_t padding[WEIR_FRAME_MAX];
	} body = { .welcome = { .nonce = hello->nonce, .session = rig.session, .router = rig.router,
				.frame_size = hello->frame_size, .window_frames = 64, .ping_ms = 500, .lease_ms = 3000,
				.deliver_overhead = WEIR_DELIVER_OVERHEAD,
				.version = WEIR_VERSION } };
	if (hello->cookie == 0)
		rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_CHALLENGE }, &challenge, sizeof(challenge));
	else
		rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_WELCOME, .session = rig.session }, &body,
			 hello->frame_size - sizeof(struct weir_frame_header));
}

static void answer(void)
{
	bool is_ack_due = false;
	for (; seen < rig.count; seen++) {
		const struct weir_frame_header *frame = &rig.frames[seen].header;
		if (rig.frames[seen].size > carried)
			continue;
		if (frame->kind == WEIR_KIND_PUBLISH)
			publish_take(frame);
		else if (frame->kind == WEIR_KIND_HELLO)
			hello_answer(frame);
		else if (frame->kind == WEIR_KIND_PING)
			rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_PONG, .session = rig.session,
								   .sequence = frame->sequence }, NULL, 0);
		is_ack_due |= frame->kind == WEIR_KIND_PUBLISH || frame->kind == WEIR_KIND_PROBE;
	}
	if (is_ack_due)
		ack();
	if (rig.count > RIG_FRAMES / 2)
		rig.count = seen = 0;
}

// Time passes, and the router answers what reaches it.
static void pass_ms(uint32_t ms)
{
	for (uint32_t i = 0; i < 2 * ms; i++) {
		rig_pass(&rig, RIG_MS / 2);
		rig.now_ns += 1000; // on the way
		answer();
		rig_poll(&rig);
	}
}

static struct weir_producer *producer_make(int level)
{
	const struct weir_producer_options options = { .level = level };
	struct weir_producer *producer = rig_producer(&rig, &options);
	seen = 0;
	return producer;
}

static void publish_many(struct weir_producer *producer, uint32_t count, uint32_t size)
{
	for (uint32_t i = 0; i < count; i++)
		cr_assert_eq(rig_publish(producer, rig.shards, 1, size, (uint8_t)i), 0);
	rig_poll(&rig);
}

Test(path, frames_that_vanish_while_smaller_ones_arrive_are_cut_anew)
{
	struct weir_producer *producer = producer_make(WEIR_LEVEL_ROUTED);
	publish_many(producer, 34, 64);
	pass_ms(5);
	carried = 1252;
	publish_many(producer, 100, 64);
	pass_ms(2000);
	cr_assert_eq(next, rig.opened_next + 134);
	cr_assert_eq(rig_counts(producer).routed, 134);
	cr_assert_eq(statistics().frame_size, 1232);
	cr_assert_eq(statistics().frame_steps, 1);
	cr_assert_eq(statistics().sessions, 1, "the session lives");
	cr_assert_geq(statistics().window_frames, 32, "what was too large says nothing about congestion");
}

Test(path, it_steps_down_as_often_as_it_takes_and_events_that_do_not_fit_any_more_become_pieces)
{
	struct weir_producer *producer = producer_make(WEIR_LEVEL_ROUTED);
	carried = 540;
	publish_many(producer, 20, 64);
	publish_many(producer, 3, 900);
	publish_many(producer, 2, 5000); // pieces of larger frames
	pass_ms(6000);
	cr_assert_eq(next, rig.opened_next + 25);
	cr_assert_eq(rig_counts(producer).routed, 25);
	cr_assert_eq(statistics().frame_size, 512);
	cr_assert_eq(statistics().frame_steps, 2);
}

Test(path, what_arrived_of_a_large_event_stays_there)
{
	struct weir_producer *producer = producer_make(WEIR_LEVEL_ROUTED);
	publish_many(producer, 1, 20000);
	rig_poll(&rig);
	answer();
	carried = 600;
	publish_many(producer, 1, 30000);
	pass_ms(6000);
	cr_assert_eq(rig_counts(producer).routed, 2);
}

Test(path, silence_says_nothing_about_sizes)
{
	struct weir_producer *producer = producer_make(WEIR_LEVEL_ROUTED);
	carried = 0;
	publish_many(producer, 100, 64);
	pass_ms(1800);
	cr_assert_eq(statistics().frame_size, 1472);
	carried = 1472;
	pass_ms(3000);
	cr_assert_eq(statistics().sessions, 1);
	cr_assert_eq(rig_counts(producer).routed, 100);
	cr_assert_eq(statistics().frame_size, 1472);
}

Test(path, a_frame_smaller_than_the_next_size_steps_below_itself)
{
	struct weir_producer *producer = producer_make(WEIR_LEVEL_ROUTED);
	carried = 560;
	publish_many(producer, 10, 64); // 848 bytes
	pass_ms(2000);
	cr_assert_eq(rig_counts(producer).routed, 10);
	cr_assert_eq(statistics().frame_size, 512);
}

Test(path, frames_of_the_smallest_size_are_lost_not_too_large)
{
	struct weir_producer *producer = producer_make(WEIR_LEVEL_ROUTED);
	carried = 100; // probes pass
	publish_many(producer, 3, 64);
	pass_ms(2000);
	cr_assert_eq(statistics().frame_size, 1472);
	carried = 1472;
	pass_ms(3000);
	cr_assert_eq(rig_counts(producer).routed, 3);
}

Test(path, a_datagram_too_large_for_the_socket_steps_down_at_once_and_the_session_lives)
{
	struct weir_producer *producer = producer_make(WEIR_LEVEL_ROUTED);
	publish_many(producer, 34, 64);
	weir_core_too_large(rig.core, 1468, rig.now_ns);
	carried = 1252;
	rig_poll(&rig);
	cr_assert_eq(statistics().frame_size, 1232);
	pass_ms(500);
	cr_assert_eq(rig_counts(producer).routed, 34);
	cr_assert_eq(statistics().sessions, 1);
}

Test(path, a_hello_proves_that_the_path_has_grown)
{
	struct weir_producer *producer = producer_make(WEIR_LEVEL_ROUTED);
	carried = 540;
	publish_many(producer, 100, 64);
	pass_ms(4000);
	cr_assert_eq(statistics().frame_size, 512);
	pass_ms(15000);
	cr_assert_eq(statistics().frame_size, 512, "the path carries no more yet");
	carried = 9000;
	pass_ms(25000);
	cr_assert_eq(statistics().frame_size, 1472);
	publish_many(producer, 100, 64);
	pass_ms(1000);
	cr_assert_eq(rig_counts(producer).routed, 200);
	cr_assert_eq(statistics().sessions, 1);
}

Test(path, a_session_that_came_up_small_finds_the_larger_size)
{
	rig.frame_size = 1232;
	struct weir_core_options options = { .secret = { 7 }, .frame_size = 1472 };
	rig_fini(&rig);
	rig_init(&rig, &options);
	carried = 1300;
	rig_pass(&rig, 290 * RIG_MS); // two hellos of 1472 without an answer
	rig_connect(&rig);
	seen = 0;
	cr_assert_eq(statistics().frame_size, 1232);
	carried = 1472;
	pass_ms(11000);
	cr_assert_eq(statistics().frame_size, 1472);
}

Test(path, level_none_asks_now_and_then_whether_its_frames_arrive)
{
	struct weir_producer *producer = producer_make(WEIR_LEVEL_NONE);
	carried = 1252;
	for (uint32_t i = 0; i < 25; i++) {
		publish_many(producer, 34, 64);
		pass_ms(1000);
	}
	cr_assert_eq(statistics().frame_size, 1232);
	cr_assert_eq(statistics().sessions, 1);
}
