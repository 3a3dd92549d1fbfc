// Ethernet, VLAN, IPv4, IPv6 and UDP in software, for ports that see whole packets: what is a weir frame, where it came
// from, and the headers of an answer. Plain bytes in and out; nothing here trusts its input. Worker.
#ifndef WEIR_IO_PACKET_H
#define WEIR_IO_PACKET_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/core/path.h"
#include "wire/reason.h"

// What is weir's on a port.
struct weir_packet_own {
	uint16_t udp_first; // host order
	uint16_t udp_count;
	bool has_mac; // only packets to it are weir's
	uint8_t mac[6];
	bool has_address4;  // with either address, only datagrams to it are weir's
	bool has_address6;
	uint8_t address4[4];
	uint8_t address6[16];
	uint8_t prefix6_local[16]; // link-local address made from the MAC, also ours when has_address6
};

enum weir_packet_verdict {
	WEIR_PACKET_FRAME,   // payload and path are set
	WEIR_PACKET_FOREIGN, // not weir's
	WEIR_PACKET_DROP,    // claims to be weir's, but reason
};

struct weir_packet {
	enum weir_packet_verdict verdict;
	enum weir_reason reason;
	uint32_t offset; // of the UDP payload
	uint32_t size;   // of it
};

// Fills everything of *path but `port`, which stays; untouched unless the verdict is FRAME. UDP checksums are not looked
// at: frames carry their own CRC, and behind virtual interfaces UDP's is often not filled in.
struct weir_packet weir_packet_parse(const uint8_t *data, uint32_t size, const struct weir_packet_own *own,
				     struct weir_path *path);

// Bytes in front of the UDP payload on the way back along the path: 42 to 66.
uint32_t weir_packet_head_size(const struct weir_path *path);

// Writes these headers at `head` for a payload of `size` bytes that already lies behind them. The UDP checksum is computed
// for IPv6 and left 0 for IPv4.
void weir_packet_head_write(uint8_t *head, const struct weir_path *path, uint32_t size);

// Ones' complement sum of bytes in network order, added to `sum`; fold gives the checksum.
uint64_t weir_checksum_add(uint64_t sum, const void *bytes, uint32_t size);
uint16_t weir_checksum_fold(uint64_t sum);

#endif
