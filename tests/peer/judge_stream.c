// The judge's streams: what a producer publishes, sends again, skips and closes (wire/PROTOCOL.md, sections 8 and 9). Each
// event's sum is remembered, so that a repetition that says something else is found however it is packed.
// Called by judge.c; one thread.
#include <string.h>

#include "tests/peer/judge.h"
#include "wire/codec.h"

#define RETRANSMISSION_NS (2500 * MS) // the timer's most is 2 s
#define SKIP_NS (3000 * MS)

static struct judged_stream *stream_find(struct judge *judge, uint32_t topic, uint16_t shard)
{
	for (uint32_t i = 0; i < JUDGE_STREAMS; i++) {
		struct judged_stream *stream = &judge->streams[i];
		if (stream->is_used && stream->topic == topic && stream->shard == shard)
			return stream;
	}
	return NULL;
}

static struct judged_stream *stream_make(struct judge *judge, uint32_t topic, uint16_t shard)
{
	for (uint32_t i = 0; i < JUDGE_STREAMS; i++) {
		struct judged_stream *stream = &judge->streams[i];
		if (stream->is_used)
			continue;
		memset(stream, 0, sizeof(*stream));
		stream->is_used = true;
		stream->topic = topic;
		stream->shard = shard;
		return stream;
	}
	return NULL;
}

static int topic_index(const struct judge *judge, uint32_t topic)
{
	for (uint32_t i = 0; i < judge->topic_count; i++) {
		if (judge->topics[i].id == topic)
			return (int)i;
	}
	return -1;
}

// ---- Publishing ----

static void frame_begins(struct judged_stream *stream, uint64_t sequence, bool begins)
{
	uint32_t bit = (uint32_t)(sequence % JUDGE_EVENTS);
	if (begins)
		stream->frames_from[bit / 32] |= 1u << (bit % 32);
	else
		stream->frames_from[bit / 32] &= ~(1u << (bit % 32));
}

static uint32_t frames_under_way(const struct judged_stream *stream)
{
	uint32_t count = 0;
	uint64_t from = stream->next > stream->summed_from ? stream->next : stream->summed_from;
	for (uint64_t sequence = from; sequence < stream->end; sequence++) {
		uint32_t bit = (uint32_t)(sequence % JUDGE_EVENTS);
		count += stream->frames_from[bit / 32] >> (bit % 32) & 1;
	}
	return count;
}

// Sums of what is new are kept, those of repetitions compared.
static void sum_check(struct judge *judge, struct judged_stream *stream, uint64_t sequence, uint32_t sum)
{
	uint32_t *kept = &stream->sums[sequence % JUDGE_EVENTS];
	if (sequence >= stream->summed_to) {
		*kept = sum;
		stream->summed_to = sequence + 1;
		if (stream->summed_to - stream->summed_from > JUDGE_EVENTS)
			stream->summed_from = stream->summed_to - JUDGE_EVENTS;
		return;
	}
	if (sequence >= stream->summed_from && *kept != sum)
		BREACH(judge, PEER_RULE_REPEAT, "event %llu of shard %u came again with other bytes",
		       (unsigned long long)sequence, stream->shard);
}

static void events_check(struct judge *judge, struct judged_stream *stream, const struct weir_frame_header *frame)
{
	int topic = topic_index(judge, frame->topic);
	const uint8_t *at = (const uint8_t *)(frame + 1);
	if (topic < 0 || frame->flags & WEIR_FLAG_FRAGMENT)
		return;
	enum weir_reason reason = weir_events_check(at, frame->body_length, frame->count, judge->topics[topic].event_max,
						    frame->shard, judge->topics[topic].shards);
	if (reason) {
		BREACH(judge, PEER_RULE_EVENTS, "a frame of %u events for shard %u is refused `%s`", frame->count, frame->shard,
		       weir_reason_name(reason));
		return;
	}
	for (uint32_t i = 0; i < frame->count; i++) {
		struct weir_event_header event;
		memcpy(&event, at, sizeof(event));
		uint32_t size = weir_pad8(event.length);
		sum_check(judge, stream, frame->sequence + i, weir_crc32c(0, at, size));
		at += size;
	}
}

static void refused_check(struct judge *judge, struct judged_stream *stream, const struct weir_frame_header *frame)
{
	for (uint32_t i = 0; i < JUDGE_REFUSED; i++) {
		uint64_t first = stream->refused[i].first, count = stream->refused[i].count;
		if (!count || frame->sequence >= first + count || frame->sequence + frame->count <= first ||
		    judge->now_ns < stream->refused[i].since_ns + 100 * MS)
			continue;
		BREACH(judge, PEER_RULE_SKIP, "events from %llu on came again after they were refused `%s`",
		       (unsigned long long)first, weir_reason_name(stream->refused[i].reason));
	}
}

