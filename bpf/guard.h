// The XDP guard of one interface, for the daemon: load, attach, take over from a killed predecessor, check, count,
// detach. Control thread only; nothing here is called by a worker. Order of a start: weir_guard_open(), then the AF_XDP
// ports of the interface (their sockets go into the guard's map), then weir_guard_check() for each queue.
//
// What stays in the kernel while the guard is open: a BPF link and the counter maps, pinned in
// <pin_root>/<instance>/<interface>/ (a '.' in a name becomes ':', which bpffs demands). The directory is locked by the
// process that holds the guard. After kill -9 the pins keep the program attached, so that weir's frames are dropped by
// name instead of answered by the kernel, until the next start of the same instance takes over, or sweeps them away.
#ifndef WEIR_BPF_GUARD_H
#define WEIR_BPF_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "bpf/abi.h"

#define WEIR_GUARD_PIN_ROOT "/sys/fs/bpf/weir"
#define WEIR_GUARD_ERROR_SIZE 1024u // bytes of an error text: object, action, reason, what to do
#define WEIR_GUARD_TOPICS 1024u     // topic rows by default

struct weir_guard;

struct weir_guard_config {
	const char *interface;
	const char *instance;  // name of the weir instance: 1 to 63 of [A-Za-z0-9._-]
	const char *pin_root;  // a directory to be made directly below a bpffs mount; NULL: WEIR_GUARD_PIN_ROOT
	uint16_t port_base;
	uint16_t workers;      // ports [port_base, port_base + workers) are weir's; 1 to WEIR_WORKERS_MAX
	uint32_t topic_rows;   // topics counted one by one: ids below this; 0: WEIR_GUARD_TOPICS
	bool is_generic_allowed; // fall back to generic (skb) mode where the driver has no native XDP: slow
	bool is_link_trusted;    // a port of integrity `link`
	struct weir_guard_own own; // until weir_guard_set_own()
};

enum weir_guard_mode {
	WEIR_GUARD_NATIVE,
	WEIR_GUARD_GENERIC,
};

// Where VLAN tags of received packets are. XDP sees packet bytes only.
enum weir_guard_tags {
	WEIR_GUARD_TAGS_INSIDE,    // in the packet
	WEIR_GUARD_TAGS_KEPT,      // in the packet, since the guard switched rx-vlan-offload off, until it is closed
	WEIR_GUARD_TAGS_BESIDE,    // beside it (veth), and the driver tells the program
	WEIR_GUARD_TAGS_HIDDEN,    // beside it where the peer of the veth leaves them there, and this kernel does not tell
	WEIR_GUARD_TAGS_TAKEN_OUT, // beside it, and not told: such an interface is not opened
};

struct weir_guard_info {
	enum weir_guard_mode mode;
	uint32_t program_id;
	enum weir_guard_tags tags;
	bool has_taken_over; // a killed predecessor's link was found and its program replaced without a gap
};

// Says what this host lacks for a guard on the interface, all of it, one a line, without changing anything.
// 0: nothing. Else the -errno of the first: -EPERM, -ENODEV, -EOPNOTSUPP, -ENOENT (no bpffs), -ERANGE (MTU), -EBUSY
// (a foreign XDP program), -EINVAL (config).
int weir_guard_probe(const struct weir_guard_config *config, char error[WEIR_GUARD_ERROR_SIZE]);

// Takes away what dead processes of the instance left on interfaces other than those of `keep`: a program that nobody
// serves would drop weir's frames there for ever. On those kept, weir_guard_open() takes it over without a gap. To be called
// before any guard of the instance is opened, also when it opens none. 0, or -errno of the first that stays; `error` is one
// line for each that was there, what became of it included, and empty when there was nothing.
int weir_guard_sweep(const char *instance, const char *pin_root, const char *const keep[], uint32_t count,
		     char error[WEIR_GUARD_ERROR_SIZE]);

// Loads the program and attaches it. Never replaces a program of anybody but a dead process of the same instance:
// -EBUSY names what is there. Other errors as weir_guard_probe(), and -ENOMEM. On failure nothing is left behind, *guard
// is untouched and `error` says what happened. The config is not kept.
int weir_guard_open(struct weir_guard **guard, const struct weir_guard_config *config, char error[WEIR_GUARD_ERROR_SIZE]);

// Detaches, unpins, removes the directories it made, frees. NULL is fine.
void weir_guard_close(struct weir_guard *guard);

void weir_guard_describe(const struct weir_guard *guard, struct weir_guard_info *info);

// Runs the attached program once over a well-formed frame as if it had arrived on the queue, and once over a foreign
// packet: 0 when the first would reach an AF_XDP socket and the second the kernel, -ENOTCONN when the queue has no
// socket in the map, -EIO when our program is no longer the one on the interface or judges wrongly, -EINVAL no such queue.
int weir_guard_check(struct weir_guard *guard, uint32_t queue, char error[WEIR_GUARD_ERROR_SIZE]);

// Whether our program is the one on the interface.
bool weir_guard_is_attached(const struct weir_guard *guard);

// Sums the CPUs' rows; what weir_guard_check() did is not in it. Counters start at 0 when the guard is opened.
// 0 or -errno of the map.
int weir_guard_read(struct weir_guard *guard, struct weir_guard_totals *totals);

// Publish frames of one topic; topic 0: all topics whose ids are beyond the rows. -ERANGE: no row of its own.
int weir_guard_read_topic(struct weir_guard *guard, uint32_t topic, struct weir_guard_count *count);

// Who we are from now on. Packets that are looked at meanwhile are judged by the older or the newer.
void weir_guard_set_own(struct weir_guard *guard, const struct weir_guard_own *own);

// The interface went, or weir lets go of it: detached and unpinned, program and counters stay. Until weir_guard_attach().
void weir_guard_detach(struct weir_guard *guard);
// On the interface that has the name now, with the counters as they were. Errors as weir_guard_open(); it stays detached then.
int weir_guard_attach(struct weir_guard *guard, char error[WEIR_GUARD_ERROR_SIZE]);

// Number of the file descriptor of the socket map and of the program on the interface, and of its twin for
// BPF_PROG_TEST_RUN, for tests; owned by the guard.
int weir_guard_socket_map(const struct weir_guard *guard);
int weir_guard_program(const struct weir_guard *guard);
int weir_guard_trial(const struct weir_guard *guard);

#endif
