// The job that weir and its peers are given, the same for all: events with a 64-bit key, 4 shards, every group sees every
// event, order checked. A peer is a table of functions; perf/peers/job.c publishes and receives through it and counts.
// Everything in one process, so that one clock measures; the thread that calls is the peer's only one, unless the peer's
// own library brings more: then each inlet still has one writer.
#ifndef WEIR_PERF_PEERS_JOB_H
#define WEIR_PERF_PEERS_JOB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "perf/histogram.h"

#define JOB_SHARDS 4u
#define JOB_KEYS 1024u      // of a shard
#define JOB_GROUPS_MAX 16u
#define JOB_PAYLOAD_MIN 32u // bytes
#define JOB_PAYLOAD_MAX 65536u

enum job_guarantee {
	JOB_AT_MOST_ONCE,  // sent and forgotten
	JOB_AT_LEAST_ONCE, // the producer hears of every event that the router has it; a consumer confirms what it handled
	JOB_DURABLE,       // the same, on disk
};

// What a payload begins with; its last eight bytes are the sequence once more.
struct job_head {
	uint64_t sequence; // in its shard, from 0
	uint64_t key;
	uint64_t send_ns;  // when it should have been sent
};

// One group's view of one shard. One thread writes.
struct job_inlet {
	_Atomic uint64_t next;     // sequence expected; what lies below came, or is lost
	_Atomic uint64_t wrong;    // not the event that was published
	_Atomic uint64_t repeated; // seen before
	_Atomic uint64_t lost;     // passed over
	const uint64_t *keys;      // of the shard
	struct weir_histogram latency;
} __attribute__((aligned(64)));

struct job {
	const char *address; // of the router, in the peer's own words
	enum job_guarantee guarantee;
	uint32_t groups;
	uint32_t payload_size;
	uint32_t frame_size;    // of peers that speak in frames
	uint32_t window;        // events under way, at most
	double rate;            // events/s; 0: as fast as it goes
	uint64_t record_from_ns; // latencies of events that should have been sent before are left out
	uint64_t keys[JOB_SHARDS][JOB_KEYS];
	uint64_t published[JOB_SHARDS];
	struct job_inlet inlets[JOB_GROUPS_MAX][JOB_SHARDS];
};

struct peer;

struct peer_ops {
	const char *name;
	struct peer *(*open)(struct job *job); // returns when events can be published and will be received; or job_fail()
	// The payload is copied before the call returns. false: there is no room now; receive and try again.
	bool (*publish)(struct peer *peer, uint32_t shard, const void *payload);
	void (*flush)(struct peer *peer, bool is_urgent); // hands on what is gathered; is_urgent: also what could wait for more
	bool (*receive)(struct peer *peer);    // gives what arrived to job_take(); whether something did. Never waits
	uint64_t (*confirmed)(struct peer *peer); // events that the router said it has; NULL: it says nothing
	void (*close)(struct peer *peer);
};

extern const struct peer_ops peer_weir, peer_relay, peer_nats, peer_jetstream, peer_redis, peer_redis_streams, peer_zmq,
	peer_rabbit;

static inline uint64_t job_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

// The time an arrival counts for: looked at only where latency is measured.
static inline uint64_t job_arrival_ns(const struct job *job)
{
	return job->rate > 0 ? job_now_ns() : 0;
}

// An event has arrived for a group. By the one thread that serves this group's shard.
void job_take(struct job *job, uint32_t group, const void *payload, uint32_t size, uint64_t now_ns);

// The same where the peer says which shard it is; another one than the key's is wrong.
void job_take_of(struct job *job, struct job_inlet *inlet, const void *payload, uint32_t size, uint64_t now_ns);

// "HOST:PORT" cut in two; exits on anything else.
void job_address(const struct job *job, char host[64], uint16_t *port);

// Prints "peer-load: " and the message, exits with 1.
void job_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
