// Whether two samples differ beyond chance: the rank test of Mann and Whitney ("On a Test of Whether one of Two Random
// Variables is Stochastically Larger than the Other", Annals of Mathematical Statistics 18, 1947), exact also with ties.
#ifndef WEIR_PERF_RANK_H
#define WEIR_PERF_RANK_H

#include <stdint.h>

#define WEIR_RANK_MAX 64u // values of a sample

// Two-sided: the probability that samples of one distribution differ in rank as much as `a` and `b` do. 1 when one is empty;
// -1 without memory. At best 2 / binomial(a + b, a): 0.1 for 3 + 3 values, 0.029 for 4 + 4, 0.008 for 5 + 5.
double weir_rank_test(const double *a, uint32_t a_count, const double *b, uint32_t b_count);

// The middle value, or the mean of the two in the middle; 0 of nothing.
double weir_rank_median(const double *values, uint32_t count);

#endif
