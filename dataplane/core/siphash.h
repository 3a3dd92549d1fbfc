// SipHash-2-4 (Aumasson, Bernstein: SipHash: a fast short-input PRF, INDOCRYPT 2012): a keyed hash that an outsider
// cannot predict. Cookies of the handshake are made of it. Any thread.
#ifndef WEIR_CORE_SIPHASH_H
#define WEIR_CORE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t weir_siphash(const uint64_t key[2], const void *data, size_t size);

#endif
