// Members that read the shard log where it lies: local clients, in hold groups of topics of policy block. Nothing is sent to
// them. They are told how far the log reaches, in the head line, and say in their cursor line how far they are done.
// What such a client may still look at when its term breaks off stays pinned until it let go: it answered the revoke, began
// anew, or its lane is gone. Owner's worker only.
//
// Cursor lines lie in the client's memory. A word of them is read once and compared before it is used: a client that lies
// settles what is its own to settle, and nothing else.
#include "dataplane/core/delivery.h"

#include <stddef.h>

#include "dataplane/core/engine_state.h"
#include "wire/lane.h"

#define PINS_ASK_NS 100000000ull // between two times that clients are asked to let go of what they pin
#define READERS_TURN 512u // cursors looked at in a turn
#define LOOK_WAITED_NS 1000000ull // a producer waits for what a reader on another worker's lane settles
#define LOOK_NS 10000000ull

// ---- The head ----

void weir_reader_head(struct weir_shard *shard)
{
	const struct weir_log *log = &shard->log;
	if (!shard->head_line || shard->head_told == log->head)
		return;
	shard->head_told = log->head;
	shard->checkpoints[shard->checkpoints_made++ % WEIR_CHECKPOINTS] =
		(struct weir_checkpoint){ .position = log->head, .offset = log->head_offset };
	// Pairs with the client's load: runs below it are whole.
	__atomic_store_n(&shard->head_line->head, log->head, __ATOMIC_RELEASE);
}

void weir_reader_follow(struct weir_delivery_stream *delivery, uint64_t now_ns)
{
	const struct weir_shard *shard = delivery->shard;
	uint64_t head = shard->log.head_offset;
	uint64_t before = delivery->sent_to;
	if (head == before)
		return;
	delivery->row.sent_events += head - before;
	if (weir_cursor_offset(&delivery->settled) >= before)
		delivery->progress_ns = now_ns;
	delivery->sent = weir_log_latest(&shard->log);
	delivery->from = delivery->sent_to = delivery->received_to = head;
	delivery->is_dirty = true;
	weir_delivery_timer_arm(delivery);
	const struct weir_engine_io *io = &shard->engine->io;
	if (io->lane_wake)
		io->lane_wake(io->context, delivery->member.lane);
}

// ---- The cursor ----

void weir_reader_jump(struct weir_delivery_stream *delivery, uint64_t offset)
{
	const struct weir_shard *shard = delivery->shard;
	uint64_t made = shard->checkpoints_made; // none without a head line
	uint64_t at = delivery->checkpoint;
	const struct weir_checkpoint *last = NULL;
	if (made - at > WEIR_CHECKPOINTS)
		at = made - WEIR_CHECKPOINTS;
	for (; at < made && shard->checkpoints[at % WEIR_CHECKPOINTS].offset <= offset; at++)
		last = &shard->checkpoints[at % WEIR_CHECKPOINTS];
	delivery->checkpoint = at;
	if (last && last->offset > weir_cursor_offset(&delivery->settled))
		delivery->settled = (struct weir_cursor){ .position = last->position, .offset = last->offset };
}

// What the cursor says now, at most what was told. 0: it does not speak of this term.
static uint64_t cursor_read(const struct weir_delivery_stream *delivery)
{
	const struct weir_lane_cursor *line = delivery->reader_line;
	// Pairs with the client's stores: the offset, then the tag; a tag of 0 before the cursor is used for another term.
	uint64_t tag = __atomic_load_n(&line->tag, __ATOMIC_ACQUIRE);
	uint64_t settled = __atomic_load_n(&line->settled_to, __ATOMIC_ACQUIRE);
	if (tag != delivery->reader_tag || __atomic_load_n(&line->tag, __ATOMIC_RELAXED) != tag)
		return 0;
	return settled < delivery->sent_to ? settled : delivery->sent_to;
}

void weir_reader_taken(struct weir_delivery_stream *delivery, uint64_t to)
{
	uint64_t marked_to = to < delivery->redelivered_to ? to : delivery->redelivered_to;
	if (marked_to > delivery->told_to)
		delivery->row.redelivered += marked_to - delivery->told_to;
}

