// A poll loop over a listening socket and its connections. A client that does not read its answer keeps it in memory and
// is not served further; one that sends an endless line, says nothing or reads nothing for long is cut off, and who is idle
// gives way when places or descriptors run out. Control thread.
#include "control/daemon/server.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/api/protocol.h"
#include "control/daemon/listener.h"
#include "lib/clock.h"

#define LISTENER UINT32_MAX // instead of a client's place
#define WAKER (UINT32_MAX - 1)
#define LANE_LETTER 'W' // a local client's first byte (wire/lane.h); JSON never begins so

#define MS 1000000ull
#define YIELDS_NS (1000 * MS) // idle for so long, a client gives way to one who knocks
#define DEAF_NS (100 * MS)    // nobody is heard for so long when the router has no descriptor for who knocks
#define ANSWER_PATIENCE 6u    // times reading_ms: the whole of an answer

struct client {
	int fd; // -1: free
	bool is_heard; // its first byte was looked at
	bool has_asked; // a whole request
	struct weir_api_lines lines;
	char *answer; // being sent
	size_t answer_size;
	size_t answer_sent;
	uint64_t moved_ns;  // when it came, had asked or got something
	uint64_t answer_ns; // when the answer was begun
};

struct weir_server {
	struct weir_server_config config;
	struct weir_listener listener;
	uint64_t deaf_ns; // until then
	bool is_short; // of descriptors, not said yet
	struct client clients[WEIR_SERVER_CLIENTS_MAX];
};

int weir_server_create(struct weir_server **out, const struct weir_server_config *config, struct weir_trouble *trouble)
{
	struct weir_server *server = calloc(1, sizeof(*server));
	int err;

	weir_trouble_set(trouble, "control socket", "listen there", "free some memory", "out of memory");
	if (!server)
		return -ENOMEM;
	server->config = *config;
	for (uint32_t i = 0; i < WEIR_SERVER_CLIENTS_MAX; i++)
		server->clients[i].fd = -1;
	err = weir_listener_open(&server->listener, config->path, config->mode, WEIR_SERVER_CLIENTS_MAX, trouble);
	if (err) {
		free(server);
		return err;
	}
	*out = server;
	return 0;
}

static void hang_up(const struct weir_server *server, struct client *client)
{
	if (client->fd >= 0)
		weir_local_close(server->config.reaper, weir_local_uid(client->fd), client->fd);
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
			hang_up(server, &server->clients[i]);
	}
	weir_listener_close(&server->listener);
	free(server);
}

// ---- Who gets a place ----

// For whom nothing is to be done, the longest; NULL: everybody is busy, or has just come.
static struct client *longest_idle(struct weir_server *server, uint64_t now_ns)
{
	struct client *found = NULL;

	for (uint32_t i = 0; i < WEIR_SERVER_CLIENTS_MAX; i++) {
		struct client *client = &server->clients[i];

		if (client->fd >= 0 && !client->answer && now_ns - client->moved_ns >= YIELDS_NS &&
		    (!found || client->moved_ns < found->moved_ns))
			found = client;
	}
	return found;
}

static struct client *free_place(struct weir_server *server)
{
	for (uint32_t i = 0; i < WEIR_SERVER_CLIENTS_MAX; i++) {
		if (server->clients[i].fd < 0)
			return &server->clients[i];
	}
	return NULL;
}

static bool is_short_of(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

// One who knocked. Who says nothing gives way, its place or, where there is no other, its descriptor. false: nobody more.
static bool take_one(struct weir_server *server, uint64_t now_ns)
{
	struct client *place = free_place(server);
	struct client *idle = longest_idle(server, now_ns);
	int fd;

	if (!place && idle) {
		hang_up(server, idle);
		place = idle;
		idle = longest_idle(server, now_ns);
	}
	if (!place)
		return false;
	fd = accept4(server->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0 && is_short_of(errno) && idle) {
		hang_up(server, idle);
		fd = accept4(server->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	}
	if (fd < 0) {
		// They go on knocking: hearing them all the time would leave no time for anything else.
		if (is_short_of(errno)) {
			server->deaf_ns = now_ns + DEAF_NS;
			server->is_short = true;
		}
		return errno == ECONNABORTED || errno == EINTR;
	}
	*place = (struct client){ .fd = fd, .moved_ns = now_ns };
	return true;
}

// Who neither asks nor reads is not waited for.
static void hang_up_late(struct weir_server *server, uint64_t now_ns)
{
	const struct weir_server_config *config = &server->config;

	for (uint32_t i = 0; i < WEIR_SERVER_CLIENTS_MAX; i++) {
		struct client *client = &server->clients[i];
		uint32_t patience_ms = client->has_asked ? config->idle_ms : config->silent_ms;

		if (client->fd < 0)
			continue;
		if (client->answer)
			patience_ms = config->reading_ms;
		if (now_ns - client->moved_ns >= patience_ms * MS ||
		    (client->answer && now_ns - client->answer_ns >= ANSWER_PATIENCE * config->reading_ms * MS))
			hang_up(server, client);
	}
}

// ---- Requests and answers ----

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
		client->moved_ns = lib_clock_ns();
		if (client->answer_sent == client->answer_size) {
			free(client->answer);
			client->answer = NULL;
		}
	}
	return true;
}

