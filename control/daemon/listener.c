// Making and removing the files of unix sockets with care: a path may be wrong, and what lies there somebody else's.
// Control thread.
#include "control/daemon/listener.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int refuse(struct weir_trouble *trouble, const char *path, const char *action, const char *fix, int err)
{
	char object[160];

	snprintf(object, sizeof(object), "socket %s", path);
	weir_trouble_set(trouble, object, action, fix, "%s", strerror(-err));
	return err;
}

static const char *kind_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "a file";
	case S_IFDIR:
		return "a directory";
	case S_IFLNK:
		return "a symbolic link";
	case S_IFIFO:
		return "a pipe";
	default:
		return "a device";
	}
}

// 0: nobody listens there. Otherwise why that cannot be said.
static int ask_listener(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int err;

	if (fd < 0)
		return -errno;
	err = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ? -EADDRINUSE : -errno;
	close(fd);
	// EAGAIN: its queue is full; EPROTOTYPE: it takes datagrams.
	return err == -ECONNREFUSED ? 0 : err == -EAGAIN || err == -EPROTOTYPE ? -EADDRINUSE : err;
}

// Removes a dead socket of ours, nothing else.
static int clear(const struct sockaddr_un *address, struct weir_trouble *trouble)
{
	const char *path = address->sun_path;
	struct stat found;
	int err;

	if (lstat(path, &found) != 0)
		return errno == ENOENT ? 0 : refuse(trouble, path, "look what lies there", "check the path", -errno);
	if (!S_ISSOCK(found.st_mode)) {
		refuse(trouble, path, "listen there", "name another path, or remove it", -EEXIST);
		snprintf(trouble->reason, sizeof(trouble->reason), "%s lies there, and it stays", kind_of(found.st_mode));
		return -EEXIST;
	}
	err = ask_listener(address);
	if (err == -EADDRINUSE)
		return refuse(trouble, path, "listen there", "give this weir another --instance or --socket", err);
	if (err)
		return refuse(trouble, path, "ask who listens there", "remove the file, or name another path", err);
	if (found.st_uid != geteuid()) {
		refuse(trouble, path, "take it over", "remove the file if nobody needs it, or name another path", -EPERM);
		snprintf(trouble->reason, sizeof(trouble->reason),
			 "nobody listens there any more, but the file belongs to user %u, and weir runs as user %u",
			 (unsigned)found.st_uid, (unsigned)geteuid());
		return -EPERM;
	}
	return unlink(path) == 0 || errno == ENOENT
		       ? 0
		       : refuse(trouble, path, "replace it", "check the permissions of its directory", -errno);
}

static int bind_file(int fd, const struct sockaddr_un *address)
{
	// Nobody may connect between bind and chmod.
	mode_t mask = umask(0777);
	int err = bind(fd, (const struct sockaddr *)address, sizeof(*address)) ? -errno : 0;

	umask(mask);
	return err;
}

int weir_listener_open(struct weir_listener *listener, const char *path, uint32_t mode, uint32_t queue,
		       struct weir_trouble *trouble)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat made;
	int fd, err;

	*listener = (struct weir_listener){ .fd = -1 };
	if (strlen(path) >= sizeof(address.sun_path))
		return refuse(trouble, path, "listen there", "use a shorter path", -ENAMETOOLONG);
	memcpy(address.sun_path, path, strlen(path) + 1);
	err = clear(&address, trouble);
	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return refuse(trouble, path, "make a socket", "raise the limit of open files", -errno);
	err = bind_file(fd, &address);
	if (err) {
		close(fd);
		return refuse(trouble, path, "bind it", "check that the directory exists and may be written", err);
	}
	if (lstat(path, &made) != 0 || chmod(path, mode) != 0 || listen(fd, (int)queue) != 0) {
		err = -errno;
		close(fd);
		return refuse(trouble, path, "listen there", "check the directory's permissions", err);
	}
	*listener = (struct weir_listener){ .fd = fd, .device = made.st_dev, .inode = made.st_ino };
	memcpy(listener->path, path, strlen(path) + 1);
	return 0;
}

void weir_listener_close(struct weir_listener *listener)
{
	struct stat found;

	if (listener->fd < 0)
		return;
	if (lstat(listener->path, &found) == 0 && found.st_dev == listener->device && found.st_ino == listener->inode)
		unlink(listener->path);
	close(listener->fd);
	listener->fd = -1;
}
