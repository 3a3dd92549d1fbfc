// A timer wheel: one per engine, an entry per stream, delivery and session, none per event. Hashed wheel of 1 ms slots
// with rounds (scheme 6 of Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987). Timers are
// intrusive; arming, moving and cancelling are O(1); a timer fires at most one slot late and never early.
#ifndef WEIR_CORE_WHEEL_H
#define WEIR_CORE_WHEEL_H

#include <stdint.h>

struct weir_timer;
typedef void (*weir_timer_fn)(struct weir_timer *timer, void *context, uint64_t now_ns);

struct weir_timer {
	struct weir_timer *next; // NULL when not armed
	struct weir_timer **link;
	uint64_t due_ns;
	weir_timer_fn fire; // set once by the owner of the timer
};

#define WEIR_WHEEL_SLOTS 4096u
#define WEIR_WHEEL_SLOT_NS 1000000u

struct weir_wheel {
	struct weir_timer *slots[WEIR_WHEEL_SLOTS];
	uint64_t now_slot; // slots up to and including this one have been served
	uint64_t armed;
	uint64_t next_due_ns; // lower bound of the earliest due time, UINT64_MAX when nothing is armed
	void *context; // handed to fire
};

void weir_wheel_init(struct weir_wheel *wheel, void *context, uint64_t now_ns);
// Arms or moves. due_ns in the past fires at the next run.
void weir_wheel_arm(struct weir_wheel *wheel, struct weir_timer *timer, uint64_t due_ns);
void weir_wheel_cancel(struct weir_wheel *wheel, struct weir_timer *timer);
// Fires what is due. A firing timer is not armed any more and may be armed again by its function. Returns how many.
uint32_t weir_wheel_run(struct weir_wheel *wheel, uint64_t now_ns);

static inline int weir_timer_is_armed(const struct weir_timer *timer)
{
	return timer->link != 0;
}

#endif
