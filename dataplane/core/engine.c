// The engine: creation of everything a worker needs, and the end of its turn: timers, answers, deliveries, rows. What
// comes in is dispatch.c's, what control says is command.c's.
#include "dataplane/core/engine.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/core/engine_state.h"
#include "wire/prefetch.h"

#define MEMBERS_PER_SESSION 4u // memberships in the pool, per session slot
#define DELIVER_FRAMES 32u     // of one shard before the next one's turn
#define DELIVER_SHARDS 64u     // in one turn
#define DELIVER_THIN 16u       // of those that have less than WEIR_DELIVER_THIN_BYTES to send, and do send
#define LEASE_MIN_MS 100u
#define SESSIONS_LIMIT (1u << 20)
// A busy worker publishes its rows this often, an idle one at once: 8 rows a turn of 32 frames cost 6 % of all instructions.
#define ROWS_NS 50000u
#define ROWS_SHARDS 8u   // then, by age: those of 1,024 shards, all at work, take 6.4 ms
#define TIME_NS 1000000u // the row of a worker that does nothing but poll

static const struct weir_snapshot EMPTY;

void weir_engine_limits_clamp(struct weir_engine_limits *limits)
{
	if (limits->frame_size < WEIR_FRAME_MIN)
		limits->frame_size = WEIR_FRAME_MIN;
	if (limits->frame_size > WEIR_FRAME_MAX)
		limits->frame_size = WEIR_FRAME_MAX;
	if (limits->lease_ms < LEASE_MIN_MS)
		limits->lease_ms = LEASE_MIN_MS;
}

static bool config_is_valid(const struct weir_engine_config *config)
{
	uint32_t sessions = config->sessions_max;
	return sessions && (sessions & (sessions - 1)) == 0 && sessions <= SESSIONS_LIMIT && config->workers &&
	       config->workers <= WEIR_WORKERS_MAX && config->worker < config->workers && config->shards_max && config->row;
}

// As many lists as sessions may have streams here, whichever worker is their home.
static uint32_t session_lists(const struct weir_engine_config *config)
{
	uint32_t lists = config->sessions_max;
	while (lists < config->sessions_max * config->workers && lists < SESSIONS_LIMIT)
		lists *= 2;
	return lists;
}

static uint64_t memory_need(const struct weir_engine_config *config)
{
	return weir_sessions_need(config->sessions_max) + weir_places_need(2 * config->shards_max) +
	       weir_park_need(config->park_frames) + weir_reassembly_need(config->reassembly_slots, config->reassembly_bytes) +
	       weir_arena_need((uint64_t)config->sessions_max * MEMBERS_PER_SESSION * sizeof(struct weir_member)) +
	       weir_arena_need(weir_command_self_max(config) * sizeof(struct weir_message)) +
	       weir_arena_need(WEIR_WAITING_MAX * sizeof(struct weir_waiting_ack)) +
	       weir_arena_need(session_lists(config) * sizeof(struct weir_session_streams)) +
	       2 * weir_arena_need(WEIR_FRAME_MAX) +
	       weir_arena_need(sizeof(struct weir_engine));
}

static void parts_init(struct weir_engine *engine, struct weir_arena *arena)
{
	const struct weir_engine_config *config = &engine->config;
	weir_sessions_init(&engine->sessions, arena, config->sessions_max, config->secret);
	weir_strangers_init(&engine->strangers, engine->sessions.secret);
	weir_places_init(&engine->places, arena, 2 * config->shards_max);
	weir_park_init(&engine->park, arena, config->park_frames);
	weir_reassembly_init(&engine->reassembly, arena, config->reassembly_slots, config->reassembly_bytes);
	uint32_t members = config->sessions_max * MEMBERS_PER_SESSION;
	struct weir_member *pool = weir_arena_take(arena, (uint64_t)members * sizeof(*pool));
	engine->members_count = members;
	for (uint32_t i = members; i > 0; i--) {
		pool[i - 1].next = engine->members_free;
		engine->members_free = &pool[i - 1];
	}
	engine->self.mask = weir_command_self_max(config) - 1;
	engine->self.messages = weir_arena_take(arena, (engine->self.mask + 1) * sizeof(struct weir_message));
	TAILQ_INIT(&engine->telling);
	TAILQ_INIT(&engine->members_telling);
	TAILQ_INIT(&engine->asking);
	engine->waiting.slots = weir_arena_take(arena, WEIR_WAITING_MAX * sizeof(struct weir_waiting_ack));
	engine->of_session_mask = session_lists(config) - 1;
	engine->of_session = weir_arena_take(arena, session_lists(config) * sizeof(*engine->of_session));
	engine->scratch = weir_arena_take(arena, WEIR_FRAME_MAX);
	engine->bounce = weir_arena_take(arena, WEIR_FRAME_MAX);
}

