// Claims about the coordinator: shares are even, what moves is the least that must, nobody shares a shard, terms grow.
// The coordinator runs alone: what it tells the owners is read from the messages it sends.
#include <criterion/criterion.h>
#include <stdlib.h>

#include "tests/unit/core/consumer.h"

#define SHARDS 16

static struct rig *rig;
static struct consumer *members[17];
static uint32_t count;
static uint16_t holder[SHARDS]; // index into members, by the deliveries

static void begin(uint16_t workers)
{
	rig = rig_create(&(struct rig_options){ .shards = SHARDS, .has_group = true, .workers = workers });
	count = 0;
}

static void setup(void)
{
	begin(1);
}

static void setup_two_workers(void)
{
	begin(2);
}

static void teardown(void)
{
	cr_expect(rig_balances(rig));
	for (uint32_t i = 0; i < count; i++)
		free(members[i]);
	rig_destroy(rig);
}

TestSuite(group, .fini = teardown);

static void run(void)
{
	consumers_run(rig, members, count);
}

static struct consumer *member_add(void)
{
	struct consumer *member = consumer_create(rig, (uint16_t)(count % rig->options.workers), (uint16_t)(count + 1), 1472);
	members[count++] = member;
	run();
	return member;
}

// Who has each shard as the shards' owners know it. Returns how many changed hands.
static uint32_t holders_look(void)
{
	uint32_t moved = 0;
	for (uint32_t shard = 0; shard < SHARDS; shard++) {
		const struct weir_delivery_stream *delivery = rig->shards[shard]->deliveries[0];
		uint16_t now = UINT16_MAX;
		for (uint16_t i = 0; i < count; i++) {
			if (delivery->member.id && delivery->member.id == members[i]->client.session)
				now = i;
		}
		moved += holder[shard] != now;
		holder[shard] = now;
	}
	return moved;
}

static uint32_t held_by(uint32_t member)
{
	uint32_t held = 0;
	for (uint32_t shard = 0; shard < SHARDS; shard++)
		held += holder[shard] == member;
	return held;
}

Test(group, the_first_member_gets_every_shard, .init = setup)
{
	struct consumer *member = member_add();
	cr_assert_eq(consumer_held(member), SHARDS);
	cr_assert_eq(rig_count(&member->client, WEIR_KIND_JOINED), 1);
}

Test(group, shares_differ_by_one_at_most_and_only_what_must_moves, .init = setup_two_workers)
{
	member_add();
	holders_look();
	static const uint32_t MOVES[] = { 8, 5, 4, 3, 2, 2, 2 };
	for (uint32_t n = 2; n <= 8; n++) {
		member_add();
		uint32_t moved = holders_look();
		for (uint32_t i = 0; i < n; i++) {
			cr_expect_geq(held_by(i), SHARDS / n);
			cr_expect_leq(held_by(i), (SHARDS + n - 1) / n);
			cr_expect_eq(held_by(i), consumer_held(members[i]), "both sides agree");
		}
		cr_expect_eq(moved, MOVES[n - 2], "%u members: %u moved", n, moved);
	}
}

Test(group, who_leaves_gives_its_shards_to_the_others_and_they_keep_theirs, .init = setup)
{
	for (int i = 0; i < 4; i++)
		member_add();
	holders_look();
	consumer_leave(members[1]);
	run();
	cr_assert(members[1]->has_left);
	cr_assert_eq(holders_look(), 4);
	cr_assert_eq(held_by(1), 0);
	cr_assert_eq(held_by(0) + held_by(2) + held_by(3), SHARDS);
}

Test(group, who_dies_loses_its_shards_at_once, .init = setup_two_workers)
{
	for (int i = 0; i < 3; i++)
		member_add();
	holders_look();
	consumer_bye(members[2]);
	run();
	cr_assert_eq(holders_look(), 5);
	cr_assert_eq(held_by(2), 0);
	cr_assert_eq(held_by(0), 8);
	cr_assert_eq(held_by(1), 8);
}

Test(group, joining_again_changes_nothing, .init = setup)
{
	member_add();
	member_add();
	holders_look();
	for (int i = 0; i < 5; i++)
		consumer_join(members[0]);
	run();
	cr_assert_eq(rig_count(&members[0]->client, WEIR_KIND_JOINED), 6, "but each join is answered");
	cr_assert_eq(holders_look(), 0);
}

