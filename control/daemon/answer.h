// What the daemon answers to weirctl: JSON made from the running router and its counter rows. Keys are documented in
// weirctl(8) and stay; tests and scripts live on them. Control thread.
#ifndef WEIR_DAEMON_ANSWER_H
#define WEIR_DAEMON_ANSWER_H

#include <jansson.h>

#include "control/daemon/router.h"

// New references, NULL without memory.
// arguments (NULL: none): "topics": [names] shows these alone and all of their shards, "all": true all shards of all; else,
// when there are many, those in trouble.
json_t *weir_answer_status(const struct weir_router *router, const json_t *arguments);
// Its topics; what they give rise to is added to the warnings.
json_t *weir_answer_topics(const struct weir_router *router, const json_t *arguments, json_t *warnings);
json_t *weir_answer_ledger(const struct weir_router *router);
json_t *weir_answer_plan(const struct weir_machine *machine, const struct weir_topology *topology, const struct weir_plan *plan,
			 const struct weir_diff *diff);
json_t *weir_answer_outcome(const struct weir_outcome *outcome);

// Counters of a port's XDP guard; null for NULL.
json_t *weir_answer_xdp(const struct weir_router *router, struct weir_guard *guard);

// {"crc": 3}: the counters that are not 0, by name.
json_t *weir_answer_reasons(const uint64_t counters[]);
// A session's name: worker.number, null for none.
json_t *weir_answer_session(uint64_t name);
// "0x00c0ffee00c0ffee", or null for 0: 64-bit ids do not survive JSON numbers everywhere.
json_t *weir_answer_id(uint64_t id);

#endif
