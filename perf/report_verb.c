// `weirperf report`: makes pages, series and .hgrm files from results that were saved before, and joins repeats that were run
// one by one into one result.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/usage.h"
#include "perf/report.h"
#include "perf/verbs.h"

static const char USAGE[] =
	"usage: weirperf report RESULT.json... [OPTION...]   several files of one scenario become one result of all repeats\n"
	"  --html FILE     the report as one page\n"
	"  --csv FILE      the series, a row a second\n"
	"  --hgrm FILE     the latencies of all repeats for HdrHistogram's plotters, in microseconds\n"
	"  --output FILE   the result as JSON, for compare\n"
	"  --json          print the result as JSON, not as text\n";

enum option_id { OPTION_HTML = 256, OPTION_CSV, OPTION_HGRM, OPTION_OUTPUT, OPTION_JSON };

static const struct option OPTIONS[] = {
	{ "html", required_argument, NULL, OPTION_HTML }, { "csv", required_argument, NULL, OPTION_CSV },
	{ "hgrm", required_argument, NULL, OPTION_HGRM }, { "output", required_argument, NULL, OPTION_OUTPUT },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ NULL, 0, NULL, 0 },
};

static void help(FILE *out)
{
	fputs(USAGE, out);
}

static struct lib_program program = {
	.name = "weirperf report",
	.version = WEIR_PERF_VERSION,
	.help = help,
	.options = OPTIONS,
};

struct options {
	const char *html, *csv, *hgrm, *output;
	bool is_json;
};

static int fail(const char *message)
{
	fprintf(stderr, "weirperf: %s\n", message);
	return 2;
}

static int hgrm_write(const struct weir_result *result, FILE *stream)
{
	struct weir_histogram *latency = calloc(1, sizeof(*latency));
	int code = latency ? 0 : -ENOMEM;
	if (latency)
		weir_result_latency(result, latency);
	if (code == 0)
		code = weir_histogram_write_hgrm(latency, 1000, stream);
	free(latency);
	return code;
}

static int save(const struct weir_result *result, const char *path, int (*write)(const struct weir_result *, FILE *))
{
	FILE *stream = fopen(path, "we");
	int code = stream ? write(result, stream) : -errno;
	if (stream && fclose(stream) && code == 0)
		code = -errno;
	if (code)
		fprintf(stderr, "weirperf: file %s: cannot write it: %s: give a path on a disk with room\n", path,
			strerror(-code));
	return code;
}

static int deliver(const struct weir_result *result, const struct options *options, char error[WEIR_RESULT_ERROR])
{
	int code = 0;
	if (options->is_json)
		code = weir_result_write_json(result, stdout);
	else
		weir_report_print(result, stdout);
	if (code == 0 && options->output)
		code = weir_result_save(result, options->output, error);
	if (code == 0 && options->html)
		code = weir_report_save_html(result, options->html, error);
	if (error[0])
		fail(error);
	if (code == 0 && options->csv)
		code = save(result, options->csv, weir_result_write_csv);
	if (code == 0 && options->hgrm)
		code = save(result, options->hgrm, hgrm_write);
	return code;
}

static int join(struct weir_result *all, char *const *paths, int count, char error[WEIR_RESULT_ERROR])
{
	struct weir_result *one = calloc(1, sizeof(*one));
	int code = one ? 0 : -ENOMEM;
	for (int i = 0; i < count && code == 0; i++) {
		code = weir_result_load(one, paths[i], error);
		if (code)
			break;
		code = weir_result_append(all, one);
		if (code)
			snprintf(error, WEIR_RESULT_ERROR, "result %s: cannot join it with %s: %s", paths[i], paths[0],
				 code == -ENOSPC ? "they have too many repeats: leave some out"
						 : "scenario, transport or label differ: give repeats of one variant");
		weir_result_fini(one);
	}
	free(one);
	return code;
}

int weir_report_verb(int argc, char **argv)
{
	struct options options = { 0 };
	char error[WEIR_RESULT_ERROR] = "";
	int id;
	lib_usage_begin(&program, argc, argv);
	while ((id = lib_usage_next(&program, argc, argv, NULL)) >= 0) {
		switch (id) {
		case OPTION_HTML: options.html = optarg; break;
		case OPTION_CSV: options.csv = optarg; break;
		case OPTION_HGRM: options.hgrm = optarg; break;
		case OPTION_OUTPUT: options.output = optarg; break;
		case OPTION_JSON: options.is_json = true; break;
		}
	}
	if (id != LIB_OPTIONS_END)
		return id == LIB_OPTIONS_DONE ? 0 : LIB_STATUS_USAGE;
	if (optind == argc)
		return lib_usage_wrong(&program, "command line", "it names no result", "weirperf report RESULT.json");
	struct weir_result *result = calloc(1, sizeof(*result));
	int code = result ? join(result, argv + optind, argc - optind, error) : -ENOMEM;
	if (code)
		fail(error[0] ? error : "report: cannot begin: out of memory: free some");
	else
		code = deliver(result, &options, error);
	if (result)
		weir_result_fini(result);
	free(result);
	return code ? 2 : 0;
}
