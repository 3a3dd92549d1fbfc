// The planner on synthetic machines of one, two and four nodes, and on a recorded one that has NICs. Topologies are
// written as files are, so that the tests read like the cases they stand for.
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/daemon/config.h"
#include "control/daemon/machine.h"
#include "control/model/plan.h"

static struct weir_topology *topology_of(const char *text)
{
	struct weir_topology *topology;
	struct weir_trouble trouble;

	cr_assert_eq(weir_config_parse(&topology, text, strlen(text), &trouble), 0, "%s: %s", trouble.object, trouble.reason);
	return topology;
}

static struct weir_machine *machine_of(const char *description)
{
	struct weir_machine *machine;

	cr_assert_eq(weir_machine_describe(&machine, description), 0);
	return machine;
}

static struct weir_plan *plan_of(const struct weir_machine *machine, const struct weir_topology *topology,
				 const struct weir_plan *previous)
{
	struct weir_trouble trouble;
	struct weir_plan *plan;

	cr_assert_eq(weir_plan_create(&plan, machine, topology, previous, &trouble), 0, "%s: %s", trouble.object,
		     trouble.reason);
	return plan;
}

static bool warns(const struct weir_plan *plan, const char *text)
{
	for (uint32_t i = 0; i < plan->warning_count && i < WEIR_PLAN_WARNINGS_MAX; i++) {
		if (strstr(plan->warnings[i], text))
			return true;
	}
	return false;
}

#define KERNEL "ports: [{name: front, kind: kernel}]\n"
#define TWO_CORES "synthetic:node:1 l3:1(size=33554432) l2:2(size=2097152) core:1 pu:1"
#define TWO_NODES "synthetic:node:2 l3:1(size=33554432) l2:4(size=1048576) core:1 pu:1"
#define FOUR_NODES "synthetic:node:4(memory=1073741824) l3:1(size=16777216) l2:2(size=1048576) core:1 pu:1"

Test(plan, one_worker_leaves_the_first_core_to_the_kernel)
{
	struct weir_machine *machine = machine_of(TWO_CORES);
	struct weir_topology *topology = topology_of(KERNEL "topics: [{name: t, shards: 4}]\n");
	struct weir_plan *plan = plan_of(machine, topology, NULL);

	cr_assert_eq(machine->cpu_count, 2);
	cr_assert_eq(plan->workers[0].cpu, 1);
	cr_assert_eq(plan->workers[0].shards, 4);
	cr_assert_eq(plan->workers[0].log_bytes, 4u << 20);
	cr_assert_eq(plan->workers[0].l2_bytes, 2u << 20);
	cr_assert_eq(plan->workers[0].l3_bytes, 32u << 20);
	cr_assert_eq(plan->warning_count, 0);
	weir_plan_destroy(plan);
	weir_topology_destroy(topology);
	free(machine);
}

Test(plan, two_workers_on_two_cores_share_the_shards_and_are_warned)
{
	struct weir_machine *machine = machine_of(TWO_CORES);
	struct weir_topology *topology = topology_of("workers: [{core: auto}, {core: auto}]\n" KERNEL
						     "topics: [{name: t, shards: 4}, {name: u, shards: 2}]\n");
	struct weir_plan *plan = plan_of(machine, topology, NULL);

	cr_assert_neq(plan->workers[0].cpu, plan->workers[1].cpu);
	cr_assert_eq(plan->workers[0].shards, 3);
	cr_assert_eq(plan->workers[1].shards, 3);
	cr_assert_eq(plan->workers[0].l3_bytes, 16u << 20);
	cr_assert(warns(plan, "every core polls"));
	weir_plan_destroy(plan);
	weir_topology_destroy(topology);
	free(machine);
}

Test(plan, more_workers_than_cores_are_placed_and_warned)
{
	struct weir_machine *machine = machine_of(TWO_CORES);
	struct weir_topology *topology = topology_of("workers: [{core: auto}, {core: auto}, {core: auto}]\n" KERNEL);
	struct weir_plan *plan = plan_of(machine, topology, NULL);

	cr_assert(warns(plan, "3 workers share 2 cores"));
	cr_assert(strstr(plan->workers[2].reason, "shared"));
	weir_plan_destroy(plan);
	weir_topology_destroy(topology);
	free(machine);
}

Test(plan, a_log_is_born_on_the_node_of_its_owner)
{
	struct weir_machine *machine = machine_of(TWO_NODES);
	struct weir_topology *topology = topology_of("workers: [{core: 1}, {core: 6}]\n" KERNEL
						     "topics: [{name: t, shards: 3, homes: {0: 1, 1: 0, 2: 1}}]\n");
	struct weir_plan *plan = plan_of(machine, topology, NULL);

	cr_assert_eq(plan->workers[0].node, 0);
	cr_assert_eq(plan->workers[1].node, 1);
	cr_assert_eq(plan->topics[0].owner[0], 1);
	cr_assert_eq(plan->topics[0].log_node[0], 1);
	cr_assert_eq(plan->topics[0].owner[1], 0);
	cr_assert_eq(plan->topics[0].log_node[1], 0);
	cr_assert_eq(plan->workers[1].log_bytes, 2u << 20);
	weir_plan_destroy(plan);
	weir_topology_destroy(topology);
	free(machine);
}

