// One stream's life on the wire: open, send, acknowledge, repair, refuse, close (wire/PROTOCOL.md, sections 8 to 10).
// Called by producer.c from input and poll of the core.
#include "client/stream.h"

#include <string.h>

#include "client/slot.h"

#define RECOVER_LEAST_NS (1 * MS)
#define BACKOFF_MAX 7u
#define VANISHED_MAX 3u // frames that did not arrive, while the probes beside them did: the path does not carry them

void stream_activate(struct stream *stream)
{
	struct weir_core *core = stream->producer->core;
	if (stream->is_active)
		return;
	stream->is_active = true;
	stream->active_before = core->active_tail;
	stream->active_next = NULL;
	if (core->active_tail)
		core->active_tail->active_next = stream;
	else
		core->active = stream;
	core->active_tail = stream;
}

static void deactivate(struct stream *stream)
{
	struct weir_core *core = stream->producer->core;
	if (!stream->is_active)
		return;
	stream->is_active = false;
	if (stream->active_before)
		stream->active_before->active_next = stream->active_next;
	else
		core->active = stream->active_next;
	if (stream->active_next)
		stream->active_next->active_before = stream->active_before;
	else
		core->active_tail = stream->active_before;
}

void stream_frame_close(struct stream *stream)
{
	if (!stream->write)
		return;
	struct slot *slot = stream_slot(stream, stream->tail);
	uint8_t *body = slot_body(slot);
	if (stream->train)
		train_frame_end(stream);
	slot->body_length = (uint16_t)(stream->write - body);
	slot->count = stream->events;
	slot->body_crc = body_crc(stream->producer->core, body, slot->body_length);
	slot->is_awaited = stream->is_flushing;
	stream->next += stream->events;
	stream->tail++;
	stream->producer->core->backlog++;
	stream->write = NULL;
	stream->room = 0;
	stream->events = 0;
	stream->is_flushing = false;
}

static void frame_drop(struct stream *stream)
{
	stream->train = NULL;
	stream->train_events = 0;
	if (!stream->write)
		return;
	producer_frame_put(stream->producer, stream_slot(stream, stream->tail)->frame);
	stream->write = NULL;
	stream->room = 0;
	stream->events = 0;
}

// ---- Open and in doubt ----

static void state_set(struct stream *stream, enum stream_state state)
{
	struct weir_producer *producer = stream->producer;
	producer->open_count -= stream->state == STREAM_OPEN;
	producer->opening_count -= stream->state == STREAM_OPENING;
	stream->state = (uint8_t)state;
	producer->open_count += stream->state == STREAM_OPEN;
	producer->opening_count += stream->state == STREAM_OPENING;
	if (state == STREAM_CLOSED || state == STREAM_DEAD) {
		deactivate(stream);
		producer_stream_done(producer);
	}
}

static void all_unsend(struct stream *stream)
{
	for (uint64_t i = stream->head; i < stream->tail; i++)
		slot_queue(stream, i);
	stream->timer_ns = NEVER;
	stream->recover_ns = 0;
	stream->backoff = 0;
	stream->hold_from = UINT64_MAX;
	stream->probe_ns = NEVER;
	stream->probe_wait_ns = PROBE_FIRST_NS;
	stream->fragment_to = 0;
	stream->asked_ns = 0;
	stream->vanished = 0;
}

void stream_session_lost(struct stream *stream)
{
	if (stream->state == STREAM_CLOSED || stream->state == STREAM_DEAD)
		return;
	if (stream->state == STREAM_CLOSING) {
		// Everything was acknowledged; the router forgets the stream by itself.
		state_set(stream, STREAM_CLOSED);
		return;
	}
	if (stream->state == STREAM_OPEN)
		stream->word_ns = stream->producer->core->session.heard_ns;
	state_set(stream, STREAM_NONE);
	all_unsend(stream);
}

void stream_open(struct stream *stream, uint64_t now_ns)
{
	if (stream->state == STREAM_OPEN)
		stream->word_ns = now_ns;
	all_unsend(stream);
	state_set(stream, STREAM_OPENING);
	request_start(stream->producer->core, &stream->request, now_ns);
	stream_activate(stream);
}

