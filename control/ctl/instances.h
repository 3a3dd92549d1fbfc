// Which instances of weir have a control socket on this machine: for those who named one that has none.
#ifndef WEIR_CTL_INSTANCES_H
#define WEIR_CTL_INSTANCES_H

#include <stddef.h>

// Writes the name of the instance that was most likely meant by `socket`, the path of a control socket: the nearest, or the
// only one. Empty: there is none to offer.
void weir_instances_guess(const char *socket, char *name, size_t size);

#endif