// One request a turn, so that a client that sends many has no more of the thread than others. false: cut it off.
static bool answer_line(struct weir_server *server, struct client *client)
{
	char *line = client->answer ? NULL : weir_api_lines_take(&client->lines);
	json_t *answer;

	if (!line)
		return true;
	answer = answer_to(server, line);
	free(line);
	client->answer = answer ? weir_api_print(answer, &client->answer_size) : NULL;
	client->answer_sent = 0;
	client->has_asked = true;
	client->moved_ns = lib_clock_ns();
	client->answer_ns = client->moved_ns;
	json_decref(answer);
	return client->answer && send_answer(client);
}

static bool has_request(const struct client *client)
{
	return client->fd >= 0 && !client->answer && weir_api_lines_has(&client->lines);
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
		ssize_t got = at ? weir_local_receive(client->fd, at, room) : 0;

		if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
			return false;
		if (got > 0)
			weir_api_lines_add(&client->lines, (size_t)got);
	}
	return answer_line(server, client);
}

// Descriptors alone, no gaps: poll() refuses more than the process may have open. Returns how many.
static nfds_t who_to_wait_for(struct weir_server *server, int wake_fd, uint64_t now_ns, struct pollfd *fds, uint32_t *whose)
{
	nfds_t count = 0;

	// Who knocks is heard when there is a place, not all the time.
	if (now_ns >= server->deaf_ns && (free_place(server) || longest_idle(server, now_ns))) {
		whose[count] = LISTENER;
		fds[count++] = (struct pollfd){ .fd = server->listener.fd, .events = POLLIN };
	}
	if (wake_fd >= 0) {
		whose[count] = WAKER;
		fds[count++] = (struct pollfd){ .fd = wake_fd, .events = POLLIN };
	}
	for (uint32_t i = 0; i < WEIR_SERVER_CLIENTS_MAX; i++) {
		const struct client *client = &server->clients[i];

		if (client->fd < 0)
			continue;
		whose[count] = i;
		fds[count++] = (struct pollfd){ .fd = client->fd, .events = client->answer ? POLLOUT : POLLIN };
	}
	return count;
}

void weir_server_run(struct weir_server *server, int wake_fd, int timeout_ms)
{
	struct pollfd fds[2 + WEIR_SERVER_CLIENTS_MAX];
	uint32_t whose[2 + WEIR_SERVER_CLIENTS_MAX];
	nfds_t count;
	bool has_knock = false;

	hang_up_late(server, lib_clock_ns());
	count = who_to_wait_for(server, wake_fd, lib_clock_ns(), fds, whose);
	for (nfds_t i = 0; i < count; i++) {
		if (whose[i] < WEIR_SERVER_CLIENTS_MAX && has_request(&server->clients[whose[i]]))
			timeout_ms = 0;
	}
	if (poll(fds, count, timeout_ms) < 0)
		return;
	for (nfds_t i = 0; i < count; i++) {
		struct client *client = whose[i] < WEIR_SERVER_CLIENTS_MAX ? &server->clients[whose[i]] : NULL;

		if (whose[i] == LISTENER)
			has_knock = fds[i].revents & POLLIN;
		else if (client && (fds[i].revents || has_request(client)) && !serve(server, client, fds[i].revents))
			hang_up(server, client);
	}
	for (uint32_t i = 0; has_knock && i < WEIR_SERVER_CLIENTS_MAX; i++)
		has_knock = take_one(server, lib_clock_ns());
}

bool weir_server_is_short(struct weir_server *server)
{
	bool is_short = server->is_short;

	server->is_short = false;
	return is_short;
}
