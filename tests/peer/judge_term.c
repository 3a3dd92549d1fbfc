// The judge's terms: what a consumer reports, grants and gives back (wire/PROTOCOL.md, sections 11 and 12). A term is known
// from its ASSIGN, as it was really sent; what the consumer can know is what was really sent to it.
// Called by judge.c; one thread.
#include <string.h>

#include "tests/peer/judge.h"
#include "wire/codec.h"

#define ANSWER_NS (1000 * MS) // a frame that is answered at once, on a busy machine
#define PACE_NS (100 * MS + ANSWER_NS)
#define GAP_SEEN_NS (8 * MS) // a gap that was open for so long should have been reported
#define GAPS_UNREPORTED 8u
#define GAPS_APART_NS (MS / 20) // one a round trip; less than that is none through two sockets

static struct judged_term *term_find(struct judge *judge, uint32_t topic, uint16_t shard, uint32_t group)
{
	for (uint32_t i = 0; i < JUDGE_TERMS; i++) {
		struct judged_term *term = &judge->terms[i];
		if (term->is_used && term->topic == topic && term->shard == shard && term->group == group)
			return term;
	}
	return NULL;
}

static struct judged_term *term_of_handle(struct judge *judge, const struct weir_frame_header *frame)
{
	for (uint32_t i = 0; i < JUDGE_TERMS; i++) {
		struct judged_term *term = &judge->terms[i];
		if (term->is_used && term->topic == frame->topic && term->shard == frame->shard &&
		    term->handle == frame->stream)
			return term;
	}
	return NULL;
}

static struct judged_term *term_make(struct judge *judge)
{
	for (uint32_t i = 0; i < JUDGE_TERMS; i++) {
		if (!judge->terms[i].is_used)
			return &judge->terms[i];
	}
	return NULL;
}

// ---- Reports ----

static bool was_charged(const struct judged_term *term, uint64_t charged)
{
	uint32_t kept = term->charge_count < JUDGE_SENT ? term->charge_count : JUDGE_SENT;
	for (uint32_t i = 0; i < kept; i++) {
		if (term->charges[i] == charged)
			return true;
	}
	return charged == 0 || term->charge_count > JUDGE_SENT;
}

static void numbers_check(struct judge *judge, const struct judged_term *term, const struct weir_report_entry *entry)
{
	if (term->is_reported && (entry->received_to < term->received_to || entry->settled_to < term->settled_to ||
				  entry->limit < term->limit || entry->charged < term->charged))
		BREACH(judge, PEER_RULE_REPORT_FALLS,
		       "shard %u, term %u: received_to %llu, settled_to %llu, limit %llu after %llu, %llu, %llu", entry->shard,
		       entry->term, (unsigned long long)entry->received_to, (unsigned long long)entry->settled_to,
		       (unsigned long long)entry->limit, (unsigned long long)term->received_to,
		       (unsigned long long)term->settled_to, (unsigned long long)term->limit);
	if (entry->received_to > term->sent_to || entry->settled_to > entry->received_to || entry->settled_to < term->from)
		BREACH(judge, PEER_RULE_REPORT_BEYOND,
		       "shard %u, term %u from %llu: received_to %llu, settled_to %llu, sent were %llu", entry->shard,
		       entry->term, (unsigned long long)term->from, (unsigned long long)entry->received_to,
		       (unsigned long long)entry->settled_to, (unsigned long long)term->sent_to);
	if (!was_charged(term, entry->charged))
		BREACH(judge, PEER_RULE_CHARGED, "shard %u, term %u: charged %llu, behind no frame that was sent", entry->shard,
		       entry->term, (unsigned long long)entry->charged);
}

static void grant_check(struct judge *judge)
{
	uint64_t granted = 0;
	for (uint32_t i = 0; i < JUDGE_TERMS; i++) {
		const struct judged_term *term = &judge->terms[i];
		if (term->is_used && !term->is_over && term->is_reported && term->limit > term->charged)
			granted += term->limit - term->charged;
	}
	// What the consumer holds charges it too; it may grant what it holds anew, so a frame a shard is forgiven.
	if (judge->hello.receive_buffer && granted > judge->hello.receive_buffer + JUDGE_TERMS * (uint64_t)weir_charge(9216))
		BREACH(judge, PEER_RULE_GRANT, "%llu bytes are granted over all shards, the receive buffer holds %u",
		       (unsigned long long)granted, judge->hello.receive_buffer);
}

