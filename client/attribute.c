// Attributes of events (wire/PROTOCOL.md, section 3): putting them together and taking them apart. Pure functions over the
// application's bytes, from any thread. What comes in is a stranger's: nothing is believed.
#include <errno.h>
#include <string.h>

#include "client/weir.h"
#include "wire/frame.h"
#include "wire/key.h"

// An event says its attributes in words of 8 bytes, in one byte.
#define ATTRIBUTES_MAX (UINT8_MAX * 8u)

static uint32_t whole(uint32_t value_size)
{
	return ((uint32_t)sizeof(struct weir_attribute_header) + value_size + 7) & ~7u;
}

uint64_t weir_key(const void *bytes, size_t size)
{
	return weir_key_of_bytes(bytes, size);
}

int weir_attribute_put(void *attributes, size_t capacity, uint16_t *size, const struct weir_attribute *attribute)
{
	if (attribute->id == 0 || attribute->id > UINT8_MAX || *size % 8 || (attribute->size && !attribute->value))
		return -EINVAL;
	uint32_t need = whole(attribute->size);
	if (capacity > ATTRIBUTES_MAX)
		capacity = ATTRIBUTES_MAX;
	if (*size > capacity || need > capacity - *size)
		return -ENOSPC;
	struct weir_attribute_header header = { .id = (uint8_t)attribute->id, .length = attribute->size };
	uint8_t *at = (uint8_t *)attributes + *size;
	memset(at + need - 8, 0, 8);
	memcpy(at, &header, sizeof(header));
	if (attribute->size)
		memcpy(at + sizeof(header), attribute->value, attribute->size);
	*size = (uint16_t)(*size + need);
	return 0;
}

int weir_attribute_next(const void *attributes, size_t size, struct weir_attribute *attribute)
{
	const uint8_t *start = attributes;
	size_t at = 0;
	if (attribute->value)
		at = (size_t)((const uint8_t *)attribute->value - start) - sizeof(struct weir_attribute_header) +
		     whole(attribute->size);
	if (at >= size)
		return -ENOENT;
	struct weir_attribute_header header;
	if (size - at < sizeof(header))
		return -EBADMSG;
	memcpy(&header, start + at, sizeof(header));
	if (header.id == 0 || whole(header.length) > size - at)
		return -EBADMSG;
	attribute->id = header.id;
	attribute->size = header.length;
	attribute->value = start + at + sizeof(header);
	return 0;
}

int weir_attribute_get(const void *attributes, size_t size, unsigned id, struct weir_attribute *attribute)
{
	struct weir_attribute found = { 0 };
	for (;;) {
		int error = weir_attribute_next(attributes, size, &found);
		if (error)
			return error;
		if (found.id != id)
			continue;
		*attribute = found;
		return 0;
	}
}
