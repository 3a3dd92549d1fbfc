// The file behind the counter rows (dataplane/core/counters.h): made by the router, mapped read-only by tools. Rows are
// handed out by control before their writer starts and taken back after it let go; a freed row reads as not in use.
#ifndef WEIR_IO_COUNTERS_H
#define WEIR_IO_COUNTERS_H

#include <stdint.h>

#include "dataplane/core/counters.h"
#include "dataplane/io/fault.h"

struct weir_counters;

struct weir_counters_config {
	const char *path;     // usually on tmpfs; a file left by a dead router is replaced, nothing else is
	uint32_t worker_rows;
	uint32_t shard_rows;  // most shards of all topics together
	uint32_t group_rows;  // most (group, shard) pairs together
	uint64_t router;      // random per life
};

// Control thread. Creates the file, readable by all, under a temporary name, and renames it into place.
int weir_counters_create(struct weir_counters **counters, const struct weir_counters_config *config, struct weir_fault *fault);
// Removes the file.
void weir_counters_destroy(struct weir_counters *counters);

// Zeroed row with in_use set, its pages taken and touched. NULL: errno is EOVERFLOW when all are taken, else it says why the
// file cannot grow.
struct weir_worker_row *weir_counters_worker(struct weir_counters *counters, uint32_t worker);
struct weir_shard_row *weir_counters_shard_get(struct weir_counters *counters);
struct weir_group_row *weir_counters_group_get(struct weir_counters *counters);
void weir_counters_shard_put(struct weir_counters *counters, struct weir_shard_row *row);
void weir_counters_group_put(struct weir_counters *counters, struct weir_group_row *row);

// ---- Tools: any process ----
struct weir_counters_view {
	const struct weir_counters_header *header;
	const struct weir_worker_row *workers; // [header->worker_rows]
	const struct weir_shard_row *shards;   // [header->shard_rows], those with head.in_use
	const struct weir_group_row *groups;   // [header->group_rows], those with head.in_use
};

// Maps read-only and checks magic, version and that all offsets lie inside. -ENOENT, -EACCES, -EPROTO (not a counters
// file, or of another version), -errno.
int weir_counters_open(struct weir_counters_view *view, const char *path);
void weir_counters_close(struct weir_counters_view *view);
// The router's own mapping, as tools see it.
struct weir_counters_view weir_counters_look(const struct weir_counters *counters);

#endif
