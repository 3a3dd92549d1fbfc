// What those may cost who have no session: how often a source is answered, by what it asks. Each kind of question has a budget
// of its own, each source a share of its own, so that neither a flood of hellos nor one noisy host keeps others from being
// told that their session is gone. Sources are hashed with a secret into a fixed table: two that meet in a row share it, and
// nobody can choose to. An IPv6 host counts with its whole /64. Engine's thread.
#ifndef WEIR_CORE_STRANGERS_H
#define WEIR_CORE_STRANGERS_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/core/path.h"

#define WEIR_STRANGER_ROWS 1024u

enum weir_stranger_question {
	WEIR_STRANGER_HELLO,      // CHALLENGE, or ERROR: 2,000 a second, 4,096 at once, for many clients begin on one host
	WEIR_STRANGER_NO_SESSION, // ERROR no-session: 1,000 a second, 100 at once
	WEIR_STRANGER_MOVED,      // CHALLENGE to a session's frame from another address: as many
	WEIR_STRANGER_QUESTIONS,
};

struct weir_strangers {
	uint64_t secret[2];
	uint64_t free_ns[WEIR_STRANGER_QUESTIONS][WEIR_STRANGER_ROWS]; // when all that was answered is paid for
};

void weir_strangers_init(struct weir_strangers *strangers, const uint64_t secret[2]);
// Whether the source of the path is answered once more; counts it when it is.
bool weir_strangers_may_ask(struct weir_strangers *strangers, const struct weir_path *path,
			    enum weir_stranger_question question, uint64_t now_ns);

#endif
