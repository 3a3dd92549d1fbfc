// The control socket with real clients: who may connect, requests cut and glued, answers larger than a socket's buffer,
// clients that go away, files left by the dead.
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "control/api/protocol.h"
#include "control/daemon/server.h"
#include "tests/support/lingering.h"

#define LARGE (3u << 20)

struct fixture {
	char folder[64];
	char path[100];
	struct weir_server *server;
	pthread_t thread;
	atomic_bool is_over;
	struct weir_reaper *reaper;
	uint32_t silent_ms; // 0: the daemon's
	uint32_t reading_ms;
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
	if (!fixture->reaper)
		cr_assert_eq(weir_reaper_create(&fixture->reaper, trouble), 0);
	struct weir_server_config config = {
		.reaper = fixture->reaper,
		.path = fixture->path,
		.mode = 0640,
		.handler = answer,
		.silent_ms = fixture->silent_ms ? fixture->silent_ms : WEIR_SERVER_SILENT_MS,
		.idle_ms = WEIR_SERVER_IDLE_MS,
		.reading_ms = fixture->reading_ms ? fixture->reading_ms : WEIR_SERVER_READING_MS,
	};

	return weir_server_create(&fixture->server, &config, trouble);
}

static void begin(struct fixture *fixture)
{
	struct weir_trouble trouble;

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
	weir_reaper_destroy(fixture->reaper);
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
	struct fixture fixture = { 0 };
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
	struct fixture fixture = { 0 };
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
	struct fixture fixture = { 0 };
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
	struct fixture fixture = { 0 };
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
	struct fixture fixture = { 0 };
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
	struct fixture fixture = { 0 };

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
	struct fixture fixture = { 0 };
	struct stat stat_of;

	begin(&fixture);
	cr_assert_eq(stat(fixture.path, &stat_of), 0);
	cr_assert_eq(stat_of.st_mode & 0777, 0640);
	end(&fixture);
}

