// Ports as operators meet them: what a killed predecessor left in the kernel, taken away at start. Control thread.
#ifndef WEIR_DAEMON_PORTS_H
#define WEIR_DAEMON_PORTS_H

#include "control/daemon/router.h"

// Before ports are opened: frees interfaces that the topology does not use from the XDP programs of a killed weir of this
// instance, and says so. What cannot be freed is a warning of the router from then on.
void weir_ports_sweep(struct weir_router *router);

#endif
