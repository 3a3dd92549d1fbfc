// The planner. CPUs first (pinned ones, then the nearest free ones), then shards (named homes, then where they are, then
// the worker with the least log bytes), then what it all costs.
#include "control/model/plan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((format(printf, 2, 3))) static void warn(struct weir_plan *plan, const char *format, ...)
{
	va_list arguments;

	if (plan->warning_count < WEIR_PLAN_WARNINGS_MAX) {
		va_start(arguments, format);
		vsnprintf(plan->warnings[plan->warning_count], WEIR_PLAN_TEXT, format, arguments);
		va_end(arguments);
	}
	plan->warning_count++;
}

static const struct weir_machine_cpu *find_cpu(const struct weir_machine *machine, uint32_t cpu)
{
	for (uint32_t i = 0; i < machine->cpu_count; i++) {
		if (machine->cpus[i].cpu == cpu)
			return &machine->cpus[i];
	}
	return NULL;
}

static int32_t nic_node(const struct weir_machine *machine, const char *interface)
{
	for (uint32_t i = 0; i < machine->nic_count; i++) {
		if (strcmp(machine->nics[i].name, interface) == 0)
			return machine->nics[i].node;
	}
	return -1;
}

static void place_ports(struct weir_plan *plan, const struct weir_machine *machine, const struct weir_topology *topology)
{
	for (uint32_t i = 0; i < topology->port_count; i++) {
		const struct weir_topology_port *port = &topology->ports[i];
		struct weir_plan_port *placed = &plan->ports[i];

		placed->node = -1;
		if (port->interface[0])
			placed->node = nic_node(machine, port->interface);
		if (placed->node >= 0)
			snprintf(placed->reason, sizeof(placed->reason), "%s is attached to node %d", port->interface,
				 placed->node);
		else if (port->interface[0])
			snprintf(placed->reason, sizeof(placed->reason), "%s is a virtual device: no node", port->interface);
		else
			snprintf(placed->reason, sizeof(placed->reason), "no network interface named: no node");
	}
}

// Node the worker should be near: that of the first port it polls; -1: any.
static int32_t wanted_node(const struct weir_plan *plan, const struct weir_topology *topology, uint32_t worker, uint32_t *port)
{
	for (uint32_t i = 0; i < topology->port_count; i++) {
		for (uint32_t q = 0; q < topology->ports[i].worker_count; q++) {
			if (topology->ports[i].workers[q] == worker && plan->ports[i].node >= 0) {
				*port = i;
				return plan->ports[i].node;
			}
		}
	}
	return -1;
}

// Lower is better: far from the NIC, second thread of a busy core, the CPU the kernel likes best. Among equals the
// highest number wins, because interrupts and daemons gather on the low ones.
static uint32_t cpu_cost(const struct weir_machine_cpu *cpu, int32_t node, const bool *core_busy, uint32_t first_cpu)
{
	uint32_t cost = 0;

	if (node >= 0 && cpu->node != (uint32_t)node)
		cost += 8;
	if (core_busy[cpu->core])
		cost += 4;
	if (cpu->cpu == first_cpu)
		cost += 2;
	if (cpu->is_sibling)
		cost += 1;
	return cost;
}

struct occupancy {
	bool cpu[WEIR_MACHINE_CPUS_MAX]; // by index into machine->cpus
	bool core[WEIR_MACHINE_CPUS_MAX]; // by core number
};

static void occupy(struct weir_plan *plan, uint32_t worker, const struct weir_machine *machine,
		   const struct weir_machine_cpu *cpu, struct occupancy *taken)
{
	struct weir_plan_worker *placed = &plan->workers[worker];

	placed->cpu = cpu->cpu;
	placed->node = cpu->node;
	placed->l2_bytes = cpu->l2_bytes;
	placed->l3_bytes = cpu->l3_bytes;
	taken->cpu[cpu - machine->cpus] = true;
	if (cpu->core < WEIR_MACHINE_CPUS_MAX)
		taken->core[cpu->core] = true;
}

