// xdp-loss: it loses the share that it was told, alike in every run with the same seed, on each of its interfaces, and
// is gone with its process.
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bpf/sandbox.h"

#define PACKETS 20000u

static void begin(void)
{
	sandbox_enter();
	sandbox_veth(1, 1500);
}

TestSuite(loss, .init = begin);

struct tool {
	pid_t pid;
	FILE *out;
};

// Starts it on both ends of the veth and waits until it is there.
static struct tool tool_start(const char *percent, const char *seed)
{
	int out[2];
	char line[64] = "";
	cr_assert(pipe(out) == 0);
	struct tool tool = { .pid = fork() };
	if (tool.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(out[1], STDOUT_FILENO);
		execl(XDP_LOSS, "xdp-loss", "--interface", INTERFACE, "--interface", PEER, "--percent", percent, "--seed", seed,
		      NULL);
		_exit(127);
	}
	close(out[1]);
	tool.out = fdopen(out[0], "r");
	cr_assert(tool.out && fgets(line, sizeof(line), tool.out) && strcmp(line, "ready\n") == 0, "said '%s'", line);
	return tool;
}

static void tool_stop(struct tool *tool, unsigned long long *seen, unsigned long long *dropped)
{
	char line[256] = "";
	int status;
	cr_assert(kill(tool->pid, SIGTERM) == 0 && waitpid(tool->pid, &status, 0) == tool->pid && status == 0);
	cr_assert(fgets(line, sizeof(line), tool->out) != NULL);
	const char *found = strstr(line, "\"" INTERFACE "\": ");
	cr_assert(found && sscanf(found, "\"" INTERFACE "\": {\"seen\": %llu, \"dropped\": %llu}", seen, dropped) == 2, "%s",
		  line);
	fclose(tool->out);
}

static unsigned long long dropped_of(const char *percent, const char *seed)
{
	unsigned long long seen = 0;
	unsigned long long dropped = 0;
	struct packet packet = packet_frame(9999, WEIR_KIND_PING, 0, 0);
	struct tool tool = tool_start(percent, seed);
	packet_send(&packet, PACKETS);
	usleep(50000);
	tool_stop(&tool, &seen, &dropped);
	cr_assert(seen == PACKETS, "saw %llu", seen);
	cr_assert(sandbox_program(INTERFACE) == 0 && sandbox_program(PEER) == 0);
	return dropped;
}

Test(loss, one_percent_is_one_percent_and_the_same_every_time)
{
	unsigned long long first = dropped_of("1", "7");
	cr_assert(first > PACKETS / 100 * 7 / 10 && first < PACKETS / 100 * 13 / 10, "%llu of %u", first, PACKETS);
	cr_assert(dropped_of("1", "7") == first);
}

Test(loss, nothing_and_everything_are_possible)
{
	cr_assert(dropped_of("0", "1") == 0);
	cr_assert(dropped_of("100", "1") == PACKETS);
}

Test(loss, a_killed_tool_leaves_no_program)
{
	struct tool tool = tool_start("1", "1");
	cr_assert(sandbox_program(INTERFACE) != 0 && sandbox_program(PEER) != 0);
	cr_assert(kill(tool.pid, SIGKILL) == 0 && waitpid(tool.pid, NULL, 0) == tool.pid);
	fclose(tool.out);
	cr_assert(sandbox_program(INTERFACE) == 0 && sandbox_program(PEER) == 0);
}
