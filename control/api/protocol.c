// Requests, answers and refusals as JSON lines, see control/api/protocol.h. Both ends use it, so that neither can drift;
// only weir_api_connect() and weir_api_ask() touch a socket.
#include "control/api/protocol.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_ROOM_FIRST 4096u

json_t *weir_api_request(enum weir_command command, json_t *arguments)
{
	return json_pack("{s:s, s:o}", "command", WEIR_COMMANDS[command].name, "arguments",
			 arguments ? arguments : json_object());
}

json_t *weir_api_result(json_t *result)
{
	return json_pack("{s:b, s:o}", "ok", 1, "result", result);
}

json_t *weir_api_refusal(const struct weir_api_error *error)
{
	json_t *line = error->line ? json_integer(error->line) : json_null();
	json_t *column = error->line ? json_integer(error->column) : json_null();

	return json_pack("{s:b, s:{s:s, s:s, s:s, s:s, s:s?, s:o, s:o}}", "ok", 0, "error", "object", error->object, "action",
			 error->action, "reason", error->reason, "fix", error->fix, "file", error->file, "line", line, "column",
			 column);
}

static void refuse(json_t **refusal, const char *object, const char *reason)
{
	*refusal = weir_api_refusal(&(struct weir_api_error){
		.object = object,
		.action = "answer it",
		.reason = reason,
		.fix = "use a weirctl of the same version as weir",
	});
}

enum weir_command weir_api_parse(const json_t *request, json_t **arguments, json_t **refusal)
{
	const char *name = json_string_value(json_object_get(request, "command"));
	enum weir_command command;

	*arguments = json_object_get(request, "arguments");
	if (!name) {
		refuse(refusal, "request", "expected a JSON object with the string `command`");
		return WEIR_COMMAND_COUNT;
	}
	command = weir_command_find(name);
	if (command == WEIR_COMMAND_COUNT)
		refuse(refusal, name, "this weir knows no such command");
	return command;
}

char *weir_api_lines_room(struct weir_api_lines *lines, size_t *size)
{
	if (lines->used == lines->room) {
		size_t room = lines->room ? 2 * lines->room : LINE_ROOM_FIRST;
		char *grown = lines->room < WEIR_API_LINE_MAX ? realloc(lines->bytes, room) : NULL;

		if (!grown)
			return NULL;
		lines->bytes = grown;
		lines->room = room;
	}
	*size = lines->room - lines->used;
	return lines->bytes + lines->used;
}

void weir_api_lines_add(struct weir_api_lines *lines, size_t size)
{
	lines->used += size;
}

char *weir_api_lines_take(struct weir_api_lines *lines)
{
	char *end = lines->bytes ? memchr(lines->bytes + lines->scanned, '\n', lines->used - lines->scanned) : NULL;
	size_t length;
	char *line;

	if (!end) {
		lines->scanned = lines->used;
		return NULL;
	}
	length = (size_t)(end - lines->bytes);
	line = malloc(length + 1);
	if (!line)
		return NULL;
	memcpy(line, lines->bytes, length);
	line[length] = 0;
	lines->used -= length + 1;
	lines->scanned = 0;
	memmove(lines->bytes, end + 1, lines->used);
	return line;
}

void weir_api_lines_fini(struct weir_api_lines *lines)
{
	free(lines->bytes);
	*lines = (struct weir_api_lines){ 0 };
}

char *weir_api_print(const json_t *json, size_t *size)
{
	char *text = json_dumps(json, JSON_COMPACT);
	char *line;

	if (!text)
		return NULL;
	*size = strlen(text) + 1;
	line = realloc(text, *size + 1);
	if (!line) {
		free(text);
		return NULL;
	}
	line[*size - 1] = '\n';
	line[*size] = 0;
	return line;
}

int weir_api_socket_path(const char *instance, char *path, size_t size)
{
	int length = snprintf(path, size, "/run/weir/%s.sock", instance);

	return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

int weir_api_connect(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

static int send_all(int fd, const char *bytes, size_t size)
{
	while (size > 0) {
		ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -errno;
		bytes += sent;
		size -= (size_t)sent;
	}
	return 0;
}

static char *receive_line(int fd)
{
	struct weir_api_lines lines = { 0 };
	char *line = NULL;

	errno = 0;
	while (!line) {
		size_t room;
		char *at = weir_api_lines_room(&lines, &room);
		ssize_t got = at ? recv(fd, at, room, 0) : -1;

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			errno = errno ? errno : ECONNRESET;
			break;
		}
		weir_api_lines_add(&lines, (size_t)got);
		line = weir_api_lines_take(&lines);
	}
	weir_api_lines_fini(&lines);
	return line;
}

json_t *weir_api_ask(int fd, const json_t *request)
{
	size_t size;
	char *line = weir_api_print(request, &size);
	json_t *answer;
	int err;

	if (!line) {
		errno = ENOMEM;
		return NULL;
	}
	err = send_all(fd, line, size);
	free(line);
	if (err) {
		errno = -err;
		return NULL;
	}
	line = receive_line(fd);
	if (!line)
		return NULL;
	answer = json_loads(line, 0, NULL);
	free(line);
	if (!answer)
		errno = EPROTO;
	return answer;
}
