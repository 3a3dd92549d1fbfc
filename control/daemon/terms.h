// Where terms begin. Applications fence what they write elsewhere by the term of their shard, so that terms must only grow:
// over restarts, reboots, clocks that step back, and groups that end and come again. The floor is above every term that
// can have been given; it is kept in a file, ahead of time, so that giving a term waits for no disk. Control thread.
//
// A (group, shard) takes at most WEIR_TERMS_BURST terms at once and one a second in the long run (core/message.h), so that
// time alone says how far they can have come, and 2^32 of them last for a hundred years. Without a file terms begin at the
// seconds since 2026, which grow as long as the wall clock does.
#ifndef WEIR_DAEMON_TERMS_H
#define WEIR_DAEMON_TERMS_H

#include <stdbool.h>
#include <stdint.h>

#define WEIR_TERMS_PATH_SIZE 512u

struct weir_terms {
	char path[WEIR_TERMS_PATH_SIZE]; // empty: not kept
	uint64_t base;     // of groups that are set up next
	uint64_t since_ns; // monotonic, when base was taken
	uint64_t written;  // floor in the file, 0: none
	bool is_taken;     // base was given to groups
	bool is_failing;   // said so already
	bool is_foreign;   // the file is not ours: it is left alone
};

// Reads the floor. `path` NULL: none is kept. What is wrong with it is a warning, never a reason not to start.
void weir_terms_open(struct weir_terms *terms, const char *path, uint64_t wall_ns, uint64_t now_ns);
// Where terms of groups begin that are set up now: above all that were given before. The file is ahead of it afterwards.
uint32_t weir_terms_take(struct weir_terms *terms, uint64_t now_ns);
// Keeps the file ahead. Once a second or so.
void weir_terms_renew(struct weir_terms *terms, uint64_t now_ns);

#endif
