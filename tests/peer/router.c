// The engine with its one worker, what control does for it at start, and the client at the other end, which talks to the engine
// without a socket. Messages and frames between them wait in queues: nothing is handled inside something else.
// Called by main.c's loop; one thread, the clock is an argument.
#include "tests/peer/router.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "client/core.h"
#include "dataplane/core/engine.h"
#include "dataplane/core/shard.h"
#include "tests/sim/random.h"

#define TOPICS 2u // in, out
#define TOPIC_IDS 4096u
#define SHARDS_MAX 16u
#define EVENT_MAX (64u << 10)
#define OWN_PORT 1 // of the client at the other end, in paths; no real client has it
#define KEYS 64u
#define MS 1000000ull

static const char *const TOPIC_NAMES[TOPICS] = { "in", "out" };
static const char *const GROUP_NAMES[TOPICS] = { "drain", "all" };

struct queued {
	STAILQ_ENTRY(queued) entry;
	uint32_t size;
	uint8_t bytes[] __attribute__((aligned(8)));
};
STAILQ_HEAD(queue, queued);

struct peer_router {
	struct peer_router_config config;
	struct weir_engine *engine;
	struct sim_random random;
	uint32_t life;
	// Rows and heads are public memory that outlives the engine.
	struct weir_worker_row *worker_row;
	struct weir_shard_row *shard_rows;
	struct weir_group_row *group_rows;
	struct weir_delivery_stream *deliveries;
	struct weir_topic_spec topics[TOPICS];
	struct weir_group_spec groups[TOPICS];
	struct weir_group_place places[TOPICS * SHARDS_MAX];
	uint16_t owner[SHARDS_MAX];
	uint32_t by_id[TOPIC_IDS];
	struct weir_snapshot snapshot;
	struct queue messages;  // to the engine
	struct queue to_engine; // from the own client
	struct queue to_client;
	int failed; // of a command
	struct weir_path reserved_path;
	uint8_t reserved[WEIR_FRAME_MAX] __attribute__((aligned(8)));
	// The client at the other end.
	struct weir_core *core;
	struct weir_producer *producer;
	struct weir_consumer *consumer;
	uint64_t publish_ns;
	struct peer_router_counts counts;
};

static void queue_put(struct queue *queue, const void *bytes, uint32_t size)
{
	struct queued *made = malloc(sizeof(*made) + size);
	if (!made)
		abort(); // a tester's own memory: nothing sensible is left to do
	made->size = size;
	memcpy(made->bytes, bytes, size);
	STAILQ_INSERT_TAIL(queue, made, entry);
}

static struct queued *queue_take(struct queue *queue)
{
	struct queued *first = STAILQ_FIRST(queue);
	if (first)
		STAILQ_REMOVE_HEAD(queue, entry);
	return first;
}

static void queue_clear(struct queue *queue)
{
	struct queued *queued;
	while ((queued = queue_take(queue)))
		free(queued);
}

// ---- What the engine asks of its outside ----

static void *send_reserve(void *context, const struct weir_path *path, uint32_t size)
{
	struct peer_router *router = context;
	router->reserved_path = *path;
	return size <= WEIR_FRAME_MAX ? router->reserved : NULL;
}

static void send_commit(void *context, uint32_t size)
{
	struct peer_router *router = context;
	if (size == 0)
		return;
	if (router->reserved_path.remote_port == OWN_PORT) {
		queue_put(&router->to_client, router->reserved, size);
		return;
	}
	struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = router->reserved_path.remote_port };
	memcpy(&peer.sin_addr, router->reserved_path.remote_ip, 4);
	router->config.send(router->config.context, &peer, router->reserved, size);
}

static void *mesh_reserve(void *context, uint16_t worker, const struct weir_mesh_header *header, uint32_t size)
{
	return NULL; // there is one worker
}

static void mesh_commit(void *context, uint16_t worker, uint32_t size)
{
}

static void message_send(void *context, uint16_t worker, const struct weir_message *message)
{
	struct peer_router *router = context;
	if (worker != WEIR_FROM_CONTROL)
		queue_put(&router->messages, message, sizeof(*message));
	else if (message->kind == WEIR_MESSAGE_DONE && message->result)
		router->failed = message->result;
}

