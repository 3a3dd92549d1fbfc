// The exact rank test: all ways to draw as many ranks as `a` has are counted by their sum.
#include "perf/rank.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
	double left = *(const double *)a;
	double right = *(const double *)b;
	return left < right ? -1 : left > right;
}

double weir_rank_median(const double *values, uint32_t count)
{
	double sorted[2 * WEIR_RANK_MAX];
	if (count == 0 || count > 2 * WEIR_RANK_MAX)
		return 0;
	memcpy(sorted, values, count * sizeof(sorted[0]));
	qsort(sorted, count, sizeof(sorted[0]), compare);
	return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

// Twice the rank, so that the mean rank of equal values is whole: values below count twice, equal ones once, plus one.
static uint32_t double_rank(const double *all, uint32_t count, double value)
{
	uint32_t rank = 1;
	for (uint32_t i = 0; i < count; i++)
		rank += all[i] < value ? 2 : all[i] == value;
	return rank;
}

// Probability that `drawn` of the ranks, drawn at random, sum up as far from the middle as `sum` does. `ways[k][s]` counts the
// ways to draw k of the ranks seen so far with sum s; there are at most binomial(128, 64) of them, which a double holds.
static double share_as_far(const uint32_t *ranks, uint32_t count, uint32_t drawn, uint32_t sum)
{
	uint32_t total = count * (count + 1);
	size_t row = total + 1;
	double *ways = calloc((drawn + 1) * row, sizeof(*ways));
	double all = 0;
	double as_far = 0;
	if (!ways)
		return -1;
	ways[0] = 1;
	for (uint32_t i = 0; i < count; i++) {
		for (uint32_t k = drawn < i + 1 ? drawn : i + 1; k > 0; k--) {
			for (uint32_t s = total; s >= ranks[i]; s--)
				ways[k * row + s] += ways[(k - 1) * row + s - ranks[i]];
		}
	}
	double middle = (double)drawn * (count + 1);
	for (uint32_t s = 0; s <= total; s++) {
		all += ways[drawn * row + s];
		if (fabs(s - middle) >= fabs(sum - middle))
			as_far += ways[drawn * row + s];
	}
	free(ways);
	return as_far / all;
}

double weir_rank_test(const double *a, uint32_t a_count, const double *b, uint32_t b_count)
{
	double all[2 * WEIR_RANK_MAX];
	uint32_t ranks[2 * WEIR_RANK_MAX];
	uint32_t count = a_count + b_count;
	uint32_t sum = 0;
	if (a_count == 0 || b_count == 0 || a_count > WEIR_RANK_MAX || b_count > WEIR_RANK_MAX)
		return 1;
	memcpy(all, a, a_count * sizeof(all[0]));
	memcpy(all + a_count, b, b_count * sizeof(all[0]));
	for (uint32_t i = 0; i < count; i++) {
		ranks[i] = double_rank(all, count, all[i]);
		sum += i < a_count ? ranks[i] : 0;
	}
	return share_as_far(ranks, count, a_count, sum);
}
