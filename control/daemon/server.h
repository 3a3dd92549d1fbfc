// The control socket: takes connections, cuts requests, hands them to the handler one by one, sends the answers. Its file
// mode says who may command. Control thread; never blocks on a client.
#ifndef WEIR_DAEMON_SERVER_H
#define WEIR_DAEMON_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "control/api/command.h"
#include "control/daemon/reaper.h"
#include "control/model/trouble.h"

#define WEIR_SERVER_CLIENTS_MAX 64u // further ones take the place of who is idle, or wait in the socket's queue

struct weir_server;

// Returns the result (a new reference), or NULL with *trouble; *file is the name of the file that trouble's mark is in.
typedef json_t *weir_server_handler(void *context, enum weir_command command, json_t *arguments, struct weir_trouble *trouble);

struct weir_server_config {
	const char *path;
	uint32_t mode; // of the socket file
	weir_server_handler *handler;
	// Takes over a connection whose first byte is that of WEIR_LANE_MAGIC and not of JSON; nothing has been read. NULL: it
	// is read like any other.
	void (*lane)(void *context, int fd);
	void *context;
	struct weir_reaper *reaper; // outlives the server
	// How long a client may say nothing before its first request and after an answer, and take nothing of an answer.
	uint32_t silent_ms;
	uint32_t idle_ms;
	uint32_t reading_ms;
};

#define WEIR_SERVER_SILENT_MS 10000u
#define WEIR_SERVER_IDLE_MS 600000u
#define WEIR_SERVER_READING_MS 10000u

// Binds and listens (control/daemon/listener.h). 0 or -errno with *trouble.
int weir_server_create(struct weir_server **server, const struct weir_server_config *config, struct weir_trouble *trouble);
// Closes connections, removes the file. NULL is allowed.
void weir_server_destroy(struct weir_server *server);

// Waits at most timeout_ms for clients or for `wake_fd` to become readable, and serves the clients.
void weir_server_run(struct weir_server *server, int wake_fd, int timeout_ms);

// Whether somebody knocked since the last call for whom there was no descriptor.
bool weir_server_is_short(struct weir_server *server);

#endif
