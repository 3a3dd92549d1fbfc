// See terms.h. The file holds one line, "weir terms FLOOR"; it is replaced as a whole.
#include "control/daemon/terms.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/daemon/say.h"
#include "dataplane/core/message.h"

#define SECOND_NS 1000000000ull
#define YEAR_2026_S 1767225600ull
#define AHEAD_S 600u // what the file is ahead after it was written
#define LINE_SIZE 64u

static void warn(struct weir_terms *terms, const char *action, const char *reason)
{
	if (!terms->is_failing)
		weir_say(WEIR_SAY_WARNING,
			 "%s: cannot %s: %s. Fencing tokens may repeat after a restart. Fix: let weir's user own the "
			 "directory, or name another one in the environment variable STATE_DIRECTORY",
			 terms->path, action, reason);
	terms->is_failing = true;
}

// 0 when there is none, or it cannot be read.
static uint64_t floor_read(struct weir_terms *terms)
{
	char line[LINE_SIZE] = "";
	uint64_t floor = 0;
	char end = 0;
	int fd = open(terms->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0) {
		if (errno != ENOENT)
			warn(terms, "read the floor of terms", strerror(errno));
		return 0;
	}
	ssize_t size = read(fd, line, sizeof(line) - 1);
	close(fd);
	if (size > 0 && sscanf(line, "weir terms %" SCNu64 "%c", &floor, &end) == 2 && end == '\n')
		return floor;
	terms->is_foreign = size != 0;
	if (terms->is_foreign)
		warn(terms, "read the floor of terms", "the file holds something else, and is left alone");
	return 0;
}

// Into the file and onto the disk, or a crash of the machine would bring the old one back.
static int line_write(const char *path, uint64_t floor)
{
	char line[LINE_SIZE];
	int length = snprintf(line, sizeof(line), "weir terms %" PRIu64 "\n", floor);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return -errno;
	errno = ENOSPC;
	int error = write(fd, line, (size_t)length) == length && fsync(fd) == 0 ? 0 : -errno;
	close(fd);
	if (error)
		unlink(path);
	return error;
}

static int directory_sync(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int error = fsync(fd) ? -errno : 0;
	close(fd);
	return error;
}

static int floor_write(const struct weir_terms *terms, uint64_t floor)
{
	char fresh[WEIR_TERMS_PATH_SIZE + 8];
	char directory[WEIR_TERMS_PATH_SIZE];
	snprintf(fresh, sizeof(fresh), "%s.new", terms->path);
	snprintf(directory, sizeof(directory), "%s", terms->path);
	char *slash = strrchr(directory, '/');
	if (slash)
		*slash = 0;
	if (mkdir(directory, 0755) && errno != EEXIST)
		return -errno;
	int error = line_write(fresh, floor);
	if (!error && rename(fresh, terms->path))
		error = -errno;
	return error ? error : directory_sync(directory);
}

// Above every term that can have been given by now.
static uint64_t reached(const struct weir_terms *terms, uint64_t now_ns)
{
	return terms->base + WEIR_TERMS_BURST + (now_ns - terms->since_ns) / SECOND_NS + 1;
}

static void keep(struct weir_terms *terms, uint64_t now_ns)
{
	uint64_t floor = reached(terms, now_ns) + AHEAD_S;
	if (!terms->path[0] || terms->is_foreign)
		return;
	int error = floor_write(terms, floor);
	if (error) {
		warn(terms, "keep the floor of terms", strerror(-error));
		return;
	}
	if (terms->is_failing)
		weir_say(WEIR_SAY_INFO, "%s: the floor of terms is kept again", terms->path);
	terms->is_failing = false;
	terms->written = floor;
}

void weir_terms_open(struct weir_terms *terms, const char *path, uint64_t wall_ns, uint64_t now_ns)
{
	uint64_t wall_s = wall_ns / SECOND_NS;
	*terms = (struct weir_terms){ .since_ns = now_ns };
	if (path)
		snprintf(terms->path, sizeof(terms->path), "%s", path);
	uint64_t floor = path ? floor_read(terms) : 0;
	terms->base = wall_s > YEAR_2026_S ? wall_s - YEAR_2026_S : 0;
	if (terms->base < floor)
		terms->base = floor;
}

uint32_t weir_terms_take(struct weir_terms *terms, uint64_t now_ns)
{
	if (terms->is_taken)
		terms->base = reached(terms, now_ns);
	terms->is_taken = true;
	terms->since_ns = now_ns;
	keep(terms, now_ns);
	return terms->base < UINT32_MAX ? (uint32_t)terms->base : UINT32_MAX;
}

void weir_terms_renew(struct weir_terms *terms, uint64_t now_ns)
{
	bool is_due = reached(terms, now_ns) + AHEAD_S / 2 > terms->written;
	// One that cannot be written is tried as often as one that can.
	if (!terms->is_taken || !is_due)
		return;
	uint64_t before = terms->written;
	keep(terms, now_ns);
	if (terms->written == before)
		terms->written = reached(terms, now_ns) + AHEAD_S;
}
