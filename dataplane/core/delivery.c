// A group's place on a shard: whose turn it is (terms), what the member said (reports), when to send again (timers). The
// coordinator, group.c, decides who the member is; delivery_send.c makes the frames. Owner's worker only.
//
// Offsets, lowest first: settled <= received_to <= sent_to. `sent` stands where the next event comes from, below sent_to
// after a go-back. Only cutting loose moves settled beyond the others; `from` then tells the member of the gap.
#include "dataplane/core/delivery.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "dataplane/core/engine_state.h"

#define MS 1000000ull
#define COMMAND_REPEAT_NS (100 * MS) // doubling
#define COMMAND_REPEAT_MAX_NS (1000 * MS)
#define NO_ROOM_RETRY_NS MS
#define RETRANSMIT_FIRST_NS (100 * MS) // before a round trip was measured
#define RETRANSMIT_MIN_NS (10 * MS)
#define RETRANSMIT_MAX_NS (1000 * MS)
#define ANNOUNCE_STARVED_NS (10 * MS)
#define ANNOUNCE_UNSETTLED_NS (100 * MS)
#define ANNOUNCE_IDLE_NS (1000 * MS)

static uint64_t settled_offset(const struct weir_delivery_stream *delivery)
{
	return weir_cursor_offset(&delivery->settled);
}

static void touch(struct weir_delivery_stream *delivery)
{
	delivery->is_dirty = true;
	weir_engine_mark_dirty(delivery->shard->engine, delivery->shard);
}

bool weir_delivery_hold_update(struct weir_shard *shard)
{
	uint64_t hold = shard->log.head;
	for (uint32_t i = 0; i < shard->deliveries_limit; i++) {
		const struct weir_delivery_stream *delivery = shard->deliveries[i];
		if (delivery && delivery->kind == WEIR_GROUP_HOLD && delivery->settled.position < hold)
			hold = delivery->settled.position;
	}
	for (uint32_t i = 0; shard->pins_used && i < WEIR_PINS_ROOM; i++) {
		if (shard->pins[i].lane && shard->pins[i].position < hold)
			hold = shard->pins[i].position;
	}
	if (hold == shard->hold)
		return false;
	shard->hold = hold;
	return true;
}

void weir_delivery_settle(struct weir_delivery_stream *delivery, uint64_t offset, uint64_t now_ns)
{
	struct weir_shard *shard = delivery->shard;
	uint64_t before = settled_offset(delivery);
	if (offset <= before)
		return;
	weir_reader_jump(delivery, offset);
	weir_cursor_advance(&shard->log, &delivery->settled, offset);
	delivery->row.settled += offset - before;
	delivery->progress_ns = now_ns;
	delivery->is_stalled = false;
	if (delivery->kind == WEIR_GROUP_HOLD && weir_delivery_hold_update(shard) && shard->waiters_first)
		weir_stream_room(shard, now_ns);
}

// ---- Timers: one per delivery, armed for the earliest of what may become due, never moved to later ----

static uint64_t doubled(uint64_t base_ns, uint32_t times, uint64_t most_ns)
{
	uint64_t ns = base_ns << (times < WEIR_BACKOFF_MAX ? times : WEIR_BACKOFF_MAX);
	return ns < most_ns ? ns : most_ns;
}

static uint64_t retransmit_ns(const struct weir_delivery_stream *delivery)
{
	uint64_t base = delivery->round_trip_ns ? 3 * delivery->round_trip_ns : RETRANSMIT_FIRST_NS;
	return doubled(base < RETRANSMIT_MIN_NS ? RETRANSMIT_MIN_NS : base, delivery->backoff, RETRANSMIT_MAX_NS);
}

static uint64_t announce_after_ns(const struct weir_delivery_stream *delivery)
{
	if (delivery->is_starved)
		return doubled(ANNOUNCE_STARVED_NS, delivery->backoff, ANNOUNCE_IDLE_NS);
	if (settled_offset(delivery) < delivery->received_to)
		return doubled(ANNOUNCE_UNSETTLED_NS, delivery->backoff, ANNOUNCE_IDLE_NS);
	return ANNOUNCE_IDLE_NS;
}

