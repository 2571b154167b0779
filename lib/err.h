/*
 * Errors as values.
 *
 * A function that can fail takes a `struct err *` last (never NULL) and returns
 * 0/-1 or pointer/NULL. The caller owns the struct; it may be on the stack and needs
 * no initialisation, since it is read only after a failure. Only cmd/ prints.
 *
 * The text names the file, what is wrong with it, the offset or value and, where
 * there is one, what to do next. It has no final newline; a hint may follow the
 * first line after '\n'.
 */
#ifndef LIB_ERR_H
#define LIB_ERR_H

#include <stdbool.h>

/* Two of the longest backing names (1023) do not fit: they are cut. */
#define ERR_TEXT_MAX 1400

struct err {
	int num; /* an errno value */
	char text[ERR_TEXT_MAX];
};

/* Both return -1, so that `return err_set(...)` reads well. */
int err_set(struct err *err, int num, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* As err_set with errno, followed by ": " and strerror(errno). */
int err_sys(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Puts "<fmt>: " before the text that is there. Returns -1. */
int err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Appends "\n<fmt>": what to do next. Returns -1. */
int err_hint(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/*
 * What is told apart from errors, because it happened once and may be behind many of them.
 * The program may say at its start who tells it; otherwise err_notice returns false and it
 * belongs into the error. Texts have no final newline.
 */
void err_notice_to(void (*tell)(const char *text));
bool err_notice(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
bool err_has_notice(void);
/* What went another way than the user may think, and is no error: said at once, by whom the
 * program named at its start; not at all if it named nobody. Threads: any. */
void err_warn_to(void (*tell)(const char *text));
void err_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* "Cannot allocate N bytes for WHAT", ENOMEM. Returns -1. */
int err_nomem(struct err *err, unsigned long long bytes, const char *what);

#endif
