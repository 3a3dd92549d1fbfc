// Percentiles and merging of the log-linear histogram; adding is inline in the header.
#include "perf/histogram.h"

#include <math.h>

uint64_t weir_histogram_bucket_top(uint32_t bucket)
{
	uint32_t shift = bucket >> WEIR_HISTOGRAM_BITS;
	// The first power of two has two runs of buckets, both of width one.
	shift = shift ? shift - 1 : 0;
	uint64_t leading = bucket - (shift << WEIR_HISTOGRAM_BITS);
	return ((leading + 1) << shift) - 1;
}

uint64_t weir_histogram_percentile(const struct weir_histogram *histogram, double share)
{
	if (histogram->count == 0)
		return 0;
	uint64_t rank = (uint64_t)ceil(share * (double)histogram->count);
	if (rank == 0)
		rank = 1;
	uint64_t passed = 0;
	for (uint32_t i = 0; i < WEIR_HISTOGRAM_BUCKETS; i++) {
		passed += histogram->buckets[i];
		if (passed >= rank) {
			uint64_t top = weir_histogram_bucket_top(i);
			return top < histogram->max ? top : histogram->max;
		}
	}
	return histogram->max;
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
