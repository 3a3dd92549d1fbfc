// Percentiles, merging and output of the log-linear histogram; adding is inline in the header.
#include "perf/histogram.h"

#include <errno.h>
#include <float.h>
#include <math.h>

uint64_t weir_histogram_bucket_top(uint32_t bucket)
{
	uint32_t shift = bucket >> WEIR_HISTOGRAM_BITS;
	// The first power of two has two runs of buckets, both of width one.
	shift = shift ? shift - 1 : 0;
	uint64_t leading = bucket - (shift << WEIR_HISTOGRAM_BITS);
	return ((leading + 1) << shift) - 1;
}

// The product may come out a little above a whole number that it should be, and ceil would then ask for one value more.
static uint64_t rank_of(double share, uint64_t count)
{
	uint64_t rank = (uint64_t)ceil(share * (double)count * (1 - 4 * DBL_EPSILON));
	if (rank == 0)
		return 1;
	return rank < count ? rank : count;
}

// The value of a rank, and how many values do not exceed it.
static uint64_t value_at(const struct weir_histogram *histogram, uint64_t rank, uint64_t *passed)
{
	*passed = 0;
	for (uint32_t i = 0; i < WEIR_HISTOGRAM_BUCKETS; i++) {
		*passed += histogram->buckets[i];
		if (*passed >= rank) {
			uint64_t top = weir_histogram_bucket_top(i);
			return top < histogram->max ? top : histogram->max;
		}
	}
	return histogram->max;
}

uint64_t weir_histogram_percentile(const struct weir_histogram *histogram, double share)
{
	uint64_t passed;
	if (histogram->count == 0)
		return 0;
	return value_at(histogram, rank_of(share, histogram->count), &passed);
}

uint64_t weir_histogram_above(const struct weir_histogram *histogram, uint64_t value)
{
	uint64_t count = 0;
	for (uint32_t i = weir_histogram_bucket(value) + 1; i < WEIR_HISTOGRAM_BUCKETS; i++)
		count += histogram->buckets[i];
	return count;
}

void weir_histogram_merge(struct weir_histogram *into, const struct weir_histogram *from)
{
	into->count += from->count;
	into->sum += from->sum;
	if (from->max > into->max)
		into->max = from->max;
	for (uint32_t i = 0; i < WEIR_HISTOGRAM_BUCKETS; i++)
		into->buckets[i] += from->buckets[i];
}

double weir_histogram_mean(const struct weir_histogram *histogram)
{
	return histogram->count ? (double)histogram->sum / (double)histogram->count : 0;
}

double weir_histogram_deviation(const struct weir_histogram *histogram)
{
	double mean = weir_histogram_mean(histogram);
	double squares = 0;
	double bottom = 0;
	if (histogram->count == 0)
		return 0;
	for (uint32_t i = 0; i < WEIR_HISTOGRAM_BUCKETS; i++) {
		double top = (double)weir_histogram_bucket_top(i);
		double away = (bottom + top) / 2 - mean;
		squares += (double)histogram->buckets[i] * away * away;
		bottom = top + 1;
	}
	return sqrt(squares / (double)histogram->count);
}

bool weir_histogram_next(const struct weir_histogram *histogram, uint32_t ticks, struct weir_histogram_point *point)
{
	if (histogram->count == 0 || point->share >= 1)
		return false;
	if (point->count == histogram->count) {
		*point = (struct weir_histogram_point){ histogram->max, histogram->count, 1 };
		return true;
	}
	if (point->count) {
		double halvings = floor(-log2(1 - point->share));
		point->share += 1 / (ticks * exp2(halvings + 1));
	}
	point->value = value_at(histogram, rank_of(point->share, histogram->count), &point->count);
	return true;
}

int weir_histogram_write_hgrm(const struct weir_histogram *histogram, double unit, FILE *stream)
{
	struct weir_histogram_point point = { 0 };
	fprintf(stream, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
	while (weir_histogram_next(histogram, WEIR_HISTOGRAM_TICKS, &point)) {
		fprintf(stream, "%12.3f %2.12f %10lu", (double)point.value / unit, point.share, point.count);
		if (point.share < 1)
			fprintf(stream, " %14.2f", 1 / (1 - point.share));
		fputc('\n', stream);
	}
	fprintf(stream, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n", weir_histogram_mean(histogram) / unit,
		weir_histogram_deviation(histogram) / unit);
	fprintf(stream, "#[Max     = %12.3f, Total count    = %12lu]\n", (double)histogram->max / unit, histogram->count);
	fprintf(stream, "#[Buckets = %12u, SubBuckets     = %12u]\n", WEIR_HISTOGRAM_VALUE_BITS - WEIR_HISTOGRAM_BITS,
		2u << WEIR_HISTOGRAM_BITS);
	return fflush(stream) || ferror(stream) ? -EIO : 0;
}
