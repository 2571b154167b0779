/*
 * snapshot: the snapshots inside an image, listed, taken, gone back to, dropped.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd/args.h"
#include "cmd/cmd.h"
#include "cmd/report.h"
#include "cmd/snapname.h"
#include "lib/mem.h"
#include "lib/size.h"

#define NAME_MAX_PEER 255 /* bytes of a name that QEMU remembers */

static const struct opt snapshot_opts[] = {
	{"list", 'l', OPT_FLAG, OPT_MANY, NULL, NULL,
	 "List the snapshots (as without an action)"},
	{"apply", 'a', OPT_STR, OPT_MANY, "SNAPSHOT", NULL,
	 "Go back to the snapshot with this ID or, if there is none, this name"},
	{"create", 'c', OPT_STR, OPT_MANY, "SNAPSHOT", NULL, "Take a snapshot with this name"},
	{"delete", 'd', OPT_STR, OPT_MANY, "SNAPSHOT", NULL,
	 "Drop the snapshot with this name or, if there is none, this ID"},
	{"format", 'f', OPT_STR, 0, "FMT", NULL,
	 "The image's format, if it should not be guessed"},
	{"image-opts", 0, OPT_FLAG, 0, NULL, NULL, "FILENAME is a list of options"},
	{"output", 0, OPT_STR, OPT_OURS, "OFMT", "human|json", "The form of the list"},
	{"exclusive", 0, OPT_FLAG, OPT_OURS, NULL, NULL,
	 "List also how much space only the snapshot holds; JSON always tells"},
	{"quiet", 'q', OPT_FLAG, 0, NULL, NULL, "Print errors only"},
	{"force-share", 'U', OPT_FLAG, 0, NULL, NULL,
	 "Read beside a program that writes the image"},
	{"object", 0, OPT_STR, OPT_MANY, "OBJECTDEF", NULL,
	 "Define an object, such as a secret"},
	{.type = OPT_END},
};

/* What to do, to what. */
struct action {
	char what; /* the letter of its option; 0: none was given */
	const char *name;
};

/* An image and its snapshots. */
struct subject {
	struct image *image;
	const struct snapshot_ops *ops; /* NULL: a format without */
	struct info info;
};

/* ---- the list --------------------------------------------------------------------- */

/* How much each holds alone; NULL with *err set. */
static uint64_t *exclusive(const struct subject *s, struct err *err)
{
	uint64_t *bytes = calloc(s->info.nsnapshot + 1, sizeof(*bytes));

	if (!bytes) {
		err_nomem(err, s->info.nsnapshot * sizeof(*bytes), "snapshots");
	} else if (s->ops && s->ops->exclusive && s->info.nsnapshot &&
		   s->ops->exclusive(s->image, bytes, s->info.nsnapshot, err)) {
		free(bytes);
		return NULL;
	}
	return bytes;
}

static int print_json(const struct subject *s, const uint64_t *alone)
{
	struct json *list = report_snapshots_json(s->info.snapshot, s->info.nsnapshot);
	int bad = !list;

	for (size_t i = 0; !bad && i < s->info.nsnapshot; i++) {
		struct json *j = json_at(list, i);

		bad |= json_add_int(j, "disk-size", (int64_t)s->info.snapshot[i].disk_size);
		bad |= json_add_int(j, "exclusive-size", (int64_t)alone[i]);
	}
	if (!bad) {
		json_print(stdout, list, 0);
		putchar('\n');
	} else {
		cmd_error("Out of memory");
	}
	json_free(list);
	return bad ? 1 : 0;
}

static void print_exclusive(const struct subject *s, const uint64_t *alone)
{
	char size[SIZE_TEXT];

	puts("Space that only one snapshot holds:");
	printf("%-9s %-16s %10s\n", "ID", "TAG", "SIZE");
	for (size_t i = 0; i < s->info.nsnapshot; i++) {
		report_cell(stdout, s->info.snapshot[i].id, 9);
		putchar(' ');
		report_cell(stdout, s->info.snapshot[i].name, 16);
		printf(" %10s\n", size_human(alone[i], size));
	}
}

static int list(const struct subject *s, const struct opts *o, bool json)
{
	AUTO_FREE uint64_t *alone = NULL;
	struct err err;

	if (json || opts_has(o, "exclusive")) {
		alone = exclusive(s, &err);
		if (!alone) {
			cmd_err(&err);
			return 1;
		}
	}
	if (json)
		return print_json(s, alone);
	if (s->info.nsnapshot == 0)
		return 0;
	report_snapshots(stdout, s->info.snapshot, s->info.nsnapshot);
	if (alone)
		print_exclusive(s, alone);
	return 0;
}

/* ---- changes ---------------------------------------------------------------------- */

