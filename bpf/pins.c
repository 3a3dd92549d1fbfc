// Where the guard's kernel objects have names: directories of the instance and the interface in bpffs. A lock on the
// directory, held by the process, tells a living owner from a killed one: the kernel drops it with the process, however
// it dies. Control thread.
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "bpf/internal.h"

#define LOCK_TRIES 8 // times the directory may vanish under us while another instance's close removes it

int weir_guard_fail(char error[WEIR_GUARD_ERROR_SIZE], int code, const char *format, ...)
{
	if (error) {
		va_list list;
		va_start(list, format);
		vsnprintf(error, WEIR_GUARD_ERROR_SIZE, format, list);
		va_end(list);
	}
	return code;
}

// bpffs keeps names with a '.' for itself; neither interfaces nor instances may have a ':' in theirs.
static void name_append(char path[PATH_MAX], const char *name)
{
	size_t length = strlen(path);
	int room = snprintf(path + length, PATH_MAX - length, "/%s", name);
	for (char *at = path + length + 1; room > 0 && *at; at++) {
		if (*at == '.')
			*at = ':';
	}
}

static const char *root_of(const struct weir_guard_config *config)
{
	return config->pin_root && config->pin_root[0] ? config->pin_root : WEIR_GUARD_PIN_ROOT;
}

static void path_copy(char to[PATH_MAX], const char *from)
{
	snprintf(to, PATH_MAX, "%s", from);
}

int weir_pins_probe(const struct weir_guard_config *config, char error[WEIR_GUARD_ERROR_SIZE])
{
	char parent[PATH_MAX];
	path_copy(parent, root_of(config));
	char *slash = strrchr(parent, '/');
	if (!slash || slash == parent)
		return weir_guard_fail(error, -EINVAL, "pin root %s: must be an absolute path below a bpffs mount",
				       root_of(config));
	*slash = '\0';
	struct statfs stat;
	if (statfs(parent, &stat) == 0 && (unsigned long)stat.f_type == BPF_FS_MAGIC)
		return 0;
	return weir_guard_fail(error, -ENOENT,
			       "%s: cannot pin the XDP program: no bpffs is mounted there. Mount it: mount -t bpf bpf %s",
			       parent, parent);
}

void weir_pins_path(const struct weir_pins *pins, const char *name, char path[PATH_MAX])
{
	path_copy(path, pins->path);
	name_append(path, name);
}

static int directory_make(const char *path, char error[WEIR_GUARD_ERROR_SIZE])
{
	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return 0;
	int code = -errno;
	return weir_guard_fail(error, code, "%s: cannot make the directory for pins: %s%s", path, strerror(-code),
			       code == -EPERM || code == -EACCES ? ". Run as root, or give write access to the bpffs mount"
								 : "");
}

