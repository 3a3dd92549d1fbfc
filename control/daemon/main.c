// weir: reads the topology, takes the instance, starts the router, answers weirctl until it is told to end. One thread for
// all of this; the workers have their own (dataplane/io/worker.h).
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "control/daemon/answer.h"
#include "control/daemon/config.h"
#include "control/daemon/discard.h"
#include "control/daemon/files.h"
#include "control/daemon/instance.h"
#include "control/daemon/lanes.h"
#include "control/daemon/listener.h"
#include "control/daemon/machine.h"
#include "control/daemon/options.h"
#include "control/daemon/router.h"
#include "control/daemon/say.h"
#include "control/daemon/server.h"
#include "control/daemon/signals.h"
#include "lib/clock.h"
#include "lib/standard.h"

#define SAMPLE_NS 1000000000ull
#define EXIT_HOST 1 // the host misses something, or the start failed
#define EXIT_CONFIG 2 // command line or topology file

struct daemon {
	struct weir_options options;
	struct weir_instance instance;
	struct weir_router *router;
	struct weir_server *server;
	struct weir_reaper *reaper;
	struct weir_lanes *lanes;
	struct weir_listener lanes_listener; // for lanes alone; fd -1: there is none
	int signal_fd;
	bool is_short; // of descriptors, and said so
	int wake_fd; // readable with a signal, or when there is something to do for lanes
};

static void say_trouble(const struct weir_trouble *trouble, const char *file)
{
	char text[1200];

	weir_trouble_text(trouble, file, text, sizeof(text));
	weir_say(WEIR_SAY_ERROR, "%s", text);
}

// ---- Answers ----

// What the command line says stands above what any file says.
static void override(const struct weir_options *options, struct weir_topology *topology)
{
	if (options->instance)
		snprintf(topology->instance, sizeof(topology->instance), "%s", options->instance);
	if (options->poll >= 0)
		topology->poll = (enum weir_topology_poll)options->poll;
}

static struct weir_topology *topology_of(const struct daemon *daemon, json_t *arguments, struct weir_trouble *trouble)
{
	const char *text = json_string_value(json_object_get(arguments, "text"));
	struct weir_topology *topology;

	if (!text) {
		weir_trouble_set(trouble, "request", "read the topology", "use a weirctl of the same version as weir",
				 "expected the file's text in the argument `text`");
		return NULL;
	}
	if (weir_config_parse(&topology, text, strlen(text), trouble) != 0)
		return NULL;
	override(&daemon->options, topology);
	return topology;
}

// NULL: *trouble was said.
static json_t *apply_topology(struct daemon *daemon, struct weir_topology *topology, const struct weir_discards *discards,
			      const char *file, struct weir_trouble *trouble)
{
	struct weir_outcome outcome;
	json_t *answer = NULL;

	if (weir_router_apply(daemon->router, topology, discards, &outcome, trouble) == 0) {
		answer = weir_answer_outcome(&outcome);
		weir_say(WEIR_SAY_INFO, "applied %s: %u changes in %.1f ms, revision %llu", file ? file : "a topology",
			 outcome.change_count, (double)outcome.duration_ns / 1e6, (unsigned long long)outcome.revision);
	} else {
		say_trouble(trouble, file);
	}
	weir_outcome_fini(&outcome);
	return answer;
}

static json_t *apply(struct daemon *daemon, json_t *arguments, struct weir_trouble *trouble)
{
	const char *file = json_string_value(json_object_get(arguments, "file"));
	const json_t *list = json_object_get(arguments, "discard");
	size_t count = json_array_size(list);
	const char **names = calloc(count + 1, sizeof(*names));
	struct weir_discards discards = { .names = names };
	struct weir_topology *topology = names ? topology_of(daemon, arguments, trouble) : NULL;
	json_t *answer = NULL;

	for (size_t i = 0; names && i < count; i++) {
		const char *name = json_string_value(json_array_get(list, i));

		if (name)
			names[discards.count++] = name;
	}
	if (topology)
		answer = apply_topology(daemon, topology, &discards, file, trouble);
	free(names);
	return answer;
}

