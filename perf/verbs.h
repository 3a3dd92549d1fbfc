// Verbs of weirperf with files of their own. Each takes its arguments from its name on, prints to stdout, says what is wrong on
// stderr and returns the exit status: 0 done, 1 done with a result that is no good, 2 usage or it could not be done.
#ifndef WEIR_PERF_VERBS_H
#define WEIR_PERF_VERBS_H

// report RESULT.json...: the page, the series, the latencies of a saved result; several become one.
int weir_report_verb(int argc, char **argv);

// compare A.json B.json: what changed beyond noise. With --gate, 1 when something got worse.
int weir_compare_verb(int argc, char **argv);

// search SCENARIO.yaml: highest rate without loss, and with given loss ratios. 1 when a goal has no lower bound.
int weir_search_verb(int argc, char **argv);

#endif
