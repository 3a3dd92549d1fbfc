// Makes way for the socket of a vhost-user port. DPDK's bind() fails on the file that a killed process left behind, and says
// so only in its log; whether somebody still listens there is found by connecting, as the file itself does not tell.
#include "dataplane/io/vhost.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <rte_kvargs.h>

// What is asked of the devargs.
struct wanted {
	char path[PATH_MAX];
	bool has_path;
	bool is_client;
};

static int take_path(const char *key, const char *value, void *context)
{
	struct wanted *wanted = context;

	wanted->has_path = value && value[0];
	snprintf(wanted->path, sizeof(wanted->path), "%s", value ? value : "");
	return 0;
}

static int take_client(const char *key, const char *value, void *context)
{
	((struct wanted *)context)->is_client = value && strcmp(value, "0") != 0;
	return 0;
}

static int read_devargs(const char *devargs, struct wanted *wanted)
{
	const char *comma = strchr(devargs, ',');
	struct rte_kvargs *arguments = comma ? rte_kvargs_parse(comma + 1, NULL) : NULL;

	if (comma && !arguments)
		return -EINVAL;
	if (arguments) {
		rte_kvargs_process(arguments, "iface", take_path, wanted);
		rte_kvargs_process(arguments, "client", take_client, wanted);
		rte_kvargs_free(arguments);
	}
	return wanted->has_path ? 0 : -EINVAL;
}

static int check_folder(const char *path, const char *object, struct weir_fault *fault)
{
	char copy[PATH_MAX];
	const char *folder;

	snprintf(copy, sizeof(copy), "%s", path);
	folder = dirname(copy);
	if (access(folder, W_OK | X_OK) == 0)
		return 0;
	return weir_fault_set(fault, -errno, object, "make its socket",
			      "create the folder and let weir's user write to it, or name another socket", "folder %s: %s",
			      folder, strerror(errno));
}

// 0: nobody listens. -EADDRINUSE, or what connect() says.
static int ask_listener(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int error;

	if (fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	error = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? 0 : errno;
	close(fd);
	if (error == ECONNREFUSED)
		return 0;
	// EAGAIN: its backlog is full; EPROTOTYPE: it takes datagrams.
	return error == 0 || error == EAGAIN || error == EPROTOTYPE ? -EADDRINUSE : -error;
}

static int take_over(const char *path, const char *object, struct weir_fault *fault)
{
	int error = ask_listener(path);

	if (error == -EADDRINUSE)
		return weir_fault_set(fault, error, object, "make its socket",
				      "give each router and port a socket of its own, or end the other process",
				      "a process listens on %s already", path);
	if (!error && unlink(path) < 0)
		error = -errno;
	if (!error)
		return 0;
	return weir_fault_set(fault, error, object, "take over its socket",
			      "remove the file, or let weir's user write to its folder", "%s: %s", path, strerror(-error));
}

int weir_vhost_prepare(const char *devargs, const char *object, struct weir_fault *fault)
{
	struct wanted wanted = { 0 };
	struct stat found;
	int error;

	if (strncmp(devargs, "net_vhost", strlen("net_vhost")) != 0 && strncmp(devargs, "eth_vhost", strlen("eth_vhost")) != 0)
		return 0;
	error = read_devargs(devargs, &wanted);
	if (error)
		return weir_fault_set(fault, error, object, "read its devargs", "write net_vhost0,iface=/run/weir/NAME.vhost",
				      "\"%s\" names no socket (iface=)", devargs);
	if (wanted.is_client)
		return 0;
	if (strlen(wanted.path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return weir_fault_set(fault, -ENAMETOOLONG, object, "make its socket", "use a shorter path",
				      "%s is longer than the 107 bytes a unix socket may have", wanted.path);
	if (lstat(wanted.path, &found) < 0)
		return check_folder(wanted.path, object, fault);
	if (!S_ISSOCK(found.st_mode))
		return weir_fault_set(fault, -EEXIST, object, "make its socket", "name another path, or remove what is there",
				      "%s is no socket", wanted.path);
	return take_over(wanted.path, object, fault);
}
