// Everything random in a run comes from one seed: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
#ifndef WEIR_SIM_RANDOM_H
#define WEIR_SIM_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct sim_random {
	uint64_t state;
};

static inline uint64_t sim_random(struct sim_random *random)
{
	uint64_t z = random->state += 0x9e3779b97f4a7c15ull;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

// In [0, limit).
static inline uint32_t sim_below(struct sim_random *random, uint32_t limit)
{
	return (uint32_t)((sim_random(random) >> 32) * limit >> 32);
}

// In [low, high].
static inline uint32_t sim_between(struct sim_random *random, uint32_t low, uint32_t high)
{
	return low + sim_below(random, high - low + 1);
}

static inline bool sim_chance(struct sim_random *random, uint32_t percent)
{
	return sim_below(random, 100) < percent;
}

static inline bool sim_chance_ppm(struct sim_random *random, uint32_t ppm)
{
	return ppm && sim_below(random, 1000000) < ppm;
}

#endif
