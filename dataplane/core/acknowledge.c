// Acknowledgements, credit and waiters. What became due in a turn is sent at its end, one frame per session with an entry per
// stream; a worker that is behind lets some wait. Credit is advice from the log's free space and the number of streams that
// share it; the append is the judge. A stream that ran out waits in the shard's queue and is told, in turn, when a hold cursor
// made room.
#include <string.h>

#include "dataplane/core/stream.h"
#include "wire/prefetch.h"

#define HEADER_SIZE ((uint32_t)sizeof(struct weir_frame_header))
#define COUNTED_MAX 8u            // streams of a bucket that are counted by session
#define FETCH_NS 16000ull         // what is due so soon is asked for
#define WAITING_TURN 256u         // of those that wait, in one turn
#define IN_VAIN 15u               // acknowledgements that do not wait after one that did so in vain
#define NACK_NS 10000000ull       // at most one nack per gap in this time
#define CREDIT_EVENTS_MAX 65536u  // beyond `next`
#define CREDIT_EVENTS_NONE 8192u  // the same of a stream of level none, which has no window: what a socket's buffer holds
#define CREDIT_EVENTS_FIRST 256u  // and before the size of any event is known
#define CREDIT_EVENTS_LOW 64u     // less is not worth a frame: the stream waits for more
#define CREDIT_EVENTS_MANY 512u   // where many share the room one may have so many, and a part of all that is free
#define CREDIT_PARTS 16u          // as large as that
#define RECENT_EVENTS_MAX 8192u   // then the older half is forgotten
#define EVENT_BYTES_GUESS 256u    // before any was seen

static inline struct weir_waiting_ack *waiting_slot(const struct weir_waiting_acks *waiting, uint32_t index)
{
	return &waiting->slots[index % WEIR_WAITING_MAX];
}

void weir_ack_detach(struct weir_engine *engine, struct weir_shard *shard)
{
	for (uint32_t number = 0; number < WEIR_ACK_BUCKETS; number++) {
		struct weir_ack_bucket *bucket = &engine->acks[number];
		struct weir_stream **link = &bucket->first;
		while (*link) {
			if ((*link)->shard != shard) {
				link = &(*link)->ack_next;
				continue;
			}
			*link = (*link)->ack_next;
			bucket->count--;
		}
		if (!bucket->first)
			engine->acks_due &= ~(1ull << number);
	}
	struct weir_waiting_acks *waiting = &engine->waiting;
	for (uint32_t i = waiting->head; i != waiting->tail; i++) {
		struct weir_waiting_ack *ack = waiting_slot(waiting, i);
		if (ack->stream >= shard->streams && ack->stream < shard->streams + shard->streams_max)
			ack->stream = NULL;
	}
}

// Events of the recent size that fit an equal part of `bytes`.
static inline uint64_t events_in(struct weir_shard *shard, uint64_t bytes, uint64_t parts)
{
	uint64_t recent_bytes = shard->log.head - shard->recent_position;
	uint64_t recent_events = shard->log.head_offset - shard->recent_offset;
	if (recent_events == 0)
		return bytes / (EVENT_BYTES_GUESS * parts);
	if (recent_events > RECENT_EVENTS_MAX || recent_bytes > shard->log.size) {
		// The older half is forgotten; both stay above 0. Rounded so that credit is never for more than fits.
		shard->recent_position += recent_bytes / 2;
		shard->recent_offset += (recent_events + (recent_events > 1)) / 2;
	}
	return bytes * recent_events / (recent_bytes * parts);
}

static inline uint64_t free_bytes(const struct weir_shard *shard)
{
	return shard->log.size - (shard->log.head - weir_shard_hold(shard));
}

static inline uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t credit_count(struct weir_shard *shard, uint64_t free)
{
	uint32_t active = shard->round_active > shard->round_active_last ? shard->round_active : shard->round_active_last;
	uint64_t share = events_in(shard, free, active > 1 ? active : 1);
	if (share >= CREDIT_EVENTS_MANY)
		return smaller(share, CREDIT_EVENTS_MAX);
	// Many streams: first come, first served. Where there is room, enough for frames that are acknowledged together; where
	// there is little, enough for one.
	uint64_t all = events_in(shard, free, 1);
	uint64_t part = smaller(all / CREDIT_PARTS, CREDIT_EVENTS_MANY);
	uint64_t most = part > CREDIT_EVENTS_LOW ? part : CREDIT_EVENTS_LOW;
	return smaller(all, share > most ? share : most);
}

