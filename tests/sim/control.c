// What the daemon's control does to the workers, as the contract in core/message.h says it: shards and groups are created by
// command, snapshots name them, a moved shard is forwarded until every worker knows its new home. One operation at a time.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

void sim_topic_name(char name[WEIR_NAME_SIZE], uint32_t topic)
{
	memset(name, 0, WEIR_NAME_SIZE);
	snprintf(name, WEIR_NAME_SIZE, "topic-%u", topic);
}

void sim_group_name(char name[WEIR_NAME_SIZE], uint32_t group)
{
	memset(name, 0, WEIR_NAME_SIZE);
	snprintf(name, WEIR_NAME_SIZE, "group-%u", group);
}

uint32_t sim_topic_id(const struct sim *sim, uint32_t topic)
{
	return 1 + topic + SIM_TOPICS * sim->control.topic_life[topic];
}

uint32_t sim_group_id(const struct sim *sim, uint32_t group)
{
	return 1 + group + SIM_GROUPS * sim->control.group_life[group];
}

static void group_spec_fill(const struct sim *sim, uint32_t group, struct weir_group_spec *spec)
{
	const struct sim_group_plan *plan = &sim->plan.group[group];
	*spec = (struct weir_group_spec){
		.id = { sim_group_id(sim, group) },
		.kind = plan->kind,
		.start = WEIR_START_LATEST,
		.quota_bytes = plan->quota_bytes,
		.progress_timeout_ns = plan->progress_timeout_ns,
		.coordinator = plan->coordinator,
	};
	sim_group_name(spec->name, group);
}

static void topic_spec_fill(const struct sim *sim, uint32_t topic, struct weir_topic_spec *spec)
{
	const struct sim_topic_plan *plan = &sim->plan.topic[topic];
	*spec = (struct weir_topic_spec){
		.id = { sim_topic_id(sim, topic) },
		.shards = plan->shards,
		.policy = plan->policy,
		.ack_min = WEIR_ACK_NONE,
		.event_max = plan->event_max,
		.log_bytes = plan->log_bytes,
		.streams_max = SIM_CLIENTS * 2,
	};
	sim_topic_name(spec->name, topic);
}

static void command(struct sim *sim, uint16_t worker, struct weir_message *message)
{
	message->from = WEIR_FROM_CONTROL;
	message->request = ++sim->control.request;
	sim->control.pending++;
	sim_router_send(sim, worker, message);
}

static void snapshot_publish(struct sim *sim)
{
	struct sim_control *control = &sim->control;
	struct sim_snapshot *fresh = calloc(1, sizeof(*fresh));
	if (!fresh)
		abort();
	memcpy(fresh->owner, control->owner, sizeof(fresh->owner));
	memset(fresh->by_id, 0xff, sizeof(fresh->by_id));
	uint32_t at = 0;
	for (uint32_t topic = 0; topic < sim->plan.topics; topic++) {
		if (control->topic_is_gone[topic])
			continue;
		struct weir_topic_spec *spec = &fresh->topics[at];
		topic_spec_fill(sim, topic, spec);
		spec->owner = fresh->owner[topic];
		spec->groups = fresh->groups[topic];
		for (uint32_t group = 0; group < control->group_count; group++) {
			if (control->group_exists[group] && sim->plan.group[group].topic == topic)
				group_spec_fill(sim, group, &fresh->groups[topic][spec->group_count++]);
		}
		fresh->by_id[sim_topic_id(sim, topic)] = at++;
	}
	fresh->snapshot = (struct weir_snapshot){
		.revision = ++control->revision,
		.topics = fresh->topics,
		.topic_count = at,
		.by_id = fresh->by_id,
		.by_id_count = SIM_TOPIC_IDS,
	};
	control->old = control->snapshot;
	control->snapshot = fresh;
	for (uint16_t worker = 0; worker < sim->plan.workers; worker++) {
		struct weir_message message = { .kind = WEIR_MESSAGE_SNAPSHOT, .pointer = &fresh->snapshot };
		command(sim, worker, &message);
	}
}

