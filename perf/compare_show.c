// A comparison for people and programs: as text for a terminal, as JSON, as a page with pictures. Everything it shows is in
// struct weir_compare; no figure is computed here.
#include "perf/compare.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "perf/format.h"
#include "perf/html.h"
#include "perf/report_plot.h"

static struct weir_format_text figure(const struct weir_compare_row *row, double value)
{
	switch (row->unit) {
	case WEIR_COMPARE_NS: return weir_format_ns(value);
	case WEIR_COMPARE_RATIO: return weir_format_ratio(value);
	case WEIR_COMPARE_COUNT: break;
	}
	return weir_format_count(value);
}

static struct weir_format_text change(const struct weir_compare_row *row, double value)
{
	struct weir_format_text text;
	if (row->is_difference)
		snprintf(text.text, sizeof(text.text), "%+.2g pp", value * 100);
	else
		snprintf(text.text, sizeof(text.text), "%.3f", value);
	return text;
}

// What the whole says, in a sentence.
static void sum_up(const struct weir_compare *compare, FILE *stream)
{
	uint32_t better = weir_compare_count(compare, WEIR_COMPARE_BETTER);
	uint32_t worse = weir_compare_count(compare, WEIR_COMPARE_WORSE);
	uint32_t noisy = weir_compare_count(compare, WEIR_COMPARE_NOISY_SPREAD);
	if (weir_compare_count(compare, WEIR_COMPARE_TOO_FEW)) {
		fprintf(stream, "Nothing can be said: %u and %u repeats, %u of each are needed (weirperf run --repeats)",
			compare->a->run_count, compare->b->run_count, WEIR_COMPARE_REPEATS_MIN);
		return;
	}
	if (better + worse == 0)
		fputs("No change beyond noise", stream);
	else
		fprintf(stream, "Beyond noise, B is better in %u and worse in %u of %u figures", better, worse,
			compare->row_count);
	if (noisy)
		fprintf(stream, "; %u %s too noisy to say", noisy, noisy == 1 ? "is" : "are");
}

// Right-aligned in a column of characters, not bytes.
static void pad(FILE *stream, int width, const char *text)
{
	int letters = 0;
	for (const char *c = text; *c; c++)
		letters += (*c & 0xc0) != 0x80;
	fprintf(stream, "%*s%s", width > letters ? width - letters : 0, "", text);
}

void weir_compare_print(const struct weir_compare *compare, const char *const names[2], FILE *stream)
{
	fprintf(stream, "A: %s, %u repeats\nB: %s, %u repeats\n\n%-24s%12s%12s%10s  %-19s%8s%8s  %s\n", names[0],
		compare->a->run_count, names[1], compare->b->run_count, "", "A", "B", "B / A", "from .. to", "spread", "chance",
		"verdict");
	for (uint32_t i = 0; i < compare->row_count; i++) {
		const struct weir_compare_row *row = &compare->rows[i];
		char range[2 * WEIR_FORMAT_ROOM + 8];
		snprintf(range, sizeof(range), "%s .. %s", change(row, row->change.min).text,
			 change(row, row->change.max).text);
		fprintf(stream, "%-24s", row->name);
		pad(stream, 12, figure(row, row->a_side.median).text);
		pad(stream, 12, figure(row, row->b_side.median).text);
		pad(stream, 10, change(row, row->change.median).text);
		fprintf(stream, "  %-19s%6.1f %%%8.3f  %s\n", range, row->spread * 100, row->chance,
			weir_compare_verdict_name(row->verdict));
	}
	fputc('\n', stream);
	sum_up(compare, stream);
	fputs(".\n", stream);
	for (uint32_t i = 0; i < compare->caution_count; i++)
		fprintf(stream, "caution: %s\n", compare->cautions[i]);
}

static json_t *side_json(const struct weir_compare_side *side)
{
	return json_pack("{s:f,s:f,s:f}", "median", side->median, "min", side->min, "max", side->max);
}

static json_t *values_json(const double *values, uint32_t count)
{
	json_t *json = json_array();
	for (uint32_t i = 0; i < count; i++)
		json_array_append_new(json, json_real(values[i]));
	return json;
}