// The same for all streams of a shard whose acknowledgements leave together: counted once.
static inline uint64_t credit_events(struct weir_shard *shard)
{
	if (shard->policy != WEIR_POLICY_BLOCK || !shard->holders)
		return CREDIT_EVENTS_MAX;
	uint64_t free = free_bytes(shard);
	if (shard->credit_free != free || shard->credit_head != shard->log.head) {
		shard->credit_free = free;
		shard->credit_head = shard->log.head;
		shard->credit = credit_count(shard, free);
	}
	return shard->credit;
}

// Of level none nothing is sent again: what is refused as `full` because events grew is lost. So it gets less.
static uint64_t credit_events_none(struct weir_shard *shard)
{
	uint64_t credit = credit_events(shard) * 3 / 4;
	uint64_t most = shard->log.head_offset ? CREDIT_EVENTS_NONE : CREDIT_EVENTS_FIRST;
	return credit < most ? credit : most;
}

void weir_credit_renew(struct weir_shard *shard, struct weir_stream *stream)
{
	uint64_t limit = stream->next + (stream->level == WEIR_ACK_NONE ? credit_events_none(shard) : credit_events(shard));
	if (limit > stream->limit)
		stream->limit = limit;
	if (stream->limit < stream->next + CREDIT_EVENTS_LOW)
		weir_credit_wait(shard, stream, 0);
}

void weir_credit_wait(struct weir_shard *shard, struct weir_stream *stream, uint32_t wanted)
{
	if (wanted > stream->wanted)
		stream->wanted = wanted;
	if (stream->is_waiting)
		return;
	stream->is_waiting = true;
	stream->wait_next = NULL;
	stream->wait_previous = shard->waiters_last;
	if (shard->waiters_last)
		shard->waiters_last->wait_next = stream;
	else
		shard->waiters_first = stream;
	shard->waiters_last = stream;
	shard->row.waiters++;
}

// Credit by the average event may be less than one frame of small ones, and a frame goes whole or not at all: it would wait
// for ever. So would a stream of level none whose last frames were all lost: its credit counts from what arrived.
void weir_credit_probe(struct weir_shard *shard, struct weir_stream *stream, uint64_t sequence)
{
	uint64_t from = stream->level == WEIR_ACK_NONE ? stream->limit : stream->next;
	if (sequence <= stream->limit || sequence > from + WEIR_COUNT_MAX)
		return;
	if (free_bytes(shard) >= weir_log_run_size(stream->frame_size))
		stream->limit = sequence;
	else
		weir_credit_wait(shard, stream, stream->frame_size);
}

void weir_credit_forget(struct weir_shard *shard, struct weir_stream *stream)
{
	if (!stream->is_waiting)
		return;
	if (stream->wait_previous)
		stream->wait_previous->wait_next = stream->wait_next;
	else
		shard->waiters_first = stream->wait_next;
	if (stream->wait_next)
		stream->wait_next->wait_previous = stream->wait_previous;
	else
		shard->waiters_last = stream->wait_previous;
	stream->is_waiting = false;
	stream->wanted = 0;
	shard->row.waiters--;
}

void weir_stream_room(struct weir_shard *shard, uint64_t now_ns)
{
	if (!shard->waiters_first)
		return;
	uint64_t free = free_bytes(shard);
	// A sixteenth of the log at a time: telling costs a frame, and producers fill frames.
	uint64_t step = shard->log.size / 16;
	while (shard->waiters_first) {
		struct weir_stream *stream = shard->waiters_first;
		uint64_t needed = weir_log_run_size(stream->wanted);
		if (needed < step)
			needed = step;
		if (free < needed)
			return;
		free -= needed;
		weir_credit_forget(shard, stream);
		weir_ack_mark(shard->engine, stream);
	}
}

// Whether the stream is to be told of a gap now.
static bool is_nack_due(struct weir_stream *stream, bool is_full, uint64_t now_ns)
{
	// What is missing because it was refused `full` is no gap: sending it again at once would not help.
	bool has_gap = (stream->parked_count || stream->wants_nack) && !is_full;
	stream->wants_nack = false;
	if (!has_gap || (stream->nack_next == stream->next && now_ns - stream->nack_ns < NACK_NS))
		return false;
	stream->nack_next = stream->next;
	stream->nack_ns = now_ns;
	return true;
}

