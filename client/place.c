// Shard logs read where they lie: a position that follows the head line of the shard, events handed out as pointers into the
// mapping, settlement as one word in the client's cursor (wire/PROTOCOL.md, section 18). What lies in the log belongs to the
// router and may change: each number is read once and bounded by the run, each run by the head.
#include "client/consumer.h"
#include "wire/prefetch.h"

#include <errno.h>
#include <string.h>

#define FETCH_AHEAD 2048u // bytes of the log asked for before they are looked at
#define TURN_EVENTS 128 // of one shard before the next one's turn

// ---- Begin and end ----

static int cursor_take(struct weir_core *core)
{
	for (uint32_t i = 0; i < core->local->cursor_count; i++) {
		uint64_t bit = 1ull << i % 64;
		if (core->cursors_used[i / 64] & bit)
			continue;
		core->cursors_used[i / 64] |= bit;
		return (int)i;
	}
	return -1;
}

// The log is mapped: reading begins with the report. Or it is not to be had, and frames will come.
static void place_decide(struct weir_consumer *consumer, struct assignment *assignment)
{
	struct weir_core *core = consumer->core;
	const struct weir_core_local *local = core->local;
	struct place *place = &assignment->place;
	int error = local->log_get(local->context, consumer->topic, assignment->shard, assignment->incarnation, &place->log);
	assignment->reading = error == -EAGAIN ? READING_ASKED : READING_FRAMES;
	assignment->is_dirty = error != -EAGAIN;
	core->is_urgent = true;
	core_due(core, core->now_ns);
	if (error)
		return;
	int cursor = cursor_take(core);
	if (cursor < 0) {
		local->log_put(local->context, &place->log);
		return;
	}
	assignment->reading = READING_PLACE;
	consumer->place_count++;
	place->cursor = (uint32_t)cursor;
	place->tag = ++core->cursor_tag;
	struct weir_lane_cursor *line = &local->cursors[cursor];
	__atomic_store_n(&line->tag, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&line->settled_to, assignment->settled_to, __ATOMIC_RELEASE);
	__atomic_store_n(&line->tag, place->tag, __ATOMIC_RELEASE);
}

void place_begin(struct weir_consumer *consumer, struct assignment *assignment, const struct weir_frame_header *frame)
{
	const struct weir_assign_place *at = (const void *)((const struct weir_assign *)(frame + 1) + 1);
	// Numbers that contradict each other are not worked with: frames will do.
	if (!consumer->core->local->cursors || at->run_offset > assignment->received_to)
		return;
	assignment->place = (struct place){
		.position = at->position,
		.skip = assignment->received_to - at->run_offset,
	};
	place_decide(consumer, assignment);
}

void consumers_log_ready(struct weir_core *core, uint32_t topic, uint16_t shard)
{
	for (struct weir_consumer *consumer = core->consumers; consumer; consumer = consumer->next) {
		if (consumer->topic != topic || shard >= consumer->shards)
			continue;
		struct assignment *assignment = &consumer->assignments[shard];
		if (assignment->state == ASSIGNMENT_ACTIVE && assignment->reading == READING_ASKED)
			place_decide(consumer, assignment);
	}
}

void place_end(struct weir_consumer *consumer, struct assignment *assignment)
{
	struct weir_core *core = consumer->core;
	struct place *place = &assignment->place;
	if (assignment->reading == READING_PLACE) {
		consumer->place_count--;
		core->cursors_used[place->cursor / 64] &= ~(1ull << place->cursor % 64);
		core->local->log_put(core->local->context, &place->log);
	}
	assignment->reading = READING_FRAMES;
}

void place_settle(const struct weir_consumer *consumer, const struct assignment *assignment)
{
	struct weir_lane_cursor *line = &consumer->core->local->cursors[assignment->place.cursor];
	__atomic_store_n(&line->settled_to, assignment->settled_to, __ATOMIC_RELEASE);
}

// ---- Reading ----

// How far the log may be read. The head is read first: a line that was given to another log shows by its incarnation.
static inline uint64_t head_of(const struct assignment *assignment)
{
	const struct weir_lane_head *head = assignment->place.log.head;
	uint64_t position = __atomic_load_n(&head->head, __ATOMIC_ACQUIRE);
	uint64_t incarnation = __atomic_load_n(&head->incarnation, __ATOMIC_RELAXED);
	return incarnation == assignment->incarnation ? position : assignment->place.position;
}

