// Redis pub/sub and Streams, through hiredis: commands are pipelined, prepared once, and answers are read by hiredis's
// parser straight into the account, without an object for each. One connection that publishes, one for each group.
// Pub/sub: a channel for each shard. Streams: a stream for each shard, XADD; XREADGROUP over all of them, XACK of what a
// read brought.
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perf/peers/job.h"

#define READ_COUNT 512      // entries of a stream in one XREADGROUP
#define STREAM_MAX 200000   // entries kept in a stream
#define PIPELINE_BYTES (256u << 10) // written to the socket at once when more waits
#define ID_SIZE 48u

// Entries of a stream to be acknowledged.
struct batch {
	uint32_t shard;
	uint32_t count;
	char ids[READ_COUNT][ID_SIZE];
	size_t id_sizes[READ_COUNT];
};

struct connection {
	struct peer *peer;
	redisContext *redis;
	uint32_t group;
	bool is_reading;        // XREADGROUP is under way
	struct batch batches[JOB_SHARDS];
	uint32_t batch;         // that entries belong to now
	uint32_t batch_count;
	uint64_t numbers;       // answers that are numbers
	const char *words[READ_COUNT + 3]; // of the command that is made
	size_t sizes[READ_COUNT + 3];
};

struct peer {
	struct job *job;
	bool is_stream;
	struct connection out;
	struct connection *groups;
	char command[JOB_SHARDS][JOB_PAYLOAD_MAX + 256]; // all of it but the payload
	size_t payload_at[JOB_SHARDS];
	size_t command_size[JOB_SHARDS];
	size_t waiting; // bytes not written yet
	uint64_t confirmed;
	uint64_t now_ns;
	uint64_t errors;
	bool has_some;
};

// ---- What the parser tells ----

static struct connection *connection_of(const redisReadTask *task)
{
	return task->privdata;
}

static uint32_t depth_of(const redisReadTask *task)
{
	uint32_t depth = 0;
	for (; task->parent; task = task->parent)
		depth++;
	return depth;
}

static uint32_t shard_of_name(const char *name, size_t size)
{
	return size ? (uint32_t)(name[size - 1] - '0') % JOB_SHARDS : 0;
}

// [[stream, [[id, [field, payload]], ...]], ...]
static void entry_take(struct connection *connection, const redisReadTask *task, const char *bytes, size_t size)
{
	struct peer *peer = connection->peer;
	uint32_t depth = depth_of(task);
	if (depth == 2 && task->idx == 0) {
		connection->batch = connection->batch_count++ % JOB_SHARDS;
		connection->batches[connection->batch].shard = shard_of_name(bytes, size);
		connection->batches[connection->batch].count = 0;
	} else if (depth == 4 && task->idx == 0) {
		struct batch *batch = &connection->batches[connection->batch];
		if (batch->count < READ_COUNT && size <= ID_SIZE) {
			memcpy(batch->ids[batch->count], bytes, size);
			batch->id_sizes[batch->count++] = size;
		}
	} else if (depth == 5 && task->idx == 1) {
		job_take(peer->job, connection->group, bytes, (uint32_t)size, peer->now_ns);
		peer->has_some = true;
	}
}

static void *on_string(const redisReadTask *task, char *bytes, size_t size)
{
	struct connection *connection = connection_of(task);
	struct peer *peer = connection->peer;
	if (task->type == REDIS_REPLY_ERROR) {
		if (peer->errors++ == 0)
			fprintf(stderr, "peer-load: redis: %.*s\n", (int)size, bytes);
	} else if (connection == &peer->out) {
		peer->confirmed++; // the id of an entry that was added
	} else if (peer->is_stream) {
		entry_take(connection, task, bytes, size);
	} else if (task->idx == 2 && task->parent && task->parent->elements == 3) {
		job_take(peer->job, connection->group, bytes, (uint32_t)size, peer->now_ns); // [message, channel, payload]
		peer->has_some = true;
	}
	return connection;
}

static void *on_array(const redisReadTask *task, int elements)
{
	return connection_of(task);
}

static void *on_integer(const redisReadTask *task, long long value)
{
	struct connection *connection = connection_of(task);
	connection->numbers++; // subscribers that an event reached, channels subscribed to, entries acknowledged
	return connection;
}

static void *on_nil(const redisReadTask *task)
{
	return connection_of(task);
}

static void on_free(void *object)
{
}

static redisReplyObjectFunctions functions = { on_string, on_array, on_integer, on_nil, on_free };

// ---- Connections ----