static void open_send(struct stream *stream)
{
	struct weir_core *core = stream->producer->core;
	struct weir_frame_header *frame = core_frame(core, WEIR_KIND_OPEN, sizeof(struct weir_open));
	if (!frame)
		return;
	struct weir_open *open = (struct weir_open *)(frame + 1);
	frame->topic = stream->producer->topic;
	frame->shard = stream->shard;
	open->request = stream->request.id;
	open->epoch = core->session.epoch;
	open->level = stream->level;
	core_frame_send(core, frame, sizeof(*open));
}

// Events that left and were not acknowledged: nobody will ever know. A large event of which only some pieces left was
// not routed and stays.
static void sent_drop(struct stream *stream)
{
	struct weir_producer_counts *counts = &stream->producer->counts;
	uint64_t cut = stream->head;
	for (uint64_t i = stream->head; i < stream->tail && stream_slot(stream, i)->sends; i++) {
		if (stream_slot(stream, i)->count)
			cut = i + 1;
	}
	while (stream->head < cut) {
		const struct slot *slot = stream_slot(stream, stream->head);
		if (slot->reason)
			counts->refused += slot->count;
		else if (stream->level != WEIR_ACK_NONE)
			counts->unknown += slot->count;
		slot_pop(stream);
	}
}

static void renumber(struct stream *stream, uint64_t next)
{
	stream->acked = next;
	for (uint64_t i = stream->head; i < stream->tail; i++) {
		struct slot *slot = stream_slot(stream, i);
		slot->first = next;
		slot->sends = 0;
		slot->refused = 0;
		slot->refused_to = 0;
		slot->is_skip_due = false;
		next += slot->count;
	}
	stream->next = next;
	if (stream->write)
		stream_slot(stream, stream->tail)->first = next;
}

static uint64_t first_unsent(const struct stream *stream)
{
	for (uint64_t i = stream->head; i < stream->tail; i++) {
		if (!stream_slot(stream, i)->sends)
			return stream_slot(stream, i)->first;
	}
	return stream->next;
}

struct arrived {
	uint32_t frames;
	uint32_t size;     // of the largest body that flew
	uint64_t sent_ns;  // of the newest frame that was sent once; 0: none
	bool may_wait;     // the acknowledgement of that one may have waited
	bool was_missed;   // one of them was
	bool was_repeated; // one of them was
};

static void slot_arrived(struct slot *slot, struct arrived *arrived)
{
	arrived->was_missed = arrived->was_missed || slot->was_missed;
	arrived->was_repeated = arrived->was_repeated || slot->sends > 1;
	if (slot->state != SLOT_FLYING)
		return;
	arrived->frames++;
	if (slot->body_length > arrived->size)
		arrived->size = slot->body_length;
	if (slot->sends == 1 && slot->sent_ns >= arrived->sent_ns) {
		arrived->sent_ns = slot->sent_ns;
		arrived->may_wait = slot->is_late;
	}
}

// What arrived is added to *arrived.
static void acked_drop(struct stream *stream, uint64_t next, struct arrived *arrived)
{
	struct weir_producer_counts *counts = &stream->producer->counts;
	while (stream->head < stream->tail) {
		struct slot *slot = stream_slot(stream, stream->head);
		if (slot_end(slot) > next)
			break;
		slot_arrived(slot, arrived);
		if (slot->reason) {
			counts->refused += slot->count;
		} else if (stream->level != WEIR_ACK_NONE) {
			counts->routed += slot->count - slot->refused;
			counts->refused += slot->refused;
		} else if (!slot->sends) {
			counts->refused += slot->count; // level none: the router went past it when a piece was refused
		}
		slot_pop(stream);
	}
	stream->acked = max_u64(stream->acked, next);
}

void stream_opened(struct stream *stream, const struct weir_frame_header *frame, uint64_t now_ns)
{
	const struct session *session = &stream->producer->core->session;
	const struct weir_opened *opened = (const void *)(frame + 1);
	if (stream->state != STREAM_OPENING || opened->request != stream->request.id)
		return;
	bool is_same = stream->was_open && stream->router == session->router && stream->incarnation == opened->incarnation &&
		       now_ns - stream->word_ns <= session->dedup_ns && opened->next >= stream->acked &&
		       opened->next <= first_unsent(stream);
	if (!is_same || stream->level == WEIR_ACK_NONE)
		sent_drop(stream);
	if (is_same)
		acked_drop(stream, opened->next, &(struct arrived){ 0 });
	else
		renumber(stream, opened->next);
	stream->producer->open_refusal = 0;
	stream->was_open = true;
	stream->router = session->router;
	stream->incarnation = opened->incarnation;
	stream->limit = opened->limit;
	stream->level = opened->level;
	stream->handle = frame->stream;
	stream->opened = opened->request;
	stream->seal++;
	stream->repaired_ns = 0;
	stream->request.due_ns = NEVER;
	state_set(stream, STREAM_OPEN);
	stream_activate(stream);
	stream->producer->core->is_urgent = true;
}

