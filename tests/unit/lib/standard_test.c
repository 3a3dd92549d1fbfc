// Each test has a process of its own: Criterion forks. What the program says goes into pipes that the test holds.
#include "lib/standard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

// Runs `job` in a child with these descriptors closed; its exit status.
static int run_without(const int closed[], int count, int (*job)(void))
{
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		for (int i = 0; i < count; i++)
			close(closed[i]);
		_exit(job());
	}
	int status = -1;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int opens_a_file(void)
{
	char byte;
	lib_standard_open();
	if (open("/dev/zero", O_RDWR) <= STDERR_FILENO)
		return 1;
	if (read(STDIN_FILENO, &byte, 1) >= 0 || errno != EBADF)
		return 2;
	if (write(STDOUT_FILENO, "x", 1) >= 0 || errno != EBADF)
		return 3;
	return write(STDERR_FILENO, "x", 1) == 1 ? 0 : 4;
}

static const int ALL[] = { 0, 1, 2 };

Test(standard, no_file_gets_a_number_of_the_three)
{
	cr_assert_eq(run_without(ALL, 3, opens_a_file), 0);
}

static int stays_silent(void)
{
	lib_standard_open();
	return lib_output_end("test", 0, 1);
}

static int speaks(void)
{
	lib_standard_open();
	printf("something\n");
	return lib_output_end("test", 0, 1);
}

static int fails_and_speaks(void)
{
	lib_standard_open();
	printf("something\n");
	return lib_output_end("test", 7, 1);
}

Test(standard, closed_output_fails_who_has_something_to_say)
{
	int closed[] = { 1, 2 };
	cr_expect_eq(run_without(closed, 2, stays_silent), 0);
	cr_expect_eq(run_without(closed, 2, speaks), 1);
	cr_expect_eq(run_without(closed, 2, fails_and_speaks), 7);
}

static int output;

static int speaks_much(void)
{
	lib_standard_open();
	dup2(output, STDOUT_FILENO);
	for (int i = 0; i < 5000; i++)
		printf("a line of output\n");
	return lib_output_end("test", 0, 1);
}

Test(standard, a_full_disk_and_a_reader_that_went_fail)
{
	int ends[2], none[] = { 2 };
	output = open("/dev/full", O_WRONLY);
	cr_expect_eq(run_without(none, 1, speaks_much), 1);
	cr_assert_eq(pipe(ends), 0);
	close(ends[0]);
	output = ends[1];
	cr_expect_eq(run_without(none, 1, speaks_much), 1);
	output = open("/dev/null", O_WRONLY);
	cr_expect_eq(run_without(none, 1, speaks_much), 0);
}
