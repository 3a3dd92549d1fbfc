// Puts the parts of the machine side together in the order of their needs, and takes them apart in the reverse one, also
// when only some of them came to be. Control thread.
#include "dataplane/io/dataplane.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/io/interfaces.h"
#include "dataplane/io/mesh.h"
#include "wire/limits.h"

#define EAL_MB 48u       // DPDK itself
#define EAL_QUEUE_MB 48u // buffers of a queue, up to the MTUs of Ethernet and AF_XDP
#define EAL_NEEDS(kind) ((kind) != WEIR_PORT_KERNEL)

struct opened_port {
	struct weir_port **queues; // [count]
	uint16_t count;
	struct weir_port_config config; // its texts are copies
	struct weir_port_state state;
};

struct weir_dataplane {
	struct weir_mesh *mesh;
	struct weir_gate *gate;
	struct weir_counters *counters;
	struct weir_worker **workers; // [worker_count]
	uint16_t worker_count;
	struct opened_port *ports; // [port_count]
	uint32_t port_count;
	struct weir_interfaces *interfaces;
	struct weir_lane_table *lanes;
	struct weir_port **lane_ports; // [worker_count]
	bool is_running;
	bool has_eal;
};

static int out_of_memory(struct weir_fault *fault)
{
	return weir_fault_set(fault, -ENOMEM, "dataplane", "allocate it", "free some memory, or use fewer workers",
			      "out of memory");
}

static bool needs_eal(const struct weir_dataplane_config *config, uint16_t worker)
{
	for (uint32_t i = 0; i < config->port_count; i++)
		for (uint16_t queue = 0; queue < config->ports[i].queues; queue++)
			if (EAL_NEEDS(config->ports[i].kind) &&
			    (worker == UINT16_MAX || config->ports[i].workers[queue] == worker))
				return true;
	return false;
}

static int check_config(const struct weir_dataplane_config *config, struct weir_fault *fault)
{
	if (config->worker_count == 0 || config->worker_count > WEIR_WORKERS_MAX)
		return weir_fault_set(fault, -EINVAL, "dataplane", "start its workers", "configure 1 to 64 workers",
				      "%u workers are configured", config->worker_count);
	for (uint32_t i = 0; i < config->port_count; i++) {
		const struct weir_port_config *port = &config->ports[i];

		if (port->queues == 0 || port->udp_port == 0 || port->udp_port + config->worker_count > 65536)
			return weir_fault_set(fault, -EINVAL, port->name, "open the port",
					      "give it a worker, and a udp_port from 1 to 65536 less the number of workers",
					      "%u queues, UDP ports %u to %u", port->queues, port->udp_port,
					      port->udp_port + config->worker_count - 1u);
		for (uint16_t queue = 0; queue < port->queues; queue++)
			if (port->workers[queue] >= config->worker_count)
				return weir_fault_set(fault, -EINVAL, port->name, "open the port", "name a configured worker",
						      "worker %u polls queue %u, but there are %u workers",
						      port->workers[queue], queue, config->worker_count);
	}
	return 0;
}

static int create_mesh(struct weir_dataplane *dataplane, const struct weir_dataplane_config *config, struct weir_fault *fault)
{
	int node[WEIR_WORKERS_MAX];
	int error;

	for (uint16_t i = 0; i < config->worker_count; i++)
		node[i] = config->workers[i].node;
	error = weir_mesh_create(&dataplane->mesh, config->worker_count, node);
	if (!error)
		error = weir_gate_create(&dataplane->gate, dataplane->mesh, config->worker_count);
	return error ? weir_fault_set(fault, error, "worker mesh", "make its rings", "free some memory, or use fewer workers",
				      "%s", strerror(-error))
		     : 0;
}

