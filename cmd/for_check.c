/*
 * check --for: what of a file a target would refuse, why, and what to do about it.
 */
#include "cmd/for_check.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cmd/args.h"
#include "cmd/cmd.h"
#include "lib/bytes.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "lib/size.h"

/* As check without --for. */
enum { FOR_FINE = 0, FOR_FAILED = 1, FOR_REFUSED = 2 };

#define HEAD_BYTES 65536u /* where a descriptor in a VMDK is looked for */

void for_refuse(struct for_verdict *v, const char *kind, const char *remedy, const char *fmt,
		...)
{
	struct for_reason r = {.kind = kind};
	va_list ap;

	if (v->n == REASONS_MAX) {
		v->lost = true;
		return;
	}
	va_start(ap, fmt);
	if (vasprintf(&r.text, fmt, ap) < 0)
		r.text = NULL;
	va_end(ap);
	if (remedy)
		r.remedy = strdup(remedy);
	else if (asprintf(&r.remedy, "platter convert --for %s makes one that is taken",
			  v->to->name) < 0)
		r.remedy = NULL;
	if (!r.text || !r.remedy) {
		free(r.text);
		free(r.remedy);
		v->lost = true;
		return;
	}
	v->reason[v->n++] = r;
}

void for_unread(struct for_verdict *v, const char *kind, const char *what,
		const struct err *err)
{
	if (err->num == ENOMEM)
		v->lost = true;
	else
		for_refuse(v, kind, NULL, "%s%s%s", what ? what : "", what ? ": " : "",
			   err->text);
}

static void verdict_free(struct for_verdict *v)
{
	for (size_t i = 0; i < v->n; i++) {
		free(v->reason[i].text);
		free(v->reason[i].remedy);
	}
}

/* ---- the size ---------------------------------------------------------------------------- */

void for_look_size(struct for_verdict *v, const struct for_format *row, uint64_t size)
{
	char have[SIZE_TEXT], want[SIZE_TEXT];

	v->size = size;
	size_human(size, have);
	if (size < row->min)
		for_refuse(v, "size", NULL,
			   "the disk has %s (%" PRIu64 " bytes), and %s is the least", have,
			   size, size_human(row->min, want));
	if (size > row->max)
		for_refuse(v, "size", "platter resize --shrink, once the guest uses less of it",
			   "the disk has %s (%" PRIu64 " bytes), and %s is the most: %s", have,
			   size, size_human(row->max, want),
			   row->max_why ? row->max_why : "a disk has no more");
	if (size % row->align)
		for_refuse(v, "alignment", NULL,
			   "the disk has %" PRIu64 " bytes, no multiple of %" PRIu64 ": %s",
			   size, row->align, row->align_why);
}

/* ---- what the file says of its kind ----------------------------------------------------- */

/* The footer of a VHD, VHD specification 1.0, "Hard Disk Footer Format". */
static bool read_footer(struct blk *bytes, uint8_t footer[512])
{
	uint64_t size = blk_size(bytes);
	struct err ignored;

	return size >= 512 && blk_pread(bytes, footer, 512, size - 512, &ignored) == 0 &&
	       memcmp(footer, "conectix", 8) == 0;
}

static void look_vhd(struct for_verdict *v, const struct for_format *row, struct blk *bytes)
{
	static const char *const types[] = {"fixed", "dynamic", "differencing"};
	uint8_t footer[512];
	uint32_t type;
	uint64_t size;

	if (!read_footer(bytes, footer)) {
		for_refuse(v, "footer", NULL, "the VHD has no footer at its end");
		return;
	}
	type = get_be32(footer + 60);
	size = get_be64(footer + 48);
	if (row->subformat && type != 2)
		for_refuse(v, "subformat", NULL, "the VHD is %s, and has to be %s",
			   type >= 2 && type <= 4 ? types[type - 2] : "of no known kind",
			   row->subformat);
	/* others than the one who wrote it go by this size, not by the geometry */
	if (size != v->size)
		for_refuse(v, "size", NULL,
			   "the VHD's footer says %" PRIu64 " bytes, its geometry %" PRIu64,
			   size, v->size);
	if (type == 2 && blk_size(bytes) != size + 512)
		for_refuse(v, "length", NULL,
			   "the file has %" PRIu64 " bytes, and %" PRIu64
			   " are the disk and its footer",
			   blk_size(bytes), size + 512);
}

