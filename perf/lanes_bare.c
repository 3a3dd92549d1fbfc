// The bare copy and the distance between two cores, for tools/bench lanes: a thread of the caller's that packs and reads, and
// one that copies. See the header for what is left out on purpose. The only shared words are how many frames were sent and
// how many are in each log; everything else has one owner at a time.
#include "perf/lanes_bare.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "wire/frame.h"
#include "wire/key.h"
#include "wire/prefetch.h"

#define SHARDS 4u
#define LOG_BYTES (1u << 20)
#define SLOT_BYTES 4096u
#define SLOTS_MAX 4096u
#define AHEAD_BYTES 1024u
#define HEADS_EACH 32u // frames
#define LOOK_EVENTS 65536u // between looks at the clock
#define ROUNDS 20u
#define PASSES 500u

struct word {
	_Alignas(64) _Atomic uint64_t value;
};

struct frame {
	uint32_t shard;
	uint32_t reserved[15];
	uint8_t events[];
};

struct bare {
	struct word sent;           // frames; written by the producer
	struct word heads[SHARDS];  // frames in each log; written by the copying thread
	struct word must_stop;
	uint32_t order[SLOTS_MAX];  // slots of sent frames; written by the producer
	uint8_t *slots;             // [slots] of SLOT_BYTES
	uint8_t *logs;              // [SHARDS] of LOG_BYTES
	uint32_t slots_mask;
	uint32_t frame_bytes;       // of events
	uint32_t log_frames;        // a log holds
	uint32_t event_bytes;
	const struct weir_bare *shape;
	// The producer's.
	uint64_t begun;             // frames
	uint64_t ended;
	uint64_t frames_read;
	uint32_t slot[SHARDS];
	uint8_t *write[SHARDS];
	uint32_t filled[SHARDS];
	uint64_t read[SHARDS];      // frames
	uint64_t published;
	uint64_t consumed;
	uint64_t next_out[WEIR_BARE_KEYS];
	uint64_t next_in[WEIR_BARE_KEYS];
	uint64_t payload[SLOT_BYTES / 8];
};

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static int thread_start(pthread_t *thread, int core, void *(*run)(void *), void *of)
{
	pthread_attr_t attributes;
	cpu_set_t cores;
	pthread_attr_init(&attributes);
	CPU_ZERO(&cores);
	CPU_SET((size_t)core, &cores);
	int error = pthread_attr_setaffinity_np(&attributes, sizeof(cores), &cores);
	if (!error)
		error = pthread_create(thread, &attributes, run, of);
	pthread_attr_destroy(&attributes);
	return -error;
}

// ---- The copying thread ----

static void *copy_frames(void *of)
{
	struct bare *bare = of;
	uint64_t taken = 0;
	uint64_t told = 0;
	uint64_t heads[SHARDS] = { 0 };
	while (!atomic_load_explicit(&bare->must_stop.value, memory_order_relaxed)) {
		// Pairs with the producer's release: frames below it are whole.
		uint64_t sent = atomic_load_explicit(&bare->sent.value, memory_order_acquire);
		for (; taken < sent; taken++) {
			uint32_t slot = bare->order[taken & bare->slots_mask];
			const struct frame *frame = (const void *)(bare->slots + (size_t)slot * SLOT_BYTES);
			uint32_t shard = frame->shard;
			uint8_t *log = bare->logs + (size_t)shard * LOG_BYTES;
			uint8_t *to = log + heads[shard] % bare->log_frames * bare->frame_bytes;
			for (uint32_t at = 0; at < bare->frame_bytes && at < 256; at += 64)
				weir_prefetch((const uint8_t *)frame + AHEAD_BYTES + at);
			memcpy(to, frame->events, bare->frame_bytes);
			heads[shard]++;
			// Pairs with the reader's acquire. Once in a while: the line is the reader's each time.
			if (heads[shard] % HEADS_EACH == 0)
				atomic_store_explicit(&bare->heads[shard].value, heads[shard], memory_order_release);
		}
		for (uint32_t shard = 0; shard < SHARDS && taken != told; shard++)
			atomic_store_explicit(&bare->heads[shard].value, heads[shard], memory_order_release);
		told = taken;
	}
	return NULL;
}

// ---- The thread that packs and reads ----

// Frames end in another order than they began. Keys come in turn, so none stays behind for long, and there are twice as many
// slots as frames may be outstanding.
static void publish(struct bare *bare)
{
	uint32_t key = (uint32_t)bare->published++ % WEIR_BARE_KEYS;
	uint32_t shard = weir_shard_of(key, SHARDS);
	if (!bare->write[shard]) {
		bare->slot[shard] = (uint32_t)(bare->begun++ & bare->slots_mask);
		struct frame *frame = (void *)(bare->slots + (size_t)bare->slot[shard] * SLOT_BYTES);
		frame->shard = shard;
		bare->write[shard] = frame->events;
	}
	struct weir_event_header *event = (void *)bare->write[shard];
	uint8_t *payload = (uint8_t *)(event + 1);
	weir_prefetch_write(payload + AHEAD_BYTES);
	event->length = bare->event_bytes;
	event->type = event->flags = event->attribute_words = 0;
	event->key = key;
	memcpy(payload, bare->payload, bare->shape->payload_size);
	memcpy(payload, &bare->next_out[key], sizeof(uint64_t));
	bare->next_out[key]++;
	bare->write[shard] += bare->event_bytes;
	if (++bare->filled[shard] < bare->shape->frame_events)
		return;
	bare->order[bare->ended++ & bare->slots_mask] = bare->slot[shard];
	bare->write[shard] = NULL;
	bare->filled[shard] = 0;
}

