#include "lib/tar.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/array.h"
#include "lib/mem.h"

/* Where the fields are: name, offset and length. */
#define NAME_AT	   0
#define NAME_LEN   100
#define MODE_AT	   100
#define UID_AT	   108
#define GID_AT	   116
#define SIZE_AT	   124
#define MTIME_AT   136
#define SUM_AT	   148
#define TYPE_AT	   156
#define MAGIC_AT   257
#define PREFIX_AT  345 /* POSIX */
#define PREFIX_LEN 155
#define SPARSE_AT  386 /* GNU: 4 entries of 24 bytes */
#define MORE_AT	   482
#define REAL_AT	   483
#define NUMBER	   12
#define ENTRY	   24
#define NEXT_ROOM  21  /* entries of a block that continues the map */
#define NEXT_MORE  504 /* in it: does another follow? */

#define PAX_MAX	    (1u << 20)		   /* bytes of one pax header */
#define HEADERS_MAX (4u * TAR_MEMBERS_MAX) /* with those that belong to a member */
#define SPARSE_MAX  65536		   /* blocks of one map */

static const char magic_posix[] = "ustar\0"
				  "00";
static const char magic_gnu[] = "ustar  ";

/* ---- numbers and sums ------------------------------------------------------------------- */

/* Octal digits with blanks around, or base 256 with the first bit set. */
static int get_number(const uint8_t *p, size_t n, uint64_t *out)
{
	uint64_t v = 0;
	size_t i = 0;

	*out = 0;
	if (p[0] & 0x80) {
		for (i = 0; i < n; i++) {
			if (v >> 55)
				return -1;
			v = v << 8 | (i == 0 ? p[0] & 0x7fu : p[i]);
		}
		*out = v;
		return 0;
	}
	while (i < n && p[i] == ' ')
		i++;
	for (; i < n && p[i] >= '0' && p[i] <= '7'; i++) {
		if (v >> 60)
			return -1;
		v = v << 3 | (uint64_t)(p[i] - '0');
	}
	for (; i < n; i++)
		if (p[i] != ' ' && p[i] != '\0')
			return -1;
	*out = v;
	return 0;
}

/* Octal with a NUL where it fits, as all do; else base 256, as GNU's. */
static void put_number(uint8_t *p, size_t n, uint64_t v)
{
	if (v >> (3 * (n - 1)) == 0) {
		p[n - 1] = '\0';
		for (size_t i = n - 1; i-- > 0; v >>= 3)
			p[i] = (uint8_t)('0' + (v & 7));
		return;
	}
	for (size_t i = n; i-- > 0; v >>= 8)
		p[i] = (uint8_t)v;
	p[0] |= 0x80;
}

/* The sum of all bytes, its own field as blanks. */
static unsigned sum_of(const uint8_t *block)
{
	unsigned sum = 8 * ' ';

	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += i >= SUM_AT && i < SUM_AT + 8 ? 0 : block[i];
	return sum;
}

static bool sum_fits(const uint8_t *block)
{
	uint64_t want;

	return get_number(block + SUM_AT, 8, &want) == 0 && want == sum_of(block);
}

bool tar_probe(const uint8_t *head, size_t n)
{
	return n >= TAR_BLOCK && memcmp(head + MAGIC_AT, "ustar", 5) == 0 && sum_fits(head);
}

static bool all_zero(const uint8_t *block)
{
	for (size_t i = 0; i < TAR_BLOCK; i++)
		if (block[i])
			return false;
	return true;
}

int tar_decode(const uint8_t block[TAR_BLOCK], struct tar_header *h, struct err *err)
{
	memset(h, 0, sizeof(*h));
	if (all_zero(block))
		return 0;
	if (!tar_probe(block, TAR_BLOCK))
		return err_set(err, EINVAL, "not a header of a tar archive");
	memcpy(h->name, block + NAME_AT, NAME_LEN);
	h->type = block[TYPE_AT] ? (char)block[TYPE_AT] : '0';
	h->gnu = memcmp(block + MAGIC_AT, magic_gnu, sizeof(magic_gnu)) == 0;
	if (get_number(block + SIZE_AT, NUMBER, &h->size) || h->size > INT64_MAX)
		return err_set(err, EINVAL, "the size of '%s' cannot be read", h->name);
	if (h->type != 'S')
		return 1;
	if (get_number(block + REAL_AT, NUMBER, &h->real) || h->real > INT64_MAX)
		return err_set(err, EINVAL, "the size of '%s' cannot be read", h->name);
	h->extended = block[MORE_AT];
	return 1;
}

bool tar_sparse_more(const uint8_t block[TAR_BLOCK])
{
	return block[NEXT_MORE];
}

/* ---- the list -------------------------------------------------------------------------- */

/* What the headers before a member said of it. */
struct said {
	char *name;
	uint64_t size;
	bool has_size, sparse;
};

struct list {
	struct blk *archive;
	struct tar *tar;
	size_t room;
	uint64_t at;
	struct said said;
};

static void said_free(struct said *s)
{
	free(s->name);
	memset(s, 0, sizeof(*s));
}

