// A result as one HTML page for people: key figures, plots, steps, repeats, machine, placement, and what the words mean.
// Self-contained: style and pictures are in it, it fetches nothing and needs no scripts.
#ifndef WEIR_PERF_REPORT_H
#define WEIR_PERF_REPORT_H

#include <stdio.h>

#include "perf/result.h"

// 0 or -errno; `error` then says what and what to do (gnuplot is missing: -ENOENT). What was written by then is no page.
int weir_report_write_html(const struct weir_result *result, FILE *stream, char error[WEIR_RESULT_ERROR]);

// The same to a file, which is there only when it is whole.
int weir_report_save_html(const struct weir_result *result, const char *path, char error[WEIR_RESULT_ERROR]);

// What a result knows about its circumstances, as sections of a page: selftest, scenario, machine, placement.
void weir_report_write_circumstances(const struct weir_result *result, FILE *stream);

// A few lines for a terminal: verdict, rates, loss, percentiles, what disturbed the run.
void weir_report_print(const struct weir_result *result, FILE *stream);

#endif
