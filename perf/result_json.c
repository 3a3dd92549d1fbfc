// A result document as JSON, both ways by one table of fields per struct, so that what is written is what is read. Seconds
// are written as columns, histograms as [bucket, count] pairs of the buckets that are not empty.
#include "perf/result.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT_NAME "weirperf-result"

enum kind { U64, U32, REAL, BOOL, TEXT };

struct field {
	const char *name;
	size_t offset;
	enum kind kind;
	uint32_t size; // TEXT: of the array
};

#define F(type, field_name, field_kind) { #field_name, offsetof(struct type, field_name), field_kind, 0 }
#define T(type, field_name) { #field_name, offsetof(struct type, field_name), TEXT, sizeof(((struct type *)0)->field_name) }
#define END { NULL, 0, U64, 0 }

static const struct field COUNTS[] = {
	F(weir_result_counts, intended, U64),    F(weir_result_counts, published, U64),
	F(weir_result_counts, acknowledged, U64), F(weir_result_counts, refused, U64),
	F(weir_result_counts, missed, U64),      F(weir_result_counts, expected, U64),
	F(weir_result_counts, delivered, U64),   F(weir_result_counts, lost, U64),
	F(weir_result_counts, duplicated, U64),  F(weir_result_counts, reordered, U64),
	F(weir_result_counts, redelivered, U64), F(weir_result_counts, damaged, U64),
	F(weir_result_counts, unexplained, U64), F(weir_result_counts, bytes, U64),
	END,
};

static const struct field SECOND[] = {
	F(weir_result_second, start_ns, U64),       F(weir_result_second, duration_ns, U64),
	F(weir_result_second, step, U64),           F(weir_result_second, intended, U64),
	F(weir_result_second, sent, U64),           F(weir_result_second, acknowledged, U64),
	F(weir_result_second, received, U64),       F(weir_result_second, lost, U64),
	F(weir_result_second, refused, U64),        F(weir_result_second, missed, U64),
	F(weir_result_second, redelivered, U64),    F(weir_result_second, credit_stalls, U64),
	F(weir_result_second, credit_stall_ns, U64), F(weir_result_second, lag_max_ns, U64),
	F(weir_result_second, latency_p50_ns, U64), F(weir_result_second, latency_p99_ns, U64),
	F(weir_result_second, latency_max_ns, U64), F(weir_result_second, router_bytes, U64), END,
};

static const struct field CPU[] = {
	F(weir_result_cpu, user_ratio, REAL),  F(weir_result_cpu, system_ratio, REAL), F(weir_result_cpu, irq_ratio, REAL),
	F(weir_result_cpu, steal_ratio, REAL), F(weir_result_cpu, idle_ratio, REAL),   END,
};

static const struct field CORE[] = { F(weir_result_core, core, U32), T(weir_result_core, role), END };

static const struct field WORKER[] = {
	F(weir_result_worker, worker, U32),
	F(weir_result_worker, core, U32),
	F(weir_result_worker, cpu_ns, U64),
	F(weir_result_worker, voluntary_switches, U64),
	F(weir_result_worker, involuntary_switches, U64),
	F(weir_result_worker, busy_ratio, REAL),
	END,
};

static const struct field STEP[] = {
	T(weir_result_step, name),             T(weir_result_step, what),    F(weir_result_step, start_ns, U64),
	F(weir_result_step, duration_ns, U64), F(weir_result_step, rate, REAL), END,
};

static const struct field GROUP[] = {
	T(weir_result_group, topic),       T(weir_result_group, name), F(weir_result_group, consumers, U32),
	F(weir_result_group, killed, U32), END,
};

static const struct field RUN[] = {
	F(weir_result_run, start_unix_ns, U64), F(weir_result_run, duration_ns, U64), F(weir_result_run, drain_ns, U64),
	F(weir_result_run, is_passed, BOOL),    T(weir_result_run, verdict),          END,
};

static const struct field SELFTEST[] = {
	F(weir_result_selftest, is_done, BOOL),       F(weir_result_selftest, is_passed, BOOL),
	F(weir_result_selftest, events, U64),         F(weir_result_selftest, lost, U64),
	F(weir_result_selftest, rate_max, REAL),      F(weir_result_selftest, clock_error_ns, U64),
	F(weir_result_selftest, latency_p50_ns, U64), F(weir_result_selftest, latency_p99_ns, U64),
	T(weir_result_selftest, reason),              END,
};

static const struct field RESULT[] = {
	T(weir_result, scenario), T(weir_result, description), T(weir_result, label), T(weir_result, transport), END,
};

