// The search against routers that are known because they are formulas: a sharp threshold, a curve of loss, noise. It has to
// end, to enclose the truth as closely as the goal asks, with full-length trials as proof, in a bounded number of trials.
#include "perf/search.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

// A simulated router: loses nothing up to `threshold` events/s, beyond it the share `slope` of what is too much; and a
// trial is disturbed with a probability, when it loses the share `burst` whatever its rate.
struct router {
	double threshold;
	double slope;
	double disturbed;
	double burst;
	uint32_t trials;
	double seconds;
};

static double random_share(void)
{
	return (double)rand() / ((double)RAND_MAX + 1);
}

static struct weir_search_trial router_try(struct router *router, double rate, double duration_s)
{
	double ratio = rate > router->threshold ? router->slope * (1 - router->threshold / rate) : 0;
	if (random_share() < router->disturbed)
		ratio = fmax(ratio, router->burst);
	struct weir_search_trial trial = { .rate = rate, .duration_s = duration_s, .took_s = duration_s };
	trial.intended = (uint64_t)(rate * duration_s) + 1;
	trial.lost = (uint64_t)ceil(ratio * (double)trial.intended);
	router->trials++;
	router->seconds += duration_s;
	return trial;
}

static struct weir_search *run(const struct weir_search_input *input, struct router *router)
{
	struct weir_search *search = malloc(sizeof(*search));
	char error[WEIR_SEARCH_ERROR] = "";
	double rate, duration_s;
	cr_assert_eq(weir_search_init(search, input, error), 0, "%s", error);
	while (weir_search_next_trial(search, &rate, &duration_s)) {
		cr_assert(rate >= input->rate_min && rate <= input->rate_max, "a trial at %f", rate);
		struct weir_search_trial trial = router_try(router, rate, duration_s);
		cr_assert_eq(weir_search_feed(search, &trial), 0);
		cr_assert_lt(router->trials, WEIR_SEARCH_TRIALS_MAX, "no end");
	}
	return search;
}

static const struct weir_search_goal NO_LOSS = {
	.loss_ratio = 0, .exceed_ratio = 0, .width = 0.005, .initial_s = 0.5, .final_s = 10, .sum_s = 10,
};
static const struct weir_search_goal HALF_PERCENT = {
	.loss_ratio = 0.005, .exceed_ratio = 0, .width = 0.005, .initial_s = 0.5, .final_s = 10, .sum_s = 10,
};
// FD.io CSIT's way with noise: many short trials, half of which may be bad.
static const struct weir_search_goal MOSTLY_NO_LOSS = {
	.loss_ratio = 0, .exceed_ratio = 0.5, .width = 0.005, .initial_s = 1, .final_s = 1, .sum_s = 21,
};

// Loss is the goal's at this rate: slope * (1 - threshold / rate) = goal.
static double truth(const struct router *router, double loss_ratio)
{
	return router->threshold / (1 - fmin(loss_ratio / router->slope, 0.999));
}

static void expect_encloses(const struct weir_search_result *result, double rate, double width)
{
	cr_assert(result->is_regular);
	cr_assert_leq(result->lower, rate * (1 + 1e-9), "lower bound %f above %f", result->lower, rate);
	cr_assert_geq(result->upper + 1, rate, "upper bound %f below %f", result->upper, rate);
	cr_assert(result->upper - result->lower <= 1 || result->lower >= result->upper * (1 - width) * (1 - 1e-9),
		  "bounds %f and %f are wider than %f", result->lower, result->upper, width);
}

Test(search, finds_a_sharp_threshold_anywhere)
{
	uint32_t trials_max = 0;
	srand(1);
	for (double threshold = 1234; threshold < 9e7; threshold *= 1.37) {
		struct weir_search_input input = { .rate_min = 1000, .rate_max = 1e8, .goal_count = 1, .goals = { NO_LOSS } };
		struct router router = { .threshold = threshold, .slope = 1 };
		struct weir_search *search = run(&input, &router);
		struct weir_search_result result = weir_search_result(search, 0);
		expect_encloses(&result, threshold, NO_LOSS.width);
		cr_assert_geq(result.full_s, 10);
		cr_assert_float_eq(result.conditional, result.lower, 1e-6);
		if (router.trials > trials_max)
			trials_max = router.trials;
		free(search);
	}
	cr_assert_leq(trials_max, 12, "took %u trials", trials_max);
}

