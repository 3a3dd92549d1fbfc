// How a session comes up, stays up and is lost: the core against a scripted router (rig.h), section 6 of
// wire/PROTOCOL.md.
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

TestSuite(session, .init = setup, .fini = teardown);

static const struct weir_hello *hello(uint32_t nth)
{
	const struct weir_frame_header *frame = rig_sent(&rig, WEIR_KIND_HELLO, nth);
	return frame ? (const void *)(frame + 1) : NULL;
}

Test(session, hello_is_padded_to_the_frame_size_it_claims)
{
	rig_poll(&rig);
	cr_assert_eq(rig.count, 1);
	cr_assert_eq(rig.frames[0].size, 1472);
	cr_assert_eq(hello(0)->frame_size, 1472);
	cr_assert_eq(hello(0)->cookie, 0);
	cr_assert_eq(hello(0)->versions[0], WEIR_VERSION);
	cr_assert_eq(weir_core_state(rig.core), WEIR_STATE_CONNECTING);
}

Test(session, challenge_is_answered_with_its_cookie_and_welcome_makes_ready)
{
	rig_connect(&rig);
	cr_assert_eq(weir_core_state(rig.core), WEIR_STATE_READY);
}

Test(session, hello_without_answer_steps_down_and_begins_again)
{
	rig_pass(&rig, 60000 * RIG_MS);
	uint32_t sizes[4] = { 0 };
	for (uint32_t i = 0; hello(i) && i < 8; i++) {
		static const uint32_t EXPECTED[8] = { 1472, 1472, 1232, 1232, 512, 512, 1472, 1472 };
		cr_expect_eq(hello(i)->frame_size, EXPECTED[i], "hello %u claims %u", i, hello(i)->frame_size);
		cr_expect_eq(hello(i)->nonce, hello(0)->nonce);
		sizes[i / 2] = hello(i)->frame_size;
	}
	cr_assert_eq(sizes[3], 1472);
	// 100 ms doubling to at most 2 s, with jitter: between 60 / 2 and some dozens more.
	cr_expect_gt(rig_count(&rig, WEIR_KIND_HELLO), 30);
	cr_expect_lt(rig_count(&rig, WEIR_KIND_HELLO), 200);
}

Test(session, too_large_datagram_steps_down_at_once)
{
	rig_poll(&rig);
	rig_clear(&rig);
	weir_core_too_large(rig.core, 1472, rig.now_ns);
	rig_poll(&rig);
	cr_assert_eq(rig.count, 1);
	cr_assert_eq(rig.frames[0].size, 1232);
}

Test(session, welcome_with_another_nonce_or_a_larger_frame_is_no_welcome)
{
	rig_poll(&rig);
	struct {
		struct weir_welcome welcome;
		uint8_t padding[WEIR_FRAME_MAX - sizeof(struct weir_welcome)];
	} body = { .welcome = { .nonce = hello(0)->nonce + 1, .session = 9, .frame_size = 1472, .ping_ms = 500,
				.deliver_overhead = WEIR_DELIVER_OVERHEAD } };
	rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_WELCOME, .session = 9 }, &body, 1424);
	cr_expect_eq(weir_core_state(rig.core), WEIR_STATE_CONNECTING);
	body.welcome.nonce--;
	body.welcome.frame_size = 4000;
	rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_WELCOME, .session = 9 }, &body, 1424);
	cr_expect_eq(weir_core_state(rig.core), WEIR_STATE_CONNECTING);
}

Test(session, welcome_of_a_router_that_leaves_no_room_for_events_is_no_welcome)
{
	rig.deliver_overhead = 0;
	rig_connect(&rig);
	cr_expect_eq(weir_core_state(rig.core), WEIR_STATE_CONNECTING);
	rig.deliver_overhead = 300;
	rig_pass(&rig, 3000 * RIG_MS);
	rig_connect(&rig);
	cr_expect_eq(weir_core_state(rig.core), WEIR_STATE_CONNECTING);
	rig.deliver_overhead = 120;
	rig_pass(&rig, 3000 * RIG_MS);
	rig_connect(&rig);
	cr_expect_eq(weir_core_state(rig.core), WEIR_STATE_READY);
}

// What neither of them has heard of does not come into play.
Test(session, agrees_on_what_the_router_offers_and_the_client_knows)
{
	rig_fini(&rig);
	rig_init(&rig, &(struct weir_core_options){ .secret = { 42 }, .knows = WEIR_OFFER_SPARSE | WEIR_OFFER_SETTLE });
	rig.offers = WEIR_OFFER_SPARSE | WEIR_OFFER_DURABLE | 1ull << 63;
	rig_poll(&rig);
	const uint32_t size = 1472 - sizeof(struct weir_frame_header);
	cr_expect_eq(weir_hello_agreed(hello(0), size, UINT64_MAX), WEIR_OFFER_SPARSE | WEIR_OFFER_SETTLE);
	cr_expect_eq(weir_core_offers(rig.core), 0);
	rig_connect(&rig);
	cr_expect_eq(weir_core_offers(rig.core), WEIR_OFFER_SPARSE);
	rig.offers = 0;
	rig.session++;
	rig_pass(&rig, 3200 * RIG_MS); // the lease
	rig_connect(&rig);
	cr_expect_eq(weir_core_state(rig.core), WEIR_STATE_READY);
	cr_expect_eq(weir_core_offers(rig.core), 0);
}

