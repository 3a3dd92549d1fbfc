// The kernel UDP port over loopback, against ordinary sockets: gathering, cutting, addresses, fullness, refusals.
// Nothing is simulated: what the kernel says is what the port gets.
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/io/port.h"

// Tests run side by side, each in its own process: each its own ports, below those the kernel hands out.
#define BASE ((uint16_t)(10000 + getpid() % 2200 * 10))

static struct weir_port *open_port(const char *address, uint16_t worker)
{
	struct weir_port *port = NULL;
	struct weir_port_config config = { .name = "front", .kind = WEIR_PORT_KERNEL, .address = address, .udp_port = BASE,
					   .node = -1, .workers = &worker, .queues = 1 };
	uint16_t index = 3;
	struct weir_fault fault = { 0 };

	cr_assert_eq(weir_port_open(&port, &config, &index, &fault), 0, "%s: %s", fault.object, fault.reason);
	return port;
}

static int open_client(const char *address, uint16_t udp_port, uint32_t segment)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(udp_port) };
	int size = (int)segment;

	inet_pton(AF_INET, address, &to.sin_addr);
	cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	if (segment)
		cr_assert_eq(setsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, sizeof(size)), 0);
	return fd;
}

static uint32_t receive(struct weir_port *port, const struct weir_arrival **arrivals)
{
	struct pollfd wait = { .fd = port->fd, .events = POLLIN };

	cr_assert_eq(poll(&wait, 1, 2000), 1);
	return port->ops->receive(port, arrivals);
}

static bool is_filled(const void *bytes, uint32_t size, uint8_t value)
{
	for (uint32_t i = 0; i < size; i++)
		if (((const uint8_t *)bytes)[i] != value)
			return false;
	return true;
}

// Every frame of `data` carries its number in every byte.
static void fill(uint8_t *data, uint32_t size, uint32_t segment)
{
	for (uint32_t i = 0; i < size; i++)
		data[i] = (uint8_t)(i / segment);
}

static void expect_cut(uint32_t segment, uint32_t size)
{
	static uint8_t data[65000];
	struct weir_port *port = open_port("127.0.0.1", 0);
	int fd = open_client("127.0.0.1", BASE, segment);
	const struct weir_arrival *arrivals;
	uint32_t frames = (size + segment - 1) / segment;
	uint32_t count, seen = 0;

	fill(data, size, segment);
	cr_assert_eq(send(fd, data, size, 0), (ssize_t)size);
	while (seen < frames) {
		count = receive(port, &arrivals);
		cr_assert_gt(count, 0);
		for (uint32_t i = 0; i < count; i++, seen++) {
			cr_assert_eq(arrivals[i].size, seen + 1 < frames || size % segment == 0 ? segment : size % segment);
			cr_assert(is_filled(arrivals[i].frame, arrivals[i].size, (uint8_t)seen), "frame %u", seen);
			cr_assert_eq((uintptr_t)arrivals[i].frame % 2, 0, "frames lie at even addresses");
			cr_assert_eq(arrivals[i].path->port, 3);
		}
		port->ops->receive_done(port);
	}
	cr_expect_eq(seen, frames);
	cr_expect_eq(weir_counted(&port->statistics.received), frames);
	cr_expect_eq(weir_counted(&port->statistics.received_bytes), size);
	close(fd);
	port->ops->close(port);
}

Test(port_kernel, a_gathered_message_is_cut_into_its_frames)
{
	expect_cut(1472, 40 * 1472);
	expect_cut(1472, 5 * 1472 + 200);
	expect_cut(64, 60 * 64);
}

Test(port_kernel, frames_of_odd_size_are_moved_to_even_addresses)
{
	expect_cut(1471, 40 * 1471 + 3);
	expect_cut(1, 30);
}