static int create(const struct subject *s, const char *name)
{
	struct snapshot_info new = {.icount = -1};
	char cut[NAME_MAX_PEER + 1];
	struct timespec now;
	struct err err;

	snprintf(cut, sizeof(cut), "%s", name);
	if (strlen(name) > NAME_MAX_PEER && cmd_persona == PERSONA_PLATTER) {
		cmd_error("Could not create snapshot '%s': a name has at most %d bytes", name,
			  NAME_MAX_PEER);
		return 1;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	new.name = cut;
	new.date_sec = (uint32_t)now.tv_sec;
	new.date_nsec = (uint32_t)now.tv_nsec;
	if (cmd_persona == PERSONA_QEMU_IMG)
		new.icount = 0; /* as there: no instruction was counted */
	if (!s->ops || !s->ops->create)
		err_set(&err, ENOTSUP, "the format '%s' has no snapshots",
			s->image->format->name);
	else if (s->ops->create(s->image, &new, &err) == 0)
		return 0;
	if (cmd_persona == PERSONA_QEMU_IMG)
		cmd_error("Could not create snapshot '%s': %d (%s)", name, -err.num,
			  strerror(err.num));
	else
		cmd_error("Could not create snapshot '%s': %s", name, err.text);
	return 1;
}

static int cannot_apply(const char *name, const struct err *err)
{
	/* the peer's own words are those of the error's number, but for this one */
	bool number = cmd_persona == PERSONA_QEMU_IMG && err->num != EBUSY;

	cmd_error("Could not apply snapshot '%s': %s%s", name,
		  number ? "Failed to load snapshot: " : "",
		  number ? strerror(err->num) : err->text);
	return 1;
}

static int apply(const struct subject *s, const char *name)
{
	struct err err;
	size_t i;

	if (!s->ops || !s->ops->apply) {
		cmd_error("Could not apply snapshot '%s': Block driver does not support "
			  "snapshots",
			  name);
		return 1;
	}
	/* a place past the end: the image may have another reason why not, as with the peer */
	if (snapname_either(s->info.snapshot, s->info.nsnapshot, name, &i))
		i = s->info.nsnapshot;
	return s->ops->apply(s->image, i, &err) ? cannot_apply(name, &err) : 0;
}

static int drop(const struct subject *s, const char *name)
{
	const struct snapshot_info *have = s->info.snapshot;
	size_t n = s->info.nsnapshot, i;
	struct err err;

	/* the peer knows no IDs here */
	if (snapname_named(have, n, name, &i) &&
	    (cmd_persona == PERSONA_QEMU_IMG || snapname_either(have, n, name, &i)))
		err_set(&err, ENOENT, "snapshot not found");
	else if (!s->ops || !s->ops->remove)
		err_set(&err, ENOTSUP, "the format '%s' has no snapshots",
			s->image->format->name);
	else if (s->ops->remove(s->image, i, &err) == 0)
		return 0;
	cmd_error("Could not delete snapshot '%s': %s", name, err.text);
	return 1;
}

/* ---- what was asked for ----------------------------------------------------------- */

static int take_action(const struct opts *o, struct action *a)
{
	static const char *const names[] = {"list", "apply", "create", "delete"};

	a->what = 0;
	a->name = NULL;
	for (size_t i = 0; i < opts_count(o); i++) {
		for (size_t k = 0; k < ARRAY_LEN(names); k++) {
			if (strcmp(opts_key(o, i), names[k]))
				continue;
			if (a->what)
				return cmd_usage("Cannot mix '-l', '-a', '-c', '-d'");
			a->what = names[k][0];
			a->name = opts_value(o, i);
		}
	}
	/* the peer then opens the image and does nothing */
	if (!a->what && cmd_persona == PERSONA_PLATTER)
		a->what = 'l';
	return 0;
}

static int act(struct subject *s, const struct action *a, const struct opts *o, bool json)
{
	switch (a->what) {
	case 'a':
		return apply(s, a->name);
	case 'c':
		return create(s, a->name);
	case 'd':
		return drop(s, a->name);
	case 'l':
		return list(s, o, json);
	default:
		return 0;
	}
}

static int with_chain(struct chain *chain, const struct action *a, const struct opts *o,
		      bool json)
{
	struct subject s = {.image = (struct image *)chain->layer[0]};
	struct err err;
	int rc = 1;

	s.ops = s.image->format->snapshot;
	if (s.image->format->info && s.image->format->info(s.image, &s.info, &err))
		cmd_err(&err);
	else
		rc = act(&s, a, o, json);
	info_free(&s.info);
	return rc;
}

static int snapshot_image(const struct opts *o, const char *name)
{
	struct stack_request r;
	struct chain *chain;
	struct action a;
	bool json;
	int rc;

	if (take_action(o, &a) || args_output(o, &json) || args_source(o, name, &r) ||
	    args_object(o))
		return 1;
	if (a.what != 'l' && (opts_has(o, "output") || opts_has(o, "exclusive")))
		return cmd_usage("--output and --exclusive are for the list of snapshots");
	r.write = a.what && a.what != 'l';
	chain = args_open(&r);
	if (!chain)
		return 1;
	rc = with_chain(chain, &a, o, json);
	return args_close(chain, rc);
}

static int run_snapshot(int argc, char **argv)
{
	return cmd_with_image(&cmd_snapshot, argc, argv, snapshot_image);
}

const struct command cmd_snapshot = {
	.name = "snapshot",
	.synopsis = "FILENAME",
	.summary = "List, take, apply and delete snapshots inside an image",
	.opts = snapshot_opts,
	.run = run_snapshot,
};
