// What the XDP guard and its loader say to each other: counters in per-CPU maps (written by the program, read by
// control) and the read-only switches set before load. Crosses the border between kernel and process: fixed widths only.
#ifndef WEIR_BPF_ABI_H
#define WEIR_BPF_ABI_H

#include <stdint.h>

#include "wire/frame.h"
#include "wire/reason.h"

#define WEIR_GUARD_KINDS 32u  // rows for enum weir_kind
#define WEIR_GUARD_QUEUES 256u // most queues of an interface that can have a socket
_Static_assert(WEIR_KIND_LIMIT <= WEIR_GUARD_KINDS, "kinds must fit the counter rows");

struct weir_guard_count {
	uint64_t frames;
	uint64_t events; // of publish frames; of a large event's fragments the first one counts it
	uint64_t bytes;  // UDP payload
};

// Every packet that the program sees is counted exactly once: passed, dropped by reason, or in the row of its kind
// (then it went to a socket). One row per CPU, written by the program alone, never reset.
struct weir_guard_totals {
	struct weir_guard_count kinds[WEIR_GUARD_KINDS];
	uint64_t dropped[WEIR_REASON_ROOM]; // frames, by enum weir_reason
	uint64_t passed;                    // packets left to the kernel
};
_Static_assert(sizeof(struct weir_guard_totals) == WEIR_GUARD_KINDS * 24 + WEIR_REASON_ROOM * 8 + 8, "totals layout");

// Read-only data of the program.
struct weir_guard_switches {
	uint16_t port_base; // host byte order
	uint16_t workers;   // ports [port_base, port_base + workers) are weir's
	uint8_t is_link_trusted; // frames with WEIR_FLAG_HEADER_ONLY are welcome
	uint8_t reserved[3];
	uint32_t topic_rows;  // of map `topics`: ids from this on, and 0, share row 0
};
_Static_assert(sizeof(struct weir_guard_switches) == 12, "switches layout");

#define WEIR_GUARD_MACS 8u
#define WEIR_GUARD_ADDRESSES 64u // of each family

// Who we are on the interface: weir's are packets to one of these MACs and one of these addresses. Network byte order.
struct weir_guard_own {
	uint32_t mac_count;
	uint32_t address4_count;
	uint32_t address6_count;
	uint16_t macs[WEIR_GUARD_MACS][4]; // the last of each is 0
	uint32_t addresses4[WEIR_GUARD_ADDRESSES];
	uint32_t addresses6[WEIR_GUARD_ADDRESSES][4];
};
_Static_assert(sizeof(struct weir_guard_own) == 12 + 64 + 256 + 1024, "own layout");

// Data of the program that control writes while it runs: the set that is not used, then `used`. A packet that is being
// looked at meanwhile is judged by the older or the newer one.
struct weir_guard_sets {
	uint32_t used; // 0 or 1
	struct weir_guard_own own[2];
};

#endif
