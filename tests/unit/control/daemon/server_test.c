// The control socket with real clients: who may connect, requests cut and glued, answers larger than a socket's buffer,
// clients that go away, files left by the dead.
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/api/protocol.h"
#include "control/daemon/server.h"

#define LARGE (3u << 20)

struct fixture {
	char folder[64];
	char path[100];
	struct weir_server *server;
	pthread_t thread;
	atomic_bool is_over;
};

// status: a large answer; ledger: a refusal in a file; others: the arguments back.
static json_t *answer(void *context, enum weir_command command, json_t *arguments, struct weir_trouble *trouble)
{
	if (command == WEIR_COMMAND_STATUS) {
		char *text = malloc(LARGE + 1);
		json_t *result;

		memset(text, 'x', LARGE);
		text[LARGE] = 0;
		result = json_pack("{s:s}", "text", text);
		free(text);
		return result;
	}
	if (command == WEIR_COMMAND_LEDGER) {
		weir_trouble_set(trouble, "topic a", "read it", "correct it", "it is wrong");
		trouble->mark = (struct weir_mark){ 3, 5 };
		return NULL;
	}
	return json_deep_copy(arguments);
}

static void *serve(void *context)
{
	struct fixture *fixture = context;

	while (!atomic_load(&fixture->is_over))
		weir_server_run(fixture->server, -1, 5);
	return NULL;
}

static int create(struct fixture *fixture, struct weir_trouble *trouble)
{
	struct weir_server_config config = { .path = fixture->path, .mode = 0640, .handler = answer };

	return weir_server_create(&fixture->server, &config, trouble);
}

static void begin(struct fixture *fixture)
{
	struct weir_trouble trouble;

	memset(fixture, 0, sizeof(*fixture));
	snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/weir-server-XXXXXX");
	cr_assert_not_null(mkdtemp(fixture->folder));
	snprintf(fixture->path, sizeof(fixture->path), "%s/s", fixture->folder);
	cr_assert_eq(create(fixture, &trouble), 0, "%s", trouble.reason);
	cr_assert_eq(pthread_create(&fixture->thread, NULL, serve, fixture), 0);
}

static void end(struct fixture *fixture)
{
	atomic_store(&fixture->is_over, true);
	pthread_join(fixture->thread, NULL);
	weir_server_destroy(fixture->server);
	cr_assert_neq(access(fixture->path, F_OK), 0, "the socket file stayed");
	rmdir(fixture->folder);
}

static json_t *ask(int fd, enum weir_command command, json_t *arguments)
{
	json_t *request = weir_api_request(command, arguments);
	json_t *reply = weir_api_ask(fd, request);

	json_decref(request);
	cr_assert_not_null(reply, "%s", strerror(errno));
	return reply;
}

Test(server, a_client_gets_one_answer_a_request, .timeout = 20)
{
	struct fixture fixture;
	int fd;

	begin(&fixture);
	fd = weir_api_connect(fixture.path);
	cr_assert_geq(fd, 0);
	for (int i = 0; i < 100; i++) {
		json_t *reply = ask(fd, WEIR_COMMAND_PLAN, json_pack("{s:i}", "n", i));

		cr_assert_eq(json_integer_value(json_object_get(json_object_get(reply, "result"), "n")), i);
		json_decref(reply);
	}
	close(fd);
	end(&fixture);
}

Test(server, an_answer_larger_than_the_sockets_buffer_arrives_whole, .timeout = 20)
{
	struct fixture fixture;
	json_t *reply;
	int fd;

	begin(&fixture);
	fd = weir_api_connect(fixture.path);
	reply = ask(fd, WEIR_COMMAND_STATUS, NULL);
	cr_assert_eq(json_string_length(json_object_get(json_object_get(reply, "result"), "text")), LARGE);
	json_decref(reply);
	close(fd);
	end(&fixture);
}

Test(server, a_client_that_reads_nothing_delays_no_other, .timeout = 20)
{
	static const char ASK[] = "{\"command\": \"status\", \"arguments\": {}}\n";
	struct fixture fixture;
	json_t *reply;
	int lazy;
	int fd;

	begin(&fixture);
	lazy = weir_api_connect(fixture.path);
	for (int i = 0; i < 5; i++)
		cr_assert_eq(send(lazy, ASK, sizeof(ASK) - 1, MSG_NOSIGNAL), (ssize_t)sizeof(ASK) - 1);
	fd = weir_api_connect(fixture.path);
	reply = ask(fd, WEIR_COMMAND_PLAN, json_pack("{s:i}", "n", 1));
	cr_assert(json_is_true(json_object_get(reply, "ok")));
	json_decref(reply);
	close(fd);
	close(lazy);
	end(&fixture);
}

