// The plain relay: recvmmsg in, the key's shard, sendmmsg out, 64 datagrams a call. What one would write in an afternoon
// instead of using a router; tools/bench relay compares weir with it. One thread, blocking.
#include <errno.h>
#include <sys/socket.h>

#include "perf/peers/peer.h"

#define BATCH 64
#define ROOM 2048

struct relay {
	struct peer_options options;
	int fd;
	uint8_t bytes[BATCH][ROOM];
	struct iovec in_vectors[BATCH];
	struct mmsghdr in[BATCH];
	struct iovec out_vectors[BATCH * PEER_SHARDS_MAX];
	struct mmsghdr out[BATCH * PEER_SHARDS_MAX];
};

static void prepare(struct relay *relay)
{
	for (int i = 0; i < BATCH; i++) {
		relay->in_vectors[i] = (struct iovec){ relay->bytes[i], ROOM };
		relay->in[i].msg_hdr = (struct msghdr){ .msg_iov = &relay->in_vectors[i], .msg_iovlen = 1 };
	}
	for (uint32_t i = 0; i < BATCH * PEER_SHARDS_MAX; i++) {
		relay->out[i].msg_hdr = (struct msghdr){ .msg_namelen = sizeof(struct sockaddr_in), .msg_iovlen = 1,
							 .msg_iov = &relay->out_vectors[i] };
	}
}

// Gives each datagram its destinations, one for each group; returns how many there are.
static int route(struct relay *relay, int count)
{
	int routed = 0;
	for (int i = 0; i < count; i++) {
		uint32_t shard = peer_shard(&relay->options, relay->bytes[i], relay->in[i].msg_len);
		if (shard == PEER_SHARDS_MAX)
			continue;
		for (uint32_t group = 0; group < relay->options.groups; group++, routed++) {
			uint32_t to = group * relay->options.shards + shard;
			relay->out_vectors[routed] = (struct iovec){ relay->bytes[i], relay->in[i].msg_len };
			relay->out[routed].msg_hdr.msg_name = &relay->options.destinations[to];
		}
	}
	return routed;
}

int main(int argc, char **argv)
{
	static struct relay relay;
	relay.options = peer_options_of(argc, argv);
	relay.fd = peer_socket(relay.options.port);
	prepare(&relay);
	for (;;) {
		int count = recvmmsg(relay.fd, relay.in, BATCH, MSG_WAITFORONE, NULL);
		if (count < 0 && errno != EINTR && errno != ECONNREFUSED) {
			perror("relay: recvmmsg");
			return 1;
		}
		int routed = route(&relay, count);
		for (int sent = 0; sent < routed;) {
			int now = sendmmsg(relay.fd, relay.out + sent, (unsigned)(routed - sent), 0);
			// A datagram that cannot be sent is passed over: a relay promises nothing.
			sent += now > 0 ? now : 1;
		}
	}
}
