// The rank test against all permutations, counted one by one, against the published tables of critical values, and against
// its own promise: of equal distributions it calls no more different than it says.
#include "perf/rank.h"

#include <math.h>
#include <stdlib.h>

#include <criterion/criterion.h>

// Sum over pairs of 1 for a > b and a half for ties: Mann and Whitney's U.
static double u_of(const double *all, uint32_t count, uint32_t chosen)
{
	double u = 0;
	for (uint32_t i = 0; i < count; i++) {
		for (uint32_t j = 0; j < count; j++) {
			if ((chosen >> i & 1) && !(chosen >> j & 1))
				u += all[i] > all[j] ? 1 : all[i] == all[j] ? 0.5 : 0;
		}
	}
	return u;
}

static double by_hand(const double *all, uint32_t a_count, uint32_t b_count)
{
	uint32_t count = a_count + b_count;
	double middle = a_count * b_count / 2.0;
	double seen = fabs(u_of(all, count, (1u << a_count) - 1) - middle);
	uint32_t ways = 0;
	uint32_t as_far = 0;
	for (uint32_t chosen = 0; chosen < 1u << count; chosen++) {
		if ((uint32_t)__builtin_popcount(chosen) != a_count)
			continue;
		ways++;
		as_far += fabs(u_of(all, count, chosen) - middle) >= seen - 1e-9;
	}
	return (double)as_far / ways;
}

Test(rank, equals_the_count_of_all_permutations)
{
	srand(4);
	for (int i = 0; i < 300; i++) {
		double all[10];
		uint32_t a = 1 + (uint32_t)rand() % 5;
		uint32_t b = 1 + (uint32_t)rand() % 5;
		int range = i % 3 ? 1000000 : 4; // a third of the cases is full of ties
		for (uint32_t k = 0; k < a + b; k++)
			all[k] = rand() % range;
		cr_assert_float_eq(weir_rank_test(all, a, all + a, b), by_hand(all, a, b), 1e-12, "case %d, %u + %u", i, a, b);
	}
}

// `beaten[i]` of the numbers 1 to 10 lie below the i-th value of the other sample: their sum is U.
static double chance_of(const int beaten[10])
{
	double a[10];
	double b[10];
	for (int i = 0; i < 10; i++) {
		a[i] = beaten[i] + 0.1 + i * 0.05;
		b[i] = i + 1;
	}
	return weir_rank_test(a, 10, b, 10);
}

// The tables of critical values: samples of 10 and 10 differ at 5 % when U is 23, not when it is 24; at 1 % when it is 16.
Test(rank, agrees_with_the_published_tables)
{
	static const int U23[10] = { 0, 0, 0, 0, 0, 1, 2, 3, 7, 10 };
	static const int U24[10] = { 0, 0, 0, 0, 0, 1, 2, 3, 8, 10 };
	static const int U16[10] = { 0, 0, 0, 0, 0, 0, 0, 1, 5, 10 };
	static const int U17[10] = { 0, 0, 0, 0, 0, 0, 0, 1, 6, 10 };
	cr_assert_leq(chance_of(U23), 0.05);
	cr_assert_gt(chance_of(U24), 0.05);
	cr_assert_leq(chance_of(U16), 0.01);
	cr_assert_gt(chance_of(U17), 0.01);
	static const double FIVE[] = { 1, 2, 3, 4, 5 };
	static const double MORE[] = { 6, 7, 8, 9, 10 };
	cr_assert_float_eq(weir_rank_test(FIVE, 5, MORE, 5), 2.0 / 252, 1e-12);
	cr_assert_float_eq(weir_rank_test(FIVE, 4, MORE, 4), 2.0 / 70, 1e-12);
	cr_assert_float_eq(weir_rank_test(FIVE, 3, MORE, 3), 0.1, 1e-12);
}

Test(rank, holds_its_promise_on_equal_distributions)
{
	int found = 0;
	srand(6);
	for (int i = 0; i < 4000; i++) {
		double values[14];
		for (int k = 0; k < 14; k++)
			values[k] = (double)rand() / RAND_MAX;
		found += weir_rank_test(values, 7, values + 7, 7) <= 0.05;
	}
	cr_assert_leq(found, 4000 * 0.06);
	cr_assert_geq(found, 4000 * 0.02);
}

Test(rank, takes_the_largest_samples)
{
	double a[WEIR_RANK_MAX];
	double b[WEIR_RANK_MAX];
	for (uint32_t i = 0; i < WEIR_RANK_MAX; i++) {
		a[i] = i;
		b[i] = i + 0.5;
	}
	double close = weir_rank_test(a, WEIR_RANK_MAX, b, WEIR_RANK_MAX);
	cr_assert(close > 0.8 && close <= 1, "%f", close);
	for (uint32_t i = 0; i < WEIR_RANK_MAX; i++)
		b[i] += 100;
	double far = weir_rank_test(a, WEIR_RANK_MAX, b, WEIR_RANK_MAX);
	cr_assert(far > 0 && far < 1e-30, "%g", far);
}

Test(rank, median_is_the_middle)
{
	static const double ODD[] = { 5, 1, 9 };
	static const double EVEN[] = { 5, 1, 9, 6 };
	cr_assert_eq(weir_rank_median(ODD, 3), 5);
	cr_assert_eq(weir_rank_median(EVEN, 4), 5.5);
	cr_assert_eq(weir_rank_median(EVEN, 0), 0);
}
