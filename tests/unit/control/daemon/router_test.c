// The running router with real workers on loopback: what apply does, and that a refused one leaves everything as it was.
// No root: workers run unpinned and at ordinary priority where the host does not permit more.
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "control/daemon/answer.h"
#include "control/daemon/config.h"
#include "control/daemon/machine.h"
#include "control/daemon/router.h"

struct fixture {
	struct weir_router *router;
	char counters[64];
	char head[256]; // of every topology
	uint32_t patience_ms;
};

static struct weir_topology *topology_of(const struct fixture *fixture, const char *topics, struct weir_trouble *trouble)
{
	struct weir_topology *topology;
	size_t size = strlen(fixture->head) + strlen(topics) + 1;
	char *text = malloc(size);

	snprintf(text, size, "%s%s", fixture->head, topics);
	cr_assert_eq(weir_config_parse(&topology, text, strlen(text), trouble), 0, "%s: %s", trouble->object, trouble->reason);
	free(text);
	return topology;
}

static void begin(struct fixture *fixture, const char *topics)
{
	struct weir_router_options options = { .counters_path = fixture->counters, .patience_ms = fixture->patience_ms };
	struct weir_trouble trouble;
	struct weir_machine *machine;
	int err;

	snprintf(fixture->counters, sizeof(fixture->counters), "/tmp/weir-router-%d.counters", (int)getpid());
	// A loopback address of the test's own, so that tests side by side do not meet.
	snprintf(fixture->head, sizeof(fixture->head),
		 "hugepages: off\nworkers: [{core: auto}, {core: auto}]\n"
		 "ports: [{name: p, kind: kernel, address: 127.%d.%d.1, udp_port: 29347}]\n",
		 (getpid() >> 8 & 127) + 100, getpid() & 255);
	cr_assert_eq(weir_machine_detect(&machine), 0);
	err = weir_router_start(&fixture->router, machine, topology_of(fixture, topics, &trouble), &options, &trouble);
	cr_assert_eq(err, 0, "%s: %s: %s", trouble.object, trouble.action, trouble.reason);
}

static void end(struct fixture *fixture)
{
	weir_router_stop(fixture->router);
	cr_assert_neq(access(fixture->counters, F_OK), 0, "the counters file stayed");
}

// "kind topic/group shard;" of what was done.
static void apply(struct fixture *fixture, const char *topics, char *done, size_t size)
{
	struct weir_trouble trouble;
	struct weir_outcome outcome;
	size_t used = 0;
	int err = weir_router_apply(fixture->router, topology_of(fixture, topics, &trouble), NULL, &outcome, &trouble);

	cr_assert_eq(err, 0, "%s: %s: %s", trouble.object, trouble.action, trouble.reason);
	done[0] = 0;
	for (uint32_t c = 0; c < outcome.change_count; c++) {
		const struct weir_change *change = &outcome.changes[c].change;

		used += (size_t)snprintf(done + used, size - used, "%s %s/%s %u;", weir_change_name(change->kind),
					 change->topic, change->group, change->shard);
	}
	weir_outcome_fini(&outcome);
}

static char *topics_text(const struct fixture *fixture)
{
	json_t *status = weir_answer_status(fixture->router, NULL);
	char *text = json_dumps(json_object_get(status, "topics"), JSON_COMPACT | JSON_SORT_KEYS);

	json_decref(status);
	return text;
}

// Applies what must be refused, and checks that nothing changed by it.
static void refused(struct fixture *fixture, const char *topics, const char *object, const char *says)
{
	char *before = topics_text(fixture);
	uint64_t revision = fixture->router->revision;
	struct weir_trouble trouble;
	struct weir_outcome outcome;
	struct weir_topology *topology = topology_of(fixture, topics, &trouble);
	char *after;

	cr_assert_lt(weir_router_apply(fixture->router, topology, NULL, &outcome, &trouble), 0, "accepted: %s", topics);
	weir_outcome_fini(&outcome);
	after = topics_text(fixture);
	cr_assert_str_eq(trouble.object, object);
	cr_assert(strstr(trouble.reason, says), "%s", trouble.reason);
	cr_assert_neq(trouble.fix[0], 0);
	cr_assert_str_eq(before, after);
	cr_assert_eq(fixture->router->revision, revision);
	cr_assert(!fixture->router->is_broken);
	free(before);
	free(after);
}

#define BASE "topics: [{name: a, shards: 2, homes: {0: 0, 1: 1}, groups: [{name: g}]}]\n"

