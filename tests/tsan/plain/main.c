// Runs the tests that registered themselves, each in a process of its own, and prints TAP. A test fails by a claim, by a
// signal, or because the sanitizer ended it.
#include <criterion/criterion.h>
#include <stdarg.h>

struct plain_test *plain_tests;
bool plain_has_failed;

void plain_report(const char *file, int line, const char *claim, const char *format, ...)
{
	va_list arguments;

	plain_has_failed = true;
	printf("# %s:%d: %s:", file, line, claim);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
	fflush(stdout);
}

static bool run(const struct plain_test *test)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		test->run();
		exit(plain_has_failed); // not _exit: the sanitizer's verdict comes at exit
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(void)
{
	int count = 0, failed = 0;

	for (const struct plain_test *test = plain_tests; test; test = test->next) {
		bool is_good;

		fflush(stdout);
		is_good = run(test);
		printf("%s %d - %s: %s\n", is_good ? "ok" : "not ok", ++count, test->suite, test->name);
		failed += !is_good;
	}
	printf("1..%d\n", count);
	return failed > 0;
}
