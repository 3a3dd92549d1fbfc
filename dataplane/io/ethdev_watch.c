// Looks after AF_XDP ports while they work. Their interface may go and come back, change its addresses, lose its program or
// its carrier, and the driver notices none of it. A port whose interface is gone is taken from its workers, closed, and opened
// again as soon as there is an interface of its name. Control thread; workers answer in port_ethdev.c.
#include <stdio.h>
#include <string.h>

#include "dataplane/io/ethdev.h"
#include "dataplane/io/interfaces.h"

#define FIX_ITSELF "it works again by itself when that is mended"

void weir_ethdev_object(const struct weir_port_config *config, char object[160])
{
	bool is_afxdp = config->kind == WEIR_PORT_AFXDP;
	const char *what = is_afxdp ? config->interface : config->device;

	snprintf(object, 160, "port %s (%s %s)", config->name, is_afxdp ? "interface" : "device", what ? what : "not named");
}

static struct weir_ethdev *ethdev_of(struct weir_port *port)
{
	return (struct weir_ethdev *)port;
}

static void call(struct weir_port *const queues[], uint16_t count, enum weir_ethdev_call what)
{
	// Pairs with the worker's load: a device that was opened again is seen whole.
	for (uint16_t queue = 0; queue < count; queue++)
		atomic_store_explicit(&ethdev_of(queues[queue])->called, what, memory_order_release);
}

static bool is_answered(struct weir_port *const queues[], uint16_t count, enum weir_ethdev_call what)
{
	for (uint16_t queue = 0; queue < count; queue++)
		if (atomic_load_explicit(&ethdev_of(queues[queue])->answered, memory_order_acquire) != what)
			return false;
	return true;
}

static void set(struct weir_port_state *state, enum weir_port_condition condition, const struct weir_port_config *config,
		const char *fix, const char *reason)
{
	char object[160];

	weir_ethdev_object(config, object);
	state->condition = condition;
	weir_fault_set(&state->fault, 0, object, condition == WEIR_PORT_LOST ? "receive and send" : "serve everybody", fix,
		       "%s", reason);
}

// The interface it was opened on is not what it was: the sockets and the program are of no use any more.
static bool is_broken(const struct weir_ethdev_group *group, const struct weir_port_config *config,
		      const struct weir_interface *interface, struct weir_port_state *state)
{
	if (!interface) {
		set(state, WEIR_PORT_LOST, config,
		    "make an interface of this name, or name another one and restart weir; " FIX_ITSELF,
		    "its interface is gone");
		return true;
	}
	// Not a matter of the copy: the kernel tells nobody that a program went.
	if (weir_guard_is_attached(group->guard))
		return false;
	set(state, WEIR_PORT_LOST, config, "find out who did it; weir puts it back by itself where nobody else has one there",
	    "its XDP program was taken from the interface");
	return true;
}

static void follow_addresses(struct weir_ethdev_group *group, const struct weir_port_config *config)
{
	struct weir_guard_own own;

	weir_ethdev_own(config, group->ifindex, &own, &group->left_out);
	if (memcmp(&own, &group->own, sizeof(own)) == 0)
		return;
	group->own = own;
	weir_guard_set_own(group->guard, &own);
}

// A sender on this machine may hand many datagrams over as one packet. Drivers take it apart for XDP; above them nobody does.
static uint64_t unsplit(struct weir_guard *guard)
{
	struct weir_guard_totals totals;
	struct weir_guard_info info;

	weir_guard_describe(guard, &info);
	return info.mode == WEIR_GUARD_GENERIC && weir_guard_read(guard, &totals) == 0 ? totals.dropped[WEIR_R_LENGTH] : 0;
}

static void judge_limits(const struct weir_ethdev_group *group, const struct weir_port_config *config,
			 const struct weir_interface *interface, struct weir_port_state *state)
{
	struct weir_guard_info info;
	char reason[200];

	weir_guard_describe(group->guard, &info);
	if (group->left_out) {
		snprintf(reason, sizeof(reason),
			 "its interface has %u more MACs or addresses than the %u and %u of each family that it looks for",
			 group->left_out, WEIR_GUARD_MACS, WEIR_GUARD_ADDRESSES);
		set(state, WEIR_PORT_HINDERED, config, "name the one that clients use with `address`", reason);
	} else if (strcmp(interface->name, config->interface) != 0) {
		snprintf(reason, sizeof(reason),
			 "its interface is called %s now: it works on, and the next start does not find it", interface->name);
		set(state, WEIR_PORT_HINDERED, config, "give the interface its name again, or change `interface` in the file",
		    reason);
	} else if (interface->mtu != group->mtu) {
		snprintf(reason, sizeof(reason), "the MTU of its interface is %u now; frames are made for %u as at its start",
			 interface->mtu, group->mtu);
		set(state, WEIR_PORT_HINDERED, config, "restart weir, or set the MTU back", reason);
	} else if (unsplit(group->guard)) {
		snprintf(reason, sizeof(reason),
			 "its XDP is above the driver, where senders' UDP_SEGMENT packets are not taken apart: %llu dropped as "
			 "length",
			 (unsigned long long)unsplit(group->guard));
		set(state, WEIR_PORT_HINDERED, config,
		    "switch it off at the senders' end (ethtool -K ... tx-udp-segmentation off), or use a kernel port", reason);
	} else if (info.tags == WEIR_GUARD_TAGS_HIDDEN) {
		set(state, WEIR_PORT_HINDERED, config,
		    "switch it off at the other end of the veth (ethtool -K PEER txvlan off), or use a kernel port for "
		    "clients behind VLANs",
		    "clients behind a VLAN get no answer: the other end leaves VLAN tags beside packets, and this kernel "
		    "does not tell XDP programs of them (Linux 6.8 does)");
	}
}

