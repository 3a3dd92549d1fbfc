// The client's UDP socket. A send of many frames is one sendmmsg() of UDP_SEGMENT messages: the kernel routes and
// checks a run of equal frames once. A receive is one recvmmsg() of coalesced messages into the core's buffers.
#include "client/udp.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire/limits.h"

#define SEGMENTS_MAX 64u      // of the kernel, per message
#define SEGMENT_BYTES 64000u  // below the 65,507 of a UDP datagram
#define RECEIVE_BURST 8u
#define SPARSE_BYTES 16384u   // a buffer with less in it is copied from
#define RECEIVE_BUFFER_DEFAULT (8u << 20)
#define SEND_BUFFER_DEFAULT (4u << 20)

struct weir_udp {
	struct weir_transport transport;
	int fd;
	bool has_segmentation;
	bool is_blocked; // the last send took less than it was given
	uint32_t too_large;
	uint8_t *spare; // received into when the core's buffers are all in use
	struct weir_buffer *buffers[RECEIVE_BURST];
};

// ---- Address and socket ----

// "HOST[:PORT]", an IPv6 address in brackets.
static int split(const char *at, char host[256], char port[8])
{
	const char *end = strrchr(at, ':');
	snprintf(port, 8, "%u", WEIR_PORT_BASE);
	if (*at == '[') {
		const char *bracket = strchr(at, ']');
		if (!bracket || bracket - at < 2 || (bracket[1] && bracket[1] != ':'))
			return -EINVAL;
		end = bracket[1] ? bracket + 1 : NULL;
		if ((size_t)(bracket - at) > 255)
			return -EINVAL;
		snprintf(host, 256, "%.*s", (int)(bracket - at - 1), at + 1);
	} else {
		size_t size = end ? (size_t)(end - at) : strlen(at);
		if (size == 0 || size > 255 || (end && memchr(at, ':', size)))
			return -EINVAL;
		snprintf(host, 256, "%.*s", (int)size, at);
	}
	if (!end)
		return 0;
	char *rest = NULL;
	unsigned long number = strtoul(end + 1, &rest, 10);
	if (end[1] < '0' || end[1] > '9' || *rest || number == 0 || number > UINT16_MAX)
		return -EINVAL;
	snprintf(port, 8, "%lu", number);
	return 0;
}

static int resolve(const char *address, struct sockaddr_storage *to, socklen_t *size)
{
	char host[256];
	char port[8];
	if (strncmp(address, "udp://", 6) != 0)
		return -EINVAL;
	int error = split(address + 6, host, port);
	if (error)
		return error;
	struct addrinfo hints = { .ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV };
	struct addrinfo *found = NULL;
	if (getaddrinfo(host, port, &hints, &found))
		return -EADDRNOTAVAIL;
	// A name may stand for several addresses; a router more often listens on IPv4 than not.
	const struct addrinfo *chosen = found;
	while (chosen->ai_next && chosen->ai_family != AF_INET)
		chosen = chosen->ai_next;
	if (chosen->ai_family != AF_INET)
		chosen = found;
	memcpy(to, chosen->ai_addr, chosen->ai_addrlen);
	*size = chosen->ai_addrlen;
	freeaddrinfo(found);
	return 0;
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

static int socket_open(const char *address, const struct weir_options *options)
{
	struct sockaddr_storage to;
	socklen_t size = 0;
	int error = resolve(address, &to, &size);
	if (error)
		return error;
	int fd = socket(to.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	uint32_t receive = options && options->receive_buffer_size ? options->receive_buffer_size : RECEIVE_BUFFER_DEFAULT;
	uint32_t send = options && options->send_buffer_size ? options->send_buffer_size : SEND_BUFFER_DEFAULT;
	buffer_size_set(fd, SO_RCVBUFFORCE, SO_RCVBUF, receive);
	buffer_size_set(fd, SO_SNDBUFFORCE, SO_SNDBUF, send);
	int on = 1;
	int discover4 = IP_PMTUDISC_DO;
	int discover6 = IPV6_PMTUDISC_DO;
	if (to.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &discover6, sizeof(discover6));
	else
		setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &discover4, sizeof(discover4));
	setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)); // older kernels give single datagrams
	if (options && options->local_port)
		error = local_bind(fd, to.ss_family, options->local_port);
	if (!error && connect(fd, (struct sockaddr *)&to, size))
		error = -errno;
	if (error) {
		close(fd);
		return error;
	}
	return fd;
}

// What the socket's buffer can hold, as weir_charge() counts.
static uint32_t credit_of(int fd)
{
	int size = 0;
	socklen_t length = sizeof(size);
	if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, &length) || size <= 0)
		return 0;
	// The kernel reports the doubled value, which is what it compares the truesize of what waits with. A quarter is for
	// acknowledgements and for estimates that were too low.
	return (uint32_t)size / 4 * 3;
}

