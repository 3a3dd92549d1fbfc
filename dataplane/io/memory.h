// Memory that workers use: mapped and touched by control before it is handed over, near the worker's node.
#ifndef WEIR_IO_MEMORY_H
#define WEIR_IO_MEMORY_H

#include <stddef.h>

// Zeroed, page-aligned, every page present. node -1: any; a node that is full or unknown is no error, memory then comes
// from elsewhere. NULL: errno says why.
void *weir_memory_get(size_t size, int node);
void weir_memory_put(void *memory, size_t size); // NULL is allowed

#endif