Test(router, topics_and_groups_come_go_and_move, .timeout = 30)
{
	struct fixture fixture = { 0 };
	char done[512];

	begin(&fixture, BASE);
	cr_assert_eq(fixture.router->revision, 1);
	apply(&fixture, BASE, done, sizeof(done));
	cr_assert_str_eq(done, "");
	cr_assert_eq(fixture.router->revision, 1);
	apply(&fixture, "topics: [{name: b, groups: [{name: x}]}, {name: a, shards: 2, homes: {0: 1}, groups: [{name: h}]}]\n",
	      done, sizeof(done));
	cr_assert_str_eq(done, "topic-added b/ 0;group-added b/x 0;group-added a/h 0;shard-moved a/ 0;group-removed a/g 0;");
	cr_assert_eq(fixture.router->revision, 2);
	cr_assert_eq(weir_router_find(fixture.router, "a")->owner[0], 1);
	apply(&fixture, "", done, sizeof(done));
	cr_assert_str_eq(done, "topic-removed b/ 0;topic-removed a/ 0;");
	cr_assert_eq(fixture.router->topic_count, 0);
	cr_assert_eq(fixture.router->group_count, 0);
	end(&fixture);
}

Test(router, a_groups_quota_and_timeout_change_while_it_lives, .timeout = 30)
{
	struct fixture fixture = { 0 };
	uint32_t id;
	char done[512];

	begin(&fixture, "topics: [{name: a, shards: 2, groups: [{name: f, kind: follow}]}]\n");
	id = fixture.router->topics[0]->groups[0]->spec.id.value;
	apply(&fixture,
	      "topics: [{name: a, shards: 2, groups: [{name: f, kind: follow, quota: 64KiB, progress_timeout: 2s}]}]\n", done,
	      sizeof(done));
	cr_assert_str_eq(done, "group-changed a/f 0;");
	cr_assert_eq(fixture.router->topics[0]->groups[0]->spec.id.value, id);
	cr_assert_eq(fixture.router->snapshot->topics[0].groups[0].quota_bytes, 65536);
	cr_assert_eq(fixture.router->snapshot->topics[0].groups[0].progress_timeout_ns, 2000000000u);
	end(&fixture);
}

Test(router, ids_of_topics_and_groups_are_never_used_twice, .timeout = 30)
{
	struct fixture fixture = { 0 };
	uint32_t topic;
	uint32_t group;
	char done[512];

	begin(&fixture, BASE);
	topic = fixture.router->topics[0]->spec.id.value;
	group = fixture.router->topics[0]->groups[0]->spec.id.value;
	apply(&fixture, "", done, sizeof(done));
	apply(&fixture, BASE, done, sizeof(done));
	cr_assert_gt(fixture.router->topics[0]->spec.id.value, topic);
	cr_assert_gt(fixture.router->topics[0]->groups[0]->spec.id.value, group);
	end(&fixture);
}

Test(router, a_refused_apply_changes_nothing, .timeout = 60)
{
	struct fixture fixture = { 0 };

	begin(&fixture, BASE);
	refused(&fixture, "topics: [{name: a, shards: 3}]\n", "topic a", "fixed for the topic's life");
	refused(&fixture, BASE "limits: {park_frames: 99}\n", "limits", "never later");
	// Room for events was set aside at start.
	refused(&fixture, "topics: [{name: b}, {name: large, log: 16MiB, event_max: 1MiB}]\n", "topic large", "room");
	// The first topics of the file could be made; the last one cannot, and takes them along.
	refused(&fixture,
		"topics: [{name: b, shards: 9, log: 64KiB, groups: [{name: x}]}, {name: huge, shards: 4096, log: 64GiB}]\n",
		"topic huge", "emory");
	end(&fixture);
}

Test(router, groups_past_the_limit_are_refused_and_all_of_them_undone, .timeout = 60)
{
	struct fixture fixture = { 0 };
	char *topics = calloc(1, 1u << 16);
	size_t used = (size_t)sprintf(topics, "topics:\n- {name: a, shards: 2, groups: [{name: g}]}\n");

	begin(&fixture, BASE);
	for (int t = 0; t < 9; t++) {
		used += (size_t)sprintf(topics + used, "- {name: t%d, log: 64KiB, groups: [{name: g0}", t);
		for (int g = 1; g < 64; g++)
			used += (size_t)sprintf(topics + used, ", {name: g%d}", g);
		used += (size_t)sprintf(topics + used, "]}\n");
	}
	refused(&fixture, topics, "group g63 of topic t7", "limit of groups");
	cr_assert_eq(fixture.router->group_count, 1);
	free(topics);
	end(&fixture);
}

