// RabbitMQ, through librabbitmq: a direct exchange, a queue for each group and shard, one connection that publishes, one
// for each group that consumes. At least once: publisher confirms, consumers that acknowledge everything up to an event
// once in a while, with so much prefetched; durable: the same, durable queues and persistent messages.
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "perf/peers/job.h"

#define EXCHANGE "positions"
#define CHANNEL 1
#define PREFETCH 4096
#define ACKNOWLEDGE_EVERY 512u
#define BURST 256u
#define FRAME_MAX 131072
#define TAGS 65536u // more than a window of confirmations under way

struct peer {
	struct job *job;
	amqp_connection_state_t out;
	amqp_connection_state_t groups[JOB_GROUPS_MAX];
	uint32_t unacknowledged[JOB_GROUPS_MAX];
	uint64_t confirmed;  // every tag up to it
	bool is_confirmed[TAGS]; // tags above, by their remainder
	char keys[JOB_SHARDS][8];
};

static void check(amqp_rpc_reply_t reply, const char *what)
{
	if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
		job_fail("rabbit: %s: %s", what, amqp_error_string2(reply.library_error));
	if (reply.reply_type != AMQP_RESPONSE_NORMAL)
		job_fail("rabbit: %s: refused by the server", what);
}

static amqp_connection_state_t connection_open(const struct job *job)
{
	char host[64];
	uint16_t port;
	job_address(job, host, &port);
	amqp_connection_state_t connection = amqp_new_connection();
	amqp_socket_t *socket = amqp_tcp_socket_new(connection);
	int error = socket ? amqp_socket_open(socket, host, port) : AMQP_STATUS_NO_MEMORY;
	if (error)
		job_fail("rabbit: connect to %s: %s", job->address, amqp_error_string2(error));
	check(amqp_login(connection, "/", 0, FRAME_MAX, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest"), "login");
	amqp_channel_open(connection, CHANNEL);
	check(amqp_get_rpc_reply(connection), "open a channel");
	return connection;
}

static void group_open(struct peer *peer, uint32_t group)
{
	const struct job *job = peer->job;
	bool is_acknowledged = job->guarantee != JOB_AT_MOST_ONCE;
	amqp_connection_state_t connection = peer->groups[group] = connection_open(job);
	if (is_acknowledged) {
		amqp_basic_qos(connection, CHANNEL, 0, PREFETCH, 0);
		check(amqp_get_rpc_reply(connection), "prefetch");
	}
	for (uint32_t shard = 0; shard < JOB_SHARDS; shard++) {
		char name[24];
		snprintf(name, sizeof(name), "g%u.%u.%u", group, shard, job->guarantee);
		amqp_bytes_t queue = amqp_cstring_bytes(name);
		amqp_queue_delete(connection, CHANNEL, queue, 0, 0); // of a run before
		check(amqp_get_rpc_reply(connection), "delete a queue");
		amqp_queue_declare(connection, CHANNEL, queue, 0, job->guarantee == JOB_DURABLE, 0, 0, amqp_empty_table);
		check(amqp_get_rpc_reply(connection), "declare a queue");
		amqp_queue_bind(connection, CHANNEL, queue, amqp_cstring_bytes(EXCHANGE), amqp_cstring_bytes(peer->keys[shard]),
				amqp_empty_table);
		check(amqp_get_rpc_reply(connection), "bind a queue");
		amqp_basic_consume(connection, CHANNEL, queue, amqp_empty_bytes, 0, !is_acknowledged, 0, amqp_empty_table);
		check(amqp_get_rpc_reply(connection), "consume");
	}
}

static struct peer *rabbit_open(struct job *job)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	if (!peer)
		job_fail("rabbit: no memory");
	peer->job = job;
	for (uint32_t shard = 0; shard < JOB_SHARDS; shard++)
		snprintf(peer->keys[shard], sizeof(peer->keys[shard]), "%u", shard);
	peer->out = connection_open(job);
	amqp_exchange_declare(peer->out, CHANNEL, amqp_cstring_bytes(EXCHANGE), amqp_cstring_bytes("direct"), 0, 1, 0, 0,
			      amqp_empty_table);
	check(amqp_get_rpc_reply(peer->out), "declare the exchange");
	if (job->guarantee != JOB_AT_MOST_ONCE) {
		amqp_confirm_select(peer->out, CHANNEL);
		check(amqp_get_rpc_reply(peer->out), "confirms");
	}
	for (uint32_t group = 0; group < job->groups; group++)
		group_open(peer, group);
	return peer;
}

static bool rabbit_publish(struct peer *peer, uint32_t shard, const void *payload)
{
	amqp_basic_properties_t properties = { ._flags = AMQP_BASIC_DELIVERY_MODE_FLAG,
					       .delivery_mode = peer->job->guarantee == JOB_DURABLE ? 2 : 1 };
	amqp_bytes_t body = { peer->job->payload_size, (void *)payload };
	int error = amqp_basic_publish(peer->out, CHANNEL, amqp_cstring_bytes(EXCHANGE),
				       amqp_cstring_bytes(peer->keys[shard]), 0, 0, &properties, body);
	if (error)
		job_fail("rabbit: publish: %s", amqp_error_string2(error));
	return true;
}

// The library writes each message at once.
static void rabbit_flush(struct peer *peer, bool is_urgent)
{
}

// Tags count from 1 and may be confirmed in any order.
static void confirm(struct peer *peer, uint64_t tag, bool is_all_up_to)
{
	for (; is_all_up_to && peer->confirmed < tag; peer->confirmed++)
		peer->is_confirmed[(peer->confirmed + 1) % TAGS] = false;
	if (tag > peer->confirmed)
		peer->is_confirmed[tag % TAGS] = true;
	for (; peer->is_confirmed[(peer->confirmed + 1) % TAGS]; peer->confirmed++)
		peer->is_confirmed[(peer->confirmed + 1) % TAGS] = false;
}

static void confirmations_read(struct peer *peer)
{
	amqp_frame_t frame;
	struct timeval none = { 0 };
	for (uint32_t i = 0; i < BURST && amqp_simple_wait_frame_noblock(peer->out, &frame, &none) == AMQP_STATUS_OK; i++) {
		if (frame.frame_type != AMQP_FRAME_METHOD)
			continue;
		if (frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
			job_fail("rabbit: the server refused an event or closed the channel");
		const amqp_basic_ack_t *ack = frame.payload.method.decoded;
		confirm(peer, ack->delivery_tag, ack->multiple);
	}
	amqp_maybe_release_buffers(peer->out);
}

static bool group_receive(struct peer *peer, uint32_t group)
{
	bool has_some = false;
	struct timeval none = { 0 };
	for (uint32_t i = 0; i < BURST; i++) {
		amqp_envelope_t envelope;
		amqp_maybe_release_buffers(peer->groups[group]);
		amqp_rpc_reply_t reply = amqp_consume_message(peer->groups[group], &envelope, &none, 0);
		if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION && reply.library_error == AMQP_STATUS_TIMEOUT)
			break;
		check(reply, "receive");
		job_take(peer->job, group, envelope.message.body.bytes, (uint32_t)envelope.message.body.len,
			 job_arrival_ns(peer->job));
		has_some = true;
		if (peer->job->guarantee != JOB_AT_MOST_ONCE && ++peer->unacknowledged[group] == ACKNOWLEDGE_EVERY) {
			amqp_basic_ack(peer->groups[group], CHANNEL, envelope.delivery_tag, 1);
			peer->unacknowledged[group] = 0;
		}
		amqp_destroy_envelope(&envelope);
	}
	return has_some;
}

static bool rabbit_receive(struct peer *peer)
{
	bool has_some = false;
	if (peer->job->guarantee != JOB_AT_MOST_ONCE)
		confirmations_read(peer);
	for (uint32_t group = 0; group < peer->job->groups; group++)
		has_some |= group_receive(peer, group);
	return has_some;
}

static uint64_t rabbit_confirmed(struct peer *peer)
{
	return peer->confirmed;
}

static void connection_close(amqp_connection_state_t connection)
{
	amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
	amqp_destroy_connection(connection);
}

static void rabbit_close(struct peer *peer)
{
	connection_close(peer->out);
	for (uint32_t group = 0; group < peer->job->groups; group++)
		connection_close(peer->groups[group]);
	free(peer);
}

const struct peer_ops peer_rabbit = {
	.name = "rabbit",
	.open = rabbit_open,
	.publish = rabbit_publish,
	.flush = rabbit_flush,
	.receive = rabbit_receive,
	.confirmed = rabbit_confirmed,
	.close = rabbit_close,
};
