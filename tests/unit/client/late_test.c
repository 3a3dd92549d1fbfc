// Which frames say that their acknowledgement may come later, and who asks for it nevertheless: the core against a scripted
// router (rig.h), section 9 of wire/PROTOCOL.md.
#include <errno.h>

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

TestSuite(late, .init = setup, .fini = teardown);

static bool is_late(uint32_t nth)
{
	return rig_sent(&rig, WEIR_KIND_PUBLISH, nth)->flags & WEIR_FLAG_LATER;
}

Test(late, within_half_of_the_window_acknowledgements_may_come_later)
{
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 20);
	for (uint32_t i = 0; i < 20; i++)
		cr_expect_eq(is_late(i), i < 16, "frame %u", i);
	rig_ack(&rig, 1, 1020, 100000, 0, 0);
	rig_clear(&rig);
	rig_publish_frames(&rig, producer, 1);
	cr_expect(is_late(0));
}

Test(late, within_half_of_the_credit_acknowledgements_may_come_later)
{
	rig.opened_limit = 1010;
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	rig_publish_frames(&rig, producer, 10);
	for (uint32_t i = 0; i < 10; i++)
		cr_expect_eq(is_late(i), i < 5, "frame %u", i);
}

// Publishes a frame with one event, which is acknowledged after so long.
static void publish_and_ack(struct weir_producer *producer, uint64_t wait_ns)
{
	rig_clear(&rig);
	rig_publish_frames(&rig, producer, 1);
	cr_assert(is_late(0));
	uint64_t next = rig_sent(&rig, WEIR_KIND_PUBLISH, 0)->sequence + 1;
	rig_pass(&rig, wait_ns);
	rig_ack(&rig, 1, next, 100000, 0, 0);
}

Test(late, the_routers_wait_is_not_taken_for_the_way)
{
	struct weir_producer *producer = rig_producer(&rig, &RIG_ONE_EACH);
	publish_and_ack(producer, RIG_MS);
	cr_assert_eq(rig_round_trip_ns(&rig), RIG_MS);
	publish_and_ack(producer, RIG_MS + WEIR_LATER_NS);
	cr_assert_eq(rig_round_trip_ns(&rig), RIG_MS);
	publish_and_ack(producer, 9 * RIG_MS + WEIR_LATER_NS);
	cr_assert_eq(rig_round_trip_ns(&rig), 2 * RIG_MS, "an eighth of what the wait does not explain");
	publish_and_ack(producer, RIG_MS);
	cr_assert_lt(rig_round_trip_ns(&rig), 2 * RIG_MS);
}

Test(late, who_flushes_does_not_wait_for_a_late_acknowledgement)
{
	struct weir_producer_options options = { .level = WEIR_LEVEL_ROUTED, .linger_us = UINT32_MAX };
	struct weir_producer *producer = rig_producer(&rig, &options);
	cr_assert_eq(rig_publish(producer, 4, 2, 64, 1), 0);
	weir_core_flush(producer);
	rig_poll(&rig);
	cr_assert_not(is_late(0));
	rig_poll(&rig);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PROBE), 0, "the frame asks for it");
	rig_ack(&rig, 2, 1001, 100000, 0, 0);
	rig_clear(&rig);
	for (int i = 0; i < 17; i++)
		cr_assert_eq(rig_publish(producer, 4, 2, 64, 1), 0);
	rig_poll(&rig);
	cr_assert(is_late(0), "full, and sent before anybody asked");
	weir_core_flush(producer);
	rig_poll(&rig);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PROBE), 1);
	cr_assert_eq(rig_sent(&rig, WEIR_KIND_PROBE, 0)->shard, 2);
	rig_poll(&rig);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_PROBE), 1);
	rig_ack(&rig, 2, 1018, 100000, 0, 0);
	cr_assert_eq(weir_core_flush_state(producer), 0);
}

Test(late, level_none_and_pieces_of_large_events_never_ask_for_late_acknowledgements)
{
	struct weir_producer_options none = { .level = WEIR_LEVEL_NONE, .frame_events = 1 };
	struct weir_producer *producer = rig_producer(&rig, &none);
	rig_publish_frames(&rig, producer, 1);
	cr_assert_not(is_late(0));
	cr_assert_eq(rig_publish(producer, 4, 1, 3000, 1), 0);
	rig_poll(&rig);
	for (uint32_t i = 1; rig_sent(&rig, WEIR_KIND_PUBLISH, i); i++)
		cr_expect_not(is_late(i));
}
