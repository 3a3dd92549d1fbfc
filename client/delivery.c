// Deliveries: frames in, in order; large events put together; events out where they lie (wire/PROTOCOL.md, sections 10
// and 12).
#include "client/consumer.h"

#include <errno.h>
#include <string.h>

#define REPORT_DELAY_NS (1 * MS) // of progress that nobody waits for: poll is mostly called sooner
#define EVENT_HEADER ((uint32_t)sizeof(struct weir_event_header))

static struct assignment *assignment_of(struct weir_core *core, const struct weir_frame_header *frame,
					struct weir_consumer **of)
{
	const struct weir_delivery *delivery = (const void *)(frame + 1);
	for (struct weir_consumer *consumer = core->consumers; consumer; consumer = consumer->next) {
		bool is_member = consumer->state == CONSUMER_MEMBER;
		if (!is_member || consumer->topic != frame->topic || frame->shard >= consumer->shards)
			continue;
		struct assignment *assignment = &consumer->assignments[frame->shard];
		if (assignment->state == ASSIGNMENT_ACTIVE && assignment->handle == frame->stream &&
		    assignment->term == delivery->term) {
			*of = consumer;
			return assignment;
		}
	}
	return NULL;
}

static void queue(struct weir_consumer *consumer, struct parcel *parcel)
{
	parcel->next = NULL;
	if (consumer->last)
		consumer->last->next = parcel;
	else
		consumer->first = parcel;
	consumer->last = parcel;
}

static struct parcel *unqueue(struct weir_consumer *consumer)
{
	struct parcel *parcel = consumer->first;
	consumer->first = parcel->next;
	if (!consumer->first)
		consumer->last = NULL;
	return parcel;
}

static void report_soon(struct weir_core *core, struct assignment *assignment, bool is_urgent)
{
	assignment->is_dirty = true;
	assignment->is_pressing = assignment->is_pressing || is_urgent;
	core->is_urgent = core->is_urgent || is_urgent;
	core_due(core, is_urgent ? core->now_ns : core->now_ns + REPORT_DELAY_NS);
}

static void received(struct weir_consumer *consumer, struct assignment *assignment, uint64_t to)
{
	assignment->received_to = to;
	uint64_t much = min_u64(consumer_share(consumer) / 4, REPORT_CHARGE);
	bool is_much = assignment->charged - assignment->reported_charged >= much;
	report_soon(consumer->core, assignment, is_much);
}

static void gap_seen(struct weir_consumer *consumer, struct assignment *assignment)
{
	struct weir_core *core = consumer->core;
	consumer->counts.frames_lost++;
	if (assignment->gap_at == assignment->received_to + assignment->fragment_to &&
	    core->now_ns - assignment->gap_ns < window_gap_ns(&core->window))
		return;
	assignment->gap_at = assignment->received_to + assignment->fragment_to;
	assignment->gap_ns = core->now_ns;
	assignment->has_gap = true;
	report_soon(core, assignment, true);
}

// Offsets up to `to` that hold nothing for this group.
static void skipped(struct weir_consumer *consumer, struct assignment *assignment, uint64_t to)
{
	bool is_settled = assignment->settled_to == assignment->handed_to;
	consumer->counts.gap_events += to - assignment->handed_to;
	assignment->handed_to = to;
	if (is_settled)
		assignment->settled_to = to;
}

// ---- Large events ----

void assignment_assembly_drop(struct weir_consumer *consumer, struct assignment *assignment)
{
	if (assignment->assembly)
		buffer_put(&consumer->core->buffers, assignment->assembly);
	assignment->assembly = NULL;
	assignment->assembly_cost = 0;
	assignment->fragment_to = 0;
}

