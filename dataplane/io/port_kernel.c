// The kernel UDP port: one socket per worker, for loopback, veth, containers and hosts without XDP. One system call moves
// many frames: receive gathers with UDP_GRO into a few buffers that stay in cache and cuts them into arrivals by segment
// size; sending collects frames per destination, one behind the other, and hands each collection over as one message with
// UDP_SEGMENT. Hot functions: the port's worker. Open and close: control.
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/core/memory.h"
#include "dataplane/io/kernel_watch.h"
#include "dataplane/io/port.h"
#include "dataplane/io/stranger_socket.h"
#include "dataplane/io/udp_message.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

#define MESSAGES 8u            // datagrams, or gathered datagrams, of one receive call
#define MESSAGE_SIZE 65536u    // bytes, no UDP datagram is larger
#define BATCHES 64u            // collections on their way out, at most
#define BATCH_BYTES 65000u     // of one collection: below what IPv4 and IPv6 can carry
#define BATCH_FRAMES 64u       // UDP_MAX_SEGMENTS of older kernels
#define EAGER_BYTES (512u << 10) // waiting for flush: more is sent at once, while it is in cache
#define OPEN_SLOTS 256u        // destinations that a collection is found for; two that meet in a slot take turns
#define PLAIN_BATCHES 255u
#define SOCKET_BUFFER (16 << 20)

// Frames to one destination, one behind the other, all of `segment` bytes but the last, which may be smaller.
struct batch {
	struct weir_path path;
	uint8_t *data;
	uint32_t bytes;
	uint32_t done;    // bytes that left already, where frames had to go one by one
	uint32_t segment;
	uint32_t count;
	bool is_closed;   // nothing can be put behind the last frame
};

struct receiving {
	struct mmsghdr messages[MESSAGES];
	struct iovec vectors[MESSAGES];
	union weir_udp_control control[MESSAGES];
	struct sockaddr_in6 remote[MESSAGES]; // large enough for both families
	struct weir_path paths[MESSAGES];
	uint32_t segment[MESSAGES];
	uint32_t count;  // messages of the last call
	uint32_t next;   // message to cut next
	uint32_t offset; // within it
	uint8_t *buffers;   // [MESSAGES][MESSAGE_SIZE]
	uint8_t *realigned; // frames that would lie at odd addresses
	struct weir_arrival arrivals[WEIR_PORT_BURST];
};

struct sending {
	struct batch batches[BATCHES];
	uint16_t free[BATCHES]; // used as a stack, so that warm memory is taken first
	uint32_t free_count;
	uint16_t queue[BATCHES]; // in order of their first frame
	uint32_t queued;
	uint16_t open[OPEN_SLOTS]; // batch + 1 by hash of the destination, 0: none
	uint8_t plain[OPEN_SLOTS]; // batches that go frame by frame before the way there is tried with segmentation again
	uint64_t bytes;            // waiting
	struct batch *current;     // reserved
	uint32_t slot;             // of its destination
	struct mmsghdr messages[BATCHES];
	struct iovec vectors[BATCHES];
	union weir_udp_control control[BATCHES];
	struct sockaddr_in6 remote[BATCHES];
	uint8_t *buffers;
};

struct kernel_port {
	struct weir_port port;
	int family;
	bool is_bound_to_all; // answers must name the address they leave from
	bool has_segment;     // UDP_SEGMENT works
	uint32_t missed;      // datagrams lost by the socket that were counted already
	bool is_for_stranger; // what is reserved
	struct receiving in;
	struct sending out;
	struct weir_stranger_socket stranger;
};

#define RECEIVE_BYTES (MESSAGES * MESSAGE_SIZE)
#define REALIGNED_BYTES (MESSAGE_SIZE * 2u) // one odd message, every frame padded
#define SEND_BYTES (BATCHES * MESSAGE_SIZE)

static struct kernel_port *kernel_of(struct weir_port *port)
{
	return (struct kernel_port *)port;
}

// ---- In ----

static void prepare_receive(struct receiving *in)
{
	for (uint32_t i = 0; i < MESSAGES; i++) {
		struct msghdr *header = &in->messages[i].msg_hdr;

		header->msg_namelen = sizeof(in->remote[i]);
		header->msg_controllen = sizeof(in->control[i]);
	}
}

