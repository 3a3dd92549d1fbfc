// What `weirctl apply` and `weirctl plan` answer: changes made, or placement with its reasons and the changes that would
// be made. Control thread.
#include "control/daemon/answer.h"

#include <stdio.h>

static json_t *text_or_null(const char *text)
{
	return text[0] ? json_string(text) : json_null();
}

static json_t *change_json(const struct weir_change *change)
{
	bool is_move = change->kind == WEIR_CHANGE_SHARD_MOVED;

	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o}", "change", weir_change_name(change->kind), "topic",
			 text_or_null(change->topic), "group", text_or_null(change->group), "shard",
			 is_move ? json_integer(change->shard) : json_null(), "from",
			 is_move ? json_integer(change->from) : json_null(), "to",
			 is_move ? json_integer(change->to) : json_null());
}

json_t *weir_answer_outcome(const struct weir_outcome *outcome)
{
	json_t *changes = json_array();

	for (uint32_t c = 0; c < outcome->change_count; c++) {
		const struct weir_outcome_change *done = &outcome->changes[c];
		json_t *change = change_json(&done->change);
		json_t *starts = json_array();

		for (uint32_t s = 0; s < done->start_count; s++)
			json_array_append_new(starts, json_integer((json_int_t)done->starts[s]));
		json_object_set_new(change, "starts", starts);
		json_object_set_new(change, "pause_ns",
				    done->change.kind == WEIR_CHANGE_SHARD_MOVED ? json_integer((json_int_t)done->pause_ns)
										 : json_null());
		json_array_append_new(changes, change);
	}
	return json_pack("{s:I, s:o, s:I, s:I}", "revision", (json_int_t)outcome->revision, "changes", changes, "duration_ns",
			 (json_int_t)outcome->duration_ns, "pause_max_ns", (json_int_t)outcome->pause_max_ns);
}

static json_t *machine_json(const struct weir_machine *machine)
{
	json_t *cores = json_array();
	json_t *nics = json_array();

	for (uint32_t i = 0; i < machine->cpu_count; i++) {
		const struct weir_machine_cpu *cpu = &machine->cpus[i];

		json_array_append_new(cores, json_pack("{s:i, s:i, s:b, s:I, s:I}", "core", (int)cpu->cpu, "node",
						       (int)cpu->node, "sibling", cpu->is_sibling, "l2_bytes",
						       (json_int_t)cpu->l2_bytes, "l3_bytes", (json_int_t)cpu->l3_bytes));
	}
	for (uint32_t i = 0; i < machine->nic_count; i++)
		json_array_append_new(
			nics, json_pack("{s:s, s:i}", "interface", machine->nics[i].name, "node", (int)machine->nics[i].node));
	return json_pack("{s:o, s:o}", "cores", cores, "nics", nics);
}

static json_t *plan_topic_json(const struct weir_plan_topic *topic)
{
	json_t *owners = json_array();

	for (uint32_t s = 0; s < topic->shards; s++)
		json_array_append_new(owners, json_pack("{s:i, s:i, s:i}", "shard", (int)s, "worker", topic->owner[s], "node",
							(int)topic->log_node[s]));
	return json_pack("{s:s, s:o}", "topic", topic->name, "owners", owners);
}

static json_t *plan_workers_json(const struct weir_plan *plan)
{
	json_t *workers = json_array();

	for (uint32_t w = 0; w < plan->worker_count; w++) {
		const struct weir_plan_worker *worker = &plan->workers[w];

		json_array_append_new(workers, json_pack("{s:i, s:i, s:i, s:i, s:I, s:I, s:I, s:s}", "worker", (int)w, "core",
							 (int)worker->cpu, "node", (int)worker->node, "shards",
							 (int)worker->shards, "log_bytes", (json_int_t)worker->log_bytes,
							 "l2_bytes", (json_int_t)worker->l2_bytes, "l3_bytes",
							 (json_int_t)worker->l3_bytes, "reason", worker->reason));
	}
	return workers;
}

json_t *weir_answer_plan(const struct weir_machine *machine, const struct weir_topology *topology, const struct weir_plan *plan,
			 const struct weir_diff *diff)
{
	json_t *ports = json_array();
	json_t *topics = json_array();
	json_t *warnings = json_array();
	json_t *changes = json_array();

	for (uint32_t i = 0; i < plan->port_count; i++) {
		const struct weir_topology_port *port = &topology->ports[i];
		json_t *workers = json_array();

		for (uint32_t q = 0; q < port->worker_count; q++)
			json_array_append_new(workers, json_integer(port->workers[q]));
		json_array_append_new(ports,
				      json_pack("{s:s, s:s, s:o, s:s, s:o}", "name", port->name, "kind",
						weir_topology_port_kind_name(port->kind), "workers", workers, "reason",
						plan->ports[i].reason, "node",
						plan->ports[i].node >= 0 ? json_integer(plan->ports[i].node) : json_null()));
	}
	for (uint32_t t = 0; t < plan->topic_count; t++)
		json_array_append_new(topics, plan_topic_json(&plan->topics[t]));
	for (uint32_t i = 0; i < plan->warning_count && i < WEIR_PLAN_WARNINGS_MAX; i++)
		json_array_append_new(warnings, json_string(plan->warnings[i]));
	for (uint32_t c = 0; diff && c < diff->change_count; c++)
		json_array_append_new(changes, change_json(&diff->changes[c]));
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "instance", topology->instance, "machine",
			 machine_json(machine), "workers", plan_workers_json(plan), "ports", ports, "topics", topics, "changes",
			 changes, "warnings", warnings);
}