static void shards_create(struct sim *sim, uint32_t topic)
{
	struct weir_topic_spec spec;
	topic_spec_fill(sim, topic, &spec);
	for (uint16_t shard = 0; shard < spec.shards; shard++) {
		const struct weir_shard_config config = {
			.topic = sim_topic_id(sim, topic),
			.shard = shard,
			.spec = &spec,
			.incarnation = sim_random(&sim->random) | 1,
			.node = -1,
			.hugepages = WEIR_HUGEPAGES_OFF,
			.row = &sim->router.shard_rows[topic * SIM_SHARDS + shard],
			.head = &sim->router.heads[topic * SIM_SHARDS + shard],
		};
		struct weir_message message = {
			.kind = WEIR_MESSAGE_SHARD_ADOPT, .topic = sim_topic_id(sim, topic), .shard = shard };
		struct weir_shard *created;
		int error = weir_shard_create(&created, &config);
		if (error) {
			sim_fail(sim, "cannot create a shard: %d", error);
			return;
		}
		message.pointer = created;
		sim->router.shards[topic][shard] = created;
		command(sim, sim->control.owner[topic][shard], &message);
	}
}

static void group_setup(struct sim *sim, uint32_t group)
{
	struct sim_control *control = &sim->control;
	uint32_t topic = sim->plan.group[group].topic;
	group_spec_fill(sim, group, &control->setup[group]);
	struct weir_message setup = {
		.kind = WEIR_MESSAGE_GROUP_SETUP,
		.topic = sim_topic_id(sim, topic),
		.group = sim_group_id(sim, group),
		.shard = (uint16_t)sim->plan.topic[topic].shards,
		.pointer = &control->setup[group],
	};
	command(sim, sim->plan.group[group].coordinator, &setup);
}

static void group_create(struct sim *sim, uint32_t group)
{
	struct sim_control *control = &sim->control;
	uint32_t topic = sim->plan.group[group].topic;
	for (uint16_t shard = 0; shard < sim->plan.topic[topic].shards; shard++) {
		struct weir_group_place *place = &control->places[group][shard];
		group_spec_fill(sim, group, &place->spec);
		place->row = &sim->router.group_rows[group * SIM_SHARDS + shard];
		place->delivery = &sim->router.deliveries[group * SIM_SHARDS + shard];
		struct weir_message create = {
			.kind = WEIR_MESSAGE_GROUP_CREATE,
			.topic = sim_topic_id(sim, topic),
			.shard = shard,
			.group = sim_group_id(sim, group),
			.pointer = place,
		};
		command(sim, control->owner[topic][shard], &create);
	}
	control->group_exists[group] = true;
}

static void group_remove(struct sim *sim, uint32_t group)
{
	uint32_t topic = sim->plan.group[group].topic;
	for (uint16_t shard = 0; shard < sim->plan.topic[topic].shards; shard++) {
		struct weir_message remove = {
			.kind = WEIR_MESSAGE_GROUP_REMOVE,
			.topic = sim_topic_id(sim, topic),
			.shard = shard,
			.group = sim_group_id(sim, group),
		};
		command(sim, sim->control.owner[topic][shard], &remove);
	}
}

// ---- Operations, phase by phase; each step true when the operation is over ----

static bool create_step(struct sim *sim)
{
	struct sim_control *control = &sim->control;
	switch (control->phase++) {
	case 0:
		for (uint32_t topic = 0; topic < sim->plan.topics; topic++)
			shards_create(sim, topic);
		for (uint32_t group = 0; group < control->group_count; group++) {
			if (control->group_exists[group])
				group_setup(sim, group);
		}
		return false;
	case 1:
		for (uint32_t group = 0; group < control->group_count; group++) {
			if (control->group_exists[group])
				group_create(sim, group);
		}
		return false;
	case 2:
		snapshot_publish(sim);
		return false;
	default:
		return true;
	}
}

static bool rings_are_drained(const struct sim *sim, uint16_t worker)
{
	for (uint32_t from = 0; from < sim->plan.workers; from++) {
		if (sim->router.mesh[from][worker].head < sim->control.drained[from])
			return false;
	}
	return true;
}

