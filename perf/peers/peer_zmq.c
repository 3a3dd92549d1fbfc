// ZeroMQ: one PUSH socket to zmq-relay, which routes by key; one PULL socket for each group, connected to the relay's
// socket of every shard. The library's own thread gathers messages into writes; high-water marks bound what waits.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <zmq.h>

#include "perf/peers/job.h"

#define MARK 65536 // messages; the window is smaller
#define BURST 512u // messages received of a group before another has its turn

struct peer {
	struct job *job;
	void *context;
	void *out;
	void *groups[JOB_GROUPS_MAX];
	uint8_t room[JOB_PAYLOAD_MAX];
};

static void *socket_open(struct peer *peer, int type, int mark_option)
{
	int mark = MARK;
	int linger = 0;
	void *socket = zmq_socket(peer->context, type);
	if (!socket || zmq_setsockopt(socket, mark_option, &mark, sizeof(mark)) ||
	    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof(linger)))
		job_fail("zmq: socket: %s", zmq_strerror(errno));
	return socket;
}

static void connect_to(void *socket, const char *host, uint32_t port)
{
	char endpoint[96];
	snprintf(endpoint, sizeof(endpoint), "tcp://%s:%u", host, port);
	if (zmq_connect(socket, endpoint))
		job_fail("zmq: connect to %s: %s", endpoint, zmq_strerror(errno));
}

static struct peer *zmq_peer_open(struct job *job)
{
	char host[64];
	uint16_t port;
	struct peer *peer = calloc(1, sizeof(*peer));
	if (!peer || job->guarantee != JOB_AT_MOST_ONCE)
		job_fail("zmq: %s", peer ? "promises nothing: --guarantee at-most-once" : "no memory");
	job_address(job, host, &port);
	peer->job = job;
	peer->context = zmq_ctx_new();
	// The consumers first: their connections are up when the relay hands on the first event, as it waits for them.
	for (uint32_t group = 0; group < job->groups; group++) {
		peer->groups[group] = socket_open(peer, ZMQ_PULL, ZMQ_RCVHWM);
		for (uint32_t shard = 0; shard < JOB_SHARDS; shard++)
			connect_to(peer->groups[group], host, port + 1u + group * JOB_SHARDS + shard);
	}
	peer->out = socket_open(peer, ZMQ_PUSH, ZMQ_SNDHWM);
	connect_to(peer->out, host, port);
	return peer;
}

static bool zmq_publish(struct peer *peer, uint32_t shard, const void *payload)
{
	if (zmq_send(peer->out, payload, peer->job->payload_size, ZMQ_DONTWAIT) >= 0)
		return true;
	if (errno != EAGAIN && errno != EINTR)
		job_fail("zmq: send: %s", zmq_strerror(errno));
	return false;
}

// The library sends on its own.
static void zmq_flush(struct peer *peer, bool is_urgent)
{
}

static bool zmq_receive(struct peer *peer)
{
	bool has_some = false;
	for (uint32_t group = 0; group < peer->job->groups; group++) {
		for (uint32_t i = 0; i < BURST; i++) {
			int size = zmq_recv(peer->groups[group], peer->room, sizeof(peer->room), ZMQ_DONTWAIT);
			if (size < 0)
				break;
			job_take(peer->job, group, peer->room, (uint32_t)size, job_arrival_ns(peer->job));
			has_some = true;
		}
	}
	return has_some;
}

static void zmq_peer_close(struct peer *peer)
{
	zmq_close(peer->out);
	for (uint32_t group = 0; group < peer->job->groups; group++)
		zmq_close(peer->groups[group]);
	zmq_ctx_term(peer->context);
	free(peer);
}

const struct peer_ops peer_zmq = {
	.name = "zmq",
	.open = zmq_peer_open,
	.publish = zmq_publish,
	.flush = zmq_flush,
	.receive = zmq_receive,
	.close = zmq_peer_close,
};
