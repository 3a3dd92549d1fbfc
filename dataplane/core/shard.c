// Making and freeing a shard, on the control thread. All of it but the log is one allocation on the shard's node, touched
// here, so that its worker neither allocates nor faults. Who owns it afterwards: see core/shard.h.
#include "dataplane/core/shard.h"

#include <errno.h>
#include <string.h>

#include "dataplane/core/memory.h"
#include "wire/lane.h"

#define PAGE_SIZE 4096u
#define LINE 64u
#define LINES (PAGE_SIZE / LINE)
#define STREAMS_MAX (1u << 20) // more than any shard can need; keeps the allocation's size from overflowing

// What those who read in place leave behind.
struct readers {
	struct weir_checkpoint checkpoints[WEIR_CHECKPOINTS];
	struct weir_pin pins[WEIR_PINS_ROOM];
};

uint64_t weir_shard_size(uint32_t streams_max, bool has_head)
{
	return sizeof(struct weir_shard) + (uint64_t)streams_max * sizeof(struct weir_stream) +
	       weir_chains_need(streams_max) + (has_head ? sizeof(struct readers) : 0) + PAGE_SIZE;
}

// Shards begin at different lines of their pages: 1,024 that all begin at the first would share a few sets of each cache.
static struct weir_shard *place_in(uint8_t *memory, const struct weir_shard_config *config)
{
	return (void *)(memory + (config->topic + config->shard) % LINES * LINE);
}

// memory: page-aligned, or anywhere in its first page.
static void memory_put(void *memory, struct weir_slab *slab, uint64_t size)
{
	if (slab)
		weir_slab_put(slab);
	else
		weir_memory_put((void *)((uintptr_t)memory & ~(uintptr_t)(PAGE_SIZE - 1)), size);
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
	uint8_t *chains = (uint8_t *)(shard->streams + shard->streams_max);
	if (shard->head_line) {
		struct readers *readers = (void *)chains;
		shard->checkpoints = readers->checkpoints;
		shard->pins = readers->pins;
		chains += sizeof(*readers);
	}
	weir_chains_init(&shard->by_producer, chains, shard->streams_max);
}

int weir_shard_create(struct weir_shard **shard, const struct weir_shard_config *config)
{
	const struct weir_topic_spec *spec = config->spec;
	if (spec->shards == 0 || spec->shards > WEIR_SHARDS_MAX || config->shard >= spec->shards || spec->streams_max == 0 ||
	    spec->streams_max > STREAMS_MAX || spec->event_max > spec->log_bytes / 8)
		return -EINVAL;
	struct weir_lane_head *head = weir_shard_is_readable(spec->policy) ? config->head : NULL;
	uint64_t size = weir_shard_size(spec->streams_max, head);
	uint8_t *memory = config->slab ? weir_slab_take(config->slab) : weir_memory_get(size, config->node);
	if (!memory)
		return -ENOMEM;
	struct weir_shard *fresh = place_in(memory, config);
	int error = weir_log_create(&fresh->log, spec->log_bytes, config->node, config->hugepages, config->incarnation);
	if (error) {
		memory_put(memory, config->slab, size);
		return error;
	}
	fresh->allocated = size;
	fresh->slab = config->slab;
	fresh->topic = config->topic;
	fresh->shard = config->shard;
	fresh->shards = spec->shards;
	fresh->policy = spec->policy;
	fresh->is_lossless = spec->policy == WEIR_POLICY_BLOCK;
	fresh->ack_min = spec->ack_min;
	fresh->event_max = spec->event_max;
	fresh->streams_max = spec->streams_max;
	fresh->public_row = config->row;
	fresh->head_line = head;
	if (head) {
		__atomic_store_n(&head->head, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&head->incarnation, config->incarnation, __ATOMIC_RELEASE);
	}
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
	if (shard->head_line)
		__atomic_store_n(&shard->head_line->incarnation, 0, __ATOMIC_RELEASE);
	shard->row.head.in_use = 0;
	weir_row_publish(shard->public_row, &shard->row, sizeof(shard->row));
	weir_log_destroy(&shard->log);
	memory_put(shard, shard->slab, shard->allocated);
}
