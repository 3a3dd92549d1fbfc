// A client's lane: shared memory with a router on the same machine (wire/lane.h). Frames are handed over by descriptor,
// answers come through a ring, shard logs are mapped to be read in place. Distrusts the router's memory as the router
// distrusts the client's. One thread.
#ifndef WEIR_CLIENT_LANE_H
#define WEIR_CLIENT_LANE_H

#include "client/transport.h"

#define WEIR_LANE_FRAME_DEFAULT 4096u // bytes; what a session over a lane agrees on unless told otherwise

// address: "unix:PATH" of the router's socket. Returns at once also when nobody listens there yet. -EINVAL malformed address,
// -EACCES may not connect, -ENOMEM, or memfd_create()'s.
int weir_lane_open(struct weir_transport **transport, const char *address, const struct weir_options *options);

#endif
