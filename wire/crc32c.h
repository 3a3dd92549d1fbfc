// CRC32C (Castagnoli, polynomial 0x1EDC6F41 reflected; RFC 3720 appendix B.4). SSE4.2 or Armv8 CRC instructions where
// the compiler targets them, slicing-by-8 otherwise; all give the same values.
#ifndef WEIR_WIRE_CRC32C_H
#define WEIR_WIRE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

// Continues `crc` over size bytes; 0 starts. weir_crc32c(weir_crc32c(0, a), b) is the CRC of a followed by b.
uint32_t weir_crc32c(uint32_t crc, const void *data, size_t size);

#endif
