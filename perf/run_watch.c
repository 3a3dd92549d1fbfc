// What happens while a run goes on, second by second: the clients' counters as differences, the latency of what came in (the
// difference of two sums of histograms), what each core did, the router's threads and memory. Reads /proc, disturbs nobody; the
// conductor's thread ticks it.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "perf/run_parts.h"

#define CPU_FIELDS 8u // user nice system idle iowait irq softirq steal

struct cpu_ticks {
	uint64_t all[CPU_FIELDS];
};

struct sums {
	uint64_t published, acknowledged, refused, missed, stalls, stall_ns, received, redelivered, gaps;
};

struct thread_ticks {
	uint64_t cpu_ns, voluntary, involuntary;
};

struct run_watch {
	struct run_crew *crew;
	struct weir_result_run *result;
	uint64_t begin_ns;
	uint64_t last_ns;
	double expected; // intended so far, by the profiles
	struct sums last;
	struct weir_histogram latency_last, latency_now;
	uint32_t core_count;
	struct cpu_ticks *cpu_begin, *cpu_last, *cpu_now;
	pid_t router;
	struct thread_ticks workers[WEIR_RESULT_WORKERS_MAX];
};

// ---- The machine ----

// -1: not readable. Cores that are offline stay zero.
static int cpus_read(struct cpu_ticks *ticks, uint32_t count)
{
	char line[512];
	FILE *file = fopen("/proc/stat", "re");
	if (!file)
		return -errno;
	memset(ticks, 0, count * sizeof(*ticks));
	while (fgets(line, sizeof(line), file)) {
		uint32_t core;
		struct cpu_ticks now;
		if (sscanf(line, "cpu%u %lu %lu %lu %lu %lu %lu %lu %lu", &core, &now.all[0], &now.all[1], &now.all[2],
			   &now.all[3], &now.all[4], &now.all[5], &now.all[6], &now.all[7]) == 9 && core < count)
			ticks[core] = now;
	}
	fclose(file);
	return 0;
}

static struct weir_result_cpu cpu_between(const struct cpu_ticks *from, const struct cpu_ticks *to)
{
	uint64_t spent[CPU_FIELDS];
	uint64_t sum = 0;
	for (uint32_t i = 0; i < CPU_FIELDS; i++) {
		// idle and iowait may step back a tick.
		spent[i] = to->all[i] > from->all[i] ? to->all[i] - from->all[i] : 0;
		sum += spent[i];
	}
	double whole = sum ? (double)sum : 1;
	return (struct weir_result_cpu){ .user_ratio = (double)(spent[0] + spent[1]) / whole,
					 .system_ratio = (double)spent[2] / whole,
					 .irq_ratio = (double)(spent[5] + spent[6]) / whole,
					 .steal_ratio = (double)spent[7] / whole,
					 .idle_ratio = (double)(spent[3] + spent[4]) / whole };
}

// A number behind `name` in a file of lines; 0 when it is not there.
static uint64_t number_in(const char *path, const char *name)
{
	char line[256];
	uint64_t value = 0;
	FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, name, strlen(name)) == 0)
			value = strtoull(line + strlen(name), NULL, 10);
	}
	if (file)
		fclose(file);
	return value;
}

static uint64_t router_bytes(const struct run_watch *watch)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/status", (int)watch->router);
	return watch->router ? number_in(path, "VmRSS:") * 1024 : 0;
}

// Polling threads are named weir-wN.
static void workers_read(pid_t pid, struct thread_ticks *workers)
{
	char path[320];
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *tasks = pid ? opendir(path) : NULL;
	struct dirent *task;
	while (tasks && (task = readdir(tasks))) {
		uint32_t worker;
		char name[32] = "";
		snprintf(path, sizeof(path), "/proc/%d/task/%s/comm", (int)pid, task->d_name);
		FILE *file = fopen(path, "re");
		if (file && !fgets(name, sizeof(name), file))
			name[0] = 0;
		if (file)
			fclose(file);
		if (sscanf(name, "weir-w%u", &worker) != 1 || worker >= WEIR_RESULT_WORKERS_MAX)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)pid, task->d_name);
		workers[worker].voluntary = number_in(path, "voluntary_ctxt_switches:");
		workers[worker].involuntary = number_in(path, "nonvoluntary_ctxt_switches:");
		snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int)pid, task->d_name);
		workers[worker].cpu_ns = number_in(path, "");
	}
	if (tasks)
		closedir(tasks);
}

// ---- The clients ----

static struct sums sums_of(const struct run_crew *crew)
{
	struct sums sums = { 0 };
	for (uint32_t i = 0; i < crew->client_count; i++) {
		const struct run_slot *slot = crew->clients[i].slot;
		sums.published += run_load(&slot->published);
		sums.acknowledged += run_load(&slot->acknowledged);
		sums.refused += run_load(&slot->refused);
		sums.missed += run_load(&slot->missed);
		sums.stalls += run_load(&slot->stalls);
		sums.stall_ns += run_load(&slot->stall_ns);
		sums.received += run_load(&slot->received);
		sums.redelivered += run_load(&slot->redelivered);
		sums.gaps += run_load(&slot->gaps);
	}
	return sums;
}