Test(session, idle_client_pings_every_ping_ms)
{
	rig_connect(&rig);
	rig_clear(&rig);
	for (int i = 0; i < 20; i++) {
		rig_pass(&rig, 100 * RIG_MS);
		rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_PONG, .session = rig.session }, NULL, 0);
	}
	cr_assert_geq(rig_count(&rig, WEIR_KIND_PING), 3);
	cr_assert_leq(rig_count(&rig, WEIR_KIND_PING), 5);
	cr_assert_eq(weir_core_state(rig.core), WEIR_STATE_READY);
}

// The application was away, a thread of it said that it works: what the router answered proves the time of the question, not
// that of the answer, and nothing that lies in the future.
Test(session, answers_to_pings_of_other_threads_prove_that_the_router_heard_them)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	rig_assign(&rig, 0, 1, 0, 0);
	rig_poll(&rig);
	rig.now_ns += 2500 * RIG_MS; // of a lease of 3 s
	uint64_t asked = rig.now_ns - 100 * RIG_MS;
	const struct rig_delivery events = { .term = 1, .count = 4, .size = 8 };
	struct weir_view views[4];
	rig_deliver(&rig, &events);
	cr_assert_eq(weir_core_consume(consumer, views, 4, rig.now_ns), 0);
	struct weir_frame_header pong = { .kind = WEIR_KIND_PONG, .session = rig.session };
	pong.sequence = WEIR_KEEPALIVE_PING | (rig.now_ns + RIG_MS);
	rig_give(&rig, pong, NULL, 0);
	cr_assert_eq(weir_core_consume(consumer, views, 4, rig.now_ns), 0);
	pong.sequence = WEIR_KEEPALIVE_PING | asked;
	rig_give(&rig, pong, NULL, 0);
	cr_assert_eq(weir_core_consume(consumer, views, 4, rig.now_ns), 4);
}

Test(session, silence_of_a_lease_ends_it_and_hello_has_a_new_nonce)
{
	rig_poll(&rig);
	uint64_t nonce = hello(0)->nonce;
	rig_connect(&rig);
	rig_clear(&rig);
	rig_pass(&rig, 2900 * RIG_MS);
	cr_assert_eq(weir_core_state(rig.core), WEIR_STATE_READY);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_HELLO), 0);
	rig_pass(&rig, 250 * RIG_MS);
	cr_assert_eq(weir_core_state(rig.core), WEIR_STATE_LOST);
	cr_assert_geq(rig_count(&rig, WEIR_KIND_HELLO), 1);
	cr_assert_neq(hello(0)->nonce, nonce);
	cr_assert_eq(hello(0)->cookie, 0);
	rig_clear(&rig);
	rig.session++;
	rig_pass(&rig, 2000 * RIG_MS);
	rig_connect(&rig);
	cr_assert_eq(weir_core_state(rig.core), WEIR_STATE_READY);
	struct weir_statistics statistics;
	weir_core_statistics(rig.core, &statistics);
	cr_assert_eq(statistics.sessions, 2);
}

Test(session, no_session_of_mine_ends_it_and_of_others_does_not)
{
	rig_connect(&rig);
	struct weir_error error = { .reason = WEIR_R_NO_SESSION, .kind = WEIR_KIND_PING };
	rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_ERROR, .session = rig.session + 1 }, &error,
		 sizeof(error));
	cr_assert_eq(weir_core_state(rig.core), WEIR_STATE_READY);
	rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_ERROR, .session = rig.session }, &error, sizeof(error));
	cr_assert_eq(weir_core_state(rig.core), WEIR_STATE_LOST);
	rig_clear(&rig);
	rig_pass(&rig, 101 * RIG_MS);
	cr_assert_geq(rig_count(&rig, WEIR_KIND_HELLO), 1);
}

Test(session, challenge_of_a_live_session_is_answered_with_the_same_nonce)
{
	rig_poll(&rig);
	uint64_t nonce = hello(0)->nonce;
	rig_connect(&rig);
	rig_clear(&rig);
	struct weir_challenge challenge = { .cookie = 0xfeed };
	rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_CHALLENGE, .session = rig.session }, &challenge,
		 sizeof(challenge));
	rig_poll(&rig);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_HELLO), 1);
	cr_assert_eq(hello(0)->nonce, nonce);
	cr_assert_eq(hello(0)->cookie, 0xfeed);
	cr_assert_eq(weir_core_state(rig.core), WEIR_STATE_READY);
}