Test(server, requests_sent_at_once_are_answered_in_order, .timeout = 20)
{
	static const char ASK[] = "{\"command\": \"plan\", \"arguments\": {\"n\": 1}}\n"
				  "{\"command\": \"plan\", \"arguments\": {\"n\": 2}}\n{\"command\": \"pl";
	struct fixture fixture;
	json_t *reply;
	char bytes[512] = "";
	size_t used = 0;
	int fd;

	begin(&fixture);
	fd = weir_api_connect(fixture.path);
	cr_assert_eq(send(fd, ASK, sizeof(ASK) - 1, MSG_NOSIGNAL), (ssize_t)sizeof(ASK) - 1);
	while (used < 2 || strchr(bytes, '\n') == strrchr(bytes, '\n')) {
		ssize_t got = recv(fd, bytes + used, sizeof(bytes) - 1 - used, 0);

		cr_assert_gt(got, 0);
		used += (size_t)got;
		bytes[used] = 0;
	}
	cr_assert_lt(strstr(bytes, "\"n\":1"), strstr(bytes, "\"n\":2"), "%s", bytes);
	cr_assert_eq(send(fd, "an\"}", 4, MSG_NOSIGNAL), 4);
	reply = ask(fd, WEIR_COMMAND_PLAN, NULL);
	// The half request and the next one make one line that is no JSON.
	cr_assert(json_is_false(json_object_get(reply, "ok")));
	json_decref(reply);
	close(fd);
	end(&fixture);
}

Test(server, a_refusal_says_where_in_the_file, .timeout = 20)
{
	struct fixture fixture;
	json_t *reply;
	json_t *error;
	int fd;

	begin(&fixture);
	fd = weir_api_connect(fixture.path);
	reply = ask(fd, WEIR_COMMAND_LEDGER, json_pack("{s:s}", "file", "a.yaml"));
	error = json_object_get(reply, "error");
	cr_assert_str_eq(json_string_value(json_object_get(error, "file")), "a.yaml");
	cr_assert_eq(json_integer_value(json_object_get(error, "line")), 3);
	cr_assert_str_eq(json_string_value(json_object_get(error, "reason")), "it is wrong");
	json_decref(reply);
	close(fd);
	end(&fixture);
}

Test(server, clients_come_and_go_in_the_middle_of_a_request, .timeout = 20)
{
	struct fixture fixture;

	begin(&fixture);
	for (int i = 0; i < 300; i++) {
		int fd = weir_api_connect(fixture.path);

		cr_assert_geq(fd, 0, "%s", strerror(-fd));
		cr_assert_eq(send(fd, "{\"comm", 6, MSG_NOSIGNAL), 6);
		close(fd);
	}
	end(&fixture);
}

Test(server, the_socket_has_the_file_mode_it_was_given, .timeout = 20)
{
	struct fixture fixture;
	struct stat stat_of;

	begin(&fixture);
	cr_assert_eq(stat(fixture.path, &stat_of), 0);
	cr_assert_eq(stat_of.st_mode & 0777, 0640);
	end(&fixture);
}

Test(server, a_second_server_on_a_living_socket_is_refused, .timeout = 20)
{
	struct fixture fixture;
	struct fixture second;
	struct weir_trouble trouble;

	begin(&fixture);
	memset(&second, 0, sizeof(second));
	memcpy(second.path, fixture.path, sizeof(second.path));
	cr_assert_eq(create(&second, &trouble), -EADDRINUSE);
	cr_assert(strstr(trouble.object, fixture.path));
	cr_assert_null(second.server);
	end(&fixture);
}

Test(server, a_socket_file_of_the_dead_is_replaced, .timeout = 20)
{
	struct fixture fixture;
	struct weir_trouble trouble;
	struct weir_server *dead;
	char hidden[120];

	begin(&fixture);
	// What a kill -9 leaves: the file, and nobody who listens.
	snprintf(hidden, sizeof(hidden), "%s.left", fixture.path);
	cr_assert_eq(rename(fixture.path, hidden), 0);
	dead = fixture.server;
	atomic_store(&fixture.is_over, true);
	pthread_join(fixture.thread, NULL);
	weir_server_destroy(dead);
	cr_assert_eq(rename(hidden, fixture.path), 0);
	cr_assert_eq(create(&fixture, &trouble), 0, "%s", trouble.reason);
	atomic_store(&fixture.is_over, false);
	cr_assert_eq(pthread_create(&fixture.thread, NULL, serve, &fixture), 0);
	end(&fixture);
}
