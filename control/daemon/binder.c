// Table-driven reading of a YAML document, see control/daemon/binder.h: one function per kind of value, each refusing what
// does not fit with the place where it stands and what was expected. Control thread, at start and at `apply`.
#include "control/daemon/binder.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/codec.h"
#include "wire/limits.h"

static struct weir_mark mark_of(const yaml_mark_t *mark)
{
	return (struct weir_mark){ .line = (uint32_t)mark->line + 1, .column = (uint32_t)mark->column + 1 };
}

static const char *text_of(const yaml_node_t *node)
{
	return (const char *)node->data.scalar.value;
}

int weir_binder_fail(struct weir_binder *binder, const char *path, yaml_node_t *node, const char *fix, const char *reason, ...)
{
	char text[320];
	char action[96] = "use it";
	va_list arguments;

	va_start(arguments, reason);
	vsnprintf(text, sizeof(text), reason, arguments);
	va_end(arguments);
	if (node && node->type == YAML_SCALAR_NODE)
		snprintf(action, sizeof(action), "use \"%s\"", text_of(node));
	weir_trouble_set(binder->trouble, path[0] ? path : "file", action, fix, "%s", text);
	if (node)
		binder->trouble->mark = mark_of(&node->start_mark);
	return -EINVAL;
}

int weir_binder_refuse(struct weir_binder *binder, const char *path, yaml_node_t *node, const char *expected)
{
	char fix[320];

	snprintf(fix, sizeof(fix), "write %s", expected);
	if (node->type == YAML_SCALAR_NODE)
		return weir_binder_fail(binder, path, node, fix, "expected %s", expected);
	return weir_binder_fail(binder, path, node, fix, "expected %s, found a %s", expected,
				node->type == YAML_MAPPING_NODE ? "mapping" : "list");
}

static int refuse(struct weir_binder *binder, const struct weir_field *field, yaml_node_t *node)
{
	return weir_binder_refuse(binder, binder->path, node, field->expected);
}

int weir_binder_init(struct weir_binder *binder, const char *text, size_t size, struct weir_trouble *trouble)
{
	yaml_parser_t parser;
	yaml_document_t second;
	int err = -ENOMEM;

	memset(binder, 0, sizeof(*binder));
	binder->trouble = trouble;
	if (!yaml_parser_initialize(&parser))
		return weir_trouble_set(trouble, "file", "be read", "free some memory", "out of memory");
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
	if (!yaml_parser_load(&parser, &binder->document))
		goto err_syntax;
	if (!yaml_parser_load(&parser, &second))
		goto err_second;
	if (yaml_document_get_root_node(&second)) {
		err = weir_binder_fail(binder, "", yaml_document_get_root_node(&second), "remove the `---` and what follows it",
				       "expected one YAML document, found a second one");
		yaml_document_delete(&second);
		yaml_document_delete(&binder->document);
		yaml_parser_delete(&parser);
		return err;
	}
	yaml_document_delete(&second);
	yaml_parser_delete(&parser);
	return 0;

err_second:
	yaml_document_delete(&binder->document);
err_syntax:
	weir_trouble_set(trouble, "file", "read it as YAML",
			 "correct the line; indent with spaces, a list item begins with `- `", "%s%s%s",
			 parser.problem ? parser.problem : "unreadable", parser.context ? " " : "",
			 parser.context ? parser.context : "");
	trouble->mark = mark_of(&parser.problem_mark);
	yaml_parser_delete(&parser);
	return -EINVAL;
}

void weir_binder_fini(struct weir_binder *binder)
{
	yaml_document_delete(&binder->document);
}

yaml_node_t *weir_binder_child(struct weir_binder *binder, yaml_node_t *mapping, const char *key)
{
	if (!mapping || mapping->type != YAML_MAPPING_NODE)
		return NULL;
	for (yaml_node_pair_t *pair = mapping->data.mapping.pairs.start; pair < mapping->data.mapping.pairs.top; pair++) {
		yaml_node_t *name = yaml_document_get_node(&binder->document, pair->key);

		if (name->type == YAML_SCALAR_NODE && strcmp(text_of(name), key) == 0)
			return yaml_document_get_node(&binder->document, pair->value);
	}
	return NULL;
}

yaml_node_t *weir_binder_element(struct weir_binder *binder, yaml_node_t *sequence, uint32_t index)
{
	if (!sequence || sequence->type != YAML_SEQUENCE_NODE ||
	    index >= sequence->data.sequence.items.top - sequence->data.sequence.items.start)
		return NULL;
	return yaml_document_get_node(&binder->document, sequence->data.sequence.items.start[index]);
}

