// Ports as operators meet them: what a killed predecessor left in the kernel, taken away at start, and what becomes of ports
// while they work, said in the log and in `weirctl status`. Control thread.
#ifndef WEIR_DAEMON_PORTS_H
#define WEIR_DAEMON_PORTS_H

#include <jansson.h>

#include "control/daemon/router.h"

// Before ports are opened: frees interfaces that the topology does not use from the XDP programs of a killed weir of this
// instance, and says so. What cannot be freed is a warning of the router from then on.
void weir_ports_sweep(struct weir_router *router);

// Once a second: looks after the ports. A line in the log says what was lost or hindered and why, and another that it is well
// again.
void weir_ports_watch(struct weir_router *router, uint64_t now_ns);

// What operators should know of the ports now, appended to warnings (a JSON array of texts).
void weir_ports_warn(const struct weir_router *router, json_t *warnings);
// {state, trouble, since_seconds, losses} of the port'th port, set in json.
void weir_ports_describe(const struct weir_router *router, uint32_t port, json_t *json);

#endif