// ---- Sending ----

// Whether the stream goes on without an acknowledgement: at most half of credit, window and slots are in use, and nobody waits
// for it. On a lane one costs next to nothing.
static bool is_late(const struct stream *stream, const struct slot *slot)
{
	const struct weir_core *core = stream->producer->core;
	uint64_t end = slot_end(slot);
	return !core->local && stream->level != WEIR_ACK_NONE && !slot->is_fragment && !slot->is_awaited && !slot->sends &&
	       end - stream->acked <= stream->limit - end && core->window.in_flight < core->window.frames / 2 &&
	       2 * (stream->tail - stream->head) <= stream->capacity;
}

static void seal(struct stream *stream, struct slot *slot)
{
	const struct weir_core *core = stream->producer->core;
	struct weir_frame_header *frame = (void *)slot->frame;
	if (slot->sealed_for == stream->seal)
		return;
	slot->sealed_for = stream->seal;
	if (core->local && !slot->is_fragment) {
		train_seal(stream, slot);
		return;
	}
	slot->is_late = stream->is_late = is_late(stream, slot);
	*frame = (struct weir_frame_header){
		.kind = WEIR_KIND_PUBLISH,
		.flags = (uint16_t)((slot->is_fragment ? WEIR_FLAG_FRAGMENT : 0) | (core->local ? WEIR_FLAG_HEADER_ONLY : 0) |
				    (stream->is_late ? WEIR_FLAG_LATER : 0)),
		.count = (uint16_t)(slot->is_fragment ? 1 : slot->count),
		.session = core->session.id,
		.stream = stream->handle,
		.topic = stream->producer->topic,
		.sequence = slot->first,
		.sent_ns = core->now_ns + (uint64_t)core->realtime_offset_ns,
		.shard = stream->shard,
	};
	weir_frame_seal_with(frame, slot->body_length, slot->body_crc);
}

static struct weir_frame_header *stream_frame(struct stream *stream, enum weir_kind kind, uint32_t size)
{
	struct weir_frame_header *frame = core_frame(stream->producer->core, kind, size);
	if (!frame)
		return NULL;
	frame->topic = stream->producer->topic;
	frame->shard = stream->shard;
	frame->stream = stream->handle;
	return frame;
}

static void empty_send(struct stream *stream, enum weir_kind kind, uint64_t sequence)
{
	struct weir_frame_header *frame = stream_frame(stream, kind, 0);
	if (!frame)
		return;
	frame->sequence = sequence;
	core_frame_send(stream->producer->core, frame, 0);
}

static bool skip_send(struct stream *stream, uint64_t first, uint32_t count, uint16_t reason)
{
	if (count == 0)
		return true; // a piece of a refused large event: the last piece's skip speaks for it
	struct weir_frame_header *frame = stream_frame(stream, WEIR_KIND_SKIP, sizeof(struct weir_skip));
	if (!frame)
		return false;
	struct weir_skip *skip = (struct weir_skip *)(frame + 1);
	frame->sequence = first;
	skip->count = count;
	skip->reason = reason;
	return core_frame_send(stream->producer->core, frame, sizeof(*skip));
}

// What the router may wait with its answer comes on top (RFC 9002, section 6.2.1).
static uint64_t backed_off(const struct stream *stream)
{
	uint64_t timeout_ns = window_timeout(&stream->producer->core->window) << stream->backoff;
	return min_u64(timeout_ns, REQUEST_MAX_NS) + (stream->is_late ? WEIR_LATER_NS : 0);
}

// A frame in shared memory that is sent again: once its first copy is acknowledged its memory serves the next one, and a
// late reader of the second would find that there.
static bool copy_send(struct stream *stream, uint64_t index)
{
	struct slot *slot = stream_slot(stream, index);
	struct weir_frame_header *copy = core_frame(stream->producer->core, WEIR_KIND_PUBLISH, slot->body_length);
	struct weir_datagram datagram = { copy, sizeof(*copy) + slot->body_length };
	if (!copy)
		return false;
	seal(stream, slot);
	memcpy(copy, slot->frame, datagram.size);
	return core_slot_send(stream->producer->core, stream, index, &datagram);
}

