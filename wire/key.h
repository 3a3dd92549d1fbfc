// From key to shard. Part of the contract: every client in every language computes the same three lines.
#ifndef WEIR_WIRE_KEY_H
#define WEIR_WIRE_KEY_H

#include <stdint.h>

// The finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014,
// with Stafford's variant 13 constants).
static inline uint64_t weir_mix64(uint64_t key)
{
	key = (key ^ (key >> 30)) * 0xbf58476d1ce4e5b9ull;
	key = (key ^ (key >> 27)) * 0x94d049bb133111ebull;
	return key ^ (key >> 31);
}

#ifndef __bpf__
// shards: 1 to WEIR_SHARDS_MAX. Result in [0, shards).
static inline uint32_t weir_shard_of(uint64_t key, uint32_t shards)
{
	return (uint32_t)(((unsigned __int128)weir_mix64(key) * shards) >> 64);
}

// The 64-bit key of a byte string, for keys that are names: FNV-1a 64 (draft-eastlake-fnv).
static inline uint64_t weir_key_of_bytes(const void *bytes, uint64_t size)
{
	const uint8_t *p = bytes;
	uint64_t hash = 0xcbf29ce484222325ull;
	for (uint64_t i = 0; i < size; i++)
		hash = (hash ^ p[i]) * 0x100000001b3ull;
	return hash;
}
#endif

#endif
