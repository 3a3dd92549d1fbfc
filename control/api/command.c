// The table of commands. A new command begins here, gets its answer in control/daemon/answer.c and its face in
// control/ctl/show.c; neither side knows names of its own.
#include "control/api/command.h"

#include <string.h>

const struct weir_command_spec WEIR_COMMANDS[] = {
	[WEIR_COMMAND_STATUS] = { "status", "", false, false, "placement, workers, ports, topics and groups" },
	[WEIR_COMMAND_LEDGER] = { "ledger", "", false, false, "where every event went, and whether it adds up" },
	[WEIR_COMMAND_PLAN] = { "plan", "[FILE]", false, false, "what runs where and why; with FILE: what apply would do" },
	[WEIR_COMMAND_APPLY] = { "apply", "FILE", true, true, "change topics, groups, limits and shard homes while running" },
	[WEIR_COMMAND_VERSION] = { "version", "", false, false, "versions of weirctl, weir and the wire protocol" },
};

enum weir_command weir_command_find(const char *name)
{
	int command = 0;

	while (command < WEIR_COMMAND_COUNT && strcmp(WEIR_COMMANDS[command].name, name) != 0)
		command++;
	return command;
}
