/*
 * "Did you mean ...?" The nearest of some words to a word that was typed.
 */
#ifndef CMD_SUGGEST_H
#define CMD_SUGGEST_H

struct suggest {
	const char *word; /* what was typed */
	const char *best; /* NULL: nothing is near enough */
	unsigned distance;
};

void suggest_begin(struct suggest *s, const char *word);
/* Offers a candidate; the nearest so far is kept (the first of equals). */
void suggest_offer(struct suggest *s, const char *candidate);

#endif