static void assembled(struct weir_consumer *consumer, struct assignment *assignment, const struct weir_frame_header *frame)
{
	const struct weir_delivery *delivery = (const void *)(frame + 1);
	struct weir_buffer *buffer = assignment->assembly;
	struct parcel *parcel = (void *)buffer->data;
	struct weir_run_header *run = (void *)(buffer->data + PARCEL_SIZE);
	bool is_whole = run->length == assignment->fragment_to && run->count == 1;
	if (!is_whole || (!(run->flags & WEIR_RUN_UNCHECKED) && weir_crc32c(0, run + 1, run->length) != run->crc)) {
		consumer->core->statistics.frames_bad++;
		assignment_assembly_drop(consumer, assignment);
		gap_seen(consumer, assignment);
		return;
	}
	*parcel = (struct parcel){
		.buffer = buffer,
		.run = run,
		.at = (const uint8_t *)(run + 1),
		.offset = frame->sequence,
		.from = frame->sequence,
		.to = delivery->to,
		.term = assignment->term,
		.cost = (uint32_t)assignment->assembly_cost,
		.runs = 1,
		.events = 1,
		.shard = frame->shard,
	};
	assignment->held += parcel->cost;
	assignment->assembly = NULL;
	assignment->assembly_cost = 0;
	assignment->fragment_to = 0;
	queue(consumer, parcel);
	received(consumer, assignment, delivery->to);
}

static void fragment_in(struct weir_consumer *consumer, struct assignment *assignment, const struct weir_frame_header *frame)
{
	const struct weir_delivery *delivery = (const void *)(frame + 1);
	const struct weir_run_header *run = (const void *)(delivery + 1);
	const struct weir_fragment *fragment = (const void *)(run + 1);
	uint32_t size = frame->body_length - (uint32_t)(sizeof(*delivery) + sizeof(*run) + sizeof(*fragment));
	uint32_t whole = weir_pad8(fragment->total);
	if (frame->sequence < assignment->received_to ||
	    (frame->sequence == assignment->received_to && fragment->offset < assignment->fragment_to)) {
		report_soon(consumer->core, assignment, true);
		return;
	}
	if (frame->sequence > assignment->received_to || fragment->offset > assignment->fragment_to) {
		gap_seen(consumer, assignment);
		return;
	}
	if (fragment->offset == 0) {
		assignment_assembly_drop(consumer, assignment);
		if (fragment->total > consumer->event_max)
			return;
		assignment->assembly = buffer_heap(PARCEL_SIZE + sizeof(*run) + whole);
		if (!assignment->assembly)
			return; // comes again
		struct weir_run_header *kept = (void *)(assignment->assembly->data + PARCEL_SIZE);
		*kept = *run;
		kept->length = whole;
	}
	struct weir_run_header *kept = (void *)(assignment->assembly->data + PARCEL_SIZE);
	if (kept->length != whole || fragment->offset + size > whole)
		return;
	uint8_t *event = (uint8_t *)(kept + 1);
	memcpy(event + fragment->offset, fragment + 1, size);
	assignment->fragment_to += size;
	assignment->assembly_cost += weir_charge((uint32_t)sizeof(*frame) + frame->body_length);
	if (delivery->to > frame->sequence)
		assembled(consumer, assignment, frame);
	else
		received(consumer, assignment, assignment->received_to);
}

// ---- Frames ----

static uint64_t events_of(const struct weir_frame_header *frame)
{
	const uint8_t *at = (const uint8_t *)(frame + 1) + sizeof(struct weir_delivery);
	uint64_t events = 0;
	for (uint32_t i = 0; i < frame->count; i++) {
		const struct weir_run_header *run = (const void *)at;
		events += run->count;
		at += sizeof(*run) + run->length;
	}
	return events;
}

