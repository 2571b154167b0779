/*
 * The part of XML that disk descriptors and property lists use: elements, attributes, text,
 * the five named entities and numeric ones, comments, CDATA; a declaration and a DOCTYPE
 * without a subset are passed over. No entities are defined, nothing is fetched.
 *
 * Limits, since the text may be hostile: 64 levels, 1 << 20 elements, 64 attributes of one
 * element, 64 MiB of text. Bytes from 0x80 on are passed on as they are.
 *
 * Ownership: xml_parse() gives the root; xml_free() drops it with all below. Strings and
 *	elements are borrowed from it.
 * Threads: a tree may be read by many.
 * Errors: with the line where it is.
 */
#ifndef LIB_XML_H
#define LIB_XML_H

#include <stddef.h>

#include "lib/err.h"

struct xml; /* an element */

struct xml *xml_parse(const char *text, size_t n, struct err *err);
void xml_free(struct xml *root);
const char *xml_name(const struct xml *e);
/* The text that is directly in it, without blanks around it; "" if there is none. */
const char *xml_text(const struct xml *e);
/* NULL: it has none. */
const char *xml_attr(const struct xml *e, const char *name);
/* The first child of that name (NULL: of any), and the next sibling; NULL: there is none. A
 * child of NULL is NULL, so that a path of names reads well. */
const struct xml *xml_child(const struct xml *e, const char *name);
const struct xml *xml_next(const struct xml *e, const char *name);

#endif