static void none_sent(struct stream *stream, const struct slot *slot)
{
	stream->producer->counts.routed += slot->count;
	path_unproven(stream->producer->core, slot_size(slot));
}

static bool slot_send(struct stream *stream, uint64_t index, uint64_t now_ns)
{
	struct weir_core *core = stream->producer->core;
	struct slot *slot = stream_slot(stream, index);
	if (slot->is_skip_due && !skip_send(stream, slot->skip_first, slot->skip_count, slot->skip_reason))
		return false;
	slot->is_skip_due = false;
	if (slot->reason) {
		if (!skip_send(stream, slot->first, slot->count, slot->reason))
			return false;
	} else if (slot->sends && core->local) {
		if (!copy_send(stream, index))
			return false;
	} else {
		seal(stream, slot);
		struct weir_datagram datagram = { slot->frame, sizeof(struct weir_frame_header) + slot->body_length };
		if (!core_slot_send(core, stream, index, &datagram))
			return false;
	}
	if (slot->sends)
		core->statistics.frames_resent++;
	else if (stream->level == WEIR_ACK_NONE)
		none_sent(stream, slot);
	slot->sends += slot->sends < UINT8_MAX;
	slot->sent_ns = now_ns;
	slot->is_repair = false;
	slot_state_set(stream, slot, slot->reason && !slot->count ? SLOT_ARRIVED : SLOT_FLYING);
	if (stream->timer_ns == NEVER)
		stream->timer_ns = now_ns + backed_off(stream);
	core_due(core, stream->timer_ns);
	return true;
}

void stream_unsent(struct stream *stream, uint64_t index)
{
	struct slot *slot = stream_slot(stream, index);
	slot->sends--;
	if (slot->sends == 0 && stream->level == WEIR_ACK_NONE)
		stream->producer->counts.routed -= slot->count;
	slot_queue(stream, index);
	if (stream->flying == 0)
		stream->timer_ns = NEVER;
}

static bool may_send(const struct stream *stream, const struct slot *slot, bool is_oldest)
{
	const struct window *window = &stream->producer->core->window;
	if (slot->reason || slot->is_skip_due)
		return true; // a skip needs no credit, and nothing goes on without it
	if (slot_end(slot) > stream->hold_from || slot_end(slot) > stream->limit)
		return false;
	// The oldest frame of a stream and what a nack asked for go past the window, which they alone can open again.
	return window->in_flight < window->frames || slot->is_repair || (is_oldest && slot->sends) ||
	       stream->level == WEIR_ACK_NONE;
}

// Ends the frame under construction when it waited long enough.
static void linger_poll(struct stream *stream, uint64_t now_ns)
{
	// While frames wait for credit or window there is no hurry: the one under construction can only get fuller.
	if (!stream->write || stream->send < stream->tail)
		return;
	uint64_t due = stream->producer->linger_ns == NEVER ? NEVER : stream->started_ns + stream->producer->linger_ns;
	bool is_complete = stream->producer->core->local && !stream->train; // all frames of the train are
	if (is_complete || stream->is_flushing || stream->producer->is_closing || now_ns >= due)
		stream_frame_close(stream);
	else
		core_due(stream->producer->core, due);
}

uint32_t stream_send(struct stream *stream, uint32_t most, uint64_t now_ns)
{
	uint32_t sent = 0;
	if (stream->state != STREAM_OPEN)
		return 0;
	uint64_t i = stream->send;
	for (; sent < most && i < stream->tail; i++) {
		const struct slot *slot = stream_slot(stream, i);
		if (slot->state != SLOT_QUEUED)
			continue;
		// Set before sending: an output that is full takes frames back.
		stream->send = i;
		if (!may_send(stream, slot, i == stream->head) || !slot_send(stream, i, now_ns))
			return sent;
		sent++;
		if (stream->send == i)
			stream->send = i + 1;
		else
			i = stream->send - 1;
	}
	stream->send = i;
	if (i == stream->tail && stream->write && sent) {
		linger_poll(stream, now_ns);
		if (i < stream->tail)
			return sent + stream_send(stream, most - sent, now_ns);
	}
	return sent;
}

// ---- Acknowledgement and repair ----

