// One change of the running router as a transaction: compare, make everything new, hand it to the workers, move shards,
// publish the snapshot, take away what is gone. Up to the moves every step is undone when a later one is refused; after
// them only a worker that does not answer can fail. Such a worker may still read whatever it was pointed at: the
// transaction stays as it is, and goes on, forwards or back, when the worker has answered. Control thread.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/daemon/discard.h"
#include "control/daemon/memory.h"
#include "control/daemon/say.h"
#include "control/daemon/transaction.h"
#include "lib/clock.h"

static int no_memory(struct weir_trouble *trouble)
{
	weir_trouble_set(trouble, "router", "apply the topology", "free some memory", "out of memory");
	return -ENOMEM;
}

// ---- Everything new is made; no worker knows of it ----

static int prepare_topics(struct weir_transaction *tx, struct weir_trouble *trouble)
{
	const struct weir_topology *topology = tx->target.topology;

	for (uint32_t t = 0; t < topology->topic_count; t++) {
		int err;

		tx->topics[t] = weir_router_find(tx->router, topology->topics[t].name);
		if (tx->topics[t])
			continue;
		err = weir_router_topic_create(&tx->topics[t], &tx->target, t, trouble);
		if (err)
			return err;
		tx->is_new[t] = true;
	}
	return 0;
}

static int prepare_group(struct weir_transaction *tx, uint32_t change, struct weir_trouble *trouble)
{
	const struct weir_topology *topology = tx->target.topology;
	const struct weir_topology_topic *topic = weir_topology_find(topology, tx->diff->changes[change].topic);
	const struct weir_topology_group *config = weir_topology_find_group(topic, tx->diff->changes[change].group);
	struct weir_added_group *added = &tx->added[tx->added_count];
	struct weir_router_topic *running = tx->topics[topic - topology->topics];
	int err = weir_router_group_create(&added->group, tx->router, running, config, trouble);

	if (err)
		return err;
	tx->added_count++;
	added->change = change;
	added->topic = running;
	added->places = calloc(topic->shards, sizeof(*added->places));
	added->is_created = calloc(topic->shards, sizeof(*added->is_created));
	if (!added->places || !added->is_created)
		return no_memory(trouble);
	for (uint32_t s = 0; s < topic->shards; s++) {
		added->places[s].spec = added->group->spec;
		added->places[s].row = added->group->rows[s];
		added->places[s].delivery = added->group->deliveries[s];
	}
	return 0;
}

static int prepare(struct weir_transaction *tx, struct weir_trouble *trouble)
{
	uint32_t topics = tx->target.topology->topic_count;
	uint32_t changes = tx->diff->change_count;
	int err;

	tx->topics = calloc(topics + 1, sizeof(*tx->topics));
	tx->is_new = calloc(topics + 1, sizeof(*tx->is_new));
	tx->added = calloc(changes + 1, sizeof(*tx->added));
	tx->removals = calloc(changes + 1, sizeof(*tx->removals));
	tx->outcome.changes = calloc(changes + 1, sizeof(*tx->outcome.changes));
	if (!tx->topics || !tx->is_new || !tx->added || !tx->removals || !tx->outcome.changes)
		return no_memory(trouble);
	tx->outcome.change_count = changes;
	for (uint32_t c = 0; c < changes; c++)
		tx->outcome.changes[c].change = tx->diff->changes[c];
	err = prepare_topics(tx, trouble);
	for (uint32_t c = 0; !err && c < changes; c++) {
		if (tx->diff->changes[c].kind == WEIR_CHANGE_GROUP_ADDED)
			err = prepare_group(tx, c, trouble);
	}
	return err;
}

// ---- The end: everything as it is wanted, or as it was ----

static void destroy(struct weir_transaction *tx)
{
	for (uint32_t a = 0; a < tx->added_count; a++) {
		free(tx->added[a].places);
		free(tx->added[a].is_created);
	}
	free(tx->added);
	free(tx->removals);
	free(tx->topics);
	free(tx->is_new);
	weir_outcome_fini(&tx->outcome);
	weir_exchange_fini(&tx->exchange);
	weir_diff_destroy(tx->diff);
	weir_plan_destroy(tx->target.plan);
	weir_topology_destroy(tx->target.topology);
	free(tx);
}