static void look(struct weir_delivery_stream *delivery, uint64_t now_ns)
{
	uint64_t settled = cursor_read(delivery);
	if (settled <= delivery->told_to)
		return;
	weir_reader_taken(delivery, settled);
	delivery->told_to = settled;
	weir_delivery_settle(delivery, settled, now_ns);
	delivery->is_dirty = true;
	struct weir_engine *engine = delivery->shard->engine;
	engine->has_work = true;
	weir_engine_mark_dirty(engine, delivery->shard);
}

void weir_readers_look(struct weir_engine *engine, uint64_t now_ns)
{
	for (uint32_t i = 0; i < READERS_TURN; i++) {
		struct weir_delivery_stream *delivery = engine->readers_at ? engine->readers_at : engine->readers;
		engine->readers_at = delivery->reader_next;
		look(delivery, now_ns);
		if (!engine->readers_at)
			return;
	}
	// The others in the next turn, and before that nobody sleeps.
	engine->has_work = true;
}

void weir_reader_look_shard(struct weir_shard *shard, uint64_t now_ns)
{
	for (uint32_t i = 0; i < shard->deliveries_limit; i++) {
		if (shard->deliveries[i] && shard->deliveries[i]->reader_line)
			look(shard->deliveries[i], now_ns);
	}
}

uint64_t weir_readers_deadline(const struct weir_engine *engine)
{
	uint64_t due_ns = UINT64_MAX;
	for (const struct weir_delivery_stream *reader = engine->readers; reader; reader = reader->reader_next) {
		// A lane's bell wakes its home worker alone.
		if (reader->member.home == engine->config.worker || reader->told_to >= reader->sent_to)
			continue;
		if (reader->shard->waiters_first)
			return engine->now_ns + LOOK_WAITED_NS;
		due_ns = engine->now_ns + LOOK_NS;
	}
	return due_ns;
}

// ---- Terms ----

static bool is_perhaps_reading(const struct weir_delivery_stream *delivery)
{
	return delivery->reading == WEIR_READING_OFFERED || delivery->reading == WEIR_READING_IN_PLACE;
}

static void lane_put(struct weir_delivery_stream *delivery)
{
	struct weir_engine *engine = delivery->shard->engine;
	LIST_INSERT_HEAD(&weir_holdings_of(engine, delivery->member.lane)->deliveries, delivery, of_lane);
}

void weir_reading_set(struct weir_delivery_stream *delivery, enum weir_reading reading)
{
	bool was_reading = is_perhaps_reading(delivery);
	delivery->reading = (uint8_t)reading;
	if (was_reading && !is_perhaps_reading(delivery))
		LIST_REMOVE(delivery, of_lane);
	else if (!was_reading && is_perhaps_reading(delivery))
		lane_put(delivery);
}

static const struct weir_lane_view *lane_find(const struct weir_delivery_stream *delivery)
{
	const struct weir_engine_io *io = &delivery->shard->engine->io;
	return delivery->member.lane && io->lane_find ? io->lane_find(io->context, delivery->member.lane) : NULL;
}

bool weir_reader_offer(struct weir_delivery_stream *delivery)
{
	struct weir_shard *shard = delivery->shard;
	if (!shard->head_line || delivery->kind != WEIR_GROUP_HOLD)
		return false;
	const struct weir_lane_view *lane = lane_find(delivery);
	if (!lane || lane->cursor_count == 0)
		return false;
	weir_reading_set(delivery, WEIR_READING_OFFERED);
	weir_reader_head(shard);
	return true;
}

static void list_put(struct weir_delivery_stream *delivery, const struct weir_lane_view *lane)
{
	struct weir_engine *engine = delivery->shard->engine;
	delivery->reader_line = &lane->cursors[delivery->reader_cursor];
	delivery->reader_previous = NULL;
	delivery->reader_next = engine->readers;
	if (engine->readers)
		engine->readers->reader_previous = delivery;
	engine->readers = delivery;
}

