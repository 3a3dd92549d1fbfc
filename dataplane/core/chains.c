// See chains.h. As many chains as handles, or up to twice as many: at most one step, mostly.
#include "dataplane/core/chains.h"

static uint32_t chains_of(uint32_t count)
{
	uint32_t chains = 1;
	while (chains < count)
		chains *= 2;
	return chains;
}

uint64_t weir_chains_need(uint32_t count)
{
	uint64_t bytes = ((uint64_t)chains_of(count) + count) * sizeof(uint32_t);
	return (bytes + 63) & ~63ull;
}

void weir_chains_init(struct weir_chains *chains, void *memory, uint32_t count)
{
	chains->mask = chains_of(count) - 1;
	chains->heads = memory;
	chains->next = chains->heads + chains->mask + 1;
}

void weir_chains_add(struct weir_chains *chains, uint64_t hash, uint32_t handle)
{
	uint32_t *head = &chains->heads[hash & chains->mask];
	chains->next[handle] = *head;
	*head = handle + 1;
}

void weir_chains_remove(struct weir_chains *chains, uint64_t hash, uint32_t handle)
{
	uint32_t *link = &chains->heads[hash & chains->mask];
	while (*link != handle + 1)
		link = &chains->next[*link - 1];
	*link = chains->next[handle];
}
