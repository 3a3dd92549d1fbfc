// A host of its own for each test of bpf/: network and mount namespaces that end with the test's process, a bpffs, a
// veth pair weir0 - peer0 with the guard's end first. Packets as bytes, sent through BPF_PROG_TEST_RUN or over the veth.
#ifndef WEIR_TESTS_BPF_SANDBOX_H
#define WEIR_TESTS_BPF_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "bpf/guard.h"

#define INTERFACE "weir0"
#define PEER "peer0"
#define PACKET_SIZE_MAX 4096u

// Padded so that the weir frame behind Ethernet, IPv4 and UDP is aligned.
struct packet {
	uint8_t padding[6];
	uint8_t bytes[PACKET_SIZE_MAX];
	uint32_t size;
} __attribute__((aligned(8)));

struct xsk; // an AF_XDP socket as libxdp makes it

// Enters the namespaces; skips the running test by name of what is missing.
void sandbox_enter(void);
// Runs a command of ip(8) and the like; the test fails with it.
void sandbox_run(const char *format, ...) __attribute__((format(printf, 1, 2)));
void sandbox_veth(uint32_t queues, uint32_t mtu);

// instance "one", ports 9347 and 9348, INTERFACE, whose MAC and addresses are those that the builders below send to.
struct weir_guard_config sandbox_config(void);
// Opens, or fails the test with the guard's own words.
struct weir_guard *sandbox_guard(const struct weir_guard_config *config);
// Id of the XDP program on the interface, 0: none.
uint32_t sandbox_program(const char *interface);
// Loads a two-instruction XDP program that passes everything. Returns its fd.
int sandbox_stranger(const char *name);
bool sandbox_exists(const char *path);

// The way an AF_XDP application gets a socket: libxdp looks for the program on the interface by itself.
struct xsk *xsk_open(const char *interface, uint32_t queue);
void xsk_close(struct xsk *xsk);
// Waits up to a second for one packet; its size, 0: none came.
uint32_t xsk_receive(struct xsk *xsk, uint8_t *bytes, uint32_t room);

// Sends the packet out of PEER, so that it arrives at INTERFACE.
void packet_send(const struct packet *packet, uint32_t times);
// From now on what leaves PEER has a VLAN tag beside the packet, as a VLAN interface on it gives.
void packet_tag(uint16_t type, uint16_t tci);
// XDP verdict for the packet as if it had arrived on the queue. Fails the test when the program changed a byte.
uint32_t packet_verdict(int program, const char *interface, uint32_t queue, const struct packet *packet);

// Builders: each appends. ipv4/ipv6/udp take the size of what will follow them.
void put(struct packet *packet, const void *bytes, uint32_t size);
void put_ethernet(struct packet *packet, uint16_t type);
void put_vlan(struct packet *packet, uint16_t type);
void put_ipv4(struct packet *packet, uint8_t protocol, uint16_t fragment, uint32_t option_words, uint32_t payload);
void put_ipv6(struct packet *packet, uint8_t next, uint32_t payload);
void put_udp(struct packet *packet, uint16_t port, uint32_t payload);
// A whole sealed frame with a zeroed body behind Ethernet, IPv4 and UDP to `port`.
struct packet packet_frame(uint16_t port, uint8_t kind, uint16_t count, uint16_t body);
// Where the weir frame of packet_frame() begins.
struct weir_frame_header *packet_header(struct packet *packet);

#endif
