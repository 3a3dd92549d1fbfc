// A search as text, JSON and page. Bounds are asked of the search, what a trial was made of comes from the document; loss
// means the same everywhere: lost, refused, missed its send time, or later than allowed.
#include "perf/search_show.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "perf/format.h"
#include "perf/html.h"
#include "perf/plot.h"
#include "perf/report.h"

bool weir_search_is_generator_bound(const struct weir_search_document *document, uint32_t goal)
{
	struct weir_search_result result = weir_search_result(document->search, goal);
	for (uint32_t i = 0; i < document->search->trial_count; i++) {
		if (document->search->trials[i].rate == result.upper && document->details[i].is_generator_late)
			return true;
	}
	return false;
}

// Why a result is not regular, or what else to know about it; "" when there is nothing to say.
static const char *remark(const struct weir_search_document *document, uint32_t goal)
{
	struct weir_search_result result = weir_search_result(document->search, goal);
	if (weir_search_is_generator_bound(document, goal))
		return "the generator was late there: this bound is the generator's";
	if (result.is_regular)
		return "";
	if (result.is_at_max)
		return "no loss even at the highest rate: give a higher --max";
	if (result.is_at_min)
		return "loss even at the lowest rate: give a lower --min";
	return "not closed: stopped, or out of time or trials";
}

static const char *loss_name(double ratio, char text[32])
{
	if (ratio == 0)
		return "no loss";
	snprintf(text, 32, "loss of at most %.3g %%", ratio * 100);
	return text;
}

void weir_search_print(const struct weir_search_document *document, FILE *stream)
{
	const struct weir_search *search = document->search;
	char name[32];
	fprintf(stream, "%s, over %s: %u trials, %.0f s\n", document->head->scenario, document->head->transport,
		search->trial_count, search->seconds);
	for (uint32_t g = 0; g < search->input.goal_count; g++) {
		struct weir_search_result result = weir_search_result(search, g);
		fprintf(stream, "%s: ", loss_name(search->input.goals[g].loss_ratio, name));
		if (result.lower > 0)
			fprintf(stream, "%s/s", weir_format_count(result.lower).text);
		else
			fputs("no rate was found", stream);
		if (result.upper > 0)
			fprintf(stream, ", no longer at %s/s", weir_format_count(result.upper).text);
		if (result.lower > 0)
			fprintf(stream, "; %s/s arrived", weir_format_count(result.conditional).text);
		const char *said = remark(document, g);
		fprintf(stream, "%s%s\n", said[0] ? "; " : "", said);
	}
}

static json_t *goal_json(const struct weir_search_document *document, uint32_t index)
{
	const struct weir_search_goal *goal = &document->search->input.goals[index];
	struct weir_search_result result = weir_search_result(document->search, index);
	json_t *json = json_pack("{s:f,s:f,s:f,s:f,s:f,s:f}", "loss_ratio", goal->loss_ratio, "exceed_ratio",
				 goal->exceed_ratio, "width", goal->width, "initial_s", goal->initial_s, "final_s",
				 goal->final_s, "sum_s", goal->sum_s);
	json_t *found = json_pack("{s:b,s:f,s:f,s:f,s:f,s:b,s:s}", "regular", result.is_regular, "lower", result.lower, "upper",
				  result.upper, "conditional", result.conditional, "full_s", result.full_s, "generator_bound",
				  weir_search_is_generator_bound(document, index), "remark", remark(document, index));
	json_object_update_new(json, found);
	return json;
}

