// What the checks of frames and events promise beyond the vectors: no byte of a checked frame is unguarded, no length
// is believed, and what is said of a publish's CRC holds for the log.
#include "wire/codec.h"

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "wire/key.h"

struct buffer {
	struct weir_frame_header frame;
	uint8_t body[WEIR_FRAME_MAX - sizeof(struct weir_frame_header)];
} __attribute__((aligned(8)));

static struct buffer buffer;

// One event of `payload` bytes at `at`; returns its padded size.
static uint32_t put_event(uint8_t *at, uint64_t key, uint32_t payload)
{
	struct weir_event_header *event = (void *)at;
	*event = (struct weir_event_header){ .length = (uint32_t)sizeof(*event) + payload, .type = 1, .key = key };
	memset(event + 1, 0x5a, weir_pad8(payload));
	return weir_pad8(event->length);
}

static uint32_t build_publish(uint32_t count, uint32_t payload)
{
	buffer.frame = (struct weir_frame_header){ .kind = WEIR_KIND_PUBLISH, .session = 1, .sequence = 9 };
	buffer.frame.count = (uint16_t)count;
	uint32_t size = 0;
	for (uint32_t i = 0; i < count; i++)
		size += put_event(buffer.body + size, i, payload);
	weir_frame_seal(&buffer.frame, (uint16_t)size);
	return (uint32_t)sizeof(buffer.frame) + size;
}

Test(codec, no_single_bit_of_a_publish_may_turn)
{
	uint32_t size = build_publish(3, 21);
	cr_assert_eq(weir_frame_check(&buffer, size, true, false, NULL), WEIR_R_NONE);
	for (uint32_t bit = 0; bit < size * 8; bit++) {
		uint8_t *byte = (uint8_t *)&buffer + bit / 8;
		*byte ^= (uint8_t)(1 << bit % 8);
		cr_assert_neq(weir_frame_check(&buffer, size, true, false, NULL), WEIR_R_NONE, "bit %u", bit);
		*byte ^= (uint8_t)(1 << bit % 8);
	}
}

Test(codec, every_truncation_is_refused)
{
	uint32_t size = build_publish(3, 21);
	for (uint32_t cut = 0; cut < size; cut++) {
		uint8_t *exact = malloc(cut + 1);
		memcpy(exact, &buffer, cut);
		cr_assert_neq(weir_frame_check(exact, cut, true, false, NULL), WEIR_R_NONE, "cut %u", cut);
		free(exact);
	}
}

Test(codec, the_crc_handed_back_is_that_of_the_run_in_the_log)
{
	uint32_t size = build_publish(17, 64);
	uint32_t crc = 0;
	cr_assert_eq(weir_frame_check(&buffer, size, true, false, &crc), WEIR_R_NONE);
	cr_assert_eq(crc, weir_crc32c(0, buffer.body, size - (uint32_t)sizeof(buffer.frame)));
	uint32_t same = 0;
	cr_assert_eq(weir_frame_crc(&buffer.frame, &same), buffer.frame.crc);
	cr_assert_eq(same, crc);
}

Test(codec, header_only_is_for_trusted_links_and_guards_the_header)
{
	uint32_t size = build_publish(2, 64);
	uint32_t crc = 77;
	buffer.frame.flags = WEIR_FLAG_HEADER_ONLY;
	weir_frame_seal(&buffer.frame, buffer.frame.body_length);
	cr_assert_eq(weir_frame_check(&buffer, size, true, false, NULL), WEIR_R_FLAGS);
	cr_assert_eq(weir_frame_check(&buffer, size, true, true, &crc), WEIR_R_NONE);
	cr_assert_eq(crc, 0);
	buffer.body[20] ^= 1;
	cr_assert_eq(weir_frame_check(&buffer, size, true, true, NULL), WEIR_R_NONE);
	buffer.frame.sequence ^= 1;
	cr_assert_eq(weir_frame_check(&buffer, size, true, true, NULL), WEIR_R_CRC);
}

