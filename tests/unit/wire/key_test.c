// The mapping from key to shard is part of the contract: fixed values, and an even spread.
#include "wire/key.h"

#include <criterion/criterion.h>

#include "wire/limits.h"

Test(key, mixes_as_the_contract_says)
{
	cr_assert_eq(weir_mix64(0), 0);
	cr_assert_eq(weir_mix64(1), 0x5692161d100b05e5ull);
	cr_assert_eq(weir_key_of_bytes("", 0), 0xcbf29ce484222325ull);
	cr_assert_eq(weir_key_of_bytes("positions", 9), 0x0ac7093f4700b5dbull);
}

Test(key, of_one_shard_is_always_shard_zero)
{
	for (uint64_t key = 0; key < 1000; key++)
		cr_assert_eq(weir_shard_of(key * 0x9e3779b97f4a7c15ull, 1), 0);
	cr_assert_eq(weir_shard_of(UINT64_MAX, 1), 0);
}

Test(key, stays_below_the_shard_count)
{
	for (uint32_t shards = 1; shards <= WEIR_SHARDS_MAX; shards += 7) {
		for (uint64_t key = 0; key < 200; key++)
			cr_assert_lt(weir_shard_of(key << (key % 64), shards), shards);
	}
}

Test(key, spreads_consecutive_keys_evenly)
{
	uint32_t counts[16] = { 0 };
	for (uint64_t key = 0; key < 160000; key++)
		counts[weir_shard_of(key, 16)]++;
	for (int shard = 0; shard < 16; shard++) {
		cr_assert_gt(counts[shard], 9500, "shard %d has %u", shard, counts[shard]);
		cr_assert_lt(counts[shard], 10500, "shard %d has %u", shard, counts[shard]);
	}
}
