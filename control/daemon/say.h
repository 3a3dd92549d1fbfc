// What the daemon tells people: one line a message on stderr, with level and monotonic time. Control thread.
#ifndef WEIR_DAEMON_SAY_H
#define WEIR_DAEMON_SAY_H

enum weir_say_level {
	WEIR_SAY_INFO,
	WEIR_SAY_WARNING,
	WEIR_SAY_ERROR,
};

// "weir[  12.345678] warning: ..."; the newline is added.
__attribute__((format(printf, 2, 3))) void weir_say(enum weir_say_level level, const char *format, ...);

#endif