static int place_pinned(struct weir_plan *plan, const struct weir_machine *machine, const struct weir_topology *topology,
			struct occupancy *taken, struct weir_trouble *trouble)
{
	for (uint32_t w = 0; w < topology->worker_count; w++) {
		const struct weir_topology_worker *wanted = &topology->workers[w];
		const struct weir_machine_cpu *cpu;
		char object[64];
		char action[64];

		if (wanted->core < 0)
			continue;
		snprintf(object, sizeof(object), "worker %u", w);
		snprintf(action, sizeof(action), "poll on core %d", wanted->core);
		cpu = find_cpu(machine, (uint32_t)wanted->core);
		if (!cpu) {
			weir_trouble_set(trouble, object, action, "name one of the cores `weirctl plan` shows, or `auto`",
					 "the machine lets this process use %u cores, and this is none of them",
					 machine->cpu_count);
			trouble->mark = wanted->mark;
			return -EINVAL;
		}
		if (taken->cpu[cpu - machine->cpus]) {
			weir_trouble_set(trouble, object, action, "give every worker its own core, or `auto`",
					 "another worker polls on this core already");
			trouble->mark = wanted->mark;
			return -EINVAL;
		}
		occupy(plan, w, machine, cpu, taken);
		snprintf(plan->workers[w].reason, WEIR_PLAN_TEXT, "core %u as the file says", cpu->cpu);
	}
	return 0;
}

static void place_auto(struct weir_plan *plan, uint32_t worker, const struct weir_machine *machine,
		       const struct weir_topology *topology, struct occupancy *taken)
{
	uint32_t port = 0;
	int32_t node = wanted_node(plan, topology, worker, &port);
	const struct weir_machine_cpu *best = NULL;
	uint32_t best_cost = UINT32_MAX;
	char *reason = plan->workers[worker].reason;

	for (uint32_t i = 0; i < machine->cpu_count; i++) {
		uint32_t cost;

		if (taken->cpu[i])
			continue;
		cost = cpu_cost(&machine->cpus[i], node, taken->core, machine->cpus[0].cpu);
		if (cost <= best_cost) {
			best = &machine->cpus[i];
			best_cost = cost;
		}
	}
	if (!best) {
		// More workers than cores: share the cores round-robin, it works and it is slow.
		best = &machine->cpus[worker % machine->cpu_count];
		occupy(plan, worker, machine, best, taken);
		snprintf(reason, WEIR_PLAN_TEXT, "core %u is shared: there are fewer cores than workers", best->cpu);
		return;
	}
	if (taken->core[best->core])
		warn(plan,
		     "worker %u polls on core %u, the second thread of a core that another worker polls on: both get about "
		     "half",
		     worker, best->cpu);
	occupy(plan, worker, machine, best, taken);
	if (node >= 0 && best->node == (uint32_t)node) {
		snprintf(reason, WEIR_PLAN_TEXT, "core %u is free and on node %d, where port %s is", best->cpu, node,
			 topology->ports[port].name);
	} else if (node >= 0) {
		snprintf(reason, WEIR_PLAN_TEXT, "core %u is free, but node %d of port %s has none left", best->cpu, node,
			 topology->ports[port].name);
		warn(plan, "worker %u polls port %s (node %d) from node %u: frames cross the interconnect", worker,
		     topology->ports[port].name, node, best->node);
	} else {
		snprintf(reason, WEIR_PLAN_TEXT, "core %u is free%s", best->cpu,
			 best->cpu == machine->cpus[0].cpu ? "" : ", and the first core is left to the kernel");
	}
}