int weir_compare_write_json(const struct weir_compare *compare, const char *const names[2], FILE *stream)
{
	static const char *const UNITS[] = { "count", "ns", "ratio" };
	json_t *rows = json_array();
	json_t *cautions = json_array();
	for (uint32_t i = 0; i < compare->row_count; i++) {
		const struct weir_compare_row *row = &compare->rows[i];
		json_t *json = json_pack("{s:s,s:s,s:s,s:s,s:f,s:f,s:b}", "name", row->name, "unit", UNITS[row->unit],
					 "verdict", weir_compare_verdict_name(row->verdict), "change_is",
					 row->is_difference ? "difference" : "ratio", "spread", row->spread, "chance",
					 row->chance, "apart", row->is_apart);
		json_object_set_new(json, "a", side_json(&row->a_side));
		json_object_set_new(json, "b", side_json(&row->b_side));
		json_object_set_new(json, "change", side_json(&row->change));
		json_object_set_new(json, "a_repeats", values_json(row->a, row->a_count));
		json_object_set_new(json, "b_repeats", values_json(row->b, row->b_count));
		json_array_append_new(rows, json);
	}
	for (uint32_t i = 0; i < compare->caution_count; i++)
		json_array_append_new(cautions, json_string(compare->cautions[i]));
	json_t *json = json_pack("{s:s,s:s,s:i,s:i,s:o,s:o}", "a", names[0], "b", names[1], "better",
				 (int)weir_compare_count(compare, WEIR_COMPARE_BETTER), "worse",
				 (int)weir_compare_count(compare, WEIR_COMPARE_WORSE), "figures", rows, "cautions", cautions);
	int failed = json_dumpf(json, stream, JSON_COMPACT | JSON_REAL_PRECISION(12));
	json_decref(json);
	return failed || fputc('\n', stream) == EOF || fflush(stream) ? -EIO : 0;
}

// A median with the range of the repeats under it.
static void range_cell(FILE *stream, struct weir_format_text median, struct weir_format_text min, struct weir_format_text max)
{
	fprintf(stream, "<td><b>%s</b><br/><span class=\"quiet\">%s &#8230; %s</span></td>", median.text, min.text, max.text);
}

static void write_rows(const struct weir_compare *compare, FILE *stream)
{
	static const char *const BADGES[] = { "same", "good", "bad", "noisy", "noisy" };
	fputs("<section>\n<h2>Figures</h2>\n<table>\n<tr><th>median of the repeats, smallest &#8230; largest</th><th>A</th>"
	      "<th>B</th><th>B over A, by pairs</th><th>spread</th><th>chance</th><th>verdict</th></tr>\n", stream);
	for (uint32_t i = 0; i < compare->row_count; i++) {
		const struct weir_compare_row *row = &compare->rows[i];
		const struct weir_compare_side *sides[] = { &row->a_side, &row->b_side };
		fprintf(stream, "<tr><td>%s</td>", row->name);
		for (int s = 0; s < 2; s++)
			range_cell(stream, figure(row, sides[s]->median), figure(row, sides[s]->min),
				   figure(row, sides[s]->max));
		range_cell(stream, change(row, row->change.median), change(row, row->change.min), change(row, row->change.max));
		fprintf(stream, "<td>%.1f %%</td><td>%.3f</td><td><span class=\"badge %s\">%s</span></td></tr>\n",
			row->spread * 100, row->chance, BADGES[row->verdict], weir_compare_verdict_name(row->verdict));
	}
	fprintf(stream,
		"</table>\n<p class=\"quiet\">A figure changed when every pair of repeats says so, the rank test of Mann and "
		"Whitney leaves at most %.0f %% to chance, and the pairs spread over no more than %.0f %%; at least %u repeats "
		"of each are needed. Shares are compared by their difference, in percentage points (pp).</p>\n</section>\n",
		WEIR_COMPARE_CHANCE * 100, WEIR_COMPARE_NOISY * 100, WEIR_COMPARE_REPEATS_MIN);
}