Test(server, a_second_server_on_a_living_socket_is_refused, .timeout = 20)
{
	struct fixture fixture = { 0 };
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
	struct fixture fixture = { 0 };
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

// ---- Clients that cost others something ----

static void is_answered(const struct fixture *fixture)
{
	int fd = weir_api_connect(fixture->path);
	json_t *reply;

	cr_assert_geq(fd, 0, "%s", strerror(-fd));
	reply = ask(fd, WEIR_COMMAND_PLAN, json_pack("{s:i}", "n", 1));
	cr_assert(json_is_true(json_object_get(reply, "ok")));
	json_decref(reply);
	close(fd);
}

Test(server, connections_that_say_nothing_shut_nobody_out, .timeout = 30)
{
	struct fixture fixture = { 0 };
	int silent[WEIR_SERVER_CLIENTS_MAX];

	begin(&fixture);
	for (uint32_t i = 0; i < WEIR_SERVER_CLIENTS_MAX; i++)
		silent[i] = weir_api_connect(fixture.path);
	is_answered(&fixture);
	for (uint32_t i = 0; i < WEIR_SERVER_CLIENTS_MAX; i++)
		close(silent[i]);
	end(&fixture);
}

Test(server, who_says_nothing_is_cut_off_in_time_and_who_asked_is_not, .timeout = 30)
{
	struct fixture fixture = { .silent_ms = 50 };
	json_t *reply;
	char byte;
	int silent;
	int half;
	int fd;

	begin(&fixture);
	fd = weir_api_connect(fixture.path);
	json_decref(ask(fd, WEIR_COMMAND_PLAN, NULL));
	silent = weir_api_connect(fixture.path);
	half = weir_api_connect(fixture.path);
	cr_assert_eq(send(half, "{\"comm", 6, MSG_NOSIGNAL), 6);
	cr_assert_eq(recv(silent, &byte, 1, 0), 0);
	cr_assert_leq(recv(half, &byte, 1, 0), 0);
	reply = ask(fd, WEIR_COMMAND_PLAN, NULL);
	json_decref(reply);
	close(fd);
	close(half);
	close(silent);
	end(&fixture);
}

Test(server, who_takes_nothing_of_an_answer_is_cut_off_in_time, .timeout = 30)
{
	static const char ASK[] = "{\"command\": \"status\", \"arguments\": {}}\n";
	struct fixture fixture = { .reading_ms = 50 };
	char bytes[4096];
	size_t all = 0;
	ssize_t got;
	int lazy;

	begin(&fixture);
	lazy = weir_api_connect(fixture.path);
	cr_assert_eq(send(lazy, ASK, sizeof(ASK) - 1, MSG_NOSIGNAL), (ssize_t)sizeof(ASK) - 1);
	for (int i = 0; send(lazy, "x", 1, MSG_NOSIGNAL) == 1; i++) {
		cr_assert_lt(i, 2000, "it is still served");
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	while ((got = recv(lazy, bytes, sizeof(bytes), 0)) > 0)
		all += (size_t)got;
	cr_assert_lt(all, LARGE);
	is_answered(&fixture);
	close(lazy);
	end(&fixture);
}

// A client that asks and reads as fast as it can: its requests lie in the buffer, and the thread is not its own.
Test(server, a_client_with_thousands_of_requests_has_one_answer_a_turn, .timeout = 30)
{
	static const char ASK[] = "{\"command\":\"plan\",\"arguments\":{}}\n";
	struct fixture fixture = { 0 };
	static char asks[1000 * (sizeof(ASK) - 1)];
	char answers[1 << 16];
	uint32_t turns = 0;
	int busy;
	int fd;

	begin(&fixture);
	atomic_store(&fixture.is_over, true);
	pthread_join(fixture.thread, NULL);
	busy = weir_api_connect(fixture.path);
	fd = weir_api_connect(fixture.path);
	for (int i = 0; i < 1000; i++)
		memcpy(asks + i * (sizeof(ASK) - 1), ASK, sizeof(ASK) - 1);
	cr_assert_eq(send(busy, asks, sizeof(asks), MSG_NOSIGNAL | MSG_DONTWAIT), (ssize_t)sizeof(asks));
	cr_assert_eq(send(fd, ASK, sizeof(ASK) - 1, MSG_NOSIGNAL), (ssize_t)sizeof(ASK) - 1);
	while (recv(fd, answers, sizeof(answers), MSG_DONTWAIT) < 0) {
		cr_assert_lt(turns++, 10, "the other one waits");
		weir_server_run(fixture.server, -1, 5);
	}
	for (uint32_t got = 0; got < 1000; turns++) {
		ssize_t size;

		weir_server_run(fixture.server, -1, -1);
		size = recv(busy, answers, sizeof(answers), MSG_DONTWAIT);
		for (ssize_t i = 0; i < size; i++)
			got += answers[i] == '\n';
	}
	atomic_store(&fixture.is_over, false);
	cr_assert_eq(pthread_create(&fixture.thread, NULL, serve, &fixture), 0);
	close(fd);
	close(busy);
	end(&fixture);
}

static uint64_t thread_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

// The server alone runs in this process; the clients are another one's.
Test(server, out_of_descriptors_it_neither_spins_nor_leaves_anybody_out, .timeout = 30)
{
	struct fixture fixture = { 0 };
	struct rlimit limit;
	struct rlimit before;
	struct timespec now;
	uint64_t begun;
	time_t until;
	char byte = 0;
	int go[2];
	pid_t child;

	begin(&fixture);
	atomic_store(&fixture.is_over, true);
	pthread_join(fixture.thread, NULL);
	cr_assert_eq(pipe(go), 0);
	child = fork();
	if (child == 0) {
		for (int i = 0; i < 60; i++)
			weir_api_connect(fixture.path);
		(void)!write(go[1], &byte, 1);
		is_answered(&fixture);
		_exit(0);
	}
	cr_assert_eq(read(go[0], &byte, 1), 1);
	getrlimit(RLIMIT_NOFILE, &before);
	limit = before;
	limit.rlim_cur = (rlim_t)(dup(0) + 12);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	begun = thread_ms();
	clock_gettime(CLOCK_MONOTONIC, &now);
	until = now.tv_sec + 20;
	while (waitpid(child, NULL, WNOHANG) == 0) {
		weir_server_run(fixture.server, -1, 100);
		clock_gettime(CLOCK_MONOTONIC, &now);
		cr_assert_lt(now.tv_sec, until, "nobody was answered");
	}
	cr_assert_lt(thread_ms() - begun, 200);
	cr_assert(weir_server_is_short(fixture.server));
	setrlimit(RLIMIT_NOFILE, &before);
	atomic_store(&fixture.is_over, false);
	cr_assert_eq(pthread_create(&fixture.thread, NULL, serve, &fixture), 0);
	close(go[0]);
	close(go[1]);
	end(&fixture);
}

// ---- Paths ----

// What lies there is refused by what it is, and stays.
static void stays(struct fixture *fixture, const char *says)
{
	struct weir_trouble trouble;
	struct stat before;
	struct stat after;

	cr_assert_eq(lstat(fixture->path, &before), 0);
	cr_assert_lt(create(fixture, &trouble), 0);
	cr_assert(strstr(trouble.object, fixture->path), "%s", trouble.object);
	cr_assert(strstr(trouble.reason, says), "%s", trouble.reason);
	cr_assert_eq(lstat(fixture->path, &after), 0);
	cr_assert_eq(before.st_ino, after.st_ino);
	cr_assert_eq(before.st_size, after.st_size);
}

Test(server, what_is_no_dead_socket_of_ours_stays, .timeout = 20)
{
	struct fixture fixture = { 0 };
	char target[120];
	int fd;

	snprintf(fixture.folder, sizeof(fixture.folder), "/tmp/weir-server-XXXXXX");
	cr_assert_not_null(mkdtemp(fixture.folder));
	snprintf(fixture.path, sizeof(fixture.path), "%s/s", fixture.folder);
	snprintf(target, sizeof(target), "%s/target", fixture.folder);
	fd = open(fixture.path, O_CREAT | O_WRONLY, 0644);
	cr_assert_eq(write(fd, "notes", 5), 5);
	close(fd);
	stays(&fixture, "a file");
	cr_assert_eq(rename(fixture.path, target), 0);
	cr_assert_eq(symlink(target, fixture.path), 0);
	stays(&fixture, "a symbolic link");
	cr_assert_eq(unlink(fixture.path), 0);
	cr_assert_eq(symlink("/nonexistent", fixture.path), 0);
	stays(&fixture, "a symbolic link");
	cr_assert_eq(unlink(fixture.path), 0);
	cr_assert_eq(mkdir(fixture.path, 0755), 0);
	stays(&fixture, "a directory");
	cr_assert_eq(rmdir(fixture.path), 0);
	cr_assert_eq(mkfifo(fixture.path, 0644), 0);
	stays(&fixture, "a pipe");
	cr_assert_eq(unlink(fixture.path), 0);
	unlink(target);
	rmdir(fixture.folder);
}

Test(server, the_end_removes_no_file_but_its_own, .timeout = 20)
{
	struct fixture fixture = { 0 };
	int fd;

	begin(&fixture);
	cr_assert_eq(unlink(fixture.path), 0);
	fd = open(fixture.path, O_CREAT | O_WRONLY | O_EXCL, 0644);
	cr_assert_geq(fd, 0);
	close(fd);
	atomic_store(&fixture.is_over, true);
	pthread_join(fixture.thread, NULL);
	weir_server_destroy(fixture.server);
	cr_assert_eq(unlink(fixture.path), 0, "it was removed");
	rmdir(fixture.folder);
}

// The message's is the last hold on a descriptor whose close() waits two minutes. It is not received, and its close is not the
// server's turn.
Test(server, a_descriptor_that_comes_with_a_request_holds_up_nobody, .timeout = 20)
{
	struct fixture fixture = { 0 };
	struct weir_trouble trouble;
	const char request[] = "{\"command\": \"version\"}\n";
	int keep[2];
	char byte;

	snprintf(fixture.folder, sizeof(fixture.folder), "/tmp/weir-server-XXXXXX");
	cr_assert_not_null(mkdtemp(fixture.folder));
	snprintf(fixture.path, sizeof(fixture.path), "%s/s", fixture.folder);
	cr_assert_eq(create(&fixture, &trouble), 0, "%s", trouble.reason);
	// Before anybody serves, or the test's own close() might be the last.
	int slow = lingering(keep);
	int fd = weir_api_connect(fixture.path);
	cr_assert(send_descriptors(fd, request, sizeof(request) - 1, &slow, 1));
	close(slow);
	cr_assert_eq(pthread_create(&fixture.thread, NULL, serve, &fixture), 0);
	cr_expect_leq(recv(fd, &byte, 1, 0), 0, "a request with a descriptor was answered");
	close(fd);
	fd = weir_api_connect(fixture.path);
	json_decref(ask(fd, WEIR_COMMAND_VERSION, NULL));
	close(fd);
	close(keep[0]);
	close(keep[1]);
	end(&fixture);
}
