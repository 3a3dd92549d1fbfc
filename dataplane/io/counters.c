// The counters file: layout, rows in use, and the reading side. A row is renewed with the same seqlock its writer uses, so
// that readers see it come and go whole. Creation and rows: control thread; open and close: tools.
#include "dataplane/io/counters.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HEADER_SIZE 4096u

struct weir_counters {
	char path[256];
	int fd;
	// Of the file, so that no other one is ever removed.
	dev_t device;
	ino_t inode;
	struct weir_counters_header *header; // start of the mapping
	uint64_t size;
	uint32_t shard_rows; // at most
	uint32_t group_rows;
	uint32_t shards_used;
	uint32_t groups_used;
	uint32_t shard_next; // where the search for a free row begins
	uint32_t group_next;
};

static void *at(const struct weir_counters_header *header, uint64_t offset)
{
	return (uint8_t *)(uintptr_t)header + offset;
}

static void lay_out(struct weir_counters_header *header, const struct weir_counters_config *config)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	header->magic = WEIR_COUNTERS_MAGIC;
	header->version = WEIR_COUNTERS_VERSION;
	header->worker_rows = config->worker_rows;
	header->worker_offset = HEADER_SIZE;
	header->shard_offset = header->worker_offset + (uint64_t)config->worker_rows * sizeof(struct weir_worker_row);
	header->group_offset = header->shard_offset + (uint64_t)config->shard_rows * sizeof(struct weir_shard_row);
	header->size_bytes = header->group_offset + (uint64_t)config->group_rows * sizeof(struct weir_group_row);
	header->router = config->router;
	header->pid = getpid();
	header->start_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int fail(struct weir_fault *fault, int error, const char *path, const char *action)
{
	return weir_fault_set(fault, error, path, action, "make the directory writable for weir, or give it room", "%s",
			      strerror(-error));
}

// A mapped page that the file system has no room for is a SIGBUS: it is taken before it is touched.
static int allocate(int fd, uint64_t offset, uint64_t size)
{
	int error;

	do
		error = posix_fallocate(fd, (off_t)offset, (off_t)size);
	while (error == EINTR);
	return -error;
}

static int map_file(struct weir_counters *counters, const char *path, const struct weir_counters_header *layout,
		    struct weir_fault *fault)
{
	struct stat status;
	int error;

	counters->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (counters->fd < 0)
		return fail(fault, -errno, path, "create the counters file");
	if (fchmod(counters->fd, 0644) < 0 || fstat(counters->fd, &status) < 0 ||
	    ftruncate(counters->fd, (off_t)layout->size_bytes) < 0) {
		error = fail(fault, -errno, path, "size the counters file");
		goto err_file;
	}
	error = allocate(counters->fd, 0, layout->shard_offset);
	if (error) {
		fail(fault, error, path, "take the room of the counters file");
		goto err_file;
	}
	counters->header = mmap(NULL, layout->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, counters->fd, 0);
	if (counters->header == MAP_FAILED) {
		error = fail(fault, -errno, path, "map the counters file");
		goto err_file;
	}
	counters->size = layout->size_bytes;
	counters->device = status.st_dev;
	counters->inode = status.st_ino;
	*counters->header = *layout;
	return 0;

err_file:
	close(counters->fd);
	unlink(path);
	return error;
}

// Nothing, or what a dead router left: an empty file or one that begins as ours do.
static bool is_replaceable(const char *path)
{
	struct stat status;
	uint64_t magic = 0;
	bool is_ours;
	int fd;

	if (lstat(path, &status) < 0)
		return errno == ENOENT;
	if (!S_ISREG(status.st_mode))
		return false;
	if (status.st_size == 0)
		return true;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return false;
	is_ours = pread(fd, &magic, sizeof(magic), 0) == sizeof(magic) && magic == WEIR_COUNTERS_MAGIC;
	close(fd);
	return is_ours;
}

