// See consumer.h. Test thread only.
#include "tests/unit/core/consumer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define GROUP_NAME "map"
#define TOPIC_NAME "positions"
#define ROUNDS 100

static const struct weir_frame_header *frame_at(const struct consumer *consumer, uint32_t index)
{
	const struct rig_sent *sent = &consumer->client.rig->workers[consumer->client.worker].sent[index];
	return weir_path_is_same_peer(&sent->path, &consumer->client.path) ? (const void *)sent->bytes : NULL;
}

struct consumer *consumer_create(struct rig *rig, uint16_t worker, uint16_t number, uint32_t frame_size)
{
	struct consumer *consumer = calloc(1, sizeof(*consumer));
	assert(consumer);
	rig_client_init(rig, &consumer->client, worker, number);
	consumer->client.frame_size = frame_size;
	consumer->credit = 1u << 20;
	rig_connect(&consumer->client);
	consumer_join(consumer);
	return consumer;
}

void consumer_join(struct consumer *consumer)
{
	struct weir_frame_header header = { .kind = WEIR_KIND_JOIN };
	struct weir_join join = {
		.request = ++consumer->asked, .member = consumer->member, .topic = TOPIC_NAME, .group = GROUP_NAME };
	rig_send(&consumer->client, &header, &join, sizeof(join));
	rig_run(consumer->client.rig);
}

void consumer_leave(struct consumer *consumer)
{
	struct weir_frame_header header = { .kind = WEIR_KIND_LEAVE };
	struct weir_leave leave = { .request = ++consumer->asked, .member = consumer->member, .group = RIG_GROUP };
	rig_send(&consumer->client, &header, &leave, sizeof(leave));
	rig_run(consumer->client.rig);
}

void consumer_bye(struct consumer *consumer)
{
	struct weir_frame_header header = { .kind = WEIR_KIND_BYE };
	rig_send(&consumer->client, &header, "", 0);
	rig_run(consumer->client.rig);
}

void consumer_report(struct consumer *consumer, uint16_t shard, uint16_t flags)
{
	struct consumer_shard *own = &consumer->shards[shard];
	if (own->charged + consumer->credit > own->limit)
		own->limit = own->charged + consumer->credit;
	struct weir_frame_header header = { .kind = WEIR_KIND_REPORT, .count = 1 };
	const struct weir_report_entry entry = {
		.topic = RIG_TOPIC,
		.shard = shard,
		.flags = flags,
		.stream = own->stream,
		.term = own->term,
		.received_to = own->received_to,
		.settled_to = own->settled_to,
		.limit = own->limit,
		.charged = own->charged,
		.fragment_to = own->fragment_to,
		.group = RIG_GROUP,
	};
	rig_send(&consumer->client, &header, &entry, sizeof(entry));
}

static void assign(struct consumer *consumer, const struct weir_frame_header *frame)
{
	const struct weir_assign *body = (const void *)(frame + 1);
	struct consumer_shard *own = &consumer->shards[frame->shard];
	own->assigns++;
	if (body->term > own->term) {
		own->term = body->term;
		own->stream = frame->stream;
		own->is_held = true;
		own->from = own->received_to = own->settled_to = body->from;
		own->redelivered_to = body->redelivered_to;
		own->limit = own->charged = 0;
		own->fragment_to = 0;
	}
	consumer_report(consumer, frame->shard, 0);
}

static void revoke(struct consumer *consumer, const struct weir_frame_header *frame)
{
	const struct weir_revoke *body = (const void *)(frame + 1);
	struct consumer_shard *own = &consumer->shards[frame->shard];
	own->revokes++;
	if (consumer->keeps || body->term != own->term)
		return;
	own->is_held = false;
	struct weir_frame_header header = {
		.kind = WEIR_KIND_REVOKED,
		.topic = RIG_TOPIC,
		.shard = frame->shard,
		.stream = frame->stream,
		.sequence = own->settled_to,
	};
	const struct weir_revoke answer = { .settled_to = own->settled_to, .group = RIG_GROUP, .term = own->term };
	rig_send(&consumer->client, &header, &answer, sizeof(answer));
}

static void event_keep(struct consumer *consumer, uint16_t shard, uint64_t offset, const struct weir_event_header *event)
{
	memcpy(&consumer->first_payload[shard][offset % CONSUMER_EVENTS], event + 1, 8);
}