static const struct field FACT[] = { T(weir_result_fact, name), T(weir_result_fact, value), END };

static json_t *value_put(const void *object, const struct field *field)
{
	const char *at = (const char *)object + field->offset;
	switch (field->kind) {
	case U64: return json_integer((json_int_t) *(const uint64_t *)at);
	case U32: return json_integer((json_int_t) *(const uint32_t *)at);
	case REAL: return json_real(isfinite(*(const double *)at) ? *(const double *)at : 0); // JSON knows no infinity
	case BOOL: return json_boolean(*(const bool *)at);
	case TEXT: break;
	}
	return json_string(at);
}

static void fields_put(json_t *json, const void *object, const struct field *fields)
{
	for (; fields->name; fields++)
		json_object_set_new(json, fields->name, value_put(object, fields));
}

static json_t *object_put(const void *object, const struct field *fields)
{
	json_t *json = json_object();
	fields_put(json, object, fields);
	return json;
}

// For readers of the file who want figures, not buckets; not read back.
static json_t *percentiles_put(const struct weir_histogram *histogram)
{
	static const struct {
		const char *name;
		double share;
	} ALL[] = { { "p50", 0.5 },      { "p90", 0.9 },        { "p99", 0.99 },
		    { "p99_9", 0.999 }, { "p99_99", 0.9999 }, { "p99_999", 0.99999 } };
	json_t *json = json_pack("{s:f}", "mean", weir_histogram_mean(histogram));
	for (size_t i = 0; i < sizeof(ALL) / sizeof(ALL[0]); i++)
		json_object_set_new(json, ALL[i].name,
				    json_integer((json_int_t)weir_histogram_percentile(histogram, ALL[i].share)));
	return json;
}

static json_t *histogram_put(const struct weir_histogram *histogram)
{
	json_t *buckets = json_array();
	for (uint32_t i = 0; i < WEIR_HISTOGRAM_BUCKETS; i++) {
		if (histogram->buckets[i])
			json_array_append_new(buckets, json_pack("[i,I]", (int)i, (json_int_t)histogram->buckets[i]));
	}
	return json_pack("{s:i,s:i,s:I,s:I,s:I,s:o,s:o}", "bits", (int)WEIR_HISTOGRAM_BITS, "value_bits",
			 (int)WEIR_HISTOGRAM_VALUE_BITS, "count", (json_int_t)histogram->count, "sum",
			 (json_int_t)histogram->sum, "max", (json_int_t)histogram->max, "percentiles",
			 percentiles_put(histogram), "buckets", buckets);
}

static json_t *seconds_put(const struct weir_result_run *run)
{
	json_t *columns = json_object();
	for (const struct field *field = SECOND; field->name; field++) {
		json_t *column = json_array();
		for (uint32_t i = 0; i < run->second_count; i++)
			json_array_append_new(column, value_put(&run->seconds[i], field));
		json_object_set_new(columns, field->name, column);
	}
	for (const struct field *field = CPU; field->name && run->core_count; field++) {
		json_t *rows = json_array();
		for (uint32_t i = 0; i < run->second_count; i++) {
			json_t *row = json_array();
			for (uint32_t c = 0; c < run->core_count; c++)
				json_array_append_new(row, value_put(&weir_result_second_cpu(run, i)[c], field));
			json_array_append_new(rows, row);
		}
		char name[WEIR_RESULT_NAME];
		snprintf(name, sizeof(name), "cpu_%s", field->name);
		json_object_set_new(columns, name, rows);
	}
	return columns;
}

static json_t *step_put(const struct weir_result_step *step)
{
	json_t *json = object_put(step, STEP);
	json_object_set_new(json, "counts", object_put(&step->counts, COUNTS));
	json_object_set_new(json, "latency_ns", histogram_put(&step->latency));
	return json;
}

static json_t *group_put(const struct weir_result_group *group)
{
	json_t *json = object_put(group, GROUP);
	json_object_set_new(json, "counts", object_put(&group->counts, COUNTS));
	json_object_set_new(json, "latency_ns", histogram_put(&group->latency));
	return json;
}

