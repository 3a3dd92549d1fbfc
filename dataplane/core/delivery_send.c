// The frames of a delivery stream. The usual one is a single copy: whole runs as they lie in the log, headers included, behind
// the prefix. What does not fit is split at event boundaries, a single event that does not fit goes out in fragments.
// Owner's worker only; called from delivery.c.
#include "dataplane/core/delivery.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define PREFIX_SIZE ((uint32_t)(sizeof(struct weir_frame_header) + sizeof(struct weir_delivery)))
#define RUN_SIZE ((uint32_t)sizeof(struct weir_run_header))
#define CHARGE_ROOM 448u // see weir_charge()

// A frame in the making.
struct outgoing {
	struct weir_frame_header *frame;
	uint64_t to;
	uint32_t events;
	uint32_t size; // datagram
	uint32_t charge;
	uint32_t fragment_to; // bytes of event `to` that it and those before it hold
	uint16_t flags;
};

static struct weir_frame_header *frame_begin(struct weir_delivery_stream *delivery, const struct outgoing *out)
{
	struct weir_shard *shard = delivery->shard;
	struct weir_frame_header *frame = weir_frame_to(shard->engine, &delivery->member, out->size);
	if (!frame)
		return NULL;
	frame->kind = WEIR_KIND_DELIVER;
	frame->flags = out->flags;
	frame->count = 0;
	frame->stream = delivery->handle;
	frame->topic = shard->topic;
	frame->shard = shard->shard;
	frame->sequence = delivery->from;
	struct weir_delivery *prefix = (struct weir_delivery *)(frame + 1);
	*prefix = (struct weir_delivery){ .to = out->to, .charge_from = delivery->charged, .term = delivery->term };
	return frame;
}

// The first frame after a go-back, which is alone when a timeout was the reason.
static __attribute__((noinline)) void first_account(struct weir_delivery_stream *delivery, const struct outgoing *out,
						    uint64_t now_ns)
{
	delivery->is_first_due = false;
	delivery->first_size = out->size;
	delivery->first_end = delivery->charged;
	if (delivery->probing != WEIR_PROBING_DUE)
		return;
	delivery->probing = WEIR_PROBING_SENT;
	delivery->probe_to = out->to;
	delivery->probe_fragment = out->fragment_to;
	// Small, and behind it: the answer says whether the path carries the one and not the other.
	if (weir_pace_can_step(delivery))
		(void)weir_delivery_announce(delivery, now_ns);
}

// Books a frame that was given to the port. `events` of it went out, up to `to`.
static void sent_account(struct weir_delivery_stream *delivery, const struct outgoing *out, uint64_t now_ns)
{
	bool was_outstanding = weir_delivery_is_outstanding(delivery);
	if (delivery->sent_to <= weir_cursor_offset(&delivery->settled) && !was_outstanding && !delivery->is_starved)
		delivery->progress_ns = now_ns;
	if (!was_outstanding) {
		delivery->outstanding_ns = now_ns;
		delivery->backoff = 0;
	}
	uint64_t fresh = out->to > delivery->sent_to ? out->to - delivery->sent_to : 0;
	if (fresh > out->events)
		fresh = out->events;
	delivery->row.sent_events += fresh;
	delivery->row.resent_events += out->events - fresh;
	if (out->flags & WEIR_FLAG_REDELIVERED)
		delivery->row.redelivered += fresh;
	if (fresh && !delivery->is_measuring) {
		delivery->is_measuring = true;
		delivery->measure_to = out->to;
		delivery->measure_ns = now_ns;
	}
	if (out->to > delivery->sent_to) {
		delivery->sent_to = out->to;
		delivery->fragment_most = 0;
	}
	delivery->charged += out->charge;
	delivery->from = out->to;
	delivery->announce_ns = now_ns;
	delivery->is_starved = false;
	delivery->is_dirty = true;
	if (delivery->is_first_due)
		first_account(delivery, out, now_ns);
}