static void read_control(struct msghdr *header, struct weir_path *path, uint32_t *segment)
{
	for (struct cmsghdr *item = CMSG_FIRSTHDR(header); item; item = CMSG_NXTHDR(header, item)) {
		const void *data = CMSG_DATA(item);

		if (item->cmsg_level == SOL_UDP && item->cmsg_type == UDP_GRO) {
			int size;

			memcpy(&size, data, sizeof(size));
			if (size > 0)
				*segment = (uint32_t)size;
		} else if (item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_PKTINFO) {
			memcpy(path->local_ip, (const uint8_t *)data + offsetof(struct in_pktinfo, ipi_addr), 4);
		} else if (item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_PKTINFO) {
			memcpy(path->local_ip, (const uint8_t *)data + offsetof(struct in6_pktinfo, ipi6_addr), 16);
		}
	}
}

// Fills path and segment size of a received message.
static void read_message(struct kernel_port *kernel, uint32_t i)
{
	struct receiving *in = &kernel->in;
	struct weir_path *path = &in->paths[i];
	const struct sockaddr_in6 *remote = &in->remote[i];

	memset(path->remote_ip, 0, sizeof(path->remote_ip));
	if (kernel->family == AF_INET) {
		const struct sockaddr_in *remote4 = (const void *)remote;

		memcpy(path->remote_ip, &remote4->sin_addr, 4);
		path->remote_port = remote4->sin_port;
	} else {
		memcpy(path->remote_ip, &remote->sin6_addr, 16);
		path->remote_port = remote->sin6_port;
		path->scope = remote->sin6_scope_id;
	}
	in->segment[i] = in->messages[i].msg_len;
	read_control(&in->messages[i].msg_hdr, path, &in->segment[i]);
}

// Cuts the message at in->next from in->offset on into arrivals; returns how many there are now.
static uint32_t cut_message(struct kernel_port *kernel, uint32_t count)
{
	struct receiving *in = &kernel->in;
	uint32_t i = in->next;
	uint32_t length = in->messages[i].msg_len;
	uint32_t segment = in->segment[i];
	const uint8_t *data = in->buffers + (size_t)i * MESSAGE_SIZE;
	bool is_odd = segment % 2 && segment < length;
	uint8_t *place = in->realigned;

	if (length == 0) // an empty datagram is a frame too, and counted as short by the engine
		in->arrivals[count++] = (struct weir_arrival){ data, &in->paths[i], 0, kernel->port.trust_link, NULL };
	while (in->offset < length && count < WEIR_PORT_BURST) {
		uint32_t size = length - in->offset < segment ? length - in->offset : segment;
		const uint8_t *frame = data + in->offset;

		in->offset += size;
		if (size > WEIR_FRAME_MAX) {
			weir_port_drop(&kernel->port, WEIR_R_NO_BUFFER, 1);
			continue;
		}
		if (is_odd) {
			frame = memcpy(place, frame, size);
			place += (size + 7u) & ~7u;
		}
		in->arrivals[count++] = (struct weir_arrival){ frame, &in->paths[i], size, kernel->port.trust_link, NULL };
	}
	if (in->offset >= length) {
		in->next++;
		in->offset = 0;
	}
	return count;
}

// The memory for realigned frames serves one message of a burst, and only from its start.
static bool must_realign(const struct receiving *in)
{
	return in->segment[in->next] % 2 && in->segment[in->next] < in->messages[in->next].msg_len;
}

static bool receive_messages(struct kernel_port *kernel)
{
	struct receiving *in = &kernel->in;
	int n;

	prepare_receive(in);
	n = recvmmsg(kernel->port.fd, in->messages, MESSAGES, MSG_DONTWAIT, NULL);
	in->next = 0;
	in->offset = 0;
	in->count = n > 0 ? (uint32_t)n : 0; // nothing there, or an error of the path that the next call has forgotten
	for (uint32_t i = 0; i < in->count; i++)
		read_message(kernel, i);
	return in->count > 0;
}

