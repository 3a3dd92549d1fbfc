// Short texts for weirctl's tables. Returned by value, so that several fit into one printf.
#include "control/ctl/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct weir_text scaled(double value, double step, const char *units)
{
	struct weir_text text;
	int unit = 0;

	while (value >= step * 0.9995 && units[unit + 1]) {
		value /= step;
		unit++;
	}
	if (unit == 0 || value >= 99.95 || value == floor(value))
		snprintf(text.bytes, sizeof(text.bytes), "%.0f%.1s", value, unit ? &units[unit] : "");
	else
		snprintf(text.bytes, sizeof(text.bytes), "%.1f%.1s", value, &units[unit]);
	return text;
}

struct weir_text weir_text_count(double value)
{
	return scaled(value, 1000, " kMGTP");
}

struct weir_text weir_text_bytes(uint64_t bytes)
{
	return scaled((double)bytes, 1024, " KMGTP");
}

struct weir_text weir_text_duration(uint64_t ns)
{
	struct weir_text text;

	if (ns < 10000)
		snprintf(text.bytes, sizeof(text.bytes), "%u ns", (unsigned)ns);
	else if (ns < 10000000)
		snprintf(text.bytes, sizeof(text.bytes), "%.0f us", (double)ns / 1e3);
	else if (ns < 10000000000)
		snprintf(text.bytes, sizeof(text.bytes), "%.1f ms", (double)ns / 1e6);
	else
		snprintf(text.bytes, sizeof(text.bytes), "%.0f s", (double)ns / 1e9);
	return text;
}

struct weir_text weir_text_ratio(double ratio)
{
	struct weir_text text;

	snprintf(text.bytes, sizeof(text.bytes), "%.0f%%", ratio * 100);
	return text;
}

struct weir_text weir_text_reasons(const json_t *reasons)
{
	struct weir_text text = { "-" };
	size_t used = 0;
	const char *name;
	json_t *count;

	json_object_foreach((json_t *)reasons, name, count)
	{
		char one[64];
		size_t length = (size_t)snprintf(one, sizeof(one), "%s%s %s", used ? ", " : "", name,
						 weir_text_count((double)json_integer_value(count)).bytes);

		if (used + length + sizeof(", ...") > sizeof(text.bytes)) {
			memcpy(text.bytes + used, ", ...", sizeof(", ..."));
			break;
		}
		memcpy(text.bytes + used, one, length + 1);
		used += length;
	}
	return text;
}

uint64_t weir_json_number(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

double weir_json_real(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

const char *weir_json_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}