static bool move_step(struct sim *sim, struct sim_op *op)
{
	struct sim_control *control = &sim->control;
	struct weir_message message = { .topic = sim_topic_id(sim, op->topic), .shard = op->shard, .worker = op->to };
	switch (control->phase) {
	case 0:
		op->from = control->owner[op->topic][op->shard];
		if (op->from == op->to)
			return true;
		message.kind = WEIR_MESSAGE_SHARD_MOVE;
		command(sim, op->from, &message);
		break;
	case 1:
		control->owner[op->topic][op->shard] = op->to;
		snapshot_publish(sim);
		break;
	case 2:
		for (uint32_t from = 0; from < sim->plan.workers; from++)
			control->drained[from] = sim->router.mesh[from][op->from].tail;
		break;
	case 3:
		if (!rings_are_drained(sim, op->from))
			return false;
		message.kind = WEIR_MESSAGE_FORWARD_END;
		command(sim, op->from, &message);
		break;
	default:
		control->moves++;
		return true;
	}
	control->phase++;
	return false;
}

// The phases from `first` on.
static bool group_add_step(struct sim *sim, const struct sim_op *op, uint32_t first)
{
	switch (sim->control.phase++ - first) {
	case 0:
		group_setup(sim, op->group);
		return false;
	case 1:
		group_create(sim, op->group);
		return false;
	case 2:
		snapshot_publish(sim);
		return false;
	default:
		return true;
	}
}

static void group_teardown(struct sim *sim, uint32_t group)
{
	struct weir_message teardown = {
		.kind = WEIR_MESSAGE_GROUP_TEARDOWN,
		.topic = sim_topic_id(sim, sim->plan.group[group].topic),
		.group = sim_group_id(sim, group),
	};
	command(sim, sim->plan.group[group].coordinator, &teardown);
}

static bool group_remove_step(struct sim *sim, const struct sim_op *op)
{
	// Another operation may have been quicker.
	if (sim->control.phase == 0 && !sim->control.group_exists[op->group])
		return true;
	switch (sim->control.phase++) {
	case 0:
		sim->control.group_exists[op->group] = false;
		snapshot_publish(sim);
		return false;
	case 1:
		group_teardown(sim, op->group);
		return false;
	case 2:
		group_remove(sim, op->group);
		return false;
	default:
		return true;
	}
}

// Ends, stays away until op->until_ns, and is there again under the same name, with another id.
static bool group_again_step(struct sim *sim, const struct sim_op *op)
{
	struct sim_control *control = &sim->control;
	if (control->phase < 3) {
		sim_oracle_group_ended(sim, op->group);
		group_remove_step(sim, op);
		return false;
	}
	if (control->phase > 3)
		return group_add_step(sim, op, 4);
	if (sim->now_ns < op->until_ns)
		return false;
	control->phase = 4;
	control->group_life[op->group]++;
	return false;
}

static void groups_of(struct sim *sim, uint32_t topic, void (*each)(struct sim *sim, uint32_t group))
{
	for (uint32_t group = 0; group < sim->control.group_count; group++) {
		if (sim->control.group_exists[group] && sim->plan.group[group].topic == topic)
			each(sim, group);
	}
}

static void group_renew(struct sim *sim, uint32_t group)
{
	sim->control.group_life[group]++;
	group_setup(sim, group);
}

static void shards_remove(struct sim *sim, uint32_t topic)
{
	for (uint16_t shard = 0; shard < sim->plan.topic[topic].shards; shard++) {
		struct weir_message remove = {
			.kind = WEIR_MESSAGE_SHARD_REMOVE, .topic = sim_topic_id(sim, topic), .shard = shard };
		sim->router.shards[topic][shard] = NULL;
		command(sim, sim->control.owner[topic][shard], &remove);
	}
}

static bool topic_again_step(struct sim *sim, const struct sim_op *op)
{
	struct sim_control *control = &sim->control;
	switch (control->phase) {
	case 0:
		control->topic_is_gone[op->topic] = true;
		groups_of(sim, op->topic, sim_oracle_group_ended);
		snapshot_publish(sim);
		break;
	case 1:
		groups_of(sim, op->topic, group_teardown);
		break;
	case 2:
		groups_of(sim, op->topic, sim_oracle_group_ended);
		shards_remove(sim, op->topic);
		break;
	case 3:
		if (sim->now_ns < op->until_ns)
			return false;
		control->topic_life[op->topic]++;
		shards_create(sim, op->topic);
		groups_of(sim, op->topic, group_renew);
		break;
	case 4:
		groups_of(sim, op->topic, group_create);
		break;
	case 5:
		control->topic_is_gone[op->topic] = false;
		snapshot_publish(sim);
		break;
	default:
		return true;
	}
	control->phase++;
	return false;
}

