// Attributes by name, as weircat's options and its JSON have them: the names of CloudEvents, 128 and above by number, and any
// other name of lower-case letters and digits for an extension.
#ifndef WEIR_WEIRCAT_ATTRIBUTES_H
#define WEIR_WEIRCAT_ATTRIBUTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "client/weir.h"

#define CAT_ATTRIBUTES_MAX 2040u // bytes of an event's attributes

// What all events of a command line have.
struct cat_attributes {
	uint32_t need; // bytes that all of them take, also those that found no room
	uint16_t size; // bytes of those that did
	uint8_t bytes[CAT_ATTRIBUTES_MAX];
};

// Bytes that a value takes.
uint32_t cat_attribute_size(size_t value_size);
// Adds the value under an id. NULL, or why it cannot be added: static storage.
const char *cat_attribute_add(struct cat_attributes *attributes, unsigned id, const char *value);
// Adds "NAME=VALUE". Returns as cat_attribute_add().
const char *cat_attribute_parse(struct cat_attributes *attributes, const char *text);

// Writes ,"attributes":{...} when the event has any beside weircat's mark, and ,"attributes_broken":true behind it when what
// follows them is no attribute. A name that comes more than once has an array of values. What is not UTF-8 is base64, and
// _base64 is added to its name. An extension under a name that is none stands under "13", as it came.
void cat_attributes_write(FILE *out, const struct weir_view *view);

#endif
