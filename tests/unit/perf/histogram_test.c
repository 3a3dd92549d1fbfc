// The measuring tool is measured: buckets tile the values without gap or overlap, percentiles are right to one bucket,
// and merging equals having added everything to one.
#include "perf/histogram.h"

#include <stdlib.h>

#include <criterion/criterion.h>

Test(histogram, buckets_tile_the_values)
{
	uint64_t value = 0;
	for (uint32_t bucket = 0; bucket < WEIR_HISTOGRAM_BUCKETS; bucket++) {
		uint64_t top = weir_histogram_bucket_top(bucket);
		cr_assert_eq(weir_histogram_bucket(value), bucket, "first value of bucket %u", bucket);
		cr_assert_eq(weir_histogram_bucket(top), bucket, "last value of bucket %u", bucket);
		cr_assert_leq(top - value, value / 64, "bucket %u is wider than 1.6 %%", bucket);
		value = top + 1;
	}
	cr_assert_eq(value, WEIR_HISTOGRAM_VALUE_MAX + 1);
}

Test(histogram, values_beyond_the_end_count_as_the_largest)
{
	static struct weir_histogram histogram;
	weir_histogram_add(&histogram, UINT64_MAX, 1);
	cr_assert_eq(histogram.buckets[WEIR_HISTOGRAM_BUCKETS - 1], 1);
	cr_assert_eq(weir_histogram_percentile(&histogram, 0.5), WEIR_HISTOGRAM_VALUE_MAX);
}

Test(histogram, of_nothing_says_zero)
{
	static struct weir_histogram histogram;
	cr_assert_eq(weir_histogram_percentile(&histogram, 0.99), 0);
}

static int compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a;
	uint64_t right = *(const uint64_t *)b;
	return left < right ? -1 : left > right;
}

Test(histogram, percentiles_are_right_to_one_bucket)
{
	enum { COUNT = 20000 };
	static uint64_t values[COUNT];
	static struct weir_histogram histogram;
	srand(7);
	for (int i = 0; i < COUNT; i++) {
		values[i] = ((uint64_t)rand() << 10 | (uint64_t)(rand() & 1023)) >> (1 + rand() % 40);
		weir_histogram_add(&histogram, values[i], 1);
	}
	qsort(values, COUNT, sizeof(values[0]), compare);
	static const double SHARES[] = { 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0 };
	for (size_t i = 0; i < sizeof(SHARES) / sizeof(SHARES[0]); i++) {
		uint64_t exact = values[(int)(SHARES[i] * COUNT + 0.5) - 1];
		uint64_t said = weir_histogram_percentile(&histogram, SHARES[i]);
		cr_assert_geq(said, exact, "share %g", SHARES[i]);
		cr_assert_leq(said, exact + exact / 64 + 1, "share %g", SHARES[i]);
	}
	cr_assert_eq(weir_histogram_percentile(&histogram, 1.0), values[COUNT - 1]);
}

Test(histogram, merging_loses_nothing)
{
	static struct weir_histogram parts[3];
	static struct weir_histogram whole;
	static struct weir_histogram merged;
	for (uint64_t i = 0; i < 3000; i++) {
		weir_histogram_add(&parts[i % 3], i * i, 1 + i % 2);
		weir_histogram_add(&whole, i * i, 1 + i % 2);
	}
	for (int i = 0; i < 3; i++)
		weir_histogram_merge(&merged, &parts[i]);
	cr_assert_arr_eq((uint8_t *)&merged, (uint8_t *)&whole, sizeof(whole));
}
