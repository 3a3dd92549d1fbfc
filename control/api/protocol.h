// The control protocol between weirctl and weir: one JSON object a line, over a unix stream socket whose file mode says
// who may command. A client may send several requests on a connection; each is answered in order.
//
//   request   {"command": NAME, "arguments": {...}}
//   apply, plan: arguments {"file": name for messages, "text": the topology file}
//   answer    {"ok": true, "result": {...}}
//   refusal   {"ok": false, "error": {"object", "action", "reason", "fix", "file", "line", "column"}}; the last three are
//             null unless the error stands in a file
//
// Results are described in weirctl(8). Sans-I/O but for the two functions at the end, which weirctl uses.
#ifndef WEIR_API_PROTOCOL_H
#define WEIR_API_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "control/api/command.h"

#define WEIR_API_WAIT_MS 10000 // a daemon that lives answers within
#define WEIR_API_LINE_MAX (32u << 20) // bytes of a request or an answer; longer ones end the connection

struct weir_api_error {
	const char *object;
	const char *action;
	const char *reason;
	const char *fix;
	const char *file; // NULL: not in a file
	unsigned line; // 0: none
	unsigned column;
};

// All return a new reference, or NULL without memory.
json_t *weir_api_request(enum weir_command command, json_t *arguments); // takes arguments, NULL: none
json_t *weir_api_result(json_t *result); // takes result
json_t *weir_api_refusal(const struct weir_api_error *error);

// Reads a request. WEIR_COMMAND_COUNT: not one, *refusal is the answer to give. *arguments is borrowed from request.
enum weir_command weir_api_parse(const json_t *request, json_t **arguments, json_t **refusal);

// Bytes of a connection, cut into lines.
struct weir_api_lines {
	char *bytes;
	size_t used;
	size_t room;
	size_t scanned; // no newline before
};

// Room for at least one more byte; NULL: out of memory or a line over WEIR_API_LINE_MAX. *size says how many may be written.
char *weir_api_lines_room(struct weir_api_lines *lines, size_t *size);
void weir_api_lines_add(struct weir_api_lines *lines, size_t size);
// Takes the first whole line: a zero-ended string to free(), or NULL.
char *weir_api_lines_take(struct weir_api_lines *lines);
// Whether there is a whole one.
bool weir_api_lines_has(const struct weir_api_lines *lines);
void weir_api_lines_fini(struct weir_api_lines *lines);

// One line with its newline, to free(). NULL without memory.
char *weir_api_print(const json_t *json, size_t *size);

// Where a router of this user has its socket, lock and counters: /run/weir, or $XDG_RUNTIME_DIR/weir of an ordinary user who
// may not write there. -ENAMETOOLONG when it does not fit.
int weir_api_run_directory(char *path, size_t size);
// The socket of the instance: in /run/weir where there is one, else in the user's directory when that has one.
// -ENAMETOOLONG when it does not fit.
int weir_api_socket_path(const char *instance, char *path, size_t size);

// Connects to a daemon: a descriptor, or -errno; -EAGAIN when nobody has taken the connection by then (lib/clock.h). Without a
// time: within WEIR_API_WAIT_MS.
int weir_api_connect(const char *path);
int weir_api_connect_by(const char *path, uint64_t deadline_ns);
// Sends a request, waits for its answer. NULL and errno when the connection broke or the answer is no JSON, ETIMEDOUT when it
// was not there by then.
json_t *weir_api_ask(int fd, const json_t *request);
json_t *weir_api_ask_by(int fd, const json_t *request, uint64_t deadline_ns);

#endif
