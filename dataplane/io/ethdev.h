// What the two halves of the DPDK port share: port_ethdev.c moves frames, ethdev_open.c opens and closes devices. Internal
// to dataplane/io.
#ifndef WEIR_IO_ETHDEV_H
#define WEIR_IO_ETHDEV_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "dataplane/io/packet.h"
#include "dataplane/io/port.h"

#define WEIR_ETHDEV_BURST 128u     // packets of one receive; at most WEIR_PORT_BURST
#define WEIR_ETHDEV_SEND_ROOM 512u // packets committed and not taken by the device; then send_reserve says no
#define WEIR_ETHDEV_STUCK_S 1u     // a device that takes nothing for so long loses what waits
#define WEIR_ETHDEV_SPARE 64u      // buffers taken from the pool at once for sending
#define WEIR_ETHDEV_ALLOWANCE 512u // buffers taken for sending between two looks at how many there are
#define WEIR_ETHDEV_POOL 10239u    // buffers of a queue: 2,048 wait in the driver for packets, as many may be received and
				   // not looked at, as many on their way out
#define WEIR_ETHDEV_POOL_KEPT 2048u // sending leaves so many in the pool: reception goes first

// A device, or an interface with its guard: what the queues of one configured port have in common. The last queue to be
// closed closes it.
struct weir_ethdev_group {
	struct weir_guard *guard;
	uint32_t references;
};

struct weir_ethdev {
	struct weir_port port;
	struct weir_ethdev_group *group;
	uint16_t device;  // DPDK's number
	uint16_t queue;   // of that device
	bool owns_device; // close stops the device
	bool is_responder; // the kernel does not know this device: ARP, ND and ping are answered here
	int socket;       // AF_XDP socket, -1: not known; the driver's own
	uint8_t mac[6];
	struct weir_packet_own own;
	struct rte_mempool *pool;
	uint64_t missed;  // packets lost by the device that were counted already
	struct rte_mbuf *received[WEIR_ETHDEV_BURST];
	uint32_t received_count;
	struct weir_arrival arrivals[WEIR_ETHDEV_BURST];
	struct weir_path paths[WEIR_ETHDEV_BURST];
	struct rte_mbuf *spare[WEIR_ETHDEV_SPARE];
	uint32_t spare_count;
	uint32_t allowance; // of spares until the next look
	struct rte_mbuf *outgoing[WEIR_ETHDEV_SEND_ROOM];
	uint32_t outgoing_count;
	uint64_t stuck_since; // tick at which the device took nothing of a burst; 0: it took something since
	struct rte_mbuf *current;  // reserved
	struct weir_path current_path;
	uint32_t current_head;
};

extern const struct weir_port_ops weir_ethdev_ops;

// ethdev_open.c: gives back the buffers it still holds, closes device and guard when the last queue goes, frees it.
void weir_ethdev_close(struct weir_ethdev *ethdev);

#endif