static int take_name(struct said *s, const char *name, size_t n, struct err *err)
{
	if (n > TAR_NAME_MAX)
		return err_set(err, EINVAL, "a name of %zu bytes (%d is the most)", n,
			       TAR_NAME_MAX);
	free(s->name);
	s->name = strndup(name, n);
	return s->name ? 0 : err_nomem(err, n + 1, "a name");
}

/* The data of a header that is about the next one; owned by the caller, ends with NUL. */
static char *read_about(struct list *l, uint64_t off, uint64_t size, struct err *err)
{
	char *text;

	if (size > PAX_MAX) {
		err_set(err, EINVAL, "an extended header of %" PRIu64 " bytes (%u is the most)",
			size, PAX_MAX);
		return NULL;
	}
	text = malloc(size + 1);
	if (!text) {
		err_nomem(err, size + 1, "an extended header");
		return NULL;
	}
	text[size] = '\0';
	if (blk_pread(l->archive, text, size, off, err) == 0)
		return text;
	free(text);
	return NULL;
}

static int take_record(struct said *s, const char *key, const char *value, size_t n,
		       struct err *err)
{
	char *end;

	if (strcmp(key, "path") == 0 || strcmp(key, "GNU.sparse.name") == 0)
		return take_name(s, value, n, err);
	if (strncmp(key, "GNU.sparse.", 11) == 0)
		s->sparse = true;
	if (strcmp(key, "size") != 0)
		return 0;
	errno = 0;
	s->size = strtoull(value, &end, 10);
	if (errno || value[0] < '0' || value[0] > '9' || end != value + n ||
	    s->size > INT64_MAX)
		return err_set(err, EINVAL, "a size in an extended header cannot be read");
	s->has_size = true;
	return 0;
}

/* Records of "LENGTH KEY=VALUE\n", the length that of all of it. */
static int take_pax(struct said *s, char *text, size_t n, struct err *err)
{
	for (size_t at = 0, len; at < n; at += len) {
		char *key, *value;

		len = strtoul(text + at, &key, 10);
		if (text[at] < '0' || text[at] > '9' || len > n - at || *key != ' ' ||
		    len < (size_t)(key - (text + at)) + 3 || text[at + len - 1] != '\n')
			return err_set(err, EINVAL, "an extended header cannot be read");
		text[at + len - 1] = '\0';
		key++;
		value = strchr(key, '=');
		if (!value)
			return err_set(err, EINVAL, "an extended header cannot be read");
		*value++ = '\0';
		if (take_record(s, key, value, (size_t)(text + at + len - 1 - value), err))
			return -1;
	}
	return 0;
}

/* The headers that are about the next one. 1: it was one of them. */
static int take_about(struct list *l, const struct tar_header *h, uint64_t data,
		      struct err *err)
{
	AUTO_FREE char *text = NULL;

	if (h->type == 'g' || h->type == 'K' || h->type == 'V')
		return 1;
	if (h->type != 'x' && h->type != 'L')
		return 0;
	text = read_about(l, data, h->size, err);
	if (!text)
		return -1;
	if (h->type == 'x')
		return take_pax(&l->said, text, h->size, err) ? -1 : 1;
	l->tar->ustar = false;
	return take_name(&l->said, text, strlen(text), err) ? -1 : 1;
}

/* POSIX: a prefix and the name, with a '/' between. */
static char *plain_name(const uint8_t *block, const struct tar_header *h, struct err *err)
{
	int n = h->gnu ? 0 : (int)strnlen((const char *)block + PREFIX_AT, PREFIX_LEN);
	char *name;

	if (asprintf(&name, "%.*s%s%s", n, block + PREFIX_AT, n ? "/" : "", h->name) >= 0)
		return name;
	err_nomem(err, PREFIX_LEN + NAME_LEN, "a name");
	return NULL;
}

static int add_member(struct list *l, const uint8_t *block, const struct tar_header *h,
		      struct err *err)
{
	struct tar *tar = l->tar;
	struct tar_member m = {.off = l->at, .size = l->said.has_size ? l->said.size : h->size};

	if (tar->n >= TAR_MEMBERS_MAX)
		return err_set(err, EINVAL, "more than %d members", TAR_MEMBERS_MAX);
	if (array_room(&tar->member, &l->room, tar->n, sizeof(m), "a list of members", err))
		return -1;
	m.plain = (h->type == '0' || h->type == '7') && !l->said.sparse;
	m.name = l->said.name ? l->said.name : plain_name(block, h, err);
	if (!m.name)
		return -1;
	l->said.name = NULL;
	said_free(&l->said);
	tar->member[tar->n++] = m;
	l->at = round_up(m.off + m.size, TAR_BLOCK);
	return 0;
}

/* The rest of an old sparse member's map, which lies before its data. */
static int skip_map(struct list *l, struct err *err)
{
	uint8_t block[TAR_BLOCK];
	unsigned n = 0;

	do {
		if (++n > SPARSE_MAX)
			return err_set(err, EINVAL, "the map of a sparse file is too long");
		if (blk_pread(l->archive, block, sizeof(block), l->at, err))
			return -1;
		l->at += TAR_BLOCK;
	} while (tar_sparse_more(block) && l->at < blk_size(l->archive));
	return 0;
}

