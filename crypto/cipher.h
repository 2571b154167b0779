/*
 * Block ciphers, as they are: no modes (crypto/sector.h has those). Nettle does the work;
 * nobody else includes it for that.
 *
 * Names are those of LUKS tools in QEMU: aes-128, aes-192, aes-256, serpent-*, twofish-*,
 * camellia-*, cast5-128.
 *
 * Threads: immutable once made; encrypt and decrypt may be called from many.
 */
#ifndef CRYPTO_CIPHER_H
#define CRYPTO_CIPHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

#define CIPHER_BLOCK_MAX 16

struct cipher;

/* Bytes; 0: there is no such cipher. */
size_t cipher_key_size(const char *name);
size_t cipher_block_size(const char *name);
/* The i-th name; NULL behind the last. */
const char *cipher_name(size_t i);
/* key: cipher_key_size() bytes. */
struct cipher *cipher_new(const char *name, const uint8_t *key, struct err *err);
/* Wipes it; NULL is fine. */
void cipher_free(struct cipher *c);
size_t cipher_block(const struct cipher *c);
/* n bytes, whole blocks, each by itself; to and from may be the same. Long calls are fast. */
void cipher_encrypt(const struct cipher *c, uint8_t *to, const uint8_t *from, size_t n);
void cipher_decrypt(const struct cipher *c, uint8_t *to, const uint8_t *from, size_t n);

#endif
