// See park.h.
#include "dataplane/core/park.h"

#include <stddef.h>

uint64_t weir_park_need(uint32_t frames)
{
	return weir_arena_need((uint64_t)frames * sizeof(struct weir_parked));
}

void weir_park_init(struct weir_park *park, struct weir_arena *arena, uint32_t frames)
{
	struct weir_parked *pool = weir_arena_take(arena, (uint64_t)frames * sizeof(*pool));
	*park = (struct weir_park){ 0 };
	for (uint32_t i = frames; i > 0; i--) {
		pool[i - 1].next = park->free;
		park->free = &pool[i - 1];
	}
}

struct weir_parked *weir_park_take(struct weir_park *park)
{
	struct weir_parked *parked = park->free;
	if (!parked)
		return NULL;
	park->free = parked->next;
	park->used++;
	return parked;
}

void weir_park_give(struct weir_park *park, struct weir_parked *parked)
{
	parked->next = park->free;
	park->free = parked;
	park->used--;
}