// Without credit nothing can be sent again: the member is told where the router stands instead.
static bool is_resending(const struct weir_delivery_stream *delivery)
{
	return weir_delivery_is_outstanding(delivery) && !delivery->is_starved;
}

static bool is_progress_timed(const struct weir_delivery_stream *delivery)
{
	return delivery->progress_timeout_ns && !delivery->is_stalled &&
	       (delivery->sent_to > settled_offset(delivery) || delivery->is_starved);
}

static uint64_t lease_ns(const struct weir_delivery_stream *delivery)
{
	return weir_engine_limits_of(delivery->shard->engine)->lease_ms * MS;
}

static uint64_t deadline(const struct weir_delivery_stream *delivery)
{
	uint64_t due = UINT64_MAX;
	switch ((enum weir_delivery_state)delivery->state) {
	case WEIR_DELIVERY_IDLE:
		break;
	case WEIR_DELIVERY_ASSIGNING:
	case WEIR_DELIVERY_REVOKING:
		// Stalled, or without a pin: something else ends it.
		if (delivery->is_stalled && delivery->state == WEIR_DELIVERY_ASSIGNING)
			break;
		due = delivery->command_due_ns;
		if (!delivery->wants_pin && due > delivery->asked_ns + lease_ns(delivery))
			due = delivery->asked_ns + lease_ns(delivery);
		break;
	case WEIR_DELIVERY_ACTIVE:
		if (delivery->reading == WEIR_READING_FRAMES)
			due = is_resending(delivery) ? delivery->outstanding_ns + retransmit_ns(delivery)
						     : delivery->announce_ns + announce_after_ns(delivery);
		if (is_progress_timed(delivery) && due > delivery->progress_ns + delivery->progress_timeout_ns)
			due = delivery->progress_ns + delivery->progress_timeout_ns;
		break;
	}
	return due;
}

void weir_delivery_timer_arm(struct weir_delivery_stream *delivery)
{
	uint64_t due = deadline(delivery);
	if (due == UINT64_MAX || (weir_timer_is_armed(&delivery->timer) && delivery->timer.due_ns <= due))
		return;
	weir_wheel_arm(weir_engine_wheel(delivery->shard->engine), &delivery->timer, due);
}

// ---- Terms ----

// The coordinator is told from the turn's loop, of the last thing only: a term that is over stalls no more.
static void tell(struct weir_delivery_stream *delivery, uint16_t kind)
{
	struct weir_engine *engine = delivery->shard->engine;
	if (!delivery->telling)
		TAILQ_INSERT_TAIL(&engine->telling, delivery, told_next);
	delivery->telling = kind;
	engine->has_work = engine->has_to_tell = true;
}

static void tell_nothing(struct weir_delivery_stream *delivery)
{
	if (delivery->telling)
		TAILQ_REMOVE(&delivery->shard->engine->telling, delivery, told_next);
	delivery->telling = 0;
}

uint32_t weir_delivery_tell(struct weir_engine *engine, uint32_t budget)
{
	uint32_t told = 0;
	struct weir_delivery_stream *delivery = TAILQ_FIRST(&engine->telling);
	for (struct weir_delivery_stream *next; delivery && told < budget; delivery = next) {
		next = TAILQ_NEXT(delivery, told_next);
		if (!weir_engine_may_tell(engine, delivery->coordinator))
			continue;
		const struct weir_message message = {
			.kind = delivery->telling,
			.from = engine->config.worker,
			.worker = delivery->coordinator,
			.shard = delivery->shard->shard, .topic = delivery->shard->topic,
			.group = delivery->group,
			.term = delivery->term,
			.value = weir_delivery_told_value(delivery),
		};
		tell_nothing(delivery);
		weir_engine_tell(engine, delivery->coordinator, &message);
		told++;
	}
	return told;
}

