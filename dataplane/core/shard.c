// Making and freeing a shard, on the control thread. All of it but the log is one allocation on the shard's node, touched
// here, so that its worker neither allocates nor faults. Who owns it afterwards: see core/shard.h.
#include "dataplane/core/shard.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "wire/limits.h"

#define NODES_MAX 1024u
#define PAGE_SIZE 4096u
#define STREAMS_MAX (1u << 20) // more than any shard can need; keeps the allocation's size from overflowing

static uint64_t size_of(uint32_t streams_max)
{
	uint64_t size = sizeof(struct weir_shard) + (uint64_t)streams_max * sizeof(struct weir_stream);
	return (size + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
}

// Zeroed pages, on `node` as far as the kernel can, all present.
static void *pages_create(uint64_t size, int node)
{
	uint8_t *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED)
		return NULL;
	if (node >= 0 && (unsigned)node < NODES_MAX) {
		unsigned long mask[NODES_MAX / (8 * sizeof(unsigned long))] = { 0 };
		unsigned bits = 8 * sizeof(unsigned long);
		mask[(unsigned)node / bits] = 1ul << ((unsigned)node % bits);
		// A far node is slow and shown as remote; not being able to ask for the near one is no reason to fail.
		(void)syscall(SYS_mbind, pages, size, MPOL_PREFERRED, mask, (unsigned long)NODES_MAX, 0);
	}
	for (uint64_t at = 0; at < size; at += PAGE_SIZE)
		((volatile uint8_t *)pages)[at] = 0;
	return pages;
}

static void parts_init(struct weir_shard *shard)
{
	shard->streams = (struct weir_stream *)(void *)(shard + 1);
	for (uint32_t i = shard->streams_max; i > 0; i--) {
		struct weir_stream *stream = &shard->streams[i - 1];
		stream->handle = i - 1;
		stream->free_next = shard->streams_free;
		shard->streams_free = stream;
	}
	for (uint32_t i = 0; i < WEIR_SHARD_GROUPS_MAX; i++) {
		shard->deliveries[i].shard = shard;
		shard->deliveries[i].handle = i;
	}
}

int weir_shard_create(struct weir_shard **shard, const struct weir_shard_config *config)
{
	const struct weir_topic_spec *spec = config->spec;
	if (spec->shards == 0 || spec->shards > WEIR_SHARDS_MAX || config->shard >= spec->shards || spec->streams_max == 0 ||
	    spec->streams_max > STREAMS_MAX || spec->event_max > spec->log_bytes / 8)
		return -EINVAL;
	uint64_t size = size_of(spec->streams_max);
	struct weir_shard *fresh = pages_create(size, config->node);
	if (!fresh)
		return -ENOMEM;
	int error = weir_log_create(&fresh->log, spec->log_bytes, config->node, config->hugepages, config->incarnation);
	if (error) {
		munmap(fresh, size);
		return error;
	}
	fresh->allocated = size;
	fresh->topic = config->topic;
	fresh->shard = config->shard;
	fresh->shards = spec->shards;
	fresh->policy = spec->policy;
	fresh->ack_min = spec->ack_min;
	fresh->event_max = spec->event_max;
	fresh->streams_max = spec->streams_max;
	fresh->public_row = config->row;
	fresh->row.head.in_use = 1;
	fresh->row.topic = config->topic;
	fresh->row.shard = config->shard;
	fresh->row.incarnation = config->incarnation;
	fresh->row.log_bytes = spec->log_bytes;
	parts_init(fresh);
	weir_row_publish(fresh->public_row, &fresh->row, sizeof(fresh->row));
	*shard = fresh;
	return 0;
}

void weir_shard_destroy(struct weir_shard *shard)
{
	shard->row.head.in_use = 0;
	weir_row_publish(shard->public_row, &shard->row, sizeof(shard->row));
	weir_log_destroy(&shard->log);
	munmap(shard, shard->allocated);
}
