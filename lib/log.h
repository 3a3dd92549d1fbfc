// Log lines for a descriptor whose reader may have stopped: a full pipe, a terminal after Ctrl-S, a frozen disk. Who logs never
// waits for it: lines go through a bounded buffer to a thread of their own. What finds no room is dropped and counted, and
// a line says how many, where they would have stood.
#ifndef LIB_LOG_H
#define LIB_LOG_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

enum lib_log_level {
	LIB_LOG_INFO,
	LIB_LOG_WARNING,
	LIB_LOG_ERROR,
};

enum lib_log_style {
	LIB_LOG_TIMED, // "NAME[SECONDS.MICROSECONDS] LEVEL: ..." of CLOCK_MONOTONIC
	LIB_LOG_PLAIN, // "NAME: ...", what tools say
};

#define LIB_LOG_LINE_MAX 2048    // longer lines are cut
#define LIB_LOG_BUFFER (256 << 10) // bytes that wait for the descriptor
#define LIB_LOG_END_MS 500       // what the last lines get at the end

struct lib_log;

// name opens each line, fd gets them; both must outlive the log. 0, -ENOMEM, -EAGAIN (no thread).
int lib_log_open(struct lib_log **log, const char *name, enum lib_log_style style, int fd);
// The newline is added. Any thread. Without a log (NULL) the line goes to standard error at once, with the time.
__attribute__((format(printf, 3, 4)))
void lib_log_write(struct lib_log *log, enum lib_log_level level, const char *format, ...);
void lib_log_vwrite(struct lib_log *log, enum lib_log_level level, const char *format, va_list arguments);
// A stream for libraries that write on their own: each of its lines becomes one of the log, behind `prefix`, which must outlive
// it. Any thread. The caller closes it before the log. NULL: no memory.
FILE *lib_log_stream(struct lib_log *log, enum lib_log_level level, const char *prefix);
// Lines that never reached the descriptor: no room, or the write failed.
uint64_t lib_log_dropped(struct lib_log *log);
// Gives what waits LIB_LOG_END_MS to be written, then ends. Nobody may log any more. A write that is stuck then ends with the
// process. NULL: nothing.
void lib_log_close(struct lib_log *log);

#endif
