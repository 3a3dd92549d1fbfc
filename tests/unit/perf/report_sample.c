// Writes the page of a made-up result, or of two compared, to a file, and the short form to standard output: report_test.py
// reads both.
#include "perf/report.h"

#include <string.h>

#include "perf/compare.h"
#include "tests/unit/perf/sample.h"

static int compare_pages(const char *path, char error[WEIR_RESULT_ERROR])
{
	static const char *const NAMES[] = { "a <1>.json", "b.json" };
	static struct weir_compare compare;
	struct weir_result a = { 0 };
	struct weir_result b = { 0 };
	sample_fill_noisy(&a, 5, 1, 0.005, 1);
	sample_fill_noisy(&b, 5, 1.1, 0.005, 2);
	FILE *stream = fopen(path, "w");
	int code = stream ? weir_compare(&a, &b, &compare) : -1;
	if (code == 0)
		code = weir_compare_write_html(&compare, NAMES, stream, error);
	if (code == 0)
		weir_compare_print(&compare, NAMES, stdout);
	if (stream)
		fclose(stream);
	weir_result_fini(&a);
	weir_result_fini(&b);
	return code;
}

static int report_page(const char *path, bool is_empty, char error[WEIR_RESULT_ERROR])
{
	struct weir_result result = { 0 };
	if (!is_empty) {
		sample_fill(&result, 3, 1.0, 1);
		result.runs[1]->is_passed = true;
	}
	int code = weir_report_save_html(&result, path, error);
	if (code == 0)
		weir_report_print(&result, stdout);
	weir_result_fini(&result);
	return code;
}

int main(int argc, char **argv)
{
	char error[WEIR_RESULT_ERROR] = "";
	const char *what = argc > 2 ? argv[2] : "";
	if (argc < 2) {
		fputs("usage: report_sample FILE [empty | compare]\n", stderr);
		return 2;
	}
	int code = strcmp(what, "compare") == 0 ? compare_pages(argv[1], error)
						: report_page(argv[1], strcmp(what, "empty") == 0, error);
	if (code)
		fprintf(stderr, "%s\n", error);
	return code ? 1 : 0;
}
