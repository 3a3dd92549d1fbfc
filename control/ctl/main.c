// weirctl: asks a running weir over its control socket and shows the answer, as tables for people or as one JSON object
// for programs. Exit: 0 done, 1 weir refused, the ledger does not balance, or the output did not arrive, 2 usage, 3 nobody
// answers.
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control/api/protocol.h"
#include "control/ctl/instances.h"
#include "control/ctl/show.h"
#include "control/ctl/text.h"
#include "lib/clock.h"
#include "lib/standard.h"
#include "lib/usage.h"

#define EXIT_REFUSED 1
#define EXIT_NOBODY 3
#define CHANGE_SECONDS 120 // what memory for many logs may take
#define SECONDS_MAX 86400
#define WATCH_SECONDS_MIN 0.05
#define FILE_SIZE_MAX (4u << 20) // as much as weir reads

struct request {
	char socket[108];
	bool is_json;
	double watch_seconds; // 0: once
	double timeout_seconds; // 0: what fits the command
	enum weir_command command;
	const char *file; // NULL: none; "-": standard input
	json_t *discard; // names; NULL: none
	json_t *topics; // of status; NULL: as fits
	bool is_all;
};

static void (*const SHOW[WEIR_COMMAND_COUNT])(const json_t *) = {
	[WEIR_COMMAND_STATUS] = weir_show_status,
	[WEIR_COMMAND_LEDGER] = weir_show_ledger,
	[WEIR_COMMAND_PLAN] = weir_show_plan,
	[WEIR_COMMAND_APPLY] = weir_show_outcome,
};

static void help(FILE *out)
{
	fprintf(out, "usage: weirctl [OPTION...] COMMAND\n\n");
	for (int command = 0; command < WEIR_COMMAND_COUNT; command++)
		fprintf(out, "  %-8s %-7s %s\n", WEIR_COMMANDS[command].name, WEIR_COMMANDS[command].argument,
			WEIR_COMMANDS[command].help);
	fprintf(out, "\n"
		     "  --instance NAME      which weir (weir)\n"
		     "  --socket PATH        its control socket (/run/weir/NAME.sock)\n"
		     "  --json               one JSON object on standard output, also for errors\n"
		     "  --watch[=SECONDS]    again and again (1)\n"
		     "  --topic NAME         status: this topic with all its shards; again for more\n"
		     "  --all                status: all shards of all topics\n"
		     "  --discard NAME       apply may throw away this topic, or group as TOPIC/GROUP; again for more\n"
		     "  --timeout SECONDS    wait so long for an answer (10; apply: 120)\n"
		     "  --help, -h, --version\n"
		     "\n"
		     "FILE may be -, standard input.\n");
}

enum {
	OPTION_SOCKET = 256,
	OPTION_INSTANCE,
	OPTION_JSON,
	OPTION_WATCH,
	OPTION_TIMEOUT,
	OPTION_DISCARD,
	OPTION_TOPIC,
	OPTION_ALL,
};

static const struct option OPTIONS[] = {
	{ "socket", required_argument, NULL, OPTION_SOCKET },   { "instance", required_argument, NULL, OPTION_INSTANCE },
	{ "json", no_argument, NULL, OPTION_JSON },             { "watch", optional_argument, NULL, OPTION_WATCH },
	{ "timeout", required_argument, NULL, OPTION_TIMEOUT }, { "discard", required_argument, NULL, OPTION_DISCARD },
	{ "topic", required_argument, NULL, OPTION_TOPIC },     { "all", no_argument, NULL, OPTION_ALL },
	{ 0 },
};

static struct lib_program program = {
	.name = "weirctl",
	.version = WEIR_VERSION_TEXT,
	.help = help,
	.options = OPTIONS,
	.has_commands = true,
};

