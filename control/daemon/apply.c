// One change of the running router as a transaction: compare, make everything new, hand it to the workers, move shards,
// publish the snapshot, take away what is gone. Up to the moves every step is undone when a later one fails; after them
// only a worker that does not answer can fail, and then the router says that it is broken. Control thread.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control/daemon/exchange.h"
#include "control/daemon/memory.h"
#include "control/daemon/parts.h"
#include "control/daemon/router.h"
#include "dataplane/core/shard.h"

struct added_group {
	struct weir_router_topic *topic;
	struct weir_router_group *group;
	struct weir_group_place *places; // [shards] what the workers read
	uint32_t change; // index into the diff
	bool is_set_up; // its coordinator knows it
	bool *is_created; // [shards]
};

struct transaction {
	struct weir_router *router;
	struct weir_router_target target;
	struct weir_diff *diff;
	struct weir_exchange exchange;
	struct weir_trouble *trouble;
	struct weir_router_topic **topics; // [target.topology->topic_count] kept and new
	bool *is_new;
	struct added_group *added; // [change_count]
	uint32_t added_count;
	struct weir_outcome *outcome;
};

static uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int no_memory(struct transaction *tx)
{
	weir_trouble_set(tx->trouble, "router", "apply the topology", "free some memory", "out of memory");
	return -ENOMEM;
}

static const char *command_text(uint16_t kind)
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

static int add(struct transaction *tx, uint16_t worker, const struct weir_message *command)
{
	int index = weir_exchange_add(&tx->exchange, worker, command);

	return index < 0 ? no_memory(tx) : 0;
}

// Runs the round that was added. On failure *trouble names worker, command, topic and reason.
static int run(struct transaction *tx)
{
	const struct weir_message *command;
	char object[160];
	uint32_t failed;
	int err = weir_exchange_run(&tx->exchange, &failed);

	if (!err)
		return 0;
	command = &tx->exchange.commands[failed];
	snprintf(object, sizeof(object), "worker %u (topic id %u, shard %u, group id %u)", command->from, command->topic,
		 command->shard, command->group);
	if (err == -ETIMEDOUT) {
		tx->router->is_broken = true;
		weir_trouble_set(tx->trouble, object, command_text(command->kind),
				 "look for `stalled` in weir's log, then restart weir", "the worker did not answer within %u s",
				 WEIR_EXCHANGE_TIMEOUT_MS / 1000);
	} else {
		weir_trouble_set(tx->trouble, object, command_text(command->kind),
				 err == -ENOSPC || err == -ENOMEM ? "use fewer topics, shards or groups, or a second instance"
								  : "report it with weir's log",
				 "%s", strerror(-err));
	}
	return err;
}

// ---- 1. Everything new is made; no worker knows of it ----

static int prepare_topics(struct transaction *tx)
{
	const struct weir_topology *topology = tx->target.topology;

	for (uint32_t t = 0; t < topology->topic_count; t++) {
		int err;

		tx->topics[t] = weir_router_find(tx->router, topology->topics[t].name);
		if (tx->topics[t])
			continue;
		err = weir_router_topic_create(&tx->topics[t], &tx->target, t, tx->trouble);
		if (err)
			return err;
		tx->is_new[t] = true;
	}
	return 0;
}

static int prepare_group(struct transaction *tx, uint32_t change)
{
	const struct weir_topology *topology = tx->target.topology;
	const struct weir_topology_topic *topic = weir_topology_find(topology, tx->diff->changes[change].topic);
	const struct weir_topology_group *config = weir_topology_find_group(topic, tx->diff->changes[change].group);
	struct added_group *added = &tx->added[tx->added_count];
	int err = weir_router_group_create(&added->group, tx->router, topic, config, tx->trouble);

	if (err)
		return err;
	tx->added_count++;
	added->change = change;
	added->topic = tx->topics[topic - topology->topics];
	added->places = calloc(topic->shards, sizeof(*added->places));
	added->is_created = calloc(topic->shards, sizeof(*added->is_created));
	if (!added->places || !added->is_created)
		return no_memory(tx);
	for (uint32_t s = 0; s < topic->shards; s++) {
		added->places[s].spec = added->group->spec;
		added->places[s].row = added->group->rows[s];
	}
	return 0;
}

