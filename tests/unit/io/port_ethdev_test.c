// The DPDK port over devices that need neither hardware nor root: capture files in and out, and a ring that gives back what
// was sent. EAL starts with ordinary pages, once per test, since each test is a process.
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "dataplane/io/eal.h"
#include "dataplane/io/interfaces.h"
#include "dataplane/io/packet.h"
#include "dataplane/io/port.h"

static char in_path[64], out_path[64];

static void start_eal(void)
{
	struct weir_eal_config config = { .instance = "ethdev-test", .memory = WEIR_EAL_ORDINARY, .memory_mb = 96 };
	struct weir_fault fault = { 0 };

	cr_assert_eq(weir_eal_start(&config, &fault), 0, "%s: %s", fault.object, fault.reason);
}

static int try_port(struct weir_port **port, const char *device, struct weir_fault *fault)
{
	static const uint16_t workers[1] = { 0 }, index[1] = { 5 };
	struct weir_port_config config = { .name = "side", .kind = WEIR_PORT_DPDK, .device = device, .address = "10.0.0.1/24",
					   .udp_port = 9347, .node = -1, .workers = workers, .queues = 1, .worker_count = 1 };

	return weir_port_open(port, &config, index, fault);
}

static struct weir_port *open_port(const char *device)
{
	struct weir_port *port = NULL;
	struct weir_fault fault = { 0 };

	start_eal();
	cr_assert_eq(try_port(&port, device, &fault), 0, "%s: %s: %s", fault.object, fault.action, fault.reason);
	return port;
}

// ---- Capture files ----

struct capture_header {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t zone, accuracy, most, link;
};

struct capture_record {
	uint32_t seconds, microseconds, captured, size;
};

static void write_capture(FILE *file, const uint8_t *packet, uint32_t size)
{
	struct capture_record record = { .captured = size, .size = size };

	fwrite(&record, sizeof(record), 1, file);
	fwrite(packet, size, 1, file);
}

static FILE *begin_capture(void)
{
	struct capture_header header = { 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1 };
	FILE *file;

	snprintf(in_path, sizeof(in_path), "/tmp/weir-ethdev-in.%d", (int)getpid());
	snprintf(out_path, sizeof(out_path), "/tmp/weir-ethdev-out.%d", (int)getpid());
	file = fopen(in_path, "w");
	cr_assert_not_null(file);
	fwrite(&header, sizeof(header), 1, file);
	return file;
}

static uint32_t read_capture(FILE *file, uint8_t packet[2048])
{
	struct capture_record record;

	if (fread(&record, sizeof(record), 1, file) != 1)
		return 0;
	cr_assert_leq(record.captured, 2048);
	cr_assert_eq(fread(packet, record.captured, 1, file), 1);
	return record.captured;
}

// What 10.0.0.2 port 5000 sends to us at port 9347, and at the MAC of the first capture device.
static const struct weir_path client = {
	.family = AF_INET, .remote_ip = { 10, 0, 0, 1 }, .local_ip = { 10, 0, 0, 2 },
	.remote_mac = { 2, 'p', 'c', 'a', 'p', 0 }, .local_mac = { 2, 0, 0, 0, 0, 2 },
};

static uint32_t make_datagram(uint8_t *packet, uint16_t port, uint32_t size, uint8_t value)
{
	struct weir_path path = client;

	path.remote_port = htons(port);
	path.local_port = htons(5000);
	memset(packet + 42, value, size);
	weir_packet_head_write(packet, &path, size);
	return 42 + size;
}

static const uint8_t arp_request[42] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 2, 8, 6,
					 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1 };

static void make_traffic(void)
{
	uint8_t packet[2048];
	FILE *file = begin_capture();
	uint32_t size;

	write_capture(file, packet, make_datagram(packet, 9347, 64, 1));
	write_capture(file, arp_request, sizeof(arp_request));
	write_capture(file, packet, make_datagram(packet, 9348, 64, 2)); // beyond our ports
	size = make_datagram(packet, 9347, 64, 3);
	packet[20] |= 0x20; // more fragments
	write_capture(file, packet, size);
	size = make_datagram(packet, 9347, 64, 4);
	packet[25] ^= 1; // IP checksum
	write_capture(file, packet, size);
	write_capture(file, packet, make_datagram(packet, 9347, 1472, 5));
	fclose(file);
}

