// weirload verdict: merges what producers said (their JSON) and what consumers kept (their accounts, also of the killed
// ones) by perf/verdict.h, and prints it; `published` is what libweir took from the application.
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perf/account.h"
#include "perf/load.h"
#include "perf/verdict.h"

#define GROUPS_MAX 64

struct published {
	char topic[64];
	uint64_t published;
	uint64_t routed;
	uint64_t refused;
	uint64_t unknown; // and never acknowledged
};

struct verdict {
	struct published topics[GROUPS_MAX];
	uint32_t topic_count;
	struct weir_group_verdict *groups[GROUPS_MAX];
	uint32_t group_count;
	uint32_t producers;
};

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

static struct weir_group_verdict *group_find(struct verdict *verdict, const struct weir_account_header *header)
{
	for (uint32_t i = 0; i < verdict->group_count; i++) {
		struct weir_group_verdict *group = verdict->groups[i];
		if (strcmp(group->topic, header->topic) == 0 && strcmp(group->name, header->group) == 0)
			return group;
	}
	if (verdict->group_count == GROUPS_MAX)
		return NULL;
	struct weir_group_verdict *group = calloc(1, sizeof(*group));
	if (!group)
		return NULL;
	memcpy(group->topic, header->topic, sizeof(group->topic));
	memcpy(group->name, header->group, sizeof(group->name));
	verdict->groups[verdict->group_count++] = group;
	return group;
}

static int add_account(struct verdict *verdict, const struct weir_account *account, const char *path)
{
	struct weir_group_verdict *group = group_find(verdict, account->header);
	if (!group)
		return load_fail("%s: more than %d groups, or no memory", path, GROUPS_MAX);
	int result = weir_verdict_add(group, account);
	if (result == -ENOSPC)
		return load_fail("%s: its consumer saw more than an account can hold", path);
	if (result)
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

static json_t *latency_json(const struct weir_histogram *latency)
{
	double mean = latency->count ? (double)latency->sum / (double)latency->count : 0;
	return json_pack("{s:I,s:I,s:I,s:I,s:I}", "p50", (json_int_t)weir_histogram_percentile(latency, 0.5), "p99",
			 (json_int_t)weir_histogram_percentile(latency, 0.99), "p99_9",
			 (json_int_t)weir_histogram_percentile(latency, 0.999), "max", (json_int_t)latency->max, "mean",
			 (json_int_t)mean);
}

static double rate_of(const struct weir_group_verdict *group)
{
	uint64_t took_ns = group->last_ns - group->first_ns;
	return took_ns ? (double)group->delivered * 1e9 / (double)took_ns : 0;
}

static json_t *group_json(const struct weir_group_verdict *group)
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

static void sum_up(struct weir_group_verdict *total, const struct weir_group_verdict *group)
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

static void verdict_print(const struct verdict *verdict, const struct published *sent, const struct weir_group_verdict *total,
			  bool is_json)
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
	static struct weir_group_verdict total;
	struct published sent = { 0 };
	for (int i = 0; i < count; i++) {
		if (add_file(&verdict, files[i]))
			return 2;
	}
	for (uint32_t i = 0; i < verdict.group_count; i++) {
		struct weir_group_verdict *group = verdict.groups[i];
		const struct published *topic = topic_find(&verdict, group->topic);
		weir_verdict_judge(group, topic ? topic->routed : 0);
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
		weir_verdict_fini(verdict.groups[i]);
		free(verdict.groups[i]);
	}
	return total.lost || total.duplicated || total.reordered || total.damaged;
}