Test(session, damaged_frames_are_counted_and_change_nothing)
{
	rig_connect(&rig);
	struct rig_frame frame = { .header = { .kind = WEIR_KIND_BYE, .session = rig.session } };
	weir_frame_seal(&frame.header, 0);
	for (uint32_t byte = 0; byte < sizeof(frame.header); byte++) {
		frame.bytes[byte] ^= 0x10;
		weir_core_input(rig.core, frame.bytes, sizeof(frame.header), rig.now_ns);
		frame.bytes[byte] ^= 0x10;
	}
	weir_core_input(rig.core, frame.bytes, 20, rig.now_ns);
	weir_core_input(rig.core, frame.bytes, 0, rig.now_ns);
	struct weir_statistics statistics;
	weir_core_statistics(rig.core, &statistics);
	cr_assert_eq(statistics.frames_bad, sizeof(frame.header) + 2);
	cr_assert_eq(weir_core_state(rig.core), WEIR_STATE_READY);
}

Test(session, close_says_bye_at_most_three_times)
{
	rig_connect(&rig);
	rig_clear(&rig);
	weir_core_close(rig.core, rig.now_ns);
	rig_pass(&rig, 1000 * RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_BYE), 3);
	cr_assert(weir_core_is_closed(rig.core));
}

Test(session, close_ends_with_the_answer_to_bye)
{
	rig_connect(&rig);
	rig_clear(&rig);
	weir_core_close(rig.core, rig.now_ns);
	rig_poll(&rig);
	rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_BYE, .session = rig.session }, NULL, 0);
	cr_assert(weir_core_is_closed(rig.core));
	cr_assert_eq(rig_count(&rig, WEIR_KIND_BYE), 1);
}

Test(session, frames_that_the_output_does_not_take_are_not_lost)
{
	struct weir_producer *producer = rig_producer(&rig, NULL);
	rig.is_full = true;
	for (int i = 0; i < 40; i++)
		cr_assert_eq(rig_publish(producer, 4, 1, 64, 1), 0);
	rig_pass(&rig, 5 * RIG_MS);
	cr_assert_eq(rig.count, 0);
	rig.is_full = false;
	rig_poll(&rig);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PUBLISH), 3);
	cr_assert_eq(rig_sent(&rig, WEIR_KIND_PUBLISH, 0)->sequence, 1000);
	struct weir_statistics statistics;
	weir_core_statistics(rig.core, &statistics);
	cr_assert_eq(statistics.frames_resent, 0);
}

// The producer's id is published with its events: it must not be the neighbour of a nonce in a sequence that one number of it
// gives away. Of a cipher's outputs under two keys that differ in one bit, about half of all bits differ.
Test(session, nonces_hang_on_the_whole_secret)
{
	struct weir_core_options options = { .secret = { 42, 1ull << 63 } };
	struct rig other;
	rig_init(&other, &options);
	rig_poll(&rig);
	rig_poll(&other);
	const struct weir_frame_header *frame = rig_sent(&other, WEIR_KIND_HELLO, 0);
	const struct weir_hello *there = (const void *)(frame + 1);
	int nonce_bits = __builtin_popcountll(hello(0)->nonce ^ there->nonce);
	int producer_bits = __builtin_popcountll(hello(0)->producer ^ there->producer);
	cr_expect(nonce_bits > 8 && nonce_bits < 56, "%d bits of the nonces differ", nonce_bits);
	cr_expect(producer_bits > 8 && producer_bits < 56, "%d bits of the ids differ", producer_bits);
	rig_fini(&other);
}

Test(session, a_refused_hello_is_told_and_asked_again_until_it_is_granted)
{
	rig_poll(&rig);
	uint64_t nonce = ((const struct weir_hello *)(const void *)(rig_sent(&rig, WEIR_KIND_HELLO, 0) + 1))->nonce;
	struct weir_error error = { .reason = WEIR_R_SESSIONS, .kind = WEIR_KIND_HELLO, .request = nonce + 1 };
	rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_ERROR }, &error, sizeof(error));
	cr_assert_eq(weir_core_refusal(rig.core), 0, "of another hello");
	error.request = nonce;
	rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_ERROR }, &error, sizeof(error));
	cr_assert_eq(weir_core_refusal(rig.core), WEIR_R_SESSIONS);
	error.reason = WEIR_R_VERSION;
	rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_ERROR }, &error, sizeof(error));
	cr_assert_eq(weir_core_refusal(rig.core), WEIR_R_VERSION);
	rig_connect(&rig);
	cr_assert_eq(weir_core_refusal(rig.core), 0);
}