static int create_workers(struct weir_dataplane *dataplane, const struct weir_dataplane_config *config,
			  struct weir_fault *fault)
{
	for (uint16_t i = 0; i < config->worker_count; i++) {
		struct weir_worker_settings settings = { .worker = i, .core = config->workers[i].core,
							 .node = config->workers[i].node, .nice = config->nice,
							 .poll = config->poll, .idle_sleep_max_ns = config->idle_sleep_max_ns,
							 .needs_eal = needs_eal(config, i) };
		struct weir_engine_config engine = config->engine;
		int error;

		engine.workers = config->worker_count;
		engine.row = weir_counters_worker(dataplane->counters, i);
		engine.secret[0] = config->engine.secret[0] + i;
		error = weir_worker_create(&dataplane->workers[i], &settings, &engine, dataplane->mesh, fault);
		if (error)
			return error;
	}
	return 0;
}

// A port may be opened again in its life.
static int keep_config(struct weir_port_config *to, const struct weir_port_config *from)
{
	const char *const texts[] = { from->name, from->interface, from->device, from->address, from->instance };
	const char **const copies[] = { &to->name, &to->interface, &to->device, &to->address, &to->instance };

	*to = *from;
	to->workers = NULL; // queues know theirs
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		*copies[i] = texts[i] ? strdup(texts[i]) : NULL;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		if (texts[i] && !*copies[i])
			return -ENOMEM;
	return 0;
}

static void free_config(struct weir_port_config *config)
{
	free((void *)config->name);
	free((void *)config->interface);
	free((void *)config->device);
	free((void *)config->address);
	free((void *)config->instance);
}

static int open_port(struct weir_dataplane *dataplane, const struct weir_dataplane_config *config, uint32_t i,
		     uint16_t *used, struct weir_fault *fault)
{
	struct weir_port_config port = config->ports[i];
	struct opened_port *opened = &dataplane->ports[i];
	uint16_t *index = calloc(port.queues, sizeof(*index));
	int error;

	opened->queues = calloc(port.queues, sizeof(*opened->queues));
	if (!index || !opened->queues) {
		free(index);
		return out_of_memory(fault);
	}
	port.instance = config->instance;
	port.worker_count = config->worker_count;
	port.nice = config->nice;
	port.interfaces = dataplane->interfaces;
	for (uint16_t queue = 0; queue < port.queues; queue++)
		index[queue] = used[port.workers[queue]]++;
	error = weir_port_open(opened->queues, &port, index, fault);
	free(index);
	if (error)
		return error;
	opened->count = port.queues;
	if (keep_config(&opened->config, &port) != 0)
		return out_of_memory(fault);
	for (uint16_t queue = 0; queue < port.queues; queue++) {
		error = weir_worker_add_port(dataplane->workers[port.workers[queue]], opened->queues[queue]);
		if (error)
			return weir_fault_set(fault, error, port.name, "give its queue to a worker",
					      "spread the ports over more workers", "worker %u polls %u queues already",
					      port.workers[queue], WEIR_WORKER_PORTS_MAX);
	}
	return 0;
}

// Lanes come behind the configured ports.
static int open_lanes(struct weir_dataplane *dataplane, const struct weir_dataplane_config *config, const uint16_t *used,
		      struct weir_fault *fault)
{
	int error;

	if (config->lanes_per_worker == 0)
		return 0;
	dataplane->lane_ports = calloc(config->worker_count, sizeof(*dataplane->lane_ports));
	if (!dataplane->lane_ports)
		return out_of_memory(fault);
	error = weir_lane_table_create(&dataplane->lanes, config->worker_count, config->lanes_per_worker,
				       config->counters.shard_rows, fault);
	for (uint16_t i = 0; !error && i < config->worker_count; i++) {
		error = weir_port_lane_open(&dataplane->lane_ports[i], dataplane->lanes, i, used[i], fault);
		if (!error)
			weir_worker_add_lanes(dataplane->workers[i], dataplane->lane_ports[i]);
	}
	return error;
}

