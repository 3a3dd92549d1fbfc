// Names of routers into addresses. getaddrinfo() may take seconds, so it runs in a thread of its own that lives as long as one
// look-up; the client's thread starts it, sees a descriptor become readable, and takes what was found, or leaves it alone.
#ifndef WEIR_CLIENT_LOOKUP_H
#define WEIR_CLIENT_LOOKUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define WEIR_ENDPOINTS_MAX 8u // of a name; what is beyond is not tried

struct weir_endpoint {
	struct sockaddr_storage address;
	socklen_t size; // 0: nobody
};

struct weir_host {
	char name[256];
	char port[8];
};

// "HOST[:PORT]", an IPv6 address in brackets. 0 or -EINVAL.
int weir_host_parse(struct weir_host *host, const char *text);
// Of a host that is written as an address. 1, or 0: it is a name.
uint32_t weir_host_endpoint(const struct weir_host *host, struct weir_endpoint *endpoint);
bool weir_endpoint_is_same(const struct weir_endpoint *a, const struct weir_endpoint *b);

struct weir_lookup;

// 0, -ENOMEM, -EAGAIN no thread to be had, or eventfd()'s.
int weir_lookup_start(struct weir_lookup **lookup, const struct weir_host *host);
int weir_lookup_fd(const struct weir_lookup *lookup); // readable when it is done
// How many addresses were found, families in turn, IPv4 first (RFC 8305; a router more often listens there). -EAGAIN it is
// under way, -ENXIO there is no such name, -EBUSY nobody could be asked. Unless -EAGAIN the look-up is freed.
int weir_lookup_take(struct weir_lookup *lookup, struct weir_endpoint endpoints[WEIR_ENDPOINTS_MAX]);
// Whatever it may still find, nobody wants to know. NULL is allowed.
void weir_lookup_drop(struct weir_lookup *lookup);

#endif