static json_t *plan(struct daemon *daemon, json_t *arguments, struct weir_trouble *trouble)
{
	struct weir_router *router = daemon->router;
	struct weir_topology *topology;
	struct weir_plan *wanted = NULL;
	struct weir_diff *diff = NULL;
	json_t *answer = NULL;

	if (!json_object_get(arguments, "text"))
		return weir_answer_plan(router->machine, router->topology, router->plan, NULL);
	topology = topology_of(daemon, arguments, trouble);
	if (!topology)
		return NULL;
	if (weir_plan_create(&wanted, router->machine, topology, router->plan, trouble) == 0 &&
	    weir_diff_create(&diff, router->topology, router->plan, topology, wanted, trouble) == 0 &&
	    weir_router_check(router, topology, wanted, trouble) == 0)
		answer = weir_answer_plan(router->machine, topology, wanted, diff);
	// What apply would ask for is no reason not to see the plan.
	if (answer && weir_discard_check(router, diff, NULL, trouble) != 0) {
		char text[1200];

		weir_trouble_text(trouble, NULL, text, sizeof(text));
		json_array_append_new(json_object_get(answer, "warnings"), json_string(text));
	}
	weir_diff_destroy(diff);
	weir_plan_destroy(wanted);
	weir_topology_destroy(topology);
	return answer;
}

static json_t *status(struct daemon *daemon, json_t *arguments, struct weir_trouble *trouble)
{
	size_t index;
	json_t *name;

	json_array_foreach(json_object_get(arguments, "topics"), index, name)
	{
		const char *text = json_is_string(name) ? json_string_value(name) : "";
		char object[160];

		if (weir_router_find(daemon->router, text))
			continue;
		snprintf(object, sizeof(object), "topic %s", text);
		weir_trouble_set(trouble, object, "show it", "see their names by `weirctl status`",
				 "there is no topic of this name");
		return NULL;
	}
	return weir_answer_status(daemon->router, arguments);
}

static json_t *handle(void *context, enum weir_command command, json_t *arguments, struct weir_trouble *trouble)
{
	struct daemon *daemon = context;

	weir_trouble_set(trouble, "weir", "answer", "free some memory", "out of memory");
	switch (command) {
	case WEIR_COMMAND_STATUS:
		return status(daemon, arguments, trouble);
	case WEIR_COMMAND_LEDGER:
		return weir_answer_ledger(daemon->router);
	case WEIR_COMMAND_PLAN:
		return plan(daemon, arguments, trouble);
	case WEIR_COMMAND_APPLY:
		return apply(daemon, arguments, trouble);
	default:
		return json_pack("{s:s, s:i}", "weir", WEIR_VERSION_TEXT, "protocol", (int)WEIR_VERSION);
	}
}

// ---- Life ----

static struct weir_topology *load(const struct weir_options *options)
{
	struct weir_topology *topology = NULL;
	struct weir_trouble trouble;
	size_t size;
	char *text;

	if (weir_config_load(options->config, &text, &size, &trouble) != 0) {
		say_trouble(&trouble, NULL);
		return NULL;
	}
	if (weir_config_parse(&topology, text, size, &trouble) != 0)
		say_trouble(&trouble, options->config);
	else
		override(options, topology);
	free(text);
	return topology;
}

static int check(const struct weir_options *options, struct weir_topology *topology, const struct weir_machine *machine)
{
	struct weir_trouble trouble;
	struct weir_plan *placed;
	json_t *answer;

	if (weir_plan_create(&placed, machine, topology, NULL, &trouble) != 0) {
		say_trouble(&trouble, options->config);
		return EXIT_CONFIG;
	}
	answer = weir_answer_plan(machine, topology, placed, NULL);
	json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(answer);
	weir_plan_destroy(placed);
	return 0;
}

static void say_start(const struct weir_router *router)
{
	const struct weir_plan *placed = router->plan;

	for (uint32_t w = 0; w < placed->worker_count; w++)
		weir_say(WEIR_SAY_INFO, "worker %u: %s, node %u, %u shards, %llu KiB of logs", w, placed->workers[w].reason,
			 placed->workers[w].node, placed->workers[w].shards,
			 (unsigned long long)(placed->workers[w].log_bytes >> 10));
	for (uint32_t i = 0; i < placed->warning_count && i < WEIR_PLAN_WARNINGS_MAX; i++)
		weir_say(WEIR_SAY_WARNING, "%s", placed->warnings[i]);
	weir_say(WEIR_SAY_INFO, "ready: instance %s, %u workers, %u ports, %u topics", router->topology->instance,
		 router->topology->worker_count, router->topology->port_count, router->topic_count);
}

