#include "cmd/dd.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/mem.h"
#include "lib/zero.h"

#define CHUNK (1u << 20)

static int write_all(const uint8_t *buf, size_t n, struct err *err)
{
	while (n > 0) {
		ssize_t r = write(STDOUT_FILENO, buf, n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && errno == EAGAIN) {
			struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

			poll(&p, 1, -1);
			continue;
		}
		if (r <= 0)
			return err_sys(err, "error while writing to standard output");
		buf += r;
		n -= (size_t)r;
	}
	return 0;
}

int dd_write_stream(struct blk *from, uint64_t n, uint64_t size, struct err *err)
{
	AUTO_FREE uint8_t *buf = mem_alloc(CHUNK);

	if (!buf)
		return err_nomem(err, CHUNK, "a copy");
	/* beyond the end of the window there are zeros */
	for (uint64_t at = 0; at < size;) {
		size_t part = MIN(size - at, CHUNK), data = at < n ? MIN(n - at, part) : 0;

		if (data && blk_pread(from, buf, data, at, err))
			return err_prefix(err, "error while reading from input image file");
		memset(buf + data, 0, part - data);
		if (write_all(buf, part, err))
			return -1;
		at += part;
	}
	return 0;
}

bool dd_stream_size(uint64_t *size)
{
	struct stat st;
	off_t at = lseek(STDIN_FILENO, 0, SEEK_CUR);

	if (at < 0 || fstat(STDIN_FILENO, &st) || !S_ISREG(st.st_mode))
		return false;
	*size = st.st_size > at ? (uint64_t)(st.st_size - at) : 0;
	return true;
}

/* Up to n bytes; fewer only at the end. */
static int read_all(uint8_t *buf, size_t n, size_t *got, struct err *err)
{
	for (*got = 0; *got < n;) {
		ssize_t r = read(STDIN_FILENO, buf + *got, n - *got);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && errno == EAGAIN) {
			struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};

			poll(&p, 1, -1);
			continue;
		}
		if (r < 0)
			return err_sys(err, "error while reading from standard input");
		if (r == 0)
			break;
		*got += (size_t)r;
	}
	return 0;
}

int dd_read_stream(struct blk *to, uint64_t skip, uint64_t n, bool zero, bool *reached,
		   struct err *err)
{
	AUTO_FREE uint8_t *buf = mem_alloc(CHUNK);
	size_t got, part;

	if (!buf)
		return err_nomem(err, CHUNK, "a copy");
	*reached = true;
	for (; skip > 0; skip -= part) {
		part = MIN(skip, CHUNK);
		if (read_all(buf, part, &got, err))
			return -1;
		*reached = got == part;
		if (!*reached)
			return 0;
	}
	for (uint64_t at = 0; at < n; at += got) {
		part = MIN(n - at, CHUNK);
		if (read_all(buf, part, &got, err))
			return -1;
		if (!(zero && zero_is(buf, got)) && blk_pwrite(to, buf, got, at, 0, err))
			return err_prefix(err, "error while writing to output image file");
		if (got < part)
			break;
	}
	return 0;
}