// Everything of a term that is not settled is forgotten: the next one begins there.
static void rewind_to_settled(struct weir_delivery_stream *delivery)
{
	delivery->sent = delivery->settled;
	delivery->from = delivery->sent_to = delivery->received_to = delivery->told_to = settled_offset(delivery);
	weir_pace_begin(delivery);
	delivery->fragment_sent = delivery->fragment_received = delivery->fragment_most = 0;
	delivery->probing = WEIR_PROBING_NOT;
	delivery->has_resume = false;
	delivery->is_first_due = true;
	delivery->backoff = 0;
	delivery->is_measuring = delivery->is_starved = delivery->is_stalled = false;
	delivery->round_trip_ns = 0;
}

// The member may have handed out what lies below `handed_to`.
static void term_end(struct weir_delivery_stream *delivery, uint64_t handed_to)
{
	if (handed_to > delivery->sent_to)
		handed_to = delivery->sent_to;
	if (handed_to > delivery->redelivered_to)
		delivery->redelivered_to = handed_to;
	delivery->state = WEIR_DELIVERY_IDLE;
	delivery->wants_pin = false;
	delivery->member = (struct weir_session_ref){ 0 };
	rewind_to_settled(delivery);
	weir_wheel_cancel(weir_engine_wheel(delivery->shard->engine), &delivery->timer);
	touch(delivery);
	tell(delivery, WEIR_MESSAGE_RELEASED);
}

// The member did not say that it let go of what it read in place: unless that can be pinned, the term goes on being revoked.
void weir_delivery_break(struct weir_delivery_stream *delivery, uint64_t now_ns)
{
	if (weir_reader_leave(delivery, false, now_ns)) {
		term_end(delivery, UINT64_MAX);
		return;
	}
	if (delivery->state != WEIR_DELIVERY_REVOKING) {
		delivery->state = WEIR_DELIVERY_REVOKING;
		delivery->asked_ns = now_ns;
		delivery->command_due_ns = now_ns + COMMAND_REPEAT_NS;
		touch(delivery);
	}
	delivery->wants_pin = true;
	weir_delivery_timer_arm(delivery);
}

// The assign or revoke frame of the state; no room: again in a millisecond.
static void command_send(struct weir_delivery_stream *delivery, uint64_t now_ns)
{
	int error;
	if (delivery->state == WEIR_DELIVERY_ASSIGNING) {
		error = weir_delivery_send_assign(delivery);
	} else {
		struct weir_revoke revoke = { .group = delivery->group, .term = delivery->term };
		error = weir_delivery_send_revoke(delivery->shard, &delivery->member, delivery->handle, &revoke);
	}
	uint64_t pause_ns = doubled(COMMAND_REPEAT_NS, delivery->backoff, COMMAND_REPEAT_MAX_NS);
	delivery->command_due_ns = now_ns + (error ? NO_ROOM_RETRY_NS : pause_ns);
	delivery->backoff += !error && delivery->backoff < WEIR_BACKOFF_MAX;
	weir_delivery_timer_arm(delivery);
}

static void term_begin(struct weir_delivery_stream *delivery, const struct weir_message *message, uint64_t now_ns)
{
	delivery->term = message->term;
	delivery->member = message->session;
	delivery->membership = message->member;
	delivery->agreed_size = delivery->member.frame_size;
	delivery->state = WEIR_DELIVERY_ASSIGNING;
	rewind_to_settled(delivery);
	if (delivery->redelivered_to < delivery->from)
		delivery->redelivered_to = delivery->from;
	delivery->progress_ns = delivery->outstanding_ns = delivery->go_back_ns = delivery->announce_ns = now_ns;
	delivery->asked_ns = now_ns;
	touch(delivery);
	command_send(delivery, now_ns);
}

static void revoke_begin(struct weir_delivery_stream *delivery, uint64_t now_ns)
{
	// A lease long it did not say that it began: there is nothing to wait for.
	if (delivery->state == WEIR_DELIVERY_ASSIGNING && delivery->is_stalled) {
		weir_delivery_break(delivery, now_ns);
		return;
	}
	delivery->state = WEIR_DELIVERY_REVOKING;
	delivery->asked_ns = now_ns;
	delivery->backoff = 0;
	touch(delivery);
	command_send(delivery, now_ns);
}

