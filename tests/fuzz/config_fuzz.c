// Feeds the topology reader with mutated copies of the sample, in exact allocations, so that the address sanitizer sees
// every byte read too far. Whatever is refused must be refused in all four parts and with a line that is in the text.
// Prints TAP. Runs for a tenth of WEIR_BUDGET_S, or 2 s.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control/daemon/config.h"
#include "wire/key.h"

struct fuzz {
	uint64_t random;
	uint64_t accepted;
	uint64_t refused;
	uint64_t broken_promises;
};

static uint64_t pick(struct fuzz *fuzz, uint64_t below)
{
	fuzz->random += 0x9e3779b97f4a7c15ull;
	return weir_mix64(fuzz->random) % below;
}

// What means something to YAML or to the reader.
static const char *const WORDS[] = { "auto",        "{",     "}",       "[",      "]",
				     ": ",          "- ",    "&a ",     "*a ",    "\n",
				     "---\n",       "\t",    "0",       "-1",     "99999999999999999999",
				     "64KiB",       "\"",    "'",       "!!",     "|",
				     "#",           "homes", "workers", "topics", "groups",
				     "kind: follow" };

// Changes text of `size` bytes in place, `room` at most. Returns the new size.
static size_t mutate(struct fuzz *fuzz, char *text, size_t size, size_t room)
{
	for (uint64_t changes = 1 + pick(fuzz, 6); changes && size > 32; changes--) {
		size_t at = pick(fuzz, size);
		const char *word = WORDS[pick(fuzz, sizeof(WORDS) / sizeof(*WORDS))];
		size_t length = pick(fuzz, 20);

		switch (pick(fuzz, 3)) {
		case 0:
			text[at] = (char)pick(fuzz, 256);
			break;
		case 1:
			length = length > size - at ? size - at : length;
			memmove(text + at, text + at + length, size - at - length);
			size -= length;
			break;
		default:
			if (size + strlen(word) > room)
				break;
			memmove(text + at + strlen(word), text + at, size - at);
			memcpy(text + at, word, strlen(word));
			size += strlen(word);
		}
	}
	return size;
}

static uint32_t count_lines(const char *text, size_t size)
{
	uint32_t lines = 1;

	for (size_t i = 0; i < size; i++)
		lines += text[i] == '\n' || text[i] == '\r';
	return lines;
}

static void try_one(struct fuzz *fuzz, const char *text, size_t size)
{
	struct weir_topology *topology = NULL;
	struct weir_trouble trouble = { 0 };

	if (weir_config_parse(&topology, text, size, &trouble) == 0) {
		weir_topology_destroy(topology);
		fuzz->accepted++;
		return;
	}
	fuzz->refused++;
	// One line past the end is where an unfinished text is missed something.
	if (trouble.object[0] && trouble.action[0] && trouble.reason[0] && trouble.fix[0] && trouble.mark.line >= 1 &&
	    trouble.mark.line <= count_lines(text, size) + 1 && trouble.mark.column >= 1)
		return;
	if (fuzz->broken_promises++ == 0)
		printf("# line %u column %u: %s: cannot %s: %s. Fix: %s\n", trouble.mark.line, trouble.mark.column,
		       trouble.object, trouble.action, trouble.reason, trouble.fix);
}

int main(void)
{
	const char *budget = getenv("WEIR_BUDGET_S");
	const char *seed = getenv("WEIR_SEED");
	time_t end = time(NULL) + (budget && atoi(budget) >= 10 ? atoi(budget) / 10 : 2);
	struct fuzz fuzz = { .random = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) };
	struct weir_trouble trouble;
	size_t size;
	char *sample;
	char *work;

	if (weir_config_load(WEIR_SAMPLE, &sample, &size, &trouble) != 0)
		return 1;
	printf("1..2\n# seed %llu\n", (unsigned long long)fuzz.random);
	work = malloc(2 * size);
	while (time(NULL) < end) {
		for (int i = 0; i < 100; i++) {
			size_t length;
			char *exact;

			memcpy(work, sample, size);
			length = mutate(&fuzz, work, size, 2 * size);
			exact = malloc(length);
			memcpy(exact, work, length);
			try_one(&fuzz, exact, length);
			free(exact);
		}
	}
	free(work);
	free(sample);
	printf("%s 1 - a refused topology is refused with place, reason and fix\n", fuzz.broken_promises ? "not ok" : "ok");
	// A storm that only breaks the syntax, or nothing at all, would prove little.
	printf("%s 2 - mutants are both accepted and refused\n", fuzz.accepted && fuzz.refused ? "ok" : "not ok");
	printf("# %llu accepted, %llu refused\n", (unsigned long long)fuzz.accepted, (unsigned long long)fuzz.refused);
	return fuzz.broken_promises || !fuzz.accepted || !fuzz.refused;
}