uint64_t weir_engine_size(const struct weir_engine_config *config)
{
	return memory_need(config) + weir_coordinator_need(config);
}

int weir_engine_create(struct weir_engine **engine, const struct weir_engine_config *config, const struct weir_engine_io *io)
{
	if (!config_is_valid(config))
		return -EINVAL;
	struct weir_arena arena;
	int error = weir_arena_create(&arena, memory_need(config), config->node);
	if (error)
		return error;
	struct weir_engine *fresh = weir_arena_take(&arena, sizeof(*fresh));
	fresh->config = *config;
	weir_engine_limits_clamp(&fresh->config.limits);
	fresh->io = *io;
	fresh->snapshot = &EMPTY;
	fresh->row.head.in_use = 1;
	parts_init(fresh, &arena);
	weir_wheel_init(&fresh->wheel, fresh, 0);
	fresh->arena = arena;
	error = weir_coordinator_create(&fresh->coordinator, fresh, config);
	if (error) {
		weir_arena_destroy(&arena);
		return error;
	}
	fresh->is_row_dirty = true;
	*engine = fresh;
	return 0;
}

void weir_engine_destroy(struct weir_engine *engine)
{
	while (engine->owned) {
		struct weir_shard *shard = engine->owned;
		engine->owned = shard->owned_next;
		weir_shard_destroy(shard);
	}
	weir_coordinator_destroy(engine->coordinator);
	struct weir_arena arena = engine->arena;
	weir_arena_destroy(&arena);
}

struct weir_wheel *weir_engine_wheel(struct weir_engine *engine)
{
	return &engine->wheel;
}

uint16_t weir_engine_worker(const struct weir_engine *engine)
{
	return engine->config.worker;
}

const struct weir_engine_limits *weir_engine_limits_of(const struct weir_engine *engine)
{
	return &engine->config.limits;
}

const struct weir_snapshot *weir_engine_snapshot(const struct weir_engine *engine)
{
	return engine->snapshot;
}

uint64_t weir_engine_now(const struct weir_engine *engine)
{
	return engine->now_ns;
}

struct weir_shard *weir_engine_shard(struct weir_engine *engine, uint32_t topic, uint16_t shard)
{
	const struct weir_place *place = weir_place_find(&engine->places, topic, shard);
	return place ? place->shard : NULL;
}

void weir_engine_mark_dirty(struct weir_engine *engine, struct weir_shard *shard)
{
	if (shard->is_dirty)
		return;
	shard->is_dirty = true;
	shard->dirty_next = NULL;
	if (engine->dirty.last)
		engine->dirty.last->dirty_next = shard;
	else
		engine->dirty.first = shard;
	engine->dirty.last = shard;
}

static void deliver_put(struct weir_shard_list *list, struct weir_shard *shard)
{
	shard->deliver_next = NULL;
	shard->deliver_previous = list->last;
	if (list->last)
		list->last->deliver_next = shard;
	else
		list->first = shard;
	list->last = shard;
}

static void deliver_take(struct weir_shard_list *list, struct weir_shard *shard)
{
	if (shard->deliver_previous)
		shard->deliver_previous->deliver_next = shard->deliver_next;
	else
		list->first = shard->deliver_next;
	if (shard->deliver_next)
		shard->deliver_next->deliver_previous = shard->deliver_previous;
	else
		list->last = shard->deliver_previous;
	shard->deliver_next = shard->deliver_previous = NULL;
}