static uint32_t kernel_receive(struct weir_port *port, const struct weir_arrival **arrivals)
{
	struct kernel_port *kernel = kernel_of(port);
	struct receiving *in = &kernel->in;
	uint32_t count = 0;
	uint64_t bytes = 0;

	*arrivals = in->arrivals;
	if (in->next == in->count && !receive_messages(kernel))
		return 0;
	while (in->next < in->count && count < WEIR_PORT_BURST) {
		bool is_realigned = must_realign(in);

		if (is_realigned && count > 0)
			break;
		count = cut_message(kernel, count);
		if (is_realigned)
			break;
	}
	for (uint32_t i = 0; i < count; i++)
		bytes += in->arrivals[i].size;
	weir_count(&port->statistics.received, count);
	weir_count(&port->statistics.received_bytes, bytes);
	weir_count(&port->statistics.receive_calls, 1);
	return count;
}

// The buffers are the port's own: nothing to give back.
static void kernel_receive_done(struct weir_port *port)
{
}

// Asked for, not announced with the next message (SO_RXQ_OVFL): there may be none.
static void kernel_count_lost(struct weir_port *port)
{
	struct kernel_port *kernel = kernel_of(port);
	uint32_t memory[SK_MEMINFO_VARS] = { 0 };
	socklen_t size = sizeof(memory);
	uint32_t missed;

	if (getsockopt(port->fd, SOL_SOCKET, SO_MEMINFO, memory, &size) < 0 || size <= SK_MEMINFO_DROPS * sizeof(memory[0]))
		return;
	missed = memory[SK_MEMINFO_DROPS];
	if (missed != kernel->missed)
		weir_port_drop(port, WEIR_R_NO_BUFFER, missed - kernel->missed);
	kernel->missed = missed;
}

// ---- Out ----

static uint32_t slot_of(const struct weir_path *path)
{
	uint64_t high, low;

	memcpy(&high, path->remote_ip, 8);
	memcpy(&low, path->remote_ip + 8, 8);
	return (uint32_t)(((high ^ low ^ path->remote_port) * 0x9e3779b97f4a7c15ull) >> 32) % OPEN_SLOTS;
}

static void free_batch(struct sending *out, struct batch *batch)
{
	uint16_t index = (uint16_t)(batch - out->batches);
	uint32_t slot = slot_of(&batch->path);

	if (out->open[slot] == index + 1u)
		out->open[slot] = 0;
	out->free[out->free_count++] = index;
}

static struct batch *take_batch(struct sending *out, const struct weir_path *path)
{
	struct batch *batch = &out->batches[out->free[--out->free_count]];

	batch->path = *path;
	batch->bytes = 0;
	batch->done = 0;
	batch->segment = 0;
	batch->count = 0;
	batch->is_closed = false;
	return batch;
}

// The i-th message to send: `batch` from where it stands, or its next frame alone.
static void build_message(struct kernel_port *kernel, uint32_t i, const struct batch *batch, bool is_single)
{
	struct sending *out = &kernel->out;
	struct msghdr *header = &out->messages[i].msg_hdr;
	uint32_t left = batch->bytes - batch->done;

	out->vectors[i].iov_base = batch->data + batch->done;
	out->vectors[i].iov_len = is_single && left > batch->segment ? batch->segment : left;
	header->msg_controllen = 0;
	weir_udp_address(&batch->path, kernel->is_bound_to_all, header, &out->remote[i]);
	if (out->vectors[i].iov_len > batch->segment) {
		uint16_t segment = (uint16_t)batch->segment;

		weir_udp_add_control(header, SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment));
	}
}

static void count_sent(struct kernel_port *kernel, uint32_t frames, uint32_t bytes)
{
	weir_count(&kernel->port.statistics.sent, frames);
	weir_count(&kernel->port.statistics.sent_bytes, bytes);
}

static uint32_t frames_left(const struct batch *batch)
{
	return batch->count - batch->done / batch->segment;
}

// Whether the way out is full; everything else is the fate of one message.
static bool is_full(int error)
{
	return error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS || error == ENOMEM;
}

