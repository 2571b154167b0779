/*
 * The encryption of qcow and of qcow2's method 1, "AES": AES-128 in CBC mode, the sector's
 * number (64 bits, little-endian) as its vector, and the passphrase itself as the key: its
 * first 16 bytes, filled up with zeros (docs/interop/qcow2.rst, "crypt_method"; libqcow's
 * documentation, "Encryption"). It protects little: there is no salt, no derivation, and
 * nothing that tells a wrong passphrase.
 */
#ifndef CRYPTO_LEGACY_H
#define CRYPTO_LEGACY_H

#include "crypto/sector.h"

/* secret: its id. NULL: an error. */
struct sector *legacy_sector(const char *secret, struct err *err);

#endif
