// Frame and event checks, one pass each. Every length read from the input is compared before it is used: whoever
// receives a datagram, router or client, asks here first and may trust the layout afterwards.
#include "wire/codec.h"

#include <string.h>

#include "wire/key.h"

#define HEADER_SIZE ((uint32_t)sizeof(struct weir_frame_header))
#define HEADER_SEALED_SIZE ((uint32_t)__builtin_offsetof(struct weir_frame_header, crc))

static inline const uint8_t *body_of(const struct weir_frame_header *frame)
{
	return (const uint8_t *)(frame + 1);
}

// The sealed part of a deliver frame: prefix and run headers. The runs were walked before.
static uint32_t deliver_crc(const struct weir_frame_header *frame)
{
	const uint8_t *body = body_of(frame);
	uint32_t crc = weir_crc32c(0, body, sizeof(struct weir_delivery));
	uint32_t at = sizeof(struct weir_delivery);
	for (uint32_t i = 0; i < frame->count; i++) {
		const struct weir_run_header *run = (const void *)(body + at);
		crc = weir_crc32c(crc, run, sizeof(*run));
		at += sizeof(*run) + run->length;
	}
	return crc;
}

uint32_t weir_frame_crc(const struct weir_frame_header *frame, uint32_t *body_crc)
{
	uint32_t crc = 0;
	if (frame->flags & WEIR_FLAG_HEADER_ONLY)
		crc = 0;
	else if (frame->kind == WEIR_KIND_DELIVER && !(frame->flags & WEIR_FLAG_FRAGMENT))
		crc = deliver_crc(frame);
	else
		crc = weir_crc32c(0, body_of(frame), frame->body_length);
	if (body_crc)
		*body_crc = crc;
	return weir_crc32c(crc, frame, HEADER_SEALED_SIZE);
}

void weir_frame_seal(struct weir_frame_header *frame, uint16_t body_length)
{
	frame->magic = WEIR_MAGIC;
	frame->version = WEIR_VERSION;
	frame->body_length = body_length;
	frame->crc = weir_frame_crc(frame, NULL);
}

void weir_frame_seal_with(struct weir_frame_header *frame, uint16_t body_length, uint32_t body_crc)
{
	frame->magic = WEIR_MAGIC;
	frame->version = WEIR_VERSION;
	frame->body_length = body_length;
	frame->crc = weir_crc32c(frame->flags & WEIR_FLAG_HEADER_ONLY ? 0 : body_crc, frame, HEADER_SEALED_SIZE);
}

enum body_rule {
	BODY_NONE,    // exactly empty
	BODY_FIXED,   // exactly `size`
	BODY_PADDED,  // at least `size`, the rest is padding
	BODY_ENTRIES, // count entries of `size`, 1 to WEIR_ENTRIES_MAX
	BODY_BYTES,   // `size`, then count bytes
	BODY_EVENTS,
	BODY_RUNS,
};

struct kind_rule {
	uint8_t from_client; // 0: router only, 1: client only, 2: both
	uint8_t rule;
	uint16_t size;
	uint16_t flags; // legal ones
};

#define FROM_ROUTER 0
#define FROM_CLIENT 1
#define FROM_BOTH 2
#define EVENT_FLAGS (WEIR_FLAG_FRAGMENT | WEIR_FLAG_HEADER_ONLY)

