// Reads the test vectors: tests/vectors/*.hex, written by generate.py, whose opening says what a file holds. For tests of
// the codec, the router and the client. Aborts on a file it cannot read: a test must not pass over it.
#ifndef WEIR_VECTORS_LOAD_H
#define WEIR_VECTORS_LOAD_H

#include <glob.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/limits.h"
#include "wire/reason.h"

struct vector {
	char name[64];       // file name without .hex
	bool from_client;
	bool has_events;     // expected_events, shards and event_max are set
	enum weir_reason expected;        // of weir_frame_check()
	enum weir_reason expected_events; // of weir_events_check() for shard 1
	uint32_t shards;
	uint32_t event_max;
	uint32_t size;
	_Alignas(8) uint8_t bytes[WEIR_FRAME_MAX + 8];
};

#define VECTOR_DEMAND(condition, path) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "vector %s: not so: %s\n", path, #condition); \
			abort(); \
		} \
	} while (0)

static inline enum weir_reason vector_reason(const char *name, const char *path)
{
	for (unsigned i = 0; i < WEIR_REASON_COUNT; i++) {
		if (strcmp(weir_reason_name(i), name) == 0)
			return (enum weir_reason)i;
	}
	VECTOR_DEMAND(!"a known reason", path);
	return WEIR_R_NONE;
}

static inline void vector_load(struct vector *vector, const char *path)
{
	char line[256];
	char sender[16];
	char expected[32];
	char expected_events[32];
	memset(vector, 0, sizeof(*vector));
	const char *base = strrchr(path, '/') + 1;
	snprintf(vector->name, sizeof(vector->name), "%.*s", (int)(strlen(base) - 4), base);
	FILE *file = fopen(path, "r");
	VECTOR_DEMAND(file && fgets(line, sizeof(line), file) && line[0] == '#', path);
	VECTOR_DEMAND(fgets(line, sizeof(line), file), path);
	int fields = sscanf(line, "# %15s %31s events %u %u %31s", sender, expected, &vector->shards, &vector->event_max,
			    expected_events);
	VECTOR_DEMAND(fields == 2 || fields == 5, path);
	vector->from_client = strcmp(sender, "client") == 0;
	vector->expected = vector_reason(expected, path);
	vector->has_events = fields == 5;
	if (vector->has_events)
		vector->expected_events = vector_reason(expected_events, path);
	while (fgets(line, sizeof(line), file)) {
		for (const char *at = line; *at != '\n'; at += 2) {
			unsigned byte;
			VECTOR_DEMAND(sscanf(at, "%2x", &byte) == 1 && vector->size < sizeof(vector->bytes), path);
			vector->bytes[vector->size++] = (uint8_t)byte;
		}
	}
	fclose(file);
}

// Calls visit for each vector of the folder; returns how many there were.
static inline uint32_t vectors_visit(const char *folder, void (*visit)(const struct vector *vector, void *context),
				     void *context)
{
	char pattern[512];
	glob_t found;
	snprintf(pattern, sizeof(pattern), "%s/*.hex", folder);
	VECTOR_DEMAND(glob(pattern, 0, NULL, &found) == 0, pattern);
	struct vector *vector = malloc(sizeof(*vector));
	for (size_t i = 0; i < found.gl_pathc; i++) {
		vector_load(vector, found.gl_pathv[i]);
		visit(vector, context);
	}
	uint32_t count = (uint32_t)found.gl_pathc;
	free(vector);
	globfree(&found);
	return count;
}

#endif