static uint32_t too_large(struct weir_transport *transport)
{
	struct weir_udp *udp = (struct weir_udp *)transport;
	uint32_t size = udp->too_large;
	udp->too_large = 0;
	return size;
}

static uint32_t wait_on(struct weir_transport *transport, struct pollfd *fds)
{
	const struct weir_udp *udp = (const struct weir_udp *)transport;
	fds[0] = (struct pollfd){ .fd = udp->fd, .events = (short)(POLLIN | (udp->is_blocked ? POLLOUT : 0)) };
	return 1;
}

static bool doze(struct weir_transport *transport, const struct weir_core *core)
{
	return true; // what comes from now on makes the socket readable
}

static void nothing(struct weir_transport *transport)
{
}

static void udp_close(struct weir_transport *transport)
{
	struct weir_udp *udp = (struct weir_udp *)transport;
	close(udp->fd);
	free(udp->spare);
	free(udp);
}

// ---- Send ----

union segment_control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(uint16_t))];
};

struct burst {
	struct mmsghdr messages[WEIR_CORE_BATCH];
	struct iovec parts[WEIR_CORE_BATCH];
	union segment_control controls[WEIR_CORE_BATCH];
	uint32_t count;
};

// Datagrams of equal size, and at most one smaller behind them, go in one message.
static uint32_t run_length(const struct weir_udp *udp, const struct weir_datagram *datagrams, uint32_t count)
{
	size_t size = datagrams[0].size;
	size_t total = size;
	uint32_t length = 1;
	while (udp->has_segmentation && length < count && length < SEGMENTS_MAX && datagrams[length].size <= size &&
	       total + datagrams[length].size <= SEGMENT_BYTES) {
		total += datagrams[length].size;
		if (datagrams[length++].size < size)
			break;
	}
	return length;
}

static void burst_build(const struct weir_udp *udp, struct burst *burst, const struct weir_datagram *datagrams, uint32_t count)
{
	burst->count = 0;
	for (uint32_t at = 0; at < count;) {
		uint32_t length = run_length(udp, datagrams + at, count - at);
		struct msghdr *message = &burst->messages[burst->count].msg_hdr;
		*message = (struct msghdr){ .msg_iov = &burst->parts[at], .msg_iovlen = length };
		for (uint32_t i = at; i < at + length; i++)
			burst->parts[i] = (struct iovec){ (void *)datagrams[i].data, datagrams[i].size };
		if (length > 1) {
			union segment_control *control = &burst->controls[burst->count];
			uint16_t size = (uint16_t)datagrams[at].size;
			message->msg_control = control;
			message->msg_controllen = sizeof(control->bytes);
			struct cmsghdr *header = CMSG_FIRSTHDR(message);
			header->cmsg_level = IPPROTO_UDP;
			header->cmsg_type = UDP_SEGMENT;
			header->cmsg_len = CMSG_LEN(sizeof(size));
			memcpy(CMSG_DATA(header), &size, sizeof(size));
		}
		burst->count++;
		at += length;
	}
}

// What to do about the message that could not be sent: go on behind it (true) or stop (false).
static bool is_passable(struct weir_udp *udp, int error, const struct weir_datagram *first, uint32_t length)
{
	if (error == EAGAIN || error == ENOBUFS) {
		udp->is_blocked = true;
		return false;
	}
	if (length > 1 && (error == EIO || error == EINVAL)) {
		// A device that cannot checksum, or a kernel without it: one by one from now on.
		udp->has_segmentation = false;
		return false;
	}
	if (error == EMSGSIZE)
		udp->too_large = (uint32_t)first->size;
	// Refused, unreachable, filtered, too large: lost, like anywhere else on the way. The timers know what to do.
	return true;
}

static uint32_t burst_send(struct weir_udp *udp, struct burst *burst, const struct weir_datagram *datagrams)
{
	uint32_t taken = 0;
	uint32_t message = 0;
	bool was_refused = false;
	while (message < burst->count) {
		udp->transport.system_calls++;
		int sent = sendmmsg(udp->fd, burst->messages + message, burst->count - message, 0);
		int error = errno;
		for (int i = 0; i < sent; i++)
			taken += (uint32_t)burst->messages[message++].msg_hdr.msg_iovlen;
		if (sent >= 0)
			continue;
		// Tells of an earlier datagram that nobody listened to; this one was not tried yet.
		if (error == EINTR || (error == ECONNREFUSED && !was_refused)) {
			was_refused = error == ECONNREFUSED;
			continue;
		}
		uint32_t length = (uint32_t)burst->messages[message].msg_hdr.msg_iovlen;
		if (!is_passable(udp, error, datagrams + taken, length))
			return taken;
		message++;
		taken += length;
	}
	return taken;
}