void weir_engine_unmark_deliverable(struct weir_engine *engine, struct weir_shard *shard)
{
	if (shard->delivering == WEIR_DELIVERING_FULL)
		deliver_take(&engine->deliverable, shard);
	else if (shard->delivering == WEIR_DELIVERING_THIN)
		deliver_take(&engine->thin, shard);
	shard->delivering = WEIR_DELIVERING_NOT;
	shard->sort_at = 0;
}

void weir_engine_mark_deliverable(struct weir_engine *engine, struct weir_shard *shard)
{
	if (shard->delivering == WEIR_DELIVERING_FULL)
		return;
	weir_engine_unmark_deliverable(engine, shard);
	deliver_put(&engine->deliverable, shard);
	shard->delivering = WEIR_DELIVERING_FULL;
	shard->sort_at = UINT64_MAX;
}

void weir_engine_mark_grown(struct weir_engine *engine, struct weir_shard *shard)
{
	uint64_t full_at = shard->delivered_head + WEIR_DELIVER_THIN_BYTES;
	if (shard->log.head >= full_at) {
		weir_engine_mark_deliverable(engine, shard);
	} else if (shard->delivering == WEIR_DELIVERING_NOT) {
		deliver_put(&engine->thin, shard);
		shard->delivering = WEIR_DELIVERING_THIN;
		shard->sort_at = full_at;
	}
}

void weir_engine_count_drop(struct weir_engine *engine, enum weir_reason reason, uint64_t frames)
{
	engine->row.received += frames;
	engine->row.refused[reason] += frames;
	engine->is_row_dirty = true;
}

void weir_engine_count_time(struct weir_engine *engine, uint64_t busy_ns, uint64_t idle_ns, uint64_t sleep_ns)
{
	engine->row.busy_ns += busy_ns;
	engine->row.idle_ns += idle_ns;
	engine->row.sleep_ns += sleep_ns;
	engine->is_time_dirty = true;
}

struct weir_worker_row *weir_engine_row(struct weir_engine *engine)
{
	return &engine->row;
}

// Shards that wait their turn have left the cache. While one goes out, what the next one sends is asked for, what the one
// after that keeps of its first group, and the shard behind them, which knows where that is.
static void delivery_fetch(const struct weir_shard *next)
{
	const struct weir_delivery_stream *delivery = next->deliveries[0];
	const struct weir_shard *after = next->deliver_next;
	if (delivery) {
		const uint8_t *runs = (const uint8_t *)weir_log_run(&next->log, delivery->sent.position);
		for (uint32_t at = 0; at < WEIR_DELIVER_THIN_BYTES; at += 64)
			weir_prefetch(runs + at);
	}
	if (!after)
		return;
	const struct weir_shard *behind = after->deliver_next;
	const struct weir_delivery_stream *first = after->deliveries[0];
	for (uint32_t at = 0; first && at < offsetof(struct weir_delivery_stream, row); at += 64)
		weir_prefetch_write((const uint8_t *)first + at);
	if (first) {
		weir_prefetch_write(&first->row.sent_to);
		weir_prefetch_write(&first->row_dropped);
	}
	if (behind) {
		weir_prefetch_write(&behind->log);
		weir_prefetch_write(&behind->deliver_next);
	}
}

// Up to `most` shards of the list that have frames to send; those whose members read in place, or that have none, cost little.
// Round-robin: a shard that has more goes to the end of the line.
static bool deliver_list(struct weir_engine *engine, struct weir_shard_list *list, uint32_t most)
{
	bool is_left = false;
	struct weir_shard *last = list->last;
	for (uint32_t i = 0; i < DELIVER_SHARDS && most && list->first; i++) {
		struct weir_shard *shard = list->first;
		if (shard->deliver_next && engine->owned_count > WEIR_SHARDS_WARM)
			delivery_fetch(shard->deliver_next);
		weir_engine_unmark_deliverable(engine, shard);
		shard->delivered_head = shard->log.head;
		weir_engine_mark_dirty(engine, shard);
		enum weir_delivery_turn turn = weir_delivery_run(shard, DELIVER_FRAMES, engine->now_ns);
		most -= turn != WEIR_DELIVERY_TURN_QUIET;
		if (turn == WEIR_DELIVERY_TURN_MORE) {
			weir_engine_mark_deliverable(engine, shard);
			is_left = true;
		}
		if (shard == last)
			break;
	}
	return is_left || list->first;
}