Test(codec, frames_beyond_the_largest_are_refused)
{
	buffer.frame = (struct weir_frame_header){ .kind = WEIR_KIND_HELLO };
	weir_frame_seal(&buffer.frame, WEIR_FRAME_MAX - sizeof(buffer.frame));
	cr_assert_eq(weir_frame_check(&buffer, WEIR_FRAME_MAX, true, false, NULL), WEIR_R_NONE);
	uint8_t *large = calloc(1, WEIR_FRAME_MAX + 8);
	memcpy(large, &buffer, sizeof(buffer.frame));
	struct weir_frame_header *frame = (void *)large;
	weir_frame_seal(frame, WEIR_FRAME_MAX + 8 - sizeof(*frame));
	cr_assert_eq(weir_frame_check(large, WEIR_FRAME_MAX + 8, true, false, NULL), WEIR_R_LENGTH);
	free(large);
}

// One event whose length field is hostile, in an exact allocation.
static enum weir_reason check_length(uint32_t length, uint8_t attribute_words, uint32_t size)
{
	uint8_t *exact = calloc(1, size);
	struct weir_event_header *event = (void *)exact;
	event->length = length;
	event->attribute_words = attribute_words;
	enum weir_reason reason = weir_events_check(exact, size, 1, WEIR_EVENT_LIMIT, 0, 1);
	free(exact);
	return reason;
}

Test(codec, no_event_length_is_believed)
{
	cr_assert_eq(check_length(16, 0, 16), WEIR_R_NONE);
	cr_assert_eq(check_length(17, 0, 24), WEIR_R_NONE);
	cr_assert_eq(check_length(24, 1, 24), WEIR_R_NONE);
	static const uint32_t HOSTILE[] = { 0, 1, 15, 25, 32, 0x7fffffff, 0x80000000, 0xfffffff0, 0xfffffff8, 0xfffffff9, ~0u };
	for (size_t i = 0; i < sizeof(HOSTILE) / sizeof(HOSTILE[0]); i++)
		cr_assert_eq(check_length(HOSTILE[i], 0, 24), WEIR_R_BAD_EVENT, "length %u", HOSTILE[i]);
	cr_assert_eq(check_length(24, 2, 24), WEIR_R_BAD_EVENT);
	cr_assert_eq(check_length(24, 255, 24), WEIR_R_BAD_EVENT);
	cr_assert_eq(check_length(16, 0, 24), WEIR_R_BAD_EVENT, "eight bytes behind the event");
}

Test(codec, more_events_announced_than_there_are_is_a_bad_event)
{
	uint8_t *exact = malloc(32);
	put_event(exact, 1, 0);
	put_event(exact + 16, 2, 0);
	cr_assert_eq(weir_events_check(exact, 32, 2, 64, 0, 1), WEIR_R_NONE);
	cr_assert_eq(weir_events_check(exact, 32, 3, 64, 0, 1), WEIR_R_BAD_EVENT);
	cr_assert_eq(weir_events_check(exact, 32, 1, 64, 0, 1), WEIR_R_BAD_EVENT);
	cr_assert_eq(weir_events_size(exact, 1), 16);
	cr_assert_eq(weir_events_size(exact, 2), 32);
	free(exact);
}

// A malformed event behind one that is merely refused: the frame's bytes cannot be trusted, so that is what is said.
Test(codec, malformed_outranks_refused)
{
	uint8_t *exact = calloc(1, 112);
	put_event(exact, 1, 80);
	((struct weir_event_header *)(void *)(exact + 96))->length = 3;
	cr_assert_eq(weir_events_check(exact, 112, 2, 64, 0, 1), WEIR_R_BAD_EVENT);
	put_event(exact + 96, 2, 0);
	cr_assert_eq(weir_events_check(exact, 112, 2, 64, 0, 1), WEIR_R_SIZE);
	cr_assert_eq(weir_events_check(exact, 112, 2, 96, 0, 1), WEIR_R_NONE);
	cr_assert_eq(weir_events_check(exact, 112, 2, 96, 1, 1), WEIR_R_WRONG_SHARD);
	free(exact);
}