static const struct kind_rule KINDS[WEIR_KIND_LIMIT] = {
	[WEIR_KIND_HELLO] = { FROM_CLIENT, BODY_PADDED, sizeof(struct weir_hello), 0 },
	[WEIR_KIND_CHALLENGE] = { FROM_ROUTER, BODY_FIXED, sizeof(struct weir_challenge), 0 },
	[WEIR_KIND_WELCOME] = { FROM_ROUTER, BODY_PADDED, sizeof(struct weir_welcome), 0 },
	[WEIR_KIND_PING] = { FROM_CLIENT, BODY_NONE, 0, 0 },
	[WEIR_KIND_PONG] = { FROM_ROUTER, BODY_NONE, 0, 0 },
	[WEIR_KIND_BYE] = { FROM_BOTH, BODY_NONE, 0, 0 },
	[WEIR_KIND_ERROR] = { FROM_ROUTER, BODY_FIXED, sizeof(struct weir_error), 0 },
	[WEIR_KIND_METADATA] = { FROM_CLIENT, BODY_FIXED, sizeof(struct weir_metadata_ask), 0 },
	[WEIR_KIND_TOPIC] = { FROM_ROUTER, BODY_BYTES, sizeof(struct weir_topic_info), 0 },
	[WEIR_KIND_OPEN] = { FROM_CLIENT, BODY_FIXED, sizeof(struct weir_open), 0 },
	[WEIR_KIND_OPENED] = { FROM_ROUTER, BODY_FIXED, sizeof(struct weir_opened), 0 },
	[WEIR_KIND_PUBLISH] = { FROM_CLIENT, BODY_EVENTS, 0, EVENT_FLAGS },
	[WEIR_KIND_PROBE] = { FROM_CLIENT, BODY_NONE, 0, 0 },
	[WEIR_KIND_ACK] = { FROM_ROUTER, BODY_ENTRIES, sizeof(struct weir_ack_entry), 0 },
	[WEIR_KIND_REFUSE] = { FROM_ROUTER, BODY_ENTRIES, sizeof(struct weir_refuse_entry), 0 },
	[WEIR_KIND_SKIP] = { FROM_CLIENT, BODY_FIXED, sizeof(struct weir_skip), 0 },
	[WEIR_KIND_CLOSE] = { FROM_CLIENT, BODY_NONE, 0, 0 },
	[WEIR_KIND_CLOSED] = { FROM_ROUTER, BODY_NONE, 0, 0 },
	[WEIR_KIND_JOIN] = { FROM_CLIENT, BODY_FIXED, sizeof(struct weir_join), 0 },
	[WEIR_KIND_JOINED] = { FROM_ROUTER, BODY_FIXED, sizeof(struct weir_joined), 0 },
	[WEIR_KIND_ASSIGN] = { FROM_ROUTER, BODY_FIXED, sizeof(struct weir_assign), 0 },
	[WEIR_KIND_DELIVER] = { FROM_ROUTER, BODY_RUNS, 0, EVENT_FLAGS | WEIR_FLAG_REDELIVERED },
	[WEIR_KIND_REPORT] = { FROM_CLIENT, BODY_ENTRIES, sizeof(struct weir_report_entry), 0 },
	[WEIR_KIND_REVOKE] = { FROM_ROUTER, BODY_FIXED, sizeof(struct weir_revoke), 0 },
	[WEIR_KIND_REVOKED] = { FROM_CLIENT, BODY_FIXED, sizeof(struct weir_revoke), 0 },
	[WEIR_KIND_LEAVE] = { FROM_CLIENT, BODY_FIXED, sizeof(struct weir_leave), 0 },
	[WEIR_KIND_LEFT] = { FROM_ROUTER, BODY_FIXED, sizeof(struct weir_leave), 0 },
};

// A piece of one event: the prefix, then bytes padded to 8 that stay within the padded event.
static enum weir_reason fragment_check(const uint8_t *at, uint32_t size)
{
	const struct weir_fragment *fragment = (const void *)at;
	if (size < sizeof(*fragment) + 8 || size % 8)
		return WEIR_R_LENGTH;
	uint32_t bytes = size - (uint32_t)sizeof(*fragment);
	if (fragment->total < sizeof(struct weir_event_header) || fragment->total > WEIR_EVENT_LIMIT)
		return WEIR_R_LENGTH;
	if (fragment->offset % 8 || fragment->offset >= fragment->total)
		return WEIR_R_LENGTH;
	return bytes <= weir_pad8(fragment->total) - fragment->offset ? WEIR_R_NONE : WEIR_R_LENGTH;
}

