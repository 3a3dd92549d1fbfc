// What a frame's header alone, and the prefix of a fragment, allow or forbid: one definition for the router, the
// clients and the XDP program. Headers in, a reason out; nothing behind the header is read, so that the BPF verifier
// follows every access. wire/codec.h builds the whole check (runs, CRC) on top of it. Any thread, and the kernel.
#ifndef WEIR_WIRE_SHAPE_H
#define WEIR_WIRE_SHAPE_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/frame.h"
#include "wire/reason.h"

enum weir_body_rule {
	WEIR_BODY_NONE,    // exactly empty
	WEIR_BODY_FIXED,   // exactly `size`
	WEIR_BODY_PADDED,  // at least `size`, the rest is padding
	WEIR_BODY_ENTRIES, // count entries of `size`, 1 to WEIR_ENTRIES_MAX
	WEIR_BODY_BYTES,   // `size`, then count bytes
	WEIR_BODY_EVENTS,
	WEIR_BODY_RUNS,    // at least `size`, a multiple of 8; the runs themselves are the codec's to walk
};

enum weir_direction {
	WEIR_FROM_ROUTER = 1,
	WEIR_FROM_CLIENT = 2,
	WEIR_FROM_BOTH = 3,
};

struct weir_kind_rule {
	uint8_t from; // enum weir_direction
	uint8_t body; // enum weir_body_rule
	uint16_t size;
	uint16_t flags; // legal ones
};

#define WEIR_EVENT_FLAGS (WEIR_FLAG_FRAGMENT | WEIR_FLAG_HEADER_ONLY)

// Kind 0 is from nobody.
static const struct weir_kind_rule WEIR_KIND_RULES[WEIR_KIND_LIMIT] = {
	[WEIR_KIND_HELLO] = { WEIR_FROM_CLIENT, WEIR_BODY_PADDED, sizeof(struct weir_hello), 0 },
	[WEIR_KIND_CHALLENGE] = { WEIR_FROM_ROUTER, WEIR_BODY_FIXED, sizeof(struct weir_challenge), 0 },
	[WEIR_KIND_WELCOME] = { WEIR_FROM_ROUTER, WEIR_BODY_PADDED, sizeof(struct weir_welcome), 0 },
	[WEIR_KIND_PING] = { WEIR_FROM_CLIENT, WEIR_BODY_NONE, 0, WEIR_FLAG_WORKING },
	[WEIR_KIND_PONG] = { WEIR_FROM_ROUTER, WEIR_BODY_NONE, 0, 0 },
	[WEIR_KIND_BYE] = { WEIR_FROM_BOTH, WEIR_BODY_NONE, 0, 0 },
	[WEIR_KIND_ERROR] = { WEIR_FROM_ROUTER, WEIR_BODY_FIXED, sizeof(struct weir_error), 0 },
	[WEIR_KIND_METADATA] = { WEIR_FROM_CLIENT, WEIR_BODY_FIXED, sizeof(struct weir_metadata_ask), 0 },
	[WEIR_KIND_TOPIC] = { WEIR_FROM_ROUTER, WEIR_BODY_BYTES, sizeof(struct weir_topic_info), 0 },
	[WEIR_KIND_OPEN] = { WEIR_FROM_CLIENT, WEIR_BODY_FIXED, sizeof(struct weir_open), 0 },
	[WEIR_KIND_OPENED] = { WEIR_FROM_ROUTER, WEIR_BODY_FIXED, sizeof(struct weir_opened), 0 },
	[WEIR_KIND_PUBLISH] = { WEIR_FROM_CLIENT, WEIR_BODY_EVENTS, 0,
				 WEIR_EVENT_FLAGS | WEIR_FLAG_LATER },
	[WEIR_KIND_PROBE] = { WEIR_FROM_CLIENT, WEIR_BODY_NONE, 0, 0 },
	[WEIR_KIND_ACK] = { WEIR_FROM_ROUTER, WEIR_BODY_ENTRIES, sizeof(struct weir_ack_entry), 0 },
	[WEIR_KIND_REFUSE] = { WEIR_FROM_ROUTER, WEIR_BODY_ENTRIES, sizeof(struct weir_refuse_entry), 0 },
	[WEIR_KIND_SKIP] = { WEIR_FROM_CLIENT, WEIR_BODY_FIXED, sizeof(struct weir_skip), 0 },
	[WEIR_KIND_CLOSE] = { WEIR_FROM_CLIENT, WEIR_BODY_FIXED, sizeof(struct weir_close), 0 },
	[WEIR_KIND_CLOSED] = { WEIR_FROM_ROUTER, WEIR_BODY_FIXED, sizeof(struct weir_close), 0 },
	[WEIR_KIND_JOIN] = { WEIR_FROM_CLIENT, WEIR_BODY_FIXED, sizeof(struct weir_join), 0 },
	[WEIR_KIND_JOINED] = { WEIR_FROM_ROUTER, WEIR_BODY_FIXED, sizeof(struct weir_joined), 0 },
	[WEIR_KIND_ASSIGN] = { WEIR_FROM_ROUTER, WEIR_BODY_FIXED, sizeof(struct weir_assign), WEIR_FLAG_IN_PLACE },
	[WEIR_KIND_DELIVER] = { WEIR_FROM_ROUTER, WEIR_BODY_RUNS, sizeof(struct weir_delivery),
				WEIR_EVENT_FLAGS | WEIR_FLAG_REDELIVERED },
	[WEIR_KIND_REPORT] = { WEIR_FROM_CLIENT, WEIR_BODY_ENTRIES, sizeof(struct weir_report_entry), 0 },
	[WEIR_KIND_REVOKE] = { WEIR_FROM_ROUTER, WEIR_BODY_FIXED, sizeof(struct weir_revoke), 0 },
	[WEIR_KIND_REVOKED] = { WEIR_FROM_CLIENT, WEIR_BODY_FIXED, sizeof(struct weir_revoke), 0 },
	[WEIR_KIND_LEAVE] = { WEIR_FROM_CLIENT, WEIR_BODY_FIXED, sizeof(struct weir_leave), 0 },
	[WEIR_KIND_LEFT] = { WEIR_FROM_ROUTER, WEIR_BODY_FIXED, sizeof(struct weir_leave), 0 },
	[WEIR_KIND_SETTLE] = { WEIR_FROM_CLIENT, WEIR_BODY_ENTRIES, sizeof(struct weir_settle_entry), 0 },
	[WEIR_KIND_SETTLED] = { WEIR_FROM_ROUTER, WEIR_BODY_ENTRIES, sizeof(struct weir_settled_entry), 0 },
};

