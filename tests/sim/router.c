// The router of a run: its engines, the rings between them and the rows they publish. A worker runs when something came in
// or its deadline is there; control may pause it, its port may be blocked.
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

#define PORT_BASE 9347u

static void *send_reserve(void *context, const struct weir_path *path, uint32_t size)
{
	struct sim_worker *worker = context;
	if (worker->is_reserved || size > WEIR_FRAME_MAX)
		sim_fail(worker->sim, "worker %u reserved twice, or %u bytes", worker->index, size);
	if (worker->sim->now_ns < worker->blocked_until_ns)
		return NULL;
	worker->is_reserved = true;
	worker->reserved_path = *path;
	return worker->reserved_frame;
}

static void send_commit(void *context, uint32_t size)
{
	struct sim_worker *worker = context;
	struct sim *sim = worker->sim;
	worker->is_reserved = false;
	if (size == 0)
		return;
	if (worker->reserved_path.family == AF_UNIX) {
		struct sim_client *client = sim_local_client(sim, &worker->reserved_path);
		if (!client || !client->local)
			return;
		const struct sim_packet packet = {
			.size = size,
			.client = client->index,
			.client_port = client->port,
			.worker = worker->index,
			.lane = client->local->number,
			.data = worker->reserved_frame,
		};
		sim_network_send(&sim->network, sim_local_link(), &packet, sim->now_ns);
		return;
	}
	uint16_t port = worker->reserved_path.remote_port;
	for (uint32_t i = 0; i < sim->plan.clients; i++) {
		struct sim_client *client = &sim->client[i];
		if (!client->core || client->port != port)
			continue;
		const struct sim_packet packet = {
			.size = size,
			.client = (uint16_t)i,
			.client_port = port,
			.worker = worker->index,
			.data = worker->reserved_frame,
		};
		sim_network_send(&sim->network, &client->link, &packet, sim->now_ns);
	}
}

static void *mesh_reserve(void *context, uint16_t to, const struct weir_mesh_header *header, uint32_t size)
{
	struct sim_worker *worker = context;
	struct sim_ring *ring = &worker->sim->router.mesh[worker->index][to];
	if (worker->is_reserved || size > WEIR_FRAME_MAX)
		sim_fail(worker->sim, "worker %u reserved twice, or %u bytes", worker->index, size);
	if (ring->tail - ring->head >= ring->size)
		return NULL;
	worker->is_reserved = true;
	struct sim_slot *slot = &ring->slots[ring->tail % ring->size];
	slot->header = *header;
	return slot->frame;
}

static void mesh_commit(void *context, uint16_t to, uint32_t size)
{
	struct sim_worker *worker = context;
	struct sim_ring *ring = &worker->sim->router.mesh[worker->index][to];
	struct sim_slot *slot = &ring->slots[ring->tail % ring->size];
	worker->is_reserved = false;
	if (size == 0 && slot->header.kind != WEIR_MESH_HANDOVER)
		return;
	slot->header.size = size;
	ring->tail++;
	sim_router_wake(&worker->sim->router.worker[to], worker->sim->now_ns + sim_below(&worker->sim->random, 20) * SIM_US);
}

static void message_put(struct sim_messages *inbox, const struct weir_message *message)
{
	if (inbox->count == inbox->room) {
		inbox->room = inbox->room ? 2 * inbox->room : 64;
		inbox->items = realloc(inbox->items, inbox->room * sizeof(*inbox->items));
		if (!inbox->items)
			abort();
	}
	inbox->items[inbox->count++] = *message;
}

void sim_router_send(struct sim *sim, uint16_t worker, const struct weir_message *message)
{
	struct sim_worker *to = &sim->router.worker[worker];
	message_put(&to->inbox, message);
	sim_router_wake(to, sim->now_ns + sim_below(&sim->random, 20) * SIM_US);
}

static void message_send(void *context, uint16_t to, const struct weir_message *message)
{
	struct sim_worker *worker = context;
	if (to == WEIR_FROM_CONTROL)
		sim_control_answer(worker->sim, message);
	else
		sim_router_send(worker->sim, to, message);
}