static void messages_take(struct peer_router *router, uint64_t now_ns)
{
	struct queued *queued;
	while ((queued = queue_take(&router->messages))) {
		weir_engine_message(router->engine, (const struct weir_message *)queued->bytes, now_ns);
		free(queued);
	}
}

// ---- A life ----

static void specs_fill(struct peer_router *router)
{
	memset(router->by_id, 0xff, sizeof(router->by_id));
	for (uint32_t i = 0; i < TOPICS; i++) {
		// Ids of one life say nothing in another, and `in` has once that of `out`.
		uint32_t id = 1 + (router->life * 3 + i) % 61;
		router->groups[i] = (struct weir_group_spec){ .id = { id }, .kind = WEIR_GROUP_HOLD,
							      .start = WEIR_START_LATEST,
							      .progress_timeout_ns = 30000 * MS };
		snprintf(router->groups[i].name, sizeof(router->groups[i].name), "%s", GROUP_NAMES[i]);
		router->topics[i] = (struct weir_topic_spec){
			.id = { id },
			.shards = router->config.shards,
			.policy = WEIR_POLICY_BLOCK,
			.ack_min = WEIR_ACK_NONE,
			.event_max = router->config.log_bytes / 8 < EVENT_MAX ? router->config.log_bytes / 8 : EVENT_MAX,
			.log_bytes = router->config.log_bytes,
			.streams_max = 64,
			.owner = router->owner,
			.groups = &router->groups[i],
			.group_count = 1,
		};
		snprintf(router->topics[i].name, sizeof(router->topics[i].name), "%s", TOPIC_NAMES[i]);
		router->by_id[id] = i;
	}
	router->snapshot = (struct weir_snapshot){
		.revision = router->life, .topics = router->topics, .topic_count = TOPICS, .by_id = router->by_id,
		.by_id_count = TOPIC_IDS,
	};
}

static void command(struct peer_router *router, struct weir_message message, uint64_t now_ns)
{
	message.from = WEIR_FROM_CONTROL;
	message.request = 1;
	weir_engine_message(router->engine, &message, now_ns);
	messages_take(router, now_ns);
}

static int topic_create(struct peer_router *router, uint32_t topic, uint64_t now_ns)
{
	const struct weir_topic_spec *spec = &router->topics[topic];
	uint32_t id = spec->id.value;
	for (uint16_t shard = 0; shard < spec->shards; shard++) {
		const struct weir_shard_config config = {
			.topic = id,
			.shard = shard,
			.spec = spec,
			.incarnation = sim_random(&router->random) | 1,
			.node = -1,
			.hugepages = WEIR_HUGEPAGES_OFF,
			.row = &router->shard_rows[topic * SHARDS_MAX + shard],
		};
		struct weir_shard *made;
		int error = weir_shard_create(&made, &config);
		if (error)
			return error;
		command(router, (struct weir_message){ .kind = WEIR_MESSAGE_SHARD_ADOPT, .topic = id, .shard = shard,
						       .pointer = made }, now_ns);
	}
	command(router, (struct weir_message){ .kind = WEIR_MESSAGE_GROUP_SETUP, .topic = id, .group = id,
					       .shard = (uint16_t)spec->shards, .pointer = &router->groups[topic] }, now_ns);
	for (uint16_t shard = 0; shard < spec->shards; shard++) {
		struct weir_group_place *place = &router->places[topic * SHARDS_MAX + shard];
		*place = (struct weir_group_place){ .spec = router->groups[topic],
						    .row = &router->group_rows[topic * SHARDS_MAX + shard],
						    .delivery = &router->deliveries[topic * SHARDS_MAX + shard] };
		command(router, (struct weir_message){ .kind = WEIR_MESSAGE_GROUP_CREATE, .topic = id, .shard = shard,
						       .group = id, .pointer = place }, now_ns);
	}
	return router->failed;
}

