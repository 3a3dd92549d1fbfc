// The command line of a program: options, help, version, and what is said when one is wrong. Every program says it alike: as
// text on stderr, or with --json as one JSON object on stdout, {"error": {...}}, the form of weirctl's errors.
#ifndef LIB_USAGE_H
#define LIB_USAGE_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define LIB_STATUS_USAGE 2 // exit status of a wrong command line, in every program

struct lib_program {
	const char *name;
	const char *version; // behind the name: "0.1.0, protocol 1"
	void (*help)(FILE *out);
	const struct option *options; // getopt's, `val` from 256 on. help, version and -h come by themselves.
	bool has_commands; // the first word is a command, so `help` is one
	bool is_json;      // errors as JSON; set by lib_usage_begin() when --json is an option and stands there
};

enum {
	LIB_OPTIONS_END = -1,   // words begin at optind
	LIB_OPTIONS_DONE = -2,  // help or version was written: exit with 0
	LIB_OPTIONS_WRONG = -3, // the mistake was said: exit with LIB_STATUS_USAGE
};

// Before the first option: how mistakes are said.
void lib_usage_begin(struct lib_program *program, int count, char *const *words);
// The next option's `val`, its argument in optarg; or one of the above. *option is its row, when there is one.
int lib_usage_next(const struct lib_program *program, int count, char **words, const struct option **option);

// Says that a word or an option cannot be used, why, and what to write instead. fix NULL: see the help.
int lib_usage_wrong(const struct lib_program *program, const char *object, const char *reason, const char *fix);
// The same for a word that is none of `known` (NULL at the end): names the nearest. Both return LIB_STATUS_USAGE.
int lib_usage_unknown(const struct lib_program *program, const char *word, const char *what, const char *const *known);

// A whole number from low to high, digits alone. false: it is none.
bool lib_usage_number(const char *text, uint64_t low, uint64_t high, uint64_t *number);
// A number from low to high, also 0.5 or 1e3; no NaN.
bool lib_usage_real(const char *text, double low, double high, double *number);
// The same of an option, thousands as k and millions as M. 0, or LIB_STATUS_USAGE after saying what it may be.
int lib_usage_amount(const struct lib_program *program, const struct option *option, const char *text, const double range[2],
		     double *number);

#endif
