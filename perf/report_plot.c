// The pictures of a report.
#include "perf/report_plot.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 960u
#define HEIGHT 340u
#define POINTS 1200u
#define CORES_DRAWN 16u // more: the busiest
#define STEPS_NAMED 12u

static const char *const TITLES[WEIR_REPORT_PLOTS] = {
	"Throughput", "Latency by percentile", "Latency by group", "Latency over time", "Loss and backpressure",
	"Cores over time", "Cores", "The router's memory",
};

static const char *const CAPTIONS[WEIR_REPORT_PLOTS] = {
	"Events per second over the run; grey: what the other repeats delivered.",
	"Latency from the intended send time, by percentile; dashed: from the true send time; grey: single repeats.",
	"Latency of each group of consumers, from the intended send time, all repeats together.",
	"Latency of what arrived in each interval.",
	"Events per second that were lost, refused or missed their send time; behind, how many producers waited for credit.",
	"Share of time each core was busy over the run; dotted: taken by the hypervisor.",
	"What each core did over the whole run.",
	"Resident memory of the router: it should not grow.",
};

const char *weir_report_plot_title(enum weir_report_plot kind)
{
	return TITLES[kind];
}

const char *weir_report_plot_caption(enum weir_report_plot kind)
{
	return CAPTIONS[kind];
}

static int compare_rates(const void *a, const void *b)
{
	double left = weir_result_delivered_rate(*(const struct weir_result_run *const *)a);
	double right = weir_result_delivered_rate(*(const struct weir_result_run *const *)b);
	return left < right ? -1 : left > right;
}

const struct weir_result_run *weir_report_median_run(const struct weir_result *result)
{
	const struct weir_result_run *runs[WEIR_RESULT_RUNS_MAX];
	if (result->run_count == 0)
		return NULL;
	memcpy(runs, result->runs, result->run_count * sizeof(runs[0]));
	qsort(runs, result->run_count, sizeof(runs[0]), compare_rates);
	return runs[(result->run_count - 1) / 2];
}

static double seconds_of(uint64_t time_ns)
{
	return (double)time_ns / 1e9;
}