static struct weir_delivery_stream *find(struct weir_shard *shard, uint32_t group)
{
	for (uint32_t i = 0; i < shard->deliveries_limit; i++) {
		if (shard->deliveries[i] && shard->deliveries[i]->group == group)
			return shard->deliveries[i];
	}
	return NULL;
}

// The group is not here (yet): the coordinator gets its shard back and tries again later.
static void give_back(struct weir_shard *shard, const struct weir_message *message)
{
	struct weir_message answer = *message;
	answer.kind = WEIR_MESSAGE_RELEASED;
	answer.from = weir_engine_worker(shard->engine);
	answer.worker = (uint16_t)message->value;
	answer.result = -ENOENT;
	answer.value = 0;
	weir_engine_tell(shard->engine, answer.worker, &answer);
}

// Every term ends with exactly one `released`. Commands of one coordinator may overtake each other while a shard moves: a
// revoke that comes first ends the term before it began, its assign then is of the past.
void weir_delivery_message(struct weir_shard *shard, const struct weir_message *message, uint64_t now_ns)
{
	struct weir_delivery_stream *delivery = find(shard, message->group);
	if (!delivery) {
		give_back(shard, message);
		return;
	}
	if (message->kind == WEIR_MESSAGE_ASSIGN) {
		if (message->term > delivery->term && delivery->state == WEIR_DELIVERY_IDLE)
			term_begin(delivery, message, now_ns);
		return;
	}
	if (message->kind != WEIR_MESSAGE_GO_ON && message->term > delivery->term && delivery->state == WEIR_DELIVERY_IDLE) {
		delivery->term = message->term;
		tell(delivery, WEIR_MESSAGE_RELEASED);
		return;
	}
	if (message->term != delivery->term || delivery->state == WEIR_DELIVERY_IDLE)
		return;
	if (message->kind == WEIR_MESSAGE_REVOKE_NOW)
		weir_delivery_break(delivery, now_ns);
	else if (message->kind == WEIR_MESSAGE_GO_ON)
		weir_delivery_go_on(delivery, now_ns);
	else if (message->kind == WEIR_MESSAGE_REVOKE && delivery->state != WEIR_DELIVERY_REVOKING)
		revoke_begin(delivery, now_ns);
}

// ---- Reports ----

// An entry of a report frame that was handed on: it is counted here as one more thing received and refused, so that the row
// balances. The member learns that its term is over.
static void entry_refuse(struct weir_shard *shard, const struct weir_ingress *ingress, enum weir_reason reason,
			 const struct weir_report_entry *entry)
{
	struct weir_worker_row *row = weir_engine_row(shard->engine);
	row->received++;
	row->refused[reason]++;
	struct weir_revoke revoke = { .group = entry->group, .term = entry->term };
	// Best effort: the next report asks again.
	(void)weir_delivery_send_revoke(shard, ingress->session, entry->stream, &revoke);
}

static struct weir_delivery_stream *by_handle(struct weir_shard *shard, uint32_t handle, uint32_t group)
{
	if (handle >= shard->deliveries_limit)
		return NULL;
	struct weir_delivery_stream *delivery = shard->deliveries[handle];
	return delivery && delivery->group == group ? delivery : NULL;
}

// The session's frame size is another one since it was looked at last: another worker stepped down, or a hello proved more.
static void size_adopt(struct weir_delivery_stream *delivery, uint32_t size)
{
	if (size > delivery->agreed_size || size < delivery->member.frame_size)
		delivery->member.frame_size = size;
	delivery->agreed_size = size;
}