static int make_way(const char *path, const char *temporary, struct weir_fault *fault)
{
	if (!is_replaceable(path))
		return weir_fault_set(fault, -EEXIST, path, "put the counters file there",
				      "remove what lies there, or give this weir another --instance",
				      "it is no counters file of weir, and it stays");
	if (!is_replaceable(temporary))
		return weir_fault_set(fault, -EEXIST, temporary, "create the counters file", "remove what lies there",
				      "it is no counters file of weir, and it stays");
	unlink(temporary); // of a dead process with our number
	return 0;
}

int weir_counters_create(struct weir_counters **out, const struct weir_counters_config *config, struct weir_fault *fault)
{
	struct weir_counters_header layout = { 0 };
	struct weir_counters *counters = calloc(1, sizeof(*counters));
	char temporary[sizeof(counters->path) + 32];
	int error;

	if (!counters)
		return weir_fault_set(fault, -ENOMEM, config->path, "create the counters file", "free some memory",
				      "out of memory");
	if (strlen(config->path) >= sizeof(counters->path)) {
		error = weir_fault_set(fault, -ENAMETOOLONG, config->path, "create the counters file", "use a shorter path",
				       "the path is longer than %zu bytes", sizeof(counters->path) - 1);
		goto err_counters;
	}
	strcpy(counters->path, config->path);
	counters->shard_rows = config->shard_rows;
	counters->group_rows = config->group_rows;
	snprintf(temporary, sizeof(temporary), "%s.%d", config->path, (int)getpid());
	lay_out(&layout, config);
	error = make_way(counters->path, temporary, fault);
	if (!error)
		error = map_file(counters, temporary, &layout, fault);
	if (error)
		goto err_counters;
	// Tools see either the file of the router before or a complete new one.
	if (rename(temporary, counters->path) < 0) {
		error = fail(fault, -errno, config->path, "put the counters file into place");
		goto err_mapping;
	}
	*out = counters;
	return 0;

err_mapping:
	munmap(counters->header, counters->size);
	close(counters->fd);
	unlink(temporary);
err_counters:
	free(counters);
	return error;
}

void weir_counters_destroy(struct weir_counters *counters)
{
	struct stat found;

	if (!counters)
		return;
	if (lstat(counters->path, &found) == 0 && found.st_dev == counters->device && found.st_ino == counters->inode)
		unlink(counters->path);
	munmap(counters->header, counters->size);
	close(counters->fd);
	free(counters);
}

union any_row {
	struct weir_row_head head;
	struct weir_worker_row worker;
	struct weir_shard_row shard;
	struct weir_group_row group;
};

// Between writers: nobody publishes a free row. Readers see it come to life or vanish whole.
static void renew(struct weir_row_head *row, uint32_t size, uint32_t in_use)
{
	union any_row fresh = { .head = { .in_use = in_use } };

	weir_row_publish(row, &fresh, size);
}

// Rows of one kind.
struct rows {
	uint64_t offset; // of the first one
	uint32_t size;   // of a row
	uint32_t most;
	_Atomic uint32_t *count;
	uint32_t *used; // of them
	uint32_t *next; // where the search for a free row begins
};

// One row more, behind the last one. NULL: errno is EOVERFLOW when there may be no more, else why there is no room.
static struct weir_row_head *grow(struct weir_counters *counters, const struct rows *rows)
{
	uint32_t count = atomic_load_explicit(rows->count, memory_order_relaxed);
	uint64_t offset = rows->offset + (uint64_t)count * rows->size;
	int error = count < rows->most ? allocate(counters->fd, offset, rows->size) : -EOVERFLOW;

	if (error) {
		errno = -error;
		return NULL;
	}
	// New pages are zero: not in use.
	atomic_store_explicit(rows->count, count + 1, memory_order_release);
	return at(counters->header, offset);
}

// First free row at or behind *next, going round once, or a new one.
static struct weir_row_head *take(struct weir_counters *counters, const struct rows *rows)
{
	uint32_t count = atomic_load_explicit(rows->count, memory_order_relaxed);
	struct weir_row_head *row = NULL;