// What is wrong with the file is said, and the router goes on with what it has.
static void reload(struct daemon *daemon)
{
	struct weir_topology *topology = load(&daemon->options);
	struct weir_trouble trouble;

	if (topology)
		json_decref(apply_topology(daemon, topology, NULL, daemon->options.config, &trouble));
}

static void take_lane(void *context, int fd)
{
	weir_lanes_take(((struct daemon *)context)->lanes, fd);
}

static int watch(struct daemon *daemon)
{
	const int fds[] = { daemon->signal_fd, weir_lanes_fd(daemon->lanes) };
	struct epoll_event event = { .events = EPOLLIN };

	daemon->wake_fd = epoll_create1(EPOLL_CLOEXEC);
	for (size_t i = 0; daemon->wake_fd >= 0 && i < sizeof(fds) / sizeof(*fds); i++) {
		if (epoll_ctl(daemon->wake_fd, EPOLL_CTL_ADD, fds[i], &event) != 0)
			return -errno;
	}
	return daemon->wake_fd < 0 ? -errno : 0;
}

// Once for as long as it lasts.
static void say_short(struct daemon *daemon)
{
	bool is_short = weir_server_is_short(daemon->server);

	if (is_short && !daemon->is_short)
		weir_say(WEIR_SAY_WARNING,
			 "control socket: cannot take a connection: all %llu descriptors are in use. Fix: raise the limit of "
			 "open files (LimitNOFILE= of the service, ulimit -n)",
			 (unsigned long long)weir_files_limit());
	daemon->is_short = is_short;
}

// Until a signal says so: its number.
static int serve(struct daemon *daemon)
{
	uint64_t sampled = lib_clock_ns();
	int lanes_ms = -1;
	int signal;

	weir_router_sample(daemon->router, sampled);
	while ((signal = weir_signals_take(daemon->signal_fd)) == 0 || signal == SIGHUP) {
		uint64_t time_ns = lib_clock_ns();
		int wait_ms;

		if (signal == SIGHUP)
			reload(daemon);
		if (time_ns - sampled >= SAMPLE_NS) {
			weir_router_settle(daemon->router);
			weir_router_sample(daemon->router, time_ns);
			say_short(daemon);
			weir_lanes_watch_pins(daemon->lanes, time_ns);
			sampled = time_ns;
		}
		wait_ms = (int)((sampled + SAMPLE_NS - time_ns) / 1000000 + 1);
		weir_server_run(daemon->server, daemon->wake_fd, lanes_ms >= 0 && lanes_ms < wait_ms ? lanes_ms : wait_ms);
		lanes_ms = weir_lanes_run(daemon->lanes);
	}
	return signal;
}

// The socket of applications: they need no right to command.
static int open_lanes_socket(struct daemon *daemon, struct weir_trouble *trouble)
{
	const struct weir_topology *topology = daemon->router->topology;
	const struct group *group = topology->lanes_group[0] ? getgrnam(topology->lanes_group) : NULL;
	int err;

	if (topology->lanes_group[0] && !group) {
		weir_trouble_set(trouble, "lanes.group", "give it their socket", "make the group (groupadd), or name another",
				 "there is no group %s", topology->lanes_group);
		return -ENOENT;
	}
	err = weir_listener_open(&daemon->lanes_listener, daemon->instance.lanes_path, topology->lanes_mode,
				 WEIR_LANES_GREETING_MAX, trouble);
	if (err)
		return err;
	if (group && chown(daemon->instance.lanes_path, (uid_t)-1, group->gr_gid) != 0) {
		err = -errno;
		weir_trouble_set(trouble, "lanes.group", "give it their socket", "run weir as a member of the group",
				 "%s", strerror(-err));
		return err;
	}
	return weir_lanes_listen(daemon->lanes, daemon->lanes_listener.fd);
}

static int serve_lanes(struct daemon *daemon, struct weir_trouble *trouble)
{
	const struct weir_topology *topology = daemon->router->topology;
	int err = weir_lanes_create(&daemon->lanes, daemon->router, daemon->reaper, trouble);

	if (!err && topology->lanes_per_worker && topology->lanes_mode)
		err = open_lanes_socket(daemon, trouble);
	return err ? err : watch(daemon);
}

