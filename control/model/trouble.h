// What went wrong, in the four parts every message of weir has: object, action, reason, fix; with the place in the
// configuration file where there is one. Filled by the model and the daemon, printed by the daemon, carried to weirctl
// as JSON. Plain data, any thread.
#ifndef WEIR_MODEL_TROUBLE_H
#define WEIR_MODEL_TROUBLE_H

#include <stddef.h>
#include <stdint.h>

// A place in a text file, counted from 1; line 0: none.
struct weir_mark {
	uint32_t line;
	uint32_t column;
};

struct weir_trouble {
	char object[160]; // what it is about: "topic positions", "port fast (interface veth0)"
	char action[96]; // what was tried: "change shards from 4 to 8"
	char reason[320]; // why it was not done
	char fix[320]; // what to do about it
	struct weir_mark mark;
};

// Texts that are too long are cut. `reason` is a format. Returns -EINVAL so that callers can return it.
__attribute__((format(printf, 5, 6))) int weir_trouble_set(struct weir_trouble *trouble, const char *object, const char *action,
							   const char *fix, const char *reason, ...);

// "weir.yaml:3:5: topic positions: cannot change shards: ... Fix: ...". file may be NULL. Returns the text's length.
int weir_trouble_text(const struct weir_trouble *trouble, const char *file, char *text, size_t size);

#endif
