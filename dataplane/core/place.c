// See place.h. Removal shifts the cluster back, so that there are no tombstones and lookups stay short for life.
#include "dataplane/core/place.h"

#include <stddef.h>

static uint32_t bits_for(uint32_t most)
{
	uint32_t bits = 4;
	while ((1u << bits) < 2 * most && bits < 30)
		bits++;
	return bits;
}

uint64_t weir_places_need(uint32_t most)
{
	return weir_arena_need(sizeof(struct weir_place) << bits_for(most));
}

void weir_places_init(struct weir_places *places, struct weir_arena *arena, uint32_t most)
{
	uint32_t bits = bits_for(most);
	places->slots = weir_arena_take(arena, sizeof(struct weir_place) << bits);
	places->mask = (1u << bits) - 1;
	places->shift = 64 - bits;
	places->used = 0;
}

struct weir_place *weir_place_put(struct weir_places *places, uint32_t topic, uint16_t shard)
{
	struct weir_place *place = weir_place_find(places, topic, shard);
	if (place)
		return place;
	// A quarter stays empty: a probe always ends, and soon.
	if (topic == 0 || places->used >= places->mask - places->mask / 4)
		return NULL;
	uint64_t key = weir_place_key(topic, shard);
	uint32_t i = weir_place_slot(places, key);
	while (places->slots[i].key)
		i = (i + 1) & places->mask;
	places->used++;
	places->slots[i] = (struct weir_place){ .key = key };
	return &places->slots[i];
}

void weir_place_remove(struct weir_places *places, struct weir_place *place)
{
	uint32_t hole = (uint32_t)(place - places->slots);
	places->used--;
	for (uint32_t i = (hole + 1) & places->mask; places->slots[i].key; i = (i + 1) & places->mask) {
		uint32_t home = weir_place_slot(places, places->slots[i].key);
		// It may fill the hole when its own slot does not lie behind the hole on the way to it.
		if (((i - home) & places->mask) >= ((i - hole) & places->mask)) {
			places->slots[hole] = places->slots[i];
			hole = i;
		}
	}
	places->slots[hole] = (struct weir_place){ 0 };
}