/* Links, folders and devices have no data, whatever their size says. */
static bool has_data(char type)
{
	return type < '1' || type > '6';
}

/* The header at l->at and what it heads. 0: the archive ends there. */
static int take_header(struct list *l, struct err *err)
{
	uint64_t end = blk_size(l->archive), size;
	uint8_t block[TAR_BLOCK];
	struct tar_header h;
	int rc;

	if (l->at >= end || end - l->at < TAR_BLOCK)
		return 0;
	if (blk_pread(l->archive, block, sizeof(block), l->at, err))
		return -1;
	rc = tar_decode(block, &h, err);
	if (rc <= 0)
		return rc;
	l->at += TAR_BLOCK;
	if (!has_data(h.type))
		h.size = 0;
	if (h.gnu || (block[SIZE_AT] & 0x80))
		l->tar->ustar = false;
	if (h.extended && skip_map(l, err))
		return -1;
	size = l->said.has_size ? l->said.size : h.size;
	if (l->at > end || size > end - l->at)
		return err_set(err, EINVAL,
			       "'%s' (%" PRIu64 " bytes at %" PRIu64
			       ") reaches past the end of the archive (%" PRIu64 ")",
			       h.name, size, l->at, end);
	rc = take_about(l, &h, l->at, err);
	if (rc < 0)
		return -1;
	if (rc == 0)
		return add_member(l, block, &h, err) ? -1 : 1;
	l->at = round_up(l->at + h.size, TAR_BLOCK);
	return 1;
}

int tar_list(struct blk *archive, struct tar *out, struct err *err)
{
	struct list l = {.archive = archive, .tar = out};
	int rc = 1;

	memset(out, 0, sizeof(*out));
	out->ustar = true;
	for (unsigned i = 0; rc > 0; i++) {
		uint64_t at = l.at;

		if (i >= HEADERS_MAX)
			rc = err_set(err, EINVAL, "more than %u headers", HEADERS_MAX);
		else
			rc = take_header(&l, err);
		if (rc < 0)
			err_prefix(err, "The tar archive is damaged at %" PRIu64, at);
	}
	said_free(&l.said);
	return rc;
}

void tar_free(struct tar *tar)
{
	for (size_t i = 0; i < tar->n; i++)
		free(tar->member[i].name);
	free(tar->member);
	memset(tar, 0, sizeof(*tar));
}

/* ---- new headers ------------------------------------------------------------------------ */

static void put_sum(uint8_t *block)
{
	unsigned sum = sum_of(block);

	put_number(block + SUM_AT, 7, sum);
	block[SUM_AT + 7] = ' ';
}

void tar_encode(uint8_t block[TAR_BLOCK], const char *name, uint64_t size, int64_t mtime,
		bool gnu)
{
	memset(block, 0, TAR_BLOCK);
	memcpy(block + NAME_AT, name, MIN(strlen(name), NAME_LEN));
	put_number(block + MODE_AT, 8, 0644);
	put_number(block + UID_AT, 8, 0);
	put_number(block + GID_AT, 8, 0);
	put_number(block + SIZE_AT, NUMBER, size);
	put_number(block + MTIME_AT, NUMBER, mtime > 0 ? (uint64_t)mtime : 0);
	block[TYPE_AT] = '0';
	memcpy(block + MAGIC_AT, gnu ? magic_gnu : magic_posix, 8);
	put_sum(block);
}

void tar_sparse_begin(struct tar_sparse *s, const char *name, uint64_t stored, uint64_t real,
		      uint64_t entries, int64_t mtime)
{
	tar_encode(s->block, name, stored, mtime, true);
	s->block[TYPE_AT] = 'S';
	put_number(s->block + REAL_AT, NUMBER, real);
	s->first = true;
	s->room = 4;
	s->at = 0;
	s->left = entries;
	s->block[MORE_AT] = entries > s->room;
	put_sum(s->block);
}

static int next_block(struct tar_sparse *s, struct err *err)
{
	if (s->first)
		put_sum(s->block);
	if (s->write(s->arg, s->block, err))
		return -1;
	memset(s->block, 0, TAR_BLOCK);
	s->first = false;
	s->at = 0;
	s->room = NEXT_ROOM;
	s->block[NEXT_MORE] = s->left > NEXT_ROOM;
	return 0;
}

int tar_sparse_add(struct tar_sparse *s, uint64_t off, uint64_t len, struct err *err)
{
	uint8_t *p;

	if (s->at == s->room && next_block(s, err))
		return -1;
	p = s->block + (s->first ? SPARSE_AT : 0) + s->at * ENTRY;
	put_number(p, NUMBER, off);
	put_number(p + NUMBER, NUMBER, len);
	s->at++;
	s->left--;
	return 0;
}

int tar_sparse_end(struct tar_sparse *s, struct err *err)
{
	if (s->first)
		put_sum(s->block);
	return s->write(s->arg, s->block, err);
}