// Pieces of the large event at the head that the router has, and those it has lost again.
static void fragments_mark(struct stream *stream, const struct weir_ack_entry *entry, struct arrived *arrived)
{
	bool may_fall = entry->flags & WEIR_ACK_NACK;
	for (uint64_t i = stream->head; i < stream->tail; i++) {
		struct slot *slot = stream_slot(stream, i);
		if (!slot->is_fragment || slot->first != entry->next || slot->reason)
			break;
		const struct weir_fragment *fragment = (const void *)slot_body(slot);
		uint32_t end = fragment->offset + slot->body_length - (uint32_t)sizeof(*fragment);
		if (end <= weir_pad8(entry->fragment_to)) {
			slot_arrived(slot, arrived);
			slot_state_set(stream, slot, SLOT_ARRIVED);
		} else if (slot->state == SLOT_ARRIVED && may_fall) {
			slot_queue(stream, i);
		}
	}
}

static void repair(struct stream *stream, const struct weir_ack_entry *entry, uint64_t now_ns)
{
	struct window *window = &stream->producer->core->window;
	if (stream->level == WEIR_ACK_NONE || now_ns - stream->repaired_ns < window_gap_ns(window))
		return;
	stream->repaired_ns = now_ns;
	stream->producer->core->statistics.nacks++;
	for (uint64_t i = stream->head; i < stream->tail; i++) {
		struct slot *slot = stream_slot(stream, i);
		if (slot->first >= entry->have)
			break;
		if (slot->state != SLOT_FLYING)
			continue;
		window_lost(window, slot->sent_ns, now_ns);
		slot->is_repair = slot->was_missed = true;
		slot_queue(stream, i);
	}
	if (stream->hold_reason == WEIR_R_GAP)
		stream->hold_from = UINT64_MAX;
}

static void progress(struct stream *stream, const struct arrived *arrived, uint64_t now_ns)
{
	struct window *window = &stream->producer->core->window;
	window_acked(window, arrived->frames);
	path_carried(stream->producer->core, (uint32_t)sizeof(struct weir_frame_header) + arrived->size, now_ns);
	stream->asked_ns = 0;
	stream->vanished = 0;
	// A round trip that holds a repair says nothing about the way, and a timer that grew stays so until one without does
	// (Karn and Partridge 1987), or the router said what it missed: then it was lost, not late.
	if (arrived->sent_ns && !arrived->was_missed && !arrived->was_repeated)
		window_measured(window, now_ns - arrived->sent_ns, arrived->may_wait ? WEIR_LATER_NS : 0);
	if (arrived->was_missed || !arrived->was_repeated)
		stream->backoff = 0;
	stream->probe_wait_ns = PROBE_FIRST_NS;
	stream->probe_ns = NEVER;
	stream->hold_from = UINT64_MAX;
	stream->timer_ns = stream->flying ? now_ns + backed_off(stream) : NEVER;
	if (!stream->recover_ns)
		return;
	const struct slot *head = stream_slot(stream, stream->head);
	// The oldest frame left before the timeout as well: were it only late, its acknowledgement would follow at once.
	if (stream->head < stream->tail && head->state == SLOT_FLYING && head->sent_ns < stream->recover_ns)
		stream->timer_ns = now_ns + max_u64(2 * window->smoothed_ns, RECOVER_LEAST_NS);
	else
		stream->recover_ns = 0;
}

void stream_ack(struct stream *stream, const struct weir_ack_entry *entry, uint64_t now_ns)
{
	struct weir_core *core = stream->producer->core;
	if (stream->state != STREAM_OPEN || entry->stream != stream->handle || entry->next > stream->next)
		return;
	bool was_starved = stream->send < stream->tail;
	stream->answered_ns = now_ns;
	stream->limit = max_u64(stream->limit, entry->limit);
	if (entry->next < stream->acked)
		return; // an older one, overtaken
	struct arrived arrived = { 0 };
	bool is_next = entry->next > stream->acked;
	if (is_next)
		acked_drop(stream, entry->next, &arrived);
	if (entry->fragment_to || entry->flags & WEIR_ACK_NACK)
		fragments_mark(stream, entry, &arrived);
	if (is_next || arrived.frames)
		progress(stream, &arrived, now_ns);
	if (entry->flags & WEIR_ACK_NACK)
		repair(stream, entry, now_ns);
	if (!(entry->flags & WEIR_ACK_FULL) && stream->hold_reason == WEIR_R_FULL)
		stream->hold_from = UINT64_MAX;
	stream_activate(stream);
	core->is_urgent = core->is_urgent || was_starved || stream->send < stream->tail;
	core_due(core, now_ns);
}

