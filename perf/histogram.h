// Latencies as counts: log-linear buckets, 64 to each power of two, so that a value is known to 1.6 % from 1 ns to 18 minutes.
// Fixed size, no allocation, no pointers: it may lie in a file that several processes read. Adding is a few
// instructions, for the hot path of the load tools. Merging loses nothing: buckets are the same everywhere.
#ifndef WEIR_PERF_HISTOGRAM_H
#define WEIR_PERF_HISTOGRAM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define WEIR_HISTOGRAM_BITS 6u       // 2^6 buckets a power of two
#define WEIR_HISTOGRAM_VALUE_BITS 40u // larger values count as the largest
#define WEIR_HISTOGRAM_VALUE_MAX ((1ull << WEIR_HISTOGRAM_VALUE_BITS) - 1)
#define WEIR_HISTOGRAM_BUCKETS ((WEIR_HISTOGRAM_VALUE_BITS - WEIR_HISTOGRAM_BITS + 1) << WEIR_HISTOGRAM_BITS)

// All zero is an empty histogram.
struct weir_histogram {
	uint64_t count;
	uint64_t sum;
	uint64_t max;
	uint64_t buckets[WEIR_HISTOGRAM_BUCKETS];
};

// Below 2^(BITS + 1) each value has its own bucket; above, the leading BITS + 1 bits choose it.
static inline uint32_t weir_histogram_bucket(uint64_t value)
{
	if (value > WEIR_HISTOGRAM_VALUE_MAX)
		value = WEIR_HISTOGRAM_VALUE_MAX;
	uint32_t leading = 63u - (uint32_t)__builtin_clzll(value | 1u << WEIR_HISTOGRAM_BITS);
	uint32_t shift = leading - WEIR_HISTOGRAM_BITS;
	return (shift << WEIR_HISTOGRAM_BITS) + (uint32_t)(value >> shift);
}

// `times` equal values.
static inline void weir_histogram_add(struct weir_histogram *histogram, uint64_t value, uint64_t times)
{
	histogram->count += times;
	histogram->sum += value * times;
	histogram->buckets[weir_histogram_bucket(value)] += times;
	if (value > histogram->max)
		histogram->max = value;
}

// Largest value that falls into the bucket.
uint64_t weir_histogram_bucket_top(uint32_t bucket);

// The value that at least `share` (0 to 1) of all values do not exceed, rounded up to its bucket's top but never above
// the largest value seen. 0 when empty. A share is taken as meant: 0.99999 of 100,000 values are 99,999 of them.
uint64_t weir_histogram_percentile(const struct weir_histogram *histogram, double share);

// How many values are in buckets above that of `value`: those larger than it, but for 1.6 %.
uint64_t weir_histogram_above(const struct weir_histogram *histogram, uint64_t value);

void weir_histogram_merge(struct weir_histogram *into, const struct weir_histogram *from);

// The mean is exact (but for values beyond the largest), the standard deviation takes each value for its bucket's middle.
double weir_histogram_mean(const struct weir_histogram *histogram);
double weir_histogram_deviation(const struct weir_histogram *histogram);

// A point of the percentile distribution: `count` of the values, a share of at least `share`, do not exceed `value`.
struct weir_histogram_point {
	uint64_t value;
	uint64_t count;
	double share;
};

// Walks the distribution from share 0 to 1, `ticks` points for each halving of what is left above, as HdrHistogram's
// percentile iterator does. `point` is all zero before the first call; false: there is no further point.
#define WEIR_HISTOGRAM_TICKS 5u
bool weir_histogram_next(const struct weir_histogram *histogram, uint32_t ticks, struct weir_histogram_point *point);

// The percentile distribution as the text that HdrHistogram's plotters read (.hgrm). Values are divided by `unit`: 1000 makes
// microseconds of nanoseconds. 0 or -EIO.
int weir_histogram_write_hgrm(const struct weir_histogram *histogram, double unit, FILE *stream);

#endif
