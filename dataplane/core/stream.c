// Streams: one producer's order on one shard. Opening, order, duplicates, parking, refusing, skipping, closing; the rules are
// the table "Stream" of wire/PROTOCOL.md. Runs on the worker that owns the shard, on frames that were checked and whose
// session is proven. Every offered event ends as accepted, duplicate, refused or skipped, by name.
#include "dataplane/core/stream.h"

#include <string.h>

#include "wire/key.h"

#define HEADER_SIZE ((uint32_t)sizeof(struct weir_frame_header))
#define NS_PER_MS 1000000ull
#define ROUND_NS (50 * NS_PER_MS)  // streams that published within the last two share the free space
#define EPOCH_AHEAD_NS (24 * 3600 * 1000 * NS_PER_MS) // of an honest producer whose clock is not the router's
#define NONE_NEWS_EVENTS 4096u     // a stream that needs no acknowledgement is told of credit when it has less than this

static void refuse_frame(struct weir_shard *shard, const struct weir_session_ref *to, const struct weir_refuse_entry *what,
			 enum weir_reason reason)
{
	struct weir_refuse_entry entry = *what;
	entry.topic = shard->topic;
	entry.shard = shard->shard;
	entry.reason = (uint16_t)reason;
	shard->row.offered += entry.count;
	shard->row.refused[reason] += entry.count;
	weir_engine_mark_dirty(shard->engine, shard);
	weir_engine_refuse(shard->engine, to, &entry);
}

void weir_stream_refuse(struct weir_shard *shard, struct weir_stream *stream, uint64_t sequence, uint32_t count,
			enum weir_reason reason)
{
	struct weir_session_ref to = weir_stream_ref(stream);
	// Nobody sends events of level none again: the stream goes on behind them.
	if (stream->level == WEIR_ACK_NONE && sequence + count > stream->next)
		stream->next = sequence + count;
	struct weir_refuse_entry entry = {
		.stream = stream->handle, .count = count, .sequence = sequence, .next = stream->next,
	};
	refuse_frame(shard, &to, &entry, reason);
}

void weir_stream_lose(struct weir_shard *shard, struct weir_stream *stream, uint64_t sequence)
{
	uint64_t lost = sequence - stream->next;
	shard->row.offered += lost;
	shard->row.skipped[WEIR_R_LOST] += lost;
	stream->next = sequence;
	weir_reassembly_give(&shard->engine->reassembly, stream);
}

// Whether the run may go in; makes room for it by the topic's policy.
static enum weir_reason room_make(struct weir_shard *shard, uint32_t length)
{
	const struct weir_log *log = &shard->log;
	if (!weir_log_has_room(log, weir_shard_hold(shard), length))
		weir_reader_look_shard(shard, weir_engine_now(shard->engine));
	if (!weir_log_has_room(log, weir_shard_hold(shard), length)) {
		if (shard->policy == WEIR_POLICY_BLOCK)
			return WEIR_R_FULL;
		if (shard->policy == WEIR_POLICY_DROP_NEW)
			return WEIR_R_DROP_NEW;
	}
	uint64_t end = log->head + weir_log_run_size(length);
	if (end - log->tail > log->size)
		weir_delivery_overwrite(shard, end - log->size);
	return WEIR_R_NONE;
}

static void round_note(struct weir_shard *shard, struct weir_stream *stream, uint64_t now_ns)
{
	if (now_ns - shard->round_ns > ROUND_NS) {
		shard->round++;
		shard->round_ns = now_ns;
		shard->round_active_last = shard->round_active;
		shard->round_active = 0;
	}
	if (stream->round != (uint8_t)shard->round) {
		stream->round = (uint8_t)shard->round;
		shard->round_active++;
	}
}

void weir_stream_appended(struct weir_shard *shard, struct weir_stream *stream, uint32_t flags, uint64_t now_ns)
{
	round_note(shard, stream, now_ns);
	// level none: only news of credit are told.
	if (stream->level == WEIR_ACK_NONE && stream->limit >= stream->next + NONE_NEWS_EVENTS)
		return;
	if (flags & WEIR_FLAG_LATER && (shard->engine->is_behind || stream->ack_place & WEIR_ACK_WAITS))
		weir_ack_later(shard->engine, stream);
	else
		weir_ack_mark(shard->engine, stream);
}

