// A scenario's keys as tables, one per mapping, over the binder that also reads topology files: every mistake is told with
// file, line, column and what was expected. Defaults stand in the init functions. perf/scenario_check.c does what a table
// cannot: checks between keys.
#include "perf/scenario.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/weir.h"
#include "control/daemon/binder.h"
#include "perf/payload.h"
#include "perf/scenario_check.h"
#include "wire/frame.h"

#define SECOND_NS 1000000000ull
#define MILLISECOND_NS 1000000ull
#define KEYS_MAX (1u << 18) // those of an account

static const char NAME[] = "a name of 1 to 63 of the characters A-Z a-z 0-9 . _ -";

// A decimal number with one of the suffixes, e.g. "1.5M". false: it is none.
static bool decimal_parse(const char *text, const char *suffixes, const double *factors, double *value)
{
	char *end;
	if (text[0] < '0' || text[0] > '9')
		return false;
	*value = strtod(text, &end);
	if (*end == 0)
		return true;
	const char *suffix = strchr(suffixes, *end);
	if (!suffix || end[1])
		return false;
	*value *= factors[suffix - suffixes];
	return true;
}

static int bind_decimal(struct weir_binder *binder, const struct weir_field *field, yaml_node_t *node, double *at,
			const char *suffixes)
{
	static const double RATE[] = { 1e3, 1e6 };
	static const double SHARE[] = { 0.01 };
	double value;
	if (node->type != YAML_SCALAR_NODE ||
	    !decimal_parse((const char *)node->data.scalar.value, suffixes, suffixes[0] == '%' ? SHARE : RATE, &value) ||
	    !(value * 1e6 >= (double)field->min && value <= (double)field->max))
		return weir_binder_refuse(binder, binder->path, node, field->expected);
	*at = value;
	return 0;
}

// double, events/s: 250, 20k, 1.5M; min of the field in millionths, max in units.
static int bind_rate(struct weir_binder *binder, const struct weir_field *field, yaml_node_t *node, void *at)
{
	return bind_decimal(binder, field, node, at, "kM");
}

// double: 0.5, 50%, 1000%.
static int bind_share(struct weir_binder *binder, const struct weir_field *field, yaml_node_t *node, void *at)
{
	return bind_decimal(binder, field, node, at, "%");
}

static int bind_sizes(struct weir_binder *binder, const struct weir_field *field, yaml_node_t *node, void *at)
{
	if (node->type != YAML_SCALAR_NODE)
		return weir_bind_sequence(binder, field, node, at);
	uint64_t value;
	if (!weir_number_parse((const char *)node->data.scalar.value, 10, &value) || value < WEIR_PAYLOAD_MIN ||
	    value > WEIR_EVENT_LIMIT - 16)
		return weir_binder_refuse(binder, binder->path, node, field->expected);
	struct weir_scenario_size *size = calloc(1, sizeof(*size));
	if (!size)
		return -ENOMEM;
	*size = (struct weir_scenario_size){ .bytes = (uint32_t)value, .weight = 1 };
	*(void **)at = size;
	*(uint32_t *)(void *)((char *)at - field->offset + field->count_offset) = 1;
	return 0;
}

static void init_group(void *at)
{
}

static void init_action(void *at)
{
	((struct weir_scenario_action *)at)->members = 1;
}

static void init_size(void *at)
{
	((struct weir_scenario_size *)at)->weight = 1;
}

static void init_topic(void *at)
{
	struct weir_scenario_topic *topic = at;
	topic->shards = 4;
	topic->ack = WEIR_ACK_ROUTED;
	topic->log_bytes = 1u << 20;
}

static void init_producers(void *at)
{
	struct weir_scenario_producers *producers = at;
	producers->count = 1;
	producers->arrivals = WEIR_ARRIVAL_POISSON;
	producers->burst = 100;
	producers->keys.count = 1000;
	producers->keys.exponent = 1;
	producers->keys.share = 0.5;
	producers->level = WEIR_LEVEL_DEFAULT;
	producers->trace.speed = 1;
}

static void init_consumers(void *at)
{
	((struct weir_scenario_consumers *)at)->count = 1;
}

static void init_step(void *at)
{
	((struct weir_scenario_step *)at)->load = 1;
	((struct weir_scenario_step *)at)->load_to = -1;
}

