// Figures for people: counts with k, M, G, times with ns, us, ms, s, three digits each.
#ifndef WEIR_PERF_FORMAT_H
#define WEIR_PERF_FORMAT_H

#include <stdint.h>

#define WEIR_FORMAT_ROOM 32u

struct weir_format_text {
	char text[WEIR_FORMAT_ROOM];
};

// "12.3 M", "950".
struct weir_format_text weir_format_count(double count);
// "12.3 us" with the letter for micro where it is shown: UTF-8.
struct weir_format_text weir_format_ns(double time_ns);
// "0", "0.0012 %", "3.4 %".
struct weir_format_text weir_format_ratio(double ratio);

#endif