static void end_lanes(struct daemon *daemon)
{
	weir_lanes_destroy(daemon->lanes);
	weir_reaper_destroy(daemon->reaper);
	weir_listener_close(&daemon->lanes_listener);
	if (daemon->wake_fd >= 0)
		close(daemon->wake_fd);
}

static int run(struct daemon *daemon, struct weir_machine *machine, struct weir_topology *topology)
{
	const char *terms_path = daemon->instance.terms_path;
	struct weir_router_options router = {
		.counters_path = daemon->instance.counters_path,
		.terms_path = terms_path[0] ? terms_path : NULL,
	};
	struct weir_server_config server = {
		.path = daemon->instance.socket_path,
		.mode = topology->control_mode,
		.handler = handle,
		.lane = take_lane,
		.context = daemon,
		.silent_ms = WEIR_SERVER_SILENT_MS,
		.idle_ms = WEIR_SERVER_IDLE_MS,
		.reading_ms = WEIR_SERVER_READING_MS,
	};
	struct weir_trouble trouble;
	int err;

	// The socket first: it costs nothing, and a mistake in it should not cost a start. Nobody is answered before the router
	// runs, because nobody is served.
	err = weir_reaper_create(&daemon->reaper, &trouble);
	server.reaper = daemon->reaper;
	if (!err)
		err = weir_server_create(&daemon->server, &server, &trouble);
	if (err) {
		free(machine);
		weir_topology_destroy(topology);
	} else {
		err = weir_router_start(&daemon->router, machine, topology, &router, &trouble);
	}
	if (!err)
		err = serve_lanes(daemon, &trouble);
	if (err) {
		say_trouble(&trouble, trouble.mark.line ? daemon->options.config : NULL);
		weir_server_destroy(daemon->server);
		weir_router_stop(daemon->router);
		end_lanes(daemon);
		return EXIT_HOST;
	}
	say_start(daemon->router);
	weir_say(WEIR_SAY_INFO, "ending on %s", strsignal(serve(daemon)));
	weir_server_destroy(daemon->server);
	weir_router_stop(daemon->router);
	end_lanes(daemon);
	weir_say(WEIR_SAY_INFO, "ended");
	return 0;
}

static int start(struct daemon *daemon)
{
	struct weir_topology *topology = load(&daemon->options);
	struct weir_trouble trouble;
	struct weir_machine *machine;
	int result;

	if (!topology)
		return EXIT_CONFIG;
	result = weir_machine_describe(&machine, daemon->options.machine);
	if (result) {
		weir_say(WEIR_SAY_ERROR, "machine %s: cannot read its topology: %s. Fix: check /sys, or --machine",
			 daemon->options.machine ? daemon->options.machine : "", strerror(-result));
		weir_topology_destroy(topology);
		return EXIT_HOST;
	}
	if (daemon->options.is_check) {
		result = check(&daemon->options, topology, machine);
		weir_topology_destroy(topology);
		free(machine);
		return result;
	}
	if (weir_instance_take(&daemon->instance, topology->instance, daemon->options.socket, &trouble) != 0) {
		say_trouble(&trouble, NULL);
		weir_topology_destroy(topology);
		free(machine);
		return EXIT_HOST;
	}
	result = run(daemon, machine, topology);
	weir_instance_release(&daemon->instance);
	return result;
}

int main(int count, char **words)
{
	struct daemon daemon = { .signal_fd = -1, .wake_fd = -1, .lanes_listener = { .fd = -1 } };
	int result;

	lib_standard_open();
	result = weir_options_parse(&daemon.options, count, words);
	if (result != 0)
		return lib_output_end("weir", result > 0 ? 0 : EXIT_CONFIG, EXIT_HOST);
	weir_files_raise_limit();
	daemon.signal_fd = weir_signals_open();
	if (daemon.signal_fd < 0) {
		weir_say(WEIR_SAY_ERROR, "signals: cannot read them: %s. Fix: raise the limit of open files",
			 strerror(-daemon.signal_fd));
		return EXIT_HOST;
	}
	result = weir_say_begin();
	if (result)
		weir_say(WEIR_SAY_WARNING, "log: cannot write it beside: %s. Who stops reading it stops the router's control",
			 strerror(-result));
	result = lib_output_end("weir", start(&daemon), EXIT_HOST);
	weir_say_end();
	close(daemon.signal_fd);
	return result;
}