static void list_take(struct weir_delivery_stream *delivery)
{
	struct weir_engine *engine = delivery->shard->engine;
	if (!delivery->reader_line)
		return;
	if (engine->readers_at == delivery)
		engine->readers_at = delivery->reader_next;
	if (delivery->reader_next)
		delivery->reader_next->reader_previous = delivery->reader_previous;
	if (delivery->reader_previous)
		delivery->reader_previous->reader_next = delivery->reader_next;
	else
		engine->readers = delivery->reader_next;
	delivery->reader_next = delivery->reader_previous = NULL;
	delivery->reader_line = NULL;
}

void weir_reader_report(struct weir_delivery_stream *delivery, const struct weir_report_entry *entry, uint64_t now_ns)
{
	// Once begun, the cursor alone speaks. What was never offered, or cannot be, is no answer: the assign is repeated.
	if (delivery->reading != WEIR_READING_OFFERED)
		return;
	const struct weir_lane_view *lane = lane_find(delivery);
	if (!lane || entry->limit >= lane->cursor_count)
		return;
	weir_reading_set(delivery, WEIR_READING_IN_PLACE);
	delivery->reader_cursor = (uint32_t)entry->limit;
	delivery->reader_tag = entry->charged;
	list_put(delivery, lane);
	if (delivery->state == WEIR_DELIVERY_ASSIGNING) {
		delivery->state = WEIR_DELIVERY_ACTIVE;
		delivery->is_stalled = false;
		delivery->backoff = 0;
	}
	delivery->announce_ns = delivery->progress_ns = now_ns;
	delivery->is_dirty = true;
	weir_reader_head(delivery->shard);
	weir_reader_follow(delivery, now_ns);
	weir_engine_mark_dirty(delivery->shard->engine, delivery->shard);
}

// What it read last is taken over; then its memory is not looked at again.
static void over(struct weir_delivery_stream *delivery, uint64_t now_ns)
{
	weir_reader_head(delivery->shard);
	weir_reader_follow(delivery, now_ns);
	if (delivery->reader_line)
		look(delivery, now_ns);
	list_take(delivery);
	weir_reading_set(delivery, WEIR_READING_OVER);
}

// ---- Pins ----

// A free one among `room`. When half of them are taken, one of the same lane comes first: it then holds for both terms until
// the lane is over, so that no client takes the room of others.
static struct weir_pin *pin_find(struct weir_shard *shard, uint64_t lane, uint32_t room)
{
	struct weir_pin *unused = NULL;
	bool is_scarce = shard->pins_used >= WEIR_PINS_MAX / 2;
	for (uint32_t i = 0; i < WEIR_PINS_ROOM; i++) {
		struct weir_pin *pin = &shard->pins[i];
		if (pin->lane == lane && is_scarce)
			return pin;
		if (pin->lane == 0 && !unused)
			unused = pin;
	}
	return shard->pins_used < room ? unused : NULL;
}

static bool pin_put(struct weir_delivery_stream *delivery, uint32_t room)
{
	struct weir_shard *shard = delivery->shard;
	struct weir_pin *pin = pin_find(shard, delivery->member.lane, room);
	if (!pin)
		return false;
	if (pin->lane) {
		pin->session = 0;
		if (pin->position > delivery->settled.position)
			pin->position = delivery->settled.position;
	} else {
		*pin = (struct weir_pin){
			.shard = shard,
			.lane = delivery->member.lane,
			.session = delivery->member.id,
			.position = delivery->settled.position,
			.since_ns = weir_engine_now(shard->engine),
			.group = delivery->group,
			.term = delivery->term,
			.handle = delivery->handle,
			.home = delivery->member.home,
		};
		LIST_INSERT_HEAD(&weir_holdings_of(shard->engine, pin->lane)->pins, pin, of_lane);
		shard->pins_used++;
		shard->holders++;
	}
	(void)weir_delivery_hold_update(shard);
	weir_engine_mark_dirty(shard->engine, shard);
	return true;
}

