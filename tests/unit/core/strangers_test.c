// Claims about the budgets of those who have no session: bounded for each source and each question, shared by nobody.
#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>

#include "dataplane/core/strangers.h"

#define SECOND_NS 1000000000ull

static struct weir_strangers strangers;

static void setup(void)
{
	static const uint64_t secret[2] = { 1, 2 };
	weir_strangers_init(&strangers, secret);
}

TestSuite(strangers, .init = setup);

static struct weir_path path_of(uint32_t address)
{
	struct weir_path path = { .family = AF_INET };
	memcpy(path.remote_ip, &address, sizeof(address));
	return path;
}

static uint32_t answers(uint32_t address, enum weir_stranger_question question, uint32_t times, uint64_t now_ns)
{
	const struct weir_path path = path_of(address);
	uint32_t count = 0;
	for (uint32_t i = 0; i < times; i++)
		count += weir_strangers_may_ask(&strangers, &path, question, now_ns);
	return count;
}

Test(strangers, a_source_is_answered_in_bursts_and_at_its_pace)
{
	cr_assert_eq(answers(7, WEIR_STRANGER_NO_SESSION, 500, SECOND_NS), 100);
	cr_assert_eq(answers(7, WEIR_STRANGER_NO_SESSION, 500, SECOND_NS + SECOND_NS / 100), 10);
	cr_assert_eq(answers(7, WEIR_STRANGER_NO_SESSION, 500, 9 * SECOND_NS), 100, "and saves up no more than a burst");
	uint32_t count = 0;
	for (uint32_t ms = 0; ms < 1000; ms++)
		count += answers(7, WEIR_STRANGER_NO_SESSION, 10, 20 * SECOND_NS + ms * 1000000ull);
	cr_assert(count >= 1000 && count <= 1100, "%u", count);
	cr_assert_eq(answers(7, WEIR_STRANGER_HELLO, 9000, SECOND_NS), 4096);
}

Test(strangers, a_question_takes_nothing_from_another)
{
	answers(7, WEIR_STRANGER_HELLO, 9000, SECOND_NS);
	answers(7, WEIR_STRANGER_MOVED, 9000, SECOND_NS);
	cr_assert_eq(answers(7, WEIR_STRANGER_NO_SESSION, 500, SECOND_NS), 100);
}

// A thousand sources that flood leave the budgets of most others as they were, and of every other one after a second.
Test(strangers, a_source_takes_nothing_from_most_others)
{
	uint32_t untouched = 0;
	answers(1, WEIR_STRANGER_NO_SESSION, 100000, SECOND_NS);
	for (uint32_t source = 2; source < 1002; source++)
		untouched += answers(source, WEIR_STRANGER_NO_SESSION, 1, SECOND_NS);
	cr_assert_geq(untouched, 990);
}

// Each once: a flood of sources that nobody has is a trickle in each row.
Test(strangers, spoofed_sources_do_not_use_a_budget_up)
{
	for (uint32_t i = 0; i < 20000; i++)
		answers(0x0a000000 + i, WEIR_STRANGER_HELLO, 1, SECOND_NS + i * 50000ull);
	cr_assert_eq(answers(7, WEIR_STRANGER_HELLO, 1000, 2 * SECOND_NS), 1000);
}

Test(strangers, a_host_does_not_get_more_by_many_ipv6_addresses)
{
	struct weir_path path = { .family = AF_INET6, .remote_ip = { 0xfd } };
	uint32_t count = 0;
	for (uint32_t i = 0; i < 5000; i++) {
		memcpy(path.remote_ip + 8, &i, sizeof(i));
		count += weir_strangers_may_ask(&strangers, &path, WEIR_STRANGER_NO_SESSION, SECOND_NS);
	}
	cr_assert_eq(count, 100);
}
