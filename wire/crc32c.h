// CRC32C (Castagnoli, polynomial 0x1EDC6F41 reflected; RFC 3720 appendix B.4). SSE4.2 or Armv8 CRC instructions where
// the compiler targets them, slicing-by-8 otherwise; all give the same values.
#ifndef WEIR_WIRE_CRC32C_H
#define WEIR_WIRE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

// Continues `crc` over size bytes; 0 starts. weir_crc32c(weir_crc32c(0, a), b) is the CRC of a followed by b.
uint32_t weir_crc32c(uint32_t crc, const void *data, size_t size);

#if defined(__SSE4_2__) && !defined(WEIR_CRC32C_PORTABLE)

#include <nmmintrin.h>
#include <string.h>

// The register, without the inversions at both ends, over a small size that the compiler knows, a multiple of 4: headers.
static inline __attribute__((always_inline)) uint32_t weir_crc32c_register(uint32_t start, const void *data, size_t size)
{
	const uint8_t *p = (const uint8_t *)data;
	uint64_t crc = start;
#pragma GCC unroll 8
	for (size_t i = 0; i + 8 <= size; i += 8) {
		uint64_t value;
		memcpy(&value, p + i, 8);
		crc = _mm_crc32_u64(crc, value);
	}
	if (size % 8) {
		uint32_t value;
		memcpy(&value, p + size - 4, 4);
		crc = _mm_crc32_u32((uint32_t)crc, value);
	}
	return (uint32_t)crc;
}

#define weir_crc32c_small(crc, data, size) (~weir_crc32c_register(~(crc), data, size))

#else

#define weir_crc32c_small(crc, data, size) weir_crc32c(crc, data, size)

#endif

#endif
