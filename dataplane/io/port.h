// Where frames enter and leave: one burst interface, three kinds. A struct weir_port is one (port, queue) pair and belongs
// to one worker, which alone calls its hot functions; open, close and the reading of statistics are control's.
//
// A turn: receive() a burst, hand it to the engine, receive_done(); send_reserve()/send_commit() by the engine; flush().
#ifndef WEIR_IO_PORT_H
#define WEIR_IO_PORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "dataplane/core/engine.h"
#include "dataplane/core/path.h"
#include "dataplane/io/fault.h"
#include "wire/limits.h"
#include "wire/reason.h"

struct weir_port;
struct weir_guard; // bpf/guard.h
struct weir_interfaces; // interfaces.h

enum weir_port_kind {
	WEIR_PORT_KERNEL, // kernel UDP socket per worker, GRO in, GSO out
	WEIR_PORT_AFXDP,  // DPDK's AF_XDP driver behind the XDP guard: the kernel keeps ARP, ND, ping and all else
	WEIR_PORT_DPDK,   // any other DPDK ethdev, by devargs: weir answers ARP, ND and ping itself
	WEIR_PORT_LANE,   // shared memory of local clients, all lanes of a worker: made by the dataplane, never configured
};

// A port as configured: all its queues. Texts live until open returned.
struct weir_port_config {
	const char *name;
	enum weir_port_kind kind;
	const char *interface; // afxdp
	const char *device;    // dpdk: devargs such as "net_null0" or "0000:01:00.0"
	const char *address;   // kernel: address to bind, "0.0.0.0" or "::" for all; dpdk: own address with optional "/prefix"
	uint16_t udp_port;     // base: worker w listens on base + w
	bool trust_link;       // integrity: link
	bool allow_generic;    // afxdp: XDP above the driver where the driver has none
	int node;              // of the NIC, -1: unknown
	const uint16_t *workers; // [queues] queue i is polled by workers[i]
	uint16_t queues;
	// Filled in by the dataplane.
	const char *instance;
	int nice; // of the workers
	uint16_t worker_count; // of the router: UDP ports [udp_port, udp_port + worker_count) are weir's
	const struct weir_interfaces *interfaces; // afxdp
};

// How a configured port fares, all its queues together. Control thread.
enum weir_port_condition {
	WEIR_PORT_WELL,
	WEIR_PORT_HINDERED, // works, but not for all that one may expect
	WEIR_PORT_LOST,     // nothing comes or goes; it works again by itself when the reason is gone
};

struct weir_port_state {
	enum weir_port_condition condition;
	struct weir_fault fault; // why, and what to do; nothing when it is well
	uint64_t since_ns; // CLOCK_MONOTONIC: when it got that condition
	uint64_t losses;   // times that it was lost
};

#define WEIR_PORT_BURST 512u // most arrivals of one receive()

// Monotonic. Written by the port's worker with relaxed stores, read by anybody.
struct weir_port_statistics {
	_Atomic uint64_t received;       // frames handed to the engine
	_Atomic uint64_t received_bytes; // UDP payload
	_Atomic uint64_t receive_calls;  // bursts that brought something
	_Atomic uint64_t sent;           // frames given to the kernel or the device
	_Atomic uint64_t sent_bytes;
	_Atomic uint64_t send_calls;
	_Atomic uint64_t send_blocked;   // times the way out was full and the frames stayed
	_Atomic uint64_t send_lost;      // frames the kernel or device refused for good (unreachable, too large)
	_Atomic uint64_t passed;         // frames that were not weir's: answered (ARP, ND, ping) or let fall
	_Atomic uint64_t dropped[WEIR_REASON_ROOM]; // before parsing: ip-fragment, ip-header, no-buffer (late, see count_lost)
};

static inline void weir_count(_Atomic uint64_t *counter, uint64_t n)
{
	// One writer: no need for a locked add.
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline uint64_t weir_counted(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

struct weir_port_ops {
	// Up to WEIR_PORT_BURST arrivals; *arrivals points into the port and stays valid, like the frames and paths in
	// it, until receive_done(). 0: nothing there.
	uint32_t (*receive)(struct weir_port *port, const struct weir_arrival **arrivals);
	void (*receive_done)(struct weir_port *port);
	// As weir_engine_io's: NULL when there is no room now, WEIR_SEND_NEVER for a size above frame_max.
	void *(*send_reserve)(struct weir_port *port, const struct weir_path *path, uint32_t size);
	void (*send_commit)(struct weir_port *port, uint32_t size);
	// Pushes out what was committed. false: something stays, call again next turn.
	bool (*flush)(struct weir_port *port);
	// Counts, by weir_port_drop(), what the kernel or the device had no room for since the last call. A system call or
	// a look at registers: the worker calls it now and then.
	void (*count_lost)(struct weir_port *port);
	bool (*link_is_up)(const struct weir_port *port); // any thread
	// Packet buffers that are not in use, of *total; about so many while the port works. NULL: a kind without. Any thread.
	uint32_t (*buffers_free)(const struct weir_port *port, uint32_t *total);
	// Control, now and then: looks how the port fares, fills condition and fault, follows what changed on the host, takes
	// the port from its workers when its device is gone and gives it back. true: workers have to be woken to look at what
	// it asks. NULL: a kind without.
	bool (*watch)(struct weir_port *const queues[], const struct weir_port_config *config, struct weir_port_state *state);
	void (*close)(struct weir_port *port);            // control, after the worker stopped; frees the port
};

struct weir_port {
	const struct weir_port_ops *ops;
	char name[WEIR_NAME_SIZE];
	enum weir_port_kind kind;
	uint16_t queue;
	uint16_t index;     // into its worker's ports: weir_path.port
	uint16_t worker;
	uint16_t udp_port;  // that this queue's worker listens on
	uint32_t frame_max; // bytes of UDP payload the port can receive and send
	uint32_t mtu;       // IP datagram, 0: unknown
	int fd;             // readable when frames wait; -1: has to be polled
	bool is_away;       // worker's: its device is control's now, and there is nothing to poll
	bool trust_link;
	struct weir_guard *guard; // afxdp: the interface's XDP program; NULL else
	atomic_bool is_unplugged; // control saw that nothing can come or go
	struct weir_port_statistics statistics;
	uint64_t drops_total; // sum of statistics.dropped: lets the worker see at a glance that there are new ones
};

// Control thread. Opens all queues of a port: ports[i] is queue i, index[i] its place among its worker's ports. Either all
// or none; on failure *fault says what to do. The port with ops->close() frees itself.
int weir_port_open(struct weir_port **ports, const struct weir_port_config *config, const uint16_t *index,
		   struct weir_fault *fault);

// One kind each; weir_port_open() chooses. ethdev serves afxdp and dpdk.
int weir_port_kernel_open(struct weir_port **ports, const struct weir_port_config *config, const uint16_t *index,
			  struct weir_fault *fault);
int weir_port_ethdev_open(struct weir_port **ports, const struct weir_port_config *config, const uint16_t *index,
			  struct weir_fault *fault);

// For the kinds: counts frames that do not even reach the engine.
static inline void weir_port_drop(struct weir_port *port, enum weir_reason reason, uint64_t frames)
{
	weir_count(&port->statistics.dropped[reason], frames);
	port->drops_total += frames;
}

const char *weir_port_condition_name(enum weir_port_condition condition); // "well", "hindered", "lost"
const char *weir_port_kind_name(enum weir_port_kind kind); // "kernel", "afxdp", "dpdk", "lane"

#endif