static const struct weir_word POLICY[] = { { "block", WEIR_POLICY_BLOCK },
					   { "drop-new", WEIR_POLICY_DROP_NEW },
					   { "drop-old", WEIR_POLICY_DROP_OLD },
					   { 0 } };
static const struct weir_word ACK[] = { { "none", WEIR_ACK_NONE }, { "routed", WEIR_ACK_ROUTED }, { 0 } };
static const struct weir_word LEVEL[] = { { "none", WEIR_LEVEL_NONE },
					  { "routed", WEIR_LEVEL_ROUTED },
					  { "default", (uint32_t)WEIR_LEVEL_DEFAULT },
					  { 0 } };
static const struct weir_word ARRIVALS[] = { { "constant", WEIR_ARRIVAL_CONSTANT },
					     { "poisson", WEIR_ARRIVAL_POISSON },
					     { "bursts", WEIR_ARRIVAL_BURSTS },
					     { 0 } };
static const struct weir_word PICK[] = { { "uniform", WEIR_KEYS_UNIFORM },
					 { "zipf", WEIR_KEYS_ZIPF },
					 { "hot", WEIR_KEYS_HOT },
					 { "in-turn", WEIR_KEYS_IN_TURN },
					 { 0 } };
static const struct weir_word KIND[] = { { "hold", 0 }, { "follow", 1 }, { 0 } };
static const struct weir_word BOOLEAN[] = { { "false", 0 }, { "true", 1 }, { 0 } };
static const struct weir_word CARRIER[] = { { "thread", 0 }, { "process", 1 }, { 0 } };

#define AT(type, member) .offset = offsetof(struct type, member), .size = sizeof(((struct type *)0)->member)
#define FIELD_NAME(type)                                                                                                       \
	{                                                                                                                      \
		.key = "name", .bind = weir_bind_name, AT(type, name), .expected = NAME, .is_required = true                   \
	}
#define LIST(type, member, element)                                                                                            \
	.bind = weir_bind_sequence, .offset = offsetof(struct type, member), .size = sizeof(struct element),                   \
	.mark_offset = offsetof(struct element, mark)
#define COUNT_AT(type, member) .count_offset = offsetof(struct type, member)

static const struct weir_field GROUP[] = {
	FIELD_NAME(weir_scenario_group),
	{ .key = "kind", .bind = weir_bind_word, .offset = offsetof(struct weir_scenario_group, is_follow),
	  .words = KIND, .expected = "hold or follow" },
	{ .key = "quota", .bind = weir_bind_size, AT(weir_scenario_group, quota_bytes), .min = 4096, .max = 64ull << 30,
	  .expected = "a size from 4KiB to 64GiB" },
	{ 0 },
};

static const struct weir_field TOPIC[] = {
	FIELD_NAME(weir_scenario_topic),
	{ .key = "shards", .bind = weir_bind_number, AT(weir_scenario_topic, shards), .min = 1, .max = WEIR_SHARDS_MAX,
	  .expected = "a number from 1 to 4096" },
	{ .key = "policy", .bind = weir_bind_word, AT(weir_scenario_topic, policy), .words = POLICY,
	  .expected = "block, drop-new or drop-old" },
	{ .key = "ack", .bind = weir_bind_word, AT(weir_scenario_topic, ack), .words = ACK, .expected = "none or routed" },
	{ .key = "log", .bind = weir_bind_size, AT(weir_scenario_topic, log_bytes), .min = WEIR_LOG_SIZE_MIN,
	  .max = 64ull << 30, .expected = "a power of two from 64KiB to 64GiB" },
	{ .key = "event_max", .bind = weir_bind_size, AT(weir_scenario_topic, event_max), .min = 64, .max = WEIR_EVENT_LIMIT,
	  .expected = "a size from 64 bytes to 16MiB" },
	{ .key = "groups", LIST(weir_scenario_topic, groups, weir_scenario_group), .max = 64,
	  .expected = "a list of at most 64 groups", .fields = GROUP, COUNT_AT(weir_scenario_topic, group_count),
	  .init = init_group },
	{ 0 },
};

static const struct weir_field SIZE[] = {
	{ .key = "bytes", .bind = weir_bind_number, AT(weir_scenario_size, bytes), .min = WEIR_PAYLOAD_MIN,
	  .max = WEIR_EVENT_LIMIT - 16, .expected = "a number of bytes from 32 to 16777200", .is_required = true },
	{ .key = "weight", .bind = weir_bind_number, AT(weir_scenario_size, weight), .min = 1, .max = 1000000,
	  .expected = "a number from 1 to 1000000" },
	{ 0 },
};

