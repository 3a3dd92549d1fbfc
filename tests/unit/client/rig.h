// A client core on a bench: the test is the router, frame by frame, and the clock. What the core sends is kept; what
// the test gives it is sealed like a router's.
#ifndef WEIR_TESTS_CLIENT_RIG_H
#define WEIR_TESTS_CLIENT_RIG_H

#include <string.h>

#include "client/core.h"
#include "wire/codec.h"
#include "wire/key.h"

#define RIG_MS 1000000ull
#define RIG_SESSION 0x5e55ull
#define RIG_ROUTER 0x40ull
#define RIG_TOPIC 7u
#define RIG_GROUP 3u
#define RIG_FRAMES 8192u

struct rig_frame {
	uint64_t at_ns;
	size_t size;
	union {
		struct weir_frame_header header;
		uint8_t bytes[WEIR_FRAME_MAX];
	};
};

struct rig {
	struct weir_core *core;
	uint64_t now_ns;
	uint64_t session, router;
	uint32_t frame_size, window_frames;
	uint16_t deliver_overhead;
	uint64_t offers;
	uint32_t shards, event_max;
	uint64_t opened_next, opened_limit; // what streams are opened with
	uint64_t incarnation;
	uint64_t member; // of the consumer that joined last
	uint8_t ack_min;
	bool is_full; // the output takes nothing
	uint32_t count; // frames sent since the last rig_clear()
	struct rig_frame *frames;
};

void rig_init(struct rig *rig, const struct weir_core_options *options);
void rig_fini(struct rig *rig);
void rig_clear(struct rig *rig);

// Polls now; what is sent is added to frames.
void rig_poll(struct rig *rig);
// Lets time pass, polling at every deadline.
void rig_pass(struct rig *rig, uint64_t ns);
// The n-th frame of the kind since the last clear, NULL: there is none. Every frame was checked as a router would.
const struct weir_frame_header *rig_sent(const struct rig *rig, enum weir_kind kind, uint32_t nth);
uint32_t rig_count(const struct rig *rig, enum weir_kind kind);

// Seals and gives; does not poll.
void rig_give(struct rig *rig, struct weir_frame_header header, const void *body, size_t size);

// Plays challenge and welcome.
void rig_connect(struct rig *rig);
// Answers metadata and opens of what was sent, with the rig's values: stream handle = 100 + shard.
void rig_answer(struct rig *rig);
// A connected producer with its streams open.
struct weir_producer *rig_producer(struct rig *rig, const struct weir_producer_options *options);
void rig_ack(struct rig *rig, uint16_t shard, uint64_t next, uint64_t limit, uint16_t flags, uint64_t have);
void rig_refuse(struct rig *rig, uint16_t shard, enum weir_reason reason, uint64_t sequence, uint32_t count);
// Publishes one event of the shard. Payload: `size` bytes of `fill`.
int rig_publish(struct weir_producer *producer, uint32_t shards, uint16_t shard, uint32_t size, uint8_t fill);
// Options of a producer that sends each event in a frame of its own.
extern const struct weir_producer_options RIG_ONE_EACH;
// `count` events of shard 1 and 64 bytes, the i-th filled with i; polls.
void rig_publish_frames(struct rig *rig, struct weir_producer *producer, uint32_t count);
struct weir_producer_counts rig_counts(const struct weir_producer *producer);
uint64_t rig_round_trip_ns(struct rig *rig); // smoothed

// A connected member of the group.
struct weir_consumer *rig_consumer(struct rig *rig, const struct weir_consumer_options *options);
// The router's answer to a join, and its word that a membership is over.
void rig_joined(struct rig *rig, uint64_t request, uint32_t group);
void rig_left(struct rig *rig, uint64_t member);
void rig_assign(struct rig *rig, uint16_t shard, uint32_t term, uint64_t from, uint64_t redelivered_to);
// A deliver frame of `count` events [from, from + count) with `size` bytes of payload, each byte its offset;
// to = from + count + skipped.
struct rig_delivery {
	uint16_t shard;
	uint32_t term;
	uint64_t from;
	uint32_t count, skipped, size;
	uint64_t charge_from;
	uint16_t flags;
};
uint32_t rig_deliver(struct rig *rig, const struct rig_delivery *delivery); // returns the frame's charge
void rig_revoke(struct rig *rig, uint16_t shard, uint32_t term);
// Last report entry sent for the shard; NULL: none since the last clear.
const struct weir_report_entry *rig_report(const struct rig *rig, uint16_t shard);

#endif