Test(router, every_answer_is_made_of_a_running_router, .timeout = 30)
{
	struct fixture fixture = { 0 };
	json_t *ledger;
	json_t *plan;

	begin(&fixture, BASE);
	ledger = weir_answer_ledger(fixture.router);
	cr_assert_eq(json_integer_value(json_object_get(ledger, "unexplained")), 0);
	cr_assert_eq(json_array_size(json_object_get(ledger, "workers")), 2);
	cr_assert_eq(json_array_size(json_object_get(ledger, "shards")), 2);
	cr_assert_eq(json_array_size(json_object_get(ledger, "groups")), 2);
	plan = weir_answer_plan(fixture.router->machine, fixture.router->topology, fixture.router->plan, NULL);
	cr_assert_eq(json_array_size(json_object_get(plan, "workers")), 2);
	json_decref(plan);
	json_decref(ledger);
	end(&fixture);
}

Test(router, a_port_in_use_is_refused_by_name_and_leaves_nothing, .timeout = 30)
{
	struct weir_router_options options = { 0 };
	struct fixture fixture = { 0 };
	struct weir_router *second;
	struct weir_machine *machine;
	struct weir_trouble trouble;
	char counters[80];

	begin(&fixture, BASE);
	snprintf(counters, sizeof(counters), "%s.second", fixture.counters);
	options.counters_path = counters;
	cr_assert_eq(weir_machine_detect(&machine), 0);
	cr_assert_lt(weir_router_start(&second, machine, topology_of(&fixture, BASE, &trouble), &options, &trouble), 0);
	cr_assert(strstr(trouble.object, "29347"), "%s", trouble.object);
	cr_assert_neq(access(counters, F_OK), 0, "the counters file stayed");
	end(&fixture);
}

Test(router, shards_that_need_more_descriptors_than_there_are_are_refused_with_numbers, .timeout = 60)
{
	struct fixture fixture = { 0 };
	struct rlimit limit;

	begin(&fixture, BASE);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = 100;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	refused(&fixture,
		"topics: [{name: a, shards: 2, homes: {0: 0, 1: 1}, groups: [{name: g}]}, {name: b, shards: 90, log: 64KiB}]\n",
		"topic b", "90 descriptors");
	end(&fixture);
}

// ---- A worker that stands still: a debugger holds its thread, and nothing else of the process ----

struct debugger {
	pid_t pid;
	int go; // closed: it lets go
};

static pid_t thread_named(const char *name)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	pid_t found = 0;

	while (!found && (entry = readdir(tasks)) != NULL) {
		char path[300];
		char comm[32] = "";
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		if (fgets(comm, sizeof(comm), file) && strcspn(comm, "\n") == strlen(name) &&
		    strncmp(comm, name, strlen(name)) == 0)
			found = atoi(entry->d_name);
		fclose(file);
	}
	closedir(tasks);
	return found;
}

static void debug(pid_t thread, int begin, int ready, int go)
{
	char byte = 0;
	int status;

	if (read(begin, &byte, 1) != 1 || ptrace(PTRACE_SEIZE, thread, NULL, NULL) != 0 ||
	    ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) != 0 || waitpid(thread, &status, __WALL) != thread)
		_exit(1);
	(void)!write(ready, &byte, 1);
	(void)!read(go, &byte, 1);
	_exit(ptrace(PTRACE_DETACH, thread, NULL, NULL) != 0);
}

static struct debugger stop_worker(uint32_t worker)
{
	struct debugger debugger = { 0 };
	int begin[2], ready[2], go[2];
	char name[16];
	char byte = 0;
	pid_t thread;

	snprintf(name, sizeof(name), "weir-w%u", worker);
	thread = thread_named(name);
	cr_assert_gt(thread, 0, "no thread %s", name);
	cr_assert(pipe(begin) == 0 && pipe(ready) == 0 && pipe(go) == 0);
	debugger.pid = fork();
	if (debugger.pid == 0) {
		close(go[1]);
		close(ready[0]);
		debug(thread, begin[0], ready[1], go[0]);
	}
	prctl(PR_SET_PTRACER, debugger.pid);
	cr_assert_eq(write(begin[1], &byte, 1), 1);
	close(ready[1]);
	cr_assert_eq(read(ready[0], &byte, 1), 1, "this host permits no debugger: kernel.yama.ptrace_scope");
	close(begin[0]);
	close(begin[1]);
	close(ready[0]);
	close(go[0]);
	debugger.go = go[1];
	return debugger;
}

