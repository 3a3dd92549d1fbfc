// A router of the run's own: a weir daemon with the topology that the scenario needs, on a loopback port that the system picks,
// under an instance name that nobody else has; ended with the run. And weirctl, asked for status and ledger of whichever
// router the run talks to. The conductor's thread.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "perf/run_parts.h"

#define START_NS (20 * RUN_SECOND_NS)
#define STOP_NS (5 * RUN_SECOND_NS)
#define ROUTER_NICE (-15)

struct run_router {
	pid_t pid;
	char config[64];
	char log[64];
};

// A program of weir: beside this one, where the build puts it, or along PATH.
static void program_find(const char *name, const char *folder, char *path, size_t size)
{
	char self[512];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[length > 0 ? length : 0] = 0;
	char *slash = strrchr(self, '/');
	if (slash)
		*slash = 0;
	snprintf(path, size, "%.400s/%s", self, name);
	if (access(path, X_OK) == 0)
		return;
	snprintf(path, size, "%.400s/../control/%s/%s", self, folder, name);
	if (access(path, X_OK))
		snprintf(path, size, "%s", name);
}

json_t *run_router_ask(const struct weir_run *run, const char *command)
{
	char program[512];
	char line[768];
	if (!run->instance[0])
		return NULL;
	program_find("weirctl", "ctl", program, sizeof(program));
	snprintf(line, sizeof(line), "'%s' --instance '%s' --json %s 2>/dev/null", program, run->instance, command);
	FILE *pipe = popen(line, "re");
	json_t *answer = pipe ? json_loadf(pipe, 0, NULL) : NULL;
	if (pipe)
		pclose(pipe);
	if (json_object_get(answer, "error")) {
		json_decref(answer);
		return NULL;
	}
	return answer;
}

// A UDP port that is free now, 0: none.
static uint32_t port_pick(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint32_t port = 0;
	if (fd >= 0 && bind(fd, (struct sockaddr *)&address, size) == 0 &&
	    getsockname(fd, (struct sockaddr *)&address, &size) == 0)
		port = ntohs(address.sin_port);
	if (fd >= 0)
		close(fd);
	return port;
}

static int config_write(struct weir_run *run, struct run_router *router, uint32_t port)
{
	char *text = weir_scenario_topology(run->scenario, run->instance, port);
	int fd = mkostemp(strcpy(router->config, "/tmp/weirperf-router-XXXXXX"), O_CLOEXEC);
	int result = !text ? -ENOMEM : fd < 0 ? -errno : 0;
	if (result == 0 && write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		result = -EIO;
	if (fd >= 0)
		close(fd);
	else
		router->config[0] = 0;
	free(text);
	return result;
}

static void child_main(const struct run_router *router, int log)
{
	char program[512];
	// The conductor says when to end; Ctrl-C is for the load first.
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	// As a router that is measured should run; without the right to, as it can.
	setpriority(PRIO_PROCESS, 0, ROUTER_NICE);
	dup2(log, STDERR_FILENO);
	dup2(log, STDOUT_FILENO);
	program_find("weir", "daemon", program, sizeof(program));
	setenv("STATE_DIRECTORY", "", 1); // nothing of it shall stay
	execlp(program, "weir", "--config", router->config, NULL);
	dprintf(STDERR_FILENO, "%s: %s\n", program, strerror(errno));
	_exit(127);
}

// The last line the router said, without its end.
static void log_tail(const struct run_router *router, char *text, size_t size)
{
	char line[512];
	FILE *file = fopen(router->log, "re");
	text[0] = 0;
	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		if (line[0])
			snprintf(text, size, "%.300s", line);
	}
	if (file)
		fclose(file);
}

bool run_router_is_dead(struct run_router *router)
{
	if (router->pid && waitpid(router->pid, NULL, WNOHANG) == router->pid)
		router->pid = 0;
	return router->pid == 0;
}

static bool is_ready(const struct weir_run *run, struct run_router *router)
{
	uint64_t until_ns = run_now_ns() + START_NS;
	while (run_now_ns() < until_ns && !run_router_is_dead(router)) {
		json_t *status = run_router_ask(run, "status");
		if (status) {
			json_decref(status);
			return true;
		}
		usleep(20000);
	}
	return false;
}

int run_router_start(struct weir_run *run, char error[WEIR_RESULT_ERROR])
{
	char said[320] = "";
	struct run_router *router = calloc(1, sizeof(*router));
	uint32_t port = port_pick();
	int result = !router ? -ENOMEM : port == 0 ? -EADDRNOTAVAIL : 0;
	snprintf(run->instance, sizeof(run->instance), "weirperf-%d", (int)getpid());
	snprintf(run->address, sizeof(run->address), "udp://127.0.0.1:%u", port);
	if (result == 0)
		result = config_write(run, router, port);
	int log = result ? -1 : mkostemp(strcpy(router->log, "/tmp/weirperf-router-log-XXXXXX"), O_CLOEXEC);
	if (result == 0 && log >= 0)
		router->pid = fork();
	if (result == 0 && (log < 0 || router->pid < 0))
		result = -errno;
	if (result == 0 && router->pid == 0)
		child_main(router, log);
	if (log >= 0)
		close(log);
	if (result == 0 && is_ready(run, router)) {
		run->router = router;
		return 0;
	}
	if (result == 0) {
		result = -ECONNREFUSED;
		log_tail(router, said, sizeof(said));
	}
	snprintf(error, WEIR_RESULT_ERROR, "router: cannot start one for scenario %s: %s. Fix: run as root, or start weir "
		 "yourself and name it with --router", run->scenario->name, said[0] ? said : strerror(-result));
	if (router)
		run_router_stop(router);
	run->instance[0] = 0;
	return result;
}

void run_router_stop(struct run_router *router)
{
	uint64_t until_ns = run_now_ns() + STOP_NS;
	if (router->pid > 0)
		kill(router->pid, SIGTERM);
	while (router->pid > 0 && !run_router_is_dead(router)) {
		if (run_now_ns() > until_ns) {
			kill(router->pid, SIGKILL);
			waitpid(router->pid, NULL, 0);
			router->pid = 0;
		}
		usleep(5000);
	}
	if (router->config[0])
		unlink(router->config);
	if (router->log[0])
		unlink(router->log);
	free(router);
}
