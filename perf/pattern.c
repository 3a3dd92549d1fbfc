// Arrival processes, rate profiles, keys and sizes of perf/pattern.h. A producer's thread calls it between events.
#include "perf/pattern.h"

#include <errno.h>
#include <math.h>

// ---- Rate over time ----

int weir_profile_add(struct weir_profile *profile, uint64_t length_ns, double from, double to)
{
	if (profile->count == WEIR_PROFILE_PIECES)
		return -ENOSPC;
	struct weir_profile_piece *piece = &profile->pieces[profile->count];
	*piece = (struct weir_profile_piece){ .length_ns = (double)length_ns, .from = from / 1e9, .to = to / 1e9 };
	if (from == to && from > 0)
		piece->gap_ns = 1e9 / from;
	piece->events = (piece->from + piece->to) / 2 * piece->length_ns;
	if (profile->count) {
		piece->start_ns = piece[-1].start_ns + piece[-1].length_ns;
		piece->before = piece[-1].before + piece[-1].events;
	}
	profile->count++;
	return 0;
}

double weir_profile_events(const struct weir_profile *profile)
{
	if (profile->count == 0)
		return 0;
	const struct weir_profile_piece *last = &profile->pieces[profile->count - 1];
	return last->before + last->events;
}

// Where from * t + slope * t^2 reaches n: the root that does not cancel when the slope is small.
static double time_in(const struct weir_profile_piece *piece, double n)
{
	if (piece->gap_ns > 0)
		return n * piece->gap_ns < piece->length_ns ? n * piece->gap_ns : piece->length_ns;
	double slope = (piece->to - piece->from) / (2 * piece->length_ns);
	double root = piece->from * piece->from + 4 * slope * n;
	double time = 2 * n / (piece->from + sqrt(root > 0 ? root : 0));
	return time < piece->length_ns ? time : piece->length_ns;
}

uint64_t weir_profile_time(const struct weir_profile *profile, double position, uint32_t *piece)
{
	while (*piece < profile->count) {
		const struct weir_profile_piece *at = &profile->pieces[*piece];
		double n = position - at->before;
		if (n < at->events)
			return (uint64_t)(at->start_ns + (n > 0 ? time_in(at, n) : 0));
		++*piece;
	}
	return UINT64_MAX;
}

// ---- Arrivals ----

void weir_arrivals_init(struct weir_arrivals *arrivals, enum weir_arrival kind, uint32_t burst, double phase, uint64_t seed)
{
	*arrivals = (struct weir_arrivals){ .kind = kind, .burst = burst ? burst : 1, .random.state = seed };
	if (kind == WEIR_ARRIVAL_CONSTANT)
		arrivals->position = phase;
	if (kind == WEIR_ARRIVAL_BURSTS)
		arrivals->position = phase * arrivals->burst;
}

double weir_arrivals_next(struct weir_arrivals *arrivals)
{
	double position = arrivals->position;
	switch (arrivals->kind) {
	case WEIR_ARRIVAL_CONSTANT:
		arrivals->position += 1;
		break;
	case WEIR_ARRIVAL_POISSON:
		// The first event too comes after a gap, else every producer would begin with one at time 0.
		position -= log(1 - weir_random_unit(&arrivals->random));
		arrivals->position = position;
		break;
	case WEIR_ARRIVAL_BURSTS:
		if (++arrivals->in_burst == arrivals->burst) {
			arrivals->in_burst = 0;
			arrivals->position += arrivals->burst;
		}
		break;
	}
	return position;
}

// ---- Keys ----

// The integral of x^-s, and its inverse, written so that s = 1, where it is the logarithm, is no special case.
static double integral(const struct weir_keys *keys, double x)
{
	double t = (1 - keys->exponent) * log(x);
	return (fabs(t) > 1e-8 ? expm1(t) / t : 1 + t / 2) * log(x);
}

static double integral_inverse(const struct weir_keys *keys, double x)
{
	double t = x * (1 - keys->exponent);
	if (t < -1)
		t = -1; // rounding only
	return exp((fabs(t) > 1e-8 ? log1p(t) / t : 1 - t / 2) * x);
}

static double density(const struct weir_keys *keys, double x)
{
	return exp(-keys->exponent * log(x));
}

void weir_keys_init(struct weir_keys *keys, enum weir_key_pick pick, uint32_t count, double parameter, uint64_t seed)
{
	*keys = (struct weir_keys){ .pick = pick, .count = count ? count : 1, .random.state = seed };
	if (pick == WEIR_KEYS_HOT)
		keys->share = parameter;
	if (pick != WEIR_KEYS_ZIPF)
		return;
	keys->exponent = parameter;
	keys->integral_first = integral(keys, 1.5) - 1;
	keys->integral_last = integral(keys, keys->count + 0.5);
	keys->squeeze = 2 - integral_inverse(keys, integral(keys, 2.5) - density(keys, 2));
}

static uint32_t zipf_next(struct weir_keys *keys)
{
	for (;;) {
		double span = keys->integral_first - keys->integral_last;
		double u = keys->integral_last + weir_random_unit(&keys->random) * span;
		double x = integral_inverse(keys, u);
		double k = floor(x + 0.5);
		k = k < 1 ? 1 : k > keys->count ? keys->count : k;
		if (k - x <= keys->squeeze || u >= integral(keys, k + 0.5) - density(keys, k))
			return (uint32_t)k - 1;
	}
}

uint32_t weir_keys_next(struct weir_keys *keys)
{
	if (keys->pick == WEIR_KEYS_ZIPF)
		return zipf_next(keys);
	if (keys->pick == WEIR_KEYS_HOT) {
		if (keys->count == 1 || weir_random_unit(&keys->random) < keys->share)
			return 0;
		return 1 + (uint32_t)weir_random_below(&keys->random, keys->count - 1);
	}
	if (keys->pick == WEIR_KEYS_UNIFORM)
		return (uint32_t)weir_random_below(&keys->random, keys->count);
	uint32_t key = keys->next;
	keys->next = key + 1 == keys->count ? 0 : key + 1;
	return key;
}

// ---- Payload sizes ----

uint32_t weir_sizes_next(struct weir_sizes *sizes)
{
	if (sizes->count == 1)
		return sizes->all[0].bytes;
	uint64_t drawn = weir_random_below(&sizes->random, sizes->total);
	uint32_t i = 0;
	while (drawn >= sizes->all[i].weight)
		drawn -= sizes->all[i++].weight;
	return sizes->all[i].bytes;
}

uint32_t weir_sizes_max(const struct weir_sizes *sizes)
{
	uint32_t most = 0;
	for (uint32_t i = 0; i < sizes->count; i++)
		most = sizes->all[i].bytes > most ? sizes->all[i].bytes : most;
	return most;
}
