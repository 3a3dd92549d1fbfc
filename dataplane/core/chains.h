// A hash table of handles, for finding one of many things that lie in an array: chains through an array of their own. All of it
// is one piece of memory without a size that grows, so that it is made once and is part of what it serves. What a hash stands
// for the caller compares. One thread.
#ifndef WEIR_CORE_CHAINS_H
#define WEIR_CORE_CHAINS_H

#include <stdint.h>

struct weir_chains {
	uint32_t *heads; // [mask + 1] handle + 1, 0: none
	uint32_t *next;  // [count] the same
	uint32_t mask;
};

// Bytes for handles below `count`; a multiple of a cache line.
uint64_t weir_chains_need(uint32_t count);
// memory: as many bytes, zeroed.
void weir_chains_init(struct weir_chains *chains, void *memory, uint32_t count);

// The handle is in no chain.
void weir_chains_add(struct weir_chains *chains, uint64_t hash, uint32_t handle);
// The handle is in the chain of that hash.
void weir_chains_remove(struct weir_chains *chains, uint64_t hash, uint32_t handle);

// Those of a hash and of others that share its chain, each as handle + 1; 0: no more.
static inline uint32_t weir_chains_first(const struct weir_chains *chains, uint64_t hash)
{
	return chains->heads[hash & chains->mask];
}

static inline uint32_t weir_chains_next(const struct weir_chains *chains, uint32_t handle)
{
	return chains->next[handle];
}

#endif