// Two runs of a deliver frame; the fields of the second are then made hostile.
static struct weir_run_header *build_deliver(uint32_t *size)
{
	struct weir_delivery *delivery = (void *)buffer.body;
	struct weir_run_header *run = (void *)(delivery + 1);
	buffer.frame = (struct weir_frame_header){ .kind = WEIR_KIND_DELIVER, .count = 2, .session = 1, .sequence = 100 };
	*delivery = (struct weir_delivery){ .to = 102, .term = 1 };
	for (int i = 0; i < 2; i++) {
		uint32_t length = put_event((uint8_t *)(run + 1), 1, 8);
		*run = (struct weir_run_header){ .producer = 1, .length = length, .count = 1 };
		run->crc = weir_crc32c(0, run + 1, length);
		run = (void *)((uint8_t *)(run + 1) + length);
	}
	uint32_t body = (uint32_t)((uint8_t *)run - buffer.body);
	weir_frame_seal(&buffer.frame, (uint16_t)body);
	*size = body + (uint32_t)sizeof(buffer.frame);
	return (void *)(buffer.body + sizeof(*delivery) + sizeof(*run) + 24);
}

Test(codec, no_run_length_is_believed)
{
	uint32_t size;
	struct weir_run_header *run = build_deliver(&size);
	cr_assert_eq(weir_frame_check(&buffer, size, false, false, NULL), WEIR_R_NONE);
	static const uint32_t HOSTILE[] = { 0, 16, 23, 25, 32, 0x7fffffff, 0xffffffe8, 0xfffffff8, 0xffffffff };
	for (size_t i = 0; i < sizeof(HOSTILE) / sizeof(HOSTILE[0]); i++) {
		run->length = HOSTILE[i];
		uint8_t *exact = malloc(size);
		memcpy(exact, &buffer, size);
		cr_assert_neq(weir_frame_check(exact, size, false, false, NULL), WEIR_R_NONE, "length %u", HOSTILE[i]);
		free(exact);
	}
	run->length = 24;
	run->count = 2;
	cr_assert_eq(weir_frame_check(&buffer, size, false, false, NULL), WEIR_R_COUNT);
	run->count = 0;
	cr_assert_eq(weir_frame_check(&buffer, size, false, false, NULL), WEIR_R_COUNT);
}

Test(codec, no_single_bit_of_a_deliver_may_turn)
{
	uint32_t size;
	build_deliver(&size);
	for (uint32_t bit = 0; bit < size * 8; bit++) {
		uint8_t *byte = (uint8_t *)&buffer + bit / 8;
		*byte ^= (uint8_t)(1 << bit % 8);
		cr_assert_neq(weir_frame_check(&buffer, size, false, false, NULL), WEIR_R_NONE, "bit %u", bit);
		*byte ^= (uint8_t)(1 << bit % 8);
	}
}

Test(codec, a_deliver_frame_of_any_number_of_runs_has_the_crc_of_its_headers_in_a_row)
{
	for (uint32_t count = 0; count <= 150; count++) {
		uint8_t headers[sizeof(struct weir_delivery) + 150 * sizeof(struct weir_run_header)];
		uint32_t length = (uint32_t)sizeof(struct weir_delivery);
		uint32_t summed = length;
		srand(count);
		for (uint32_t i = 0; i < sizeof(buffer.body); i++)
			buffer.body[i] = (uint8_t)rand();
		memcpy(headers, buffer.body, length);
		for (uint32_t i = 0; i < count; i++) {
			struct weir_run_header *run = (void *)(buffer.body + length);
			run->length = 8u * ((uint32_t)rand() % 3);
			memcpy(headers + summed, run, sizeof(*run));
			summed += (uint32_t)sizeof(*run);
			length += (uint32_t)sizeof(*run) + run->length;
		}
		buffer.frame = (struct weir_frame_header){ .kind = WEIR_KIND_DELIVER, .session = 77, .sequence = count };
		buffer.frame.count = (uint16_t)count;
		weir_frame_seal(&buffer.frame, (uint16_t)length);
		uint32_t crc = weir_crc32c(0, headers, summed);
		cr_assert_eq(buffer.frame.crc, weir_crc32c(crc, &buffer.frame, 44), "%u runs", count);
		uint32_t body_crc = 0;
		cr_assert_eq(weir_frame_crc(&buffer.frame, &body_crc), buffer.frame.crc, "%u runs", count);
		cr_assert_eq(body_crc, crc, "%u runs", count);
	}
}

