// NATS core and JetStream, through libnats: one connection that publishes, one for each group, with a subscription for each
// shard's subject and its callback on the library's threads. JetStream adds the stream in memory, or on disk where the job
// asks for durable: asynchronous publishing with its acknowledgements counted, consumers that acknowledge everything up to
// an event once in a while.
#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perf/peers/job.h"

#define ACKNOWLEDGE_EVERY 256u
#define PENDING_MAX 65536
#define STREAM "POSITIONS"

struct inlet {
	struct peer *peer;
	natsSubscription *subscription;
	uint32_t group;
	uint32_t unacknowledged;
};

struct peer {
	struct job *job;
	bool is_stream;
	natsConnection *out;
	natsConnection *groups[JOB_GROUPS_MAX];
	jsCtx *out_stream;
	jsCtx *group_streams[JOB_GROUPS_MAX];
	struct inlet inlets[JOB_GROUPS_MAX][JOB_SHARDS];
	_Atomic uint64_t confirmed;
	_Atomic uint64_t arrived; // what the library's threads took
	uint64_t seen;
	char subjects[JOB_SHARDS][16];
};

static void check(natsStatus status, const char *what)
{
	if (status != NATS_OK)
		job_fail("nats: %s: %s", what, natsStatus_GetText(status));
}

static natsConnection *connection_open(const struct job *job, bool is_sender)
{
	natsOptions *options = NULL;
	natsConnection *connection = NULL;
	char url[128];
	snprintf(url, sizeof(url), "nats://%s", job->address);
	check(natsOptions_Create(&options), "options");
	check(natsOptions_SetURL(options, url), "address");
	check(natsOptions_SetMaxPendingMsgs(options, 1 << 20), "pending messages");
	// At a rate nothing waits for the flusher.
	check(natsOptions_SetSendAsap(options, is_sender && job->rate > 0), "send at once");
	check(natsConnection_Connect(&connection, options), "connect");
	natsOptions_Destroy(options);
	return connection;
}

static void on_message(natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *context)
{
	struct inlet *inlet = context;
	struct peer *peer = inlet->peer;
	job_take(peer->job, inlet->group, natsMsg_GetData(message), (uint32_t)natsMsg_GetDataLength(message),
		 job_arrival_ns(peer->job));
	if (peer->is_stream && ++inlet->unacknowledged == ACKNOWLEDGE_EVERY) {
		natsMsg_Ack(message, NULL);
		inlet->unacknowledged = 0;
	}
	atomic_fetch_add_explicit(&peer->arrived, 1, memory_order_relaxed);
	natsMsg_Destroy(message);
}

static void on_confirmed(jsCtx *stream, natsMsg *message, jsPubAck *confirmation, jsPubAckErr *error, void *context)
{
	struct peer *peer = context;
	if (error)
		fprintf(stderr, "peer-load: nats: publish: %s\n", error->ErrText ? error->ErrText : "refused");
	else
		atomic_fetch_add_explicit(&peer->confirmed, 1, memory_order_relaxed);
	natsMsg_Destroy(message);
}

static void stream_make(struct peer *peer)
{
	jsOptions options;
	jsStreamConfig config;
	jsStreamInfo *info = NULL;
	jsErrCode code = 0;
	const char *subjects[] = { "positions.*" };
	jsOptions_Init(&options);
	options.PublishAsync.MaxPending = PENDING_MAX;
	options.PublishAsync.AckHandler = on_confirmed;
	options.PublishAsync.AckHandlerClosure = peer;
	check(natsConnection_JetStream(&peer->out_stream, peer->out, &options), "JetStream");
	jsStreamConfig_Init(&config);
	config.Name = STREAM;
	config.Subjects = subjects;
	config.SubjectsLen = 1;
	config.Storage = peer->job->guarantee == JOB_DURABLE ? js_FileStorage : js_MemoryStorage;
	config.MaxBytes = 1ll << 30;
	js_DeleteStream(peer->out_stream, STREAM, NULL, NULL); // of a run before
	check(js_AddStream(&info, peer->out_stream, &config, NULL, &code), "add stream " STREAM);
	jsStreamInfo_Destroy(info);
}