static json_t *run_put(const struct weir_result_run *run)
{
	json_t *json = object_put(run, RUN);
	json_t *steps = json_array();
	json_t *groups = json_array();
	json_t *cores = json_array();
	json_t *workers = json_array();
	for (uint32_t i = 0; i < run->step_count; i++)
		json_array_append_new(steps, step_put(run->steps[i]));
	for (uint32_t i = 0; i < run->group_count; i++)
		json_array_append_new(groups, group_put(run->groups[i]));
	for (uint32_t i = 0; i < run->core_count; i++) {
		json_t *core = object_put(&run->cores[i], CORE);
		fields_put(core, &run->cores[i].cpu, CPU);
		json_array_append_new(cores, core);
	}
	for (uint32_t i = 0; i < run->worker_count; i++)
		json_array_append_new(workers, object_put(&run->workers[i], WORKER));
	json_object_set_new(json, "counts", object_put(&run->counts, COUNTS));
	json_object_set_new(json, "latency_ns", histogram_put(&run->latency));
	json_object_set_new(json, "service_ns", histogram_put(&run->service));
	json_object_set_new(json, "lag_ns", histogram_put(&run->lag));
	json_object_set_new(json, "steps", steps);
	json_object_set_new(json, "groups", groups);
	json_object_set_new(json, "cores", cores);
	json_object_set_new(json, "workers", workers);
	json_object_set_new(json, "seconds", seconds_put(run));
	return json;
}

static json_t *facts_put(const struct weir_result_facts *facts)
{
	json_t *json = json_array();
	for (uint32_t i = 0; i < facts->count; i++)
		json_array_append_new(json, object_put(&facts->all[i], FACT));
	return json;
}

int weir_result_write_json(const struct weir_result *result, FILE *stream)
{
	json_t *json = json_pack("{s:s,s:i}", "format", FORMAT_NAME, "version", (int)WEIR_RESULT_VERSION);
	fields_put(json, result, RESULT);
	json_object_set_new(json, "parameters", facts_put(&result->parameters));
	json_object_set_new(json, "machine", facts_put(&result->machine));
	json_object_set_new(json, "placement", facts_put(&result->placement));
	json_object_set_new(json, "selftest", object_put(&result->selftest, SELFTEST));
	json_t *runs = json_array();
	for (uint32_t i = 0; i < result->run_count; i++)
		json_array_append_new(runs, run_put(result->runs[i]));
	json_object_set_new(json, "runs", runs);
	// 17 digits bring every double back as it was.
	int failed = json_dumpf(json, stream, JSON_COMPACT | JSON_REAL_PRECISION(17));
	json_decref(json);
	return failed || fputc('\n', stream) == EOF || fflush(stream) ? -EIO : 0;
}

int weir_result_save(const struct weir_result *result, const char *path, char error[WEIR_RESULT_ERROR])
{
	FILE *stream = fopen(path, "we");
	int code = stream ? weir_result_write_json(result, stream) : -errno;
	if (stream && fclose(stream) && code == 0)
		code = -errno;
	if (code)
		snprintf(error, WEIR_RESULT_ERROR, "result %s: cannot write it: %s: give a path on a disk with room", path,
			 strerror(-code));
	return code;
}

// Reading: `where` is the path of the object in the document, for messages.
struct reader {
	char *error;
	const char *path;
};

