// Writing side of a consumer's account. The stores of one event are ordered (key before shard) so that after a SIGKILL
// between them the event counts as not delivered by offset, and whoever gets it next completes it.
#include "perf/account.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_ROOM ((sizeof(struct weir_account_header) + 4095) & ~4095ull)
#define KEYS_ROOM (sizeof(struct weir_account_key) * WEIR_ACCOUNT_PRODUCERS * WEIR_ACCOUNT_KEYS)
#define RUNS_ROOM (sizeof(struct weir_account_run) * WEIR_ACCOUNT_RUNS)
#define FILE_SIZE (HEADER_ROOM + KEYS_ROOM + RUNS_ROOM)

static int map(struct weir_account *account, int fd, int protection)
{
	int flags = MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0);
	uint8_t *base = mmap(NULL, FILE_SIZE, protection, flags | MAP_NORESERVE, fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	*account = (struct weir_account){ .header = (void *)base, .keys = (void *)(base + HEADER_ROOM),
					  .runs = (void *)(base + HEADER_ROOM + KEYS_ROOM) };
	return 0;
}

int weir_account_create(struct weir_account *account, const char *path, const char *topic, const char *group)
{
	int fd = -1;
	int result = 0;
	if (path) {
		fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (fd < 0)
			return -errno;
		if (ftruncate(fd, (off_t)FILE_SIZE))
			result = -errno;
	}
	if (result == 0)
		result = map(account, fd, PROT_READ | PROT_WRITE);
	if (fd >= 0)
		close(fd);
	if (result)
		return result;
	struct weir_account_header *header = account->header;
	header->size = FILE_SIZE;
	snprintf(header->topic, sizeof(header->topic), "%s", topic);
	snprintf(header->group, sizeof(header->group), "%s", group);
	header->magic = WEIR_ACCOUNT_MAGIC;
	return 0;
}

int weir_account_open(struct weir_account *account, const char *path)
{
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int result = -EINVAL;
	if (fstat(fd, &status) == 0 && (uint64_t)status.st_size == FILE_SIZE)
		result = map(account, fd, PROT_READ);
	close(fd);
	if (result)
		return result;
	if (account->header->magic == WEIR_ACCOUNT_MAGIC && account->header->size == FILE_SIZE)
		return 0;
	weir_account_close(account);
	return -EINVAL;
}

void weir_account_close(struct weir_account *account)
{
	munmap(account->header, FILE_SIZE);
	account->header = NULL;
}

static int full(struct weir_account_header *header)
{
	header->is_full = 1;
	return -ENOSPC;
}

static int close_run(struct weir_account *account, const struct weir_account_run *run)
{
	struct weir_account_header *header = account->header;
	if (header->run_count == WEIR_ACCOUNT_RUNS)
		return full(header);
	account->runs[header->run_count] = *run;
	// The run before its count: a reader, or a SIGKILL, never sees half of one.
	atomic_signal_fence(memory_order_release);
	header->run_count++;
	return 0;
}

static int producer_find(struct weir_account *account, uint32_t number, uint32_t *index)
{
	struct weir_account_header *header = account->header;
	if (account->last_producer < header->producer_count && header->producers[account->last_producer] == number) {
		*index = account->last_producer;
		return 0;
	}
	for (*index = 0; *index < header->producer_count; ++*index) {
		if (header->producers[*index] == number)
			break;
	}
	if (*index == WEIR_ACCOUNT_PRODUCERS)
		return full(header);
	if (*index == header->producer_count) {
		header->producers[*index] = number;
		header->producer_count++;
	}
	account->last_producer = *index;
	return 0;
}

// The shard's entry: at its own number, unless another incarnation of the log is there already.
static struct weir_account_shard *shard_find(struct weir_account_header *header, const struct weir_account_event *event)
{
	for (uint32_t i = event->shard; i < WEIR_ACCOUNT_SHARDS; i++) {
		struct weir_account_shard *shard = &header->shards[i];
		if (!shard->in_use) {
			*shard = (struct weir_account_shard){ .incarnation = event->incarnation, .shard = event->shard };
			shard->in_use = 1;
			if (header->shard_count <= i)
				header->shard_count = i + 1;
			return shard;
		}
		if (shard->shard == event->shard && shard->incarnation == event->incarnation)
			return shard;
	}
	return NULL;
}

// Anything but the next sequence of the key at a higher offset begins a new run.
static int key_add(struct weir_account *account, const struct weir_account_event *event)
{
	struct weir_account_header *header = account->header;
	uint32_t producer;
	if (event->key >= WEIR_ACCOUNT_KEYS)
		return full(header);
	int result = producer_find(account, event->producer, &producer);
	if (result)
		return result;
	if (header->key_limits[producer] <= event->key)
		header->key_limits[producer] = event->key + 1;
	struct weir_account_key *key = weir_account_key_of(account, producer, event->key);
	bool is_empty = key->first == key->next;
	if (!is_empty && key->next == event->sequence && event->offset > key->last_offset) {
		key->last_offset = event->offset;
		key->next++;
		return 0;
	}
	if (!is_empty) {
		struct weir_account_run run = { .kind = WEIR_RUN_SEQUENCES, .owner = producer, .key = event->key,
						.first = key->first, .next = key->next, .first_offset = key->first_offset,
						.last_offset = key->last_offset };
		result = close_run(account, &run);
		if (result)
			return result;
	}
	// Empty while it changes.
	key->next = key->first;
	atomic_signal_fence(memory_order_release);
	key->first_offset = key->last_offset = event->offset;
	key->first = event->sequence;
	key->next = event->sequence + 1;
	return 0;
}

static int shard_add(struct weir_account *account, const struct weir_account_event *event, bool *is_back)
{
	struct weir_account_header *header = account->header;
	struct weir_account_shard *shard = shard_find(header, event);
	if (!shard)
		return full(header);
	if (shard->next == event->offset && shard->is_marked == event->is_marked && shard->first != shard->next) {
		shard->next++;
		shard->events++;
		shard->term = event->term;
		return 0;
	}
	if (shard->first != shard->next) {
		*is_back = event->offset < shard->next && event->term == shard->term;
		struct weir_account_run run = { .kind = WEIR_RUN_OFFSETS, .is_marked = shard->is_marked, .first = shard->first,
						.next = shard->next, .owner = (uint32_t)(shard - header->shards) };
		int result = close_run(account, &run);
		if (result)
			return result;
	}
	shard->next = shard->first;
	atomic_signal_fence(memory_order_release);
	shard->term = event->term;
	shard->is_marked = event->is_marked;
	shard->first = event->offset;
	shard->next = event->offset + 1;
	shard->events++;
	return 0;
}

int weir_account_add(struct weir_account *account, const struct weir_account_event *event)
{
	struct weir_account_header *header = account->header;
	bool is_back = false;
	int result = key_add(account, event);
	if (result)
		return result;
	atomic_signal_fence(memory_order_release);
	result = shard_add(account, event, &is_back);
	if (result)
		return result;
	header->events++;
	header->redelivered += event->is_marked;
	header->back += is_back && !event->is_marked;
	header->again += is_back && event->is_marked;
	return 0;
}