static void check_answers(void)
{
	struct weir_packet_own own = { .udp_first = 5000, .udp_count = 1 };
	FILE *file = fopen(out_path, "r");
	struct capture_header header;
	uint8_t packet[2048];

	cr_assert_not_null(file);
	cr_assert_eq(fread(&header, sizeof(header), 1, file), 1);
	cr_assert_eq(read_capture(file, packet), 42);
	cr_expect_eq(packet[21], 2, "an ARP answer");
	cr_expect_eq(memcmp(packet + 28, (uint8_t[4]){ 10, 0, 0, 1 }, 4), 0);
	for (uint8_t i = 0; i < 3; i++) {
		struct weir_path path = { 0 };
		uint32_t size = read_capture(file, packet);
		struct weir_packet parsed = weir_packet_parse(packet, size, &own, &path);

		cr_assert_eq(parsed.verdict, WEIR_PACKET_FRAME, "answer %u", i);
		cr_expect_eq(parsed.size, 100u + i);
		cr_expect_eq(packet[parsed.offset], i);
		cr_expect_eq(path.remote_port, htons(9347));
		cr_expect_eq(memcmp(path.remote_ip, (uint8_t[4]){ 10, 0, 0, 1 }, 4), 0);
	}
	cr_expect_eq(read_capture(file, packet), 0);
	fclose(file);
}

Test(port_ethdev, packets_for_another_mac_are_none_of_ours)
{
	const struct weir_arrival *arrivals;
	uint8_t packet[2048];
	struct weir_port *port;
	char device[192];
	FILE *file = begin_capture();
	uint32_t size = make_datagram(packet, 9347, 64, 1);

	packet[5] ^= 1;
	write_capture(file, packet, size);
	fclose(file);
	snprintf(device, sizeof(device), "net_pcap0,rx_pcap=%s,tx_pcap=%s", in_path, out_path);
	port = open_port(device);
	for (uint32_t turn = 0; turn < 10 && weir_counted(&port->statistics.passed) == 0; turn++)
		cr_assert_eq(port->ops->receive(port, &arrivals), 0);
	cr_expect_eq(weir_counted(&port->statistics.passed), 1);
	port->ops->close(port);
	weir_eal_stop();
	unlink(in_path);
	unlink(out_path);
}

Test(port_ethdev, packets_are_sorted_into_frames_answers_and_drops)
{
	const struct weir_arrival *arrivals;
	struct weir_path path = { 0 };
	struct weir_port *port;
	char device[192];
	uint32_t seen = 0;

	make_traffic();
	snprintf(device, sizeof(device), "net_pcap0,rx_pcap=%s,tx_pcap=%s", in_path, out_path);
	port = open_port(device);
	cr_expect_eq(port->frame_max, 1472);
	for (uint32_t turn = 0; turn < 10; turn++) {
		uint32_t count = port->ops->receive(port, &arrivals);

		for (uint32_t i = 0; i < count; i++, seen++) {
			cr_expect_eq(arrivals[i].size, seen == 0 ? 64 : 1472);
			cr_expect_eq(*(const uint8_t *)arrivals[i].frame, seen == 0 ? 1 : 5);
			path = *arrivals[i].path;
		}
		if (count)
			port->ops->receive_done(port);
	}
	cr_assert_eq(seen, 2);
	cr_expect_eq(path.port, 5);
	cr_expect_eq(weir_counted(&port->statistics.dropped[WEIR_R_IP_FRAGMENT]), 1);
	cr_expect_eq(weir_counted(&port->statistics.dropped[WEIR_R_IP_HEADER]), 1);
	cr_expect_eq(weir_counted(&port->statistics.passed), 2);
	for (uint8_t i = 0; i < 3; i++) {
		uint8_t *frame = port->ops->send_reserve(port, &path, 1472);

		cr_assert_not_null(frame);
		memset(frame, i, 100u + i);
		port->ops->send_commit(port, 100u + i);
	}
	cr_expect_eq(port->ops->send_reserve(port, &path, 1473), WEIR_SEND_NEVER, "more than the link carries");
	cr_expect(port->ops->flush(port));
	cr_expect_eq(weir_counted(&port->statistics.sent), 4);
	port->ops->close(port);
	weir_eal_stop();
	check_answers();
	unlink(in_path);
	unlink(out_path);
}

