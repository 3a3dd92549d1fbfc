// Claims about making a shard, and about finding things in a snapshot.
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "dataplane/core/shard.h"

static struct weir_shard_row row;

static int create(struct weir_shard **shard, const struct weir_topic_spec *spec, uint16_t number)
{
	const struct weir_shard_config config = {
		.topic = 3,
		.shard = number,
		.spec = spec,
		.incarnation = 42,
		.node = -1,
		.hugepages = WEIR_HUGEPAGES_OFF,
		.row = &row,
	};
	return weir_shard_create(shard, &config);
}

static const struct weir_topic_spec GOOD = {
	.shards = 4, .event_max = 8192, .log_bytes = 64u << 10, .streams_max = 100, .policy = WEIR_POLICY_DROP_NEW,
};

Test(shard, a_new_shard_is_empty_and_its_row_says_whose_it_is)
{
	struct weir_shard *shard;
	cr_assert_eq(create(&shard, &GOOD, 2), 0);
	cr_assert_eq(row.head.in_use, 1);
	cr_assert_eq(row.topic, 3);
	cr_assert_eq(row.shard, 2);
	cr_assert_eq(row.incarnation, 42);
	cr_assert_eq(row.log_bytes, 64u << 10);
	cr_assert_eq(shard->policy, WEIR_POLICY_DROP_NEW);
	cr_assert_eq(weir_shard_hold(shard), shard->log.head);
	uint32_t streams = 0;
	for (struct weir_stream *stream = shard->streams_free; stream; stream = stream->free_next)
		cr_assert_eq(stream->handle, streams++);
	cr_assert_eq(streams, 100);
	for (uint32_t i = 0; i < WEIR_SHARD_GROUPS_MAX; i++)
		cr_assert_eq(shard->deliveries[i].handle, i);
	weir_shard_destroy(shard);
	cr_assert_eq(row.head.in_use, 0);
}

Test(shard, what_cannot_be_is_refused)
{
	struct weir_shard *shard = NULL;
	struct weir_topic_spec spec = GOOD;
	cr_expect_eq(create(&shard, &spec, 4), -EINVAL, "a shard beyond the topic's");
	spec.event_max = (64u << 10) / 8 + 1;
	cr_expect_eq(create(&shard, &spec, 0), -EINVAL, "events of more than an eighth of the log");
	spec = GOOD;
	spec.streams_max = 0;
	cr_expect_eq(create(&shard, &spec, 0), -EINVAL);
	spec = GOOD;
	spec.log_bytes = 100000;
	cr_expect_eq(create(&shard, &spec, 0), -EINVAL, "a log that is no power of two");
	cr_expect_null(shard);
}

Test(snapshot, names_are_found_and_others_are_not)
{
	const struct weir_group_spec groups[] = { { .id = { 1 }, .name = "map" }, { .id = { 2 }, .name = "map-2" } };
	const struct weir_topic_spec topics[] = {
		{ .id = { 1 }, .name = "positions", .groups = groups, .group_count = 2 }, { .id = { 4 }, .name = "alarms" },
	};
	const uint32_t by_id[] = { UINT32_MAX, 0, UINT32_MAX, UINT32_MAX, 1 };
	const struct weir_snapshot snapshot = { .topics = topics, .topic_count = 2, .by_id = by_id, .by_id_count = 5 };
	char name[WEIR_NAME_SIZE] = "alarms";
	cr_assert_eq(weir_snapshot_find(&snapshot, name), &topics[1]);
	cr_assert_eq(weir_snapshot_topic(&snapshot, 4), &topics[1]);
	cr_assert_null(weir_snapshot_topic(&snapshot, 2));
	cr_assert_null(weir_snapshot_topic(&snapshot, 5));
	char group[WEIR_NAME_SIZE] = "map-2";
	cr_assert_eq(weir_topic_find_group(&topics[0], group), &groups[1]);
	cr_assert_null(weir_topic_find_group(&topics[1], group));
	char other[WEIR_NAME_SIZE] = "position";
	cr_assert_null(weir_snapshot_find(&snapshot, other));
}