static uint32_t udp_send(void *context, const struct weir_datagram *datagrams, uint32_t count)
{
	struct weir_udp *udp = context;
	struct burst burst;
	uint32_t taken = 0;
	udp->is_blocked = false;
	while (taken < count && !udp->is_blocked) {
		burst_build(udp, &burst, datagrams + taken, count - taken);
		taken += burst_send(udp, &burst, datagrams + taken);
	}
	return taken;
}

// ---- Receive ----

static uint32_t segment_size(struct msghdr *message, uint32_t size)
{
	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
		if (header->cmsg_level == IPPROTO_UDP && header->cmsg_type == UDP_GRO) {
			int segment = 0;
			memcpy(&segment, CMSG_DATA(header), sizeof(segment));
			return segment > 0 ? (uint32_t)segment : size;
		}
	}
	return size;
}

static int message_input(struct weir_core *core, struct weir_buffer *buffer, const uint8_t *data, struct mmsghdr *message,
			 uint64_t now_ns)
{
	uint32_t size = message->msg_len;
	uint32_t segment = segment_size(&message->msg_hdr, size);
	int count = 0;
	for (uint32_t at = 0; at < size || count == 0; at += segment, count++) {
		struct weir_datagram datagram = { data + at, size - at < segment ? size - at : segment };
		if (buffer)
			weir_core_input_in(core, buffer, &datagram, size < SPARSE_BYTES, now_ns);
		else
			weir_core_input(core, datagram.data, datagram.size, now_ns);
		if (segment == 0)
			return 1;
	}
	return count;
}

static int messages_input(struct weir_udp *udp, struct weir_core *core, struct mmsghdr *messages, int count, uint64_t now_ns)
{
	int datagrams = 0;
	for (int i = 0; i < count; i++) {
		uint8_t *data = messages[i].msg_hdr.msg_iov->iov_base;
		datagrams += message_input(core, udp->buffers[i], data, &messages[i], now_ns);
	}
	return datagrams;
}

static int udp_receive(struct weir_transport *transport, struct weir_core *core, uint64_t now_ns)
{
	struct weir_udp *udp = (struct weir_udp *)transport;
	struct mmsghdr messages[RECEIVE_BURST];
	struct iovec parts[RECEIVE_BURST];
	char controls[RECEIVE_BURST][CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
	uint32_t burst = 0;
	for (; burst < RECEIVE_BURST; burst++) {
		struct weir_buffer *buffer = weir_core_buffer_get(core);
		if (!buffer && burst)
			break;
		udp->buffers[burst] = buffer;
		parts[burst] = (struct iovec){ buffer ? weir_buffer_data(buffer) : udp->spare, WEIR_CORE_BUFFER_SIZE };
		messages[burst].msg_hdr = (struct msghdr){
			.msg_iov = &parts[burst],
			.msg_iovlen = 1,
			.msg_control = controls[burst],
			.msg_controllen = sizeof(controls[burst]),
		};
		if (!buffer) {
			burst++;
			break;
		}
	}
	int count = 0;
	do {
		udp->transport.system_calls++;
		count = recvmmsg(udp->fd, messages, burst, MSG_DONTWAIT, NULL);
	} while (count < 0 && errno == EINTR);
	int error = count < 0 ? errno : 0;
	int datagrams = count > 0 ? messages_input(udp, core, messages, count, now_ns) : 0;
	while (burst-- > 0) {
		if (udp->buffers[burst])
			weir_core_buffer_put(core, udp->buffers[burst]);
	}
	// An unreachable router is no error: ICMP's word for it is worth as much as silence.
	if (error == EBADF || error == ENOTSOCK || error == ENOMEM || error == EFAULT || error == EINVAL)
		return -error;
	return datagrams;
}

// ---- Open ----

static const struct weir_transport_ops OPS = {
	.send = udp_send,
	.receive = udp_receive,
	.wait_on = wait_on,
	.doze = doze,
	.awake = nothing,
	.too_large = too_large,
	.nudge = nothing,
	.close = udp_close,
};

int weir_udp_open(struct weir_transport **transport, const char *address, const struct weir_options *options)
{
	int fd = socket_open(address, options);
	if (fd < 0)
		return fd;
	struct weir_udp *made = calloc(1, sizeof(*made));
	uint8_t *spare = aligned_alloc(64, WEIR_CORE_BUFFER_SIZE);
	if (!made || !spare) {
		free(made);
		free(spare);
		close(fd);
		return -ENOMEM;
	}
	made->transport = (struct weir_transport){
		.ops = &OPS,
		.credit_bytes = credit_of(fd),
		.frame_size = WEIR_FRAME_DEFAULT,
		.due_ns = UINT64_MAX,
	};
	made->fd = fd;
	made->spare = spare;
	made->has_segmentation = true;
	*transport = &made->transport;
	return 0;
}