// ---- Fullness ----

Test(port_ethdev, a_full_device_keeps_the_frames_then_refuses_and_loses_nothing)
{
	struct weir_port *port = open_port("net_ring0");
	// To ourselves: what is sent comes back as a frame of the same port.
	struct weir_path self = { .family = AF_INET, .remote_ip = { 10, 0, 0, 1 }, .local_ip = { 10, 0, 0, 1 },
				  .remote_port = htons(9347), .local_port = htons(9347), .port = 5 };
	const struct weir_arrival *arrivals;
	uint32_t sent = 0, received = 0, count;
	void *frame;

	while (sent < 20000 && (frame = port->ops->send_reserve(port, &self, 64))) {
		memcpy(frame, &sent, sizeof(sent));
		sent++;
		port->ops->send_commit(port, 64);
	}
	cr_assert_lt(sent, 20000);
	cr_expect_gt(weir_counted(&port->statistics.send_blocked), 0);
	cr_expect_not(port->ops->flush(port));
	while (received < sent && (count = port->ops->receive(port, &arrivals)) > 0) {
		for (uint32_t i = 0; i < count; i++) {
			uint32_t number;

			memcpy(&number, arrivals[i].frame, sizeof(number));
			cr_assert_eq(number, received++);
		}
		port->ops->receive_done(port);
		port->ops->flush(port);
	}
	cr_expect_eq(received, sent);
	cr_expect_not_null(port->ops->send_reserve(port, &self, 64));
	port->ops->send_commit(port, 0);
	port->ops->close(port);
	weir_eal_stop();
}

Test(port_ethdev, sending_leaves_buffers_for_reception)
{
	struct weir_port *port = open_port("net_null0,size=64");
	const struct weir_arrival *arrivals;
	struct weir_path path = { .family = AF_INET, .port = 5 };
	uint32_t rounds;

	// The null device receives for ever, nothing of it weir's, and takes whatever is sent.
	for (rounds = 0; rounds < 1000; rounds++) {
		cr_assert_eq(port->ops->receive(port, &arrivals), 0);
		for (uint32_t i = 0; i < 32; i++) {
			cr_assert_not_null(port->ops->send_reserve(port, &path, 1000));
			port->ops->send_commit(port, 1000);
		}
		cr_assert(port->ops->flush(port));
	}
	cr_expect_eq(weir_counted(&port->statistics.sent), 32000);
	cr_expect_gt(weir_counted(&port->statistics.passed), 32000);
	port->ops->close(port);
	weir_eal_stop();
}

// ---- vhost-user ----

static char socket_path[64], vhost_device[128];

static const char *vhost(void)
{
	snprintf(socket_path, sizeof(socket_path), "/tmp/weir-ethdev-vhost.%d", (int)getpid());
	snprintf(vhost_device, sizeof(vhost_device), "net_vhost_test,iface=%s,queues=1", socket_path);
	return vhost_device;
}

// A socket file as a listener leaves it; the listener itself is returned.
static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(fd, 1), 0);
	return fd;
}

Test(port_ethdev, a_dead_ones_socket_is_taken_over_and_removed_at_the_end)
{
	const char *device = vhost();
	struct weir_port *port;

	close(listen_at(socket_path));
	cr_assert_eq(access(socket_path, F_OK), 0);
	port = open_port(device);
	cr_expect_not(port->ops->link_is_up(port), "nobody is connected yet");
	cr_expect_eq(port->frame_max, 1472);
	port->ops->close(port);
	weir_eal_stop();
	cr_expect_neq(access(socket_path, F_OK), 0);
}