static void latencies_sum(const struct run_crew *crew, struct weir_histogram *sum)
{
	memset(sum, 0, sizeof(*sum));
	for (uint32_t i = crew->board->producers; i < crew->client_count; i++) {
		for (uint32_t s = 0; s < crew->scenario->step_count; s++)
			weir_histogram_merge(sum, &crew->clients[i].slot->steps[s].latency);
	}
}

// Of two sums of growing counts, what came between. Its largest is known to its bucket.
static void latencies_since(const struct weir_histogram *before, struct weir_histogram *now)
{
	now->count = 0;
	uint64_t max = now->max;
	now->max = 0;
	for (uint32_t i = 0; i < WEIR_HISTOGRAM_BUCKETS; i++) {
		uint64_t came = now->buckets[i] - before->buckets[i];
		now->buckets[i] = came;
		now->count += came;
		if (came)
			now->max = weir_histogram_bucket_top(i);
	}
	now->max = now->max < max ? now->max : max;
}

// Events that the schedule asks for until `since_ns`; traces count as they are sent.
static double expected_until(const struct run_crew *crew, uint64_t since_ns)
{
	double sum = 0;
	for (uint32_t i = 0; i < crew->board->producers; i++) {
		const struct weir_source *source = &crew->clients[i].source;
		if (source->trace) {
			sum += (double)run_load(&crew->clients[i].slot->published);
			continue;
		}
		for (uint32_t p = 0; p < source->profile.count; p++) {
			const struct weir_profile_piece *piece = &source->profile.pieces[p];
			double in = (double)since_ns - piece->start_ns;
			in = in < 0 ? 0 : in > piece->length_ns ? piece->length_ns : in;
			sum += in * (piece->from + (piece->to - piece->from) * in / (2 * piece->length_ns));
		}
	}
	return sum;
}

static uint64_t lag_take(const struct run_crew *crew)
{
	uint64_t most = 0;
	for (uint32_t i = 0; i < crew->board->producers; i++) {
		uint64_t lag = atomic_exchange_explicit(&crew->clients[i].slot->lag_max_ns, 0, memory_order_relaxed);
		most = lag > most ? lag : most;
	}
	return most;
}

static uint32_t step_at(const struct weir_scenario *scenario, uint64_t since_ns)
{
	uint32_t step = 0;
	while (step + 1 < scenario->step_count && since_ns >= scenario->steps[step].length_ns)
		since_ns -= scenario->steps[step++].length_ns;
	return step;
}

// ---- The watch ----

int run_watch_create(struct run_watch **out, struct run_crew *crew, struct weir_result_run *result)
{
	struct run_watch *watch = calloc(1, sizeof(*watch));
	if (!watch)
		return -ENOMEM;
	watch->crew = crew;
	watch->result = result;
	watch->core_count = (uint32_t)sysconf(_SC_NPROCESSORS_CONF);
	if (watch->core_count > WEIR_RESULT_CORES_MAX)
		watch->core_count = WEIR_RESULT_CORES_MAX;
	watch->cpu_begin = calloc(watch->core_count, sizeof(*watch->cpu_begin));
	watch->cpu_last = calloc(watch->core_count, sizeof(*watch->cpu_last));
	watch->cpu_now = calloc(watch->core_count, sizeof(*watch->cpu_now));
	int error = watch->cpu_begin && watch->cpu_last && watch->cpu_now ? 0 : -ENOMEM;
	if (error == 0)
		error = weir_result_cores(result, watch->core_count);
	if (error) {
		run_watch_destroy(watch);
		return error;
	}
	watch->router = (pid_t)json_integer_value(json_object_get(crew->run->status, "pid"));
	*out = watch;
	return 0;
}

void run_watch_destroy(struct run_watch *watch)
{
	if (!watch)
		return;
	free(watch->cpu_begin);
	free(watch->cpu_last);
	free(watch->cpu_now);
	free(watch);
}

void run_watch_begin(struct run_watch *watch, uint64_t now_ns)
{
	watch->begin_ns = watch->last_ns = now_ns;
	cpus_read(watch->cpu_begin, watch->core_count);
	memcpy(watch->cpu_last, watch->cpu_begin, watch->core_count * sizeof(*watch->cpu_last));
	workers_read(watch->router, watch->workers);
	watch->last = sums_of(watch->crew);
	latencies_sum(watch->crew, &watch->latency_last);
	lag_take(watch->crew);
}

