// weirload verdict: merges what producers said (their JSON) and what consumers kept (their accounts, also of the killed
// ones) into the numbers of the ledger's definitions. Everything is counted over runs, so twenty million events take
// milliseconds.
//
//   published   taken from the application by libweir       delivered   different events that arrived, per group
//   lost        acknowledged by the router (level none: sent), but delivered to nobody of the group
//   duplicated  the same (shard, offset) more than once without the mark, or the same event at two offsets
//   reordered   unmarked and behind a later event of its key, or of its shard within a term
//   redelivered events that came with the mark
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perf/account.h"
#include "perf/load.h"

#define GROUPS_MAX 64
#define ACCOUNTS_MAX 256

// A run with what sorts it: events by producer number and key, offsets by incarnation and shard.
struct stretch {
	uint64_t major;
	uint64_t minor;
	uint64_t first;
	uint64_t next;
	uint64_t first_offset;
	uint64_t last_offset;
	bool is_marked;
};

struct stretches {
	struct stretch *all;
	size_t count;
	size_t room;
};

struct published {
	char topic[64];
	uint64_t published;
	uint64_t routed;
	uint64_t refused;
	uint64_t unknown; // and never acknowledged
};

struct shard_sum {
	uint64_t delivered;
	uint64_t redelivered;
};

struct group {
	char topic[64];
	char name[64];
	uint32_t consumers;
	uint32_t incomplete; // of them: ended without a word
	struct stretches events;
	struct stretches offsets;
	struct weir_histogram latency;
	uint64_t delivered;
	uint64_t lost;
	uint64_t duplicated;
	uint64_t reordered;
	uint64_t redelivered;
	uint64_t damaged;
	uint64_t back;
	uint64_t again;
	uint64_t first_ns;
	uint64_t last_ns;
	struct shard_sum shards[4096];
	uint32_t shard_limit;
};

struct verdict {
	struct published topics[GROUPS_MAX];
	uint32_t topic_count;
	struct group *groups[GROUPS_MAX];
	uint32_t group_count;
	uint32_t producers;
};

