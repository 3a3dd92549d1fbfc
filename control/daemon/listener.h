// A unix socket that clients knock on, and its file: who may connect is said by the file's mode. Control thread.
#ifndef WEIR_DAEMON_LISTENER_H
#define WEIR_DAEMON_LISTENER_H

#include <stdint.h>
#include <sys/types.h>

#include "control/model/trouble.h"

struct weir_listener {
	int fd; // -1: none
	char path[108];
	// Of the file, so that no other one is ever removed.
	dev_t device;
	ino_t inode;
};

// Binds and listens. A socket file of ours on which nobody listens any more is replaced; whatever else lies at the path
// stays, and is refused by what it is. 0 or -errno with *trouble; fd is -1 then.
int weir_listener_open(struct weir_listener *listener, const char *path, uint32_t mode, uint32_t queue,
		       struct weir_trouble *trouble);
// Removes the file, if it is still the one that was made. One with fd -1 is let be.
void weir_listener_close(struct weir_listener *listener);

#endif
