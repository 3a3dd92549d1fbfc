// The check of a publish frame's events. Every event of every frame passes here once, and hashing its key is most of it,
// so events of one size - the usual case - are judged in words that are looked at once, eight at a time where the
// processor can (decided before main). All ways say the same.
#include "wire/codec.h"

#include <string.h>

#include "wire/key.h"

#if defined(__x86_64__) && !defined(WEIR_EVENTS_PORTABLE)
#include <immintrin.h>

static bool HAS_VECTORS;

__attribute__((constructor)) static void vectors_look(void)
{
	__builtin_cpu_init();
	HAS_VECTORS = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
}

#define VECTOR_TARGET __attribute__((target("avx512f,avx512dq")))

VECTOR_TARGET static inline __m512i mix64_vector(__m512i key)
{
	key = _mm512_xor_si512(key, _mm512_srli_epi64(key, 30));
	key = _mm512_mullo_epi64(key, _mm512_set1_epi64((int64_t)0xbf58476d1ce4e5b9ull));
	key = _mm512_xor_si512(key, _mm512_srli_epi64(key, 27));
	key = _mm512_mullo_epi64(key, _mm512_set1_epi64((int64_t)0x94d049bb133111ebull));
	return _mm512_xor_si512(key, _mm512_srli_epi64(key, 31));
}

// High half of the product of 64-bit hashes and a number below 2^32.
VECTOR_TARGET static inline __m512i shard_vector(__m512i hash, __m512i shards)
{
	__m512i low = _mm512_srli_epi64(_mm512_mul_epu32(hash, shards), 32);
	__m512i high = _mm512_mul_epu32(_mm512_srli_epi64(hash, 32), shards);
	return _mm512_srli_epi64(_mm512_add_epi64(low, high), 32);
}

// The headers of four events, 16 bytes each.
VECTOR_TARGET static inline __m512i headers_load(const uint8_t *at, uint32_t size)
{
	__m512i four = _mm512_castsi128_si512(_mm_loadu_si128((const void *)at));
	four = _mm512_inserti64x2(four, _mm_loadu_si128((const void *)(at + size)), 1);
	four = _mm512_inserti64x2(four, _mm_loadu_si128((const void *)(at + 2 * size)), 2);
	return _mm512_inserti64x2(four, _mm_loadu_si128((const void *)(at + 3 * size)), 3);
}

// For count >= 8 events of one size, whose headers may differ in their type alone, and of which the first was judged. The last
// eight overlap those before. BAD_EVENT: not so, or bad; events_check_vector() knows. Most of its time are the products of 64
// bits, so nothing is done eight times that can be done once.
VECTOR_TARGET static enum weir_reason events_check_same(const uint8_t *at, uint32_t count, uint32_t size, uint32_t shard,
							uint32_t shards)
{
	uint64_t head;
	memcpy(&head, at, sizeof(head));
	const __m512i heads = _mm512_set1_epi64((int64_t)head);
	const __m512i many = _mm512_set1_epi64(shards);
	const __m512i own = _mm512_set1_epi64(shard);
	__m512i other = _mm512_setzero_si512();
	__mmask8 strange = 0;
	for (uint32_t i = 0; i < count; i += 8) {
		const uint8_t *eight = at + (i + 8 <= count ? i : count - 8) * size;
		__m512i first = headers_load(eight, size);
		__m512i second = headers_load(eight + 4 * size, size);
		// other |= word ^ heads
		other = _mm512_ternarylogic_epi64(other, _mm512_unpacklo_epi64(first, second), heads, 0xf6);
		__m512i of = shard_vector(mix64_vector(_mm512_unpackhi_epi64(first, second)), many);
		strange |= _mm512_cmpneq_epi64_mask(of, own);
	}
	if (_mm512_test_epi64_mask(other, _mm512_set1_epi64((int64_t)~(0xffffull << 32))))
		return WEIR_R_BAD_EVENT;
	return strange ? WEIR_R_WRONG_SHARD : WEIR_R_NONE;
}