static int refuse(const struct reader *reader, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int refuse(const struct reader *reader, const char *format, ...)
{
	char text[WEIR_RESULT_TEXT];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	snprintf(reader->error, WEIR_RESULT_ERROR, "result %.160s: cannot read it: %s: give a file that weirperf wrote",
		 reader->path, text);
	return -EINVAL;
}

static int value_get(const struct reader *reader, const json_t *json, void *object, const struct field *field)
{
	char *at = (char *)object + field->offset;
	json_int_t whole = json_integer_value(json);
	switch (field->kind) {
	case U64:
	case U32:
		if (!json_is_integer(json) || whole < 0 || (field->kind == U32 && whole > UINT32_MAX))
			return refuse(reader, "\"%s\" is no count", field->name);
		if (field->kind == U64)
			*(uint64_t *)at = (uint64_t)whole;
		else
			*(uint32_t *)at = (uint32_t)whole;
		return 0;
	case REAL:
		if (!json_is_number(json))
			return refuse(reader, "\"%s\" is no number", field->name);
		*(double *)at = json_number_value(json);
		return 0;
	case BOOL:
		if (!json_is_boolean(json))
			return refuse(reader, "\"%s\" is neither true nor false", field->name);
		*(bool *)at = json_is_true(json);
		return 0;
	case TEXT:
		break;
	}
	if (!json_is_string(json) || json_string_length(json) >= field->size)
		return refuse(reader, "\"%s\" is no text of less than %u bytes", field->name, field->size);
	memcpy(at, json_string_value(json), json_string_length(json) + 1);
	return 0;
}

static int fields_get(const struct reader *reader, const json_t *json, void *object, const struct field *fields)
{
	for (; fields->name; fields++) {
		int code = value_get(reader, json_object_get(json, fields->name), object, fields);
		if (code)
			return code;
	}
	return 0;
}

static int histogram_get(const struct reader *reader, const json_t *run, const char *name,
			 struct weir_histogram *histogram)
{
	const json_t *json = json_object_get(run, name);
	const json_t *pair;
	size_t index;
	uint64_t sum = 0;
	if (json_integer_value(json_object_get(json, "bits")) != WEIR_HISTOGRAM_BITS ||
	    json_integer_value(json_object_get(json, "value_bits")) != WEIR_HISTOGRAM_VALUE_BITS)
		return refuse(reader, "\"%s\" is no histogram of %u buckets a power of two", name, 1u << WEIR_HISTOGRAM_BITS);
	json_array_foreach(json_object_get(json, "buckets"), index, pair) {
		json_int_t bucket = json_integer_value(json_array_get(pair, 0));
		json_int_t count = json_integer_value(json_array_get(pair, 1));
		if (json_array_size(pair) != 2 || bucket < 0 || bucket >= WEIR_HISTOGRAM_BUCKETS || count < 0)
			return refuse(reader, "\"%s\" has a bucket that is not [number, count]", name);
		histogram->buckets[bucket] = (uint64_t)count;
		sum += (uint64_t)count;
	}
	histogram->count = (uint64_t)json_integer_value(json_object_get(json, "count"));
	histogram->sum = (uint64_t)json_integer_value(json_object_get(json, "sum"));
	histogram->max = (uint64_t)json_integer_value(json_object_get(json, "max"));
	if (sum != histogram->count)
		return refuse(reader, "\"%s\" says %lu values, but its buckets hold %lu", name, histogram->count, sum);
	return 0;
}

static int step_get(const struct reader *reader, const json_t *json, struct weir_result_run *run)
{
	struct weir_result_step *step = weir_result_step_add(run, "");
	if (!step)
		return refuse(reader, "a run has more than %u steps, or there is no memory", WEIR_RESULT_STEPS_MAX);
	int code = fields_get(reader, json, step, STEP);
	if (code == 0)
		code = fields_get(reader, json_object_get(json, "counts"), &step->counts, COUNTS);
	return code ? code : histogram_get(reader, json, "latency_ns", &step->latency);
}

static int group_get(const struct reader *reader, const json_t *json, struct weir_result_run *run)
{
	struct weir_result_group *group = weir_result_group_add(run);
	if (!group)
		return refuse(reader, "a run has more than %u groups, or there is no memory", WEIR_RESULT_GROUPS_MAX);
	int code = fields_get(reader, json, group, GROUP);
	if (code == 0)
		code = fields_get(reader, json_object_get(json, "counts"), &group->counts, COUNTS);
	return code ? code : histogram_get(reader, json, "latency_ns", &group->latency);
}

static int cores_get(const struct reader *reader, const json_t *cores, struct weir_result_run *run)
{
	const json_t *json;
	size_t index;
	int code = 0;
	if (json_array_size(cores) && weir_result_cores(run, (uint32_t)json_array_size(cores)))
		return refuse(reader, "a run has more than %u cores, or there is no memory", WEIR_RESULT_CORES_MAX);
	json_array_foreach(cores, index, json) {
		code = fields_get(reader, json, &run->cores[index], CORE);
		if (code == 0)
			code = fields_get(reader, json, &run->cores[index].cpu, CPU);
		if (code)
			break;
	}
	return code;
}

static int second_cpu_get(const struct reader *reader, const json_t *columns, const struct weir_result_run *run,
			  uint32_t second)
{
	for (const struct field *field = CPU; field->name; field++) {
		char name[WEIR_RESULT_NAME];
		snprintf(name, sizeof(name), "cpu_%s", field->name);
		const json_t *row = json_array_get(json_object_get(columns, name), second);
		for (uint32_t c = 0; c < run->core_count; c++) {
			int code = value_get(reader, json_array_get(row, c), &weir_result_second_cpu(run, second)[c], field);
			if (code)
				return code;
		}
	}
	return 0;
}

static int seconds_get(const struct reader *reader, const json_t *columns, struct weir_result_run *run)
{
	size_t count = json_array_size(json_object_get(columns, SECOND[0].name));
	for (uint32_t i = 0; i < count; i++) {
		struct weir_result_second *second = weir_result_second_add(run);
		if (!second)
			return refuse(reader, "a run has more than %u seconds, or there is no memory", WEIR_RESULT_SECONDS_MAX);
		for (const struct field *field = SECOND; field->name; field++) {
			const json_t *column = json_object_get(columns, field->name);
			int code = value_get(reader, json_array_get(column, i), second, field);
			if (code)
				return code;
		}
		int code = second_cpu_get(reader, columns, run, i);
		if (code)
			return code;
	}
	return 0;
}

static int run_get(const struct reader *reader, const json_t *json, struct weir_result *result)
{
	struct weir_result_run *run = weir_result_run_add(result);
	const json_t *entry;
	size_t index;
	if (!run)
		return refuse(reader, "it has more than %u runs, or there is no memory", WEIR_RESULT_RUNS_MAX);
	int code = fields_get(reader, json, run, RUN);
	if (code == 0)
		code = fields_get(reader, json_object_get(json, "counts"), &run->counts, COUNTS);
	if (code == 0)
		code = histogram_get(reader, json, "latency_ns", &run->latency);
	if (code == 0)
		code = histogram_get(reader, json, "service_ns", &run->service);
	if (code == 0)
		code = histogram_get(reader, json, "lag_ns", &run->lag);
	json_array_foreach(json_object_get(json, "steps"), index, entry)
		code = code ? code : step_get(reader, entry, run);
	json_array_foreach(json_object_get(json, "groups"), index, entry)
		code = code ? code : group_get(reader, entry, run);
	json_array_foreach(json_object_get(json, "workers"), index, entry) {
		struct weir_result_worker *worker = code ? NULL : weir_result_worker_add(run);
		if (worker)
			code = fields_get(reader, entry, worker, WORKER);
		else
			code = code ? code : refuse(reader, "a run has more than %u workers", WEIR_RESULT_WORKERS_MAX);
	}
	if (code == 0)
		code = cores_get(reader, json_object_get(json, "cores"), run);
	return code ? code : seconds_get(reader, json_object_get(json, "seconds"), run);
}

static int facts_get(const struct reader *reader, const json_t *json, struct weir_result_facts *facts)
{
	const json_t *entry;
	size_t index;
	json_array_foreach(json, index, entry) {
		if (facts->count == WEIR_RESULT_FACTS_MAX)
			return refuse(reader, "it has more than %u facts of a kind", WEIR_RESULT_FACTS_MAX);
		int code = fields_get(reader, entry, &facts->all[facts->count++], FACT);
		if (code)
			return code;
	}
	return 0;
}

static int result_get(const struct reader *reader, const json_t *json, struct weir_result *result)
{
	const char *format = json_string_value(json_object_get(json, "format"));
	json_int_t version = json_integer_value(json_object_get(json, "version"));
	const json_t *run;
	size_t index;
	if (!format || strcmp(format, FORMAT_NAME))
		return refuse(reader, "its \"format\" is not \"" FORMAT_NAME "\"");
	if (version != WEIR_RESULT_VERSION)
		return refuse(reader, "it is version %lld, this weirperf reads %u", (long long)version, WEIR_RESULT_VERSION);
	int code = fields_get(reader, json, result, RESULT);
	if (code == 0)
		code = facts_get(reader, json_object_get(json, "parameters"), &result->parameters);
	if (code == 0)
		code = facts_get(reader, json_object_get(json, "machine"), &result->machine);
	if (code == 0)
		code = facts_get(reader, json_object_get(json, "placement"), &result->placement);
	if (code == 0)
		code = fields_get(reader, json_object_get(json, "selftest"), &result->selftest, SELFTEST);
	json_array_foreach(json_object_get(json, "runs"), index, run)
		code = code ? code : run_get(reader, run, result);
	return code;
}

int weir_result_load(struct weir_result *result, const char *path, char error[WEIR_RESULT_ERROR])
{
	json_error_t trouble;
	struct reader reader = { .error = error, .path = path };
	FILE *stream = fopen(path, "re");
	if (!stream) {
		int code = -errno;
		snprintf(error, WEIR_RESULT_ERROR, "result %s: cannot open it: %s: give a file that weirperf wrote", path,
			 strerror(-code));
		return code;
	}
	json_t *json = json_loadf(stream, JSON_REJECT_DUPLICATES, &trouble);
	fclose(stream);
	if (!json)
		return refuse(&reader, "line %d: %s", trouble.line, trouble.text);
	int code = result_get(&reader, json, result);
	if (code)
		weir_result_fini(result);
	json_decref(json);
	return code;
}
