// Two sockets share an address by SO_REUSEPORT, set on the first one only after it was bound alone: another process that wants
// the port is refused as before. A filter of one instruction gives all that arrives to the first.
#include "dataplane/io/stranger_socket.h"

#include <errno.h>
#include <linux/filter.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/io/udp_message.h"

#define SEND_BUFFER (32 << 20) // what may wait for dead hosts: 3 s of 20,000 answers a second, so that the living get theirs

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int give_arrivals_to_first(int fd)
{
	struct sock_filter first = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = { .len = 1, .filter = &first };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)) < 0 ? -errno : 0;
}

static int set_options(int fd, int family)
{
	int error;

	if (set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER) != 0)
		set_option(fd, SOL_SOCKET, SO_SNDBUF, SEND_BUFFER);
	set_option(fd, SOL_SOCKET, SO_RCVBUF, 0); // the least there is
	error = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (error)
		return error;
	if (family == AF_INET)
		return set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
	error = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	return error ? error : set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
}

int weir_stranger_socket_open(struct weir_stranger_socket *stranger, int fd, bool names_source)
{
	struct sockaddr_in6 address = { 0 };
	socklen_t size = sizeof(address);
	int error;

	if (getsockname(fd, (struct sockaddr *)&address, &size) < 0)
		return -errno;
	stranger->names_source = names_source;
	stranger->fd = socket(address.sin6_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (stranger->fd < 0)
		return -errno;
	error = set_options(stranger->fd, address.sin6_family);
	if (!error)
		error = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (!error && bind(stranger->fd, (struct sockaddr *)&address, size) < 0)
		error = -errno;
	if (!error)
		error = give_arrivals_to_first(fd);
	if (error)
		weir_stranger_socket_close(stranger);
	return error;
}

void weir_stranger_socket_close(struct weir_stranger_socket *stranger)
{
	if (stranger->fd >= 0)
		close(stranger->fd);
	stranger->fd = -1;
}

bool weir_stranger_socket_send(struct weir_stranger_socket *stranger, uint32_t size)
{
	struct iovec vector = { .iov_base = stranger->frame, .iov_len = size };
	union weir_udp_control control;
	struct sockaddr_in6 remote;
	struct msghdr message = { .msg_name = &remote, .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control };

	weir_udp_address(&stranger->path, stranger->names_source, &message, &remote);
	return sendmsg(stranger->fd, &message, MSG_DONTWAIT) >= 0;
}