static void gap_check(struct judge *judge, struct judged_term *term, const struct weir_report_entry *entry)
{
	if (!(entry->flags & WEIR_REPORT_GAP))
		return;
	if (term->gap_ns && judge->now_ns < term->gap_ns + GAPS_APART_NS && entry->received_to == term->received_to &&
	    entry->fragment_to == term->gap_fragment)
		BREACH(judge, PEER_RULE_GAP, "shard %u, term %u: two reports of one gap %.1f ms apart", entry->shard,
		       entry->term, (double)(judge->now_ns - term->gap_ns) / 1e6);
	term->gap_ns = judge->now_ns;
	term->gap_fragment = entry->fragment_to;
	term->unreported = 0;
}

static void entry_in(struct judge *judge, const struct weir_report_entry *entry)
{
	struct judged_term *term = term_find(judge, entry->topic, entry->shard, entry->group);
	if (!term || term->term != entry->term) {
		BREACH(judge, PEER_RULE_TERM, "a REPORT of shard %u, term %u, %s %u", entry->shard, entry->term,
		       term ? "assigned is" : "assigned was none; group", term ? term->term : entry->group);
		return;
	}
	if (term->is_over)
		BREACH(judge, PEER_RULE_TERM, "a REPORT of shard %u, term %u, which was answered REVOKED", entry->shard,
		       entry->term);
	if (term->handle != entry->stream)
		BREACH(judge, PEER_RULE_TERM, "a REPORT of shard %u with handle %u, assigned was %u", entry->shard,
		       entry->stream, term->handle);
	numbers_check(judge, term, entry);
	gap_check(judge, term, entry);
	if (entry->received_to > term->received_to || !term->is_reported)
		term->behind_ns = judge->now_ns;
	term->is_reported = true;
	term->reported_ns = judge->now_ns;
	term->received_to = entry->received_to > term->received_to ? entry->received_to : term->received_to;
	term->settled_to = entry->settled_to > term->settled_to ? entry->settled_to : term->settled_to;
	term->limit = entry->limit > term->limit ? entry->limit : term->limit;
	term->charged = entry->charged > term->charged ? entry->charged : term->charged;
	grant_check(judge);
}

static void revoked_in(struct judge *judge, const struct weir_frame_header *frame)
{
	const struct weir_revoke *revoked = (const struct weir_revoke *)(frame + 1);
	struct judged_term *term = term_find(judge, frame->topic, frame->shard, revoked->group);
	if (!term || term->term != revoked->term)
		return; // of an unknown term: "not known"
	if (frame->sequence != UINT64_MAX && revoked->settled_to > term->sent_to)
		BREACH(judge, PEER_RULE_REPORT_BEYOND, "REVOKED of shard %u settles up to %llu, sent were %llu", frame->shard,
		       (unsigned long long)revoked->settled_to, (unsigned long long)term->sent_to);
	if (!term->is_over && frame->sequence != UINT64_MAX && revoked->settled_to < term->settled_to)
		BREACH(judge, PEER_RULE_REPORT_FALLS, "REVOKED of shard %u settles up to %llu, a REPORT said %llu",
		       frame->shard, (unsigned long long)revoked->settled_to, (unsigned long long)term->settled_to);
	term->is_over = true;
	term->revoke_ns = 0;
}

void judge_term_in(struct judge *judge, const struct weir_frame_header *frame)
{
	if (frame->kind == WEIR_KIND_REPORT) {
		const struct weir_report_entry *entry = (const struct weir_report_entry *)(frame + 1);
		for (uint32_t i = 0; i < frame->count; i++)
			entry_in(judge, &entry[i]);
	} else if (frame->kind == WEIR_KIND_REVOKED) {
		revoked_in(judge, frame);
	}
}

// ---- What the client is told ----

static void assign_out(struct judge *judge, const struct weir_frame_header *frame)
{
	const struct weir_assign *assign = (const struct weir_assign *)(frame + 1);
	struct judged_term *term = term_find(judge, frame->topic, frame->shard, assign->group);
	if (term && term->term >= assign->term)
		return;
	if (!term)
		term = term_make(judge);
	if (!term)
		return;
	*term = (struct judged_term){
		.is_used = true,
		.shard = frame->shard,
		.topic = frame->topic,
		.group = assign->group,
		.handle = frame->stream,
		.term = assign->term,
		.assigned_ns = judge->now_ns,
		.from = assign->from,
		.sent_to = assign->from,
		.contiguous_to = assign->from,
		.received_to = assign->from,
		.settled_to = assign->from,
		.behind_ns = judge->now_ns,
	};
}

