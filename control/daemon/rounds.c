// The rounds of a transaction: for each step the commands that go to workers, and what their answers say. No round frees
// anything: apply.c does, when the last one is answered. Control thread.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control/daemon/transaction.h"
#include "lib/clock.h"

const char *weir_round_text(uint16_t kind)
{
	switch (kind) {
	case WEIR_MESSAGE_SHARD_ADOPT:
		return "adopt a shard";
	case WEIR_MESSAGE_SHARD_MOVE:
		return "hand a shard over";
	case WEIR_MESSAGE_SHARD_REMOVE:
		return "remove a shard";
	case WEIR_MESSAGE_GROUP_CREATE:
		return "create a group on a shard";
	case WEIR_MESSAGE_GROUP_CHANGE:
		return "change a group on a shard";
	case WEIR_MESSAGE_GROUP_REMOVE:
		return "remove a group from a shard";
	case WEIR_MESSAGE_GROUP_SETUP:
		return "coordinate a group";
	case WEIR_MESSAGE_GROUP_TEARDOWN:
		return "end a group";
	case WEIR_MESSAGE_SNAPSHOT:
		return "take the new snapshot";
	case WEIR_MESSAGE_FORWARD_END:
		return "stop forwarding for a moved shard";
	default:
		return "take new limits";
	}
}

static int add(struct weir_transaction *tx, uint16_t worker, const struct weir_message *command)
{
	int index = weir_exchange_add(&tx->exchange, worker, command);

	return index < 0 ? index : 0;
}

static bool is_done(const struct weir_message *answer)
{
	return answer->result == 0;
}

// ---- What is new ----

static int fill_adopt(struct weir_transaction *tx)
{
	int err = 0;

	for (uint32_t t = 0; !err && t < tx->target.topology->topic_count; t++) {
		struct weir_router_topic *topic = tx->topics[t];

		for (uint32_t s = 0; !err && tx->is_new[t] && s < topic->spec.shards; s++) {
			struct weir_message command = { .kind = WEIR_MESSAGE_SHARD_ADOPT,
							.topic = topic->spec.id.value,
							.shard = (uint16_t)s,
							.pointer = topic->fresh[s] };

			err = add(tx, topic->owner[s], &command);
		}
	}
	return err;
}

static void take_adopt(struct weir_transaction *tx)
{
	uint32_t at = 0;

	for (uint32_t t = 0; t < tx->target.topology->topic_count; t++) {
		for (uint32_t s = 0; tx->is_new[t] && s < tx->topics[t]->spec.shards; s++) {
			if (is_done(&tx->exchange.answers[at++]))
				tx->topics[t]->fresh[s] = NULL;
		}
	}
}

static int fill_set_up(struct weir_transaction *tx)
{
	uint32_t terms_base = tx->added_count ? weir_terms_take(&tx->router->terms, lib_clock_ns()) : 0;
	int err = 0;

	for (uint32_t a = 0; !err && a < tx->added_count; a++) {
		struct weir_added_group *added = &tx->added[a];
		struct weir_message command = { .kind = WEIR_MESSAGE_GROUP_SETUP,
						.value = terms_base,
						.topic = added->topic->spec.id.value,
						.group = added->group->spec.id.value,
						.shard = (uint16_t)added->topic->spec.shards,
						.pointer = &added->group->spec };

		err = add(tx, added->group->spec.coordinator, &command);
	}
	return err;
}

static void take_set_up(struct weir_transaction *tx)
{
	for (uint32_t a = 0; a < tx->added_count; a++)
		tx->added[a].is_set_up = is_done(&tx->exchange.answers[a]);
}

static int fill_create(struct weir_transaction *tx)
{
	int err = 0;

	for (uint32_t a = 0; !err && a < tx->added_count; a++) {
		struct weir_added_group *added = &tx->added[a];

		for (uint32_t s = 0; !err && s < added->topic->spec.shards; s++) {
			struct weir_message command = { .kind = WEIR_MESSAGE_GROUP_CREATE,
							.topic = added->topic->spec.id.value,
							.group = added->group->spec.id.value,
							.shard = (uint16_t)s,
							.pointer = &added->places[s] };

			err = add(tx, added->topic->owner[s], &command);
		}
	}
	return err;
}