void weir_shard_grew(struct weir_shard *shard)
{
	weir_engine_mark_dirty(shard->engine, shard);
	weir_engine_mark_grown(shard->engine, shard);
}

// The part below next is trimmed; its events were checked, so walking them is safe.
static struct weir_batch trim(const struct weir_batch *batch, uint32_t duplicates)
{
	uint32_t skipped = weir_events_size(batch->events, duplicates);
	struct weir_batch rest = *batch;
	rest.sequence += duplicates;
	rest.events = (const uint8_t *)batch->events + skipped;
	rest.length -= skipped;
	rest.count -= duplicates;
	if (!rest.is_unchecked)
		rest.crc = weir_crc32c(0, rest.events, rest.length);
	return rest;
}

static void duplicates_count(struct weir_shard *shard, struct weir_stream *stream, uint64_t count)
{
	shard->row.offered += count;
	shard->row.duplicate += count;
	weir_engine_mark_dirty(shard->engine, shard);
	if (stream->level != WEIR_ACK_NONE)
		weir_ack_mark(shard->engine, stream);
}

static uint16_t run_flags(const struct weir_stream *stream, const struct weir_batch *batch)
{
	if (!batch->is_unchecked)
		return 0;
	return stream->is_local ? WEIR_RUN_UNCHECKED | WEIR_RUN_LOCAL : WEIR_RUN_UNCHECKED;
}

// The batch, which was judged, goes into the log.
static void commit(struct weir_shard *shard, struct weir_stream *stream, const struct weir_batch *batch, uint64_t now_ns)
{
	const struct weir_run_header run = {
		.producer = stream->producer,
		.sequence = batch->sequence,
		.length = batch->length,
		.crc = batch->is_unchecked ? 0 : batch->crc,
		.count = (uint16_t)batch->count,
		.flags = run_flags(stream, batch),
	};
	weir_log_append(&shard->log, &run, batch->events, now_ns);
	if (stream->is_assembling)
		weir_reassembly_give(&shard->engine->reassembly, stream);
	weir_stream_advance(shard, stream, batch->sequence + batch->count, batch->flags, now_ns);
}

enum weir_reason weir_stream_append(struct weir_shard *shard, struct weir_stream *stream, const struct weir_batch *batch,
				    uint64_t now_ns)
{
	struct weir_batch trimmed;
	enum weir_reason reason = weir_events_check(batch->events, batch->length, batch->count, shard->event_max, shard->shard,
						    shard->shards);
	if (reason == WEIR_R_NONE && batch->sequence < stream->next) {
		uint32_t duplicates = (uint32_t)(stream->next - batch->sequence);
		trimmed = trim(batch, duplicates);
		duplicates_count(shard, stream, duplicates);
		batch = &trimmed;
	}
	// What was refused for good stays refused, or a late copy would be appended although its producer gave it up.
	if (reason == WEIR_R_NONE && batch->sequence < stream->refused_to)
		reason = WEIR_R_DROP_NEW;
	if (reason == WEIR_R_NONE)
		reason = room_make(shard, batch->length);
	if (reason != WEIR_R_NONE) {
		if (reason == WEIR_R_DROP_NEW && stream->refused_to < batch->sequence + batch->count)
			stream->refused_to = batch->sequence + batch->count;
		if (reason == WEIR_R_FULL) {
			weir_credit_wait(shard, stream, batch->length);
			weir_reader_ask(shard, now_ns);
		}
		weir_stream_refuse(shard, stream, batch->sequence, batch->count, reason);
		return reason;
	}
	commit(shard, stream, batch, now_ns);
	return WEIR_R_NONE;
}

