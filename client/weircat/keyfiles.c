// weircat subscribe --per-key: one file per key, named after the subject (what `publish --key file` sends) or the key.
// At most OPEN_MAX files are open at a time, or as many as the process may; the one that was not used for longest makes room.
#include <errno.h>
#include <fcntl.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/weircat/weircat.h"

#define OPEN_MAX 256u
#define NAME_ROOM 256u
#define NAME_MOST 200u // longer names are cut here, their key in hexadecimal behind

struct keyfile {
	char name[NAME_ROOM];
	FILE *out; // NULL: free
	uint64_t used; // tick of the last write
};

struct cat_keyfiles {
	int folder;
	uint64_t tick;
	struct keyfile *last; // events of a key come in runs
	struct keyfile files[OPEN_MAX];
};

struct cat_keyfiles *cat_keyfiles_open(const char *folder)
{
	if (mkdir(folder, 0777) && errno != EEXIST)
		return NULL;
	struct cat_keyfiles *files = calloc(1, sizeof(*files));
	if (!files)
		return NULL;
	files->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (files->folder < 0) {
		free(files);
		return NULL;
	}
	return files;
}

// What is not a letter, a digit or one of _ . - ~ becomes %XX, as in a URL; so do the names . and .. of directories.
static void name_make(char name[NAME_ROOM], const struct weir_view *view, const char *subject, size_t size)
{
	static const char HEX[] = "0123456789ABCDEF";
	size_t at = 0;
	bool is_dots = subject && size <= 2 && strspn(subject, ".") >= size;
	if (size == 0) {
		snprintf(name, NAME_ROOM, "key-%016llx", (unsigned long long)view->key);
		return;
	}
	for (size_t i = 0; i < size; i++) {
		uint8_t c = (uint8_t)subject[i];
		bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
				c == '-' || c == '~' || (c == '.' && !is_dots);
		if (at + 3 > NAME_MOST) {
			snprintf(name + at, NAME_ROOM - at, "~%016llx", (unsigned long long)view->key);
			return;
		}
		if (is_plain) {
			name[at++] = (char)c;
		} else {
			name[at++] = '%';
			name[at++] = HEX[c >> 4];
			name[at++] = HEX[c & 15];
		}
	}
	name[at] = 0;
}

static int keyfile_close(struct keyfile *file)
{
	int error = fclose(file->out) ? -errno : 0;
	file->out = NULL;
	return error;
}

// The open file that was not used for longest. NULL: none is open.
static struct keyfile *keyfile_oldest(struct cat_keyfiles *files)
{
	struct keyfile *oldest = NULL;
	for (uint32_t i = 0; i < OPEN_MAX; i++) {
		struct keyfile *file = &files->files[i];
		if (file->out && (!oldest || file->used < oldest->used))
			oldest = file;
	}
	return oldest;
}

// A descriptor or -errno. Where the process may have no more, the oldest files are closed until it may.
static int keyfile_open(struct cat_keyfiles *files, const char *name)
{
	for (;;) {
		int fd = openat(files->folder, name, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0666);
		if (fd >= 0)
			return fd;
		int error = -errno;
		struct keyfile *oldest = error == -EMFILE || error == -ENFILE ? keyfile_oldest(files) : NULL;
		if (!oldest)
			return error;
		error = keyfile_close(oldest);
		if (error)
			return error;
	}
}

static struct keyfile *keyfile_get(struct cat_keyfiles *files, const char *name, int *error)
{
	if (files->last && files->last->out && strcmp(files->last->name, name) == 0)
		return files->last;
	struct keyfile *unused = NULL;
	for (uint32_t i = 0; i < OPEN_MAX; i++) {
		struct keyfile *file = &files->files[i];
		if (file->out && strcmp(file->name, name) == 0)
			return file;
		if (!file->out)
			unused = file;
	}
	if (!unused) {
		unused = keyfile_oldest(files);
		*error = keyfile_close(unused);
	}
	int fd = *error ? -1 : keyfile_open(files, name);
	if (fd < 0) {
		*error = *error ? *error : fd;
		return NULL;
	}
	unused->out = fdopen(fd, "a");
	if (!unused->out) {
		*error = -errno;
		close(fd);
		return NULL;
	}
	__fsetlocking(unused->out, FSETLOCKING_BYCALLER); // one thread writes
	snprintf(unused->name, sizeof(unused->name), "%s", name);
	return unused;
}

int cat_keyfiles_write(struct cat_keyfiles *files, const struct weir_view *view, const char *subject, size_t subject_size)
{
	char name[NAME_ROOM];
	int error = 0;
	name_make(name, view, subject, subject_size);
	struct keyfile *file = keyfile_get(files, name, &error);
	if (!file)
		return error;
	file->used = ++files->tick;
	files->last = file;
	if (cat_mark_get(view) == CAT_MARK_FILE)
		return 0;
	fwrite(view->payload, 1, view->payload_size, file->out);
	if (cat_mark_get(view) != CAT_MARK_UNENDED)
		fputc('\n', file->out);
	return ferror(file->out) ? -EIO : 0;
}

int cat_keyfiles_flush(struct cat_keyfiles *files)
{
	for (uint32_t i = 0; i < OPEN_MAX; i++) {
		if (files->files[i].out && fflush(files->files[i].out))
			return -errno;
	}
	return 0;
}

int cat_keyfiles_close(struct cat_keyfiles *files)
{
	int error = 0;
	for (uint32_t i = 0; i < OPEN_MAX; i++) {
		if (files->files[i].out && keyfile_close(&files->files[i]))
			error = -EIO;
	}
	close(files->folder);
	free(files);
	return error;
}