Test(codec, names_are_short_plain_and_zero_padded)
{
	char name[WEIR_NAME_SIZE] = "positions.v2_eu-west";
	cr_assert(weir_name_is_valid(name));
	name[40] = 'x';
	cr_assert_not(weir_name_is_valid(name), "bytes behind the end");
	memset(name, 'a', sizeof(name));
	cr_assert_not(weir_name_is_valid(name), "not terminated");
	name[63] = 0;
	cr_assert(weir_name_is_valid(name));
	memset(name, 0, sizeof(name));
	cr_assert_not(weir_name_is_valid(name), "empty");
	static const char BAD[] = " /\\:\n\x7f\xc3*";
	for (const char *c = BAD; *c; c++) {
		memset(name, 0, sizeof(name));
		name[0] = 'a';
		name[1] = *c;
		cr_assert_not(weir_name_is_valid(name), "character %d", *c);
	}
}

Test(codec, a_charge_covers_the_datagram_and_never_shrinks)
{
	uint32_t previous = 0;
	for (uint32_t size = 0; size <= WEIR_FRAME_MAX; size++) {
		uint32_t charge = weir_charge(size);
		cr_assert_geq(charge, size + 448 + WEIR_CHARGE_SKB);
		cr_assert_geq(charge, previous);
		previous = charge;
	}
	cr_assert_eq(weir_charge(1472), 2304);
}

// The rules of section 3 of PROTOCOL.md, one event after the other.
static enum weir_reason events_judge(const uint8_t *at, uint32_t left, uint32_t count, uint32_t event_max, uint32_t shard)
{
	enum weir_reason reason = WEIR_R_NONE;
	for (uint32_t i = 0; i < count; i++) {
		struct weir_event_header event;
		if (left < sizeof(event))
			return WEIR_R_BAD_EVENT;
		memcpy(&event, at, sizeof(event));
		uint64_t padded = ((uint64_t)event.length + 7) / 8 * 8;
		if (padded > left || event.length < 16u + event.attribute_words * 8u || event.flags)
			return WEIR_R_BAD_EVENT;
		if (event.length > event_max)
			reason = WEIR_R_SIZE;
		else if (weir_shard_of(event.key, 4) != shard && reason == WEIR_R_NONE)
			reason = WEIR_R_WRONG_SHARD;
		at += padded;
		left -= (uint32_t)padded;
	}
	return left ? WEIR_R_BAD_EVENT : reason;
}

Test(codec, events_of_one_size_are_judged_like_any_others)
{
	_Alignas(8) uint8_t events[1848];
	uint32_t seen[WEIR_REASON_COUNT] = { 0 };
	srand(9);
	for (int round = 0; round < 200000; round++) {
		uint32_t size = 16 + 8 * ((uint32_t)rand() % 10);
		uint32_t count = 1 + (uint32_t)rand() % 21;
		uint32_t shorter = size > 16 ? (uint32_t)rand() % 8 : 0;
		bool is_same = rand() % 2;
		memset(events, 0, sizeof(events));
		for (uint32_t i = 0; i < count; i++) {
			struct weir_event_header event = { .length = size - shorter, .type = (uint16_t)(rand() % 3) };
			if (size > 16 && !is_same)
				event.length = size - (uint32_t)rand() % 8;
			do
				event.key = (uint64_t)rand();
			while (weir_shard_of(event.key, 4) != 2);
			memcpy(events + i * size, &event, sizeof(event));
		}
		for (int flips = rand() % 3; flips; flips--) {
			uint8_t *byte = events + (uint32_t)rand() % count * size + (uint32_t)rand() % 16;
			*byte ^= (uint8_t)(1 << rand() % 8);
		}
		uint32_t event_max = rand() % 2 ? size - (uint32_t)rand() % 8 : 4096;
		enum weir_reason expected = events_judge(events, count * size, count, event_max, 2);
		cr_assert_eq(weir_events_check(events, count * size, count, event_max, 2, 4), expected, "round %d", round);
		seen[expected]++;
	}
	cr_assert(seen[WEIR_R_NONE] > 1000 && seen[WEIR_R_BAD_EVENT] > 1000 && seen[WEIR_R_SIZE] > 1000 &&
		  seen[WEIR_R_WRONG_SHARD] > 1000);
}
