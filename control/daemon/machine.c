// hwloc's tree flattened to what the planner asks for: CPUs, caches, nodes, NICs. The planner itself never sees hwloc.
// Control thread, at start.
#include "control/daemon/machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char SYNTHETIC[] = "synthetic:";

static uint64_t cache_bytes(hwloc_obj_t pu, hwloc_obj_type_t type, hwloc_topology_t topology, uint32_t *index)
{
	hwloc_obj_t cache = hwloc_get_ancestor_obj_by_type(topology, type, pu);

	*index = cache ? cache->logical_index : 0;
	return cache ? cache->attr->cache.size : 0;
}

static uint32_t node_of(hwloc_const_cpuset_t cpuset, hwloc_topology_t topology)
{
	hwloc_obj_t node = NULL;

	while ((node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node)) != NULL) {
		if (hwloc_bitmap_intersects(node->cpuset, cpuset))
			return node->os_index;
	}
	return 0;
}

static void read_cpus(struct weir_machine *machine, hwloc_topology_t topology)
{
	hwloc_const_cpuset_t allowed = hwloc_topology_get_allowed_cpuset(topology);
	hwloc_obj_t pu = NULL;

	while ((pu = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_PU, pu)) != NULL) {
		hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_CORE, pu);
		struct weir_machine_cpu *cpu = &machine->cpus[machine->cpu_count];
		uint32_t l2;

		if (!hwloc_bitmap_isset(allowed, pu->os_index))
			continue;
		if (machine->cpu_count == WEIR_MACHINE_CPUS_MAX)
			break;
		cpu->cpu = pu->os_index;
		cpu->core = core ? core->logical_index : pu->logical_index;
		cpu->is_sibling = core && hwloc_bitmap_first(core->cpuset) != (int)pu->os_index;
		cpu->node = node_of(pu->cpuset, topology);
		cpu->l2_bytes = cache_bytes(pu, HWLOC_OBJ_L2CACHE, topology, &l2);
		cpu->l3_bytes = cache_bytes(pu, HWLOC_OBJ_L3CACHE, topology, &cpu->l3);
		machine->cpu_count++;
	}
}

static void read_nodes(struct weir_machine *machine, hwloc_topology_t topology)
{
	hwloc_obj_t node = NULL;

	while ((node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node)) != NULL &&
	       machine->node_count < WEIR_MACHINE_NODES_MAX) {
		machine->nodes[machine->node_count].node = node->os_index;
		machine->nodes[machine->node_count].memory_bytes = node->attr->numanode.local_memory;
		machine->node_count++;
	}
}

static void read_nics(struct weir_machine *machine, hwloc_topology_t topology)
{
	hwloc_obj_t device = NULL;

	while ((device = hwloc_get_next_osdev(topology, device)) != NULL && machine->nic_count < WEIR_MACHINE_NICS_MAX) {
		struct weir_machine_nic *nic = &machine->nics[machine->nic_count];
		hwloc_obj_t parent = hwloc_get_non_io_ancestor_obj(topology, device);

		if (device->attr->osdev.type != HWLOC_OBJ_OSDEV_NETWORK || !device->name)
			continue;
		snprintf(nic->name, sizeof(nic->name), "%s", device->name);
		// A NIC under the whole machine of several nodes is near to none of them.
		nic->node = -1;
		if (parent && hwloc_bitmap_weight(parent->nodeset) == 1)
			nic->node = hwloc_bitmap_first(parent->nodeset);
		machine->nic_count++;
	}
}

void weir_machine_read(struct weir_machine *machine, hwloc_topology_t topology)
{
	memset(machine, 0, sizeof(*machine));
	read_cpus(machine, topology);
	read_nodes(machine, topology);
	read_nics(machine, topology);
}

static int source(hwloc_topology_t topology, const char *description)
{
	if (!description)
		return 0;
	if (strncmp(description, SYNTHETIC, sizeof(SYNTHETIC) - 1) == 0)
		return hwloc_topology_set_synthetic(topology, description + sizeof(SYNTHETIC) - 1);
	return hwloc_topology_set_xml(topology, description);
}

int weir_machine_describe(struct weir_machine **out, const char *description)
{
	struct weir_machine *machine;
	hwloc_topology_t topology;
	int err;

	if (hwloc_topology_init(&topology) != 0)
		return -ENOMEM;
	if (source(topology, description) != 0 ||
	    hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_ALL) != 0 ||
	    hwloc_topology_load(topology) != 0) {
		err = errno ? -errno : -EINVAL;
		goto err_topology;
	}
	machine = malloc(sizeof(*machine));
	if (!machine) {
		err = -ENOMEM;
		goto err_topology;
	}
	weir_machine_read(machine, topology);
	hwloc_topology_destroy(topology);
	*out = machine;
	return 0;

err_topology:
	hwloc_topology_destroy(topology);
	return err;
}

int weir_machine_detect(struct weir_machine **machine)
{
	return weir_machine_describe(machine, NULL);
}
