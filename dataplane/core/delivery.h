// What the two files of a delivery stream share: delivery.c decides (terms, reports, timers), delivery_send.c makes frames.
#ifndef WEIR_CORE_DELIVERY_H
#define WEIR_CORE_DELIVERY_H

#include "dataplane/core/internal.h"

// Something was sent in this term and not reported as received.
static inline bool weir_delivery_is_outstanding(const struct weir_delivery_stream *delivery)
{
	return delivery->received_to < delivery->sent_to || delivery->fragment_received < delivery->fragment_most;
}

static inline bool weir_delivery_has_backlog(const struct weir_delivery_stream *delivery)
{
	return delivery->from < weir_cursor_offset(&delivery->sent) || delivery->sent.position != delivery->shard->log.head;
}

static inline bool weir_delivery_is_ready(const struct weir_delivery_stream *delivery)
{
	return delivery->state == WEIR_DELIVERY_ACTIVE && delivery->reading == WEIR_READING_FRAMES &&
	       weir_delivery_has_backlog(delivery);
}

// ---- delivery.c ----
// Recomputes the position of the slowest hold cursor or pin. True when it moved.
bool weir_delivery_hold_update(struct weir_shard *shard);
// Everything below `offset` is done. An offset that is not beyond what was said before changes nothing.
void weir_delivery_settle(struct weir_delivery_stream *delivery, uint64_t offset, uint64_t now_ns);
void weir_delivery_timer_arm(struct weir_delivery_stream *delivery);
// Of what the coordinator is told: how long a member that stalls had to settle something, 0: it never said that it began;
// else how far is settled.
static inline uint64_t weir_delivery_told_value(const struct weir_delivery_stream *delivery)
{
	if (delivery->telling != WEIR_MESSAGE_STALLED)
		return weir_cursor_offset(&delivery->settled);
	return delivery->state == WEIR_DELIVERY_ACTIVE ? delivery->progress_timeout_ns : 0;
}

// The member says that it is at work: its time to settle something begins anew.
static inline void weir_delivery_go_on(struct weir_delivery_stream *delivery, uint64_t now_ns)
{
	if (delivery->state != WEIR_DELIVERY_ACTIVE)
		return;
	delivery->is_stalled = false;
	delivery->progress_ns = now_ns;
	weir_delivery_timer_arm(delivery);
}

// Ends the term although the member did not say that it stopped.
void weir_delivery_break(struct weir_delivery_stream *delivery, uint64_t now_ns);

// ---- pace.c ----
void weir_pace_begin(struct weir_delivery_stream *delivery); // a term
// Credit, and what arrived.
void weir_pace_report(struct weir_delivery_stream *delivery, const struct weir_report_entry *entry, bool is_progress);
// A timeout: nothing is known to be under way.
void weir_pace_late(struct weir_delivery_stream *delivery);
// Something is missing. was_silent: only a timeout told.
void weir_pace_lost(struct weir_delivery_stream *delivery, bool was_silent);
// The first frame that is missing may be too large for the path.
bool weir_pace_can_step(const struct weir_delivery_stream *delivery);
// The member has seen what was sent behind the last copy of the first frame, and not that.
bool weir_pace_has_missed(const struct weir_delivery_stream *delivery);
// Then, and once a copy: true: the path does not carry its size, frames are smaller now.
bool weir_pace_vanished(struct weir_delivery_stream *delivery);

#define WEIR_BACKOFF_MAX 7u // doublings of a time

// ---- repair.c ----
// What the member has, says a report.
void weir_repair_report(struct weir_delivery_stream *delivery, const struct weir_report_entry *entry, uint64_t now_ns);
// It misses something. Answered once a round trip, and once after each timeout.
void weir_repair_gap(struct weir_delivery_stream *delivery, const struct weir_report_entry *entry, bool was_probing,
		     uint64_t now_ns);
// Nothing moved for too long while something was under way.
void weir_repair_timeout(struct weir_delivery_stream *delivery, uint64_t now_ns);

// ---- reader.c ----
// Whether the member may read in place, which its assign then says. Once offered, it counts as perhaps reading until it
// reports.
bool weir_reader_offer(struct weir_delivery_stream *delivery);
// A report that begins the reading, or repeats that.
void weir_reader_report(struct weir_delivery_stream *delivery, const struct weir_report_entry *entry, uint64_t now_ns);
// Everything up to the head is as good as sent and received.
void weir_reader_follow(struct weir_delivery_stream *delivery, uint64_t now_ns);
// The term ends. Takes over what was settled last; what the member did not let go of is pinned. false: no room for a pin.
bool weir_reader_leave(struct weir_delivery_stream *delivery, bool has_let_go, uint64_t now_ns);
// The same when its group is removed. false: even then there is no room.
bool weir_reader_drop(struct weir_delivery_stream *delivery, uint64_t now_ns);
// The session let go of what it read in that term.
void weir_reader_unpin(struct weir_shard *shard, const struct weir_session_ref *session, const struct weir_revoke *term,
		       uint64_t now_ns);
// Moves the settled cursor, before it is moved to `offset`, to the last head told at or below that, if that is further: clients
// settle what they read in one go, so the log need not be walked.
void weir_reader_jump(struct weir_delivery_stream *delivery, uint64_t offset);
// Books what the member says it has taken in place, up to `to`, and an earlier term may have handed out.
void weir_reader_taken(struct weir_delivery_stream *delivery, uint64_t to);
void weir_reader_detach(struct weir_delivery_stream *delivery);
// The shard leaves this worker with its pins, or ends with them.
void weir_reader_unlist_pins(struct weir_shard *shard);
void weir_reader_attach(struct weir_shard *shard, uint64_t now_ns);

// ---- delivery_send.c ----
// Sends the next frame from `sent`: 1 sent, 0 nothing to send or no credit (is_starved says so), -EAGAIN no room now.
int weir_delivery_send(struct weir_delivery_stream *delivery, uint64_t now_ns);
// An empty frame that says where the router stands. 0 or -EAGAIN.
int weir_delivery_announce(struct weir_delivery_stream *delivery, uint64_t now_ns);
// Control frames of the term. 0 or -EAGAIN.
int weir_delivery_send_assign(struct weir_delivery_stream *delivery);
int weir_delivery_send_revoke(struct weir_shard *shard, const struct weir_session_ref *to, uint32_t handle,
			      const struct weir_revoke *revoke);

#endif