// Late copies and lives of one membership, frame by frame.
static uint32_t ask(struct consumer *member, uint64_t request, uint64_t name)
{
	struct weir_frame_header header = { .kind = WEIR_KIND_JOIN };
	struct weir_join join = { .request = request, .member = name, .topic = "positions", .group = "map" };
	uint32_t joined = rig_count(&member->client, WEIR_KIND_JOINED);
	rig_send(&member->client, &header, &join, sizeof(join));
	run();
	return rig_count(&member->client, WEIR_KIND_JOINED) - joined;
}

static struct weir_leave leave(struct consumer *member, uint64_t request, uint64_t name)
{
	struct weir_frame_header header = { .kind = WEIR_KIND_LEAVE };
	struct weir_leave leave = { .request = request, .member = name };
	rig_send(&member->client, &header, &leave, sizeof(leave));
	run();
	return *(const struct weir_leave *)(const void *)(rig_last(&member->client, WEIR_KIND_LEFT) + 1);
}

Test(group, a_late_join_of_an_earlier_membership_changes_nothing, .init = setup)
{
	struct consumer *member = member_add();
	cr_assert_eq(ask(member, 20, 0), 1);
	cr_assert_eq(leave(member, 22, 0).request, 22);
	const struct weir_worker_row *row = &rig->workers[0].row;
	uint64_t late = row->refused[WEIR_R_LATE];
	cr_assert_eq(ask(member, 21, 0), 0);
	cr_assert_eq(ask(member, 20, 0), 0);
	cr_assert_eq(row->refused[WEIR_R_LATE], late + 2);
	holders_look();
	cr_assert_eq(held_by(0), 0);
}

Test(group, a_late_leave_of_an_earlier_membership_changes_nothing, .init = setup)
{
	struct consumer *member = member_add();
	cr_assert_eq(leave(member, 20, 0).member, 0);
	cr_assert_eq(ask(member, 21, 21), 1);
	holders_look();
	cr_assert_eq(held_by(0), SHARDS);
	struct weir_leave left = leave(member, 20, 0);
	cr_assert_eq(left.member, 0, "answered, for that one is over");
	holders_look();
	cr_assert_eq(held_by(0), SHARDS);
}

// Its leave was lost, or it forgot: what it had is of no use to it.
Test(group, a_member_that_begins_anew_gets_its_shards_in_new_terms, .init = setup)
{
	struct consumer *member = member_add();
	uint32_t term = member->shards[3].term;
	cr_assert_eq(ask(member, 30, 30), 0, "the old one ends first");
	cr_assert_eq(ask(member, 31, 30), 1);
	cr_assert_gt(member->shards[3].term, term);
	const struct weir_assign *assign = (const void *)(rig_last(&member->client, WEIR_KIND_ASSIGN) + 1);
	cr_assert_eq(assign->member, 30);
}

Test(group, members_are_told_when_their_group_ends, .init = setup_two_workers)
{
	member_add();
	member_add();
	struct weir_message end = { .kind = WEIR_MESSAGE_GROUP_TEARDOWN, .from = WEIR_FROM_CONTROL, .topic = RIG_TOPIC,
				    .group = RIG_GROUP };
	weir_engine_message(rig->workers[0].engine, &end, rig->now_ns);
	run();
	for (uint32_t i = 0; i < 2; i++) {
		const struct weir_frame_header *frame = rig_last(&members[i]->client, WEIR_KIND_LEFT);
		cr_assert_not_null(frame);
		const struct weir_leave *left = (const void *)(frame + 1);
		cr_assert_eq(left->request, 0, "nobody asked");
		cr_assert_eq(left->member, members[i]->member);
		cr_assert_eq(left->group, RIG_GROUP);
	}
}

Test(group, leaving_what_one_is_no_member_of_is_answered, .init = setup)
{
	member_add();
	consumer_leave(members[0]);
	run();
	cr_assert(members[0]->has_left);
	members[0]->has_left = false;
	consumer_leave(members[0]);
	run();
	cr_assert(members[0]->has_left);
}

Test(group, terms_grow_with_every_assignment, .init = setup)
{
	member_add();
	uint32_t term = members[0]->shards[3].term;
	cr_assert_gt(term, 0);
	for (uint32_t i = 1; i < 6; i++) {
		consumer_bye(members[i - 1]);
		member_add();
		cr_assert_eq(members[i]->shards[3].term, term + i);
	}
}

