// Frame and event checks, one pass each. Every length read from the input is compared before it is used: whoever
// receives a datagram, router or client, asks here first and may trust the layout afterwards.
#include "wire/codec.h"

#include <string.h>

#include "wire/key.h"
#include "wire/shape.h"

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

// A piece of a large event: its run header describes the event alone, and only the last piece covers its offset.
static enum weir_reason deliver_fragment_check(const struct weir_frame_header *frame)
{
	const struct weir_delivery *delivery = (const void *)body_of(frame);
	const struct weir_run_header *run = (const void *)(delivery + 1);
	const struct weir_fragment *fragment = (const void *)(run + 1);
	if (frame->count != 1)
		return WEIR_R_COUNT;
	if (frame->body_length < sizeof(*delivery) + sizeof(*run) + sizeof(*fragment))
		return WEIR_R_LENGTH;
	uint32_t size = frame->body_length - (uint32_t)(sizeof(*delivery) + sizeof(*run));
	enum weir_reason reason = weir_fragment_shape(fragment, size);
	if (reason != WEIR_R_NONE)
		return reason;
	if (run->length != weir_pad8(fragment->total))
		return WEIR_R_LENGTH;
	bool is_last = fragment->offset + size - sizeof(*fragment) == run->length;
	return run->count == 1 && is_last == (delivery->to > frame->sequence) ? WEIR_R_NONE : WEIR_R_COUNT;
}

static enum weir_reason deliver_check(const struct weir_frame_header *frame)
{
	uint32_t size = frame->body_length;
	const uint8_t *body = body_of(frame);
	const struct weir_delivery *delivery = (const void *)body;
	if (delivery->to < frame->sequence)
		return WEIR_R_COUNT;
	if (frame->flags & WEIR_FLAG_FRAGMENT)
		return deliver_fragment_check(frame);
	if (frame->count > WEIR_COUNT_MAX)
		return WEIR_R_COUNT;
	uint32_t at = sizeof(*delivery);
	uint64_t events = 0;
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
		events += run->count;
	}
	if (at != size)
		return WEIR_R_LENGTH;
	return events <= delivery->to - frame->sequence ? WEIR_R_NONE : WEIR_R_COUNT;
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
	if (size > UINT32_MAX)
		return WEIR_R_LENGTH;
	enum weir_reason reason =
		weir_frame_shape(frame, (uint32_t)size, from_client ? WEIR_FROM_CLIENT : WEIR_FROM_ROUTER, trust_link);
	if (reason == WEIR_R_NONE && frame->kind == WEIR_KIND_DELIVER)
		reason = deliver_check(frame);
	else if (reason == WEIR_R_NONE && frame->flags & WEIR_FLAG_FRAGMENT)
		reason = weir_fragment_shape((const void *)body_of(frame), frame->body_length);
	if (reason != WEIR_R_NONE)
		return reason;
	uint32_t sealed_crc = 0;
	if (weir_frame_crc(frame, &sealed_crc) != frame->crc)
		return WEIR_R_CRC;
	if (frame->kind == WEIR_KIND_DELIVER && !(frame->flags & WEIR_EVENT_FLAGS))
		reason = runs_check(frame);
	if (body_crc)
		*body_crc = sealed_crc;
	return reason;
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
