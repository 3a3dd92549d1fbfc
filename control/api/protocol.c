// Requests, answers and refusals as JSON lines, see control/api/protocol.h. Both ends use it, so that neither can drift;
// only connecting and asking touch a socket.
#include "control/api/protocol.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/clock.h"

#define RUN_DIRECTORY "/run/weir"
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

bool weir_api_lines_has(const struct weir_api_lines *lines)
{
	return lines->bytes && memchr(lines->bytes + lines->scanned, '\n', lines->used - lines->scanned);
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

// $XDG_RUNTIME_DIR/weir, an ordinary user's own; false: there is none, or it does not fit.
static bool user_directory(char *path, size_t size)
{
	const char *base = getenv("XDG_RUNTIME_DIR");
	int length = base && base[0] == '/' && geteuid() != 0 ? snprintf(path, size, "%s/weir", base) : -1;

	return length >= 0 && (size_t)length < size;
}

int weir_api_run_directory(char *path, size_t size)
{
	if (access(RUN_DIRECTORY, W_OK) != 0 && user_directory(path, size))
		return 0;
	return (size_t)snprintf(path, size, RUN_DIRECTORY) < size ? 0 : -ENAMETOOLONG;
}

int weir_api_socket_path(const char *instance, char *path, size_t size)
{
	int length = snprintf(path, size, RUN_DIRECTORY "/%s.sock", instance);
	char directory[sizeof(((struct sockaddr_un *)0)->sun_path)], own[sizeof(directory) + 80];

	if (length < 0 || (size_t)length >= size)
		return -ENAMETOOLONG;
	if (access(path, F_OK) == 0 || !user_directory(directory, sizeof(directory)))
		return 0;
	length = snprintf(own, sizeof(own), "%s/%.64s.sock", directory, instance);
	if ((size_t)length < size && access(own, F_OK) == 0)
		memcpy(path, own, (size_t)length + 1);
	return 0;
}

// A daemon that was stopped takes no connection; behind a full queue connect() would wait for ever.
static int limit_wait(int fd, uint64_t deadline_ns)
{
	int left_ms = lib_deadline_left_ms(deadline_ns);
	struct timeval left = { .tv_sec = left_ms / 1000, .tv_usec = left_ms % 1000 * 1000 };

	if (left_ms == 0)
		return -EAGAIN;
	return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof(left)) ? -errno : 0;
}

int weir_api_connect_by(const char *path, uint64_t deadline_ns)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, err;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = limit_wait(fd, deadline_ns);
	if (!err && connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		err = -errno;
	if (!err)
		return fd;
	close(fd);
	return err;
}

int weir_api_connect(const char *path)
{
	return weir_api_connect_by(path, lib_deadline_in_ms(WEIR_API_WAIT_MS));
}

// 0, or -ETIMEDOUT.
static int wait_for(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd wanted = { .fd = fd, .events = events };
	int ready;

	do
		ready = poll(&wanted, 1, lib_deadline_left_ms(deadline_ns));
	while (ready < 0 && errno == EINTR);
	return ready > 0 ? 0 : ready < 0 ? -errno : -ETIMEDOUT;
}

static int send_all(int fd, const char *bytes, size_t size, uint64_t deadline_ns)
{
	while (size > 0) {
		ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
		int err = sent < 0 && errno == EAGAIN ? wait_for(fd, POLLOUT, deadline_ns) : 0;

		if (err)
			return err;
		if (sent < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		bytes += sent > 0 ? sent : 0;
		size -= sent > 0 ? (size_t)sent : 0;
	}
	return 0;
}

// NULL: *err says why.
static char *receive_line(int fd, uint64_t deadline_ns, int *err)
{
	struct weir_api_lines lines = { 0 };
	char *line = NULL;

	*err = 0;
	while (!line && !*err) {
		size_t room;
		char *at = weir_api_lines_room(&lines, &room);
		ssize_t got = at ? recv(fd, at, room, MSG_DONTWAIT) : 0;

		if (!at)
			*err = -ENOBUFS;
		else if (got == 0)
			*err = -ECONNRESET;
		else if (got < 0 && errno == EAGAIN)
			*err = wait_for(fd, POLLIN, deadline_ns);
		else if (got < 0 && errno != EINTR)
			*err = -errno;
		if (got > 0) {
			weir_api_lines_add(&lines, (size_t)got);
			line = weir_api_lines_take(&lines);
		}
	}
	weir_api_lines_fini(&lines);
	return line;
}

json_t *weir_api_ask_by(int fd, const json_t *request, uint64_t deadline_ns)
{
	size_t size;
	char *line = weir_api_print(request, &size);
	json_t *answer = NULL;
	int err = line ? send_all(fd, line, size, deadline_ns) : -ENOMEM;

	free(line);
	line = err ? NULL : receive_line(fd, deadline_ns, &err);
	if (line) {
		answer = json_loads(line, 0, NULL);
		free(line);
		err = answer ? 0 : -EPROTO;
	}
	errno = -err;
	return answer;
}

json_t *weir_api_ask(int fd, const json_t *request)
{
	return weir_api_ask_by(fd, request, lib_deadline_in_ms(WEIR_API_WAIT_MS));
}
