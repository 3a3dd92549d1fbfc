// Merging of accounts, see perf/verdict.h. Runs become stretches, sorted by whose they are and where they begin; what overlaps
// came twice, what is not covered did not come. One thread, after the load.
#include "perf/verdict.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// A run with what sorts it: events by producer number and key, offsets by incarnation and shard.
struct weir_stretch {
	uint64_t major;
	uint64_t minor;
	uint64_t first;
	uint64_t next;
	uint64_t first_offset;
	uint64_t last_offset;
	bool is_marked;
};

static int stretch_add(struct weir_stretches *stretches, const struct weir_stretch *stretch)
{
	if (stretch->first == stretch->next)
		return 0;
	if (stretches->count == stretches->room) {
		size_t room = stretches->room ? stretches->room * 2 : 4096;
		struct weir_stretch *all = realloc(stretches->all, room * sizeof(*all));
		if (!all)
			return -ENOMEM;
		stretches->all = all;
		stretches->room = room;
	}
	stretches->all[stretches->count++] = *stretch;
	return 0;
}

static int stretch_compare(const void *a, const void *b)
{
	const struct weir_stretch *left = a;
	const struct weir_stretch *right = b;
	if (left->major != right->major)
		return left->major < right->major ? -1 : 1;
	if (left->minor != right->minor)
		return left->minor < right->minor ? -1 : 1;
	if (left->first != right->first)
		return left->first < right->first ? -1 : 1;
	return left->next < right->next ? -1 : left->next > right->next;
}

static bool is_same(const struct weir_stretch *a, const struct weir_stretch *b)
{
	return a->major == b->major && a->minor == b->minor;
}

// Different members of all stretches. *overlap: how many were there more than once.
static uint64_t count_union(struct weir_stretches *stretches, bool unmarked_only, uint64_t *overlap)
{
	uint64_t distinct = 0;
	uint64_t sum = 0;
	uint64_t reached = 0;
	const struct weir_stretch *previous = NULL;
	for (size_t i = 0; i < stretches->count; i++) {
		const struct weir_stretch *stretch = &stretches->all[i];
		if (unmarked_only && stretch->is_marked)
			continue;
		if (!previous || !is_same(previous, stretch))
			reached = 0;
		uint64_t from = stretch->first > reached ? stretch->first : reached;
		if (stretch->next > from) {
			distinct += stretch->next - from;
			reached = stretch->next;
		}
		sum += stretch->next - stretch->first;
		previous = stretch;
	}
	*overlap = sum - distinct;
	return distinct;
}

// Between consumers, time does not tell who came first, but offsets do: a later sequence of a key lies at a later offset.
static uint64_t count_crossings(const struct weir_stretches *events)
{
	uint64_t crossings = 0;
	const struct weir_stretch *last = NULL; // the one that reaches farthest
	for (size_t i = 0; i < events->count; i++) {
		const struct weir_stretch *stretch = &events->all[i];
		bool follows = last && is_same(last, stretch);
		if (follows && stretch->first >= last->next && stretch->first_offset <= last->last_offset)
			crossings++;
		if (!follows || stretch->next > last->next)
			last = stretch;
	}
	return crossings;
}

static int add_closed_runs(struct weir_group_verdict *group, const struct weir_account *account, uint32_t *last_run)
{
	const struct weir_account_header *header = account->header;
	int result = 0;
	for (uint32_t i = 0; i < header->run_count && result == 0; i++) {
		const struct weir_account_run *run = &account->runs[i];
		struct weir_stretch stretch = { .first = run->first, .next = run->next, .first_offset = run->first_offset,
					   .last_offset = run->last_offset, .is_marked = run->is_marked };
		if (run->kind == WEIR_RUN_SEQUENCES) {
			stretch.major = header->producers[run->owner];
			stretch.minor = run->key;
			result = stretch_add(&group->events, &stretch);
		} else {
			stretch.major = header->shards[run->owner].incarnation;
			stretch.minor = header->shards[run->owner].shard;
			last_run[run->owner] = i + 1;
			result = stretch_add(&group->offsets, &stretch);
		}
	}
	return result;
}

