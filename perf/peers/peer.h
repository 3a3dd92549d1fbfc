// What both relays do with a datagram besides moving it: the same routing by key that weir does, and nothing else. No
// checksum, no order, no acknowledgement, no credit: a bound that a router may be compared with, not a router.
#ifndef WEIR_PERF_PEER_H
#define WEIR_PERF_PEER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/frame.h"
#include "wire/key.h"

#define PEER_SHARDS_MAX 64u

struct peer_options {
	uint16_t port;
	uint32_t shards;
	uint32_t groups; // each gets every datagram
	struct sockaddr_in destinations[PEER_SHARDS_MAX]; // one port for each group and shard, from a base port on
};

// PORT DESTINATION_IP BASE_PORT SHARDS [GROUPS]; exits on anything else.
static inline struct peer_options peer_options_of(int argc, char **argv)
{
	struct peer_options options = { 0 };
	struct in_addr address;
	int shards = argc == 5 || argc == 6 ? atoi(argv[4]) : 0;
	int groups = argc == 6 ? atoi(argv[5]) : 1;
	if (shards < 1 || groups < 1 || shards > (int)PEER_SHARDS_MAX || groups > (int)PEER_SHARDS_MAX / shards ||
	    inet_pton(AF_INET, argv[2], &address) != 1) {
		fprintf(stderr, "usage: %s PORT DESTINATION_IP BASE_PORT SHARDS [GROUPS]\n", argv[0]);
		exit(2);
	}
	options.port = (uint16_t)atoi(argv[1]);
	options.shards = (uint32_t)shards;
	options.groups = (uint32_t)groups;
	for (uint32_t i = 0; i < options.shards * options.groups; i++)
		options.destinations[i] = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = address,
								.sin_port = htons((uint16_t)(atoi(argv[3]) + (int)i)) };
	return options;
}

// Where a datagram goes, by the key of its first event. PEER_SHARDS_MAX: nowhere.
static inline uint32_t peer_shard(const struct peer_options *options, const uint8_t *bytes, uint32_t size)
{
	const struct weir_frame_header *frame = (const void *)bytes;
	const struct weir_event_header *event = (const void *)(frame + 1);
	if (size < sizeof(*frame) + sizeof(*event) || frame->magic != WEIR_MAGIC || frame->kind != WEIR_KIND_PUBLISH)
		return PEER_SHARDS_MAX;
	return weir_shard_of(event->key, options->shards);
}

// A bound UDP socket with large buffers; exits when that fails.
static inline int peer_socket(uint16_t port)
{
	int size = 16 << 20;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address))) {
		perror("relay: UDP socket");
		exit(1);
	}
	return fd;
}

#endif
