// What the sockets of a kernel UDP port put around a datagram: where it goes, and where it leaves from. Worker.
#ifndef WEIR_IO_UDP_MESSAGE_H
#define WEIR_IO_UDP_MESSAGE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "dataplane/core/path.h"

// What the kernel adds to a received message, and what we add to a sent one.
union weir_udp_control {
	struct cmsghdr align;
	uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(int))];
};

static inline void weir_udp_add_control(struct msghdr *header, int level, int type, const void *data, size_t size)
{
	struct cmsghdr *item = (void *)((uint8_t *)header->msg_control + header->msg_controllen);

	item->cmsg_level = level;
	item->cmsg_type = type;
	item->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(item), data, size);
	header->msg_controllen += CMSG_SPACE(size);
}

// Addresses the message along the path. `remote` has room for both families. names_source: the socket is bound to all
// addresses, so that the message must say from which it leaves.
static inline void weir_udp_address(const struct weir_path *path, bool names_source, struct msghdr *header,
				    struct sockaddr_in6 *remote)
{
	if (path->family == AF_INET) {
		struct sockaddr_in *remote4 = (void *)remote;
		struct in_pktinfo from = { 0 };

		*remote4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = path->remote_port };
		memcpy(&remote4->sin_addr, path->remote_ip, 4);
		header->msg_namelen = sizeof(*remote4);
		if (!names_source)
			return;
		memcpy(&from.ipi_spec_dst, path->local_ip, 4);
		weir_udp_add_control(header, IPPROTO_IP, IP_PKTINFO, &from, sizeof(from));
	} else {
		struct in6_pktinfo from = { .ipi6_ifindex = path->scope };

		*remote = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = path->remote_port,
						 .sin6_scope_id = path->scope };
		memcpy(&remote->sin6_addr, path->remote_ip, 16);
		header->msg_namelen = sizeof(*remote);
		if (!names_source)
			return;
		memcpy(&from.ipi6_addr, path->local_ip, 16);
		weir_udp_add_control(header, IPPROTO_IPV6, IPV6_PKTINFO, &from, sizeof(from));
	}
}

#endif
