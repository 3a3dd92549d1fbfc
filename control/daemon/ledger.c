// `weirctl ledger`: every row, its equation, and what does not add up. Each row is consistent in itself, so each equation
// must hold exactly at any instant; what is under way between workers is shown, not guessed. Control thread.
#include <string.h>

#include "control/daemon/answer.h"
#include "wire/reason.h"

struct totals {
	struct weir_worker_row workers;
	struct weir_shard_row shards;
	struct weir_group_row groups;
	uint64_t unexplained;
};

static uint64_t sum(const uint64_t *counters)
{
	uint64_t total = 0;

	for (unsigned r = 0; r < WEIR_REASON_ROOM; r++)
		total += counters[r];
	return total;
}

static void add(uint64_t *totals, const uint64_t *counters)
{
	for (unsigned r = 0; r < WEIR_REASON_ROOM; r++)
		totals[r] += counters[r];
}

// left - right as a signed number, and its size added to the total of what is unexplained.
static json_t *difference(struct totals *totals, uint64_t left, uint64_t right)
{
	totals->unexplained += left > right ? left - right : right - left;
	return json_integer((json_int_t)(left - right));
}

static json_t *worker_row(struct totals *totals, uint32_t worker, const struct weir_worker_row *row)
{
	totals->workers.received += row->received;
	totals->workers.handed_on += row->handed_on;
	totals->workers.mesh_enqueued += row->mesh_enqueued;
	totals->workers.mesh_dequeued += row->mesh_dequeued;
	add(totals->workers.refused, row->refused);
	return json_pack("{s:i, s:I, s:I, s:o, s:o}", "worker", (int)worker, "received", (json_int_t)row->received, "handed_on",
			 (json_int_t)row->handed_on, "refused", weir_answer_reasons(row->refused), "unexplained",
			 difference(totals, row->received, row->handed_on + sum(row->refused)));
}

static json_t *shard_row(struct totals *totals, const struct weir_router_topic *topic, const struct weir_shard_row *row)
{
	totals->shards.offered += row->offered;
	totals->shards.accepted += row->accepted;
	totals->shards.duplicate += row->duplicate;
	add(totals->shards.refused, row->refused);
	add(totals->shards.skipped, row->skipped);
	return json_pack(
		"{s:s, s:i, s:I, s:I, s:I, s:o, s:o, s:o}", "topic", topic->spec.name, "shard", row->shard, "offered",
		(json_int_t)row->offered, "accepted", (json_int_t)row->accepted, "duplicate", (json_int_t)row->duplicate,
		"refused", weir_answer_reasons(row->refused), "skipped", weir_answer_reasons(row->skipped), "unexplained",
		difference(totals, row->offered, row->accepted + row->duplicate + sum(row->refused) + sum(row->skipped)));
}

static json_t *group_row(struct totals *totals, const struct weir_router_topic *topic, const struct weir_router_group *group,
			 const struct weir_group_row *row)
{
	totals->groups.settled += row->settled;
	totals->groups.held += row->held;
	totals->groups.sent_events += row->sent_events;
	totals->groups.resent_events += row->resent_events;
	totals->groups.redelivered += row->redelivered;
	add(totals->groups.dropped, row->dropped);
	return json_pack(
		"{s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:o, s:o}", "topic", topic->spec.name, "group", group->spec.name, "shard",
		row->shard, "start_offset", (json_int_t)row->start_offset, "head", (json_int_t)row->head_offset, "settled",
		(json_int_t)row->settled, "held", (json_int_t)row->held, "dropped", weir_answer_reasons(row->dropped),
		"unexplained",
		difference(totals, row->head_offset - row->start_offset, row->settled + row->held + sum(row->dropped)));
}

