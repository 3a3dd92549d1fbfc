// Closes what others handed to the router: a descriptor's last close() may wait as long as its maker likes (a TCP socket that
// lingers, a file of a slow file system), also when it merely lies unread in a socket that is closed. Such closes are the
// turn of a thread of their own, and a user whose descriptors take their time has no second turn meanwhile. Control thread.
#ifndef WEIR_DAEMON_REAPER_H
#define WEIR_DAEMON_REAPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "control/model/trouble.h"

#define WEIR_REAPER_JOBS_MAX 64u // threads that close at a time
#define WEIR_REAPER_USER_JOBS 8u // of them for one user
#define WEIR_REAPER_SLOW_MS 100u // a close that takes so long waits for something

struct weir_reaper;

// 0 or -errno with *trouble.
int weir_reaper_create(struct weir_reaper **reaper, struct weir_trouble *trouble);
// What still closes goes on without it. NULL is allowed.
void weir_reaper_destroy(struct weir_reaper *reaper);

// Takes descriptors that came from the user over and closes them; never waits for them. Where no thread can be had they stay
// open.
void weir_reaper_close(struct weir_reaper *reaper, uint32_t uid, const int *fds, uint32_t count);
// Whether the user has had its turn: something of its makes a close() wait, or much of its is being closed.
bool weir_reaper_is_busy(struct weir_reaper *reaper, uint32_t uid);
// Whether more could be closed now.
bool weir_reaper_has_room(struct weir_reaper *reaper);

// ---- Sockets of local peers ----

// Asks the kernel to let no descriptors through the socket (Linux 6.16 and later); a listening one hands this on.
void weir_local_refuse_descriptors(int socket);
// recv() of bytes alone, without waiting. -1 with errno EPERM: descriptors came along, which nobody asked for; they stay
// unread, and the socket is to be closed.
ssize_t weir_local_receive(int socket, void *bytes, size_t size);
// Closes a socket of the user's; what it has not read may hold descriptors.
void weir_local_close(struct weir_reaper *reaper, uint32_t uid, int socket);
// The user at the other end; UINT32_MAX: not known.
uint32_t weir_local_uid(int socket);

#endif