void weir_delivery_report(struct weir_shard *shard, const struct weir_ingress *ingress, const struct weir_report_entry *entry,
			  uint64_t now_ns)
{
	struct weir_delivery_stream *delivery = by_handle(shard, entry->stream, entry->group);
	if (!delivery || delivery->state == WEIR_DELIVERY_IDLE || delivery->term != entry->term) {
		entry_refuse(shard, ingress, delivery ? WEIR_R_STALE_TERM : WEIR_R_NO_MEMBER, entry);
		return;
	}
	if (delivery->member.id != ingress->session->id) {
		entry_refuse(shard, ingress, WEIR_R_NO_MEMBER, entry);
		return;
	}
	if (entry->flags & WEIR_REPORT_IN_PLACE || delivery->reading == WEIR_READING_IN_PLACE ||
	    delivery->reading == WEIR_READING_OVER) {
		weir_reader_report(delivery, entry, now_ns);
		return;
	}
	if (delivery->reading != WEIR_READING_FRAMES)
		weir_reading_set(delivery, WEIR_READING_FRAMES);
	if (delivery->state == WEIR_DELIVERY_ASSIGNING) {
		delivery->state = WEIR_DELIVERY_ACTIVE;
		delivery->announce_ns = delivery->progress_ns = now_ns;
		delivery->is_stalled = false;
		delivery->backoff = 0;
	}
	if (ingress->session->frame_size != delivery->agreed_size)
		size_adopt(delivery, ingress->session->frame_size);
	bool was_probing = delivery->probing != WEIR_PROBING_NOT;
	weir_repair_report(delivery, entry, now_ns);
	uint64_t settled = entry->settled_to < delivery->received_to ? entry->settled_to : delivery->received_to;
	if (settled > delivery->told_to)
		delivery->told_to = settled;
	weir_delivery_settle(delivery, settled, now_ns);
	if (entry->flags & WEIR_REPORT_GAP || weir_pace_has_missed(delivery))
		weir_repair_gap(delivery, entry, was_probing, now_ns);
	touch(delivery);
	if (delivery->state == WEIR_DELIVERY_ACTIVE) {
		weir_delivery_timer_arm(delivery);
		// A few bytes that wait for more go on waiting.
		bool is_much = shard->log.head - delivery->sent.position >= WEIR_DELIVER_THIN_BYTES;
		if (is_much || delivery->from < weir_cursor_offset(&delivery->sent))
			weir_engine_mark_deliverable(shard->engine, shard);
		else if (weir_delivery_has_backlog(delivery))
			weir_engine_mark_grown(shard->engine, shard);
	}
}

void weir_delivery_revoked(struct weir_shard *shard, const struct weir_ingress *ingress, uint64_t now_ns)
{
	const struct weir_revoke *revoke = (const struct weir_revoke *)(ingress->frame + 1);
	struct weir_delivery_stream *delivery = by_handle(shard, ingress->frame->stream, revoke->group);
	// The member of a term that broke off lets go of what it still read.
	if (shard->pins_used)
		weir_reader_unpin(shard, ingress->session, revoke, now_ns);
	if (!delivery || delivery->state != WEIR_DELIVERY_REVOKING || delivery->term != revoke->term ||
	    delivery->member.id != ingress->session->id)
		return;
	uint64_t handed_to = ingress->frame->sequence;
	// It knows nothing of the term: the assign never reached it, so it read nothing in place.
	if (handed_to == UINT64_MAX && delivery->reading == WEIR_READING_OFFERED)
		weir_reading_set(delivery, WEIR_READING_FRAMES);
	bool was_in_place = delivery->reading == WEIR_READING_IN_PLACE || delivery->reading == WEIR_READING_OVER;
	(void)weir_reader_leave(delivery, true, now_ns);
	if (was_in_place && handed_to != UINT64_MAX)
		weir_reader_taken(delivery, handed_to < delivery->sent_to ? handed_to : delivery->sent_to);
	// A member that says less than it said before has forgotten the term: what it handed out is not known.
	if (handed_to == 0 && revoke->settled_to < delivery->told_to)
		handed_to = UINT64_MAX;
	uint64_t settled = revoke->settled_to < delivery->sent_to ? revoke->settled_to : delivery->sent_to;
	if (settled > delivery->received_to)
		delivery->received_to = settled;
	weir_delivery_settle(delivery, settled, now_ns);
	term_end(delivery, handed_to);
}

// ---- Time ----

static void stall(struct weir_delivery_stream *delivery)
{
	delivery->is_stalled = true;
	tell(delivery, WEIR_MESSAGE_STALLED);
}

