// Lines on stderr, each written with one call so that lines of several processes do not mix. The supervisor (systemd, a
// shell, a test) adds what it wants; weir keeps no log files. Control thread.
#include "control/daemon/say.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

void weir_say(enum weir_say_level level, const char *format, ...)
{
	static const char *const LEVELS[] = { "info", "warning", "error" };
	struct timespec now;
	char line[2048];
	va_list arguments;
	int used;

	clock_gettime(CLOCK_MONOTONIC, &now);
	used = snprintf(line, sizeof(line), "weir[%6lld.%06ld] %s: ", (long long)now.tv_sec, now.tv_nsec / 1000, LEVELS[level]);
	va_start(arguments, format);
	used += vsnprintf(line + used, sizeof(line) - (size_t)used, format, arguments);
	va_end(arguments);
	if ((size_t)used >= sizeof(line) - 1)
		used = sizeof(line) - 2;
	line[used++] = '\n';
	// A closed stderr is no reason to stop routing.
	(void)!write(STDERR_FILENO, line, (size_t)used);
}
