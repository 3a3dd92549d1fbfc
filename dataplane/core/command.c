// Messages: what control and other workers decided, turned into calls on shards, sessions and the coordinator. A shard comes,
// moves and goes here; what is meant for one that has not arrived yet goes back to who said it.
#include <assert.h>
#include <errno.h>

#include "dataplane/core/engine_state.h"

#define TELL_AT_ONCE 8u // messages of one kind, before those to itself are handled
#define TELL_TURN 16u   // told in half a turn, so that no join or end of a session costs others more than a burst of frames

void weir_engine_tell(struct weir_engine *engine, uint16_t worker, const struct weir_message *message)
{
	struct weir_message copy = *message;
	copy.from = engine->config.worker;
	engine->has_work = true;
	if (worker != engine->config.worker) {
		engine->io.message_send(engine->io.context, worker, &copy);
		return;
	}
	struct weir_message_queue *self = &engine->self;
	assert(self->tail - self->head <= self->mask);
	engine->has_to_tell = true;
	self->messages[self->tail++ & self->mask] = copy;
}

bool weir_engine_may_tell(const struct weir_engine *engine, uint16_t worker)
{
	const struct weir_engine_io *io = &engine->io;
	return worker == engine->config.worker || !io->message_has_room || io->message_has_room(io->context, worker);
}

uint32_t weir_command_self_max(const struct weir_engine_config *config)
{
	// Each of those told at once is answered by one at most; who leaves a group is told so, all its members perhaps.
	uint32_t most = 4 * TELL_AT_ONCE + config->members_max;
	uint32_t slots = 1;
	while (slots < most)
		slots *= 2;
	return slots;
}

static void handle(struct weir_engine *engine, const struct weir_message *message);

// Handles one message and those to itself that follow from it, one after the other.
static uint32_t handle_all(struct weir_engine *engine, const struct weir_message *first)
{
	struct weir_message_queue *self = &engine->self;
	uint32_t handled = 0;
	assert(!engine->is_handling);
	engine->is_handling = true;
	if (first)
		handle(engine, first);
	for (; self->head != self->tail; handled++) {
		struct weir_message message = self->messages[self->head++ & self->mask];
		handle(engine, &message);
	}
	engine->is_handling = false;
	return handled;
}

uint32_t weir_command_run(struct weir_engine *engine)
{
	engine->has_to_tell = false;
	uint32_t handled = handle_all(engine, NULL);
	uint32_t cost = 0;
	uint32_t step = 1;
	while (step && cost < TELL_TURN) {
		step = weir_member_tell(engine, TELL_AT_ONCE) + weir_delivery_tell(engine, TELL_AT_ONCE) +
		       weir_stream_ask(engine, TELL_AT_ONCE) +
		       weir_coordinator_run(engine->coordinator, TELL_AT_ONCE, engine->now_ns);
		cost += step;
		handle_all(engine, NULL);
	}
	// What is left has no room at another worker, or is too much for one turn.
	if (!TAILQ_EMPTY(&engine->members_telling) || !TAILQ_EMPTY(&engine->telling) || !TAILQ_EMPTY(&engine->asking) ||
	    weir_coordinator_is_busy(engine->coordinator))
		engine->has_work = engine->has_to_tell = true;
	return handled + cost;
}

void weir_engine_done(struct weir_engine *engine, const struct weir_message *command, int32_t result, uint64_t value,
		      void *pointer)
{
	struct weir_message answer = {
		.kind = WEIR_MESSAGE_DONE,
		.worker = engine->config.worker,
		.topic = command->topic,
		.shard = command->shard,
		.group = command->group,
		.request = command->request,
		.result = result,
		.value = value,
		.pointer = pointer,
	};
	weir_engine_tell(engine, WEIR_FROM_CONTROL, &answer);
}

static void own(struct weir_engine *engine, struct weir_place *place, struct weir_shard *shard)
{
	place->shard = shard;
	shard->engine = engine;
	shard->row.worker = engine->config.worker;
	shard->owned_previous = NULL;
	shard->owned_next = engine->owned;
	if (engine->owned)
		engine->owned->owned_previous = shard;
	engine->owned = shard;
	engine->owned_count++;
	engine->owned_log_bytes += shard->log.size;
	weir_stream_attach(shard, engine->now_ns);
	weir_delivery_attach(shard, engine->now_ns);
	weir_engine_mark_dirty(engine, shard);
	weir_engine_mark_deliverable(engine, shard);
}