// An error in weir's four parts, as JSON on stdout or as text on stderr.
static void report(const struct request *request, const json_t *error)
{
	if (request->is_json) {
		json_t *object = json_pack("{s:O}", "error", error);

		json_dumpf(object, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(object);
		return;
	}
	fprintf(stderr, "weirctl: ");
	if (weir_json_text(error, "file")[0])
		fprintf(stderr, "%s:%d:%d: ", weir_json_text(error, "file"), (int)weir_json_number(error, "line"),
			(int)weir_json_number(error, "column"));
	fprintf(stderr, "%s: cannot %s: %s. Fix: %s\n", weir_json_text(error, "object"), weir_json_text(error, "action"),
		weir_json_text(error, "reason"), weir_json_text(error, "fix"));
}

static void report_own(const struct request *request, const char *object, const char *action, const char *reason,
		       const char *fix)
{
	json_t *refusal =
		weir_api_refusal(&(struct weir_api_error){ .object = object, .action = action, .reason = reason, .fix = fix });

	report(request, json_object_get(refusal, "error"));
	json_decref(refusal);
}

static int add_name(json_t **names, const char *option, const char *fix)
{
	if (!*names)
		*names = json_array();
	if (json_array_append_new(*names, json_string(optarg)) != 0)
		return lib_usage_wrong(&program, option, "it is no name", fix);
	return 0;
}

// 0, or LIB_STATUS_USAGE.
static int take_option(struct request *request, int option)
{
	switch (option) {
	case OPTION_SOCKET:
		if ((size_t)snprintf(request->socket, sizeof(request->socket), "%s", optarg) >= sizeof(request->socket))
			return lib_usage_wrong(&program, "--socket", "it is longer than a unix socket's path may be", NULL);
		return 0;
	case OPTION_INSTANCE:
		if (weir_api_socket_path(optarg, request->socket, sizeof(request->socket)) != 0)
			return lib_usage_wrong(&program, "--instance", "it is longer than an instance's name may be", NULL);
		return 0;
	case OPTION_WATCH:
		request->watch_seconds = 1;
		if (optarg && !lib_usage_real(optarg, WATCH_SECONDS_MIN, SECONDS_MAX, &request->watch_seconds))
			return lib_usage_wrong(&program, "--watch", "it takes seconds, 0.05 to 86400", "--watch=1");
		return 0;
	case OPTION_TIMEOUT:
		if (!lib_usage_real(optarg, 0.001, SECONDS_MAX, &request->timeout_seconds))
			return lib_usage_wrong(&program, "--timeout", "it takes seconds, 0.001 to 86400", "--timeout 10");
		return 0;
	case OPTION_DISCARD:
		return add_name(&request->discard, "--discard", "TOPIC or TOPIC/GROUP");
	case OPTION_TOPIC:
		return add_name(&request->topics, "--topic", "TOPIC");
	case OPTION_ALL:
		request->is_all = true;
		return 0;
	default:
		request->is_json = true;
		return 0;
	}
}

static int take_command(struct request *request, const char *word)
{
	const char *known[WEIR_COMMAND_COUNT + 1] = { NULL };

	for (int command = 0; command < WEIR_COMMAND_COUNT; command++)
		known[command] = WEIR_COMMANDS[command].name;
	request->command = weir_command_find(word);
	return request->command == WEIR_COMMAND_COUNT ? lib_usage_unknown(&program, word, "command", known) : 0;
}

static int take_words(struct request *request, int count, char *const *words)
{
	int wrong;

	if (count == 0)
		return lib_usage_wrong(&program, "command line", "it names no command", NULL);
	wrong = take_command(request, words[0]);
	if (wrong)
		return wrong;
	if (count > 1 && WEIR_COMMANDS[request->command].argument[0])
		request->file = words[1];
	if (count > (request->file ? 2 : 1))
		return lib_usage_wrong(&program, words[request->file ? 2 : 1], "the command is complete before it", NULL);
	if (!request->file && WEIR_COMMANDS[request->command].needs_argument)
		return lib_usage_wrong(&program, words[0], "it needs a FILE", NULL);
	if (request->discard && request->command != WEIR_COMMAND_APPLY)
		return lib_usage_wrong(&program, "--discard", "it goes with apply alone", NULL);
	if ((request->topics || request->is_all) && request->command != WEIR_COMMAND_STATUS)
		return lib_usage_wrong(&program, request->topics ? "--topic" : "--all", "it goes with status alone", NULL);
	if (request->watch_seconds != 0 && WEIR_COMMANDS[request->command].changes)
		return lib_usage_wrong(&program, "--watch", "it does not go with a command that changes", NULL);
	if (request->watch_seconds != 0 && request->file && strcmp(request->file, "-") == 0)
		return lib_usage_wrong(&program, "--watch", "standard input can be read once", "a FILE");
	return 0;
}

// 0; 1: help or version was printed; -1: a mistake was said.
static int take_line(struct request *request, int count, char **words)
{
	int option;

	weir_api_socket_path("weir", request->socket, sizeof(request->socket));
	lib_usage_begin(&program, count, words);
	while ((option = lib_usage_next(&program, count, words, NULL)) >= 0) {
		if (take_option(request, option))
			return -1;
	}
	if (option != LIB_OPTIONS_END)
		return option == LIB_OPTIONS_DONE ? 1 : -1;
	return take_words(request, count - optind, words + optind) ? -1 : 0;
}

// All of it: 0, or the error. *size may be FILE_SIZE_MAX + 1: too large.
static int read_all(FILE *file, char *text, size_t *size)
{
	*size = fread(text, 1, FILE_SIZE_MAX + 1, file);
	return ferror(file) ? errno : *size > FILE_SIZE_MAX ? EFBIG : 0;
}

// {"file": name, "text": contents}. NULL: the complaint was made.
static json_t *file_arguments(const struct request *request)
{
	bool is_stdin = strcmp(request->file, "-") == 0;
	const char *name = is_stdin ? "standard input" : request->file;
	FILE *file = is_stdin ? stdin : fopen(request->file, "re");
	int err = file ? 0 : errno;
	char *text = malloc(FILE_SIZE_MAX + 1);
	json_t *arguments = NULL;
	size_t size = 0;

	if (!err)
		err = text ? read_all(file, text, &size) : ENOMEM;
	if (err)
		report_own(request, name, "read it", strerror(err), "check the path and its permissions");
	else
		arguments = json_pack("{s:s, s:s%}", "file", name, "text", text, size);
	if (!arguments && !err)
		report_own(request, name, "send it", "it is no UTF-8 text", "remove the bytes that are not UTF-8");
	if (file && !is_stdin)
		fclose(file);
	free(text);
	return arguments;
}

static int show(const struct request *request, json_t *result)
{
	if (request->command == WEIR_COMMAND_VERSION)
		json_object_set_new(result, "weirctl", json_string(WEIR_VERSION_TEXT));
	if (request->is_json) {
		json_dumpf(result, stdout, JSON_COMPACT);
		putchar('\n');
	} else if (request->command == WEIR_COMMAND_VERSION) {
		printf("weirctl %s, weir %s, protocol %d\n", WEIR_VERSION_TEXT, weir_json_text(result, "weir"),
		       (int)weir_json_number(result, "protocol"));
	} else {
		SHOW[request->command](result);
	}
	if (request->command == WEIR_COMMAND_LEDGER && weir_json_number(result, "unexplained") != 0)
		return EXIT_REFUSED;
	return 0;
}

static uint64_t deadline_of(const struct request *request)
{
	double seconds = WEIR_COMMANDS[request->command].changes ? CHANGE_SECONDS : WEIR_API_WAIT_MS / 1e3;

	return lib_clock_ns() + (uint64_t)((request->timeout_seconds != 0 ? request->timeout_seconds : seconds) * 1e9);
}

static int report_silence(const struct request *request)
{
	bool may_change = WEIR_COMMANDS[request->command].changes;

	report_own(request, request->socket, "ask weir", "it did not answer in time",
		   may_change ? "see by status whether it was done meanwhile; a longer --timeout"
			      : "see whether it is stopped or stuck; a longer --timeout");
	return EXIT_NOBODY;
}

static int ask(const struct request *request, int fd, uint64_t deadline_ns)
{
	json_t *arguments = NULL;
	json_t *question;
	json_t *answer;
	int status = EXIT_REFUSED;

	if (request->file) {
		arguments = file_arguments(request);
		if (!arguments)
			return EXIT_REFUSED;
	}
	if (!arguments)
		arguments = json_object();
	if (request->discard)
		json_object_set(arguments, "discard", request->discard);
	if (request->topics)
		json_object_set(arguments, "topics", request->topics);
	if (request->is_all)
		json_object_set_new(arguments, "all", json_true());
	question = weir_api_request(request->command, arguments);
	answer = question ? weir_api_ask_by(fd, question, deadline_ns) : NULL;
	if (!answer && errno == ETIMEDOUT) {
		status = report_silence(request);
	} else if (!answer) {
		report_own(request, request->socket, "ask weir", strerror(errno), "see weir's own messages");
		status = EXIT_NOBODY;
	} else if (json_is_true(json_object_get(answer, "ok"))) {
		status = show(request, json_object_get(answer, "result"));
	} else {
		report(request, json_object_get(answer, "error"));
	}
	json_decref(question);
	json_decref(answer);
	return status;
}

static void report_connect(const struct request *request, int err)
{
	char name[108], fix[160] = "start weir, or name the running one by --instance or --socket";

	weir_instances_guess(request->socket, name, sizeof(name));
	if (err == -EACCES)
		snprintf(fix, sizeof(fix), "use a user whom the socket's mode admits (control: {mode: ...} in the topology)");
	else if (name[0])
		snprintf(fix, sizeof(fix), "start it, or name one that is there: --instance %.64s", name);
	report_own(request, request->socket, "connect", strerror(-err), fix);
}

// Until nobody answers or nobody reads. A terminal shows the newest; a pipe or a file gets one after the other.
static int watch(const struct request *request, int fd)
{
	bool clears = !request->is_json && isatty(STDOUT_FILENO);
	struct timespec pause = { .tv_sec = (time_t)request->watch_seconds };
	int status;

	pause.tv_nsec = (long)((request->watch_seconds - (double)pause.tv_sec) * 1e9);
	for (;;) {
		if (clears)
			printf("\033[H\033[2J");
		status = ask(request, fd, deadline_of(request));
		if (lib_output_flush() || status == EXIT_NOBODY)
			return status;
		nanosleep(&pause, NULL);
	}
}

static int run(int count, char **words)
{
	struct request request = { 0 };
	int status = take_line(&request, count, words);
	uint64_t deadline_ns;
	int fd;

	if (status)
		return status > 0 ? 0 : LIB_STATUS_USAGE;
	deadline_ns = deadline_of(&request);
	fd = weir_api_connect_by(request.socket, deadline_ns);
	if (fd == -EAGAIN)
		return report_silence(&request);
	if (fd < 0) {
		report_connect(&request, fd);
		return EXIT_NOBODY;
	}
	status = request.watch_seconds != 0 ? watch(&request, fd) : ask(&request, fd, deadline_ns);
	json_decref(request.discard);
	json_decref(request.topics);
	close(fd);
	return status;
}

int main(int count, char **words)
{
	lib_standard_open();
	return lib_output_end("weirctl", run(count, words), EXIT_REFUSED);
}