static enum weir_reason publish_check(const struct weir_frame_header *frame)
{
	if (frame->flags & WEIR_FLAG_FRAGMENT)
		return frame->count == 1 ? fragment_check(body_of(frame), frame->body_length) : WEIR_R_COUNT;
	if (frame->count == 0 || frame->count > WEIR_COUNT_MAX)
		return WEIR_R_COUNT;
	if (frame->body_length % 8)
		return WEIR_R_LENGTH;
	return frame->body_length >= frame->count * sizeof(struct weir_event_header) ? WEIR_R_NONE : WEIR_R_COUNT;
}

static enum weir_reason deliver_check(const struct weir_frame_header *frame)
{
	uint32_t size = frame->body_length;
	const uint8_t *body = body_of(frame);
	if (size < sizeof(struct weir_delivery) || size % 8)
		return WEIR_R_LENGTH;
	const struct weir_delivery *delivery = (const void *)body;
	if (delivery->to < frame->sequence)
		return WEIR_R_COUNT;
	uint32_t at = sizeof(*delivery);
	if (frame->flags & WEIR_FLAG_FRAGMENT) {
		if (frame->count != 1)
			return WEIR_R_COUNT;
		at += sizeof(struct weir_run_header);
		return size > at ? fragment_check(body + at, size - at) : WEIR_R_LENGTH;
	}
	if (frame->count > WEIR_COUNT_MAX)
		return WEIR_R_COUNT;
	for (uint32_t i = 0; i < frame->count; i++) {
		const struct weir_run_header *run = (const void *)(body + at);
		if (size - at < sizeof(*run))
			return WEIR_R_LENGTH;
		at += sizeof(*run);
		if (run->length % 8 || run->length > size - at)
			return WEIR_R_LENGTH;
		if (run->count == 0 || run->count * sizeof(struct weir_event_header) > run->length)
			return WEIR_R_COUNT;
		at += run->length;
	}
	return at == size ? WEIR_R_NONE : WEIR_R_LENGTH;
}

static enum weir_reason body_check(const struct weir_frame_header *frame, const struct kind_rule *rule)
{
	uint32_t size = frame->body_length;
	switch ((enum body_rule)rule->rule) {
	case BODY_NONE:
		if (frame->count)
			return WEIR_R_COUNT;
		return size == 0 ? WEIR_R_NONE : WEIR_R_LENGTH;
	case BODY_FIXED:
		if (frame->count)
			return WEIR_R_COUNT;
		return size == rule->size ? WEIR_R_NONE : WEIR_R_LENGTH;
	case BODY_PADDED:
		if (frame->count)
			return WEIR_R_COUNT;
		return size >= rule->size ? WEIR_R_NONE : WEIR_R_LENGTH;
	case BODY_ENTRIES:
		if (frame->count == 0 || frame->count > WEIR_ENTRIES_MAX)
			return WEIR_R_COUNT;
		return size == (uint32_t)frame->count * rule->size ? WEIR_R_NONE : WEIR_R_LENGTH;
	case BODY_BYTES:
		return size == (uint32_t)rule->size + frame->count ? WEIR_R_NONE : WEIR_R_LENGTH;
	case BODY_EVENTS:
		return publish_check(frame);
	case BODY_RUNS:
		return deliver_check(frame);
	}
	return WEIR_R_KIND;
}

static enum weir_reason runs_check(const struct weir_frame_header *frame)
{
	const uint8_t *body = body_of(frame);
	uint32_t at = sizeof(struct weir_delivery);
	for (uint32_t i = 0; i < frame->count; i++) {
		const struct weir_run_header *run = (const void *)(body + at);
		at += sizeof(*run);
		if (!(run->flags & WEIR_RUN_UNCHECKED) && weir_crc32c(0, body + at, run->length) != run->crc)
			return WEIR_R_CRC;
		at += run->length;
	}
	return WEIR_R_NONE;
}

