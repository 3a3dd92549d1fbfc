// Claims about making a shard, alone and side by side with others of its topic, and about finding things in a snapshot. No
// engine: what a shard does once it has an owner is claimed in the tests of the engine's parts. One thread, as control makes
// shards.
#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "dataplane/core/memory.h"
#include "dataplane/core/shard.h"

static struct weir_shard_row row;

static int create_in(struct weir_slab *slab, struct weir_shard **shard, const struct weir_topic_spec *spec, uint16_t number)
{
	const struct weir_shard_config config = {
		.topic = 3,
		.shard = number,
		.spec = spec,
		.incarnation = 42,
		.node = -1,
		.hugepages = WEIR_HUGEPAGES_OFF,
		.row = &row,
		.slab = slab,
	};
	return weir_shard_create(shard, &config);
}

static int create(struct weir_shard **shard, const struct weir_topic_spec *spec, uint16_t number)
{
	return create_in(NULL, shard, spec, number);
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
		cr_assert_null(shard->deliveries[i]);
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

static bool is_mapped(const void *page)
{
	unsigned char is_resident;
	return mincore((void *)(uintptr_t)page, 4096, &is_resident) == 0;
}

// One of a topic that is removed may go long before the others: its neighbours stay whole.
Test(shard, shards_side_by_side_go_one_by_one_and_their_memory_with_the_last)
{
	enum { COUNT = 60 };
	const struct weir_topic_spec spec = { .shards = COUNT, .event_max = 8192, .log_bytes = 64u << 10, .streams_max = 100 };
	struct weir_slab *slab = weir_slab_create(weir_shard_size(spec.streams_max, false), COUNT, -1);
	struct weir_shard *shards[COUNT + 1];
	uint64_t lines = 0;
	cr_assert_not_null(slab);
	for (uint16_t i = 0; i < COUNT; i++) {
		cr_assert_eq(create_in(slab, &shards[i], &spec, i), 0);
		lines |= 1ull << ((uintptr_t)shards[i] % 4096 / 64);
	}
	cr_expect_eq(__builtin_popcountll(lines), COUNT, "no two begin at the same line of a page");
	cr_expect_eq((uintptr_t)shards[0] % (2u << 20) / 4096, 0, "they begin with a huge page");
	cr_expect_eq(create_in(slab, &shards[COUNT], &spec, 0), -ENOMEM, "there is room for no more");
	weir_slab_put(slab);
	for (uint16_t i = 0; i < COUNT; i++) {
		shards[COUNT - 1]->streams[99].next = 7;
		cr_assert_eq(shards[COUNT - 1]->streams[99].next, 7);
		cr_expect(is_mapped((void *)((uintptr_t)shards[0] & ~4095ul)), "shard %u is still there", i);
		weir_shard_destroy(shards[i]);
	}
	cr_expect_not(is_mapped((void *)((uintptr_t)shards[0] & ~4095ul)), "the last one took the memory with it");
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