// The router's core writes this line again and again: it takes its time to come.
static inline void head_fetch(const struct assignment *assignment)
{
	if (assignment->reading == READING_PLACE)
		weir_prefetch(assignment->place.log.head);
}

static bool is_readable(const struct assignment *assignment)
{
	return assignment->state == ASSIGNMENT_ACTIVE && assignment->reading == READING_PLACE &&
	       (assignment->place.events || head_of(assignment) != assignment->place.position);
}

bool weir_core_has_places(const struct weir_core *core)
{
	for (const struct weir_consumer *consumer = core->consumers; consumer; consumer = consumer->next) {
		for (uint32_t i = 0; consumer->place_count && i < consumer->held_count; i++) {
			if (is_readable(&consumer->assignments[consumer->held[i]]))
				return true;
		}
	}
	return false;
}

// The run at the position. false: what stands there is no run.
static inline __attribute__((always_inline)) bool run_begin(struct place *place, uint64_t head)
{
	const uint8_t *at = place->log.base + (place->position & (place->log.size - 1));
	struct weir_run_header run;
	memcpy(&run, at, sizeof(run));
	uint64_t room = head - place->position;
	if (room > place->log.size || room < sizeof(run) || run.length > room - sizeof(run) || run.length % 8 || run.count == 0)
		return false;
	place->position += sizeof(run) + run.length;
	place->at = at + sizeof(run);
	place->left = run.length;
	place->events = run.count;
	place->producer = run.producer;
	place->sequence = run.sequence;
	place->append_ns = run.append_ns;
	return true;
}

// Offset and term of what is handed out.
struct handing {
	uint64_t offset;
	uint64_t redelivered_to;
	uint32_t term;
	uint16_t shard;
};

// The last two words of a view in a store each: of the 55 instructions that an event takes here most are stores.
static inline void view_end(struct weir_view *view, const struct weir_event_header *event, uint32_t attributes,
			    const struct handing *handing)
{
	uint64_t flags = handing->offset < handing->redelivered_to ? WEIR_VIEW_REDELIVERED : 0;
	const uint64_t words[2] = {
		(event->length - (uint32_t)sizeof(*event) - attributes) | (uint64_t)handing->term << 32,
		attributes | (uint64_t)event->type << 16 | (uint64_t)handing->shard << 32 | flags << 48,
	};
	memcpy(&view->payload_size, &words[0], 8);
	memcpy(&view->attributes_size, &words[1], 8);
}
_Static_assert(__builtin_offsetof(struct weir_view, term) == __builtin_offsetof(struct weir_view, payload_size) + 4 &&
		       __builtin_offsetof(struct weir_view, attributes_size) % 8 == 0 &&
		       __builtin_offsetof(struct weir_view, type) % 8 == 2 &&
		       __builtin_offsetof(struct weir_view, shard) % 8 == 4 &&
		       __builtin_offsetof(struct weir_view, flags) % 8 == 6,
	       "the last words of a view");

// Up to `most` events of the run that was begun, into views; NULL: they are passed over. Returns how many, -1: an event does
// not fit its run. Place and handing are the caller's locals, for whatever is stored into a view could be anything else
// to the compiler. Lines below fetch_end may be asked for early.
static inline __attribute__((always_inline)) int run_walk(struct place *place, struct handing *handing, struct weir_view *views,
							  uint32_t most, const uint8_t *fetch_end)
{
	uint32_t count = place->events < most ? place->events : most;
	for (uint32_t i = 0; i < count; i++) {
		struct weir_event_header event;
		if (place->left < sizeof(event))
			return -1;
		memcpy(&event, place->at, sizeof(event));
		uint32_t attributes = event.attribute_words * 8u;
		uint32_t size = weir_pad8(event.length);
		// The padded length of what is longer than 2^32 - 8 is 0.
		if (event.length < sizeof(event) + attributes || size - 1 >= place->left)
			return -1;
		if (views) {
			struct weir_view *view = &views[i];
			// Of large events the processor finds the rest by itself.
			if (place->at + FETCH_AHEAD < fetch_end) {
				weir_prefetch(place->at + FETCH_AHEAD);
				weir_prefetch(place->at + FETCH_AHEAD + 64);
			}
			view->key = event.key;
			view->offset = handing->offset;
			view->producer = place->producer;
			view->sequence = place->sequence;
			view->append_ns = place->append_ns;
			view->payload = place->at + sizeof(event) + attributes;
			view->attributes = place->at + sizeof(event);
			view_end(view, &event, attributes, handing);
			handing->offset++;
		}
		place->sequence++;
		place->at += size;
		place->left -= size;
	}
	place->events -= count;
	return (int)count;
}

