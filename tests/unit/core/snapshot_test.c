// Claims about finding topics by name: with an index every one is found and nobody else, and without one too.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/core/snapshot.h"

#define TOPICS 1000u

static struct weir_topic_spec topics[TOPICS];
static uint32_t by_name[TOPICS];

static int compare(const void *a, const void *b)
{
	return memcmp(topics[*(const uint32_t *)a].name, topics[*(const uint32_t *)b].name, WEIR_NAME_SIZE);
}

Test(snapshot, finds_each_topic_by_its_name_and_nothing_else)
{
	for (uint32_t i = 0; i < TOPICS; i++) {
		snprintf(topics[i].name, WEIR_NAME_SIZE, "t%u", (i * 7919u) % TOPICS * 2);
		by_name[i] = i;
	}
	qsort(by_name, TOPICS, sizeof(by_name[0]), compare);
	for (uint32_t count = 0; count <= TOPICS; count += count < 3 ? 1 : TOPICS - 3) {
		for (int is_sorted = 0; is_sorted < 2; is_sorted++) {
			const struct weir_snapshot snapshot = {
				.topics = topics,
				.topic_count = count,
				.by_name = is_sorted && count == TOPICS ? by_name : NULL,
			};
			for (uint32_t number = 0; number < 2 * TOPICS; number++) {
				char name[WEIR_NAME_SIZE] = { 0 };
				snprintf(name, sizeof(name), "t%u", number);
				const struct weir_topic_spec *found = weir_snapshot_find(&snapshot, name);
				if (found)
					cr_assert_str_eq(found->name, name);
				else
					cr_assert(number % 2 || count < TOPICS, "%s is there", name);
			}
		}
	}
}
