// A recorded trace to replay: when events came, of which key, how large. Read before the load begins into memory that all
// producers share; what was recorded as payload is replaced by one that can be accounted for, of the same size (32 bytes at
// least). Formats, told apart by their first bytes:
//
//   pcap     weir's publish frames in a capture of Ethernet, Linux cooked, loopback or raw IP (tcpdump -w)
//   JSON     one object a line, as `weircat subscribe --json` writes: "append_ns", "key", "payload"
//   records  4 bytes of length, little-endian, and that many bytes: 8 bytes of time in ns, 8 bytes of key, the payload
#ifndef WEIR_PERF_TRACE_H
#define WEIR_PERF_TRACE_H

#include <stdint.h>

#include "control/model/trouble.h"

#define WEIR_TRACE_EVENTS_MAX (1u << 26)
#define WEIR_TRACE_KEYS_MAX (1u << 18) // those of an account

struct weir_trace_event {
	uint64_t time_ns; // since the first event
	uint32_t key;     // index into keys
	uint32_t size;    // payload, as it will be sent
};

struct weir_trace {
	struct weir_trace_event *events; // by time
	uint64_t *keys; // as recorded, so that events go to the shards they went to
	uint32_t count;
	uint32_t key_count;
	uint64_t length_ns; // from the first event to where the next round begins
	uint64_t skipped;   // packets or lines that hold no event
	uint32_t *slots;    // key -> index + 1, private
	uint32_t slot_count;
};

// 0; -EINVAL or -errno with *trouble; -ENOMEM with *trouble. Nothing to free after a failure.
int weir_trace_load(struct weir_trace *trace, const char *file, struct weir_trouble *trouble);
void weir_trace_fini(struct weir_trace *trace);

#endif
