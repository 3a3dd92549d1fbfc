// A change of the running router under way: what it made, which round of commands it is in, and everything that the
// workers were pointed at. It is one object that outlives the call that began it, because a worker that is late may read
// all of it until it has answered. apply.c drives it, rounds.c knows what is sent and what the answers mean. Control thread.
#ifndef WEIR_DAEMON_TRANSACTION_H
#define WEIR_DAEMON_TRANSACTION_H

#include "control/daemon/exchange.h"
#include "control/daemon/parts.h"
#include "dataplane/core/shard.h"

// In this order; those after WEIR_STEP_DONE take back the first three.
enum weir_step {
	WEIR_STEP_ADOPT,
	WEIR_STEP_SET_UP,
	WEIR_STEP_CREATE,
	WEIR_STEP_MOVE, // from here on there is no way back
	WEIR_STEP_CHANGE,
	WEIR_STEP_PUBLISH,
	WEIR_STEP_END_FORWARDING,
	WEIR_STEP_REMOVE,
	WEIR_STEP_TEAR_DOWN,
	WEIR_STEP_LIMITS,
	WEIR_STEP_DONE,
	WEIR_STEP_TAKE_BACK_GROUPS,
	WEIR_STEP_TAKE_BACK_SHARDS,
	WEIR_STEP_UNDONE,
};

struct weir_added_group {
	struct weir_router_topic *topic;
	struct weir_router_group *group;
	struct weir_group_place *places; // [shards] what the workers read
	uint32_t change; // index into the diff
	bool is_set_up; // its coordinator knows it
	bool *is_created; // [shards]
};

struct weir_removal {
	struct weir_router_topic *topic;
	struct weir_router_group *group; // NULL: the whole topic
};

struct weir_transaction {
	struct weir_router *router;
	struct weir_router_target target; // its topology and plan are the transaction's own
	struct weir_diff *diff;
	struct weir_exchange exchange;
	enum weir_step step;
	bool is_sent; // the step's commands
	bool is_listed; // the topics' lists of groups are those of the target
	struct weir_router_topic **topics; // [target.topology->topic_count] kept and new
	bool *is_new;
	struct weir_added_group *added; // [change_count]
	uint32_t added_count;
	struct weir_removal *removals; // [change_count]
	uint32_t removal_count;
	struct weir_snapshot *snapshot; // being published
	struct weir_engine_limits limits; // being sent
	struct weir_outcome outcome;
	uint64_t start_ns;
};

// Adds the commands of the step. -ENOMEM: nothing was sent.
int weir_round_fill(struct weir_transaction *tx);
// All are answered: takes note of what was done, also when some were refused.
void weir_round_take(struct weir_transaction *tx);
// What a command wants of its worker, for people.
const char *weir_round_text(uint16_t kind);

#endif