static bool in_list(const char *list, const char *word)
{
	size_t n = strlen(word);

	while (*list) {
		size_t len = strcspn(list, "|");

		if (len == n && strncasecmp(list, word, n) == 0)
			return true;
		list += len + (list[len] == '|');
	}
	return false;
}

/* 'ddb.adapterType = "lsilogic"' in the first bytes of the file. */
static bool find_ddb(struct blk *bytes, const char *key, char *out, size_t room)
{
	AUTO_FREE char *head = calloc(1, HEAD_BYTES + 1);
	size_t n = MIN(blk_size(bytes), HEAD_BYTES), len;
	struct err ignored;
	const char *at;

	if (!head || blk_pread(bytes, head, n, 0, &ignored))
		return false;
	at = memmem(head, n, key, strlen(key));
	if (!at)
		return false;
	at += strcspn(at, "\"\n");
	if (*at != '"')
		return false;
	len = strcspn(++at, "\"\n");
	if (len >= room)
		return false;
	for (size_t i = 0; i < len; i++)
		out[i] = (char)(isprint((unsigned char)at[i]) ? at[i] : '?');
	out[len] = '\0';
	return true;
}

/* Options of the row that the descriptor tells. */
static void look_ddb(struct for_verdict *v, const struct for_key *k, struct blk *bytes)
{
	static const struct {
		const char *option, *key, *kind, *what;
	} t[] = {
		{"adapter_type", "ddb.adapterType", "adapter", "the adapter"},
		{"hwversion", "ddb.virtualHWVersion", "hardware-version", "hardware version"},
	};
	char value[40];

	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		if (strcmp(k->key, t[i].option) == 0 &&
		    find_ddb(bytes, t[i].key, value, sizeof(value)) &&
		    !for_value_fits(k, value))
			for_refuse(v, t[i].kind, NULL,
				   "the VMDK is for %s '%s', and %s takes %s|%s", t[i].what,
				   value, v->to->title, k->value, k->also);
}

static void look_vmdk(struct for_verdict *v, const struct for_format *row, struct blk *bytes,
		      const struct info *info)
{
	const char *type = info->specific ? json_str(json_get(info->specific, "create-type"))
					  : "";

	if (row->subformat && !in_list(row->subformat, type))
		for_refuse(v, "subformat", NULL, "the VMDK is %s, and has to be %.*s",
			   *type ? type : "of no known kind", (int)strcspn(row->subformat, "|"),
			   row->subformat);
	for (size_t i = 0; i < ARRAY_LEN(row->key) && row->key[i].key; i++)
		look_ddb(v, &row->key[i], bytes);
}

/* ---- an image ---------------------------------------------------------------------------- */

static void look_image(struct for_verdict *v, struct image *image, struct blk *bytes,
		       const struct info *info)
{
	const char *format = image->format->name;
	const struct for_format *row = for_format(v->to, format);

	if ((image->backing || image->needs_backing) && !(v->to->flags & FOR_OVERLAYS))
		for_refuse(v, "backing-file", NULL,
			   "the image is an overlay, without its backing file it is not whole");
	if (info->encrypted && !(v->to->flags & FOR_ENCRYPTED))
		for_refuse(v, "encryption", NULL, "the image is encrypted");
	if (info->has_dirty && info->dirty)
		for_refuse(v, "dirty", "platter check -r all repairs it",
			   "the image was not closed cleanly");
	v->size = blk_size(&image->blk);
	if (!row || (v->to->flags & FOR_TAR_GZ)) {
		for_refuse(v, "format", NULL, "the image is %s, and %s takes %s", format,
			   v->to->title, v->to->takes);
		return;
	}
	for_look_size(v, row, v->size);
	if (strcmp(format, "vpc") == 0)
		look_vhd(v, row, bytes);
	else if (strcmp(format, "vmdk") == 0)
		look_vmdk(v, row, bytes, info);
}