static int stretch_add(struct stretches *stretches, const struct stretch *stretch)
{
	if (stretch->first == stretch->next)
		return 0;
	if (stretches->count == stretches->room) {
		size_t room = stretches->room ? stretches->room * 2 : 4096;
		struct stretch *all = realloc(stretches->all, room * sizeof(*all));
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
	const struct stretch *left = a;
	const struct stretch *right = b;
	if (left->major != right->major)
		return left->major < right->major ? -1 : 1;
	if (left->minor != right->minor)
		return left->minor < right->minor ? -1 : 1;
	if (left->first != right->first)
		return left->first < right->first ? -1 : 1;
	return left->next < right->next ? -1 : left->next > right->next;
}

static bool is_same(const struct stretch *a, const struct stretch *b)
{
	return a->major == b->major && a->minor == b->minor;
}

// Different members of all stretches. *overlap: how many were there more than once.
static uint64_t count_union(struct stretches *stretches, bool unmarked_only, uint64_t *overlap)
{
	uint64_t distinct = 0;
	uint64_t sum = 0;
	uint64_t reached = 0;
	const struct stretch *previous = NULL;
	for (size_t i = 0; i < stretches->count; i++) {
		const struct stretch *stretch = &stretches->all[i];
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
static uint64_t count_crossings(const struct stretches *events)
{
	uint64_t crossings = 0;
	const struct stretch *last = NULL; // the one that reaches farthest
	for (size_t i = 0; i < events->count; i++) {
		const struct stretch *stretch = &events->all[i];
		bool follows = last && is_same(last, stretch);
		if (follows && stretch->first >= last->next && stretch->first_offset <= last->last_offset)
			crossings++;
		if (!follows || stretch->next > last->next)
			last = stretch;
	}
	return crossings;
}

static struct published *topic_find(struct verdict *verdict, const char *name)
{
	for (uint32_t i = 0; i < verdict->topic_count; i++) {
		if (strcmp(verdict->topics[i].topic, name) == 0)
			return &verdict->topics[i];
	}
	if (verdict->topic_count == GROUPS_MAX)
		return NULL;
	struct published *topic = &verdict->topics[verdict->topic_count++];
	snprintf(topic->topic, sizeof(topic->topic), "%s", name);
	return topic;
}

static struct group *group_find(struct verdict *verdict, const struct weir_account_header *header)
{
	for (uint32_t i = 0; i < verdict->group_count; i++) {
		struct group *group = verdict->groups[i];
		if (strcmp(group->topic, header->topic) == 0 && strcmp(group->name, header->group) == 0)
			return group;
	}
	if (verdict->group_count == GROUPS_MAX)
		return NULL;
	struct group *group = calloc(1, sizeof(*group));
	if (!group)
		return NULL;
	memcpy(group->topic, header->topic, sizeof(group->topic));
	memcpy(group->name, header->group, sizeof(group->name));
	verdict->groups[verdict->group_count++] = group;
	return group;
}

static int add_closed_runs(struct group *group, const struct weir_account *account, uint32_t *last_run)
{
	const struct weir_account_header *header = account->header;
	int result = 0;
	for (uint32_t i = 0; i < header->run_count && result == 0; i++) {
		const struct weir_account_run *run = &account->runs[i];
		struct stretch stretch = { .first = run->first, .next = run->next, .first_offset = run->first_offset,
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

static int add_open_runs(struct group *group, const struct weir_account *account, const uint32_t *last_run)
{
	const struct weir_account_header *header = account->header;
	int result = 0;
	for (uint32_t p = 0; p < header->producer_count; p++) {
		for (uint32_t k = 0; k < header->key_limits[p] && result == 0; k++) {
			const struct weir_account_key *key = weir_account_key_of(account, p, k);
			struct stretch stretch = { .major = header->producers[p], .minor = k, .first = key->first,
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
		struct stretch stretch = { .major = shard->incarnation, .minor = shard->shard, .first = shard->first,
					   .next = shard->next, .is_marked = shard->is_marked };
		result = stretch_add(&group->offsets, &stretch);
	}
	return result;
}

static int add_account(struct verdict *verdict, const struct weir_account *account, const char *path)
{
	static uint32_t last_run[WEIR_ACCOUNT_SHARDS];
	const struct weir_account_header *header = account->header;
	struct group *group = group_find(verdict, header);
	if (!group)
		return load_fail("%s: more than %d groups, or no memory", path, GROUPS_MAX);
	if (header->is_full)
		return load_fail("%s: its consumer saw more than an account can hold", path);
	group->consumers++;
	group->incomplete += !header->is_complete;
	group->redelivered += header->redelivered;
	group->damaged += header->damaged;
	group->back += header->back;
	group->again += header->again;
	if (header->events && (group->first_ns == 0 || header->first_ns < group->first_ns))
		group->first_ns = header->first_ns;
	if (header->last_ns > group->last_ns)
		group->last_ns = header->last_ns;
	weir_histogram_merge(&group->latency, &header->latency);
	memset(last_run, 0, sizeof(last_run));
	if (add_closed_runs(group, account, last_run) || add_open_runs(group, account, last_run))
		return load_fail("%s: no memory", path);
	return 0;
}

static uint64_t number_in(const json_t *object, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(object, name));
}

static int add_producer(struct verdict *verdict, const json_t *object, const char *path)
{
	const char *role = json_string_value(json_object_get(object, "role"));
	const char *name = json_string_value(json_object_get(object, "topic"));
	if (!role || strcmp(role, "producer") || !name)
		return load_fail("%s: neither a producer's output nor a consumer's state file", path);
	struct published *topic = topic_find(verdict, name);
	if (!topic)
		return load_fail("%s: more than %d topics", path, GROUPS_MAX);
	topic->published += number_in(object, "published");
	topic->routed += number_in(object, "routed");
	topic->refused += number_in(object, "refused");
	topic->unknown += number_in(object, "unknown") + number_in(object, "waiting");
	verdict->producers++;
	return 0;
}

static int add_file(struct verdict *verdict, const char *path)
{
	struct weir_account account;
	int result = weir_account_open(&account, path);
	if (result == 0) {
		result = add_account(verdict, &account, path);
		weir_account_close(&account);
		return result;
	}
	json_error_t error;
	json_t *object = json_load_file(path, 0, &error);
	if (!object)
		return load_fail("%s: %s", path, result == -EINVAL ? error.text : strerror(-result));
	result = add_producer(verdict, object, path);
	json_decref(object);
	return result;
}

// What a shard's offsets say, for the table of shards.
static void count_shards(struct group *group)
{
	for (size_t i = 0; i < group->offsets.count; i++) {
		const struct stretch *stretch = &group->offsets.all[i];
		uint32_t shard = (uint32_t)stretch->minor % 4096;
		struct shard_sum *sum = &group->shards[shard];
		sum->delivered += stretch->next - stretch->first;
		sum->redelivered += stretch->is_marked ? stretch->next - stretch->first : 0;
		if (group->shard_limit <= shard)
			group->shard_limit = shard + 1;
	}
}

static void judge(struct group *group, uint64_t routed)
{
	uint64_t overlap;
	uint64_t unmarked_overlap;
	qsort(group->events.all, group->events.count, sizeof(struct stretch), stretch_compare);
	qsort(group->offsets.all, group->offsets.count, sizeof(struct stretch), stretch_compare);
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

static json_t *latency_json(const struct weir_histogram *latency)
{
	double mean = latency->count ? (double)latency->sum / (double)latency->count : 0;
	return json_pack("{s:I,s:I,s:I,s:I,s:I}", "p50", (json_int_t)weir_histogram_percentile(latency, 0.5), "p99",
			 (json_int_t)weir_histogram_percentile(latency, 0.99), "p99_9",
			 (json_int_t)weir_histogram_percentile(latency, 0.999), "max", (json_int_t)latency->max, "mean",
			 (json_int_t)mean);
}

static double rate_of(const struct group *group)
{
	uint64_t took_ns = group->last_ns - group->first_ns;
	return took_ns ? (double)group->delivered * 1e9 / (double)took_ns : 0;
}

static json_t *group_json(const struct group *group)
{
	json_t *shards = json_array();
	for (uint32_t i = 0; i < group->shard_limit; i++)
		json_array_append_new(shards, json_pack("{s:i,s:I,s:I}", "shard", (int)i, "delivered",
							(json_int_t)group->shards[i].delivered, "redelivered",
							(json_int_t)group->shards[i].redelivered));
	json_t *object = json_pack("{s:s,s:s,s:i,s:i,s:I,s:I,s:I,s:I,s:I,s:I,s:f}", "topic", group->topic, "group", group->name,
				   "consumers", (int)group->consumers, "incomplete", (int)group->incomplete, "delivered",
				   (json_int_t)group->delivered, "lost", (json_int_t)group->lost, "duplicated",
				   (json_int_t)group->duplicated, "reordered", (json_int_t)group->reordered, "redelivered",
				   (json_int_t)group->redelivered, "damaged", (json_int_t)group->damaged, "events_per_second",
				   rate_of(group));
	json_object_set_new(object, "latency_ns", latency_json(&group->latency));
	json_object_set_new(object, "shards", shards);
	return object;
}

static void sum_up(struct group *total, const struct group *group)
{
	total->delivered += group->delivered;
	total->lost += group->lost;
	total->duplicated += group->duplicated;
	total->reordered += group->reordered;
	total->redelivered += group->redelivered;
	total->damaged += group->damaged;
	if (total->first_ns == 0 || (group->first_ns && group->first_ns < total->first_ns))
		total->first_ns = group->first_ns;
	if (group->last_ns > total->last_ns)
		total->last_ns = group->last_ns;
	weir_histogram_merge(&total->latency, &group->latency);
}

static void verdict_print(const struct verdict *verdict, const struct published *sent, const struct group *total, bool is_json)
{
	if (!is_json) {
		printf("published %lu  delivered %lu  lost %lu  duplicated %lu  reordered %lu  redelivered %lu  damaged %lu\n"
		       "%.0f events/s  latency p50 %.1f us  p99 %.1f us  p99.9 %.1f us\n",
		       sent->published, total->delivered, total->lost,
		       total->duplicated, total->reordered,
		       total->redelivered, total->damaged, rate_of(total),
		       (double)weir_histogram_percentile(&total->latency, 0.5) / 1e3,
		       (double)weir_histogram_percentile(&total->latency, 0.99) / 1e3,
		       (double)weir_histogram_percentile(&total->latency, 0.999) / 1e3);
		return;
	}
	json_t *object = json_pack("{s:I,s:I,s:I,s:I,s:i}", "published", (json_int_t)sent->published, "routed",
				   (json_int_t)sent->routed, "refused", (json_int_t)sent->refused, "unknown",
				   (json_int_t)sent->unknown, "producers", (int)verdict->producers);
	json_t *sum = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:f}", "delivered", (json_int_t)total->delivered, "lost",
				(json_int_t)total->lost, "duplicated", (json_int_t)total->duplicated, "reordered",
				(json_int_t)total->reordered, "redelivered", (json_int_t)total->redelivered, "damaged",
				(json_int_t)total->damaged, "events_per_second", rate_of(total));
	json_object_update_new(object, sum);
	json_object_set_new(object, "latency_ns", latency_json(&total->latency));
	json_t *groups = json_array();
	for (uint32_t i = 0; i < verdict->group_count; i++)
		json_array_append_new(groups, group_json(verdict->groups[i]));
	json_object_set_new(object, "groups", groups);
	json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));
	putchar('\n');
	json_decref(object);
}

int load_verdict(const struct load_options *options, char *const *files, int count)
{
	static struct verdict verdict;
	static struct group total;
	struct published sent = { 0 };
	for (int i = 0; i < count; i++) {
		if (add_file(&verdict, files[i]))
			return 2;
	}
	for (uint32_t i = 0; i < verdict.group_count; i++) {
		struct group *group = verdict.groups[i];
		const struct published *topic = topic_find(&verdict, group->topic);
		judge(group, topic ? topic->routed : 0);
		sum_up(&total, group);
	}
	for (uint32_t i = 0; i < verdict.topic_count; i++) {
		sent.published += verdict.topics[i].published;
		sent.routed += verdict.topics[i].routed;
		sent.refused += verdict.topics[i].refused;
		sent.unknown += verdict.topics[i].unknown;
	}
	verdict_print(&verdict, &sent, &total, options->is_json);
	for (uint32_t i = 0; i < verdict.group_count; i++) {
		free(verdict.groups[i]->events.all);
		free(verdict.groups[i]->offsets.all);
		free(verdict.groups[i]);
	}
	return total.lost || total.duplicated || total.reordered || total.damaged;
}
