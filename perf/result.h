// The result of a load test as one document: what ran, on which machine, how often (runs), and for each run its steps, its
// seconds, its account of events, its latencies and what the cores did meanwhile. weirperf's run engine fills it; reports,
// `compare` and later merges work from it or from its file. Times are CLOCK_MONOTONIC differences in nanoseconds, counts
// are events, ratios go from 0 to 1. Histograms are written whole, so a file loses nothing. One thread at a time.
#ifndef WEIR_PERF_RESULT_H
#define WEIR_PERF_RESULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "perf/histogram.h"

#define WEIR_RESULT_VERSION 1u      // of the file; another one is refused
#define WEIR_RESULT_RUNS_MAX 64u    // repeats in one document
#define WEIR_RESULT_STEPS_MAX 128u  // of one run
#define WEIR_RESULT_SECONDS_MAX (7u * 86400u)
#define WEIR_RESULT_CORES_MAX 1024u
#define WEIR_RESULT_WORKERS_MAX 64u
#define WEIR_RESULT_FACTS_MAX 64u
#define WEIR_RESULT_GROUPS_MAX 256u // of one run
#define WEIR_RESULT_NAME 64u        // bytes of a text with its zero
#define WEIR_RESULT_TEXT 256u
#define WEIR_RESULT_ERROR 512u

// What became of events. `intended` counts what the schedule asked for; every intended event was published, refused or missed.
struct weir_result_counts {
	uint64_t intended;     // by the open-loop schedule
	uint64_t published;    // taken by libweir from the generator
	uint64_t acknowledged; // by the router, at the level asked for (level none: sent)
	uint64_t refused;      // finally refused by the router
	uint64_t missed;       // not handed to libweir within the lateness limit after their intended time, or never
	uint64_t expected;     // deliveries that should have been: acknowledged times the groups that were there
	uint64_t delivered;    // different events that arrived, summed over groups
	uint64_t lost;         // acknowledged, but delivered to nobody of a group
	uint64_t duplicated;   // delivered twice without the redelivered mark, or appended twice
	uint64_t reordered;
	uint64_t redelivered;  // with the mark: not a fault
	uint64_t damaged;      // payload or key is not what was published
	uint64_t unexplained;  // by the router's ledger; WEIR_RESULT_UNKNOWN when it was not asked
	uint64_t bytes;        // payload of `delivered`
};

#define WEIR_RESULT_UNKNOWN INT64_MAX

// One interval of the progress series, normally a second. Counts are of this interval alone.
struct weir_result_second {
	uint64_t start_ns;        // since the run's start
	uint64_t duration_ns;
	uint64_t step;            // index of the step it began in
	uint64_t intended;
	uint64_t sent;            // handed to libweir
	uint64_t acknowledged;
	uint64_t received;        // handed out to consumers, all groups together
	uint64_t lost;            // noticed in this interval (gaps); what arrives late is not taken back here
	uint64_t refused;
	uint64_t missed;
	uint64_t redelivered;
	uint64_t credit_stalls;   // times a producer had to wait for credit
	uint64_t credit_stall_ns; // how long, summed over producers
	uint64_t lag_max_ns;      // generator: most that a send was behind its intended time for the generator's own sake
	uint64_t latency_p50_ns;  // of what was received in the interval
	uint64_t latency_p99_ns;
	uint64_t latency_max_ns;
	uint64_t router_bytes;    // resident memory of the router at the end of the interval, 0: not known
};

// What a core did in an interval or a run; the five add up to 1.
struct weir_result_cpu {
	double user_ratio; // with nice
	double system_ratio;
	double irq_ratio; // hard and soft
	double steal_ratio;
	double idle_ratio; // with waiting for I/O
};

struct weir_result_core {
	uint32_t core;
	char role[WEIR_RESULT_NAME]; // "worker 0", "generator", "consumer", "": nothing of ours
	struct weir_result_cpu cpu;  // over the whole run
};

// A polling thread of the router.
struct weir_result_worker {
	uint32_t worker;
	uint32_t core;
	uint64_t cpu_ns;                 // it ran, user and system
	uint64_t voluntary_switches;     // it slept
	uint64_t involuntary_switches;   // it was pushed off its core
	double busy_ratio;               // turns that found work, by the router's own count
};

struct weir_result_step {
	char name[WEIR_RESULT_NAME];
	char what[WEIR_RESULT_TEXT]; // in words, such as "ramp 10 k/s to 1 M/s, 4 producers, 2 consumers"
	uint64_t start_ns;           // since the run's start
	uint64_t duration_ns;
	double rate;                 // intended events/s at its end, all producers together; 0: as fast as credit allows
	struct weir_result_counts counts;
	struct weir_histogram latency; // ns, from the intended send time to the consumer's callback
};

// What one group of consumers got. Of the counts: acknowledged (events of its topic), expected, delivered, lost, duplicated,
// reordered, redelivered, damaged, bytes; the others are 0.
struct weir_result_group {
	char topic[WEIR_RESULT_NAME];
	char name[WEIR_RESULT_NAME];
	uint32_t consumers;
	uint32_t killed; // of them
	struct weir_result_counts counts;
	struct weir_histogram latency; // as in a step
};