static void skip_apply(struct weir_shard *shard, struct weir_stream *stream, uint64_t sequence, uint64_t count, uint16_t reason)
{
	uint64_t end = sequence + count;
	uint64_t duplicates = stream->next > sequence ? stream->next - sequence : 0;
	if (duplicates > count)
		duplicates = count;
	if (duplicates)
		duplicates_count(shard, stream, duplicates);
	uint64_t fresh = count - duplicates;
	shard->row.offered += fresh;
	shard->row.skipped[reason] += fresh;
	if (end > stream->next) {
		stream->next = end;
		weir_reassembly_give(&shard->engine->reassembly, stream);
	}
	weir_engine_mark_dirty(shard->engine, shard);
	weir_ack_mark(shard->engine, stream);
}

// ---- Parking ----

static void parked_drop_all(struct weir_engine *engine, struct weir_stream *stream)
{
	while (stream->parked) {
		struct weir_parked *parked = stream->parked;
		stream->parked = parked->next;
		weir_park_give(&engine->park, parked);
	}
	stream->parked_count = 0;
}

static void parked_drain(struct weir_shard *shard, struct weir_stream *stream, uint64_t now_ns)
{
	while (stream->parked && stream->parked->sequence <= stream->next) {
		struct weir_parked *parked = stream->parked;
		stream->parked = parked->next;
		stream->parked_count--;
		struct weir_batch batch = {
			.sequence = parked->sequence,
			.events = parked->body,
			.length = parked->length,
			.count = (uint32_t)parked->count,
			.crc = parked->body_crc,
			.is_unchecked = parked->is_unchecked,
		};
		enum weir_reason reason = WEIR_R_NONE;
		if (parked->skip_reason)
			skip_apply(shard, stream, parked->sequence, parked->count, parked->skip_reason);
		else if (parked->sequence + parked->count <= stream->next)
			duplicates_count(shard, stream, parked->count);
		else
			reason = weir_stream_append(shard, stream, &batch, now_ns);
		weir_park_give(&shard->engine->park, parked);
		if (reason != WEIR_R_NONE)
			return;
	}
}

// Place for an entry of `sequence` in the stream's list, or NULL when one is there already or there is no room (*is_there).
static struct weir_parked **park_find(struct weir_stream *stream, uint64_t sequence, bool *is_there)
{
	struct weir_parked **link = &stream->parked;
	// What follows a loss comes in order: at the end, without a walk over scattered frames.
	if (*link && stream->parked_last->sequence < sequence)
		link = &stream->parked_last->next;
	while (*link && (*link)->sequence < sequence)
		link = &(*link)->next;
	*is_there = *link && (*link)->sequence == sequence;
	return link;
}

// An out-of-order publish or skip. NULL: it is there already or there is no room, and has been counted and told.
static struct weir_parked *park(struct weir_shard *shard, struct weir_stream *stream, uint64_t sequence, uint32_t count)
{
	struct weir_engine *engine = shard->engine;
	bool is_there = false;
	weir_park_age(&engine->park, engine->now_ns);
	struct weir_parked **link = park_find(stream, sequence, &is_there);
	// Due in any case: it may carry the nack.
	weir_ack_mark(engine, stream);
	if (is_there) {
		shard->row.offered += count;
		shard->row.duplicate += count;
		weir_engine_mark_dirty(shard->engine, shard);
		return NULL;
	}
	struct weir_parked *parked =
		stream->parked_count < WEIR_PARK_PER_STREAM ? weir_park_take(&engine->park, stream, engine->now_ns) : NULL;
	if (!parked) {
		stream->wants_nack = true;
		weir_stream_refuse(shard, stream, sequence, count, WEIR_R_GAP);
		return NULL;
	}
	parked->next = *link;
	*link = parked;
	if (!parked->next)
		stream->parked_last = parked;
	stream->parked_count++;
	parked->sequence = sequence;
	return parked;
}

// ---- Frames ----

