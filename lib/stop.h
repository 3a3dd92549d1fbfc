// Signals that ask a tool to end: it notes them and ends in order. The second one of a kind ends it at once. Process-wide, as
// signals are; the handlers are installed without SA_RESTART, so that a call that waits returns -EINTR.
#ifndef LIB_STOP_H
#define LIB_STOP_H

#include <signal.h>

// INT, TERM, QUIT; HUP unless it is ignored already (nohup).
void lib_stop_catch(void);
// The signal that came, 0: none.
int lib_stop_signal(void);
// Where it is written, for those who are given a place to look at.
const volatile sig_atomic_t *lib_stop_word(void);

#endif
