/*
 * check --for of archives: Compute Engine's .tar.gz, which is read to its end, and OVAs, whose
 * manifest is compared with what is there.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cmd/cmd.h"
#include "cmd/for_check.h"
#include "crypto/hash.h"
#include "lib/mem.h"
#include "lib/pack_gzip.h"
#include "lib/tar.h"
#include "lib/xml.h"

#define PIECE	  (1u << 20)
#define TEXT_MAX  (1u << 20) /* of a descriptor or manifest */
#define SHOWN_MAX 80

static const char *shown(const char *name, char out[SHOWN_MAX + 1])
{
	size_t n = 0;

	for (; *name && n < SHOWN_MAX; name++)
		out[n++] = isprint((unsigned char)*name) ? *name : '?';
	out[n] = '\0';
	return out;
}

static bool ends_in(const char *name, const char *end)
{
	size_t n = strlen(name), e = strlen(end);

	return n > e && strcasecmp(name + n - e, end) == 0;
}

/* ---- .tar.gz ----------------------------------------------------------------------------- */

struct packed {
	struct blk *bytes;
	uint64_t at;
	uint8_t *buf; /* PIECE */
	struct gzip_reader *gzip;
};

static int more(void *arg, const uint8_t **data, size_t *n, struct err *err)
{
	struct packed *p = arg;

	*n = MIN(PIECE, blk_size(p->bytes) - p->at);
	*data = p->buf;
	if (blk_pread(p->bytes, p->buf, *n, p->at, err))
		return -1;
	p->at += *n;
	return 0;
}

/* A block of the archive; 1: there is none any more. */
static int next_block(struct packed *p, uint8_t block[TAR_BLOCK], struct err *err)
{
	size_t got;

	if (gzip_read(p->gzip, block, TAR_BLOCK, &got, err))
		return -1;
	return got < TAR_BLOCK;
}

static int skip(struct packed *p, uint64_t n, struct err *err)
{
	AUTO_FREE uint8_t *buf = malloc(PIECE);
	size_t got = 1;

	if (!buf)
		return err_nomem(err, PIECE, "an archive");
	while (n > 0 && got > 0) {
		if (gzip_read(p->gzip, buf, MIN(n, PIECE), &got, err))
			return -1;
		n -= got;
	}
	return n > 0 ? err_set(err, EINVAL, "The archive is cut off") : 0;
}

/* The header of the disk, and its data. */
static int look_member(struct for_verdict *v, struct packed *p, const uint8_t *block,
		       struct err *err)
{
	uint8_t next[TAR_BLOCK];
	char name[SHOWN_MAX + 1];
	struct tar_header h;
	int rc = tar_decode(block, &h, err);
	bool follows;

	if (rc < 0)
		return -1;
	if (rc == 0 || strcmp(h.name, "disk.raw") != 0)
		for_refuse(v, "name", NULL, "the archive holds '%s', not 'disk.raw'",
			   shown(h.name, name));
	if (rc && (!h.gnu || (h.type != '0' && h.type != 'S')))
		for_refuse(v, "tar-format", NULL,
			   "the archive is not of GNU's old format (tar --format=oldgnu)");
	if (rc)
		for_look_size(v, v->to->format, h.type == 'S' ? h.real : h.size);
	for (follows = h.extended; follows; follows = tar_sparse_more(next))
		if ((rc = next_block(p, next, err)) != 0)
			return rc < 0 ? -1 : err_set(err, EINVAL, "The archive is cut off");
	return skip(p, round_up(h.size, TAR_BLOCK), err);
}

static bool all_zero(const uint8_t *block)
{
	for (size_t i = 0; i < TAR_BLOCK; i++)
		if (block[i])
			return false;
	return true;
}

static int look_stream(struct for_verdict *v, struct packed *p, struct err *err)
{
	uint8_t block[TAR_BLOCK];
	bool told = false;
	int rc = next_block(p, block, err);

	if (rc == 0)
		rc = look_member(v, p, block, err);
	else if (rc > 0)
		for_refuse(v, "name", NULL, "the archive is empty");
	/* to the end: the checksum is there */
	while (rc == 0 && (rc = next_block(p, block, err)) == 0) {
		if (!told && !all_zero(block)) {
			for_refuse(v, "members", NULL,
				   "the archive holds more than 'disk.raw'");
			told = true;
		}
	}
	return rc < 0 ? -1 : 0;
}

