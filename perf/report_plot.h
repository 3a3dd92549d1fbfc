// The pictures of a report, each drawn from a result by gnuplot. The run whose delivered rate is the median stands for all
// repeats; the others are drawn in grey behind it. Long runs are gathered into at most 1,200 points.
#ifndef WEIR_PERF_REPORT_PLOT_H
#define WEIR_PERF_REPORT_PLOT_H

#include "perf/plot.h"
#include "perf/result.h"

enum weir_report_plot {
	WEIR_REPORT_THROUGHPUT,
	WEIR_REPORT_LATENCY, // by percentile
	WEIR_REPORT_GROUPS, // latency by percentile of each group, when there are several
	WEIR_REPORT_LATENCY_TIME,
	WEIR_REPORT_LOSS,
	WEIR_REPORT_CPU_TIME,
	WEIR_REPORT_CPU, // by core and kind
	WEIR_REPORT_MEMORY, // the router's
	WEIR_REPORT_PLOTS,
};

const char *weir_report_plot_title(enum weir_report_plot kind);
const char *weir_report_plot_caption(enum weir_report_plot kind);

// The run that stands for all; NULL when there is none.
const struct weir_result_run *weir_report_median_run(const struct weir_result *result);

// As weir_plot_end(); -ENODATA when the result has nothing to draw it from.
int weir_report_plot_draw(const struct weir_result *result, enum weir_report_plot kind, char **svg, size_t *size,
			  char error[WEIR_PLOT_ERROR]);

// The percentile curves of several results in one picture, each with a name.
int weir_report_plot_latencies(const struct weir_result *const *results, const char *const *names, uint32_t count, char **svg,
			       size_t *size, char error[WEIR_PLOT_ERROR]);

#endif
