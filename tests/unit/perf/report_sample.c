// Writes the page of a made-up result to a file, and its short form to standard output: report_test.py reads both.
#include "perf/report.h"

#include <string.h>

#include "tests/unit/perf/sample.h"

int main(int argc, char **argv)
{
	struct weir_result result = { 0 };
	char error[WEIR_RESULT_ERROR] = "";
	if (argc < 2) {
		fputs("usage: report_sample FILE [empty]\n", stderr);
		return 2;
	}
	if (argc < 3) {
		sample_fill(&result, 3, 1.0, 1);
		result.runs[1]->is_passed = true;
	}
	int code = weir_report_save_html(&result, argv[1], error);
	if (code)
		fprintf(stderr, "%s\n", error);
	else
		weir_report_print(&result, stdout);
	weir_result_fini(&result);
	return code ? 1 : 0;
}
