// The sandbox of the tests of bpf/: see sandbox.h. One process and one host per test, so there is nothing to clean up
// and nothing to collide with. Called from the thread of the test alone.
#include "tests/bpf/sandbox.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xdp/xsk.h>

#include "wire/codec.h"

#define FRAMES 64u
#define FRAME_SIZE XSK_UMEM__DEFAULT_FRAME_SIZE
#define HEADERS (14u + 20u + 8u)

struct xsk {
	struct xsk_umem *umem;
	struct xsk_socket *socket;
	struct xsk_ring_prod fill, tx;
	struct xsk_ring_cons completion, rx;
	uint8_t *area;
};

void sandbox_enter(void)
{
	if (geteuid() != 0)
		cr_skip_test("needs root: namespaces, BPF and XDP");
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0)
		cr_skip_test("needs network and mount namespaces: %s", strerror(errno));
	if (libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_XDP, NULL) <= 0)
		cr_skip_test("needs a kernel with XDP");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL) != 0)
		cr_skip_test("needs a bpffs at /sys/fs/bpf: %s", strerror(errno));
	// Only what a test sends is on its links: no neighbour discovery of the kernel's.
	sandbox_run("echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6");
	sandbox_run("ip link set lo up");
}

void sandbox_run(const char *format, ...)
{
	char command[512];
	va_list list;
	va_start(list, format);
	vsnprintf(command, sizeof(command), format, list);
	va_end(list);
	int status = system(command);
	cr_assert(status == 0, "%s: status %d", command, WEXITSTATUS(status));
}

void sandbox_veth(uint32_t queues, uint32_t mtu)
{
	// What PEER sends arrives on queue 0, whatever the kernel's hash of it is.
	sandbox_run("ip link add " INTERFACE " mtu %u numrxqueues %u numtxqueues %u type veth peer name " PEER
		    " mtu %u numrxqueues %u numtxqueues 1",
		    mtu, queues, queues, mtu, queues);
	sandbox_run("ip link set " INTERFACE " address 02:00:00:00:00:01");
	sandbox_run("ip link set " INTERFACE " up && ip link set " PEER " up");
}

struct weir_guard_config sandbox_config(void)
{
	struct weir_guard_config config = {
		.interface = INTERFACE, .instance = "one", .port_base = 9347, .workers = 2,
		.own = { .mac_count = 1, .address4_count = 1, .address6_count = 1 },
	};
	memcpy(config.own.macs[0], "\x02\0\0\0\0\x01", 6);
	memcpy(config.own.addresses4, "\x0a\0\0\x01", 4);
	memcpy(config.own.addresses6, "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
	return config;
}

struct weir_guard *sandbox_guard(const struct weir_guard_config *config)
{
	char error[WEIR_GUARD_ERROR_SIZE] = "";
	struct weir_guard *guard = NULL;
	int code = weir_guard_open(&guard, config, error);
	cr_assert(code == 0, "weir_guard_open: %d: %s", code, error);
	return guard;
}

uint32_t sandbox_program(const char *interface)
{
	uint32_t id = 0;
	cr_assert(bpf_xdp_query_id((int)if_nametoindex(interface), 0, &id) == 0);
	return id;
}

int sandbox_stranger(const char *name)
{
	// r0 = XDP_PASS; exit
	struct bpf_insn program[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, name, "GPL", program, 2, NULL);
	cr_assert(fd >= 0, "bpf_prog_load: %s", strerror(errno));
	return fd;
}

bool sandbox_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static int xsk_try(struct xsk *xsk, const char *interface, uint32_t queue)
{
	struct xsk_socket_config config = {
		.rx_size = FRAMES, .tx_size = FRAMES, .xdp_flags = XDP_FLAGS_DRV_MODE, .bind_flags = XDP_COPY
	};
	int code = xsk_umem__create(&xsk->umem, xsk->area, FRAMES * FRAME_SIZE, &xsk->fill, &xsk->completion, NULL);
	cr_assert(code == 0, "xsk_umem__create: %s", strerror(-code));
	code = xsk_socket__create(&xsk->socket, interface, queue, xsk->umem, &xsk->rx, &xsk->tx, &config);
	if (code)
		xsk_umem__delete(xsk->umem);
	return code;
}

struct xsk *xsk_open(const char *interface, uint32_t queue)
{
	struct xsk *xsk = calloc(1, sizeof(*xsk));
	xsk->area = mmap(NULL, FRAMES * FRAME_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert(xsk->area != MAP_FAILED);
	// The kernel frees a queue some time after the socket that held it was closed.
	int code = -EBUSY;
	for (int i = 0; i < 200 && code == -EBUSY; i++) {
		usleep(i ? 5000 : 0);
		code = xsk_try(xsk, interface, queue);
	}
	cr_assert(code == 0, "xsk_socket__create: %s", strerror(-code));
	uint32_t at;
	cr_assert(xsk_ring_prod__reserve(&xsk->fill, FRAMES, &at) == FRAMES);
	for (uint32_t i = 0; i < FRAMES; i++)
		*xsk_ring_prod__fill_addr(&xsk->fill, at + i) = i * FRAME_SIZE;
	xsk_ring_prod__submit(&xsk->fill, FRAMES);
	return xsk;
}

void xsk_close(struct xsk *xsk)
{
	xsk_socket__delete(xsk->socket);
	xsk_umem__delete(xsk->umem);
	munmap(xsk->area, FRAMES * FRAME_SIZE);
	free(xsk);
}

uint32_t xsk_receive(struct xsk *xsk, uint8_t *bytes, uint32_t room)
{
	uint32_t at;
	struct pollfd wait = { .fd = xsk_socket__fd(xsk->socket), .events = POLLIN };
	if (poll(&wait, 1, 1000) != 1 || xsk_ring_cons__peek(&xsk->rx, 1, &at) != 1)
		return 0;
	const struct xdp_desc *desc = xsk_ring_cons__rx_desc(&xsk->rx, at);
	uint32_t size = desc->len < room ? desc->len : room;
	memcpy(bytes, xsk_umem__get_data(xsk->area, desc->addr), size);
	xsk_ring_cons__release(&xsk->rx, 1);
	return size;
}

void packet_send(const struct packet *packet, uint32_t times)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(PEER) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	cr_assert(fd >= 0);
	for (uint32_t i = 0; i < times; i++) {
		ssize_t sent = sendto(fd, packet->bytes, packet->size, 0, (struct sockaddr *)&to, sizeof(to));
		cr_assert(sent == (ssize_t)packet->size, "sendto: %s", strerror(errno));
	}
	close(fd);
}

void packet_tag(uint16_t type, uint16_t tci)
{
	// skb_vlan_push(skb, type, tci); r0 = TC_ACT_OK; exit
	struct bpf_insn program[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2, .imm = htons(type) },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3, .imm = tci },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_skb_vlan_push },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)if_nametoindex(PEER), .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, options, .handle = 1, .priority = 1, .flags = BPF_TC_F_REPLACE);
	options.prog_fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "tag", "GPL", program, 5, NULL);
	cr_assert(options.prog_fd >= 0, "bpf_prog_load: %s", strerror(errno));
	int code = bpf_tc_hook_create(&hook);
	cr_assert(code == 0 || code == -EEXIST, "bpf_tc_hook_create: %s", strerror(-code));
	code = bpf_tc_attach(&hook, &options);
	cr_assert(code == 0, "bpf_tc_attach: %s", strerror(-code));
}