void for_look(struct for_verdict *v, struct chain *chain, struct blk *bytes, const char *disk)
{
	struct image *image = (struct image *)chain->layer[0];
	struct info info = {0};
	struct err err;

	if (image->format->info && image->format->info(image, &info, &err)) {
		for_unread(v, "unreadable", disk, &err);
		info_free(&info);
		return;
	}
	v->format = image->format->name;
	look_image(v, image, bytes, &info);
	info_free(&info);
}

/* ---- the command ------------------------------------------------------------------------- */

static int reason_json(struct json *to, const struct for_reason *r)
{
	struct json *j = json_object();
	int bad = !j;

	if (!bad) {
		bad |= json_add_str(j, "kind", r->kind);
		bad |= json_add_str(j, "reason", r->text);
		bad |= json_add_str(j, "remedy", r->remedy);
	}
	return bad | json_push(to, j);
}

static int print_json(const struct for_verdict *v)
{
	struct json *j = json_object(), *list = json_array();
	int bad = !j || !list;

	for (size_t i = 0; !bad && i < v->n; i++)
		bad |= reason_json(list, &v->reason[i]);
	bad |= json_add_str(j, "for", v->to->name);
	bad |= json_add_str(j, "filename", v->name);
	bad |= json_add_str(j, "format", v->format ? v->format : "");
	bad |= json_add_int(j, "virtual-size", (int64_t)v->size);
	bad |= json_add(j, "refused", list);
	if (!bad) {
		json_print(stdout, j, 0);
		putchar('\n');
	} else {
		cmd_error("Out of memory");
	}
	json_free(j);
	return bad ? -1 : 0;
}

static void print_human(const struct for_verdict *v)
{
	char line[1200];

	for (size_t i = 0; i < v->n; i++) {
		snprintf(line, sizeof(line), "%s: %s; %s", v->to->name, v->reason[i].text,
			 v->reason[i].remedy);
		cmd_report_line(NULL, line);
	}
	if (opts_has(v->o, "quiet"))
		return;
	if (v->n == 0)
		printf("Nothing was found that %s would refuse.\n", v->to->title);
	else
		printf("%s would refuse it: %zu reason%s.\n", v->to->title, v->n,
		       v->n == 1 ? "" : "s");
}

static int give_verdict(const struct for_verdict *v, bool json)
{
	if (v->lost && v->n < REASONS_MAX) {
		cmd_error("Out of memory");
		return FOR_FAILED;
	}
	if (!json)
		print_human(v);
	else if (!opts_has(v->o, "quiet") && print_json(v))
		return FOR_FAILED;
	return v->n ? FOR_REFUSED : FOR_FINE;
}

/* The bytes of a file, whatever is in it; NULL where it is no plain file's name. */
static struct chain *open_bytes(const struct stack_request *r)
{
	struct stack_request raw = *r;

	raw.format = "raw";
	return args_open(&raw);
}

static int look_at(struct for_verdict *v, const struct stack_request *r)
{
	struct stack_request top = *r;
	struct chain *chain, *bytes = NULL;
	struct err err, ignored;
	int archive = 0;

	if (!r->image_opts && !r->format) {
		bytes = open_bytes(r);
		if (!bytes)
			return -1;
		/* the file, whose length is no multiple of anything */
		archive = for_look_archive(v, bytes->layer[0]->lower, &err);
		blk_close(&bytes->blk, &ignored);
		if (archive < 0)
			cmd_error("%s: %s", v->name, err.text);
		if (archive)
			return archive < 0 ? -1 : 0;
	}
	top.no_backing = true;
	chain = args_open(&top);
	if (!chain)
		return -1;
	for_look(v, chain, chain->layer[0]->lower, NULL);
	blk_close(&chain->blk, &ignored);
	return 0;
}

int for_check(const struct opts *o, const char *name)
{
	struct for_verdict v = {.o = o, .name = name, .to = for_find(opts_get(o, "for"))};
	struct stack_request r;
	bool json;
	int rc;

	if (!v.to || args_output(o, &json) || args_source(o, name, &r) || args_object(o) ||
	    args_cache(opts_get(o, "cache"), "source cache"))
		return FOR_FAILED;
	if (opts_has(o, "repair"))
		return cmd_usage("--for only looks: it does not go with -r");
	r.cache = opts_get(o, "cache");
	rc = look_at(&v, &r) ? FOR_FAILED : give_verdict(&v, json);
	verdict_free(&v);
	return rc;
}
