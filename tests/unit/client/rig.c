// The bench of rig.h: challenges, welcomes, topics, acknowledgements and deliveries as a router would build them, from
// wire/ alone.
#include "tests/unit/client/rig.h"

#include <stdlib.h>

#include <criterion/criterion.h>

static uint32_t take(void *context, const struct weir_datagram *datagrams, uint32_t count)
{
	struct rig *rig = context;
	if (rig->is_full)
		return 0;
	for (uint32_t i = 0; i < count; i++) {
		cr_assert_lt(rig->count, RIG_FRAMES, "the core sends without end");
		struct rig_frame *frame = &rig->frames[rig->count++];
		frame->at_ns = rig->now_ns;
		frame->size = datagrams[i].size;
		memcpy(frame->bytes, datagrams[i].data, datagrams[i].size);
		enum weir_reason reason = weir_frame_check(frame->bytes, frame->size, true, false, NULL);
		cr_assert_eq(reason, WEIR_R_NONE, "a router drops kind %u: %s", frame->header.kind, weir_reason_name(reason));
	}
	return count;
}

void rig_init(struct rig *rig, const struct weir_core_options *options)
{
	struct weir_core_options defaults = { .secret = { 42 } };
	*rig = (struct rig){
		.now_ns = 1000 * RIG_MS,
		.session = RIG_SESSION,
		.router = RIG_ROUTER,
		.frame_size = 1472,
		.window_frames = 1024,
		.deliver_overhead = WEIR_DELIVER_OVERHEAD,
		.shards = 4,
		.event_max = 128 << 10,
		.opened_next = 1000,
		.opened_limit = 1000000,
		.incarnation = 77,
		.ack_min = WEIR_ACK_NONE,
	};
	rig->frames = malloc(RIG_FRAMES * sizeof(*rig->frames));
	cr_assert_not_null(rig->frames);
	cr_assert_eq(weir_core_create(&rig->core, options ? options : &defaults, rig->now_ns), 0);
}

void rig_fini(struct rig *rig)
{
	weir_core_destroy(rig->core);
	free(rig->frames);
}

void rig_clear(struct rig *rig)
{
	rig->count = 0;
}

void rig_poll(struct rig *rig)
{
	struct weir_core_output output = { .send = take, .context = rig };
	weir_core_poll(rig->core, rig->now_ns, &output);
}

void rig_pass(struct rig *rig, uint64_t ns)
{
	uint64_t end = rig->now_ns + ns;
	uint32_t polls = 0;
	rig_poll(rig);
	while (weir_core_deadline(rig->core) <= end) {
		uint64_t deadline = weir_core_deadline(rig->core);
		rig->now_ns = deadline > rig->now_ns ? deadline : rig->now_ns;
		rig_poll(rig);
		cr_assert_lt(++polls, 100000, "the core's deadline does not move on");
	}
	rig->now_ns = end;
}

const struct weir_frame_header *rig_sent(const struct rig *rig, enum weir_kind kind, uint32_t nth)
{
	for (uint32_t i = 0; i < rig->count; i++) {
		if (rig->frames[i].header.kind == kind && nth-- == 0)
			return &rig->frames[i].header;
	}
	return NULL;
}

uint32_t rig_count(const struct rig *rig, enum weir_kind kind)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < rig->count; i++)
		count += rig->frames[i].header.kind == kind;
	return count;
}

void rig_give(struct rig *rig, struct weir_frame_header header, const void *body, size_t size)
{
	static struct rig_frame frame;
	frame.header = header;
	if (size)
		memcpy(frame.bytes + sizeof(header), body, size);
	weir_frame_seal(&frame.header, (uint16_t)size);
	weir_core_input(rig->core, frame.bytes, sizeof(header) + size, rig->now_ns);
}

void rig_connect(struct rig *rig)
{
	rig_poll(rig);
	const struct weir_frame_header *frame = NULL;
	for (uint32_t i = 0; rig_sent(rig, WEIR_KIND_HELLO, i); i++)
		frame = rig_sent(rig, WEIR_KIND_HELLO, i);
	cr_assert_not_null(frame, "no hello");
	const struct weir_hello *hello = (const void *)(frame + 1);
	struct weir_challenge challenge = { .nonce = hello->nonce, .cookie = 0xc00c1e };
	rig_give(rig, (struct weir_frame_header){ .kind = WEIR_KIND_CHALLENGE }, &challenge, sizeof(challenge));
	rig_clear(rig);
	rig_poll(rig);
	frame = rig_sent(rig, WEIR_KIND_HELLO, 0);
	cr_assert_not_null(frame, "the challenge was not answered");
	hello = (const void *)(frame + 1);
	cr_assert_eq(hello->cookie, 0xc00c1e);
	// The hello may have stepped down: no router agrees on more than it claims.
	if (rig->frame_size > hello->frame_size)
		rig->frame_size = hello->frame_size;
	struct {
		struct weir_welcome welcome;
		uint8_t padding[WEIR_FRAME_MAX];
	} body = { .welcome = {
		.nonce = hello->nonce,
		.session = rig->session,
		.router = rig->router,
		.frame_size = rig->frame_size,
		.window_frames = rig->window_frames,
		.ping_ms = 500,
		.lease_ms = 3000,
		.dedup_window_ms = 60000,
		.version = WEIR_VERSION,
		.deliver_overhead = rig->deliver_overhead,
		.offers = rig->offers,
	} };
	rig_give(rig, (struct weir_frame_header){ .kind = WEIR_KIND_WELCOME, .session = rig->session }, &body,
		 rig->frame_size - sizeof(struct weir_frame_header));
	rig_clear(rig);
	rig_poll(rig);
}