static int look_tar_gz(struct for_verdict *v, struct blk *bytes, struct err *err)
{
	struct packed p = {.bytes = bytes, .buf = malloc(PIECE)};
	int rc = -1;

	v->format = "tar.gz";
	if (!(v->to->flags & FOR_TAR_GZ)) {
		for_refuse(v, "format", NULL, "the file is compressed by gzip, and %s takes %s",
			   v->to->title, v->to->takes);
		free(p.buf);
		return 0;
	}
	if (!ends_in(v->name, ".tar.gz"))
		for_refuse(v, "file-name", "rename it", "the file's name ends not in .tar.gz");
	if (!p.buf)
		err_nomem(err, PIECE, "an archive");
	else
		p.gzip = gzip_open(more, &p, err);
	if (p.gzip && (rc = look_stream(v, &p, err)) != 0) {
		for_unread(v, "damaged", NULL, err);
		rc = 0;
	}
	gzip_close(p.gzip);
	free(p.buf);
	return rc;
}

/* ---- OVA -----------------------------------------------------------------------------------
 */

static const struct tar_member *member(const struct tar *tar, const char *name, size_t n)
{
	for (size_t i = 0; i < tar->n; i++)
		if (strlen(tar->member[i].name) == n &&
		    memcmp(tar->member[i].name, name, n) == 0)
			return &tar->member[i];
	return NULL;
}

static int digest(struct blk *bytes, const struct tar_member *m, const char *kind,
		  char hex[HASH_HEX], struct err *err)
{
	AUTO_FREE uint8_t *buf = mem_alloc(PIECE);
	struct hash *h = buf ? hash_new(kind, err) : NULL;
	int rc = 0;

	if (!buf)
		return err_nomem(err, PIECE, "a manifest");
	if (!h)
		return -1;
	for (uint64_t done = 0; rc == 0 && done < m->size;) {
		size_t n = MIN(PIECE, m->size - done);

		rc = blk_pread(bytes, buf, n, m->off + done, err);
		hash_update(h, buf, n);
		done += n;
	}
	hash_final_hex(h, hex);
	hash_free(h);
	return rc;
}

/* "SHA256(disk.vmdk)= 0123...": a line without its end. */
static void look_line(struct for_verdict *v, const struct tar *tar, struct blk *bytes,
		      const char *line)
{
	size_t kind_len = strcspn(line, "(");
	const char *name = line + kind_len + 1, *close = strrchr(line, ')');
	const struct tar_member *m;
	char kind[24], hex[HASH_HEX], at[SHOWN_MAX + 1];
	struct err err;

	if (!*line)
		return;
	if (!close || line[kind_len] != '(' || close < name || kind_len >= sizeof(kind) ||
	    close[1] != '=') {
		for_refuse(v, "manifest", NULL, "a line of the manifest cannot be read: '%s'",
			   shown(line, at));
		return;
	}
	snprintf(kind, sizeof(kind), "%.*s", (int)kind_len, line);
	m = member(tar, name, (size_t)(close - name));
	close += 2;
	close += strspn(close, " ");
	shown(name, at);
	at[MIN(strcspn(at, ")"), SHOWN_MAX)] = '\0';
	if (!m)
		for_refuse(v, "manifest", NULL, "the manifest names '%s', which is not there",
			   at);
	else if (!hash_known(kind))
		for_refuse(v, "manifest", NULL, "the manifest has an unknown digest of '%s'",
			   at);
	else if (digest(bytes, m, kind, hex, &err))
		for_unread(v, "unreadable", at, &err);
	else if (strcasecmp(hex, close) != 0)
		for_refuse(v, "manifest", NULL,
			   "'%s' is not what its digest in the manifest says", at);
}

/* Owned by the caller; NULL: it is too long, or cannot be read. */
static char *read_text(struct for_verdict *v, struct blk *bytes, const struct tar_member *m)
{
	char *text = m->size <= TEXT_MAX ? calloc(1, m->size + 1) : NULL;
	struct err ignored;

	if (text && blk_pread(bytes, text, m->size, m->off, &ignored) == 0)
		return text;
	if (!text && m->size <= TEXT_MAX)
		v->lost = true;
	free(text);
	return NULL;
}

/* "ovf:File" and "File" are one, whatever the prefix is. */
static const char *bare(const char *name)
{
	const char *colon = strchr(name, ':');

	return colon ? colon + 1 : name;
}

static const struct xml *child(const struct xml *e, const char *name)
{
	for (e = xml_child(e, NULL); e; e = xml_next(e, NULL))
		if (strcmp(bare(xml_name(e)), name) == 0)
			return e;
	return NULL;
}

/* The prefixes that are used; other ones are as rare as they are legal. */
static const char *attr(const struct xml *e, const char *plain, const char *prefixed)
{
	const char *value = xml_attr(e, prefixed);

	return value ? value : xml_attr(e, plain);
}