static int place_workers(struct weir_plan *plan, const struct weir_machine *machine, const struct weir_topology *topology,
			 const struct weir_plan *previous, struct weir_trouble *trouble)
{
	struct occupancy taken = { 0 };
	int err;

	if (previous && previous->worker_count == plan->worker_count) {
		memcpy(plan->workers, previous->workers, plan->worker_count * sizeof(*plan->workers));
		for (uint32_t w = 0; w < plan->worker_count; w++) {
			plan->workers[w].log_bytes = 0;
			plan->workers[w].shards = 0;
		}
		return 0;
	}
	if (machine->cpu_count == 0)
		return weir_trouble_set(trouble, "machine", "place workers", "check the cpuset of the process",
					"no core may be used by this process");
	err = place_pinned(plan, machine, topology, &taken, trouble);
	if (err)
		return err;
	for (uint32_t w = 0; w < topology->worker_count; w++) {
		if (topology->workers[w].core < 0)
			place_auto(plan, w, machine, topology, &taken);
	}
	return 0;
}

static void warn_of_cores(struct weir_plan *plan, const struct weir_machine *machine)
{
	if (plan->worker_count > machine->cpu_count)
		warn(plan, "%u workers share %u cores: they take turns, latency is that of the scheduler", plan->worker_count,
		     machine->cpu_count);
	else if (plan->worker_count == machine->cpu_count)
		warn(plan, "every core polls: none is left for the kernel, its softirqs and the control plane");
}

// The L3 a worker can count on: the whole of it divided by the workers that share it.
static void share_l3(struct weir_plan *plan, const struct weir_machine *machine)
{
	for (uint32_t w = 0; w < plan->worker_count; w++) {
		const struct weir_machine_cpu *own = find_cpu(machine, plan->workers[w].cpu);
		uint32_t sharers = 0;

		if (!own)
			continue;
		for (uint32_t other = 0; other < plan->worker_count; other++) {
			const struct weir_machine_cpu *cpu = find_cpu(machine, plan->workers[other].cpu);

			sharers += cpu && cpu->l3 == own->l3;
		}
		plan->workers[w].l3_bytes = own->l3_bytes / (sharers ? sharers : 1);
	}
}

static uint16_t least_loaded(const struct weir_plan *plan)
{
	uint16_t best = 0;

	for (uint32_t w = 1; w < plan->worker_count; w++) {
		if (plan->workers[w].log_bytes < plan->workers[best].log_bytes)
			best = (uint16_t)w;
	}
	return best;
}

static void own(struct weir_plan *plan, struct weir_plan_topic *placed, uint32_t shard, uint16_t worker, uint64_t log_bytes)
{
	placed->owner[shard] = worker;
	plan->workers[worker].log_bytes += log_bytes;
	plan->workers[worker].shards++;
}

// Fixed shards of all topics are placed before the free ones, so that the free ones even out the rest.
static void place_shards(struct weir_plan *plan, const struct weir_topology *topology, const struct weir_plan *previous)
{
	for (uint32_t t = 0; t < topology->topic_count; t++) {
		const struct weir_topology_topic *topic = &topology->topics[t];
		struct weir_plan_topic *placed = &plan->topics[t];
		const struct weir_plan_topic *running = previous ? weir_plan_find(previous, topic->name) : NULL;

		for (uint32_t s = 0; s < topic->shards; s++) {
			placed->owner[s] = UINT16_MAX;
			if (topic->homes[s] >= 0)
				own(plan, placed, s, (uint16_t)topic->homes[s], topic->log_bytes);
			else if (running && s < running->shards && running->owner[s] < plan->worker_count)
				own(plan, placed, s, running->owner[s], topic->log_bytes);
		}
	}
	for (uint32_t t = 0; t < topology->topic_count; t++) {
		const struct weir_topology_topic *topic = &topology->topics[t];
		struct weir_plan_topic *placed = &plan->topics[t];
		const struct weir_plan_topic *running = previous ? weir_plan_find(previous, topic->name) : NULL;

		for (uint32_t s = 0; s < topic->shards; s++) {
			if (placed->owner[s] == UINT16_MAX)
				own(plan, placed, s, least_loaded(plan), topic->log_bytes);
			placed->log_node[s] = running && s < running->shards ? running->log_node[s]
									     : plan->workers[placed->owner[s]].node;
		}
	}
}

