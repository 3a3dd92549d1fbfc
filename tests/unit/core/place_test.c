// Claims about the table of places: what was put is found, what was removed is not, whatever the order.
#include "dataplane/core/place.h"

#include <criterion/criterion.h>
#include <stdlib.h>

Test(place, random_puts_and_removals_agree_with_a_plain_array)
{
	enum { TOPICS = 40, SHARDS = 4 };
	struct weir_arena arena;
	cr_assert_eq(weir_arena_create(&arena, weir_places_need(100), -1), 0);
	struct weir_places places;
	weir_places_init(&places, &arena, 100);
	bool is_there[TOPICS][SHARDS] = { 0 };
	srand(3);
	for (int step = 0; step < 20000; step++) {
		uint32_t topic = 1 + (uint32_t)rand() % (TOPICS - 1);
		uint16_t shard = (uint16_t)(rand() % SHARDS);
		struct weir_place *place = weir_place_find(&places, topic, shard);
		cr_assert_eq(place != NULL, is_there[topic][shard]);
		if (place) {
			cr_assert_eq(place->forward, topic * 10 + shard);
			weir_place_remove(&places, place);
		} else {
			place = weir_place_put(&places, topic, shard);
			cr_assert_not_null(place);
			place->forward = (uint16_t)(topic * 10 + shard);
		}
		is_there[topic][shard] = !is_there[topic][shard];
	}
	weir_arena_destroy(&arena);
}

Test(place, a_full_table_refuses_and_topic_zero_does_not_exist)
{
	struct weir_arena arena;
	cr_assert_eq(weir_arena_create(&arena, weir_places_need(8), -1), 0);
	struct weir_places places;
	weir_places_init(&places, &arena, 8);
	uint32_t taken = 0;
	while (taken < 1000 && weir_place_put(&places, 1 + taken, 0))
		taken++;
	cr_assert(taken >= 8 && taken < 16);
	cr_assert_null(weir_place_find(&places, 999, 0), "a miss in a full table ends");
	cr_assert_null(weir_place_find(&places, 0, 0));
	weir_arena_destroy(&arena);
}
