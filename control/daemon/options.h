// The command line of weir(8).
#ifndef WEIR_DAEMON_OPTIONS_H
#define WEIR_DAEMON_OPTIONS_H

#include <stdbool.h>

#include "control/model/topology.h"

struct weir_options {
	const char *config; // file
	const char *instance; // NULL: the file's
	const char *socket; // NULL: from the instance
	const char *machine; // --check: an hwloc description instead of this machine
	int poll; // enum weir_topology_poll, -1: the file's
	bool is_check;
};

// 0: run; 1: help or version was printed, exit 0; -EINVAL: a complaint was printed, exit 2.
int weir_options_parse(struct weir_options *options, int count, char **words);

#endif