static void topic_answer(struct rig *rig, const struct weir_metadata_ask *ask)
{
	struct {
		struct weir_topic_info info;
		uint8_t worker[WEIR_SHARDS_MAX];
	} body = { .info = {
		.request = ask->request,
		.revision = 1,
		.topic = RIG_TOPIC,
		.shards = rig->shards,
		.event_max = rig->event_max,
		.ack_min = rig->ack_min,
		.ack_max = WEIR_ACK_ROUTED,
	} };
	memcpy(body.info.name, ask->topic, sizeof(ask->topic));
	rig_give(rig,
		 (struct weir_frame_header){
			 .kind = WEIR_KIND_TOPIC, .session = rig->session, .topic = RIG_TOPIC, .count = (uint16_t)rig->shards },
		 &body, sizeof(body.info) + rig->shards);
}

static void open_answer(struct rig *rig, const struct weir_frame_header *frame)
{
	const struct weir_open *open = (const void *)(frame + 1);
	struct weir_opened opened = {
		.request = open->request,
		.next = rig->opened_next,
		.limit = rig->opened_limit,
		.incarnation = rig->incarnation,
		.level = open->level > rig->ack_min ? open->level : rig->ack_min,
	};
	rig_give(rig,
		 (struct weir_frame_header){ .kind = WEIR_KIND_OPENED,
					     .session = rig->session,
					     .topic = RIG_TOPIC,
					     .shard = frame->shard,
					     .stream = 100u + frame->shard },
		 &opened, sizeof(opened));
}

void rig_answer(struct rig *rig)
{
	uint32_t answered = 0;
	rig_poll(rig);
	for (; answered < rig->count; answered++) {
		const struct weir_frame_header *frame = &rig->frames[answered].header;
		if (frame->kind == WEIR_KIND_METADATA)
			topic_answer(rig, (const void *)(frame + 1));
		else if (frame->kind == WEIR_KIND_OPEN)
			open_answer(rig, frame);
		else
			continue;
		rig_poll(rig);
	}
}

struct weir_producer *rig_producer(struct rig *rig, const struct weir_producer_options *options)
{
	struct weir_producer *producer = NULL;
	rig_connect(rig);
	cr_assert_eq(weir_core_producer_open(rig->core, "positions", options, &producer), 0);
	rig_answer(rig);
	cr_assert_eq(weir_core_producer_state(producer), 0, "the streams did not open");
	rig_clear(rig);
	return producer;
}

void rig_ack(struct rig *rig, uint16_t shard, uint64_t next, uint64_t limit, uint16_t flags, uint64_t have)
{
	struct weir_ack_entry entry = {
		.topic = RIG_TOPIC,
		.shard = shard,
		.flags = flags,
		.stream = 100u + shard,
		.next = next,
		.limit = limit,
		.have = have ? have : next,
	};
	rig_give(rig, (struct weir_frame_header){ .kind = WEIR_KIND_ACK, .session = rig->session, .count = 1 }, &entry,
		 sizeof(entry));
}

void rig_refuse(struct rig *rig, uint16_t shard, enum weir_reason reason, uint64_t sequence, uint32_t count)
{
	struct weir_refuse_entry entry = {
		.topic = RIG_TOPIC,
		.shard = shard,
		.reason = (uint16_t)reason,
		.stream = 100u + shard,
		.count = count,
		.sequence = sequence,
		.next = sequence,
	};
	rig_give(rig, (struct weir_frame_header){ .kind = WEIR_KIND_REFUSE, .session = rig->session, .count = 1 }, &entry,
		 sizeof(entry));
}

int rig_publish(struct weir_producer *producer, uint32_t shards, uint16_t shard, uint32_t size, uint8_t fill)
{
	uint64_t key = 1;
	while (weir_shard_of(key, shards) != shard)
		key++;
	uint8_t *payload = malloc(size + 1);
	memset(payload, fill, size);
	struct weir_event event = { .key = key, .type = fill, .payload = payload, .payload_size = size };
	int error = weir_core_publish(producer, &event);
	free(payload);
	return error;
}

const struct weir_producer_options RIG_ONE_EACH = { .level = WEIR_LEVEL_ROUTED, .frame_events = 1 };

void rig_publish_frames(struct rig *rig, struct weir_producer *producer, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		cr_assert_eq(rig_publish(producer, rig->shards, 1, 64, (uint8_t)i), 0);
	rig_poll(rig);
}

uint64_t rig_round_trip_ns(struct rig *rig)
{
	struct weir_statistics statistics;
	weir_core_statistics(rig->core, &statistics);
	return statistics.round_trip_ns;
}

