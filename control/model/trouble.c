// Builds and prints the four-part messages of control/model/trouble.h.
#include "control/model/trouble.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int weir_trouble_set(struct weir_trouble *trouble, const char *object, const char *action, const char *fix, const char *reason,
		     ...)
{
	va_list arguments;

	*trouble = (struct weir_trouble){ 0 };
	snprintf(trouble->object, sizeof(trouble->object), "%s", object);
	snprintf(trouble->action, sizeof(trouble->action), "%s", action);
	snprintf(trouble->fix, sizeof(trouble->fix), "%s", fix);
	va_start(arguments, reason);
	vsnprintf(trouble->reason, sizeof(trouble->reason), reason, arguments);
	va_end(arguments);
	return -EINVAL;
}

int weir_trouble_text(const struct weir_trouble *trouble, const char *file, char *text, size_t size)
{
	char place[320] = "";

	if (file && trouble->mark.line)
		snprintf(place, sizeof(place), "%s:%u:%u: ", file, trouble->mark.line, trouble->mark.column);
	else if (file)
		snprintf(place, sizeof(place), "%s: ", file);
	return snprintf(text, size, "%s%s: cannot %s: %s. Fix: %s", place, trouble->object, trouble->action, trouble->reason,
			trouble->fix);
}
