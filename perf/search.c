// Multiple Loss Ratio Search: classification of loads, bounds, and the choice of the next trial. The header says what of the
// draft is kept; each function names the term it implements.
#include "perf/search.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What a phase demands of a load: the goal itself in its last phase.
struct target {
	double loss_ratio;
	double exceed_ratio;
	double width;
	double duration_s;
	double sum_s;
};

static uint32_t phases_of(const struct weir_search_goal *goal)
{
	return goal->initial_s < goal->final_s ? WEIR_SEARCH_PHASES_MAX : 2;
}

static struct target target_of(const struct weir_search_goal *goal, uint32_t phase)
{
	uint32_t last = phases_of(goal) - 1;
	double way = (double)phase / last;
	struct target target = { goal->loss_ratio, goal->exceed_ratio, goal->width, goal->final_s, goal->sum_s };
	if (phase < last) {
		target.duration_s = goal->initial_s * pow(goal->final_s / goal->initial_s, way);
		target.sum_s = target.duration_s;
		target.width = fmin(0.5, goal->width * exp2(last - phase));
	}
	return target;
}

static struct target final_target(const struct weir_search *search, uint32_t goal)
{
	return target_of(&search->input.goals[goal], phases_of(&search->input.goals[goal]) - 1);
}

static double effective_s(const struct weir_search_trial *trial)
{
	return fmax(trial->took_s, trial->duration_s);
}

// Durations are computed, so "as long as" forgives the last digits.
static bool is_full_length(const struct weir_search_trial *trial, const struct target *target)
{
	return trial->duration_s >= target->duration_s * (1 - 1e-9);
}

// Load Classification: optimistically all time that is missing to the Duration Sum would be good, pessimistically bad; only
// when both agree the load is decided. Short trials cannot prove a load good, but bad ones not balanced by good ones tell.
static enum weir_search_class classify(const struct weir_search *search, const struct target *target, double rate)
{
	double full_high_s = 0, full_low_s = 0, short_high_s = 0, short_low_s = 0;
	for (uint32_t i = 0; i < search->trial_count; i++) {
		const struct weir_search_trial *trial = &search->trials[i];
		if (trial->rate != rate)
			continue;
		bool is_high = weir_search_loss_ratio(trial) > target->loss_ratio;
		if (is_full_length(trial, target))
			*(is_high ? &full_high_s : &full_low_s) += effective_s(trial);
		else
			*(is_high ? &short_high_s : &short_low_s) += effective_s(trial);
	}
	double balancing_s = short_low_s * target->exceed_ratio / (1 - target->exceed_ratio);
	double high_s = full_high_s + fmax(0, short_high_s - balancing_s);
	double whole_s = fmax(high_s + full_low_s, target->sum_s);
	double allowed_s = whole_s * target->exceed_ratio + 1e-9;
	bool is_lower_at_best = high_s <= allowed_s;
	bool is_lower_at_worst = whole_s - full_low_s <= allowed_s;
	if (is_lower_at_best != is_lower_at_worst)
		return WEIR_SEARCH_UNDECIDED;
	return is_lower_at_best ? WEIR_SEARCH_LOWER : WEIR_SEARCH_UPPER;
}

// Relevant Upper Bound: the smallest Upper Bound. Relevant Lower Bound: the largest Lower Bound below it. 0: none.
static void find_bounds(const struct weir_search *search, const struct target *target, double *lower, double *upper)
{
	uint8_t classes[WEIR_SEARCH_TRIALS_MAX];
	*lower = 0;
	*upper = 0;
	for (uint32_t i = 0; i < search->trial_count; i++) {
		double rate = search->trials[i].rate;
		classes[i] = (uint8_t)classify(search, target, rate);
		if (classes[i] == WEIR_SEARCH_UPPER && (*upper == 0 || rate < *upper))
			*upper = rate;
	}
	for (uint32_t i = 0; i < search->trial_count; i++) {
		double rate = search->trials[i].rate;
		if (classes[i] == WEIR_SEARCH_LOWER && rate > *lower && (*upper == 0 || rate < *upper))
			*lower = rate;
	}
}

static bool is_narrow(double lower, double upper, double width)
{
	return lower > 0 && upper > 0 && (lower >= upper * (1 - width) * (1 - 1e-12) || upper - lower <= 1);
}

