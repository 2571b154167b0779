/*
 * The descriptor: lines of "key=value", of extents and of comments. "Virtual Disk Format 5.0",
 * "The Descriptor File".
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/vmdk/vmdk.h"
#include "lib/array.h"
#include "lib/mem.h"

#define LINE_TOLD 200 /* of a bad line, in a message */

bool vmdk_desc_probe(const uint8_t *text, size_t n)
{
	static const char *const first[] = {"version=1\n",   "version=2\n",   "version=3\n",
					    "version=1\r\n", "version=2\r\n", "version=3\r\n"};
	const uint8_t *end = text + n;

	while (text < end) {
		const uint8_t *p = text;

		if (*p != '#')
			while (p < end && (*p == ' ' || *p == '\r'))
				p++;
		else
			p = memchr(p, '\n', (size_t)(end - p));
		if (!p || p == end)
			return false;
		if (*p != '\n')
			break;
		text = p + 1;
	}
	for (size_t i = 0; i < ARRAY_LEN(first); i++) {
		size_t len = strlen(first[i]);

		if ((size_t)(end - text) >= len && memcmp(text, first[i], len) == 0)
			return true;
	}
	return false;
}

/* The value of a key at the beginning of a line; NULL: there is none. */
static const char *find(const char *text, const char *key)
{
	size_t n = strlen(key);

	while (text) {
		if (strncmp(text, key, n) == 0)
			return text + n;
		text = strchr(text, '\n');
		if (text)
			text++;
	}
	return NULL;
}

bool vmdk_desc_cid(const char *text, size_t *at, size_t *digits)
{
	const char *p = find(text, "CID=");

	if (!p)
		return false;
	*at = (size_t)(p - text);
	*digits = strspn(p, "0123456789abcdefABCDEF");
	return true;
}

static uint32_t cid(const char *text, const char *key, uint32_t none)
{
	const char *p = find(text, key);

	return p && isxdigit((unsigned char)*p) ? (uint32_t)strtoull(p, NULL, 16) : none;
}

/* A value in quotes, copied. NULL in *out: it is not there. */
static int quoted(const char *text, const char *key, char **out, struct err *err)
{
	const char *p = find(text, key), *end;

	*out = NULL;
	if (!p)
		return 0;
	end = p + strcspn(p, "\"\n");
	if (*end != '"')
		return err_set(err, EINVAL,
			       "invalid VMDK image descriptor: %s is not in quotes", key);
	*out = strndup(p, (size_t)(end - p));
	return *out ? 0 : err_nomem(err, (uint64_t)(end - p), "a descriptor");
}

static int bad_line(const char *line, size_t n, struct err *err)
{
	while (n > 0 && isspace((unsigned char)line[n - 1]))
		n--;
	return err_set(err, EINVAL, "Invalid extent line: %.*s", (int)MIN(n, LINE_TOLD), line);
}

/* The rest of a line behind its type: the name in quotes, and where it begins there. */
static int parse_name(struct vmdk_line *l, const char *p, const char *line, size_t n,
		      struct err *err)
{
	const char *end = line + n, *close;
	bool flat = strcmp(l->type, "FLAT") == 0, zero = strcmp(l->type, "ZERO") == 0;
	char *after = NULL;

	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	if (zero)
		return 0;
	close = p < end && *p == '"' ? memchr(p + 1, '"', (size_t)(end - p - 1)) : NULL;
	if (!close || close == p + 1)
		return bad_line(line, n, err);
	l->name = strndup(p + 1, (size_t)(close - p - 1));
	if (!l->name)
		return err_nomem(err, (uint64_t)(close - p), "a file name");
	p = close + 1;
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	if (p < end && isdigit((unsigned char)*p)) {
		errno = 0;
		l->offset = strtoull(p, &after, 10);
		if (errno || l->offset > INT64_MAX / VMDK_SECTOR)
			return bad_line(line, n, err);
	}
	/* the peer wants an offset where there is one, and else none */
	if (flat ? !after : after && strcmp(l->type, "VMFS") == 0)
		return bad_line(line, n, err);
	return 0;
}

static bool known_type(const char *type)
{
	static const char *const known[] = {"FLAT",	  "SPARSE",   "ZERO",	 "VMFS",
					    "VMFSSPARSE", "SESPARSE", "VMFSRDM", "VMFSRAW"};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (strcmp(known[i], type) == 0)
			return true;
	return false;
}

/* RW 4192256 SPARSE "x-s001.vmdk" */
static int parse_extent(struct vmdk_desc *d, size_t *room, const char *line, size_t n,
			struct err *err)
{
	static const struct {
		const char *word;
		enum vmdk_access access;
	} words[] = {{"RW", VMDK_RW}, {"RDONLY", VMDK_RDONLY}, {"NOACCESS", VMDK_NOACCESS}};
	struct vmdk_line *l;
	char word[16], type[16];
	int64_t sectors;
	int used = 0;
	size_t i = 0;

	if (sscanf(line, " %15s %" SCNd64 " %15s%n", word, &sectors, type, &used) < 3 ||
	    (size_t)used > n)
		return 0;
	while (i < ARRAY_LEN(words) && strcmp(word, words[i].word) != 0)
		i++;
	if (i == ARRAY_LEN(words) || sectors <= 0)
		return 0;
	if (sectors > INT64_MAX / VMDK_SECTOR || !known_type(type))
		return bad_line(line, n, err);
	if (d->n == VMDK_EXTENTS_MAX)
		return err_set(err, EINVAL, "The image has more than %d extents",
			       VMDK_EXTENTS_MAX);
	if (array_room(&d->line, room, d->n, sizeof(*d->line), "extents", err))
		return -1;
	l = &d->line[d->n++];
	*l = (struct vmdk_line){.access = words[i].access, .sectors = (uint64_t)sectors};
	memcpy(l->type, type, sizeof(type));
	return parse_name(l, line + used, line, n, err);
}

int vmdk_desc_parse(struct vmdk_desc *d, char *text, struct err *err)
{
	size_t room = 0;

	*d = (struct vmdk_desc){.text = text};
	d->cid = cid(text, "CID=", 0);
	d->parent_cid = cid(text, "parentCID=", VMDK_NO_CID);
	if (quoted(text, "createType=\"", &d->type, err) ||
	    quoted(text, "parentFileNameHint=\"", &d->parent, err))
		return -1;
	if (!d->type)
		return err_set(err, EINVAL, "invalid VMDK image descriptor");
	for (const char *line = text; *line;) {
		size_t n = strcspn(line, "\n");

		if (*line != '#' && parse_extent(d, &room, line, n, err))
			return -1;
		line += n + (line[n] == '\n');
	}
	return 0;
}

void vmdk_desc_free(struct vmdk_desc *d)
{
	for (size_t i = 0; i < d->n; i++)
		free(d->line[i].name);
	free(d->line);
	free(d->type);
	free(d->parent);
	free(d->text);
	*d = (struct vmdk_desc){0};
}
