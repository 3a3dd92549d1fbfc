// Strings of JSON: UTF-8 that is checked, escapes, base64.
#include "lib/json.h"

#include <stdint.h>

// Length of the UTF-8 character at `at`, 0: there is none.
static size_t character_size(const uint8_t *at, size_t left)
{
	uint8_t c = at[0];
	size_t size = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
	if (size == 0 || size > left)
		return 0;
	for (size_t i = 1; i < size; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	}
	bool is_overlong = (c == 0xe0 && at[1] < 0xa0) || (c == 0xf0 && at[1] < 0x90);
	bool is_beyond = (c == 0xed && at[1] > 0x9f) || (c == 0xf4 && at[1] > 0x8f);
	return is_overlong || is_beyond ? 0 : size;
}

bool lib_json_is_text(const void *bytes, size_t size)
{
	const uint8_t *at = bytes;
	while (size) {
		size_t character = character_size(at, size);
		if (!character)
			return false;
		at += character;
		size -= character;
	}
	return true;
}

void lib_json_string_write(FILE *out, const void *bytes, size_t size)
{
	const uint8_t *at = bytes;
	fputc('"', out);
	while (size) {
		size_t character = character_size(at, size);
		if (character == 0)
			fputs("\xef\xbf\xbd", out);
		else if (*at == '"' || *at == '\\')
			fprintf(out, "\\%c", *at);
		else if (*at < 0x20)
			fprintf(out, "\\u%04x", *at);
		else
			fwrite(at, 1, character, out);
		at += character ? character : 1;
		size -= character ? character : 1;
	}
	fputc('"', out);
}

void lib_json_base64_write(FILE *out, const void *bytes, size_t size)
{
	static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *at = bytes;
	fputc('"', out);
	for (size_t i = 0; i < size; i += 3) {
		uint32_t left = size - i < 3 ? (uint32_t)(size - i) : 3;
		uint32_t bits = (uint32_t)at[i] << 16 | (left > 1 ? (uint32_t)at[i + 1] << 8 : 0) | (left > 2 ? at[i + 2] : 0u);
		fputc(DIGITS[bits >> 18], out);
		fputc(DIGITS[bits >> 12 & 63], out);
		fputc(left > 1 ? DIGITS[bits >> 6 & 63] : '=', out);
		fputc(left > 2 ? DIGITS[bits & 63] : '=', out);
	}
	fputc('"', out);
}