static void publish_in(struct judge *judge, struct judged_stream *stream, const struct weir_frame_header *frame)
{
	uint64_t end = frame->sequence + frame->count;
	if (!stream->has_published && frame->sequence != stream->begin)
		BREACH(judge, PEER_RULE_NEXT, "shard %u begins at %llu, OPENED.next was %llu", frame->shard,
		       (unsigned long long)frame->sequence, (unsigned long long)stream->begin);
	else if (frame->sequence > stream->end && stream->level != WEIR_ACK_NONE)
		BREACH(judge, PEER_RULE_SEQUENCE, "shard %u goes from %llu to %llu", frame->shard,
		       (unsigned long long)stream->end, (unsigned long long)frame->sequence);
	if (!stream->has_published || frame->sequence > stream->summed_to)
		stream->summed_from = stream->summed_to = frame->sequence;
	stream->has_published = true;
	if (end > stream->limit)
		BREACH(judge, PEER_RULE_CREDIT, "events up to %llu of shard %u, the limit told is %llu",
		       (unsigned long long)end, frame->shard, (unsigned long long)stream->limit);
	refused_check(judge, stream, frame);
	events_check(judge, stream, frame);
	frame_begins(stream, frame->sequence, true);
	for (uint64_t sequence = frame->sequence + 1; sequence < end; sequence++)
		frame_begins(stream, sequence, false);
	if (end > stream->end)
		stream->end = end;
	stream->moved_ns = judge->now_ns;
	uint32_t under_way = 0;
	for (uint32_t i = 0; stream->level != WEIR_ACK_NONE && i < JUDGE_STREAMS; i++)
		under_way += judge->streams[i].is_open ? frames_under_way(&judge->streams[i]) : 0;
	if (under_way > judge->window_frames)
		BREACH(judge, PEER_RULE_WINDOW, "%u frames are not acknowledged, window_frames is %u", under_way,
		       judge->window_frames);
}

static void skip_in(struct judge *judge, struct judged_stream *stream, const struct weir_frame_header *frame)
{
	const struct weir_skip *skip = (const struct weir_skip *)(frame + 1);
	for (uint32_t i = 0; i < JUDGE_REFUSED; i++) {
		uint64_t first = stream->refused[i].first, count = stream->refused[i].count;
		if (!count || frame->sequence > first || frame->sequence + skip->count < first + count)
			continue;
		if (skip->reason != stream->refused[i].reason)
			BREACH(judge, PEER_RULE_SKIP, "events from %llu on were refused `%s` and are skipped as `%s`",
			       (unsigned long long)first, weir_reason_name(stream->refused[i].reason),
			       weir_reason_name(skip->reason));
		stream->refused[i].count = 0;
	}
	if (frame->sequence + skip->count > stream->end)
		stream->end = frame->sequence + skip->count;
	stream->moved_ns = judge->now_ns;
}

static void close_in(struct judge *judge, struct judged_stream *stream, const struct weir_frame_header *frame)
{
	uint64_t end = stream->has_published ? stream->end : stream->begin;
	if (frame->sequence != end && !stream->is_closed)
		BREACH(judge, PEER_RULE_CLOSE, "shard %u is closed at %llu, the next event would be %llu", frame->shard,
		       (unsigned long long)frame->sequence, (unsigned long long)end);
	stream->is_closed = true;
}

void judge_stream_in(struct judge *judge, const struct weir_frame_header *frame)
{
	bool is_stream = frame->kind == WEIR_KIND_PUBLISH || frame->kind == WEIR_KIND_SKIP || frame->kind == WEIR_KIND_PROBE ||
			 frame->kind == WEIR_KIND_CLOSE;
	if (!is_stream && frame->kind != WEIR_KIND_OPEN)
		return;
	if (topic_index(judge, frame->topic) < 0) {
		BREACH(judge, PEER_RULE_TOPIC, "kind %u names topic id %u, which no TOPIC of this session told", frame->kind,
		       frame->topic);
		return;
	}
	if (!is_stream)
		return;
	struct judged_stream *stream = stream_find(judge, frame->topic, frame->shard);
	if (!stream || (!stream->is_open && !stream->is_closed) || stream->handle != frame->stream) {
		BREACH(judge, PEER_RULE_OPEN_FIRST, "kind %u for shard %u, stream %u, which is not open", frame->kind,
		       frame->shard, frame->stream);
		return;
	}
	if (frame->kind == WEIR_KIND_PUBLISH)
		publish_in(judge, stream, frame);
	else if (frame->kind == WEIR_KIND_SKIP)
		skip_in(judge, stream, frame);
	else if (frame->kind == WEIR_KIND_CLOSE)
		close_in(judge, stream, frame);
}

// ---- What the client is told ----

