// weircat's command line, signals and messages. The subcommands are in publish.c and subscribe.c; the exit status is 0,
// 1 when something failed (128 + signal when a signal cut it short), 2 for a wrong command line.
#include "client/weircat/weircat.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const char HELP[] =
	"weircat publish TOPIC [FILE...]        publish lines of files, or of standard input\n"
	"weircat subscribe TOPIC --group GROUP  write events to standard output\n"
	"\n"
	"  --router ADDRESS       udp://HOST[:PORT]; default $WEIR_ROUTER, else udp://127.0.0.1:9347\n"
	"  --count N              end after N events\n"
	"  --wait-ms N            wait this long for the router, the topic and the last acknowledgement (10000)\n"
	"  --frame-size N         largest datagram, bytes (1472)\n"
	"  --name NAME            name of this client: its streams outlive it\n"
	"  --stats                at the end, counts as one JSON object on standard error\n"
	"  --quiet                no messages\n"
	"publish:\n"
	"  --key none             each event its own key: spread evenly (default)\n"
	"  --key field:N[:SEP]    the N-th field of the line, from 1; fields are parted by blanks, or by SEP\n"
	"  --key file             the name of the file the line is from\n"
	"  --key fixed:TEXT       the same for all\n"
	"  --length-prefixed      records: 4 bytes of length, little-endian, and that many bytes\n"
	"  --level none|routed    routed: acknowledged when in the shard's log (default); none: sent and forgotten\n"
	"subscribe:\n"
	"  --group GROUP          share the topic's events with the other members of the group\n"
	"  --json                 one JSON object a line\n"
	"  --per-key DIRECTORY    append each event to the file of its key\n"
	"  --idle-ms N            end when nothing came for this long\n";

// A signal handler has no other way to speak; written by it, read by the loops.
static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	stopped = number;
}

int cat_stopped(void)
{
	return stopped;
}

int cat_fail(const struct cat_options *options, const char *format, ...)
{
	if (options->is_quiet)
		return CAT_FAILED;
	va_list arguments;
	va_start(arguments, format);
	fputs("weircat: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	return CAT_FAILED;
}

const char *cat_name_error(int error)
{
	if (error == -EINVAL || error == -ENAMETOOLONG)
		return "not a name: 1 to 63 of A-Z a-z 0-9 . _ -";
	return strerror(-error);
}

static int usage(const char *what, const char *of)
{
	fprintf(stderr, "weircat: %s%s%s; see weircat --help\n", what, of ? ": " : "", of ? of : "");
	return CAT_USAGE;
}

static bool number_parse(const char *text, uint64_t most, uint64_t *number)
{
	char *end = NULL;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || value > most)
		return false;
	*number = value;
	return true;
}

static bool key_parse(struct cat_options *options, const char *text)
{
	if (strcmp(text, "none") == 0) {
		options->key = CAT_KEY_NONE;
		return true;
	}
	if (strcmp(text, "file") == 0) {
		options->key = CAT_KEY_FILE;
		return true;
	}
	if (strncmp(text, "fixed:", 6) == 0) {
		options->key = CAT_KEY_FIXED;
		options->key_text = text + 6;
		return true;
	}
	if (strncmp(text, "field:", 6) != 0)
		return false;
	char *end = NULL;
	options->key = CAT_KEY_FIELD;
	options->key_field = strtoul(text + 6, &end, 10);
	options->key_separator = *end == ':' ? end + 1 : "";
	return options->key_field > 0 && text[6] >= '0' && text[6] <= '9' && (*end == 0 || (*end == ':' && end[1]));
}

enum {
	OPTION_ROUTER = 256,
	OPTION_COUNT,
	OPTION_WAIT,
	OPTION_FRAME_SIZE,
	OPTION_NAME,
	OPTION_STATS,
	OPTION_QUIET,
	OPTION_KEY,
	OPTION_LENGTH_PREFIXED,
	OPTION_LEVEL,
	OPTION_GROUP,
	OPTION_JSON,
	OPTION_PER_KEY,
	OPTION_IDLE,
	OPTION_HELP,
};

static const struct option LONG[] = {
	{ "router", required_argument, NULL, OPTION_ROUTER },
	{ "count", required_argument, NULL, OPTION_COUNT },
	{ "wait-ms", required_argument, NULL, OPTION_WAIT },
	{ "frame-size", required_argument, NULL, OPTION_FRAME_SIZE },
	{ "name", required_argument, NULL, OPTION_NAME },
	{ "stats", no_argument, NULL, OPTION_STATS },
	{ "quiet", no_argument, NULL, OPTION_QUIET },
	{ "key", required_argument, NULL, OPTION_KEY },
	{ "length-prefixed", no_argument, NULL, OPTION_LENGTH_PREFIXED },
	{ "level", required_argument, NULL, OPTION_LEVEL },
	{ "group", required_argument, NULL, OPTION_GROUP },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "per-key", required_argument, NULL, OPTION_PER_KEY },
	{ "idle-ms", required_argument, NULL, OPTION_IDLE },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ NULL, 0, NULL, 0 },
};

