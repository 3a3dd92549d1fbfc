// The router that weirpeer plays: the real engine with one worker, its topics, and a client of the project's own at the
// other end. Topic `in` is for the client under test to publish to: its group `drain` is read here. Topic `out` is for it to
// consume, as a member of group `all`: events are published here. A restart makes another router: other ids of topics, no
// sessions.
#ifndef WEIR_PEER_ROUTER_H
#define WEIR_PEER_ROUTER_H

#include <netinet/in.h>
#include <stdint.h>

struct peer_router;

struct peer_router_config {
	uint32_t shards;
	uint32_t log_bytes;  // of each, a power of two; events are at most an eighth of it
	uint32_t rate;       // events a second published to `out`
	uint32_t large_bytes; // payload of every 100th of them; 0: none is large
	uint32_t lease_ms, ping_ms;
	uint64_t seed;
	// A frame for the client.
	void (*send)(void *context, const struct sockaddr_in *peer, const void *frame, uint32_t size);
	void *context;
};

struct peer_router_counts {
	uint64_t published; // to `out`
	uint64_t delivered; // of `out`, settled by the client
	uint64_t taken;     // of `in`, as they came out of the group drain
	uint64_t restarts;
};

// 0 or -errno.
int peer_router_create(struct peer_router **router, const struct peer_router_config *config, uint64_t now_ns);
void peer_router_destroy(struct peer_router *router);
// 0 or -errno: there is no router then.
int peer_router_restart(struct peer_router *router, uint64_t now_ns);
void peer_router_receive(struct peer_router *router, const struct sockaddr_in *peer, const void *frame, uint32_t size,
			 uint64_t now_ns);
// A turn. Returns when the next one is due.
uint64_t peer_router_run(struct peer_router *router, uint64_t now_ns);
void peer_router_counts(const struct peer_router *router, struct peer_router_counts *counts);

#endif
