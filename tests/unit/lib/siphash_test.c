// The reference vectors of the SipHash paper: key 00 01 .. 0f, message 00 01 .. (n - 1).
#include "lib/siphash.h"

#include <criterion/criterion.h>

Test(siphash, gives_the_reference_values)
{
	const uint64_t key[2] = { 0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull };
	uint8_t message[64];
	for (uint8_t i = 0; i < 64; i++)
		message[i] = i;
	cr_assert_eq(lib_siphash(key, message, 0), 0x726fdb47dd0e0e31ull);
	cr_assert_eq(lib_siphash(key, message, 1), 0x74f839c593dc67fdull);
	cr_assert_eq(lib_siphash(key, message, 8), 0x93f5f5799a932462ull);
	cr_assert_eq(lib_siphash(key, message, 15), 0xa129ca6149be45e5ull, "the paper's appendix A");
}