// Frees what was made; workers have none of it, or gave it back.
static void destroy_new(struct weir_transaction *tx)
{
	for (uint32_t a = 0; !tx->is_listed && a < tx->added_count; a++)
		weir_router_group_destroy(tx->router, tx->added[a].group, tx->added[a].topic);
	for (uint32_t t = 0; tx->is_new && t < tx->target.topology->topic_count; t++) {
		if (tx->is_new[t])
			weir_router_topic_destroy(tx->router, tx->topics[t]);
	}
}

static void note_starts(struct weir_transaction *tx)
{
	for (uint32_t a = 0; a < tx->added_count; a++) {
		struct weir_outcome_change *done = &tx->outcome.changes[tx->added[a].change];
		uint32_t shards = tx->added[a].topic->spec.shards;

		done->starts = calloc(shards, sizeof(*done->starts));
		if (!done->starts)
			continue;
		memcpy(done->starts, tx->added[a].group->starts, shards * sizeof(*done->starts));
		done->start_count = shards;
	}
}

// Router and transaction change their lists, topologies and plans: what the transaction has then is what was.
static void conclude(struct weir_transaction *tx)
{
	struct weir_router *router = tx->router;
	struct weir_topology *topology = router->topology;
	struct weir_plan *plan = router->plan;
	struct weir_router_topic **topics = router->topics;

	note_starts(tx);
	for (uint32_t r = 0; r < tx->removal_count; r++) {
		struct weir_removal *removal = &tx->removals[r];

		if (removal->group)
			weir_router_group_destroy(router, removal->group, removal->topic);
		else
			weir_router_topic_destroy(router, removal->topic);
	}
	router->topics = tx->topics;
	router->topic_count = tx->target.topology->topic_count;
	router->topology = tx->target.topology;
	router->plan = tx->target.plan;
	tx->topics = topics;
	tx->target.topology = topology;
	tx->target.plan = plan;
	tx->outcome.duration_ns = lib_clock_ns() - tx->start_ns;
	tx->outcome.revision = router->revision;
}

// ---- The rounds ----

static void name_command(const struct weir_transaction *tx, uint32_t index, char *object, size_t size)
{
	const struct weir_message *command = &tx->exchange.commands[index];
	size_t used = (size_t)snprintf(object, size, "worker %u", command->from);

	// The one lets go, the other one answers.
	if (command->kind == WEIR_MESSAGE_SHARD_MOVE)
		used += (size_t)snprintf(object + used, size - used, " or worker %u", command->worker);
	if (command->topic)
		used += (size_t)snprintf(object + used, size - used, " (topic id %u, shard %u", command->topic, command->shard);
	if (command->group)
		used += (size_t)snprintf(object + used, size - used, ", group id %u", command->group);
	if (command->topic)
		snprintf(object + used, size - used, ")");
}

static void say_late(const struct weir_transaction *tx, struct weir_trouble *trouble)
{
	bool has_moved = tx->step >= WEIR_STEP_MOVE && tx->step < WEIR_STEP_DONE;
	uint32_t late;
	char object[160];
	char action[96];

	if (weir_exchange_result(&tx->exchange, &late) != -ETIMEDOUT)
		return;
	name_command(tx, late, object, sizeof(object));
	snprintf(action, sizeof(action), "%s", weir_round_text(tx->exchange.commands[late].kind));
	weir_trouble_set(trouble, object, action,
			 "look for `stalled` in weir's log; apply again when the worker is back, or restart weir",
			 "it has not answered for %.0f s (%u of %u commands are), so whether it did that is unknown until it "
			 "does. Nothing is freed; %s",
			 (double)(lib_clock_ns() - tx->start_ns) / 1e9, tx->exchange.answered, tx->exchange.count,
			 has_moved ? "the change is half done, and is completed then"
				   : "nothing of the change is in force, and it is undone then");
}