static void fragment(struct consumer *consumer, const struct weir_frame_header *frame)
{
	struct consumer_shard *own = &consumer->shards[frame->shard];
	const struct weir_delivery *delivery = (const void *)(frame + 1);
	const struct weir_run_header *run = (const void *)(delivery + 1);
	const struct weir_fragment *piece = (const void *)(run + 1);
	uint32_t size = frame->body_length - (uint32_t)(sizeof(*delivery) + sizeof(*run) + sizeof(*piece));
	bool is_ahead = frame->sequence > own->received_to ||
			(frame->sequence == own->received_to && piece->offset > own->fragment_to);
	own->is_behind |= is_ahead;
	own->is_asked |= !is_ahead;
	if (frame->sequence != own->received_to || piece->offset != own->fragment_to)
		return;
	memcpy(consumer->assembly + piece->offset, piece + 1, size);
	own->fragment_to += size;
	if (delivery->to == frame->sequence)
		return;
	assert(own->fragment_to == weir_pad8(piece->total) && run->length == own->fragment_to && run->count == 1);
	assert(weir_crc32c(0, consumer->assembly, run->length) == run->crc);
	event_keep(consumer, frame->shard, frame->sequence, (const void *)consumer->assembly);
	own->marked += (frame->flags & WEIR_FLAG_REDELIVERED) != 0;
	own->received_to = delivery->to;
	own->fragment_to = 0;
}

static void deliver(struct consumer *consumer, const struct weir_frame_header *frame)
{
	struct consumer_shard *own = &consumer->shards[frame->shard];
	const struct weir_delivery *delivery = (const void *)(frame + 1);
	if (!own->is_held || delivery->term != own->term)
		return;
	uint64_t charged = delivery->charge_from;
	charged += frame->count ? weir_charge((uint32_t)sizeof(*frame) + frame->body_length) : 0;
	if (charged > own->charged)
		own->charged = charged;
	if (frame->flags & WEIR_FLAG_FRAGMENT) {
		fragment(consumer, frame);
		return;
	}
	own->is_behind |= frame->sequence > own->received_to;
	own->is_asked |= delivery->to <= own->received_to;
	if (frame->sequence > own->received_to || delivery->to <= own->received_to)
		return;
	uint64_t offset = frame->sequence;
	const uint8_t *at = (const uint8_t *)(delivery + 1);
	for (uint32_t i = 0; i < frame->count; i++) {
		const struct weir_run_header *run = (const void *)at;
		at += sizeof(*run);
		for (uint32_t k = 0; k < run->count; k++, offset++) {
			const struct weir_event_header *event = (const void *)at;
			if (offset >= own->received_to) {
				event_keep(consumer, frame->shard, offset, event);
				own->marked += (frame->flags & WEIR_FLAG_REDELIVERED) != 0;
			}
			at += weir_pad8(event->length);
		}
	}
	own->gaps += (uint32_t)(delivery->to - offset);
	own->received_to = delivery->to;
}

bool consumer_look(struct consumer *consumer)
{
	const struct rig_worker *worker = &consumer->client.rig->workers[consumer->client.worker];
	bool is_news = false;
	while (!consumer->is_deaf && consumer->seen < worker->sent_count) {
		uint32_t size = worker->sent[consumer->seen].size;
		const struct weir_frame_header *frame = frame_at(consumer, consumer->seen++);
		if (!frame || (consumer->passes && !consumer->passes(frame, size)))
			continue;
		is_news = true;
		if (frame->kind == WEIR_KIND_ASSIGN)
			assign(consumer, frame);
		else if (frame->kind == WEIR_KIND_REVOKE)
			revoke(consumer, frame);
		else if (frame->kind == WEIR_KIND_DELIVER)
			deliver(consumer, frame);
		else if (frame->kind == WEIR_KIND_LEFT)
			consumer->has_left = true;
	}
	return is_news;
}

void consumer_settle_all(struct consumer *consumer)
{
	for (uint16_t shard = 0; shard < CONSUMER_SHARDS; shard++) {
		struct consumer_shard *own = &consumer->shards[shard];
		if (!own->is_held)
			continue;
		own->settled_to = own->received_to;
		consumer_report(consumer, shard, 0);
	}
	rig_run(consumer->client.rig);
}

void consumers_run(struct rig *rig, struct consumer **consumers, uint32_t count)
{
	bool is_news = true;
	for (int round = 0; round < ROUNDS && is_news; round++) {
		rig_run(rig);
		is_news = false;
		for (uint32_t i = 0; i < count; i++)
			is_news |= consumer_look(consumers[i]);
	}
	rig_run(rig);
}

uint32_t consumer_held(const struct consumer *consumer)
{
	uint32_t held = 0;
	for (uint32_t i = 0; i < CONSUMER_SHARDS; i++)
		held += consumer->shards[i].is_held;
	return held;
}
