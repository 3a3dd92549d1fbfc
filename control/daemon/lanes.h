// Lanes of local clients as control sees them: the handshake on a unix socket, the logs it hands out, and the end of a lane
// when its socket hangs up or its process dies. Control thread; never waits for a client, nor for what a client sent.
#ifndef WEIR_DAEMON_LANES_H
#define WEIR_DAEMON_LANES_H

#include <stdbool.h>
#include <stdint.h>

#include "control/daemon/reaper.h"
#include "control/daemon/router.h"
#include "control/model/trouble.h"
#include "dataplane/io/lane.h"

#define WEIR_LANES_GREETING_MAX 64u  // connections that have no lane yet; more are refused
#define WEIR_LANES_GREETING_USER 32u // of them, for one user
#define WEIR_LANES_GREETING_MS 2000u // a client that has not said hello by then is cut off

struct weir_lanes;

// A router without lanes refuses every client. The reaper outlives them. 0 or -errno with *trouble.
int weir_lanes_create(struct weir_lanes **lanes, struct weir_router *router, struct weir_reaper *reaper,
		      struct weir_trouble *trouble);
// Takes connections also on a listening socket that serves nothing else; it stays the caller's. 0 or -errno.
int weir_lanes_listen(struct weir_lanes *lanes, int fd);
// Closes all connections. The lanes themselves go with the dataplane, which may have gone already. NULL is allowed.
void weir_lanes_destroy(struct weir_lanes *lanes);

// A connection whose first byte says that it wants a lane; the descriptor is taken over. Nothing has been read.
void weir_lanes_take(struct weir_lanes *lanes, int fd);

// Names who keeps parts of logs beyond its term, and ends its process past the topology's pin_timeout. About once a second.
void weir_lanes_watch_pins(struct weir_lanes *lanes, uint64_t time_ns);

struct weir_lanes_text {
	char bytes[400];
};
// Who keeps how much of the shard, for how long and what releases it, of a row that names the lane. false: not for long.
bool weir_lanes_pin_text(struct weir_lanes_text *text, const struct weir_lane *lane, const char *topic, uint32_t shard,
			 const struct weir_shard_row *row, uint64_t time_ns);

// Readable when there is something to do.
int weir_lanes_fd(const struct weir_lanes *lanes);
// Does it; also what time brings. Returns in how many ms it wants to be called again at the latest, -1: never.
int weir_lanes_run(struct weir_lanes *lanes);

#endif
