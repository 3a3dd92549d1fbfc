// Shares of what is scarce. A source, an address (of IPv6 the first 64 bits) or a lane, may take of a pool as long as it has
// less than three times of what is free. So one source alone gets three quarters at most, and the next one finds a quarter
// free: the more there are, the less each has, and nobody needs a number in a file (dynamic thresholds; Choudhury and Hahne,
// "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998).
//
// Sources are counted by a hash: two that meet in a bucket share a share.
#ifndef WEIR_CORE_SHARE_H
#define WEIR_CORE_SHARE_H

#include <stdbool.h>
#include <stdint.h>

#define WEIR_SHARE_TIMES 3u
#define WEIR_SOURCES 256u // buckets; a source is one byte

// What a source has, and whether it may take one more of `free`.
static inline bool weir_share_may_take(uint32_t has, uint32_t free)
{
	return has < (uint64_t)WEIR_SHARE_TIMES * free;
}

#endif
