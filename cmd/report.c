#include "cmd/report.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "cmd/cmd.h"
#include "lib/size.h"

#define NSEC UINT64_C(1000000000)

void report_text(FILE *to, const char *text)
{
	if (cmd_persona == PERSONA_QEMU_IMG) {
		fputs(text, to);
		return;
	}
	for (; *text; text++) {
		if (iscntrl((unsigned char)*text))
			fprintf(to, "\\x%02x", (unsigned char)*text);
		else
			putc(*text, to);
	}
}

void report_cell(FILE *to, const char *text, int width)
{
	int n = (int)strnlen(text, (size_t)width);

	report_text(to, text);
	fprintf(to, "%*s", width - n, "");
}

static void print_snapshot(FILE *to, const struct snapshot_info *s)
{
	char size[SIZE_TEXT], date[40] = "", clock[40], icount[24] = "";
	uint64_t sec = s->vm_clock_nsec / NSEC;
	time_t when = s->date_sec;
	struct tm tm;

	if (localtime_r(&when, &tm))
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(clock, sizeof(clock), "%02" PRIu64 ":%02" PRIu64 ":%02" PRIu64 ".%03" PRIu64,
		 sec / 3600, sec / 60 % 60, sec % 60, s->vm_clock_nsec / 1000000 % 1000);
	if (s->icount != -1)
		snprintf(icount, sizeof(icount), "%" PRId64, s->icount);
	report_cell(to, s->id, 9);
	putc(' ', to);
	report_cell(to, s->name, 16);
	fprintf(to, " %8s%20s%13s%11s\n", size_human(s->vm_state_size, size), date, clock,
		icount);
}

void report_snapshots(FILE *to, const struct snapshot_info *s, size_t n)
{
	fputs("Snapshot list:\n", to);
	fprintf(to, "%-9s %-16s %8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK",
		"ICOUNT");
	for (size_t i = 0; i < n; i++)
		print_snapshot(to, &s[i]);
}

static struct json *snapshot_json(const struct snapshot_info *s)
{
	struct json *j = json_object();
	int bad = 0;

	if (s->icount != -1)
		bad |= json_add_int(j, "icount", s->icount);
	bad |= json_add_int(j, "vm-clock-nsec", (int64_t)(s->vm_clock_nsec % NSEC));
	bad |= json_add_str(j, "name", s->name);
	bad |= json_add_int(j, "date-sec", s->date_sec);
	bad |= json_add_int(j, "date-nsec", s->date_nsec);
	bad |= json_add_int(j, "vm-clock-sec", (int64_t)(s->vm_clock_nsec / NSEC));
	bad |= json_add_str(j, "id", s->id);
	bad |= json_add_int(j, "vm-state-size", (int64_t)s->vm_state_size);
	if (!bad)
		return j;
	json_free(j);
	return NULL;
}

struct json *report_snapshots_json(const struct snapshot_info *s, size_t n)
{
	struct json *list = json_array();

	for (size_t i = 0; i < n; i++) {
		if (json_push(list, snapshot_json(&s[i]))) {
			json_free(list);
			return NULL;
		}
	}
	return list;
}

struct tree {
	FILE *to;
	int indent;
};

/* The rest of a line that began with a key: a value, or a new level. */
static void print_value(FILE *to, const struct json *v, int indent)
{
	switch (json_type(v)) {
	case JSON_OBJECT:
	case JSON_ARRAY:
		putc('\n', to);
		report_tree(to, v, indent + 1);
		return;
	case JSON_STRING:
		putc(' ', to);
		report_text(to, json_str(v));
		break;
	default:
		putc(' ', to);
		json_print(to, v, 0);
	}
	putc('\n', to);
}

static int print_member(const char *key, struct json *value, void *arg)
{
	const struct tree *t = arg;

	fprintf(t->to, "%*s", 4 * t->indent, "");
	for (; *key; key++)
		putc(*key == '-' ? ' ' : *key, t->to);
	putc(':', t->to);
	print_value(t->to, value, t->indent);
	return 0;
}

void report_tree(FILE *to, const struct json *tree, int indent)
{
	struct tree t = {to, indent};

	for (size_t i = 0; json_type(tree) == JSON_ARRAY && i < json_len(tree); i++) {
		fprintf(to, "%*s[%zu]:", 4 * indent, "", i);
		print_value(to, json_at(tree, i), indent);
	}
	json_members(tree, print_member, &t);
}
