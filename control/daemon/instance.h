// What makes an instance the only one of its name on this host: its directory and its lock. Files of an instance derive
// from its name, so that two instances share nothing. Control thread, first thing at start.
#ifndef WEIR_DAEMON_INSTANCE_H
#define WEIR_DAEMON_INSTANCE_H

#include "control/model/trouble.h"

struct weir_instance {
	int lock; // descriptor; the lock ends with the process, however it ends
	char directory[96]; // /run/weir, or an ordinary user's own
	char lock_path[200];
	char socket_path[108];
	char lanes_path[108]; // of the socket for lanes alone, where it is configured
	char counters_path[200];
	char terms_path[512]; // empty: nothing is kept over restarts
};

// socket: path that overrides the instance's own, or NULL. 0 or -errno with *trouble: not permitted, or the name is taken.
int weir_instance_take(struct weir_instance *instance, const char *name, const char *socket, struct weir_trouble *trouble);
void weir_instance_release(struct weir_instance *instance);

#endif
