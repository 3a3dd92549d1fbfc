// An event as a line of JSON. The payload is a string where it is UTF-8, base64 where it is not.
#include <string.h>

#include "client/weircat/weircat.h"

// Length of the UTF-8 character at `at`, 0: there is none (RFC 3629: no overlong forms, no surrogates).
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

static bool is_text(const uint8_t *at, size_t size)
{
	while (size) {
		size_t character = character_size(at, size);
		if (!character)
			return false;
		at += character;
		size -= character;
	}
	return true;
}

static void text_write(FILE *out, const uint8_t *at, size_t size)
{
	fputc('"', out);
	for (size_t i = 0; i < size; i++) {
		if (at[i] == '"' || at[i] == '\\') {
			fputc('\\', out);
			fputc(at[i], out);
		} else if (at[i] < 0x20) {
			fprintf(out, "\\u%04x", at[i]);
		} else {
			fputc(at[i], out);
		}
	}
	fputc('"', out);
}

static void base64_write(FILE *out, const uint8_t *at, size_t size)
{
	static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
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

void cat_json_write(FILE *out, const struct weir_view *view, const char *subject, size_t subject_size)
{
	fprintf(out, "{\"key\":%llu,\"shard\":%u,\"offset\":%llu,\"term\":%u,\"producer\":%llu,\"sequence\":%llu,\"type\":%u,",
		(unsigned long long)view->key, view->shard, (unsigned long long)view->offset, view->term,
		(unsigned long long)view->producer, (unsigned long long)view->sequence, view->type);
	fprintf(out, "\"append_ns\":%llu,\"redelivered\":%s,", (unsigned long long)view->append_ns,
		view->flags & WEIR_VIEW_REDELIVERED ? "true" : "false");
	if (subject && is_text((const uint8_t *)subject, subject_size)) {
		fputs("\"subject\":", out);
		text_write(out, (const uint8_t *)subject, subject_size);
		fputc(',', out);
	}
	bool is_plain = is_text(view->payload, view->payload_size);
	fputs(is_plain ? "\"payload\":" : "\"payload_base64\":", out);
	if (is_plain)
		text_write(out, view->payload, view->payload_size);
	else
		base64_write(out, view->payload, view->payload_size);
	fputs("}\n", out);
}
