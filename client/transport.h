// How a client's core reaches its router: one table of functions per kind of address. client/weir.c drives it. One thread.
#ifndef WEIR_CLIENT_TRANSPORT_H
#define WEIR_CLIENT_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "client/core.h"

struct pollfd;
struct weir_transport;

#define WEIR_TRANSPORT_FDS_MAX 10u

struct weir_transport_ops {
	// Before each poll of the core: looks after the way to the router, as far as that is not the core's.
	void (*tend)(struct weir_transport *transport, struct weir_core *core, uint64_t now_ns);
	// A weir_core_output.send; context: the transport.
	uint32_t (*send)(void *transport, const struct weir_datagram *datagrams, uint32_t count);
	// One burst without waiting. Returns how many datagrams, or -errno of what cannot go on.
	int (*receive)(struct weir_transport *transport, struct weir_core *core, uint64_t now_ns);
	// Descriptors to wait on and for what; at most WEIR_TRANSPORT_FDS_MAX. Returns how many.
	uint32_t (*wait_on)(struct weir_transport *transport, struct pollfd *fds);
	// Before sleeping on them and after. doze returns false when something came in the meantime.
	bool (*doze)(struct weir_transport *transport, const struct weir_core *core);
	void (*awake)(struct weir_transport *transport);
	// Size of a datagram that was too large for the path since the last call; 0: none.
	uint32_t (*too_large)(struct weir_transport *transport);
	// A ping with flag WORKING, of the session and sequence. From any thread, at any time before close.
	void (*keepalive)(struct weir_transport *transport, uint64_t session, uint64_t sequence);
	// What the application did may matter to a router that sleeps.
	void (*nudge)(struct weir_transport *transport);
	void (*close)(struct weir_transport *transport);
};

struct weir_transport {
	const struct weir_transport_ops *ops;
	const struct weir_core_local *local; // NULL: no shared memory
	uint32_t credit_bytes; // what it can hold on the way in, as weir_charge() counts
	uint32_t frame_size;   // default of the session
	uint64_t due_ns;       // has something to do then; UINT64_MAX: never
	uint64_t system_calls;
	uint32_t generation; // grows when the descriptors to wait on become others, whatever their numbers
	int error;           // -errno of what was last in the way of a session; 0: nothing is known
};

#endif
