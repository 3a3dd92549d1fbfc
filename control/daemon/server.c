// A poll loop over a listening socket and its connections. A client that does not read its answer keeps it in memory and
// is not served further; one that sends an endless line is cut off. Control thread.
#include "control/daemon/server.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/api/protocol.h"

#define LANE_LETTER 'W' // a local client's first byte (wire/lane.h); JSON never begins so

struct client {
	int fd; // -1: free
	bool is_heard; // its first byte was looked at
	struct weir_api_lines lines;
	char *answer; // being sent
	size_t answer_size;
	size_t answer_sent;
};

struct weir_server {
	struct weir_server_config config;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int fd;
	struct client clients[WEIR_SERVER_CLIENTS_MAX];
};

static int refuse(struct weir_trouble *trouble, const char *path, const char *action, const char *fix, int err)
{
	char object[160];

	snprintf(object, sizeof(object), "socket %s", path);
	weir_trouble_set(trouble, object, action, fix, "%s", strerror(-err));
	return err;
}

// Whether somebody answers on the socket file.
static bool is_alive(const char *path)
{
	int fd = weir_api_connect(path);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || fd == -EAGAIN;
}

int weir_server_listen(const char *path, uint32_t mode, uint32_t queue, struct weir_trouble *trouble)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	mode_t mask;
	int fd, err;

	if (strlen(path) >= sizeof(address.sun_path))
		return refuse(trouble, path, "listen there", "use a shorter path", -ENAMETOOLONG);
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (is_alive(path))
		return refuse(trouble, path, "listen there", "give this weir another --instance or --socket", -EADDRINUSE);
	unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return refuse(trouble, path, "make a socket", "raise the limit of open files", -errno);
	// Nobody may connect between bind and chmod.
	mask = umask(0777);
	err = bind(fd, (const struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
	umask(mask);
	if (err) {
		close(fd);
		return refuse(trouble, path, "bind it", "check that the directory exists and may be written", err);
	}
	if (chmod(path, mode) != 0 || listen(fd, (int)queue) != 0) {
		err = -errno;
		close(fd);
		return refuse(trouble, path, "listen there", "check the directory's permissions", err);
	}
	return fd;
}

int weir_server_create(struct weir_server **out, const struct weir_server_config *config, struct weir_trouble *trouble)
{
	struct weir_server *server = calloc(1, sizeof(*server));

	if (!server)
		return refuse(trouble, config->path, "listen there", "free some memory", -ENOMEM);
	server->config = *config;
	for (uint32_t i = 0; i < WEIR_SERVER_CLIENTS_MAX; i++)
		server->clients[i].fd = -1;
	server->fd = weir_server_listen(config->path, config->mode, WEIR_SERVER_CLIENTS_MAX, trouble);
	if (server->fd < 0) {
		int err = server->fd;

		free(server);
		return err;
	}
	memcpy(server->path, config->path, strlen(config->path) + 1);
	*out = server;
	return 0;
}

static void hang_up(struct client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	weir_api_lines_fini(&client->lines);
	free(client->answer);
	*client = (struct client){ .fd = -1 };
}

void weir_server_destroy(struct weir_server *server)
{
	if (!server)
		return;
	for (uint32_t i = 0; i < WEIR_SERVER_CLIENTS_MAX; i++) {
		if (server->clients[i].fd >= 0)
			hang_up(&server->clients[i]);
	}
	close(server->fd);
	unlink(server->path);
	free(server);
}

static void take(struct weir_server *server)
{
	for (uint32_t i = 0; i < WEIR_SERVER_CLIENTS_MAX; i++) {
		struct client *client = &server->clients[i];

		if (client->fd >= 0)
			continue;
		client->fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (client->fd < 0) {
			client->fd = -1;
			return;
		}
	}
}

static json_t *refusal_of(const struct weir_trouble *trouble, json_t *arguments)
{
	const char *file = trouble->mark.line ? json_string_value(json_object_get(arguments, "file")) : NULL;

	return weir_api_refusal(&(struct weir_api_error){
		.object = trouble->object,
		.action = trouble->action,
		.reason = trouble->reason,
		.fix = trouble->fix,
		.file = file,
		.line = trouble->mark.line,
		.column = trouble->mark.column,
	});
}

static json_t *answer_to(struct weir_server *server, const char *line)
{
	json_t *request = json_loads(line, 0, NULL);
	struct weir_trouble trouble = { 0 };
	json_t *arguments;
	json_t *answer = NULL;
	enum weir_command command = weir_api_parse(request, &arguments, &answer);

	if (command != WEIR_COMMAND_COUNT) {
		json_t *result = server->config.handler(server->config.context, command, arguments, &trouble);

		answer = result ? weir_api_result(result) : refusal_of(&trouble, arguments);
	}
	json_decref(request);
	return answer;
}

// false: the client is to be cut off.
static bool send_answer(struct client *client)
{
	while (client->answer) {
		ssize_t sent = send(client->fd, client->answer + client->answer_sent, client->answer_size - client->answer_sent,
				    MSG_NOSIGNAL);

		if (sent < 0)
			return errno == EAGAIN || errno == EINTR;
		client->answer_sent += (size_t)sent;
		if (client->answer_sent == client->answer_size) {
			free(client->answer);
			client->answer = NULL;
		}
	}
	return true;
}

static bool answer_lines(struct weir_server *server, struct client *client)
{
	char *line;

	while (!client->answer && (line = weir_api_lines_take(&client->lines)) != NULL) {
		json_t *answer = answer_to(server, line);

		free(line);
		client->answer = answer ? weir_api_print(answer, &client->answer_size) : NULL;
		client->answer_sent = 0;
		json_decref(answer);
		if (!client->answer || !send_answer(client))
			return false;
	}
	return true;
}

// Whether it wants a lane and was given away. Descriptors that lie behind the byte are left there.
static bool is_lane(struct weir_server *server, struct client *client)
{
	char first = 0;
	ssize_t got = recv(client->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);

	client->is_heard = got > 0;
	if (!client->is_heard || first != LANE_LETTER || !server->config.lane)
		return false;
	server->config.lane(server->config.context, client->fd);
	client->fd = -1;
	return true;
}

static bool serve(struct weir_server *server, struct client *client, short events)
{
	if ((events & POLLOUT) && !send_answer(client))
		return false;
	if ((events & POLLIN) && !client->is_heard && is_lane(server, client))
		return false;
	if (events & (POLLIN | POLLHUP | POLLERR)) {
		size_t room;
		char *at = weir_api_lines_room(&client->lines, &room);
		ssize_t got = at ? recv(client->fd, at, room, 0) : 0;

		if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
			return false;
		if (got > 0)
			weir_api_lines_add(&client->lines, (size_t)got);
	}
	return answer_lines(server, client);
}

void weir_server_run(struct weir_server *server, int wake_fd, int timeout_ms)
{
	struct pollfd fds[2 + WEIR_SERVER_CLIENTS_MAX];

	fds[0] = (struct pollfd){ .fd = -1, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = wake_fd, .events = POLLIN };
	for (uint32_t i = 0; i < WEIR_SERVER_CLIENTS_MAX; i++) {
		const struct client *client = &server->clients[i];

		fds[2 + i] = (struct pollfd){ .fd = client->fd, .events = client->answer ? POLLOUT : POLLIN };
		// Who knocks is heard when there is a place, not all the time.
		if (client->fd < 0)
			fds[0].fd = server->fd;
	}
	if (poll(fds, 2 + WEIR_SERVER_CLIENTS_MAX, timeout_ms) <= 0)
		return;
	for (uint32_t i = 0; i < WEIR_SERVER_CLIENTS_MAX; i++) {
		if (fds[2 + i].fd >= 0 && fds[2 + i].revents && !serve(server, &server->clients[i], fds[2 + i].revents))
			hang_up(&server->clients[i]);
	}
	if (fds[0].revents & POLLIN)
		take(server);
}
