// CRC32C. With SSE4.2 the crc32 instruction has a latency of 3 cycles and a throughput of 1, so long buffers are cut into
// three lanes that run side by side and are joined by multiplying with x^(8n) mod P (the method of Gopal et al., "Fast
// CRC Computation for iSCSI Polynomial Using CRC32 Instruction", Intel 2011, with tables instead of PCLMULQDQ).
#include "wire/crc32c.h"

#include <string.h>


#if defined(__SSE4_2__) || defined(__ARM_FEATURE_CRC32)

#ifdef __SSE4_2__
#include <nmmintrin.h>
#define STEP8(crc, value) ((uint32_t)_mm_crc32_u64(crc, value))
#define STEP1(crc, value) _mm_crc32_u8(crc, value)
#else
#include <arm_acle.h>
#define STEP8(crc, value) __crc32cd(crc, value)
#define STEP1(crc, value) __crc32cb(crc, value)
#endif

// Lane lengths in bytes; a block is three lanes. 3 * 448 = 1344 takes most of a packed 1,360-byte body in one step.
#define LANE_LONG 448u
#define LANE_SHORT 64u

// SHIFT[l][k][b]: the CRC register b << 8k after LANE bytes of zeros. Built once before main.
static uint32_t SHIFT[2][4][256];

__attribute__((constructor)) static void shift_tables_build(void)
{
	static const uint32_t LANES[2] = { LANE_LONG, LANE_SHORT };
	for (int lane = 0; lane < 2; lane++) {
		uint32_t single[32];
		for (int bit = 0; bit < 32; bit++) {
			uint32_t crc = 1u << bit;
			for (uint32_t i = 0; i < LANES[lane] / 8; i++)
				crc = STEP8(crc, 0);
			single[bit] = crc;
		}
		for (int k = 0; k < 4; k++) {
			for (int b = 0; b < 256; b++) {
				uint32_t crc = 0;
				for (int bit = 0; bit < 8; bit++)
					crc ^= b >> bit & 1 ? single[8 * k + bit] : 0;
				SHIFT[lane][k][b] = crc;
			}
		}
	}
}

static inline uint32_t lane_shift(int lane, uint32_t crc)
{
	return SHIFT[lane][0][crc & 0xff] ^ SHIFT[lane][1][crc >> 8 & 0xff] ^ SHIFT[lane][2][crc >> 16 & 0xff] ^
	       SHIFT[lane][3][crc >> 24];
}

static inline uint64_t load8(const uint8_t *p)
{
	uint64_t value;
	memcpy(&value, p, 8);
	return value;
}

static inline uint32_t block(uint32_t crc, const uint8_t *p, uint32_t lane_size, int lane)
{
	uint32_t b = 0;
	uint32_t c = 0;
	for (uint32_t i = 0; i < lane_size; i += 8) {
		crc = STEP8(crc, load8(p + i));
		b = STEP8(b, load8(p + lane_size + i));
		c = STEP8(c, load8(p + 2 * lane_size + i));
	}
	return lane_shift(lane, lane_shift(lane, crc) ^ b) ^ c;
}

uint32_t weir_crc32c(uint32_t crc, const void *data, size_t size)
{
	const uint8_t *p = data;
	crc = ~crc;
	for (; size >= 3 * LANE_LONG; size -= 3 * LANE_LONG, p += 3 * LANE_LONG)
		crc = block(crc, p, LANE_LONG, 0);
	for (; size >= 3 * LANE_SHORT; size -= 3 * LANE_SHORT, p += 3 * LANE_SHORT)
		crc = block(crc, p, LANE_SHORT, 1);
	for (; size >= 8; size -= 8, p += 8)
		crc = STEP8(crc, load8(p));
	for (; size; size--, p++)
		crc = STEP1(crc, *p);
	return ~crc;
}

#else

#define POLYNOMIAL 0x82f63b78u // reflected

static uint32_t TABLE[8][256];

__attribute__((constructor)) static void table_build(void)
{
	for (uint32_t b = 0; b < 256; b++) {
		uint32_t crc = b;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
		TABLE[0][b] = crc;
	}
	for (uint32_t b = 0; b < 256; b++) {
		for (int k = 1; k < 8; k++)
			TABLE[k][b] = TABLE[k - 1][b] >> 8 ^ TABLE[0][TABLE[k - 1][b] & 0xff];
	}
}

uint32_t weir_crc32c(uint32_t crc, const void *data, size_t size)
{
	const uint8_t *p = data;
	crc = ~crc;
	for (; size >= 8; size -= 8, p += 8) {
		uint64_t value;
		memcpy(&value, p, 8);
		value ^= crc;
		crc = 0;
		for (int k = 0; k < 8; k++)
			crc ^= TABLE[7 - k][value >> 8 * k & 0xff];
	}
	for (; size; size--, p++)
		crc = crc >> 8 ^ TABLE[0][(crc ^ *p) & 0xff];
	return ~crc;
}

#endif
