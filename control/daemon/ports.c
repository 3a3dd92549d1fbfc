// Ports as operators meet them. Between the dataplane, which knows how its ports fare, and the log and `weirctl status`, which
// tell. Control thread.
#include "control/daemon/ports.h"

#include <stdio.h>
#include <string.h>

#include "bpf/guard.h"
#include "control/daemon/say.h"

void weir_ports_sweep(struct weir_router *router)
{
	const struct weir_topology *topology = router->topology;
	const char *keep[WEIR_TOPOLOGY_PORTS_MAX];
	char text[WEIR_GUARD_ERROR_SIZE];
	uint32_t count = 0;
	int err;

	for (uint32_t i = 0; i < topology->port_count; i++) {
		if (topology->ports[i].kind == WEIR_TOPOLOGY_PORT_AFXDP)
			keep[count++] = topology->ports[i].interface;
	}
	err = weir_guard_sweep(topology->instance, NULL, keep, count, text);
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		weir_say(err ? WEIR_SAY_WARNING : WEIR_SAY_INFO, "%s", line);
		if (err && !router->leftover[0])
			snprintf(router->leftover, sizeof(router->leftover), "%s", line);
	}
}