static int prepare(struct transaction *tx)
{
	uint32_t topics = tx->target.topology->topic_count;
	int err;

	tx->topics = calloc(topics + 1, sizeof(*tx->topics));
	tx->is_new = calloc(topics + 1, sizeof(*tx->is_new));
	tx->added = calloc(tx->diff->change_count + 1, sizeof(*tx->added));
	tx->outcome->changes = calloc(tx->diff->change_count + 1, sizeof(*tx->outcome->changes));
	if (!tx->topics || !tx->is_new || !tx->added || !tx->outcome->changes)
		return no_memory(tx);
	tx->outcome->change_count = tx->diff->change_count;
	for (uint32_t c = 0; c < tx->diff->change_count; c++)
		tx->outcome->changes[c].change = tx->diff->changes[c];
	err = prepare_topics(tx);
	for (uint32_t c = 0; !err && c < tx->diff->change_count; c++) {
		if (tx->diff->changes[c].kind == WEIR_CHANGE_GROUP_ADDED)
			err = prepare_group(tx, c);
	}
	return err;
}

// ---- 2. Owners and coordinators take what is new ----

static int adopt_shards(struct transaction *tx)
{
	uint32_t at = 0;
	int err = 0;

	weir_exchange_clear(&tx->exchange);
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
	if (err)
		return err;
	err = run(tx);
	// Whatever was adopted belongs to its worker now, also when another adoption failed.
	for (uint32_t t = 0; t < tx->target.topology->topic_count; t++) {
		for (uint32_t s = 0; tx->is_new[t] && s < tx->topics[t]->spec.shards; s++, at++) {
			const struct weir_message *answer = &tx->exchange.answers[at];

			if (answer->kind == 0 || answer->result == 0)
				tx->topics[t]->fresh[s] = NULL;
		}
	}
	return err;
}

static int set_up_groups(struct transaction *tx)
{
	int err = 0;

	weir_exchange_clear(&tx->exchange);
	for (uint32_t a = 0; !err && a < tx->added_count; a++) {
		struct added_group *added = &tx->added[a];
		struct weir_message command = { .kind = WEIR_MESSAGE_GROUP_SETUP,
						.topic = added->topic->spec.id.value,
						.group = added->group->spec.id.value,
						.shard = (uint16_t)added->topic->spec.shards,
						.pointer = &added->group->spec };

		err = add(tx, added->group->spec.coordinator, &command);
	}
	if (err)
		return err;
	err = run(tx);
	for (uint32_t a = 0; a < tx->added_count; a++)
		tx->added[a].is_set_up = tx->exchange.answers[a].kind != 0 && tx->exchange.answers[a].result == 0;
	return err;
}

static int create_groups(struct transaction *tx)
{
	uint32_t at = 0;
	int err = 0;

	weir_exchange_clear(&tx->exchange);
	for (uint32_t a = 0; !err && a < tx->added_count; a++) {
		struct added_group *added = &tx->added[a];

		for (uint32_t s = 0; !err && s < added->topic->spec.shards; s++) {
			struct weir_message command = { .kind = WEIR_MESSAGE_GROUP_CREATE,
							.topic = added->topic->spec.id.value,
							.group = added->group->spec.id.value,
							.shard = (uint16_t)s,
							.pointer = &added->places[s] };

			err = add(tx, added->topic->owner[s], &command);
		}
	}
	if (err)
		return err;
	err = run(tx);
	for (uint32_t a = 0; a < tx->added_count; a++) {
		struct added_group *added = &tx->added[a];

		for (uint32_t s = 0; s < added->topic->spec.shards; s++, at++) {
			const struct weir_message *answer = &tx->exchange.answers[at];

			added->is_created[s] = answer->kind != 0 && answer->result == 0;
			added->group->starts[s] = answer->value;
		}
	}
	return err;
}

// ---- Undoing 1 and 2 ----

// Takes back what workers got. Their answers are waited for, because what they hold is freed next.
static int undo_workers(struct transaction *tx)
{
	int err = 0;

	weir_exchange_clear(&tx->exchange);
	for (uint32_t a = 0; !err && a < tx->added_count; a++) {
		struct added_group *added = &tx->added[a];
		struct weir_message command = { .topic = added->topic->spec.id.value, .group = added->group->spec.id.value };

		for (uint32_t s = 0; !err && added->is_created && s < added->topic->spec.shards; s++) {
			command.kind = WEIR_MESSAGE_GROUP_REMOVE;
			command.shard = (uint16_t)s;
			if (added->is_created[s])
				err = add(tx, added->topic->owner[s], &command);
		}
		command.kind = WEIR_MESSAGE_GROUP_TEARDOWN;
		command.shard = 0;
		if (!err && added->is_set_up)
			err = add(tx, added->group->spec.coordinator, &command);
	}
	return err ? err : run(tx);
}