static void pin_take(struct weir_shard *shard, struct weir_pin *pin)
{
	LIST_REMOVE(pin, of_lane);
	*pin = (struct weir_pin){ 0 };
	shard->pins_used--;
	shard->holders--;
}

// Pins came free: terms that waited for one end, and producers go on.
static void pins_freed(struct weir_shard *shard, uint64_t now_ns)
{
	weir_engine_mark_dirty(shard->engine, shard);
	for (uint32_t i = 0; i < shard->deliveries_limit; i++) {
		if (shard->deliveries[i] && shard->deliveries[i]->wants_pin)
			weir_delivery_break(shard->deliveries[i], now_ns);
	}
	(void)weir_delivery_hold_update(shard);
	weir_stream_room(shard, now_ns);
}

void weir_reader_unpin(struct weir_shard *shard, const struct weir_session_ref *session, const struct weir_revoke *term,
		       uint64_t now_ns)
{
	for (uint32_t i = 0; i < WEIR_PINS_ROOM; i++) {
		struct weir_pin *pin = &shard->pins[i];
		if (pin->lane && pin->session == session->id && pin->group == term->group && pin->term == term->term) {
			pin_take(shard, pin);
			pins_freed(shard, now_ns);
			return;
		}
	}
}

// Producers wait for what is pinned. The answer to the revoke of its term may have been lost, or the revoke.
void weir_reader_ask(struct weir_shard *shard, uint64_t now_ns)
{
	if (!shard->pins_used || now_ns - shard->pins_asked_ns < PINS_ASK_NS)
		return;
	shard->pins_asked_ns = now_ns;
	for (uint32_t i = 0; i < WEIR_PINS_ROOM; i++) {
		const struct weir_pin *pin = &shard->pins[i];
		if (!pin->lane || !pin->session)
			continue;
		const struct weir_session_ref of = { .id = pin->session, .home = pin->home, .lane = pin->lane };
		const struct weir_revoke revoke = { .group = pin->group, .term = pin->term };
		// No room: again with the next producer that waits.
		(void)weir_delivery_send_revoke(shard, &of, pin->handle, &revoke);
	}
}

static bool leave(struct weir_delivery_stream *delivery, bool has_let_go, uint32_t room, uint64_t now_ns)
{
	bool was_reading = is_perhaps_reading(delivery);
	// The report that an offer was taken may have been lost on its way through the mesh.
	if (was_reading) {
		weir_reader_head(delivery->shard);
		weir_reader_follow(delivery, now_ns);
	}
	if (delivery->reader_line)
		look(delivery, now_ns);
	bool needs_pin = was_reading && !has_let_go && !delivery->shard->is_going && lane_find(delivery);
	if (needs_pin && !pin_put(delivery, room))
		return false;
	list_take(delivery);
	weir_reading_set(delivery, WEIR_READING_FRAMES);
	return true;
}

bool weir_reader_leave(struct weir_delivery_stream *delivery, bool has_let_go, uint64_t now_ns)
{
	return leave(delivery, has_let_go, WEIR_PINS_MAX, now_ns);
}

bool weir_reader_drop(struct weir_delivery_stream *delivery, uint64_t now_ns)
{
	return delivery->state == WEIR_DELIVERY_IDLE || leave(delivery, false, WEIR_PINS_ROOM, now_ns);
}

// ---- Lanes end, shards move ----

static void unpinned_put(struct weir_shard *shard, struct weir_shard **unpinned)
{
	if (shard->is_unpinned)
		return;
	shard->is_unpinned = true;
	shard->unpinned_next = *unpinned;
	*unpinned = shard;
}

