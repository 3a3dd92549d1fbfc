// The unix socket of a vhost-user port, looked at before DPDK binds it. Internal to dataplane/io; control thread.
#ifndef WEIR_IO_VHOST_H
#define WEIR_IO_VHOST_H

#include "dataplane/io/fault.h"

// For devargs of net_vhost that listen on a socket: refuses what DPDK would refuse without a reason (no path, too long, no
// folder, not a socket, in use) and removes the socket file that a killed predecessor left. Nothing for other devices, nor
// for client=1, which connects. object: whom the fault speaks of.
int weir_vhost_prepare(const char *devargs, const char *object, struct weir_fault *fault);

#endif
