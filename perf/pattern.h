// What an open-loop producer sends and when, as pure functions of a seed: arrivals, rate profiles, keys, sizes. Nothing here
// looks at a clock or waits for anybody, so what is to be sent never depends on how the system under test behaves.
// One thread an object.
//
// Times come out of two parts. Arrivals give positions on an axis where one event an unit is due on average: 0, 1, 2, ...
// for a constant rate, sums of exponential gaps for Poisson, B at once for bursts. The profile is the rate over time; the
// time of an event is where the profile's integral reaches its position. So any arrival process works under any ramp.
#ifndef WEIR_PERF_PATTERN_H
#define WEIR_PERF_PATTERN_H

#include <stdint.h>

#include "wire/key.h"

// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): small, fast, any seed will do.
struct weir_random {
	uint64_t state;
};

static inline uint64_t weir_random_next(struct weir_random *random)
{
	random->state += 0x9e3779b97f4a7c15ull;
	return weir_mix64(random->state);
}

// In [0, 1), 53 bits.
static inline double weir_random_unit(struct weir_random *random)
{
	return (double)(weir_random_next(random) >> 11) * 0x1p-53;
}

// In [0, limit), limit at least 1; biased by less than 2^-32 for limits of 32 bits.
static inline uint64_t weir_random_below(struct weir_random *random, uint64_t limit)
{
	return (uint64_t)(((unsigned __int128)weir_random_next(random) * limit) >> 64);
}

// ---- Rate over time ----

#define WEIR_PROFILE_PIECES 128u

// Pieces follow each other without gap; in each the rate goes linearly from one value to another.
struct weir_profile {
	uint32_t count;
	struct weir_profile_piece {
		double start_ns;
		double length_ns;
		double from; // events per ns
		double to;
		double before; // events due before the piece
		double events; // due in it
		double gap_ns; // between events where the rate stays, else 0
	} pieces[WEIR_PROFILE_PIECES];
};

// Appends a piece; rates in events/s, not negative. 0, or -ENOSPC.
int weir_profile_add(struct weir_profile *profile, uint64_t length_ns, double from, double to);
// Events due in all pieces.
double weir_profile_events(const struct weir_profile *profile);
// When the integral reaches `position`, in ns from the profile's start; UINT64_MAX: never. *piece is where the last search
// ended (0 at first): positions must not fall.
uint64_t weir_profile_time(const struct weir_profile *profile, double position, uint32_t *piece);

// ---- Arrivals ----

enum weir_arrival {
	WEIR_ARRIVAL_CONSTANT = 0,
	WEIR_ARRIVAL_POISSON,
	WEIR_ARRIVAL_BURSTS,
};

struct weir_arrivals {
	enum weir_arrival kind;
	uint32_t burst; // events at once, BURSTS
	uint32_t in_burst;
	double position;
	struct weir_random random;
};

// `phase` in [0, 1) shifts constant arrivals and bursts, so that several producers do not send in step.
void weir_arrivals_init(struct weir_arrivals *arrivals, enum weir_arrival kind, uint32_t burst, double phase, uint64_t seed);
// Position of the next event; never falls.
double weir_arrivals_next(struct weir_arrivals *arrivals);

// ---- Keys ----

enum weir_key_pick {
	WEIR_KEYS_UNIFORM = 0,
	WEIR_KEYS_ZIPF,
	WEIR_KEYS_HOT,     // key 0 gets `share` of all events, the others share the rest evenly
	WEIR_KEYS_IN_TURN, // 0, 1, 2, ... and again
};

struct weir_keys {
	enum weir_key_pick pick;
	uint32_t count;
	double share;
	uint32_t next;
	// Zipf, see weir_keys_init().
	double exponent, integral_first, integral_last, squeeze;
	struct weir_random random;
};

// Zipf: key k (from 0) with probability proportional to 1 / (k + 1)^parameter, drawn by rejection-inversion: Hoermann and
// Derflinger, Rejection-inversion to generate variates from monotone discrete distributions, ACM TOMACS 6(3), 1996. No
// table, so a million keys cost what ten do. parameter: the exponent (over 0) for ZIPF, the share (0 to 1) for HOT.
void weir_keys_init(struct weir_keys *keys, enum weir_key_pick pick, uint32_t count, double parameter, uint64_t seed);
uint32_t weir_keys_next(struct weir_keys *keys);

// ---- Payload sizes ----

#define WEIR_SIZES_MAX 16u

struct weir_sizes {
	uint32_t count; // at least 1
	uint32_t total; // of the weights
	struct weir_size {
		uint32_t bytes;
		uint32_t weight;
	} all[WEIR_SIZES_MAX];
	struct weir_random random;
};

uint32_t weir_sizes_next(struct weir_sizes *sizes);
// The largest of them.
uint32_t weir_sizes_max(const struct weir_sizes *sizes);

#endif
