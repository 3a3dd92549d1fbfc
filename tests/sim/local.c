// Lanes of a run: clients that share memory with the router instead of sending datagrams. Frames pass in order and without
// loss; logs are mapped as a client maps them; a client that dies takes its lane with it, as control would see to it. What a
// log shows there is what lies in the ring, so an event that was overwritten too early shows.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "tests/sim/sim.h"

#define LANE_DELAY_US 3u

static struct sim_lane_entry *entry_find(struct sim *sim, uint64_t number)
{
	for (uint32_t i = 0; i < sim->router.lane_count; i++) {
		if (sim->router.lanes[i].number == number)
			return &sim->router.lanes[i];
	}
	return NULL;
}

static void local_put(struct sim_local *local)
{
	if (--local->refs == 0)
		free(local);
}

// ---- What the client core asks of its transport ----

static uint8_t *frames_get(void *context, size_t size)
{
	return NULL; // ordinary memory serves
}

static void frames_put(void *context, uint8_t *frames, size_t size)
{
}

static bool is_taken(const void *context)
{
	return true; // copied at once
}

static const uint8_t *map_twice(const struct weir_log *log)
{
	uint8_t *base = mmap(NULL, 2 * log->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED ||
	    mmap(base, log->size, PROT_READ, MAP_SHARED | MAP_FIXED, log->fd, 0) == MAP_FAILED ||
	    mmap(base + log->size, log->size, PROT_READ, MAP_SHARED | MAP_FIXED, log->fd, 0) == MAP_FAILED)
		abort();
	return base;
}

static int log_get(void *context, uint32_t topic, uint16_t shard, uint64_t incarnation, struct weir_core_log *log)
{
	struct sim_local *local = context;
	struct sim *sim = local->sim;
	uint32_t index = (topic - 1) % SIM_TOPICS;
	const struct weir_shard *asked = sim->router.shards[index][shard];
	struct sim_map *unused = NULL;
	if (!asked || asked->log.incarnation != incarnation)
		return -ENOENT;
	// Now and then it is not to be had, and frames have to do.
	if (sim_chance(&sim->random, 5))
		return -EACCES;
	for (uint32_t i = 0; i < SIM_MAPS; i++) {
		struct sim_map *map = &local->maps[i];
		if (map->log.base && map->incarnation == incarnation) {
			map->refs++;
			*log = map->log;
			return 0;
		}
		if (!map->log.base)
			unused = map;
	}
	if (!unused)
		return -ENOSPC;
	const struct weir_lane_head *head = &sim->router.heads[index * SIM_SHARDS + shard];
	unused->log = (struct weir_core_log){ .base = map_twice(&asked->log), .size = asked->log.size, .head = head };
	unused->incarnation = incarnation;
	unused->refs = 1;
	*log = unused->log;
	return 0;
}

static void log_put(void *context, const struct weir_core_log *log)
{
	struct sim_local *local = context;
	for (uint32_t i = 0; i < SIM_MAPS; i++)
		local->maps[i].refs -= local->maps[i].log.base == log->base;
}

static void maps_release(struct sim_local *local, bool all)
{
	for (uint32_t i = 0; i < SIM_MAPS; i++) {
		struct sim_map *map = &local->maps[i];
		if (!map->log.base || (map->refs && !all))
			continue;
		munmap((void *)(uintptr_t)map->log.base, 2 * map->log.size);
		*map = (struct sim_map){ 0 };
	}
}

static void logs_release(void *context)
{
	maps_release(context, false);
}

// ---- Set-up and end ----

const struct weir_core_local *sim_local_create(struct sim_client *client)
{
	struct sim_local *local = calloc(1, sizeof(*local));
	if (!local)
		abort();
	local->sim = client->sim;
	local->refs = 1;
	local->view = (struct weir_lane_view){ local->cursors, SIM_CURSORS };
	local->local = (struct weir_core_local){
		.context = local,
		.frames_get = frames_get,
		.frames_put = frames_put,
		.is_taken = is_taken,
		.log_get = log_get,
		.log_put = log_put,
		.logs_release = logs_release,
		.cursors = local->cursors,
		.cursor_count = SIM_CURSORS,
	};
	client->local = local;
	return &local->local;
}