uint32_t packet_verdict(int program, const char *interface, uint32_t queue, const struct packet *packet)
{
	uint8_t out[PACKET_SIZE_MAX];
	struct xdp_md context = { .data_end = packet->size,
				  .ingress_ifindex = if_nametoindex(interface),
				  .rx_queue_index = queue };
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = packet->bytes, .data_size_in = packet->size, .data_out = out,
		    .data_size_out = sizeof(out), .ctx_in = &context, .ctx_size_in = sizeof(context), .repeat = 1);
	int code = bpf_prog_test_run_opts(program, &run);
	cr_assert(code == 0, "BPF_PROG_TEST_RUN of %u bytes: %s", packet->size, strerror(errno));
	cr_assert(run.data_size_out == packet->size && memcmp(out, packet->bytes, packet->size) == 0,
		  "the program changed the packet");
	return run.retval;
}

void put(struct packet *packet, const void *bytes, uint32_t size)
{
	cr_assert(packet->size + size <= PACKET_SIZE_MAX);
	if (bytes)
		memcpy(packet->bytes + packet->size, bytes, size);
	else
		memset(packet->bytes + packet->size, 0, size);
	packet->size += size;
}

static void put_u8(struct packet *packet, uint8_t value)
{
	put(packet, &value, 1);
}

static void put_be16(struct packet *packet, uint32_t value)
{
	uint16_t wire = htons((uint16_t)value);
	put(packet, &wire, sizeof(wire));
}

void put_ethernet(struct packet *packet, uint16_t type)
{
	put(packet, "\x02\0\0\0\0\x01\x02\0\0\0\0\x02", 12);
	put_be16(packet, type);
}

void put_vlan(struct packet *packet, uint16_t type)
{
	put_be16(packet, 0x0007);
	put_be16(packet, type);
}

void put_ipv4(struct packet *packet, uint8_t protocol, uint16_t fragment, uint32_t option_words, uint32_t payload)
{
	put_u8(packet, (uint8_t)(0x45 + option_words));
	put_u8(packet, 0);
	put_be16(packet, 20 + option_words * 4 + payload);
	put_be16(packet, 1);
	put_be16(packet, fragment);
	put_u8(packet, 64);
	put_u8(packet, protocol);
	put_be16(packet, 0);
	put(packet, "\x0a\0\0\x02\x0a\0\0\x01", 8);
	for (uint32_t i = 0; i < option_words; i++)
		put(packet, "\x01\x01\x01\x01", 4);
}

void put_ipv6(struct packet *packet, uint8_t next, uint32_t payload)
{
	put(packet, "\x60\0\0\0", 4);
	put_be16(packet, payload);
	put_u8(packet, next);
	put_u8(packet, 64);
	put(packet, "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02", 16);
	put(packet, "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
}

void put_udp(struct packet *packet, uint16_t port, uint32_t payload)
{
	put_be16(packet, 40000);
	put_be16(packet, port);
	put_be16(packet, 8 + payload);
	put_be16(packet, 0);
}

struct weir_frame_header *packet_header(struct packet *packet)
{
	return (void *)(packet->bytes + HEADERS);
}

struct packet packet_frame(uint16_t port, uint8_t kind, uint16_t count, uint16_t body)
{
	struct packet packet = {};
	uint32_t size = sizeof(struct weir_frame_header) + body;
	put_ethernet(&packet, ETH_P_IP);
	put_ipv4(&packet, IPPROTO_UDP, 0, 0, 8 + size);
	put_udp(&packet, port, size);
	put(&packet, NULL, size);
	struct weir_frame_header *frame = packet_header(&packet);
	frame->kind = kind;
	frame->count = count;
	weir_frame_seal(frame, body);
	return packet;
}