// Offsets from here on may not share a frame with those before.
static uint64_t mark_boundary(const struct weir_delivery_stream *delivery)
{
	return weir_cursor_offset(&delivery->sent) < delivery->redelivered_to ? delivery->redelivered_to : UINT64_MAX;
}

static uint16_t mark_flags(const struct weir_delivery_stream *delivery)
{
	return weir_cursor_offset(&delivery->sent) < delivery->redelivered_to ? WEIR_FLAG_REDELIVERED : 0;
}

static bool has_credit(const struct weir_delivery_stream *delivery, uint32_t size)
{
	return delivery->charged + weir_charge(size) <= delivery->allowed;
}

// Nothing beyond what the member has is under way: no report will come by itself and bring more credit, except for what
// it has not settled.
static bool is_level(const struct weir_delivery_stream *delivery)
{
	return delivery->from <= delivery->received_to && delivery->fragment_sent <= delivery->fragment_received;
}

static int starve(struct weir_delivery_stream *delivery, uint64_t now_ns)
{
	if (delivery->is_starved || !is_level(delivery))
		return 0;
	if (delivery->sent_to <= weir_cursor_offset(&delivery->settled))
		delivery->progress_ns = now_ns;
	delivery->is_starved = true;
	delivery->backoff = 0;
	return 0;
}

// Moves the cursor over `count` events of its run, `bytes` long.
static void cursor_pass(struct weir_cursor *cursor, const struct weir_run_header *run, uint32_t count, uint32_t bytes)
{
	cursor->events += count;
	cursor->bytes += bytes;
	if (cursor->events < run->count)
		return;
	cursor->position += weir_log_run_size(run->length);
	cursor->offset += run->count;
	cursor->events = 0;
	cursor->bytes = 0;
}

static uint32_t event_size(const uint8_t *event)
{
	return weir_pad8(((const struct weir_event_header *)(const void *)event)->length);
}

// What came through a lane was not summed, for it never left this machine. Now it does.
static bool is_leaving(const struct weir_delivery_stream *delivery, uint32_t run_flags)
{
	return run_flags & WEIR_RUN_LOCAL && delivery->member.lane == 0;
}

// Checksum and flags of a run header in a frame that stands for a part of a run's events. What was never checked stays
// unchecked.
static void part_seal(const struct weir_delivery_stream *delivery, struct weir_run_header *part,
		      const struct weir_run_header *run, const uint8_t *at)
{
	bool is_summed = !(run->flags & WEIR_RUN_UNCHECKED) || is_leaving(delivery, run->flags);
	bool is_whole = part->length == run->length && !(run->flags & WEIR_RUN_UNCHECKED);
	part->flags = is_summed ? 0 : WEIR_RUN_UNCHECKED;
	part->crc = is_whole ? run->crc : is_summed ? weir_crc32c(0, at, part->length) : 0;
}

static void runs_seal(struct weir_frame_header *frame, uint32_t count)
{
	uint8_t *at = (uint8_t *)frame + PREFIX_SIZE;
	for (; count; count--) {
		struct weir_run_header *run = (struct weir_run_header *)(void *)at;
		at += RUN_SIZE + run->length;
		if (!(run->flags & WEIR_RUN_LOCAL))
			continue;
		run->flags = 0;
		run->crc = weir_crc32c(0, run + 1, run->length);
	}
}

