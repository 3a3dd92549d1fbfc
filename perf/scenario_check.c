// What the tables of perf/scenario.c cannot check: names that must exist, sums that must not be too large, keys that exclude
// each other; and what follows from a whole scenario: its length, its rate, the topology it needs. Startup only.
#include "perf/scenario_check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/weir.h"
#include "wire/frame.h"

// A place in the document: an element of one of the root's lists, and the path that names it in a message.
struct place {
	struct weir_binder *binder;
	yaml_node_t *node;
	char path[64];
};

static struct place place_of(struct weir_binder *binder, const char *list, uint32_t index)
{
	struct place place = { .binder = binder };
	yaml_node_t *root = yaml_document_get_root_node(&binder->document);
	place.node = weir_binder_element(binder, weir_binder_child(binder, root, list), index);
	snprintf(place.path, sizeof(place.path), "%s[%u]", list, index);
	return place;
}

// The value of `key` there, or the place itself when the key is left out.
static yaml_node_t *value_of(const struct place *place, const char *key)
{
	yaml_node_t *node = key ? weir_binder_child(place->binder, place->node, key) : NULL;
	return node ? node : place->node;
}

__attribute__((format(printf, 4, 5))) static int fail(const struct place *place, const char *key, const char *fix,
						       const char *format, ...)
{
	char reason[256];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(reason, sizeof(reason), format, arguments);
	va_end(arguments);
	return weir_binder_fail(place->binder, place->path, value_of(place, key), fix, "%s", reason);
}

// ---- Topics ----

static int check_topic(struct weir_binder *binder, struct weir_scenario *scenario, uint32_t index)
{
	struct place place = place_of(binder, "topics", index);
	const struct weir_scenario_topic *topic = &scenario->topics[index];
	if (topic->log_bytes & (topic->log_bytes - 1))
		return fail(&place, "log", "take a power of two from 64KiB to 64GiB", "it is no power of two");
	if (topic->event_max > topic->log_bytes / 8)
		return fail(&place, "event_max", "lower event_max or raise log", "it is over an eighth of the log, %lu bytes",
			    topic->log_bytes / 8);
	for (uint32_t i = 0; i < index; i++) {
		if (strcmp(scenario->topics[i].name, topic->name) == 0)
			return fail(&place, "name", "give each topic its own name", "topics[%u] has this name already", i);
	}
	scenario->is_loss_allowed |= topic->policy == WEIR_POLICY_DROP_OLD;
	return 0;
}

static int topic_find(const struct place *place, const struct weir_scenario *scenario, const char *name, uint32_t *index)
{
	for (*index = 0; *index < scenario->topic_count; ++*index) {
		if (strcmp(scenario->topics[*index].name, name) == 0)
			return 0;
	}
	return fail(place, "topic", "name one of the list `topics`, or add it there", "there is no such topic");
}

static int group_add(struct weir_scenario_topic *topic, const char *name)
{
	for (uint32_t i = 0; i < topic->group_count; i++) {
		if (strcmp(topic->groups[i].name, name) == 0)
			return 0;
	}
	struct weir_scenario_group *groups = realloc(topic->groups, (topic->group_count + 1) * sizeof(*groups));
	if (!groups)
		return -ENOMEM;
	topic->groups = groups;
	struct weir_scenario_group *group = &groups[topic->group_count++];
	*group = (struct weir_scenario_group){ 0 };
	memcpy(group->name, name, WEIR_NAME_SIZE);
	return 0;
}

// ---- Producers and consumers ----

static int check_payload(const struct place *place, struct weir_scenario_producers *producers,
			 const struct weir_scenario_topic *topic)
{
	if (producers->trace.file[0])
		return 0;
	if (producers->size_count == 0) {
		producers->sizes = calloc(1, sizeof(*producers->sizes));
		if (!producers->sizes)
			return -ENOMEM;
		producers->sizes[0] = (struct weir_scenario_size){ .bytes = 64, .weight = 1 };
		producers->size_count = 1;
	}
	uint64_t most = topic->event_max ? topic->event_max : topic->log_bytes / 8 < 65536 ? topic->log_bytes / 8 : 65536;
	for (uint32_t i = 0; i < producers->size_count; i++) {
		if (producers->sizes[i].bytes + sizeof(struct weir_event_header) > most)
			return fail(place, "payload", "lower it, or raise the topic's event_max (and log)",
				    "a payload of %u bytes and 16 bytes of header are over the topic's event_max, %lu bytes",
				    producers->sizes[i].bytes, most);
	}
	return 0;
}