void sim_router_wake(struct sim_worker *worker, uint64_t at_ns)
{
	if (at_ns < worker->paused_until_ns)
		at_ns = worker->paused_until_ns;
	if (at_ns < worker->run_at_ns)
		worker->run_at_ns = at_ns;
}

static void ring_create(struct sim_ring *ring, uint32_t size)
{
	ring->size = size;
	ring->slots = calloc(size, sizeof(*ring->slots));
	ring->memory = malloc((size_t)size * WEIR_FRAME_MAX);
	if (!ring->slots || !ring->memory)
		abort();
	for (uint32_t i = 0; i < size; i++)
		ring->slots[i].frame = ring->memory + (size_t)i * WEIR_FRAME_MAX;
	ring->head = ring->tail = 0;
}

static void engine_start(struct sim *sim, uint16_t index)
{
	struct sim_worker *worker = &sim->router.worker[index];
	*worker = (struct sim_worker){ .sim = sim, .index = index };
	const struct weir_engine_config config = {
		.worker = index,
		.workers = (uint16_t)sim->plan.workers,
		.sessions_max = 64,
		.shards_max = SIM_TOPICS * SIM_SHARDS,
		.topics_max = SIM_TOPIC_IDS,
		.groups_max = SIM_GROUPS,
		.members_max = SIM_CLIENTS,
		.park_frames = 64,
		.behind_frames = sim->plan.behind_frames,
		.reassembly_slots = 3,
		.reassembly_bytes = 16u << 10,
		.limits = {
			.frame_size = sim->plan.frame_size,
			.window_frames = 64,
			.ping_ms = 200,
			.lease_ms = 1500,
			.dedup_window_ms = 20000,
		},
		.secret = { sim_random(&sim->random) },
		.router = sim->plan.seed + sim->router.life * 1000003ull,
		.row = &sim->router.worker_rows[index],
		.node = -1,
	};
	const struct weir_engine_io io = {
		.send_reserve = send_reserve,
		.send_commit = send_commit,
		.mesh_reserve = mesh_reserve,
		.mesh_commit = mesh_commit,
		.message_send = message_send,
		.lane_find = sim_lane_find,
		.lane_wake = sim_lane_wake,
		.context = worker,
	};
	int error = weir_engine_create(&worker->engine, &config, &io);
	if (error)
		sim_fail(sim, "cannot create engine %u: %d", index, error);
}

void sim_router_start(struct sim *sim)
{
	struct sim_router *router = &sim->router;
	router->life++;
	router->worker_rows = aligned_alloc(64, SIM_WORKERS * sizeof(*router->worker_rows));
	router->shard_rows = aligned_alloc(64, SIM_TOPICS * SIM_SHARDS * sizeof(*router->shard_rows));
	router->group_rows = aligned_alloc(64, SIM_GROUPS * SIM_SHARDS * sizeof(*router->group_rows));
	router->deliveries = aligned_alloc(64, SIM_GROUPS * SIM_SHARDS * sizeof(*router->deliveries));
	if (!router->worker_rows || !router->shard_rows || !router->group_rows || !router->deliveries)
		abort();
	memset(router->worker_rows, 0, SIM_WORKERS * sizeof(*router->worker_rows));
	memset(router->shard_rows, 0, SIM_TOPICS * SIM_SHARDS * sizeof(*router->shard_rows));
	memset(router->group_rows, 0, SIM_GROUPS * SIM_SHARDS * sizeof(*router->group_rows));
	for (uint32_t from = 0; from < sim->plan.workers; from++) {
		for (uint32_t to = 0; to < sim->plan.workers; to++)
			ring_create(&router->mesh[from][to], sim->plan.mesh_slots);
		engine_start(sim, (uint16_t)from);
	}
	router->is_up = true;
	sim_control_start(sim);
	sim_locals_return(sim);
}