static void connection_check(const struct connection *connection, const char *what)
{
	if (connection->redis->err)
		job_fail("redis: %s: %s", what, connection->redis->errstr);
}

static void connection_open(struct peer *peer, struct connection *connection, uint32_t group)
{
	char host[64];
	uint16_t port;
	job_address(peer->job, host, &port);
	connection->peer = peer;
	connection->group = group;
	connection->redis = redisConnectNonBlock(host, port);
	if (!connection->redis)
		job_fail("redis: no memory");
	connection_check(connection, "connect");
	struct pollfd fd = { .fd = connection->redis->fd, .events = POLLOUT };
	if (poll(&fd, 1, 5000) != 1 || fd.revents & (POLLERR | POLLHUP))
		job_fail("redis: connect to %s: nobody listens", peer->job->address);
	connection->redis->reader->fn = &functions;
	connection->redis->reader->privdata = connection;
}

static void connection_write(struct connection *connection)
{
	int is_done = 0;
	while (!is_done) {
		if (redisBufferWrite(connection->redis, &is_done) != REDIS_OK)
			job_fail("redis: write: %s", connection->redis->errstr);
		if (!is_done) { // the socket is full: what fills it is read, or there will never be room
			redisBufferRead(connection->redis);
			struct pollfd fd = { .fd = connection->redis->fd, .events = POLLIN | POLLOUT };
			poll(&fd, 1, 1);
		}
	}
}

// Reads once, and hands every complete answer to the functions above. Returns how many answers.
static uint32_t connection_read(struct connection *connection)
{
	uint32_t answers = 0;
	void *answer = NULL;
	if (redisBufferRead(connection->redis) != REDIS_OK)
		job_fail("redis: read: %s", connection->redis->errstr);
	connection->peer->now_ns = job_arrival_ns(connection->peer->job);
	while (redisGetReplyFromReader(connection->redis, &answer) == REDIS_OK && answer) {
		answers++;
		answer = NULL;
	}
	connection_check(connection, "answer");
	return answers;
}

// A command on a connection of its own, answered before it goes on.
static void command_now(const struct job *job, const char *format, ...)
{
	char host[64];
	uint16_t port;
	va_list arguments;
	job_address(job, host, &port);
	redisContext *redis = redisConnect(host, port);
	if (!redis || redis->err)
		job_fail("redis: connect to %s: %s", job->address, redis ? redis->errstr : "no memory");
	va_start(arguments, format);
	redisReply *reply = redisvCommand(redis, format, arguments);
	va_end(arguments);
	if (!reply || reply->type == REDIS_REPLY_ERROR)
		job_fail("redis: %s: %s", format, reply ? reply->str : redis->errstr);
	freeReplyObject(reply);
	redisFree(redis);
}

// ---- Both ----

static struct peer *connect_all(struct job *job, bool is_stream)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	if (!peer || !(peer->groups = calloc(job->groups, sizeof(*peer->groups))))
		job_fail("redis: no memory");
	peer->job = job;
	peer->is_stream = is_stream;
	connection_open(peer, &peer->out, 0);
	for (uint32_t group = 0; group < job->groups; group++)
		connection_open(peer, &peer->groups[group], group);
	for (uint32_t shard = 0; shard < JOB_SHARDS; shard++) {
		char *at = peer->command[shard];
		int size = is_stream ? sprintf(at, "*8\r\n$4\r\nXADD\r\n$5\r\npos:%u\r\n$6\r\nMAXLEN\r\n$1\r\n~\r\n$6\r\n%u\r\n"
						"$1\r\n*\r\n$1\r\nd\r\n$%u\r\n", shard, STREAM_MAX, job->payload_size) :
				       sprintf(at, "*3\r\n$7\r\nPUBLISH\r\n$5\r\npos:%u\r\n$%u\r\n", shard, job->payload_size);
		peer->payload_at[shard] = (size_t)size;
		memcpy(at + size + job->payload_size, "\r\n", 2);
		peer->command_size[shard] = (size_t)size + job->payload_size + 2;
	}
	return peer;
}

static bool redis_publish(struct peer *peer, uint32_t shard, const void *payload)
{
	memcpy(peer->command[shard] + peer->payload_at[shard], payload, peer->job->payload_size);
	if (redisAppendFormattedCommand(peer->out.redis, peer->command[shard], peer->command_size[shard]) != REDIS_OK)
		job_fail("redis: append: %s", peer->out.redis->errstr);
	peer->waiting += peer->command_size[shard];
	if (peer->waiting > PIPELINE_BYTES) {
		connection_write(&peer->out);
		peer->waiting = 0;
	}
	return true;
}

