// The codec against the committed vectors, which a second implementation (tests/vectors/generate.py) wrote: what it
// finds, how it seals, and where it looks for each field.
#include "tests/vectors/load.h"

#include <criterion/criterion.h>

#include "wire/codec.h"
#include "wire/key.h"

static void check(const struct vector *vector, void *context)
{
	// An exact copy at an even address that is no multiple of 8, as behind Ethernet, IP and UDP.
	uint8_t *room = malloc(vector->size + 2);
	uint8_t *bytes = room + 2;
	memcpy(bytes, vector->bytes, vector->size);
	enum weir_reason reason = weir_frame_check(bytes, vector->size, vector->from_client, false, NULL);
	cr_expect_eq(reason, vector->expected, "%s: %s, wanted %s", vector->name, weir_reason_name(reason),
		     weir_reason_name(vector->expected));
	const struct weir_frame_header *frame = (const void *)bytes;
	if (reason == WEIR_R_NONE && vector->has_events) {
		reason = weir_events_check(frame + 1, frame->body_length, frame->count, vector->event_max, 1, vector->shards);
		cr_expect_eq(reason, vector->expected_events, "%s: events %s", vector->name, weir_reason_name(reason));
	}
	free(room);
}

Test(vectors, are_found_as_they_say)
{
	cr_assert_geq(vectors_visit(VECTORS, check, NULL), 80);
}

static void seal(const struct vector *vector, void *context)
{
	uint32_t *kinds = context;
	if (vector->expected != WEIR_R_NONE)
		return;
	_Alignas(8) uint8_t bytes[WEIR_FRAME_MAX];
	memcpy(bytes, vector->bytes, vector->size);
	struct weir_frame_header *frame = (void *)bytes;
	kinds[frame->kind]++;
	uint8_t version = frame->version;
	uint32_t crc = frame->crc;
	frame->magic = 0;
	frame->crc = 0;
	weir_frame_seal(frame, (uint16_t)(vector->size - sizeof(*frame)));
	if (version == WEIR_VERSION)
		cr_expect_arr_eq(bytes, vector->bytes, vector->size, "%s", vector->name);
	if (frame->kind == WEIR_KIND_PUBLISH) {
		frame->crc = 0;
		weir_frame_seal_with(frame, frame->body_length, weir_crc32c(0, frame + 1, frame->body_length));
		cr_expect_eq(frame->crc, crc, "%s", vector->name);
	}
}

Test(vectors, of_every_kind_are_sealed_alike)
{
	uint32_t kinds[WEIR_KIND_LIMIT] = { 0 };
	vectors_visit(VECTORS, seal, kinds);
	for (int kind = 1; kind < WEIR_KIND_LIMIT; kind++)
		cr_expect_gt(kinds[kind], 0, "no vector of kind %d", kind);
}

static void count_reason(const struct vector *vector, void *context)
{
	uint32_t *reasons = context;
	reasons[vector->expected]++;
	if (vector->has_events)
		reasons[vector->expected_events]++;
}

Test(vectors, show_each_reason_that_bytes_alone_can_give)
{
	static const enum weir_reason STATELESS[] = { WEIR_R_SHORT, WEIR_R_MAGIC, WEIR_R_VERSION, WEIR_R_KIND, WEIR_R_LENGTH,
						      WEIR_R_COUNT, WEIR_R_FLAGS, WEIR_R_CRC, WEIR_R_BAD_EVENT, WEIR_R_SIZE,
						      WEIR_R_WRONG_SHARD };
	uint32_t reasons[WEIR_REASON_COUNT] = { 0 };
	vectors_visit(VECTORS, count_reason, reasons);
	for (size_t i = 0; i < sizeof(STATELESS) / sizeof(STATELESS[0]); i++)
		cr_expect_gt(reasons[STATELESS[i]], 0, "no vector of %s", weir_reason_name(STATELESS[i]));
}

static const struct weir_frame_header *find(struct vector *vector, const char *name)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s.hex", VECTORS, name);
	vector_load(vector, path);
	return (const void *)vector->bytes;
}

