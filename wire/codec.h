// Checks and builds frames over plain bytes. Sans-I/O, no state, any thread. Router, client, tests and perf all use
// these; nothing here trusts its input.
#ifndef WEIR_WIRE_CODEC_H
#define WEIR_WIRE_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/crc32c.h"
#include "wire/frame.h"
#include "wire/reason.h"

static inline uint32_t weir_pad8(uint32_t size)
{
	return (size + 7u) & ~7u;
}

// What a frame's crc covers, in this order: its sealed body, then its header without the crc field. The sealed body is
// the whole body; of a deliver frame without FRAGMENT only weir_delivery and the run headers (each run's events are
// covered by the crc in its run header, unchanged from publish to delivery).
// With WEIR_FLAG_HEADER_ONLY the body is left out. With `body_crc` (may be NULL) the CRC of the sealed body is handed
// back: for a publish it is the run's crc.
uint32_t weir_frame_crc(const struct weir_frame_header *frame, uint32_t *body_crc);

// Fills magic, version, body_length and crc of a frame whose other header fields and body are in place.
void weir_frame_seal(struct weir_frame_header *frame, uint16_t body_length);

// Seals a publish frame whose body's CRC is known already.
void weir_frame_seal_with(struct weir_frame_header *frame, uint16_t body_length, uint32_t body_crc);

// Stores words of 8 bytes one by one, `count` of them, known to the compiler. A sum that reads back what several smaller stores
// wrote waits until they, and every store before them, are in the cache; so what is written often is made of words, summed in
// registers and stored by this.
static inline __attribute__((always_inline)) void weir_words_put(void *to, const uint64_t *words, size_t count)
{
#pragma GCC unroll 16
	for (size_t i = 0; i < count; i++)
		__builtin_memcpy((uint8_t *)to + i * 8, &words[i], 8);
}

// Writes the header of a list of `count` entries (an acknowledgement), sealed: `body_crc` is that of the entries.
void weir_list_seal(struct weir_frame_header *frame, enum weir_kind kind, uint64_t session, uint32_t count,
		    uint32_t body_length, uint32_t body_crc);

// What differs between deliver frames of whole runs.
struct weir_deliver {
	uint64_t session;
	uint64_t sequence;
	uint64_t to;
	uint64_t charge_from;
	uint32_t stream;
	uint32_t topic;
	uint32_t term;
	uint16_t flags;
	uint16_t count;
	uint16_t shard;
	uint16_t body_length;
};

// Writes header and prefix of such a frame, sealed. Its runs lie at `runs` and are to be copied behind the prefix afterwards:
// a processor that reads back what several stores wrote waits until they, and every store before them, have left its buffer.
void weir_deliver_seal(struct weir_frame_header *frame, const struct weir_deliver *what, const void *runs);

// Checks everything of a datagram that can be checked without state: header, size, kind, flags, count against body,
// fixed bodies' sizes, crc (the event headers within a publish are weir_events_check()'s, the runs of a deliver frame
// are walked and their crc checked here). Returns WEIR_R_NONE or the reason to drop it. from_client says which
// direction's kinds are legal. trust_link admits frames with WEIR_FLAG_HEADER_ONLY (ports of integrity `link`, lanes);
// elsewhere they are dropped as WEIR_R_FLAGS. *body_crc (may be NULL) gets the CRC of a publish's body, 0 if HEADER_ONLY.
enum weir_reason weir_frame_check(const void *data, size_t size, bool from_client, bool trust_link, uint32_t *body_crc);

// Checks that `length` bytes hold exactly `count` well-formed events, each at most event_max long and each of the
// given shard. Returns WEIR_R_NONE, WEIR_R_BAD_EVENT, WEIR_R_SIZE or WEIR_R_WRONG_SHARD.
enum weir_reason weir_events_check(const void *events, uint32_t length, uint32_t count, uint32_t event_max, uint32_t shard,
				   uint32_t shards);

// Size of the first `count` events in bytes, padding included. The events were checked before.
uint32_t weir_events_size(const void *events, uint32_t count);

// The options behind the fixed part of a hello or welcome, `size` bytes that weir_frame_check() has passed. The value of the
// first of that type if it has exactly `length` bytes, else NULL.
const void *weir_option_find(const void *options, uint32_t size, enum weir_option_type type, uint16_t length);
// Writes one and returns its size with padding. The caller has the room.
uint32_t weir_option_put(void *to, enum weir_option_type type, const void *value, uint16_t length);
// Of what it offers and what the options of a hello say that the client knows: both. `size` bytes of body.
uint64_t weir_hello_agreed(const struct weir_hello *hello, uint32_t size, uint64_t offers);

// A name as configuration and wire allow it: 1 to 63 of [A-Za-z0-9._-], zero padded to WEIR_NAME_SIZE.
bool weir_name_is_valid(const char name[WEIR_NAME_SIZE]);

#endif
