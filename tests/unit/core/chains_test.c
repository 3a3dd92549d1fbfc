// Claims about chains: all that was added is found under its hash until it is removed, whatever shares its chain.
#include <criterion/criterion.h>
#include <stdlib.h>

#include "dataplane/core/chains.h"
#include "wire/key.h"

#define COUNT 100u

static struct weir_chains chains;
static void *memory;

static void setup(void)
{
	memory = calloc(1, weir_chains_need(COUNT));
	weir_chains_init(&chains, memory, COUNT);
}

static void teardown(void)
{
	free(memory);
}

TestSuite(chains, .init = setup, .fini = teardown);

static bool is_found(uint64_t hash, uint32_t handle)
{
	uint32_t steps = 0;
	uint32_t found = 0;
	for (uint32_t at = weir_chains_first(&chains, hash); at; at = weir_chains_next(&chains, at - 1)) {
		cr_assert_lt(at, COUNT + 1);
		cr_assert_leq(++steps, COUNT, "a chain ends");
		found += at - 1 == handle;
	}
	cr_assert_leq(found, 1);
	return found;
}

Test(chains, handles_are_found_until_they_are_removed)
{
	bool is_in[COUNT] = { 0 };
	uint64_t hashes[COUNT];
	for (uint64_t round = 0; round < 2000; round++) {
		uint32_t handle = (uint32_t)(weir_mix64(round) % COUNT);
		// Few hashes, so that chains are long, and such as differ above the chains' number.
		if (is_in[handle]) {
			weir_chains_remove(&chains, hashes[handle], handle);
		} else {
			hashes[handle] = (weir_mix64(~round) % 8) << (round % 2 ? 0 : 40);
			weir_chains_add(&chains, hashes[handle], handle);
		}
		is_in[handle] = !is_in[handle];
		for (uint32_t i = 0; i < COUNT; i++)
			cr_assert(!is_in[i] || is_found(hashes[i], i), "round %lu, handle %u", round, i);
		cr_assert(is_in[handle] || !is_found(hashes[handle], handle));
	}
}

Test(chains, all_in_one_chain_are_found)
{
	for (uint32_t i = 0; i < COUNT; i++)
		weir_chains_add(&chains, 7, i);
	for (uint32_t i = 0; i < COUNT; i += 2)
		weir_chains_remove(&chains, 7, i);
	for (uint32_t i = 0; i < COUNT; i++)
		cr_assert_eq(is_found(7, i), i % 2 == 1);
}