static void progress_print(const struct run_watch *watch, const struct weir_result_second *second)
{
	const struct weir_scenario *scenario = watch->crew->scenario;
	double seconds = (double)second->duration_ns / 1e9;
	const char *step = scenario->steps[second->step].name;
	bool is_draining = second->start_ns >= run_load(&watch->crew->board->end_ns) - watch->begin_ns;
	fprintf(stderr, "%6.1f s  %-12.20s sent %.0f/s of %.0f/s  received %.0f/s  p50 %.0f us  p99 %.0f us  max %.1f ms",
		(double)(second->start_ns + second->duration_ns) / 1e9, is_draining ? "(drain)" : step,
		(double)second->sent / seconds, (double)second->intended / seconds, (double)second->received / seconds,
		(double)second->latency_p50_ns / 1e3, (double)second->latency_p99_ns / 1e3,
		(double)second->latency_max_ns / 1e6);
	if (second->lost + second->refused + second->missed)
		fprintf(stderr, "  lost %lu refused %lu late %lu", second->lost, second->refused, second->missed);
	fprintf(stderr, "  lag %.1f ms\n", (double)second->lag_max_ns / 1e6);
}

static void second_fill(struct run_watch *watch, struct weir_result_second *second, uint64_t now_ns)
{
	struct sums now = sums_of(watch->crew);
	const struct sums *last = &watch->last;
	double expected = expected_until(watch->crew, now_ns - watch->begin_ns);
	second->start_ns = watch->last_ns - watch->begin_ns;
	second->duration_ns = now_ns - watch->last_ns;
	second->step = step_at(watch->crew->scenario, second->start_ns);
	second->intended = (uint64_t)expected - (uint64_t)watch->expected;
	second->sent = now.published - last->published;
	second->acknowledged = now.acknowledged - last->acknowledged;
	second->received = now.received - last->received;
	second->lost = now.gaps - last->gaps;
	second->refused = now.refused - last->refused;
	second->missed = now.missed - last->missed;
	second->redelivered = now.redelivered - last->redelivered;
	second->credit_stalls = now.stalls - last->stalls;
	second->credit_stall_ns = now.stall_ns - last->stall_ns;
	second->lag_max_ns = lag_take(watch->crew);
	second->router_bytes = router_bytes(watch);
	watch->last = now;
	watch->expected = expected;
	struct weir_histogram *latency = &watch->latency_now;
	latencies_sum(watch->crew, latency);
	struct weir_histogram sum = *latency;
	latencies_since(&watch->latency_last, latency);
	watch->latency_last = sum;
	second->latency_p50_ns = weir_histogram_percentile(latency, 0.5);
	second->latency_p99_ns = weir_histogram_percentile(latency, 0.99);
	second->latency_max_ns = latency->max;
}

void run_watch_tick(struct run_watch *watch, uint64_t now_ns, bool is_last)
{
	uint64_t took_ns = now_ns - watch->last_ns;
	if (took_ns < (is_last ? 1000000u : RUN_SECOND_NS))
		return;
	struct weir_result_second *second = weir_result_second_add(watch->result);
	if (!second)
		return;
	second_fill(watch, second, now_ns);
	struct weir_result_cpu *cpus = weir_result_second_cpu(watch->result, watch->result->second_count - 1);
	cpus_read(watch->cpu_now, watch->core_count);
	for (uint32_t i = 0; i < watch->core_count; i++)
		cpus[i] = cpu_between(&watch->cpu_last[i], &watch->cpu_now[i]);
	struct cpu_ticks *swap = watch->cpu_last;
	watch->cpu_last = watch->cpu_now;
	watch->cpu_now = swap;
	watch->last_ns = now_ns;
	if (watch->crew->run->options.has_progress)
		progress_print(watch, second);
}

void run_watch_end(struct run_watch *watch)
{
	struct weir_result_run *result = watch->result;
	struct thread_ticks now[WEIR_RESULT_WORKERS_MAX] = { 0 };
	json_t *status = run_router_ask(watch->crew->run, "status");
	size_t index;
	json_t *row;
	cpus_read(watch->cpu_now, watch->core_count);
	for (uint32_t i = 0; i < watch->core_count; i++) {
		result->cores[i].core = i;
		result->cores[i].cpu = cpu_between(&watch->cpu_begin[i], &watch->cpu_now[i]);
	}
	workers_read(watch->router, now);
	json_array_foreach(json_object_get(status, "workers"), index, row) {
		struct weir_result_worker *worker = index < WEIR_RESULT_WORKERS_MAX ? weir_result_worker_add(result) : NULL;
		json_int_t core = json_integer_value(json_object_get(row, "core"));
		if (!worker)
			break;
		worker->worker = (uint32_t)index;
		worker->core = (uint32_t)core;
		worker->cpu_ns = now[index].cpu_ns - watch->workers[index].cpu_ns;
		worker->voluntary_switches = now[index].voluntary - watch->workers[index].voluntary;
		worker->involuntary_switches = now[index].involuntary - watch->workers[index].involuntary;
		worker->busy_ratio = json_number_value(json_object_get(row, "busy_ratio"));
		if (core >= 0 && core < watch->core_count)
			snprintf(result->cores[core].role, sizeof(result->cores[core].role), "worker %zu", index);
	}
	json_decref(status);
	for (uint32_t i = 0; i < watch->core_count && i < CPU_SETSIZE; i++) {
		if (CPU_ISSET(i, &watch->crew->run->cores) && result->cores[i].role[0] == 0)
			snprintf(result->cores[i].role, sizeof(result->cores[i].role), "clients");
	}
}