// A time on a logarithmic axis: nothing is shorter than a nanosecond.
static double shown_time(uint64_t time_ns)
{
	return (double)(time_ns ? time_ns : 1) / 1e9;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint32_t stride_of(const struct weir_result_run *run)
{
	return 1 + run->second_count / POINTS;
}

// `stride` seconds from `first` as one.
static struct weir_result_second gather(const struct weir_result_run *run, uint32_t first, uint32_t stride)
{
	struct weir_result_second sum = run->seconds[first];
	for (uint32_t i = first + 1; i < first + stride && i < run->second_count; i++) {
		const struct weir_result_second *second = &run->seconds[i];
		sum.duration_ns += second->duration_ns;
		sum.intended += second->intended;
		sum.sent += second->sent;
		sum.received += second->received;
		sum.lost += second->lost;
		sum.refused += second->refused;
		sum.missed += second->missed;
		sum.credit_stall_ns += second->credit_stall_ns;
		sum.router_bytes = second->router_bytes;
		sum.latency_p50_ns = larger(sum.latency_p50_ns, second->latency_p50_ns);
		sum.latency_p99_ns = larger(sum.latency_p99_ns, second->latency_p99_ns);
		sum.latency_max_ns = larger(sum.latency_max_ns, second->latency_max_ns);
	}
	return sum;
}

// A row of a data block: a time in seconds, then rates, times and how many producers waited.
static void put_second(struct weir_plot *plot, const struct weir_result_second *second, uint64_t at_ns)
{
	double time = fmax(seconds_of(second->duration_ns), 1e-9);
	fprintf(plot->script, "%.6g %.6g %.6g %.6g %.6g %.6g %.6g", seconds_of(at_ns), (double)second->intended / time,
		(double)second->sent / time, (double)second->received / time, (double)second->lost / time,
		(double)second->refused / time, (double)second->missed / time);
	if (second->received)
		fprintf(plot->script, " %.4g %.4g %.4g", shown_time(second->latency_p50_ns),
			shown_time(second->latency_p99_ns), shown_time(second->latency_max_ns));
	else
		fputs(" NaN NaN NaN", plot->script);
	fprintf(plot->script, " %.4g", seconds_of(second->credit_stall_ns) / time);
	if (second->router_bytes)
		fprintf(plot->script, " %.6g\n", (double)second->router_bytes);
	else
		fputs(" NaN\n", plot->script);
}

// The curve begins where its first interval does; each further point is an interval's end.
static void put_seconds(struct weir_plot *plot, const char *name, const struct weir_result_run *run)
{
	fprintf(plot->script, "$%s << EOD\n", name);
	for (uint32_t i = 0; i < run->second_count; i += stride_of(run)) {
		struct weir_result_second second = gather(run, i, stride_of(run));
		if (i == 0)
			put_second(plot, &second, second.start_ns);
		put_second(plot, &second, second.start_ns + second.duration_ns);
	}
	fputs("EOD\n", plot->script);
}

// Where steps begin, with their names when there is room for them.
static void put_steps(struct weir_plot *plot, const struct weir_result_run *run)
{
	for (uint32_t i = 0; i < run->step_count && run->step_count > 1; i++) {
		double start = seconds_of(run->steps[i]->start_ns);
		fprintf(plot->script, "set arrow from %g, graph 0 to %g, graph 1 nohead dt 3 lc rgb '#8a93a3'\n", start, start);
		if (run->step_count > STEPS_NAMED)
			continue;
		fputs("set label ", plot->script);
		weir_plot_quote(plot, run->steps[i]->name);
		fprintf(plot->script, " at %g, graph 0.97 offset 0.4,0 font ',11' textcolor rgb '#5b6675'\n", start);
	}
}

static int begin_over_time(struct weir_plot *plot, const struct weir_result_run *run, const char *y)
{
	if (run->second_count == 0)
		return -ENODATA;
	int code = weir_plot_begin(plot, WIDTH, HEIGHT, "seconds", y);
	if (code)
		return code;
	const struct weir_result_second *last = &run->seconds[run->second_count - 1];
	fprintf(plot->script, "set xrange [0:%g]\n", seconds_of(last->start_ns + last->duration_ns));
	put_seconds(plot, "run", run);
	put_steps(plot, run);
	return 0;
}

static int draw_throughput(struct weir_plot *plot, const struct weir_result *result, const struct weir_result_run *run)
{
	char name[16];
	int code = begin_over_time(plot, run, "events/s");
	if (code)
		return code;
	for (uint32_t i = 0; i < result->run_count; i++) {
		snprintf(name, sizeof(name), "r%u", i);
		put_seconds(plot, name, result->runs[i]);
	}
	fputs("set yrange [0:*]\nset offsets 0, 0, graph 0.08, 0\nset format y '%.1s %c'\nplot ", plot->script);
	for (uint32_t i = 0; i < result->run_count; i++) {
		if (result->runs[i] != run && result->runs[i]->second_count)
			fprintf(plot->script, "$r%u u 1:4 w l lw 1 lc rgb '" WEIR_PLOT_GREY "' notitle, ", i);
	}
	fprintf(plot->script,
		"$run u 1:2 w l lw 1.5 dt 2 lc rgb '#5b6675' t 'intended', $run u 1:3 w l lw 2 lc rgb '%s' t 'sent', "
		"$run u 1:4 w l lw 2 lc rgb '%s' t 'delivered, all groups'\n",
		WEIR_PLOT_COLOUR[0], WEIR_PLOT_COLOUR[1]);
	return 0;
}

static int draw_latency_time(struct weir_plot *plot, const struct weir_result_run *run)
{
	int code = begin_over_time(plot, run, "latency");
	if (code)
		return code;
	weir_plot_time_axis(plot, 'y');
	fprintf(plot->script,
		"plot $run u 1:10 w l lw 1.2 lc rgb '%s' t 'longest', $run u 1:9 w l lw 2 lc rgb '%s' t '99 %%', "
		"$run u 1:8 w l lw 2 lc rgb '%s' t '50 %%'\n",
		WEIR_PLOT_COLOUR[3], WEIR_PLOT_COLOUR[1], WEIR_PLOT_COLOUR[0]);
	return 0;
}

static int draw_loss(struct weir_plot *plot, const struct weir_result_run *run)
{
	int code = begin_over_time(plot, run, "events/s");
	if (code)
		return code;
	fprintf(plot->script,
		"set yrange [0:*]\nset offsets 0, 0, graph 0.08, 0\nset format y '%%.1s %%c'\n"
		"set ytics nomirror\nset y2range [0:*]\nset y2tics\nset y2label 'producers that wait'\n"
		"plot $run u 1:11 axes x1y2 w filledcurves y=0 fs solid 0.25 lc rgb '%s' t 'waiting for credit (right)', "
		"$run u 1:5 w l lw 2 lc rgb '%s' t 'lost', $run u 1:6 w l lw 2 lc rgb '%s' t 'refused', "
		"$run u 1:7 w l lw 2 lc rgb '%s' t 'missed'\n",
		WEIR_PLOT_COLOUR[0], WEIR_PLOT_COLOUR[3], WEIR_PLOT_COLOUR[1], WEIR_PLOT_COLOUR[4]);
	return 0;
}

static int draw_memory(struct weir_plot *plot, const struct weir_result_run *run)
{
	uint64_t most = 0;
	for (uint32_t i = 0; i < run->second_count; i++)
		most = larger(most, run->seconds[i].router_bytes);
	int code = most ? begin_over_time(plot, run, "bytes") : -ENODATA;
	if (code)
		return code;
	fprintf(plot->script,
		"set yrange [0:*]\nset offsets 0, 0, graph 0.08, 0\nset format y '%%.0b %%BB'\n"
		"plot $run u 1:12 w l lw 2 lc rgb '%s' t 'resident'\n", WEIR_PLOT_COLOUR[0]);
	return 0;
}

static double busy(const struct weir_result_cpu *cpu)
{
	return cpu->user_ratio + cpu->system_ratio + cpu->irq_ratio;
}

// Indexes of the busiest cores, in order of their numbers.
static uint32_t pick_cores(const struct weir_result_run *run, uint32_t cores[CORES_DRAWN])
{
	uint32_t count = 0;
	for (uint32_t c = 0; c < run->core_count; c++) {
		uint32_t busier = 0;
		for (uint32_t other = 0; other < run->core_count; other++) {
			double difference = busy(&run->cores[other].cpu) - busy(&run->cores[c].cpu);
			busier += difference > 0 || (difference == 0 && other < c);
		}
		if (busier < CORES_DRAWN)
			cores[count++] = c;
	}
	return count;
}

static void core_name(const struct weir_result_core *core, char name[2 * WEIR_RESULT_NAME])
{
	snprintf(name, 2 * WEIR_RESULT_NAME, "core %u%s%s", core->core, core->role[0] ? ", " : "", core->role);
}

static void put_cpus(struct weir_plot *plot, const struct weir_result_run *run, const uint32_t *cores, uint32_t count)
{
	uint32_t stride = stride_of(run);
	fputs("$cpu << EOD\n", plot->script);
	for (uint32_t i = 0; i < run->second_count; i += stride) {
		uint32_t next = i + stride < run->second_count ? i + stride : run->second_count;
		fprintf(plot->script, "%.6g", seconds_of(run->seconds[next - 1].start_ns + run->seconds[next - 1].duration_ns));
		for (uint32_t c = 0; c < count; c++) {
			double time = 0, steal = 0;
			for (uint32_t s = i; s < next; s++) {
				const struct weir_result_cpu *cpu = &weir_result_second_cpu(run, s)[cores[c]];
				time += busy(cpu) / (next - i);
				steal += cpu->steal_ratio / (next - i);
			}
			fprintf(plot->script, " %.4g %.4g", 100 * time, 100 * steal);
		}
		fputc('\n', plot->script);
	}
	fputs("EOD\n", plot->script);
}

static int draw_cpu_time(struct weir_plot *plot, const struct weir_result_run *run)
{
	uint32_t cores[CORES_DRAWN];
	uint32_t count = pick_cores(run, cores);
	if (count == 0)
		return -ENODATA;
	int code = begin_over_time(plot, run, "busy");
	if (code)
		return code;
	put_cpus(plot, run, cores, count);
	fputs("set yrange [0:100]\nset format y '%g %%'\nplot ", plot->script);
	for (uint32_t c = 0; c < count; c++) {
		char name[2 * WEIR_RESULT_NAME];
		const char *colour = WEIR_PLOT_COLOUR[c % WEIR_PLOT_COLOURS];
		core_name(&run->cores[cores[c]], name);
		fprintf(plot->script, "%s$cpu u 1:%u w l lw 2 dt %u lc rgb '%s' t ", c ? ", " : "", 2 + 2 * c,
			c < WEIR_PLOT_COLOURS ? 1 : 2, colour);
		weir_plot_quote(plot, name);
		fprintf(plot->script, ", $cpu u 1:%u w l lw 1 dt 3 lc rgb '%s' notitle", 3 + 2 * c, colour);
	}
	fputc('\n', plot->script);
	return 0;
}

static int draw_cpu(struct weir_plot *plot, const struct weir_result_run *run)
{
	static const char *const KINDS[] = { "user", "system", "interrupts", "stolen" };
	static const uint32_t COLOURS[] = { 0, 1, 4, 3 };
	uint32_t cores[CORES_DRAWN];
	uint32_t count = pick_cores(run, cores);
	if (count == 0)
		return -ENODATA;
	int code = weir_plot_begin(plot, WIDTH, HEIGHT, "", "time");
	if (code)
		return code;
	fputs("$cores << EOD\n", plot->script);
	for (uint32_t c = 0; c < count; c++) {
		const struct weir_result_cpu *cpu = &run->cores[cores[c]].cpu;
		fprintf(plot->script, "%u %.4g %.4g %.4g %.4g\n", c, 100 * cpu->user_ratio, 100 * cpu->system_ratio,
			100 * cpu->irq_ratio, 100 * cpu->steal_ratio);
	}
	fputs("EOD\nset style data histograms\nset style histogram rowstacked\nset boxwidth 0.5\nset yrange [0:100]\n"
	      "set format y '%g %%'\nset xtics (", plot->script);
	for (uint32_t c = 0; c < count; c++) {
		char name[2 * WEIR_RESULT_NAME];
		core_name(&run->cores[cores[c]], name);
		fputs(c ? ", " : "", plot->script);
		weir_plot_quote(plot, name);
		fprintf(plot->script, " %u", c);
	}
	fputs(count > 6 ? ") rotate by -30\nplot " : ")\nplot ", plot->script);
	for (uint32_t k = 0; k < 4; k++)
		fprintf(plot->script, "%s$cores u %u lc rgb '%s' t '%s'", k ? ", " : "", k + 2, WEIR_PLOT_COLOUR[COLOURS[k]],
			KINDS[k]);
	fputc('\n', plot->script);
	return 0;
}

// A data block of 1 / (1 - share) and value. The last point lies where the next value would, not at infinity.
static void put_histogram(struct weir_plot *plot, const char *name, const struct weir_histogram *histogram)
{
	struct weir_histogram_point point = { 0 };
	fprintf(plot->script, "$%s << EOD\n", name);
	while (weir_histogram_next(histogram, WEIR_HISTOGRAM_TICKS, &point)) {
		double inverse = point.share < 1 ? 1 / (1 - point.share) : (double)histogram->count;
		fprintf(plot->script, "%.8g %.8g\n", fmin(inverse, (double)histogram->count), shown_time(point.value));
	}
	fputs("EOD\n", plot->script);
}

static int draw_latency(struct weir_plot *plot, const struct weir_result *result)
{
	static const char FORMAT[] = "%s$%s u 1:2 w l lw %s dt %u lc rgb '%s' %s%s";
	struct weir_histogram *sums = calloc(2, sizeof(*sums));
	int code = sums ? 0 : -ENOMEM;
	char name[16];
	for (uint32_t i = 0; i < result->run_count && sums; i++) {
		weir_histogram_merge(&sums[0], &result->runs[i]->latency);
		weir_histogram_merge(&sums[1], &result->runs[i]->service);
	}
	if (sums && sums[0].count == 0)
		code = -ENODATA;
	code = code ? code : weir_plot_begin(plot, WIDTH, 400, "share of events that were faster", "latency");
	if (code) {
		free(sums);
		return code;
	}
	weir_plot_share_axis(plot, (double)sums[0].count);
	weir_plot_time_axis(plot, 'y');
	put_histogram(plot, "all", &sums[0]);
	put_histogram(plot, "service", &sums[1]);
	for (uint32_t i = 0; i < result->run_count; i++) {
		snprintf(name, sizeof(name), "r%u", i);
		put_histogram(plot, name, &result->runs[i]->latency);
	}
	fputs("plot ", plot->script);
	for (uint32_t i = 0; i < result->run_count && result->run_count > 1; i++) {
		snprintf(name, sizeof(name), "r%u", i);
		if (result->runs[i]->latency.count)
			fprintf(plot->script, FORMAT, "", name, "1", 1u, WEIR_PLOT_GREY, "notitle", ", ");
	}
	if (sums[1].count)
		fprintf(plot->script, FORMAT, "", "service", "1.5", 2u, WEIR_PLOT_COLOUR[1], "t 'from true send time'", ", ");
	fprintf(plot->script, FORMAT, "", "all", "2.5", 1u, WEIR_PLOT_COLOUR[0], "t 'from intended send time'", "\n");
	free(sums);
	return 0;
}

// All repeats of a group in one histogram.
static void merge_group(const struct weir_result *result, const struct weir_result_group *group, struct weir_histogram *into)
{
	memset(into, 0, sizeof(*into));
	for (uint32_t i = 0; i < result->run_count; i++) {
		for (uint32_t g = 0; g < result->runs[i]->group_count; g++) {
			const struct weir_result_group *other = result->runs[i]->groups[g];
			if (strcmp(other->name, group->name) == 0 && strcmp(other->topic, group->topic) == 0)
				weir_histogram_merge(into, &other->latency);
		}
	}
}

static int draw_groups(struct weir_plot *plot, const struct weir_result *result, const struct weir_result_run *run)
{
	uint32_t count = run->group_count < 2 * WEIR_PLOT_COLOURS ? run->group_count : 2 * WEIR_PLOT_COLOURS;
	struct weir_histogram *sum = calloc(1, sizeof(*sum));
	double last = 10;
	uint32_t drawn = 0;
	int code = sum ? 0 : -ENOMEM;
	if (code == 0)
		code = count > 1 ? weir_plot_begin(plot, WIDTH, 400, "share of events that were faster", "latency") : -ENODATA;
	for (uint32_t g = 0; g < count && code == 0; g++) {
		char name[16];
		merge_group(result, run->groups[g], sum);
		last = fmax(last, (double)sum->count);
		snprintf(name, sizeof(name), "g%u", g);
		put_histogram(plot, name, sum);
	}
	free(sum);
	if (code)
		return code;
	weir_plot_share_axis(plot, last);
	weir_plot_time_axis(plot, 'y');
	for (uint32_t g = 0; g < count; g++) {
		if (run->groups[g]->latency.count == 0)
			continue;
		fprintf(plot->script, "%s$g%u u 1:2 w l lw 2.5 dt %u lc rgb '%s' t ", drawn++ ? ", " : "plot ", g,
			g < WEIR_PLOT_COLOURS ? 1 : 2, WEIR_PLOT_COLOUR[g % WEIR_PLOT_COLOURS]);
		weir_plot_quote(plot, run->groups[g]->name);
	}
	fputc('\n', plot->script);
	if (drawn)
		return 0;
	weir_plot_drop(plot);
	return -ENODATA;
}

int weir_report_plot_latencies(const struct weir_result *const *results, const char *const *names, uint32_t count, char **svg,
			       size_t *size, char error[WEIR_PLOT_ERROR])
{
	struct weir_plot plot;
	struct weir_histogram *sum = calloc(1, sizeof(*sum));
	double last = 10;
	uint32_t drawn = 0;
	int code = sum ? weir_plot_begin(&plot, WIDTH, 400, "share of events that were faster", "latency") : -ENOMEM;
	if (code) {
		free(sum);
		return code;
	}
	for (uint32_t i = 0; i < count; i++) {
		char name[16];
		memset(sum, 0, sizeof(*sum));
		weir_result_latency(results[i], sum);
		last = fmax(last, (double)sum->count);
		drawn += sum->count > 0;
		snprintf(name, sizeof(name), "l%u", i);
		put_histogram(&plot, name, sum);
	}
	free(sum);
	if (drawn < count) {
		weir_plot_drop(&plot);
		return -ENODATA;
	}
	weir_plot_share_axis(&plot, last);
	weir_plot_time_axis(&plot, 'y');
	for (uint32_t i = 0; i < count; i++) {
		fprintf(plot.script, "%s$l%u u 1:2 w l lw 2.5 lc rgb '%s' t ", i ? ", " : "plot ", i,
			WEIR_PLOT_COLOUR[i % WEIR_PLOT_COLOURS]);
		weir_plot_quote(&plot, names[i]);
	}
	fputc('\n', plot.script);
	return weir_plot_end(&plot, svg, size, error);
}

static int prepare(struct weir_plot *plot, const struct weir_result *result, enum weir_report_plot kind)
{
	const struct weir_result_run *run = weir_report_median_run(result);
	if (!run)
		return -ENODATA;
	switch (kind) {
	case WEIR_REPORT_THROUGHPUT: return draw_throughput(plot, result, run);
	case WEIR_REPORT_LATENCY: return draw_latency(plot, result);
	case WEIR_REPORT_GROUPS: return draw_groups(plot, result, run);
	case WEIR_REPORT_LATENCY_TIME: return draw_latency_time(plot, run);
	case WEIR_REPORT_LOSS: return draw_loss(plot, run);
	case WEIR_REPORT_CPU_TIME: return draw_cpu_time(plot, run);
	case WEIR_REPORT_CPU: return draw_cpu(plot, run);
	case WEIR_REPORT_MEMORY: return draw_memory(plot, run);
	case WEIR_REPORT_PLOTS: break;
	}
	return -ENODATA;
}

int weir_report_plot_draw(const struct weir_result *result, enum weir_report_plot kind, char **svg, size_t *size,
			  char error[WEIR_PLOT_ERROR])
{
	struct weir_plot plot;
	int code = prepare(&plot, result, kind);
	if (code == -ENOMEM)
		snprintf(error, WEIR_PLOT_ERROR, "plot: no memory");
	return code ? code : weir_plot_end(&plot, svg, size, error);
}
