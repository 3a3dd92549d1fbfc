// Life of the running router: from a topology to workers that poll, and back to nothing. Topics come and go in apply.c.
// Control thread only.
#include "control/daemon/router.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "control/daemon/discard.h"
#include "control/daemon/exchange.h"
#include "control/daemon/memory.h"
#include "control/daemon/parts.h"
#include "control/daemon/ports.h"
#include "control/daemon/say.h"
#include "lib/clock.h"

#define MILLISECOND_NS 1000000ull
#define STOP_WAIT_MS 1000
#define PORT_MEMORY (256ull << 20) // what dataplane/io/eal.h wants for the buffers of ports
#define FAULTS_MAX WEIR_WORKERS_MAX

static uint64_t wall_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_REALTIME, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

struct weir_engine_limits weir_router_limits(const struct weir_topology *topology)
{
	const struct weir_topology_limits *limits = &topology->limits;

	return (struct weir_engine_limits){
		.frame_size = limits->frame_size,
		.window_frames = limits->window_frames,
		.ping_ms = (uint32_t)(limits->ping_ns / MILLISECOND_NS),
		.lease_ms = (uint32_t)(limits->lease_ns / MILLISECOND_NS),
		.dedup_window_ms = (uint32_t)(limits->dedup_window_ns / MILLISECOND_NS),
	};
}

static int trouble_of(struct weir_trouble *trouble, const struct weir_fault *fault, int err)
{
	weir_trouble_set(trouble, fault->object, fault->action, fault->fix, "%s", fault->reason);
	return err;
}

// What the dataplane is told, kept together while it is created.
struct build {
	struct weir_dataplane_worker workers[WEIR_WORKERS_MAX];
	struct weir_port_config ports[WEIR_TOPOLOGY_PORTS_MAX];
	uint16_t queues[WEIR_TOPOLOGY_PORTS_MAX][WEIR_WORKERS_MAX];
	char devices[WEIR_TOPOLOGY_PORTS_MAX][WEIR_TOPOLOGY_SOCKET_SIZE + 64]; // devargs of vhost ports
	struct weir_dataplane_config config;
};

static enum weir_port_kind port_kind(enum weir_topology_port_kind kind)
{
	switch (kind) {
	case WEIR_TOPOLOGY_PORT_AFXDP:
		return WEIR_PORT_AFXDP;
	case WEIR_TOPOLOGY_PORT_DPDK:
	case WEIR_TOPOLOGY_PORT_VHOST:
		return WEIR_PORT_DPDK;
	default:
		return WEIR_PORT_KERNEL;
	}
}

// Devargs of a port, NULL: it has none. Devices of vhost ports are numbered apart from those that the file names itself.
static const char *port_device(struct build *build, const struct weir_topology_port *port, uint32_t i)
{
	if (port->kind != WEIR_TOPOLOGY_PORT_VHOST)
		return port->device[0] ? port->device : NULL;
	snprintf(build->devices[i], sizeof(build->devices[i]), "net_vhost_weir%u,iface=%s,queues=%u", i, port->socket,
		 port->worker_count);
	return build->devices[i];
}

static void build_ports(struct build *build, const struct weir_router *router)
{
	for (uint32_t i = 0; i < router->topology->port_count; i++) {
		const struct weir_topology_port *port = &router->topology->ports[i];

		for (uint32_t q = 0; q < port->worker_count; q++)
			build->queues[i][q] = (uint16_t)port->workers[q];
		build->ports[i] = (struct weir_port_config){
			.name = port->name,
			.kind = port_kind(port->kind),
			.interface = port->interface[0] ? port->interface : NULL,
			.device = port_device(build, port, i),
			.address = port->address[0] ? port->address : NULL,
			.udp_port = (uint16_t)port->udp_port,
			.trust_link = port->integrity == WEIR_INTEGRITY_LINK,
			.allow_generic = port->xdp == WEIR_XDP_GENERIC,
			.node = router->plan->ports[i].node,
			.workers = build->queues[i],
			.queues = (uint16_t)port->worker_count,
		};
	}
}