static void redis_flush(struct peer *peer, bool is_urgent)
{
	if (peer->waiting)
		connection_write(&peer->out);
	peer->waiting = 0;
}

static uint64_t redis_confirmed(struct peer *peer)
{
	return peer->confirmed;
}

static void redis_close(struct peer *peer)
{
	redisFree(peer->out.redis);
	for (uint32_t group = 0; group < peer->job->groups; group++)
		redisFree(peer->groups[group].redis);
	free(peer->groups);
	free(peer);
}

// ---- Pub/sub ----

static struct peer *pubsub_open(struct job *job)
{
	if (job->guarantee != JOB_AT_MOST_ONCE)
		job_fail("redis: pub/sub promises nothing: --guarantee at-most-once, or peer redis-streams");
	struct peer *peer = connect_all(job, false);
	for (uint32_t group = 0; group < job->groups; group++) {
		redisAppendCommand(peer->groups[group].redis, "SUBSCRIBE pos:0 pos:1 pos:2 pos:3");
		connection_write(&peer->groups[group]);
	}
	uint64_t end_ns = job_now_ns() + 5000000000ull;
	for (uint32_t group = 0; group < job->groups; group++) {
		while (peer->groups[group].numbers < JOB_SHARDS) {
			connection_read(&peer->groups[group]);
			if (job_now_ns() > end_ns)
				job_fail("redis: SUBSCRIBE: no answer");
		}
	}
	return peer;
}

static bool pubsub_receive(struct peer *peer)
{
	peer->has_some = false;
	connection_read(&peer->out);
	for (uint32_t group = 0; group < peer->job->groups; group++)
		connection_read(&peer->groups[group]);
	return peer->has_some;
}

// ---- Streams ----

static struct peer *streams_open(struct job *job)
{
	if (job->guarantee == JOB_AT_MOST_ONCE)
		job_fail("redis-streams: always confirms: --guarantee at-least-once or durable");
	command_now(job, "FLUSHALL");
	for (uint32_t group = 0; group < job->groups; group++) {
		for (uint32_t shard = 0; shard < JOB_SHARDS; shard++)
			command_now(job, "XGROUP CREATE pos:%u g%u 0 MKSTREAM", shard, group);
	}
	return connect_all(job, true);
}

// Acknowledges what the last read brought, and reads on.
static void group_ask(struct connection *connection)
{
	char stream[16], group[16];
	snprintf(group, sizeof(group), "g%u", connection->group);
	for (uint32_t i = 0; i < connection->batch_count && i < JOB_SHARDS; i++) {
		const struct batch *batch = &connection->batches[i];
		uint32_t words = 0;
		snprintf(stream, sizeof(stream), "pos:%u", batch->shard);
		const char *first[] = { "XACK", stream, group };
		for (; words < 3; words++) {
			connection->words[words] = first[words];
			connection->sizes[words] = strlen(first[words]);
		}
		for (uint32_t k = 0; k < batch->count; k++, words++) {
			connection->words[words] = batch->ids[k];
			connection->sizes[words] = batch->id_sizes[k];
		}
		if (batch->count)
			redisAppendCommandArgv(connection->redis, (int)words, connection->words, connection->sizes);
	}
	connection->batch_count = 0;
	redisAppendCommand(connection->redis, "XREADGROUP GROUP %s c COUNT %d BLOCK 1000 STREAMS "
			   "pos:0 pos:1 pos:2 pos:3 > > > >", group, READ_COUNT);
	connection_write(connection);
	connection->is_reading = true;
}

static bool streams_receive(struct peer *peer)
{
	peer->has_some = false;
	connection_read(&peer->out);
	for (uint32_t group = 0; group < peer->job->groups; group++) {
		struct connection *connection = &peer->groups[group];
		if (!connection->is_reading)
			group_ask(connection);
		uint64_t numbers = connection->numbers;
		// Answers of XACK are numbers; the other one is that of XREADGROUP, with entries or without.
		if (connection_read(connection) > connection->numbers - numbers)
			connection->is_reading = false;
	}
	return peer->has_some;
}

const struct peer_ops peer_redis = {
	.name = "redis",
	.open = pubsub_open,
	.publish = redis_publish,
	.flush = redis_flush,
	.receive = pubsub_receive,
	.close = redis_close,
};

const struct peer_ops peer_redis_streams = {
	.name = "redis-streams",
	.open = streams_open,
	.publish = redis_publish,
	.flush = redis_flush,
	.receive = streams_receive,
	.confirmed = redis_confirmed,
	.close = redis_close,
};