Test(plan, a_core_that_is_not_there_is_refused_where_it_is_written)
{
	struct weir_machine *machine = machine_of(TWO_NODES);
	struct weir_topology *topology = topology_of("workers:\n- {core: 1}\n- {core: 8}\n" KERNEL);
	struct weir_trouble trouble;
	struct weir_plan *plan = NULL;

	cr_assert_eq(weir_plan_create(&plan, machine, topology, NULL, &trouble), -EINVAL);
	cr_assert_str_eq(trouble.object, "worker 1");
	cr_assert_eq(trouble.mark.line, 3);
	cr_assert_null(plan);
	weir_topology_destroy(topology);
	free(machine);
}

Test(plan, a_core_named_twice_is_refused)
{
	struct weir_machine *machine = machine_of(TWO_NODES);
	struct weir_topology *topology = topology_of("workers: [{core: 1}, {core: 1}]\n" KERNEL);
	struct weir_trouble trouble;
	struct weir_plan *plan;

	cr_assert_eq(weir_plan_create(&plan, machine, topology, NULL, &trouble), -EINVAL);
	cr_assert(strstr(trouble.reason, "already"));
	weir_topology_destroy(topology);
	free(machine);
}

Test(plan, second_threads_of_a_core_are_taken_last)
{
	struct weir_machine *machine = machine_of("synthetic:node:1 core:3 pu:2");
	struct weir_topology *topology =
		topology_of("workers: [{core: auto}, {core: auto}, {core: auto}, {core: auto}]\n" KERNEL);
	struct weir_plan *plan = plan_of(machine, topology, NULL);

	// Three cores for three workers; the fourth shares one of them, and that is said.
	cr_assert_eq(plan->workers[0].cpu, 4);
	cr_assert_eq(plan->workers[1].cpu, 2);
	cr_assert_eq(plan->workers[2].cpu, 1);
	cr_assert(warns(plan, "second thread"));
	weir_plan_destroy(plan);
	weir_topology_destroy(topology);
	free(machine);
}

Test(plan, logs_past_cache_and_memory_are_warned_of)
{
	struct weir_machine *machine = machine_of(FOUR_NODES);
	struct weir_topology *topology =
		topology_of("workers: [{core: 2}]\n" KERNEL "topics: [{name: t, shards: 5, log: 128MiB}]\n");
	struct weir_plan *plan = plan_of(machine, topology, NULL);

	cr_assert_eq(machine->node_count, 4);
	cr_assert_eq(plan->workers[0].node, 1);
	cr_assert(warns(plan, "do not fit its share of L3"));
	cr_assert(warns(plan, "node 1: 640 MiB of logs are more than half"));
	weir_plan_destroy(plan);
	weir_topology_destroy(topology);
	free(machine);
}

Test(plan, running_shards_stay_unless_the_file_names_another_home)
{
	struct weir_machine *machine = machine_of(TWO_NODES);
	struct weir_topology *before =
		topology_of("workers: [{core: 1}, {core: 6}]\n" KERNEL "topics: [{name: t, shards: 4}]\n");
	struct weir_topology *after = topology_of("workers: [{core: 1}, {core: 6}]\n" KERNEL
						  "topics: [{name: new, shards: 2}, {name: t, shards: 4, homes: {0: 1}}]\n");
	struct weir_plan *running = plan_of(machine, before, NULL);
	struct weir_plan *plan = plan_of(machine, after, running);
	const struct weir_plan_topic *topic = weir_plan_find(plan, "t");

	cr_assert_eq(running->topics[0].owner[0], 0);
	cr_assert_eq(topic->owner[0], 1);
	cr_assert_eq(topic->log_node[0], 0, "a moved log stays where it was born");
	for (uint32_t s = 1; s < 4; s++)
		cr_assert_eq(topic->owner[s], running->topics[0].owner[s]);
	// The new topic's shards go where there is less: worker 0 lost one.
	cr_assert_eq(weir_plan_find(plan, "new")->owner[0], 0);
	weir_plan_destroy(plan);
	weir_plan_destroy(running);
	weir_topology_destroy(before);
	weir_topology_destroy(after);
	free(machine);
}

Test(plan, a_worker_polls_on_the_node_of_its_port)
{
	struct weir_machine *machine = machine_of(WEIR_MACHINE_XML);
	struct weir_topology *topology = topology_of("workers: [{core: auto}, {core: auto}]\n"
						     "ports:\n"
						     "- {name: far, kind: afxdp, interface: eth1, workers: [0]}\n"
						     "- {name: near, kind: afxdp, interface: eth0, workers: [1]}\n");
	struct weir_plan *plan = plan_of(machine, topology, NULL);

	cr_assert_eq(machine->nic_count, 2);
	cr_assert_eq(plan->ports[0].node, 1);
	cr_assert_eq(plan->ports[1].node, 0);
	cr_assert_eq(plan->workers[0].node, 1);
	cr_assert_eq(plan->workers[1].node, 0);
	cr_assert(strstr(plan->workers[0].reason, "where port far is"));
	weir_plan_destroy(plan);
	weir_topology_destroy(topology);
	free(machine);
}

Test(plan, a_worker_that_finds_no_core_near_its_port_is_warned)
{
	struct weir_machine *machine = machine_of(WEIR_MACHINE_XML);
	struct weir_topology *topology = topology_of("workers: [{core: auto}, {core: auto}, {core: auto}]\n"
						     "ports: [{name: p, kind: afxdp, interface: eth1, workers: [0, 1, 2]}]\n");
	struct weir_plan *plan = plan_of(machine, topology, NULL);

	cr_assert_eq(plan->workers[0].node, 1);
	cr_assert_eq(plan->workers[1].node, 1);
	cr_assert_eq(plan->workers[2].node, 0);
	cr_assert(warns(plan, "frames cross the interconnect"));
	weir_plan_destroy(plan);
	weir_topology_destroy(topology);
	free(machine);
}
