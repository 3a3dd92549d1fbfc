// The client's UDP sockets: one while a session lives, which moves when this host's address does; several while a router is
// sought, of whose addresses the first to answer is it (RFC 8305). A send of many frames is one sendmmsg() of UDP_SEGMENT
// messages: the kernel routes and checks a run of equal frames once. A receive is one recvmmsg() of coalesced messages into
// the core's buffers.
#include "client/udp.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/lookup.h"
#include "client/udp_socket.h"
#include "wire/frame.h"
#include "wire/limits.h"

#define SEGMENTS_MAX 64u      // of the kernel, per message
#define SEGMENT_BYTES 64000u  // below the 65,507 of a UDP datagram
#define RECEIVE_BURST 8u
#define PLAIN_BURSTS 255u
#define SPARSE_BYTES 16384u   // a buffer with less in it is copied from
#define LOOK_NS 1000000000ull   // between two looks whether our address is still ours
#define LOOKUP_NS 3000000000ull // between two look-ups of the name while no router answers
#define HELLOS_IN_PLACE 2u      // to the address of before, before another one gets its turn

// A socket to one of the router's addresses while no router has answered.
struct way {
	struct weir_endpoint to;
	int fd; // -1: not tried yet
};

struct weir_udp {
	struct weir_transport transport;
	struct weir_udp_sizes sizes;
	int fd; // the same number as long as the client lives: what it stands for changes by dup3()
	struct weir_endpoint to; // what it is connected to
	bool is_used;            // a session had it
	uint8_t plain_bursts; // that go frame by frame before the way there is tried with segmentation again
	bool is_blocked; // the last send took less than it was given
	bool is_doubted; // a send said that our address or our way is gone
	uint64_t looked_ns;
	uint32_t too_large;
	uint8_t *spare; // received into when the core's buffers are all in use
	struct weir_buffer *buffers[RECEIVE_BURST];
	// Whom to ask for.
	struct weir_host host;
	bool is_name;
	struct weir_lookup *lookup; // under way
	uint64_t lookup_ns;         // when the next one is due
	// No router has answered yet: every hello goes to all that were tried, and to one more.
	bool is_seeking;
	uint32_t hellos;
	uint32_t way_next, way_count;
	struct way ways[WEIR_ENDPOINTS_MAX];
};

// ---- Ways to a router ----

static void changed(struct weir_udp *udp)
{
	udp->transport.generation++;
}

// What fd stood for is gone; another thread that sends on it meets the old socket or the new one.
static void fd_replace(struct weir_udp *udp, int fd, const struct weir_endpoint *to)
{
	dup3(fd, udp->fd, O_CLOEXEC);
	close(fd);
	udp->to = *to;
	udp->is_used = false;
	changed(udp);
}

// Nobody is asked on fd, and it holds no port.
static void fd_release(struct weir_udp *udp)
{
	static const struct weir_endpoint NOBODY = { 0 };
	int fd = weir_udp_socket(&udp->sizes, NULL);
	if (fd >= 0)
		fd_replace(udp, fd, &NOBODY);
}

static void way_close(struct weir_udp *udp, struct way *way)
{
	if (way->fd < 0)
		return;
	close(way->fd);
	way->fd = -1;
	changed(udp);
}

static void ways_close(struct weir_udp *udp)
{
	for (uint32_t i = 0; i < udp->way_count; i++)
		way_close(udp, &udp->ways[i]);
}

static int way_open(struct weir_udp *udp, struct way *way)
{
	udp->transport.system_calls += 6;
	int fd = weir_udp_socket(&udp->sizes, &way->to);
	if (fd < 0) {
		udp->transport.error = fd;
		return fd;
	}
	if (udp->sizes.local_port) {
		fd_replace(udp, fd, &way->to);
		return 0;
	}
	way->fd = fd;
	changed(udp);
	return 0;
}