// The router's own timer may fill a gap before the client said anything; a client that never says anything is told.
static void gap_close(struct judge *judge, struct judged_term *term)
{
	if (!term->has_gap)
		return;
	term->has_gap = false;
	if (term->gap_ns < term->gap_since_ns && judge->now_ns > term->gap_since_ns + GAP_SEEN_NS)
		term->unreported++;
	if (term->unreported < GAPS_UNREPORTED)
		return;
	BREACH(judge, PEER_RULE_GAP, "shard %u, term %u: %u gaps running were not reported before a timer filled them",
	       term->shard, term->term, term->unreported);
	term->unreported = 0;
}

static void deliver_out(struct judge *judge, const struct weir_frame_header *frame)
{
	const struct weir_delivery *delivery = (const struct weir_delivery *)(frame + 1);
	struct judged_term *term = term_of_handle(judge, frame);
	if (!term || term->term != delivery->term || term->is_over)
		return;
	uint64_t to = delivery->to;
	if (to > term->sent_to)
		term->sent_to = to;
	// A gap is what the client has to notice: something that it was really sent lies beyond what it can have.
	if (frame->sequence > term->contiguous_to) {
		if (!term->has_gap)
			term->gap_since_ns = judge->now_ns;
		term->has_gap = true;
	} else if (to > term->contiguous_to) {
		if (term->contiguous_to <= term->received_to)
			term->behind_ns = judge->now_ns;
		term->contiguous_to = to;
		gap_close(judge, term);
	}
	term->charges[term->charge_count++ % JUDGE_SENT] =
		delivery->charge_from + (frame->count ? weir_charge((uint32_t)sizeof(*frame) + frame->body_length) : 0);
}

void judge_term_out(struct judge *judge, const struct weir_frame_header *frame)
{
	if (frame->kind == WEIR_KIND_ASSIGN) {
		assign_out(judge, frame);
	} else if (frame->kind == WEIR_KIND_DELIVER) {
		deliver_out(judge, frame);
	} else if (frame->kind == WEIR_KIND_REVOKE) {
		const struct weir_revoke *revoke = (const struct weir_revoke *)(frame + 1);
		struct judged_term *term = term_find(judge, frame->topic, frame->shard, revoke->group);
		if (term && term->term == revoke->term && !term->is_over && !term->revoke_ns)
			term->revoke_ns = judge->now_ns;
	} else if (frame->kind == WEIR_KIND_LEFT) {
		const struct weir_leave *left = (const struct weir_leave *)(frame + 1);
		for (uint32_t i = 0; i < JUDGE_TERMS; i++) {
			if (judge->terms[i].group == left->group)
				judge->terms[i].is_over = true;
		}
	}
}

static void overdue_check(struct judge *judge, struct judged_term *term)
{
	uint64_t now_ns = judge->now_ns;
	if (!term->is_reported && now_ns > term->assigned_ns + ANSWER_NS) {
		BREACH(judge, PEER_RULE_ASSIGN, "shard %u, term %u was assigned %.1f s ago and not reported", term->shard,
		       term->term, (double)(now_ns - term->assigned_ns) / 1e9);
		term->assigned_ns = now_ns;
	}
	if (term->is_reported && term->settled_to < term->received_to && now_ns > term->reported_ns + PACE_NS) {
		BREACH(judge, PEER_RULE_REPORT_PACE, "shard %u, term %u: settled %llu of %llu, the last REPORT was %.1f s ago",
		       term->shard, term->term, (unsigned long long)term->settled_to, (unsigned long long)term->received_to,
		       (double)(now_ns - term->reported_ns) / 1e9);
		term->reported_ns = now_ns;
	}
	if (term->is_reported && term->contiguous_to > term->received_to && now_ns > term->behind_ns + 2 * ANSWER_NS) {
		BREACH(judge, PEER_RULE_PROGRESS, "shard %u, term %u: sent in order up to %llu, received_to is %llu for %.1f s",
		       term->shard, term->term, (unsigned long long)term->contiguous_to,
		       (unsigned long long)term->received_to, (double)(now_ns - term->behind_ns) / 1e9);
		term->behind_ns = now_ns;
	}
	if (term->revoke_ns && now_ns > term->revoke_ns + judge->lease_ms * MS / 3 + ANSWER_NS) {
		BREACH(judge, PEER_RULE_REVOKED, "shard %u, term %u: REVOKE was sent %.1f s ago", term->shard, term->term,
		       (double)(now_ns - term->revoke_ns) / 1e9);
		term->revoke_ns = now_ns;
	}
}

void judge_term_tick(struct judge *judge)
{
	for (uint32_t i = 0; i < JUDGE_TERMS; i++) {
		if (judge->terms[i].is_used && !judge->terms[i].is_over)
			overdue_check(judge, &judge->terms[i]);
	}
}
