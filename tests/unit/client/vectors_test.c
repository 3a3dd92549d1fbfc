// The client core against the committed vectors: it takes what a router sends, drops what is broken, and builds the
// events of publish.hex byte for byte.
#include "tests/vectors/load.h"

#include <criterion/criterion.h>

#include "tests/unit/client/rig.h"

#define VECTOR_SESSION 0x1122334455667788ull

static void input(const struct vector *vector, void *context)
{
	uint32_t *taken = context;
	struct rig rig;
	struct weir_statistics before;
	struct weir_statistics after;
	rig_init(&rig, NULL);
	rig.session = VECTOR_SESSION;
	rig_consumer(&rig, NULL);
	rig_assign(&rig, 1, 1, 500, 500);
	weir_core_statistics(rig.core, &before);
	weir_core_input(rig.core, vector->bytes, vector->size, rig.now_ns);
	weir_core_statistics(rig.core, &after);
	// Frames of a client are only survived here: some are broken, some of the wrong direction, BYE goes both ways.
	bool is_agreed = strcmp(vector->name, "settled") != 0; // the others are of what needs no offer
	bool is_good = vector->expected == WEIR_R_NONE && !vector->from_client && is_agreed;
	cr_expect_eq(after.frames_received - before.frames_received, 1, "%s", vector->name);
	if (!vector->from_client)
		cr_expect_eq(after.frames_bad - before.frames_bad, !is_good, "%s", vector->name);
	rig_pass(&rig, 200 * RIG_MS);
	*taken += is_good;
	rig_fini(&rig);
}

Test(vectors, of_a_router_are_taken_and_broken_ones_are_dropped)
{
	uint32_t taken = 0;
	cr_assert_geq(vectors_visit(VECTORS, input, &taken), 80);
	cr_assert_geq(taken, 15);
}

static void publish_keep(const struct vector *vector, void *context)
{
	if (strcmp(vector->name, "publish") == 0)
		memcpy(context, vector, sizeof(*vector));
}

Test(vectors, publish_is_built_byte_for_byte)
{
	static struct vector vector;
	struct rig rig;
	vectors_visit(VECTORS, publish_keep, &vector);
	cr_assert_gt(vector.size, sizeof(struct weir_frame_header), "publish.hex was not found");
	const struct weir_frame_header *wanted = (const void *)vector.bytes;
	rig_init(&rig, NULL);
	rig.session = VECTOR_SESSION;
	rig.opened_next = wanted->sequence;
	struct weir_producer *producer = rig_producer(&rig, NULL);
	const uint8_t *at = (const uint8_t *)(wanted + 1);
	for (uint32_t i = 0; i < wanted->count; i++) {
		const struct weir_event_header *header = (const void *)at;
		uint32_t attributes = header->attribute_words * 8u;
		struct weir_event event = {
			.key = header->key,
			.type = header->type,
			.attributes = at + sizeof(*header),
			.attributes_size = (uint16_t)attributes,
			.payload = at + sizeof(*header) + attributes,
			.payload_size = header->length - (uint32_t)sizeof(*header) - attributes,
		};
		cr_assert_eq(weir_core_publish(producer, &event), 0);
		at += weir_pad8(header->length);
	}
	rig_pass(&rig, RIG_MS);
	const struct weir_frame_header *frame = rig_sent(&rig, WEIR_KIND_PUBLISH, 0);
	cr_assert_not_null(frame);
	cr_assert_eq(frame->count, wanted->count);
	cr_assert_eq(frame->sequence, wanted->sequence);
	cr_assert_eq(frame->shard, wanted->shard);
	cr_assert_eq(frame->session, wanted->session);
	cr_assert_eq(frame->body_length, wanted->body_length);
	cr_assert_arr_eq(frame + 1, wanted + 1, wanted->body_length);
	rig_fini(&rig);
}