static void build_engine(struct weir_engine_config *engine, const struct weir_router *router)
{
	const struct weir_topology_limits *limits = &router->topology->limits;

	*engine = (struct weir_engine_config){
		.sessions_max = limits->sessions_per_worker,
		.shards_max = WEIR_ROUTER_SHARDS_MAX,
		.topics_max = WEIR_ROUTER_TOPIC_IDS,
		.groups_max = WEIR_ROUTER_GROUPS_MAX,
		.members_max = limits->members_per_group,
		.park_frames = limits->park_frames,
		.behind_frames = WEIR_BEHIND_FRAMES,
		.reassembly_slots = limits->reassembly_slots,
		.reassembly_bytes = (uint32_t)router->event_room,
		.limits = weir_router_limits(router->topology),
		.router = router->id,
		.offers = WEIR_OFFERS_BUILT,
	};
	// Session ids and cookies hang on it: as random as the machine can.
	while (getrandom(engine->secret, sizeof(engine->secret), 0) != sizeof(engine->secret))
		;
}

static enum weir_eal_memory eal_memory(enum weir_topology_hugepages hugepages)
{
	switch (hugepages) {
	case WEIR_TOPOLOGY_HUGEPAGES_REQUIRE:
		return WEIR_EAL_HUGEPAGES;
	case WEIR_TOPOLOGY_HUGEPAGES_OFF:
		return WEIR_EAL_ORDINARY;
	default:
		return WEIR_EAL_PREFER;
	}
}

// What prefers hugepages and does not get them works, a little slower: that is worth a line.
static void warn_of_pages(const struct weir_router *router)
{
	const struct weir_topology *topology = router->topology;
	struct weir_memory memory;
	uint64_t free = 0;
	bool has_device = false;

	for (uint32_t i = 0; i < topology->port_count; i++)
		has_device |= topology->ports[i].kind != WEIR_TOPOLOGY_PORT_KERNEL;
	if (!has_device || topology->hugepages != WEIR_TOPOLOGY_HUGEPAGES_PREFER)
		return;
	for (uint32_t n = 0; n < router->machine->node_count; n++) {
		if (weir_memory_read(router->machine->nodes[n].node, &memory) == 0)
			free += memory.hugepages;
	}
	if (free < PORT_MEMORY)
		weir_say(WEIR_SAY_WARNING,
			 "%llu MiB of hugepages are free, ports want %llu: their buffers are in ordinary pages",
			 (unsigned long long)(free >> 20), (unsigned long long)(PORT_MEMORY >> 20));
}

static int open_dataplane(struct weir_router *router, const struct weir_router_options *options, struct weir_trouble *trouble)
{
	const struct weir_topology *topology = router->topology;
	struct weir_fault fault = { 0 };
	struct build *build = calloc(1, sizeof(*build));
	int err;

	if (!build)
		return -ENOMEM;
	for (uint32_t w = 0; w < topology->worker_count; w++) {
		build->workers[w].core = (int)router->plan->workers[w].cpu;
		build->workers[w].node = (int)router->plan->workers[w].node;
	}
	build_ports(build, router);
	weir_ports_sweep(router);
	warn_of_pages(router);
	build->config = (struct weir_dataplane_config){
		.instance = topology->instance,
		.counters = { .path = options->counters_path,
			      .shard_rows = WEIR_ROUTER_SHARDS_MAX,
			      .group_rows = WEIR_ROUTER_GROUP_ROWS },
		.workers = build->workers,
		.worker_count = (uint16_t)topology->worker_count,
		.ports = build->ports,
		.port_count = topology->port_count,
		.poll = topology->poll == WEIR_POLL_ALWAYS ? WEIR_POLL_MODE_ALWAYS : WEIR_POLL_MODE_ADAPTIVE,
		.idle_sleep_max_ns = topology->idle_sleep_max_ns,
		.nice = WEIR_WORKER_NICE,
		.memory = eal_memory(topology->hugepages),
		.dpdk_log = weir_say_stream(),
		.lanes_per_worker = topology->lanes_per_worker,
	};
	build_engine(&build->config.engine, router);
	err = weir_memory_check_start(weir_dataplane_size(&build->config), router->machine, trouble);
	if (err) {
		free(build);
		return err;
	}
	err = weir_dataplane_create(&router->dataplane, &build->config, &fault);
	free(build);
	if (err)
		return trouble_of(trouble, &fault, err);
	router->requests.gate = weir_dataplane_gate(router->dataplane);
	return 0;
}

