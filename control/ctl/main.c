// weirctl: asks a running weir over its control socket and shows the answer, as tables for people or as one JSON object
// for programs. Exit: 0 done, 1 weir refused or the ledger does not balance, 2 usage, 3 nobody answers.
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control/api/protocol.h"
#include "control/ctl/show.h"
#include "control/ctl/text.h"

#define EXIT_REFUSED 1
#define EXIT_USAGE 2
#define EXIT_NOBODY 3
#define FILE_SIZE_MAX (4u << 20) // as much as weir reads

struct request {
	char socket[108];
	bool is_json;
	double watch_seconds; // 0: once
	enum weir_command command;
	const char *file; // NULL: none
};

static void (*const SHOW[WEIR_COMMAND_COUNT])(const json_t *) = {
	[WEIR_COMMAND_STATUS] = weir_show_status,
	[WEIR_COMMAND_LEDGER] = weir_show_ledger,
	[WEIR_COMMAND_PLAN] = weir_show_plan,
	[WEIR_COMMAND_APPLY] = weir_show_outcome,
};

static void usage(FILE *stream)
{
	fprintf(stream, "usage: weirctl [--instance NAME | --socket PATH] [--json] [--watch[=SECONDS]] COMMAND\n\n");
	for (int command = 0; command < WEIR_COMMAND_COUNT; command++)
		fprintf(stream, "  %-8s %-7s %s\n", WEIR_COMMANDS[command].name, WEIR_COMMANDS[command].argument,
			WEIR_COMMANDS[command].help);
}

static int complain(const char *what, const char *value)
{
	fprintf(stderr, "weirctl: %s %s\n\n", what, value);
	usage(stderr);
	return -EINVAL;
}

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

static int take_options(struct request *request, int count, char *const *words)
{
	static const struct option OPTIONS[] = {
		{ "socket", required_argument, NULL, 's' }, { "instance", required_argument, NULL, 'i' },
		{ "json", no_argument, NULL, 'j' },         { "watch", optional_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' },         { 0 },
	};
	int option;

	weir_api_socket_path("weir", request->socket, sizeof(request->socket));
	while ((option = getopt_long(count, words, "", OPTIONS, NULL)) != -1) {
		if (option == 's' &&
		    (size_t)snprintf(request->socket, sizeof(request->socket), "%s", optarg) >= sizeof(request->socket))
			return complain("--socket: longer than a unix socket's path may be:", optarg);
		if (option == 'i' && weir_api_socket_path(optarg, request->socket, sizeof(request->socket)) != 0)
			return complain("--instance: too long:", optarg);
		if (option == 'w') {
			request->watch_seconds = optarg ? atof(optarg) : 1;
			if (!(request->watch_seconds >= 0.05))
				return complain("--watch: expected seconds, at least 0.05, found", optarg ? optarg : "");
		}
		if (option == 'h') {
			usage(stdout);
			return 1;
		}
		request->is_json |= option == 'j';
		if (option == '?') {
			usage(stderr);
			return -EINVAL;
		}
	}
	return 0;
}

static int take_words(struct request *request, int count, char *const *words)
{
	int result = take_options(request, count, words);

	if (result)
		return result;
	if (optind == count)
		return complain("expected a command", "");
	request->command = weir_command_find(words[optind]);
	if (request->command == WEIR_COMMAND_COUNT)
		return complain("no such command:", words[optind]);
	optind++;
	if (optind < count && WEIR_COMMANDS[request->command].argument[0])
		request->file = words[optind++];
	if (optind < count)
		return complain("unexpected word:", words[optind]);
	if (!request->file && WEIR_COMMANDS[request->command].needs_argument)
		return complain("expected a FILE after", WEIR_COMMANDS[request->command].name);
	if (request->watch_seconds && WEIR_COMMANDS[request->command].changes)
		return complain("--watch does not go with", WEIR_COMMANDS[request->command].name);
	return 0;
}

// {"file": name, "text": contents}. NULL: the complaint was made.
static json_t *file_arguments(const struct request *request)
{
	FILE *file = fopen(request->file, "r");
	char *text = malloc(FILE_SIZE_MAX + 1);
	json_t *arguments = NULL;
	size_t size = 0;
	int err = errno;

	if (file && text) {
		size = fread(text, 1, FILE_SIZE_MAX + 1, file);
		err = ferror(file) ? errno : size > FILE_SIZE_MAX ? EFBIG : 0;
	}
	if (!file || !text || err)
		report_own(request, request->file, "read it", strerror(err), "check the path and its permissions");
	else
		arguments = json_pack("{s:s, s:s%}", "file", request->file, "text", text, size);
	if (!arguments && file && text && !err)
		report_own(request, request->file, "send it", "it is no UTF-8 text", "remove the bytes that are not UTF-8");
	if (file)
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
	fflush(stdout);
	if (request->command == WEIR_COMMAND_LEDGER && weir_json_number(result, "unexplained") != 0)
		return EXIT_REFUSED;
	return 0;
}

static int ask(const struct request *request, int fd)
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
	question = weir_api_request(request->command, arguments);
	answer = question ? weir_api_ask(fd, question) : NULL;
	if (!answer) {
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

static const char *connect_fix(int err)
{
	if (err == -EACCES)
		return "use a user whom the socket's file mode admits (control: {mode: ...} in the topology)";
	return "start weir, or name the running one by --instance or --socket";
}

int main(int count, char **words)
{
	struct request request = { 0 };
	int status = take_words(&request, count, words);
	int fd;

	if (status)
		return status > 0 ? 0 : EXIT_USAGE;
	fd = weir_api_connect(request.socket);
	if (fd < 0) {
		report_own(&request, request.socket, "connect", strerror(-fd), connect_fix(fd));
		return EXIT_NOBODY;
	}
	do {
		if (request.watch_seconds && !request.is_json)
			printf("\033[H\033[2J");
		status = ask(&request, fd);
		if (request.watch_seconds && status != EXIT_NOBODY)
			usleep((useconds_t)(request.watch_seconds * 1e6));
	} while (request.watch_seconds && status != EXIT_NOBODY);
	close(fd);
	return status;
}
