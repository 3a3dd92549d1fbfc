// Every signal that would end the process without goodbye to sessions, and leave its socket, counters and XDP programs
// behind, is read from a descriptor instead. Left alone: those of faults, of debuggers and of profilers.
#include "control/daemon/signals.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <unistd.h>

int weir_signals_open(void)
{
	static const int TAKEN[] = { SIGHUP,  SIGINT,    SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
				     SIGALRM, SIGVTALRM, SIGPOLL, SIGPWR,  SIGXCPU, SIGSTKFLT };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(TAKEN) / sizeof(*TAKEN); i++)
		sigaddset(&set, TAKEN[i]);
	for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
		sigaddset(&set, number);
	// A file that may not grow, or a reader that is gone, is an error of the write.
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return -errno;
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int weir_signals_take(int fd)
{
	struct signalfd_siginfo signal;

	return read(fd, &signal, sizeof(signal)) == sizeof(signal) ? (int)signal.ssi_signo : 0;
}