static bool is_unread(const struct weir_core *core)
{
	return core->local && !core->local->is_taken(core->local->context);
}

// Level none: what left before this poll is forgotten.
static void sent_forget(struct stream *stream, uint64_t now_ns)
{
	if (!is_unread(stream->producer->core)) {
		while (stream->head < stream->tail && stream_slot(stream, stream->head)->state != SLOT_QUEUED)
			slot_pop(stream);
	}
	stream->timer_ns = stream->flying ? now_ns + backed_off(stream) : NEVER;
}

// One flies.
static const struct slot *oldest_flying(const struct stream *stream)
{
	uint64_t i = stream->head;
	while (stream_slot(stream, i)->state != SLOT_FLYING)
		i++;
	return stream_slot(stream, i);
}

// The oldest frame is late or lost. A probe goes along when it is sent again: where that is answered time after time and the
// frame never, the path does not carry its size.
static bool is_vanishing(struct stream *stream, const struct slot *slot, uint64_t now_ns)
{
	struct weir_core *core = stream->producer->core;
	if (slot->reason || !path_can_step(core, slot_size(slot)))
		return false;
	if (stream->asked_ns && path_has_carried(core, slot_size(slot), stream->asked_ns))
		stream->vanished = 0;
	else if (stream->asked_ns && stream->answered_ns > stream->asked_ns)
		stream->vanished++;
	stream->asked_ns = now_ns;
	if (stream->vanished >= VANISHED_MAX)
		return true;
	empty_send(stream, WEIR_KIND_PROBE, 0);
	return false;
}

static void timeout(struct stream *stream, uint64_t now_ns)
{
	struct weir_core *core = stream->producer->core;
	if (is_unread(core)) {
		// What the router has not read yet is not lost, and its memory is not to be written to.
		stream->timer_ns = now_ns + backed_off(stream);
		return;
	}
	core->statistics.timeouts++;
	uint32_t size = slot_size(oldest_flying(stream));
	bool is_vanished = is_vanishing(stream, oldest_flying(stream), now_ns);
	stream->timer_ns = NEVER;
	bool is_again = stream->recover_ns != 0;
	bool is_oldest = true;
	for (uint64_t i = stream->head; i < stream->tail; i++) {
		struct slot *slot = stream_slot(stream, i);
		if (slot->state != SLOT_FLYING)
			continue;
		window_lost(&core->window, slot->sent_ns, now_ns);
		// At first only the oldest: its acknowledgement tells whether the others are late or lost.
		bool is_suspect = is_again && slot->sent_ns < stream->recover_ns;
		if (is_oldest || is_suspect)
			slot_queue(stream, i);
		is_oldest = false;
		if (!is_again)
			break;
	}
	stream->recover_ns = now_ns;
	stream->backoff += stream->backoff < BACKOFF_MAX;
	if (stream->flying)
		stream->timer_ns = now_ns + backed_off(stream);
	if (is_vanished)
		path_step(core, size, now_ns);
}

void stream_repacked(struct stream *stream, uint64_t now_ns)
{
	stream->asked_ns = 0;
	stream->vanished = 0;
	stream->recover_ns = 0;
	stream->backoff = 0;
	stream->timer_ns = stream->flying ? now_ns + backed_off(stream) : NEVER;
	if (stream->head < stream->tail)
		stream_activate(stream);
}

// ---- Ends ----

void stream_closed(struct stream *stream, uint64_t request)
{
	if (stream->state == STREAM_CLOSING && request == stream->opened)
		state_set(stream, STREAM_CLOSED);
}

void stream_give_up(struct stream *stream)
{
	struct weir_producer_counts *counts = &stream->producer->counts;
	counts->unknown += stream->events;
	frame_drop(stream);
	// A large event is given up whole or not at all.
	uint64_t tail = stream->tail;
	while (tail > stream->head && !stream_slot(stream, tail - 1)->sends)
		tail--;
	while (tail < stream->tail && tail > stream->head && stream_slot(stream, tail - 1)->count == 0)
		tail++;
	for (uint64_t i = tail; i < stream->tail; i++) {
		struct slot *slot = stream_slot(stream, i);
		counts->unknown += slot->count;
		slot_state_set(stream, slot, SLOT_ARRIVED);
		producer_frame_put(stream->producer, slot->frame);
	}
	if (tail < stream->tail)
		stream->next = stream_slot(stream, tail)->first;
	stream->tail = tail;
	stream->send = min_u64(stream->send, tail);
	stream_activate(stream);
}