// A batch whose collected form was refused goes frame by frame. false: the way out is full, the rest stays.
static bool send_singly(struct kernel_port *kernel, struct batch *batch)
{
	while (batch->done < batch->bytes) {
		uint32_t size;

		build_message(kernel, 0, batch, true);
		size = (uint32_t)kernel->out.vectors[0].iov_len;
		weir_count(&kernel->port.statistics.send_calls, 1);
		if (sendmsg(kernel->port.fd, &kernel->out.messages[0].msg_hdr, MSG_DONTWAIT) >= 0)
			count_sent(kernel, 1, size);
		else if (is_full(errno))
			return false;
		else if (errno != EINTR)
			weir_count(&kernel->port.statistics.send_lost, 1);
		else
			continue;
		batch->done += size;
	}
	return true;
}

// The first message of a call was refused with `error`. false: the way out is full.
static bool handle_refusal(struct kernel_port *kernel, struct batch *batch, int error)
{
	if (is_full(error))
		return false;
	if (error == EINTR)
		return true;
	// No checksum offload on the way (EIO), no UDP_SEGMENT at all, or frames that this path does not carry (EINVAL,
	// EMSGSIZE): frame by frame says for each.
	if (error == ENOPROTOOPT || error == EOPNOTSUPP)
		kernel->has_segment = false;
	else if (error == EIO || error == EINVAL || error == EMSGSIZE)
		kernel->out.plain[slot_of(&batch->path)] = PLAIN_BATCHES; // this way alone
	if (frames_left(batch) > 1)
		return send_singly(kernel, batch);
	weir_count(&kernel->port.statistics.send_lost, 1);
	batch->done = batch->bytes;
	return true;
}

// It has to go frame by frame.
static bool is_plain(const struct kernel_port *kernel, const struct batch *batch)
{
	return frames_left(batch) > 1 && (!kernel->has_segment || kernel->out.plain[slot_of(&batch->path)]);
}

// One call for everything from queue[first] on. Returns how many batches are through; *is_stuck when the way out is full.
static uint32_t send_queue(struct kernel_port *kernel, uint32_t first, bool *is_stuck)
{
	struct sending *out = &kernel->out;
	uint32_t n = out->queued - first;
	struct batch *batch = &out->batches[out->queue[first]];
	int sent;

	if (is_plain(kernel, batch)) {
		*is_stuck = !send_singly(kernel, batch);
		uint8_t *plain = &out->plain[slot_of(&batch->path)];
		*plain -= *plain && !*is_stuck;
		return !*is_stuck;
	}
	for (uint32_t i = 0; i < n; i++) {
		batch = &out->batches[out->queue[first + i]];
		if (is_plain(kernel, batch))
			n = i;
		else
			build_message(kernel, i, batch, false);
	}
	sent = sendmmsg(kernel->port.fd, out->messages, n, MSG_DONTWAIT);
	weir_count(&kernel->port.statistics.send_calls, 1);
	if (sent <= 0) {
		batch = &out->batches[out->queue[first]];
		*is_stuck = !handle_refusal(kernel, batch, sent < 0 ? errno : EAGAIN);
		return batch->done == batch->bytes;
	}
	for (uint32_t i = 0; i < (uint32_t)sent; i++) {
		batch = &out->batches[out->queue[first + i]];
		count_sent(kernel, frames_left(batch), batch->bytes - batch->done);
	}
	return (uint32_t)sent;
}

static bool kernel_flush(struct weir_port *port)
{
	struct kernel_port *kernel = kernel_of(port);
	struct sending *out = &kernel->out;
	uint32_t through = 0;
	bool is_stuck = false;

	if (out->queued == 0)
		return true;
	while (through < out->queued && !is_stuck)
		through += send_queue(kernel, through, &is_stuck);
	for (uint32_t i = 0; i < through; i++) {
		struct batch *batch = &out->batches[out->queue[i]];

		out->bytes -= batch->bytes;
		free_batch(out, batch);
	}
	out->queued -= through;
	memmove(out->queue, out->queue + through, out->queued * sizeof(out->queue[0]));
	// What stays may have begun to leave frame by frame, or will leave as it is: nothing is put behind it.
	for (uint32_t i = 0; i < out->queued; i++)
		out->batches[out->queue[i]].is_closed = true;
	return out->queued == 0;
}

