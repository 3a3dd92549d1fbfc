// Frame and event checks, one pass each. Every length read from the input is compared before it is used: whoever
// receives a datagram, router or client, asks here first and may trust the layout afterwards.
#include "wire/codec.h"

#include <string.h>

#include "wire/key.h"
#include "wire/shape.h"

#define HEADER_SIZE ((uint32_t)sizeof(struct weir_frame_header))
#define RUN_FLAGS (WEIR_RUN_UNCHECKED | WEIR_RUN_LOCAL) // of what is built: others would be understood by half
#define HEADER_SEALED_SIZE ((uint32_t)__builtin_offsetof(struct weir_frame_header, crc))

static inline const uint8_t *body_of(const struct weir_frame_header *frame)
{
	return (const uint8_t *)(frame + 1);
}

static inline uint32_t header_crc(uint32_t body_crc, const struct weir_frame_header *frame)
{
	return weir_crc32c_small(body_crc, frame, HEADER_SEALED_SIZE);
}

// The sealed part of a deliver frame: prefix and run headers. The runs were walked before.
static uint32_t deliver_crc(const struct weir_frame_header *frame, const uint8_t *runs)
{
	uint32_t crc = weir_crc32c_small(0, body_of(frame), sizeof(struct weir_delivery));
	for (uint32_t i = 0; i < frame->count; i++) {
		const struct weir_run_header *run = (const void *)runs;
		crc = weir_crc32c_small(crc, run, sizeof(*run));
		runs += sizeof(*run) + run->length;
	}
	return crc;
}

#if defined(__SSE4_2__) && !defined(WEIR_CRC32C_PORTABLE)

#include <immintrin.h>

// Each CRC step waits for the one before, and a frame of twelve short runs has 70 of them. So every header gets a register
// of its own, all at once; each is moved forward over the headers behind it by one carry-less multiplication, and their sum
// is brought back to 32 bits once. JOIN[i]: what moves a register over i run headers and the frame's header, x^(n - 32) mod P
// for n bits, reflected, with the extra bit that a reflected product lacks (see crc32c.c).
#define RUNS_JOINED 64u
#define POLYNOMIAL 0x82f63b78u

static uint64_t JOIN[RUNS_JOINED + 1];
static bool HAS_JOIN;

__attribute__((constructor)) static void join_build(void)
{
	uint32_t power = 1u << 31;
	uint32_t bits = 8 * HEADER_SEALED_SIZE - 32;
	for (uint32_t i = 0; i <= RUNS_JOINED; i++) {
		for (; bits; bits--)
			power = power >> 1 ^ (power & 1 ? POLYNOMIAL : 0);
		JOIN[i] = (uint64_t)power << 1;
		bits = 8 * sizeof(struct weir_run_header);
	}
	__builtin_cpu_init();
	HAS_JOIN = __builtin_cpu_supports("pclmul");
}

__attribute__((target("pclmul"))) static inline __m128i moved(uint32_t crc, uint64_t by)
{
	return _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)crc), _mm_cvtsi64_si128((int64_t)by), 0);
}

__attribute__((target("pclmul"))) static uint32_t runs_frame_crc_joined(const struct weir_frame_header *frame,
									      const uint8_t *runs, uint32_t count)
{
	__m128i sum = moved(weir_crc32c_register(UINT32_MAX, body_of(frame), sizeof(struct weir_delivery)), JOIN[count]);
	while (count) {
		const struct weir_run_header *run = (const void *)runs;
		sum = _mm_xor_si128(sum, moved(weir_crc32c_register(0, run, sizeof(*run)), JOIN[--count]));
		runs += sizeof(*run) + run->length;
	}
	uint32_t body = (uint32_t)_mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(sum));
	return ~(body ^ weir_crc32c_register(0, frame, HEADER_SEALED_SIZE));
}

#else
#define RUNS_JOINED 0u
#define HAS_JOIN false
#define runs_frame_crc_joined(frame, runs, count) 0
#endif

// Of a deliver frame of `count` runs.
static inline uint32_t runs_frame_crc(const struct weir_frame_header *frame, const uint8_t *runs, uint32_t count)
{
	if (HAS_JOIN && count <= RUNS_JOINED)
		return runs_frame_crc_joined(frame, runs, count);
	return header_crc(deliver_crc(frame, runs), frame);
}