static int engine_start(struct peer_router *router)
{
	const struct weir_engine_config config = {
		.workers = 1,
		.sessions_max = 64,
		.shards_max = TOPICS * SHARDS_MAX,
		.topics_max = TOPIC_IDS,
		.groups_max = TOPICS,
		.members_max = 64,
		.park_frames = 256,
		.behind_frames = WEIR_BEHIND_FRAMES,
		.reassembly_slots = 4,
		.reassembly_bytes = EVENT_MAX,
		.limits = {
			.frame_size = WEIR_FRAME_MAX,
			.window_frames = 64,
			.ping_ms = router->config.ping_ms,
			.lease_ms = router->config.lease_ms,
			.dedup_window_ms = 20000,
		},
		.secret = { sim_random(&router->random) },
		.router = sim_random(&router->random),
		.row = router->worker_row,
		.node = -1,
	};
	const struct weir_engine_io io = {
		.send_reserve = send_reserve,
		.send_commit = send_commit,
		.mesh_reserve = mesh_reserve,
		.mesh_commit = mesh_commit,
		.message_send = message_send,
		.context = router,
	};
	return weir_engine_create(&router->engine, &config, &io);
}

static int life_begin(struct peer_router *router, uint64_t now_ns)
{
	memset(router->worker_row, 0, sizeof(*router->worker_row));
	memset(router->shard_rows, 0, TOPICS * SHARDS_MAX * sizeof(*router->shard_rows));
	memset(router->group_rows, 0, TOPICS * SHARDS_MAX * sizeof(*router->group_rows));
	router->life++;
	router->failed = 0;
	specs_fill(router);
	int error = engine_start(router);
	for (uint32_t topic = 0; !error && topic < TOPICS; topic++)
		error = topic_create(router, topic, now_ns);
	if (!error)
		command(router, (struct weir_message){ .kind = WEIR_MESSAGE_SNAPSHOT, .pointer = &router->snapshot }, now_ns);
	return error ? error : router->failed;
}

static void life_end(struct peer_router *router)
{
	for (uint32_t shard = 0; router->engine && shard < router->config.shards; shard++)
		router->counts.delivered += router->group_rows[SHARDS_MAX + shard].settled;
	if (router->engine)
		weir_engine_destroy(router->engine);
	router->engine = NULL;
	queue_clear(&router->messages);
	queue_clear(&router->to_engine);
	queue_clear(&router->to_client);
}

// ---- The client at the other end ----

static uint32_t own_send(void *context, const struct weir_datagram *datagrams, uint32_t count)
{
	struct peer_router *router = context;
	for (uint32_t i = 0; i < count; i++)
		queue_put(&router->to_engine, datagrams[i].data, (uint32_t)datagrams[i].size);
	return count;
}

static int own_start(struct peer_router *router, uint64_t now_ns)
{
	const struct weir_core_options options = { .secret = { sim_random(&router->random) } };
	int error = weir_core_create(&router->core, &options, now_ns);
	if (!error)
		error = weir_core_producer_open(router->core, TOPIC_NAMES[1], NULL, &router->producer);
	if (!error)
		error = weir_core_consumer_open(router->core, TOPIC_NAMES[0], GROUP_NAMES[0], NULL, &router->consumer);
	router->publish_ns = now_ns;
	return error;
}

static void own_publish(struct peer_router *router, uint64_t now_ns)
{
	static uint8_t payload[EVENT_MAX];
	for (uint32_t i = 0; i < 1000 && router->config.rate && router->publish_ns <= now_ns; i++) {
		bool is_large = router->config.large_bytes && router->counts.published % 100 == 99;
		struct weir_event event = {
			.key = router->counts.published % KEYS,
			.payload = payload,
			.payload_size = is_large ? router->config.large_bytes : 16 + sim_below(&router->random, 100),
		};
		snprintf((char *)payload, sizeof(payload), "%llu", (unsigned long long)router->counts.published);
		if (weir_core_publish(router->producer, &event))
			break;
		router->counts.published++;
		router->publish_ns += 1000 * MS / router->config.rate;
	}
	// What had no credit is not made up for: the client is slow, the load stays what it is.
	if (router->publish_ns + 1000 * MS < now_ns)
		router->publish_ns = now_ns;
	weir_core_flush(router->producer);
}