// Returns the sum of what was before it and the entry.
static uint32_t entry_put(struct weir_stream *stream, struct weir_ack_entry *entry, uint32_t crc, uint64_t now_ns)
{
	struct weir_shard *shard = stream->shard;
	const struct weir_reassembly *pool = &shard->engine->reassembly;
	weir_credit_renew(shard, stream);
	bool is_full = stream->is_waiting && stream->wanted;
	bool is_nack = is_nack_due(stream, is_full, now_ns);
	uint64_t flags = (is_full ? WEIR_ACK_FULL : 0) | (is_nack ? WEIR_ACK_NACK : 0);
	uint64_t fragment_to = stream->is_assembling ? pool->slots[stream->reassembly].arrived : 0;
	uint64_t have = stream->next;
	if (is_nack)
		have = stream->parked ? stream->parked->sequence : stream->next + 1;
	const uint64_t words[] = {
		shard->topic | (uint64_t)shard->shard << 32 | flags << 48,
		stream->handle | fragment_to << 32,
		stream->next,
		stream->limit,
		have,
	};
	_Static_assert(sizeof(words) == sizeof(*entry) && __builtin_offsetof(struct weir_ack_entry, next) == 16,
		       "an entry in words");
	weir_words_put(entry, words, sizeof(words) / 8);
	return weir_crc32c_small(crc, words, sizeof(words));
}

static struct weir_frame_header *frame_for(struct weir_engine *engine, const struct weir_stream *stream, uint32_t size)
{
	if (stream->home == engine->config.worker)
		return weir_frame_home(engine, stream->session, size);
	// Some of it is in another line of the stream, and of use to the mesh alone.
	const struct weir_session_ref to = weir_stream_ref(stream);
	return weir_frame_to(engine, &to, size);
}

// Entries to make room for in the next frame, which is for the session of the bucket's first stream.
static inline uint32_t entries_expected(const struct weir_ack_bucket *bucket)
{
	const struct weir_stream *first = bucket->first;
	if (!first->ack_next)
		return 1;
	const uint32_t most = (WEIR_FRAME_LIST_MAX - HEADER_SIZE) / (uint32_t)sizeof(struct weir_ack_entry);
	// Many are most likely one session's, of many shards, and far apart: they are walked once, with room for all of them.
	uint32_t count = bucket->count > COUNTED_MAX ? bucket->count : 0;
	for (const struct weir_stream *stream = first; bucket->count <= COUNTED_MAX && stream; stream = stream->ack_next)
		count += stream->session == first->session;
	return count < most ? count : most;
}

// One frame for the session of the bucket's first stream. false: no room, all stay due.
static bool session_flush(struct weir_engine *engine, struct weir_ack_bucket *bucket, uint64_t now_ns)
{
	uint64_t session = bucket->first->session;
	uint32_t count = entries_expected(bucket);
	struct weir_frame_header *frame =
		frame_for(engine, bucket->first, HEADER_SIZE + count * (uint32_t)sizeof(struct weir_ack_entry));
	if (!frame)
		return false;
	struct weir_ack_entry *entries = (void *)(frame + 1);
	uint32_t filled = 0;
	uint32_t crc = 0;
	for (struct weir_stream **link = &bucket->first; *link && filled < count;) {
		struct weir_stream *stream = *link;
		if (stream->session != session) {
			link = &stream->ack_next;
			continue;
		}
		*link = stream->ack_next;
		stream->is_ack_due = false;
		if (stream->ack_place & WEIR_ACK_WAITS)
			stream->ack_place = 0;
		bucket->count--;
		if (*link) {
			weir_prefetch(&(*link)->shard->log.head);
			weir_prefetch(&(*link)->shard->recent_position);
		}
		crc = entry_put(stream, &entries[filled++], crc, now_ns);
	}
	// Others of the bucket stay for their own frame.
	uint32_t length = filled * (uint32_t)sizeof(struct weir_ack_entry);
	weir_list_seal(frame, WEIR_KIND_ACK, session, filled, length, crc);
	weir_frame_commit(engine, HEADER_SIZE + length);
	return true;
}

