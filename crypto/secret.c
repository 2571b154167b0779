#include "crypto/secret.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "crypto/cipher.h"
#include "crypto/keymem.h"
#include "lib/array.h"
#include "lib/base64.h"
#include "lib/mem.h"

#define WRAP_CIPHER "aes-256"
#define WRAP_KEY    32u
#define WRAP_BLOCK  16u

static struct secret *table;
static size_t count, room;

/* ---- the table -------------------------------------------------------------------------- */

static struct secret *find(const char *id)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(table[i].id, id) == 0)
			return &table[i];
	return NULL;
}

const struct secret *secret_find(const char *id, struct err *err)
{
	const struct secret *s = find(id);

	if (!s)
		err_set(err, ENOENT, "No secret with id '%s'", id);
	return s;
}

static int check_id(const char *id, struct err *err)
{
	const char *p = id;

	if (find(id))
		return err_set(err, EEXIST,
			       "attempt to add duplicate property '%s' to object (type "
			       "'container')",
			       id);
	if (isalpha((unsigned char)*p))
		for (p++; isalnum((unsigned char)*p) || (*p && strchr("-._", *p)); p++)
			;
	if (p > id && !*p)
		return 0;
	err_set(err, EINVAL, "Parameter 'id' expects an identifier");
	return err_hint(err, "Identifiers consist of letters, digits, '-', '.', '_', "
			     "starting with a letter.");
}

/* Takes `bytes` over on success. */
static int add(const char *id, uint8_t *bytes, size_t n, struct err *err)
{
	struct secret s = {.bytes = bytes, .n = n};

	if (array_room(&table, &room, count, sizeof(*table), "secrets", err))
		return -1;
	s.id = strdup(id);
	if (!s.id)
		return err_nomem(err, strlen(id) + 1, "a secret");
	table[count++] = s;
	return 0;
}

static uint8_t *key_copy(const void *bytes, size_t n, struct err *err)
{
	uint8_t *p = key_alloc(n + 1, err);

	if (p)
		memcpy(p, bytes, n);
	return p;
}

int secret_add(const char *id, const uint8_t *bytes, size_t n, struct err *err)
{
	uint8_t *own;

	if (check_id(id, err))
		return -1;
	own = key_copy(bytes, n, err);
	if (!own)
		return -1;
	if (add(id, own, n, err) == 0)
		return 0;
	key_free(own);
	return -1;
}

void secret_forget_all(void)
{
	for (size_t i = 0; i < count; i++) {
		key_free(table[i].bytes);
		free(table[i].id);
	}
	free(table);
	table = NULL;
	count = room = 0;
}

/* ---- where the bytes come from ---------------------------------------------------------- */

uint8_t *secret_read_fd(int fd, const char *name, size_t *n, struct err *err)
{
	uint8_t *buf = key_alloc(SECRET_FILE_MAX + 1, err);

	*n = 0;
	while (buf && *n <= SECRET_FILE_MAX) {
		ssize_t got = read(fd, buf + *n, SECRET_FILE_MAX + 1 - *n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got == 0)
			return buf;
		if (got < 0) {
			err_sys(err, "Unable to read %s", name);
			key_free(buf);
			return NULL;
		}
		*n += (size_t)got;
	}
	if (buf)
		err_set(err, EFBIG, "Unable to read %s: it has more than %u bytes", name,
			SECRET_FILE_MAX);
	key_free(buf);
	return NULL;
}

uint8_t *secret_read_file(const char *path, size_t *n, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t *bytes;

	if (fd < 0) {
		err_set(err, errno, "Unable to read %s: Failed to open file “%s”: %s", path,
			path, strerror(errno));
		return NULL;
	}
	bytes = secret_read_fd(fd, path, n, err);
	close(fd);
	return bytes;
}

static uint8_t *from_keyring(const struct opts *def, size_t *n, struct err *err)
{
	uint64_t serial = 0;
	uint8_t *bytes;
	long got;

	if (!opts_has(def, "serial")) {
		err_set(err, EINVAL, "Parameter 'serial' is missing");
		return NULL;
	}
	if (opts_num(def, "serial", INT32_MAX, &serial, err))
		return NULL;
	bytes = key_alloc(SECRET_FILE_MAX, err);
	if (!bytes)
		return NULL;
	got = syscall(SYS_keyctl, KEYCTL_READ, (int32_t)serial, bytes, SECRET_FILE_MAX);
	if (got >= 0 && (size_t)got <= SECRET_FILE_MAX) {
		*n = (size_t)got;
		return bytes;
	}
	err_set(err, got < 0 ? errno : EFBIG, "Unable to read serial key %08x: %s",
		(unsigned)serial, strerror(got < 0 ? errno : EFBIG));
	key_free(bytes);
	return NULL;
}

static uint8_t *from_text(const struct opts *def, size_t *n, struct err *err)
{
	const char *file = opts_get(def, "file"), *data = opts_get(def, "data");

	if (file && data) {
		err_set(err, EINVAL, "'file' and 'data' are mutually exclusive");
		return NULL;
	}
	if (!file && !data) {
		err_set(err, EINVAL, "Either 'file' or 'data' must be provided");
		return NULL;
	}
	if (file)
		return secret_read_file(file, n, err);
	*n = strlen(data);
	return key_copy(data, *n, err);
}

