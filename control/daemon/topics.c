// The topics of `weirctl status`: each with sums over its shards and groups, and rows of the shards. Where there are many, the
// rows of those in trouble alone, so that an answer stays one that people and programs can read. Control thread.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "control/daemon/answer.h"
#include "control/daemon/discard.h"
#include "control/daemon/lanes.h"
#include "lib/clock.h"

#define ROWS_MAX 512u // of shards and of groups' shards, in an answer that was not asked for more

struct answer {
	const struct weir_router *router;
	json_t *warnings;
	uint32_t rows_left;
	bool is_folded;
};

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

// Rows that go into the answer: all, or those in trouble while there is room.
static bool is_shown(struct answer *answer, bool is_in_trouble)
{
	if (!answer->is_folded)
		return true;
	if (!is_in_trouble || !answer->rows_left)
		return false;
	answer->rows_left--;
	return true;
}

// ---- Shards ----

static json_t *owner_json(const struct weir_router_topic *topic, uint32_t shard, const struct weir_shard_row *row,
			  bool is_remote)
{
	json_t *json = json_pack("{s:i, s:i, s:i, s:b, s:o}", "shard", (int)shard, "worker", topic->owner[shard], "node",
				 (int)topic->log_node[shard], "remote", is_remote, "incarnation",
				 weir_answer_id(row->incarnation));
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {
		{ "offered", row->offered },     { "accepted", row->accepted },
		{ "duplicate", row->duplicate }, { "accepted_bytes", row->accepted_bytes },
		{ "head", row->head_offset },    { "earliest", row->earliest_offset },
		{ "log_bytes", row->log_bytes }, { "held_bytes", row->held_bytes },
		{ "streams", row->streams },     { "waiters", row->waiters },
		{ "moves", row->moves },         { "move_pause_max_ns", row->move_pause_max_ns },
		{ "pins", row->pins },           { "pin_lane", row->pin_lane },
		{ "pin_bytes", row->pin_bytes }, { "pin_since_ns", row->pin_since_ns },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		json_object_set_new(json, numbers[i].key, number(numbers[i].value));
	json_object_set_new(json, "refused", weir_answer_reasons(row->refused));
	json_object_set_new(json, "skipped", weir_answer_reasons(row->skipped));
	json_object_set_new(json, "accepted_per_second", json_real(topic->accepted[shard].per_second));
	return json;
}

// Producers wait for room, or the log is nearly full, or its bytes lie on another node.
static bool is_shard_in_trouble(const struct weir_shard_row *row, bool is_remote)
{
	return row->waiters > 0 || is_remote || row->pin_lane || row->held_bytes > row->log_bytes - row->log_bytes / 8;
}

struct topic_sums {
	uint64_t accepted;
	uint64_t held_bytes;
	uint64_t streams;
	uint64_t waiters;
	uint32_t troubles;
	double rate;
};

static json_t *owners_json(struct answer *answer, const struct weir_router_topic *topic, struct topic_sums *sums)
{
	json_t *owners = json_array();

	for (uint32_t s = 0; s < topic->spec.shards; s++) {
		uint32_t node = answer->router->plan->workers[topic->owner[s]].node;
		bool is_remote = topic->log_node[s] != node;
		struct weir_shard_row row;
		bool is_in_trouble;

		if (weir_row_read(&row, topic->rows[s], sizeof(row)) != 0)
			memset(&row, 0, sizeof(row));
		is_in_trouble = is_shard_in_trouble(&row, is_remote);
		sums->accepted += row.accepted;
		sums->held_bytes += row.held_bytes;
		sums->streams += row.streams;
		sums->waiters += row.waiters;
		sums->troubles += is_in_trouble;
		sums->rate += topic->accepted[s].per_second;
		if (is_shown(answer, is_in_trouble))
			json_array_append_new(owners, owner_json(topic, s, &row, is_remote));
	}
	return owners;
}

// ---- Groups ----

static json_t *delivery_json(const struct weir_group_row *row, uint32_t shard)
{
	static const char *const STATES[] = { "idle", "assigning", "active", "revoking" };
	json_t *json = json_pack("{s:i, s:s, s:o, s:I}", "shard", (int)shard, "state",
				 row->state < sizeof(STATES) / sizeof(*STATES) ? STATES[row->state] : "unknown", "session",
				 weir_answer_session(row->session), "term", (json_int_t)row->term);
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {
		{ "start_offset", row->start_offset }, { "head", row->head_offset },
		{ "settled", row->settled },           { "held", row->held },
		{ "sent_to", row->sent_to },           { "received_to", row->received_to },
		{ "settled_to", row->settled_to },     { "sent", row->sent_events },
		{ "resent", row->resent_events },      { "redelivered", row->redelivered },
		{ "credit_bytes", row->credit_bytes }, { "frame_size", row->frame_size },
		{ "lane", row->lane },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		json_object_set_new(json, numbers[i].key, number(numbers[i].value));
	json_object_set_new(json, "dropped", weir_answer_reasons(row->dropped));
	return json;
}

static json_t *group_json(struct answer *answer, const struct weir_router_topic *topic, const struct weir_router_group *group)
{
	uint32_t members = weir_discard_members(topic, group);
	json_t *shards = json_array();
	uint64_t redelivered = 0;
	uint64_t lag = 0;
	uint32_t troubles = 0;
	struct weir_group_row row;

	for (uint32_t s = 0; s < topic->spec.shards; s++) {
		bool is_in_trouble;

		if (weir_row_read(&row, group->rows[s], sizeof(row)) != 0)
			memset(&row, 0, sizeof(row));
		// Somebody could take them, and nobody does. A group without members is one line of the warnings.
		is_in_trouble = members > 0 && row.held > 0 && row.state != WEIR_DELIVERY_ACTIVE;
		lag += row.held;
		redelivered += row.redelivered;
		troubles += is_in_trouble;
		if (is_shown(answer, is_in_trouble))
			json_array_append_new(shards, delivery_json(&row, s));
	}
	if (members == 0 && lag && group->spec.kind == WEIR_GROUP_HOLD) {
		char text[WEIR_PLAN_TEXT];

		snprintf(text, sizeof(text), "topic %s: group %s holds %llu events and has no member", topic->spec.name,
			 group->spec.name, (unsigned long long)lag);
		json_array_append_new(answer->warnings, json_string(text));
	}
	return json_pack("{s:s, s:i, s:s, s:s, s:i, s:i, s:I, s:f, s:I, s:i, s:o}", "group", group->spec.name, "id",
			 (int)group->spec.id.value, "kind", group->spec.kind == WEIR_GROUP_FOLLOW ? "follow" : "hold", "start",
			 group->spec.start == WEIR_START_EARLIEST ? "earliest" : "latest", "coordinator",
			 (int)group->spec.coordinator, "members", (int)members, "lag", (json_int_t)lag, "settled_per_second",
			 group->settled.per_second, "redelivered", (json_int_t)redelivered, "troubles", (int)troubles,
			 "shards", shards);
}

// ---- Topics ----

static void warn_of_pins(const struct answer *answer, const struct weir_router_topic *topic)
{
	const struct weir_lane_table *table = weir_dataplane_lanes(answer->router->dataplane);
	const struct weir_lane *lane;
	struct weir_lanes_text text;
	struct weir_shard_row row;

	for (uint32_t s = 0; table && s < topic->spec.shards; s++) {
		if (weir_row_read(&row, topic->rows[s], sizeof(row)) != 0 || row.pin_lane == 0)
			continue;
		lane = weir_lane_find(table, row.pin_lane);
		if (lane && weir_lanes_pin_text(&text, lane, topic->spec.name, s, &row, lib_clock_ns()))
			json_array_append_new(answer->warnings, json_string(text.bytes));
	}
}

static json_t *topic_json(struct answer *answer, const struct weir_router_topic *topic)
{
	struct topic_sums sums = { 0 };
	json_t *owners = owners_json(answer, topic, &sums);
	json_t *groups = json_array();
	json_t *json;

	warn_of_pins(answer, topic);
	for (uint32_t g = 0; g < topic->group_count; g++)
		json_array_append_new(groups, group_json(answer, topic, topic->groups[g]));
	json = json_pack("{s:s, s:i, s:i, s:s, s:s, s:I, s:I, s:f, s:b, s:o, s:o}", "topic", topic->spec.name, "id",
			 (int)topic->spec.id.value, "shards", (int)topic->spec.shards, "policy",
			 weir_policy_name(topic->spec.policy), "ack", weir_ack_name(topic->spec.ack_min), "event_max",
			 (json_int_t)topic->spec.event_max, "log_bytes", (json_int_t)topic->spec.log_bytes,
			 "accepted_per_second", sums.rate, "folded", answer->is_folded, "owners", owners, "groups", groups);
	json_object_set_new(json, "accepted", number(sums.accepted));
	json_object_set_new(json, "held_bytes", number(sums.held_bytes));
	json_object_set_new(json, "streams", number(sums.streams));
	json_object_set_new(json, "waiters", number(sums.waiters));
	json_object_set_new(json, "troubles", number(sums.troubles));
	return json;
}

static uint64_t rows_of(const struct weir_router *router)
{
	uint64_t rows = 0;

	for (uint32_t t = 0; t < router->topic_count; t++)
		rows += (uint64_t)router->topics[t]->spec.shards * (1 + router->topics[t]->group_count);
	return rows;
}

static bool is_wanted(const json_t *names, const struct weir_router_topic *topic)
{
	size_t index;
	json_t *name;

	json_array_foreach(names, index, name)
	{
		if (json_is_string(name) && strcmp(json_string_value(name), topic->spec.name) == 0)
			return true;
	}
	return json_array_size(names) == 0;
}

json_t *weir_answer_topics(const struct weir_router *router, const json_t *arguments, json_t *warnings)
{
	const json_t *names = json_object_get(arguments, "topics");
	struct answer answer = { .router = router, .warnings = warnings, .rows_left = ROWS_MAX };
	json_t *topics = json_array();

	answer.is_folded = json_array_size(names) == 0 && !json_is_true(json_object_get(arguments, "all")) &&
			   rows_of(router) > ROWS_MAX;
	for (uint32_t t = 0; t < router->topic_count; t++) {
		if (is_wanted(names, router->topics[t]))
			json_array_append_new(topics, topic_json(&answer, router->topics[t]));
	}
	return topics;
}
