/*
 * "fat:" names. As the peer reads them, the folder is what follows the last colon - or the
 * one before that, where a single letter stands between both, as in a path of DOS. The words
 * in front may come in any order. The peer passes over words that it does not know; here
 * they are refused, since that may be a folder with a colon in its name.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/io/fat/fat.h"
#include "lib/mem.h"

#define SCHEME	   "fat:"
#define SCHEME_LEN 4

struct words {
	unsigned type;
	bool floppy, rw;
	char *label;
};

static int unknown(const char *word, struct err *err)
{
	err_set(err, EINVAL,
		"'%s' is not among floppy, 12, 16, 32, label=NAME and rw, which may stand "
		"between '" SCHEME "' and the folder",
		word);
	return err_hint(err,
			"A folder with a colon in its name: --image-opts driver=vvfat,dir=...");
}

static int take(struct words *w, const char *word, struct err *err)
{
	static const char label[] = "label=";
	if (strcmp(word, "") == 0)
		return 0;
	if (strcmp(word, "floppy") == 0) {
		w->floppy = true;
	} else if (strcmp(word, "rw") == 0) {
		w->rw = true;
	} else if (strncmp(word, label, strlen(label)) == 0) {
		free(w->label);
		w->label = strdup(word + strlen(label));
		return w->label ? 0 : err_nomem(err, strlen(word), "a label");
	} else if (strcmp(word, "12") == 0) {
		w->type = MAX(w->type, 12);
	} else if (strcmp(word, "16") == 0) {
		w->type = MAX(w->type, 16);
	} else if (strcmp(word, "32") == 0) {
		w->type = 32;
	} else {
		return unknown(word, err);
	}
	return 0;
}

static int take_all(struct words *w, const char *from, const char *end, struct err *err)
{
	while (from < end) {
		const char *colon = memchr(from, ':', (size_t)(end - from));
		AUTO_FREE char *word = NULL;

		if (!colon)
			colon = end;
		word = strndup(from, (size_t)(colon - from));
		if (!word)
			return err_nomem(err, (size_t)(colon - from) + 1, "a file name");
		if (take(w, word, err))
			return -1;
		from = colon + 1;
	}
	return 0;
}

static int put(struct opts *out, const struct words *w, const char *dir, struct err *err)
{
	const char *type = w->type == 32   ? "32"
			   : w->type == 16 ? "16"
			   : w->type == 12 ? "12"
					   : "0";

	if (opts_set(out, "fat-type", type, err) || opts_set(out, "dir", dir, err) ||
	    opts_set(out, "floppy", w->floppy ? "on" : "off", err) ||
	    opts_set(out, "rw", w->rw ? "on" : "off", err))
		return -1;
	return w->label ? opts_set(out, "label", w->label, err) : 0;
}

int fat_location(const char *text, struct opts *out, struct err *err)
{
	struct words w = {0};
	const char *colon, *dir;
	int rc;

	if (strncmp(text, SCHEME, SCHEME_LEN) != 0)
		return err_set(err, EINVAL, "File name string must start with '" SCHEME "'");
	colon = strrchr(text, ':');
	dir = colon + 1;
	if (colon - text > SCHEME_LEN && isalpha((unsigned char)colon[-1]) && colon[-2] == ':')
		dir = colon - 1;
	rc = take_all(&w, text + SCHEME_LEN, dir - 1, err);
	if (rc == 0)
		rc = put(out, &w, dir, err);
	free(w.label);
	return rc;
}