static void judge(const struct weir_ethdev_group *group, const struct weir_port_config *config,
		  const struct weir_interface *interface, struct weir_port_state *state)
{
	state->condition = WEIR_PORT_WELL;
	if (!interface->is_up)
		set(state, WEIR_PORT_LOST, config, "set it up (ip link set ... up); " FIX_ITSELF, "its interface is down");
	else if (!interface->is_running)
		set(state, WEIR_PORT_LOST, config, "look after cable, switch or the other end; " FIX_ITSELF,
		    "its interface has no carrier");
	else if (group->own.address4_count + group->own.address6_count == 0)
		set(state, WEIR_PORT_LOST, config, "give it one (ip address add ...), or set `address`; " FIX_ITSELF,
		    "its interface has no address, so that no packet is for it");
	else
		judge_limits(group, config, interface, state);
}

static void reopen(struct weir_port *const queues[], const struct weir_port_config *config, struct weir_port_state *state)
{
	struct weir_ethdev_group *group = ethdev_of(queues[0])->group;
	struct weir_fault fault = { 0 };

	if (!weir_interfaces_named(config->interfaces, config->interface))
		return; // why is said already
	state->condition = WEIR_PORT_LOST;
	if (weir_ethdev_afxdp_reopen(queues, config, &fault) != 0) {
		state->fault = fault;
		return;
	}
	group->phase = WEIR_ETHDEV_OPEN;
	call(queues, config->queues, WEIR_ETHDEV_STAY);
	judge(group, config, weir_interfaces_numbered(config->interfaces, group->ifindex), state);
}

static void unplug(struct weir_port *const queues[], uint16_t count, bool is_unplugged)
{
	for (uint16_t queue = 0; queue < count; queue++)
		atomic_store_explicit(&queues[queue]->is_unplugged, is_unplugged, memory_order_relaxed);
}

static bool watch_device(const struct weir_port *port, const struct weir_port_config *config, struct weir_port_state *state)
{
	state->condition = WEIR_PORT_WELL;
	// A program that is not connected over vhost-user is no fault; a NIC without a link is one.
	if (strncmp(config->device, "net_vhost", 9) != 0 && !port->ops->link_is_up(port))
		set(state, WEIR_PORT_LOST, config, "look after cable, switch or the other end; " FIX_ITSELF,
		    "its device has no link");
	return false;
}

bool weir_ethdev_watch(struct weir_port *const queues[], const struct weir_port_config *config, struct weir_port_state *state)
{
	struct weir_ethdev_group *group = ethdev_of(queues[0])->group;
	const struct weir_interface *interface;
	bool must_wake = false;

	if (config->kind != WEIR_PORT_AFXDP)
		return watch_device(queues[0], config, state);
	interface = weir_interfaces_numbered(config->interfaces, group->ifindex);
	if (group->phase == WEIR_ETHDEV_OPEN) {
		if (!is_broken(group, config, interface, state)) {
			follow_addresses(group, config);
			judge(group, config, interface, state);
		} else {
			call(queues, config->queues, WEIR_ETHDEV_LEAVE);
			group->phase = WEIR_ETHDEV_LEAVING;
			must_wake = true;
		}
	} else if (group->phase == WEIR_ETHDEV_LEAVING && is_answered(queues, config->queues, WEIR_ETHDEV_LEAVE)) {
		weir_ethdev_afxdp_shut(queues, config->queues);
		group->phase = WEIR_ETHDEV_SHUT;
	}
	if (group->phase == WEIR_ETHDEV_SHUT) {
		reopen(queues, config, state);
		must_wake = group->phase == WEIR_ETHDEV_OPEN;
	}
	unplug(queues, config->queues, state->condition == WEIR_PORT_LOST);
	return must_wake;
}