void sim_local_up(struct sim_client *client)
{
	struct sim *sim = client->sim;
	struct sim_router *router = &sim->router;
	if (router->lane_count == SIM_LANES) {
		sim_fail(sim, "more than %u lanes", SIM_LANES);
		return;
	}
	client->local->number = ++sim->lane_number;
	struct sim_lane_entry *entry = &router->lanes[router->lane_count++];
	*entry = (struct sim_lane_entry){ .number = client->local->number, .local = client->local, .client = client };
	entry->path = (struct weir_path){ .family = AF_UNIX };
	memcpy(entry->path.remote_ip, &entry->number, sizeof(entry->number));
	client->local->refs++;
	weir_core_path_up(client->core, sim->now_ns);
	client->poll_at_ns = sim->now_ns;
}

// The process is gone, and control noticed.
void sim_local_die(struct sim_client *client)
{
	struct sim *sim = client->sim;
	struct sim_local *local = client->local;
	struct sim_lane_entry *entry = entry_find(sim, local->number);
	client->local = NULL;
	maps_release(local, true);
	local_put(local);
	if (!entry || !sim->router.is_up)
		return;
	entry->is_gone = true;
	entry->answers = sim->plan.workers;
	for (uint16_t worker = 0; worker < sim->plan.workers; worker++) {
		const struct weir_message gone = {
			.kind = WEIR_MESSAGE_LANE_GONE,
			.from = WEIR_FROM_CONTROL,
			.request = SIM_LANE_REQUEST,
			.value = entry->number,
			.pointer = &entry->path,
		};
		sim_router_send(sim, worker, &gone);
	}
}

void sim_local_answer(struct sim *sim, const struct weir_message *message)
{
	struct sim_lane_entry *entry = entry_find(sim, message->value);
	if (!entry || entry->answers == 0) {
		sim_fail(sim, "lane %lu ended unasked", (unsigned long)message->value);
		return;
	}
	// Nobody looks at its cursors any more.
	if (--entry->answers == 0)
		local_put(entry->local);
}

// The router died: lanes of this life are over, and clients connect to the next one.
void sim_locals_forget(struct sim *sim)
{
	struct sim_router *router = &sim->router;
	for (uint32_t i = 0; i < router->lane_count; i++) {
		if (!router->lanes[i].is_gone || router->lanes[i].answers)
			local_put(router->lanes[i].local);
	}
	router->lane_count = 0;
	for (uint32_t i = 0; i < sim->plan.clients; i++) {
		if (!sim->client[i].core || !sim->client[i].local)
			continue;
		sim->client[i].local->number = 0;
		weir_core_path_down(sim->client[i].core, sim->now_ns);
	}
}

void sim_locals_return(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->plan.clients; i++) {
		if (sim->client[i].core && sim->client[i].local)
			sim_local_up(&sim->client[i]);
	}
}

// ---- Between client and worker ----

const struct sim_link *sim_local_link(void)
{
	static const struct sim_link LINK = { .delay_us = LANE_DELAY_US };
	return &LINK;
}

// As the lane's port: the header is copied, the body of a publish stays where it is. false: its lane is over.
bool sim_local_arrival(struct sim *sim, const struct sim_packet *packet, struct weir_frame_header *header,
		       struct weir_arrival *arrival)
{
	const struct sim_lane_entry *entry = entry_find(sim, packet->lane);
	if (!entry || entry->is_gone)
		return false;
	memcpy(header, packet->data, sizeof(*header));
	*arrival = (struct weir_arrival){
		.frame = packet->data, .path = &entry->path, .size = packet->size, .trust_link = true,
	};
	if (header->kind == WEIR_KIND_PUBLISH && !(header->flags & WEIR_FLAG_FRAGMENT)) {
		arrival->frame = header;
		arrival->shared = packet->data + sizeof(*header);
	}
	return true;
}

struct sim_client *sim_local_client(struct sim *sim, const struct weir_path *path)
{
	uint64_t number;
	memcpy(&number, path->remote_ip, sizeof(number));
	const struct sim_lane_entry *entry = entry_find(sim, number);
	return entry && !entry->is_gone ? entry->client : NULL;
}

const struct weir_lane_view *sim_lane_find(void *context, uint64_t lane)
{
	struct sim_worker *worker = context;
	const struct sim_lane_entry *entry = entry_find(worker->sim, lane);
	return entry && !entry->is_gone ? &entry->local->view : NULL;
}

void sim_lane_wake(void *context, uint64_t lane)
{
	struct sim_worker *worker = context;
	const struct sim_lane_entry *entry = entry_find(worker->sim, lane);
	if (!entry || entry->is_gone)
		return;
	uint64_t at_ns = worker->sim->now_ns + LANE_DELAY_US * SIM_US;
	struct sim_client *client = entry->client;
	if (at_ns < client->paused_until_ns)
		at_ns = client->paused_until_ns;
	if (at_ns < client->act_at_ns && !client->is_closing)
		client->act_at_ns = at_ns;
}