Test(port_ethdev, what_waits_for_a_peer_that_is_gone_is_lost_and_counted)
{
	struct weir_port *port = open_port(vhost());
	struct weir_path path = { .family = AF_INET, .port = 5 };

	for (uint32_t i = 0; i < 3 * 512; i++) {
		cr_assert_not_null(port->ops->send_reserve(port, &path, 1000));
		port->ops->send_commit(port, 1000);
	}
	cr_expect(port->ops->flush(port), "nothing stays to be sent");
	cr_expect_eq(weir_counted(&port->statistics.send_lost), 3 * 512);
	cr_expect_eq(weir_counted(&port->statistics.sent), 0);
	port->ops->close(port);
	weir_eal_stop();
}

// ---- Refusals ----

static void expect_refusal(const char *device, int error, const char *word)
{
	struct weir_port *port = NULL;
	struct weir_fault fault = { 0 };

	cr_expect_eq(try_port(&port, device, &fault), error, "%s", device ? device : "none");
	cr_expect_null(port);
	cr_expect(strstr(fault.object, "side") && fault.action[0] && fault.fix[0]);
	cr_expect(strstr(fault.reason, word), "reason is: %s", fault.reason);
}

Test(port_ethdev, what_cannot_be_opened_is_said)
{
	int listener;

	start_eal();
	expect_refusal(NULL, -EINVAL, "none is given");
	expect_refusal("net_memif0", -EOPNOTSUPP, "client dies");
	expect_refusal("net_vhost0", -EINVAL, "names no socket");
	expect_refusal("net_vhost0,queues=1", -EINVAL, "names no socket");
	expect_refusal("net_vhost0,iface=/tmp/weir-no-such-folder/a.sock", -ENOENT, "folder /tmp/weir-no-such-folder");
	expect_refusal("net_vhost0,iface=/etc/passwd", -EEXIST, "no socket");
	expect_refusal("net_vhost0,iface=/tmp/a-path-of-more-than-a-hundred-and-seven-bytes-is-more-than-the-kernel-takes-for-"
		       "the-name-of-a-socket-file",
		       -ENAMETOOLONG, "longer than the 107 bytes");
	vhost();
	listener = listen_at(socket_path);
	expect_refusal(vhost_device, -EADDRINUSE, "a process listens");
	close(listener);
	unlink(socket_path);
	expect_refusal("0000:ff:1f.7", -ENODEV, "0000:ff:1f.7");
	weir_eal_stop();
}

Test(port_ethdev, an_interface_that_is_not_there_is_named)
{
	static const uint16_t workers[1] = { 0 }, index[1] = { 0 };
	struct weir_port_config config = { .name = "fast", .kind = WEIR_PORT_AFXDP, .interface = "weir-none", .udp_port = 9347,
					   .node = -1, .workers = workers, .queues = 1, .worker_count = 1, .instance = "x" };
	struct weir_interfaces *interfaces;
	struct weir_port *port = NULL;
	struct weir_fault fault = { 0 };

	start_eal();
	cr_assert_eq(weir_interfaces_create(&interfaces), 0);
	config.interfaces = interfaces;
	cr_expect_eq(weir_port_open(&port, &config, index, &fault), -ENODEV);
	weir_interfaces_destroy(interfaces);
	cr_expect(strstr(fault.object, "weir-none") && strstr(fault.fix, "ip link"));
	weir_eal_stop();
}

Test(eal, missing_hugepages_are_refused_with_their_number)
{
	struct weir_eal_config config = { .instance = "ethdev-test", .memory = WEIR_EAL_HUGEPAGES, .memory_mb = 1u << 30 };
	struct weir_fault fault = { 0 };

	cr_expect_eq(weir_eal_start(&config, &fault), -ENOMEM);
	cr_expect(strstr(fault.reason, "1073741824 MB are needed"), "reason is: %s", fault.reason);
	cr_expect(strstr(fault.fix, "nr_hugepages"));
	// Nothing was started: ordinary pages still can.
	start_eal();
	weir_eal_stop();
}
