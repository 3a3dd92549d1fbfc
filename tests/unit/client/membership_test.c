// What a consumer does about its membership: its names and numbers, groups that end, copies that come late (wire/PROTOCOL.md,
// section 11). The core against a scripted router (rig.h).
#include <errno.h>

#include <criterion/criterion.h>

#include "tests/unit/client/rig.h"

static struct rig rig;
static struct weir_view views[512];

static void setup(void)
{
	rig_init(&rig, NULL);
}

static void teardown(void)
{
	rig_fini(&rig);
}

TestSuite(membership, .init = setup, .fini = teardown);

static int consume(struct weir_consumer *consumer)
{
	return weir_core_consume(consumer, views, 512, rig.now_ns);
}

// `count` events from `from` on, term 1, shard 1, charged behind `charge`.
static uint32_t deliver(uint64_t from, uint32_t count, uint64_t charge)
{
	return rig_deliver(&rig, &(struct rig_delivery){ .shard = 1, .term = 1, .from = from, .count = count, .size = 64,
							 .charge_from = charge });
}

Test(membership, leaving_while_joining_leaves_what_the_join_makes)
{
	struct weir_consumer *consumer = NULL;
	rig_connect(&rig);
	cr_assert_eq(weir_core_consumer_open(rig.core, "positions", "map", NULL, &consumer), 0);
	rig_pass(&rig, RIG_MS);
	const struct weir_join join = *(const struct weir_join *)(const void *)(rig_sent(&rig, WEIR_KIND_JOIN, 0) + 1);
	weir_core_consumer_leave(consumer);
	rig_pass(&rig, RIG_MS);
	const struct weir_leave *leave = (const void *)(rig_sent(&rig, WEIR_KIND_LEAVE, 0) + 1);
	cr_assert_eq(leave->member, join.member);
	cr_assert_gt(leave->request, join.request, "so that the join counts for nothing when it comes later");
	rig_joined(&rig, join.request, RIG_GROUP);
	cr_assert(!weir_core_consumer_has_left(consumer));
	rig_left(&rig, join.member);
	cr_assert(weir_core_consumer_has_left(consumer));
}

static struct weir_join join_of(uint32_t nth)
{
	const struct weir_frame_header *frame = rig_sent(&rig, WEIR_KIND_JOIN, nth);
	cr_assert_not_null(frame, "no join");
	return *(const struct weir_join *)(const void *)(frame + 1);
}

Test(membership, every_join_has_a_number_of_its_own_and_all_of_a_membership_its_name)
{
	struct weir_consumer *consumer = NULL;
	rig_connect(&rig);
	cr_assert_eq(weir_core_consumer_open(rig.core, "positions", "map", NULL, &consumer), 0);
	rig_pass(&rig, 150 * RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_JOIN), 2);
	cr_assert_eq(join_of(0).request, join_of(0).member);
	cr_assert_gt(join_of(1).request, join_of(0).request);
	cr_assert_eq(join_of(1).member, join_of(0).member);
	rig_joined(&rig, join_of(0).request, RIG_GROUP);
	cr_assert_eq(weir_core_consumer_state(consumer), -EAGAIN, "an answer to what was asked before");
	rig_joined(&rig, join_of(1).request, RIG_GROUP);
	cr_assert_eq(weir_core_consumer_state(consumer), 0);
}

Test(membership, a_member_whose_group_ended_discards_says_so_and_joins_under_another_name)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	uint64_t member = rig.member;
	rig_assign(&rig, 1, 7, 500, 500);
	deliver(500, 4, 0);
	rig_left(&rig, member - 1);
	cr_assert_eq(weir_core_consumer_state(consumer), 0, "of an earlier membership");
	rig_left(&rig, member);
	cr_assert_eq(weir_core_consumer_state(consumer), -EAGAIN);
	cr_assert_eq(consume(consumer), 0);
	rig_clear(&rig);
	rig_pass(&rig, RIG_MS);
	struct weir_join join = join_of(0);
	cr_assert_gt(join.member, member);
	struct weir_error error = { .reason = WEIR_R_NO_GROUP, .kind = WEIR_KIND_JOIN, .request = join.request };
	rig_give(&rig, (struct weir_frame_header){ .kind = WEIR_KIND_ERROR, .session = rig.session }, &error, sizeof(error));
	cr_assert_eq(weir_core_consumer_state(consumer), -ENOENT);
	rig_clear(&rig);
	rig_pass(&rig, 300 * RIG_MS);
	join = join_of(rig_count(&rig, WEIR_KIND_JOIN) - 1);
	rig_joined(&rig, join.request, RIG_GROUP + 1);
	cr_assert_eq(weir_core_consumer_state(consumer), 0);
}

