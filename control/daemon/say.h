// What the daemon tells people: one line a message on stderr, with level and monotonic time. A stderr that takes nothing
// (a log shipper that is stuck, a stopped terminal) holds nobody up; lib/log.h says what becomes of its lines.
#ifndef WEIR_DAEMON_SAY_H
#define WEIR_DAEMON_SAY_H

#include "lib/log.h"

enum weir_say_level {
	WEIR_SAY_INFO = LIB_LOG_INFO,
	WEIR_SAY_WARNING = LIB_LOG_WARNING,
	WEIR_SAY_ERROR = LIB_LOG_ERROR,
};

// From here on nobody waits for stderr. Before it, and where it fails, lines are written at once. 0 or -errno.
int weir_say_begin(void);
// What libraries say on their own, DPDK for one: lines of the log. NULL: they use stderr.
FILE *weir_say_stream(void);
// Gives the last lines half a second. Nobody uses the stream any more.
void weir_say_end(void);

// "weir[  12.345678] warning: ..."; the newline is added.
__attribute__((format(printf, 2, 3))) void weir_say(enum weir_say_level level, const char *format, ...);

#endif