static void take_create(struct weir_transaction *tx)
{
	uint32_t at = 0;

	for (uint32_t a = 0; a < tx->added_count; a++) {
		struct weir_added_group *added = &tx->added[a];

		for (uint32_t s = 0; s < added->topic->spec.shards; s++, at++) {
			added->is_created[s] = is_done(&tx->exchange.answers[at]);
			added->group->starts[s] = tx->exchange.answers[at].value;
		}
	}
}

// ---- What moves, changes and becomes visible ----

static int fill_move(struct weir_transaction *tx)
{
	bool is_end = tx->step == WEIR_STEP_END_FORWARDING;
	int err = 0;

	for (uint32_t c = 0; !err && c < tx->diff->change_count; c++) {
		const struct weir_change *change = &tx->diff->changes[c];
		struct weir_message command = { .kind = is_end ? WEIR_MESSAGE_FORWARD_END : WEIR_MESSAGE_SHARD_MOVE,
						.shard = (uint16_t)change->shard,
						.worker = change->to };

		if (change->kind != WEIR_CHANGE_SHARD_MOVED)
			continue;
		command.topic = weir_router_find(tx->router, change->topic)->spec.id.value;
		err = add(tx, change->from, &command);
	}
	return err;
}

static void take_move(struct weir_transaction *tx)
{
	for (uint32_t c = 0, at = 0; c < tx->diff->change_count; c++) {
		const struct weir_change *change = &tx->diff->changes[c];
		struct weir_outcome_change *done = &tx->outcome.changes[c];
		const struct weir_message *answer;

		if (change->kind != WEIR_CHANGE_SHARD_MOVED)
			continue;
		answer = &tx->exchange.answers[at++];
		if (!is_done(answer))
			continue;
		weir_router_find(tx->router, change->topic)->owner[change->shard] = change->to;
		done->pause_ns = answer->value;
		if (done->pause_ns > tx->outcome.pause_max_ns)
			tx->outcome.pause_max_ns = done->pause_ns;
	}
}

// Owners take quota and timeout; the next snapshot carries them.
static int fill_change(struct weir_transaction *tx)
{
	int err = 0;

	for (uint32_t c = 0; !err && c < tx->diff->change_count; c++) {
		const struct weir_change *change = &tx->diff->changes[c];
		const struct weir_topology_group *config;
		struct weir_router_topic *running;
		struct weir_router_group *group;

		if (change->kind != WEIR_CHANGE_GROUP_CHANGED)
			continue;
		config = weir_topology_find_group(weir_topology_find(tx->target.topology, change->topic), change->group);
		running = weir_router_find(tx->router, change->topic);
		group = weir_router_topic_group(running, change->group);
		group->spec.quota_bytes = config->quota_bytes;
		group->spec.progress_timeout_ns = config->progress_timeout_ns;
		for (uint32_t s = 0; !err && s < running->spec.shards; s++) {
			struct weir_message command = { .kind = WEIR_MESSAGE_GROUP_CHANGE,
							.topic = running->spec.id.value,
							.group = group->spec.id.value,
							.shard = (uint16_t)s,
							.pointer = &group->spec };

			err = add(tx, running->owner[s], &command);
		}
	}
	return err;
}

// Takes a group out of its topic's list and hands it back.
static struct weir_router_group *detach_group(struct weir_router_topic *topic, const char *name)
{
	for (uint32_t g = 0; g < topic->group_count; g++) {
		struct weir_router_group *group = topic->groups[g];

		if (strcmp(group->spec.name, name) != 0)
			continue;
		topic->group_count--;
		memmove(&topic->groups[g], &topic->groups[g + 1], (topic->group_count - g) * sizeof(group));
		return group;
	}
	return NULL;
}