static inline bool has_runs(const struct weir_frame_header *frame)
{
	return frame->kind == WEIR_KIND_DELIVER && !(frame->flags & (WEIR_FLAG_FRAGMENT | WEIR_FLAG_HEADER_ONLY));
}

uint32_t weir_frame_crc(const struct weir_frame_header *frame, uint32_t *body_crc)
{
	if (!body_crc && has_runs(frame))
		return runs_frame_crc(frame, body_of(frame) + sizeof(struct weir_delivery), frame->count);
	uint32_t crc = 0;
	if (frame->flags & WEIR_FLAG_HEADER_ONLY)
		crc = 0;
	else if (frame->kind == WEIR_KIND_DELIVER && !(frame->flags & WEIR_FLAG_FRAGMENT))
		crc = deliver_crc(frame, body_of(frame) + sizeof(struct weir_delivery));
	else
		crc = weir_crc32c(0, body_of(frame), frame->body_length);
	if (body_crc)
		*body_crc = crc;
	return header_crc(crc, frame);
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
	frame->crc = header_crc(frame->flags & WEIR_FLAG_HEADER_ONLY ? 0 : body_crc, frame);
}

void weir_list_seal(struct weir_frame_header *frame, enum weir_kind kind, uint64_t session, uint32_t count,
		    uint32_t body_length, uint32_t body_crc)
{
	uint64_t words[sizeof(*frame) / 8] = {
		WEIR_MAGIC | WEIR_VERSION << 16 | (uint64_t)kind << 24 | (uint64_t)count << 48,
		session, 0, 0, 0,
		(uint64_t)body_length << 16,
	};
	words[5] |= (uint64_t)weir_crc32c_small(body_crc, words, HEADER_SEALED_SIZE) << 32;
	weir_words_put(frame, words, sizeof(words) / 8);
}

// In the words in which it is summed.
void weir_deliver_seal(struct weir_frame_header *frame, const struct weir_deliver *what, const void *runs)
{
	uint32_t count = what->count;
	const uint64_t words[] = {
		WEIR_MAGIC | WEIR_VERSION << 16 | (uint64_t)WEIR_KIND_DELIVER << 24 | (uint64_t)what->flags << 32 |
			(uint64_t)count << 48,
		what->session,
		what->stream | (uint64_t)what->topic << 32,
		what->sequence,
		0,
		what->shard | (uint64_t)what->body_length << 16,
		what->to,
		what->charge_from,
		what->term,
	};
	_Static_assert(sizeof(words) == sizeof(*frame) + sizeof(struct weir_delivery), "header and prefix in words");
	weir_words_put(frame, words, sizeof(words) / 8);
	frame->crc = what->flags & WEIR_FLAG_HEADER_ONLY ? header_crc(0, frame) : runs_frame_crc(frame, runs, count);
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
	if (run->flags & ~RUN_FLAGS)
		return WEIR_R_FLAGS;
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
		if (run->flags & ~RUN_FLAGS)
			return WEIR_R_FLAGS;
		if (!(run->flags & WEIR_RUN_UNCHECKED) && weir_crc32c(0, body + at, run->length) != run->crc)
			return WEIR_R_CRC;
		at += run->length;
	}
	return WEIR_R_NONE;
}

// Bytes from this option to the next; 0: the options end here, UINT32_MAX: it reaches beyond the end.
static uint32_t option_step(const struct weir_option *option, uint32_t left)
{
	if (left < sizeof(*option) || option->type == WEIR_OPTION_END)
		return 0;
	if (option->length > left - sizeof(*option))
		return UINT32_MAX;
	uint32_t step = weir_pad8((uint32_t)sizeof(*option) + option->length);
	return step < left ? step : left;
}

static enum weir_reason options_check(const uint8_t *at, uint32_t left)
{
	for (uint32_t step; (step = option_step((const void *)at, left)) != 0; at += step, left -= step) {
		if (step == UINT32_MAX)
			return WEIR_R_LENGTH;
	}
	return WEIR_R_NONE;
}

