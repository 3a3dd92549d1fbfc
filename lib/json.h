// JSON as programs write it line by line, without building a document first.
#ifndef LIB_JSON_H
#define LIB_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

// Whether the bytes are UTF-8 (RFC 3629: no overlong forms, no surrogates), hence may be a JSON string as they are.
bool lib_json_is_text(const void *bytes, size_t size);
// A string with its quotes. Bytes that are no UTF-8 become U+FFFD, one each.
void lib_json_string_write(FILE *out, const void *bytes, size_t size);
// Base64 with padding, a string with its quotes: for bytes that are no text.
void lib_json_base64_write(FILE *out, const void *bytes, size_t size);

#endif
