// Receive buffers: a fixed pool, last in first out so that the warm ones are used again first, and one buffer that
// small frames are packed into. Reference counted by what lies in them.
#include "client/state.h"

#include <errno.h>
#include <stdlib.h>

int buffers_init(struct buffers *buffers, uint32_t count)
{
	*buffers = (struct buffers){ 0 };
	buffers->array = calloc(count, sizeof(*buffers->array));
	// Touched only as far as it is used.
	buffers->memory = aligned_alloc(4096, (size_t)count * WEIR_CORE_BUFFER_SIZE);
	if (!buffers->array || !buffers->memory) {
		buffers_fini(buffers);
		return -ENOMEM;
	}
	for (uint32_t i = count; i-- > 0;) {
		buffers->array[i].data = buffers->memory + (size_t)i * WEIR_CORE_BUFFER_SIZE;
		buffers->array[i].next = buffers->free;
		buffers->free = &buffers->array[i];
	}
	return 0;
}

void buffers_fini(struct buffers *buffers)
{
	free(buffers->array);
	free(buffers->memory);
	*buffers = (struct buffers){ 0 };
}

static struct weir_buffer *get(struct buffers *buffers)
{
	struct weir_buffer *buffer = buffers->free;
	if (!buffer)
		return NULL;
	buffers->free = buffer->next;
	buffer->refs = 1;
	buffer->used = 0;
	return buffer;
}

void buffer_put(struct buffers *buffers, struct weir_buffer *buffer)
{
	if (--buffer->refs)
		return;
	if (buffer->is_heap) {
		free(buffer);
		return;
	}
	buffer->next = buffers->free;
	buffers->free = buffer;
}

uint8_t *buffers_pack(struct buffers *buffers, uint32_t size, struct weir_buffer **buffer)
{
	struct weir_buffer *packing = buffers->packing;
	size = weir_pad8(size);
	// The pool's own reference is the last one: nothing lies in it any more, start over.
	if (packing && packing->refs == 1)
		packing->used = 0;
	if (packing && WEIR_CORE_BUFFER_SIZE - packing->used < size) {
		buffer_put(buffers, packing);
		packing = buffers->packing = NULL;
	}
	if (!packing) {
		packing = buffers->packing = get(buffers);
		if (!packing)
			return NULL;
	}
	uint8_t *room = packing->data + packing->used;
	packing->used += size;
	packing->refs++;
	*buffer = packing;
	return room;
}

struct weir_buffer *buffer_heap(size_t size)
{
	struct weir_buffer *buffer = malloc(sizeof(*buffer) + size);
	if (!buffer)
		return NULL;
	*buffer = (struct weir_buffer){ .data = (uint8_t *)(buffer + 1), .refs = 1, .is_heap = true };
	return buffer;
}

struct weir_buffer *weir_core_buffer_get(struct weir_core *core)
{
	return get(&core->buffers);
}

void weir_core_buffer_put(struct weir_core *core, struct weir_buffer *buffer)
{
	buffer_put(&core->buffers, buffer);
}

void *weir_buffer_data(struct weir_buffer *buffer)
{
	return buffer->data;
}
