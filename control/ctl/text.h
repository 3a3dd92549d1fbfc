// Numbers and JSON members as short text for tables.
#ifndef WEIR_CTL_TEXT_H
#define WEIR_CTL_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

struct weir_text {
	char bytes[96];
};

// "12", "4.2k", "17.3M": at most 5 characters.
struct weir_text weir_text_count(double value);
// "512", "64K", "1.5M", "2G": bytes in powers of 1024.
struct weir_text weir_text_bytes(uint64_t bytes);
// "1.5 ms", "2.0 s".
struct weir_text weir_text_duration(uint64_t ns);
// "12 %".
struct weir_text weir_text_ratio(double ratio);
// "crc 3, length 1", cut with "..." when longer; "-" when there is none.
struct weir_text weir_text_reasons(const json_t *reasons);

// Members of an object; 0 or "" when they are missing.
uint64_t weir_json_number(const json_t *object, const char *key);
double weir_json_real(const json_t *object, const char *key);
const char *weir_json_text(const json_t *object, const char *key);

#endif
