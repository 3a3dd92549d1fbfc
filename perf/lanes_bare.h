// What two cores do with a lane's events when nothing is promised: one thread packs events into frames by the shard of their
// key, another copies each frame behind the head of its shard's log, the first reads them there and checks key, order and what
// they hold. No sessions, credit, terms, accounts: the bound of tools/bench lanes on this machine.
#ifndef WEIR_PERF_LANES_BARE_H
#define WEIR_PERF_LANES_BARE_H

#include <stdint.h>

#define WEIR_BARE_KEYS 1024u

struct weir_bare {
	int core;              // of the copying thread; the caller's is its own business
	uint32_t frame_events; // 1 or more; all of a frame take at most 4 KiB
	uint32_t payload_size; // bytes, 8 or more, a multiple of 8
	uint32_t outstanding;  // frames, at most what a log of 1 MiB holds
	uint64_t duration_ns;
};

// Runs on the caller's thread and one more, which it joins. *rate: events per second. -EINVAL, -ENOMEM, -EAGAIN no thread,
// -EIO an event was wrong.
int weir_bare_run(const struct weir_bare *shape, double *rate);

// Time a cache line takes from the caller's core to the other and back, ns: the least of many means. -EAGAIN no thread.
int weir_bare_distance(int core, double *round_trip_ns);

#endif
