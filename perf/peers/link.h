// How peer-client's frames travel: over ordinary UDP sockets with GSO and GRO, one an endpoint, or over a DPDK device. An
// endpoint is a local UDP port; endpoint 0 has the port given at open, the others follow. Exits when it cannot go on.
#ifndef WEIR_PEERS_LINK_H
#define WEIR_PEERS_LINK_H

#include <stdbool.h>
#include <stdint.h>

#define PEER_ENDPOINTS_MAX 65u

struct peer_link;

// One datagram, where it lies; gone when it returns.
typedef void (*peer_sink)(void *context, uint32_t endpoint, const uint8_t *bytes, uint32_t size);

struct peer_link_options {
	const char *router; // IPv4 address
	uint16_t port;      // of the router
	uint16_t local_port;
	uint32_t endpoints;
	const char *device;  // devargs; NULL: sockets
	const char *address; // own IPv4 address on the device
	bool is_mute;        // nobody answers ARP at the other end of the device, any MAC address will do
	peer_sink sink;
	void *context; // of the sink
};

struct peer_link *peer_link_open(const struct peer_link_options *options);
void peer_link_close(struct peer_link *link);

// `count` frames of `size` bytes, one behind the other. Returns how many were taken; sockets take, and may lose, them all.
uint32_t peer_link_send(struct peer_link *link, uint32_t endpoint, const void *frames, uint32_t size, uint32_t count);

// Shows what has arrived to the sink: for the endpoint over sockets, for any over a device. Returns how many reads brought
// something.
uint32_t peer_link_receive(struct peer_link *link, uint32_t endpoint);

// Until something arrives, 1 ms at most. A device is polled: it returns at once.
void peer_link_wait(struct peer_link *link);

#endif
