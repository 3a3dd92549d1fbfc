// A comparison finds a change that is there, calls chance by its name, and never calls noise a gain: shown over hundreds of
// made-up pairs of results, and figure by figure.
#include "perf/compare.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "tests/unit/perf/sample.h"

static const char *const NAMES[] = { "a.json", "b.json" };

static const struct weir_compare_row *row_of(const struct weir_compare *compare, const char *name)
{
	for (uint32_t i = 0; i < compare->row_count; i++) {
		if (strcmp(compare->rows[i].name, name) == 0)
			return &compare->rows[i];
	}
	cr_assert_fail("no row %s", name);
	return NULL;
}

static bool has_caution(const struct weir_compare *compare, const char *text)
{
	for (uint32_t i = 0; i < compare->caution_count; i++) {
		if (strstr(compare->cautions[i], text))
			return true;
	}
	return false;
}

// Runs with nothing but a delivered rate: thousands of comparisons in a second.
static void fill_rates(struct weir_result *result, uint32_t runs, double rate, double noise)
{
	for (uint32_t i = 0; i < runs; i++) {
		struct weir_result_run *run = weir_result_run_add(result);
		run->start_unix_ns = 100 + i;
		run->duration_ns = 1000000000;
		run->is_passed = true;
		run->counts.delivered = (uint64_t)(rate * (1 + noise * (2 * sample_random() - 1)));
		run->counts.published = run->counts.delivered;
	}
}

static uint32_t count_verdicts(double speed, double noise, uint32_t runs, enum weir_compare_verdict verdict)
{
	static struct weir_compare compare;
	uint32_t count = 0;
	for (int i = 0; i < 400; i++) {
		struct weir_result a = { 0 };
		struct weir_result b = { 0 };
		fill_rates(&a, runs, 1e6, noise);
		fill_rates(&b, runs, 1e6 * speed, noise);
		cr_assert_eq(weir_compare(&a, &b, &compare), 0);
		count += row_of(&compare, "delivered events/s")->verdict == verdict;
		weir_result_fini(&a);
		weir_result_fini(&b);
	}
	return count;
}

Test(compare, calls_chance_a_change_at_most_once_in_a_hundred)
{
	srand(1);
	cr_assert_leq(count_verdicts(1, 0.02, 5, WEIR_COMPARE_BETTER) + count_verdicts(1, 0.02, 5, WEIR_COMPARE_WORSE), 12);
	cr_assert_leq(count_verdicts(1, 0.02, 10, WEIR_COMPARE_BETTER) + count_verdicts(1, 0.02, 10, WEIR_COMPARE_WORSE), 12);
}

Test(compare, finds_a_change_beyond_the_noise)
{
	srand(2);
	cr_assert_eq(count_verdicts(1.05, 0.02, 5, WEIR_COMPARE_BETTER), 400);
	cr_assert_eq(count_verdicts(0.95, 0.02, 5, WEIR_COMPARE_WORSE), 400);
}

Test(compare, never_calls_noise_a_gain)
{
	srand(3);
	// Repeats that differ by up to 40 %: a router three times as fast is still not called better while pairs spread so far.
	uint32_t noisy = count_verdicts(3, 0.2, 5, WEIR_COMPARE_NOISY_SPREAD);
	cr_assert_geq(noisy, 388);
	cr_assert_eq(count_verdicts(3, 0.2, 4, WEIR_COMPARE_TOO_FEW), 400);
	cr_assert_eq(count_verdicts(3, 0.2, 1, WEIR_COMPARE_BETTER), 0);
}

