// The figures of two results, their repeats paired and tested, and what about their conditions makes them doubtful.
#include "perf/compare.h"

#include <assert.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "perf/rank.h"

#define STEAL_MAX 0.02         // of all cores' time; more makes a run doubtful
#define LAG_MAX_NS 1000000.0   // the generator's own lateness, 99.9 %

static double delivered_rate(const struct weir_result_run *run)
{
	return weir_result_delivered_rate(run);
}

static double gone(const struct weir_result_run *run)
{
	return weir_result_loss_ratio(&run->counts);
}

static double latency(const struct weir_result_run *run, double share)
{
	return (double)weir_histogram_percentile(&run->latency, share);
}

static double latency_50(const struct weir_result_run *run)
{
	return latency(run, 0.5);
}

static double latency_99(const struct weir_result_run *run)
{
	return latency(run, 0.99);
}

static double latency_99_9(const struct weir_result_run *run)
{
	return latency(run, 0.999);
}

static double latency_99_99(const struct weir_result_run *run)
{
	return run->latency.count >= 10000 ? latency(run, 0.9999) : 0;
}

static double latency_max(const struct weir_result_run *run)
{
	return (double)run->latency.max;
}

static double worker_time(const struct weir_result_run *run)
{
	double sum = 0;
	for (uint32_t i = 0; i < run->worker_count; i++)
		sum += (double)run->workers[i].cpu_ns;
	return run->counts.delivered ? sum / (double)run->counts.delivered : 0;
}

static double machine_time(const struct weir_result_run *run)
{
	double cores = 0;
	for (uint32_t i = 0; i < run->core_count; i++) {
		const struct weir_result_cpu *cpu = &run->cores[i].cpu;
		cores += cpu->user_ratio + cpu->system_ratio + cpu->irq_ratio;
	}
	double time_ns = cores * (double)(run->duration_ns + run->drain_ns);
	return run->counts.delivered ? time_ns / (double)run->counts.delivered : 0;
}

static const struct figure {
	const char *name;
	enum weir_compare_unit unit;
	bool more_is_better;
	bool is_difference;
	double (*of)(const struct weir_result_run *run); // 0: the run does not tell, except for differences
} FIGURES[] = {
	{ "delivered events/s", WEIR_COMPARE_COUNT, true, false, delivered_rate },
	{ "lost, refused, missed", WEIR_COMPARE_RATIO, false, true, gone },
	{ "latency 50 %", WEIR_COMPARE_NS, false, false, latency_50 },
	{ "latency 99 %", WEIR_COMPARE_NS, false, false, latency_99 },
	{ "latency 99.9 %", WEIR_COMPARE_NS, false, false, latency_99_9 },
	{ "latency 99.99 %", WEIR_COMPARE_NS, false, false, latency_99_99 },
	{ "latency longest", WEIR_COMPARE_NS, false, false, latency_max },
	{ "worker CPU an event", WEIR_COMPARE_NS, false, false, worker_time },
	{ "all CPU an event", WEIR_COMPARE_NS, false, false, machine_time },
};

static_assert(sizeof(FIGURES) / sizeof(FIGURES[0]) <= WEIR_COMPARE_ROWS_MAX, "a row for each figure");

const char *weir_compare_verdict_name(enum weir_compare_verdict verdict)
{
	static const char *const NAMES[] = { "same", "better", "worse", "noisy", "too few repeats" };
	return NAMES[verdict];
}

static struct weir_compare_side side_of(const double *values, uint32_t count)
{
	struct weir_compare_side side = { weir_rank_median(values, count), DBL_MAX, -DBL_MAX };
	for (uint32_t i = 0; i < count; i++) {
		side.min = fmin(side.min, values[i]);
		side.max = fmax(side.max, values[i]);
	}
	return side;
}

static enum weir_compare_verdict judge(const struct weir_compare_row *row, uint32_t pairs)
{
	double same = row->is_difference ? 0 : 1;
	if (pairs < WEIR_COMPARE_REPEATS_MIN)
		return WEIR_COMPARE_TOO_FEW;
	if (row->spread > WEIR_COMPARE_NOISY)
		return WEIR_COMPARE_NOISY_SPREAD;
	bool is_more = row->change.min > same;
	bool is_less = row->change.max < same;
	if (row->chance > WEIR_COMPARE_CHANCE || (!is_more && !is_less))
		return WEIR_COMPARE_SAME;
	return is_more == row->more_is_better ? WEIR_COMPARE_BETTER : WEIR_COMPARE_WORSE;
}

static int row_fill(struct weir_compare_row *row)
{
	double changes[WEIR_RESULT_RUNS_MAX];
	uint32_t pairs = row->a_count < row->b_count ? row->a_count : row->b_count;
	for (uint32_t i = 0; i < pairs; i++)
		changes[i] = row->is_difference ? row->b[i] - row->a[i] : row->b[i] / row->a[i];
	row->a_side = side_of(row->a, row->a_count);
	row->b_side = side_of(row->b, row->b_count);
	row->change = side_of(changes, pairs);
	row->spread = row->is_difference ? 0 : (row->change.max - row->change.min) / row->change.median;
	row->is_apart = row->a_side.max < row->b_side.min || row->b_side.max < row->a_side.min;
	row->chance = weir_rank_test(row->a, row->a_count, row->b, row->b_count);
	row->verdict = judge(row, pairs);
	return row->chance < 0 ? -ENOMEM : 0;
}