// A piece of the event at the cursor, which is larger than the frame.
static int fragment_send(struct weir_delivery_stream *delivery, uint32_t room, uint64_t now_ns)
{
	const struct weir_run_header *run = weir_log_run(&delivery->shard->log, delivery->sent.position);
	const uint8_t *event = (const uint8_t *)(run + 1) + delivery->sent.bytes;
	uint32_t padded = event_size(event);
	uint32_t most = (room - RUN_SIZE - (uint32_t)sizeof(struct weir_fragment)) & ~7u;
	assert(delivery->fragment_sent < padded);
	uint32_t left = padded - delivery->fragment_sent;
	uint32_t bytes = left < most ? left : most;
	bool is_last = bytes == left;
	uint64_t offset = weir_cursor_offset(&delivery->sent);
	struct outgoing out = { .to = offset + is_last, .events = is_last };
	out.fragment_to = is_last ? 0 : delivery->fragment_sent + bytes;
	out.size = PREFIX_SIZE + RUN_SIZE + (uint32_t)sizeof(struct weir_fragment) + bytes;
	out.charge = weir_charge(out.size);
	out.flags = WEIR_FLAG_FRAGMENT | mark_flags(delivery);
	if (!has_credit(delivery, out.size))
		return starve(delivery, now_ns);
	out.frame = frame_begin(delivery, &out);
	if (!out.frame)
		return -EAGAIN;
	out.frame->count = 1;
	uint8_t *at = (uint8_t *)out.frame + PREFIX_SIZE;
	struct weir_run_header *alone = (void *)at;
	*alone = *run;
	alone->sequence += delivery->sent.events;
	alone->count = 1;
	alone->length = padded;
	part_seal(delivery, alone, run, event);
	struct weir_fragment *fragment = (void *)(at + RUN_SIZE);
	fragment->total = ((const struct weir_event_header *)(const void *)event)->length;
	fragment->offset = delivery->fragment_sent;
	memcpy(fragment + 1, event + delivery->fragment_sent, bytes);
	weir_frame_send(delivery->shard->engine, out.frame, (int32_t)(out.size - sizeof(struct weir_frame_header)));
	sent_account(delivery, &out, now_ns);
	delivery->fragment_sent += bytes;
	if (is_last) {
		delivery->fragment_sent = 0;
		cursor_pass(&delivery->sent, run, 1, padded);
	} else if (offset == delivery->sent_to && delivery->fragment_sent > delivery->fragment_most) {
		delivery->fragment_most = delivery->fragment_sent;
	}
	return 1;
}

// As many events of the run at the cursor as fit and share the redelivered mark, under a header of their own.
static int part_send(struct weir_delivery_stream *delivery, uint32_t room, uint64_t now_ns)
{
	const struct weir_run_header *run = weir_log_run(&delivery->shard->log, delivery->sent.position);
	const uint8_t *at = (const uint8_t *)(run + 1) + delivery->sent.bytes;
	uint64_t offset = weir_cursor_offset(&delivery->sent);
	uint64_t most = mark_boundary(delivery) - offset;
	uint32_t count = 0;
	uint32_t bytes = 0;
	while (delivery->fragment_sent == 0 && delivery->sent.events + count < run->count && count < most) {
		uint32_t size = event_size(at + bytes);
		if (bytes + size > room - RUN_SIZE)
			break;
		bytes += size;
		count++;
	}
	if (count == 0)
		return fragment_send(delivery, room, now_ns);
	struct outgoing out = { .to = offset + count, .events = count, .size = PREFIX_SIZE + RUN_SIZE + bytes };
	out.charge = weir_charge(out.size);
	out.flags = mark_flags(delivery);
	if (!has_credit(delivery, out.size))
		return starve(delivery, now_ns);
	out.frame = frame_begin(delivery, &out);
	if (!out.frame)
		return -EAGAIN;
	out.frame->count = 1;
	struct weir_run_header *part = (struct weir_run_header *)(void *)((uint8_t *)out.frame + PREFIX_SIZE);
	*part = *run;
	part->sequence += delivery->sent.events;
	part->count = (uint16_t)count;
	part->length = bytes;
	part_seal(delivery, part, run, at);
	memcpy(part + 1, at, bytes);
	weir_frame_send(delivery->shard->engine, out.frame, (int32_t)(out.size - sizeof(struct weir_frame_header)));
	sent_account(delivery, &out, now_ns);
	cursor_pass(&delivery->sent, run, count, bytes);
	return 1;
}

