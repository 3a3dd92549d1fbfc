// What a load consists of, judged by statistics: each tolerance follows from the number of samples, five standard deviations or
// the like, and seeds are fixed, so a test that passes once always does.
#include <math.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "perf/pattern.h"

#define SAMPLES 200000u

static int compare(const void *a, const void *b)
{
	double left = *(const double *)a;
	double right = *(const double *)b;
	return left < right ? -1 : left > right;
}

static double *gaps_of(enum weir_arrival kind, uint32_t burst, uint64_t seed)
{
	struct weir_arrivals arrivals;
	double *gaps = malloc(SAMPLES * sizeof(*gaps));
	weir_arrivals_init(&arrivals, kind, burst, 0, seed);
	double last = weir_arrivals_next(&arrivals);
	for (uint32_t i = 0; i < SAMPLES; i++) {
		double next = weir_arrivals_next(&arrivals);
		gaps[i] = next - last;
		last = next;
	}
	return gaps;
}

Test(pattern, constant_arrivals_come_one_a_unit)
{
	double *gaps = gaps_of(WEIR_ARRIVAL_CONSTANT, 0, 1);
	for (uint32_t i = 0; i < SAMPLES; i++)
		cr_assert_eq(gaps[i], 1.0);
	free(gaps);
}

Test(pattern, gaps_of_poisson_arrivals_have_mean_and_spread_one)
{
	double *gaps = gaps_of(WEIR_ARRIVAL_POISSON, 0, 2);
	double sum = 0;
	double squares = 0;
	for (uint32_t i = 0; i < SAMPLES; i++) {
		sum += gaps[i];
		squares += (gaps[i] - 1) * (gaps[i] - 1);
	}
	cr_expect_float_eq(sum / SAMPLES, 1, 5 / sqrt(SAMPLES));
	// The variance of (x - 1)^2 is 8 for an exponential x.
	cr_expect_float_eq(squares / SAMPLES, 1, 5 * sqrt(8.0 / SAMPLES));
	free(gaps);
}

Test(pattern, gaps_of_poisson_arrivals_are_exponential)
{
	double *gaps = gaps_of(WEIR_ARRIVAL_POISSON, 0, 3);
	double farthest = 0;
	qsort(gaps, SAMPLES, sizeof(*gaps), compare);
	for (uint32_t i = 0; i < SAMPLES; i++) {
		double expected = 1 - exp(-gaps[i]);
		farthest = fmax(farthest, fmax(fabs(expected - (double)i / SAMPLES), fabs(expected - (i + 1.0) / SAMPLES)));
	}
	// Kolmogorov and Smirnov: above 1.95 / sqrt(n) with a probability of 0.001.
	cr_expect_lt(farthest, 1.95 / sqrt(SAMPLES));
	free(gaps);
}

Test(pattern, successive_poisson_gaps_do_not_know_each_other)
{
	double *gaps = gaps_of(WEIR_ARRIVAL_POISSON, 0, 4);
	double sum = 0;
	for (uint32_t i = 1; i < SAMPLES; i++)
		sum += (gaps[i - 1] - 1) * (gaps[i] - 1);
	cr_expect_float_eq(sum / SAMPLES, 0, 5 / sqrt(SAMPLES));
	free(gaps);
}

Test(pattern, bursts_come_at_once_and_keep_the_rate)
{
	double *gaps = gaps_of(WEIR_ARRIVAL_BURSTS, 8, 5);
	for (uint32_t i = 0; i < SAMPLES; i++)
		cr_assert_eq(gaps[i], (i + 1) % 8 ? 0.0 : 8.0);
	free(gaps);
}

Test(pattern, producers_of_a_set_do_not_send_in_step)
{
	struct weir_arrivals arrivals;
	weir_arrivals_init(&arrivals, WEIR_ARRIVAL_CONSTANT, 0, 0.25, 6);
	cr_expect_eq(weir_arrivals_next(&arrivals), 0.25);
	weir_arrivals_init(&arrivals, WEIR_ARRIVAL_BURSTS, 100, 0.25, 6);
	cr_expect_eq(weir_arrivals_next(&arrivals), 25.0);
}

