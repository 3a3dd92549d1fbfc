// getopt_long() finds the options; it is asked to be silent, because it knows neither the nearest word nor JSON.
#include "lib/usage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "lib/nearest.h"

#define OPTIONS_MAX 64

enum {
	LETTER_HELP = 'h',
	OPTION_HELP = 200, // neither a letter nor a program's
	OPTION_VERSION,
};

static void member_write(FILE *out, const char *name, const char *value)
{
	fprintf(out, "\"%s\":", name);
	lib_json_string_write(out, value, strlen(value));
	fputc(',', out);
}

int lib_usage_wrong(const struct lib_program *program, const char *object, const char *reason, const char *fix)
{
	char help[128];
	if (!fix) {
		snprintf(help, sizeof(help), "%s --help says what there is", program->name);
		fix = help;
	}
	if (program->is_json) {
		fputs("{\"error\":{", stdout);
		member_write(stdout, "object", object);
		member_write(stdout, "action", "use it");
		member_write(stdout, "reason", reason);
		member_write(stdout, "fix", fix);
		fputs("\"file\":null,\"line\":null,\"column\":null}}\n", stdout);
	} else {
		fprintf(stderr, "%s: %s: cannot use it: %s. Fix: %s\n", program->name, object, reason, fix);
	}
	return LIB_STATUS_USAGE;
}

static int wrong_near(const struct lib_program *program, const char *word, const char *what, const struct lib_nearest *nearest,
		      const char *dashes)
{
	char reason[64], fix[160];
	snprintf(reason, sizeof(reason), "there is no such %s", what);
	snprintf(fix, sizeof(fix), "%s%.64s; %s --help says what there is", dashes, nearest->word ? nearest->word : "",
		 program->name);
	return lib_usage_wrong(program, word, reason, nearest->word ? fix : NULL);
}

int lib_usage_unknown(const struct lib_program *program, const char *word, const char *what, const char *const *known)
{
	struct lib_nearest nearest;
	lib_nearest_begin(&nearest, word);
	for (; *known; known++)
		lib_nearest_offer(&nearest, *known);
	return wrong_near(program, word, what, &nearest, "");
}

bool lib_usage_number(const char *text, uint64_t low, uint64_t high, uint64_t *number)
{
	char *end = NULL;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || value < low || value > high)
		return false;
	*number = value;
	return true;
}

bool lib_usage_real(const char *text, double low, double high, double *number)
{
	char *end = NULL;
	double value = strtod(text, &end);
	if (end == text || *end || !(value >= low && value <= high))
		return false;
	*number = value;
	return true;
}

int lib_usage_amount(const struct lib_program *program, const struct option *option, const char *text, const double range[2],
		     double *number)
{
	char *end = NULL;
	double value = strtod(text, &end);
	if (end != text && (*end == 'k' || *end == 'M'))
		value *= *end++ == 'k' ? 1e3 : 1e6;
	if (end == text || *end || !(value >= range[0] && value <= range[1])) {
		char object[96], reason[96];
		snprintf(object, sizeof(object), "--%s %.48s", option->name, text);
		snprintf(reason, sizeof(reason), "it is no number from %g to %g", range[0], range[1]);
		return lib_usage_wrong(program, object, reason, "give one");
	}
	*number = value;
	return 0;
}

void lib_usage_begin(struct lib_program *program, int count, char *const *words)
{
	bool may_json = false;
	for (const struct option *option = program->options; option->name; option++)
		may_json |= strcmp(option->name, "json") == 0;
	for (int i = 1; may_json && i < count && strcmp(words[i], "--") != 0; i++)
		program->is_json |= strcmp(words[i], "--json") == 0;
}

// An option that is not known, or whose argument is missing or too many.
static int option_wrong(const struct lib_program *program, const struct option *options, int answer, const char *word)
{
	char name[80];
	size_t size = strcspn(word, "=");
	snprintf(name, sizeof(name), "%.*s", (int)(size < sizeof(name) ? size : sizeof(name) - 1), word);
	if (answer == ':') {
		lib_usage_wrong(program, name, "its argument is missing", NULL);
		return LIB_OPTIONS_WRONG;
	}
	struct lib_nearest nearest;
	bool is_known = false;
	int begun = 0;
	const char *letters = name + strspn(name, "-");
	lib_nearest_begin(&nearest, letters);
	for (; options->name; options++) {
		is_known |= strcmp(letters, options->name) == 0;
		begun += strncmp(letters, options->name, strlen(letters)) == 0;
		lib_nearest_offer(&nearest, options->name);
	}
	if (is_known)
		lib_usage_wrong(program, name, "it takes no argument", NULL);
	else if (begun > 1)
		lib_usage_wrong(program, name, "several options begin so", NULL);
	else
		wrong_near(program, name, "option", &nearest, "--");
	return LIB_OPTIONS_WRONG;
}

// What getopt stopped at: a letter, or the long option that it has just passed.
static const char *word_of(int answer, char **words, char letter[3])
{
	snprintf(letter, 3, "-%c", optopt);
	return answer == '?' && optopt > ' ' && optopt <= '~' ? letter : words[optind - 1];
}

int lib_usage_next(const struct lib_program *program, int count, char **words, const struct option **option)
{
	struct option options[OPTIONS_MAX] = { 0 };
	size_t rows = 0;
	int row = 0;
	char letter[3];
	while (program->options[rows].name && rows < OPTIONS_MAX - 3) {
		options[rows] = program->options[rows];
		rows++;
	}
	options[rows] = (struct option){ "help", no_argument, NULL, OPTION_HELP };
	options[rows + 1] = (struct option){ "version", no_argument, NULL, OPTION_VERSION };
	int answer = getopt_long(count, words, ":h", options, &row);
	if (answer == OPTION_VERSION)
		printf("%s %s\n", program->name, program->version);
	if (answer == LETTER_HELP || answer == OPTION_HELP ||
	    (answer == -1 && program->has_commands && optind < count && strcmp(words[optind], "help") == 0)) {
		program->help(stdout);
		return LIB_OPTIONS_DONE;
	}
	if (answer == OPTION_VERSION)
		return LIB_OPTIONS_DONE;
	if (answer == '?' || answer == ':')
		return option_wrong(program, options, answer, word_of(answer, words, letter));
	if (option)
		*option = answer == -1 ? NULL : &program->options[row];
	return answer == -1 ? LIB_OPTIONS_END : answer;
}