	for (uint32_t i = 0; i < count && *rows->used < count && !row; i++) {
		uint32_t index = (*rows->next + i) % count;

		row = at(counters->header, rows->offset + (uint64_t)index * rows->size);
		if (row->in_use)
			row = NULL;
		else
			*rows->next = (index + 1) % count;
	}
	if (!row)
		row = grow(counters, rows);
	if (!row)
		return NULL;
	renew(row, rows->size, 1);
	++*rows->used;
	return row;
}

struct weir_worker_row *weir_counters_worker(struct weir_counters *counters, uint32_t worker)
{
	struct weir_worker_row *rows = at(counters->header, counters->header->worker_offset);

	if (worker >= counters->header->worker_rows)
		return NULL;
	renew(&rows[worker].head, sizeof(*rows), 1);
	return &rows[worker];
}

struct weir_shard_row *weir_counters_shard_get(struct weir_counters *counters)
{
	const struct rows rows = { counters->header->shard_offset, sizeof(struct weir_shard_row), counters->shard_rows,
				   &counters->header->shard_rows, &counters->shards_used, &counters->shard_next };

	return (struct weir_shard_row *)take(counters, &rows);
}

struct weir_group_row *weir_counters_group_get(struct weir_counters *counters)
{
	const struct rows rows = { counters->header->group_offset, sizeof(struct weir_group_row), counters->group_rows,
				   &counters->header->group_rows, &counters->groups_used, &counters->group_next };

	return (struct weir_group_row *)take(counters, &rows);
}

void weir_counters_shard_put(struct weir_counters *counters, struct weir_shard_row *row)
{
	counters->shards_used -= row->head.in_use;
	renew(&row->head, sizeof(*row), 0);
}

void weir_counters_group_put(struct weir_counters *counters, struct weir_group_row *row)
{
	counters->groups_used -= row->head.in_use;
	renew(&row->head, sizeof(*row), 0);
}

static struct weir_counters_view view_of(const struct weir_counters_header *header)
{
	return (struct weir_counters_view){
		.header = header,
		.workers = at(header, header->worker_offset),
		.shards = at(header, header->shard_offset),
		.groups = at(header, header->group_offset),
	};
}

struct weir_counters_view weir_counters_look(const struct weir_counters *counters)
{
	return view_of(counters->header);
}

// `count` rows at `offset` lie behind the header and inside `size`.
static bool fits(uint64_t offset, uint32_t count, size_t row, uint64_t size)
{
	return offset >= HEADER_SIZE && offset % 64 == 0 && offset <= size && count <= (size - offset) / row;
}

static bool is_sound(const struct weir_counters_header *header, uint64_t size)
{
	return header->magic == WEIR_COUNTERS_MAGIC && header->version == WEIR_COUNTERS_VERSION && header->size_bytes == size &&
	       fits(header->worker_offset, header->worker_rows, sizeof(struct weir_worker_row), size) &&
	       fits(header->shard_offset, header->shard_rows, sizeof(struct weir_shard_row), size) &&
	       fits(header->group_offset, header->group_rows, sizeof(struct weir_group_row), size);
}

int weir_counters_open(struct weir_counters_view *view, const char *path)
{
	struct weir_counters_header *header;
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int error = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &status) < 0) {
		error = -errno;
		goto out_file;
	}
	if (status.st_size < (off_t)HEADER_SIZE) {
		error = -EPROTO;
		goto out_file;
	}
	header = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (header == MAP_FAILED) {
		error = -errno;
		goto out_file;
	}
	if (!is_sound(header, (uint64_t)status.st_size)) {
		munmap(header, (size_t)status.st_size);
		error = -EPROTO;
		goto out_file;
	}
	*view = view_of(header);

out_file:
	close(fd);
	return error;
}

void weir_counters_close(struct weir_counters_view *view)
{
	munmap((void *)(uintptr_t)view->header, view->header->size_bytes);
	*view = (struct weir_counters_view){ 0 };
}