/* ---- encodings -------------------------------------------------------------------------- */

/* Frees `text`. */
static uint8_t *unbase64(uint8_t *text, size_t *n, struct err *err)
{
	uint8_t *out = NULL, *own = NULL;
	size_t len;

	if (base64_decode((char *)text, *n, &out, &len, err) == 0) {
		own = key_copy(out, len, err);
		explicit_bzero(out, len);
		free(out);
		*n = len;
	}
	key_free(text);
	return own;
}

static void cbc_decrypt(const struct cipher *c, const uint8_t *iv, uint8_t *buf, size_t n)
{
	uint8_t before[WRAP_BLOCK], now[WRAP_BLOCK];

	memcpy(before, iv, WRAP_BLOCK);
	for (size_t at = 0; at < n; at += WRAP_BLOCK) {
		memcpy(now, buf + at, WRAP_BLOCK);
		cipher_decrypt(c, buf + at, buf + at, WRAP_BLOCK);
		for (size_t i = 0; i < WRAP_BLOCK; i++)
			buf[at + i] ^= before[i];
		memcpy(before, now, WRAP_BLOCK);
	}
}

static int unpad(const uint8_t *buf, size_t *n, struct err *err)
{
	unsigned pad = *n ? buf[*n - 1] : 0;

	if (pad == 0 || pad > WRAP_BLOCK || pad > *n)
		return err_set(err, EINVAL,
			       "Incorrect number of padding bytes (%u) found on "
			       "decrypted data",
			       pad);
	*n -= pad;
	return 0;
}

static int decrypt_with(const struct secret *key, const uint8_t *iv, uint8_t *buf, size_t *n,
			struct err *err)
{
	struct cipher *c;

	if (key->n != WRAP_KEY)
		return err_set(err, EINVAL, "Key should be %u bytes in length", WRAP_KEY);
	if (*n % WRAP_BLOCK != 0)
		return err_set(err, EINVAL, "Length %zu must be a multiple of block size %u",
			       *n, WRAP_BLOCK);
	c = cipher_new(WRAP_CIPHER, key->bytes, err);
	if (!c)
		return -1;
	cbc_decrypt(c, iv, buf, *n);
	cipher_free(c);
	return unpad(buf, n, err);
}

static int unwrap(const struct opts *def, uint8_t *buf, size_t *n, struct err *err)
{
	const char *keyid = opts_get(def, "keyid"), *text = opts_get(def, "iv");
	const struct secret *key = keyid ? secret_find(keyid, err) : NULL;
	uint8_t *iv;
	size_t len;
	int rc;

	if (!keyid)
		return 0;
	if (!key)
		return -1;
	if (!text)
		return err_set(err, EINVAL, "IV is required to decrypt secret");
	if (base64_decode(text, strlen(text), &iv, &len, err))
		return -1;
	if (len != WRAP_BLOCK)
		rc = err_set(err, EINVAL, "IV should be %u bytes in length not %zu", WRAP_BLOCK,
			     len);
	else
		rc = decrypt_with(key, iv, buf, n, err);
	free(iv);
	return rc;
}

/* ---- definitions ------------------------------------------------------------------------ */

static const struct opt keys[] = {
	{.name = "id", .type = OPT_STR},     {.name = "data", .type = OPT_STR},
	{.name = "file", .type = OPT_STR},   {.name = "format", .type = OPT_STR},
	{.name = "keyid", .type = OPT_STR},  {.name = "iv", .type = OPT_STR},
	{.name = "serial", .type = OPT_NUM}, {0},
};

static int check_keys(const char *type, const struct opts *def, bool *base64, struct err *err)
{
	bool ring = strcmp(type, "secret_keyring") == 0;
	const char *format = opts_get(def, "format");

	for (size_t i = 0; i < opts_count(def); i++) {
		const char *key = opts_key(def, i);

		if (!opts_row(keys, key) || strcmp(key, ring ? "data" : "serial") == 0 ||
		    (ring && strcmp(key, "file") == 0))
			return err_set(err, EINVAL, "Parameter '%s' is unexpected", key);
	}
	if (!opts_has(def, "id"))
		return err_set(err, EINVAL, "Parameter 'id' is missing");
	if (format && strcmp(format, "raw") != 0 && strcmp(format, "base64") != 0)
		return err_set(err, EINVAL, "Parameter 'format' does not accept value '%s'",
			       format);
	*base64 = format && strcmp(format, "base64") == 0;
	return check_id(opts_get(def, "id"), err);
}

int secret_define(const char *type, const struct opts *def, struct err *err)
{
	bool base64 = false;
	uint8_t *bytes;
	size_t n = 0;

	if (check_keys(type, def, &base64, err))
		return -1;
	bytes = strcmp(type, "secret_keyring") == 0 ? from_keyring(def, &n, err)
						    : from_text(def, &n, err);
	if (bytes && base64)
		bytes = unbase64(bytes, &n, err);
	if (!bytes)
		return -1;
	if (unwrap(def, bytes, &n, err) == 0 && add(opts_get(def, "id"), bytes, n, err) == 0)
		return 0;
	key_free(bytes);
	return -1;
}