// Late copies of an earlier membership in the same session.
Test(membership, assigns_of_another_membership_do_not_count)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 7, 500, 500);
	rig_left(&rig, rig.member);
	rig_clear(&rig);
	rig_pass(&rig, RIG_MS);
	struct weir_join join = join_of(0);
	rig_joined(&rig, join.request, RIG_GROUP);
	rig_assign(&rig, 1, 7, 500, 500);
	deliver(500, 4, 0);
	cr_assert_eq(consume(consumer), 0, "nothing is handed out of a term that is over");
	rig.member = join.member;
	rig_assign(&rig, 1, 3, 500, 500);
	rig_deliver(&rig, &(struct rig_delivery){ .shard = 1, .term = 3, .from = 500, .count = 4 });
	cr_assert_eq(consume(consumer), 4);
}

Test(membership, a_membership_that_nobody_has_is_left)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	uint64_t member = rig.member;
	weir_core_consumer_leave(consumer);
	weir_core_consumer_free(consumer);
	rig_pass(&rig, RIG_MS);
	rig_clear(&rig);
	rig_assign(&rig, 1, 7, 500, 500);
	rig_pass(&rig, RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_LEAVE), 1);
	const struct weir_leave *leave = (const void *)(rig_sent(&rig, WEIR_KIND_LEAVE, 0) + 1);
	cr_assert_eq(leave->member, member);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_REPORT), 0);
}

Test(membership, a_member_that_hears_nothing_of_its_group_asks_whether_it_is_one)
{
	struct weir_consumer *consumer = rig_consumer(&rig, NULL);
	uint64_t member = rig.member;
	rig_pass(&rig, 900 * RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_JOIN), 0);
	rig_pass(&rig, 200 * RIG_MS);
	cr_assert_eq(rig_count(&rig, WEIR_KIND_JOIN), 1);
	struct weir_join join = join_of(rig_count(&rig, WEIR_KIND_JOIN) - 1);
	cr_assert_eq(join.member, member);
	rig_joined(&rig, join.request, RIG_GROUP);
	cr_assert_eq(weir_core_consumer_state(consumer), 0);
	rig_joined(&rig, join.request, RIG_GROUP + 1);
	cr_assert_eq(weir_core_consumer_state(consumer), 0, "the group is another one of its name");
}

Test(membership, a_full_group_is_no_unknown_one)
{
	struct weir_consumer *consumer = NULL;
	rig_connect(&rig);
	cr_assert_eq(weir_core_consumer_open(rig.core, "positions", "map", NULL, &consumer), 0);
	static const uint16_t FOR_NOW[] = { WEIR_R_MEMBERS, WEIR_R_BUSY };
	for (uint32_t i = 0; i < 2; i++) {
		rig_clear(&rig);
		rig_pass(&rig, 2100 * RIG_MS);
		struct weir_error error = { .reason = FOR_NOW[i], .kind = WEIR_KIND_JOIN,
					    .request = join_of(rig_count(&rig, WEIR_KIND_JOIN) - 1).request };
		struct weir_frame_header header = { .kind = WEIR_KIND_ERROR, .session = rig.session };
		rig_give(&rig, header, &error, sizeof(error));
		cr_assert_eq(weir_core_consumer_state(consumer), -EAGAIN, "it asks again");
		cr_assert_eq(weir_consumer_refusal(consumer), FOR_NOW[i]);
		cr_assert_eq(weir_consumer_membership(consumer), WEIR_MEMBERSHIP_REFUSED);
	}
}
