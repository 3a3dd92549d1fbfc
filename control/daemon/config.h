// The topology file, read: text in, checked struct weir_topology out, or one exact complaint. Control thread.
#ifndef WEIR_DAEMON_CONFIG_H
#define WEIR_DAEMON_CONFIG_H

#include <stddef.h>

#include "control/daemon/binder.h"
#include "control/model/topology.h"
#include "control/model/trouble.h"

#define WEIR_CONFIG_SIZE_MAX (4u << 20) // bytes of a topology file; larger ones are refused

// 0 and a topology for weir_topology_destroy(); -EINVAL with *trouble and its mark; -ENOMEM with *trouble.
int weir_config_parse(struct weir_topology **topology, const char *text, size_t size, struct weir_trouble *trouble);

// The table of the file's keys. For tests that ask something of each.
const struct weir_field *weir_config_schema(void);

// Reads a whole file into allocated, zero-ended *text. -errno with *trouble when it cannot.
int weir_config_load(const char *file, char **text, size_t *size, struct weir_trouble *trouble);

#endif
