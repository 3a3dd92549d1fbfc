// See park.h.
#include "dataplane/core/park.h"

#include <stddef.h>

#include "dataplane/core/shard.h"

uint64_t weir_park_need(uint32_t frames)
{
	return weir_arena_need((uint64_t)frames * sizeof(struct weir_parked));
}

void weir_park_init(struct weir_park *park, struct weir_arena *arena, uint32_t frames)
{
	struct weir_parked *pool = weir_arena_take(arena, (uint64_t)frames * sizeof(*pool));
	*park = (struct weir_park){ 0 };
	TAILQ_INIT(&park->ages);
	for (uint32_t i = frames; i > 0; i--) {
		pool[i - 1].next = park->free;
		park->free = &pool[i - 1];
	}
}

struct weir_parked *weir_park_take(struct weir_park *park, struct weir_stream *stream, uint64_t now_ns)
{
	struct weir_parked *parked = park->free;
	if (!parked)
		return NULL;
	park->free = parked->next;
	park->used++;
	parked->stream = stream;
	parked->parked_ns = now_ns;
	TAILQ_INSERT_TAIL(&park->ages, parked, age);
	return parked;
}

void weir_park_give(struct weir_park *park, struct weir_parked *parked)
{
	TAILQ_REMOVE(&park->ages, parked, age);
	parked->next = park->free;
	park->free = parked;
	park->used--;
}

// It is sent again when its gap closes: who waits so long has lost more than this.
void weir_park_age(struct weir_park *park, uint64_t now_ns)
{
	struct weir_parked *oldest = park->free ? NULL : TAILQ_FIRST(&park->ages);
	if (!oldest || now_ns - oldest->parked_ns < WEIR_PARK_OLD_NS)
		return;
	struct weir_stream *stream = oldest->stream;
	struct weir_parked *previous = NULL;
	for (struct weir_parked *parked = stream->parked; parked != oldest; parked = parked->next)
		previous = parked;
	if (previous)
		previous->next = oldest->next;
	else
		stream->parked = oldest->next;
	if (!oldest->next)
		stream->parked_last = previous;
	stream->parked_count--;
	weir_park_give(park, oldest);
}
