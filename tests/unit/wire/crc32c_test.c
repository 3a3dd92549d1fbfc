// CRC32C against published values and against a bit by bit reference, for every size and alignment at which the
// implementation changes its way: one step, lanes, vectors. Built a second time for the portable way.
#include "wire/crc32c.h"

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

static uint32_t reference(uint32_t crc, const uint8_t *data, size_t size)
{
	crc = ~crc;
	for (size_t i = 0; i < size; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

Test(crc32c, has_the_published_values)
{
	uint8_t bytes[32];
	cr_assert_eq(weir_crc32c(0, "123456789", 9), 0xe3069283u);
	// RFC 3720, appendix B.4.
	memset(bytes, 0, sizeof(bytes));
	cr_assert_eq(weir_crc32c(0, bytes, 32), 0x8a9136aau);
	memset(bytes, 0xff, sizeof(bytes));
	cr_assert_eq(weir_crc32c(0, bytes, 32), 0x62a8ab43u);
	for (int i = 0; i < 32; i++)
		bytes[i] = (uint8_t)i;
	cr_assert_eq(weir_crc32c(0, bytes, 32), 0x46dd794eu);
	for (int i = 0; i < 32; i++)
		bytes[i] = (uint8_t)(31 - i);
	cr_assert_eq(weir_crc32c(0, bytes, 32), 0x113fdb5cu);
}

Test(crc32c, of_nothing_changes_nothing)
{
	cr_assert_eq(weir_crc32c(0, NULL, 0), 0);
	cr_assert_eq(weir_crc32c(0x12345678u, NULL, 0), 0x12345678u);
}

Test(crc32c, equals_the_reference_for_every_size_and_alignment)
{
	uint8_t *bytes = malloc(4800);
	uint32_t seed = 1;
	for (int i = 0; i < 4800; i++) {
		seed = seed * 1664525u + 1013904223u;
		bytes[i] = (uint8_t)(seed >> 24);
	}
	for (size_t size = 0; size < 1700; size++) {
		size_t at = size % 67;
		uint32_t start = size % 3 ? 0xdeadbeefu * (uint32_t)size : 0;
		cr_assert_eq(weir_crc32c(start, bytes + at, size), reference(start, bytes + at, size), "size %zu", size);
	}
	for (size_t size = 1700; size < 4700; size += 37)
		cr_assert_eq(weir_crc32c(7, bytes + 3, size), reference(7, bytes + 3, size), "size %zu", size);
	free(bytes);
}

Test(crc32c, continues_over_pieces)
{
	uint8_t bytes[1500];
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 31 + i / 7);
	uint32_t whole = weir_crc32c(0, bytes, sizeof(bytes));
	for (size_t cut = 0; cut <= sizeof(bytes); cut += 13)
		cr_assert_eq(weir_crc32c(weir_crc32c(0, bytes, cut), bytes + cut, sizeof(bytes) - cut), whole, "cut %zu", cut);
}

Test(crc32c, reads_no_byte_beyond_its_size)
{
	// An exact allocation: the sanitizer build ends here when a byte more is read.
	for (size_t size = 1; size < 700; size++) {
		uint8_t *bytes = malloc(size);
		memset(bytes, (int)size, size);
		cr_assert_eq(weir_crc32c(0, bytes, size), reference(0, bytes, size));
		free(bytes);
	}
}
