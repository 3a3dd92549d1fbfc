// Memory that workers use: mapped and touched by control before it is handed over, near the worker's node.
#ifndef WEIR_CORE_MEMORY_H
#define WEIR_CORE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

// Zeroed, page-aligned, every page present. node -1: any; a node that is full or unknown is no error, memory then comes
// from elsewhere. NULL: errno says why.
void *weir_memory_get(size_t size, int node);
void weir_memory_put(void *memory, size_t size); // NULL is allowed
// What it takes to get `size` bytes: whole pages.
size_t weir_memory_size(size_t size);

// Memory for pieces of one size that are used together, as weir_memory_get() gives it: side by side, many of them fill huge
// pages, and a processor finds its way to them without a walk through page tables. Control thread.
struct weir_slab;

// Room for `count` pieces of `size` bytes. The caller holds the slab until it puts it. NULL: out of memory.
struct weir_slab *weir_slab_create(size_t size, uint32_t count, int node);
// The next piece, zeroed, page-aligned. NULL: all were taken.
void *weir_slab_take(struct weir_slab *slab);
// Lets go of a piece, or of the slab itself: the last one frees everything. A piece that was put is not given out again.
void weir_slab_put(struct weir_slab *slab);

// Asks that the pages of a mapping, anonymous or of a memfd, come from `node` (-1: any) when they are first touched.
// Preferred, not strict. -EINVAL no such node; a kernel that will not be asked is no error.
int weir_memory_bind(void *memory, size_t size, int node);

#endif
