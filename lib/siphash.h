// SipHash-2-4 (Aumasson, Bernstein: SipHash: a fast short-input PRF, INDOCRYPT 2012): a keyed hash that an outsider cannot
// predict. Cookies of the handshake are made of it, and all random numbers that prove something: of a key from the system
// and a count. In a header alone, for libweir links nothing. Any thread.
#ifndef LIB_SIPHASH_H
#define LIB_SIPHASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t lib_siphash_rotate(uint64_t value, int bits)
{
	return value << bits | value >> (64 - bits);
}

static inline void lib_siphash_mix(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = lib_siphash_rotate(v[1], 13) ^ v[0];
	v[0] = lib_siphash_rotate(v[0], 32);
	v[2] += v[3];
	v[3] = lib_siphash_rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = lib_siphash_rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = lib_siphash_rotate(v[1], 17) ^ v[2];
	v[2] = lib_siphash_rotate(v[2], 32);
}

static inline void lib_siphash_absorb(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	lib_siphash_mix(v);
	lib_siphash_mix(v);
	v[0] ^= word;
}

static inline uint64_t lib_siphash(const uint64_t key[2], const void *data, size_t size)
{
	const uint8_t *at = data;
	uint64_t v[4] = { key[0] ^ 0x736f6d6570736575ull, key[1] ^ 0x646f72616e646f6dull, key[0] ^ 0x6c7967656e657261ull,
			  key[1] ^ 0x7465646279746573ull };
	uint64_t word;
	for (size_t left = size / 8; left; left--, at += 8) {
		memcpy(&word, at, 8);
		lib_siphash_absorb(v, word);
	}
	word = (uint64_t)size << 56;
	for (size_t i = 0; i < size % 8; i++)
		word |= (uint64_t)at[i] << (8 * i);
	lib_siphash_absorb(v, word);
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		lib_siphash_mix(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
