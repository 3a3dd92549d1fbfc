// One word that handlers write and loops read.
#include "lib/stop.h"

#include <stddef.h>

// A handler has no other way to speak; written by it, read by the loops.
static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	stopped = number;
}

void lib_stop_catch(void)
{
	static const int SIGNALS[] = { SIGINT, SIGTERM, SIGQUIT, SIGHUP };
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESETHAND };
	for (size_t i = 0; i < sizeof(SIGNALS) / sizeof(*SIGNALS); i++) {
		struct sigaction before;
		sigaction(SIGNALS[i], NULL, &before);
		// Shells ignore INT and QUIT for what they start in the background; who sends one by hand means it.
		if (SIGNALS[i] != SIGHUP || before.sa_handler != SIG_IGN)
			sigaction(SIGNALS[i], &action, NULL);
	}
}

int lib_stop_signal(void)
{
	return stopped;
}

const volatile sig_atomic_t *lib_stop_word(void)
{
	return &stopped;
}
