// Signals that ask to end, each in a child of its own: the first is noted, the second ends it.
#include "lib/stop.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "lib/clock.h"

static int status_of(pid_t child)
{
	int status = -1;
	cr_assert_eq(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Test(stop, the_first_signal_is_noted_and_the_second_of_its_kind_ends_it)
{
	static const int SIGNALS[] = { SIGINT, SIGTERM, SIGQUIT, SIGHUP };
	for (size_t i = 0; i < sizeof(SIGNALS) / sizeof(*SIGNALS); i++) {
		pid_t child = fork();
		if (child == 0) {
			lib_stop_catch();
			if (lib_stop_signal())
				_exit(1);
			raise(SIGNALS[i]);
			if (lib_stop_signal() != SIGNALS[i] || *lib_stop_word() != SIGNALS[i])
				_exit(2);
			raise(SIGNALS[i]);
			_exit(3);
		}
		cr_expect_eq(status_of(child), 128 + SIGNALS[i], "signal %d", SIGNALS[i]);
	}
}

// nohup means it; what a shell does to programs in the background does not.
Test(stop, an_ignored_hangup_stays_ignored_and_an_ignored_interrupt_does_not)
{
	pid_t child = fork();
	if (child == 0) {
		signal(SIGHUP, SIG_IGN);
		signal(SIGINT, SIG_IGN);
		lib_stop_catch();
		raise(SIGHUP);
		if (lib_stop_signal())
			_exit(1);
		raise(SIGINT);
		_exit(lib_stop_signal() == SIGINT ? 0 : 2);
	}
	cr_expect_eq(status_of(child), 0);
}

Test(stop, a_deadline_is_over_when_its_time_is_over)
{
	cr_expect_eq(lib_deadline_left_ms(lib_clock_ns()), 0);
	cr_expect_eq(lib_deadline_left_ms(0), 0);
	cr_expect_eq(lib_deadline_left_ms(UINT64_MAX), INT_MAX);
	// Rounded up: never 0 while something is left, or poll() would spin.
	int left_ms = lib_deadline_left_ms(lib_deadline_in_ms(1000000));
	cr_expect_gt(left_ms, 900000);
	cr_expect_leq(left_ms, 1000000);
}