static int start_workers(struct weir_router *router, struct weir_trouble *trouble)
{
	struct weir_fault *warnings = calloc(FAULTS_MAX, sizeof(*warnings));
	struct weir_fault fault = { 0 };
	uint32_t count = 0;
	int err;

	if (!warnings)
		return -ENOMEM;
	err = weir_dataplane_start(router->dataplane, warnings, FAULTS_MAX, &count, &fault);
	for (uint32_t i = 0; !err && i < count && i < FAULTS_MAX; i++)
		weir_say(WEIR_SAY_WARNING, "%s: cannot %s: %s. %s", warnings[i].object, warnings[i].action, warnings[i].reason,
			 warnings[i].fix);
	free(warnings);
	return err ? trouble_of(trouble, &fault, err) : 0;
}

// What the router runs before the first apply: the file's workers, ports and limits, and no topic.
static struct weir_topology *bare_copy(const struct weir_topology *topology)
{
	struct weir_topology *bare = malloc(sizeof(*bare));

	if (!bare)
		return NULL;
	*bare = *topology;
	bare->topics = NULL;
	bare->topic_count = 0;
	bare->workers = calloc(topology->worker_count + 1, sizeof(*bare->workers));
	bare->ports = calloc(topology->port_count + 1, sizeof(*bare->ports));
	if (!bare->workers || !bare->ports) {
		free(bare->workers);
		free(bare->ports);
		free(bare);
		return NULL;
	}
	memcpy(bare->workers, topology->workers, topology->worker_count * sizeof(*bare->workers));
	memcpy(bare->ports, topology->ports, topology->port_count * sizeof(*bare->ports));
	return bare;
}

static int bring_up(struct weir_router *router, struct weir_topology *topology, const struct weir_router_options *options,
		    struct weir_trouble *trouble)
{
	struct weir_outcome outcome;
	int err = weir_plan_create(&router->plan, router->machine, router->topology, NULL, trouble);

	if (!err)
		err = open_dataplane(router, options, trouble);
	if (!err)
		err = start_workers(router, trouble);
	if (err) {
		weir_topology_destroy(topology);
		return err;
	}
	err = weir_router_apply(router, topology, NULL, &outcome, trouble);
	weir_outcome_fini(&outcome);
	return err;
}

int weir_router_start(struct weir_router **out, struct weir_machine *machine, struct weir_topology *topology,
		      const struct weir_router_options *options, struct weir_trouble *trouble)
{
	struct weir_router *router = calloc(1, sizeof(*router));
	int err = -ENOMEM;

	weir_trouble_set(trouble, "router", "start", "free some memory", "out of memory");
	if (!router) {
		free(machine);
		weir_topology_destroy(topology);
		return err;
	}
	router->machine = machine;
	router->start_ns = lib_clock_ns();
	router->event_room = topology->limits.event_max;
	weir_terms_open(&router->terms, options->terms_path, wall_ns(), router->start_ns);
	while (router->id == 0 && getrandom(&router->id, sizeof(router->id), 0) != sizeof(router->id))
		;
	router->patience_ms = options->patience_ms ? options->patience_ms : WEIR_EXCHANGE_TIMEOUT_MS;
	router->topology = bare_copy(topology);
	if (router->topology)
		err = bring_up(router, topology, options, trouble);
	else
		weir_topology_destroy(topology);
	if (err) {
		weir_router_stop(router);
		return err;
	}
	*out = router;
	return 0;
}

static void say_goodbye(struct weir_router *router)
{
	const struct weir_message command = { .kind = WEIR_MESSAGE_STOP };
	struct weir_exchange exchange;
	int err = 0;

	weir_exchange_init(&exchange, &router->requests);
	for (uint16_t w = 0; err >= 0 && w < router->topology->worker_count; w++)
		err = weir_exchange_add(&exchange, w, &command);
	weir_exchange_send(&exchange);
	weir_exchange_wait(&exchange, STOP_WAIT_MS);
	weir_exchange_fini(&exchange);
}

// Logs are in memory alone: what hold groups still hold goes with the router.
static void say_lost(const struct weir_router *router)
{
	for (uint32_t t = 0; t < router->topic_count; t++) {
		const struct weir_router_topic *topic = router->topics[t];

		for (uint32_t g = 0; g < topic->group_count; g++) {
			uint64_t held = weir_discard_held(topic, topic->groups[g]);

			if (held)
				weir_say(WEIR_SAY_WARNING,
					 "topic %s: group %s held %llu events that nobody settled; they are gone with weir",
					 topic->spec.name, topic->groups[g]->spec.name, (unsigned long long)held);
		}
	}
}

