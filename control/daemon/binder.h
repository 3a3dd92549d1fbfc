// Binds a YAML document to structs by tables of fields, and says of every mistake where it stands (file, line, column)
// and what was expected there. It works on libyaml's document tree, whose nodes keep their marks. (libcyaml, which binds
// by tables as well, reports an unknown, missing or repeated key at the mark of the previous value, up to several lines
// off, and never says what would have been right.) Startup and `apply` only: control thread.
#ifndef WEIR_DAEMON_BINDER_H
#define WEIR_DAEMON_BINDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <yaml.h>

#include "control/model/trouble.h"

struct weir_binder {
	yaml_document_t document;
	struct weir_trouble *trouble;
	char path[128]; // where we are: "topics[2].groups[0].kind"
};

struct weir_field;

// Binds `node` to the memory at `at`. 0, -EINVAL with the trouble set, -ENOMEM.
typedef int weir_bind(struct weir_binder *binder, const struct weir_field *field, yaml_node_t *node, void *at);

struct weir_word {
	const char *text;
	uint32_t value;
};

// One key of a mapping. A table of fields ends with a row without key.
struct weir_field {
	const char *key;
	weir_bind *bind;
	size_t offset; // of the value within the mapping's struct
	size_t size; // of the value; of one element for sequences
	uint64_t min; // of numbers, sizes, durations; elements of sequences
	uint64_t max;
	const char *expected; // "a number from 1 to 64"
	bool is_required;
	const struct weir_word *words; // enums
	const struct weir_field *fields; // mappings and sequences of mappings
	size_t count_offset; // sequences: uint32_t, from the mapping's struct
	void (*init)(void *at); // sequences: sets defaults of one element
	size_t mark_offset; // sequences: struct weir_mark of one element
};

// Parses `text`. 0, or -EINVAL with *trouble (kept until fini) saying where and what.
int weir_binder_init(struct weir_binder *binder, const char *text, size_t size, struct weir_trouble *trouble);
void weir_binder_fini(struct weir_binder *binder);

// Binds the document's root mapping.
int weir_binder_run(struct weir_binder *binder, const struct weir_field *fields, void *at);

// `use "VALUE": expected EXPECTED` at the node. Returns -EINVAL.
int weir_binder_refuse(struct weir_binder *binder, const char *path, yaml_node_t *node, const char *expected);
// The same, with a free reason.
__attribute__((format(printf, 5, 6))) int weir_binder_fail(struct weir_binder *binder, const char *path, yaml_node_t *node,
							   const char *fix, const char *reason, ...);

// Value of a key; NULL when the node is no mapping or has no such key.
yaml_node_t *weir_binder_child(struct weir_binder *binder, yaml_node_t *mapping, const char *key);
// Element of a sequence; NULL when there is none.
yaml_node_t *weir_binder_element(struct weir_binder *binder, yaml_node_t *sequence, uint32_t index);

// Ready-made binds.
weir_bind weir_bind_text; // char[size], at least min bytes
weir_bind weir_bind_name; // char[WEIR_NAME_SIZE], weir_name_is_valid()
weir_bind weir_bind_number; // uint32_t
weir_bind weir_bind_size; // uint64_t, bytes: 4096, 64KiB, 1MiB, 2GiB
weir_bind weir_bind_duration; // uint64_t, ns: 500us, 1ms, 30s, 5m, 2h
weir_bind weir_bind_word; // uint32_t or enum
weir_bind weir_bind_mapping; // struct at offset
weir_bind weir_bind_numbers; // uint32_t[max], count at count_offset
weir_bind weir_bind_sequence; // pointer to allocated elements, count at count_offset
weir_bind weir_bind_later; // nothing: the reader looks at it itself

// A whole number without sign that fits. false otherwise.
bool weir_number_parse(const char *text, int base, uint64_t *value);

#endif
