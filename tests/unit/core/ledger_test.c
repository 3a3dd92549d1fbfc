// Claims about rows: a reader never sees half a publication, whoever else runs, and a writer that died inside is told.
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/core/counters.h"

#define ROUNDS 200000u

struct shared {
	_Alignas(64) struct weir_shard_row row;
	_Atomic bool is_over;
};

static void *writer(void *argument)
{
	struct shared *shared = argument;
	struct weir_shard_row own = { .head.in_use = 1 };
	for (uint32_t i = 0; i < ROUNDS; i++) {
		own.offered += 3;
		own.accepted += 1;
		own.duplicate += 1;
		own.refused[i % WEIR_REASON_ROOM] += 1;
		own.head.changed_ns = own.offered;
		weir_row_publish(&shared->row, &own, sizeof(own));
	}
	shared->is_over = true;
	return NULL;
}

Test(ledger, a_row_balances_whenever_it_is_read)
{
	struct shared *shared = aligned_alloc(64, sizeof(*shared));
	memset(shared, 0, sizeof(*shared));
	pthread_t thread;
	cr_assert_eq(pthread_create(&thread, NULL, writer, shared), 0);
	uint64_t reads = 0;
	uint64_t last = 0;
	while (!shared->is_over) {
		struct weir_shard_row copy;
		if (weir_row_read(&copy, &shared->row, sizeof(copy)))
			continue;
		uint64_t refused = 0;
		for (uint32_t i = 0; i < WEIR_REASON_ROOM; i++)
			refused += copy.refused[i];
		cr_assert_eq(copy.offered, copy.accepted + copy.duplicate + refused);
		cr_assert_eq(copy.head.changed_ns, copy.offered);
		cr_assert(copy.offered >= last, "never backwards");
		last = copy.offered;
		reads++;
	}
	pthread_join(thread, NULL);
	cr_assert_gt(reads, 0);
	free(shared);
}

Test(ledger, a_published_row_is_read_as_it_was_but_for_the_sequence)
{
	struct weir_group_row own = { .head = { .in_use = 1, .changed_ns = 5 }, .topic = 1, .shard = 2, .settled = 9 };
	struct weir_group_row row = { 0 };
	struct weir_group_row copy;
	weir_row_publish(&row, &own, sizeof(own));
	cr_assert_eq(weir_row_read(&copy, &row, sizeof(copy)), 0);
	cr_assert_eq(copy.head.sequence, 2);
	own.head.sequence = copy.head.sequence;
	cr_assert_eq(memcmp(&copy, &own, sizeof(own)), 0);
}

Test(ledger, a_writer_that_died_inside_is_told)
{
	struct weir_group_row row = { .head.sequence = 7 };
	struct weir_group_row copy;
	cr_assert_eq(weir_row_read(&copy, &row, sizeof(copy)), -EAGAIN);
}