static void list_remove(struct weir_engine *engine, struct weir_shard *shard)
{
	struct weir_shard *previous = NULL;
	for (struct weir_shard **link = &engine->dirty.first; *link; previous = *link, link = &(*link)->dirty_next) {
		if (*link == shard) {
			*link = shard->dirty_next;
			if (engine->dirty.last == shard)
				engine->dirty.last = previous;
			break;
		}
	}
	weir_engine_unmark_deliverable(engine, shard);
	shard->dirty_next = NULL;
	shard->is_dirty = false;
}

// Nothing of this engine points at the shard any more.
static void disown(struct weir_engine *engine, struct weir_shard *shard)
{
	weir_stream_detach(shard);
	weir_delivery_detach(shard);
	weir_shard_publish(shard, engine->now_ns);
	list_remove(engine, shard);
	if (shard->owned_previous)
		shard->owned_previous->owned_next = shard->owned_next;
	else
		engine->owned = shard->owned_next;
	if (shard->owned_next)
		shard->owned_next->owned_previous = shard->owned_previous;
	shard->owned_next = NULL;
	shard->owned_previous = NULL;
	shard->engine = NULL;
	engine->owned_count--;
	engine->owned_log_bytes -= shard->log.size;
}

static void shard_adopt(struct weir_engine *engine, const struct weir_message *message)
{
	struct weir_shard *shard = message->pointer;
	if (engine->owned_count >= engine->config.shards_max) {
		weir_engine_done(engine, message, -ENOSPC, 0, shard);
		return;
	}
	struct weir_place *place = weir_place_put(&engine->places, shard->topic, shard->shard);
	if (!place || place->shard) {
		weir_engine_done(engine, message, place ? -EEXIST : -ENOSPC, 0, shard);
		return;
	}
	own(engine, place, shard);
	weir_engine_done(engine, message, 0, 0, NULL);
}

// The coordinator remembers what it said and says it again a little later: nothing is kept here that could run out of room.
static void give_back(struct weir_engine *engine, const struct weir_message *message)
{
	struct weir_message answer = *message;
	answer.kind = WEIR_MESSAGE_RETURNED;
	answer.worker = (uint16_t)message->value;
	answer.result = message->kind;
	answer.request = 0;
	weir_engine_tell(engine, answer.worker, &answer);
}

// For the owner of a shard, from a coordinator.
static void shard_message(struct weir_engine *engine, const struct weir_message *message)
{
	const struct weir_place *place = weir_place_find(&engine->places, message->topic, message->shard);
	if (place && place->shard) {
		weir_delivery_message(place->shard, message, engine->now_ns);
		return;
	}
	uint16_t owner = engine->config.worker;
	const struct weir_topic_spec *topic = weir_snapshot_topic(engine->snapshot, message->topic);
	if (place)
		owner = place->forward;
	else if (!topic || message->shard >= topic->shards)
		return; // removed, and its groups with it
	else
		owner = topic->owner[message->shard];
	// Sent on by the owner, or this is the owner: the shard is on its way, and its message ring was faster.
	if (owner == engine->config.worker || owner + 1u == message->request) {
		give_back(engine, message);
		return;
	}
	// `from` stays the coordinator, which is answered; `request` says who sent it on.
	struct weir_message onward = *message;
	onward.request = engine->config.worker + 1u;
	engine->io.message_send(engine->io.context, owner, &onward);
}

void weir_command_adopt(struct weir_engine *engine, const struct weir_mesh_header *header)
{
	struct weir_shard *shard = header->pointer;
	struct weir_message command = { .topic = shard->topic, .shard = shard->shard, .request = header->request };
	struct weir_place *place = weir_place_put(&engine->places, shard->topic, shard->shard);
	if (!place) {
		// Control plans no more shards than shards_max; should it, the shard goes back rather than get lost.
		weir_engine_done(engine, &command, -ENOSPC, 0, shard);
		return;
	}
	uint64_t pause = engine->now_ns > header->value ? engine->now_ns - header->value : 0;
	shard->row.moves++;
	if (pause > shard->row.move_pause_max_ns)
		shard->row.move_pause_max_ns = pause;
	own(engine, place, shard);
	weir_engine_done(engine, &command, 0, pause, NULL);
}

