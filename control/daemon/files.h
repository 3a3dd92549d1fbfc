// How many descriptors the process may have and has. Control thread.
#ifndef WEIR_DAEMON_FILES_H
#define WEIR_DAEMON_FILES_H

#include <stdint.h>

#define WEIR_FILES_SPARE 16u // that an apply leaves, for clients of the control socket and lanes

// Raises the limit as far as is permitted: each shard takes one, each local client four.
void weir_files_raise_limit(void);
uint64_t weir_files_limit(void);
uint64_t weir_files_used(void);

#endif
