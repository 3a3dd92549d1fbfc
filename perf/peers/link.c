// Sockets: a run of frames leaves as one message (UDP_SEGMENT), what the kernel gathered on its way in (UDP_GRO) is taken
// apart here. Device: perf/ethdev_transport.c.
#include "perf/peers/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "perf/ethdev_transport.h"

#define BATCH 64u // buffers of one receive
#define ROOM 65536u
#define SEGMENTS_MAX 128u

struct peer_link {
	struct peer_link_options options;
	struct sockaddr_in router;
	int fds[PEER_ENDPOINTS_MAX]; // sockets
	struct weir_ethdev_transport *transport; // device, NULL: sockets
	struct weir_core_output outputs[PEER_ENDPOINTS_MAX];
	uint8_t in[BATCH][ROOM];
};

static void die(const char *what, const char *why)
{
	fprintf(stderr, "peer-client: %s: %s\n", what, why);
	exit(1);
}

// ---- Sockets ----

static int open_socket(uint16_t port)
{
	int size = 16 << 20;
	int on = 1;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)))
		die("UDP socket", strerror(errno));
	if (setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof(on)))
		die("UDP_GRO", strerror(errno));
	return fd;
}

static void socket_send(struct peer_link *link, int fd, const void *frames, uint32_t size, uint32_t count)
{
	struct iovec vector = { (void *)(uintptr_t)frames, (size_t)count * size };
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(uint16_t))];
	} control = { .header = { .cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof(uint16_t)) } };
	uint16_t segment = (uint16_t)size;
	struct msghdr message = { .msg_name = &link->router, .msg_namelen = sizeof(link->router), .msg_iov = &vector,
				  .msg_iovlen = 1 };
	memcpy(CMSG_DATA(&control.header), &segment, sizeof(segment));
	if (count > 1) {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control.room);
	}
	if (sendmsg(fd, &message, 0) < 0 && errno != EAGAIN && errno != ECONNREFUSED)
		die("send", strerror(errno));
}

static uint32_t socket_receive(struct peer_link *link, uint32_t endpoint)
{
	struct mmsghdr messages[BATCH];
	struct iovec vectors[BATCH];
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control[BATCH];
	for (uint32_t i = 0; i < BATCH; i++) {
		vectors[i] = (struct iovec){ link->in[i], ROOM };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &vectors[i], .msg_iovlen = 1, .msg_control = &control[i],
						       .msg_controllen = sizeof(control[i].room) };
	}
	int count = recvmmsg(link->fds[endpoint], messages, BATCH, MSG_DONTWAIT, NULL);
	for (int i = 0; i < count; i++) {
		int size = (int)messages[i].msg_len;
		int segment = size;
		struct cmsghdr *c = CMSG_FIRSTHDR(&messages[i].msg_hdr);
		if (c && c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO)
			memcpy(&segment, CMSG_DATA(c), sizeof(segment));
		for (int at = 0; at < size; at += segment)
			link->options.sink(link->options.context, endpoint, link->in[i] + at,
					   (uint32_t)(at + segment <= size ? segment : size - at));
	}
	return count > 0 ? (uint32_t)count : 0;
}

// ---- Device ----

static void device_sink(void *context, uint16_t endpoint, const void *datagram, uint32_t size)
{
	const struct peer_link *link = context;
	link->options.sink(link->options.context, endpoint, datagram, size);
}

static void device_open(struct peer_link *link)
{
	static const uint8_t anybody[6] = { 2, 0, 0, 0, 0, 1 };
	const struct peer_link_options *options = &link->options;
	char why[WEIR_ETHDEV_TRANSPORT_WHY], router[64];
	struct weir_ethdev_transport_options wanted = {
		.device = options->device, .address = options->address, .router = router, .local_port = options->local_port,
		.endpoints = (uint16_t)options->endpoints, .router_mac = options->is_mute ? anybody : NULL,
	};
	snprintf(router, sizeof(router), "udp://%s:%u", options->router, options->port);
	if (weir_ethdev_transport_open(&link->transport, &wanted, why))
		die(options->device, why);
	for (uint32_t i = 0; i < options->endpoints; i++)
		link->outputs[i] = weir_ethdev_transport_attach_sink(link->transport, (uint16_t)i, device_sink, link);
}

static uint32_t device_send(struct peer_link *link, uint32_t endpoint, const uint8_t *frames, uint32_t size, uint32_t count)
{
	struct weir_datagram datagrams[SEGMENTS_MAX];
	for (uint32_t i = 0; i < count; i++)
		datagrams[i] = (struct weir_datagram){ frames + (size_t)i * size, size };
	return link->outputs[endpoint].send(link->outputs[endpoint].context, datagrams, count);
}

// ---- Both ----

struct peer_link *peer_link_open(const struct peer_link_options *options)
{
	struct peer_link *link = calloc(1, sizeof(*link));
	if (!link || options->endpoints > PEER_ENDPOINTS_MAX)
		die("link", "no memory, or too many endpoints");
	link->options = *options;
	link->router = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(options->port) };
	if (inet_pton(AF_INET, options->router, &link->router.sin_addr) != 1)
		die(options->router, "no IPv4 address");
	if (options->device)
		device_open(link);
	for (uint32_t i = 0; !options->device && i < options->endpoints; i++)
		link->fds[i] = open_socket((uint16_t)(options->local_port + i));
	return link;
}

void peer_link_close(struct peer_link *link)
{
	if (link->transport)
		weir_ethdev_transport_close(link->transport);
	for (uint32_t i = 0; !link->transport && i < link->options.endpoints; i++)
		close(link->fds[i]);
	free(link);
}

uint32_t peer_link_send(struct peer_link *link, uint32_t endpoint, const void *frames, uint32_t size, uint32_t count)
{
	if (count > SEGMENTS_MAX)
		count = SEGMENTS_MAX;
	if (link->transport)
		return device_send(link, endpoint, frames, size, count);
	socket_send(link, link->fds[endpoint], frames, size, count);
	return count;
}

uint32_t peer_link_receive(struct peer_link *link, uint32_t endpoint)
{
	struct timespec now;
	if (!link->transport)
		return socket_receive(link, endpoint);
	clock_gettime(CLOCK_MONOTONIC, &now);
	return weir_ethdev_transport_receive(link->transport, (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec);
}

void peer_link_wait(struct peer_link *link)
{
	struct pollfd fds[PEER_ENDPOINTS_MAX];
	if (link->transport)
		return;
	for (uint32_t i = 0; i < link->options.endpoints; i++)
		fds[i] = (struct pollfd){ .fd = link->fds[i], .events = POLLIN };
	poll(fds, link->options.endpoints, 1);
}