static int remove_shards(struct transaction *tx, struct weir_router_topic *topic)
{
	int err = 0;

	weir_exchange_clear(&tx->exchange);
	for (uint32_t s = 0; !err && s < topic->spec.shards; s++) {
		struct weir_message command = { .kind = WEIR_MESSAGE_SHARD_REMOVE,
						.topic = topic->spec.id.value,
						.shard = (uint16_t)s };

		if (!topic->fresh[s])
			err = add(tx, topic->owner[s], &command);
	}
	if (!err)
		err = run(tx);
	if (err)
		return err;
	for (uint32_t i = 0; i < tx->exchange.count; i++)
		topic->fresh[tx->exchange.commands[i].shard] = tx->exchange.answers[i].pointer;
	return 0;
}

// After a failure: the old state, exactly. A worker that does not answer keeps what it has: the router is broken then,
// and freeing under it would be worse.
static void undo(struct transaction *tx)
{
	struct weir_trouble second;
	struct weir_trouble *first = tx->trouble;

	tx->trouble = &second;
	if (!tx->router->is_broken)
		undo_workers(tx);
	for (uint32_t t = 0; tx->is_new && t < tx->target.topology->topic_count && !tx->router->is_broken; t++) {
		if (tx->is_new[t])
			remove_shards(tx, tx->topics[t]);
	}
	tx->trouble = first;
	if (tx->router->is_broken)
		return;
	for (uint32_t a = 0; a < tx->added_count; a++)
		weir_router_group_destroy(tx->router, tx->added[a].group, tx->added[a].topic->spec.shards);
	for (uint32_t t = 0; tx->is_new && t < tx->target.topology->topic_count; t++) {
		if (tx->is_new[t])
			weir_router_topic_destroy(tx->router, tx->topics[t]);
	}
}

// ---- 3. Shards move, the snapshot is published ----

static int move_shards(struct transaction *tx)
{
	int err = 0;

	weir_exchange_clear(&tx->exchange);
	for (uint32_t c = 0; !err && c < tx->diff->change_count; c++) {
		const struct weir_change *change = &tx->diff->changes[c];
		struct weir_message command = { .kind = WEIR_MESSAGE_SHARD_MOVE,
						.shard = (uint16_t)change->shard,
						.worker = change->to };

		if (change->kind != WEIR_CHANGE_SHARD_MOVED)
			continue;
		command.topic = weir_router_find(tx->router, change->topic)->spec.id.value;
		err = add(tx, change->from, &command);
	}
	if (!err)
		err = run(tx);
	if (err)
		return err;
	for (uint32_t c = 0, at = 0; c < tx->diff->change_count; c++) {
		const struct weir_change *change = &tx->diff->changes[c];

		if (change->kind != WEIR_CHANGE_SHARD_MOVED)
			continue;
		weir_router_find(tx->router, change->topic)->owner[change->shard] = change->to;
		tx->outcome->changes[c].pause_ns = tx->exchange.answers[at++].value;
		if (tx->outcome->changes[c].pause_ns > tx->outcome->pause_max_ns)
			tx->outcome->pause_max_ns = tx->outcome->changes[c].pause_ns;
	}
	return 0;
}