static void list_keys(const struct weir_field *fields, char *text, size_t size)
{
	size_t used = 0;

	text[0] = 0;
	for (const struct weir_field *field = fields; field->key && used < size; field++)
		used += (size_t)snprintf(text + used, size - used, "%s%s",
					 field == fields ? ""
					 : field[1].key  ? ", "
							 : " or ",
					 field->key);
}

static int bind_pair(struct weir_binder *binder, const struct weir_field *fields, const yaml_node_pair_t *pair, void *at,
		     uint64_t *seen)
{
	yaml_node_t *key = yaml_document_get_node(&binder->document, pair->key);
	yaml_node_t *value = yaml_document_get_node(&binder->document, pair->value);
	size_t length = strlen(binder->path);
	const struct weir_field *field = fields;
	char keys[256];
	int err;

	list_keys(fields, keys, sizeof(keys));
	if (key->type != YAML_SCALAR_NODE)
		return weir_binder_refuse(binder, binder->path, key, keys);
	while (field->key && strcmp(field->key, text_of(key)) != 0)
		field++;
	if (!field->key)
		return weir_binder_fail(binder, binder->path, key, "correct or remove the key", "unknown key, expected %s",
					keys);
	if (*seen & 1ull << (field - fields))
		return weir_binder_fail(binder, binder->path, key, "keep one of them", "the key stands here a second time");
	*seen |= 1ull << (field - fields);
	snprintf(binder->path + length, sizeof(binder->path) - length, "%s%s", length ? "." : "", field->key);
	err = field->bind(binder, field, value, (char *)at + field->offset);
	binder->path[length] = 0;
	return err;
}

static int bind_fields(struct weir_binder *binder, const struct weir_field *fields, yaml_node_t *node, void *at)
{
	uint64_t seen = 0;

	if (node->type != YAML_MAPPING_NODE)
		return weir_binder_refuse(binder, binder->path, node, "a mapping (key: value)");
	for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
		int err = bind_pair(binder, fields, pair, at, &seen);

		if (err)
			return err;
	}
	for (const struct weir_field *field = fields; field->key; field++) {
		if (field->is_required && !(seen & 1ull << (field - fields)))
			return weir_binder_fail(binder, binder->path, node, "add the key", "the key %s is missing, expected %s",
						field->key, field->expected);
	}
	return 0;
}

int weir_binder_run(struct weir_binder *binder, const struct weir_field *fields, void *at)
{
	yaml_node_t *root = yaml_document_get_root_node(&binder->document);

	if (!root) {
		weir_trouble_set(binder->trouble, "file", "use it", "start from deploy/weir.yaml", "it is empty");
		binder->trouble->mark = (struct weir_mark){ 1, 1 };
		return -EINVAL;
	}
	return bind_fields(binder, fields, root, at);
}

int weir_bind_mapping(struct weir_binder *binder, const struct weir_field *field, yaml_node_t *node, void *at)
{
	return bind_fields(binder, field->fields, node, at);
}

int weir_bind_later(struct weir_binder *binder, const struct weir_field *field, yaml_node_t *node, void *at)
{
	return 0;
}

int weir_bind_text(struct weir_binder *binder, const struct weir_field *field, yaml_node_t *node, void *at)
{
	if (node->type != YAML_SCALAR_NODE || node->data.scalar.length < field->min ||
	    node->data.scalar.length >= field->size || strlen(text_of(node)) != node->data.scalar.length)
		return refuse(binder, field, node);
	memset(at, 0, field->size);
	memcpy(at, text_of(node), node->data.scalar.length);
	return 0;
}

int weir_bind_name(struct weir_binder *binder, const struct weir_field *field, yaml_node_t *node, void *at)
{
	char name[WEIR_NAME_SIZE] = { 0 };

	if (node->type != YAML_SCALAR_NODE || node->data.scalar.length >= sizeof(name))
		return refuse(binder, field, node);
	memcpy(name, text_of(node), node->data.scalar.length);
	if (strlen(name) != node->data.scalar.length || !weir_name_is_valid(name))
		return refuse(binder, field, node);
	memcpy(at, name, sizeof(name));
	return 0;
}

bool weir_number_parse(const char *text, int base, uint64_t *value)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*value = strtoull(text, &end, base);
	return errno == 0 && *end == 0;
}

int weir_bind_number(struct weir_binder *binder, const struct weir_field *field, yaml_node_t *node, void *at)
{
	uint64_t value;

	if (node->type != YAML_SCALAR_NODE || !weir_number_parse(text_of(node), 10, &value) || value < field->min ||
	    value > field->max)
		return refuse(binder, field, node);
	*(uint32_t *)at = (uint32_t)value;
	return 0;
}