static void active_timer(struct weir_delivery_stream *delivery, uint64_t now_ns)
{
	if (is_progress_timed(delivery) && now_ns >= delivery->progress_ns + delivery->progress_timeout_ns)
		stall(delivery);
	if (delivery->reading != WEIR_READING_FRAMES)
		return;
	if (is_resending(delivery)) {
		if (now_ns < delivery->outstanding_ns + retransmit_ns(delivery))
			return;
		weir_repair_timeout(delivery, now_ns);
	} else if (now_ns >= delivery->announce_ns + announce_after_ns(delivery)) {
		if (weir_delivery_announce(delivery, now_ns))
			delivery->announce_ns = now_ns + NO_ROOM_RETRY_NS - announce_after_ns(delivery);
		else
			delivery->backoff += delivery->backoff < WEIR_BACKOFF_MAX;
	}
}

// A lease passed without a word about an assign or a revoke. Who never began holds nothing; the coordinator gives its shards to
// others, and none to it for a while.
static void answer_missing(struct weir_delivery_stream *delivery, uint64_t now_ns)
{
	if (delivery->state == WEIR_DELIVERY_REVOKING)
		weir_delivery_break(delivery, now_ns);
	else if (!delivery->is_stalled)
		stall(delivery);
}

static void fire(struct weir_timer *timer, void *context, uint64_t now_ns)
{
	struct weir_delivery_stream *delivery =
		(struct weir_delivery_stream *)(void *)((uint8_t *)timer - offsetof(struct weir_delivery_stream, timer));
	switch ((enum weir_delivery_state)delivery->state) {
	case WEIR_DELIVERY_IDLE:
		return;
	case WEIR_DELIVERY_ACTIVE:
		active_timer(delivery, now_ns);
		break;
	case WEIR_DELIVERY_REVOKING:
	case WEIR_DELIVERY_ASSIGNING:
		if (!delivery->wants_pin && now_ns >= delivery->asked_ns + lease_ns(delivery)) {
			answer_missing(delivery, now_ns);
			if (!delivery->wants_pin)
				return;
		}
		if (now_ns >= delivery->command_due_ns)
			command_send(delivery, now_ns);
		break;
	}
	weir_delivery_timer_arm(delivery);
}

// ---- Sending, in turns ----

// Moves the cursor over whole runs up to `position`; what a group had not settled counts as cut loose.
static void cut_loose(struct weir_delivery_stream *delivery, uint64_t position)
{
	struct weir_shard *shard = delivery->shard;
	struct weir_cursor *settled = &delivery->settled;
	uint64_t before = settled_offset(delivery);
	while (settled->position < position && settled->position != shard->log.head) {
		const struct weir_run_header *run = weir_log_run(&shard->log, settled->position);
		settled->position += weir_log_run_size(run->length);
		settled->offset += run->count;
		settled->events = settled->bytes = 0;
	}
	delivery->row.dropped[WEIR_R_CUT_LOOSE] += settled_offset(delivery) - before;
	delivery->has_resume = false;
	if (weir_cursor_offset(&delivery->sent) < settled_offset(delivery)) {
		delivery->sent = *settled;
		delivery->fragment_sent = 0;
	}
	touch(delivery);
}

void weir_delivery_overwrite(struct weir_shard *shard, uint64_t position)
{
	bool is_hold_cut = false;
	for (uint32_t i = 0; i < shard->deliveries_limit; i++) {
		struct weir_delivery_stream *delivery = shard->deliveries[i];
		if (!delivery || delivery->settled.position >= position)
			continue;
		cut_loose(delivery, position);
		is_hold_cut |= delivery->kind == WEIR_GROUP_HOLD;
	}
	if (is_hold_cut)
		(void)weir_delivery_hold_update(shard);
}

// What is left of a burst and fills no frame.
static bool is_rest(const struct weir_delivery_stream *delivery)
{
	uint64_t left = delivery->shard->log.head - delivery->sent.position;
	return left > 0 && left < WEIR_DELIVER_THIN_BYTES;
}