static void opened_out(struct judge *judge, const struct weir_frame_header *frame)
{
	const struct weir_opened *opened = (const struct weir_opened *)(frame + 1);
	struct judged_stream *stream = stream_find(judge, frame->topic, frame->shard);
	if (!stream)
		stream = stream_make(judge, frame->topic, frame->shard);
	if (!stream)
		return;
	if (!stream->is_open || stream->handle != frame->stream || stream->is_closed) {
		stream->handle = frame->stream;
		stream->begin = stream->next = stream->end = opened->next;
		stream->summed_from = stream->summed_to = opened->next;
		stream->has_published = stream->is_closed = false;
		stream->limit = 0;
		memset(stream->refused, 0, sizeof(stream->refused));
		memset(stream->frames_from, 0, sizeof(stream->frames_from));
	}
	stream->is_open = true;
	stream->level = opened->level;
	stream->limit = opened->limit > stream->limit ? opened->limit : stream->limit;
	stream->moved_ns = judge->now_ns;
}

static void acks_out(struct judge *judge, const struct weir_frame_header *frame)
{
	const struct weir_ack_entry *entry = (const struct weir_ack_entry *)(frame + 1);
	for (uint32_t i = 0; i < frame->count; i++, entry++) {
		struct judged_stream *stream = stream_find(judge, entry->topic, entry->shard);
		if (!stream || stream->handle != entry->stream)
			continue;
		if (entry->next > stream->next)
			stream->moved_ns = judge->now_ns;
		stream->next = entry->next > stream->next ? entry->next : stream->next;
		stream->limit = entry->limit > stream->limit ? entry->limit : stream->limit;
		if (entry->flags & WEIR_ACK_FULL)
			stream->held_ns = judge->now_ns;
	}
}

static void refusals_out(struct judge *judge, const struct weir_frame_header *frame)
{
	const struct weir_refuse_entry *entry = (const struct weir_refuse_entry *)(frame + 1);
	for (uint32_t i = 0; i < frame->count; i++, entry++) {
		struct judged_stream *stream = stream_find(judge, entry->topic, entry->shard);
		if (!stream || stream->handle != entry->stream)
			continue;
		bool is_final = weir_reason_class(entry->reason) != WEIR_REASON_RETRY;
		bool is_over = entry->reason == WEIR_R_FENCED || entry->reason == WEIR_R_NO_TOPIC ||
			       entry->reason == WEIR_R_NO_SHARD || entry->reason == WEIR_R_TOPIC_REMOVED ||
			       entry->reason == WEIR_R_NO_STREAM;
		stream->held_ns = judge->now_ns;
		if (is_over)
			stream->is_used = false;
		if (!is_final || is_over || entry->count == 0)
			continue;
		for (uint32_t k = 0; k < JUDGE_REFUSED; k++) {
			if (stream->refused[k].count && stream->refused[k].first == entry->sequence)
				break;
			if (stream->refused[k].count)
				continue;
			stream->refused[k].first = entry->sequence;
			stream->refused[k].count = entry->count;
			stream->refused[k].reason = entry->reason;
			stream->refused[k].since_ns = judge->now_ns;
			break;
		}
	}
}

void judge_stream_out(struct judge *judge, const struct weir_frame_header *frame)
{
	if (frame->kind == WEIR_KIND_OPENED)
		opened_out(judge, frame);
	else if (frame->kind == WEIR_KIND_ACK)
		acks_out(judge, frame);
	else if (frame->kind == WEIR_KIND_REFUSE)
		refusals_out(judge, frame);
	else if (frame->kind == WEIR_KIND_CLOSED) {
		struct judged_stream *stream = stream_find(judge, frame->topic, frame->shard);
		if (stream && stream->handle == frame->stream && stream->is_closed)
			stream->is_open = false;
	}
}

void judge_stream_tick(struct judge *judge)
{
	for (uint32_t i = 0; i < JUDGE_STREAMS; i++) {
		struct judged_stream *stream = &judge->streams[i];
		if (!stream->is_used || !stream->is_open)
			continue;
		uint64_t waits_ns = judge->now_ns - stream->moved_ns;
		bool is_held = judge->now_ns < stream->held_ns + RETRANSMISSION_NS;
		if (stream->next < stream->end && stream->level != WEIR_ACK_NONE && !is_held && waits_ns > RETRANSMISSION_NS) {
			BREACH(judge, PEER_RULE_RETRANSMISSION, "events from %llu of shard %u wait for %.1f s",
			       (unsigned long long)stream->next, stream->shard, (double)waits_ns / 1e9);
			stream->moved_ns = judge->now_ns;
		}
		for (uint32_t k = 0; k < JUDGE_REFUSED; k++) {
			if (!stream->refused[k].count || judge->now_ns < stream->refused[k].since_ns + SKIP_NS ||
			    !judge_is_calm_for(judge, SKIP_NS))
				continue;
			BREACH(judge, PEER_RULE_SKIP, "events from %llu of shard %u were refused `%s` and are not skipped",
			       (unsigned long long)stream->refused[k].first, stream->shard,
			       weir_reason_name(stream->refused[k].reason));
			stream->refused[k].count = 0;
		}
	}
}
