/*
 * map: which file, at which offset, holds each part of the guest's disk.
 *
 * The runs that a walk tells are joined where they go on in every respect, and printed
 * as soon as one is known to end: memory does not grow with the image.
 */
#include "cmd/args.h"
#include "cmd/cmd.h"
#include "lib/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SECTOR	  512
#define ENTRY_MAX 320 /* of JSON: seven keys, four numbers */

/* One line: `length` bytes from `start` that are alike. */
struct entry {
	uint64_t start, length;
	uint64_t offset; /* in the file `home` */
	const struct blk *home;
	unsigned depth;
	bool present, zero, data, packed;
};

struct map {
	bool json;
	struct entry now; /* not printed yet, since it may go on */
};

static const struct opt map_opts[] = {
	{"format", 'f', OPT_STR, 0, "FMT", NULL,
	 "The image's format, if it should not be guessed"},
	{"image-opts", 0, OPT_FLAG, 0, NULL, NULL, "FILENAME is a list of options"},
	{"start-offset", 's', OPT_SIZE, 0, "OFFSET", NULL, "Begin at this offset of the disk"},
	{"max-length", 'l', OPT_SIZE, 0, "LEN", NULL, "Look at LEN bytes of the disk at most"},
	{"output", 0, OPT_STR, 0, "OFMT", "human|json", "The form of the output"},
	{"force-share", 'U', OPT_FLAG, 0, NULL, NULL,
	 "Read beside a program that writes the image"},
	{"object", 0, OPT_STR, OPT_MANY, "OBJECTDEF", NULL,
	 "Define an object, such as a secret"},
	{.type = OPT_END},
};

/* Decimal digits, written backwards in front of `end`; where they begin. */
static char *digits(char *end, uint64_t v)
{
	do {
		*--end = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	return end;
}

static char *put_text(char *to, const char *s)
{
	size_t n = strlen(s);

	memcpy(to, s, n);
	return to + n;
}

static char *put_number(char *to, const char *key, uint64_t v)
{
	char buf[24];
	char *from = digits(buf + sizeof(buf), v);
	size_t n = (size_t)(buf + sizeof(buf) - from);

	to = put_text(to, key);
	memcpy(to, from, n);
	return to + n;
}

static char *put_flag(char *to, const char *key, bool v)
{
	return put_text(put_text(to, key), v ? "true" : "false");
}

/* By hand: a fragmented disk has millions of these lines. */
static void print_json(const struct entry *e, const char *end)
{
	char line[ENTRY_MAX];
	char *p = line;

	p = put_number(p, "{ \"start\": ", e->start);
	p = put_number(p, ", \"length\": ", e->length);
	p = put_number(p, ", \"depth\": ", e->depth);
	p = put_flag(p, ", \"present\": ", e->present);
	p = put_flag(p, ", \"zero\": ", e->zero);
	p = put_flag(p, ", \"data\": ", e->data);
	if (cmd_persona == PERSONA_PLATTER)
		p = put_flag(p, ", \"compressed\": ", e->packed);
	if (e->home)
		p = put_number(p, ", \"offset\": ", e->offset);
	p = put_text(p, end);
	fwrite(line, 1, (size_t)(p - line), stdout);
}

static int print_human(const struct entry *e)
{
	if (!e->data || e->zero)
		return 0;
	if (!e->home) {
		cmd_error("File contains external, encrypted or compressed clusters.");
		return 1;
	}
	printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", e->start, e->length,
	       e->offset, e->home->name);
	return 0;
}

static int print_entry(const struct map *m, const struct entry *e, const char *end)
{
	if (!m->json)
		return print_human(e);
	print_json(e, end);
	return 0;
}

static bool goes_on(const struct entry *a, const struct entry *b)
{
	return a->length && a->depth == b->depth && a->present == b->present &&
	       a->zero == b->zero && a->data == b->data && a->packed == b->packed &&
	       a->home == b->home && (!a->home || a->offset + a->length == b->offset);
}