// Fewer seconds than bisection of the same range to the same width with full-length trials.
Test(search, takes_less_time_than_bisection)
{
	struct weir_search_input input = { .rate_min = 1000, .rate_max = 1e8, .goal_count = 1, .goals = { NO_LOSS } };
	double bisection_s = 10 * ceil(log2(log(1e8 / 1e3) / -log(1 - NO_LOSS.width)));
	srand(2);
	for (double slope = 0.02; slope <= 1; slope *= 1.9) {
		struct router router = { .threshold = 3.3e6, .slope = slope };
		struct weir_search *search = run(&input, &router);
		struct weir_search_result result = weir_search_result(search, 0);
		expect_encloses(&result, 3.3e6, NO_LOSS.width);
		cr_assert_lt(router.seconds, bisection_s, "slope %f: %f s in %u trials", slope, router.seconds, router.trials);
		free(search);
	}
}

Test(search, finds_several_loss_ratios_at_once)
{
	uint32_t together = 0;
	uint32_t apart = 0;
	srand(3);
	for (double slope = 0.01; slope <= 1; slope *= 1.7) {
		struct weir_search_input input = { .rate_min = 100, .rate_max = 2e7, .goal_count = 2,
						   .goals = { NO_LOSS, HALF_PERCENT } };
		struct router both = { .threshold = 1e6, .slope = slope };
		struct router one = both;
		struct router other = both;
		struct weir_search *search = run(&input, &both);
		struct weir_search_result none = weir_search_result(search, 0);
		struct weir_search_result some = weir_search_result(search, 1);
		expect_encloses(&none, truth(&both, 0), NO_LOSS.width);
		expect_encloses(&some, truth(&both, 0.005), HALF_PERCENT.width);
		cr_assert_leq(some.conditional, some.lower);
		cr_assert_geq(some.conditional, some.lower * (1 - 0.005) - 1);
		free(search);
		input.goal_count = 1;
		free(run(&input, &one));
		input.goals[0] = HALF_PERCENT;
		free(run(&input, &other));
		together += both.trials;
		apart += one.trials + other.trials;
	}
	cr_assert_leq(together, apart * 0.95, "%u trials together, %u apart: goals share none", together, apart);
}

// A tenth of all trials is disturbed. A goal that forgives half of the time finds the threshold all the same.
Test(search, forgives_noise_when_the_goal_says_so)
{
	struct weir_search_input input = { .rate_min = 1000, .rate_max = 1e7, .goal_count = 1, .goals = { MOSTLY_NO_LOSS } };
	for (unsigned seed = 0; seed < 40; seed++) {
		struct router router = { .threshold = 2.5e6, .slope = 1, .disturbed = 0.1, .burst = 0.001 };
		srand(seed);
		struct weir_search *search = run(&input, &router);
		struct weir_search_result result = weir_search_result(search, 0);
		cr_assert(result.is_regular, "seed %u", seed);
		cr_assert_float_eq(result.lower, 2.5e6, 2.5e6 * 0.04, "seed %u: %f", seed, result.lower);
		cr_assert_leq(result.lower, 2.5e6);
		cr_assert_leq(router.trials, 400, "seed %u: %u trials", seed, router.trials);
		free(search);
	}
}

// A goal that forgives nothing lets noise push the result down, never up.
Test(search, noise_never_raises_a_bound)
{
	struct weir_search_input input = { .rate_min = 1000, .rate_max = 1e7, .goal_count = 1, .goals = { NO_LOSS } };
	for (unsigned seed = 0; seed < 200; seed++) {
		struct router router = { .threshold = 2.5e6, .slope = 1, .disturbed = 0.2, .burst = 0.001 };
		srand(seed);
		struct weir_search *search = run(&input, &router);
		struct weir_search_result result = weir_search_result(search, 0);
		cr_assert(result.is_regular || result.is_at_min, "seed %u", seed);
		cr_assert_leq(result.lower, 2.5e6, "seed %u", seed);
		free(search);
	}
}

Test(search, says_when_the_router_is_faster_than_asked)
{
	struct weir_search_input input = { .rate_min = 1000, .rate_max = 1e6, .goal_count = 1, .goals = { NO_LOSS } };
	struct router router = { .threshold = 1e9, .slope = 1 };
	struct weir_search *search = run(&input, &router);
	struct weir_search_result result = weir_search_result(search, 0);
	cr_assert(result.is_at_max && !result.is_regular);
	cr_assert_eq(result.lower, 1e6);
	cr_assert_eq(result.upper, 0);
	cr_assert_leq(router.trials, 4);
	free(search);
}

Test(search, says_when_even_the_lowest_rate_loses)
{
	struct weir_search_input input = { .rate_min = 1000, .rate_max = 1e6, .goal_count = 1, .goals = { NO_LOSS } };
	struct router dead = { .threshold = 0, .slope = 1 };
	struct weir_search *search = run(&input, &dead);
	struct weir_search_result result = weir_search_result(search, 0);
	cr_assert(result.is_at_min && !result.is_regular);
	cr_assert_eq(result.lower, 0);
	cr_assert_leq(dead.trials, 4);
	free(search);
}