Test(port_kernel, more_frames_than_a_burst_come_in_several)
{
	static uint8_t data[60 * 100];
	struct weir_port *port = open_port("127.0.0.1", 0);
	int fd = open_client("127.0.0.1", BASE, 100);
	const struct weir_arrival *arrivals;
	uint32_t seen = 0;

	fill(data, sizeof(data), 100);
	for (uint32_t i = 0; i < 20; i++)
		cr_assert_eq(send(fd, data, sizeof(data), 0), (ssize_t)sizeof(data));
	while (seen < 1200) {
		uint32_t count = receive(port, &arrivals);

		cr_assert(count > 0 && count <= WEIR_PORT_BURST);
		for (uint32_t i = 0; i < count; i++, seen++)
			cr_assert(is_filled(arrivals[i].frame, 100, (uint8_t)(seen % 60)), "frame %u", seen);
		port->ops->receive_done(port);
	}
	cr_expect_eq(port->ops->receive(port, &arrivals), 0);
	close(fd);
	port->ops->close(port);
}

Test(port_kernel, a_datagram_larger_than_any_frame_is_dropped_and_counted)
{
	static uint8_t data[WEIR_FRAME_MAX + 8];
	struct weir_port *port = open_port("127.0.0.1", 0);
	int fd = open_client("127.0.0.1", BASE, 0);
	const struct weir_arrival *arrivals;

	cr_assert_eq(send(fd, data, sizeof(data), 0), (ssize_t)sizeof(data));
	cr_expect_eq(receive(port, &arrivals), 0);
	cr_expect_eq(weir_counted(&port->statistics.dropped[WEIR_R_NO_BUFFER]), 1);
	cr_expect_eq(port->drops_total, 1);
	close(fd);
	port->ops->close(port);
}

static void send_frame(struct weir_port *port, const struct weir_path *path, uint32_t room, uint32_t size, uint8_t value)
{
	void *frame = port->ops->send_reserve(port, path, room);

	cr_assert_not_null(frame);
	memset(frame, value, size);
	port->ops->send_commit(port, size);
}

// Client says something, so that there is a path back.
static struct weir_path hear_from(struct weir_port *port, int fd)
{
	const struct weir_arrival *arrivals;
	struct weir_path path;

	cr_assert_eq(send(fd, "hello", 5, 0), 5);
	cr_assert_eq(receive(port, &arrivals), 1);
	path = *arrivals[0].path;
	port->ops->receive_done(port);
	return path;
}

static void expect_datagram(int fd, uint32_t size, uint8_t value)
{
	uint8_t data[WEIR_FRAME_MAX];
	struct pollfd wait = { .fd = fd, .events = POLLIN };

	cr_assert_eq(poll(&wait, 1, 2000), 1, "a datagram of %u bytes is missing", size);
	cr_assert_eq(recv(fd, data, sizeof(data), 0), (ssize_t)size);
	cr_assert(is_filled(data, size, value));
}

Test(port_kernel, frames_of_all_sizes_arrive_one_by_one_and_in_order)
{
	struct weir_port *port = open_port("0.0.0.0", 0);
	int fd = open_client("127.0.0.1", BASE, 0);
	struct weir_path path = hear_from(port, fd);

	// Equal, smaller (closes), larger than the one in front (moves), nothing after all, odd.
	const uint32_t sizes[] = { 1000, 1000, 1000, 200, 1400, 48, 64, 9216, 0, 9216, 1471, 1471, 5, 1472 };
	for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		send_frame(port, &path, WEIR_FRAME_MAX, sizes[i], (uint8_t)i);
	cr_expect(port->ops->flush(port));
	for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		if (sizes[i])
			expect_datagram(fd, sizes[i], (uint8_t)i);
	cr_expect_eq(weir_counted(&port->statistics.sent), 13);
	close(fd);
	port->ops->close(port);
}