// only: on that shard; NULL: on all of this worker.
static void lane_over(struct weir_engine *engine, uint64_t lane, uint64_t session, const struct weir_shard *only)
{
	struct weir_lane_holdings *holdings = weir_holdings_of(engine, lane);
	struct weir_shard *unpinned = NULL;
	struct weir_delivery_stream *delivery_next;
	struct weir_pin *pin_next;
	for (struct weir_delivery_stream *delivery = LIST_FIRST(&holdings->deliveries); delivery; delivery = delivery_next) {
		delivery_next = LIST_NEXT(delivery, of_lane);
		if (delivery->member.lane != lane || delivery->member.id == session || (only && delivery->shard != only))
			continue;
		over(delivery, engine->now_ns);
		if (delivery->wants_pin)
			unpinned_put(delivery->shard, &unpinned);
	}
	for (struct weir_pin *pin = LIST_FIRST(&holdings->pins); pin; pin = pin_next) {
		pin_next = LIST_NEXT(pin, of_lane);
		struct weir_shard *shard = pin->shard;
		if (pin->lane != lane || (session && pin->session == session) || (only && shard != only))
			continue;
		pin_take(shard, pin);
		unpinned_put(shard, &unpinned);
	}
	// Terms of other members may end by it, so it comes last.
	while (unpinned) {
		struct weir_shard *shard = unpinned;
		unpinned = shard->unpinned_next;
		shard->is_unpinned = false;
		pins_freed(shard, engine->now_ns);
	}
}

void weir_reader_lane_over(struct weir_engine *engine, uint64_t lane, uint64_t session)
{
	lane_over(engine, lane, session, NULL);
}

void weir_reader_detach(struct weir_delivery_stream *delivery)
{
	if (delivery->reader_line)
		look(delivery, weir_engine_now(delivery->shard->engine));
	list_take(delivery);
	if (is_perhaps_reading(delivery))
		LIST_REMOVE(delivery, of_lane);
}

void weir_reader_unlist_pins(struct weir_shard *shard)
{
	for (uint32_t i = 0; shard->pins_used && i < WEIR_PINS_ROOM; i++) {
		if (shard->pins[i].lane)
			LIST_REMOVE(&shard->pins[i], of_lane);
	}
}

static void holdings_list(struct weir_shard *shard)
{
	for (uint32_t i = 0; i < shard->deliveries_limit; i++) {
		if (shard->deliveries[i] && is_perhaps_reading(shard->deliveries[i]))
			lane_put(shard->deliveries[i]);
	}
	for (uint32_t i = 0; shard->pins_used && i < WEIR_PINS_ROOM; i++) {
		struct weir_pin *pin = &shard->pins[i];
		if (pin->lane)
			LIST_INSERT_HEAD(&weir_holdings_of(shard->engine, pin->lane)->pins, pin, of_lane);
	}
}

// What this worker heard of the lane before the shard came.
static uint64_t fresh_session(const struct weir_engine *engine, uint64_t lane, uint64_t session)
{
	const struct weir_fresh *fresh = &engine->fresh[lane % WEIR_FRESH_SLOTS];
	return fresh->lane == lane ? fresh->session : session;
}

void weir_reader_attach(struct weir_shard *shard, uint64_t now_ns)
{
	struct weir_engine *engine = shard->engine;
	const struct weir_engine_io *io = &engine->io;
	holdings_list(shard);
	for (uint32_t i = 0; i < shard->deliveries_limit; i++) {
		struct weir_delivery_stream *delivery = shard->deliveries[i];
		if (!delivery || !is_perhaps_reading(delivery))
			continue;
		const struct weir_lane_view *lane = lane_find(delivery);
		uint64_t session = fresh_session(engine, delivery->member.lane, delivery->member.id);
		bool is_taken = delivery->reading == WEIR_READING_IN_PLACE;
		if (!lane || (is_taken && delivery->reader_cursor >= lane->cursor_count))
			lane_over(engine, delivery->member.lane, 0, shard);
		else if (session != delivery->member.id)
			lane_over(engine, delivery->member.lane, session, shard);
		else if (is_taken)
			list_put(delivery, lane);
	}
	for (uint32_t i = 0; shard->pins_used && i < WEIR_PINS_ROOM; i++) {
		const struct weir_pin pin = shard->pins[i];
		if (pin.lane == 0)
			continue;
		uint64_t session = fresh_session(engine, pin.lane, pin.session);
		if (!io->lane_find || !io->lane_find(io->context, pin.lane))
			lane_over(engine, pin.lane, 0, shard);
		else if (session != pin.session)
			lane_over(engine, pin.lane, session, shard);
	}
}
