// weircat's command line, signals and messages. The subcommands are in publish.c and subscribe.c; the exit status is 0,
// 1 when something failed (128 + signal when a signal cut it short), 2 for a wrong command line.
#include "client/weircat/weircat.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/standard.h"
#include "lib/stop.h"
#include "lib/usage.h"

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
	"  --key-text             send the key's text with the event\n"
	"  --type N|TEXT          type of the events: a number up to 65535, or a text\n"
	"  --source TEXT          where they come from\n"
	"  --subject TEXT         what they are about\n"
	"  --attribute NAME=VALUE more of them, any number of times: id, schema, correlation, traceparent, content-type,\n"
	"                         time, dataref, causation; 128 to 254: the application's; or an extension's name\n"
	"  --length-prefixed      records: 4 bytes of length, little-endian, and that many bytes\n"
	"  --level none|routed    routed: acknowledged when in the shard's log (default); none: sent and forgotten\n"
	"subscribe:\n"
	"  --group GROUP          share the topic's events with the other members of the group\n"
	"  --json                 one JSON object a line\n"
	"  --per-key DIRECTORY    append each event to the file of its key\n"
	"  --idle-ms N            end when nothing came for this long\n"
	"--help, -h, --version    print and exit\n";

// A standard error that takes nothing (a terminal stopped by Ctrl-S is often both outputs) keeps no member from its router.
static struct lib_log *messages;

int cat_stopped(void)
{
	return lib_stop_signal();
}

__attribute__((format(printf, 2, 0))) static void say(const struct cat_options *options, const char *format,
						      va_list arguments)
{
	if (options->is_quiet)
		return;
	if (!messages && lib_log_open(&messages, "weircat", LIB_LOG_PLAIN, STDERR_FILENO)) {
		fputs("weircat: ", stderr);
		vfprintf(stderr, format, arguments);
		fputc('\n', stderr);
		return;
	}
	lib_log_vwrite(messages, LIB_LOG_INFO, format, arguments);
}

void cat_say_end(void)
{
	lib_log_close(messages);
	messages = NULL;
}

void cat_say(const struct cat_options *options, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	say(options, format, arguments);
	va_end(arguments);
}

int cat_fail(const struct cat_options *options, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	say(options, format, arguments);
	va_end(arguments);
	return CAT_FAILED;
}

const char *cat_name_error(int error)
{
	if (error == -EINVAL || error == -ENAMETOOLONG)
		return "not a name: 1 to 63 of A-Z a-z 0-9 . _ -";
	return strerror(-error);
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
	OPTION_KEY_TEXT,
	OPTION_TYPE,
	OPTION_SOURCE,
	OPTION_SUBJECT,
	OPTION_ATTRIBUTE,
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
	{ "key-text", no_argument, NULL, OPTION_KEY_TEXT },
	{ "type", required_argument, NULL, OPTION_TYPE },
	{ "source", required_argument, NULL, OPTION_SOURCE },
	{ "subject", required_argument, NULL, OPTION_SUBJECT },
	{ "attribute", required_argument, NULL, OPTION_ATTRIBUTE },
	{ NULL, 0, NULL, 0 },
};

// false: the argument is not what the option takes.
static bool value_take(struct cat_options *options, int option)
{
	uint64_t number = 0;
	switch (option) {
	case OPTION_ROUTER:
		options->router = optarg;
		return true;
	case OPTION_COUNT:
		return lib_usage_number(optarg, 1, UINT64_MAX, &options->count);
	case OPTION_WAIT:
		if (!lib_usage_number(optarg, 0, 1 << 30, &number))
			return false;
		options->wait_ms = (int)number;
		return true;
	case OPTION_FRAME_SIZE:
		if (!lib_usage_number(optarg, 512, 9216, &number) || number % 8)
			return false;
		options->frame_size = (uint32_t)number;
		return true;
	case OPTION_IDLE:
		if (!lib_usage_number(optarg, 1, 1 << 30, &number))
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
	case OPTION_KEY_TEXT:
		return options->sends_key_text = true;
	}
	return false;
}

// Digits are the event's own type, anything else is an attribute. NULL, or why it cannot be taken.
static const char *type_take(struct cat_options *options, const char *text)
{
	uint64_t number = 0;
	if (*text == 0 || text[strspn(text, "0123456789")])
		return cat_attribute_add(&options->attributes, WEIR_ATTRIBUTE_TYPE, text);
	if (!lib_usage_number(text, 0, UINT16_MAX, &number))
		return "a number is 0 to 65535; a text is not of digits alone";
	if (options->has_type)
		return "it is given twice";
	options->has_type = true;
	options->type = (uint16_t)number;
	return NULL;
}

