#include "cmd/suggest.h"

#include <stddef.h>
#include <string.h>

#define WORD_MAX 32

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Edits (a letter more, less, other, or two swapped) that make a of b. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[3][WORD_MAX + 1]; /* two before, before, this */
	size_t na = strlen(a), nb = strlen(b);

	if (na > WORD_MAX || nb > WORD_MAX)
		return WORD_MAX;
	for (size_t j = 0; j <= nb; j++)
		row[0][j] = row[1][j] = (unsigned)j;
	for (size_t i = 1; i <= na; i++) {
		row[2][0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			unsigned d = row[1][j - 1] + (a[i - 1] != b[j - 1]);

			d = least(d, least(row[1][j], row[2][j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d = least(d, row[0][j - 2] + 1);
			row[2][j] = d;
		}
		memcpy(row[0], row[1], sizeof(row[0]));
		memcpy(row[1], row[2], sizeof(row[1]));
	}
	return row[1][nb];
}

void suggest_begin(struct suggest *s, const char *word)
{
	size_t n = strlen(word);

	s->word = word;
	s->best = NULL;
	/* A third of the letters may be wrong; of a short word, one. */
	s->distance = (unsigned)(n < 6 ? 2 : n / 3 + 1);
}

void suggest_offer(struct suggest *s, const char *candidate)
{
	unsigned d = distance(s->word, candidate);

	/* "conv" is the beginning of "convert", which is as good as one edit. */
	if (strlen(s->word) >= 3 && strncmp(s->word, candidate, strlen(s->word)) == 0)
		d = least(d, 1);
	if (d < s->distance && d < strlen(candidate)) {
		s->distance = d;
		s->best = candidate;
	}
}
