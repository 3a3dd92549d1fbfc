// Where a frame came from and where an answer goes: port, VLAN, MACs, IPs, UDP ports. Filled by ports, kept by
// sessions, opaque to the rest of the core except for weir_path_is_same_peer().
#ifndef WEIR_CORE_PATH_H
#define WEIR_CORE_PATH_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <sys/socket.h>

// As seen by the router: local is the router's side, remote the client's. Network byte order for addresses and ports.
struct weir_path {
	// The peer, which is what a session is proven for: WEIR_PEER_SIZE bytes.
	uint8_t remote_ip[16]; // IPv4 in the first 4 bytes, the rest zero; a lane's number in the first 8
	uint16_t remote_port;
	uint16_t port;  // index into the worker's ports
	uint8_t family; // AF_INET, AF_INET6, or AF_UNIX: a lane
	uint8_t flags;  // zero
	// How answers get there, which may change.
	uint16_t local_port;
	uint8_t local_ip[16];
	uint8_t remote_mac[6]; // zero on kernel ports
	uint8_t local_mac[6];
	uint16_t vlan; // TCI, 0: untagged
	uint16_t vlan_type; // 0x8100 (802.1Q) or 0x88a8 (802.1ad); 0: untagged
	uint32_t scope; // interface index of a link-local IPv6 address on kernel ports, else 0
	bool is_stranger; // of an answer to whom no session is: ports keep such out of what sessions need
	uint8_t reserved[3];
};
_Static_assert(sizeof(struct weir_path) == 64, "a path is one cache line");

#define WEIR_PEER_SIZE 22u
_Static_assert(__builtin_offsetof(struct weir_path, local_port) == WEIR_PEER_SIZE, "the peer comes first");

// Same port, address and UDP port, of a path and of the first bytes of another. MACs and VLAN may change.
static inline bool weir_path_is_of_peer(const struct weir_path *path, const uint8_t *peer)
{
	uint64_t a[3], b[3];
	memcpy(a, path, 16);
	memcpy(b, peer, 16);
	memcpy(&a[2], (const uint8_t *)path + WEIR_PEER_SIZE - 8, 8);
	memcpy(&b[2], peer + WEIR_PEER_SIZE - 8, 8);
	return ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2])) == 0;
}

static inline bool weir_path_is_same_peer(const struct weir_path *a, const struct weir_path *b)
{
	return weir_path_is_of_peer(a, (const uint8_t *)b);
}

#endif
