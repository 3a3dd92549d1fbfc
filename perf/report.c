// The HTML page of a result, section by section, and its short form for a terminal.
#include "perf/report.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "perf/format.h"
#include "perf/html.h"
#include "perf/report_plot.h"

static const double SHARES[] = { 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 1 };
static const char *const SHARE_NAMES[] = { "50 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "longest" };
#define GROUPS_SHOWN 6u // in the terminal
#define SHARES_COUNT (sizeof(SHARES) / sizeof(SHARES[0]))

static void cell(FILE *stream, struct weir_format_text text)
{
	fprintf(stream, "<td>%s</td>", text.text);
}

static void count_cell(FILE *stream, uint64_t count)
{
	if (count == WEIR_RESULT_UNKNOWN)
		fputs("<td>not asked</td>", stream);
	else
		fprintf(stream, "<td>%lu</td>", count);
}

static void text_cell(FILE *stream, const char *text)
{
	fputs("<td class=\"text\">", stream);
	weir_html_text(stream, text);
	fputs("</td>", stream);
}

static void tile(FILE *stream, const char *figure, const char *what)
{
	fprintf(stream, "<div class=\"tile\"><b>%s</b><span>%s</span></div>\n", figure, what);
}

static bool is_passed(const struct weir_result *result)
{
	for (uint32_t i = 0; i < result->run_count; i++) {
		if (!result->runs[i]->is_passed)
			return false;
	}
	return result->run_count > 0;
}

static void write_head(FILE *stream, const struct weir_result *result)
{
	char when[64] = "";
	if (result->run_count) {
		time_t seconds = (time_t)(result->runs[0]->start_unix_ns / 1000000000u);
		struct tm parts;
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", gmtime_r(&seconds, &parts));
	}
	fputs("<h1>", stream);
	weir_html_text(stream, result->scenario);
	fprintf(stream, " <span class=\"badge %s</span></h1>\n<p>", is_passed(result) ? "good\">passed" : "bad\">failed");
	weir_html_text(stream, result->description);
	fputs("</p>\n<p class=\"quiet\">", stream);
	weir_html_text(stream, result->label[0] ? result->label : "weirperf");
	fprintf(stream, ", %s, over ", when);
	weir_html_text(stream, result->transport);
	fprintf(stream, ", %u %s</p>\n", result->run_count, result->run_count == 1 ? "run" : "runs");
	for (uint32_t i = 0; i < result->run_count; i++) {
		if (!result->runs[i]->verdict[0])
			continue;
		fprintf(stream, "<p>Run %u: ", i + 1);
		weir_html_text(stream, result->runs[i]->verdict);
		fputs("</p>\n", stream);
	}
}

static void write_tiles(FILE *stream, const struct weir_result *result, const struct weir_result_run *run)
{
	struct weir_result_counts sum = { 0 };
	struct weir_histogram *latency = calloc(1, sizeof(*latency));
	char text[96];
	for (uint32_t i = 0; i < result->run_count; i++)
		weir_result_counts_add(&sum, &result->runs[i]->counts);
	fputs("<div class=\"tiles\">\n", stream);
	snprintf(text, sizeof(text), "%s/s", weir_format_count(weir_result_delivered_rate(run)).text);
	tile(stream, text, "events delivered, median run");
	tile(stream, weir_format_ratio(weir_result_loss_ratio(&sum)).text, "of events lost, refused or missed");
	if (latency) {
		weir_result_latency(result, latency);
		for (size_t i = 0; i < SHARES_COUNT; i += 2) {
			snprintf(text, sizeof(text), "latency, %s", SHARE_NAMES[i]);
			tile(stream, weir_format_ns((double)weir_histogram_percentile(latency, SHARES[i])).text, text);
		}
	}
	fputs("</div>\n", stream);
	free(latency);
}

static int write_plots(FILE *stream, const struct weir_result *result, char error[WEIR_RESULT_ERROR])
{
	for (enum weir_report_plot kind = 0; kind < WEIR_REPORT_PLOTS; kind++) {
		char *svg;
		size_t size;
		int code = weir_report_plot_draw(result, kind, &svg, &size, error);
		if (code == -ENODATA)
			continue;
		if (code)
			return code;
		fprintf(stream, "<section>\n<h2>%s</h2>\n", weir_report_plot_title(kind));
		weir_html_picture(stream, svg, size, weir_report_plot_caption(kind));
		fputs("</section>\n", stream);
		free(svg);
	}
	return 0;
}

static void write_runs(FILE *stream, const struct weir_result *result)
{
	fputs("<section>\n<h2>Repeats</h2>\n<table>\n<tr><th>run</th><th>seconds</th><th>sent/s</th><th>delivered/s</th>"
	      "<th>lost, refused, missed</th>", stream);
	for (size_t s = 0; s < SHARES_COUNT; s++)
		fprintf(stream, "<th>%s</th>", SHARE_NAMES[s]);
	fputs("<th>generator late, 99.9 %</th></tr>\n", stream);
	for (uint32_t i = 0; i < result->run_count; i++) {
		const struct weir_result_run *run = result->runs[i];
		fprintf(stream, "<tr><td>%u</td><td>%.1f</td>", i + 1, (double)run->duration_ns / 1e9);
		cell(stream, weir_format_count(weir_result_sent_rate(run)));
		cell(stream, weir_format_count(weir_result_delivered_rate(run)));
		cell(stream, weir_format_ratio(weir_result_loss_ratio(&run->counts)));
		for (size_t s = 0; s < SHARES_COUNT; s++)
			cell(stream, weir_format_ns((double)weir_histogram_percentile(&run->latency, SHARES[s])));
		cell(stream, weir_format_ns((double)weir_histogram_percentile(&run->lag, 0.999)));
		fputs("</tr>\n", stream);
	}
	fputs("</table>\n</section>\n", stream);
}

static void counts_row(FILE *stream, const char *name, const struct weir_result_counts *counts)
{
	fputs("<tr>", stream);
	text_cell(stream, name);
	const uint64_t values[] = { counts->intended,  counts->published,  counts->acknowledged, counts->delivered,
				    counts->lost,      counts->refused,    counts->missed,       counts->duplicated,
				    counts->reordered, counts->redelivered, counts->damaged,     counts->unexplained };
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		count_cell(stream, values[i]);
	fputs("</tr>\n", stream);
}

static void write_account(FILE *stream, const struct weir_result *result)
{
	fputs("<section>\n<h2>Account of events</h2>\n<table>\n<tr><th>run</th><th>intended</th><th>published</th>"
	      "<th>acknowledged</th><th>delivered</th><th>lost</th><th>refused</th><th>missed</th><th>duplicated</th>"
	      "<th>reordered</th><th>redelivered</th><th>damaged</th><th>unexplained</th></tr>\n", stream);
	for (uint32_t i = 0; i < result->run_count; i++) {
		char name[16];
		snprintf(name, sizeof(name), "%u", i + 1);
		counts_row(stream, name, &result->runs[i]->counts);
	}
	fputs("</table>\n</section>\n", stream);
}

static void write_steps(FILE *stream, const struct weir_result_run *run)
{
	fputs("<section>\n<h2>Steps of the median run</h2>\n<table>\n<tr><th>step</th><th class=\"text\">what</th><th>from</th>"
	      "<th>seconds</th><th>intended/s</th><th>delivered</th><th>lost</th><th>refused</th><th>missed</th>", stream);
	for (size_t s = 0; s < SHARES_COUNT; s += 2)
		fprintf(stream, "<th>%s</th>", SHARE_NAMES[s]);
	fputs("</tr>\n", stream);
	for (uint32_t i = 0; i < run->step_count; i++) {
		const struct weir_result_step *step = run->steps[i];
		fputs("<tr>", stream);
		text_cell(stream, step->name);
		text_cell(stream, step->what);
		fprintf(stream, "<td>%.1f s</td><td>%.1f</td>", (double)step->start_ns / 1e9, (double)step->duration_ns / 1e9);
		cell(stream, weir_format_count(step->rate));
		count_cell(stream, step->counts.delivered);
		count_cell(stream, step->counts.lost);
		count_cell(stream, step->counts.refused);
		count_cell(stream, step->counts.missed);
		for (size_t s = 0; s < SHARES_COUNT; s += 2)
			cell(stream, weir_format_ns((double)weir_histogram_percentile(&step->latency, SHARES[s])));
		fputs("</tr>\n", stream);
	}
	fputs("</table>\n</section>\n", stream);
}

static void write_groups(FILE *stream, const struct weir_result_run *run)
{
	if (run->group_count == 0)
		return;
	fputs("<section>\n<h2>Groups of the median run</h2>\n<table>\n<tr><th>group</th><th class=\"text\">topic</th>"
	      "<th>consumers</th><th>killed</th><th>expected</th><th>delivered</th><th>lost</th><th>duplicated</th>"
	      "<th>reordered</th><th>redelivered</th>", stream);
	for (size_t s = 0; s < SHARES_COUNT; s += 2)
		fprintf(stream, "<th>%s</th>", SHARE_NAMES[s]);
	fputs("</tr>\n", stream);
	for (uint32_t g = 0; g < run->group_count; g++) {
		const struct weir_result_group *group = run->groups[g];
		const struct weir_result_counts *counts = &group->counts;
		const uint64_t values[] = { group->consumers, group->killed,      counts->expected,  counts->delivered,
					    counts->lost,     counts->duplicated, counts->reordered, counts->redelivered };
		fputs("<tr>", stream);
		text_cell(stream, group->name);
		text_cell(stream, group->topic);
		for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
			count_cell(stream, values[i]);
		for (size_t s = 0; s < SHARES_COUNT; s += 2)
			cell(stream, weir_format_ns((double)weir_histogram_percentile(&group->latency, SHARES[s])));
		fputs("</tr>\n", stream);
	}
	fputs("</table>\n</section>\n", stream);
}

static double steal_of(const struct weir_result_run *run)
{
	double sum = 0;
	for (uint32_t c = 0; c < run->core_count; c++)
		sum += run->cores[c].cpu.steal_ratio / run->core_count;
	return sum;
}

static void write_workers(FILE *stream, const struct weir_result *result)
{
	fputs("<section>\n<h2>The router's workers</h2>\n<table>\n<tr><th>run</th><th>worker</th><th>core</th><th>CPU time</th>"
	      "<th>busy turns</th><th>pushed off its core</th><th>slept</th><th>stolen from all cores</th></tr>\n", stream);
	for (uint32_t i = 0; i < result->run_count; i++) {
		const struct weir_result_run *run = result->runs[i];
		for (uint32_t w = 0; w < run->worker_count; w++) {
			const struct weir_result_worker *worker = &run->workers[w];
			fprintf(stream, "<tr><td>%u</td><td>%u</td><td>%u</td>", i + 1, worker->worker, worker->core);
			cell(stream, weir_format_ns((double)worker->cpu_ns));
			cell(stream, weir_format_ratio(worker->busy_ratio));
			fprintf(stream, "<td>%lu times</td><td>%lu times</td>", worker->involuntary_switches,
				worker->voluntary_switches);
			cell(stream, weir_format_ratio(steal_of(run)));
			fputs("</tr>\n", stream);
		}
	}
	fputs("</table>\n</section>\n", stream);
}

static void write_facts(FILE *stream, const char *title, const struct weir_result_facts *facts)
{
	if (facts->count == 0)
		return;
	fprintf(stream, "<section>\n<h2>%s</h2>\n<table class=\"facts\">\n", title);
	for (uint32_t i = 0; i < facts->count; i++) {
		fputs("<tr><td>", stream);
		weir_html_text(stream, facts->all[i].name);
		fputs("</td><td>", stream);
		weir_html_text(stream, facts->all[i].value);
		fputs("</td></tr>\n", stream);
	}
	fputs("</table>\n</section>\n", stream);
}

static void write_selftest(FILE *stream, const struct weir_result_selftest *selftest)
{
	fputs("<section>\n<h2>Selftest of the generator</h2>\n", stream);
	if (!selftest->is_done) {
		fputs("<p>It was not run: <b>weirperf selftest</b> proves the generator before it judges the router.</p>\n"
		      "</section>\n", stream);
		return;
	}
	fprintf(stream, "<p><span class=\"badge %s</span> ", selftest->is_passed ? "good\">passed" : "bad\">failed");
	weir_html_text(stream, selftest->reason);
	fprintf(stream,
		"</p>\n<p>Looped to its own sink it sent %lu events, lost %lu, reached %s/s; intended and true send time "
		"differed by at most %s", selftest->events, selftest->lost, weir_format_count(selftest->rate_max).text,
		weir_format_ns((double)selftest->clock_error_ns).text);
	fprintf(stream, " (99.9 %%); the loop's latency was %s", weir_format_ns((double)selftest->latency_p50_ns).text);
	fprintf(stream, " (50 %%) and %s (99 %%).</p>\n</section>\n", weir_format_ns((double)selftest->latency_p99_ns).text);
}

void weir_report_write_circumstances(const struct weir_result *result, FILE *stream)
{
	write_selftest(stream, &result->selftest);
	write_facts(stream, "Scenario", &result->parameters);
	write_facts(stream, "Machine", &result->machine);
	write_facts(stream, "Placement", &result->placement);
}

static const char WORDS[] =
	"<section>\n<h2>What the words mean</h2>\n<table class=\"facts\">\n"
	"<tr><td>latency</td><td>from the time an event should have been sent to its consumer's callback: an event that had to "
	"wait for credit, or for a late generator, counts that wait</td></tr>\n"
	"<tr><td>intended</td><td>what the open-loop schedule asked for; each is published, refused or missed</td></tr>\n"
	"<tr><td>missed</td><td>could not be handed over within the lateness limit after its intended time, or not at all; a "
	"router that blocks loses nothing and shows here that it is too slow</td></tr>\n"
	"<tr><td>lost</td><td>acknowledged and then delivered to nobody of a group</td></tr>\n"
	"<tr><td>refused</td><td>finally refused by the router, with a reason</td></tr>\n"
	"<tr><td>redelivered</td><td>delivered again with the mark, after a member died or left; no fault</td></tr>\n"
	"<tr><td>unexplained</td><td>what the router's ledger does not balance</td></tr>\n"
	"<tr><td>generator late</td><td>true send time after intended send time for the generator's own sake</td></tr>\n"
	"<tr><td>stolen</td><td>time the hypervisor gave to others; a run with much of it says little</td></tr>\n"
	"</table>\n</section>\n";

int weir_report_write_html(const struct weir_result *result, FILE *stream, char error[WEIR_RESULT_ERROR])
{
	static_assert(WEIR_RESULT_ERROR == WEIR_PLOT_ERROR, "messages of plots are messages of reports");
	const struct weir_result_run *run = weir_report_median_run(result);
	if (!run) {
		snprintf(error, WEIR_RESULT_ERROR, "report: the result has no run: give one that `weirperf run` wrote");
		return -EINVAL;
	}
	char title[WEIR_RESULT_NAME + 16];
	snprintf(title, sizeof(title), "weirperf: %s", result->scenario);
	weir_html_begin(stream, title);
	write_head(stream, result);
	write_tiles(stream, result, run);
	int code = write_plots(stream, result, error);
	if (code)
		return code;
	write_runs(stream, result);
	write_account(stream, result);
	write_steps(stream, run);
	write_groups(stream, run);
	write_workers(stream, result);
	weir_report_write_circumstances(result, stream);
	fputs(WORDS, stream);
	weir_html_end(stream);
	if (fflush(stream) || ferror(stream)) {
		snprintf(error, WEIR_RESULT_ERROR, "report: cannot write it: %s", strerror(EIO));
		return -EIO;
	}
	return 0;
}

int weir_report_save_html(const struct weir_result *result, const char *path, char error[WEIR_RESULT_ERROR])
{
	char part[PATH_MAX];
	snprintf(part, sizeof(part), "%s.part", path);
	FILE *stream = fopen(part, "we");
	if (!stream) {
		int code = -errno;
		snprintf(error, WEIR_RESULT_ERROR, "report %s: cannot create it: %s: give a path that can be written", path,
			 strerror(-code));
		return code;
	}
	int code = weir_report_write_html(result, stream, error);
	bool is_closed = fclose(stream) == 0;
	if (code == 0 && (!is_closed || rename(part, path))) {
		code = -errno;
		snprintf(error, WEIR_RESULT_ERROR, "report %s: cannot write it: %s: give a path on a disk with room", path,
			 strerror(-code));
	}
	if (code)
		unlink(part);
	return code;
}

// Of many groups only the slowest, and those that did not get everything.
static void groups_print(const struct weir_result_run *run, FILE *stream)
{
	uint64_t slowest = 0;
	for (uint32_t g = 0; g < run->group_count; g++) {
		uint64_t p99 = weir_histogram_percentile(&run->groups[g]->latency, 0.99);
		slowest = p99 > slowest ? p99 : slowest;
	}
	for (uint32_t g = 0; g < run->group_count && run->group_count > 1; g++) {
		const struct weir_result_group *group = run->groups[g];
		const struct weir_histogram *latency = &group->latency;
		bool is_slowest = weir_histogram_percentile(latency, 0.99) == slowest;
		if (run->group_count > GROUPS_SHOWN && !is_slowest && group->counts.delivered == group->counts.expected)
			continue;
		fprintf(stream, "\n  group %s of %s: delivered %lu of %lu, latency 50 %% %s", group->name, group->topic,
			group->counts.delivered, group->counts.expected,
			weir_format_ns((double)weir_histogram_percentile(latency, 0.5)).text);
		fprintf(stream, ", 99 %% %s", weir_format_ns((double)weir_histogram_percentile(latency, 0.99)).text);
		fprintf(stream, ", longest %s", weir_format_ns((double)latency->max).text);
	}
}

void weir_report_print(const struct weir_result *result, FILE *stream)
{
	fprintf(stream, "%s%s%s, over %s, %u %s: %s\n", result->scenario, result->label[0] ? ", " : "", result->label,
		result->transport, result->run_count, result->run_count == 1 ? "run" : "runs",
		is_passed(result) ? "passed" : "FAILED");
	for (uint32_t i = 0; i < result->run_count; i++) {
		const struct weir_result_run *run = result->runs[i];
		const struct weir_result_counts *counts = &run->counts;
		uint64_t pushed = 0;
		for (uint32_t w = 0; w < run->worker_count; w++)
			pushed += run->workers[w].involuntary_switches;
		fprintf(stream, "run %u: %.1f s, sent %s/s", i + 1, (double)run->duration_ns / 1e9,
			weir_format_count(weir_result_sent_rate(run)).text);
		fprintf(stream,
			", delivered %s/s; intended %lu, published %lu, delivered %lu, lost %lu, refused %lu, missed %lu,"
			" duplicated %lu, reordered %lu, redelivered %lu\n",
			weir_format_count(weir_result_delivered_rate(run)).text, counts->intended, counts->published,
			counts->delivered, counts->lost, counts->refused, counts->missed, counts->duplicated,
			counts->reordered, counts->redelivered);
		fputs("  latency", stream);
		for (size_t s = 0; s < SHARES_COUNT; s++)
			fprintf(stream, "%s %s %s", s ? "," : "", SHARE_NAMES[s],
				weir_format_ns((double)weir_histogram_percentile(&run->latency, SHARES[s])).text);
		groups_print(run, stream);
		fprintf(stream, "\n  generator late %s (99.9 %%)",
			weir_format_ns((double)weir_histogram_percentile(&run->lag, 0.999)).text);
		fprintf(stream, ", stolen %s, workers pushed off %lu times\n", weir_format_ratio(steal_of(run)).text, pushed);
		if (run->verdict[0])
			fprintf(stream, "  %s\n", run->verdict);
	}
}