// `size` bytes in all: the prefix, then bytes padded to 8 that stay within the padded event. The caller made sure that
// the prefix can be read.
static inline enum weir_reason weir_fragment_shape(const struct weir_fragment *fragment, uint32_t size)
{
	if (size < sizeof(*fragment) + 8 || size % 8)
		return WEIR_R_LENGTH;
	uint32_t total = fragment->total;
	uint32_t offset = fragment->offset;
	if (total < sizeof(struct weir_event_header) || total > WEIR_EVENT_LIMIT || offset % 8 || offset >= total)
		return WEIR_R_LENGTH;
	uint32_t padded = (total + 7u) & ~7u;
	return size - (uint32_t)sizeof(*fragment) <= padded - offset ? WEIR_R_NONE : WEIR_R_LENGTH;
}

// Flag FRAGMENT leaves the prefix to weir_fragment_shape().
static inline enum weir_reason weir_publish_shape(const struct weir_frame_header *frame)
{
	uint32_t size = frame->body_length;
	uint32_t count = frame->count;
	if (frame->flags & WEIR_FLAG_FRAGMENT) {
		if (count != 1)
			return WEIR_R_COUNT;
		return size >= sizeof(struct weir_fragment) + 8 ? WEIR_R_NONE : WEIR_R_LENGTH;
	}
	if (count == 0 || count > WEIR_COUNT_MAX)
		return WEIR_R_COUNT;
	if (size % 8)
		return WEIR_R_LENGTH;
	return size >= count * sizeof(struct weir_event_header) ? WEIR_R_NONE : WEIR_R_COUNT;
}

static inline enum weir_reason weir_body_shape(const struct weir_frame_header *frame, const struct weir_kind_rule *rule)
{
	uint32_t size = frame->body_length;
	uint32_t count = frame->count;
	switch ((enum weir_body_rule)rule->body) {
	case WEIR_BODY_NONE:
	case WEIR_BODY_FIXED:
		if (count)
			return WEIR_R_COUNT;
		if (frame->flags & WEIR_FLAG_IN_PLACE)
			size -= sizeof(struct weir_assign_place);
		return size == rule->size ? WEIR_R_NONE : WEIR_R_LENGTH;
	case WEIR_BODY_PADDED:
		if (count)
			return WEIR_R_COUNT;
		return size >= rule->size ? WEIR_R_NONE : WEIR_R_LENGTH;
	case WEIR_BODY_ENTRIES:
		if (count == 0 || count > WEIR_ENTRIES_MAX)
			return WEIR_R_COUNT;
		return size == count * rule->size ? WEIR_R_NONE : WEIR_R_LENGTH;
	case WEIR_BODY_BYTES:
		return size == rule->size + count ? WEIR_R_NONE : WEIR_R_LENGTH;
	case WEIR_BODY_EVENTS:
		return weir_publish_shape(frame);
	case WEIR_BODY_RUNS:
		return size >= rule->size && size % 8 == 0 ? WEIR_R_NONE : WEIR_R_LENGTH;
	}
	return WEIR_R_KIND;
}

// Everything of a datagram of `size` bytes, at least those of a header, that its header decides: see
// weir_frame_check() for the meaning of the arguments. `from` is where the frame came from, never WEIR_FROM_BOTH.
static inline enum weir_reason weir_frame_shape(const struct weir_frame_header *frame, uint32_t size, enum weir_direction from,
						bool trust_link)
{
	if (frame->magic != WEIR_MAGIC)
		return WEIR_R_MAGIC;
	uint32_t kind = frame->kind;
	// The layout of hello is frozen: a later version's hello is answered, so that both sides can agree on one.
	if (frame->version != WEIR_VERSION && kind != WEIR_KIND_HELLO)
		return WEIR_R_VERSION;
	if (kind >= WEIR_KIND_LIMIT)
		return WEIR_R_KIND;
	const struct weir_kind_rule *rule = &WEIR_KIND_RULES[kind];
	if (!(rule->from & from))
		return WEIR_R_KIND;
	if (size != sizeof(*frame) + frame->body_length || size > WEIR_FRAME_MAX)
		return WEIR_R_LENGTH;
	if (frame->flags & ~rule->flags || (frame->flags & WEIR_FLAG_HEADER_ONLY && !trust_link))
		return WEIR_R_FLAGS;
	return weir_body_shape(frame, rule);
}

#endif
