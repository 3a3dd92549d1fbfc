// What a consumer settled and the router may not have heard of: it is told again in the next term, and not handed out again.
// The router is the test.
#include <errno.h>
#include <string.h>

#include <criterion/criterion.h>

#include "tests/unit/client/rig.h"

static struct rig rig;
static struct weir_view views[64];

static void setup(void)
{
	rig_init(&rig, &(struct weir_core_options){ .secret = { 1 } });
}

static void teardown(void)
{
	rig_fini(&rig);
}

TestSuite(kept, .init = setup, .fini = teardown);

static int consume(struct weir_consumer *consumer)
{
	return weir_core_consume(consumer, views, 64, rig.now_ns);
}

static struct weir_consumer_counts counts_of(const struct weir_consumer *consumer)
{
	struct weir_consumer_counts counts;
	weir_consumer_counts(consumer, &counts);
	return counts;
}

// Of the last report.
static uint64_t settled_reported(void)
{
	rig_pass(&rig, 10 * RIG_MS);
	uint32_t count = rig_count(&rig, WEIR_KIND_REPORT);
	cr_assert_gt(count, 0);
	return ((const struct weir_report_entry *)(const void *)(rig_sent(&rig, WEIR_KIND_REPORT, count - 1) + 1))->settled_to;
}

// The router ends the session, and the client is a member of the group again.
static void lose_and_join(struct weir_consumer *consumer)
{
	rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_BYE, .session = rig.session }, NULL, 0);
	rig.session++;
	rig_clear(&rig);
	rig_pass(&rig, 100 * RIG_MS);
	rig_connect(&rig);
	const struct weir_join *join = (const void *)(rig_sent(&rig, WEIR_KIND_JOIN, 0) + 1);
	rig.member = join->member;
	rig_joined(&rig, join->request, RIG_GROUP);
	cr_assert_eq(weir_core_consumer_state(consumer), 0);
}

static void deliver(uint64_t from, uint32_t count, uint32_t term)
{
	const struct rig_delivery events = { .shard = 1, .term = term, .from = from, .count = count, .size = 8 };
	rig_deliver(&rig, &events);
}

Test(kept, what_was_settled_before_a_session_was_lost_is_told_again_and_not_handed_out_again)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 1, 500, 500);
	deliver(500, 6, 1);
	cr_assert_eq(weir_core_consume(consumer, views, 4, rig.now_ns), 4);
	cr_assert_eq(weir_core_consume(consumer, views, 1, rig.now_ns), 1); // and the four are settled
	lose_and_join(consumer);
	cr_assert_eq(counts_of(consumer).unsettled, 5, "the router never said that it heard of them");
	cr_assert_eq(weir_core_consume(consumer, NULL, 0, rig.now_ns), 0); // and the fifth
	rig_assign(&rig, 1, 2, 500, 506);
	deliver(500, 3, 2);
	cr_assert_eq(consume(consumer), 0);
	cr_assert_eq(settled_reported(), 503);
	deliver(503, 5, 2);
	cr_assert_eq(consume(consumer), 3);
	cr_assert_eq(views[0].offset, 505);
	cr_assert_eq(counts_of(consumer).gap_events, 0);
	cr_assert_eq(counts_of(consumer).redelivered, 6, "all that came again, as the router counts");
	cr_assert_eq(counts_of(consumer).passed_over, 5);
	// Of another log the same numbers mean other events.
	lose_and_join(consumer);
	rig.incarnation++;
	rig_assign(&rig, 1, 3, 500, 500);
	deliver(500, 3, 3);
	cr_assert_eq(consume(consumer), 3);
	cr_assert_eq(views[0].offset, 500);
}

Test(kept, settling_by_hand_what_a_lost_session_handed_out_counts_all_the_same)
{
	struct weir_consumer *consumer = rig_consumer(&rig, &(struct weir_consumer_options){ .settle_by_hand = true });
	rig_assign(&rig, 1, 1, 500, 500);
	deliver(500, 6, 1);
	cr_assert_eq(consume(consumer), 6);
	struct weir_view third = views[2];
	lose_and_join(consumer);
	cr_assert_eq(weir_core_settle(consumer, &third), -ESTALE);
	rig_assign(&rig, 1, 2, 500, 506);
	deliver(500, 6, 2);
	cr_assert_eq(consume(consumer), 3);
	cr_assert_eq(views[0].offset, 503);
	cr_assert_eq(settled_reported(), 503);
}