static void publish(struct weir_shard *shard, struct weir_stream *stream, const struct weir_ingress *ingress, uint64_t now_ns)
{
	const struct weir_frame_header *frame = ingress->frame;
	struct weir_batch batch = {
		.sequence = frame->sequence,
		.events = ingress->shared ? ingress->shared : frame + 1,
		.length = frame->body_length,
		.count = frame->count,
		.crc = ingress->body_crc,
		.is_unchecked = frame->flags & WEIR_FLAG_HEADER_ONLY,
		.flags = stream->parked_count ? 0 : frame->flags,
	};
	if (batch.sequence > weir_stream_horizon(stream)) {
		weir_stream_refuse(shard, stream, stream->next, batch.count, WEIR_R_BAD_EVENT);
		return;
	}
	if (batch.sequence + batch.count <= stream->next ||
	    (batch.sequence < stream->next && stream->level == WEIR_ACK_NONE)) {
		duplicates_count(shard, stream, batch.count);
		return;
	}
	if (batch.sequence > stream->next) {
		if (stream->level != WEIR_ACK_NONE) {
			struct weir_parked *parked = park(shard, stream, batch.sequence, batch.count);
			if (parked) {
				parked->count = batch.count;
				parked->body_crc = batch.crc;
				parked->length = frame->body_length;
				parked->skip_reason = 0;
				parked->is_unchecked = batch.is_unchecked;
				memcpy(parked->body, batch.events, batch.length);
			}
			return;
		}
		weir_stream_lose(shard, stream, batch.sequence);
	}
	if (ingress->shared)
		batch.events = memcpy(shard->engine->bounce, batch.events, batch.length);
	if (weir_stream_append(shard, stream, &batch, now_ns) == WEIR_R_NONE && stream->parked_count)
		parked_drain(shard, stream, now_ns);
}

static void skip(struct weir_shard *shard, struct weir_stream *stream, const struct weir_frame_header *frame, uint64_t now_ns)
{
	const struct weir_skip *body = (const void *)(frame + 1);
	uint16_t reason = body->reason > 0 && body->reason < WEIR_REASON_COUNT ? body->reason : WEIR_R_ABANDONED;
	uint64_t horizon = weir_stream_horizon(stream);
	if (frame->sequence > horizon || body->count > horizon - frame->sequence) {
		weir_stream_refuse(shard, stream, frame->sequence, 0, WEIR_R_BAD_EVENT);
		return;
	}
	if (frame->sequence > stream->next && stream->level == WEIR_ACK_NONE)
		weir_stream_lose(shard, stream, frame->sequence);
	if (frame->sequence > stream->next) {
		struct weir_parked *parked = park(shard, stream, frame->sequence, 0);
		if (parked) {
			parked->count = body->count;
			parked->length = 0;
			parked->skip_reason = reason;
		}
		return;
	}
	skip_apply(shard, stream, frame->sequence, body->count, reason);
	parked_drain(shard, stream, now_ns);
}

// ---- Opening and closing ----

// What the stream has of pools, and its place in the shard's queue.
static void holdings_drop(struct weir_shard *shard, struct weir_stream *stream)
{
	parked_drop_all(shard->engine, stream);
	weir_reassembly_give(&shard->engine->reassembly, stream);
	weir_credit_forget(shard, stream);
}

// Producers choose their numbers, and may choose such as share a chain: then a walk through their own streams finds one.
static inline uint64_t producer_hash(uint64_t producer)
{
	return weir_mix64(producer);
}

// The session that may write, or the one that closed the stream; at most one of them.
static void session_set(struct weir_shard *shard, struct weir_stream *stream, uint64_t session, uint64_t closed_by)
{
	if (stream->session | stream->closed_by)
		LIST_REMOVE(stream, of_session);
	stream->session = session;
	stream->closed_by = closed_by;
	if (session | closed_by)
		LIST_INSERT_HEAD(weir_streams_of(shard->engine, session | closed_by), stream, of_session);
}

// A stream is opened by a frame and ended by a message, which may be faster. So its session's home is asked once it is there,
// and again when its shard came from another worker, for the answer may have gone to that one.
static void ask_begin(struct weir_engine *engine, struct weir_stream *stream)
{
	if (stream->home == engine->config.worker)
		return;
	TAILQ_INSERT_TAIL(&engine->asking, stream, asked);
	engine->has_work = engine->has_to_tell = true;
}

static void ask_end(struct weir_engine *engine, struct weir_stream *stream)
{
	if (stream->asked.tqe_prev)
		TAILQ_REMOVE(&engine->asking, stream, asked);
	stream->asked.tqe_prev = NULL;
}