// Every repeat's delivered rate as a dot, A and B side by side.
static int draw_repeats(const struct weir_compare *compare, char **svg, size_t *size, char error[WEIR_PLOT_ERROR])
{
	const struct weir_compare_row *row = &compare->rows[0];
	struct weir_plot plot;
	if (compare->row_count == 0 || row->unit != WEIR_COMPARE_COUNT)
		return -ENODATA;
	int code = weir_plot_begin(&plot, 960, 300, "repeat", "delivered events/s");
	if (code)
		return code;
	fputs("$a << EOD\n", plot.script);
	for (uint32_t i = 0; i < row->a_count; i++)
		fprintf(plot.script, "%g %g\n", i + 0.95, row->a[i]);
	fputs("EOD\n$b << EOD\n", plot.script);
	for (uint32_t i = 0; i < row->b_count; i++)
		fprintf(plot.script, "%g %g\n", i + 1.05, row->b[i]);
	fprintf(plot.script,
		"EOD\nset yrange [0:*]\nset offsets 0, 0, graph 0.08, 0\nset xrange [0.5:%u.5]\nset xtics 1\n"
		"set format y '%%.1s %%c'\nplot $a w p pt 7 ps 1 lc rgb '%s' t 'A', %.12g w l lw 1 lc rgb '%s' notitle, "
		"$b w p pt 7 ps 1 lc rgb '%s' t 'B', %.12g w l lw 1 lc rgb '%s' notitle\n",
		row->a_count > row->b_count ? row->a_count : row->b_count, WEIR_PLOT_COLOUR[0], row->a_side.median,
		WEIR_PLOT_COLOUR[0], WEIR_PLOT_COLOUR[1], row->b_side.median, WEIR_PLOT_COLOUR[1]);
	return weir_plot_end(&plot, svg, size, error);
}

static int write_plots(const struct weir_compare *compare, FILE *stream, char error[WEIR_RESULT_ERROR])
{
	static const char *const LETTERS[] = { "A", "B" };
	const struct weir_result *results[] = { compare->a, compare->b };
	char *svg;
	size_t size;
	int code = draw_repeats(compare, &svg, &size, error);
	if (code == 0) {
		fputs("<section>\n<h2>Throughput of every repeat</h2>\n", stream);
		weir_html_picture(stream, svg, size, "A dot is a repeat, a line the median.");
		fputs("</section>\n", stream);
		free(svg);
	} else if (code != -ENODATA) {
		return code;
	}
	code = weir_report_plot_latencies(results, LETTERS, 2, &svg, &size, error);
	if (code == 0) {
		fputs("<section>\n<h2>Latency by percentile</h2>\n", stream);
		weir_html_picture(stream, svg, size, "From the intended send time, all repeats together.");
		fputs("</section>\n", stream);
		free(svg);
	}
	return code == -ENODATA ? 0 : code;
}

int weir_compare_write_html(const struct weir_compare *compare, const char *const names[2], FILE *stream,
			    char error[WEIR_RESULT_ERROR])
{
	static_assert(WEIR_RESULT_ERROR == WEIR_PLOT_ERROR, "messages of plots are messages of comparisons");
	const struct weir_result *results[] = { compare->a, compare->b };
	weir_html_begin(stream, "weirperf: comparison");
	fputs("<h1>", stream);
	weir_html_text(stream, compare->a->scenario);
	fputs(": A and B</h1>\n<p><b>", stream);
	sum_up(compare, stream);
	fputs(".</b></p>\n", stream);
	for (int i = 0; i < 2; i++) {
		fprintf(stream, "<p class=\"quiet\">%c: ", 'A' + i);
		weir_html_text(stream, names[i]);
		fputs(results[i]->label[0] ? ", " : "", stream);
		weir_html_text(stream, results[i]->label);
		fprintf(stream, ", %u repeats</p>\n", results[i]->run_count);
	}
	write_rows(compare, stream);
	int code = write_plots(compare, stream, error);
	if (code)
		return code;
	if (compare->caution_count) {
		fputs("<section>\n<h2>Cautions</h2>\n<ul>\n", stream);
		for (uint32_t i = 0; i < compare->caution_count; i++) {
			fputs("<li>", stream);
			weir_html_text(stream, compare->cautions[i]);
			fputs("</li>\n", stream);
		}
		fputs("</ul>\n</section>\n", stream);
	}
	weir_html_end(stream);
	if (fflush(stream) || ferror(stream)) {
		snprintf(error, WEIR_RESULT_ERROR, "comparison: cannot write it: give a path on a disk with room");
		return -EIO;
	}
	return 0;
}
