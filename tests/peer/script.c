// Reads scripts. Each line changes one thing of the weather and leaves the rest, so a step holds all of it.
// Called once at start by main.c.
// Nothing is believed of the text: every number has its bounds.
#include "tests/peer/script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS 1000000000ull
#define DELAY_MAX_MS 2000u

const char PEER_SCRIPT_USUAL[] =
	"20% drop 3\n"
	"35% calm\n"
	"35% twice 10\n"
	"35% reorder 20\n"
	"50% calm\n"
	"50% delay 30\n"
	"60% calm\n"
	"60% restart\n"
	"75% drop 10\n"
	"75% twice 10\n"
	"75% reorder 20\n"
	"85% calm\n";

// -1: neither seconds nor percent.
static double time_parse(const char *word, double length_s)
{
	char *end;
	double number = strtod(word, &end);
	if (end == word || !(number >= 0) || number > 1e6)
		return -1;
	if (strcmp(end, "%") == 0)
		return number * length_s / 100;
	return strcmp(end, "s") == 0 ? number : -1;
}

static const char *step_parse(struct peer_script_step *step, const char *what, const char *number)
{
	struct peer_weather *weather = &step->weather;
	if (strcmp(what, "calm") == 0 || strcmp(what, "restart") == 0) {
		if (*number)
			return "takes no number";
		step->is_restart = *what == 'r';
		if (!step->is_restart)
			*weather = (struct peer_weather){ 0 };
		return NULL;
	}
	bool is_delay = strcmp(what, "delay") == 0;
	uint32_t *field = is_delay ? &weather->delay_ms :
			  strcmp(what, "drop") == 0 ? &weather->drop :
			  strcmp(what, "twice") == 0 ? &weather->twice :
			  strcmp(what, "reorder") == 0 ? &weather->reorder : NULL;
	if (!field)
		return "is none of drop, twice, reorder, delay, calm, restart";
	char *end;
	unsigned long value = strtoul(number, &end, 10);
	if (*number < '0' || *number > '9' || *end || value > (is_delay ? DELAY_MAX_MS : 100))
		return is_delay ? "takes milliseconds, 0 to 2000" : "takes percent, 0 to 100";
	*field = (uint32_t)value;
	return NULL;
}

uint32_t peer_script_parse(struct peer_script *script, const char *text, uint64_t length_ns, const char **why)
{
	struct peer_script_step step = { 0 };
	uint64_t last_ns = 0;
	script->count = 0;
	for (uint32_t line = 1; *text; line++) {
		char copy[128] = "", when[32] = "", what[32] = "", number[32] = "", more[2] = "";
		size_t length = strcspn(text, "\n");
		if (length >= sizeof(copy)) {
			*why = "is longer than 127 bytes";
			return line;
		}
		memcpy(copy, text, length);
		text += length + (text[length] == '\n');
		copy[strcspn(copy, "#")] = '\0';
		int words = sscanf(copy, "%31s %31s %31s %1s", when, what, number, more);
		if (words <= 0)
			continue;
		double at_s = time_parse(when, (double)length_ns / 1e9);
		step.is_restart = false;
		*why = at_s < 0 ? "begins with no time, as 3.5s or 20%" : words > 3 ? "has more than three words" :
		       (uint64_t)(at_s * 1e9) < last_ns ? "is earlier than the line before" : step_parse(&step, what, number);
		if (!*why && script->count == SCRIPT_STEPS)
			*why = "is one too many";
		if (*why)
			return line;
		step.at_ns = last_ns = (uint64_t)(at_s * (double)SECOND_NS);
		script->steps[script->count++] = step;
	}
	return 0;
}