static int check_producers(struct weir_binder *binder, struct weir_scenario *scenario, uint32_t index)
{
	struct place place = place_of(binder, "producers", index);
	struct weir_scenario_producers *producers = &scenario->producers[index];
	uint32_t clients = 0;
	int result = topic_find(&place, scenario, producers->topic, &producers->topic_index);
	if (result)
		return result;
	for (uint32_t i = 0; i <= index; i++) {
		if (i < index && strcmp(scenario->producers[i].name, producers->name) == 0)
			return fail(&place, "name", "give each set its own name", "producers[%u] has this name already", i);
		clients += scenario->producers[i].count;
	}
	if (clients > WEIR_SCENARIO_PRODUCERS_MAX)
		return fail(&place, "count", "lower count", "all sets together have more than %u producers",
			    WEIR_SCENARIO_PRODUCERS_MAX);
	static const char *const OWN[] = { "rate", "arrivals", "burst", "keys", "payload" };
	for (uint32_t i = 0; i < sizeof(OWN) / sizeof(*OWN) && producers->trace.file[0]; i++) {
		if (weir_binder_child(binder, place.node, OWN[i]))
			return fail(&place, OWN[i], "remove it, or remove `trace`", "the trace says what is sent and when");
	}
	if (!producers->trace.file[0] && !(producers->rate > 0))
		return fail(&place, NULL, "add `rate: EVENTS_A_SECOND`, or a `trace`", "it has neither a rate nor a trace");
	scenario->is_loss_allowed |= producers->level == WEIR_LEVEL_NONE;
	return check_payload(&place, producers, &scenario->topics[producers->topic_index]);
}

static int step_find(const struct place *place, const struct weir_scenario *scenario, const char *key, const char *name,
		     uint32_t *index)
{
	*index = UINT32_MAX;
	for (uint32_t i = 0; name[0] && i < scenario->step_count; i++) {
		if (strcmp(scenario->steps[i].name, name) == 0)
			*index = i;
	}
	if (name[0] && *index == UINT32_MAX)
		return fail(place, key, "name one of the list `steps`", "there is no such step");
	return 0;
}

static int check_consumers(struct weir_binder *binder, struct weir_scenario *scenario, uint32_t index)
{
	struct place place = place_of(binder, "consumers", index);
	struct weir_scenario_consumers *consumers = &scenario->consumers[index];
	uint32_t clients = 0;
	int result = topic_find(&place, scenario, consumers->topic, &consumers->topic_index);
	if (result)
		return result;
	for (uint32_t i = 0; i <= index; i++) {
		if (i < index && strcmp(scenario->consumers[i].name, consumers->name) == 0)
			return fail(&place, "name", "give each set its own name", "consumers[%u] has this name already", i);
		clients += scenario->consumers[i].count;
	}
	if (clients > WEIR_SCENARIO_CONSUMERS_MAX)
		return fail(&place, "count", "lower count", "all sets together have more than %u consumers",
			    WEIR_SCENARIO_CONSUMERS_MAX);
	if (!consumers->group[0])
		memcpy(consumers->group, consumers->name, WEIR_NAME_SIZE);
	result = step_find(&place, scenario, "joins", consumers->joins, &consumers->joins_step);
	if (result == 0)
		result = step_find(&place, scenario, "leaves", consumers->leaves, &consumers->leaves_step);
	if (result == 0 && consumers->joins[0] && consumers->leaves[0] && consumers->leaves_step <= consumers->joins_step)
		result = fail(&place, "leaves", "name a later step", "they would leave before they joined");
	return result ? result : group_add(&scenario->topics[consumers->topic_index], consumers->group);
}

// ---- Steps ----

static int check_action(struct weir_binder *binder, struct weir_scenario *scenario, uint32_t step, const char *kind, uint32_t i)
{
	struct weir_scenario_step *at = &scenario->steps[step];
	struct weir_scenario_action *action = kind[0] == 's' ? &at->slow[i] : &at->kill[i];
	struct place place = place_of(binder, "steps", step);
	place.node = weir_binder_element(binder, weir_binder_child(binder, place.node, kind), i);
	snprintf(place.path, sizeof(place.path), "steps[%u].%s[%u]", step, kind, i);
	for (action->set = 0; action->set < scenario->consumers_count; action->set++) {
		struct weir_scenario_consumers *consumers = &scenario->consumers[action->set];
		if (strcmp(consumers->name, action->consumers))
			continue;
		if (action->members > consumers->count)
			return fail(&place, "members", "lower it", "the set has %u members", consumers->count);
		if (kind[0] == 'k')
			consumers->is_process = 1;
		return 0;
	}
	return fail(&place, "consumers", "name one of the list `consumers`", "there is no such set");
}

static int check_step(struct weir_binder *binder, struct weir_scenario *scenario, uint32_t index)
{
	struct place place = place_of(binder, "steps", index);
	const struct weir_scenario_step *step = &scenario->steps[index];
	int result = 0;
	for (uint32_t i = 0; i < index; i++) {
		if (strcmp(scenario->steps[i].name, step->name) == 0)
			return fail(&place, "name", "give each step its own name", "steps[%u] has this name already", i);
	}
	if (weir_scenario_length(scenario) > WEIR_SCENARIO_SECONDS_MAX * 1000000000ull)
		return fail(&place, "for", "shorten the steps", "all steps together take longer than a week");
	for (uint32_t i = 0; i < step->slow_count && result == 0; i++)
		result = check_action(binder, scenario, index, "slow", i);
	for (uint32_t i = 0; i < step->kill_count && result == 0; i++)
		result = check_action(binder, scenario, index, "kill", i);
	return result;
}