// Of shards that have a few bytes each only some are served in a turn: while there are more of them, those that wait gather
// more for their frame. A frame of one event costs as much as one of ten, so a worker that is behind catches up, and
// one that is not serves them all at once.
static bool deliver(struct weir_engine *engine)
{
	bool is_left = deliver_list(engine, &engine->deliverable, DELIVER_SHARDS);
	return deliver_list(engine, &engine->thin, DELIVER_THIN) || is_left;
}

// Rows of up to `shards` shards, and the worker's own.
static void rows_publish(struct weir_engine *engine, uint32_t shards)
{
	for (; engine->dirty.first && shards; shards--) {
		struct weir_shard *shard = engine->dirty.first;
		engine->dirty.first = shard->dirty_next;
		if (!engine->dirty.first)
			engine->dirty.last = NULL;
		shard->dirty_next = NULL;
		shard->is_dirty = false;
		weir_shard_publish(shard, engine->now_ns);
	}
	engine->rows_ns = engine->now_ns;
	// Time alone passes in every loop: no reason to write the row each time, or to stay awake for it.
	bool is_time_due = engine->is_time_dirty && engine->now_ns - engine->row.head.changed_ns >= TIME_NS;
	bool is_dirty = engine->is_row_dirty || is_time_due || engine->row.parked_frames != engine->park.used ||
			engine->row.reassembly_slots != engine->reassembly.used;
	if (!is_dirty)
		return;
	engine->is_row_dirty = false;
	engine->is_time_dirty = false;
	engine->row.parked_frames = engine->park.used;
	engine->row.reassembly_slots = engine->reassembly.used;
	engine->row.head.changed_ns = engine->now_ns;
	weir_row_publish(engine->config.row, &engine->row, sizeof(engine->row));
}

static void stop(struct weir_engine *engine)
{
	if (!weir_session_stop_all(engine))
		return;
	const struct weir_message command = { .request = engine->stop_request };
	engine->stop_request = 0;
	weir_engine_done(engine, &command, 0, 0, NULL);
}

bool weir_engine_run(struct weir_engine *engine, uint64_t now_ns)
{
	bool is_busy = engine->has_work || engine->is_blocked;
	engine->now_ns = now_ns;
	engine->has_work = false;
	engine->is_blocked = false;
	if (weir_wheel_run(&engine->wheel, now_ns))
		is_busy = true;
	if (engine->moving)
		weir_command_move_retry(engine);
	if (engine->has_to_tell && weir_command_run(engine))
		is_busy = true;
	if (engine->readers)
		weir_readers_look(engine, now_ns);
	weir_engine_refuse_flush(engine);
	weir_stream_flush(engine, now_ns);
	if (engine->deliverable.first || engine->thin.first) {
		is_busy = true;
		if (deliver(engine))
			engine->has_work = true;
	}
	if (engine->has_to_tell)
		weir_command_run(engine);
	if (engine->stop_request)
		stop(engine);
	engine->row.loops++;
	is_busy |= engine->has_work || engine->moving || engine->waiting.head != engine->waiting.tail;
	if (!is_busy || now_ns - engine->rows_ns >= ROWS_NS)
		rows_publish(engine, is_busy ? ROWS_SHARDS : UINT32_MAX);
	return is_busy;
}

uint64_t weir_engine_deadline(const struct weir_engine *engine)
{
	bool is_now = engine->has_work || engine->is_blocked || engine->moving || engine->acks_due || engine->refusals.count ||
		      engine->waiting.head != engine->waiting.tail ||
		      engine->deliverable.first || engine->thin.first || engine->dirty.first || engine->is_row_dirty ||
		      engine->self.head != engine->self.tail || engine->stop_request;
	if (is_now)
		return engine->now_ns;
	uint64_t look_ns = engine->readers ? weir_readers_deadline(engine) : UINT64_MAX;
	return look_ns < engine->wheel.next_due_ns ? look_ns : engine->wheel.next_due_ns;
}
