// What a stream does about a refusal: hold what is to be tried again, skip what was refused for good, open anew, give up
// (wire/PROTOCOL.md, sections 8 and 14). Called by producer.c from input of the core.
#include "client/slot.h"

// Nothing from `sequence` on is sent until something changes; what flew from there on was refused as well or will be.
static void hold(struct stream *stream, uint64_t sequence, uint16_t reason, uint64_t now_ns)
{
	stream->hold_from = min_u64(stream->hold_from, sequence);
	stream->hold_reason = reason;
	for (uint64_t i = stream->head; i < stream->tail; i++) {
		struct slot *slot = stream_slot(stream, i);
		if (slot_end(slot) <= sequence || slot->state != SLOT_FLYING)
			continue;
		slot->was_missed = true;
		slot_queue(stream, i);
	}
	if (stream->flying == 0)
		stream->timer_ns = NEVER;
}

static void refused_for_good(struct stream *stream, const struct weir_refuse_entry *entry)
{
	struct weir_producer_counts *counts = &stream->producer->counts;
	for (uint64_t i = stream->head; i < stream->tail; i++) {
		struct slot *slot = stream_slot(stream, i);
		if (slot->first >= entry->sequence + entry->count)
			break;
		if (slot_end(slot) <= entry->sequence || slot->reason || !slot->sends)
			continue;
		counts->last_refusal = entry->reason;
		if (train_refused(stream, slot, entry)) {
			slot_queue(stream, i);
			continue;
		}
		if (!slot->is_fragment && slot->first < stream->acked) {
			counts->routed += stream->acked - slot->first - slot->refused;
			counts->refused += slot->refused;
			slot->refused = 0;
			slot->count -= (uint32_t)(stream->acked - slot->first);
			slot->first = stream->acked;
		}
		slot->reason = entry->reason;
		slot->is_repair = true;
		slot_queue(stream, i);
	}
}

static void open_refused(struct stream *stream, const struct weir_refuse_entry *entry, uint64_t now_ns)
{
	struct weir_core *core = stream->producer->core;
	if (entry->count || entry->sequence != stream->request.id)
		return;
	stream->producer->open_refusal = entry->reason;
	if (weir_reason_class(entry->reason) == WEIR_REASON_RETRY) {
		stream->request.due_ns = now_ns + stream->probe_wait_ns * 3 / 4 + core_jitter(core, stream->probe_wait_ns / 2);
		stream->probe_wait_ns = min_u64(stream->probe_wait_ns * 2, PROBE_MAX_NS);
		core_due(core, stream->request.due_ns);
		return;
	}
	if (entry->reason == WEIR_R_NO_TOPIC || entry->reason == WEIR_R_NO_SHARD || entry->reason == WEIR_R_TOPIC_REMOVED)
		producer_topic_gone(stream->producer);
	else
		stream_dead(stream, entry->reason);
}

void stream_refuse(struct stream *stream, const struct weir_refuse_entry *entry, uint64_t now_ns)
{
	struct weir_core *core = stream->producer->core;
	core->is_urgent = true;
	core_due(core, now_ns);
	if (stream->state == STREAM_OPENING) {
		open_refused(stream, entry, now_ns);
		return;
	}
	if ((stream->state != STREAM_OPEN && stream->state != STREAM_CLOSING) || entry->stream != stream->handle)
		return;
	switch (entry->reason) {
	case WEIR_R_NO_STREAM:
		if (stream->state == STREAM_CLOSING)
			stream_closed(stream, stream->opened);
		else
			stream_open(stream, now_ns);
		return;
	case WEIR_R_NO_TOPIC:
	case WEIR_R_NO_SHARD:
	case WEIR_R_TOPIC_REMOVED:
		stream->producer->counts.last_refusal = entry->reason;
		producer_topic_gone(stream->producer);
		return;
	case WEIR_R_FENCED:
		stream_dead(stream, entry->reason);
		return;
	}
	if (stream->level == WEIR_ACK_NONE || stream->state != STREAM_OPEN || entry->count == 0)
		return;
	if (entry->sequence + entry->count <= stream->acked)
		return; // answered in the meantime
	if (weir_reason_class(entry->reason) != WEIR_REASON_RETRY)
		refused_for_good(stream, entry);
	else if (entry->reason != WEIR_R_GAP || entry->sequence > stream->acked)
		hold(stream, max_u64(entry->sequence, stream->acked), entry->reason, now_ns);
}