// Joins, is given the shard and dies.
static uint32_t term_use(uint16_t number)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, number);
	rig_connect(&client);
	struct weir_frame_header header = { .kind = WEIR_KIND_JOIN };
	struct weir_join join = { .request = 1, .topic = "positions", .group = "map" };
	rig_send(&client, &header, &join, sizeof(join));
	rig_run(rig);
	const struct weir_delivery_stream *delivery = rig->shards[0]->deliveries[0];
	uint32_t term = delivery->member.id == client.session ? delivery->term : 0;
	rig_control(&client, WEIR_KIND_BYE, 0, 0);
	rig_run(rig);
	rig_forget(rig);
	return term;
}

Test(group, terms_begin_where_control_says_and_run_no_faster_than_time)
{
	rig = rig_create(&(struct rig_options){ .shards = 1, .has_group = true, .terms_base = 500000 });
	count = 0;
	uint32_t last = 500000;
	uint32_t waited = 0;
	for (uint16_t i = 0; i < WEIR_TERMS_BURST + 200; i++) {
		uint32_t term = term_use((uint16_t)(100 + i));
		waited += term == 0;
		cr_assert(term == 0 || term == last + 1, "%u after %u", term, last);
		last = term ? term : last;
	}
	cr_assert_eq(last, 500000 + WEIR_TERMS_BURST);
	cr_assert_eq(waited, 200);
	for (uint32_t i = 0; i < 20; i++) {
		rig_advance_ms(rig, 1000);
		last = term_use((uint16_t)(5000 + i));
		cr_assert_eq(last, 500000 + WEIR_TERMS_BURST + 1 + i, "one a second");
	}
}

Test(group, a_member_that_dies_while_it_is_asked_to_give_back_does_not_keep_anything, .init = setup)
{
	member_add();
	members[0]->keeps = true;
	member_add();
	cr_assert_eq(consumer_held(members[1]), 0, "the first answers no revoke");
	consumer_bye(members[0]);
	run();
	cr_assert_eq(consumer_held(members[1]), SHARDS);
}

Test(group, more_members_than_shards_leave_some_without, .init = setup)
{
	// 16 members are the most of this rig.
	for (int i = 0; i < 16; i++)
		member_add();
	holders_look();
	for (uint32_t i = 0; i < 16; i++)
		cr_assert_eq(held_by(i), 1);
	struct consumer *late = consumer_create(rig, 0, 40, 1472);
	consumers_run(rig, &late, 1);
	cr_assert_eq(rig_count(&late->client, WEIR_KIND_JOINED), 0);
	cr_assert_eq(rig_count(&late->client, WEIR_KIND_ERROR), 1, "the group is full");
	free(late);
}

Test(group, a_group_is_set_up_before_its_shards_know_it, .init = setup_two_workers)
{
	for (uint16_t shard = 0; shard < SHARDS; shard++) {
		const struct weir_message remove = {
			.kind = WEIR_MESSAGE_GROUP_REMOVE, .topic = RIG_TOPIC, .group = RIG_GROUP, .shard = shard, .request = 1,
		};
		rig_message(rig, rig->owner[shard], &remove);
	}
	member_add();
	cr_assert_eq(consumer_held(members[0]), 0);
	for (uint16_t shard = 0; shard < SHARDS; shard++) {
		struct weir_group_place place = { .spec = rig->groups[0], .row = &rig->group_rows[shard],
						  .delivery = &rig->deliveries[0][shard] };
		const struct weir_message create = {
			.kind = WEIR_MESSAGE_GROUP_CREATE,
			.topic = RIG_TOPIC,
			.group = RIG_GROUP,
			.shard = shard,
			.request = 1,
			.pointer = &place,
		};
		rig_message(rig, rig->owner[shard], &create);
	}
	rig_advance_ms(rig, 50);
	run();
	cr_assert_eq(consumer_held(members[0]), SHARDS);
}

Test(group, that_is_full_says_so, .init = setup)
{
	for (uint32_t i = 0; i < 16; i++)
		cr_assert_eq(rig_count(&member_add()->client, WEIR_KIND_JOINED), 1);
	const struct weir_frame_header *frame = rig_last(&member_add()->client, WEIR_KIND_ERROR);
	cr_assert_not_null(frame);
	const struct weir_error *error = (const void *)(frame + 1);
	cr_assert_eq(error->reason, WEIR_R_MEMBERS);
	cr_assert_eq(error->kind, WEIR_KIND_JOIN);
}