static int say_refused(const struct weir_transaction *tx, uint32_t failed, int err, struct weir_trouble *trouble)
{
	char object[160];

	name_command(tx, failed, object, sizeof(object));
	return weir_trouble_set(trouble, object, weir_round_text(tx->exchange.commands[failed].kind),
				err == -ENOSPC || err == -ENOMEM ? "use fewer topics, shards or groups, or a second instance"
								 : "report it with weir's log",
				"%s", strerror(-err));
}

// Sends the step's commands, if that was not done, and takes its answers. -EINPROGRESS: some are missing, or there was no
// memory to ask; a later call goes on. Another error: a worker refused, *trouble says what.
static int step(struct weir_transaction *tx, uint32_t timeout_ms, struct weir_trouble *trouble)
{
	uint32_t failed;
	int err;

	if (!tx->is_sent) {
		weir_exchange_clear(&tx->exchange);
		if (weir_round_fill(tx) != 0) {
			no_memory(trouble);
			return -EINPROGRESS;
		}
		weir_exchange_send(&tx->exchange);
		tx->is_sent = true;
	}
	if (!weir_exchange_wait(&tx->exchange, timeout_ms)) {
		say_late(tx, trouble);
		return -EINPROGRESS;
	}
	tx->is_sent = false;
	weir_round_take(tx);
	err = weir_exchange_result(&tx->exchange, &failed);
	if (err)
		say_refused(tx, failed, err, trouble);
	return err;
}

// Goes on to the end: WEIR_STEP_DONE, or WEIR_STEP_UNDONE with the error that was the reason. -EINPROGRESS: it stays where
// it is. `is_undone`: nobody waits for the change any more, and it is taken back while that can be done.
static int advance(struct weir_transaction *tx, uint32_t timeout_ms, bool is_undone, struct weir_trouble *trouble)
{
	struct weir_trouble second;
	int refused = is_undone ? -ECANCELED : 0;

	while (tx->step != WEIR_STEP_DONE && tx->step != WEIR_STEP_UNDONE) {
		bool is_new = tx->step < WEIR_STEP_MOVE;
		int err = step(tx, timeout_ms, is_new || !refused ? trouble : &second);

		if (err == -EINPROGRESS)
			return err;
		if (err && !is_new) {
			// A worker refuses what only a defect could make it refuse.
			tx->router->is_broken = true;
			return err;
		}
		if (is_new && (err || is_undone)) {
			refused = err ? err : refused;
			tx->step = WEIR_STEP_TAKE_BACK_GROUPS;
		} else {
			tx->step++;
		}
	}
	return tx->step == WEIR_STEP_DONE ? 0 : refused;
}

static void conclude_and_say(struct weir_transaction *tx)
{
	struct weir_router *router = tx->router;

	router->unfinished = NULL;
	if (tx->step == WEIR_STEP_DONE) {
		conclude(tx);
		weir_say(WEIR_SAY_WARNING, "the apply that waited for a worker is complete: revision %llu",
			 (unsigned long long)router->revision);
	} else {
		destroy_new(tx);
		weir_say(WEIR_SAY_WARNING, "the apply that waited for a worker is undone: everything is as it was before");
	}
	destroy(tx);
}

void weir_router_settle(struct weir_router *router)
{
	struct weir_transaction *tx = router->unfinished;
	struct weir_trouble trouble;
	int err;

	if (!tx || router->is_broken)
		return;
	err = advance(tx, 0, true, &trouble);
	if (tx->step == WEIR_STEP_DONE || tx->step == WEIR_STEP_UNDONE)
		conclude_and_say(tx);
	else if (err != -EINPROGRESS)
		weir_say(WEIR_SAY_ERROR, "%s: cannot %s: %s. %s", trouble.object, trouble.action, trouble.reason, trouble.fix);
}

