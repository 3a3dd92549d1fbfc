// The monotonic clock, and a time by which something has to be done: one limit for all the steps of a wait, so that three
// steps that may each take as long as the user said do not take three times as long.
#ifndef LIB_CLOCK_H
#define LIB_CLOCK_H

#include <limits.h>
#include <stdint.h>
#include <time.h>

static inline uint64_t lib_clock_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static inline uint64_t lib_clock_ms(void)
{
	return lib_clock_ns() / 1000000;
}

static inline uint64_t lib_deadline_in_ms(int ms)
{
	return lib_clock_ns() + (uint64_t)ms * 1000000ull;
}

// What poll() and its like take: milliseconds left, rounded up, 0 when the time is over.
static inline int lib_deadline_left_ms(uint64_t deadline_ns)
{
	uint64_t now_ns = lib_clock_ns();
	uint64_t left_ms = deadline_ns > now_ns ? (deadline_ns - now_ns + 999999) / 1000000 : 0;
	return left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}

#endif
