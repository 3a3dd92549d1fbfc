// Fills struct weir_machine from hwloc: this machine, or a synthetic or recorded one in tests. Control thread.
#ifndef WEIR_DAEMON_MACHINE_H
#define WEIR_DAEMON_MACHINE_H

#include <hwloc.h>

#include "control/model/machine.h"

// Reads a loaded topology. Network interfaces are there only when the topology kept I/O objects.
void weir_machine_read(struct weir_machine *machine, hwloc_topology_t topology);

// Loads and reads this machine, restricted to the CPUs this process may use. 0, -ENOMEM, or -errno of hwloc.
int weir_machine_detect(struct weir_machine **machine);

// From a description: "synthetic:node:2 core:4 pu:1", or the path of an hwloc XML file. For tests and for planning ahead.
int weir_machine_describe(struct weir_machine **machine, const char *description);

#endif
