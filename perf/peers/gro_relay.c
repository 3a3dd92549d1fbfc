// The relay with what the kernel offers to make sockets cheap: UDP_GRO in (the kernel hands over many datagrams of a flow
// as one buffer), UDP_SEGMENT out (many datagrams of one size to one destination as one message). Routing as in
// relay.c. Printed beside it by tools/bench relay. One thread, blocking.
#include <errno.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "perf/peers/peer.h"

#define BATCH 16
#define ROOM 65536
#define SEGMENTS_MAX 64u
#define MESSAGE_MAX 65000u // bytes in one message

struct outgoing {
	struct iovec vectors[SEGMENTS_MAX];
	uint32_t count;
	uint32_t bytes;
	uint32_t segment; // size of all but the last
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(uint16_t))];
	} control;
};

struct relay {
	struct peer_options options;
	int fd;
	uint8_t bytes[BATCH][ROOM];
	struct iovec vectors[BATCH];
	struct mmsghdr in[BATCH];
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} in_control[BATCH];
	struct outgoing out[PEER_SHARDS_MAX];
};

static void send_out(struct relay *relay, uint32_t to)
{
	struct outgoing *out = &relay->out[to];
	if (out->count == 0)
		return;
	struct msghdr message = { .msg_name = &relay->options.destinations[to], .msg_namelen = sizeof(struct sockaddr_in),
				  .msg_iov = out->vectors, .msg_iovlen = out->count };
	if (out->count > 1) {
		out->control.header = (struct cmsghdr){ .cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT,
							.cmsg_len = CMSG_LEN(sizeof(uint16_t)) };
		uint16_t segment = (uint16_t)out->segment;
		memcpy(CMSG_DATA(&out->control.header), &segment, sizeof(segment));
		message.msg_control = &out->control;
		message.msg_controllen = sizeof(out->control.room);
	}
	// What cannot be sent is passed over: a relay promises nothing.
	(void)!sendmsg(relay->fd, &message, 0);
	out->count = out->bytes = 0;
}

static void put_to(struct relay *relay, uint32_t to, uint8_t *bytes, uint32_t size)
{
	struct outgoing *out = &relay->out[to];
	if (out->count && (out->count == SEGMENTS_MAX || out->bytes + size > MESSAGE_MAX || size > out->segment))
		send_out(relay, to);
	if (out->count == 0)
		out->segment = size;
	out->vectors[out->count++] = (struct iovec){ bytes, size };
	out->bytes += size;
	if (size < out->segment)
		send_out(relay, to);
}

static void put(struct relay *relay, uint8_t *bytes, uint32_t size)
{
	uint32_t shard = peer_shard(&relay->options, bytes, size);
	for (uint32_t group = 0; shard < PEER_SHARDS_MAX && group < relay->options.groups; group++)
		put_to(relay, group * relay->options.shards + shard, bytes, size);
}

static uint32_t segment_of(const struct msghdr *message, uint32_t size)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR((struct msghdr *)message, c)) {
		if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
			int segment;
			memcpy(&segment, CMSG_DATA(c), sizeof(segment));
			return (uint32_t)segment;
		}
	}
	return size;
}

int main(int argc, char **argv)
{
	static struct relay relay;
	int on = 1;
	relay.options = peer_options_of(argc, argv);
	relay.fd = peer_socket(relay.options.port);
	if (setsockopt(relay.fd, SOL_UDP, UDP_GRO, &on, sizeof(on))) {
		perror("gro-relay: UDP_GRO");
		return 1;
	}
	for (;;) {
		for (int i = 0; i < BATCH; i++) {
			relay.vectors[i] = (struct iovec){ relay.bytes[i], ROOM };
			relay.in[i].msg_hdr = (struct msghdr){ .msg_iov = &relay.vectors[i], .msg_iovlen = 1,
							       .msg_control = &relay.in_control[i],
							       .msg_controllen = sizeof(relay.in_control[i].room) };
		}
		int count = recvmmsg(relay.fd, relay.in, BATCH, MSG_WAITFORONE, NULL);
		if (count < 0 && errno != EINTR && errno != ECONNREFUSED) {
			perror("gro-relay: recvmmsg");
			return 1;
		}
		for (int i = 0; i < count; i++) {
			uint32_t size = relay.in[i].msg_len;
			uint32_t segment = segment_of(&relay.in[i].msg_hdr, size);
			for (uint32_t at = 0; at < size; at += segment)
				put(&relay, relay.bytes[i] + at, at + segment <= size ? segment : size - at);
		}
		for (uint32_t to = 0; to < relay.options.shards * relay.options.groups; to++)
			send_out(&relay, to);
	}
}