uint32_t weir_stream_ask(struct weir_engine *engine, uint32_t budget)
{
	uint32_t told = 0;
	struct weir_stream *next;
	for (struct weir_stream *stream = TAILQ_FIRST(&engine->asking); stream && told < budget; stream = next) {
		next = TAILQ_NEXT(stream, asked);
		if (!weir_engine_may_tell(engine, stream->home))
			continue;
		struct weir_message message = { .kind = WEIR_MESSAGE_SESSION_ASK, .session = weir_stream_ref(stream) };
		message.session.id |= stream->closed_by;
		ask_end(engine, stream);
		weir_engine_tell(engine, stream->home, &message);
		told++;
	}
	return told;
}

static void stream_free(struct weir_shard *shard, struct weir_stream *stream)
{
	struct weir_engine *engine = shard->engine;
	weir_wheel_cancel(&engine->wheel, &stream->timer);
	ask_end(engine, stream);
	holdings_drop(shard, stream);
	stream->ack_place = 0;
	stream->state = WEIR_STREAM_FREE;
	session_set(shard, stream, 0, 0);
	weir_chains_remove(&shard->by_producer, producer_hash(stream->producer), stream->handle);
	stream->producer = 0;
	stream->free_next = shard->streams_free;
	shard->streams_free = stream;
	shard->streams_used--;
	shard->of_source[stream->source]--;
	weir_engine_mark_dirty(engine, shard);
}

static void dormant_fire(struct weir_timer *timer, void *context, uint64_t now_ns)
{
	struct weir_stream *stream =
		(struct weir_stream *)(void *)((uint8_t *)timer - __builtin_offsetof(struct weir_stream, timer));
	stream_free(stream->shard, stream);
}

// Its session is over. state: dormant or closed.
static void stream_sleep(struct weir_shard *shard, struct weir_stream *stream, enum weir_stream_state state, uint64_t now_ns)
{
	struct weir_engine *engine = shard->engine;
	// Nothing came of it, and no epoch: there is nothing to remember.
	if (stream->next == 0 && stream->epoch == 0) {
		stream_free(shard, stream);
		return;
	}
	ask_end(engine, stream);
	holdings_drop(shard, stream);
	stream->ack_place = 0;
	stream->state = state;
	session_set(shard, stream, 0, 0);
	weir_wheel_arm(&engine->wheel, &stream->timer, now_ns + engine->config.limits.dedup_window_ms * NS_PER_MS);
}

static void opened_send(struct weir_shard *shard, struct weir_stream *stream, const struct weir_ingress *ingress)
{
	const struct weir_open *open = (const void *)(ingress->frame + 1);
	weir_credit_renew(shard, stream);
	struct weir_frame_header *frame =
		weir_frame_to(shard->engine, ingress->session, HEADER_SIZE + sizeof(struct weir_opened));
	if (!frame)
		return;
	frame->kind = WEIR_KIND_OPENED;
	frame->topic = shard->topic;
	frame->shard = shard->shard;
	frame->stream = stream->handle;
	struct weir_opened body = {
		.request = open->request,
		.next = stream->next,
		.limit = stream->limit,
		.incarnation = shard->log.incarnation,
		.level = stream->level,
	};
	memcpy(frame + 1, &body, sizeof(body));
	weir_frame_send(shard->engine, frame, sizeof(body));
}

static struct weir_stream *find_producer(struct weir_shard *shard, uint64_t producer)
{
	uint32_t at = weir_chains_first(&shard->by_producer, producer_hash(producer));
	while (at && shard->streams[at - 1].producer != producer)
		at = weir_chains_next(&shard->by_producer, at - 1);
	return at ? &shard->streams[at - 1] : NULL;
}