// false: no room in the ring, the shard stays for now.
static bool hand_over(struct weir_engine *engine, struct weir_shard *shard)
{
	const struct weir_mesh_header header = {
		.kind = WEIR_MESH_HANDOVER,
		.from = engine->config.worker,
		.pointer = shard,
		.request = shard->move_request,
		.value = engine->now_ns,
	};
	uint16_t worker = shard->move_to;
	if (!engine->io.mesh_reserve(engine->io.context, worker, &header, 0))
		return false;
	struct weir_place *place = weir_place_find(&engine->places, shard->topic, shard->shard);
	disown(engine, shard);
	shard->move_request = 0;
	place->shard = NULL;
	place->forward = worker;
	engine->io.mesh_commit(engine->io.context, worker, 0);
	return true;
}

void weir_command_move_retry(struct weir_engine *engine)
{
	struct weir_shard *waiting = engine->moving;
	engine->moving = NULL;
	while (waiting) {
		struct weir_shard *shard = waiting;
		waiting = shard->move_next;
		shard->move_next = NULL;
		if (!hand_over(engine, shard)) {
			shard->move_next = engine->moving;
			engine->moving = shard;
		}
	}
}

static void shard_move(struct weir_engine *engine, const struct weir_message *message)
{
	struct weir_shard *shard = weir_engine_shard(engine, message->topic, message->shard);
	int32_t result = 0;
	if (!shard)
		result = -ENOENT;
	else if (message->worker >= engine->config.workers)
		result = -EINVAL;
	else if (shard->move_request)
		result = -EBUSY;
	if (result || message->worker == engine->config.worker) {
		weir_engine_done(engine, message, result, 0, NULL);
		return;
	}
	shard->move_request = message->request;
	shard->move_to = message->worker;
	if (!hand_over(engine, shard)) {
		shard->move_next = engine->moving;
		engine->moving = shard;
	}
}

static void shard_remove(struct weir_engine *engine, const struct weir_message *message)
{
	struct weir_place *place = weir_place_find(&engine->places, message->topic, message->shard);
	if (!place || !place->shard) {
		weir_engine_done(engine, message, -ENOENT, 0, NULL);
		return;
	}
	struct weir_shard *shard = place->shard;
	for (struct weir_shard **link = &engine->moving; *link; link = &(*link)->move_next) {
		if (*link == shard) {
			*link = shard->move_next;
			const struct weir_message move = {
				.topic = shard->topic,
				.shard = shard->shard,
				.request = shard->move_request,
			};
			weir_engine_done(engine, &move, -ECANCELED, 0, NULL);
			break;
		}
	}
	shard->is_going = true;
	weir_stream_remove_all(shard, engine->now_ns);
	for (uint32_t i = 0; i < shard->deliveries_limit; i++) {
		if (shard->deliveries[i])
			weir_delivery_remove(shard, shard->deliveries[i]->group, engine->now_ns);
	}
	disown(engine, shard);
	weir_place_remove(&engine->places, place);
	weir_engine_done(engine, message, 0, 0, shard);
}

static void group_command(struct weir_engine *engine, const struct weir_message *message)
{
	struct weir_shard *shard = weir_engine_shard(engine, message->topic, message->shard);
	uint64_t start_offset = 0;
	int result = -ENOENT;
	if (shard && message->kind == WEIR_MESSAGE_GROUP_CREATE)
		result = weir_delivery_create(shard, message->pointer, &start_offset);
	else if (shard && message->kind == WEIR_MESSAGE_GROUP_CHANGE)
		result = weir_delivery_change(shard, message->pointer);
	else if (shard)
		result = weir_delivery_remove(shard, message->group, engine->now_ns);
	if (result == 0) {
		weir_engine_mark_dirty(engine, shard);
		weir_stream_room(shard, engine->now_ns);
	}
	weir_engine_done(engine, message, result, start_offset, NULL);
}

static void snapshot_use(struct weir_engine *engine, const struct weir_message *message)
{
	engine->snapshot = message->pointer;
	weir_engine_done(engine, message, 0, engine->snapshot->revision, NULL);
}

static void forward_end(struct weir_engine *engine, const struct weir_message *message)
{
	struct weir_place *place = weir_place_find(&engine->places, message->topic, message->shard);
	if (place && !place->shard)
		weir_place_remove(&engine->places, place);
	weir_engine_done(engine, message, 0, 0, NULL);
}