// One repeat.
struct weir_result_run {
	uint64_t start_unix_ns; // CLOCK_REALTIME
	uint64_t duration_ns;   // of load, from the first intended send time to the last
	uint64_t drain_ns;      // from there to the last delivery
	bool is_passed;         // the verdict: nothing lost, duplicated, reordered, damaged or unexplained
	char verdict[WEIR_RESULT_TEXT]; // why not, or ""
	struct weir_result_counts counts;
	struct weir_histogram latency; // as in a step, of all steps
	struct weir_histogram service; // ns, from the true send time instead
	struct weir_histogram lag;     // ns, generator: true send time after intended send time, without waiting for credit
	uint32_t step_count;
	uint32_t core_count;
	uint32_t worker_count;
	uint32_t second_count;
	struct weir_result_step *steps[WEIR_RESULT_STEPS_MAX];
	uint32_t group_count;
	struct weir_result_group *groups[WEIR_RESULT_GROUPS_MAX];
	struct weir_result_core *cores;      // [core_count], weir_result_cores()
	struct weir_result_second *seconds;  // [second_count], weir_result_second_add()
	struct weir_result_cpu *second_cpus; // [second_count][core_count]
	struct weir_result_worker workers[WEIR_RESULT_WORKERS_MAX];
	uint32_t second_room; // private
};

// A named fact in words: parameters of the scenario, facts of the machine, placement. Shown in the order they were added.
struct weir_result_fact {
	char name[WEIR_RESULT_NAME];
	char value[WEIR_RESULT_TEXT];
};

struct weir_result_facts {
	uint32_t count;
	struct weir_result_fact all[WEIR_RESULT_FACTS_MAX];
};

// What the generator proved about itself, looped to the sink.
struct weir_result_selftest {
	bool is_done;
	bool is_passed;
	uint64_t events;
	uint64_t lost;
	double rate_max;         // events/s the generator reached
	uint64_t clock_error_ns; // largest error of intended against true send time at the run's rate, p99.9
	uint64_t latency_p50_ns; // of the loop: the floor of every latency in the report
	uint64_t latency_p99_ns;
	char reason[WEIR_RESULT_TEXT]; // why it failed, or ""
};

struct weir_result {
	char scenario[WEIR_RESULT_NAME];
	char description[WEIR_RESULT_TEXT];
	char label[WEIR_RESULT_NAME];     // what the user calls this variant, or ""
	char transport[WEIR_RESULT_NAME]; // "udp", "lane", "dpdk", "loop"
	struct weir_result_facts parameters;
	struct weir_result_facts machine;   // CPU model, cores, kernel, NUMA nodes, hugepages, governor, versions
	struct weir_result_facts placement; // "worker 0" -> "core 1, node 0, ..." from weirctl --json status
	struct weir_result_selftest selftest;
	uint32_t run_count;
	struct weir_result_run *runs[WEIR_RESULT_RUNS_MAX];
};

// All zero is an empty result. Frees what the adders below made and zeroes it.
void weir_result_fini(struct weir_result *result);

// Each returns what it made, zeroed and owned by its parent, or NULL without memory or beyond the limit. Runs and steps stay
// where they are; a second moves when the next one is added.
struct weir_result_run *weir_result_run_add(struct weir_result *result);
struct weir_result_step *weir_result_step_add(struct weir_result_run *run, const char *name);
struct weir_result_group *weir_result_group_add(struct weir_result_run *run);
struct weir_result_second *weir_result_second_add(struct weir_result_run *run);
struct weir_result_worker *weir_result_worker_add(struct weir_result_run *run);

// How many cores the run tells about; once, before the first second. 0 or -ENOMEM, -EINVAL.
int weir_result_cores(struct weir_result_run *run, uint32_t count);

// The CPU row of a second: core_count entries.
struct weir_result_cpu *weir_result_second_cpu(const struct weir_result_run *run, uint32_t second);

// Adds a fact, cut to its room; 0 or -ENOSPC.
int weir_result_fact_add(struct weir_result_facts *facts, const char *name, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
// Its value, or NULL.
const char *weir_result_fact(const struct weir_result_facts *facts, const char *name);

// Adds `from` to `into`, field by field; an unknown `unexplained` stays unknown.
void weir_result_counts_add(struct weir_result_counts *into, const struct weir_result_counts *from);

// Events/s of a run, over the time of load and, of what was delivered, of draining.
double weir_result_sent_rate(const struct weir_result_run *run);
double weir_result_delivered_rate(const struct weir_result_run *run);
// Lost, missed or refused events for each intended one (each published one when no schedule was counted).
double weir_result_loss_ratio(const struct weir_result_counts *counts);

// Moves the runs of `from` behind those of `into`, which takes everything else from `from` when it was empty; `from` is empty
// afterwards. -EINVAL when scenario, transport or label differ, -ENOSPC when they are too many; then nothing is moved.
int weir_result_append(struct weir_result *into, struct weir_result *from);

// The latencies of all runs in one histogram.
void weir_result_latency(const struct weir_result *result, struct weir_histogram *into);

// The whole document as JSON, to a stream or a file. 0 or -errno; `error` then says what, where, why and what to do.
int weir_result_write_json(const struct weir_result *result, FILE *stream);
int weir_result_save(const struct weir_result *result, const char *path, char error[WEIR_RESULT_ERROR]);
// Reads what the two above wrote. -EINVAL when it is something else. `result` is empty before, and after a failure.
int weir_result_load(struct weir_result *result, const char *path, char error[WEIR_RESULT_ERROR]);

// A row a second of every run: run, step's name, the fields of weir_result_second, busy and steal of each core. 0 or -errno.
int weir_result_write_csv(const struct weir_result *result, FILE *stream);

#endif
