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
	uint8_t remote_ip[16]; // IPv4 in the first 4 bytes, the rest zero; a lane's number in the first 8
	uint8_t local_ip[16];
	uint16_t remote_port;
	uint16_t local_port;
	uint8_t family; // AF_INET, AF_INET6, or AF_UNIX: a lane
	uint8_t flags;  // zero
	uint16_t port;  // index into the worker's ports
	uint8_t remote_mac[6]; // zero on kernel ports
	uint8_t local_mac[6];
	uint16_t vlan; // 802.1Q TCI, 0: untagged
	uint8_t reserved[2];
	uint32_t scope; // interface index of a link-local IPv6 address on kernel ports, else 0
	uint8_t reserved2[4];
};
_Static_assert(sizeof(struct weir_path) == 64, "a path is one cache line");

// Same port, address and UDP port: what a session is proven for. MACs and VLAN may change.
static inline bool weir_path_is_same_peer(const struct weir_path *a, const struct weir_path *b)
{
	return memcmp(a->remote_ip, b->remote_ip, 16) == 0 && a->remote_port == b->remote_port && a->family == b->family &&
	       a->port == b->port;
}

#endif