/* A file that the descriptor refers to. */
static void look_reference(struct for_verdict *v, const struct tar *tar, const struct xml *e)
{
	const char *href = attr(e, "href", "ovf:href"), *size = attr(e, "size", "ovf:size");
	const struct tar_member *m;
	char at[SHOWN_MAX + 1];

	if (!href || strstr(href, "://")) /* from elsewhere */
		return;
	m = member(tar, href, strlen(href));
	if (!m)
		for_refuse(v, "descriptor", NULL,
			   "the descriptor names '%s', which is not there", shown(href, at));
	else if (size && strtoull(size, NULL, 10) != m->size)
		for_refuse(v, "descriptor", NULL,
			   "'%s' has %" PRIu64 " bytes, not what the descriptor says",
			   shown(href, at), m->size);
}

static void look_descriptor(struct for_verdict *v, const struct tar *tar, struct blk *bytes,
			    const struct tar_member *m)
{
	AUTO_FREE char *text = read_text(v, bytes, m);
	struct err err = {.num = EFBIG, .text = "it is too long"};
	struct xml *root = text ? xml_parse(text, m->size, &err) : NULL;

	if (!root) {
		for_unread(v, "descriptor", "the descriptor cannot be read", &err);
		return;
	}
	for (const struct xml *e = xml_child(child(root, "References"), NULL); e;
	     e = xml_next(e, NULL))
		if (strcmp(bare(xml_name(e)), "File") == 0)
			look_reference(v, tar, e);
	xml_free(root);
}

static void look_manifest(struct for_verdict *v, const struct tar *tar, struct blk *bytes,
			  const struct tar_member *m)
{
	AUTO_FREE char *text = read_text(v, bytes, m);

	if (!text) {
		for_refuse(v, "manifest", NULL, "the manifest cannot be read");
		return;
	}
	for (char *line = text; *line;) {
		size_t n = strcspn(line, "\r\n");
		bool last = !line[n];

		line[n] = '\0';
		look_line(v, tar, bytes, line);
		line += last ? n : n + 1;
	}
}

/* One disk, by its number. */
static void look_disk(struct for_verdict *v, const char *disk)
{
	struct stack_request r = {.no_backing = true};
	AUTO_FREE char *name = NULL;
	struct chain *chain;
	char at[SHOWN_MAX + 1];
	struct err err;

	if (asprintf(&name, "ova:%s#%s", v->name, disk) < 0) {
		name = NULL;
		v->lost = true;
		return;
	}
	r.name = name;
	chain = stack_open(&r, &err);
	if (!chain) {
		for_unread(v, "unreadable", NULL, &err);
		return;
	}
	for_look(v, chain, chain->layer[0]->lower, shown(disk, at));
	blk_close(&chain->blk, &err);
}

static void look_members(struct for_verdict *v, const struct tar *tar, struct blk *bytes)
{
	size_t disks = 0;

	if (tar->n == 0 || !ends_in(tar->member[0].name, ".ovf"))
		for_refuse(v, "order", NULL,
			   "the archive does not begin with a descriptor (.ovf)");
	for (size_t i = 0; i < tar->n && v->n < REASONS_MAX; i++) {
		const struct tar_member *m = &tar->member[i];

		if (i == 0 && ends_in(m->name, ".ovf"))
			look_descriptor(v, tar, bytes, m);
		if (ends_in(m->name, ".mf"))
			look_manifest(v, tar, bytes, m);
		if (!m->plain || !ends_in(m->name, ".vmdk"))
			continue;
		disks++;
		look_disk(v, m->name);
	}
	if (disks == 0)
		for_refuse(v, "format", NULL, "the archive holds no VMDK");
}

static int look_ova(struct for_verdict *v, struct blk *bytes, struct err *err)
{
	struct tar tar;
	int rc = 0;

	if (!(v->to->flags & FOR_OVA)) {
		for_refuse(v, "format", NULL, "the file is a tar archive, and %s takes %s",
			   v->to->title, v->to->takes);
	} else if (tar_list(bytes, &tar, err)) {
		for_unread(v, "damaged", NULL, err);
		tar_free(&tar);
	} else {
		look_members(v, &tar, bytes);
		tar_free(&tar);
	}
	v->format = "ova";
	return rc;
}

int for_look_archive(struct for_verdict *v, struct blk *bytes, struct err *err)
{
	uint8_t head[TAR_BLOCK] = {0};
	size_t n = MIN(blk_size(bytes), sizeof(head));

	if (blk_pread(bytes, head, n, 0, err))
		return -1;
	if (n >= 2 && head[0] == 0x1f && head[1] == 0x8b)
		return look_tar_gz(v, bytes, err) ? -1 : 1;
	if (tar_probe(head, n))
		return look_ova(v, bytes, err) ? -1 : 1;
	return 0;
}