static void warn_of_costs(struct weir_plan *plan, const struct weir_machine *machine, const struct weir_topology *topology)
{
	for (uint32_t w = 0; w < plan->worker_count; w++) {
		const struct weir_plan_worker *worker = &plan->workers[w];

		if (worker->l3_bytes && worker->log_bytes > worker->l3_bytes)
			warn(plan,
			     "worker %u: %llu KiB of logs do not fit its share of L3 (%llu KiB): every event costs memory "
			     "bandwidth",
			     w, (unsigned long long)(worker->log_bytes >> 10), (unsigned long long)(worker->l3_bytes >> 10));
	}
	for (uint32_t n = 0; n < machine->node_count; n++) {
		uint64_t bytes = 0;

		for (uint32_t t = 0; t < plan->topic_count; t++) {
			for (uint32_t s = 0; s < plan->topics[t].shards; s++) {
				if (plan->topics[t].log_node[s] == machine->nodes[n].node)
					bytes += topology->topics[t].log_bytes;
			}
		}
		if (machine->nodes[n].memory_bytes && bytes > machine->nodes[n].memory_bytes / 2)
			warn(plan, "node %u: %llu MiB of logs are more than half of its memory", machine->nodes[n].node,
			     (unsigned long long)(bytes >> 20));
	}
}

static int allocate(struct weir_plan **out, const struct weir_topology *topology)
{
	struct weir_plan *plan = calloc(1, sizeof(*plan));

	if (!plan)
		return -ENOMEM;
	// One more than needed, because calloc(0) may be NULL.
	plan->workers = calloc(topology->worker_count + 1, sizeof(*plan->workers));
	plan->ports = calloc(topology->port_count + 1, sizeof(*plan->ports));
	plan->topics = calloc(topology->topic_count + 1, sizeof(*plan->topics));
	if (!plan->workers || !plan->ports || !plan->topics)
		goto err_plan;
	plan->worker_count = topology->worker_count;
	plan->port_count = topology->port_count;
	for (uint32_t t = 0; t < topology->topic_count; t++) {
		struct weir_plan_topic *placed = &plan->topics[t];

		plan->topic_count++;
		placed->shards = topology->topics[t].shards;
		memcpy(placed->name, topology->topics[t].name, sizeof(placed->name));
		placed->owner = calloc(placed->shards, sizeof(*placed->owner));
		placed->log_node = calloc(placed->shards, sizeof(*placed->log_node));
		if (!placed->owner || !placed->log_node)
			goto err_plan;
	}
	*out = plan;
	return 0;

err_plan:
	weir_plan_destroy(plan);
	return -ENOMEM;
}

int weir_plan_create(struct weir_plan **out, const struct weir_machine *machine, const struct weir_topology *topology,
		     const struct weir_plan *previous, struct weir_trouble *trouble)
{
	struct weir_plan *plan;
	int err = allocate(&plan, topology);

	if (err)
		return err;
	place_ports(plan, machine, topology);
	err = place_workers(plan, machine, topology, previous, trouble);
	if (err) {
		weir_plan_destroy(plan);
		return err;
	}
	share_l3(plan, machine);
	place_shards(plan, topology, previous);
	warn_of_cores(plan, machine);
	warn_of_costs(plan, machine, topology);
	*out = plan;
	return 0;
}

void weir_plan_destroy(struct weir_plan *plan)
{
	if (!plan)
		return;
	for (uint32_t t = 0; t < plan->topic_count; t++) {
		free(plan->topics[t].owner);
		free(plan->topics[t].log_node);
	}
	free(plan->topics);
	free(plan->ports);
	free(plan->workers);
	free(plan);
}

const struct weir_plan_topic *weir_plan_find(const struct weir_plan *plan, const char *topic)
{
	for (uint32_t t = 0; t < plan->topic_count; t++) {
		if (strcmp(plan->topics[t].name, topic) == 0)
			return &plan->topics[t];
	}
	return NULL;
}