// ---- Acknowledgements that wait ----

// What a stream knows of its place among those that wait.
static inline uint16_t waiting_place(uint32_t index)
{
	return (uint16_t)(WEIR_ACK_WAITS | index % WEIR_WAITING_MAX);
}

// The stream's ack_place when its wait is over. All its frames came in one turn: one acknowledgement would have answered for
// them without a wait, and it is seldom that only one does so.
static inline uint16_t waits_after(const struct weir_stream *stream, const struct weir_waiting_ack *ack)
{
	return stream->ack_turn == ack->turn ? IN_VAIN : 0;
}

// What sending to the stream's session at the end of the turn reads.
static inline void session_fetch(const struct weir_engine *engine, const struct weir_stream *stream)
{
	const struct weir_session *session = weir_session_slot(&engine->sessions, stream->session);
	weir_prefetch(session);
	weir_prefetch(&session->path);
}

void weir_ack_later(struct weir_engine *engine, struct weir_stream *stream)
{
	struct weir_waiting_acks *waiting = &engine->waiting;
	uint8_t turn = (uint8_t)engine->row.loops;
	if (stream->ack_place & WEIR_ACK_WAITS) {
		stream->ack_turn = turn;
		stream->ack_place = waits_after(stream, waiting_slot(waiting, stream->ack_place));
		session_fetch(engine, stream);
	} else if (stream->ack_place) {
		stream->ack_place--;
	} else if (waiting->tail - waiting->head < WEIR_WAITING_MAX) {
		*waiting_slot(waiting, waiting->tail) =
			(struct weir_waiting_ack){ stream, weir_waiting_time(engine->now_ns), turn };
		stream->ack_place = waiting_place(waiting->tail);
		stream->ack_turn = turn;
		stream->unanswered = 1;
		waiting->tail++;
		return;
	}
	weir_ack_mark(engine, stream);
}

// Those that waited long enough, or all when the worker is not behind any more, go out with the next turn: what that touches
// has left the cache, and is asked for here.
static void waiting_end(struct weir_engine *engine, uint64_t now_ns)
{
	struct weir_waiting_acks *waiting = &engine->waiting;
	uint32_t now = weir_waiting_time(now_ns);
	uint32_t least = engine->is_behind ? weir_waiting_time(WEIR_LATER_NS) : 0;
	uint32_t soon = engine->is_behind ? weir_waiting_time(WEIR_LATER_NS - FETCH_NS) : 0;
	for (uint32_t i = 0; i < WAITING_TURN && waiting->fetched != waiting->tail; i++, waiting->fetched++) {
		const struct weir_waiting_ack *ack = waiting_slot(waiting, waiting->fetched);
		if (now - ack->since < soon)
			break;
		weir_prefetch_write(ack->stream);
	}
	for (; waiting->head != waiting->fetched; waiting->head++) {
		const struct weir_waiting_ack *ack = waiting_slot(waiting, waiting->head);
		struct weir_stream *stream = ack->stream;
		if (now - ack->since < least)
			return;
		if (!stream || stream->ack_place != waiting_place(waiting->head))
			continue;
		session_fetch(engine, stream);
		stream->ack_place = waits_after(stream, ack);
		weir_ack_mark(engine, stream);
	}
}

void weir_stream_flush(struct weir_engine *engine, uint64_t now_ns)
{
	uint64_t blocked = 0;
	for (uint64_t due = engine->acks_due; due; due &= due - 1) {
		unsigned number = (unsigned)__builtin_ctzll(due);
		struct weir_ack_bucket *bucket = &engine->acks[number];
		bool has_room = true;
		while (bucket->first && has_room) {
			if (bucket->first->state == WEIR_STREAM_OPEN) {
				has_room = session_flush(engine, bucket, now_ns);
				continue;
			}
			bucket->first->is_ack_due = false;
			bucket->first = bucket->first->ack_next;
			bucket->count--;
		}
		if (bucket->first)
			blocked |= 1ull << number;
	}
	engine->acks_due = blocked;
	engine->is_behind = engine->config.behind_frames && engine->turn_frames >= engine->config.behind_frames;
	engine->turn_frames = 0;
	if (engine->waiting.head != engine->waiting.tail)
		waiting_end(engine, now_ns);
}