static void accept(struct weir_consumer *consumer, struct assignment *assignment, struct weir_frame_header *frame,
		   struct weir_buffer *buffer)
{
	const struct weir_delivery *delivery = (const void *)(frame + 1);
	struct parcel parcel = {
		.buffer = buffer,
		.offset = frame->sequence,
		.from = assignment->received_to,
		.to = delivery->to,
		.term = assignment->term,
		.runs = frame->count,
		.shard = frame->shard,
	};
	if (frame->count)
		parcel.cost = weir_charge((uint32_t)sizeof(*frame) + frame->body_length);
	assignment->held += parcel.cost;
	assignment_assembly_drop(consumer, assignment);
	struct parcel *place = (void *)frame;
	*place = parcel;
	place->run = (const void *)((const uint8_t *)place + PARCEL_SIZE);
	place->events = parcel.runs ? place->run->count : 0;
	place->at = (const uint8_t *)(place->run + 1);
	buffer->refs++;
	queue(consumer, place);
	received(consumer, assignment, parcel.to);
}

void consumers_deliver(struct weir_core *core, struct weir_frame_header *frame, struct weir_buffer *buffer)
{
	struct weir_consumer *consumer = NULL;
	struct assignment *assignment = assignment_of(core, frame, &consumer);
	const struct weir_delivery *delivery = (const void *)(frame + 1);
	if (!assignment)
		return;
	consumer->heard_ns = core->now_ns;
	// Whatever becomes of it: what was charged before it has left the socket by now, or was lost.
	uint32_t cost = frame->count ? weir_charge((uint32_t)sizeof(*frame) + frame->body_length) : 0;
	assignment->charged = max_u64(assignment->charged, delivery->charge_from + cost);
	if (frame->flags & WEIR_FLAG_FRAGMENT) {
		fragment_in(consumer, assignment, frame);
		return;
	}
	if (frame->sequence > assignment->received_to) {
		gap_seen(consumer, assignment);
		return;
	}
	if (delivery->to <= assignment->received_to) {
		report_soon(core, assignment, true);
		return;
	}
	if (events_of(frame) > delivery->to - frame->sequence) {
		core->statistics.frames_bad++;
		return;
	}
	// Nothing to hand out and nothing waiting before it: a queue place for it would only make it wait for a consume.
	if (frame->count == 0 && assignment->handed_to == assignment->received_to) {
		assignment_assembly_drop(consumer, assignment);
		skipped(consumer, assignment, delivery->to);
		received(consumer, assignment, delivery->to);
		return;
	}
	if (buffer)
		accept(consumer, assignment, frame, buffer);
}

// ---- Out ----

// The header is checked; what is the same for all events of a run comes from it and the parcel.
static inline void view_fill(struct weir_view *view, const struct parcel *parcel, const struct weir_event_header *event)
{
	const struct weir_run_header *run = parcel->run;
	uint32_t attributes = event->attribute_words * 8u;
	const uint8_t *bytes = (const uint8_t *)(event + 1);
	view->key = event->key;
	view->producer = run->producer;
	view->append_ns = run->append_ns;
	view->payload = bytes + attributes;
	view->attributes = bytes;
	view->payload_size = event->length - EVENT_HEADER - attributes;
	view->term = parcel->term;
	view->attributes_size = (uint16_t)attributes;
	view->type = event->type;
	view->shard = parcel->shard;
}

// Padded; 0 when the event does not fit what is left of its run.
static inline uint32_t event_size(const struct weir_event_header *event, uint32_t left)
{
	if (left < EVENT_HEADER || event->length > left || event->length < EVENT_HEADER + event->attribute_words * 8u)
		return 0;
	uint32_t size = weir_pad8(event->length);
	return size <= left ? size : 0;
}

static inline const uint8_t *run_end(const struct parcel *parcel)
{
	return (const uint8_t *)(parcel->run + 1) + parcel->run->length;
}

