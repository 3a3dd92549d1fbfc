// Fills the four parts of a fault. Control thread.
#include "dataplane/io/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void copy(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from ? from : "");
}

int weir_fault_set(struct weir_fault *fault, int error, const char *object, const char *action, const char *fix,
		   const char *reason, ...)
{
	va_list arguments;

	if (!fault)
		return error;
	copy(fault->object, sizeof(fault->object), object);
	copy(fault->action, sizeof(fault->action), action);
	copy(fault->fix, sizeof(fault->fix), fix);
	va_start(arguments, reason);
	vsnprintf(fault->reason, sizeof(fault->reason), reason, arguments);
	va_end(arguments);
	if (!fault->reason[0])
		copy(fault->reason, sizeof(fault->reason), strerror(-error));
	return error;
}