const void *weir_option_find(const void *options, uint32_t size, enum weir_option_type type, uint16_t length)
{
	const uint8_t *at = options;
	for (uint32_t step; (step = option_step((const void *)at, size)) != 0; at += step, size -= step) {
		const struct weir_option *option = (const void *)at;
		if (option->type == type)
			return option->length == length ? option + 1 : NULL;
	}
	return NULL;
}

uint32_t weir_option_put(void *to, enum weir_option_type type, const void *value, uint16_t length)
{
	const struct weir_option option = { .type = (uint16_t)type, .length = length };
	uint32_t size = weir_pad8((uint32_t)sizeof(option) + length);
	memset(to, 0, size);
	memcpy(to, &option, sizeof(option));
	memcpy((uint8_t *)to + sizeof(option), value, length);
	return size;
}

uint64_t weir_hello_agreed(const struct weir_hello *hello, uint32_t size, uint64_t offers)
{
	const void *knows = weir_option_find(hello + 1, size - (uint32_t)sizeof(*hello), WEIR_OPTION_KNOWS, sizeof(uint64_t));
	uint64_t known = 0;
	if (knows)
		memcpy(&known, knows, sizeof(known));
	return known & offers;
}

// Whether the general way below would find nothing wrong with the header of a publish of whole events: most frames that a
// router gets, judged by one comparison of what they all begin with. 237 -> 129 instructions for one event of 64 bytes.
static inline bool is_plain_publish(const struct weir_frame_header *frame, size_t size, bool trust_link)
{
	uint64_t head;
	memcpy(&head, frame, sizeof(head));
	const uint64_t begin = WEIR_MAGIC | WEIR_VERSION << 16 | (uint64_t)WEIR_KIND_PUBLISH << 24;
	const uint64_t fixed = 0xffffffffffffull & ~((uint64_t)WEIR_FLAG_LATER << 32);
	const uint64_t free = trust_link ? (uint64_t)WEIR_FLAG_HEADER_ONLY << 32 : 0;
	uint64_t length = frame->body_length;
	uint64_t count = head >> 48;
	return ((head ^ begin) & fixed & ~free) == 0 && size == HEADER_SIZE + length && size <= WEIR_FRAME_MAX &&
	       length % 8 == 0 && count - 1 < WEIR_COUNT_MAX && length >= count * sizeof(struct weir_event_header);
}

static enum weir_reason plain_publish_check(const struct weir_frame_header *frame, uint32_t *body_crc)
{
	uint32_t crc = frame->flags & WEIR_FLAG_HEADER_ONLY ? 0 : weir_crc32c(0, body_of(frame), frame->body_length);
	if (header_crc(crc, frame) != frame->crc)
		return WEIR_R_CRC;
	if (body_crc)
		*body_crc = crc;
	return WEIR_R_NONE;
}

enum weir_reason weir_frame_check(const void *data, size_t size, bool from_client, bool trust_link, uint32_t *body_crc)
{
	const struct weir_frame_header *frame = data;
	if (size < HEADER_SIZE)
		return WEIR_R_SHORT;
	if (from_client && is_plain_publish(frame, size, trust_link))
		return plain_publish_check(frame, body_crc);
	if (size > UINT32_MAX)
		return WEIR_R_LENGTH;
	enum weir_reason reason =
		weir_frame_shape(frame, (uint32_t)size, from_client ? WEIR_FROM_CLIENT : WEIR_FROM_ROUTER, trust_link);
	if (reason == WEIR_R_NONE && frame->kind == WEIR_KIND_DELIVER)
		reason = deliver_check(frame);
	else if (reason == WEIR_R_NONE && frame->flags & WEIR_FLAG_FRAGMENT)
		reason = weir_fragment_shape((const void *)body_of(frame), frame->body_length);
	else if (reason == WEIR_R_NONE && WEIR_KIND_RULES[frame->kind].body == WEIR_BODY_PADDED)
		reason = options_check(body_of(frame) + WEIR_KIND_RULES[frame->kind].size,
				       frame->body_length - WEIR_KIND_RULES[frame->kind].size);
	if (reason != WEIR_R_NONE)
		return reason;
	uint32_t sealed_crc = 0;
	if (weir_frame_crc(frame, has_runs(frame) ? NULL : &sealed_crc) != frame->crc)
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