// To two destinations in turn. Returns how many calls it took.
static uint64_t send_in_turn(struct weir_port *port, int first, int second)
{
	struct weir_path to_first = hear_from(port, first);
	struct weir_path to_second = hear_from(port, second);
	uint64_t before = weir_counted(&port->statistics.send_calls);

	for (uint32_t i = 0; i < 40; i++) {
		send_frame(port, &to_first, 1472, 1472, (uint8_t)i);
		send_frame(port, &to_second, 1472, 1400, (uint8_t)(100 + i));
	}
	cr_expect(port->ops->flush(port));
	for (uint32_t i = 0; i < 40; i++) {
		expect_datagram(first, 1472, (uint8_t)i);
		expect_datagram(second, 1400, (uint8_t)(100 + i));
	}
	return weir_counted(&port->statistics.send_calls) - before;
}

Test(port_kernel, equal_frames_leave_in_one_call)
{
	struct weir_port *port = open_port("127.0.0.1", 0);
	int first = open_client("127.0.0.1", BASE, 0);
	uint64_t calls = 0;

	// Two that meet in a slot take turns: one pair of 256. The kernel chooses the clients' ports.
	for (int i = 0; i < 4 && calls != 1; i++) {
		int second = open_client("127.0.0.1", BASE, 0);

		calls = send_in_turn(port, first, second);
		close(second);
	}
	cr_expect_eq(calls, 1);
	close(first);
	port->ops->close(port);
}

Test(port_kernel, the_answer_leaves_from_the_address_that_was_spoken_to)
{
	struct weir_port *port = open_port("0.0.0.0", 2);
	int fd = open_client("127.0.0.77", BASE + 2, 0);
	struct weir_path path = hear_from(port, fd);

	cr_expect_eq(port->udp_port, BASE + 2);
	cr_expect_eq(path.local_port, htons(BASE + 2));
	// A connected socket hears nobody but the address it speaks to.
	send_frame(port, &path, 100, 100, 7);
	cr_expect(port->ops->flush(port));
	expect_datagram(fd, 100, 7);
	close(fd);
	port->ops->close(port);
}

Test(port_kernel, ipv6_is_heard_and_answered)
{
	struct weir_port *port = open_port("::", 0);
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_port = htons(BASE), .sin6_addr = IN6ADDR_LOOPBACK_INIT };

	cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	struct weir_path path = hear_from(port, fd);
	cr_expect_eq(path.family, AF_INET6);
	for (uint8_t i = 0; i < 5; i++)
		send_frame(port, &path, 1400, 1400, i);
	cr_expect(port->ops->flush(port));
	for (uint8_t i = 0; i < 5; i++)
		expect_datagram(fd, 1400, i);
	close(fd);
	port->ops->close(port);
}

// A network of its own, in which nobody answers for 10.9.9.2: what is sent there waits for the neighbour, charged to the
// sender's buffer. Loopback gives the buffer back at once, so that it never fills.
static void enter_a_network_of_silence(void)
{
	if (unshare(CLONE_NEWNET) != 0)
		cr_skip_test("needs root: a network namespace");
	cr_assert_eq(system("ip link set lo up && ip link add out mtu 9216 type veth peer name silence mtu 9216 &&"
			    "ip address add 10.9.9.1/24 dev out && ip link set out up && ip link set silence up"), 0);
}

