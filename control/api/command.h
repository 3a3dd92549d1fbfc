// What weirctl can ask of weir, as one table: the daemon answers by it, weirctl dispatches, helps and documents by it.
#ifndef WEIR_API_COMMAND_H
#define WEIR_API_COMMAND_H

#include <stdbool.h>

enum weir_command {
	WEIR_COMMAND_STATUS,
	WEIR_COMMAND_LEDGER,
	WEIR_COMMAND_PLAN,
	WEIR_COMMAND_APPLY,
	WEIR_COMMAND_VERSION,
	WEIR_COMMAND_COUNT
};

struct weir_command_spec {
	const char *name;
	const char *argument; // "FILE", or "" when there is none
	bool needs_argument;
	bool changes; // changes the router
	const char *help;
};

// [WEIR_COMMAND_COUNT]
extern const struct weir_command_spec WEIR_COMMANDS[];

// WEIR_COMMAND_COUNT when there is no such command.
enum weir_command weir_command_find(const char *name);

#endif