static void let_go(const struct debugger *debugger)
{
	int status;

	close(debugger->go);
	cr_assert_eq(waitpid(debugger->pid, &status, 0), debugger->pid);
	cr_assert_eq(status, 0);
}

static void settle(struct fixture *fixture)
{
	for (int i = 0; fixture->router->unfinished && i < 2000; i++) {
		weir_router_settle(fixture->router);
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	cr_assert_null(fixture->router->unfinished);
	cr_assert(!fixture->router->is_broken);
}

// Worker 1 stands still: the apply is given up, and so is another one before it is back.
static struct debugger late(struct fixture *fixture, const char *topics, const char *says)
{
	struct debugger debugger = stop_worker(1);

	for (int i = 0; i < 2; i++) {
		struct weir_outcome outcome;
		struct weir_trouble trouble;
		int err = weir_router_apply(fixture->router, topology_of(fixture, topics, &trouble), NULL, &outcome, &trouble);

		cr_assert_eq(err, i == 0 ? -EINPROGRESS : -EBUSY);
		cr_assert(strstr(trouble.object, "worker 1"), "%s", trouble.object);
		cr_assert(strstr(trouble.reason, "unknown"), "%s", trouble.reason);
		cr_assert(strstr(trouble.reason, says), "%s", trouble.reason);
		cr_assert(strstr(trouble.fix, "apply again"), "%s", trouble.fix);
		weir_outcome_fini(&outcome);
		weir_router_settle(fixture->router);
		cr_assert_not_null(fixture->router->unfinished);
	}
	return debugger;
}

#define STOPPED_FIXTURE { .patience_ms = 100 }

Test(router, what_a_stopped_worker_was_told_to_make_is_undone_when_it_is_back, .timeout = 60)
{
	static const char MORE[] = "topics:\n- {name: a, shards: 2, homes: {0: 0, 1: 1}, groups: [{name: g}, {name: h}]}\n"
				   "- {name: b, shards: 4, groups: [{name: x}, {name: y, kind: follow}]}\n";
	struct fixture fixture = STOPPED_FIXTURE;
	struct debugger debugger;
	char done[512];
	char *before;
	char *after;

	begin(&fixture, BASE);
	before = topics_text(&fixture);
	debugger = late(&fixture, MORE, "in force");
	let_go(&debugger);
	settle(&fixture);
	after = topics_text(&fixture);
	cr_assert_str_eq(before, after);
	cr_assert_eq(fixture.router->revision, 1);
	apply(&fixture, MORE, done, sizeof(done));
	cr_assert_str_eq(done, "topic-added b/ 0;group-added a/h 0;group-added b/x 0;group-added b/y 0;");
	free(before);
	free(after);
	end(&fixture);
}

Test(router, what_a_stopped_worker_had_half_done_is_completed_when_it_is_back, .timeout = 60)
{
	static const char *const CHANGES[] = {
		BASE "limits: {window_frames: 77}\n", // the workers read limits
		"topics: [{name: a, shards: 2, homes: {0: 1, 1: 0}, groups: [{name: g}]}]\n", // a move
		"topics: [{name: a, shards: 2, groups: [{name: h, kind: follow}]}]\n", // may not be in force yet
		"topics: [{name: a, shards: 2, groups: [{name: h, kind: follow, quota: 64KiB}]}]\n",
		"", // snapshot, removals
	};
	static const char *const SAYS[] = { "completed", "completed", "undone", "completed", "completed" };
	struct fixture fixture = STOPPED_FIXTURE;
	char done[512];

	begin(&fixture, BASE);
	for (size_t i = 0; i < sizeof(CHANGES) / sizeof(*CHANGES); i++) {
		struct debugger debugger = late(&fixture, CHANGES[i], SAYS[i]);

		let_go(&debugger);
		settle(&fixture);
		apply(&fixture, CHANGES[i], done, sizeof(done));
		cr_assert_eq(done[0] == 0, strcmp(SAYS[i], "completed") == 0, "%s", done);
	}
	cr_assert_eq(fixture.router->topic_count, 0);
	cr_assert_eq(fixture.router->group_count, 0);
	end(&fixture);
}

Test(router, the_end_of_a_router_leaves_alone_what_a_stopped_worker_may_have, .timeout = 60)
{
	struct fixture fixture = STOPPED_FIXTURE;
	struct debugger debugger;

	begin(&fixture, BASE);
	debugger = late(&fixture, "topics: [{name: b, shards: 4, groups: [{name: x}]}]\n", "in force");
	let_go(&debugger);
	end(&fixture);
}
