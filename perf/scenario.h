// A load test as a file: which topics it needs, who publishes what and how often, who consumes, and what happens step by step.
// Read once, checked wholly, then plain data that everybody only reads. docs/weirperf.1 explains every key.
#ifndef WEIR_PERF_SCENARIO_H
#define WEIR_PERF_SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control/model/trouble.h"
#include "perf/pattern.h"
#include "wire/limits.h"

#define WEIR_SCENARIO_SIZE_MAX (1u << 20) // bytes of a file
#define WEIR_SCENARIO_PRODUCERS_MAX 64u   // clients, over all sets
#define WEIR_SCENARIO_CONSUMERS_MAX 1024u
#define WEIR_SCENARIO_SECONDS_MAX (7u * 86400u)
#define WEIR_SCENARIO_PATH 256u

struct weir_scenario_group {
	struct weir_mark mark;
	char name[WEIR_NAME_SIZE];
	uint32_t is_follow;
	uint64_t quota_bytes;
};

struct weir_scenario_topic {
	struct weir_mark mark;
	char name[WEIR_NAME_SIZE];
	uint32_t shards;
	uint32_t policy; // enum weir_policy
	uint32_t ack;    // enum weir_ack_level
	uint64_t log_bytes;
	uint64_t event_max; // 0: the router's default
	struct weir_scenario_group *groups; // what the file names, then those that consumers name
	uint32_t group_count;
};

struct weir_scenario_size {
	struct weir_mark mark;
	uint32_t bytes;
	uint32_t weight;
};

// A set of producers that do the same; each is a client of its own.
struct weir_scenario_producers {
	struct weir_mark mark;
	char name[WEIR_NAME_SIZE];
	char topic[WEIR_NAME_SIZE];
	uint32_t topic_index;
	uint32_t count;
	double rate; // events/s of all of them together at a load of 100 %
	uint32_t arrivals; // enum weir_arrival
	uint32_t burst;
	struct {
		uint32_t pick; // enum weir_key_pick
		uint32_t count; // each producer's own, unless is_shared
		double exponent;
		double share;
		uint32_t is_shared; // all producers of the set use the same keys
	} keys;
	struct weir_scenario_size *sizes;
	uint32_t size_count;
	int level; // enum weir_level
	uint64_t linger_ns;
	uint32_t frame_events;
	uint32_t is_process; // each a process of its own, not a thread
	struct {
		char file[WEIR_SCENARIO_PATH]; // replaces rate, arrivals, keys and payload; "": none
		double speed;
	} trace;
};

struct weir_scenario_consumers {
	struct weir_mark mark;
	char name[WEIR_NAME_SIZE];
	char topic[WEIR_NAME_SIZE];
	char group[WEIR_NAME_SIZE]; // default: the set's name
	uint32_t topic_index;
	uint32_t count;
	char joins[WEIR_NAME_SIZE]; // a step's name; "": from the beginning
	char leaves[WEIR_NAME_SIZE]; // "": at the end
	uint32_t joins_step;  // UINT32_MAX: before the first
	uint32_t leaves_step; // UINT32_MAX: never
	uint64_t delay_ns; // work for each event
	uint32_t is_process; // each a process of its own, not a thread; also when a step kills some of them
};

enum weir_scenario_act {
	WEIR_ACT_SLOW = 0, // members work delay_ns for each event, for the length of the step
	WEIR_ACT_KILL,     // members die by SIGKILL when the step begins
};

struct weir_scenario_action {
	struct weir_mark mark;
	char consumers[WEIR_NAME_SIZE];
	uint32_t set; // index of the consumer set
	uint32_t members; // the first so many of it; kill: the first so many that live
	uint64_t delay_ns;
};

struct weir_scenario_step {
	struct weir_mark mark;
	char name[WEIR_NAME_SIZE];
	uint64_t length_ns;
	double load;    // of the producers' rates; 1 is 100 %
	double load_to; // ramp to this; negative: stays
	struct weir_scenario_action *slow;
	uint32_t slow_count;
	struct weir_scenario_action *kill;
	uint32_t kill_count;
};

struct weir_scenario {
	char name[WEIR_NAME_SIZE];
	char about[512];
	uint32_t workers;      // of a router that is started for the scenario
	uint64_t drain_ns;     // after the last step: how long to wait without progress for what is missing
	uint64_t lag_limit_ns; // the generator's own lateness, p99, beyond which a run is not valid
	bool is_loss_allowed;  // losing events is no failure: level none, drop policies
	struct weir_scenario_topic *topics;
	uint32_t topic_count;
	struct weir_scenario_producers *producers;
	uint32_t producers_count;
	struct weir_scenario_consumers *consumers;
	uint32_t consumers_count;
	struct weir_scenario_step *steps;
	uint32_t step_count;
};

// 0 and a scenario for weir_scenario_destroy(); -EINVAL with *trouble and its mark; -ENOMEM with *trouble.
int weir_scenario_parse(struct weir_scenario **scenario, const char *text, size_t size, struct weir_trouble *trouble);
// The same from a file; -errno with *trouble when it cannot be read.
int weir_scenario_load(struct weir_scenario **scenario, const char *file, struct weir_trouble *trouble);
void weir_scenario_destroy(struct weir_scenario *scenario);

// Sum of the steps' lengths, and of the producers' rates at a load of 100 %.
uint64_t weir_scenario_length(const struct weir_scenario *scenario);
double weir_scenario_rate(const struct weir_scenario *scenario);
// Highest rate that any moment of it asks for, events/s.
double weir_scenario_rate_max(const struct weir_scenario *scenario);
// Stretches or squeezes all steps to `length_ns` in sum, or all producers to `rate` events/s together.
void weir_scenario_set_length(struct weir_scenario *scenario, uint64_t length_ns);
void weir_scenario_set_rate(struct weir_scenario *scenario, double rate);

// A topology file for a router that serves the scenario, on a loopback port. Text for free(), or NULL without memory.
char *weir_scenario_topology(const struct weir_scenario *scenario, const char *instance, uint32_t udp_port);

#endif
