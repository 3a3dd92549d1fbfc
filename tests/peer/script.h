// What befalls a run and when: a text of lines "TIME WHAT [NUMBER]", TIME in seconds from the start ("3.5s") or in percent of
// the run ("20%"); WHAT is drop, twice, reorder (percent of datagrams), delay (milliseconds), calm (all of these 0), or
// restart.
#ifndef WEIR_PEER_SCRIPT_H
#define WEIR_PEER_SCRIPT_H

#include <stdint.h>

#include "tests/peer/link.h"

#define SCRIPT_STEPS 256u

struct peer_script_step {
	uint64_t at_ns;
	bool is_restart;
	struct peer_weather weather; // from then on
};

struct peer_script {
	uint32_t count;
	struct peer_script_step steps[SCRIPT_STEPS]; // by at_ns, as they stand
};

// What a client meets without a script of its own.
extern const char PEER_SCRIPT_USUAL[];

// text is a script of a run of that length. 0, or the number of the line that is wrong; *why says in what.
uint32_t peer_script_parse(struct peer_script *script, const char *text, uint64_t length_ns, const char **why);

#endif
