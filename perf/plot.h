// Plots as SVG, drawn by gnuplot as a child process: script and data go in by its standard input, the picture comes back from
// its standard output, no file is left anywhere. Also the few lines that make all of weirperf's plots look alike.
#ifndef WEIR_PERF_PLOT_H
#define WEIR_PERF_PLOT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define WEIR_PLOT_ERROR 512u

// Colours that most colour-blind readers can tell apart, for the first, second, ... curve.
#define WEIR_PLOT_COLOURS 8u
extern const char *const WEIR_PLOT_COLOUR[WEIR_PLOT_COLOURS];
#define WEIR_PLOT_GREY "#b8bec9"

// A script under construction.
struct weir_plot {
	FILE *script; // write gnuplot commands here
	char *text;
	size_t size;
};

// Begins a plot of width x height pixels: terminal, fonts, grid, key. 0 or -ENOMEM.
int weir_plot_begin(struct weir_plot *plot, uint32_t width, uint32_t height, const char *x, const char *y);

// A single-quoted string of gnuplot's, whatever the text holds.
void weir_plot_quote(struct weir_plot *plot, const char *text);

// An axis ('x' or 'y') of times in seconds, with ns, us, ms; logarithmic, from 100 ns at the lowest.
void weir_plot_time_axis(struct weir_plot *plot, char axis);
// An x axis of 1 / (1 - share), logarithmic, labelled 0 %, 90 %, 99 % ... as far as `last`.
void weir_plot_share_axis(struct weir_plot *plot, double last);

// Draws it and frees the script. `*svg` is the caller's, to free. 0 or -errno; `error` then says what and what to do:
// gnuplot is not there (-ENOENT), or it refused the script (-EIO).
int weir_plot_end(struct weir_plot *plot, char **svg, size_t *size, char error[WEIR_PLOT_ERROR]);
// Frees the script undrawn.
void weir_plot_drop(struct weir_plot *plot);

#endif