// The layouts once by value: sealing and checking would not notice two exchanged fields.
Test(vectors, have_their_fields_where_the_structs_have_them)
{
	static struct vector vector;
	const struct weir_frame_header *frame = find(&vector, "publish");
	const struct weir_event_header *event = (const void *)(frame + 1);
	cr_expect(frame->session == 0x1122334455667788ull && frame->stream == 5 && frame->topic == 7 && frame->shard == 1);
	cr_expect(frame->sequence == 100 && frame->sent_ns == 1700000000123456789ull && frame->count == 3);
	cr_expect(event->length == 21 && event->type == 1 && weir_shard_of(event->key, 4) == 1);

	const struct weir_hello *hello = (const void *)(find(&vector, "hello-named") + 1);
	cr_expect(hello->nonce == 0x0102030405060708ull && hello->cookie == 0x5152535455565758ull && hello->frame_size == 1472);
	cr_expect(hello->receive_buffer == 8 << 20 && hello->versions[0] == 1 && strcmp(hello->name, "gauge-1") == 0);

	const struct weir_welcome *welcome = (const void *)(find(&vector, "welcome") + 1);
	cr_expect(welcome->session == 0x1122334455667788ull && welcome->router == 0xa1a2a3a4a5a6a7a8ull);
	cr_expect(welcome->window_frames == 256 && welcome->ping_ms == 500 && welcome->lease_ms == 3000);
	cr_expect(welcome->dedup_window_ms == 60000 && welcome->worker == 1 && welcome->version == 1);
	cr_expect(welcome->number == 17 && welcome->deliver_overhead == 112 && welcome->offers == WEIR_OFFER_DURABLE);

	frame = find(&vector, "hello-options");
	cr_expect_eq(weir_hello_agreed((const void *)(frame + 1), frame->body_length, UINT64_MAX),
		     WEIR_OFFER_SPARSE | WEIR_OFFER_SETTLE);

	const struct weir_topic_info *topic = (const void *)(find(&vector, "topic") + 1);
	cr_expect(topic->request == 42 && topic->revision == 3 && topic->topic == 7 && topic->shards == 4);
	cr_expect(topic->event_max == 65536 && topic->ack_max == 1 && strcmp(topic->name, "positions") == 0);

	const struct weir_ack_entry *ack = (const void *)(find(&vector, "ack") + 1);
	cr_expect(ack[1].shard == 2 && ack[1].flags == (WEIR_ACK_NACK | WEIR_ACK_FULL) && ack[1].stream == 8);
	cr_expect(ack[1].fragment_to == 1360 && ack[1].next == 50 && ack[1].limit == 70 && ack[1].have == 60);

	const struct weir_refuse_entry *refusal = (const void *)(find(&vector, "refuse") + 1);
	cr_expect(refusal[0].reason == WEIR_R_FULL && refusal[0].count == 17 && refusal[0].sequence == 103);

	const struct weir_assign *assign = (const void *)(find(&vector, "assign") + 1);
	cr_expect(assign->incarnation == 0xc0c1c2c3c4c5c6c7ull && assign->from == 1000 && assign->redelivered_to == 1010);
	cr_expect(assign->group == 3 && assign->term == 9 && assign->lease_ms == 3000 && assign->member == 40);

	const struct weir_join *join = (const void *)(find(&vector, "join") + 1);
	cr_expect(join->request == 42 && join->member == 40 && strcmp(join->topic, "positions") == 0);
	const struct weir_leave *leave = (const void *)(find(&vector, "leave") + 1);
	cr_expect(leave->request == 43 && leave->member == 40 && leave->group == 3);

	const struct weir_report_entry *report = (const void *)(find(&vector, "report") + 1);
	cr_expect(report[1].shard == 2 && report[1].flags == WEIR_REPORT_GAP && report[1].stream == 6 && report[1].term == 2);
	cr_expect(report[1].received_to == 500 && report[1].settled_to == 480 && report[1].limit == 1 << 20);
	cr_expect(report[1].charged == 2304 && report[1].fragment_to == 1352 && report[1].group == 3);

	const struct weir_delivery *delivery = (const void *)(find(&vector, "deliver") + 1);
	const struct weir_run_header *run = (const void *)(delivery + 1);
	cr_expect(delivery->to == 1004 && delivery->charge_from == 4608 && delivery->term == 9);
	cr_expect(run->producer == 0xb0b1b2b3b4b5b6b7ull && run->sequence == 100 && run->append_ns == 123456789);
	cr_expect(run->count == 3 && run->length == 24 + 16 + 64);

	const struct weir_revoke *revoked = (const void *)(find(&vector, "revoked") + 1);
	cr_expect(revoked->settled_to == 1002 && revoked->group == 3 && revoked->term == 9);
	const struct weir_skip *skip = (const void *)(find(&vector, "skip") + 1);
	cr_expect(skip->count == 17 && skip->reason == WEIR_R_SIZE);
}