Test(port_kernel, a_full_way_out_keeps_the_frames_and_then_refuses_more)
{
	enter_a_network_of_silence();
	struct weir_port *port = open_port("0.0.0.0", 0);
	int fd = open_client("10.9.9.1", BASE, 0);
	struct weir_path path = hear_from(port, fd);
	int small = 1;
	uint32_t kept = 0;
	void *frame;

	path.remote_ip[3] = 2;
	cr_assert_eq(setsockopt(port->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	int sent_before = (int)weir_counted(&port->statistics.sent);
	while (kept < 100000 && (frame = port->ops->send_reserve(port, &path, 9000))) {
		memset(frame, (int)(kept % 251), 9000);
		port->ops->send_commit(port, 9000);
		kept++;
		port->ops->flush(port);
	}
	cr_assert_lt(kept, 100000);
	cr_expect_gt(weir_counted(&port->statistics.send_blocked), 0);
	cr_expect_not(port->ops->flush(port));
	int large = 4 << 20;
	cr_assert_eq(setsockopt(port->fd, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large)), 0);
	cr_expect(port->ops->flush(port), "what was kept leaves as soon as there is room");
	cr_expect_eq(weir_counted(&port->statistics.sent), sent_before + kept);
	cr_expect_not_null(port->ops->send_reserve(port, &path, 100));
	port->ops->send_commit(port, 0);
	close(fd);
	port->ops->close(port);
}

Test(port_kernel, what_nobody_can_carry_is_lost_alone)
{
	struct weir_port *port = open_port("0.0.0.0", 0);
	int fd = open_client("127.0.0.1", BASE, 0);
	struct weir_path path = hear_from(port, fd);
	struct weir_path nowhere = path;

	nowhere.remote_port = 0;
	send_frame(port, &nowhere, 100, 100, 1);
	send_frame(port, &nowhere, 100, 100, 2);
	send_frame(port, &path, 100, 100, 3);
	cr_expect(port->ops->flush(port));
	expect_datagram(fd, 100, 3);
	cr_expect_eq(weir_counted(&port->statistics.send_lost), 2);
	cr_expect_eq(weir_counted(&port->statistics.sent), 1);
	close(fd);
	port->ops->close(port);
}

Test(port_kernel, overflow_of_the_socket_is_counted_as_no_buffer)
{
	struct weir_port *port = open_port("127.0.0.1", 0);
	int fd = open_client("127.0.0.1", BASE, 0);
	const struct weir_arrival *arrivals;
	uint8_t data[1000] = { 0 };
	int small = 1;
	uint64_t received = 0;
	uint32_t count;

	cr_assert_eq(setsockopt(port->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	for (uint32_t i = 0; i < 50; i++)
		cr_assert_eq(send(fd, data, sizeof(data), 0), (ssize_t)sizeof(data));
	while ((count = port->ops->receive(port, &arrivals)) > 0)
		received += count;
	cr_expect_lt(received, 50);
	for (uint32_t round = 0; round < 2; round++) {
		port->ops->count_lost(port);
		cr_expect_eq(received + weir_counted(&port->statistics.dropped[WEIR_R_NO_BUFFER]), 50);
		cr_expect_eq(received + port->drops_total, 50);
	}
	close(fd);
	port->ops->close(port);
}

static void expect_fault(const char *address, uint16_t base, uint16_t queues, int error, const char *word)
{
	struct weir_port *ports[2] = { NULL, NULL };
	uint16_t workers[] = { 0, 1 };
	uint16_t index[] = { 0, 0 };
	struct weir_port_config config = { .name = "front", .kind = WEIR_PORT_KERNEL, .address = address, .udp_port = base,
					   .node = -1, .workers = workers, .queues = queues };
	struct weir_fault fault = { 0 };

	cr_expect_eq(weir_port_open(ports, &config, index, &fault), error);
	cr_expect(strstr(fault.object, "front") && fault.action[0] && fault.fix[0]);
	cr_expect(strstr(fault.reason, word), "reason is: %s", fault.reason);
}

Test(port_kernel, what_stops_it_from_opening_is_said_and_undone)
{
	struct weir_port *other = open_port("0.0.0.0", 1);

	// Worker 1's port is taken: worker 0's socket must not stay open.
	expect_fault("0.0.0.0", BASE, 2, -EADDRINUSE, "another process has this UDP port");
	struct weir_port *again = open_port("0.0.0.0", 0);
	again->ops->close(again);
	expect_fault("192.0.2.1", BASE + 10, 1, -EADDRNOTAVAIL, "does not have the address");
	expect_fault("front.example", BASE + 10, 1, -EINVAL, "neither an IPv4 nor an IPv6");
	other->ops->close(other);
}

// ---- Strangers ----

// A network of its own in which nobody of 10.9.0.0/16 but us answers for an address.
static void enter_dead_network(void)
{
	if (unshare(geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET) != 0)
		cr_skip_test("needs a network namespace: %s", strerror(errno));
	cr_assert_eq(system("ip link set lo up && ip link add one type veth peer name two && ip link set two up && "
			    "ip link set one up && ip address add 10.9.0.1/16 dev one"),
		     0);
}

static struct weir_path path_to(const char *address, uint16_t udp_port)
{
	struct weir_path path = { .family = AF_INET, .remote_port = udp_port, .local_port = htons(BASE), .port = 3 };

	inet_pton(AF_INET, address, path.remote_ip);
	return path;
}

static void answer(struct weir_port *port, const struct weir_path *path)
{
	uint8_t *frame = port->ops->send_reserve(port, path, 64);

	cr_assert_not_null(frame);
	memset(frame, 7, 64);
	port->ops->send_commit(port, 64);
}

// Who claims dead addresses by thousands makes the kernel keep as many answers; a session's frame leaves at once all the same.
Test(port_kernel, answers_to_dead_strangers_hold_no_session_up)
{
	struct weir_path stranger = path_to("10.9.1.1", htons(5000)), session;
	struct sockaddr_in local = { .sin_family = AF_INET };
	socklen_t length = sizeof(local);
	struct weir_port *port;
	uint8_t bytes[64];
	int client;

	enter_dead_network();
	port = open_port("0.0.0.0", 0);
	client = open_client("127.0.0.1", BASE, 0);
	cr_assert_eq(getsockname(client, (struct sockaddr *)&local, &length), 0);
	session = path_to("127.0.0.1", local.sin_port);
	memcpy(session.local_ip, session.remote_ip, 4);
	stranger.is_stranger = true;
	for (uint32_t i = 0; i < 100000; i++) {
		stranger.remote_ip[2] = (uint8_t)(1 + i % 500 / 250);
		stranger.remote_ip[3] = (uint8_t)(1 + i % 250);
		answer(port, &stranger);
		cr_assert(port->ops->flush(port), "the way out of sessions is full after %u", i);
	}
	answer(port, &session);
	cr_assert(port->ops->flush(port));
	cr_assert_eq(recv(client, bytes, sizeof(bytes), MSG_DONTWAIT), 64);
	cr_assert(is_filled(bytes, 64, 7));
	close(client);
	port->ops->close(port);
}

// A stranger hears from the address it spoke to, and what it says next arrives where everything arrives.
Test(port_kernel, a_stranger_is_answered_from_where_it_asked)
{
	const struct weir_arrival *arrivals;
	struct weir_port *port = open_port("0.0.0.0", 0);
	int client = open_client("127.0.0.2", BASE, 0);
	struct weir_path path;
	uint8_t bytes[64];

	for (uint32_t i = 0; i < 20; i++) {
		cr_assert_eq(send(client, "x", 1, 0), 1);
		cr_assert_eq(receive(port, &arrivals), 1);
		path = *arrivals[0].path;
		port->ops->receive_done(port);
		path.is_stranger = true;
		answer(port, &path);
		// Connected: only what comes from there is received.
		cr_assert_eq(recv(client, bytes, sizeof(bytes), 0), 64);
	}
	close(client);
	port->ops->close(port);
}

// Sharing the port with ourselves is no invitation.
Test(port_kernel, nobody_else_joins_on_our_port)
{
	struct weir_port *port = open_port("0.0.0.0", 0), *second = NULL;
	uint16_t worker = 0, index = 3;
	struct weir_port_config config = { .name = "front", .kind = WEIR_PORT_KERNEL, .address = "0.0.0.0", .udp_port = BASE,
					   .node = -1, .workers = &worker, .queues = 1 };
	struct weir_fault fault = { 0 };

	cr_assert_eq(weir_port_open(&second, &config, &index, &fault), -EADDRINUSE);
	port->ops->close(port);
}
