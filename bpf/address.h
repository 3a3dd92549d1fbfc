// Source addresses that nobody can be answered at: one judgement for the kernel program and for ports that see whole
// packets. An answer to one of these would go to many, to ourselves, or nowhere. Addresses in network order.
#ifndef WEIR_BPF_ADDRESS_H
#define WEIR_BPF_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

static inline __attribute__((always_inline)) bool weir_mac_is_group(const uint8_t *mac)
{
	return mac[0] & 1;
}

// Not of this network, loopback, multicast, reserved, broadcast (RFC 6890).
static inline __attribute__((always_inline)) bool weir_source4_is_odd(const uint8_t *address)
{
	return address[0] == 0 || address[0] == 127 || address[0] >= 224;
}

// Unspecified, loopback, multicast (RFC 4291).
static inline __attribute__((always_inline)) bool weir_source6_is_odd(const uint8_t *address)
{
	uint32_t rest = 0;
	for (int i = 0; i < 15; i++)
		rest |= address[i];
	return address[0] == 0xff || (rest == 0 && address[15] <= 1);
}

#endif