static int open_ports(struct weir_dataplane *dataplane, const struct weir_dataplane_config *config, struct weir_fault *fault)
{
	uint16_t used[WEIR_WORKERS_MAX] = { 0 };
	int error = weir_interfaces_create(&dataplane->interfaces);

	if (error)
		return weir_fault_set(fault, error, "network interfaces", "read them", "allow netlink sockets", "%s",
				      strerror(-error));
	for (uint32_t i = 0; i < config->port_count; i++) {
		error = open_port(dataplane, config, i, used, fault);
		if (error)
			return error;
	}
	return open_lanes(dataplane, config, used, fault);
}

static uint32_t eal_memory_mb(const struct weir_dataplane_config *config)
{
	uint32_t megabytes = EAL_MB;

	for (uint32_t i = 0; i < config->port_count; i++)
		if (EAL_NEEDS(config->ports[i].kind))
			megabytes += config->ports[i].queues * EAL_QUEUE_MB;
	return megabytes;
}

static int start_eal(struct weir_dataplane *dataplane, const struct weir_dataplane_config *config, struct weir_fault *fault)
{
	struct weir_eal_config eal = { .instance = config->instance, .memory = config->memory, .log = config->dpdk_log };
	int error;

	eal.memory_mb = eal_memory_mb(config);
	for (uint32_t i = 0; i < config->port_count; i++)
		if (config->ports[i].kind == WEIR_PORT_DPDK && config->ports[i].device && strchr(config->ports[i].device, ':'))
			eal.needs_pci = true;
	for (uint16_t i = 0; i < config->worker_count; i++)
		if (config->workers[i].core >= 0)
			CPU_SET((size_t)config->workers[i].core, &eal.polled);
	error = weir_eal_start(&eal, fault);
	dataplane->has_eal = error == 0;
	return error;
}

uint64_t weir_dataplane_size(const struct weir_dataplane_config *config)
{
	uint64_t size = config->worker_count * weir_engine_size(&config->engine) + weir_mesh_size(config->worker_count);

	if (needs_eal(config, UINT16_MAX) && config->memory == WEIR_EAL_ORDINARY)
		size += (uint64_t)eal_memory_mb(config) << 20;
	return size;
}

int weir_dataplane_create(struct weir_dataplane **out, const struct weir_dataplane_config *config, struct weir_fault *fault)
{
	struct weir_counters_config counters = config->counters;
	struct weir_dataplane *dataplane;
	int error = check_config(config, fault);

	if (error)
		return error;
	dataplane = calloc(1, sizeof(*dataplane));
	if (!dataplane)
		return out_of_memory(fault);
	dataplane->worker_count = config->worker_count;
	dataplane->port_count = config->port_count;
	dataplane->workers = calloc(config->worker_count, sizeof(*dataplane->workers));
	dataplane->ports = calloc(config->port_count + 1u, sizeof(*dataplane->ports));
	error = dataplane->workers && dataplane->ports ? 0 : out_of_memory(fault);
	counters.worker_rows = config->worker_count;
	counters.router = config->engine.router;
	if (!error)
		error = weir_counters_create(&dataplane->counters, &counters, fault);
	if (!error)
		error = create_mesh(dataplane, config, fault);
	if (!error && needs_eal(config, UINT16_MAX))
		error = start_eal(dataplane, config, fault);
	if (!error)
		error = create_workers(dataplane, config, fault);
	if (!error)
		error = open_ports(dataplane, config, fault);
	if (error) {
		weir_dataplane_destroy(dataplane);
		return error;
	}
	*out = dataplane;
	return 0;
}

int weir_dataplane_start(struct weir_dataplane *dataplane, struct weir_fault *warnings, uint32_t most, uint32_t *count,
			 struct weir_fault *fault)
{
	uint32_t warned = 0;

	dataplane->is_running = true;
	for (uint16_t i = 0; i < dataplane->worker_count; i++) {
		struct weir_fault warning = { 0 };
		int error = weir_worker_start(dataplane->workers[i], &warning, fault);

		if (error) {
			weir_dataplane_stop(dataplane);
			return error;
		}
		if (warning.object[0] && warned < most && warnings)
			warnings[warned++] = warning;
	}
	if (count)
		*count = warned;
	return 0;
}