static void subscribe(struct peer *peer, uint32_t group, uint32_t shard)
{
	struct inlet *inlet = &peer->inlets[group][shard];
	*inlet = (struct inlet){ .peer = peer, .group = group };
	if (peer->is_stream) {
		jsSubOptions options;
		jsErrCode code = 0;
		jsSubOptions_Init(&options);
		options.ManualAck = true;
		options.Config.AckPolicy = js_AckAll;
		options.Config.MaxAckPending = PENDING_MAX;
		options.Config.DeliverPolicy = js_DeliverAll;
		check(js_Subscribe(&inlet->subscription, peer->group_streams[group], peer->subjects[shard], on_message, inlet,
				   NULL, &options, &code), "subscribe to the stream");
	} else {
		check(natsConnection_Subscribe(&inlet->subscription, peer->groups[group], peer->subjects[shard], on_message,
					       inlet), "subscribe");
	}
	check(natsSubscription_SetPendingLimits(inlet->subscription, -1, -1), "pending limits");
}

static struct peer *connect_all(struct job *job, bool is_stream)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	if (!peer)
		job_fail("nats: no memory");
	peer->job = job;
	peer->is_stream = is_stream;
	peer->out = connection_open(job, true);
	for (uint32_t shard = 0; shard < JOB_SHARDS; shard++)
		snprintf(peer->subjects[shard], sizeof(peer->subjects[shard]), "positions.%u", shard);
	if (is_stream)
		stream_make(peer);
	for (uint32_t group = 0; group < job->groups; group++) {
		peer->groups[group] = connection_open(job, false);
		if (is_stream)
			check(natsConnection_JetStream(&peer->group_streams[group], peer->groups[group], NULL), "JetStream");
		for (uint32_t shard = 0; shard < JOB_SHARDS; shard++)
			subscribe(peer, group, shard);
		check(natsConnection_Flush(peer->groups[group]), "flush");
	}
	return peer;
}

static struct peer *core_open(struct job *job)
{
	if (job->guarantee != JOB_AT_MOST_ONCE)
		job_fail("nats: core promises nothing: --guarantee at-most-once, or peer jetstream");
	return connect_all(job, false);
}

static struct peer *stream_open(struct job *job)
{
	if (job->guarantee == JOB_AT_MOST_ONCE)
		job_fail("jetstream: always confirms: --guarantee at-least-once or durable");
	return connect_all(job, true);
}

static bool core_publish(struct peer *peer, uint32_t shard, const void *payload)
{
	check(natsConnection_Publish(peer->out, peer->subjects[shard], payload, (int)peer->job->payload_size), "publish");
	return true;
}

static bool stream_publish(struct peer *peer, uint32_t shard, const void *payload)
{
	check(js_PublishAsync(peer->out_stream, peer->subjects[shard], payload, (int)peer->job->payload_size, NULL),
	      "publish to the stream");
	return true;
}

// The library's flusher gathers and sends.
static void nats_flush(struct peer *peer, bool is_urgent)
{
}

// The library's threads have taken what there is.
static bool nats_receive(struct peer *peer)
{
	uint64_t arrived = atomic_load_explicit(&peer->arrived, memory_order_relaxed);
	bool has_some = arrived != peer->seen;
	peer->seen = arrived;
	return has_some;
}

static uint64_t stream_confirmed(struct peer *peer)
{
	return atomic_load_explicit(&peer->confirmed, memory_order_relaxed);
}

static void nats_close(struct peer *peer)
{
	for (uint32_t group = 0; group < peer->job->groups; group++) {
		for (uint32_t shard = 0; shard < JOB_SHARDS; shard++)
			natsSubscription_Destroy(peer->inlets[group][shard].subscription);
		jsCtx_Destroy(peer->group_streams[group]);
		natsConnection_Destroy(peer->groups[group]);
	}
	jsCtx_Destroy(peer->out_stream);
	natsConnection_Destroy(peer->out);
	// Callbacks may be on their way out still: the process ends soon, and with it what they use.
	nats_Close();
}

const struct peer_ops peer_nats = {
	.name = "nats",
	.open = core_open,
	.publish = core_publish,
	.flush = nats_flush,
	.receive = nats_receive,
	.close = nats_close,
};

const struct peer_ops peer_jetstream = {
	.name = "jetstream",
	.open = stream_open,
	.publish = stream_publish,
	.flush = nats_flush,
	.receive = nats_receive,
	.confirmed = stream_confirmed,
	.close = nats_close,
};
