// gnuplot as a child process, and what all plots have in common.
#include "perf/plot.h"

#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

const char *const WEIR_PLOT_COLOUR[WEIR_PLOT_COLOURS] = {
	"#1f5fbf", "#d9730d", "#0f8a6a", "#b3261e", "#7a4fbf", "#8a6d1b", "#0b8fb3", "#c2478a",
};

int weir_plot_begin(struct weir_plot *plot, uint32_t width, uint32_t height, const char *x, const char *y)
{
	memset(plot, 0, sizeof(*plot));
	plot->script = open_memstream(&plot->text, &plot->size);
	if (!plot->script)
		return -ENOMEM;
	fprintf(plot->script,
		"set encoding utf8\nset micro\n"
		"set terminal svg size %u,%u dynamic noenhanced font 'Helvetica,Arial,sans-serif,13' background '#ffffff'\n"
		"set border 3 lc rgb '#8a93a3'\nset tics nomirror textcolor rgb '#3b4454'\n"
		"set grid lt 1 lw 0.6 lc rgb '#e6e9ef'\n"
		"set key outside top left horizontal samplen 2 textcolor rgb '#3b4454'\n"
		"set style fill solid 0.85 noborder\n",
		width, height);
	fputs("set xlabel ", plot->script);
	weir_plot_quote(plot, x);
	fputs("\nset ylabel ", plot->script);
	weir_plot_quote(plot, y);
	fputc('\n', plot->script);
	return 0;
}

void weir_plot_quote(struct weir_plot *plot, const char *text)
{
	fputc('\'', plot->script);
	for (; *text; text++) {
		if (*text == '\'')
			fputc('\'', plot->script);
		fputc((unsigned char)*text < ' ' ? ' ' : *text, plot->script);
	}
	fputc('\'', plot->script);
}

void weir_plot_time_axis(struct weir_plot *plot, char axis)
{
	fprintf(plot->script, "set logscale %c 10\nset %crange [1e-7<*:*]\nset format %c '%%.0s %%cs'\n", axis, axis, axis);
}

void weir_plot_share_axis(struct weir_plot *plot, double last)
{
	double inverse = 10;
	fprintf(plot->script, "set logscale x 10\nset xrange [1:%g]\nset xtics ('0 %%%%' 1", fmax(last, 10));
	for (int digits = -1; inverse <= last * 1.0001 && digits < 12; digits++, inverse *= 10)
		fprintf(plot->script, ", '%.*f %%%%' %g", digits > 0 ? digits : 0, 100 * (1 - 1 / inverse), inverse);
	fputs(")\n", plot->script);
}

void weir_plot_drop(struct weir_plot *plot)
{
	if (plot->script)
		fclose(plot->script);
	free(plot->text);
	memset(plot, 0, sizeof(*plot));
}

static int write_all(int fd, const char *text, size_t size)
{
	while (size) {
		ssize_t wrote = write(fd, text, size);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			return -errno;
		text += wrote;
		size -= (size_t)wrote;
	}
	return lseek(fd, 0, SEEK_SET) < 0 ? -errno : 0;
}

// The whole of an anonymous file, with a zero behind it.
static int read_all(int fd, char **text, size_t *size)
{
	struct stat status;
	if (fstat(fd, &status) || lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	*size = (size_t)status.st_size;
	*text = malloc(*size + 1);
	if (!*text)
		return -ENOMEM;
	size_t have = 0;
	while (have < *size) {
		ssize_t got = read(fd, *text + have, *size - have);
		if (got <= 0)
			break;
		have += (size_t)got;
	}
	(*text)[have] = '\0';
	*size = have;
	return 0;
}

// gnuplot with its three streams; its exit status, or -errno.
static int run(const int streams[3])
{
	static char *const ARGUMENTS[] = { "gnuplot", "--default-settings", "-", NULL };
	posix_spawn_file_actions_t actions;
	pid_t child;
	int status;
	posix_spawn_file_actions_init(&actions);
	for (int i = 0; i < 3; i++)
		posix_spawn_file_actions_adddup2(&actions, streams[i], i);
	int code = posix_spawnp(&child, ARGUMENTS[0], &actions, NULL, ARGUMENTS, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (code)
		return -code;
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static int draw(const struct weir_plot *plot, const int streams[3], char **svg, size_t *size, char error[WEIR_PLOT_ERROR])
{
	char *said = NULL;
	size_t length;
	int code = write_all(streams[0], plot->text, plot->size);
	if (code)
		goto out;
	code = run(streams);
	if (code == -ENOENT) {
		snprintf(error, WEIR_PLOT_ERROR,
			 "plot: cannot draw: there is no program gnuplot: install the Debian package gnuplot-nox");
		return code;
	}
	if (code < 0)
		goto out;
	int status = code;
	code = read_all(streams[2], &said, &length);
	if (code == 0)
		code = read_all(streams[1], svg, size);
	if (code == 0 && (status || !strstr(*svg, "</svg>"))) {
		snprintf(error, WEIR_PLOT_ERROR, "plot: gnuplot ended with status %d and without a picture: %.300s", status,
			 said);
		free(*svg);
		*svg = NULL;
		free(said);
		return -EIO;
	}
	free(said);
out:
	if (code)
		snprintf(error, WEIR_PLOT_ERROR, "plot: cannot run gnuplot: %s", strerror(-code));
	return code;
}

int weir_plot_end(struct weir_plot *plot, char **svg, size_t *size, char error[WEIR_PLOT_ERROR])
{
	int streams[3] = { -1, -1, -1 };
	int code = 0;
	fflush(plot->script);
	for (int i = 0; i < 3 && code == 0; i++) {
		streams[i] = memfd_create("weirperf-plot", MFD_CLOEXEC);
		if (streams[i] < 0) {
			code = -errno;
			snprintf(error, WEIR_PLOT_ERROR, "plot: no anonymous file for gnuplot: %s", strerror(-code));
		}
	}
	if (code == 0)
		code = draw(plot, streams, svg, size, error);
	for (int i = 0; i < 3; i++) {
		if (streams[i] >= 0)
			close(streams[i]);
	}
	weir_plot_drop(plot);
	return code;
}
