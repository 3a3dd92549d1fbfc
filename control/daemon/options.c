// Command line of the daemon: few switches, because the topology file says the rest. What stands here overrides the file,
// also at every later apply. Main thread, before anything else.
#include "control/daemon/options.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/usage.h"
#include "wire/codec.h"

static const char USAGE[] = "usage: weir --config FILE [--instance NAME] [--poll adaptive|always] [--socket PATH]\n"
			    "       weir --config FILE --check [--machine DESCRIPTION]\n";

static const char HELP[] = "Routes events as the topology FILE says, in the foreground, until SIGTERM or SIGINT.\n"
			   "\n"
			   "  --config FILE        topology, see weir.yaml(5)\n"
			   "  --instance NAME      name of this router; overrides the file's\n"
			   "  --poll MODE          adaptive (sleep when idle) or always; overrides the file's\n"
			   "  --socket PATH        control socket; default /run/weir/<instance>.sock\n"
			   "  --check              read the file, plan the placement, print it and exit\n"
			   "  --machine TEXT       with --check: plan for an hwloc XML file or \"synthetic:...\"\n"
			   "  --help, -h, --version\n"
			   "\n"
			   "weirctl(8) talks to a running weir.\n";

enum {
	OPTION_CONFIG = 256,
	OPTION_INSTANCE,
	OPTION_POLL,
	OPTION_SOCKET,
	OPTION_CHECK,
	OPTION_MACHINE
};

static const struct option OPTIONS[] = {
	{ "config", required_argument, NULL, OPTION_CONFIG },
	{ "instance", required_argument, NULL, OPTION_INSTANCE },
	{ "poll", required_argument, NULL, OPTION_POLL },
	{ "socket", required_argument, NULL, OPTION_SOCKET },
	{ "check", no_argument, NULL, OPTION_CHECK },
	{ "machine", required_argument, NULL, OPTION_MACHINE },
	{ 0 },
};

static_assert(WEIR_VERSION == 1, "what --version says of the protocol");

static void help(FILE *out)
{
	fprintf(out, "%s\n%s", USAGE, HELP);
}

static const struct lib_program PROGRAM = {
	.name = "weir",
	.version = WEIR_VERSION_TEXT ", protocol 1",
	.help = help,
	.options = OPTIONS,
	.has_commands = true, // it has none, but people try `weir help`
};

static int complain(const char *object, const char *reason, const char *fix)
{
	lib_usage_wrong(&PROGRAM, object, reason, fix);
	return -EINVAL;
}

static int take_poll(struct weir_options *options, const char *value)
{
	if (strcmp(value, "adaptive") == 0)
		options->poll = WEIR_POLL_ADAPTIVE;
	else if (strcmp(value, "always") == 0)
		options->poll = WEIR_POLL_ALWAYS;
	else
		return complain("--poll", "it is adaptive or always", NULL);
	return 0;
}

static int take_instance(struct weir_options *options, const char *value)
{
	char name[WEIR_NAME_SIZE] = { 0 };

	if (strlen(value) >= sizeof(name))
		return complain("--instance", "a name is 1 to 63 of A-Z a-z 0-9 . _ -", NULL);
	memcpy(name, value, strlen(value));
	if (!weir_name_is_valid(name))
		return complain("--instance", "a name is 1 to 63 of A-Z a-z 0-9 . _ -", NULL);
	options->instance = value;
	return 0;
}

static int take(struct weir_options *options, int option, const char *value)
{
	switch (option) {
	case OPTION_CONFIG:
		options->config = value;
		return 0;
	case OPTION_INSTANCE:
		return take_instance(options, value);
	case OPTION_POLL:
		return take_poll(options, value);
	case OPTION_SOCKET:
		options->socket = value;
		return 0;
	case OPTION_CHECK:
		options->is_check = true;
		return 0;
	default:
		options->machine = value;
		return 0;
	}
}

int weir_options_parse(struct weir_options *options, int count, char **words)
{
	int option;

	*options = (struct weir_options){ .poll = -1 };
	while ((option = lib_usage_next(&PROGRAM, count, words, NULL)) >= 0) {
		int result = take(options, option, optarg);

		if (result != 0)
			return result;
	}
	if (option != LIB_OPTIONS_END)
		return option == LIB_OPTIONS_DONE ? 1 : -EINVAL;
	if (optind < count)
		return complain(words[optind], "it takes options alone", NULL);
	if (!options->config)
		return complain("--config", "it is missing", "weir --config FILE");
	if (options->machine && !options->is_check)
		return complain("--machine", "it goes with --check", NULL);
	return 0;
}