int weir_search_write_json(const struct weir_search_document *document, FILE *stream)
{
	const struct weir_search *search = document->search;
	json_t *goals = json_array();
	json_t *trials = json_array();
	json_t *machine = json_object();
	for (uint32_t g = 0; g < search->input.goal_count; g++)
		json_array_append_new(goals, goal_json(document, g));
	for (uint32_t i = 0; i < search->trial_count; i++) {
		const struct weir_search_trial *trial = &search->trials[i];
		const struct weir_search_detail *detail = &document->details[i];
		json_t *json = json_pack("{s:f,s:f,s:f,s:I,s:I,s:f}", "rate", trial->rate, "duration_s", trial->duration_s,
					 "took_s", trial->took_s, "intended", (json_int_t)trial->intended, "gone",
					 (json_int_t)trial->lost, "loss_ratio", weir_search_loss_ratio(trial));
		json_t *more = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:i}", "lost", (json_int_t)detail->lost, "refused",
					 (json_int_t)detail->refused, "missed", (json_int_t)detail->missed, "late",
					 (json_int_t)detail->late, "lag_p99_ns", (json_int_t)detail->lag_p99_ns,
					 "latency_p99_ns", (json_int_t)detail->latency_p99_ns, "generator_late",
					 detail->is_generator_late, "discarded", (int)detail->discarded);
		json_object_update_new(json, more);
		json_array_append_new(trials, json);
	}
	for (uint32_t i = 0; i < document->head->machine.count; i++)
		json_object_set_new(machine, document->head->machine.all[i].name,
				    json_string(document->head->machine.all[i].value));
	json_t *json = json_pack("{s:s,s:i,s:s,s:s,s:b,s:f,s:f,s:f,s:o,s:o,s:o}", "format", "weirperf-search", "version", 1,
				 "scenario", document->head->scenario, "transport", document->head->transport, "cut",
				 document->is_cut, "rate_min", search->input.rate_min, "rate_max", search->input.rate_max,
				 "seconds", search->seconds, "goals", goals, "trials", trials, "machine", machine);
	int failed = json_dumpf(json, stream, JSON_COMPACT | JSON_REAL_PRECISION(12));
	json_decref(json);
	return failed || fputc('\n', stream) == EOF || fflush(stream) ? -EIO : 0;
}

// The trials within the first goal (or beyond it) as a data block: number, rate, size of the dot. Returns how many.
static uint32_t put_trials(struct weir_plot *plot, const struct weir_search *search, bool is_beyond)
{
	uint32_t count = 0;
	fprintf(plot->script, "$%s << EOD\n", is_beyond ? "beyond" : "within");
	for (uint32_t i = 0; i < search->trial_count; i++) {
		const struct weir_search_trial *trial = &search->trials[i];
		bool is_high = weir_search_loss_ratio(trial) > search->input.goals[0].loss_ratio;
		if (is_high != is_beyond)
			continue;
		fprintf(plot->script, "%u %.10g %.3g\n", i + 1, trial->rate, 0.5 + 0.25 * fmin(4, sqrt(trial->duration_s)));
		count++;
	}
	fputs("EOD\n", plot->script);
	return count;
}

// Every trial as a dot, larger the longer it took; the lower bounds found as lines.
static int draw(const struct weir_search_document *document, char **svg, size_t *size, char error[WEIR_PLOT_ERROR])
{
	static const char DOTS[] = "%s$%s u 1:2:3 w p pt 7 ps variable lc rgb '%s' t 'trial %s the first goal'";
	const struct weir_search *search = document->search;
	struct weir_plot plot;
	char name[32];
	int code = weir_plot_begin(&plot, 960, 380, "trial", "events/s");
	if (code)
		return code;
	uint32_t within = put_trials(&plot, search, false);
	uint32_t beyond = put_trials(&plot, search, true);
	fprintf(plot.script, "set logscale y 10\nset format y '%%.1s %%c'\nset xrange [0:%u]\nplot ", search->trial_count + 1);
	for (uint32_t g = 0; g < search->input.goal_count; g++) {
		struct weir_search_result result = weir_search_result(search, g);
		if (!(result.lower > 0))
			continue;
		fprintf(plot.script, "%.10g w l lw 1.5 lc rgb '%s' t ", result.lower,
			WEIR_PLOT_COLOUR[(4 + g) % WEIR_PLOT_COLOURS]);
		weir_plot_quote(&plot, loss_name(search->input.goals[g].loss_ratio, name));
		fputs(", ", plot.script);
	}
	if (within)
		fprintf(plot.script, DOTS, "", "within", WEIR_PLOT_COLOUR[2], "within");
	if (beyond)
		fprintf(plot.script, DOTS, within ? ", " : "", "beyond", WEIR_PLOT_COLOUR[3], "beyond");
	fputc('\n', plot.script);
	return weir_plot_end(&plot, svg, size, error);
}

