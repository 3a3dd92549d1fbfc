// Attributes by name: from options into bytes, from bytes into JSON. What comes in is a stranger's.
#include "client/weircat/attributes.h"

#include <errno.h>
#include <string.h>

#include "client/weircat/weircat.h"
#include "lib/json.h"
#include "lib/usage.h"

#define HEADER_SIZE 4u

// By id. What an option of its own gives is here for reading alone.
static const struct attribute_name {
	const char *text;
	const char *instead; // of writing it as --attribute
} NAMES[] = {
	[WEIR_ATTRIBUTE_ID] = { "id", NULL },
	[WEIR_ATTRIBUTE_SOURCE] = { "source", NULL },
	[WEIR_ATTRIBUTE_SUBJECT] = { "subject", NULL },
	[WEIR_ATTRIBUTE_SCHEMA] = { "schema", NULL },
	[WEIR_ATTRIBUTE_CORRELATION] = { "correlation", NULL },
	[WEIR_ATTRIBUTE_TRACEPARENT] = { "traceparent", NULL },
	[WEIR_ATTRIBUTE_CONTENT_TYPE] = { "content-type", NULL },
	[WEIR_ATTRIBUTE_TYPE] = { "type", "the event's type is --type" },
	[WEIR_ATTRIBUTE_TIME] = { "time", NULL },
	[WEIR_ATTRIBUTE_KEY] = { "key", "the key's text is --key with --key-text" },
	[WEIR_ATTRIBUTE_DATAREF] = { "dataref", NULL },
	[WEIR_ATTRIBUTE_CAUSATION] = { "causation", NULL },
};
#define NAME_COUNT (sizeof(NAMES) / sizeof(*NAMES))

// What CloudEvents calls otherwise, or has no attribute for: no names of extensions.
static const struct {
	const char *text, *instead;
} OTHERS[] = {
	{ "datacontenttype", "its name here is content-type" },
	{ "dataschema", "its name here is schema" },
	{ "data", "that is the event's payload, not an attribute" },
	{ "specversion", "that is the version of CloudEvents, not an attribute of the event" },
};

// ---- Names ----

static bool is_word(const char *name, size_t size, const char *word)
{
	return size == strlen(word) && memcmp(name, word, size) == 0;
}

// Id of a name of the table, 0: it is none.
static unsigned id_of(const char *name, size_t size)
{
	for (unsigned id = 1; id < NAME_COUNT; id++) {
		if (is_word(name, size, NAMES[id].text))
			return id;
	}
	return 0;
}

static bool is_number(const char *name, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (name[i] < '0' || name[i] > '9')
			return false;
	}
	return size > 0;
}

static const char *otherwise(const char *name, size_t size)
{
	for (size_t i = 0; i < sizeof(OTHERS) / sizeof(*OTHERS); i++) {
		if (is_word(name, size, OTHERS[i].text))
			return OTHERS[i].instead;
	}
	return NULL;
}

