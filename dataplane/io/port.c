// Chooses the kind of a port. Control thread.
#include "dataplane/io/port.h"

#include <errno.h>

int weir_port_open(struct weir_port **ports, const struct weir_port_config *config, const uint16_t *index,
		   struct weir_fault *fault)
{
	switch (config->kind) {
	case WEIR_PORT_KERNEL:
		return weir_port_kernel_open(ports, config, index, fault);
	case WEIR_PORT_AFXDP:
	case WEIR_PORT_DPDK:
		return weir_port_ethdev_open(ports, config, index, fault);
	case WEIR_PORT_LANE:
		break;
	}
	return weir_fault_set(fault, -EINVAL, config->name, "open the port", "use kernel, afxdp or dpdk",
			      "kind %d cannot be configured", (int)config->kind);
}

const char *weir_port_kind_name(enum weir_port_kind kind)
{
	static const char *const names[] = { "kernel", "afxdp", "dpdk", "lane" };

	return (unsigned)kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "unknown";
}

const char *weir_port_condition_name(enum weir_port_condition condition)
{
	static const char *const names[] = { "well", "hindered", "lost" };

	return (unsigned)condition < sizeof(names) / sizeof(names[0]) ? names[condition] : "unknown";
}