// As events_check_even() below, for count / 8 * 8 events. Order within the vectors does not matter.
VECTOR_TARGET static enum weir_reason events_check_vector(const uint8_t *at, uint32_t count, uint32_t size, uint32_t shard,
							  uint32_t shards)
{
	const __m512i seven = _mm512_set1_epi64(7);
	const __m512i sizes = _mm512_set1_epi64(size);
	const __m512i lengths = _mm512_set1_epi64(0xffffffff);
	const __m512i flags = _mm512_set1_epi64(0xffll << 48);
	const __m512i header = _mm512_set1_epi64(sizeof(struct weir_event_header));
	__mmask8 bad = 0;
	__mmask8 strange = 0;
	for (; count >= 8; count -= 8, at += 8 * size) {
		__m512i first = headers_load(at, size);
		__m512i second = headers_load(at + 4 * size, size);
		__m512i word = _mm512_unpacklo_epi64(first, second);
		__m512i key = _mm512_unpackhi_epi64(first, second);
		__m512i length = _mm512_and_si512(word, lengths);
		__m512i padded = _mm512_andnot_si512(seven, _mm512_add_epi64(length, seven));
		// Header and attributes: the top byte counts words of 8.
		__m512i least = _mm512_add_epi64(header, _mm512_slli_epi64(_mm512_srli_epi64(word, 56), 3));
		bad |= _mm512_cmpneq_epi64_mask(padded, sizes);
		bad |= _mm512_test_epi64_mask(word, flags);
		bad |= _mm512_cmplt_epu64_mask(length, least);
		__m512i of = shard_vector(mix64_vector(key), _mm512_set1_epi64(shards));
		strange |= _mm512_cmpneq_epi64_mask(of, _mm512_set1_epi64(shard));
	}
	if (bad)
		return WEIR_R_BAD_EVENT;
	return strange ? WEIR_R_WRONG_SHARD : WEIR_R_NONE;
}

#else
#define HAS_VECTORS false
#define events_check_vector(at, count, size, shard, shards) WEIR_R_BAD_EVENT
#define events_check_same(at, count, size, shard, shards) WEIR_R_BAD_EVENT
#endif

// Events of one padded size lie at multiples of it, so none has to be read to find the next: 18 of 80 bytes take 52 ns
// this way, 31 ns in vectors, 60 ns with a comparison per rule, 104 ns one after the other. Each rule
// leaves its mark in a word that is looked at once. Says the same as the way below, if `size` is that of all; else BAD_EVENT.
static enum weir_reason events_check_even(const uint8_t *at, uint32_t length, uint32_t size, uint32_t shard, uint32_t shards)
{
	const uint8_t *end = at + length;
	uint64_t bad = 0;
	uint64_t below = 0; // sign bit: shorter than header and attributes
	uint64_t strange = 0;
	for (; at != end; at += size) {
		// The header as two words: length, type, flags, attribute_words; key.
		uint64_t header[2];
		memcpy(header, at, sizeof(header));
		uint64_t event_length = (uint32_t)header[0];
		bad |= ((event_length + 7) & ~7ull) ^ size;
		bad |= header[0] & 0xffull << 48;
		below |= event_length - sizeof(struct weir_event_header) - (header[0] >> 56) * 8;
		strange |= weir_shard_of(header[1], shards) ^ shard;
	}
	if (bad || below >> 63)
		return WEIR_R_BAD_EVENT;
	return strange ? WEIR_R_WRONG_SHARD : WEIR_R_NONE;
}

// Of none, wrong-shard and bad-event.
static inline enum weir_reason worse_of(enum weir_reason a, enum weir_reason b)
{
	return a == WEIR_R_BAD_EVENT || b == WEIR_R_NONE ? a : b;
}

// Flags and attributes; that the length is right is the caller's.
static inline bool is_fine(const struct weir_event_header *event)
{
	return event->flags == 0 && event->length >= sizeof(*event) + event->attribute_words * 8u;
}

// All events of `size` bytes, padded, which is not less than a header's. BAD_EVENT: not so, or bad.
static enum weir_reason events_check_sized(const uint8_t *at, uint32_t length, uint32_t count, uint32_t size, uint32_t shard,
					   uint32_t shards)
{
	uint32_t eights = HAS_VECTORS ? count / 8 * 8 : 0;
	enum weir_reason reason = WEIR_R_BAD_EVENT;
	if (eights && is_fine((const struct weir_event_header *)(const void *)at))
		reason = events_check_same(at, count, size, shard, shards);
	if (reason != WEIR_R_BAD_EVENT)
		return reason;
	reason = eights ? events_check_vector(at, eights, size, shard, shards) : WEIR_R_NONE;
	if (eights < count)
		reason = worse_of(reason, events_check_even(at + eights * size, length - eights * size, size, shard, shards));
	return reason;
}

enum weir_reason weir_events_check(const void *events, uint32_t length, uint32_t count, uint32_t event_max, uint32_t shard,
				   uint32_t shards)
{
	const uint8_t *at = events;
	uint32_t left = length;
	enum weir_reason reason = WEIR_R_NONE;
	if (left >= sizeof(struct weir_event_header)) {
		const struct weir_event_header *first = events;
		uint32_t size = weir_pad8(first->length);
		bool is_even = size >= sizeof(*first) && size <= event_max && (uint64_t)size * count == length;
		if (is_even && count == 1 && is_fine(first))
			return weir_shard_of(first->key, shards) == shard ? WEIR_R_NONE : WEIR_R_WRONG_SHARD;
		if (is_even && count > 1)
			reason = events_check_sized(at, length, count, size, shard, shards);
		if (is_even && count > 1 && reason != WEIR_R_BAD_EVENT)
			return reason;
		reason = WEIR_R_NONE;
	}
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