void weir_router_stop(struct weir_router *router)
{
	if (!router)
		return;
	if (router->dataplane) {
		if (router->snapshot)
			say_goodbye(router);
		weir_dataplane_stop(router->dataplane);
		say_lost(router);
		weir_router_abandon(router);
		// Shards go with their workers; what control holds are rows and lists.
		for (uint32_t t = 0; t < router->topic_count; t++)
			weir_router_topic_destroy(router, router->topics[t]);
		weir_dataplane_destroy(router->dataplane);
	}
	free(router->snapshot);
	free(router->topics);
	weir_plan_destroy(router->plan);
	weir_topology_destroy(router->topology);
	free(router->machine);
	free(router);
}

struct weir_router_topic *weir_router_find(const struct weir_router *router, const char *name)
{
	for (uint32_t t = 0; t < router->topic_count; t++) {
		if (strcmp(router->topics[t]->spec.name, name) == 0)
			return router->topics[t];
	}
	return NULL;
}

static void rate_update(struct weir_rate *rate, uint64_t value, double seconds)
{
	rate->per_second = value >= rate->last ? (double)(value - rate->last) / seconds : 0;
	rate->last = value;
}

static void sample_topic(struct weir_router_topic *topic, double seconds)
{
	struct weir_shard_row shard;
	struct weir_group_row row;

	for (uint32_t s = 0; s < topic->spec.shards; s++) {
		if (weir_row_read(&shard, topic->rows[s], sizeof(shard)) == 0)
			rate_update(&topic->accepted[s], shard.accepted, seconds);
	}
	for (uint32_t g = 0; g < topic->group_count; g++) {
		uint64_t settled = 0;

		for (uint32_t s = 0; s < topic->spec.shards; s++) {
			if (weir_row_read(&row, topic->groups[g]->rows[s], sizeof(row)) == 0)
				settled += row.settled;
		}
		rate_update(&topic->groups[g]->settled, settled, seconds);
	}
}

static void watch_worker(struct weir_router *router, uint16_t worker, uint64_t time_ns)
{
	struct weir_router_worker *known = &router->workers[worker];
	struct weir_pulse pulse;
	bool is_stalled;

	weir_worker_look(weir_dataplane_worker(router->dataplane, worker), true, &pulse);
	is_stalled = weir_pulse_is_stall(&pulse, time_ns);
	known->turn_max_ns = pulse.longest_ns;
	if (is_stalled && !known->is_stalled)
		weir_say(WEIR_SAY_WARNING, "worker %u: stalled for %.1f ms in stage %s, port %u of its ports", worker,
			 (double)(time_ns - pulse.turn_ns) / 1e6, weir_stage_name(pulse.stage), pulse.port);
	known->is_stalled = is_stalled;
}

static void watch_paths(struct weir_router_worker *known, const struct weir_worker_row *row)
{
	if (row->path_steps == known->path_steps)
		return;
	weir_say(WEIR_SAY_WARNING,
		 "frame size of session %u.%u stepped down to %u bytes: the path carries no more (%llu such steps of its "
		 "worker's sessions so far). Look for a tunnel, a changed MTU or a switch on the way to the client",
		 (unsigned)(row->path_session >> 32), (unsigned)row->path_session,
		 (unsigned)row->path_size, (unsigned long long)row->path_steps);
	known->path_steps = row->path_steps;
}

void weir_router_sample(struct weir_router *router, uint64_t time_ns)
{
	weir_terms_renew(&router->terms, time_ns);
	struct weir_counters_view view = weir_counters_look(weir_dataplane_counters(router->dataplane));
	double seconds = (double)(time_ns - router->sample_ns) / 1e9;
	struct weir_worker_row row;

	if (seconds <= 0)
		return;
	weir_ports_watch(router, time_ns);
	for (uint16_t w = 0; w < router->topology->worker_count; w++) {
		struct weir_router_worker *worker = &router->workers[w];

		watch_worker(router, w, time_ns);
		if (weir_row_read(&row, &view.workers[w], sizeof(row)) != 0)
			continue;
		watch_paths(worker, &row);
		rate_update(&worker->received, row.received, seconds);
		rate_update(&worker->sent, row.sent, seconds);
		rate_update(&worker->busy, row.busy_ns, seconds);
		rate_update(&worker->idle, row.idle_ns, seconds);
		rate_update(&worker->sleep, row.sleep_ns, seconds);
	}
	for (uint32_t t = 0; t < router->topic_count; t++)
		sample_topic(router->topics[t], seconds);
	router->sample_ns = time_ns;
}