// Lists what goes before the lists change, adds what came.
static void exchange_lists(struct weir_transaction *tx)
{
	for (uint32_t c = 0; c < tx->diff->change_count; c++) {
		const struct weir_change *change = &tx->diff->changes[c];
		struct weir_router_topic *topic = weir_router_find(tx->router, change->topic);

		if (change->kind == WEIR_CHANGE_GROUP_REMOVED)
			tx->removals[tx->removal_count++] =
				(struct weir_removal){ topic, detach_group(topic, change->group) };
		else if (change->kind == WEIR_CHANGE_TOPIC_REMOVED)
			tx->removals[tx->removal_count++] = (struct weir_removal){ topic, NULL };
	}
	for (uint32_t a = 0; a < tx->added_count; a++) {
		struct weir_router_topic *topic = tx->added[a].topic;

		topic->groups[topic->group_count++] = tx->added[a].group;
	}
	tx->is_listed = true;
}

static int fill_publish(struct weir_transaction *tx)
{
	struct weir_router *router = tx->router;
	struct weir_message command = { .kind = WEIR_MESSAGE_SNAPSHOT };
	int err = 0;

	if (!tx->is_listed)
		exchange_lists(tx);
	if (!tx->snapshot)
		tx->snapshot = weir_router_snapshot(tx->topics, tx->target.topology->topic_count, router->topic_last + 1,
						    router->revision + 1);
	if (!tx->snapshot)
		return -ENOMEM;
	command.pointer = tx->snapshot;
	for (uint16_t w = 0; !err && w < router->topology->worker_count; w++)
		err = add(tx, w, &command);
	return err;
}

// All workers use the new one: the old one is free.
static void take_publish(struct weir_transaction *tx)
{
	free(tx->router->snapshot);
	tx->router->snapshot = tx->snapshot;
	tx->snapshot = NULL;
	tx->router->revision++;
}

// ---- What goes ----

static int add_shard_removals(struct weir_transaction *tx, const struct weir_router_topic *topic)
{
	int err = 0;

	for (uint32_t s = 0; !err && s < topic->spec.shards; s++) {
		struct weir_message command = { .kind = WEIR_MESSAGE_SHARD_REMOVE,
						.topic = topic->spec.id.value,
						.shard = (uint16_t)s };

		if (!topic->fresh[s])
			err = add(tx, topic->owner[s], &command);
	}
	return err;
}

// Shards come back to control, in the order in which they were asked for.
static void take_shards(struct weir_transaction *tx, struct weir_router_topic *topic, uint32_t *at)
{
	for (; *at < tx->exchange.count; ++*at) {
		const struct weir_message *command = &tx->exchange.commands[*at];

		if (command->kind != WEIR_MESSAGE_SHARD_REMOVE || command->topic != topic->spec.id.value)
			return;
		topic->fresh[command->shard] = tx->exchange.answers[*at].pointer;
	}
}

static int add_group_removals(struct weir_transaction *tx, const struct weir_removal *removal)
{
	int err = 0;

	for (uint32_t s = 0; !err && s < removal->topic->spec.shards; s++) {
		struct weir_message command = { .kind = WEIR_MESSAGE_GROUP_REMOVE,
						.topic = removal->topic->spec.id.value,
						.group = removal->group->spec.id.value,
						.shard = (uint16_t)s };

		err = add(tx, removal->topic->owner[s], &command);
	}
	return err;
}

static int fill_remove(struct weir_transaction *tx)
{
	int err = 0;

	for (uint32_t r = 0; !err && r < tx->removal_count; r++)
		err = tx->removals[r].group ? add_group_removals(tx, &tx->removals[r])
					    : add_shard_removals(tx, tx->removals[r].topic);
	return err;
}

static void take_remove(struct weir_transaction *tx)
{
	uint32_t at = 0;

	for (uint32_t r = 0; r < tx->removal_count; r++) {
		if (tx->removals[r].group)
			at += tx->removals[r].topic->spec.shards;
		else
			take_shards(tx, tx->removals[r].topic, &at);
	}
}

static int add_tear_down(struct weir_transaction *tx, const struct weir_router_topic *topic,
			 const struct weir_router_group *group)
{
	struct weir_message command = { .kind = WEIR_MESSAGE_GROUP_TEARDOWN,
					.topic = topic->spec.id.value,
					.group = group->spec.id.value };

	return add(tx, group->spec.coordinator, &command);
}

