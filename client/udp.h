// A client's UDP socket: connected, non-blocking, never fragmented. Takes datagrams from the core in bursts (UDP_SEGMENT for
// runs of equal size) and gives it what arrives in bursts (UDP_GRO). One thread.
#ifndef WEIR_CLIENT_UDP_H
#define WEIR_CLIENT_UDP_H

#include "client/transport.h"

// address: "udp://HOST[:PORT]". -EINVAL malformed, -EADDRNOTAVAIL unknown host, or socket()'s, bind()'s, connect()'s.
int weir_udp_open(struct weir_transport **transport, const char *address, const struct weir_options *options);

#endif