void stream_dead(struct stream *stream, uint16_t reason)
{
	struct weir_producer_counts *counts = &stream->producer->counts;
	if (stream->state == STREAM_CLOSED || stream->state == STREAM_DEAD)
		return;
	counts->last_refusal = reason;
	counts->refused += stream->events;
	frame_drop(stream);
	sent_drop(stream);
	while (stream->head < stream->tail) {
		counts->refused += stream_slot(stream, stream->head)->count;
		slot_pop(stream);
	}
	state_set(stream, STREAM_DEAD);
}

// ---- Timers ----

static void close_send(struct stream *stream)
{
	struct weir_frame_header *frame = stream_frame(stream, WEIR_KIND_CLOSE, sizeof(struct weir_close));
	if (!frame)
		return;
	frame->sequence = stream->next;
	((struct weir_close *)(frame + 1))->request = stream->opened;
	core_frame_send(stream->producer->core, frame, sizeof(struct weir_close));
}

static bool is_starved(const struct stream *stream)
{
	if (stream->flying || stream->send >= stream->tail)
		return false;
	const struct slot *slot = stream_slot(stream, stream->send);
	return !slot->reason && (slot_end(slot) > stream->hold_from || slot_end(slot) > stream->limit);
}

static void probe_poll(struct stream *stream, uint64_t now_ns)
{
	struct weir_core *core = stream->producer->core;
	if (!is_starved(stream)) {
		stream->probe_ns = NEVER;
		return;
	}
	if (stream->probe_ns != NEVER && now_ns >= stream->probe_ns) {
		stream->probe_ns = NEVER;
		bool is_held = stream->hold_from != UINT64_MAX && stream->hold_reason != WEIR_R_FULL;
		if (is_held)
			stream->hold_from = UINT64_MAX;
		else // Says how far the credit has to reach for the frame that waits.
			empty_send(stream, WEIR_KIND_PROBE, slot_end(stream_slot(stream, stream->send)));
	}
	if (stream->probe_ns == NEVER) {
		stream->probe_ns = now_ns + stream->probe_wait_ns * 3 / 4 + core_jitter(core, stream->probe_wait_ns / 2);
		stream->probe_wait_ns = min_u64(stream->probe_wait_ns * 2, PROBE_MAX_NS);
	}
	core_due(core, stream->probe_ns);
}

// Somebody waits for an acknowledgement that may wait.
static void ask_poll(struct stream *stream)
{
	if (!stream->is_asking || stream->write || stream->send < stream->tail)
		return;
	stream->is_asking = false;
	if (stream->is_late && stream->flying)
		empty_send(stream, WEIR_KIND_PROBE, 0);
}

static void open_poll(struct stream *stream, uint64_t now_ns)
{
	struct weir_core *core = stream->producer->core;
	linger_poll(stream, now_ns);
	if (stream->flying && stream->level == WEIR_ACK_NONE)
		sent_forget(stream, now_ns);
	else if (stream->flying && now_ns >= stream->timer_ns)
		timeout(stream, now_ns);
	probe_poll(stream, now_ns);
	ask_poll(stream);
	core_due(core, stream->timer_ns);
	if (stream->head < stream->tail || stream->write)
		return;
	if (!stream->producer->is_closing) {
		deactivate(stream);
		return;
	}
	state_set(stream, STREAM_CLOSING);
	request_start(core, &stream->request, now_ns);
}

void stream_poll(struct stream *stream, uint64_t now_ns)
{
	struct weir_core *core = stream->producer->core;
	if (stream->state == STREAM_OPEN)
		open_poll(stream, now_ns);
	if (stream->state == STREAM_OPENING && request_is_due(core, &stream->request, now_ns))
		open_send(stream);
	else if (stream->state == STREAM_CLOSING && request_is_due(core, &stream->request, now_ns))
		close_send(stream);
	else if (stream->state == STREAM_NONE && stream->head == stream->tail && !stream->write)
		deactivate(stream);
}
