// Where this worker finds a shard: here, or, while a handover is fresh, at the worker it went to. A hash table with linear
// probing; what is in neither state is not in the table, and the snapshot says who owns it. Engine's thread.
#ifndef WEIR_CORE_PLACE_H
#define WEIR_CORE_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/core/arena.h"

struct weir_shard;

struct weir_place {
	uint64_t key;             // topic and shard, 0: empty
	struct weir_shard *shard; // NULL: moved away
	uint16_t forward;         // worker it moved to
};

struct weir_places {
	struct weir_place *slots;
	uint32_t mask;
	uint32_t shift;
	uint32_t used;
};

// Room for `most` entries at half load. Returns what it takes from the arena.
uint64_t weir_places_need(uint32_t most);
void weir_places_init(struct weir_places *places, struct weir_arena *arena, uint32_t most);

static inline uint64_t weir_place_key(uint32_t topic, uint16_t shard)
{
	return (uint64_t)topic << 16 | shard;
}

static inline uint32_t weir_place_slot(const struct weir_places *places, uint64_t key)
{
	return (uint32_t)(key * 0x9e3779b97f4a7c15ull >> places->shift);
}

// NULL: neither here nor forwarded. topic 0 does not exist.
static inline struct weir_place *weir_place_find(const struct weir_places *places, uint32_t topic, uint16_t shard)
{
	uint64_t key = weir_place_key(topic, shard);
	for (uint32_t i = weir_place_slot(places, key);; i = (i + 1) & places->mask) {
		struct weir_place *place = &places->slots[i];
		if (place->key == key && topic != 0)
			return place;
		if (place->key == 0)
			return 0;
	}
}

// The same: `found` when it was looked for before, or NULL, if it is still that.
static inline const struct weir_place *weir_place_again(const struct weir_places *places, const struct weir_place *found,
							uint32_t topic, uint16_t shard)
{
	return found && found->key == weir_place_key(topic, shard) ? found : weir_place_find(places, topic, shard);
}

// The entry of the shard, made if need be. NULL: the table is full.
struct weir_place *weir_place_put(struct weir_places *places, uint32_t topic, uint16_t shard);
void weir_place_remove(struct weir_places *places, struct weir_place *place);

#endif