static struct weir_stream *stream_create(struct weir_shard *shard, uint64_t producer, uint8_t source)
{
	struct weir_stream *stream = shard->streams_free;
	if (!stream)
		return NULL;
	shard->streams_free = stream->free_next;
	shard->streams_used++;
	shard->of_source[source]++;
	if (stream->handle >= shard->streams_limit)
		shard->streams_limit = stream->handle + 1;
	// It may still stand in the engine's list of due acknowledgements.
	*stream = (struct weir_stream){
		.shard = shard,
		.producer = producer,
		.source = source,
		.handle = stream->handle,
		.round = (uint8_t)(shard->round - 1),
		.is_ack_due = stream->is_ack_due,
		.ack_next = stream->ack_next,
		.timer = { .fire = dormant_fire },
	};
	weir_chains_add(&shard->by_producer, producer_hash(producer), stream->handle);
	weir_engine_mark_dirty(shard->engine, shard);
	return stream;
}

static void take_over(struct weir_shard *shard, struct weir_stream *stream, const struct weir_ingress *ingress, uint8_t level)
{
	const struct weir_open *open = (const void *)(ingress->frame + 1);
	struct weir_engine *engine = shard->engine;
	holdings_drop(shard, stream);
	weir_wheel_cancel(&engine->wheel, &stream->timer);
	stream->state = WEIR_STREAM_OPEN;
	session_set(shard, stream, ingress->session->id, 0);
	stream->request = open->request;
	if (open->epoch > stream->epoch && stream->epoch > stream->outranked)
		stream->outranked = stream->epoch;
	stream->epoch = open->epoch;
	ask_end(engine, stream);
	stream->home = ingress->session->home;
	shard->of_source[stream->source]--;
	stream->source = ingress->session->source;
	shard->of_source[stream->source]++;
	ask_begin(engine, stream);
	stream->is_local = ingress->session->lane != 0;
	shard->has_local |= stream->is_local;
	stream->frame_size = ingress->session->frame_size;
	stream->level = level;
	stream->limit = stream->next;
	stream->refused_to = 0;
	stream->nack_ns = 0;
	stream->nack_next = 0;
}

// The level that is agreed on; LEVEL when it cannot be, NOT_OFFERED for a stream of another kind.
static enum weir_reason level_of(const struct weir_shard *shard, const struct weir_open *open, uint8_t *level)
{
	if (open->for_group)
		return WEIR_R_NOT_OFFERED;
	*level = open->level < shard->ack_min ? (uint8_t)shard->ack_min : open->level;
	return *level <= WEIR_ACK_ROUTED ? WEIR_R_NONE : WEIR_R_LEVEL;
}

// An epoch fences all below it, so none is taken that no clock can have shown: it would shut out its name.
static bool is_epoch_possible(const struct weir_engine *engine, uint64_t epoch)
{
	if (epoch == 0 || !engine->io.wall_clock)
		return true;
	return epoch <= engine->io.wall_clock(engine->io.context) + EPOCH_AHEAD_NS;
}

// A copy of the open of an earlier life, or of this one before it was closed.
static bool is_late_open(const struct weir_stream *stream, uint64_t session, const struct weir_open *open)
{
	if (!stream)
		return false;
	return (stream->session == session && open->request < stream->request) ||
	       (stream->closed_by == session && open->request <= stream->request);
}

static void open_receive(struct weir_shard *shard, const struct weir_ingress *ingress)
{
	const struct weir_open *open = (const void *)(ingress->frame + 1);
	const struct weir_session_ref *session = ingress->session;
	uint8_t level = 0;
	enum weir_reason reason = level_of(shard, open, &level);
	// It came by way of another worker, and its session ended meanwhile: nobody would ever end the stream.
	if (session->home == shard->engine->config.worker && !weir_session_find(&shard->engine->sessions, session->id))
		return;
	if (reason == WEIR_R_NONE && !is_epoch_possible(shard->engine, open->epoch))
		reason = WEIR_R_EPOCH;
	struct weir_stream *stream = find_producer(shard, session->producer);
	if (is_late_open(stream, session->id, open)) {
		weir_engine_count_drop(shard->engine, WEIR_R_LATE, 1);
		return;
	}
	if (reason == WEIR_R_NONE && stream && stream->session != session->id) {
		if (open->epoch < stream->epoch)
			reason = WEIR_R_FENCED;
		// Every consumer knows the id of an anonymous producer: no epoch gives away what is its while it lives.
		else if (stream->state == WEIR_STREAM_OPEN && (open->epoch == stream->epoch || stream->epoch == 0))
			reason = WEIR_R_BUSY;
	}
	if (reason == WEIR_R_NONE && !stream) {
		uint32_t free = shard->streams_max - shard->streams_used;
		if (free && !weir_share_may_take(shard->of_source[session->source], free))
			reason = WEIR_R_QUOTA;
		else if (!(stream = stream_create(shard, session->producer, session->source)))
			reason = WEIR_R_STREAMS;
	}
	if (reason != WEIR_R_NONE) {
		struct weir_refuse_entry entry = { .sequence = open->request };
		refuse_frame(shard, session, &entry, reason);
		return;
	}
	if (stream->session != session->id)
		take_over(shard, stream, ingress, level);
	else if (open->epoch > stream->epoch)
		stream->epoch = open->epoch;
	stream->request = open->request;
	opened_send(shard, stream, ingress);
}