// Opens and locks the innermost directory; -EAGAIN when it was removed in between.
static int directory_lock(struct weir_pins *pins, const struct weir_guard_config *config, char error[WEIR_GUARD_ERROR_SIZE])
{
	int code = directory_make(pins->root, error);
	if (code == 0)
		code = directory_make(pins->instance, error);
	if (code == 0)
		code = directory_make(pins->path, error);
	if (code)
		return code == -ENOENT ? -EAGAIN : code;
	pins->fd = open(pins->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (pins->fd < 0)
		return errno == ENOENT ? -EAGAIN
				       : weir_guard_fail(error, -errno, "%s: cannot open: %s", pins->path, strerror(errno));
	struct stat held;
	struct stat named;
	if (flock(pins->fd, LOCK_EX | LOCK_NB) != 0) {
		code = weir_guard_fail(
			error, -EBUSY,
			"%s: cannot attach: another process of weir instance '%s' holds this interface (%s is locked). "
			"Stop it, or give this router an instance name of its own",
			config->interface, config->instance, pins->path);
	} else if (fstat(pins->fd, &held) != 0 || stat(pins->path, &named) != 0 || held.st_ino != named.st_ino) {
		code = -EAGAIN;
	}
	if (code) {
		close(pins->fd);
		pins->fd = -1;
	}
	return code;
}

int weir_pins_open(struct weir_pins *pins, const struct weir_guard_config *config, char error[WEIR_GUARD_ERROR_SIZE])
{
	pins->fd = -1;
	int code = weir_pins_probe(config, error);
	if (code)
		return code;
	path_copy(pins->root, root_of(config));
	path_copy(pins->instance, pins->root);
	name_append(pins->instance, config->instance);
	path_copy(pins->path, pins->instance);
	name_append(pins->path, config->interface);
	for (int i = 0; i < LOCK_TRIES; i++) {
		code = directory_lock(pins, config, error);
		if (code != -EAGAIN)
			return code;
	}
	return weir_guard_fail(error, -EBUSY,
			       "%s: cannot lock: it comes and goes. Another weir is starting or stopping: try again",
			       pins->path);
}

void weir_pins_close(struct weir_pins *pins)
{
	if (pins->fd < 0)
		return;
	DIR *directory = opendir(pins->path);
	while (directory) {
		struct dirent *entry = readdir(directory);
		if (!entry)
			break;
		if (entry->d_name[0] != '.')
			weir_pins_remove(pins, entry->d_name);
	}
	if (directory)
		closedir(directory);
	// Those of other interfaces and instances keep the outer ones.
	if (rmdir(pins->path) == 0 && rmdir(pins->instance) == 0)
		rmdir(pins->root);
	close(pins->fd);
	pins->fd = -1;
}

// Under a new name first, then renamed over the old one: a reader finds either, never none.
int weir_pins_put(const struct weir_pins *pins, const char *name, int fd)
{
	char path[PATH_MAX];
	char fresh[PATH_MAX];
	char fresh_name[NAME_MAX + 1];
	weir_pins_path(pins, name, path);
	snprintf(fresh_name, sizeof(fresh_name), "%s-new", name);
	weir_pins_path(pins, fresh_name, fresh);
	unlink(fresh);
	if (bpf_obj_pin(fd, fresh) != 0)
		return -errno;
	if (rename(fresh, path) != 0) {
		int code = -errno;
		unlink(fresh);
		return code;
	}
	return 0;
}

void weir_pins_remove(const struct weir_pins *pins, const char *name)
{
	char path[PATH_MAX];
	weir_pins_path(pins, name, path);
	unlink(path);
}

// Detaches what one interface's directory holds and removes it, under its lock. -EBUSY: a living process has it.
static int leftover_remove(struct weir_pins *pins, const char *name)
{
	char link_path[PATH_MAX];
	path_copy(pins->path, pins->instance);
	name_append(pins->path, name);
	pins->fd = open(pins->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (pins->fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (flock(pins->fd, LOCK_EX | LOCK_NB) != 0) {
		close(pins->fd);
		return -EBUSY;
	}
	weir_pins_path(pins, "link", link_path);
	int link = bpf_obj_get(link_path);
	int code = link >= 0 || errno == ENOENT ? 0 : -errno;
	if (link >= 0) {
		bpf_link_detach(link);
		close(link);
	}
	if (code)
		close(pins->fd);
	else
		weir_pins_close(pins);
	return code;
}

static bool is_kept(const char *name, const char *const keep[], uint32_t count)
{
	char pinned[PATH_MAX];
	for (uint32_t i = 0; i < count; i++) {
		pinned[0] = '\0';
		name_append(pinned, keep[i]);
		if (strcmp(pinned + 1, name) == 0)
			return true;
	}
	return false;
}

static void leftover_tell(const char *name, const struct weir_pins *pins, int code, char error[WEIR_GUARD_ERROR_SIZE])
{
	size_t used = strlen(error);
	const char *line = used ? "\n" : "";
	if (code)
		snprintf(error + used, WEIR_GUARD_ERROR_SIZE - used,
			 "%s%s: cannot take away the XDP program that a killed weir of this instance left there, and which "
			 "drops all frames of weir's: %s. As root, remove its pins: rm -r %s",
			 line, name, code == -EBUSY ? "a living process holds it" : strerror(-code), pins->path);
	else
		snprintf(error + used, WEIR_GUARD_ERROR_SIZE - used,
			 "%s%s: took away the XDP program that a killed weir of this instance left there", line, name);
}

int weir_guard_sweep(const char *instance, const char *pin_root, const char *const keep[], uint32_t count,
		     char error[WEIR_GUARD_ERROR_SIZE])
{
	struct weir_pins pins = { .fd = -1 };
	int first = 0;
	error[0] = '\0';
	path_copy(pins.root, pin_root ? pin_root : WEIR_GUARD_PIN_ROOT);
	path_copy(pins.instance, pins.root);
	name_append(pins.instance, instance);
	DIR *directory = opendir(pins.instance);
	while (directory) {
		struct dirent *entry = readdir(directory);
		if (!entry)
			break;
		if (entry->d_name[0] == '.' || is_kept(entry->d_name, keep, count))
			continue;
		char name[NAME_MAX + 1];
		snprintf(name, sizeof(name), "%s", entry->d_name);
		int code = leftover_remove(&pins, name);
		for (char *at = name; *at; at++)
			*at = *at == ':' ? '.' : *at;
		leftover_tell(name, &pins, code, error);
		first = first ? first : code;
	}
	if (directory)
		closedir(directory);
	return first;
}

static bool link_is(const char *path, int ifindex, uint32_t program_id)
{
	int fd = bpf_obj_get(path);
	if (fd < 0)
		return false;
	struct bpf_link_info info = {};
	uint32_t size = sizeof(info);
	bool is_it = bpf_obj_get_info_by_fd(fd, &info, &size) == 0 && info.type == BPF_LINK_TYPE_XDP &&
		     (int)info.xdp.ifindex == ifindex && info.prog_id == program_id;
	close(fd);
	return is_it;
}

bool weir_pins_find(const struct weir_guard_config *config, int ifindex, uint32_t program_id, char instance[NAME_MAX + 1])
{
	bool is_found = false;
	DIR *root = opendir(root_of(config));
	while (root && !is_found) {
		struct dirent *entry = readdir(root);
		if (!entry)
			break;
		if (entry->d_name[0] == '.')
			continue;
		char path[PATH_MAX];
		path_copy(path, root_of(config));
		name_append(path, entry->d_name);
		name_append(path, config->interface);
		name_append(path, "link");
		is_found = link_is(path, ifindex, program_id);
		if (is_found)
			snprintf(instance, NAME_MAX + 1, "%s", entry->d_name);
	}
	if (root)
		closedir(root);
	for (char *at = instance; is_found && *at; at++) {
		if (*at == ':')
			*at = '.';
	}
	return is_found;
}
