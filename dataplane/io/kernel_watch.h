// How a kernel UDP port fares: struct weir_port_ops.watch of its kind. Control thread.
#ifndef WEIR_IO_KERNEL_WATCH_H
#define WEIR_IO_KERNEL_WATCH_H

#include "dataplane/io/port.h"

bool weir_kernel_watch(struct weir_port *const queues[], const struct weir_port_config *config, struct weir_port_state *state);

#endif