// NULL, or why the argument cannot be taken.
static const char *option_take(struct cat_options *options, int option)
{
	switch (option) {
	case OPTION_TYPE:
		return type_take(options, optarg);
	case OPTION_SOURCE:
		return cat_attribute_add(&options->attributes, WEIR_ATTRIBUTE_SOURCE, optarg);
	case OPTION_SUBJECT:
		return cat_attribute_add(&options->attributes, WEIR_ATTRIBUTE_SUBJECT, optarg);
	case OPTION_ATTRIBUTE:
		return cat_attribute_parse(&options->attributes, optarg);
	default:
		return value_take(options, option) ? NULL : "that is no value it takes";
	}
}

static void help(FILE *out)
{
	fputs(HELP, out);
}

static struct lib_program program = {
	.name = "weircat",
	.version = WEIR_VERSION_TEXT,
	.help = help,
	.options = LONG,
	.has_commands = true,
};

// What every event of a file carries has room, whichever of the files it is.
static int attributes_fit(const struct cat_options *options)
{
	const uint32_t most = CAT_ATTRIBUTES_MAX - CAT_MARK_ROOM;
	size_t longest = strlen(options->key == CAT_KEY_FILE ? CAT_STANDARD_INPUT : "");
	uint32_t need = options->attributes.need;
	for (int i = 0; options->key == CAT_KEY_FILE && i < options->file_count; i++) {
		size_t size = strlen(options->files[i]);
		longest = size > longest ? size : longest;
	}
	if (options->key == CAT_KEY_FILE)
		need += (1 + options->sends_key_text) * cat_attribute_size(longest);
	if (options->key == CAT_KEY_FIXED && options->sends_key_text)
		need += cat_attribute_size(strlen(options->key_text));
	if (need <= most)
		return 0;
	char reason[128];
	snprintf(reason, sizeof(reason), "they take %u bytes with their headers, and an event has room for %u", need, most);
	return lib_usage_wrong(&program, "attributes", reason,
			       options->key == CAT_KEY_FILE ? "fewer or shorter ones; the names of the files count"
							    : "fewer or shorter ones");
}

// Of options that go together or do not. 0, or CAT_USAGE.
static int attributes_check(const struct cat_options *options, bool is_publish)
{
	struct weir_attribute subject;
	if (!is_publish && (options->has_type || options->attributes.need || options->sends_key_text))
		return lib_usage_wrong(&program, "--type, --source, --subject, --attribute, --key-text",
				       "they are for events that are published", "subscribe --json shows what events have");
	if (options->sends_key_text && options->key == CAT_KEY_NONE)
		return lib_usage_wrong(&program, "--key-text", "the events have no key of their own", "add --key");
	if (options->key == CAT_KEY_FILE && weir_attribute_get(options->attributes.bytes, options->attributes.size,
							       WEIR_ATTRIBUTE_SUBJECT, &subject) == 0)
		return lib_usage_wrong(&program, "--subject", "with --key file the subject is the name of the file", NULL);
	return is_publish ? attributes_fit(options) : 0;
}

// 0, or CAT_USAGE.
static int words_take(struct cat_options *options, int count, char **words, bool *is_publish)
{
	static const char *const COMMANDS[] = { "publish", "subscribe", NULL };
	if (count == 0)
		return lib_usage_wrong(&program, "command line", "it names no command", "weircat publish or subscribe");
	*is_publish = strcmp(words[0], "publish") == 0;
	if (!*is_publish && strcmp(words[0], "subscribe") != 0)
		return lib_usage_unknown(&program, words[0], "command", COMMANDS);
	if (count == 1)
		return lib_usage_wrong(&program, words[0], "it names no topic", NULL);
	options->topic = words[1];
	options->files = words + 2;
	options->file_count = count - 2;
	if (*is_publish && options->key == CAT_KEY_FILE && options->file_count == 0)
		return lib_usage_wrong(&program, "--key file", "it needs names of files", NULL);
	if (*is_publish && options->key == CAT_KEY_FIELD && options->is_length_prefixed)
		return lib_usage_wrong(&program, "--key field", "it is for lines, not for records", NULL);
	if (!*is_publish && !options->group)
		return lib_usage_wrong(&program, words[0], "it names no group", "--group GROUP");
	if (!*is_publish && options->file_count)
		return lib_usage_wrong(&program, options->files[0], "subscribe takes one topic", NULL);
	return attributes_check(options, *is_publish);
}

// 0, or CAT_USAGE; -1: help was given.
static int options_parse(struct cat_options *options, int count, char **arguments, bool *is_publish)
{
	const struct option *row = NULL;
	int option = 0;
	lib_usage_begin(&program, count, arguments);
	while ((option = lib_usage_next(&program, count, arguments, &row)) >= 0) {
		const char *wrong = option_take(options, option);
		if (wrong) {
			char object[128];
			snprintf(object, sizeof(object), "--%s %s", row->name, optarg);
			return lib_usage_wrong(&program, object, wrong, NULL);
		}
	}
	if (option != LIB_OPTIONS_END)
		return option == LIB_OPTIONS_DONE ? -1 : CAT_USAGE;
	return words_take(options, count - optind, arguments + optind, is_publish);
}

