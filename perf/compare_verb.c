// `weirperf compare`: two saved results side by side. Prints, saves a page, and with --gate lets a script stop at what got
// worse.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/usage.h"
#include "perf/compare.h"
#include "perf/verbs.h"

static const char USAGE[] =
	"usage: weirperf compare A.json B.json [OPTION...]   results of weirperf run, five repeats each or more\n"
	"  --html FILE   the comparison as one page\n"
	"  --json        print it as JSON, not as text\n"
	"  --gate        exit with 1 when a figure of B is worse beyond noise\n";

enum option_id { OPTION_HTML = 256, OPTION_JSON, OPTION_GATE };

static const struct option OPTIONS[] = {
	{ "html", required_argument, NULL, OPTION_HTML }, { "json", no_argument, NULL, OPTION_JSON },
	{ "gate", no_argument, NULL, OPTION_GATE },
	{ NULL, 0, NULL, 0 },
};

static void help(FILE *out)
{
	fputs(USAGE, out);
}

static struct lib_program program = {
	.name = "weirperf compare",
	.version = WEIR_PERF_VERSION,
	.help = help,
	.options = OPTIONS,
};

struct options {
	const char *html;
	bool is_json;
	bool is_gate;
};

// All of it on the heap: each is large.
struct work {
	struct weir_result a;
	struct weir_result b;
	struct weir_compare compare;
	char error[WEIR_RESULT_ERROR];
};

static int save_html(struct work *work, const char *const names[2], const char *path)
{
	FILE *stream = fopen(path, "we");
	int code = stream ? weir_compare_write_html(&work->compare, names, stream, work->error) : -errno;
	if (stream && fclose(stream) && code == 0)
		code = -errno;
	if (code && work->error[0] == '\0')
		snprintf(work->error, sizeof(work->error), "file %s: cannot write it: %s: give a path on a disk with room",
			 path, strerror(-code));
	if (code && stream)
		remove(path);
	return code;
}

static int compare(struct work *work, const char *const names[2], const struct options *options)
{
	int code = weir_result_load(&work->a, names[0], work->error);
	if (code == 0)
		code = weir_result_load(&work->b, names[1], work->error);
	if (code)
		return code;
	code = weir_compare(&work->a, &work->b, &work->compare);
	if (code) {
		snprintf(work->error, sizeof(work->error), "compare: cannot compare %.200s with %.200s: %s", names[0], names[1],
			 code == -EINVAL ? "one has no run: give results of weirperf run" : strerror(-code));
		return code;
	}
	if (options->is_json)
		code = weir_compare_write_json(&work->compare, names, stdout);
	else
		weir_compare_print(&work->compare, names, stdout);
	return code == 0 && options->html ? save_html(work, names, options->html) : code;
}

int weir_compare_verb(int argc, char **argv)
{
	struct options options = { 0 };
	int id;
	lib_usage_begin(&program, argc, argv);
	while ((id = lib_usage_next(&program, argc, argv, NULL)) >= 0) {
		switch (id) {
		case OPTION_HTML: options.html = optarg; break;
		case OPTION_JSON: options.is_json = true; break;
		case OPTION_GATE: options.is_gate = true; break;
		}
	}
	if (id != LIB_OPTIONS_END)
		return id == LIB_OPTIONS_DONE ? 0 : LIB_STATUS_USAGE;
	if (argc - optind != 2)
		return lib_usage_wrong(&program, "command line", "it names not two results", "weirperf compare A.json B.json");
	struct work *work = calloc(1, sizeof(*work));
	const char *const names[2] = { argv[optind], argv[optind + 1] };
	int code = work ? compare(work, names, &options) : -ENOMEM;
	if (code)
		fprintf(stderr, "weirperf: %s\n", work && work->error[0] ? work->error : strerror(-code));
	uint32_t worse = code ? 0 : weir_compare_count(&work->compare, WEIR_COMPARE_WORSE);
	if (work) {
		weir_result_fini(&work->a);
		weir_result_fini(&work->b);
	}
	free(work);
	return code ? 2 : options.is_gate && worse ? 1 : 0;
}