Test(search, stops_at_its_time_limit)
{
	struct weir_search_input input = { .rate_min = 1000, .rate_max = 1e6, .seconds_max = 3, .goal_count = 1,
					   .goals = { NO_LOSS } };
	struct router router = { .threshold = 5e5, .slope = 0.1 };
	struct weir_search *search = run(&input, &router);
	cr_assert_not(weir_search_result(search, 0).is_regular);
	cr_assert_leq(router.seconds, 3 + 10);
	free(search);
}

// The draft's Load Classification, case by case: full-length trials of 10 s, sum 40 s, a quarter may be bad.
Test(search, classifies_as_the_draft_does)
{
	static const struct {
		uint32_t full_low, full_high, short_low, short_high; // trials; short: 4 s
		enum weir_search_class class;
	} CASES[] = {
		{ 2, 0, 0, 0, WEIR_SEARCH_UNDECIDED },  { 3, 0, 0, 0, WEIR_SEARCH_LOWER },
		{ 3, 1, 0, 0, WEIR_SEARCH_LOWER },      { 0, 1, 0, 0, WEIR_SEARCH_UNDECIDED },
		{ 0, 2, 0, 0, WEIR_SEARCH_UPPER },      { 3, 2, 0, 0, WEIR_SEARCH_UPPER },
		{ 6, 2, 0, 0, WEIR_SEARCH_LOWER },      { 0, 0, 0, 2, WEIR_SEARCH_UNDECIDED },
		{ 0, 0, 0, 3, WEIR_SEARCH_UPPER },      { 0, 0, 9, 3, WEIR_SEARCH_UNDECIDED },
		{ 0, 0, 90, 0, WEIR_SEARCH_UNDECIDED }, { 3, 0, 0, 3, WEIR_SEARCH_UPPER },
	};
	struct weir_search_goal goal = { .exceed_ratio = 0.25, .width = 0.01, .initial_s = 4, .final_s = 10, .sum_s = 40 };
	struct weir_search_input input = { .rate_min = 1, .rate_max = 100, .goal_count = 1, .goals = { goal } };
	struct weir_search *search = malloc(sizeof(*search));
	char error[WEIR_SEARCH_ERROR];
	for (size_t c = 0; c < sizeof(CASES) / sizeof(CASES[0]); c++) {
		const uint32_t counts[4] = { CASES[c].full_low, CASES[c].full_high, CASES[c].short_low, CASES[c].short_high };
		cr_assert_eq(weir_search_init(search, &input, error), 0);
		for (uint32_t kind = 0; kind < 4; kind++) {
			struct weir_search_trial trial = { .rate = 50, .duration_s = kind < 2 ? 10 : 4, .intended = 1000,
							   .lost = kind % 2 };
			for (uint32_t i = 0; i < counts[kind]; i++)
				weir_search_feed(search, &trial);
		}
		cr_assert_eq(weir_search_classify(search, 0, 50), CASES[c].class, "case %zu", c);
	}
	free(search);
}

// Adds `count` trials at a million events/s that lose this many of a thousand.
static void add_trials(struct weir_search *search, uint32_t count, double duration_s, uint64_t lost)
{
	struct weir_search_trial trial = { .rate = 1e6, .duration_s = duration_s, .intended = 1000, .lost = lost };
	for (uint32_t i = 0; i < count; i++)
		cr_assert_eq(weir_search_feed(search, &trial), 0);
}