static bool op_step(struct sim *sim, struct sim_op *op)
{
	switch (op->kind) {
	case SIM_OP_CREATE:
		return create_step(sim);
	case SIM_OP_MOVE:
		return move_step(sim, op);
	case SIM_OP_GROUP_ADD:
		return group_add_step(sim, op, 0);
	case SIM_OP_GROUP_REMOVE:
		return group_remove_step(sim, op);
	case SIM_OP_GROUP_AGAIN:
		return group_again_step(sim, op);
	case SIM_OP_TOPIC_AGAIN:
		return topic_again_step(sim, op);
	}
	return true;
}

bool sim_control_is_idle(const struct sim *sim)
{
	return sim->control.op_head == sim->control.op_tail;
}

void sim_control_step(struct sim *sim)
{
	struct sim_control *control = &sim->control;
	while (control->pending == 0 && !sim_control_is_idle(sim) && !sim->has_failed) {
		uint32_t phase = control->phase;
		if (op_step(sim, &control->ops[control->op_head % SIM_OPS])) {
			control->op_head++;
			control->phase = 0;
		} else if (control->phase == phase) {
			return; // waits for the rings
		}
	}
}

void sim_control_forget(struct sim *sim)
{
	struct sim_control *control = &sim->control;
	if (!sim_control_is_idle(sim))
		control->op_tail = control->op_head + 1;
}

void sim_control_op(struct sim *sim, const struct sim_op *op)
{
	struct sim_control *control = &sim->control;
	if (control->op_tail - control->op_head < SIM_OPS)
		control->ops[control->op_tail++ % SIM_OPS] = *op;
}

void sim_control_answer(struct sim *sim, const struct weir_message *message)
{
	struct sim_control *control = &sim->control;
	if (message->kind == WEIR_MESSAGE_DONE && message->request == SIM_LANE_REQUEST) {
		sim_local_answer(sim, message);
		return;
	}
	if (message->kind != WEIR_MESSAGE_DONE || control->pending == 0) {
		sim_fail(sim, "control got message %u unasked (request %lu)", message->kind, (unsigned long)message->request);
		return;
	}
	if (message->result)
		sim_fail(sim, "command %lu (op %u phase %u, topic %u shard %u group %u) failed: %d",
			 (unsigned long)message->request, control->ops[control->op_head % SIM_OPS].kind, control->phase,
			 message->topic, message->shard, message->group, message->result);
	bool is_removal = control->ops[control->op_head % SIM_OPS].kind == SIM_OP_TOPIC_AGAIN && control->phase == 3;
	if (is_removal && message->pointer)
		weir_shard_destroy(message->pointer);
	// All of a phase are answered: nobody uses the snapshot before the last one any more.
	if (--control->pending == 0 && control->old) {
		free(control->old);
		control->old = NULL;
	}
}

void sim_control_start(struct sim *sim)
{
	struct sim_control *control = &sim->control;
	uint32_t groups = control->group_count ? control->group_count : sim->plan.groups;
	bool existed[SIM_GROUPS];
	for (uint32_t i = 0; i < SIM_GROUPS; i++)
		existed[i] = i < sim->plan.groups || (sim->router.life > 1 && control->group_exists[i]);
	uint64_t moves = control->moves;
	struct sim_control before = *control;
	*control = (struct sim_control){ .group_count = groups, .moves = moves };
	memcpy(control->group_life, before.group_life, sizeof(control->group_life));
	memcpy(control->topic_life, before.topic_life, sizeof(control->topic_life));
	memcpy(control->group_exists, existed, sizeof(existed));
	for (uint32_t topic = 0; topic < SIM_TOPICS; topic++)
		memcpy(control->owner[topic], sim->plan.topic[topic].owner, sizeof(control->owner[topic]));
	const struct sim_op create = { .kind = SIM_OP_CREATE };
	sim_control_op(sim, &create);
}

void sim_control_stop(struct sim *sim)
{
	free(sim->control.old);
	free(sim->control.snapshot);
	sim->control.old = sim->control.snapshot = NULL;
}
