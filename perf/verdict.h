// Judges what consumers kept account of: merges the accounts of a group's members, also of the killed ones, into the numbers
// of the ledger's definitions. Everything is counted over runs, so twenty million events take milliseconds.
//
//   delivered   different events that arrived
//   lost        acknowledged by the router (level none: sent), but delivered to nobody of the group
//   duplicated  the same (shard, offset) more than once without the mark, or the same event at two offsets
//   reordered   unmarked and behind a later event of its key, or of its shard within a term
//   redelivered events that came with the mark
#ifndef WEIR_PERF_VERDICT_H
#define WEIR_PERF_VERDICT_H

#include <stddef.h>
#include <stdint.h>

#include "perf/account.h"
#include "perf/histogram.h"

#define WEIR_VERDICT_SHARDS 4096u

struct weir_stretch;

// Stretches of events, or of offsets; filled and freed by the functions below.
struct weir_stretches {
	struct weir_stretch *all;
	size_t count;
	size_t room;
};

struct weir_shard_sum {
	uint64_t delivered;
	uint64_t redelivered;
};

// A group of a topic. All zero but the names is a group without consumers.
struct weir_group_verdict {
	char topic[64];
	char name[64];
	uint32_t consumers;
	uint32_t incomplete; // of them: ended without a word
	struct weir_stretches events;
	struct weir_stretches offsets;
	struct weir_histogram latency;
	uint64_t delivered;
	uint64_t lost;
	uint64_t duplicated;
	uint64_t reordered;
	uint64_t redelivered;
	uint64_t damaged;
	uint64_t bytes; // payload handed out, repetitions too
	uint64_t back;
	uint64_t again;
	uint64_t first_ns;
	uint64_t last_ns;
	struct weir_shard_sum shards[WEIR_VERDICT_SHARDS];
	uint32_t shard_limit; // highest shard seen + 1
};

// Adds a member's account. -ENOSPC when the account overflowed and is worth nothing, -ENOMEM.
int weir_verdict_add(struct weir_group_verdict *group, const struct weir_account *account);

// Once, after all accounts: `routed` events of the topic were acknowledged. Fills delivered, lost, duplicated, reordered and
// shards.
void weir_verdict_judge(struct weir_group_verdict *group, uint64_t routed);

void weir_verdict_fini(struct weir_group_verdict *group);

#endif
