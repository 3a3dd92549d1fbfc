// Lines on stderr. The supervisor (systemd, a shell, a test) adds what it wants; weir keeps no log files. The log is the
// process's, as stderr is: the one thing here that is global. Control thread.
#include "control/daemon/say.h"

#include <stdarg.h>
#include <unistd.h>

static struct lib_log *log_lines;
static FILE *log_stream;

int weir_say_begin(void)
{
	int err = lib_log_open(&log_lines, "weir", LIB_LOG_TIMED, STDERR_FILENO);

	if (!err)
		log_stream = lib_log_stream(log_lines, LIB_LOG_WARNING, "DPDK: ");
	return err;
}

FILE *weir_say_stream(void)
{
	return log_stream;
}

void weir_say_end(void)
{
	if (log_stream)
		fclose(log_stream);
	lib_log_close(log_lines);
	log_stream = NULL;
	log_lines = NULL;
}

void weir_say(enum weir_say_level level, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	lib_log_vwrite(log_lines, (enum lib_log_level)level, format, arguments);
	va_end(arguments);
}