// Tells the consumer about offsets that no frame will bring.
static int gap_send(struct weir_delivery_stream *delivery, uint64_t now_ns)
{
	struct outgoing out = { .to = weir_cursor_offset(&delivery->sent), .size = PREFIX_SIZE };
	out.frame = frame_begin(delivery, &out);
	if (!out.frame)
		return -EAGAIN;
	weir_frame_send(delivery->shard->engine, out.frame, sizeof(struct weir_delivery));
	sent_account(delivery, &out, now_ns);
	return 1;
}

// Room for runs in the next frame. A member whose whole credit is less than a full frame gets smaller ones, but only when
// neither reports nor settling can bring more. It also lets what went out in small frames go out again.
static uint32_t room_of(const struct weir_delivery_stream *delivery)
{
	uint32_t size = delivery->member.frame_size;
	if (!has_credit(delivery, size) && is_level(delivery) &&
	    delivery->received_to <= weir_cursor_offset(&delivery->settled)) {
		uint64_t credit = delivery->allowed > delivery->charged ? delivery->allowed - delivery->charged : 0;
		uint32_t bucket = 1024;
		while (2u * bucket + WEIR_CHARGE_SKB <= credit && bucket < WEIR_FRAME_MAX)
			bucket *= 2;
		if (bucket - CHARGE_ROOM < size)
			size = bucket - CHARGE_ROOM;
	}
	return size - PREFIX_SIZE;
}

// A frame of `count` whole runs from `sent` on. The mirrored mapping makes runs that follow one another contiguous, also across
// the ring's end.
static int runs_copy(struct weir_delivery_stream *delivery, struct outgoing *out, uint32_t count)
{
	const struct weir_shard *shard = delivery->shard;
	const void *runs = weir_log_run(&shard->log, delivery->sent.position);
	const struct weir_deliver what = {
		.session = delivery->member.id,
		.sequence = delivery->from,
		.to = out->to,
		.charge_from = delivery->charged,
		.stream = delivery->handle,
		.topic = shard->topic,
		.term = delivery->term,
		.flags = out->flags,
		.count = (uint16_t)count,
		.shard = shard->shard,
		.body_length = (uint16_t)(out->size - sizeof(struct weir_frame_header)),
	};
	out->frame = weir_frame_to(shard->engine, &delivery->member, out->size);
	if (!out->frame)
		return -EAGAIN;
	weir_deliver_seal(out->frame, &what, runs);
	memcpy((uint8_t *)out->frame + PREFIX_SIZE, runs, out->size - PREFIX_SIZE);
	weir_frame_commit(shard->engine, out->size);
	return 0;
}

// The same when the runs' own checksums are to be made.
static int runs_leave(struct weir_delivery_stream *delivery, struct outgoing *out, uint32_t count)
{
	out->frame = frame_begin(delivery, out);
	if (!out->frame)
		return -EAGAIN;
	out->frame->count = (uint16_t)count;
	memcpy((uint8_t *)out->frame + PREFIX_SIZE, weir_log_run(&delivery->shard->log, delivery->sent.position),
	       out->size - PREFIX_SIZE);
	runs_seal(out->frame, count);
	weir_frame_send(delivery->shard->engine, out->frame, (int32_t)(out->size - sizeof(struct weir_frame_header)));
	return 0;
}

