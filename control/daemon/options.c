// Command line of the daemon: few switches, because the topology file says the rest. What stands here overrides the file,
// also at every later apply. Main thread, before anything else.
#include "control/daemon/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

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
			   "  --help, --version\n"
			   "\n"
			   "weirctl(8) talks to a running weir.\n";

enum {
	OPTION_CONFIG = 256,
	OPTION_INSTANCE,
	OPTION_POLL,
	OPTION_SOCKET,
	OPTION_CHECK,
	OPTION_MACHINE,
	OPTION_HELP,
	OPTION_VERSION
};

static const struct option OPTIONS[] = {
	{ "config", required_argument, NULL, OPTION_CONFIG },
	{ "instance", required_argument, NULL, OPTION_INSTANCE },
	{ "poll", required_argument, NULL, OPTION_POLL },
	{ "socket", required_argument, NULL, OPTION_SOCKET },
	{ "check", no_argument, NULL, OPTION_CHECK },
	{ "machine", required_argument, NULL, OPTION_MACHINE },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ "version", no_argument, NULL, OPTION_VERSION },
	{ 0 },
};

static int complain(const char *what, const char *value)
{
	fprintf(stderr, "weir: %s%s%s\n%s", what, value ? " " : "", value ? value : "", USAGE);
	return -EINVAL;
}

static int take_poll(struct weir_options *options, const char *value)
{
	if (strcmp(value, "adaptive") == 0)
		options->poll = WEIR_POLL_ADAPTIVE;
	else if (strcmp(value, "always") == 0)
		options->poll = WEIR_POLL_ALWAYS;
	else
		return complain("--poll: expected adaptive or always, found", value);
	return 0;
}

static int take_instance(struct weir_options *options, const char *value)
{
	char name[WEIR_NAME_SIZE] = { 0 };

	if (strlen(value) >= sizeof(name))
		return complain("--instance: expected 1 to 63 of A-Z a-z 0-9 . _ -, found", value);
	memcpy(name, value, strlen(value));
	if (!weir_name_is_valid(name))
		return complain("--instance: expected 1 to 63 of A-Z a-z 0-9 . _ -, found", value);
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
	case OPTION_MACHINE:
		options->machine = value;
		return 0;
	case OPTION_HELP:
		printf("%s\n%s", USAGE, HELP);
		return 1;
	case OPTION_VERSION:
		printf("weir %s, protocol %u\n", WEIR_VERSION_TEXT, WEIR_VERSION);
		return 1;
	default:
		fputs(USAGE, stderr);
		return -EINVAL;
	}
}

int weir_options_parse(struct weir_options *options, int count, char *const *words)
{
	int option;

	*options = (struct weir_options){ .poll = -1 };
	while ((option = getopt_long(count, words, "", OPTIONS, NULL)) != -1) {
		int result = take(options, option, optarg);

		if (result != 0)
			return result;
	}
	if (optind < count)
		return complain("unexpected word:", words[optind]);
	if (!options->config)
		return complain("--config FILE is missing", NULL);
	if (options->machine && !options->is_check)
		return complain("--machine goes with --check", NULL);
	return 0;
}
