// Asks for a cache line before it is needed. Not __builtin_prefetch() alone: to GCC (seen with 12.2) a function that does
// nothing else has no effect, and where it is not inlined early its calls are dropped without a word. Any thread; any address,
// for a wrong one does nothing.
#ifndef WEIR_WIRE_PREFETCH_H
#define WEIR_WIRE_PREFETCH_H

static inline void weir_prefetch(const void *at)
{
	__asm__ volatile(""); // an effect, so that callers have one
	__builtin_prefetch(at);
}

// To be written soon.
static inline void weir_prefetch_write(const void *at)
{
	__asm__ volatile("");
	__builtin_prefetch(at, 1);
}

#endif
