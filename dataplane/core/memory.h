// Memory that workers use: mapped and touched by control before it is handed over, near the worker's node.
#ifndef WEIR_CORE_MEMORY_H
#define WEIR_CORE_MEMORY_H

#include <stddef.h>

// Zeroed, page-aligned, every page present. node -1: any; a node that is full or unknown is no error, memory then comes
// from elsewhere. NULL: errno says why.
void *weir_memory_get(size_t size, int node);
void weir_memory_put(void *memory, size_t size); // NULL is allowed

// Asks that the pages of a mapping, anonymous or of a memfd, come from `node` (-1: any) when they are first touched.
// Preferred, not strict. -EINVAL no such node; a kernel that will not be asked is no error.
int weir_memory_bind(void *memory, size_t size, int node);

#endif