static const struct weir_field KEYS[] = {
	{ .key = "count", .bind = weir_bind_number, AT(weir_scenario_producers, keys.count), .min = 1, .max = KEYS_MAX,
	  .expected = "a number from 1 to 262144" },
	{ .key = "pick", .bind = weir_bind_word, AT(weir_scenario_producers, keys.pick), .words = PICK,
	  .expected = "uniform, zipf, hot or in-turn" },
	{ .key = "exponent", .bind = bind_share, AT(weir_scenario_producers, keys.exponent), .min = 10000, .max = 10,
	  .expected = "a number from 0.01 to 10" },
	{ .key = "share", .bind = bind_share, AT(weir_scenario_producers, keys.share), .min = 0, .max = 1,
	  .expected = "a share from 0 to 1, or 0% to 100%" },
	{ .key = "shared", .bind = weir_bind_word, AT(weir_scenario_producers, keys.is_shared), .words = BOOLEAN,
	  .expected = "true or false" },
	{ 0 },
};

static const struct weir_field TRACE[] = {
	{ .key = "file", .bind = weir_bind_text, AT(weir_scenario_producers, trace.file), .min = 1,
	  .expected = "the path of a file, at most 255 bytes", .is_required = true },
	{ .key = "speed", .bind = bind_share, AT(weir_scenario_producers, trace.speed), .min = 1000, .max = 1000000,
	  .expected = "a factor from 0.001 to 1000000; 2 is twice as fast as recorded" },
	{ 0 },
};

static const struct weir_field PRODUCERS[] = {
	FIELD_NAME(weir_scenario_producers),
	{ .key = "topic", .bind = weir_bind_name, AT(weir_scenario_producers, topic), .expected = NAME, .is_required = true },
	{ .key = "count", .bind = weir_bind_number, AT(weir_scenario_producers, count), .min = 1,
	  .max = WEIR_SCENARIO_PRODUCERS_MAX, .expected = "a number from 1 to 64" },
	{ .key = "rate", .bind = bind_rate, AT(weir_scenario_producers, rate), .min = 1000, .max = 1000000000,
	  .expected = "events a second of the whole set, such as 250, 20k or 1.5M" },
	{ .key = "arrivals", .bind = weir_bind_word, AT(weir_scenario_producers, arrivals), .words = ARRIVALS,
	  .expected = "constant, poisson or bursts" },
	{ .key = "burst", .bind = weir_bind_number, AT(weir_scenario_producers, burst), .min = 1, .max = 1000000,
	  .expected = "a number from 1 to 1000000" },
	{ .key = "keys", .bind = weir_bind_mapping, .fields = KEYS },
	{ .key = "payload", .bind = bind_sizes, .offset = offsetof(struct weir_scenario_producers, sizes),
	  .size = sizeof(struct weir_scenario_size), .mark_offset = offsetof(struct weir_scenario_size, mark), .min = 1,
	  .max = WEIR_SIZES_MAX, .expected = "bytes from 32 to 16777200, or a list of 1 to 16 {bytes, weight}", .fields = SIZE,
	  COUNT_AT(weir_scenario_producers, size_count), .init = init_size },
	{ .key = "level", .bind = weir_bind_word, AT(weir_scenario_producers, level), .words = LEVEL,
	  .expected = "none, routed or default" },
	{ .key = "linger", .bind = weir_bind_duration, AT(weir_scenario_producers, linger_ns), .min = 1000, .max = SECOND_NS,
	  .expected = "a duration from 1us to 1s" },
	{ .key = "frame_events", .bind = weir_bind_number, AT(weir_scenario_producers, frame_events), .min = 1,
	  .max = WEIR_COUNT_MAX, .expected = "a number from 1 to 4096" },
	{ .key = "trace", .bind = weir_bind_mapping, .fields = TRACE },
	{ .key = "runs_as", .bind = weir_bind_word, AT(weir_scenario_producers, is_process), .words = CARRIER,
	  .expected = "thread or process" },
	{ 0 },
};

