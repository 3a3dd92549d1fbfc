// See udp_socket.h. The options are those the frames need: DF set, large buffers, runs of datagrams received at once.
#include "client/udp_socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECEIVE_BUFFER_DEFAULT (8u << 20)
#define SEND_BUFFER_DEFAULT (4u << 20)

struct weir_udp_sizes weir_udp_sizes_of(const struct weir_options *options)
{
	return (struct weir_udp_sizes){
		.receive = options && options->receive_buffer_size ? options->receive_buffer_size : RECEIVE_BUFFER_DEFAULT,
		.send = options && options->send_buffer_size ? options->send_buffer_size : SEND_BUFFER_DEFAULT,
		.local_port = options ? options->local_port : 0,
	};
}

static void buffer_size_set(int fd, int forced, int plain, uint32_t size)
{
	int value = (int)size;
	// Without CAP_NET_ADMIN the kernel caps it at net.core.{r,w}mem_max; credit follows what it gave.
	if (setsockopt(fd, SOL_SOCKET, forced, &value, sizeof(value)))
		setsockopt(fd, SOL_SOCKET, plain, &value, sizeof(value));
}

static int local_bind(int fd, int family, uint16_t port)
{
	struct sockaddr_in6 local6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in local4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	int error = family == AF_INET6 ? bind(fd, (struct sockaddr *)&local6, sizeof(local6)) :
					 bind(fd, (struct sockaddr *)&local4, sizeof(local4));
	return error ? -errno : 0;
}

static int attach(int fd, const struct weir_udp_sizes *sizes, const struct weir_endpoint *endpoint)
{
	int error = 0;
	if (sizes->local_port)
		error = local_bind(fd, endpoint->address.ss_family, sizes->local_port);
	if (!error && connect(fd, (const struct sockaddr *)&endpoint->address, endpoint->size))
		error = -errno;
	return error;
}

int weir_udp_socket(const struct weir_udp_sizes *sizes, const struct weir_endpoint *endpoint)
{
	int family = endpoint ? endpoint->address.ss_family : AF_INET;
	int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	buffer_size_set(fd, SO_RCVBUFFORCE, SO_RCVBUF, sizes->receive);
	buffer_size_set(fd, SO_SNDBUFFORCE, SO_SNDBUF, sizes->send);
	int on = 1;
	int discover4 = IP_PMTUDISC_DO;
	int discover6 = IPV6_PMTUDISC_DO;
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &discover6, sizeof(discover6));
	else
		setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &discover4, sizeof(discover4));
	setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)); // older kernels give single datagrams
	int error = endpoint ? attach(fd, sizes, endpoint) : 0;
	if (error) {
		close(fd);
		return error;
	}
	return fd;
}

uint32_t weir_udp_credit(int fd)
{
	int size = 0;
	socklen_t length = sizeof(size);
	if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, &length) || size <= 0)
		return 0;
	// The kernel reports the doubled value, which is what it compares the truesize of what waits with. A quarter is for
	// acknowledgements and for estimates that were too low.
	return (uint32_t)size / 4 * 3;
}

// Address without port. false: none.
static bool source_of(int fd, struct weir_endpoint *source)
{
	memset(source, 0, sizeof(*source));
	source->size = sizeof(source->address);
	if (getsockname(fd, (struct sockaddr *)&source->address, &source->size))
		return false;
	if (source->address.ss_family == AF_INET)
		((struct sockaddr_in *)&source->address)->sin_port = 0;
	else
		((struct sockaddr_in6 *)&source->address)->sin6_port = 0;
	return true;
}

bool weir_udp_is_outdated(int fd, const struct weir_endpoint *endpoint)
{
	struct weir_endpoint mine;
	struct weir_endpoint now;
	int probe = socket(endpoint->address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (probe < 0)
		return false;
	bool is_known = connect(probe, (const struct sockaddr *)&endpoint->address, endpoint->size) == 0 &&
			source_of(probe, &now) && source_of(fd, &mine);
	close(probe);
	return is_known && !weir_endpoint_is_same(&mine, &now);
}

bool weir_udp_is_unreachable(int error)
{
	return error == ENETUNREACH || error == EHOSTUNREACH || error == EADDRNOTAVAIL || error == ENETDOWN || error == ENODEV;
}
