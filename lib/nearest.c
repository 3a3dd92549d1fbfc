// Optimal string alignment: the least number of letters to change, insert, remove, or swap with the letter beside. A word
// that is being typed counts too: `stat` means `status`.
#include "lib/nearest.h"

#include <stdbool.h>
#include <string.h>

#define LETTERS_MAX 48 // longer words are not compared

static size_t least(size_t a, size_t b, size_t c)
{
	size_t least_two = a < b ? a : b;
	return least_two < c ? least_two : c;
}

static size_t distance_of(const char *a, size_t a_size, const char *b, size_t b_size)
{
	size_t rows[3][LETTERS_MAX + 1]; // of the letter before the last, the last, this one
	for (size_t j = 0; j <= b_size; j++)
		rows[1][j] = j;
	for (size_t i = 1; i <= a_size; i++) {
		size_t *before = rows[(i - 1) % 3], *last = rows[i % 3], *this = rows[(i + 1) % 3];
		this[0] = i;
		for (size_t j = 1; j <= b_size; j++) {
			this[j] = least(last[j] + 1, this[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
			bool is_swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
			if (is_swapped && before[j - 2] + 1 < this[j])
				this[j] = before[j - 2] + 1;
		}
	}
	return rows[(a_size + 1) % 3][b_size];
}

void lib_nearest_begin(struct lib_nearest *nearest, const char *typed)
{
	size_t size = strlen(typed);
	*nearest = (struct lib_nearest){ .typed = typed, .distance = size < 3 ? 2 : size / 3 + 1 };
}

void lib_nearest_offer(struct lib_nearest *nearest, const char *word)
{
	size_t typed_size = strlen(nearest->typed), size = strlen(word);
	if (typed_size > LETTERS_MAX || size > LETTERS_MAX || typed_size == 0)
		return;
	bool is_begun = typed_size >= 3 && strncmp(nearest->typed, word, typed_size) == 0;
	size_t distance = is_begun ? 1 : distance_of(nearest->typed, typed_size, word, size);
	if (distance < nearest->distance) {
		nearest->distance = distance;
		nearest->word = word;
	}
}
