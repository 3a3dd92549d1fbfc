// What a line or a file is, beyond its bytes: an attribute of weircat's own, so that the event's type stays the
// application's. An application may use the same id for something else: the value names weircat.
#include <string.h>

#include "client/weircat/weircat.h"

static const char *const MARKS[] = {
	[CAT_MARK_UNENDED] = "weircat:unended",
	[CAT_MARK_FILE] = "weircat:file",
};

enum cat_mark cat_mark_of(const struct weir_attribute *attribute)
{
	for (int mark = CAT_MARK_UNENDED; attribute->id == CAT_MARK_ID && mark <= CAT_MARK_FILE; mark++) {
		if (attribute->size == strlen(MARKS[mark]) && memcmp(attribute->value, MARKS[mark], attribute->size) == 0)
			return (enum cat_mark)mark;
	}
	return CAT_MARK_NONE;
}

enum cat_mark cat_mark_get(const struct weir_view *view)
{
	struct weir_attribute attribute = { 0 };
	enum cat_mark mark = CAT_MARK_NONE;
	while (!mark && weir_attribute_next(view->attributes, view->attributes_size, &attribute) == 0)
		mark = cat_mark_of(&attribute);
	return mark;
}

int cat_mark_put(void *attributes, size_t capacity, uint16_t *size, enum cat_mark mark)
{
	struct weir_attribute attribute = { .id = CAT_MARK_ID, .value = MARKS[mark], .size = (uint16_t)strlen(MARKS[mark]) };
	return weir_attribute_put(attributes, capacity, size, &attribute);
}

const char *cat_mark_name(enum cat_mark mark)
{
	return strchr(MARKS[mark], ':') + 1;
}