// A row that cannot be read has lost its writer in the middle: everything in it is unexplained.
static json_t *unreadable(struct totals *totals, const char *topic, const char *group, uint32_t index)
{
	totals->unexplained++;
	return json_pack("{s:s?, s:s?, s:i, s:i, s:s}", "topic", topic, "group", group, topic ? "shard" : "worker", (int)index,
			 "unexplained", 1, "reason", "the row's writer died inside it");
}

static void topic_rows(struct totals *totals, const struct weir_router_topic *topic, json_t *shards, json_t *groups)
{
	struct weir_shard_row shard;
	struct weir_group_row row;

	for (uint32_t s = 0; s < topic->spec.shards; s++) {
		if (weir_row_read(&shard, topic->rows[s], sizeof(shard)) == 0)
			json_array_append_new(shards, shard_row(totals, topic, &shard));
		else
			json_array_append_new(shards, unreadable(totals, topic->spec.name, NULL, s));
	}
	for (uint32_t g = 0; g < topic->group_count; g++) {
		const struct weir_router_group *group = topic->groups[g];

		for (uint32_t s = 0; s < topic->spec.shards; s++) {
			if (weir_row_read(&row, group->rows[s], sizeof(row)) == 0)
				json_array_append_new(groups, group_row(totals, topic, group, &row));
			else
				json_array_append_new(groups, unreadable(totals, topic->spec.name, group->spec.name, s));
		}
	}
}

static json_t *totals_json(const struct totals *totals)
{
	json_t *json = json_pack("{s:o, s:o, s:o, s:o}", "refused_frames", weir_answer_reasons(totals->workers.refused),
				 "refused", weir_answer_reasons(totals->shards.refused), "skipped",
				 weir_answer_reasons(totals->shards.skipped), "dropped",
				 weir_answer_reasons(totals->groups.dropped));
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {
		{ "received", totals->workers.received },
		{ "handed_on", totals->workers.handed_on },
		{ "in_mesh", totals->workers.mesh_enqueued - totals->workers.mesh_dequeued },
		{ "offered", totals->shards.offered },
		{ "accepted", totals->shards.accepted },
		{ "duplicate", totals->shards.duplicate },
		{ "settled", totals->groups.settled },
		{ "held", totals->groups.held },
		{ "sent", totals->groups.sent_events },
		{ "resent", totals->groups.resent_events },
		{ "redelivered", totals->groups.redelivered },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		json_object_set_new(json, numbers[i].key, json_integer((json_int_t)numbers[i].value));
	return json;
}

json_t *weir_answer_ledger(const struct weir_router *router)
{
	struct weir_counters_view view = weir_counters_look(weir_dataplane_counters(router->dataplane));
	struct totals totals = { 0 };
	json_t *workers = json_array();
	json_t *shards = json_array();
	json_t *groups = json_array();
	uint64_t dequeued[WEIR_WORKERS_MAX];
	struct weir_worker_row row;

	// What left the mesh is read before what entered it, so that the difference is never negative.
	for (uint32_t w = 0; w < router->topology->worker_count; w++)
		dequeued[w] = weir_row_read(&row, &view.workers[w], sizeof(row)) == 0 ? row.mesh_dequeued : 0;
	for (uint32_t w = 0; w < router->topology->worker_count; w++) {
		if (weir_row_read(&row, &view.workers[w], sizeof(row)) == 0) {
			row.mesh_dequeued = dequeued[w];
			json_array_append_new(workers, worker_row(&totals, w, &row));
		} else {
			json_array_append_new(workers, unreadable(&totals, NULL, NULL, w));
		}
	}
	for (uint32_t t = 0; t < router->topic_count; t++)
		topic_rows(&totals, router->topics[t], shards, groups);
	return json_pack("{s:s, s:I, s:I, s:o, s:o, s:o, s:o}", "instance", router->topology->instance, "revision",
			 (json_int_t)router->revision, "unexplained", (json_int_t)totals.unexplained, "totals",
			 totals_json(&totals), "workers", workers, "shards", shards, "groups", groups);
}
