// The link between the client and the router: a UDP socket, and what befalls datagrams on the way, in both directions and by a
// seeded dice: lost, doubled, late, overtaken. What leaves the link has been delayed already; the caller takes it from there.
#ifndef WEIR_PEER_LINK_H
#define WEIR_PEER_LINK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#define LINK_DATAGRAM_MAX 9472 // more than any frame: what is too large has to be seen

// Percent of datagrams, and milliseconds.
struct peer_weather {
	uint32_t drop, twice, reorder, delay_ms;
};

struct peer_link;

struct peer_datagram {
	struct sockaddr_in peer;
	uint32_t size;
	bool is_in; // from the client
	uint8_t data[LINK_DATAGRAM_MAX] __attribute__((aligned(8)));
};

struct peer_link_calls {
	// Before the link harms it: what the client really sent.
	void (*seen)(void *context, const struct peer_datagram *datagram, uint64_t now_ns);
	// Arrives at the router; or leaves for the client, whose socket it reaches at once.
	void (*arrived)(void *context, const struct peer_datagram *datagram, uint64_t now_ns);
	void *context;
};

// Binds a UDP socket. port 0: any. 0 or -errno.
int peer_link_open(struct peer_link **link, const struct in_addr *address, uint16_t port, uint64_t seed,
		   const struct peer_link_calls *calls);
void peer_link_close(struct peer_link *link);
uint16_t peer_link_port(const struct peer_link *link); // host order
int peer_link_descriptor(const struct peer_link *link);
void peer_link_weather(struct peer_link *link, const struct peer_weather *weather);
// Reads what came, and hands on what is due. Returns when the next datagram is due, UINT64_MAX: none waits.
uint64_t peer_link_run(struct peer_link *link, uint64_t now_ns);
// A frame of the router's for that client.
void peer_link_send(struct peer_link *link, const struct sockaddr_in *peer, const void *data, uint32_t size, uint64_t now_ns);

#endif