struct weir_gate *weir_dataplane_gate(struct weir_dataplane *dataplane)
{
	return dataplane->gate;
}

struct weir_counters *weir_dataplane_counters(struct weir_dataplane *dataplane)
{
	return dataplane->counters;
}

struct weir_lane_table *weir_dataplane_lanes(struct weir_dataplane *dataplane)
{
	return dataplane->lanes;
}

struct weir_worker *weir_dataplane_worker(struct weir_dataplane *dataplane, uint16_t worker)
{
	return worker < dataplane->worker_count ? dataplane->workers[worker] : NULL;
}

const struct weir_port *weir_dataplane_port(const struct weir_dataplane *dataplane, uint32_t port, uint16_t queue)
{
	if (port >= dataplane->port_count || queue >= dataplane->ports[port].count)
		return NULL;
	return dataplane->ports[port].queues[queue];
}

static void watch_port(struct weir_dataplane *dataplane, struct opened_port *port, uint64_t now_ns)
{
	const struct weir_port_ops *ops = port->queues[0]->ops;
	enum weir_port_condition before = port->state.condition;

	if (ops->watch && ops->watch(port->queues, &port->config, &port->state))
		for (uint16_t queue = 0; queue < port->count; queue++)
			weir_mesh_wake(dataplane->mesh, port->queues[queue]->worker);
	if (port->state.condition != before)
		port->state.since_ns = now_ns;
	port->state.losses += port->state.condition == WEIR_PORT_LOST && before != WEIR_PORT_LOST;
}

void weir_dataplane_watch(struct weir_dataplane *dataplane, uint64_t now_ns)
{
	weir_interfaces_refresh(dataplane->interfaces);
	for (uint32_t i = 0; i < dataplane->port_count; i++)
		watch_port(dataplane, &dataplane->ports[i], now_ns);
}

const struct weir_port_state *weir_dataplane_port_state(const struct weir_dataplane *dataplane, uint32_t port)
{
	return port < dataplane->port_count ? &dataplane->ports[port].state : NULL;
}

void weir_dataplane_stop(struct weir_dataplane *dataplane)
{
	if (!dataplane->is_running)
		return;
	for (uint16_t i = 0; i < dataplane->worker_count; i++)
		weir_worker_stop(dataplane->workers[i]);
	dataplane->is_running = false;
}

void weir_dataplane_destroy(struct weir_dataplane *dataplane)
{
	if (!dataplane)
		return;
	weir_dataplane_stop(dataplane);
	for (uint16_t i = 0; dataplane->workers && i < dataplane->worker_count; i++)
		weir_worker_destroy(dataplane->workers[i]);
	for (uint32_t i = dataplane->port_count; dataplane->ports && i-- > 0;) {
		for (uint16_t queue = dataplane->ports[i].count; queue-- > 0;)
			dataplane->ports[i].queues[queue]->ops->close(dataplane->ports[i].queues[queue]);
		free(dataplane->ports[i].queues);
		free_config(&dataplane->ports[i].config);
	}
	for (uint16_t i = 0; dataplane->lane_ports && i < dataplane->worker_count; i++) {
		if (dataplane->lane_ports[i])
			dataplane->lane_ports[i]->ops->close(dataplane->lane_ports[i]);
	}
	weir_lane_table_destroy(dataplane->lanes);
	weir_interfaces_destroy(dataplane->interfaces);
	if (dataplane->has_eal)
		weir_eal_stop();
	weir_gate_destroy(dataplane->gate);
	weir_mesh_destroy(dataplane->mesh);
	weir_counters_destroy(dataplane->counters);
	free(dataplane->lane_ports);
	free(dataplane->ports);
	free(dataplane->workers);
	free(dataplane);
}
