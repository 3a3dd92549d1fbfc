// Names and classes of the reasons in wire/reason.h.
#include "wire/reason.h"

static const struct {
	const char *name;
	const char *text;
	enum weir_reason_class class;
} REASONS[WEIR_REASON_COUNT] = {
#define REASON_ROW(symbol, name, class, text) [WEIR_R_##symbol] = { name, text, WEIR_REASON_##class },
	WEIR_REASONS(REASON_ROW)
#undef REASON_ROW
};

const char *weir_reason_name(unsigned reason)
{
	return reason < WEIR_REASON_COUNT ? REASONS[reason].name : "unknown";
}

const char *weir_reason_text(unsigned reason)
{
	return reason < WEIR_REASON_COUNT ? REASONS[reason].text : "a reason this version does not know";
}

enum weir_reason_class weir_reason_class(unsigned reason)
{
	return reason < WEIR_REASON_COUNT ? REASONS[reason].class : WEIR_REASON_FRAME;
}