// Nothing is left to try for this target.
static bool is_settled(const struct weir_search *search, double lower, double upper, double width)
{
	return lower == search->input.rate_max || upper == search->input.rate_min || is_narrow(lower, upper, width);
}

// The load that would lose just what the goal allows if the router forwarded at most what it did in the best trial at `rate`:
// Trial Forwarding Rate as a first guess.
static double guess(const struct weir_search *search, const struct target *target, double rate)
{
	double ratio = 1;
	for (uint32_t i = 0; i < search->trial_count; i++) {
		if (search->trials[i].rate == rate)
			ratio = fmin(ratio, weir_search_loss_ratio(&search->trials[i]));
	}
	return rate * (1 - ratio) / (1 - target->loss_ratio);
}

static bool is_open(const struct weir_search *search, const struct target *target, double rate, double lower, double upper)
{
	return rate > lower && (upper == 0 || rate < upper) && classify(search, target, rate) == WEIR_SEARCH_UNDECIDED;
}

static double choose(const struct weir_search *search, const struct weir_search_state *state, const struct target *target)
{
	const struct weir_search_input *input = &search->input;
	double lower, upper;
	find_bounds(search, target, &lower, &upper);
	if (state->hint_low > 0 && is_open(search, target, state->hint_low, lower, upper))
		return state->hint_low;
	if (state->hint_high > 0 && is_open(search, target, state->hint_high, lower, upper))
		return state->hint_high;
	if (lower == 0 && upper == 0)
		return input->rate_max;
	// Each move in the same direction is twice as far as the one before.
	double moves = fmin(10, fmax(0, abs(state->streak) - 1));
	double step = pow(1 - target->width, exp2(moves));
	double rate;
	if (upper == 0) {
		rate = lower / step;
	} else if (lower == 0) {
		rate = upper * step;
		if (state->streak >= -1)
			rate = fmin(rate, guess(search, target, upper));
	} else {
		double middle = sqrt(lower * upper);
		rate = state->streak > 0 ? fmin(lower / step, middle) : fmax(upper * step, middle);
	}
	rate = round(rate);
	rate = fmax(rate, lower > 0 ? lower + 1 : input->rate_min);
	return fmin(rate, upper > 0 ? upper - 1 : input->rate_max);
}

// Brings a goal to the next load it has to try; false: it has its result.
static bool advance(struct weir_search *search, uint32_t index)
{
	const struct weir_search_goal *goal = &search->input.goals[index];
	struct weir_search_state *state = &search->states[index];
	for (;;) {
		struct target target = target_of(goal, state->phase);
		double lower, upper;
		if (state->pending > 0) {
			enum weir_search_class class = classify(search, &target, state->pending);
			if (class == WEIR_SEARCH_UNDECIDED)
				return true;
			if (class == WEIR_SEARCH_LOWER)
				state->streak = state->streak > 0 ? state->streak + 1 : 1;
			else
				state->streak = state->streak < 0 ? state->streak - 1 : -1;
			state->pending = 0;
		}
		find_bounds(search, &target, &lower, &upper);
		if (!is_settled(search, lower, upper, target.width)) {
			state->pending = choose(search, state, &target);
			return true;
		}
		if (state->phase + 1 == phases_of(goal))
			return false;
		state->phase++;
		state->streak = 0;
		state->hint_low = lower;
		state->hint_high = upper;
	}
}

bool weir_search_next_trial(struct weir_search *search, double *rate, double *duration_s)
{
	const struct weir_search_input *input = &search->input;
	bool found = false;
	if (search->trial_count == WEIR_SEARCH_TRIALS_MAX || (input->seconds_max > 0 && search->seconds >= input->seconds_max))
		return false;
	// Short trials first: they tell the other goals something too.
	for (uint32_t i = 0; i < input->goal_count; i++) {
		struct weir_search_state *state = &search->states[i];
		state->is_done = !advance(search, i);
		double wanted_s = target_of(&input->goals[i], state->phase).duration_s;
		if (state->is_done || (found && wanted_s >= *duration_s))
			continue;
		found = true;
		*rate = state->pending;
		*duration_s = wanted_s;
	}
	return found;
}

int weir_search_feed(struct weir_search *search, const struct weir_search_trial *trial)
{
	if (search->trial_count == WEIR_SEARCH_TRIALS_MAX)
		return -ENOSPC;
	if (trial->intended == 0 || trial->lost > trial->intended || !(trial->rate > 0) || !(trial->duration_s > 0))
		return -EINVAL;
	search->trials[search->trial_count++] = *trial;
	search->seconds += effective_s(trial);
	return 0;
}