static const struct weir_field CONSUMERS[] = {
	FIELD_NAME(weir_scenario_consumers),
	{ .key = "topic", .bind = weir_bind_name, AT(weir_scenario_consumers, topic), .expected = NAME, .is_required = true },
	{ .key = "group", .bind = weir_bind_name, AT(weir_scenario_consumers, group), .expected = NAME },
	{ .key = "count", .bind = weir_bind_number, AT(weir_scenario_consumers, count), .min = 1,
	  .max = WEIR_SCENARIO_CONSUMERS_MAX, .expected = "a number from 1 to 1024" },
	{ .key = "joins", .bind = weir_bind_name, AT(weir_scenario_consumers, joins), .expected = "the name of a step" },
	{ .key = "leaves", .bind = weir_bind_name, AT(weir_scenario_consumers, leaves), .expected = "the name of a step" },
	{ .key = "delay", .bind = weir_bind_duration, AT(weir_scenario_consumers, delay_ns), .min = 0, .max = 10 * SECOND_NS,
	  .expected = "a duration up to 10s" },
	{ .key = "runs_as", .bind = weir_bind_word, AT(weir_scenario_consumers, is_process), .words = CARRIER,
	  .expected = "thread or process" },
	{ 0 },
};

#define FIELD_CONSUMERS                                                                                                        \
	{                                                                                                                      \
		.key = "consumers", .bind = weir_bind_name, AT(weir_scenario_action, consumers),                               \
		.expected = "the name of a set of consumers", .is_required = true                                              \
	}
#define FIELD_MEMBERS                                                                                                          \
	{                                                                                                                      \
		.key = "members", .bind = weir_bind_number, AT(weir_scenario_action, members), .min = 1,                       \
		.max = WEIR_SCENARIO_CONSUMERS_MAX, .expected = "a number from 1 to 1024"                                      \
	}

static const struct weir_field SLOW[] = {
	FIELD_CONSUMERS,
	FIELD_MEMBERS,
	{ .key = "delay", .bind = weir_bind_duration, AT(weir_scenario_action, delay_ns), .min = 1000, .max = 10 * SECOND_NS,
	  .expected = "the work for each event, a duration from 1us to 10s", .is_required = true },
	{ 0 },
};

static const struct weir_field KILL[] = { FIELD_CONSUMERS, FIELD_MEMBERS, { 0 } };

static const struct weir_field STEP[] = {
	FIELD_NAME(weir_scenario_step),
	{ .key = "for", .bind = weir_bind_duration, AT(weir_scenario_step, length_ns), .min = MILLISECOND_NS,
	  .max = WEIR_SCENARIO_SECONDS_MAX * SECOND_NS, .expected = "a duration from 1ms to 168h", .is_required = true },
	{ .key = "load", .bind = bind_share, AT(weir_scenario_step, load), .min = 0, .max = 1000,
	  .expected = "a share of the producers' rates, such as 50% or 1000%" },
	{ .key = "ramp_to", .bind = bind_share, AT(weir_scenario_step, load_to), .min = 0, .max = 1000,
	  .expected = "a share of the producers' rates, such as 50% or 1000%" },
	{ .key = "slow", LIST(weir_scenario_step, slow, weir_scenario_action), .max = 64,
	  .expected = "a list of {consumers, members, delay}", .fields = SLOW, COUNT_AT(weir_scenario_step, slow_count),
	  .init = init_action },
	{ .key = "kill", LIST(weir_scenario_step, kill, weir_scenario_action), .max = 64,
	  .expected = "a list of {consumers, members}", .fields = KILL, COUNT_AT(weir_scenario_step, kill_count),
	  .init = init_action },
	{ 0 },
};

