// The engine's timers. Runs on the engine's thread only. A slot is looked at again for as long as the clock stays in it,
// so timers fire as exactly as the wheel is run; next_due_ns makes an idle run one comparison.
#include "dataplane/core/wheel.h"

#include <stddef.h>

static void insert(struct weir_wheel *wheel, struct weir_timer *timer)
{
	uint64_t slot = timer->due_ns / WEIR_WHEEL_SLOT_NS;
	if (slot < wheel->now_slot)
		slot = wheel->now_slot;
	struct weir_timer **link = &wheel->slots[slot % WEIR_WHEEL_SLOTS];
	timer->next = *link;
	if (timer->next)
		timer->next->link = &timer->next;
	timer->link = link;
	*link = timer;
}

static void unlink_timer(struct weir_timer *timer)
{
	*timer->link = timer->next;
	if (timer->next)
		timer->next->link = timer->link;
	timer->next = NULL;
	timer->link = NULL;
}

void weir_wheel_init(struct weir_wheel *wheel, void *context, uint64_t now_ns)
{
	*wheel = (struct weir_wheel){ .now_slot = now_ns / WEIR_WHEEL_SLOT_NS, .next_due_ns = UINT64_MAX, .context = context };
}

void weir_wheel_arm(struct weir_wheel *wheel, struct weir_timer *timer, uint64_t due_ns)
{
	if (timer->link)
		unlink_timer(timer);
	else
		wheel->armed++;
	timer->due_ns = due_ns;
	insert(wheel, timer);
	if (due_ns < wheel->next_due_ns)
		wheel->next_due_ns = due_ns;
}

void weir_wheel_cancel(struct weir_wheel *wheel, struct weir_timer *timer)
{
	if (!timer->link)
		return;
	unlink_timer(timer);
	if (--wheel->armed == 0)
		wheel->next_due_ns = UINT64_MAX;
}

static uint32_t serve(struct weir_wheel *wheel, uint64_t slot, uint64_t now_ns)
{
	// Taken out whole: what is armed by a firing timer waits for the next look at the slot.
	struct weir_timer *pending = wheel->slots[slot % WEIR_WHEEL_SLOTS];
	wheel->slots[slot % WEIR_WHEEL_SLOTS] = NULL;
	if (pending)
		pending->link = &pending;
	uint32_t fired = 0;
	while (pending) {
		struct weir_timer *timer = pending;
		unlink_timer(timer);
		if (timer->due_ns > now_ns) {
			insert(wheel, timer);
			continue;
		}
		wheel->armed--;
		timer->fire(timer, wheel->context, now_ns);
		fired++;
	}
	return fired;
}

// Lower bound: the exact minimum of the current slot, else the start of the next slot that holds anything.
static uint64_t next_due(const struct weir_wheel *wheel)
{
	if (wheel->armed == 0)
		return UINT64_MAX;
	uint64_t earliest = UINT64_MAX;
	uint64_t slot_end = (wheel->now_slot + 1) * WEIR_WHEEL_SLOT_NS;
	for (const struct weir_timer *timer = wheel->slots[wheel->now_slot % WEIR_WHEEL_SLOTS]; timer; timer = timer->next) {
		if (timer->due_ns < earliest)
			earliest = timer->due_ns;
	}
	if (earliest < slot_end)
		return earliest;
	for (uint64_t ahead = 1; ahead < WEIR_WHEEL_SLOTS; ahead++) {
		if (wheel->slots[(wheel->now_slot + ahead) % WEIR_WHEEL_SLOTS]) {
			uint64_t start = (wheel->now_slot + ahead) * WEIR_WHEEL_SLOT_NS;
			return start < earliest ? start : earliest;
		}
	}
	return earliest;
}

uint32_t weir_wheel_run(struct weir_wheel *wheel, uint64_t now_ns)
{
	if (now_ns < wheel->next_due_ns)
		return 0;
	uint64_t first = wheel->now_slot;
	uint64_t last = now_ns / WEIR_WHEEL_SLOT_NS;
	if (last < first)
		last = first;
	if (last - first >= WEIR_WHEEL_SLOTS)
		first = last - WEIR_WHEEL_SLOTS + 1;
	wheel->now_slot = last;
	uint32_t fired = 0;
	for (uint64_t slot = first; slot <= last; slot++)
		fired += serve(wheel, slot, now_ns);
	wheel->next_due_ns = next_due(wheel);
	return fired;
}