int weir_delivery_send(struct weir_delivery_stream *delivery, uint64_t now_ns)
{
	const struct weir_log *log = &delivery->shard->log;
	struct weir_cursor end = delivery->sent;
	if (delivery->from < weir_cursor_offset(&end))
		return gap_send(delivery, now_ns);
	if (end.position == log->head)
		return 0;
	uint32_t room = room_of(delivery);
	uint32_t used = 0;
	uint32_t count = 0;
	uint64_t boundary = mark_boundary(delivery);
	while (end.events == 0 && delivery->fragment_sent == 0 && end.position != log->head && count < WEIR_COUNT_MAX) {
		const struct weir_run_header *run = weir_log_run(log, end.position);
		uint32_t size = RUN_SIZE + run->length;
		if (size > room - used || end.offset + run->count > boundary)
			break;
		used += size;
		count++;
		end.position += size;
		end.offset += run->count;
	}
	if (count == 0)
		return part_send(delivery, room, now_ns);
	struct outgoing out = { .to = end.offset, .size = PREFIX_SIZE + used };
	out.events = (uint32_t)(end.offset - delivery->from);
	out.charge = weir_charge(out.size);
	out.flags = mark_flags(delivery);
	if (!has_credit(delivery, out.size))
		return starve(delivery, now_ns);
	bool may_leave = delivery->shard->has_local && delivery->member.lane == 0;
	int error = may_leave ? runs_leave(delivery, &out, count) : runs_copy(delivery, &out, count);
	if (error)
		return error;
	sent_account(delivery, &out, now_ns);
	delivery->sent = end;
	return 1;
}

int weir_delivery_announce(struct weir_delivery_stream *delivery, uint64_t now_ns)
{
	struct outgoing out = { .to = delivery->from, .size = PREFIX_SIZE };
	struct weir_frame_header *frame = frame_begin(delivery, &out);
	if (!frame)
		return -EAGAIN;
	weir_frame_send(delivery->shard->engine, frame, sizeof(struct weir_delivery));
	delivery->announce_ns = now_ns;
	return 0;
}

int weir_delivery_send_assign(struct weir_delivery_stream *delivery)
{
	struct weir_shard *shard = delivery->shard;
	struct {
		struct weir_assign assign;
		struct weir_assign_place place;
	} body;
	_Static_assert(sizeof(body) == sizeof(struct weir_assign) + sizeof(struct weir_assign_place), "nothing between");
	struct weir_frame_header *frame = weir_frame_to(shard->engine, &delivery->member, sizeof(*frame) + sizeof(body));
	if (!frame)
		return -EAGAIN;
	bool is_in_place = weir_reader_offer(delivery);
	frame->kind = WEIR_KIND_ASSIGN;
	frame->flags = is_in_place ? WEIR_FLAG_IN_PLACE : 0;
	frame->count = 0;
	frame->stream = delivery->handle;
	frame->topic = shard->topic;
	frame->shard = shard->shard;
	frame->sequence = 0;
	body.assign = (struct weir_assign){
		.incarnation = shard->log.incarnation,
		.from = delivery->from,
		.redelivered_to = delivery->redelivered_to,
		.member = delivery->membership,
		.group = delivery->group,
		.term = delivery->term,
		.lease_ms = weir_engine_limits_of(shard->engine)->lease_ms,
	};
	// Nothing of the term is settled before its first report: `from` is where the settled cursor stands.
	body.place = (struct weir_assign_place){
		.position = delivery->settled.position,
		.run_offset = delivery->settled.offset,
	};
	size_t length = sizeof(body.assign) + (is_in_place ? sizeof(body.place) : 0);
	memcpy(frame + 1, &body, length);
	weir_frame_send(shard->engine, frame, (int32_t)length);
	return 0;
}

int weir_delivery_send_revoke(struct weir_shard *shard, const struct weir_session_ref *to, uint32_t handle,
			      const struct weir_revoke *revoke)
{
	struct weir_frame_header *frame = weir_frame_to(shard->engine, to, sizeof(*frame) + sizeof(*revoke));
	if (!frame)
		return -EAGAIN;
	frame->kind = WEIR_KIND_REVOKE;
	frame->flags = 0;
	frame->count = 0;
	frame->stream = handle;
	frame->topic = shard->topic;
	frame->shard = shard->shard;
	frame->sequence = 0;
	*(struct weir_revoke *)(frame + 1) = *revoke;
	weir_frame_send(shard->engine, frame, sizeof(*revoke));
	return 0;
}