// As by kill -9: nothing is said to anybody. Shards on their way between workers belong to nobody: freed from the rings.
void sim_router_stop(struct sim *sim)
{
	struct sim_router *router = &sim->router;
	router->is_up = false;
	for (uint32_t i = 0; i < sim->plan.workers; i++) {
		struct sim_worker *worker = &router->worker[i];
		for (uint32_t k = 0; k < worker->arrival_count; k++)
			sim_network_put(&sim->network, worker->arrivals[k]);
		for (uint32_t k = 0; k < worker->inbox.count; k++) {
			if (worker->inbox.items[k].kind == WEIR_MESSAGE_SHARD_ADOPT)
				weir_shard_destroy(worker->inbox.items[k].pointer);
		}
		free(worker->inbox.items);
		weir_engine_destroy(worker->engine);
		worker->engine = NULL;
		for (uint32_t to = 0; to < sim->plan.workers; to++) {
			struct sim_ring *ring = &router->mesh[i][to];
			for (uint64_t at = ring->head; at != ring->tail; at++) {
				if (ring->slots[at % ring->size].header.kind == WEIR_MESH_HANDOVER)
					weir_shard_destroy(ring->slots[at % ring->size].header.pointer);
			}
			free(ring->slots);
			free(ring->memory);
		}
	}
	sim_locals_forget(sim);
	sim_control_stop(sim);
	free(router->worker_rows);
	free(router->shard_rows);
	free(router->deliveries);
	free(router->group_rows);
}

static void arrivals_receive(struct sim_worker *worker)
{
	struct sim *sim = worker->sim;
	static struct weir_arrival arrivals[SIM_ARRIVALS];
	static struct weir_path paths[SIM_ARRIVALS];
	static struct weir_frame_header headers[SIM_ARRIVALS];
	uint32_t count = 0;
	if (worker->arrival_count == 0)
		return;
	for (uint32_t i = 0; i < worker->arrival_count; i++) {
		const struct sim_packet *packet = worker->arrivals[i];
		if (packet->lane) {
			count += sim_local_arrival(sim, packet, &headers[count], &arrivals[count]);
			continue;
		}
		paths[count] = (struct weir_path){ .remote_port = packet->client_port, .family = AF_INET };
		paths[count].remote_ip[0] = 10;
		paths[count].remote_ip[3] = (uint8_t)packet->client;
		paths[count].local_port = (uint16_t)(PORT_BASE + worker->index);
		arrivals[count] = (struct weir_arrival){
			.frame = packet->data, .path = &paths[count], .size = packet->size,
		};
		count++;
	}
	weir_engine_receive(worker->engine, arrivals, count, sim->now_ns);
	for (uint32_t i = 0; i < worker->arrival_count; i++)
		sim_network_put(&sim->network, worker->arrivals[i]);
	worker->arrival_count = 0;
}

// Commands first, then frames of the mesh: the order in which a worker loop may meet them is not promised, so it varies.
static void inbox_take(struct sim_worker *worker)
{
	struct sim_messages inbox = worker->inbox;
	worker->inbox = (struct sim_messages){ 0 };
	for (uint32_t i = 0; i < inbox.count; i++)
		weir_engine_message(worker->engine, &inbox.items[i], worker->sim->now_ns);
	free(inbox.items);
}

static void mesh_take(struct sim_worker *worker)
{
	struct sim *sim = worker->sim;
	for (uint32_t from = 0; from < sim->plan.workers; from++) {
		struct sim_ring *ring = &sim->router.mesh[from][worker->index];
		while (ring->head != ring->tail) {
			struct sim_slot *slot = &ring->slots[ring->head % ring->size];
			if (!weir_engine_mesh(worker->engine, &slot->header, slot->frame, sim->now_ns))
				break;
			ring->head++;
		}
	}
}

void sim_worker_run(struct sim_worker *worker)
{
	struct sim *sim = worker->sim;
	bool is_mesh_first = sim_chance(&sim->random, 50);
	worker->run_at_ns = UINT64_MAX;
	arrivals_receive(worker);
	if (is_mesh_first)
		mesh_take(worker);
	inbox_take(worker);
	if (!is_mesh_first)
		mesh_take(worker);
	bool is_busy = weir_engine_run(worker->engine, sim->now_ns);
	uint64_t next = weir_engine_deadline(worker->engine);
	if (is_busy || next <= sim->now_ns)
		next = sim->now_ns + sim_between(&sim->random, 2, 20) * SIM_US;
	for (uint32_t from = 0; from < sim->plan.workers; from++) {
		const struct sim_ring *ring = &sim->router.mesh[from][worker->index];
		if (ring->head != ring->tail)
			next = sim->now_ns + 20 * SIM_US;
	}
	sim_router_wake(worker, next);
}
