// What went wrong while the machine side starts, in the four parts every message of weir has: object, action, reason, fix.
// Filled by ports, EAL and dataplane on the control thread, printed by the daemon. Plain data.
#ifndef WEIR_IO_FAULT_H
#define WEIR_IO_FAULT_H

struct weir_fault {
	char object[160]; // what it is about: "port front (udp 0.0.0.0:9347)"
	char action[96];  // what was tried: "bind the socket of worker 0"
	char reason[320]; // why it failed
	char fix[320];    // what to do about it
};

// Fills *fault (may be NULL) and returns `error` (negative), so that callers can return it. `reason` is a format; an empty
// reason becomes strerror(-error). Texts that are too long are cut.
__attribute__((format(printf, 6, 7))) int weir_fault_set(struct weir_fault *fault, int error, const char *object,
							 const char *action, const char *fix, const char *reason, ...);

#endif
