// What the parts of the DPDK port share: port_ethdev.c moves frames, ethdev_open.c opens and closes devices, ethdev_watch.c
// looks after those of AF_XDP while they work. Internal to dataplane/io.
#ifndef WEIR_IO_ETHDEV_H
#define WEIR_IO_ETHDEV_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "bpf/guard.h"
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

// Of an AF_XDP port whose interface may go and come back.
enum weir_ethdev_phase {
	WEIR_ETHDEV_OPEN,
	WEIR_ETHDEV_LEAVING, // workers were asked to give up their devices
	WEIR_ETHDEV_SHUT,    // no devices; waits for the interface
};

// A device, or an interface with its guard: what the queues of one configured port have in common. The last queue to be
// closed closes it.
struct weir_ethdev_group {
	struct weir_guard *guard;
	uint32_t references;
	// AF_XDP, control's.
	enum weir_ethdev_phase phase;
	int ifindex;  // of the interface it was opened on
	uint32_t mtu; // of it, then
	struct weir_guard_own own; // what the guard was told last
	uint32_t left_out; // addresses of the interface that there was no room for
};

// What control asks of a queue's worker, and the worker answers.
enum weir_ethdev_call {
	WEIR_ETHDEV_STAY,  // the device is the worker's
	WEIR_ETHDEV_LEAVE, // give it up: control closes it
};

struct weir_ethdev {
	struct weir_port port;
	struct weir_ethdev_group *group;
	uint16_t device;  // DPDK's number
	uint16_t queue;   // of that device
	bool owns_device; // close stops the device
	bool is_responder; // the kernel does not know this device: ARP, ND and ping are answered here
	int socket;       // AF_XDP socket, -1: not known; the driver's own
	uint64_t socket_inode; // tells whether the descriptor is still that socket
	uint8_t mac[6];
	struct weir_packet_own own;
	struct rte_mempool *pool;
	_Atomic uint32_t called;   // enum weir_ethdev_call, control's
	_Atomic uint32_t answered; // worker's: the last call that it did
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
	uint8_t nowhere[WEIR_FRAME_MAX]; // where frames are written while the device is away
};

extern const struct weir_port_ops weir_ethdev_ops;

// ethdev_watch.c
bool weir_ethdev_watch(struct weir_port *const queues[], const struct weir_port_config *config, struct weir_port_state *state);
// The port's object in messages: "port fast (interface veth0)".
void weir_ethdev_object(const struct weir_port_config *config, char object[160]);

// ethdev_open.c. While no worker has the devices: closes those of all queues and detaches the guard; opens them again on the
// interface that has the name now. 0 or -errno with *fault, all closed.
void weir_ethdev_afxdp_shut(struct weir_port *const queues[], uint16_t count);
int weir_ethdev_afxdp_reopen(struct weir_port *const queues[], const struct weir_port_config *config, struct weir_fault *fault);
// Who we are on the interface by its number. Addresses in the file stand above those that it has.
void weir_ethdev_own(const struct weir_port_config *config, int ifindex, struct weir_guard_own *own, uint32_t *left_out);
// ethdev_open.c: gives back the buffers it still holds, closes device and guard when the last queue goes, frees it.
void weir_ethdev_close(struct weir_ethdev *ethdev);

#endif