static void limits_use(struct weir_engine *engine, const struct weir_message *message)
{
	engine->config.limits = *(const struct weir_engine_limits *)message->pointer;
	weir_engine_limits_clamp(&engine->config.limits);
	weir_engine_done(engine, message, 0, 0, NULL);
}

// A local client is gone or shut out: nothing of it will be heard again.
static void lane_gone(struct weir_engine *engine, const struct weir_message *message)
{
	struct weir_session *session = weir_session_find_peer(&engine->sessions, message->pointer);
	if (session)
		weir_session_end(engine, session);
	weir_reader_lane_over(engine, message->value, 0);
	weir_engine_done(engine, message, 0, message->value, NULL);
}

// Who asks hears nothing of a session that is there: its end will be told to all.
static void session_ask(struct weir_engine *engine, const struct weir_message *message)
{
	const struct weir_message gone = { .kind = WEIR_MESSAGE_SESSION_GONE, .session = message->session };
	if (!weir_session_find(&engine->sessions, message->session.id))
		weir_engine_tell(engine, message->from, &gone);
}

void weir_command_lane_fresh(struct weir_engine *engine, uint64_t lane, uint64_t session)
{
	// Remembered for shards that are still on their way here.
	engine->fresh[lane % WEIR_FRESH_SLOTS] = (struct weir_fresh){ lane, session };
	weir_reader_lane_over(engine, lane, session);
}

static void handle(struct weir_engine *engine, const struct weir_message *message)
{
	switch ((enum weir_message_kind)message->kind) {
	case WEIR_MESSAGE_SHARD_ADOPT:
		shard_adopt(engine, message);
		return;
	case WEIR_MESSAGE_SHARD_MOVE:
		shard_move(engine, message);
		return;
	case WEIR_MESSAGE_SHARD_REMOVE:
		shard_remove(engine, message);
		return;
	case WEIR_MESSAGE_GROUP_CREATE:
	case WEIR_MESSAGE_GROUP_CHANGE:
	case WEIR_MESSAGE_GROUP_REMOVE:
		group_command(engine, message);
		return;
	case WEIR_MESSAGE_SNAPSHOT:
		snapshot_use(engine, message);
		return;
	case WEIR_MESSAGE_FORWARD_END:
		forward_end(engine, message);
		return;
	case WEIR_MESSAGE_LIMITS:
		limits_use(engine, message);
		return;
	case WEIR_MESSAGE_STOP:
		engine->is_stopping = true;
		engine->stop_slot = 0;
		engine->stop_request = message->request;
		return;
	case WEIR_MESSAGE_LANE_GONE:
		lane_gone(engine, message);
		return;
	case WEIR_MESSAGE_GROUP_SETUP:
	case WEIR_MESSAGE_GROUP_TEARDOWN:
	case WEIR_MESSAGE_MEMBER_JOIN:
	case WEIR_MESSAGE_MEMBER_LEAVE:
	case WEIR_MESSAGE_MEMBER_GONE:
	case WEIR_MESSAGE_RELEASED:
	case WEIR_MESSAGE_STALLED:
	case WEIR_MESSAGE_MEMBER_WORKING:
	case WEIR_MESSAGE_RETURNED:
		weir_coordinator_message(engine->coordinator, message, engine->now_ns);
		return;
	case WEIR_MESSAGE_MEMBER_JOINED:
		weir_member_joined(engine, message);
		return;
	case WEIR_MESSAGE_MEMBER_LEFT:
		weir_member_left(engine, message);
		return;
	case WEIR_MESSAGE_ASSIGN:
	case WEIR_MESSAGE_REVOKE:
	case WEIR_MESSAGE_REVOKE_NOW:
	case WEIR_MESSAGE_GO_ON:
		shard_message(engine, message);
		return;
	case WEIR_MESSAGE_LANE_FRESH:
		weir_command_lane_fresh(engine, message->value, message->session.id);
		return;
	case WEIR_MESSAGE_SESSION_ASK:
		session_ask(engine, message);
		return;
	case WEIR_MESSAGE_SESSION_SMALLER:
		weir_session_smaller(engine, &message->session);
		return;
	case WEIR_MESSAGE_SESSION_GONE:
		weir_stream_session_gone(engine, message->session.id);
		return;
	case WEIR_MESSAGE_DONE:
		return;
	}
}

void weir_engine_message(struct weir_engine *engine, const struct weir_message *message, uint64_t now_ns)
{
	engine->now_ns = now_ns;
	engine->has_work = true;
	handle_all(engine, message);
}