// False when a run does not tell this figure.
static bool values_get(const struct weir_result *result, const struct figure *figure, double *values, uint32_t *count)
{
	*count = result->run_count;
	for (uint32_t i = 0; i < result->run_count; i++) {
		values[i] = figure->of(result->runs[i]);
		if (!figure->is_difference && !(values[i] > 0))
			return false;
	}
	return true;
}

static void caution(struct weir_compare *compare, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void caution(struct weir_compare *compare, const char *format, ...)
{
	if (compare->caution_count == WEIR_COMPARE_CAUTIONS_MAX)
		return;
	char *text = compare->cautions[compare->caution_count++];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof(compare->cautions[0]), format, arguments);
	va_end(arguments);
}

static void compare_facts(struct weir_compare *compare, const struct weir_result_facts *a, const struct weir_result_facts *b)
{
	for (uint32_t i = 0; i < a->count; i++) {
		const char *other = weir_result_fact(b, a->all[i].name);
		if (strcmp(a->all[i].name, "router") == 0)
			continue; // its address: another port each time it is started
		if (!other || strcmp(other, a->all[i].value))
			caution(compare, "%s differs: %s | %s", a->all[i].name, a->all[i].value, other ? other : "not told");
	}
	for (uint32_t i = 0; i < b->count; i++) {
		if (!weir_result_fact(a, b->all[i].name))
			caution(compare, "%s differs: not told | %s", b->all[i].name, b->all[i].value);
	}
}

// Whether some repeat of one side ran between repeats of the other.
static bool is_interleaved(const struct weir_result *a, const struct weir_result *b)
{
	uint64_t a_first = UINT64_MAX, a_last = 0, b_first = UINT64_MAX, b_last = 0;
	for (uint32_t i = 0; i < a->run_count; i++) {
		uint64_t start = a->runs[i]->start_unix_ns;
		a_first = start < a_first ? start : a_first;
		a_last = start > a_last ? start : a_last;
	}
	for (uint32_t i = 0; i < b->run_count; i++) {
		uint64_t start = b->runs[i]->start_unix_ns;
		b_first = start < b_first ? start : b_first;
		b_last = start > b_last ? start : b_last;
	}
	return a_first < b_last && b_first < a_last;
}

static double steal_of(const struct weir_result_run *run)
{
	double steal = 0;
	for (uint32_t c = 0; c < run->core_count; c++)
		steal += run->cores[c].cpu.steal_ratio / run->core_count;
	return steal;
}

// One caution a kind, with how many repeats it is true of.
static void doubt_runs(struct weir_compare *compare, const struct weir_result *result, char side)
{
	uint32_t stolen = 0, late = 0, failed = 0;
	const char *why = "";
	for (uint32_t i = result->run_count; i-- > 0;) {
		const struct weir_result_run *run = result->runs[i];
		stolen += steal_of(run) > STEAL_MAX;
		late += (double)weir_histogram_percentile(&run->lag, 0.999) > LAG_MAX_NS;
		failed += !run->is_passed;
		why = run->is_passed ? why : run->verdict;
	}
	if (stolen)
		caution(compare, "%c: more than %.0f %% of the cores' time was stolen in %u of %u repeats", side,
			STEAL_MAX * 100, stolen, result->run_count);
	if (late)
		caution(compare, "%c: the generator itself was late by more than 1 ms (99.9 %%) in %u of %u repeats", side,
			late, result->run_count);
	if (failed)
		caution(compare, "%c: %u of %u repeats failed, the first because: %s", side, failed, result->run_count, why);
	if (result->selftest.is_done && !result->selftest.is_passed)
		caution(compare, "%c: the generator failed its selftest: %s", side, result->selftest.reason);
}

int weir_compare(const struct weir_result *a, const struct weir_result *b, struct weir_compare *compare)
{
	if (a->run_count == 0 || b->run_count == 0)
		return -EINVAL;
	memset(compare, 0, sizeof(*compare));
	compare->a = a;
	compare->b = b;
	for (size_t i = 0; i < sizeof(FIGURES) / sizeof(FIGURES[0]); i++) {
		struct weir_compare_row *row = &compare->rows[compare->row_count];
		row->name = FIGURES[i].name;
		row->unit = FIGURES[i].unit;
		row->more_is_better = FIGURES[i].more_is_better;
		row->is_difference = FIGURES[i].is_difference;
		if (!values_get(a, &FIGURES[i], row->a, &row->a_count) || !values_get(b, &FIGURES[i], row->b, &row->b_count)) {
			memset(row, 0, sizeof(*row));
			continue;
		}
		if (row_fill(row))
			return -ENOMEM;
		compare->row_count++;
	}
	if (strcmp(a->scenario, b->scenario))
		caution(compare, "the scenarios differ: %s | %s", a->scenario, b->scenario);
	if (strcmp(a->transport, b->transport))
		caution(compare, "the transports differ: %s | %s", a->transport, b->transport);
	if (!is_interleaved(a, b))
		caution(compare, "the repeats did not run in turn (A B A B): a drift of the machine would look like a change");
	compare_facts(compare, &a->parameters, &b->parameters);
	compare_facts(compare, &a->machine, &b->machine);
	doubt_runs(compare, a, 'A');
	doubt_runs(compare, b, 'B');
	return 0;
}

uint32_t weir_compare_count(const struct weir_compare *compare, enum weir_compare_verdict verdict)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < compare->row_count; i++)
		count += compare->rows[i].verdict == verdict;
	return count;
}