struct unit {
	const char *name;
	uint64_t factor;
};

// "64KiB" by a table of units. false: no number, no such unit, or too large.
static bool scaled_parse(const char *text, const struct unit *units, uint64_t *value)
{
	char *end;
	uint64_t number;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno)
		return false;
	while (*end == ' ')
		end++;
	for (; units->name; units++) {
		if (strcmp(units->name, end) == 0)
			return !__builtin_mul_overflow(number, units->factor, value);
	}
	return false;
}

static int bind_scaled(struct weir_binder *binder, const struct weir_field *field, yaml_node_t *node, uint64_t *at,
		       const struct unit *units)
{
	uint64_t value;

	if (node->type != YAML_SCALAR_NODE || !scaled_parse(text_of(node), units, &value) || value < field->min ||
	    value > field->max)
		return refuse(binder, field, node);
	*at = value;
	return 0;
}

int weir_bind_size(struct weir_binder *binder, const struct weir_field *field, yaml_node_t *node, void *at)
{
	static const struct unit UNITS[] = {
		{ "", 1 }, { "KiB", 1ull << 10 }, { "MiB", 1ull << 20 }, { "GiB", 1ull << 30 }, { 0 }
	};

	return bind_scaled(binder, field, node, at, UNITS);
}

int weir_bind_duration(struct weir_binder *binder, const struct weir_field *field, yaml_node_t *node, void *at)
{
	static const struct unit UNITS[] = { { "us", 1000 },       { "ms", 1000000 },      { "s", 1000000000 },
					     { "m", 60000000000 }, { "h", 3600000000000 }, { 0 } };

	return bind_scaled(binder, field, node, at, UNITS);
}

int weir_bind_word(struct weir_binder *binder, const struct weir_field *field, yaml_node_t *node, void *at)
{
	if (node->type == YAML_SCALAR_NODE) {
		for (const struct weir_word *word = field->words; word->text; word++) {
			if (strcmp(word->text, text_of(node)) == 0) {
				*(uint32_t *)at = word->value;
				return 0;
			}
		}
	}
	return refuse(binder, field, node);
}

// `at` is the first element; the count goes to count_offset, measured from there.
int weir_bind_numbers(struct weir_binder *binder, const struct weir_field *field, yaml_node_t *node, void *at)
{
	uint32_t *values = at;
	uint32_t *count = (uint32_t *)(void *)((char *)at - field->offset + field->count_offset);
	uint32_t items;

	if (node->type != YAML_SEQUENCE_NODE)
		return refuse(binder, field, node);
	items = (uint32_t)(node->data.sequence.items.top - node->data.sequence.items.start);
	if (items == 0 || items > field->size / sizeof(*values))
		return refuse(binder, field, node);
	for (uint32_t i = 0; i < items; i++) {
		int err = weir_bind_number(binder, field, weir_binder_element(binder, node, i), &values[i]);

		if (err)
			return err;
	}
	*count = items;
	return 0;
}

int weir_bind_sequence(struct weir_binder *binder, const struct weir_field *field, yaml_node_t *node, void *at)
{
	size_t length = strlen(binder->path);
	uint64_t count;
	char *elements;

	if (node->type != YAML_SEQUENCE_NODE)
		return refuse(binder, field, node);
	count = (uint64_t)(node->data.sequence.items.top - node->data.sequence.items.start);
	if (count < field->min || count > field->max)
		return weir_binder_fail(binder, binder->path, node, "add or remove entries", "it has %llu entries, expected %s",
					(unsigned long long)count, field->expected);
	// One more than needed, because calloc(0) may be NULL.
	elements = calloc(count + 1, field->size);
	if (!elements)
		return -ENOMEM;
	// From here on the topology owns the elements; those not bound yet are empty and safe to free.
	*(void **)at = elements;
	*(uint32_t *)(void *)((char *)at - field->offset + field->count_offset) = (uint32_t)count;
	for (uint32_t i = 0; i < count; i++) {
		yaml_node_t *item = weir_binder_element(binder, node, i);
		char *element = elements + i * field->size;
		int err;

		field->init(element);
		*(struct weir_mark *)(void *)(element + field->mark_offset) = mark_of(&item->start_mark);
		snprintf(binder->path + length, sizeof(binder->path) - length, "[%u]", i);
		err = bind_fields(binder, field->fields, item, element);
		if (err)
			return err;
		binder->path[length] = 0;
	}
	return 0;
}