enum weir_reason weir_frame_check(const void *data, size_t size, bool from_client, bool trust_link, uint32_t *body_crc)
{
	const struct weir_frame_header *frame = data;
	if (size < HEADER_SIZE)
		return WEIR_R_SHORT;
	if (frame->magic != WEIR_MAGIC)
		return WEIR_R_MAGIC;
	// The layout of hello is frozen: a later version's hello is answered, so that both sides can agree on one.
	if (frame->version != WEIR_VERSION && frame->kind != WEIR_KIND_HELLO)
		return WEIR_R_VERSION;
	if (frame->kind >= WEIR_KIND_LIMIT)
		return WEIR_R_KIND;
	const struct kind_rule *rule = &KINDS[frame->kind];
	if (frame->kind == 0 ||
	    (rule->from_client != FROM_BOTH && rule->from_client != (from_client ? FROM_CLIENT : FROM_ROUTER)))
		return WEIR_R_KIND;
	if (size != HEADER_SIZE + (size_t)frame->body_length || size > WEIR_FRAME_MAX)
		return WEIR_R_LENGTH;
	if (frame->flags & ~rule->flags || (frame->flags & WEIR_FLAG_HEADER_ONLY && !trust_link))
		return WEIR_R_FLAGS;
	enum weir_reason reason = body_check(frame, rule);
	if (reason != WEIR_R_NONE)
		return reason;
	uint32_t sealed_crc = 0;
	if (weir_frame_crc(frame, &sealed_crc) != frame->crc)
		return WEIR_R_CRC;
	if (frame->kind == WEIR_KIND_DELIVER && !(frame->flags & EVENT_FLAGS))
		reason = runs_check(frame);
	if (body_crc)
		*body_crc = sealed_crc;
	return reason;
}

enum weir_reason weir_events_check(const void *events, uint32_t length, uint32_t count, uint32_t event_max, uint32_t shard,
				   uint32_t shards)
{
	const uint8_t *at = events;
	uint32_t left = length;
	enum weir_reason reason = WEIR_R_NONE;
	for (uint32_t i = 0; i < count; i++) {
		const struct weir_event_header *event = (const void *)at;
		if (left < sizeof(*event))
			return WEIR_R_BAD_EVENT;
		uint32_t size = event->length;
		// Compared before padding: a length near 2^32 must not wrap.
		if (size > left || size < sizeof(*event) + event->attribute_words * 8u || event->flags)
			return WEIR_R_BAD_EVENT;
		size = weir_pad8(size);
		if (size > left)
			return WEIR_R_BAD_EVENT;
		if (event->length > event_max)
			reason = WEIR_R_SIZE;
		else if (weir_shard_of(event->key, shards) != shard && reason == WEIR_R_NONE)
			reason = WEIR_R_WRONG_SHARD;
		at += size;
		left -= size;
	}
	return left == 0 ? reason : WEIR_R_BAD_EVENT;
}

uint32_t weir_events_size(const void *events, uint32_t count)
{
	const uint8_t *at = events;
	for (uint32_t i = 0; i < count; i++)
		at += weir_pad8(((const struct weir_event_header *)(const void *)at)->length);
	return (uint32_t)(at - (const uint8_t *)events);
}

bool weir_name_is_valid(const char name[WEIR_NAME_SIZE])
{
	uint32_t length = 0;
	while (length < WEIR_NAME_SIZE && name[length]) {
		char c = name[length];
		bool is_fine = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
			       c == '_' || c == '-';
		if (!is_fine)
			return false;
		length++;
	}
	if (length == 0 || length >= WEIR_NAME_SIZE)
		return false;
	for (uint32_t i = length; i < WEIR_NAME_SIZE; i++) {
		if (name[i])
			return false;
	}
	return true;
}
