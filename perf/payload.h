// What weirload puts into an event, so that whoever receives it can tell what it is, whether it is whole, what should have
// come before it, and how long it took. 32 bytes at least; everything behind them is a pattern derived from them.
#ifndef WEIR_PERF_PAYLOAD_H
#define WEIR_PERF_PAYLOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "wire/key.h"

#define WEIR_PAYLOAD_MIN 32u

struct weir_payload {
	uint64_t sequence; // per (producer, key), from 0
	uint64_t send_ns;  // CLOCK_MONOTONIC when it should have been sent: both ends on one machine
	uint32_t producer; // number of the producing process
	uint32_t key;      // index of the key within the producer
	uint64_t seed;     // mixed from the above: begins the pattern
};
_Static_assert(sizeof(struct weir_payload) == WEIR_PAYLOAD_MIN, "payload layout");

static inline uint64_t weir_payload_seed(const struct weir_payload *payload)
{
	uint64_t who = (uint64_t)payload->producer << 32 | payload->key;
	return weir_mix64(who ^ payload->sequence * 0x9e3779b97f4a7c15ull);
}

// The key of the event that carries it.
static inline uint64_t weir_payload_key(const struct weir_payload *payload)
{
	return (uint64_t)payload->producer << 32 | payload->key;
}

// Writes `size` bytes, at least WEIR_PAYLOAD_MIN; payload->seed is set.
static inline void weir_payload_fill(uint8_t *at, uint32_t size, struct weir_payload *payload)
{
	payload->seed = weir_payload_seed(payload);
	memcpy(at, payload, sizeof(*payload));
	uint64_t word = payload->seed;
	uint32_t done = sizeof(*payload);
	for (; done + 8 <= size; done += 8) {
		word += 0x9e3779b97f4a7c15ull;
		memcpy(at + done, &word, 8);
	}
	word += 0x9e3779b97f4a7c15ull;
	if (size > done)
		memcpy(at + done, &word, size - done);
}

// Copies the payload's fields out; false when a byte is not what weir_payload_fill() wrote.
static inline bool weir_payload_check(const uint8_t *at, uint32_t size, struct weir_payload *payload)
{
	if (size < sizeof(*payload))
		return false;
	memcpy(payload, at, sizeof(*payload));
	if (payload->seed != weir_payload_seed(payload))
		return false;
	uint64_t word = payload->seed;
	uint64_t found;
	uint64_t wrong = 0;
	uint32_t done = sizeof(*payload);
	for (; done + 8 <= size; done += 8) {
		word += 0x9e3779b97f4a7c15ull;
		memcpy(&found, at + done, 8);
		wrong |= found ^ word;
	}
	word += 0x9e3779b97f4a7c15ull;
	return wrong == 0 && (size == done || memcmp(at + done, &word, size - done) == 0);
}

#endif