struct weir_producer_counts rig_counts(const struct weir_producer *producer)
{
	struct weir_producer_counts counts;
	weir_producer_counts(producer, &counts);
	cr_assert_eq(counts.published, counts.routed + counts.refused + counts.unknown + counts.waiting);
	return counts;
}

void rig_joined(struct rig *rig, uint64_t request, uint32_t group)
{
	struct weir_joined joined = {
		.request = request, .group = group, .shards = rig->shards, .event_max = rig->event_max };
	struct weir_frame_header header = { .kind = WEIR_KIND_JOINED, .session = rig->session, .topic = RIG_TOPIC };
	rig_give(rig, header, &joined, sizeof(joined));
}

void rig_left(struct rig *rig, uint64_t member)
{
	struct weir_leave left = { .member = member, .group = RIG_GROUP };
	rig_give(rig, (struct weir_frame_header){ .kind = WEIR_KIND_LEFT, .session = rig->session }, &left, sizeof(left));
}

struct weir_consumer *rig_consumer(struct rig *rig, const struct weir_consumer_options *options)
{
	struct weir_consumer *consumer = NULL;
	rig_connect(rig);
	cr_assert_eq(weir_core_consumer_open(rig->core, "positions", "map", options, &consumer), 0);
	rig_poll(rig);
	const struct weir_frame_header *frame = rig_sent(rig, WEIR_KIND_JOIN, 0);
	cr_assert_not_null(frame, "no join");
	const struct weir_join *join = (const void *)(frame + 1);
	rig->member = join->member;
	rig_joined(rig, join->request, RIG_GROUP);
	cr_assert_eq(weir_core_consumer_state(consumer), 0);
	rig_clear(rig);
	return consumer;
}

static struct weir_frame_header shard_header(const struct rig *rig, enum weir_kind kind, uint16_t shard)
{
	return (struct weir_frame_header){
		.kind = (uint8_t)kind, .session = rig->session, .topic = RIG_TOPIC, .shard = shard, .stream = 200u + shard };
}

void rig_assign(struct rig *rig, uint16_t shard, uint32_t term, uint64_t from, uint64_t redelivered_to)
{
	struct weir_assign assign = {
		.incarnation = rig->incarnation,
		.from = from,
		.redelivered_to = redelivered_to,
		.member = rig->member,
		.group = RIG_GROUP,
		.term = term,
		.lease_ms = 3000,
	};
	rig_give(rig, shard_header(rig, WEIR_KIND_ASSIGN, shard), &assign, sizeof(assign));
}

uint32_t rig_deliver(struct rig *rig, const struct rig_delivery *delivery)
{
	uint8_t body[WEIR_FRAME_MAX] __attribute__((aligned(8))) = { 0 };
	struct weir_delivery *prefix = (void *)body;
	struct weir_run_header *run = (void *)(prefix + 1);
	uint8_t *at = (uint8_t *)(run + 1);
	*prefix = (struct weir_delivery){
		.to = delivery->from + delivery->count + delivery->skipped,
		.charge_from = delivery->charge_from,
		.term = delivery->term,
	};
	for (uint32_t i = 0; i < delivery->count; i++) {
		struct weir_event_header *event = (void *)at;
		*event = (struct weir_event_header){ .length = 16 + delivery->size, .type = 5, .key = delivery->from + i };
		memset(event + 1, (int)(delivery->from + i), delivery->size);
		at += weir_pad8(event->length);
	}
	if (delivery->count) {
		*run = (struct weir_run_header){
			.producer = 0xabc,
			.sequence = 5000 + delivery->from,
			.length = (uint32_t)(at - (uint8_t *)(run + 1)),
			.count = (uint16_t)delivery->count,
		};
		run->crc = weir_crc32c(0, run + 1, run->length);
	} else {
		at = (uint8_t *)run;
	}
	struct weir_frame_header header = shard_header(rig, WEIR_KIND_DELIVER, delivery->shard);
	header.sequence = delivery->from;
	header.count = delivery->count ? 1 : 0;
	header.flags = delivery->flags;
	rig_give(rig, header, body, (size_t)(at - body));
	return delivery->count ? weir_charge((uint32_t)(sizeof(header) + (size_t)(at - body))) : 0;
}

void rig_revoke(struct rig *rig, uint16_t shard, uint32_t term)
{
	struct weir_revoke revoke = { .group = RIG_GROUP, .term = term };
	rig_give(rig, shard_header(rig, WEIR_KIND_REVOKE, shard), &revoke, sizeof(revoke));
}

const struct weir_report_entry *rig_report(const struct rig *rig, uint16_t shard)
{
	const struct weir_report_entry *last = NULL;
	for (uint32_t i = 0; i < rig->count; i++) {
		const struct weir_frame_header *frame = &rig->frames[i].header;
		const struct weir_report_entry *entry = (const void *)(frame + 1);
		for (uint32_t j = 0; frame->kind == WEIR_KIND_REPORT && j < frame->count; j++, entry++) {
			if (entry->shard == shard)
				last = entry;
		}
	}
	return last;
}
