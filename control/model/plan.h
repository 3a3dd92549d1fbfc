// The planner: machine and topology in, placement with reasons out. Which CPU each worker polls on, who polls which port
// queue, who owns which shard, on which node each log lives, what that costs in cache. A pure function; what runs now is
// passed in so that nothing moves without a reason.
#ifndef WEIR_MODEL_PLAN_H
#define WEIR_MODEL_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "control/model/machine.h"
#include "control/model/topology.h"

#define WEIR_PLAN_WARNINGS_MAX 64u // further ones are counted only
#define WEIR_PLAN_TEXT 200u

struct weir_plan_worker {
	uint32_t cpu;
	uint32_t node;
	uint64_t log_bytes; // of the shards it owns
	uint64_t l2_bytes;
	uint64_t l3_bytes; // its share: the L3 divided by the workers on it
	uint32_t shards;
	char reason[WEIR_PLAN_TEXT];
};

struct weir_plan_port {
	int32_t node; // of the NIC, -1: unknown or none
	char reason[WEIR_PLAN_TEXT];
};

struct weir_plan_topic {
	char name[WEIR_NAME_SIZE];
	uint32_t shards;
	uint16_t *owner; // [shards] worker
	uint32_t *log_node; // [shards] where the log was or will be born
};

struct weir_plan {
	struct weir_plan_worker *workers; // [topology->worker_count]
	uint32_t worker_count;
	struct weir_plan_port *ports; // [topology->port_count]
	uint32_t port_count;
	struct weir_plan_topic *topics; // [topology->topic_count], same order
	uint32_t topic_count;
	char warnings[WEIR_PLAN_WARNINGS_MAX][WEIR_PLAN_TEXT];
	uint32_t warning_count;
};

// previous: the placement that runs now, or NULL; its workers are kept, and its shards stay where they are unless the file
// names another home. 0; -ENOMEM; -EINVAL with *trouble when the file asks for a CPU that is not there or used twice.
int weir_plan_create(struct weir_plan **plan, const struct weir_machine *machine, const struct weir_topology *topology,
		     const struct weir_plan *previous, struct weir_trouble *trouble);
void weir_plan_destroy(struct weir_plan *plan);

// NULL when there is none.
const struct weir_plan_topic *weir_plan_find(const struct weir_plan *plan, const char *topic);

#endif