static void *kernel_send_reserve(struct weir_port *port, const struct weir_path *path, uint32_t size)
{
	struct kernel_port *kernel = kernel_of(port);
	struct sending *out = &kernel->out;
	struct batch *batch = NULL;

	if (size > port->frame_max) {
		weir_count(&port->statistics.send_lost, 1);
		return WEIR_SEND_NEVER;
	}
	kernel->is_for_stranger = path->is_stranger;
	if (path->is_stranger) {
		kernel->stranger.path = *path;
		return kernel->stranger.frame;
	}
	// One for the frame, one in case it turns out larger than those in front of it.
	if (out->free_count < 2)
		kernel_flush(port);
	if (out->free_count < 2) {
		weir_count(&port->statistics.send_blocked, 1);
		return NULL;
	}
	out->slot = slot_of(path);
	if (out->open[out->slot])
		batch = &out->batches[out->open[out->slot] - 1];
	if (!batch || batch->is_closed || batch->bytes + size > BATCH_BYTES || memcmp(&batch->path, path, sizeof(*path)) != 0)
		batch = take_batch(out, path);
	out->current = batch;
	return batch->data + batch->bytes;
}

static void commit_to_stranger(struct kernel_port *kernel, uint32_t size)
{
	if (size == 0)
		return;
	weir_count(&kernel->port.statistics.send_calls, 1);
	if (weir_stranger_socket_send(&kernel->stranger, size))
		count_sent(kernel, 1, size);
	else
		weir_count(&kernel->port.statistics.send_lost, 1);
}

static void kernel_send_commit(struct weir_port *port, uint32_t size)
{
	struct kernel_port *kernel = kernel_of(port);
	struct sending *out = &kernel->out;
	struct batch *batch = out->current;

	if (kernel->is_for_stranger) {
		commit_to_stranger(kernel, size);
		return;
	}
	assert(batch && size <= port->frame_max);
	out->current = NULL;
	if (size == 0) {
		if (batch->count == 0)
			out->free[out->free_count++] = (uint16_t)(batch - out->batches);
		return;
	}
	if (batch->count > 0 && size > batch->segment) {
		struct batch *larger = take_batch(out, &batch->path);

		memcpy(larger->data, batch->data + batch->bytes, size);
		batch->is_closed = true;
		batch = larger;
	}
	if (batch->count == 0) {
		batch->segment = size;
		out->queue[out->queued++] = (uint16_t)(batch - out->batches);
		out->open[out->slot] = (uint16_t)(batch - out->batches + 1);
	}
	batch->bytes += size;
	batch->count++;
	batch->is_closed = size < batch->segment || batch->count == BATCH_FRAMES;
	out->bytes += size;
	if (out->bytes >= EAGER_BYTES && batch->is_closed)
		kernel_flush(port);
}

// ---- Life ----

static bool kernel_link_is_up(const struct weir_port *port)
{
	return !atomic_load_explicit(&port->is_unplugged, memory_order_relaxed);
}

static void kernel_close(struct weir_port *port)
{
	struct kernel_port *kernel = kernel_of(port);

	weir_stranger_socket_close(&kernel->stranger);
	if (port->fd >= 0)
		close(port->fd);
	weir_memory_put(kernel->in.buffers, RECEIVE_BYTES + REALIGNED_BYTES);
	weir_memory_put(kernel->out.buffers, SEND_BYTES);
	weir_memory_put(kernel, sizeof(*kernel));
}

static const struct weir_port_ops kernel_ops = {
	.receive = kernel_receive,
	.receive_done = kernel_receive_done,
	.send_reserve = kernel_send_reserve,
	.send_commit = kernel_send_commit,
	.flush = kernel_flush,
	.count_lost = kernel_count_lost,
	.link_is_up = kernel_link_is_up,
	.watch = weir_kernel_watch,
	.close = kernel_close,
};