Test(pattern, a_steady_rate_sends_on_time)
{
	struct weir_profile profile = { 0 };
	uint32_t piece = 0;
	weir_profile_add(&profile, 2000000000, 1000, 1000);
	cr_expect_float_eq(weir_profile_events(&profile), 2000, 1e-6);
	for (uint32_t i = 0; i < 2000; i++) {
		uint64_t time = weir_profile_time(&profile, i, &piece);
		cr_assert(llabs((long long)time - i * 1000000ll) <= 1, "event %u at %lu ns", i, time);
	}
	cr_expect_eq(weir_profile_time(&profile, 2000, &piece), UINT64_MAX);
}

// The integral of 0 to 1,000 a second over 10 s is 50 t^2 events.
Test(pattern, a_ramp_sends_along_its_integral)
{
	struct weir_profile profile = { 0 };
	uint32_t piece = 0;
	weir_profile_add(&profile, 10000000000, 0, 1000);
	cr_expect_float_eq(weir_profile_events(&profile), 5000, 1e-6);
	for (uint32_t i = 0; i < 5000; i++) {
		double time = (double)weir_profile_time(&profile, i, &piece);
		cr_assert_float_eq(time, sqrt(i / 50.0) * 1e9, 10);
	}
}

Test(pattern, a_falling_ramp_ends_where_it_should)
{
	struct weir_profile profile = { 0 };
	uint32_t piece = 0;
	uint64_t last = 0;
	weir_profile_add(&profile, 1000000000, 1000, 0);
	for (uint32_t i = 0; i < 500; i++) {
		uint64_t time = weir_profile_time(&profile, i, &piece);
		cr_assert(time >= last && time <= 1000000000);
		last = time;
	}
	cr_expect_gt(last, 950000000);
	cr_expect_eq(weir_profile_time(&profile, 500, &piece), UINT64_MAX);
}

Test(pattern, steps_follow_each_other_and_silence_is_skipped)
{
	struct weir_profile profile = { 0 };
	uint32_t piece = 0;
	uint32_t in[3] = { 0 };
	weir_profile_add(&profile, 1000000000, 100, 100);
	weir_profile_add(&profile, 1000000000, 0, 0);
	weir_profile_add(&profile, 1000000000, 1000, 1000);
	for (uint32_t i = 0; i < 1100; i++)
		in[weir_profile_time(&profile, i, &piece) / 1000000000]++;
	cr_expect_eq(in[0], 100);
	cr_expect_eq(in[1], 0);
	cr_expect_eq(in[2], 1000);
}

Test(pattern, more_pieces_than_there_is_room_for_are_refused)
{
	struct weir_profile profile = { 0 };
	for (uint32_t i = 0; i < WEIR_PROFILE_PIECES; i++)
		cr_assert_eq(weir_profile_add(&profile, 1000, 1, 1), 0);
	cr_expect_lt(weir_profile_add(&profile, 1000, 1, 1), 0);
}

// Pearson's statistic over the first `ranks` keys and all others together; degrees of freedom: ranks.
static double zipf_chi_square(double exponent, uint32_t count, uint32_t ranks, uint64_t seed)
{
	struct weir_keys keys;
	uint32_t *seen = calloc(count, sizeof(*seen));
	double norm = 0;
	for (uint32_t k = 1; k <= count; k++)
		norm += pow(k, -exponent);
	weir_keys_init(&keys, WEIR_KEYS_ZIPF, count, exponent, seed);
	for (uint32_t i = 0; i < SAMPLES; i++)
		seen[weir_keys_next(&keys)]++;
	double statistic = 0;
	double rest = SAMPLES;
	double rest_expected = SAMPLES;
	for (uint32_t k = 0; k < ranks; k++) {
		double expected = SAMPLES * pow(k + 1, -exponent) / norm;
		statistic += (seen[k] - expected) * (seen[k] - expected) / expected;
		rest -= seen[k];
		rest_expected -= expected;
	}
	free(seen);
	return statistic + (rest_expected > 1 ? (rest - rest_expected) * (rest - rest_expected) / rest_expected : 0);
}