static uint64_t own_run(struct peer_router *router, uint64_t now_ns)
{
	const struct weir_core_output output = { .send = own_send, .context = router };
	struct weir_view views[256];
	struct queued *queued;
	while ((queued = queue_take(&router->to_client))) {
		weir_core_input(router->core, queued->bytes, queued->size, now_ns);
		free(queued);
	}
	int count;
	while ((count = weir_core_consume(router->consumer, views, 256, now_ns)) > 0)
		router->counts.taken += (uint64_t)count;
	own_publish(router, now_ns);
	weir_core_poll(router->core, now_ns, &output);
	uint64_t due_ns = weir_core_deadline(router->core);
	return router->config.rate && router->publish_ns < due_ns ? router->publish_ns : due_ns;
}

// ---- From outside ----

static void arrive(struct peer_router *router, const struct weir_path *path, const void *frame, uint32_t size, uint64_t now_ns)
{
	const struct weir_arrival arrival = { .frame = frame, .path = path, .size = size };
	weir_engine_receive(router->engine, &arrival, 1, now_ns);
}

void peer_router_receive(struct peer_router *router, const struct sockaddr_in *peer, const void *frame, uint32_t size,
			 uint64_t now_ns)
{
	struct weir_path path = { .remote_port = peer->sin_port, .family = AF_INET };
	memcpy(path.remote_ip, &peer->sin_addr, 4);
	arrive(router, &path, frame, size, now_ns);
}

uint64_t peer_router_run(struct peer_router *router, uint64_t now_ns)
{
	const struct weir_path own = { .remote_ip = { 127, 0, 0, 1 }, .remote_port = OWN_PORT, .family = AF_INET };
	struct queued *queued;
	uint64_t own_due_ns = own_run(router, now_ns);
	while ((queued = queue_take(&router->to_engine))) {
		arrive(router, &own, queued->bytes, queued->size, now_ns);
		free(queued);
	}
	messages_take(router, now_ns);
	bool is_busy = weir_engine_run(router->engine, now_ns);
	if (is_busy || !STAILQ_EMPTY(&router->messages) || !STAILQ_EMPTY(&router->to_client))
		return now_ns;
	uint64_t due_ns = weir_engine_deadline(router->engine);
	return due_ns < own_due_ns ? due_ns : own_due_ns;
}

int peer_router_restart(struct peer_router *router, uint64_t now_ns)
{
	life_end(router);
	router->counts.restarts++;
	return life_begin(router, now_ns);
}

void peer_router_counts(const struct peer_router *router, struct peer_router_counts *counts)
{
	*counts = router->counts;
	for (uint32_t shard = 0; router->engine && shard < router->config.shards; shard++)
		counts->delivered += router->group_rows[SHARDS_MAX + shard].settled;
}

static void *zeroed(size_t size)
{
	void *memory = aligned_alloc(64, (size + 63) & ~63ul);
	if (memory)
		memset(memory, 0, size);
	return memory;
}

int peer_router_create(struct peer_router **router, const struct peer_router_config *config, uint64_t now_ns)
{
	struct peer_router *made = zeroed(sizeof(*made));
	if (!made)
		return -ENOMEM;
	made->config = *config;
	made->random = (struct sim_random){ config->seed };
	STAILQ_INIT(&made->messages);
	STAILQ_INIT(&made->to_engine);
	STAILQ_INIT(&made->to_client);
	made->worker_row = zeroed(sizeof(*made->worker_row));
	made->shard_rows = zeroed(TOPICS * SHARDS_MAX * sizeof(*made->shard_rows));
	made->group_rows = zeroed(TOPICS * SHARDS_MAX * sizeof(*made->group_rows));
	made->deliveries = zeroed(TOPICS * SHARDS_MAX * sizeof(*made->deliveries));
	int error = made->worker_row && made->shard_rows && made->group_rows && made->deliveries ? 0 : -ENOMEM;
	if (!error)
		error = life_begin(made, now_ns);
	if (!error)
		error = own_start(made, now_ns);
	if (error) {
		peer_router_destroy(made);
		return error;
	}
	*router = made;
	return 0;
}

void peer_router_destroy(struct peer_router *router)
{
	if (router->core)
		weir_core_destroy(router->core);
	life_end(router);
	free(router->worker_row);
	free(router->shard_rows);
	free(router->deliveries);
	free(router->group_rows);
	free(router);
}