static int add_open_runs(struct weir_group_verdict *group, const struct weir_account *account, const uint32_t *last_run)
{
	const struct weir_account_header *header = account->header;
	int result = 0;
	for (uint32_t p = 0; p < header->producer_count; p++) {
		for (uint32_t k = 0; k < header->key_limits[p] && result == 0; k++) {
			const struct weir_account_key *key = weir_account_key_of(account, p, k);
			struct weir_stretch stretch = { .major = header->producers[p], .minor = k, .first = key->first,
						   .next = key->next, .first_offset = key->first_offset,
						   .last_offset = key->last_offset };
			result = stretch_add(&group->events, &stretch);
		}
	}
	for (uint32_t i = 0; i < header->shard_count && result == 0; i++) {
		const struct weir_account_shard *shard = &header->shards[i];
		const struct weir_account_run *closed = last_run[i] ? &account->runs[last_run[i] - 1] : NULL;
		// Killed between closing a run and beginning the next: it is there twice.
		if (!shard->in_use || (closed && closed->first == shard->first && closed->next == shard->next))
			continue;
		struct weir_stretch stretch = { .major = shard->incarnation, .minor = shard->shard, .first = shard->first,
					   .next = shard->next, .is_marked = shard->is_marked };
		result = stretch_add(&group->offsets, &stretch);
	}
	return result;
}

int weir_verdict_add(struct weir_group_verdict *group, const struct weir_account *account)
{
	const struct weir_account_header *header = account->header;
	uint32_t *last_run;
	int result;
	if (header->is_full)
		return -ENOSPC;
	last_run = calloc(WEIR_ACCOUNT_SHARDS, sizeof(*last_run));
	if (!last_run)
		return -ENOMEM;
	group->consumers++;
	group->incomplete += !header->is_complete;
	group->redelivered += header->redelivered;
	group->damaged += header->damaged;
	group->bytes += header->bytes;
	group->back += header->back;
	group->again += header->again;
	if (header->events && (group->first_ns == 0 || header->first_ns < group->first_ns))
		group->first_ns = header->first_ns;
	if (header->last_ns > group->last_ns)
		group->last_ns = header->last_ns;
	weir_histogram_merge(&group->latency, &header->latency);
	result = add_closed_runs(group, account, last_run);
	if (result == 0)
		result = add_open_runs(group, account, last_run);
	free(last_run);
	return result;
}

// What a shard's offsets say, for the table of shards.
static void count_shards(struct weir_group_verdict *group)
{
	for (size_t i = 0; i < group->offsets.count; i++) {
		const struct weir_stretch *stretch = &group->offsets.all[i];
		uint32_t shard = (uint32_t)stretch->minor % WEIR_VERDICT_SHARDS;
		struct weir_shard_sum *sum = &group->shards[shard];
		sum->delivered += stretch->next - stretch->first;
		sum->redelivered += stretch->is_marked ? stretch->next - stretch->first : 0;
		if (group->shard_limit <= shard)
			group->shard_limit = shard + 1;
	}
}

void weir_verdict_judge(struct weir_group_verdict *group, uint64_t routed)
{
	uint64_t overlap;
	uint64_t unmarked_overlap;
	qsort(group->events.all, group->events.count, sizeof(struct weir_stretch), stretch_compare);
	qsort(group->offsets.all, group->offsets.count, sizeof(struct weir_stretch), stretch_compare);
	group->delivered = count_union(&group->events, false, &overlap);
	uint64_t offsets = count_union(&group->offsets, false, &overlap);
	count_union(&group->offsets, true, &unmarked_overlap);
	uint64_t appended_twice = offsets > group->delivered ? offsets - group->delivered : 0;
	group->duplicated = unmarked_overlap + group->again + appended_twice;
	group->reordered = group->back > group->duplicated ? group->back - group->duplicated : 0;
	// What was appended twice crosses offsets too, once a stretch at most: it is counted already.
	uint64_t crossings = count_crossings(&group->events);
	group->reordered += crossings > appended_twice ? crossings - appended_twice : 0;
	group->lost = routed > group->delivered ? routed - group->delivered : 0;
	count_shards(group);
}

void weir_verdict_fini(struct weir_group_verdict *group)
{
	free(group->events.all);
	free(group->offsets.all);
	group->events = group->offsets = (struct weir_stretches){ 0 };
}
