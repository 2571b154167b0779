#include "lib/xml.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/utf16.h"

#define XML_LEVELS_MAX	 64
#define XML_ELEMENTS_MAX (1 << 20)
#define XML_BYTES_MAX	 (64 << 20)
#define XML_ATTRS_MAX	 64 /* of one element: each is compared with the others */

struct attr {
	struct attr *next;
	const char *value; /* after the name */
	char name[];
};

struct xml {
	struct xml *parent, *next, *child, *last;
	struct attr *attr;
	char *text;
	size_t len, room;
	char name[];
};

struct parser {
	const char *start, *p, *end;
	struct xml *root, *top; /* top: the element that is open */
	unsigned level, elements;
	struct err *err;
};

#define FAIL(ps, ...)                                                                          \
	(err_set((ps)->err, EINVAL, __VA_ARGS__),                                              \
	 err_prefix((ps)->err, "XML, line %zu", line_of(ps)))

static size_t line_of(const struct parser *ps)
{
	size_t n = 1;

	for (const char *p = ps->start; p < ps->p; p++)
		n += *p == '\n';
	return n;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_name_start(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' ||
	       (unsigned char)c >= 0x80;
}

static bool is_name(char c)
{
	return is_name_start(c) || (c >= '0' && c <= '9') || c == '-' || c == '.';
}

static bool at(const struct parser *ps, const char *word)
{
	size_t n = strlen(word);

	return (size_t)(ps->end - ps->p) >= n && memcmp(ps->p, word, n) == 0;
}

static bool skip_blanks(struct parser *ps)
{
	const char *from = ps->p;

	while (ps->p < ps->end && is_blank(*ps->p))
		ps->p++;
	return ps->p > from;
}

/* Moves past `word`, wherever it comes; *n: what lies before. */
static int skip_past(struct parser *ps, const char *word, const char *what, size_t *n)
{
	const char *found = memmem(ps->p, (size_t)(ps->end - ps->p), word, strlen(word));

	if (!found)
		return FAIL(ps, "%s has no end", what);
	*n = (size_t)(found - ps->p);
	ps->p = found + strlen(word);
	return 0;
}

/* The length of the name at p; 0 with an error. */
static size_t name_here(struct parser *ps)
{
	const char *p = ps->p;

	if (p == ps->end || !is_name_start(*p)) {
		FAIL(ps, "a name is expected");
		return 0;
	}
	while (p < ps->end && is_name(*p))
		p++;
	return (size_t)(p - ps->p);
}

/* The digits of "&#...;" as a character that XML allows. */
static int number(struct parser *ps, const char *p, const char *end, uint32_t *out)
{
	unsigned base = p < end && *p == 'x' ? 16 : 10;
	uint32_t v = 0;

	if (base == 16)
		p++;
	if (p == end)
		return FAIL(ps, "an empty character reference");
	for (; p < end; p++) {
		unsigned d = *p >= '0' && *p <= '9'   ? (unsigned)(*p - '0')
			     : *p >= 'a' && *p <= 'f' ? (unsigned)(*p - 'a' + 10)
			     : *p >= 'A' && *p <= 'F' ? (unsigned)(*p - 'A' + 10)
						      : 99;

		if (d >= base)
			return FAIL(ps, "a bad character reference");
		v = v * base + d;
		if (v > 0x10ffff)
			return FAIL(ps, "a character reference beyond 0x10ffff");
	}
	if ((v < 0x20 && v != '\t' && v != '\n' && v != '\r') || (v >= 0xd800 && v < 0xe000) ||
	    v == 0xfffe || v == 0xffff)
		return FAIL(ps, "a reference to the character %#x, which XML has not",
			    (unsigned)v);
	*out = v;
	return 0;
}

/* The reference at p, which is '&': moves past it, writes what it is. */
static int reference(struct parser *ps, char **to)
{
	static const struct {
		const char *name;
		char c;
	} known[] = {{"lt", '<'}, {"gt", '>'}, {"amp", '&'}, {"quot", '"'}, {"apos", '\''}};
	const char *from = ps->p + 1;
	size_t most = MIN((size_t)(ps->end - from), (size_t)12);
	const char *end = memchr(from, ';', most);
	uint32_t c = 0;

	if (!end)
		return FAIL(ps, "'&' without a reference");
	if (from < end && *from == '#') {
		if (number(ps, from + 1, end, &c) < 0)
			return -1;
		ps->p = end + 1;
		*to = utf8_put(*to, c);
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (strlen(known[i].name) == (size_t)(end - from) &&
		    memcmp(known[i].name, from, (size_t)(end - from)) == 0) {
			ps->p = end + 1;
			*(*to)++ = known[i].c;
			return 0;
		}
	}
	return FAIL(ps, "an entity '&%.*s;' that is not defined", (int)(end - from), from);
}

/* Decodes [p, end): never longer than it was. raw: CDATA, without references. */
static int decode(struct parser *ps, const char *end, bool raw, bool attr, char **to)
{
	const char *whole = ps->end;
	int r = 0;

	ps->end = end; /* no reference reaches beyond */
	while (r == 0 && ps->p < end) {
		char c = *ps->p;

		if (c == '&' && !raw) {
			r = reference(ps, to);
			continue;
		}
		if (c == '<' && !raw)
			r = FAIL(ps, "'<' in the value of an attribute");
		else if ((unsigned char)c < 0x20 && !is_blank(c))
			r = FAIL(ps, "a byte %#x, which XML has not", (unsigned)c);
		ps->p++;
		if (c == '\r' && ps->p < end && *ps->p == '\n')
			continue;
		if (is_blank(c) && (attr || c == '\r'))
			c = attr ? ' ' : '\n';
		*(*to)++ = c;
	}
	ps->end = whole;
	return r;
}

/* Text of the open element: the n bytes at p. */
static int add_text(struct parser *ps, size_t n, bool raw)
{
	const char *end = ps->p + n;
	struct xml *e = ps->top;
	char *to;

	if (e->len == 0 && !raw)
		skip_blanks(ps);
	if (ps->p >= end) /* only blanks, which '<' ends */
		return 0;
	n = (size_t)(end - ps->p);
	if (e->room - e->len <= n) {
		size_t room = MAX(e->len + n + 1, 2 * e->room);
		char *text = realloc(e->text, room);

		if (!text)
			return err_nomem(ps->err, room, "the text of an XML element");
		e->text = text;
		e->room = room;
	}
	to = e->text + e->len;
	if (decode(ps, end, raw, false, &to) < 0)
		return -1;
	e->len = (size_t)(to - e->text);
	*to = '\0';
	return 0;
}

/* name="value" at p. */
static int add_attr(struct parser *ps, struct xml *e, unsigned count)
{
	const char *name = ps->p, *end;
	size_t n = name_here(ps);
	struct attr *a;
	char quote, *to;

	if (n == 0)
		return -1;
	if (count == XML_ATTRS_MAX)
		return FAIL(ps, "more than %d attributes", XML_ATTRS_MAX);
	ps->p += n;
	skip_blanks(ps);
	if (!at(ps, "="))
		return FAIL(ps, "an attribute without a value");
	ps->p++;
	skip_blanks(ps);
	quote = ps->p < ps->end ? *ps->p : '\0';
	if (quote != '"' && quote != '\'')
		return FAIL(ps, "the value of an attribute is not in quotes");
	ps->p++;
	end = memchr(ps->p, quote, (size_t)(ps->end - ps->p));
	if (!end)
		return FAIL(ps, "the value of an attribute has no end");
	a = malloc(sizeof(*a) + n + 1 + (size_t)(end - ps->p) + 1);
	if (!a)
		return err_nomem(ps->err, n + (size_t)(end - ps->p), "an XML attribute");
	a->next = e->attr;
	e->attr = a; /* owned from here on */
	memcpy(a->name, name, n);
	a->name[n] = '\0';
	a->value = to = a->name + n + 1;
	if (decode(ps, end, false, true, &to) < 0)
		return -1;
	*to = '\0';
	ps->p = end + 1;
	for (struct attr *b = a->next; b; b = b->next)
		if (strcmp(a->name, b->name) == 0)
			return FAIL(ps, "an attribute that is there twice");
	return 0;
}

static void append(struct parser *ps, struct xml *e)
{
	e->parent = ps->top;
	if (!ps->top)
		ps->root = e;
	else if (ps->top->last)
		ps->top->last->next = e;
	else
		ps->top->child = e;
	if (ps->top)
		ps->top->last = e;
	ps->top = e;
}

static void close_top(struct parser *ps)
{
	struct xml *e = ps->top;

	while (e->len > 0 && is_blank(e->text[e->len - 1]))
		e->text[--e->len] = '\0';
	ps->level--;
	ps->top = e->parent;
}

/* After '<'. */
static int start_tag(struct parser *ps)
{
	size_t n = name_here(ps);
	unsigned attrs = 0;
	struct xml *e;

	if (n == 0)
		return -1;
	if (ps->level == XML_LEVELS_MAX)
		return FAIL(ps, "more than %d levels of elements", XML_LEVELS_MAX);
	if (ps->elements == XML_ELEMENTS_MAX)
		return FAIL(ps, "more than %d elements", XML_ELEMENTS_MAX);
	e = calloc(1, sizeof(*e) + n + 1);
	if (!e)
		return err_nomem(ps->err, sizeof(*e) + n, "an XML element");
	memcpy(e->name, ps->p, n);
	append(ps, e);
	ps->level++;
	ps->elements++;
	ps->p += n;
	for (;;) {
		bool apart = skip_blanks(ps);

		if (at(ps, ">")) {
			ps->p++;
			return 0;
		}
		if (at(ps, "/>")) {
			ps->p += 2;
			close_top(ps);
			return 0;
		}
		if (ps->p == ps->end)
			return FAIL(ps, "the tag <%.60s has no end", e->name);
		if (!apart)
			return FAIL(ps, "a stray byte in the tag <%.60s", e->name);
		if (add_attr(ps, e, attrs++) < 0)
			return -1;
	}
}

/* After "</". */
static int end_tag(struct parser *ps)
{
	const char *name = ps->p;
	size_t n = name_here(ps);

	if (n == 0)
		return -1;
	if (!ps->top || strlen(ps->top->name) != n || memcmp(ps->top->name, name, n) != 0)
		return FAIL(ps, "</%.*s> ends nothing that is open", (int)MIN(n, (size_t)60),
			    name);
	ps->p += n;
	skip_blanks(ps);
	if (!at(ps, ">"))
		return FAIL(ps, "a stray byte in the tag </%.60s", ps->top->name);
	ps->p++;
	close_top(ps);
	return 0;
}

/* A subset could define entities: there is none that we need. */
static int doctype(struct parser *ps)
{
	char quote = '\0';

	if (ps->root)
		return FAIL(ps, "a DOCTYPE after the first element");
	for (ps->p += strlen("<!DOCTYPE"); ps->p < ps->end; ps->p++) {
		char c = *ps->p;

		if (quote) {
			if (c == quote)
				quote = '\0';
		} else if (c == '"' || c == '\'') {
			quote = c;
		} else if (c == '[' || c == '<') {
			return FAIL(ps, "a DOCTYPE with definitions of its own");
		} else if (c == '>') {
			ps->p++;
			return 0;
		}
	}
	return FAIL(ps, "the DOCTYPE has no end");
}

/* What begins with '<'. */
static int markup(struct parser *ps)
{
	const char *from;
	size_t n;

	if (at(ps, "<!--")) {
		ps->p += 4;
		return skip_past(ps, "-->", "a comment", &n);
	}
	if (at(ps, "<?")) {
		ps->p += 2;
		return skip_past(ps, "?>", "a declaration", &n);
	}
	if (at(ps, "<!DOCTYPE"))
		return doctype(ps);
	if (at(ps, "<![CDATA[") && ps->top) {
		from = ps->p += 9;
		if (skip_past(ps, "]]>", "a CDATA section", &n) < 0)
			return -1;
		ps->p = from;
		if (add_text(ps, n, true) < 0)
			return -1;
		ps->p = from + n + 3;
		return 0;
	}
	if (at(ps, "</")) {
		ps->p += 2;
		return end_tag(ps);
	}
	if (!ps->top && ps->root)
		return FAIL(ps, "more after the last element");
	ps->p++;
	return start_tag(ps);
}

static int step(struct parser *ps)
{
	const char *next;

	if (*ps->p == '<')
		return markup(ps);
	next = memchr(ps->p, '<', (size_t)(ps->end - ps->p));
	next = next ? next : ps->end;
	if (ps->top)
		return add_text(ps, (size_t)(next - ps->p), false);
	if (!skip_blanks(ps))
		return FAIL(ps, "text outside of the elements");
	return 0;
}

struct xml *xml_parse(const char *text, size_t n, struct err *err)
{
	struct parser ps = {.start = text, .p = text, .end = text + n, .err = err};

	if (n > XML_BYTES_MAX) {
		err_set(err, EFBIG, "XML of %zu bytes: at most %d are read", n, XML_BYTES_MAX);
		return NULL;
	}
	if (at(&ps, "\xef\xbb\xbf"))
		ps.p += 3;
	while (ps.p < ps.end)
		if (step(&ps) < 0)
			goto fail;
	if (ps.top) {
		FAIL(&ps, "<%.60s> has no end", ps.top->name);
		goto fail;
	}
	if (!ps.root)
		FAIL(&ps, "there is no element");
	return ps.root;
fail:
	xml_free(ps.root);
	return NULL;
}

/* Down to a leaf, free it, go on with what it was a child of: no level is a call. */
void xml_free(struct xml *e)
{
	while (e) {
		struct xml *parent = e->parent;

		if (e->child) {
			struct xml *child = e->child;

			e->child = child->next;
			e = child;
			continue;
		}
		while (e->attr) {
			struct attr *a = e->attr;

			e->attr = a->next;
			free(a);
		}
		free(e->text);
		free(e);
		e = parent;
	}
}

const char *xml_name(const struct xml *e)
{
	return e->name;
}

const char *xml_text(const struct xml *e)
{
	return e->text ? e->text : "";
}

const char *xml_attr(const struct xml *e, const char *name)
{
	for (const struct attr *a = e->attr; a; a = a->next)
		if (strcmp(a->name, name) == 0)
			return a->value;
	return NULL;
}

static const struct xml *named(const struct xml *e, const char *name)
{
	while (e && name && strcmp(e->name, name) != 0)
		e = e->next;
	return e;
}

const struct xml *xml_child(const struct xml *e, const char *name)
{
	return e ? named(e->child, name) : NULL;
}

const struct xml *xml_next(const struct xml *e, const char *name)
{
	return named(e->next, name);
}
