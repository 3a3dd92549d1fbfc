// The ledger's rows: a private copy that its writer counts in, published once a burst under a seqlock, so that whoever reads
// sees a row that balances at its own instant. Publishing runs on the owner's worker, reading in any process.
//
// The seqlock needs no fences: the words between the two increments are stored with release and loaded with acquire
// (Boehm, "Can Seqlocks Get Along with Programming Language Memory Models?", MSPC 2012). On x86 all of them are plain moves.
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "dataplane/core/counters.h"
#include "dataplane/core/internal.h"

#define ROW_TRIES 100000u // a writer is inside for well under a microsecond
#define ROW_YIELD_EVERY 64u

// The words of a row that stay as they are in the public one. Bytes from the row's start.
struct hole {
	uint32_t begin;
	uint32_t end;
};

static void publish_around(void *public_row, const void *private_row, uint32_t size, struct hole hole)
{
	struct weir_row_head *head = public_row;
	const uint64_t *from = private_row;
	uint64_t *to = public_row;
	uint32_t sequence = __atomic_load_n((uint32_t *)&head->sequence, __ATOMIC_RELAXED);
	__atomic_store_n((uint32_t *)&head->sequence, sequence + 1, __ATOMIC_RELAXED);
	// Each release store keeps the odd sequence in front of it; pairs with the acquire loads of weir_row_read().
	__atomic_store_n(&head->in_use, ((const struct weir_row_head *)private_row)->in_use, __ATOMIC_RELEASE);
	for (uint32_t i = 1; i < hole.begin / sizeof(uint64_t); i++)
		__atomic_store_n(&to[i], from[i], __ATOMIC_RELEASE);
	for (uint32_t i = hole.end / sizeof(uint64_t); i < size / sizeof(uint64_t); i++)
		__atomic_store_n(&to[i], from[i], __ATOMIC_RELEASE);
	// Pairs with the first load of weir_row_read().
	__atomic_store_n((uint32_t *)&head->sequence, sequence + 2, __ATOMIC_RELEASE);
}

void weir_row_publish(void *public_row, const void *private_row, uint32_t size)
{
	publish_around(public_row, private_row, size, (struct hole){ size, size });
}

int weir_row_read(void *copy, const void *public_row, uint32_t size)
{
	const struct weir_row_head *head = public_row;
	const uint64_t *from = public_row;
	uint64_t *to = copy;
	for (uint32_t i = 0; i < ROW_TRIES; i++) {
		uint32_t before = __atomic_load_n((const uint32_t *)&head->sequence, __ATOMIC_ACQUIRE);
		if (!(before & 1)) {
			uint32_t in_use = __atomic_load_n(&head->in_use, __ATOMIC_ACQUIRE);
			for (uint32_t k = 1; k < size / sizeof(uint64_t); k++)
				to[k] = __atomic_load_n(&from[k], __ATOMIC_ACQUIRE);
			// The acquire loads above keep this one behind them.
			if (__atomic_load_n((const uint32_t *)&head->sequence, __ATOMIC_RELAXED) == before) {
				struct weir_row_head *out = copy;
				__atomic_store_n((uint32_t *)&out->sequence, before, __ATOMIC_RELAXED);
				out->in_use = in_use;
				return 0;
			}
		}
		if (i % ROW_YIELD_EVERY == ROW_YIELD_EVERY - 1)
			sched_yield();
	}
	return -EAGAIN;
}

static const struct hole NOTHING = { sizeof(uint64_t), sizeof(uint64_t) };

// The counters by reason are most of a row and seldom change. They only grow, and the row balances: their sum, which is
// what the rest of the row leaves over, tells whether they did. The first publication is always news.
static bool is_news(uint64_t *published, uint64_t dropped)
{
	bool is_new = *published != dropped + 1;
	*published = dropped + 1;
	return is_new;
}

static void delivery_publish(struct weir_delivery_stream *delivery, uint64_t now_ns)
{
	struct weir_group_row *row = &delivery->row;
	const struct weir_shard *shard = delivery->shard;
	row->head_offset = shard->log.head_offset;
	row->settled_to = weir_cursor_offset(&delivery->settled);
	row->held = row->head_offset - row->settled_to;
	row->state = delivery->state;
	row->term = delivery->term;
	row->session = weir_session_name(&delivery->member);
	row->sent_to = delivery->sent_to;
	row->received_to = delivery->received_to;
	row->credit_bytes = delivery->pace.limit > delivery->charged ? delivery->pace.limit - delivery->charged : 0;
	row->frame_size = delivery->member.id ? delivery->member.frame_size : 0;
	row->member_lane = delivery->member.id ? delivery->member.lane : 0;
	row->lane = delivery->reading == WEIR_READING_IN_PLACE ? row->member_lane : 0;
	row->head.changed_ns = now_ns;
	delivery->is_dirty = false;
	uint64_t dropped = row->head_offset - row->start_offset - row->settled - row->held;
	struct hole hole = { offsetof(struct weir_group_row, dropped), offsetof(struct weir_group_row, sent_to) };
	publish_around(delivery->public_row, row, sizeof(*row), is_news(&delivery->row_dropped, dropped) ? NOTHING : hole);
}

// Nobody but its client can let a pin go: who that is has to be seen.
static void show_pins(struct weir_shard *shard)
{
	struct weir_shard_row *row = &shard->row;
	const struct weir_pin *oldest = NULL;
	for (uint32_t i = 0; shard->pins_used && i < WEIR_PINS_ROOM; i++) {
		const struct weir_pin *pin = &shard->pins[i];
		if (pin->lane && (!oldest || pin->since_ns < oldest->since_ns))
			oldest = pin;
	}
	row->pins = shard->pins_used;
	row->pin_lane = oldest ? oldest->lane : 0;
	row->pin_since_ns = oldest ? oldest->since_ns : 0;
	row->pin_bytes = oldest ? shard->log.head - oldest->position : 0;
}

void weir_shard_publish(struct weir_shard *shard, uint64_t now_ns)
{
	struct weir_shard_row *row = &shard->row;
	for (uint32_t i = 0; i < shard->deliveries_limit; i++) {
		struct weir_delivery_stream *delivery = shard->deliveries[i];
		if (delivery && (delivery->is_dirty || delivery->row.head_offset != shard->log.head_offset))
			delivery_publish(delivery, now_ns);
	}
	// Everything appended was offered and accepted; its bytes are where the log ends.
	row->offered += shard->log.head_offset - row->accepted;
	row->accepted = shard->log.head_offset;
	row->accepted_bytes = shard->log.head;
	row->head_offset = shard->log.head_offset;
	row->earliest_offset = shard->log.tail_offset;
	row->held_bytes = shard->log.head - weir_shard_hold(shard);
	row->streams = shard->streams_used;
	show_pins(shard);
	row->head.changed_ns = now_ns;
	uint64_t dropped = row->offered - row->accepted - row->duplicate;
	struct hole hole = { offsetof(struct weir_shard_row, refused), offsetof(struct weir_shard_row, accepted_bytes) };
	publish_around(shard->public_row, row, sizeof(*row), is_news(&shard->row_dropped, dropped) ? NOTHING : hole);
}
