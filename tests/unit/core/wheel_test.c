// Claims about the timer wheel: never early, at the next run when due, over rounds, safe against what firing timers do.
// The clock is a number that the test moves, in even and uneven steps, and past the wheel's
// whole round.
#include "dataplane/core/wheel.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define MS 1000000ull
#define START (123456789ull * MS + 777)

struct probe {
	struct weir_timer timer;
	uint64_t fired_ns;
	uint32_t fired;
	uint64_t again_ns;   // arms itself this much later
	struct probe *other; // cancels this one
};

static struct weir_wheel wheel;

static void fire(struct weir_timer *timer, void *context, uint64_t now_ns)
{
	struct probe *probe = (struct probe *)(void *)timer;
	cr_assert_eq(context, &wheel);
	cr_assert_geq(now_ns, timer->due_ns, "early");
	probe->fired++;
	probe->fired_ns = now_ns;
	if (probe->again_ns)
		weir_wheel_arm(&wheel, timer, now_ns + probe->again_ns);
	if (probe->other)
		weir_wheel_cancel(&wheel, &probe->other->timer);
}

static void setup(void)
{
	weir_wheel_init(&wheel, &wheel, START);
}

Test(wheel, thousands_of_timers_fire_at_the_first_run_after_they_are_due, .init = setup)
{
	enum { COUNT = 5000 };
	static struct probe probes[COUNT];
	srand(7);
	for (int i = 0; i < COUNT; i++) {
		probes[i].timer.fire = fire;
		weir_wheel_arm(&wheel, &probes[i].timer, START + (uint64_t)rand() % (20000 * MS));
	}
	uint64_t previous = START;
	for (uint64_t now = START; now < START + 20001 * MS; now += 700000 + (uint64_t)rand() % (3 * MS)) {
		cr_assert(wheel.next_due_ns <= now + 20000 * MS || wheel.armed == 0);
		weir_wheel_run(&wheel, now);
		for (int i = 0; i < COUNT; i++) {
			if (probes[i].timer.due_ns <= now)
				cr_assert_eq(probes[i].fired, 1);
			if (probes[i].fired && probes[i].fired_ns == now)
				cr_assert(probes[i].timer.due_ns > previous || previous == START, "late by a run");
		}
		previous = now;
	}
	weir_wheel_run(&wheel, START + 20010 * MS);
	cr_assert_eq(wheel.armed, 0);
	cr_assert_eq(wheel.next_due_ns, UINT64_MAX);
}

Test(wheel, the_deadline_is_never_behind_the_earliest_timer, .init = setup)
{
	static struct probe probes[50];
	srand(11);
	for (int i = 0; i < 50; i++) {
		probes[i].timer.fire = fire;
		weir_wheel_arm(&wheel, &probes[i].timer, START + (uint64_t)rand() % (9000 * MS));
	}
	// Sleeping exactly as long as the wheel allows fires everything in time.
	int turns = 0;
	for (uint64_t now = START; wheel.next_due_ns != UINT64_MAX; turns++) {
		cr_assert_geq(wheel.next_due_ns, now);
		for (int i = 0; i < 50; i++)
			cr_assert(probes[i].fired || probes[i].timer.due_ns >= wheel.next_due_ns);
		now = wheel.next_due_ns;
		weir_wheel_run(&wheel, now);
	}
	cr_assert_leq(turns, 300, "the bound must lead somewhere");
	cr_assert_eq(wheel.armed, 0);
}

Test(wheel, a_timer_in_the_past_fires_at_the_next_run_and_moving_it_moves_it, .init = setup)
{
	struct probe probe = { .timer = { .fire = fire } };
	weir_wheel_arm(&wheel, &probe.timer, START - 50 * MS);
	cr_assert_eq(weir_wheel_run(&wheel, START), 1);
	weir_wheel_arm(&wheel, &probe.timer, START + 5 * MS);
	weir_wheel_arm(&wheel, &probe.timer, START + 9000 * MS);
	cr_assert_eq(wheel.armed, 1);
	cr_assert_eq(weir_wheel_run(&wheel, START + 8999 * MS), 0);
	cr_assert_eq(weir_wheel_run(&wheel, START + 9000 * MS), 1);
	cr_assert_not(weir_timer_is_armed(&probe.timer));
}

Test(wheel, firing_timers_may_arm_themselves_and_cancel_their_neighbours, .init = setup)
{
	struct probe victim = { .timer = { .fire = fire } };
	struct probe killer = { .timer = { .fire = fire }, .other = &victim, .again_ns = 3 * MS };
	weir_wheel_arm(&wheel, &victim.timer, START + 2 * MS);
	weir_wheel_arm(&wheel, &killer.timer, START + 2 * MS);
	// The one armed last is looked at first.
	cr_assert_eq(weir_wheel_run(&wheel, START + 2 * MS), 1);
	cr_assert_eq(victim.fired, 0);
	for (uint64_t ms = 3; ms <= 32; ms++)
		weir_wheel_run(&wheel, START + ms * MS);
	cr_assert_eq(killer.fired, 11);
}

Test(wheel, a_pause_longer_than_the_wheel_loses_nothing, .init = setup)
{
	static struct probe probes[100];
	for (int i = 0; i < 100; i++) {
		probes[i].timer.fire = fire;
		weir_wheel_arm(&wheel, &probes[i].timer, START + (uint64_t)i * 97 * MS);
	}
	cr_assert_eq(weir_wheel_run(&wheel, START + 3600000 * MS), 100);
}