// One more of the router's addresses gets its hello from now on. A port that was asked for can be had once only: then they
// take turns.
static void way_try(struct weir_udp *udp)
{
	bool is_patient = udp->to.size && udp->hellos < HELLOS_IN_PLACE;
	if (is_patient || udp->way_count == 0)
		return;
	if (udp->sizes.local_port)
		fd_release(udp);
	for (uint32_t i = 0; i < udp->way_count; i++) {
		struct way *way = &udp->ways[udp->way_next++ % udp->way_count];
		// A second socket to the same address is no better, unless the first one served a session: it may be stale.
		bool is_there = way->fd >= 0 || (!udp->is_used && weir_endpoint_is_same(&way->to, &udp->to));
		if (!is_there && way_open(udp, way) == 0)
			return;
	}
}

// false: they are those that are known.
static bool endpoints_set(struct weir_udp *udp, const struct weir_endpoint *endpoints, uint32_t count)
{
	bool is_same = count == udp->way_count;
	for (uint32_t i = 0; is_same && i < count; i++)
		is_same = weir_endpoint_is_same(&endpoints[i], &udp->ways[i].to);
	if (is_same)
		return false;
	ways_close(udp);
	for (uint32_t i = 0; i < count; i++)
		udp->ways[i] = (struct way){ .to = endpoints[i], .fd = -1 };
	udp->way_count = count;
	udp->way_next = 0;
	return true;
}

static void lookup_poll(struct weir_udp *udp, struct weir_core *core, uint64_t now_ns)
{
	struct weir_endpoint endpoints[WEIR_ENDPOINTS_MAX];
	int count = udp->lookup ? weir_lookup_take(udp->lookup, endpoints) : -EAGAIN;
	if (udp->lookup && count != -EAGAIN) {
		udp->lookup = NULL;
		udp->lookup_ns = now_ns + LOOKUP_NS;
		changed(udp);
		// A name server that is away takes no address away.
		if (count < 0)
			udp->transport.error = count;
		else if (endpoints_set(udp, endpoints, (uint32_t)count))
			weir_core_path_up(core, now_ns);
	}
	if (udp->lookup || now_ns < udp->lookup_ns)
		return;
	udp->lookup_ns = now_ns + LOOKUP_NS;
	int error = weir_lookup_start(&udp->lookup, &udp->host);
	if (error)
		udp->transport.error = error;
	changed(udp);
}

// Sockets that were connected before our address changed ask from an address that is nobody's.
static void ways_look(struct weir_udp *udp)
{
	if (udp->to.size && udp->is_used && weir_udp_is_outdated(udp->fd, &udp->to))
		fd_release(udp);
	for (uint32_t i = 0; i < udp->way_count; i++) {
		if (udp->ways[i].fd >= 0 && weir_udp_is_outdated(udp->ways[i].fd, &udp->ways[i].to))
			way_close(udp, &udp->ways[i]);
	}
}

static void seek(struct weir_udp *udp, struct weir_core *core, uint64_t now_ns)
{
	if (!udp->is_seeking) {
		udp->is_seeking = true;
		udp->hellos = 0;
		udp->lookup_ns = now_ns;
		udp->looked_ns = now_ns;
	}
	if (udp->is_name)
		lookup_poll(udp, core, now_ns);
	if (now_ns - udp->looked_ns >= LOOK_NS) {
		udp->looked_ns = now_ns;
		ways_look(udp);
	}
	udp->transport.due_ns = udp->is_name && !udp->lookup ? udp->lookup_ns : UINT64_MAX;
}

// A router answered: by fd, or by the way.
static void found(struct weir_udp *udp, struct way *way)
{
	udp->is_seeking = false;
	udp->is_doubted = false;
	udp->transport.due_ns = UINT64_MAX;
	udp->transport.error = 0;
	if (way) {
		fd_replace(udp, way->fd, &way->to);
		way->fd = -1;
	}
	ways_close(udp);
}

