// The measuring tool is measured: buckets tile the values without gap or overlap, percentiles are right to one bucket,
// and merging equals having added everything to one.
#include "perf/histogram.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

// A share as a fraction, so that the rank in the sorted array is exact.
struct share {
	uint64_t parts;
	uint64_t of;
};

static const struct share SHARES[] = {
	{ 0, 1 },      { 1, 1000 },  { 1, 10 },     { 1, 3 },       { 1, 2 },           { 9, 10 },
	{ 99, 100 }, { 999, 1000 }, { 9999, 10000 }, { 99999, 100000 }, { 999999, 1000000 }, { 1, 1 },
};

static uint64_t random_value(int shape)
{
	uint64_t bits = (uint64_t)rand() << 31 ^ (uint64_t)rand();
	switch (shape) {
	case 0: return bits % 1000;                                 // many equal values
	case 1: return bits >> (23 + rand() % 39);                  // all orders of magnitude
	case 2: return 30000 + bits % 2000;                         // a narrow peak
	case 3: return rand() % 1000 ? 500 : (bits & 0xffffffffull); // a far tail
	default: return 1ull << rand() % 40;                        // edges of buckets
	}
}

static void expect_percentiles(const struct weir_histogram *histogram, const uint64_t *sorted, uint64_t count)
{
	for (size_t i = 0; i < sizeof(SHARES) / sizeof(SHARES[0]); i++) {
		const struct share *share = &SHARES[i];
		uint64_t rank = (share->parts * count + share->of - 1) / share->of;
		uint64_t exact = sorted[rank ? rank - 1 : 0];
		uint64_t said = weir_histogram_percentile(histogram, (double)share->parts / (double)share->of);
		uint64_t top = weir_histogram_bucket_top(weir_histogram_bucket(exact));
		uint64_t right = top < sorted[count - 1] ? top : sorted[count - 1];
		cr_assert_eq(said, right, "share %lu/%lu of %lu values: %lu, not %lu", share->parts, share->of, count, said,
			     right);
		cr_assert_leq(said - exact, exact / 64, "share %lu/%lu is off by more than 1.6 %%", share->parts, share->of);
	}
}

// Histogram against sorted array: any size, any shape, to 99.9999 %.
Test(histogram, percentiles_are_those_of_the_sorted_values)
{
	static uint64_t values[250000];
	static struct weir_histogram histogram;
	static const uint64_t SIZES[] = { 1, 2, 3, 7, 64, 100, 999, 1000, 1001, 10000, 100000, 250000 };
	srand(7);
	for (size_t s = 0; s < sizeof(SIZES) / sizeof(SIZES[0]); s++) {
		for (int shape = 0; shape < 5; shape++) {
			memset(&histogram, 0, sizeof(histogram));
			for (uint64_t i = 0; i < SIZES[s]; i++) {
				values[i] = random_value(shape);
				weir_histogram_add(&histogram, values[i], 1);
			}
			qsort(values, SIZES[s], sizeof(values[0]), compare);
			expect_percentiles(&histogram, values, SIZES[s]);
		}
	}
}

Test(histogram, counts_what_is_above_a_value)
{
	static struct weir_histogram histogram;
	for (uint64_t value = 1; value <= 100000; value++)
		weir_histogram_add(&histogram, value, 2);
	cr_assert_eq(weir_histogram_above(&histogram, 0), 200000);
	cr_assert_eq(weir_histogram_above(&histogram, 100), 2 * (100000 - 100));
	uint64_t above = weir_histogram_above(&histogram, 50000);
	cr_assert(above <= 100000 && above >= 100000 - 2 * 50000 / 64, "%lu", above);
	cr_assert_eq(weir_histogram_above(&histogram, 100000), 0);
	cr_assert_eq(weir_histogram_above(&histogram, UINT64_MAX), 0);
}

Test(histogram, mean_and_deviation_are_those_of_the_values)
{
	static struct weir_histogram histogram;
	double sum = 0;
	double squares = 0;
	enum { COUNT = 50000 };
	srand(9);
	for (int i = 0; i < COUNT; i++) {
		double value = (double)random_value(2);
		weir_histogram_add(&histogram, (uint64_t)value, 1);
		sum += value;
		squares += value * value;
	}
	double mean = sum / COUNT;
	cr_assert_float_eq(weir_histogram_mean(&histogram), mean, 1e-6);
	double deviation = sqrt(squares / COUNT - mean * mean);
	cr_assert_float_eq(weir_histogram_deviation(&histogram), deviation, deviation * 0.1);
}

struct row {
	double value;
	double share;
	unsigned long count;
	double inverse;
	int fields;
};

static uint32_t hgrm_read(char *text, struct row *rows, uint32_t room)
{
	uint32_t count = 0;
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		struct row *row = &rows[count];
		row->fields = sscanf(line, "%lf %lf %lu %lf", &row->value, &row->share, &row->count, &row->inverse);
		if (row->fields >= 3 && count + 1 < room)
			count++;
	}
	return count;
}

// Read as a plotter does: columns parted by blanks, comments begin with #, the last row is share 1 without an inverse.
Test(histogram, hgrm_is_the_percentile_distribution)
{
	static struct weir_histogram histogram;
	static struct row rows[400];
	char *text = NULL;
	size_t size = 0;
	srand(5);
	for (int i = 0; i < 200000; i++)
		weir_histogram_add(&histogram, random_value(3), 1);
	FILE *stream = open_memstream(&text, &size);
	cr_assert_eq(weir_histogram_write_hgrm(&histogram, 1000, stream), 0);
	fclose(stream);
	cr_assert_eq(strncmp(text, "       Value     Percentile TotalCount 1/(1-Percentile)\n\n", 57), 0);
	char *foot = strstr(text, "#[Mean    = ");
	cr_assert_not_null(foot);
	double max, mean, deviation;
	unsigned long total;
	int found = sscanf(foot, "#[Mean = %lf, StdDeviation = %lf] #[Max = %lf, Total count = %lu]", &mean, &deviation, &max,
			   &total);
	cr_assert_eq(found, 4);
	cr_assert_eq(total, 200000);
	cr_assert_float_eq(max, (double)histogram.max / 1000, 0.001);
	uint32_t count = hgrm_read(text, rows, 400);
	cr_assert_gt(count, 50);
	for (uint32_t i = 0; i < count; i++) {
		double exact = (double)weir_histogram_percentile(&histogram, rows[i].share) / 1000;
		cr_assert_float_eq(rows[i].value, exact, exact * 0.02 + 0.001, "row %u", i);
		cr_assert_geq((double)rows[i].count + 0.5, rows[i].share * 200000, "row %u", i);
		cr_assert(i == 0 || (rows[i].share > rows[i - 1].share && rows[i].count >= rows[i - 1].count), "row %u", i);
		if (i + 1 < count)
			cr_assert_float_eq(rows[i].inverse, 1 / (1 - rows[i].share), 0.01 + rows[i].inverse * 1e-6, "row %u",
					   i);
	}
	cr_assert_eq(rows[0].share, 0);
	cr_assert_eq(rows[count - 1].share, 1);
	cr_assert_eq(rows[count - 1].fields, 3);
	cr_assert_eq(rows[count - 2].count, 200000);
	cr_assert_geq(rows[count - 2].share, 0.9999);
	free(text);
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