static bool is_extension(const char *name, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (!((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9')))
			return false;
	}
	return size > 0 && !is_number(name, size) && !id_of(name, size) && !otherwise(name, size);
}

// An attribute taken apart.
struct member {
	unsigned id;
	const char *name; // of an extension, name_size bytes; NULL: the id says it
	size_t name_size;
	const uint8_t *value;
	size_t size;
	bool is_text;
};

static struct member member_of(const struct weir_attribute *attribute)
{
	struct member member = { .id = attribute->id, .value = attribute->value, .size = attribute->size };
	const uint8_t *end = attribute->id == WEIR_ATTRIBUTE_EXTENSION ? memchr(member.value, 0, member.size) : NULL;
	size_t name_size = end ? (size_t)(end - member.value) : 0;
	if (end && is_extension((const char *)member.value, name_size)) {
		member.name = (const char *)member.value;
		member.name_size = name_size;
		member.value = end + 1;
		member.size -= name_size + 1;
	}
	member.is_text = lib_json_is_text(member.value, member.size);
	return member;
}

static bool has_one_name(const struct member *one, const struct member *other)
{
	return one->id == other->id && one->name_size == other->name_size &&
	       (one->name_size == 0 || memcmp(one->name, other->name, one->name_size) == 0);
}

// ---- From options ----

uint32_t cat_attribute_size(size_t value_size)
{
	return (uint32_t)((HEADER_SIZE + value_size + 7) / 8 * 8);
}

// CloudEvents knows each name once; what is the application's own may repeat.
static bool is_there(const struct cat_attributes *attributes, const struct weir_attribute *attribute)
{
	struct weir_attribute at = { 0 };
	struct member wanted = member_of(attribute);
	while (weir_attribute_next(attributes->bytes, attributes->size, &at) == 0) {
		struct member member = member_of(&at);
		if (has_one_name(&member, &wanted))
			return true;
	}
	return false;
}

static const char *put(struct cat_attributes *attributes, unsigned id, const void *value, size_t size)
{
	struct weir_attribute attribute = { .id = (uint16_t)id, .value = value, .size = (uint16_t)size };
	if (size > UINT16_MAX)
		return "its value has more than 65535 bytes";
	if (id < WEIR_ATTRIBUTE_USER && is_there(attributes, &attribute))
		return "it is given twice";
	attributes->need += cat_attribute_size(size);
	// Whether all had room is for the caller to say, once they are known.
	weir_attribute_put(attributes->bytes, sizeof(attributes->bytes), &attributes->size, &attribute);
	return NULL;
}

static const char *text_wrong(const char *value)
{
	if (*value == 0)
		return "its value is empty";
	return lib_json_is_text(value, strlen(value)) ? NULL : "its value is no UTF-8; only 128 to 254 take any bytes";
}

const char *cat_attribute_add(struct cat_attributes *attributes, unsigned id, const char *value)
{
	const char *wrong = id < WEIR_ATTRIBUTE_USER ? text_wrong(value) : NULL;
	return wrong ? wrong : put(attributes, id, value, strlen(value));
}

// A name, a zero byte and the value are the same bytes as NAME=VALUE but for one.
static const char *extension_add(struct cat_attributes *attributes, const char *text, size_t name_size)
{
	uint8_t value[CAT_ATTRIBUTES_MAX];
	size_t size = strlen(text);
	const char *wrong = text_wrong(text + name_size + 1);
	if (wrong)
		return wrong;
	if (size > sizeof(value)) {
		attributes->need += cat_attribute_size(size);
		return NULL;
	}
	memcpy(value, text, size);
	value[name_size] = 0;
	return put(attributes, WEIR_ATTRIBUTE_EXTENSION, value, size);
}

const char *cat_attribute_parse(struct cat_attributes *attributes, const char *text)
{
	const char *equals = strchr(text, '=');
	if (!equals || equals == text)
		return "it is not NAME=VALUE";
	size_t size = (size_t)(equals - text);
	unsigned id = id_of(text, size);
	if (id)
		return NAMES[id].instead ? NAMES[id].instead : cat_attribute_add(attributes, id, equals + 1);
	if (is_number(text, size)) {
		uint64_t number = 0;
		char digits[4] = "";
		memcpy(digits, text, size < sizeof(digits) ? size : 0);
		if (!lib_usage_number(digits, WEIR_ATTRIBUTE_USER, CAT_MARK_ID - 1, &number))
			return "a number is 128 to 254: those below have names, 255 is weircat's own mark";
		return cat_attribute_add(attributes, (unsigned)number, equals + 1);
	}
	if (is_extension(text, size))
		return extension_add(attributes, text, size);
	const char *instead = otherwise(text, size);
	return instead ? instead
		       : "a name is id, source, subject, schema, correlation, traceparent, content-type, time, dataref, "
			 "causation, a number from 128 to 254, or an extension's: lower-case letters and digits";
}

// ---- To JSON ----

// The next attribute but weircat's mark, which has a member of its own. As weir_attribute_next().
static int member_next(const struct weir_view *view, struct weir_attribute *at, struct member *member)
{
	int error = 0;
	while ((error = weir_attribute_next(view->attributes, view->attributes_size, at)) == 0) {
		if (cat_mark_of(at))
			continue;
		*member = member_of(at);
		return 0;
	}
	return error;
}

static bool is_together(const struct member *one, const struct member *other)
{
	return one->is_text == other->is_text && has_one_name(one, other);
}

static bool was_before(const struct weir_view *view, const struct weir_attribute *attribute, const struct member *wanted)
{
	struct weir_attribute at = { 0 };
	struct member member;
	while (member_next(view, &at, &member) == 0 && at.value != attribute->value) {
		if (is_together(&member, wanted))
			return true;
	}
	return false;
}

static void value_write(FILE *out, const struct member *member)
{
	if (member->is_text)
		lib_json_string_write(out, member->value, member->size);
	else
		lib_json_base64_write(out, member->value, member->size);
}

static void name_write(FILE *out, const struct member *member)
{
	const char *suffix = member->is_text ? "" : "_base64";
	if (member->name)
		fprintf(out, "\"%.*s%s\":", (int)member->name_size, member->name, suffix);
	else if (member->id < NAME_COUNT)
		fprintf(out, "\"%s%s\":", NAMES[member->id].text, suffix);
	else
		fprintf(out, "\"%u%s\":", member->id, suffix);
}

// All values of the name, of which this is the first.
static void member_write(FILE *out, const struct weir_view *view, const struct weir_attribute *attribute,
			 const struct member *first)
{
	struct weir_attribute at = *attribute;
	struct member member;
	bool is_array = false;
	name_write(out, first);
	while (!is_array && member_next(view, &at, &member) == 0)
		is_array = is_together(&member, first);
	if (is_array)
		fputc('[', out);
	value_write(out, first);
	at = *attribute;
	while (is_array && member_next(view, &at, &member) == 0) {
		if (!is_together(&member, first))
			continue;
		fputc(',', out);
		value_write(out, &member);
	}
	if (is_array)
		fputc(']', out);
}

void cat_attributes_write(FILE *out, const struct weir_view *view)
{
	struct weir_attribute at = { 0 };
	struct member member;
	bool has_any = false;
	int error = 0;
	while ((error = member_next(view, &at, &member)) == 0) {
		if (was_before(view, &at, &member))
			continue;
		fputs(has_any ? "," : ",\"attributes\":{", out);
		member_write(out, view, &at, &member);
		has_any = true;
	}
	if (has_any)
		fputc('}', out);
	if (error != -ENOENT)
		fputs(",\"attributes_broken\":true", out);
}