enum weir_search_class weir_search_classify(const struct weir_search *search, uint32_t goal, double rate)
{
	struct target target = final_target(search, goal);
	return classify(search, &target, rate);
}

static int compare_ratios(const void *a, const void *b)
{
	double left = weir_search_loss_ratio(a);
	double right = weir_search_loss_ratio(b);
	return left < right ? -1 : left > right;
}

// Conditional Throughput: the load times the forwarding ratio that all but the exceed ratio's share of the time reached.
static double conditional(const struct weir_search *search, const struct target *target, double rate, double *full_s)
{
	struct weir_search_trial full[WEIR_SEARCH_TRIALS_MAX];
	uint32_t count = 0;
	double ratio = 1;
	*full_s = 0;
	for (uint32_t i = 0; i < search->trial_count; i++) {
		if (search->trials[i].rate == rate && is_full_length(&search->trials[i], target)) {
			full[count++] = search->trials[i];
			*full_s += effective_s(&search->trials[i]);
		}
	}
	qsort(full, count, sizeof(full[0]), compare_ratios);
	double left_s = fmax(target->sum_s, *full_s) * (1 - target->exceed_ratio);
	for (uint32_t i = 0; i < count && (i == 0 || left_s > 1e-9); i++) {
		ratio = weir_search_loss_ratio(&full[i]);
		left_s -= effective_s(&full[i]);
	}
	return left_s > 1e-9 ? 0 : rate * (1 - ratio);
}

struct weir_search_result weir_search_result(const struct weir_search *search, uint32_t goal)
{
	struct target target = final_target(search, goal);
	struct weir_search_result result = { 0 };
	find_bounds(search, &target, &result.lower, &result.upper);
	result.is_regular = is_narrow(result.lower, result.upper, target.width);
	result.is_at_max = result.lower == search->input.rate_max;
	result.is_at_min = result.upper == search->input.rate_min;
	if (result.lower > 0)
		result.conditional = conditional(search, &target, result.lower, &result.full_s);
	return result;
}

static const char *goal_trouble(const struct weir_search_goal *goal)
{
	if (!(goal->loss_ratio >= 0 && goal->loss_ratio < 1))
		return "its loss ratio has to be 0 or more and less than 1";
	if (!(goal->exceed_ratio >= 0 && goal->exceed_ratio < 1))
		return "its exceed ratio has to be 0 or more and less than 1";
	if (!(goal->width > 0 && goal->width < 1))
		return "its width has to be more than 0 and less than 1";
	if (!(goal->initial_s > 0 && goal->initial_s <= goal->final_s))
		return "its initial trial duration has to be more than 0 and at most the final one";
	if (!(goal->sum_s >= goal->final_s && isfinite(goal->sum_s)))
		return "its duration sum has to be at least the final trial duration";
	return NULL;
}

int weir_search_init(struct weir_search *search, const struct weir_search_input *input, char error[WEIR_SEARCH_ERROR])
{
	if (!(input->rate_min >= 1 && ceil(input->rate_min) < floor(input->rate_max) && input->rate_max <= 1e12)) {
		snprintf(error, WEIR_SEARCH_ERROR,
			 "search: rates from %g to %g: the lowest has to be 1 or more and less than the highest",
			 input->rate_min, input->rate_max);
		return -EINVAL;
	}
	if (input->goal_count == 0 || input->goal_count > WEIR_SEARCH_GOALS_MAX) {
		snprintf(error, WEIR_SEARCH_ERROR, "search: %u goals: give 1 to %u", input->goal_count, WEIR_SEARCH_GOALS_MAX);
		return -EINVAL;
	}
	for (uint32_t i = 0; i < input->goal_count; i++) {
		const char *trouble = goal_trouble(&input->goals[i]);
		if (trouble) {
			snprintf(error, WEIR_SEARCH_ERROR, "search: goal %u: %s", i + 1, trouble);
			return -EINVAL;
		}
	}
	memset(search, 0, sizeof(*search));
	search->input = *input;
	search->input.rate_min = ceil(input->rate_min);
	search->input.rate_max = floor(input->rate_max);
	return 0;
}