static void closed_send(struct weir_shard *shard, const struct weir_ingress *ingress)
{
	struct weir_frame_header *frame =
		weir_frame_to(shard->engine, ingress->session, HEADER_SIZE + sizeof(struct weir_close));
	if (!frame)
		return;
	frame->kind = WEIR_KIND_CLOSED;
	frame->topic = shard->topic;
	frame->shard = shard->shard;
	frame->stream = ingress->frame->stream;
	memcpy(frame + 1, ingress->frame + 1, sizeof(struct weir_close));
	weir_frame_send(shard->engine, frame, sizeof(struct weir_close));
}

static void close_receive(struct weir_shard *shard, struct weir_stream *stream, const struct weir_ingress *ingress,
			  uint64_t now_ns)
{
	const struct weir_close *ask = (const void *)(ingress->frame + 1);
	uint64_t sequence = ingress->frame->sequence;
	// Of an earlier life.
	if (ask->request != stream->request || sequence < stream->next) {
		weir_engine_count_drop(shard->engine, WEIR_R_LATE, 1);
		weir_ack_mark(shard->engine, stream);
		return;
	}
	if (sequence > stream->next) {
		if (stream->level != WEIR_ACK_NONE || sequence > weir_stream_horizon(stream)) {
			weir_ack_mark(shard->engine, stream);
			return;
		}
		weir_stream_lose(shard, stream, sequence);
		weir_engine_mark_dirty(shard->engine, shard);
	}
	closed_send(shard, ingress);
	holdings_drop(shard, stream);
	stream->ack_place = 0;
	stream->state = WEIR_STREAM_CLOSED;
	session_set(shard, stream, 0, ingress->session->id);
	// In order: whoever comes next may have started by an earlier clock. Who was taken over and never closed stays out.
	if (stream->epoch)
		stream->epoch = stream->outranked + 1;
}

// A frame for a stream that is not the session's.
static void foreign(struct weir_shard *shard, const struct weir_stream *stream, const struct weir_ingress *ingress)
{
	const struct weir_frame_header *frame = ingress->frame;
	const struct weir_session_ref *session = ingress->session;
	if (frame->kind == WEIR_KIND_CLOSE) {
		closed_send(shard, ingress);
		return;
	}
	bool is_fenced = stream && stream->state != WEIR_STREAM_FREE && stream->producer == session->producer &&
			 stream->epoch > session->epoch;
	struct weir_refuse_entry entry = { .stream = frame->stream };
	if (frame->kind == WEIR_KIND_PUBLISH) {
		entry.count = frame->count;
		entry.sequence = frame->sequence;
		entry.next = frame->sequence;
	}
	refuse_frame(shard, session, &entry, is_fenced ? WEIR_R_FENCED : WEIR_R_NO_STREAM);
}

