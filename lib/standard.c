// Descriptors 0 to 2 at the begin of a program and standard output at its end.
#include "lib/standard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void lib_standard_open(void)
{
	static const int MODES[] = { O_WRONLY, O_RDONLY, O_RDWR }; // stderr takes what it is given: there is nobody to tell
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		// The lowest free number is this one, for those below are open.
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", MODES[fd]) != fd)
			_exit(126);
	}
	signal(SIGPIPE, SIG_IGN);
}

int lib_output_flush(void)
{
	if (fflush(stdout))
		return errno ? -errno : -EIO;
	return ferror(stdout) ? -EIO : 0;
}

int lib_output_end(const char *program, int status, int failed)
{
	int error = lib_output_flush();
	// Some file systems say only here that there is no room. A second end has nothing to close.
	if (!error && close(STDOUT_FILENO) && errno != EBADF)
		error = -errno;
	if (!error)
		return status;
	fprintf(stderr, "%s: standard output: cannot write it: %s. Fix: %s\n", program, strerror(-error),
		error == -EPIPE ? "let its reader read all of it" : "give it a place with room");
	return status ? status : failed;
}
