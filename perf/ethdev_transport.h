// A client's way to the router over a DPDK device instead of a socket: AF_XDP, virtio_user, a NIC on vfio. One device, one
// IPv4 address, one or more endpoints (UDP ports), each with a client core of its own; Ethernet, ARP, IPv4 and UDP are made
// here. The cores are driven by the caller, who also polls: nothing here waits but open. One thread, the one that opened.
//
//   weir_ethdev_transport_open(&transport, &options, why);
//   output = weir_ethdev_transport_attach(transport, 0, core);
//   loop: weir_ethdev_transport_receive(transport, now)   gives what arrived to the cores
//         weir_core_poll(core, now, &output)              sends
#ifndef WEIR_PERF_ETHDEV_TRANSPORT_H
#define WEIR_PERF_ETHDEV_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "client/core.h"

#define WEIR_ETHDEV_TRANSPORT_ENDPOINTS 1024u // most endpoints of a device
#define WEIR_ETHDEV_TRANSPORT_WHY 256u        // bytes of a reason

struct weir_ethdev_transport;

struct weir_ethdev_transport_options {
	const char *device;   // devargs: "net_virtio_user0,path=/run/weir/vpp.vhost", "net_af_xdp0,iface=eth1", "0000:01:00.0"
	const char *address;  // own IPv4 address
	const char *router;   // "udp://A.B.C.D[:PORT]"
	uint16_t local_port;  // of endpoint 0, the others follow
	uint16_t endpoints;   // 0: one
	uint32_t frame_size;  // largest datagram; 0: WEIR_FRAME_DEFAULT
	uint32_t wait_ms;     // for the link and the router's answer to ARP; 0: 5 s
	const uint8_t *router_mac; // [6] known already: no ARP, waits for the link alone; NULL: ask
};

// What DPDK was doing.
struct weir_ethdev_transport_counts {
	uint64_t sent, received; // datagrams
	uint64_t send_blocked;   // times the device took less than it was given
	uint64_t foreign;        // packets that were no endpoint's
	bool is_link_up;
};

// Starts DPDK (hugepages when enough are free, ordinary memory otherwise; the thread's affinity is kept) and the device, and
// asks for the router's MAC address. On failure `why` says what was wrong. Once in a process: DPDK does not start again.
int weir_ethdev_transport_open(struct weir_ethdev_transport **transport, const struct weir_ethdev_transport_options *options,
			       char why[WEIR_ETHDEV_TRANSPORT_WHY]);
// Stops the device and DPDK. Attached cores are to be destroyed before or after, but no longer polled.
void weir_ethdev_transport_close(struct weir_ethdev_transport *transport);

// What an endpoint's share of the device's ring can hold, as weir_charge() counts: credit_bytes of its core.
uint32_t weir_ethdev_transport_credit(const struct weir_ethdev_transport *transport);

// From now on datagrams to the endpoint go to the core; NULL: nowhere. The output is what the core's poll takes.
struct weir_core_output weir_ethdev_transport_attach(struct weir_ethdev_transport *transport, uint16_t endpoint,
						     struct weir_core *core);

// The same for clients without a core: each datagram is shown to the sink, where it lies, and is gone when it returns.
typedef void (*weir_ethdev_transport_sink)(void *context, uint16_t endpoint, const void *datagram, uint32_t size);
struct weir_core_output weir_ethdev_transport_attach_sink(struct weir_ethdev_transport *transport, uint16_t endpoint,
							  weir_ethdev_transport_sink sink, void *context);

// One burst of the device. Returns the number of datagrams given to cores and sinks.
uint32_t weir_ethdev_transport_receive(struct weir_ethdev_transport *transport, uint64_t now_ns);

void weir_ethdev_transport_counts(const struct weir_ethdev_transport *transport, struct weir_ethdev_transport_counts *counts);

#endif