Test(pattern, zipf_keys_follow_their_law)
{
	static const double EXPONENTS[] = { 0.5, 0.99, 1, 1.5, 3 };
	for (uint32_t i = 0; i < 5; i++) {
		uint32_t ranks = EXPONENTS[i] > 2 ? 10 : 50;
		double statistic = zipf_chi_square(EXPONENTS[i], 10000, ranks, 7 + i);
		// Mean and variance of the statistic are ranks and twice ranks.
		cr_expect_lt(statistic, ranks + 5 * sqrt(2.0 * ranks), "exponent %g: chi square %g of %u", EXPONENTS[i],
			     statistic, ranks);
	}
}

Test(pattern, zipf_of_one_key_is_that_key)
{
	struct weir_keys keys;
	weir_keys_init(&keys, WEIR_KEYS_ZIPF, 1, 1, 1);
	for (uint32_t i = 0; i < 100; i++)
		cr_assert_eq(weir_keys_next(&keys), 0);
}

Test(pattern, a_hot_key_gets_its_share_and_the_others_the_rest_evenly)
{
	struct weir_keys keys;
	uint32_t seen[11] = { 0 };
	weir_keys_init(&keys, WEIR_KEYS_HOT, 11, 0.7, 8);
	for (uint32_t i = 0; i < SAMPLES; i++)
		seen[weir_keys_next(&keys)]++;
	cr_expect_float_eq(seen[0] / (double)SAMPLES, 0.7, 5 * sqrt(0.7 * 0.3 / SAMPLES));
	for (uint32_t k = 1; k < 11; k++)
		cr_expect_float_eq(seen[k] / (double)SAMPLES, 0.03, 5 * sqrt(0.03 * 0.97 / SAMPLES));
}

Test(pattern, uniform_keys_are_all_alike)
{
	struct weir_keys keys;
	uint32_t seen[1000] = { 0 };
	double statistic = 0;
	weir_keys_init(&keys, WEIR_KEYS_UNIFORM, 1000, 0, 9);
	for (uint32_t i = 0; i < SAMPLES; i++)
		seen[weir_keys_next(&keys)]++;
	for (uint32_t k = 0; k < 1000; k++)
		statistic += (seen[k] - SAMPLES / 1000.0) * (seen[k] - SAMPLES / 1000.0) / (SAMPLES / 1000.0);
	cr_expect_lt(statistic, 999 + 5 * sqrt(2.0 * 999));
}

Test(pattern, keys_in_turn_come_in_turn)
{
	struct weir_keys keys;
	weir_keys_init(&keys, WEIR_KEYS_IN_TURN, 3, 0, 1);
	for (uint32_t i = 0; i < 30; i++)
		cr_assert_eq(weir_keys_next(&keys), i % 3);
}

Test(pattern, sizes_come_by_their_weights)
{
	struct weir_sizes sizes = { .count = 2, .total = 10, .all = { { 64, 9 }, { 1024, 1 } }, .random.state = 10 };
	uint32_t large = 0;
	for (uint32_t i = 0; i < SAMPLES; i++)
		large += weir_sizes_next(&sizes) == 1024;
	cr_expect_float_eq(large / (double)SAMPLES, 0.1, 5 * sqrt(0.1 * 0.9 / SAMPLES));
	cr_expect_eq(weir_sizes_max(&sizes), 1024);
}

Test(pattern, the_same_seed_sends_the_same)
{
	struct weir_arrivals a;
	struct weir_arrivals b;
	weir_arrivals_init(&a, WEIR_ARRIVAL_POISSON, 0, 0, 11);
	weir_arrivals_init(&b, WEIR_ARRIVAL_POISSON, 0, 0, 11);
	for (uint32_t i = 0; i < 1000; i++)
		cr_assert_eq(weir_arrivals_next(&a), weir_arrivals_next(&b));
}