bool cat_is_hopeless(const struct weir *weir)
{
	return weir_error(weir) == -ENXIO;
}

int cat_refused(const struct cat_options *options, const char *what, unsigned reason)
{
	static const struct {
		const char *reason;
		const char *fix;
	} FIXES[] = {
		{ "sessions", "end a client, or raise limits.sessions_per_worker and start the router anew" },
		{ "version", "use the weircat of the router's release" },
		{ "streams", "end a producer, or raise limits.streams_per_shard and start the router anew" },
		{ "members", "end a member, or raise limits.members_per_group and start the router anew" },
		{ "quota", "clients of this address hold their share: end some of them" },
		{ "busy", "try again; if it stays so, somebody else has the same name" },
		{ "fenced", "another client of this name was started later; give this one another --name" },
		{ "level", "ask for another --level" },
		{ "not-offered", "this router's release does not have it: do without, or upgrade the router" },
		{ "paused", "resume it, or wait until its operator does" },
		{ "journal", "look at the router's disk; it goes on by itself when that keeps up" },
		{ "elsewhere", "ask the cluster's router that has the topic" },
		{ "writer", "end the other writer, or take another topic" },
	};
	const char *fix = "see wire/PROTOCOL.md, section 14";
	for (size_t i = 0; i < sizeof(FIXES) / sizeof(FIXES[0]); i++) {
		if (strcmp(FIXES[i].reason, weir_refusal_name(reason)) == 0)
			fix = FIXES[i].fix;
	}
	return cat_fail(options, "%s: refused: %s: %s; %s", what, weir_refusal_name(reason), weir_refusal_text(reason), fix);
}

int cat_no_answer(const struct cat_options *options, const struct weir *weir)
{
	int error = weir_error(weir);
	if (weir_refusal(weir))
		return cat_refused(options, options->router, weir_refusal(weir));
	switch (error) {
	case 0:
		return cat_fail(options, "%s: no answer for %d ms; is the router running and reachable?", options->router,
				options->wait_ms);
	case -ENXIO:
		return cat_fail(options, "%s: no such host; check the name or write its address", options->router);
	case -EBUSY:
		return cat_fail(options, "%s: no name server answers; see /etc/resolv.conf or write the host's address",
				options->router);
	case -ECONNREFUSED:
	case -ENOENT:
		return cat_fail(options, "%s: nobody listens there; is the router running, and is this its address?",
				options->router);
	case -ENETUNREACH:
	case -EHOSTUNREACH:
	case -ENETDOWN:
	case -EADDRNOTAVAIL:
		return cat_fail(options, "%s: %s; see this host's addresses and routes", options->router, strerror(-error));
	default:
		return cat_fail(options, "%s: no answer for %d ms, last error: %s", options->router, options->wait_ms,
				strerror(-error));
	}
}

// 0, or CAT_FAILED after saying why.
static int client_open(const struct cat_options *options, struct weir **weir)
{
	struct weir_options client = { .name = options->name, .frame_size = options->frame_size };
	int error = weir_open(weir, options->router, &client);
	switch (error) {
	case 0:
		return 0;
	case -EINVAL:
		return cat_fail(options, "%s: not an address of a router; write udp://HOST[:PORT] or unix:/PATH",
				options->router);
	case -EACCES:
		return cat_fail(options, "%s: this user may not connect there; see the socket's mode", options->router);
	default:
		return cat_fail(options, "%s: cannot open a socket: %s", options->router, strerror(-error));
	}
}

static int run(int count, char **arguments)
{
	const char *environment = getenv("WEIR_ROUTER");
	struct cat_options options = {
		.router = environment && *environment ? environment : "udp://127.0.0.1:9347",
		.wait_ms = 10000,
		.level = WEIR_LEVEL_DEFAULT,
	};
	struct weir *weir = NULL;
	bool is_publish = false;
	int status = options_parse(&options, count, arguments, &is_publish);
	if (status)
		return status < 0 ? CAT_OK : status;
	lib_stop_catch();
	status = client_open(&options, &weir);
	if (status)
		return status;
	status = is_publish ? cat_publish(&options, weir) : cat_subscribe(&options, weir);
	// What the signal asked for was done in order: no reason to say otherwise.
	return status && lib_stop_signal() ? 128 + lib_stop_signal() : status;
}

int main(int count, char **arguments)
{
	lib_standard_open();
	int status = run(count, arguments);
	cat_say_end();
	return lib_output_end("weircat", status, CAT_FAILED);
}
