// A client's UDP socket: connected, non-blocking, never fragmented. Takes datagrams from the core in bursts (UDP_SEGMENT for
// runs of equal size) and gives it what arrives in bursts (UDP_GRO). One thread.
#ifndef WEIR_CLIENT_UDP_H
#define WEIR_CLIENT_UDP_H

#include <stdbool.h>
#include <stdint.h>

#include "client/core.h"

struct weir_udp;

// address: "udp://HOST[:PORT]". -EPROTONOSUPPORT another scheme, -EINVAL malformed, -EADDRNOTAVAIL unknown host, or
// socket()'s, bind()'s, connect()'s.
int weir_udp_open(struct weir_udp **udp, const char *address, const struct weir_options *options);
void weir_udp_close(struct weir_udp *udp);

int weir_udp_fd(const struct weir_udp *udp);
// What the socket's buffer can hold, as weir_charge() counts.
uint32_t weir_udp_credit(const struct weir_udp *udp);

// A weir_core_output.send; context: the weir_udp.
uint32_t weir_udp_send(void *context, const struct weir_datagram *datagrams, uint32_t count);
bool weir_udp_is_blocked(const struct weir_udp *udp); // the last send took less than it was given: wait for POLLOUT
// Size of a datagram that was too large for the path since the last call; 0: none.
uint32_t weir_udp_too_large(struct weir_udp *udp);

// One burst without waiting. Returns how many datagrams, or -errno of a broken socket.
int weir_udp_receive(struct weir_udp *udp, struct weir_core *core, uint64_t now_ns);

uint64_t weir_udp_system_calls(const struct weir_udp *udp);

#endif
