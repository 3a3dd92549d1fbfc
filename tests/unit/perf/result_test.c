// A result that was saved and loaded is the same result, histograms and all; a file that is not one is refused, and the
// message says which file and why.
#include "perf/result.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "tests/unit/perf/sample.h"

#define PATH_ROOM 64

static void make_path(char path[PATH_ROOM])
{
	snprintf(path, PATH_ROOM, "/tmp/weir-result-%d.json", (int)getpid());
}

static void expect_same_run(const struct weir_result_run *a, const struct weir_result_run *b)
{
	cr_assert_eq(a->start_unix_ns, b->start_unix_ns);
	cr_assert_eq(a->is_passed, b->is_passed);
	cr_assert_str_eq(a->verdict, b->verdict);
	cr_assert_arr_eq((const char *)&a->counts, (const char *)&b->counts, sizeof(a->counts));
	cr_assert_arr_eq((const char *)&a->latency, (const char *)&b->latency, sizeof(a->latency));
	cr_assert_arr_eq((const char *)&a->service, (const char *)&b->service, sizeof(a->service));
	cr_assert_arr_eq((const char *)&a->lag, (const char *)&b->lag, sizeof(a->lag));
	cr_assert_eq(a->step_count, b->step_count);
	for (uint32_t i = 0; i < a->step_count; i++) {
		cr_assert_str_eq(a->steps[i]->name, b->steps[i]->name);
		cr_assert_eq(a->steps[i]->rate, b->steps[i]->rate);
		cr_assert_arr_eq((const char *)&a->steps[i]->latency, (const char *)&b->steps[i]->latency, sizeof(a->latency));
	}
	cr_assert_eq(a->group_count, b->group_count);
	for (uint32_t i = 0; i < a->group_count; i++)
		cr_assert_arr_eq((const char *)a->groups[i], (const char *)b->groups[i], sizeof(*a->groups[i]));
	cr_assert_eq(a->second_count, b->second_count);
	cr_assert_arr_eq((const char *)a->seconds, (const char *)b->seconds, a->second_count * sizeof(*a->seconds));
	cr_assert_eq(a->core_count, b->core_count);
	cr_assert_arr_eq((const char *)a->second_cpus, (const char *)b->second_cpus,
			 (size_t)a->second_count * a->core_count * sizeof(*a->second_cpus));
	cr_assert_arr_eq((const char *)a->cores, (const char *)b->cores, a->core_count * sizeof(*a->cores));
	cr_assert_eq(a->worker_count, b->worker_count);
	cr_assert_eq(a->workers[0].busy_ratio, b->workers[0].busy_ratio);
	cr_assert_eq(a->workers[0].involuntary_switches, b->workers[0].involuntary_switches);
}

Test(result, comes_back_from_its_file_as_it_was)
{
	struct weir_result out = { 0 };
	struct weir_result in = { 0 };
	char error[WEIR_RESULT_ERROR] = "";
	char path[PATH_ROOM];
	make_path(path);
	sample_fill(&out, 3, 1.0, 1);
	struct weir_result_group *group = weir_result_group_add(out.runs[1]);
	snprintf(group->topic, sizeof(group->topic), "positions");
	snprintf(group->name, sizeof(group->name), "map");
	group->consumers = 3;
	group->killed = 1;
	group->counts.delivered = 12345;
	weir_histogram_add(&group->latency, 77777, 12345);
	cr_assert_eq(weir_result_save(&out, path, error), 0, "%s", error);
	cr_assert_eq(weir_result_load(&in, path, error), 0, "%s", error);
	unlink(path);
	cr_assert_str_eq(in.scenario, out.scenario);
	cr_assert_str_eq(in.label, out.label);
	cr_assert_str_eq(weir_result_fact(&in.machine, "kernel"), weir_result_fact(&out.machine, "kernel"));
	cr_assert_eq(in.selftest.clock_error_ns, out.selftest.clock_error_ns);
	cr_assert_eq(in.selftest.is_passed, out.selftest.is_passed);
	cr_assert_eq(in.run_count, 3);
	for (uint32_t i = 0; i < 3; i++)
		expect_same_run(out.runs[i], in.runs[i]);
	weir_result_fini(&out);
	weir_result_fini(&in);
}

static int load_text(const char *text, size_t size, char error[WEIR_RESULT_ERROR])
{
	struct weir_result result = { 0 };
	char path[PATH_ROOM];
	make_path(path);
	FILE *file = fopen(path, "w");
	cr_assert_not_null(file);
	fwrite(text, 1, size, file);
	fclose(file);
	int code = weir_result_load(&result, path, error);
	unlink(path);
	cr_assert_eq(code == 0 ? 0 : result.run_count, 0, "a refused file left something behind");
	weir_result_fini(&result);
	return code;
}

static void expect_refused(const char *text, const char *word)
{
	char error[WEIR_RESULT_ERROR] = "";
	cr_assert_eq(load_text(text, strlen(text), error), -EINVAL, "accepted: %s", text);
	cr_assert_not_null(strstr(error, word), "\"%s\" does not say \"%s\"", error, word);
}

Test(result, refuses_what_is_no_result)
{
	char error[WEIR_RESULT_ERROR] = "";
	struct weir_result result = { 0 };
	expect_refused("", "line 1");
	expect_refused("{}", "\"format\"");
	expect_refused("{\"format\":\"weirperf-result\",\"version\":2}", "version 2");
	expect_refused("{\"format\":\"weirperf-result\",\"version\":1}", "\"scenario\"");
	cr_assert_eq(weir_result_load(&result, "/tmp/weir-no-such-file", error), -ENOENT);
	cr_assert_not_null(strstr(error, "/tmp/weir-no-such-file"));
}