// Owners take quota and timeout; the next snapshot carries them.
static int change_groups(struct transaction *tx)
{
	int err = 0;

	weir_exchange_clear(&tx->exchange);
	for (uint32_t c = 0; !err && c < tx->diff->change_count; c++) {
		const struct weir_change *change = &tx->diff->changes[c];
		const struct weir_topology_topic *topic = weir_topology_find(tx->target.topology, change->topic);
		const struct weir_topology_group *config;
		struct weir_router_topic *running;
		struct weir_router_group *group;

		if (change->kind != WEIR_CHANGE_GROUP_CHANGED)
			continue;
		config = weir_topology_find_group(topic, change->group);
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
	return err ? err : run(tx);
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

static int publish(struct transaction *tx)
{
	struct weir_router *router = tx->router;
	struct weir_snapshot *snapshot = weir_router_snapshot(tx->topics, tx->target.topology->topic_count,
							      router->topic_last + 1, router->revision + 1);
	struct weir_message command = { .kind = WEIR_MESSAGE_SNAPSHOT, .pointer = snapshot };
	int err = 0;

	if (!snapshot)
		return no_memory(tx);
	weir_exchange_clear(&tx->exchange);
	for (uint16_t w = 0; !err && w < router->topology->worker_count; w++)
		err = add(tx, w, &command);
	if (err) {
		free(snapshot);
		return err;
	}
	err = run(tx);
	// Some worker may use the old one and another the new one: both stay.
	if (err)
		return err;
	free(router->snapshot);
	router->snapshot = snapshot;
	router->revision++;
	return 0;
}

static int end_forwarding(struct transaction *tx)
{
	int err = 0;

	weir_exchange_clear(&tx->exchange);
	for (uint32_t c = 0; !err && c < tx->diff->change_count; c++) {
		const struct weir_change *change = &tx->diff->changes[c];
		struct weir_message command = { .kind = WEIR_MESSAGE_FORWARD_END, .shard = (uint16_t)change->shard };

		if (change->kind != WEIR_CHANGE_SHARD_MOVED)
			continue;
		command.topic = weir_router_find(tx->router, change->topic)->spec.id.value;
		err = add(tx, change->from, &command);
	}
	return err ? err : run(tx);
}

// ---- 4. What is gone is taken away ----

static int tear_down(struct transaction *tx, const struct weir_router_topic *topic, const struct weir_router_group *group)
{
	struct weir_message command = { .kind = WEIR_MESSAGE_GROUP_TEARDOWN,
					.topic = topic->spec.id.value,
					.group = group->spec.id.value };
	int err;

	weir_exchange_clear(&tx->exchange);
	err = add(tx, group->spec.coordinator, &command);
	return err ? err : run(tx);
}

static int remove_group(struct transaction *tx, struct weir_router_topic *topic, struct weir_router_group *group)
{
	int err = 0;

	weir_exchange_clear(&tx->exchange);
	for (uint32_t s = 0; !err && s < topic->spec.shards; s++) {
		struct weir_message command = { .kind = WEIR_MESSAGE_GROUP_REMOVE,
						.topic = topic->spec.id.value,
						.group = group->spec.id.value,
						.shard = (uint16_t)s };

		err = add(tx, topic->owner[s], &command);
	}
	if (!err)
		err = run(tx);
	if (!err)
		err = tear_down(tx, topic, group);
	if (!err)
		weir_router_group_destroy(tx->router, group, topic->spec.shards);
	return err;
}

static int remove_topic(struct transaction *tx, struct weir_router_topic *topic)
{
	int err = remove_shards(tx, topic);

	for (uint32_t g = 0; !err && g < topic->group_count; g++)
		err = tear_down(tx, topic, topic->groups[g]);
	if (!err)
		weir_router_topic_destroy(tx->router, topic);
	return err;
}

static int set_limits(struct transaction *tx)
{
	struct weir_engine_limits limits = weir_router_limits(tx->target.topology);
	struct weir_message command = { .kind = WEIR_MESSAGE_LIMITS, .pointer = &limits };
	int err = 0;

	weir_exchange_clear(&tx->exchange);
	for (uint16_t w = 0; !err && w < tx->router->topology->worker_count; w++)
		err = add(tx, w, &command);
	return err ? err : run(tx);
}

struct removal {
	struct weir_router_topic *topic;
	struct weir_router_group *group; // NULL: the whole topic
};

// Lists what goes before the lists change, adds what came.
static void exchange_lists(struct transaction *tx, struct removal *removals, uint32_t *count)
{
	*count = 0;
	for (uint32_t c = 0; c < tx->diff->change_count; c++) {
		const struct weir_change *change = &tx->diff->changes[c];
		struct weir_router_topic *topic = weir_router_find(tx->router, change->topic);

		if (change->kind == WEIR_CHANGE_GROUP_REMOVED)
			removals[(*count)++] = (struct removal){ topic, detach_group(topic, change->group) };
		else if (change->kind == WEIR_CHANGE_TOPIC_REMOVED)
			removals[(*count)++] = (struct removal){ topic, NULL };
	}
	for (uint32_t a = 0; a < tx->added_count; a++) {
		struct weir_router_topic *topic = tx->added[a].topic;
		struct weir_outcome_change *done = &tx->outcome->changes[tx->added[a].change];

		topic->groups[topic->group_count++] = tx->added[a].group;
		done->starts = calloc(topic->spec.shards, sizeof(*done->starts));
		if (done->starts) {
			memcpy(done->starts, tx->added[a].group->starts, topic->spec.shards * sizeof(*done->starts));
			done->start_count = topic->spec.shards;
		}
	}
}

static int commit(struct transaction *tx)
{
	struct removal *removals = calloc(tx->diff->change_count + 1, sizeof(*removals));
	uint32_t count;
	int err;

	if (!removals)
		return no_memory(tx);
	exchange_lists(tx, removals, &count);
	err = publish(tx);
	if (!err)
		err = end_forwarding(tx);
	for (uint32_t r = 0; !err && r < count; r++) {
		if (removals[r].group)
			err = remove_group(tx, removals[r].topic, removals[r].group);
		else
			err = remove_topic(tx, removals[r].topic);
	}
	for (uint32_t c = 0; !err && c < tx->diff->change_count; c++) {
		if (tx->diff->changes[c].kind == WEIR_CHANGE_LIMITS)
			err = set_limits(tx);
	}
	free(removals);
	if (err)
		return err;
	free(tx->router->topics);
	tx->router->topics = tx->topics;
	tx->router->topic_count = tx->target.topology->topic_count;
	tx->topics = NULL;
	return 0;
}

// ---- The whole ----

static int check_room(const struct weir_router *router, const struct weir_topology *topology, struct weir_trouble *trouble)
{
	char object[160];

	for (uint32_t t = 0; t < topology->topic_count; t++) {
		const struct weir_topology_topic *topic = &topology->topics[t];

		if (topic->event_max <= router->event_room)
			continue;
		snprintf(object, sizeof(object), "topic %s", topic->name);
		weir_trouble_set(trouble, object, "allow events of its event_max",
				 "lower event_max, or set limits: {event_max: ...} and restart weir",
				 "workers set room aside at start for events of at most %llu bytes, this topic asks for %llu",
				 (unsigned long long)router->event_room, (unsigned long long)topic->event_max);
		trouble->mark = topic->mark;
		return -EINVAL;
	}
	return 0;
}

static int perform(struct transaction *tx)
{
	int err = weir_memory_check(&tx->target, tx->trouble);

	if (!err)
		err = prepare(tx);
	if (!err)
		err = adopt_shards(tx);
	if (!err)
		err = set_up_groups(tx);
	if (!err)
		err = create_groups(tx);
	if (err) {
		undo(tx);
		return err;
	}
	err = move_shards(tx);
	if (!err)
		err = change_groups(tx);
	if (!err)
		err = commit(tx);
	if (err)
		tx->router->is_broken = true;
	return err;
}

static void transaction_fini(struct transaction *tx)
{
	for (uint32_t a = 0; a < tx->added_count; a++) {
		free(tx->added[a].places);
		free(tx->added[a].is_created);
	}
	free(tx->added);
	free(tx->topics);
	free(tx->is_new);
	weir_exchange_fini(&tx->exchange);
	weir_diff_destroy(tx->diff);
}

static int check_usable(const struct weir_router *router, struct weir_trouble *trouble)
{
	if (!router->is_broken)
		return 0;
	weir_trouble_set(trouble, "router", "apply a topology", "restart weir",
			 "an earlier apply ended half-way, and what the workers do is not known any more");
	return -EIO;
}

int weir_router_apply(struct weir_router *router, struct weir_topology *topology, struct weir_outcome *outcome,
		      struct weir_trouble *trouble)
{
	struct transaction tx = { .router = router, .trouble = trouble, .outcome = outcome };
	uint64_t start = now_ns();
	struct weir_plan *plan;
	int err;

	*outcome = (struct weir_outcome){ 0 };
	err = check_usable(router, trouble);
	if (!err)
		err = check_room(router, topology, trouble);
	if (!err)
		err = weir_plan_create(&plan, router->machine, topology, router->plan, trouble);
	if (err)
		return err;
	err = weir_diff_create(&tx.diff, router->topology, router->plan, topology, plan, trouble);
	if (err) {
		weir_plan_destroy(plan);
		return err;
	}
	tx.target = (struct weir_router_target){ router, topology, plan };
	weir_exchange_init(&tx.exchange, weir_dataplane_gate(router->dataplane), &router->request_last);
	// The first apply publishes a snapshot even when there is no topic yet.
	if (tx.diff->change_count > 0 || !router->snapshot)
		err = perform(&tx);
	transaction_fini(&tx);
	if (err) {
		weir_plan_destroy(plan);
		return err;
	}
	weir_plan_destroy(router->plan);
	router->plan = plan;
	weir_topology_destroy(router->topology);
	router->topology = topology;
	outcome->duration_ns = now_ns() - start;
	outcome->revision = router->revision;
	return 0;
}

void weir_outcome_fini(struct weir_outcome *outcome)
{
	for (uint32_t c = 0; c < outcome->change_count; c++)
		free(outcome->changes[c].starts);
	free(outcome->changes);
	*outcome = (struct weir_outcome){ 0 };
}