// The worked example of RFC 9971 (appendix Example Search): four goals, six points in time, one load. Its last goal ends with
// 43 % and then 27 % of the time beyond an exceed ratio of 20 %; the tables call that a lower bound, their own code does not.
Test(search, agrees_with_the_example_of_the_rfc)
{
	enum { U = WEIR_SEARCH_UNDECIDED, L = WEIR_SEARCH_LOWER, H = WEIR_SEARCH_UPPER };
	static const struct {
		uint32_t count;
		double duration_s;
		uint64_t lost; // of a thousand
		int classes[4];
	} POINTS[] = {
		{ 59, 1, 0, { U, U, U, U } },  { 1, 1, 10, { H, U, U, U } }, { 59, 1, 10, { H, U, U, H } },
		{ 1, 1, 0, { H, U, L, H } },   { 1, 60, 1, { H, U, L, H } }, { 1, 60, 0, { H, L, L, H } },
	};
	struct weir_search_input input = {
		.rate_min = 1, .rate_max = 1e7, .goal_count = 4,
		.goals = { { 0, 0, 0.01, 60, 60, 60 }, { 0, 0.5, 0.01, 60, 60, 120 }, { 0.005, 0.5, 0.01, 1, 1, 120 },
			   { 0.005, 0.2, 0.01, 60, 60, 60 } },
	};
	struct weir_search *search = malloc(sizeof(*search));
	char error[WEIR_SEARCH_ERROR];
	cr_assert_eq(weir_search_init(search, &input, error), 0);
	for (size_t p = 0; p < sizeof(POINTS) / sizeof(POINTS[0]); p++) {
		add_trials(search, POINTS[p].count, POINTS[p].duration_s, POINTS[p].lost);
		for (uint32_t g = 0; g < 4; g++)
			cr_assert_eq((int)weir_search_classify(search, g, 1e6), POINTS[p].classes[g],
				     "point %zu, goal %u", p + 1, g + 1);
	}
	for (uint32_t g = 1; g < 3; g++)
		cr_assert_float_eq(weir_search_result(search, g).conditional, 1e6, 1e-6, "goal %u", g + 1);
	free(search);
}

static double between(double low, double high)
{
	return low * pow(high / low, random_share());
}

// Any goals, any router: the search ends, its bounds are in order and proven by trials.
Test(search, ends_with_ordered_bounds_whatever_it_meets)
{
	uint32_t trials_max = 0;
	srand(11);
	for (int i = 0; i < 400; i++) {
		struct weir_search_input input = { .rate_min = between(1, 1e4), .goal_count = 1 + (uint32_t)rand() % 3 };
		input.rate_max = input.rate_min * between(2, 1e5);
		for (uint32_t g = 0; g < input.goal_count; g++) {
			struct weir_search_goal *goal = &input.goals[g];
			goal->loss_ratio = rand() % 2 ? 0 : between(1e-5, 0.2);
			goal->exceed_ratio = rand() % 2 ? 0 : between(0.01, 0.6);
			goal->width = between(0.001, 0.2);
			goal->final_s = between(0.5, 60);
			goal->initial_s = rand() % 3 ? goal->final_s * between(0.02, 1) : goal->final_s;
			goal->sum_s = goal->final_s * between(1, 12);
		}
		struct router router = { .threshold = between(input.rate_min / 2, input.rate_max * 2),
					 .slope = between(0.01, 1), .disturbed = rand() % 2 ? 0 : between(0.01, 0.7),
					 .burst = between(1e-5, 0.3) };
		struct weir_search *search = run(&input, &router);
		for (uint32_t g = 0; g < input.goal_count; g++) {
			struct weir_search_result result = weir_search_result(search, g);
			cr_assert(result.is_regular || result.is_at_max || result.is_at_min, "case %d goal %u", i, g);
			cr_assert(result.upper == 0 || result.lower < result.upper);
			if (result.lower > 0)
				cr_assert_eq(weir_search_classify(search, g, result.lower), WEIR_SEARCH_LOWER);
			if (result.upper > 0)
				cr_assert_eq(weir_search_classify(search, g, result.upper), WEIR_SEARCH_UPPER);
		}
		if (router.trials > trials_max)
			trials_max = router.trials;
		free(search);
	}
	cr_assert_leq(trials_max, 400, "took %u trials", trials_max);
}

Test(search, refuses_goals_that_contradict_themselves)
{
	struct weir_search *search = malloc(sizeof(*search));
	char error[WEIR_SEARCH_ERROR] = "";
	struct weir_search_input input = { .rate_min = 1000, .rate_max = 1e6, .goal_count = 1, .goals = { NO_LOSS } };
	cr_assert_eq(weir_search_init(search, &input, error), 0);
	struct weir_search_trial empty = { .rate = 1, .duration_s = 1 };
	cr_assert_eq(weir_search_feed(search, &empty), -EINVAL);
	input.goals[0].sum_s = 5;
	cr_assert_eq(weir_search_init(search, &input, error), -EINVAL);
	cr_assert_not_null(strstr(error, "duration sum"), "%s", error);
	input.goals[0] = NO_LOSS;
	input.goals[0].exceed_ratio = 1;
	cr_assert_eq(weir_search_init(search, &input, error), -EINVAL);
	input.goals[0] = NO_LOSS;
	input.rate_max = 10;
	cr_assert_eq(weir_search_init(search, &input, error), -EINVAL);
	cr_assert_not_null(strstr(error, "1000"), "%s", error);
	input.goal_count = 0;
	input.rate_max = 1e6;
	cr_assert_eq(weir_search_init(search, &input, error), -EINVAL);
	free(search);
}
