// Directory and lock of an instance. The lock file holds the pid for people; what counts is the lock on it, which the kernel
// drops with the process. Control thread.
#include "control/daemon/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/api/protocol.h"

#define FIX_RIGHTS "run weir as root, let weir's user own it, or set XDG_RUNTIME_DIR to a directory of that user"
#define STATE_DIRECTORY "/var/lib/weir"

static int refuse(struct weir_trouble *trouble, const struct weir_instance *instance, const char *action, const char *fix,
		  int err)
{
	char object[128];

	snprintf(object, sizeof(object), "directory %s", instance->directory);
	weir_trouble_set(trouble, object, action, fix, "%s", strerror(-err));
	return err;
}

static int taken(struct weir_trouble *trouble, const char *name, int fd)
{
	char object[160];
	char pid[24] = "";
	ssize_t got = pread(fd, pid, sizeof(pid) - 1, 0);

	pid[got > 0 ? strcspn(pid, "\n") : 0] = 0;
	snprintf(object, sizeof(object), "instance %s", name);
	weir_trouble_set(trouble, object, "start a second time",
			 "stop the other weir, or give this one another --instance and its own ports",
			 "a weir of this name runs already, pid %s", pid[0] ? pid : "unknown");
	return -EBUSY;
}

static int foreign(struct weir_trouble *trouble, const char *path, const char *what)
{
	char object[224];

	snprintf(object, sizeof(object), "lock file %s", path);
	weir_trouble_set(trouble, object, "take it", "remove what lies there, or give this weir another --instance",
			 "%s lies there, and it stays", what);
	return -EEXIST;
}

// What is ours holds a pid or nothing.
static bool is_lock(int fd)
{
	char text[24];
	ssize_t got = pread(fd, text, sizeof(text), 0);
	size_t digits = 0;

	while (got > 0 && digits < (size_t)got && text[digits] >= '0' && text[digits] <= '9')
		digits++;
	return got == 0 || (got < (ssize_t)sizeof(text) && digits > 0 && digits + 1 == (size_t)got && text[digits] == '\n');
}

static int open_lock(struct weir_instance *instance, struct weir_trouble *trouble)
{
	const char *path = instance->lock_path;
	struct stat found;

	// Nor are links followed: what is behind them would be written to. Nor does a pipe hold up the start.
	instance->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
	if (instance->lock < 0 && errno == ELOOP)
		return foreign(trouble, path, "a symbolic link");
	if (instance->lock < 0 && errno == EISDIR)
		return foreign(trouble, path, "a directory");
	if (instance->lock < 0)
		return refuse(trouble, instance, "write the lock file", FIX_RIGHTS, -errno);
	if (fstat(instance->lock, &found) == 0 && S_ISREG(found.st_mode) && is_lock(instance->lock))
		return 0;
	close(instance->lock);
	return foreign(trouble, path, "something that is no lock file of weir");
}

// -EAGAIN: the file was removed by its last owner between open and lock, and a lock on it would be seen by nobody.
static int lock(struct weir_instance *instance, const char *name, struct weir_trouble *trouble)
{
	struct stat locked;
	struct stat named;
	int err = open_lock(instance, trouble);

	if (err)
		return err;
	if (flock(instance->lock, LOCK_EX | LOCK_NB) != 0) {
		err = errno == EWOULDBLOCK ? taken(trouble, name, instance->lock)
					   : refuse(trouble, instance, "lock the lock file", "use a file system with locks",
						    -errno);
		close(instance->lock);
		return err;
	}
	if (fstat(instance->lock, &locked) == 0 && stat(instance->lock_path, &named) == 0 && locked.st_ino == named.st_ino)
		return 0;
	close(instance->lock);
	return -EAGAIN;
}

// systemd names the directory in the environment, several with colons between them. Empty: nothing is kept.
static void name_state(struct weir_instance *instance, const char *name)
{
	const char *directory = getenv("STATE_DIRECTORY");
	size_t length;

	if (!directory)
		directory = STATE_DIRECTORY;
	length = strcspn(directory, ":");
	if (length > 0 && length + strlen(name) + sizeof("/.terms") <= sizeof(instance->terms_path))
		snprintf(instance->terms_path, sizeof(instance->terms_path), "%.*s/%s.terms", (int)length, directory, name);
}

int weir_instance_take(struct weir_instance *instance, const char *name, const char *socket, struct weir_trouble *trouble)
{
	char text[24];
	int length;
	int err;

	memset(instance, 0, sizeof(*instance));
	err = weir_api_run_directory(instance->directory, sizeof(instance->directory));
	if (!err && mkdir(instance->directory, 0755) != 0 && errno != EEXIST)
		err = -errno;
	if (err)
		return refuse(trouble, instance, "create it", FIX_RIGHTS, err);
	snprintf(instance->lock_path, sizeof(instance->lock_path), "%s/%.64s.lock", instance->directory, name);
	snprintf(instance->counters_path, sizeof(instance->counters_path), "%s/%.64s.counters", instance->directory, name);
	length = snprintf(instance->lanes_path, sizeof(instance->lanes_path), "%s/%s.lanes.sock", instance->directory, name);
	if (socket)
		length = snprintf(instance->socket_path, sizeof(instance->socket_path), "%s", socket);
	else if ((size_t)length < sizeof(instance->lanes_path))
		length = snprintf(instance->socket_path, sizeof(instance->socket_path), "%s/%s.sock", instance->directory,
				  name);
	if ((size_t)length >= sizeof(instance->socket_path)) {
		weir_trouble_set(trouble, "control socket", "listen there", "use a shorter path",
				 "the path is longer than the 107 bytes a unix socket may have");
		return -ENAMETOOLONG;
	}
	name_state(instance, name);
	do {
		err = lock(instance, name, trouble);
	} while (err == -EAGAIN);
	if (err)
		return err;
	length = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	// The pid is for people only: a full file system is no reason not to start.
	if (ftruncate(instance->lock, 0) == 0)
		(void)!pwrite(instance->lock, text, (size_t)length, 0);
	return 0;
}

void weir_instance_release(struct weir_instance *instance)
{
	struct stat locked;
	struct stat named;

	if (fstat(instance->lock, &locked) == 0 && lstat(instance->lock_path, &named) == 0 && locked.st_ino == named.st_ino)
		unlink(instance->lock_path);
	close(instance->lock);
}