/* Under the peer's name data is there, and nobody knows where, if it is so for the peer. */
static bool opaque(const struct chain *chain, const struct extent *e)
{
	const struct image *layer = (const struct image *)chain->layer[e->depth];

	return cmd_persona == PERSONA_QEMU_IMG && (layer->format->caps & FORMAT_OPAQUE) &&
	       !(e->flags & EXT_ABSENT);
}

static struct entry describe(const struct chain *chain, const struct extent *e)
{
	bool places = e->home && !(e->flags & (EXT_PACKED | EXT_CODED | EXT_VAGUE));
	bool vague = e->flags & EXT_VAGUE;

	if (opaque(chain, e))
		return (struct entry){.start = e->off,
				      .length = e->len,
				      .depth = e->depth,
				      .present = true,
				      .data = true};
	return (struct entry){
		.start = e->off,
		.length = e->len,
		.depth = e->depth,
		.present = !(e->flags & EXT_ABSENT) && !vague,
		.zero = e->flags & (EXT_ZERO | EXT_ABSENT),
		.data = (e->flags & EXT_DATA) && !vague,
		.packed = e->flags & EXT_PACKED,
		.home = places ? e->home : NULL,
		.offset = places ? e->host : 0,
	};
}

/* Prints what has ended; 1: an error was printed. */
static int add(struct map *m, const struct entry *e)
{
	if (goes_on(&m->now, e)) {
		m->now.length += e->length;
		return 0;
	}
	if (m->now.length && print_entry(m, &m->now, "},\n"))
		return 1;
	m->now = *e;
	return 0;
}

static int walk_through(struct map *m, const struct chain *chain, struct walk *walk,
			uint64_t off, uint64_t end)
{
	struct err err;

	m->now.start = off;
	while (off < end && !ferror(stdout)) {
		struct extent ext;
		struct entry e;

		if (walk_next(walk, off, end - off, &ext, &err)) {
			cmd_error("Could not read file metadata: %s", err.text);
			return 1;
		}
		e = describe(chain, &ext);
		if (add(m, &e))
			return 1;
		off += e.length;
	}
	return print_entry(m, &m->now, "}]\n");
}

static int map_chain(struct chain *chain, bool json, uint64_t start, uint64_t length)
{
	struct map m = {.json = json};
	uint64_t size = round_up(blk_size(&chain->blk), SECTOR);
	struct err err;
	struct walk *walk = walk_new(chain, 0, &err);
	int rc;

	if (!walk) {
		cmd_err(&err);
		return 1;
	}
	walk_holes(walk);
	if (json)
		fputs("[", stdout);
	else
		printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
	rc = walk_through(&m, chain, walk, start,
			  start < size ? start + MIN(length, size - start) : start);
	walk_free(walk);
	return rc;
}

static int map_image(const struct opts *o, const char *name)
{
	uint64_t start = 0, length = UINT64_MAX;
	struct stack_request r;
	struct chain *chain;
	struct err err;
	bool json;
	int rc;

	if (opts_has(o, "start-offset") &&
	    args_bytes(opts_get(o, "start-offset"), "start offset", &start))
		return 1;
	if (opts_has(o, "max-length") &&
	    args_bytes(opts_get(o, "max-length"), "max length", &length))
		return 1;
	if (args_output(o, &json) || args_source(o, name, &r) || args_object(o))
		return 1;
	r.no_key = true;
	chain = args_open(&r);
	if (!chain)
		return 1;
	rc = map_chain(chain, json, start, length);
	blk_close(&chain->blk, &err); /* nothing was written */
	return rc;
}

static int run_map(int argc, char **argv)
{
	return cmd_with_image(&cmd_map, argc, argv, map_image);
}

const struct command cmd_map = {
	.name = "map",
	.synopsis = "FILENAME",
	.summary = "Show where each part of a disk is stored",
	.opts = map_opts,
	.run = run_map,
};