void weir_stream_receive(struct weir_shard *shard, const struct weir_ingress *ingress, uint64_t now_ns)
{
	const struct weir_frame_header *frame = ingress->frame;
	if (frame->kind == WEIR_KIND_OPEN) {
		open_receive(shard, ingress);
		return;
	}
	struct weir_stream *stream = frame->stream < shard->streams_max ? &shard->streams[frame->stream] : NULL;
	if (!stream || stream->session != ingress->session->id) {
		foreign(shard, stream, ingress);
		return;
	}
	switch (frame->kind) {
	case WEIR_KIND_PUBLISH:
		if (frame->flags & WEIR_FLAG_FRAGMENT) {
			weir_fragment_receive(shard, stream, ingress, now_ns);
			if (stream->parked_count)
				parked_drain(shard, stream, now_ns);
		} else {
			publish(shard, stream, ingress, now_ns);
		}
		return;
	case WEIR_KIND_PROBE:
		weir_credit_probe(shard, stream, frame->sequence);
		if (stream->is_waiting)
			weir_reader_ask(shard, now_ns);
		weir_ack_mark(shard->engine, stream);
		return;
	case WEIR_KIND_SKIP:
		skip(shard, stream, frame, now_ns);
		return;
	case WEIR_KIND_CLOSE:
		close_receive(shard, stream, ingress, now_ns);
		return;
	default:
		return;
	}
}

// ---- Ends and moves ----

// Nothing of the session that may write, or that closed it, can come any more.
static void session_over(struct weir_shard *shard, struct weir_stream *stream, uint64_t now_ns)
{
	if (stream->session)
		stream_sleep(shard, stream, WEIR_STREAM_DORMANT, now_ns);
	else if (stream->epoch == 0)
		stream_free(shard, stream);
	else
		stream_sleep(shard, stream, WEIR_STREAM_CLOSED, now_ns);
}

void weir_stream_session_gone(struct weir_engine *engine, uint64_t session)
{
	struct weir_stream *next;
	for (struct weir_stream *stream = LIST_FIRST(weir_streams_of(engine, session)); stream; stream = next) {
		next = LIST_NEXT(stream, of_session);
		if ((stream->session | stream->closed_by) == session)
			session_over(stream->shard, stream, engine->now_ns);
	}
}

void weir_stream_remove_all(struct weir_shard *shard, uint64_t now_ns)
{
	for (uint32_t i = 0; i < shard->streams_limit; i++) {
		struct weir_stream *stream = &shard->streams[i];
		if (stream->state == WEIR_STREAM_OPEN)
			weir_stream_refuse(shard, stream, stream->next, 0, WEIR_R_TOPIC_REMOVED);
		if (stream->state != WEIR_STREAM_FREE)
			stream_free(shard, stream);
	}
}

void weir_stream_detach(struct weir_shard *shard)
{
	struct weir_engine *engine = shard->engine;
	weir_ack_detach(engine, shard);
	for (uint32_t i = 0; i < shard->streams_limit; i++) {
		struct weir_stream *stream = &shard->streams[i];
		parked_drop_all(engine, stream);
		weir_reassembly_give(&engine->reassembly, stream);
		weir_wheel_cancel(&engine->wheel, &stream->timer);
		if (stream->state != WEIR_STREAM_FREE)
			ask_end(engine, stream);
		if (stream->session | stream->closed_by)
			LIST_REMOVE(stream, of_session);
	}
}

void weir_stream_attach(struct weir_shard *shard, uint64_t now_ns)
{
	struct weir_engine *engine = shard->engine;
	for (uint32_t i = 0; i < shard->streams_limit; i++) {
		struct weir_stream *stream = &shard->streams[i];
		bool is_due = stream->is_ack_due || stream->ack_place & WEIR_ACK_WAITS;
		stream->is_ack_due = false;
		stream->ack_place = 0;
		uint64_t session = stream->session | stream->closed_by;
		if (!session && stream->state != WEIR_STREAM_FREE) {
			weir_wheel_arm(&engine->wheel, &stream->timer, stream->timer.due_ns);
		} else if (session) {
			LIST_INSERT_HEAD(weir_streams_of(engine, session), stream, of_session);
			bool is_home = stream->home == engine->config.worker;
			if (is_home && !weir_session_find(&engine->sessions, session)) {
				session_over(shard, stream, now_ns);
				continue;
			}
			ask_begin(engine, stream);
			if (is_due)
				weir_ack_mark(engine, stream);
		}
	}
}