// Up to `frames` frames of one delivery. True when it could go on. A rest behind frames waits for the next turn, and
// goes then with what came until then.
static bool turn(struct weir_delivery_stream *delivery, uint32_t frames, uint64_t now_ns)
{
	int sent = 1;
	for (uint32_t i = 0; i < frames && sent == 1 && delivery->probing != WEIR_PROBING_SENT; i++) {
		if (i && is_rest(delivery))
			break;
		sent = weir_delivery_send(delivery, now_ns);
	}
	weir_delivery_timer_arm(delivery);
	if (sent == -EAGAIN)
		return true;
	return sent == 1 && delivery->probing != WEIR_PROBING_SENT && weir_delivery_has_backlog(delivery);
}

static bool is_past_quota(const struct weir_delivery_stream *delivery)
{
	return delivery->kind == WEIR_GROUP_FOLLOW && delivery->quota_bytes &&
	       delivery->shard->log.head - delivery->settled.position > delivery->quota_bytes;
}

enum weir_delivery_turn weir_delivery_run(struct weir_shard *shard, uint32_t frames, uint64_t now_ns)
{
	uint32_t ready = 0;
	if ((shard->log.marked ^ shard->log.head) >> WEIR_MARK_SHIFT)
		weir_log_mark(&shard->log);
	weir_reader_head(shard);
	for (uint32_t i = 0; i < shard->deliveries_limit; i++) {
		struct weir_delivery_stream *delivery = shard->deliveries[i];
		if (!delivery)
			continue;
		if (is_past_quota(delivery))
			cut_loose(delivery, shard->log.head - delivery->quota_bytes);
		if (delivery->reading == WEIR_READING_IN_PLACE)
			weir_reader_follow(delivery, now_ns);
		else
			ready += weir_delivery_is_ready(delivery);
	}
	if (ready == 0)
		return WEIR_DELIVERY_TURN_QUIET;
	// Every group gets the same share, so that none starves behind another.
	uint32_t share = frames / ready ? frames / ready : 1;
	bool is_more = false;
	for (uint32_t i = 0; i < shard->deliveries_limit; i++) {
		struct weir_delivery_stream *delivery = shard->deliveries[i];
		if (delivery && weir_delivery_is_ready(delivery))
			is_more |= turn(delivery, share, now_ns);
	}
	weir_engine_mark_dirty(shard->engine, shard);
	return is_more ? WEIR_DELIVERY_TURN_MORE : WEIR_DELIVERY_TURN_DONE;
}

// ---- Groups come and go, shards move ----

static void followers_add(struct weir_shard *shard, int change)
{
	shard->followers += (uint32_t)change;
	shard->is_lossless = shard->policy == WEIR_POLICY_BLOCK && shard->followers == 0;
}

int weir_delivery_create(struct weir_shard *shard, const struct weir_group_place *place, uint64_t *start_offset)
{
	if (find(shard, place->spec.id.value))
		return -EEXIST;
	uint32_t handle = 0;
	while (handle < WEIR_SHARD_GROUPS_MAX && shard->deliveries[handle])
		handle++;
	if (handle == WEIR_SHARD_GROUPS_MAX)
		return -ENOSPC;
	struct weir_delivery_stream *delivery = shard->deliveries[handle] = place->delivery;
	*delivery = (struct weir_delivery_stream){ .shard = shard, .handle = handle };
	delivery->group = place->spec.id.value;
	delivery->kind = (uint8_t)place->spec.kind;
	delivery->coordinator = place->spec.coordinator;
	delivery->quota_bytes = place->spec.quota_bytes;
	delivery->progress_timeout_ns = place->spec.progress_timeout_ns;
	bool from_earliest = place->spec.start == WEIR_START_EARLIEST;
	delivery->settled = from_earliest ? weir_log_earliest(&shard->log) : weir_log_latest(&shard->log);
	delivery->timer.fire = fire;
	delivery->public_row = place->row;
	delivery->row.head.in_use = 1;
	delivery->row.topic = shard->topic;
	delivery->row.group = delivery->group;
	delivery->row.shard = shard->shard;
	delivery->row.start_offset = settled_offset(delivery);
	rewind_to_settled(delivery);
	if (handle >= shard->deliveries_limit)
		shard->deliveries_limit = handle + 1;
	shard->holders += delivery->kind == WEIR_GROUP_HOLD;
	followers_add(shard, delivery->kind == WEIR_GROUP_FOLLOW);
	(void)weir_delivery_hold_update(shard);
	*start_offset = delivery->row.start_offset;
	touch(delivery);
	return 0;
}

