/*
 * Secrets: passphrases and keys that the user defines under a name (--object secret,id=...)
 * and that options of images refer to by it. Bytes, not text.
 *
 * Keys of a definition, as QEMU has them ("Encryption key and secret objects" of its manual):
 *	secret          id; data or file; format (raw, base64); keyid, iv: the data is
 *	                encrypted by AES-256-CBC with another secret, both in base64
 *	secret_keyring  id; serial: of a key in the kernel's keyring
 *
 * Ownership: the table lives until secret_forget_all(); what secret_find() gives is borrowed.
 * Threads: defined before any are started; then read only.
 * Errors: in the peer's words.
 */
#ifndef CRYPTO_SECRET_H
#define CRYPTO_SECRET_H

#include "lib/opt.h"

#define SECRET_FILE_MAX (8u << 20) /* cryptsetup's limit for key files */

struct secret {
	char *id;
	uint8_t *bytes; /* of key_alloc() */
	size_t n;
};

/* type: "secret" or "secret_keyring"; def: its other keys. */
int secret_define(const char *type, const struct opts *def, struct err *err);
/* Takes n bytes under a name. */
int secret_add(const char *id, const uint8_t *bytes, size_t n, struct err *err);
/* "No secret with id 'x'" */
const struct secret *secret_find(const char *id, struct err *err);
/* The bytes of a file; to be given to key_free(). *n <= SECRET_FILE_MAX. */
uint8_t *secret_read_file(const char *path, size_t *n, struct err *err);
uint8_t *secret_read_fd(int fd, const char *name, size_t *n, struct err *err);
void secret_forget_all(void);

#endif
