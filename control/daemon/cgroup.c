// Finds the mounts of control groups, the process's place in each, and the tightest limit from there to the top.
#include "control/daemon/cgroup.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_SIZE 65536u // of /proc/self/mountinfo and memory.stat; what lies beyond is not seen
#define NO_LIMIT (1ull << 62) // version 1 writes about 2^63 where there is none
#define PATH_SIZE 1024u

// The files of one resource in one version.
struct files {
	const char *controller; // version 1; NULL: version 2
	const char *limit;
	const char *usage;
	const char *stat; // NULL: nothing can be given back
	const char *const *reclaimable; // its lines
};

static const char *const RECLAIMABLE_1[] = { "total_inactive_file", "total_active_file", NULL };
static const char *const RECLAIMABLE_2[] = { "inactive_file", "active_file", "slab_reclaimable", NULL };

static const struct files MEMORY[] = {
	{ "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat", RECLAIMABLE_1 },
	{ NULL, "memory.max", "memory.current", "memory.stat", RECLAIMABLE_2 },
};
static const struct files HUGEPAGES[] = {
	{ "hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.usage_in_bytes", NULL, NULL },
	{ NULL, "hugetlb.2MB.max", "hugetlb.2MB.current", NULL, NULL },
};

// false: it cannot be read.
static bool read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t got = -1;

	if (fd < 0)
		return false;
	while (used < size - 1 && (got = read(fd, text + used, size - 1 - used)) > 0)
		used += (size_t)got;
	close(fd);
	text[used] = 0;
	return got >= 0;
}

// WEIR_CGROUP_UNLIMITED: no such file, or "max".
static uint64_t read_number(const char *folder, const char *name)
{
	char path[PATH_SIZE + 64];
	char text[64];
	uint64_t value;
	char *end;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (!read_text(path, text, sizeof(text)))
		return WEIR_CGROUP_UNLIMITED;
	value = strtoull(text, &end, 10);
	return end == text || value >= NO_LIMIT ? WEIR_CGROUP_UNLIMITED : value;
}

static uint64_t reclaimable(const struct files *files, const char *folder, char *text)
{
	char path[PATH_SIZE + 64];
	uint64_t sum = 0;
	char *next;

	snprintf(path, sizeof(path), "%s/%s", folder, files->stat);
	if (!read_text(path, text, TEXT_SIZE))
		return 0;
	for (char *line = strtok_r(text, "\n", &next); line; line = strtok_r(NULL, "\n", &next)) {
		char *space = strchr(line, ' ');

		for (const char *const *name = files->reclaimable; space && *name; name++) {
			if (strncmp(line, *name, (size_t)(space - line)) == 0 && !(*name)[space - line])
				sum += strtoull(space + 1, NULL, 10);
		}
	}
	return sum;
}

static void look(const struct files *files, const char *folder, struct weir_cgroup_limit *limit, char *text)
{
	uint64_t most = read_number(folder, files->limit);
	uint64_t used = most == WEIR_CGROUP_UNLIMITED ? 0 : read_number(folder, files->usage);
	uint64_t left;

	if (most == WEIR_CGROUP_UNLIMITED || used == WEIR_CGROUP_UNLIMITED)
		return;
	if (files->stat) {
		uint64_t back = reclaimable(files, folder, text);

		used -= back < used ? back : used;
	}
	left = used < most ? most - used : 0;
	if (left >= limit->left)
		return;
	limit->left = left;
	limit->limit = most;
	snprintf(limit->group, sizeof(limit->group), "%s", folder);
}

// Whether `word` is one of the comma-separated `words`.
static bool has_word(const char *words, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = words; at; at = strchr(at, ',')) {
		at += *at == ',';
		if (strncmp(at, word, length) == 0 && (at[length] == ',' || !at[length]))
			return true;
	}
	return false;
}

// The process's place under the controller's hierarchy ("/..."), NULL: none. `text` is that of /proc/self/cgroup.
static const char *place_in(char *text, const char *controller)
{
	char *next;

	for (char *line = strtok_r(text, "\n", &next); line; line = strtok_r(NULL, "\n", &next)) {
		char *controllers = strchr(line, ':');
		char *path = controllers ? strchr(controllers + 1, ':') : NULL;

		if (!path)
			continue;
		*path++ = 0;
		if (controller ? has_word(controllers + 1, controller) : !controllers[1])
			return path;
	}
	return NULL;
}

struct mount {
	char root[PATH_SIZE]; // what of the hierarchy is seen there
	char point[PATH_SIZE];
};

// The mount of a controller's hierarchy; `text` is that of /proc/self/mountinfo.
static bool find_mount(char *text, const char *controller, struct mount *mount)
{
	char *next;

	for (char *line = strtok_r(text, "\n", &next); line; line = strtok_r(NULL, "\n", &next)) {
		char *rest = strstr(line, " - ");
		char type[32];
		char options[512];

		if (!rest || sscanf(rest, " - %31s %*s %511s", type, options) != 2)
			continue;
		if (controller ? strcmp(type, "cgroup") != 0 || !has_word(options, controller) : strcmp(type, "cgroup2") != 0)
			continue;
		if (sscanf(line, "%*s %*s %*s %1023s %1023s", mount->root, mount->point) == 2)
			return true;
	}
	return false;
}

static void read_limit(const char *root, const struct files *files, struct weir_cgroup_limit *limit, char *text)
{
	char path[PATH_SIZE];
	char folder[3 * PATH_SIZE];
	struct mount mount;
	const char *place;
	size_t above;
	size_t top;

	snprintf(path, sizeof(path), "%s/proc/self/mountinfo", root);
	if (!read_text(path, text, TEXT_SIZE) || !find_mount(text, files->controller, &mount))
		return;
	snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
	if (!read_text(path, text, TEXT_SIZE) || (place = place_in(text, files->controller)) == NULL)
		return;
	// A container sees a part of the hierarchy: where it is mounted is its own place, whatever the host calls that.
	above = strcmp(mount.root, "/") == 0 ? 0 : strlen(mount.root);
	place = strncmp(place, mount.root, above) == 0 && (!place[above] || place[above] == '/') ? place + above : "";
	top = (size_t)snprintf(folder, sizeof(folder), "%s%s", root, mount.point);
	snprintf(folder + top, sizeof(folder) - top, "%s", place);
	for (size_t end = strlen(folder); end >= top; end--) {
		if (folder[end] && folder[end] != '/')
			continue;
		folder[end] = 0;
		if (strlen(folder) < PATH_SIZE)
			look(files, folder, limit, text);
	}
}

void weir_cgroup_read(const char *root, struct weir_cgroup_room *room)
{
	char *text = malloc(TEXT_SIZE);

	room->memory = (struct weir_cgroup_limit){ .left = WEIR_CGROUP_UNLIMITED };
	room->hugepages = room->memory;
	if (!text)
		return;
	for (size_t i = 0; i < sizeof(MEMORY) / sizeof(*MEMORY); i++)
		read_limit(root, &MEMORY[i], &room->memory, text);
	for (size_t i = 0; i < sizeof(HUGEPAGES) / sizeof(*HUGEPAGES); i++)
		read_limit(root, &HUGEPAGES[i], &room->hugepages, text);
	free(text);
}