static bool read_frame(struct bare *bare, const uint8_t *at)
{
	uint32_t last = bare->shape->payload_size / 8 - 1;
	for (uint32_t i = 0; i < bare->shape->frame_events; i++, at += bare->event_bytes) {
		const struct weir_event_header *event = (const void *)at;
		const uint64_t *words = (const void *)(event + 1);
		weir_prefetch(at + AHEAD_BYTES);
		if (event->key >= WEIR_BARE_KEYS || event->length != bare->event_bytes ||
		    words[0] != bare->next_in[event->key]++ || (last && words[last] != bare->payload[last]))
			return false;
		if (bare->shape->payload_size > 64 && memcmp(words + 1, bare->payload + 1, last * 8) != 0)
			return false;
	}
	return true;
}

static int consume(struct bare *bare)
{
	for (uint32_t shard = 0; shard < SHARDS; shard++) {
		uint64_t head = atomic_load_explicit(&bare->heads[shard].value, memory_order_acquire);
		for (; bare->read[shard] < head; bare->read[shard]++, bare->frames_read++) {
			const uint8_t *log = bare->logs + (size_t)shard * LOG_BYTES;
			if (!read_frame(bare, log + bare->read[shard] % bare->log_frames * bare->frame_bytes))
				return -EIO;
			bare->consumed += bare->shape->frame_events;
		}
	}
	return 0;
}

static int turns(struct bare *bare, double *rate)
{
	uint64_t begin = now_ns();
	uint64_t looked_at = LOOK_EVENTS;
	int error = 0;
	for (uint64_t now = begin; !error && now - begin < bare->shape->duration_ns;) {
		uint64_t most = bare->shape->outstanding / 4 ? bare->shape->outstanding / 4 : 1; // frames of a turn
		if (bare->ended - bare->frames_read + most <= bare->shape->outstanding) {
			for (uint64_t to = bare->ended + most; bare->ended < to;)
				publish(bare);
			atomic_store_explicit(&bare->sent.value, bare->ended, memory_order_release);
		}
		error = consume(bare);
		if (bare->consumed >= looked_at) {
			looked_at = bare->consumed + LOOK_EVENTS;
			now = now_ns();
		}
		*rate = (double)bare->consumed * 1e9 / (double)(now - begin + 1);
	}
	return error;
}

int weir_bare_run(const struct weir_bare *shape, double *rate)
{
	uint32_t event_bytes = (uint32_t)sizeof(struct weir_event_header) + shape->payload_size;
	uint64_t frame_bytes = (uint64_t)event_bytes * shape->frame_events;
	if (shape->payload_size < 8 || shape->payload_size % 8 || shape->frame_events == 0 ||
	    frame_bytes > SLOT_BYTES - sizeof(struct frame) || shape->outstanding == 0 ||
	    shape->outstanding > SLOTS_MAX / 2 || shape->outstanding * frame_bytes > LOG_BYTES)
		return -EINVAL;
	struct bare *bare = aligned_alloc(64, sizeof(*bare));
	uint8_t *memory = aligned_alloc(4096, SLOTS_MAX * (size_t)SLOT_BYTES + SHARDS * (size_t)LOG_BYTES);
	int error = bare && memory ? 0 : -ENOMEM;
	pthread_t thread;
	if (!error) {
		memset(bare, 0, sizeof(*bare));
		memset(memory, 0, SLOTS_MAX * (size_t)SLOT_BYTES + SHARDS * (size_t)LOG_BYTES);
		bare->slots = memory;
		bare->logs = memory + SLOTS_MAX * (size_t)SLOT_BYTES;
		bare->slots_mask = 1;
		while (bare->slots_mask < 2 * shape->outstanding)
			bare->slots_mask *= 2;
		bare->slots_mask--;
		bare->frame_bytes = (uint32_t)frame_bytes;
		bare->log_frames = LOG_BYTES / bare->frame_bytes;
		bare->event_bytes = event_bytes;
		bare->shape = shape;
		for (uint32_t i = 0; i < SLOT_BYTES / 8; i++)
			bare->payload[i] = i * 0x9e3779b97f4a7c15ull;
		error = thread_start(&thread, shape->core, copy_frames, bare);
	}
	if (!error) {
		error = turns(bare, rate);
		atomic_store_explicit(&bare->must_stop.value, 1, memory_order_relaxed);
		pthread_join(thread, NULL);
	}
	free(memory);
	free(bare);
	return error;
}

// ---- Distance ----

struct line {
	struct word there;
	struct word back;
};

static void *echo(void *of)
{
	struct line *line = of;
	for (uint64_t i = 1; i <= ROUNDS * PASSES; i++) {
		while (atomic_load_explicit(&line->there.value, memory_order_acquire) != i)
			;
		atomic_store_explicit(&line->back.value, i, memory_order_release);
	}
	return NULL;
}

int weir_bare_distance(int core, double *round_trip_ns)
{
	struct line line = { 0 };
	pthread_t thread;
	double least = 0;
	int error = thread_start(&thread, core, echo, &line);
	if (error)
		return error;
	for (uint64_t round = 0; round < ROUNDS; round++) {
		uint64_t begin = now_ns();
		for (uint64_t i = round * PASSES + 1; i <= (round + 1) * PASSES; i++) {
			atomic_store_explicit(&line.there.value, i, memory_order_release);
			while (atomic_load_explicit(&line.back.value, memory_order_acquire) != i)
				;
		}
		double mean = (double)(now_ns() - begin) / PASSES;
		least = least == 0 || mean < least ? mean : least;
	}
	pthread_join(thread, NULL);
	*round_trip_ns = least;
	return 0;
}
