// weircat: publish lines or records, subscribe and write events out. What its parts share; a program on libweir's public
// functions alone, one thread.
#ifndef WEIR_WEIRCAT_H
#define WEIR_WEIRCAT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "client/weir.h"
#include "client/weircat/attributes.h"

// What an event is to weircat, beyond its bytes (marks.c). Most are lines: none.
enum cat_mark {
	CAT_MARK_NONE,
	CAT_MARK_UNENDED, // no line end follows the payload: the last line of a file, or a piece of a long line
	CAT_MARK_FILE,    // a file begins; no payload
};
#define CAT_MARK_ID 255u  // an attribute of weircat's own
#define CAT_MARK_ROOM 24u // bytes of attributes that a mark takes

enum cat_key {
	CAT_KEY_NONE,
	CAT_KEY_FIELD,
	CAT_KEY_FILE,
	CAT_KEY_FIXED, // key_text is its text
};

struct cat_options {
	const char *router;
	const char *topic;
	const char *group;
	const char *name;
	char **files;
	int file_count;
	enum cat_key key;
	unsigned long key_field; // from 1
	const char *key_separator; // "": blanks
	const char *key_text;
	bool sends_key_text;
	bool has_type;
	uint16_t type;
	struct cat_attributes attributes;
	const char *per_key;
	uint64_t count; // 0: no limit
	int idle_ms;    // 0: no limit
	int wait_ms;    // for the router, the topic, the last acknowledgement
	int level;
	uint32_t frame_size;
	bool is_length_prefixed;
	bool is_json;
	bool is_quiet;
	bool has_stats;
};

#define CAT_STANDARD_INPUT "standard input" // its name, where a file's would be

#define CAT_OK 0
#define CAT_FAILED 1
#define CAT_USAGE 2

// The signal that asked to end, 0: none.
int cat_stopped(void);
// A line of what happens, "weircat: ..." on stderr, unless quiet.
void cat_say(const struct cat_options *options, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Gives the last of it half a second.
void cat_say_end(void);
// "weircat: object: what, and what to do" on stderr unless quiet. Returns CAT_FAILED.
int cat_fail(const struct cat_options *options, const char *format, ...) __attribute__((format(printf, 2, 3)));
// What weir_producer_open() and weir_consumer_open() mean by an error.
const char *cat_name_error(int error);
// Waiting is for nothing: there is no host of that name.
bool cat_is_hopeless(const struct weir *weir);
// The router did not answer: why, as far as this host knows, and what to do. Returns CAT_FAILED.
// Of a router that answered: what it refused to `what`, and what to do. CAT_FAILED.
int cat_refused(const struct cat_options *options, const char *what, unsigned reason);
int cat_no_answer(const struct cat_options *options, const struct weir *weir);
// The way to the router (watch.c).
struct cat_watch {
	const char *meanwhile; // what happens while the router is away
	const char *doubtful;  // what becomes of events in doubt
	bool is_total;         // events in doubt are counted as they are now, not since the start
	bool is_lost;
	uint64_t lost_ns;
	uint64_t doubts; // told already
};
// After each weir_poll(); doubts: events in doubt.
void cat_watch(struct cat_watch *watch, const struct cat_options *options, const struct weir *weir, uint64_t doubts);
int cat_publish(const struct cat_options *options, struct weir *weir);
int cat_subscribe(const struct cat_options *options, struct weir *weir);

enum cat_mark cat_mark_of(const struct weir_attribute *attribute);
enum cat_mark cat_mark_get(const struct weir_view *view);
// As weir_attribute_put().
int cat_mark_put(void *attributes, size_t capacity, uint16_t *size, enum cat_mark mark);
const char *cat_mark_name(enum cat_mark mark); // "unended", "file"

// ---- Output by key (keyfiles.c) ----

struct cat_keyfiles;
struct cat_keyfiles *cat_keyfiles_open(const char *folder); // NULL: errno says why
// Writes to the file of the name (of the key when subject_size is 0). 0 or -errno.
int cat_keyfiles_write(struct cat_keyfiles *files, const struct weir_view *view, const char *subject, size_t subject_size);
int cat_keyfiles_flush(struct cat_keyfiles *files); // to the kernel; 0 or -errno
int cat_keyfiles_close(struct cat_keyfiles *files);

// One JSON object and a newline.
void cat_json_write(FILE *out, const struct weir_view *view, const char *subject, size_t subject_size);

#endif