// The session lives, but not where this socket is: it goes on from another one, which the router will want to see proven.
static void move(struct weir_udp *udp, struct weir_core *core, uint64_t now_ns)
{
	udp->looked_ns = now_ns;
	udp->is_doubted = false;
	udp->transport.system_calls += 4;
	if (!weir_udp_is_outdated(udp->fd, &udp->to))
		return;
	const struct weir_endpoint to = udp->to;
	if (udp->sizes.local_port)
		fd_release(udp);
	int fd = weir_udp_socket(&udp->sizes, &to);
	if (fd < 0) {
		udp->transport.error = fd;
		return;
	}
	fd_replace(udp, fd, &to);
	udp->is_used = true;
	weir_core_path_moved(core, now_ns);
}

static void tend(struct weir_transport *transport, struct weir_core *core, uint64_t now_ns)
{
	struct weir_udp *udp = (struct weir_udp *)transport;
	if (weir_core_is_seeking(core)) {
		seek(udp, core, now_ns);
		return;
	}
	if (udp->is_seeking)
		found(udp, NULL);
	udp->is_used = true;
	if ((udp->is_doubted || weir_core_is_unheard(core)) && now_ns - udp->looked_ns >= LOOK_NS)
		move(udp, core, now_ns);
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
	uint32_t count = 0;
	fds[count++] = (struct pollfd){ .fd = udp->fd, .events = (short)(POLLIN | (udp->is_blocked ? POLLOUT : 0)) };
	for (uint32_t i = 0; i < udp->way_count; i++) {
		if (udp->ways[i].fd >= 0)
			fds[count++] = (struct pollfd){ .fd = udp->ways[i].fd, .events = POLLIN };
	}
	if (udp->lookup)
		fds[count++] = (struct pollfd){ .fd = weir_lookup_fd(udp->lookup), .events = POLLIN };
	return count;
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
	ways_close(udp);
	weir_lookup_drop(udp->lookup);
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
	while (!udp->plain_bursts && length < count && length < SEGMENTS_MAX && datagrams[length].size <= size &&
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
		// A device that cannot checksum, a kernel without it, or a path that shrinks just now: one by one for a while.
		udp->plain_bursts = PLAIN_BURSTS;
		return false;
	}
	if (error == EMSGSIZE)
		udp->too_large = (uint32_t)first->size;
	if (weir_udp_is_unreachable(error))
		udp->is_doubted = true;
	udp->transport.error = -error;
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

// false: there is no way there any more.
static bool hello_send(struct weir_udp *udp, int fd, const struct weir_datagram *hello)
{
	ssize_t sent = -1;
	for (int tries = 0; sent < 0 && tries < 2; tries++) { // the first error may be of an earlier datagram
		udp->transport.system_calls++;
		sent = send(fd, hello->data, hello->size, 0);
	}
	if (sent >= 0)
		return true;
	if (errno == EMSGSIZE)
		udp->too_large = (uint32_t)hello->size;
	udp->transport.error = -errno;
	return !weir_udp_is_unreachable(errno);
}

static void hellos_send(struct weir_udp *udp, const struct weir_datagram *hello)
{
	way_try(udp);
	udp->hellos++;
	if (udp->to.size && !hello_send(udp, udp->fd, hello))
		fd_release(udp);
	for (uint32_t i = 0; i < udp->way_count; i++) {
		struct way *way = &udp->ways[i];
		if (way->fd >= 0 && !hello_send(udp, way->fd, hello))
			way_close(udp, way);
	}
}

static uint32_t udp_send(void *context, const struct weir_datagram *datagrams, uint32_t count)
{
	struct weir_udp *udp = context;
	struct burst burst;
	uint32_t taken = 0;
	udp->is_blocked = false;
	if (udp->is_seeking) {
		for (uint32_t i = 0; i < count; i++)
			hellos_send(udp, &datagrams[i]);
		return count;
	}
	while (taken < count && !udp->is_blocked) {
		burst_build(udp, &burst, datagrams + taken, count - taken);
		// One datagram alone would be no trial.
		udp->plain_bursts -= udp->plain_bursts && count - taken > 1;
		taken += burst_send(udp, &burst, datagrams + taken);
	}
	return taken;
}

static void keepalive(struct weir_transport *transport, uint64_t session, uint64_t sequence)
{
	const struct weir_udp *udp = (const struct weir_udp *)transport;
	struct weir_frame_header ping;
	weir_keepalive_make(&ping, session, sequence);
	// Lost like any other datagram when it cannot be sent: the next one is as good.
	(void)!send(udp->fd, &ping, sizeof(ping), MSG_DONTWAIT);
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

static int burst_receive(struct weir_udp *udp, int fd, struct weir_core *core, uint64_t now_ns)
{
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
		count = recvmmsg(fd, messages, burst, MSG_DONTWAIT, NULL);
	} while (count < 0 && errno == EINTR);
	int error = count < 0 ? errno : 0;
	int datagrams = count > 0 ? messages_input(udp, core, messages, count, now_ns) : 0;
	while (burst-- > 0) {
		if (udp->buffers[burst])
			weir_core_buffer_put(core, udp->buffers[burst]);
	}
	// An unreachable router is no error: ICMP's word for it is worth as much as silence.
	if (error && error != EAGAIN)
		udp->transport.error = -error;
	if (error == EBADF || error == ENOTSOCK || error == ENOMEM || error == EFAULT || error == EINVAL)
		return -error;
	return datagrams;
}

static int udp_receive(struct weir_transport *transport, struct weir_core *core, uint64_t now_ns)
{
	struct weir_udp *udp = (struct weir_udp *)transport;
	int datagrams = udp->to.size ? burst_receive(udp, udp->fd, core, now_ns) : 0;
	for (uint32_t i = 0; udp->is_seeking && datagrams >= 0 && i < udp->way_count; i++) {
		if (!weir_core_is_seeking(core))
			break;
		int more = udp->ways[i].fd >= 0 ? burst_receive(udp, udp->ways[i].fd, core, now_ns) : 0;
		datagrams = more < 0 ? more : datagrams + more;
		if (!weir_core_is_seeking(core))
			found(udp, &udp->ways[i]);
	}
	return datagrams;
}

// ---- Open ----

static const struct weir_transport_ops OPS = {
	.tend = tend,
	.send = udp_send,
	.receive = udp_receive,
	.wait_on = wait_on,
	.doze = doze,
	.awake = nothing,
	.too_large = too_large,
	.keepalive = keepalive,
	.nudge = nothing,
	.close = udp_close,
};

// A host that is written as an address is asked at once, so that what can never be is said at once.
static int first_open(struct weir_udp *udp)
{
	struct weir_endpoint endpoint;
	udp->is_name = weir_host_endpoint(&udp->host, &endpoint) == 0;
	if (!udp->is_name)
		endpoints_set(udp, &endpoint, 1);
	int fd = udp->is_name ? weir_udp_socket(&udp->sizes, NULL) : weir_udp_socket(&udp->sizes, &endpoint);
	if (fd < 0 && weir_udp_is_unreachable(-fd)) {
		udp->transport.error = fd;
		fd = weir_udp_socket(&udp->sizes, NULL);
	} else if (fd >= 0 && !udp->is_name) {
		udp->to = endpoint;
	}
	udp->fd = fd;
	return fd < 0 ? fd : 0;
}

int weir_udp_open(struct weir_transport **transport, const char *address, const struct weir_options *options)
{
	struct weir_host host;
	if (strncmp(address, "udp://", 6) != 0 || weir_host_parse(&host, address + 6))
		return -EINVAL;
	struct weir_udp *made = calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	made->sizes = weir_udp_sizes_of(options);
	made->host = host;
	int error = first_open(made);
	if (error) {
		free(made);
		return error;
	}
	made->spare = aligned_alloc(64, WEIR_CORE_BUFFER_SIZE);
	if (!made->spare) {
		close(made->fd);
		free(made);
		return -ENOMEM;
	}
	made->transport.ops = &OPS;
	made->transport.credit_bytes = weir_udp_credit(made->fd);
	made->transport.frame_size = WEIR_FRAME_DEFAULT;
	made->transport.due_ns = UINT64_MAX;
	*transport = &made->transport;
	return 0;
}