// What workers were handed and did not answer for may be theirs: it stays, and goes with the process.
void weir_router_abandon(struct weir_router *router)
{
	struct weir_transaction *tx = router->unfinished;

	if (!tx)
		return;
	if (!weir_exchange_wait(&tx->exchange, 0)) {
		weir_exchange_clear(&tx->exchange);
		return;
	}
	if (tx->is_sent)
		weir_round_take(tx);
	destroy_new(tx);
	for (uint32_t r = 0; r < tx->removal_count; r++) {
		if (tx->removals[r].group)
			weir_router_group_destroy(router, tx->removals[r].group, tx->removals[r].topic);
	}
	free(tx->snapshot);
	router->unfinished = NULL;
	destroy(tx);
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

int weir_router_check(struct weir_router *router, struct weir_topology *topology, struct weir_plan *plan,
		      struct weir_trouble *trouble)
{
	const struct weir_router_target target = { router, topology, plan };
	int err = check_room(router, topology, trouble);

	return err ? err : weir_memory_check(&target, trouble);
}

static int check_usable(struct weir_router *router, struct weir_trouble *trouble)
{
	weir_router_settle(router);
	if (router->is_broken) {
		weir_trouble_set(trouble, "router", "apply a topology", "restart weir",
				 "a worker refused a part of an earlier apply half-way, and what the workers do is not known");
		return -EIO;
	}
	if (!router->unfinished)
		return 0;
	no_memory(trouble);
	say_late(router->unfinished, trouble);
	return -EBUSY;
}

static int perform(struct weir_transaction *tx, struct weir_trouble *trouble)
{
	struct weir_router *router = tx->router;
	int err = prepare(tx, trouble);

	if (err) {
		destroy_new(tx);
		return err;
	}
	// The first apply publishes a snapshot even when there is no topic yet.
	if (tx->diff->change_count == 0 && router->snapshot)
		tx->step = WEIR_STEP_DONE;
	err = advance(tx, router->patience_ms, false, trouble);
	if (err == -EINPROGRESS || router->is_broken)
		router->unfinished = tx;
	else if (err)
		destroy_new(tx);
	else
		conclude(tx);
	return err;
}

static int begin(struct weir_transaction *tx, const struct weir_discards *discards, struct weir_trouble *trouble)
{
	struct weir_router *router = tx->router;
	struct weir_plan *plan;
	int err = check_usable(router, trouble);

	if (!err)
		err = weir_plan_create(&plan, router->machine, tx->target.topology, router->plan, trouble);
	if (err)
		return err;
	tx->target.plan = plan;
	// Where the file does not say it, the workers' room stays what it is.
	if (!tx->target.topology->has_event_max)
		tx->target.topology->limits.event_max = router->event_room;
	err = weir_diff_create(&tx->diff, router->topology, router->plan, tx->target.topology, plan, trouble);
	if (!err)
		err = weir_discard_check(router, tx->diff, discards, trouble);
	return err ? err : weir_router_check(router, tx->target.topology, plan, trouble);
}

int weir_router_apply(struct weir_router *router, struct weir_topology *topology, const struct weir_discards *discards,
		      struct weir_outcome *outcome, struct weir_trouble *trouble)
{
	struct weir_transaction *tx = calloc(1, sizeof(*tx));
	int err;

	*outcome = (struct weir_outcome){ 0 };
	if (!tx) {
		weir_topology_destroy(topology);
		return no_memory(trouble);
	}
	tx->router = router;
	tx->start_ns = lib_clock_ns();
	tx->target = (struct weir_router_target){ .router = router, .topology = topology };
	weir_exchange_init(&tx->exchange, &router->requests);
	err = begin(tx, discards, trouble);
	if (!err)
		err = perform(tx, trouble);
	if (!err) {
		*outcome = tx->outcome;
		tx->outcome = (struct weir_outcome){ 0 };
	}
	if (router->unfinished != tx)
		destroy(tx);
	return err;
}

void weir_outcome_fini(struct weir_outcome *outcome)
{
	for (uint32_t c = 0; c < outcome->change_count; c++)
		free(outcome->changes[c].starts);
	free(outcome->changes);
	*outcome = (struct weir_outcome){ 0 };
}