// Bytes changed at random: refused or read, never a crash, never a histogram whose buckets do not add up.
Test(result, survives_damaged_files)
{
	struct weir_result result = { 0 };
	char error[WEIR_RESULT_ERROR] = "";
	char *text = NULL;
	size_t size = 0;
	sample_fill(&result, 1, 1.0, 2);
	FILE *stream = open_memstream(&text, &size);
	cr_assert_eq(weir_result_write_json(&result, stream), 0);
	fclose(stream);
	weir_result_fini(&result);
	cr_assert_eq(load_text(text, size, error), 0, "%s", error);
	srand(3);
	int refused = 0;
	for (int i = 0; i < 200; i++) {
		size_t at = (size_t)rand() % size;
		char before = text[at];
		text[at] = (char)(rand() % 3 ? '0' + rand() % 10 : rand());
		refused += load_text(text, size, error) != 0;
		text[at] = before;
	}
	cr_assert_gt(refused, 50);
	for (size_t cut = 1; cut < size; cut += size / 37)
		cr_assert_eq(load_text(text, cut, error), -EINVAL);
	free(text);
}

Test(result, csv_has_a_row_a_second)
{
	struct weir_result result = { 0 };
	char *text = NULL;
	size_t size = 0;
	sample_fill(&result, 2, 1.0, 4);
	FILE *stream = open_memstream(&text, &size);
	cr_assert_eq(weir_result_write_csv(&result, stream), 0);
	fclose(stream);
	unsigned columns = 0;
	unsigned rows = 0;
	for (char *line = strtok(text, "\r\n"); line; line = strtok(NULL, "\r\n"), rows++) {
		unsigned count = 1;
		for (const char *c = line; *c; c++)
			count += *c == ',';
		if (rows == 0)
			columns = count;
		cr_assert_eq(count, columns, "row %u", rows);
	}
	cr_assert_eq(columns, 19 + 2 * SAMPLE_CORES);
	cr_assert_eq(rows, 1 + 2 * SAMPLE_SECONDS);
	free(text);
	weir_result_fini(&result);
}

Test(result, rates_and_ratios_come_from_the_counts)
{
	struct weir_result result = { 0 };
	struct weir_result_run *run = weir_result_run_add(&result);
	run->duration_ns = 2000000000;
	run->drain_ns = 500000000;
	run->counts = (struct weir_result_counts){ .intended = 1000, .published = 990, .delivered = 980, .missed = 10,
						   .lost = 5 };
	cr_assert_float_eq(weir_result_sent_rate(run), 495, 1e-9);
	cr_assert_float_eq(weir_result_delivered_rate(run), 392, 1e-9);
	cr_assert_float_eq(weir_result_loss_ratio(&run->counts), 0.015, 1e-12);
	struct weir_result_counts sum = { .unexplained = 1 };
	weir_result_counts_add(&sum, &run->counts);
	cr_assert_eq(sum.unexplained, 1);
	cr_assert_eq(sum.delivered, 980);
	weir_result_fini(&result);
}

Test(result, repeats_from_several_files_become_one_result)
{
	static struct weir_result all;
	static struct weir_result more;
	struct weir_histogram *latency = calloc(1, sizeof(*latency));
	sample_fill(&more, 2, 1, 1);
	cr_assert_eq(weir_result_append(&all, &more), 0);
	sample_fill(&more, 3, 1, 1);
	uint64_t count = all.runs[1]->latency.count + more.runs[2]->latency.count;
	cr_assert_eq(weir_result_append(&all, &more), 0);
	cr_assert_eq(more.run_count, 0);
	cr_assert_eq(all.run_count, 5);
	cr_assert_eq(all.runs[1]->latency.count + all.runs[4]->latency.count, count);
	weir_result_latency(&all, latency);
	cr_assert_geq(latency->count, count);
	sample_fill(&more, 1, 1, 2);
	cr_assert_eq(weir_result_append(&all, &more), -EINVAL, "another label is another variant");
	cr_assert_eq(all.run_count, 5);
	free(latency);
	weir_result_fini(&all);
	weir_result_fini(&more);
}

Test(result, limits_are_kept)
{
	struct weir_result result = { 0 };
	struct weir_result_run *run = NULL;
	for (uint32_t i = 0; i < WEIR_RESULT_RUNS_MAX; i++)
		cr_assert_not_null(run = weir_result_run_add(&result));
	cr_assert_null(weir_result_run_add(&result));
	for (uint32_t i = 0; i < WEIR_RESULT_STEPS_MAX; i++)
		cr_assert_not_null(weir_result_step_add(run, "step"));
	cr_assert_null(weir_result_step_add(run, "step"));
	for (uint32_t i = 0; i < WEIR_RESULT_GROUPS_MAX; i++)
		cr_assert_not_null(weir_result_group_add(run));
	cr_assert_null(weir_result_group_add(run));
	cr_assert_eq(weir_result_cores(run, WEIR_RESULT_CORES_MAX + 1), -EINVAL);
	for (uint32_t i = 0; i < WEIR_RESULT_FACTS_MAX; i++)
		cr_assert_eq(weir_result_fact_add(&result.machine, "fact", "%u", i), 0);
	cr_assert_eq(weir_result_fact_add(&result.machine, "fact", "none"), -ENOSPC);
	weir_result_fini(&result);
}
