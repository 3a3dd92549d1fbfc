// What signals ask of the daemon. They are read from a descriptor like anything else. Main thread, before any other starts.
#ifndef WEIR_DAEMON_SIGNALS_H
#define WEIR_DAEMON_SIGNALS_H

// Blocks them for every thread that starts from now on. The descriptor, readable when one came, or -errno.
int weir_signals_open(void);
// The next one that came: SIGHUP applies the file again, any other ends the router. 0: none.
int weir_signals_take(int fd);

#endif
