// The word that somebody meant who misspelt it. Begin with the misspelt word, offer every word there is, take `word`.
#ifndef LIB_NEAREST_H
#define LIB_NEAREST_H

#include <stddef.h>

struct lib_nearest {
	const char *typed;
	const char *word; // nearest so far; NULL: none is near enough to be meant
	size_t distance;  // letters to change, insert, remove or swap with their neighbour
};

void lib_nearest_begin(struct lib_nearest *nearest, const char *typed);
// The word stays the caller's and must outlive the search.
void lib_nearest_offer(struct lib_nearest *nearest, const char *word);

#endif