static void wire_up(struct kernel_port *kernel)
{
	struct receiving *in = &kernel->in;
	struct sending *out = &kernel->out;

	in->realigned = in->buffers + RECEIVE_BYTES;
	for (uint32_t i = 0; i < MESSAGES; i++) {
		in->vectors[i] = (struct iovec){ in->buffers + (size_t)i * MESSAGE_SIZE, MESSAGE_SIZE };
		in->messages[i].msg_hdr = (struct msghdr){
			.msg_name = &in->remote[i], .msg_iov = &in->vectors[i], .msg_iovlen = 1, .msg_control = &in->control[i]
		};
		in->paths[i] = (struct weir_path){ .family = (uint8_t)kernel->family, .port = kernel->port.index,
						   .local_port = htons(kernel->port.udp_port) };
	}
	for (uint32_t i = 0; i < BATCHES; i++) {
		out->batches[i].data = out->buffers + (size_t)i * MESSAGE_SIZE;
		out->messages[i].msg_hdr = (struct msghdr){ .msg_name = &out->remote[i], .msg_iov = &out->vectors[i],
							    .msg_iovlen = 1, .msg_control = &out->control[i] };
		out->free[out->free_count++] = (uint16_t)(BATCHES - 1 - i);
	}
}

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int set_options(struct kernel_port *kernel)
{
	int fd = kernel->port.fd;
	bool is_ipv4 = kernel->family == AF_INET;
	int error;

	if (set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BUFFER) != 0)
		set_option(fd, SOL_SOCKET, SO_RCVBUF, SOCKET_BUFFER);
	if (set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BUFFER) != 0)
		set_option(fd, SOL_SOCKET, SO_SNDBUF, SOCKET_BUFFER);
	// Without it (kernels before 5.0) every datagram comes alone: slower, not wrong.
	set_option(fd, SOL_UDP, UDP_GRO, 1);
	// Setting nothing asks whether sending knows it.
	kernel->has_segment = set_option(fd, SOL_UDP, UDP_SEGMENT, 0) == 0;
	// Frames carry DF; PROBE does so without believing what anybody says about the path's MTU.
	if (is_ipv4) {
		error = set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
		return error ? error : set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);
	}
	error = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (!error)
		error = set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
	return error ? error : set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
}

struct endpoint {
	union {
		struct sockaddr_in ipv4;
		struct sockaddr_in6 ipv6;
		struct sockaddr any;
	} address;
	socklen_t size;
	bool is_all;
	char text[192]; // "port front (udp 0.0.0.0:9347)"
};

static int parse_endpoint(struct endpoint *endpoint, const struct weir_port_config *config, uint16_t udp_port,
			  struct weir_fault *fault)
{
	const char *text = config->address && config->address[0] ? config->address : "0.0.0.0";

	*endpoint = (struct endpoint){ 0 };
	if (inet_pton(AF_INET, text, &endpoint->address.ipv4.sin_addr) == 1) {
		endpoint->address.ipv4.sin_family = AF_INET;
		endpoint->address.ipv4.sin_port = htons(udp_port);
		endpoint->size = sizeof(endpoint->address.ipv4);
		endpoint->is_all = endpoint->address.ipv4.sin_addr.s_addr == INADDR_ANY;
		snprintf(endpoint->text, sizeof(endpoint->text), "port %s (udp %s:%u)", config->name, text, udp_port);
		return 0;
	}
	if (inet_pton(AF_INET6, text, &endpoint->address.ipv6.sin6_addr) == 1) {
		endpoint->address.ipv6.sin6_family = AF_INET6;
		endpoint->address.ipv6.sin6_port = htons(udp_port);
		endpoint->size = sizeof(endpoint->address.ipv6);
		endpoint->is_all = IN6_IS_ADDR_UNSPECIFIED(&endpoint->address.ipv6.sin6_addr);
		snprintf(endpoint->text, sizeof(endpoint->text), "port %s (udp [%s]:%u)", config->name, text, udp_port);
		return 0;
	}
	snprintf(endpoint->text, sizeof(endpoint->text), "port %s", config->name);
	return weir_fault_set(fault, -EINVAL, endpoint->text, "read its address",
			      "use an address of this host, 0.0.0.0 or ::", "\"%s\" is neither an IPv4 nor an IPv6 address",
			      text);
}

