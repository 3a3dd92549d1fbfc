// A consumer as a test needs it: joins, answers assign and revoke, takes deliver frames in order into an array, and reports
// what it is told to. Everything goes through the rig's ports as frames.
#ifndef WEIR_TESTS_UNIT_CORE_CONSUMER_H
#define WEIR_TESTS_UNIT_CORE_CONSUMER_H

#include "tests/unit/core/rig.h"

#define CONSUMER_SHARDS 48
#define CONSUMER_EVENTS 4096

struct consumer_shard {
	uint32_t term; // 0: never had it
	uint32_t stream;
	bool is_held;
	uint64_t from;
	uint64_t redelivered_to;
	uint64_t received_to;
	uint64_t settled_to;
	uint64_t limit;
	uint64_t charged;
	uint32_t fragment_to;
	bool is_behind;   // something came that lies ahead: a gap
	bool is_asked;    // something came that is known
	uint32_t marked;  // events received with the mark
	uint32_t gaps;    // offsets skipped
	uint32_t assigns; // times told
	uint32_t revokes;
};

struct consumer {
	struct rig_client client;
	struct consumer_shard shards[CONSUMER_SHARDS];
	uint32_t seen;     // frames of the worker looked at
	uint64_t credit;   // granted beyond charged; default 1 MiB
	bool is_deaf;      // looks at nothing
	bool (*passes)(const struct weir_frame_header *frame, uint32_t size); // the path carries it; NULL: everything
	bool keeps;        // does not answer revoke
	bool has_left;
	uint64_t asked;  // number of the last join or leave
	uint64_t member; // of the membership
	uint8_t assembly[64 * 1024];
	uint64_t first_payload[CONSUMER_SHARDS][CONSUMER_EVENTS]; // by offset: first 8 bytes of the payload
};

// Connects and joins the rig's group.
struct consumer *consumer_create(struct rig *rig, uint16_t worker, uint16_t number, uint32_t frame_size);
void consumer_join(struct consumer *consumer);
void consumer_leave(struct consumer *consumer);
void consumer_bye(struct consumer *consumer);
// Looks at what came since, answers; true when there was anything.
bool consumer_look(struct consumer *consumer);
void consumer_report(struct consumer *consumer, uint16_t shard, uint16_t flags);
// Settles everything received on all shards and reports.
void consumer_settle_all(struct consumer *consumer);
// Lets rig and consumers talk until all are silent.
void consumers_run(struct rig *rig, struct consumer **consumers, uint32_t count);
uint32_t consumer_held(const struct consumer *consumer);

#endif
