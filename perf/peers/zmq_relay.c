// A router by key as one writes it with ZeroMQ: PULL from producers, the key's shard, PUSH to the shard's consumers, once
// for each group. Messages are handed on without a copy. Two threads: this one, and the library's.
//
//   zmq-relay HOST PORT GROUPS    listens on PORT, its shards on PORT + 1 + group * 4 + shard
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "perf/peers/job.h"
#include "wire/key.h"

#define MARK 65536

struct relay {
	void *in;
	void *out[JOB_GROUPS_MAX][JOB_SHARDS];
	uint32_t groups;
};

static void *listen_on(void *context, int type, const char *host, int port)
{
	char endpoint[96];
	int mark = MARK;
	void *socket = zmq_socket(context, type);
	snprintf(endpoint, sizeof(endpoint), "tcp://%s:%d", host, port);
	if (!socket || zmq_setsockopt(socket, type == ZMQ_PULL ? ZMQ_RCVHWM : ZMQ_SNDHWM, &mark, sizeof(mark)) ||
	    zmq_bind(socket, endpoint)) {
		fprintf(stderr, "zmq-relay: %s: %s\n", endpoint, zmq_strerror(errno));
		exit(1);
	}
	return socket;
}

static void hand_on(struct relay *relay, zmq_msg_t *message)
{
	struct job_head head;
	if (zmq_msg_size(message) < sizeof(head))
		return;
	memcpy(&head, zmq_msg_data(message), sizeof(head));
	uint32_t shard = weir_shard_of(head.key, JOB_SHARDS);
	for (uint32_t group = 0; group + 1 < relay->groups; group++) {
		zmq_msg_t copy;
		zmq_msg_init(&copy);
		zmq_msg_copy(&copy, message);
		if (zmq_msg_send(&copy, relay->out[group][shard], 0) < 0)
			zmq_msg_close(&copy);
	}
	zmq_msg_send(message, relay->out[relay->groups - 1][shard], 0);
}

int main(int argc, char **argv)
{
	static struct relay relay;
	int groups = argc == 4 ? atoi(argv[3]) : 0;
	if (groups < 1 || groups > (int)JOB_GROUPS_MAX) {
		fputs("usage: zmq-relay HOST PORT GROUPS\n", stderr);
		return 2;
	}
	void *context = zmq_ctx_new();
	relay.groups = (uint32_t)groups;
	relay.in = listen_on(context, ZMQ_PULL, argv[1], atoi(argv[2]));
	for (uint32_t group = 0; group < relay.groups; group++) {
		for (uint32_t shard = 0; shard < JOB_SHARDS; shard++)
			relay.out[group][shard] = listen_on(context, ZMQ_PUSH, argv[1],
							    atoi(argv[2]) + 1 + (int)(group * JOB_SHARDS + shard));
	}
	for (;;) {
		zmq_msg_t message;
		zmq_msg_init(&message);
		if (zmq_msg_recv(&message, relay.in, 0) >= 0)
			hand_on(&relay, &message);
		else if (errno != EINTR)
			return 1;
		zmq_msg_close(&message);
	}
}
