// What a member has and what it is sent again: after a gap all from there on, after a timeout one frame, whose answer
// tells loss from lateness. pace.c says how much, delivery_send.c makes the frames. Owner's worker only; from delivery.c.
#include "dataplane/core/delivery.h"

#include "dataplane/core/engine_state.h"

#define GAP_UNMEASURED_NS 10000000u

// Sends again from received_to. A partly received event goes on behind the fragments that arrived.
static void go_back(struct weir_delivery_stream *delivery, uint64_t now_ns)
{
	const struct weir_log *log = &delivery->shard->log;
	uint64_t settled = weir_cursor_offset(&delivery->settled);
	struct weir_cursor cursor = delivery->settled;
	weir_cursor_advance(log, &cursor, delivery->received_to > settled ? delivery->received_to : settled);
	delivery->sent = cursor;
	delivery->from = delivery->received_to;
	delivery->fragment_sent = 0;
	delivery->is_first_due = true;
	delivery->is_measuring = false;
	delivery->go_back_ns = delivery->outstanding_ns = now_ns;
	if (delivery->received_to < settled || !delivery->fragment_received || cursor.position == log->head)
		return;
	const uint8_t *event = (const uint8_t *)(weir_log_run(log, cursor.position) + 1) + cursor.bytes;
	uint32_t padded = weir_pad8(((const struct weir_event_header *)(const void *)event)->length);
	if (delivery->fragment_received < padded && delivery->fragment_received % 8 == 0)
		delivery->fragment_sent = delivery->fragment_received;
}

// A timeout does not tell loss from a member that was late to read. So one frame is sent again and the place where sending
// stood is kept (the idea of F-RTO, RFC 5682): the answer decides.
void weir_repair_timeout(struct weir_delivery_stream *delivery, uint64_t now_ns)
{
	if (delivery->probing == WEIR_PROBING_NOT) {
		delivery->resume = delivery->sent;
		delivery->resume_fragment = delivery->fragment_sent;
		delivery->resume_from = delivery->from;
		delivery->has_resume = delivery->from == weir_cursor_offset(&delivery->sent);
	}
	go_back(delivery, now_ns);
	weir_pace_late(delivery);
	delivery->probing = WEIR_PROBING_DUE;
	delivery->backoff += delivery->backoff < WEIR_BACKOFF_MAX;
	weir_engine_mark_deliverable(delivery->shard->engine, delivery->shard);
}

static bool is_within_resume(const struct weir_delivery_stream *delivery, const struct weir_report_entry *entry)
{
	return entry->received_to < delivery->resume_from ||
	       (entry->received_to == delivery->resume_from && entry->fragment_to <= delivery->resume_fragment);
}

// Progress that ends elsewhere than the frame sent again comes from the frames of before: they were late, not lost, and
// sending goes on where it stood. A gap says that they were lost. Without progress the answer is still to come.
static void probe_answer(struct weir_delivery_stream *delivery, const struct weir_report_entry *entry)
{
	bool is_gap = entry->flags & WEIR_REPORT_GAP;
	bool is_progress = entry->received_to > delivery->received_to || entry->fragment_to > delivery->fragment_received;
	if (delivery->probing == WEIR_PROBING_NOT || !(is_gap || is_progress))
		return;
	bool is_probe = entry->received_to == delivery->probe_to && entry->fragment_to == delivery->probe_fragment;
	bool is_late = !is_gap && (delivery->probing == WEIR_PROBING_DUE || !is_probe);
	if (!is_late) {
		weir_pace_lost(delivery, !is_gap);
	} else if (delivery->has_resume && is_within_resume(delivery, entry)) {
		delivery->sent = delivery->resume;
		delivery->from = delivery->resume_from;
		delivery->fragment_sent = delivery->resume_fragment;
	}
	delivery->probing = WEIR_PROBING_NOT;
	delivery->has_resume = false;
}

static void round_trip_measure(struct weir_delivery_stream *delivery, uint64_t now_ns)
{
	if (!delivery->is_measuring || delivery->received_to < delivery->measure_to)
		return;
	uint64_t sample = now_ns - delivery->measure_ns + 1;
	delivery->is_measuring = false;
	uint64_t smoothed = delivery->round_trip_ns;
	delivery->round_trip_ns = smoothed ? smoothed - smoothed / 8 + sample / 8 : sample;
}

// received_to, and fragments of the event there. Numbers beyond what was sent are cut to it. true: that was news.
static bool received_apply(struct weir_delivery_stream *delivery, const struct weir_report_entry *entry, uint64_t now_ns)
{
	uint64_t received = entry->received_to < delivery->sent_to ? entry->received_to : delivery->sent_to;
	uint32_t fragment = received == entry->received_to ? entry->fragment_to : 0;
	if (received == delivery->sent_to && fragment > delivery->fragment_most)
		fragment = delivery->fragment_most;
	if (received < delivery->received_to || (received == delivery->received_to && fragment <= delivery->fragment_received))
		return false;
	delivery->received_to = received;
	delivery->fragment_received = fragment;
	delivery->backoff = 0;
	delivery->outstanding_ns = now_ns;
	round_trip_measure(delivery, now_ns);
	uint64_t sent = weir_cursor_offset(&delivery->sent);
	// After a go-back only the report had been late: no need to send what arrived.
	if (received > sent || (received == sent && fragment > delivery->fragment_sent) || received > delivery->from) {
		bool was_measuring = delivery->is_measuring;
		uint64_t go_back_ns = delivery->go_back_ns;
		go_back(delivery, now_ns);
		delivery->is_measuring = was_measuring;
		delivery->go_back_ns = go_back_ns;
	}
	return true;
}

void weir_repair_report(struct weir_delivery_stream *delivery, const struct weir_report_entry *entry, uint64_t now_ns)
{
	probe_answer(delivery, entry);
	weir_pace_report(delivery, entry, received_apply(delivery, entry, now_ns));
}

// The member misses something. Once a round trip, and once after each timeout. Frames that vanish again and again while others
// arrive are too large for the path.
void weir_repair_gap(struct weir_delivery_stream *delivery, const struct weir_report_entry *entry, bool was_probing,
		     uint64_t now_ns)
{
	uint64_t pause = delivery->round_trip_ns ? delivery->round_trip_ns : GAP_UNMEASURED_NS;
	if (entry->received_to != delivery->received_to || !weir_delivery_is_outstanding(delivery) ||
	    (!was_probing && now_ns - delivery->go_back_ns < pause))
		return;
	// It may have had to drop the pieces it had.
	if (entry->fragment_to < delivery->fragment_received)
		delivery->fragment_received = entry->fragment_to;
	weir_pace_lost(delivery, false);
	if (weir_pace_vanished(delivery)) {
		weir_session_smaller(delivery->shard->engine, &delivery->member);
		delivery->backoff = 0;
	}
	go_back(delivery, now_ns);
}