int weir_scenario_check(struct weir_binder *binder, struct weir_scenario *scenario)
{
	int result = 0;
	for (uint32_t i = 0; i < scenario->topic_count && result == 0; i++)
		result = check_topic(binder, scenario, i);
	for (uint32_t i = 0; i < scenario->producers_count && result == 0; i++)
		result = check_producers(binder, scenario, i);
	for (uint32_t i = 0; i < scenario->consumers_count && result == 0; i++)
		result = check_consumers(binder, scenario, i);
	for (uint32_t i = 0; i < scenario->step_count && result == 0; i++)
		result = check_step(binder, scenario, i);
	return result;
}

// ---- What follows from the whole ----

uint64_t weir_scenario_length(const struct weir_scenario *scenario)
{
	uint64_t length = 0;
	for (uint32_t i = 0; i < scenario->step_count; i++)
		length += scenario->steps[i].length_ns;
	return length;
}

double weir_scenario_rate(const struct weir_scenario *scenario)
{
	double rate = 0;
	for (uint32_t i = 0; i < scenario->producers_count; i++)
		rate += scenario->producers[i].rate;
	return rate;
}

double weir_scenario_rate_max(const struct weir_scenario *scenario)
{
	double load = 0;
	for (uint32_t i = 0; i < scenario->step_count; i++) {
		const struct weir_scenario_step *step = &scenario->steps[i];
		load = step->load > load ? step->load : load;
		load = step->load_to > load ? step->load_to : load;
	}
	return load * weir_scenario_rate(scenario);
}

void weir_scenario_set_length(struct weir_scenario *scenario, uint64_t length_ns)
{
	double factor = (double)length_ns / (double)weir_scenario_length(scenario);
	for (uint32_t i = 0; i < scenario->step_count; i++) {
		struct weir_scenario_step *step = &scenario->steps[i];
		step->length_ns = (uint64_t)((double)step->length_ns * factor);
		if (step->length_ns < 1000000)
			step->length_ns = 1000000;
	}
}

void weir_scenario_set_rate(struct weir_scenario *scenario, double rate)
{
	double sum = weir_scenario_rate(scenario);
	for (uint32_t i = 0; i < scenario->producers_count && sum > 0; i++)
		scenario->producers[i].rate *= rate / sum;
}

static void group_print(FILE *out, const struct weir_scenario_group *group)
{
	fprintf(out, "      - {name: \"%s\", kind: %s, start: earliest", group->name, group->is_follow ? "follow" : "hold");
	if (group->quota_bytes)
		fprintf(out, ", quota: %lu", group->quota_bytes);
	fputs("}\n", out);
}

static void topic_print(FILE *out, const struct weir_scenario_topic *topic)
{
	static const char *const POLICY[] = { [WEIR_POLICY_BLOCK] = "block", [WEIR_POLICY_DROP_NEW] = "drop-new",
					      [WEIR_POLICY_DROP_OLD] = "drop-old" };
	fprintf(out, "  - name: \"%s\"\n    shards: %u\n", topic->name, topic->shards);
	fprintf(out, "    policy: %s\n    ack: %s\n    log: %lu\n",
		POLICY[topic->policy], topic->ack == WEIR_ACK_NONE ? "none" : "routed", topic->log_bytes);
	if (topic->event_max)
		fprintf(out, "    event_max: %lu\n", topic->event_max);
	if (topic->group_count)
		fputs("    groups:\n", out);
	for (uint32_t i = 0; i < topic->group_count; i++)
		group_print(out, &topic->groups[i]);
}

char *weir_scenario_topology(const struct weir_scenario *scenario, const char *instance, uint32_t udp_port)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	if (!out)
		return NULL;
	fprintf(out, "# The topology that scenario %s needs.\ninstance: \"%s\"\nworkers:\n", scenario->name, instance);
	for (uint32_t i = 0; i < scenario->workers; i++)
		fputs("  - {core: auto}\n", out);
	fprintf(out, "ports:\n  - {name: front, kind: kernel, address: 127.0.0.1, udp_port: %u}\n", udp_port);
	// A member that dies is found out soon, so that short runs see its shards move.
	fputs("limits: {sessions_per_worker: 2048, members_per_group: 1024, ping: 300ms, lease: 1500ms}\ntopics:\n", out);
	for (uint32_t i = 0; i < scenario->topic_count; i++)
		topic_print(out, &scenario->topics[i]);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}