static int explain_bind(int error, const struct endpoint *endpoint, struct weir_fault *fault)
{
	switch (error) {
	case -EADDRINUSE:
		return weir_fault_set(fault, error, endpoint->text, "bind its socket",
				      "stop the process that has it (ss -ulnp shows it), or set another udp_port",
				      "another process has this UDP port");
	case -EADDRNOTAVAIL:
		return weir_fault_set(
			fault, error, endpoint->text, "bind its socket",
			"use an address that `ip address` shows, 0.0.0.0 or ::", "this host does not have the address");
	case -EACCES:
	case -EPERM:
		return weir_fault_set(fault, error, endpoint->text, "bind its socket",
				      "run as root, give weir CAP_NET_BIND_SERVICE, or set udp_port above 1023",
				      "not permitted");
	default:
		return weir_fault_set(fault, error, endpoint->text, "bind its socket", "check the address and the interface",
				      "%s", strerror(-error));
	}
}

static int open_socket(struct kernel_port *kernel, const struct endpoint *endpoint, struct weir_fault *fault)
{
	int error;

	kernel->family = endpoint->address.any.sa_family;
	kernel->is_bound_to_all = endpoint->is_all;
	kernel->port.fd = socket(kernel->family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (kernel->port.fd < 0)
		return weir_fault_set(fault, -errno, endpoint->text, "make its socket",
				      "enable the address family, or raise the limit of open files", "%s", strerror(errno));
	error = set_options(kernel);
	if (error)
		return weir_fault_set(fault, error, endpoint->text, "set its socket's options", "use Linux 5.0 or newer", "%s",
				      strerror(-error));
	if (bind(kernel->port.fd, &endpoint->address.any, endpoint->size) < 0)
		return explain_bind(-errno, endpoint, fault);
	error = weir_stranger_socket_open(&kernel->stranger, kernel->port.fd, endpoint->is_all);
	if (error)
		return weir_fault_set(fault, error, endpoint->text, "make its socket for answers to strangers",
				      "raise the limit of open files", "%s", strerror(-error));
	return 0;
}

static int open_one(struct weir_port **out, const struct weir_port_config *config, uint16_t queue, uint16_t index,
		    struct weir_fault *fault)
{
	uint16_t worker = config->workers[queue];
	struct endpoint endpoint;
	struct kernel_port *kernel;
	int error;

	error = parse_endpoint(&endpoint, config, (uint16_t)(config->udp_port + worker), fault);
	if (error)
		return error;
	kernel = weir_memory_get(sizeof(*kernel), config->node);
	if (!kernel)
		return weir_fault_set(fault, -ENOMEM, endpoint.text, "allocate its buffers", "free some memory",
				      "out of memory");
	kernel->port = (struct weir_port){ .ops = &kernel_ops, .kind = WEIR_PORT_KERNEL, .queue = queue, .index = index,
					   .worker = worker, .udp_port = (uint16_t)(config->udp_port + worker),
					   .frame_max = WEIR_FRAME_MAX, .fd = -1, .trust_link = config->trust_link };
	kernel->stranger.fd = -1;
	snprintf(kernel->port.name, sizeof(kernel->port.name), "%s", config->name);
	kernel->in.buffers = weir_memory_get(RECEIVE_BYTES + REALIGNED_BYTES, config->node);
	kernel->out.buffers = weir_memory_get(SEND_BYTES, config->node);
	if (!kernel->in.buffers || !kernel->out.buffers) {
		error = weir_fault_set(fault, -ENOMEM, endpoint.text, "allocate its buffers", "free some memory",
				       "out of memory");
		goto err_port;
	}
	error = open_socket(kernel, &endpoint, fault);
	if (error)
		goto err_port;
	wire_up(kernel);
	if (!kernel->is_bound_to_all)
		for (uint32_t i = 0; i < MESSAGES; i++)
			memcpy(kernel->in.paths[i].local_ip,
			       kernel->family == AF_INET ? (const void *)&endpoint.address.ipv4.sin_addr :
							   (const void *)&endpoint.address.ipv6.sin6_addr,
			       kernel->family == AF_INET ? 4 : 16);
	*out = &kernel->port;
	return 0;

err_port:
	kernel_close(&kernel->port);
	return error;
}

int weir_port_kernel_open(struct weir_port **ports, const struct weir_port_config *config, const uint16_t *index,
			  struct weir_fault *fault)
{
	for (uint16_t queue = 0; queue < config->queues; queue++) {
		int error = open_one(&ports[queue], config, queue, index[queue], fault);

		if (error) {
			while (queue-- > 0)
				kernel_close(ports[queue]);
			return error;
		}
	}
	return 0;
}
