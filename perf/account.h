// What one consumer process received, event for event, in a file that is its memory: mapped and shared, so that what was
// counted outlives a SIGKILL, and so that `weirload verdict` can merge several consumers, dead or alive. Kept small by
// runs: a run is a stretch of a key's sequences, or of a shard's offsets, that came without gap or repetition. One
// process writes; anybody may read at any time.
//
// The file is sparse: header, shards, keys (a dense table per producer), closed runs.
#ifndef WEIR_PERF_ACCOUNT_H
#define WEIR_PERF_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "perf/histogram.h"

#define WEIR_ACCOUNT_MAGIC 0x3254434352494557ull // "WEIRCCT2"
#define WEIR_ACCOUNT_SHARDS 8192u     // (shard, incarnation) pairs; more: -ENOSPC
#define WEIR_ACCOUNT_PRODUCERS 64u    // more: -ENOSPC
#define WEIR_ACCOUNT_KEYS (1u << 18)  // keys of one producer; more: -ENOSPC
#define WEIR_ACCOUNT_RUNS (1u << 23)  // closed runs; more: -ENOSPC

// Offsets [first, next) of one shard, all marked redelivered or none.
struct weir_account_shard {
	uint64_t incarnation;
	uint64_t first;
	uint64_t next;   // first == next: nothing yet
	uint64_t events;
	uint32_t shard;
	uint32_t term;
	uint32_t is_marked;
	uint32_t in_use;
};

// Sequences [first, next) of one (producer, key), found at offsets from first_offset to last_offset.
struct weir_account_key {
	uint64_t first;
	uint64_t next;
	uint64_t first_offset;
	uint64_t last_offset;
};

enum weir_account_run_kind {
	WEIR_RUN_OFFSETS = 1,
	WEIR_RUN_SEQUENCES = 2,
};

struct weir_account_run {
	uint32_t kind;
	uint32_t is_marked;  // offsets only
	uint32_t owner;      // offsets: index of the shard; sequences: index of the producer
	uint32_t key;        // sequences only
	uint64_t first;
	uint64_t next;
	uint64_t first_offset; // sequences only
	uint64_t last_offset;
};

struct weir_account_header {
	uint64_t magic;
	uint64_t size;
	char topic[64];
	char group[64];
	uint64_t events;      // handed out
	uint64_t bytes;       // payload of them
	uint64_t redelivered; // of them with the mark
	uint64_t back;        // unmarked, but behind what came before in its shard's term: repeated or reordered
	uint64_t again;       // marked, but handed out before in the same term
	uint64_t damaged;     // payload or key is not what a producer wrote
	uint64_t first_ns;    // CLOCK_MONOTONIC of the first event, and of the last
	uint64_t last_ns;
	uint32_t shard_count;
	uint32_t producer_count;
	uint32_t run_count;
	uint32_t is_full;     // a limit was reached: the account is worth nothing
	uint32_t is_complete; // the process ended as it should
	uint32_t reserved;
	uint32_t producers[WEIR_ACCOUNT_PRODUCERS];   // their numbers
	uint32_t key_limits[WEIR_ACCOUNT_PRODUCERS];  // highest key index + 1
	struct weir_histogram latency;
	struct weir_account_shard shards[WEIR_ACCOUNT_SHARDS];
};

struct weir_account {
	struct weir_account_header *header; // start of the mapping
	struct weir_account_key *keys;      // [PRODUCERS][KEYS]
	struct weir_account_run *runs;
	uint32_t last_producer; // index, most likely the next one's
};

// One event as it was handed out.
struct weir_account_event {
	uint64_t incarnation;
	uint64_t offset;
	uint64_t sequence;
	uint32_t shard;
	uint32_t term;
	uint32_t producer;
	uint32_t key;
	bool is_marked;
};

// Creates or overwrites the file and maps it; path NULL: memory that forked processes
// share. 0 or -errno.
int weir_account_create(struct weir_account *account, const char *path, const char *topic, const char *group);
// Maps an existing file to read it. -EINVAL when it is none.
int weir_account_open(struct weir_account *account, const char *path);
void weir_account_close(struct weir_account *account);

// 0, or -ENOSPC when a limit was reached (header.is_full).
int weir_account_add(struct weir_account *account, const struct weir_account_event *event);

static inline struct weir_account_key *weir_account_key_of(const struct weir_account *account, uint32_t producer, uint32_t key)
{
	return &account->keys[(uint64_t)producer * WEIR_ACCOUNT_KEYS + key];
}

#endif