static int fill_tear_down(struct weir_transaction *tx)
{
	int err = 0;

	for (uint32_t r = 0; !err && r < tx->removal_count; r++) {
		const struct weir_removal *removal = &tx->removals[r];

		if (removal->group)
			err = add_tear_down(tx, removal->topic, removal->group);
		for (uint32_t g = 0; !err && !removal->group && g < removal->topic->group_count; g++)
			err = add_tear_down(tx, removal->topic, removal->topic->groups[g]);
	}
	return err;
}

static int fill_limits(struct weir_transaction *tx)
{
	struct weir_message command = { .kind = WEIR_MESSAGE_LIMITS, .pointer = &tx->limits };
	bool is_wanted = false;
	int err = 0;

	for (uint32_t c = 0; c < tx->diff->change_count; c++)
		is_wanted |= tx->diff->changes[c].kind == WEIR_CHANGE_LIMITS;
	tx->limits = weir_router_limits(tx->target.topology);
	for (uint16_t w = 0; is_wanted && !err && w < tx->router->topology->worker_count; w++)
		err = add(tx, w, &command);
	return err;
}

// ---- Taking back what workers got ----

static int fill_take_back_groups(struct weir_transaction *tx)
{
	int err = 0;

	for (uint32_t a = 0; !err && a < tx->added_count; a++) {
		struct weir_added_group *added = &tx->added[a];

		for (uint32_t s = 0; !err && s < added->topic->spec.shards; s++) {
			struct weir_message command = { .kind = WEIR_MESSAGE_GROUP_REMOVE,
							.topic = added->topic->spec.id.value,
							.group = added->group->spec.id.value,
							.shard = (uint16_t)s };

			if (added->is_created[s])
				err = add(tx, added->topic->owner[s], &command);
		}
		if (!err && added->is_set_up)
			err = add_tear_down(tx, added->topic, added->group);
	}
	return err;
}

static int fill_take_back_shards(struct weir_transaction *tx)
{
	int err = 0;

	for (uint32_t t = 0; !err && t < tx->target.topology->topic_count; t++) {
		if (tx->is_new[t])
			err = add_shard_removals(tx, tx->topics[t]);
	}
	return err;
}

static void take_back_shards(struct weir_transaction *tx)
{
	uint32_t at = 0;

	for (uint32_t t = 0; t < tx->target.topology->topic_count; t++) {
		if (tx->is_new[t])
			take_shards(tx, tx->topics[t], &at);
	}
}

// ---- The table ----

struct round {
	int (*fill)(struct weir_transaction *tx);
	void (*take)(struct weir_transaction *tx); // NULL: nothing to note
};

static const struct round ROUNDS[] = {
	[WEIR_STEP_ADOPT] = { fill_adopt, take_adopt },
	[WEIR_STEP_SET_UP] = { fill_set_up, take_set_up },
	[WEIR_STEP_CREATE] = { fill_create, take_create },
	[WEIR_STEP_MOVE] = { fill_move, take_move },
	[WEIR_STEP_CHANGE] = { fill_change, NULL },
	[WEIR_STEP_PUBLISH] = { fill_publish, take_publish },
	[WEIR_STEP_END_FORWARDING] = { fill_move, NULL },
	[WEIR_STEP_REMOVE] = { fill_remove, take_remove },
	[WEIR_STEP_TEAR_DOWN] = { fill_tear_down, NULL },
	[WEIR_STEP_LIMITS] = { fill_limits, NULL },
	[WEIR_STEP_TAKE_BACK_GROUPS] = { fill_take_back_groups, NULL },
	[WEIR_STEP_TAKE_BACK_SHARDS] = { fill_take_back_shards, take_back_shards },
};

int weir_round_fill(struct weir_transaction *tx)
{
	return ROUNDS[tx->step].fill(tx);
}

void weir_round_take(struct weir_transaction *tx)
{
	if (ROUNDS[tx->step].take)
		ROUNDS[tx->step].take(tx);
}