static void write_goals(const struct weir_search_document *document, FILE *stream)
{
	const struct weir_search *search = document->search;
	char name[32];
	fputs("<section>\n<h2>Goals</h2>\n<table>\n<tr><th>goal</th><th>lower bound</th><th>upper bound</th><th>arrived/s</th>"
	      "<th>trial</th><th>tried at least</th><th>may exceed</th><th>width</th><th class=\"text\">remark</th></tr>\n",
	      stream);
	for (uint32_t g = 0; g < search->input.goal_count; g++) {
		const struct weir_search_goal *goal = &search->input.goals[g];
		struct weir_search_result result = weir_search_result(search, g);
		fprintf(stream, "<tr><td>%s</td>", loss_name(goal->loss_ratio, name));
		fprintf(stream, "<td><b>%s%s</b></td>", result.lower > 0 ? weir_format_count(result.lower).text : "none found",
			result.lower > 0 ? "/s" : "");
		fprintf(stream, "<td>%s%s</td>", result.upper > 0 ? weir_format_count(result.upper).text : "none found",
			result.upper > 0 ? "/s" : "");
		fprintf(stream, "<td>%s</td><td>%.3g s</td><td>%.3g s</td>", weir_format_count(result.conditional).text,
			goal->final_s, goal->sum_s);
		fprintf(stream, "<td>%s</td>", weir_format_ratio(goal->exceed_ratio).text);
		fprintf(stream, "<td>%s</td><td class=\"text\">%s</td></tr>\n", weir_format_ratio(goal->width).text,
			remark(document, g));
	}
	fputs("</table>\n<p class=\"quiet\">The lower bound is the highest rate that the goal holds at: of the time it was "
	      "tried with full trials, no more than the share that may exceed lost more than the goal allows. Loss is what "
	      "was lost, refused, missed its send time because the router gave no credit (a router that blocks loses "
	      "nothing, it is late), or arrived later than was allowed. Multiple Loss Ratio Search, "
	      "draft-ietf-bmwg-mlrsearch.</p>\n</section>\n", stream);
}

static void write_trials(const struct weir_search_document *document, FILE *stream)
{
	const struct weir_search *search = document->search;
	fputs("<section>\n<h2>Trials</h2>\n<table>\n<tr><th>trial</th><th>rate</th><th>seconds</th><th>intended</th>"
	      "<th>lost</th><th>refused</th><th>missed</th><th>late</th><th>loss</th><th>latency, 99 %</th>"
	      "<th>generator late, 99 %</th></tr>\n", stream);
	for (uint32_t i = 0; i < search->trial_count; i++) {
		const struct weir_search_trial *trial = &search->trials[i];
		const struct weir_search_detail *detail = &document->details[i];
		fprintf(stream, "<tr><td>%u</td><td>%s/s</td><td>%.2f</td>", i + 1, weir_format_count(trial->rate).text,
			trial->duration_s);
		fprintf(stream, "<td>%lu</td><td>%lu</td><td>%lu</td><td>%lu</td><td>%lu</td>", trial->intended,
			detail->lost, detail->refused, detail->missed, detail->late);
		fprintf(stream, "<td>%s</td>", weir_format_ratio(weir_search_loss_ratio(trial)).text);
		fprintf(stream, "<td>%s</td>", weir_format_ns((double)detail->latency_p99_ns).text);
		fprintf(stream, "<td>%s%s</td></tr>\n", weir_format_ns((double)detail->lag_p99_ns).text,
			detail->is_generator_late ? detail->discarded ? ", too late each time" : ", too late" : "");
	}
	fputs("</table>\n</section>\n", stream);
}

int weir_search_write_html(const struct weir_search_document *document, FILE *stream, char error[WEIR_RESULT_ERROR])
{
	static_assert(WEIR_RESULT_ERROR == WEIR_PLOT_ERROR, "messages of plots are messages of searches");
	const struct weir_search *search = document->search;
	char *svg = NULL;
	size_t size = 0;
	if (search->trial_count == 0) {
		snprintf(error, WEIR_RESULT_ERROR, "search: there is nothing to show: no trial was run");
		return -EINVAL;
	}
	int code = draw(document, &svg, &size, error);
	if (code)
		return code;
	weir_html_begin(stream, "weirperf: search");
	fputs("<h1>", stream);
	weir_html_text(stream, document->head->scenario);
	fprintf(stream, ": search for the highest rate</h1>\n<p class=\"quiet\">%u trials, %.0f s, over ", search->trial_count,
		search->seconds);
	weir_html_text(stream, document->head->transport);
	fprintf(stream, ", from %s/s", weir_format_count(search->input.rate_min).text);
	fprintf(stream, " to %s/s%s</p>\n", weir_format_count(search->input.rate_max).text,
		document->is_cut ? "; it was cut short" : "");
	write_goals(document, stream);
	fputs("<section>\n<h2>Course</h2>\n", stream);
	weir_html_picture(stream, svg, size, "A dot is a trial, larger the longer it took; lines are the lower bounds found.");
	fputs("</section>\n", stream);
	free(svg);
	write_trials(document, stream);
	weir_report_write_circumstances(document->head, stream);
	weir_html_end(stream);
	if (fflush(stream) || ferror(stream)) {
		snprintf(error, WEIR_RESULT_ERROR, "search: cannot write the page: give a path on a disk with room");
		return -EIO;
	}
	return 0;
}