// Passes over what an earlier term settled. false: the log is broken.
static __attribute__((noinline)) bool place_pass(struct place *place, uint64_t head)
{
	struct handing nobody = { 0 };
	while (place->skip && (place->events || place->position != head)) {
		if (place->events == 0 && !run_begin(place, head))
			return false;
		int passed = run_walk(place, &nobody, NULL, (uint32_t)min_u64(place->skip, UINT32_MAX), NULL);
		if (passed < 0)
			return false;
		place->skip -= (uint64_t)passed;
	}
	return true;
}

// A log that cannot be read is no log: the session is begun anew, and with it the term.
static void place_break(struct weir_consumer *consumer)
{
	consumer->core->statistics.frames_bad++;
	session_lost(consumer->core, consumer->core->now_ns);
}

// Returns how many views were filled, -1: the log is broken.
static int place_walk(struct weir_consumer *consumer, struct assignment *assignment, struct weir_view *views, int most)
{
	uint64_t head = head_of(assignment);
	uint64_t passed = assignment->kept.term ? assignment_pass_kept(consumer, assignment, 0, UINT64_MAX) : 0;
	if (passed) {
		assignment->place.skip += passed;
		assignment->received_to = assignment->handed_to;
		place_settle(consumer, assignment);
	}
	struct place place = assignment->place;
	struct handing handing = {
		.offset = assignment->handed_to,
		.redelivered_to = assignment->redelivered_to,
		.term = assignment->term,
		.shard = assignment->shard,
	};
	const uint8_t *fetch_end =
		place.log.base + (place.position & (place.log.size - 1)) + min_u64(head - place.position, place.log.size);
	int count = 0;
	if (place.skip && !place_pass(&assignment->place, head))
		return -1;
	if (place.skip)
		place = assignment->place;
	while (count < most && (place.events || place.position != head)) {
		if (place.events == 0 && !run_begin(&place, head))
			return -1;
		int walked = run_walk(&place, &handing, views + count, (uint32_t)(most - count), fetch_end);
		if (walked < 0)
			return -1;
		count += walked;
	}
	assignment->place = place;
	assignment->handed_to = handing.offset;
	if (count) {
		uint64_t from = assignment->handed_to - (uint64_t)count;
		if (from < assignment->redelivered_to)
			consumer->counts.redelivered += min_u64(assignment->redelivered_to, assignment->handed_to) - from;
		assignment->event_end = assignment->received_to = assignment->handed_to;
		assignment_touch(consumer, assignment);
	}
	return count;
}

int places_walk(struct weir_consumer *consumer, struct weir_view *views, int most)
{
	int count = 0;
	uint32_t idle = 0;
	while (count < most && idle < consumer->held_count) {
		if (consumer->place_next >= consumer->held_count)
			consumer->place_next = 0;
		struct assignment *assignment = &consumer->assignments[consumer->held[consumer->place_next++]];
		idle++;
		if (consumer->place_next < consumer->held_count)
			head_fetch(&consumer->assignments[consumer->held[consumer->place_next]]);
		if (assignment->state != ASSIGNMENT_ACTIVE || assignment->reading != READING_PLACE)
			continue;
		int room = most - count < TURN_EVENTS ? most - count : TURN_EVENTS;
		int walked = place_walk(consumer, assignment, views + count, room);
		if (walked < 0) {
			place_break(consumer);
			return 0;
		}
		count += walked;
		if (walked)
			idle = 0;
	}
	return count;
}
