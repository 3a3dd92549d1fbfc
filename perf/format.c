// Figures for people.
#include "perf/format.h"

#include <math.h>
#include <stdio.h>

static struct weir_format_text scaled(double value, const char *const *units, uint32_t last)
{
	struct weir_format_text text;
	uint32_t unit = 0;
	for (; unit < last && fabs(value) >= 999.5; unit++)
		value /= 1000;
	double size = fabs(value);
	int digits = size >= 99.95 || size == floor(size) ? 0 : size >= 9.995 ? 1 : 2;
	snprintf(text.text, sizeof(text.text), "%.*f%s", digits, value, units[unit]);
	return text;
}

struct weir_format_text weir_format_count(double count)
{
	static const char *const UNITS[] = { "", " k", " M", " G" };
	return scaled(count, UNITS, 3);
}

struct weir_format_text weir_format_ns(double time_ns)
{
	static const char *const UNITS[] = { " ns", " \u00b5s", " ms", " s" };
	return scaled(time_ns, UNITS, 3);
}

struct weir_format_text weir_format_ratio(double ratio)
{
	struct weir_format_text text = { "0" };
	if (ratio != 0)
		snprintf(text.text, sizeof(text.text), "%.2g %%", ratio * 100);
	return text;
}