// Hands out up to `most` events of the parcel's run; events below parcel->from are passed over.
static int run_walk(struct weir_consumer *consumer, const struct assignment *assignment, struct parcel *parcel,
		    struct weir_view *views, int most)
{
	const uint8_t *at = parcel->at;
	uint64_t offset = parcel->offset;
	uint64_t sequence = parcel->run->sequence + parcel->run->count - parcel->events;
	uint32_t left = (uint32_t)(run_end(parcel) - at);
	uint32_t events = parcel->events;
	int count = 0;
	while (events && count < most) {
		const struct weir_event_header *event = (const void *)at;
		uint32_t size = event_size(event, left);
		if (size == 0)
			break;
		if (offset >= parcel->from) {
			struct weir_view *view = &views[count++];
			bool is_marked = offset < assignment->redelivered_to;
			view_fill(view, parcel, event);
			view->offset = offset;
			view->sequence = sequence;
			view->flags = is_marked ? WEIR_VIEW_REDELIVERED : 0;
			consumer->counts.redelivered += is_marked;
		}
		at += size;
		left -= size;
		offset++;
		sequence++;
		events--;
	}
	parcel->at = at;
	parcel->offset = offset;
	parcel->events = (uint16_t)events;
	return count;
}

// Hands out up to `most` events of the parcel. Its runs are used up when parcel->runs is 0.
static int parcel_walk(struct weir_consumer *consumer, const struct assignment *assignment, struct parcel *parcel,
		       struct weir_view *views, int most)
{
	int count = 0;
	while (parcel->runs && count < most) {
		count += run_walk(consumer, assignment, parcel, views + count, most - count);
		if (parcel->events && count == most)
			break;
		// End of the run; or its events disagree with their lengths, and the rest cannot be told apart.
		consumer->core->statistics.frames_bad += parcel->events != 0;
		parcel->offset += parcel->events;
		parcel->run = (const void *)run_end(parcel);
		if (--parcel->runs) {
			parcel->events = parcel->run->count;
			parcel->at = (const uint8_t *)(parcel->run + 1);
		}
	}
	return count;
}

static void retire(struct weir_consumer *consumer, struct parcel *parcel)
{
	parcel->next = consumer->retired;
	consumer->retired = parcel;
}

void consumer_parcels_drop(struct weir_consumer *consumer)
{
	while (consumer->first) {
		struct parcel *parcel = unqueue(consumer);
		parcel->term = 0;
		retire(consumer, parcel);
	}
}

void consumer_release(struct weir_consumer *consumer)
{
	while (consumer->retired) {
		struct parcel *parcel = consumer->retired;
		consumer->retired = parcel->next;
		struct assignment *assignment = &consumer->assignments[parcel->shard];
		if (assignment->state != ASSIGNMENT_NONE && assignment->term == parcel->term) {
			assignment->held -= parcel->cost;
			report_soon(consumer->core, assignment, false);
		}
		buffer_put(&consumer->core->buffers, parcel->buffer);
	}
}

void weir_core_release(struct weir_core *core)
{
	for (struct weir_consumer *consumer = core->consumers; consumer; consumer = consumer->next)
		consumer_release(consumer);
	if (core->local)
		core->local->logs_release(core->local->context);
}

void assignment_settle(struct weir_consumer *consumer, struct assignment *assignment, uint64_t settled_to)
{
	if (settled_to <= assignment->settled_to)
		return;
	consumer->counts.settled += settled_to - assignment->settled_to;
	assignment->settled_to = settled_to;
	if (assignment->reading == READING_PLACE) {
		place_settle(consumer, assignment);
		if (assignment->state == ASSIGNMENT_ACTIVE)
			return;
		core_due(consumer->core, consumer->core->now_ns);
		consumer->core->is_urgent = true;
		return;
	}
	report_soon(consumer->core, assignment, assignment->state == ASSIGNMENT_REVOKING);
}

