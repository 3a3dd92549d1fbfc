// One UDP socket of a client: made with the client's options, connected to one address of its router. The kernel chooses the
// source address when it connects, and keeps it.
#ifndef WEIR_CLIENT_UDP_SOCKET_H
#define WEIR_CLIENT_UDP_SOCKET_H

#include <stdbool.h>
#include <stdint.h>

#include "client/lookup.h"
#include "client/weir.h"

struct weir_udp_sizes {
	uint32_t receive, send;
	uint16_t local_port; // 0: any
};

struct weir_udp_sizes weir_udp_sizes_of(const struct weir_options *options);
// A descriptor, or -errno. endpoint NULL: connected to nobody and bound to nothing.
int weir_udp_socket(const struct weir_udp_sizes *sizes, const struct weir_endpoint *endpoint);
// What its receive buffer holds, as weir_charge() counts.
uint32_t weir_udp_credit(int fd);
// The kernel would choose another source address by now.
bool weir_udp_is_outdated(int fd, const struct weir_endpoint *endpoint);
// errno of a send or connect that failed because this host has no way there, or lost the address the socket has.
bool weir_udp_is_unreachable(int error);

#endif