int weir_delivery_change(struct weir_shard *shard, const struct weir_group_spec *spec)
{
	struct weir_delivery_stream *delivery = find(shard, spec->id.value);
	if (!delivery)
		return -ENOENT;
	delivery->quota_bytes = spec->quota_bytes;
	delivery->progress_timeout_ns = spec->progress_timeout_ns;
	weir_delivery_timer_arm(delivery);
	touch(delivery);
	weir_engine_mark_deliverable(shard->engine, shard); // the quota is looked at in a delivery's turn
	return 0;
}

int weir_delivery_remove(struct weir_shard *shard, uint32_t group, uint64_t now_ns)
{
	struct weir_delivery_stream *delivery = find(shard, group);
	if (!delivery)
		return -ENOENT;
	if (!weir_reader_drop(delivery, now_ns))
		return -EBUSY;
	if (delivery->state != WEIR_DELIVERY_IDLE) {
		struct weir_revoke revoke = { .group = group, .term = delivery->term };
		// Best effort: a report of the member is answered with another one.
		(void)weir_delivery_send_revoke(shard, &delivery->member, delivery->handle, &revoke);
	}
	weir_wheel_cancel(weir_engine_wheel(shard->engine), &delivery->timer);
	tell_nothing(delivery);
	delivery->state = WEIR_DELIVERY_IDLE;
	delivery->member = (struct weir_session_ref){ 0 };
	delivery->row.dropped[WEIR_R_TOPIC_REMOVED] += shard->log.head_offset - settled_offset(delivery);
	delivery->settled = weir_log_latest(&shard->log);
	rewind_to_settled(delivery);
	delivery->row.head.in_use = 0;
	delivery->is_dirty = true;
	weir_shard_publish(shard, now_ns);
	shard->deliveries[delivery->handle] = NULL;
	shard->holders -= delivery->kind == WEIR_GROUP_HOLD;
	followers_add(shard, -(delivery->kind == WEIR_GROUP_FOLLOW));
	while (shard->deliveries_limit && !shard->deliveries[shard->deliveries_limit - 1])
		shard->deliveries_limit--;
	if (weir_delivery_hold_update(shard) && shard->waiters_first)
		weir_stream_room(shard, now_ns);
	return 0;
}

void weir_delivery_detach(struct weir_shard *shard)
{
	weir_reader_unlist_pins(shard);
	for (uint32_t i = 0; i < shard->deliveries_limit; i++) {
		struct weir_delivery_stream *delivery = shard->deliveries[i];
		if (!delivery)
			continue;
		weir_wheel_cancel(weir_engine_wheel(shard->engine), &delivery->timer);
		weir_reader_detach(delivery);
		// What is to be told goes with the shard.
		if (delivery->telling)
			TAILQ_REMOVE(&shard->engine->telling, delivery, told_next);
	}
}

void weir_delivery_attach(struct weir_shard *shard, uint64_t now_ns)
{
	for (uint32_t i = 0; i < shard->deliveries_limit; i++) {
		if (shard->deliveries[i] && shard->deliveries[i]->telling)
			TAILQ_INSERT_TAIL(&shard->engine->telling, shard->deliveries[i], told_next);
	}
	shard->engine->has_to_tell = true;
	weir_reader_attach(shard, now_ns);
	for (uint32_t i = 0; i < shard->deliveries_limit; i++) {
		if (shard->deliveries[i])
			weir_delivery_timer_arm(shard->deliveries[i]);
	}
	weir_engine_mark_deliverable(shard->engine, shard);
}