static const struct weir_field ROOT[] = {
	FIELD_NAME(weir_scenario),
	{ .key = "about", .bind = weir_bind_text, AT(weir_scenario, about), .expected = "a text of at most 511 bytes" },
	{ .key = "workers", .bind = weir_bind_number, AT(weir_scenario, workers), .min = 1, .max = WEIR_WORKERS_MAX,
	  .expected = "a number from 1 to 64" },
	{ .key = "drain", .bind = weir_bind_duration, AT(weir_scenario, drain_ns), .min = 100 * MILLISECOND_NS,
	  .max = 3600 * SECOND_NS, .expected = "a duration from 100ms to 1h" },
	{ .key = "lag_limit", .bind = weir_bind_duration, AT(weir_scenario, lag_limit_ns), .min = 10000, .max = 60 * SECOND_NS,
	  .expected = "a duration from 10us to 60s" },
	{ .key = "topics", LIST(weir_scenario, topics, weir_scenario_topic), .min = 1, .max = 64,
	  .expected = "a list of 1 to 64 topics", .is_required = true, .fields = TOPIC, COUNT_AT(weir_scenario, topic_count),
	  .init = init_topic },
	{ .key = "producers", LIST(weir_scenario, producers, weir_scenario_producers), .min = 1,
	  .max = WEIR_SCENARIO_PRODUCERS_MAX, .expected = "a list of 1 to 64 sets of producers", .is_required = true,
	  .fields = PRODUCERS, COUNT_AT(weir_scenario, producers_count), .init = init_producers },
	{ .key = "consumers", LIST(weir_scenario, consumers, weir_scenario_consumers), .min = 1, .max = 64,
	  .expected = "a list of 1 to 64 sets of consumers", .is_required = true, .fields = CONSUMERS,
	  COUNT_AT(weir_scenario, consumers_count), .init = init_consumers },
	{ .key = "steps", LIST(weir_scenario, steps, weir_scenario_step), .min = 1, .max = WEIR_PROFILE_PIECES,
	  .expected = "a list of 1 to 128 steps", .is_required = true, .fields = STEP, COUNT_AT(weir_scenario, step_count),
	  .init = init_step },
	{ 0 },
};

static int bind(struct weir_binder *binder, struct weir_scenario *scenario)
{
	if (!yaml_document_get_root_node(&binder->document)) {
		weir_trouble_set(binder->trouble, "file", "use it", "start from one of perf/scenarios", "it is empty");
		binder->trouble->mark = (struct weir_mark){ 1, 1 };
		return -EINVAL;
	}
	int result = weir_binder_run(binder, ROOT, scenario);
	return result ? result : weir_scenario_check(binder, scenario);
}

int weir_scenario_parse(struct weir_scenario **out, const char *text, size_t size, struct weir_trouble *trouble)
{
	struct weir_binder binder;
	int result = weir_binder_init(&binder, text, size, trouble);
	if (result)
		return result;
	struct weir_scenario *scenario = calloc(1, sizeof(*scenario));
	if (scenario) {
		scenario->workers = 1;
		scenario->drain_ns = 3 * SECOND_NS;
		scenario->lag_limit_ns = 10 * MILLISECOND_NS;
		result = bind(&binder, scenario);
	} else {
		result = -ENOMEM;
	}
	weir_binder_fini(&binder);
	if (result == 0) {
		*out = scenario;
		return 0;
	}
	weir_scenario_destroy(scenario);
	if (result == -ENOMEM)
		weir_trouble_set(trouble, "file", "use it", "free some memory", "out of memory");
	return result;
}

int weir_scenario_load(struct weir_scenario **scenario, const char *file, struct weir_trouble *trouble)
{
	char object[WEIR_SCENARIO_PATH + 8];
	snprintf(object, sizeof(object), "file %s", file);
	FILE *stream = fopen(file, "re");
	char *text = stream ? malloc(WEIR_SCENARIO_SIZE_MAX + 1) : NULL;
	if (!text) {
		int result = -errno;
		if (stream)
			fclose(stream);
		weir_trouble_set(trouble, object, "read it", "check the path and its permissions", "%s", strerror(-result));
		return result;
	}
	size_t size = fread(text, 1, WEIR_SCENARIO_SIZE_MAX + 1, stream);
	int result = 0;
	if (ferror(stream) || size > WEIR_SCENARIO_SIZE_MAX) {
		result = ferror(stream) ? -EIO : -EFBIG;
		weir_trouble_set(trouble, object, "read it", "name a scenario file of at most 1 MiB", "%s", strerror(-result));
	}
	fclose(stream);
	if (result == 0)
		result = weir_scenario_parse(scenario, text, size, trouble);
	free(text);
	return result;
}

void weir_scenario_destroy(struct weir_scenario *scenario)
{
	if (!scenario)
		return;
	for (uint32_t i = 0; i < scenario->topic_count; i++)
		free(scenario->topics[i].groups);
	for (uint32_t i = 0; i < scenario->producers_count; i++)
		free(scenario->producers[i].sizes);
	for (uint32_t i = 0; i < scenario->step_count; i++) {
		free(scenario->steps[i].slow);
		free(scenario->steps[i].kill);
	}
	free(scenario->topics);
	free(scenario->producers);
	free(scenario->consumers);
	free(scenario->steps);
	free(scenario);
}