uint64_t assignment_pass_kept(struct weir_consumer *consumer, struct assignment *assignment, uint64_t from, uint64_t to)
{
	const struct kept *kept = &assignment->kept;
	uint64_t known = min_u64(kept->settled_to, to);
	bool is_same = kept->incarnation == assignment->incarnation && kept->group == consumer->group;
	if (!kept->term || !is_same || known <= assignment->handed_to)
		return 0;
	uint64_t passed = known - assignment->handed_to;
	uint64_t came_from = max_u64(from, assignment->handed_to);
	uint64_t marked_to = min_u64(known, assignment->redelivered_to);
	if (marked_to > came_from) {
		consumer->counts.redelivered += marked_to - came_from;
		consumer->counts.passed_over += marked_to - came_from;
	}
	assignment->handed_to = assignment->event_end = assignment->settled_to = known;
	report_soon(consumer->core, assignment, true);
	return passed;
}

// The application is done with what it was handed before its session was lost, or says so of an event of that.
static void kept_settle(struct kept *kept, uint64_t settled_to)
{
	if (kept->term)
		kept->settled_to = max_u64(kept->settled_to, min_u64(settled_to, kept->handed_to));
}

static void settle_handed(struct weir_consumer *consumer)
{
	for (uint32_t i = 0; i < consumer->touched_count; i++) {
		struct assignment *assignment = &consumer->assignments[consumer->touched[i]];
		assignment->is_touched = false;
		if (consumer->is_by_hand)
			continue;
		kept_settle(&assignment->kept, UINT64_MAX);
		if (assignment->state != ASSIGNMENT_NONE)
			assignment_settle(consumer, assignment, assignment->handed_to);
	}
	consumer->touched_count = 0;
}

void assignment_touch(struct weir_consumer *consumer, struct assignment *assignment)
{
	if (assignment->is_touched)
		return;
	assignment->is_touched = true;
	consumer->touched[consumer->touched_count++] = assignment->shard;
}

static void handed(struct weir_consumer *consumer, struct assignment *assignment, struct parcel *parcel, int count)
{
	if (count) {
		assignment->event_end = assignment->handed_to = parcel->offset;
		assignment_touch(consumer, assignment);
	}
	if (parcel->runs)
		return;
	unqueue(consumer);
	if (parcel->to > assignment->handed_to)
		skipped(consumer, assignment, parcel->to);
	retire(consumer, parcel);
}

int weir_core_consume(struct weir_consumer *consumer, struct weir_view *views, int most, uint64_t now_ns)
{
	int count = 0;
	settle_handed(consumer);
	consumer_release(consumer);
	now_ns = max_u64(now_ns, consumer->core->now_ns);
	if (consumer->state != CONSUMER_MEMBER || !session_may_hand_out(consumer->core, now_ns))
		return 0;
	while (count < most && consumer->first) {
		struct parcel *parcel = consumer->first;
		struct assignment *assignment = &consumer->assignments[parcel->shard];
		if (assignment->state != ASSIGNMENT_ACTIVE || assignment->term != parcel->term) {
			retire(consumer, unqueue(consumer));
			continue;
		}
		if (assignment->kept.term && assignment_pass_kept(consumer, assignment, parcel->from, parcel->to))
			parcel->from = max_u64(parcel->from, assignment->handed_to);
		int walked = parcel_walk(consumer, assignment, parcel, views + count, most - count);
		handed(consumer, assignment, parcel, walked);
		count += walked;
	}
	if (consumer->place_count)
		count += places_walk(consumer, views + count, most - count);
	consumer->counts.delivered += (uint64_t)count;
	return count;
}

int weir_core_settle(struct weir_consumer *consumer, const struct weir_view *view)
{
	if (view->shard >= consumer->shards)
		return -EINVAL;
	struct assignment *assignment = &consumer->assignments[view->shard];
	if (assignment->state == ASSIGNMENT_NONE || assignment->term != view->term) {
		if (assignment->kept.term == view->term)
			kept_settle(&assignment->kept, view->offset + 1);
		return -ESTALE;
	}
	if (view->offset >= assignment->event_end)
		return -EINVAL;
	// What was skipped behind the last event is done with it.
	bool is_last = view->offset + 1 == assignment->event_end;
	assignment_settle(consumer, assignment, is_last ? assignment->handed_to : view->offset + 1);
	return 0;
}