// false: the argument is not what the option takes.
static bool option_take(struct cat_options *options, int option)
{
	uint64_t number = 0;
	switch (option) {
	case OPTION_ROUTER:
		options->router = optarg;
		return true;
	case OPTION_COUNT:
		return number_parse(optarg, UINT64_MAX, &options->count) && options->count;
	case OPTION_WAIT:
		if (!number_parse(optarg, 1 << 30, &number))
			return false;
		options->wait_ms = (int)number;
		return true;
	case OPTION_FRAME_SIZE:
		if (!number_parse(optarg, 9216, &number) || number < 512 || number % 8)
			return false;
		options->frame_size = (uint32_t)number;
		return true;
	case OPTION_IDLE:
		if (!number_parse(optarg, 1 << 30, &number) || number == 0)
			return false;
		options->idle_ms = (int)number;
		return true;
	case OPTION_LEVEL:
		options->level = strcmp(optarg, "none") == 0 ? WEIR_LEVEL_NONE : WEIR_LEVEL_ROUTED;
		return strcmp(optarg, "none") == 0 || strcmp(optarg, "routed") == 0;
	case OPTION_KEY:
		return key_parse(options, optarg);
	case OPTION_NAME:
		options->name = optarg;
		return true;
	case OPTION_GROUP:
		options->group = optarg;
		return true;
	case OPTION_PER_KEY:
		options->per_key = optarg;
		return true;
	case OPTION_STATS:
		return options->has_stats = true;
	case OPTION_QUIET:
		return options->is_quiet = true;
	case OPTION_JSON:
		return options->is_json = true;
	case OPTION_LENGTH_PREFIXED:
		return options->is_length_prefixed = true;
	}
	return false;
}

// 0, or CAT_USAGE; -1: help was given.
static int options_parse(struct cat_options *options, int count, char **arguments, bool *is_publish)
{
	int at = 0;
	int option = 0;
	while ((option = getopt_long(count, arguments, "", LONG, &at)) != -1) {
		if (option == OPTION_HELP) {
			fputs(HELP, stdout);
			return -1;
		}
		if (option == '?')
			return CAT_USAGE;
		if (!option_take(options, option)) {
			fprintf(stderr, "weircat: --%s %s: not a value it takes; see weircat --help\n", LONG[at].name, optarg);
			return CAT_USAGE;
		}
	}
	if (optind == count)
		return usage("publish or subscribe?", NULL);
	*is_publish = strcmp(arguments[optind], "publish") == 0;
	if (!*is_publish && strcmp(arguments[optind], "subscribe") != 0)
		return usage("no such command", arguments[optind]);
	if (++optind == count)
		return usage("which topic?", NULL);
	options->topic = arguments[optind++];
	options->files = arguments + optind;
	options->file_count = count - optind;
	if (*is_publish && options->key == CAT_KEY_FILE && options->file_count == 0)
		return usage("--key file needs files", NULL);
	if (*is_publish && options->key == CAT_KEY_FIELD && options->is_length_prefixed)
		return usage("--key field is for lines, not for --length-prefixed records", NULL);
	if (!*is_publish && !options->group)
		return usage("subscribe needs --group", NULL);
	if (!*is_publish && options->file_count)
		return usage("subscribe takes one topic", options->files[0]);
	return 0;
}

int main(int count, char **arguments)
{
	static char self[] = "weircat";
	arguments[0] = self; // what getopt's messages begin with
	const char *environment = getenv("WEIR_ROUTER");
	struct cat_options options = {
		.router = environment && *environment ? environment : "udp://127.0.0.1:9347",
		.wait_ms = 10000,
		.level = WEIR_LEVEL_DEFAULT,
	};
	bool is_publish = false;
	int status = options_parse(&options, count, arguments, &is_publish);
	if (status)
		return status < 0 ? CAT_OK : status;
	// Without SA_RESTART: a read that waits ends too.
	struct sigaction action = { .sa_handler = on_signal };
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	struct weir *weir = NULL;
	struct weir_options client = { .name = options.name, .frame_size = options.frame_size };
	int error = weir_open(&weir, options.router, &client);
	if (error == -EINVAL)
		return cat_fail(&options, "%s: not an address of a router; write udp://HOST[:PORT] or unix:/PATH",
				options.router);
	if (error == -EACCES)
		return cat_fail(&options, "%s: this user may not connect there; see the socket's mode", options.router);
	if (error == -EADDRNOTAVAIL)
		return cat_fail(&options, "%s: no such host; check the name or write its address", options.router);
	if (error)
		return cat_fail(&options, "%s: cannot open a socket: %s", options.router, strerror(-error));
	status = is_publish ? cat_publish(&options, weir) : cat_subscribe(&options, weir);
	// What the signal asked for was done in order: no reason to say otherwise.
	return status && stopped ? 128 + stopped : status;
}