Test(compare, judges_every_figure_in_its_own_direction)
{
	static struct weir_compare compare;
	struct weir_result a = { 0 };
	struct weir_result b = { 0 };
	sample_fill_noisy(&a, 5, 1, 0.005, 1);
	sample_fill_noisy(&b, 5, 1.1, 0.005, 2);
	for (uint32_t i = 0; i < 5; i++)
		b.runs[i]->counts.missed += 1000 + i;
	cr_assert_eq(weir_compare(&a, &b, &compare), 0);
	const struct weir_compare_row *rate = row_of(&compare, "delivered events/s");
	cr_assert_eq(rate->verdict, WEIR_COMPARE_BETTER);
	cr_assert_float_eq(rate->change.median, 1.1, 0.01);
	cr_assert(rate->is_apart);
	cr_assert_float_eq(rate->chance, 2.0 / 252, 1e-12);
	const struct weir_compare_row *latency = row_of(&compare, "latency 50 %");
	cr_assert_eq(latency->verdict, WEIR_COMPARE_BETTER, "shorter is better");
	cr_assert_lt(latency->change.median, 1);
	const struct weir_compare_row *gone = row_of(&compare, "lost, refused, missed");
	cr_assert_eq(gone->verdict, WEIR_COMPARE_WORSE);
	cr_assert_float_eq(gone->change.median, 1000 / 6.6e5, 1e-4);
	cr_assert_eq(row_of(&compare, "latency longest")->verdict, WEIR_COMPARE_NOISY_SPREAD);
	weir_result_fini(&a);
	weir_result_fini(&b);
}

Test(compare, names_what_makes_it_doubtful)
{
	static struct weir_compare compare;
	struct weir_result a = { 0 };
	struct weir_result b = { 0 };
	sample_fill(&a, 5, 1, 1);
	sample_fill(&b, 5, 1, 2);
	for (uint32_t i = 0; i < 5; i++)
		b.runs[i]->start_unix_ns += 1000000;
	strcpy(b.machine.all[0].value, "6.1.0");
	a.runs[2]->cores[0].cpu.steal_ratio = 0.2;
	a.runs[2]->is_passed = true;
	weir_result_fact_add(&b.parameters, "shards", "8");
	cr_assert_eq(weir_compare(&a, &b, &compare), 0);
	cr_assert(has_caution(&compare, "did not run in turn"));
	cr_assert(has_caution(&compare, "kernel differs: 6.18.0 | 6.1.0"));
	cr_assert(has_caution(&compare, "shards differs: not told | 8"));
	cr_assert(has_caution(&compare, "A: more than 2 % of the cores' time was stolen in 1 of 5 repeats"));
	cr_assert(has_caution(&compare, "A: 4 of 5 repeats failed, the first because: 6 events were lost"));
	b.runs[0]->start_unix_ns -= 1000000;
	cr_assert_eq(weir_compare(&a, &b, &compare), 0);
	cr_assert_not(has_caution(&compare, "did not run in turn"));
	struct weir_result none = { 0 };
	cr_assert_eq(weir_compare(&a, &none, &compare), -EINVAL);
	weir_result_fini(&a);
	weir_result_fini(&b);
}

Test(compare, text_and_json_say_the_same)
{
	static struct weir_compare compare;
	struct weir_result a = { 0 };
	struct weir_result b = { 0 };
	char *text = NULL;
	size_t size = 0;
	sample_fill_noisy(&a, 5, 1, 0.005, 1);
	sample_fill_noisy(&b, 5, 0.9, 0.005, 2);
	cr_assert_eq(weir_compare(&a, &b, &compare), 0);
	FILE *stream = open_memstream(&text, &size);
	weir_compare_print(&compare, NAMES, stream);
	fclose(stream);
	cr_assert_not_null(strstr(text, "worse in"), "%s", text);
	free(text);
	stream = open_memstream(&text, &size);
	cr_assert_eq(weir_compare_write_json(&compare, NAMES, stream), 0);
	fclose(stream);
	json_t *json = json_loads(text, 0, NULL);
	cr_assert_not_null(json);
	cr_assert_eq(json_integer_value(json_object_get(json, "worse")), weir_compare_count(&compare, WEIR_COMPARE_WORSE));
	const json_t *first = json_array_get(json_object_get(json, "figures"), 0);
	cr_assert_str_eq(json_string_value(json_object_get(first, "verdict")), "worse");
	cr_assert_eq(json_array_size(json_object_get(first, "b_repeats")), 5);
	cr_assert_float_eq(json_number_value(json_object_get(json_object_get(first, "change"), "median")), 0.9, 0.01);
	json_decref(json);
	free(text);
	weir_result_fini(&a);
	weir_result_fini(&b);
}
