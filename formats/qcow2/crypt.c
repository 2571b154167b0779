/*
 * Encrypted images: docs/interop/qcow2.rst, "Full disk encryption header pointer" and "Data
 * encryption". With LUKS the sectors are numbered by where they lie in the file, with the
 * legacy method by where they are on the disk.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "crypto/coded.h"
#include "crypto/keymem.h"
#include "crypto/legacy.h"
#include "formats/qcow2/qcow2.h"
#include "lib/mem.h"
#include "lib/uuid.h"

int qcow2_need_key(struct err *err)
{
	return err_set(err, EACCES, "Parameter 'encrypt.key-secret' is required for cipher");
}

/* ---- open -------------------------------------------------------------------------------- */

static int check_format(const struct qcow2 *q, const struct opts *opts, struct err *err)
{
	const char *is = q->h.crypt == QCOW2_CRYPT_LUKS ? "luks" : "aes";
	const char *said = opts_get(opts, "encrypt.format");

	if (!said || strcmp(said, is) == 0)
		return 0;
	return err_set(err, EINVAL,
		       "Header reported '%s' encryption format but options specify "
		       "'%s'",
		       is, said);
}

int qcow2_crypt_open(struct qcow2 *q, const struct opts *opts, struct err *err)
{
	const char *secret = opts ? opts_get(opts, "encrypt.key-secret") : NULL;
	bool luks = q->h.crypt == QCOW2_CRYPT_LUKS;

	if (q->h.crypt == QCOW2_CRYPT_NONE)
		return 0;
	if (q->flags & (IMAGE_CHECK | IMAGE_NO_KEY))
		return 0;
	if (opts && check_format(q, opts, err))
		return -1;
	if (luks && !q->extra.has_crypt)
		return err_set(err, EINVAL, "The image has no header of its LUKS encryption");
	if (luks && luks1_read(q->image.blk.lower, q->extra.crypt_off, &q->luks, err))
		return -1;
	if (q->flags & IMAGE_NO_IO)
		return 0;
	if (!secret)
		return qcow2_need_key(err);
	if (luks)
		return luks1_open_secret(q->image.blk.lower, q->extra.crypt_off, &q->luks,
					 secret, &q->key, &q->sector, err);
	q->sector = legacy_sector(secret, err);
	return q->sector ? 0 : -1;
}

void qcow2_crypt_close(struct qcow2 *q)
{
	sector_free(q->sector);
	key_free(q->key);
}

/* ---- data -------------------------------------------------------------------------------- */

static uint64_t number(const struct qcow2 *q, uint64_t off, uint64_t host)
{
	return (q->h.crypt == QCOW2_CRYPT_LUKS ? host : off) / SECTOR_SIZE;
}

int qcow2_code(struct blk *blk, void *buf, size_t n, uint64_t off, uint64_t host,
	       struct err *err)
{
	struct qcow2 *q = qcow2_of(blk);

	if (!q->sector)
		return qcow2_need_key(err);
	sector_encrypt(q->sector, number(q, off, host), buf, n);
	return 0;
}

int qcow2_decode(struct qcow2 *q, const struct extent *e, void *to, size_t n, uint64_t off,
		 struct err *err)
{
	uint64_t host = e->host + (off - e->off);
	size_t in = off % SECTOR_SIZE;

	if (!q->sector)
		return qcow2_need_key(err);
	return coded_read(q->sector, e->home, host, number(q, off - in, host - in), in, to, n,
			  err);
}

/* ---- a new image ------------------------------------------------------------------------- */

/* The header's clusters, which read as zeros where nothing is written. */
static int make_room(struct qcow2 *q, uint64_t len, uint64_t *at, struct err *err)
{
	uint64_t n = div_up(len, q->cluster_size), got;
	bool fresh;
	int rc;

	pthread_mutex_lock(&q->lock);
	rc = qcow2_start(q, err);
	if (rc == 0)
		rc = qcow2_alloc(q, n, true, at, &got, &fresh, err);
	if (rc == 0)
		q->file_end = MAX(q->file_end, *at + (n << q->h.cluster_bits));
	pthread_mutex_unlock(&q->lock);
	if (rc)
		return -1;
	return blk_zero(q->image.blk.lower, *at, n << q->h.cluster_bits, 0, err);
}

static int make_luks(struct qcow2 *q, const struct luks1_wish *w, struct err *err)
{
	uint64_t len = luks1_payload_of(sector_key_size(&w->spec)), at;
	struct luks1_spec spec;
	uint8_t uuid[UUID_LEN];

	if (make_room(q, len, &at, err) || uuid_random(uuid, err) ||
	    luks1_make(q->image.blk.lower, at, w, uuid, &q->luks, &q->key, err) ||
	    luks1_translate(&q->luks, &spec, err))
		return -1;
	q->sector = sector_new(&spec.spec, q->key, q->luks.key_bytes, err);
	q->extra.has_crypt = true;
	q->extra.crypt_off = at;
	q->extra.crypt_len = len;
	return q->sector ? 0 : -1;
}

int qcow2_crypt_make(struct qcow2 *q, const struct qcow2_settings *s, struct err *err)
{
	int rc;

	if (s->crypt == QCOW2_CRYPT_LUKS) {
		if (make_luks(q, &s->luks, err))
			return -1;
	} else {
		q->sector = legacy_sector(s->secret, err);
		if (!q->sector)
			return -1;
	}
	q->h.crypt = s->crypt;
	q->image.blk.caps |= BLK_CODES;
	pthread_mutex_lock(&q->lock);
	rc = qcow2_header_rewrite(q, err);
	pthread_mutex_unlock(&q->lock);
	return rc;
}
