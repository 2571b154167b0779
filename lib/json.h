/*
 * The wall around json-c: trees of JSON that are built, printed, parsed. A `struct
 * json` is json-c's object under our name. Members keep the order of insertion.
 *
 * Ownership: json_add and json_push take the child over; json_free drops a tree.
 * Errors: building calls return NULL/-1 when memory is short; json_add of a NULL child
 * fails, so errors may be checked once at the end by json_ok-style chaining: each
 * json_add_* returns 0 or -1.
 * Printing is as qemu-img prints: four spaces, "key": value, a final newline is the
 * caller's; bytes outside ASCII as \uXXXX.
 */
#ifndef LIB_JSON_H
#define LIB_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/err.h"

struct json; /* an object, an array or a scalar */

enum json_type {
	JSON_NULL,
	JSON_BOOL,
	JSON_INT,
	JSON_DOUBLE,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT
};

struct json *json_object(void);
struct json *json_array(void);
struct json *json_string(const char *s);
struct json *json_int(int64_t v);
void json_free(struct json *j);

int json_add(struct json *object, const char *key, struct json *child);
int json_add_str(struct json *object, const char *key, const char *value);
int json_add_int(struct json *object, const char *key, int64_t value);
int json_add_bool(struct json *object, const char *key, bool value);
int json_push(struct json *array, struct json *child);

enum json_type json_type(const struct json *j);
struct json *json_get(const struct json *object, const char *key); /* borrowed or NULL */
const char *json_str(const struct json *j);			   /* borrowed; "" if not one */
int64_t json_num(const struct json *j);
bool json_true(const struct json *j);
size_t json_len(const struct json *array_or_object);
struct json *json_at(const struct json *array, size_t i); /* borrowed */
/* Calls fn for each member in order; stops and returns what fn returned if not 0. */
int json_members(const struct json *object,
		 int (*fn)(const char *key, struct json *value, void *arg), void *arg);

/* Text of one document. Depth and size are bounded (32 levels, 1 MiB). */
struct json *json_parse(const char *text, struct err *err);
/* indent: levels to begin with (0). */
void json_print(FILE *to, const struct json *j, int indent);
/* The escapes of JSON for one string, with its quotes. */
void json_print_string(FILE *to, const char *s);

#endif
