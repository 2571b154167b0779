#include "tests/lib/io/scratch.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/io/file.h"

static void sizes_are_exact(void **state)
{
	static const uint64_t size[] = {0, 1, 511, 512, 1000, 5ull << 30, (3ull << 40) + 7};

	for (size_t i = 0; i < ARRAY_LEN(size); i++) {
		struct blk *b;

		make_file("a", size[i]);
		b = open_file("a", 0);
		assert_non_null(b);
		assert_int_equal(blk_size(b), size[i]);
		assert_int_equal(!!(b->caps & BLK_ZERO_INIT), size[i] == 0);
		assert_false(b->caps & (BLK_CAN_WRITE | BLK_CAN_GROW));
		assert_true(b->caps & BLK_IS_HOST);
		assert_true(io_is_file(b));
		assert_int_equal(b->align, 1);
		close_ok(b);
	}
}

static void reads_past_the_end(void **state)
{
	char buf[16];
	struct blk *b;

	put_file("a", "hello", 5);
	b = open_file("a", 0);
	memset(buf, 'x', sizeof(buf));
	assert_int_equal(blk_pread(b, buf, sizeof(buf), 2, &err), 0);
	assert_memory_equal(buf, "llo\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	assert_int_equal(blk_pread(b, buf, sizeof(buf), UINT64_MAX - 3, &err), 0);
	assert_int_equal(buf[0], 0);
	/* cut by somebody else while it is open */
	assert_int_equal(truncate("a", 1), 0);
	memset(buf, 'x', sizeof(buf));
	assert_int_equal(blk_pread(b, buf, 5, 0, &err), 0);
	assert_memory_equal(buf, "h\0\0\0\0", 5);
	close_ok(b);
}

static void writes_and_grows(void **state)
{
	struct blk *b;

	make_file("a", 0);
	b = open_file("a", IO_WRITE);
	assert_true(b->caps & BLK_CAN_GROW);
	assert_int_equal(blk_pwrite(b, "abc", 3, 1000, 0, &err), 0);
	assert_int_equal(blk_size(b), 1003);
	assert_int_equal(blk_pwrite(b, "XY", 2, 1000, BLK_FUA, &err), 0);
	assert_int_equal(blk_size(b), 1003);
	assert_int_equal(blk_pwrite(b, "far", 3, (1ull << 42) + 1, 0, &err), 0);
	assert_int_equal(blk_flush(b, &err), 0);
	close_ok(b);
	assert_int_equal(size_of("a"), (1ull << 42) + 4);
	check_bytes("a", 999, "\0XYc", 4);
	check_bytes("a", (1ull << 42) + 1, "far", 3);
}

static void readers_do_not_write(void **state)
{
	struct blk *b;

	make_file("a", 10);
	b = open_file("a", 0);
	assert_int_equal(blk_pwrite(b, "a", 1, 0, 0, &err), -1);
	assert_int_equal(err.num, EBADF);
	assert_int_equal(blk_resize(b, 5, PREALLOC_OFF, &err), -1);
	assert_int_equal(blk_flush(b, &err), 0);
	close_ok(b);
}

/* How long files may be, whatever the file system. */
static void limit_files(rlim_t to)
{
	struct rlimit l;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &l), 0);
	l.rlim_cur = to;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &l), 0);
}

static void failed_writes_say_where(void **state)
{
	struct blk *b;

	make_file("a", 10);
	b = open_file("a", IO_WRITE);
	limit_files(4096);
	assert_int_equal(blk_pwrite(b, "a", 1, 5000, 0, &err), -1);
	assert_int_equal(err.num, EFBIG);
	assert_string_equal(err.text, "Could not write 1 bytes at offset 5000 of 'a': "
				      "File too large");
	assert_int_equal(blk_size(b), 10);
	/* a part of it was written: the file is that long now */
	assert_int_equal(blk_pwrite(b, "ab", 2, 4095, 0, &err), -1);
	assert_int_equal(blk_size(b), 4096);
	limit_files(RLIM_INFINITY);
	close_ok(b);
}

/* The kernel tells of lost writes once. We do not forget. */
static void a_failed_sync_stays(void **state)
{
	struct blk *b;

	assert_int_equal(io_file_new("a", 0, &b, &err), 0);
	assert_int_equal(blk_flush(b, &err), 0);
	((struct file *)b)->flush_error = EIO;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(blk_flush(b, &err), -1);
		assert_int_equal(err.num, EIO);
		assert_string_equal(err.text, "Could not sync 'a': Input/output error");
	}
	assert_int_equal(io_file_publish(b, &err), -1);
	close_ok(b);
	assert_int_equal(access("a", F_OK), -1);
}

static void refused(const struct protocol *p, const char *name, unsigned flags,
		    const char *more, const char *text)
{
	assert_null(scratch_open(p, name, flags, more));
	assert_string_equal(err.text, text);
	assert_int_not_equal(err.num, 0);
}

static void what_is_no_file(void **state)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "sock"};
	int s = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_int_equal(bind(s, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(mkdir("d", 0755), 0);
	assert_int_equal(mkfifo("ff", 0644), 0);
	assert_int_equal(symlink("loop", "loop"), 0);
	make_file("f", 1);
	refused(&io_file, "none", 0, NULL, "Could not open 'none': No such file or directory");
	refused(&io_file, "f/x", 0, NULL, "Could not open 'f/x': Not a directory");
	refused(&io_file, "loop", 0, NULL,
		"Could not open 'loop': Too many levels of symbolic links");
	refused(&io_file, NULL, 0, NULL, "The 'file' block driver requires a file name");
	refused(&io_file, "", 0, NULL, "The 'file' block driver requires a file name");
	for (unsigned flags = 0; flags <= IO_WRITE; flags++) {
		refused(&io_file, "d", flags, NULL,
			"'file' driver requires 'd' to be a regular file");
		refused(&io_file, "ff", flags, NULL,
			"'file' driver requires 'ff' to be a regular file, not a FIFO");
		refused(&io_file, "sock", flags, NULL,
			"'file' driver requires 'sock' to be a regular file, not a socket");
		refused(&io_host_device, "f", flags, NULL,
			"'host_device' driver requires 'f' to be either a character or "
			"block device");
	}
	close(s);
}

static void terminals_are_refused(void **state)
{
	int tty = posix_openpt(O_RDWR | O_NOCTTY);
	const char *name;
	char text[200];

	if (tty < 0 || unlockpt(tty) || !(name = ptsname(tty)))
		skip();
	snprintf(text, sizeof(text),
		 "'file' driver requires '%s' to be a regular file, not a terminal", name);
	refused(&io_file, name, 0, NULL, text);
	close(tty);
}

static int leased = -1;

static void give_up_lease(int sig)
{
	int num = errno;

	fcntl(leased, F_SETLEASE, F_UNLCK);
	errno = num;
}

/* A file server that has the file leased gives it up when asked, which takes a moment. */
static void leases_are_waited_for(void **state)
{
	struct blk *b;

	make_file("a", 1);
	signal(SIGIO, give_up_lease);
	leased = open("a", O_RDONLY);
	if (fcntl(leased, F_SETLEASE, F_RDLCK))
		skip();
	b = open_file("a", IO_WRITE);
	assert_non_null(b);
	close_ok(b);
	close(leased);
	signal(SIGIO, SIG_DFL);
}

static void options_are_checked(void **state)
{
	struct blk *b;

	make_file("f", 1);
	refused(&io_file, "f", 0, "locking=x", "invalid parameter value: x");
	refused(&io_file, "f", 0, "aio=x", "invalid parameter value: x");
	refused(&io_file, "f", 0, "aio=native",
		"aio=native was specified, but it requires cache.direct=on, "
		"which was not specified.");
	b = scratch_open(&io_file, "f", 0, "aio=io_uring,locking=off");
	assert_non_null(b);
	close_ok(b);
}

static void devices_without_contents(void **state)
{
	static const char *const name[] = {"/dev/null", "/dev/zero"};
	uint64_t base;
	char c = 'x';

	for (size_t i = 0; i < 2; i++) {
		struct blk *b = scratch_open(&io_host_device, name[i], IO_WRITE, NULL);

		assert_non_null(b);
		assert_int_equal(blk_size(b), 0);
		assert_string_equal(b->ops->name, "host_device");
		assert_int_equal(blk_disk_usage(b), 0);
		assert_int_equal(blk_pread(b, &c, 1, 0, &err), 0);
		assert_int_equal(c, 0);
		assert_int_equal(blk_pwrite(b, "a", 1, 0, 0, &err), -1);
		assert_int_equal(blk_flush(b, &err), 0);
		assert_int_equal(blk_fd(b, &base), -1);
		assert_int_equal(blk_resize(b, 5, PREALLOC_OFF, &err), -1);
		assert_string_equal(err.text, "Cannot resize device files");
		close_ok(b);
		b = open_file(name[i], 0);
		assert_non_null(b);
		close_ok(b);
	}
}

static void the_kernel_may_copy(void **state)
{
	uint64_t base = 7;
	struct blk *b;
	char c;

	put_file("a", "abc", 3);
	b = open_file("a", 0);
	assert_int_equal(pread(blk_fd(b, &base), &c, 1, 1), 1);
	assert_int_equal(c, 'b');
	assert_int_equal(base, 0);
	assert_int_equal(blk_disk_usage(b) % 512, 0);
	close_ok(b);
}

/* Every thread appends at places of its own; the holes in between are extended too. */
#define THREADS 4
#define ROUNDS	200
#define PIECE	100

struct appender {
	struct blk *b;
	unsigned id;
	bool failed;
};

static void *append(void *arg)
{
	struct appender *a = arg;
	char buf[PIECE];
	struct err e;

	memset(buf, 'a' + (int)a->id, sizeof(buf));
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t off = (uint64_t)(i * THREADS + a->id) * PIECE;

		if (a->id == 0 ? blk_zero(a->b, off, PIECE, BLK_UNMAP, &e)
			       : blk_pwrite(a->b, buf, PIECE, off, 0, &e))
			a->failed = true;
	}
	return NULL;
}

static void grown_by_many(void **state)
{
	static const unsigned mode[] = {IO_WRITE | IO_UNMAP, IO_WRITE | IO_UNMAP | IO_DIRECT};
	pthread_t thread[THREADS];
	struct appender a[THREADS];
	char want[PIECE];

	for (size_t m = 0; m < ARRAY_LEN(mode); m++) {
		struct blk *b;

		make_file("a", 0);
		b = open_file("a", mode[m]);
		if (!b && err.num == EINVAL)
			skip();
		for (unsigned i = 0; i < THREADS; i++) {
			a[i] = (struct appender){.b = b, .id = i};
			assert_int_equal(pthread_create(&thread[i], NULL, append, &a[i]), 0);
		}
		for (unsigned i = 0; i < THREADS; i++) {
			pthread_join(thread[i], NULL);
			assert_false(a[i].failed);
		}
		assert_int_equal(blk_size(b), THREADS * ROUNDS * PIECE);
		close_ok(b);
		assert_int_equal(size_of("a"), THREADS * ROUNDS * PIECE);
		for (unsigned i = 0; i < THREADS * ROUNDS; i++) {
			memset(want, i % THREADS ? 'a' + (int)(i % THREADS) : 0, PIECE);
			check_bytes("a", (uint64_t)i * PIECE, want, PIECE);
		}
	}
}

static void resizes(void **state)
{
	struct stat st;
	struct blk *b;

	make_file("a", 0);
	b = open_file("a", IO_WRITE | IO_RESIZE);
	assert_int_equal(blk_resize(b, (1ull << 41) + 1, PREALLOC_OFF, &err), 0);
	assert_int_equal(size_of("a"), (1ull << 41) + 1);
	assert_int_equal(blk_resize(b, 1001, PREALLOC_OFF, &err), 0);
	assert_int_equal(blk_resize(b, 1, PREALLOC_FULL, &err), -1);
	assert_string_equal(err.text, "Preallocation can't be used for shrinking files");
	assert_int_equal(blk_resize(b, 1 << 20, PREALLOC_METADATA, &err), -1);
	assert_string_equal(err.text, "Unsupported preallocation mode 'metadata'");
	assert_int_equal(blk_resize(b, (1 << 20) + 1, PREALLOC_FALLOC, &err), 0);
	assert_int_equal(stat("a", &st), 0);
	assert_int_equal(st.st_size, (1 << 20) + 1);
	assert_true(st.st_blocks == 0 || st.st_blocks * 512 >= 1 << 20);
	assert_int_equal(blk_resize(b, 3 << 20, PREALLOC_FULL, &err), 0);
	assert_int_equal(stat("a", &st), 0);
	assert_int_equal(st.st_size, 3 << 20);
	assert_true(st.st_blocks == 0 || st.st_blocks * 512 >= 3 << 20);
	limit_files(3 << 20);
	assert_int_equal(blk_resize(b, (3 << 20) + 1, PREALLOC_OFF, &err), -1);
	assert_int_equal(err.num, EFBIG);
	assert_string_equal(err.text, "Could not resize file: File too large");
	limit_files(4 << 20);
	/* what came to be in vain goes away again */
	assert_int_equal(blk_resize(b, 5 << 20, PREALLOC_FULL, &err), -1);
	assert_string_equal(err.text, "Could not write zeros for preallocation: "
				      "File too large");
	limit_files(RLIM_INFINITY);
	assert_int_equal(blk_size(b), 3 << 20);
	assert_int_equal(size_of("a"), 3 << 20);
	close_ok(b);
}

static int create(const char *name, uint64_t size, enum blk_prealloc p, const char *more)
{
	struct opts *o = opts_new(&err);
	int rc;

	opts_set(o, "filename", name, &err);
	if (more)
		assert_int_equal(opts_parse(o, more, NULL, &err), 0);
	rc = io_file.create(o, size, p, &err);
	opts_free(o);
	return rc;
}

static void creates(void **state)
{
	struct stat st;

	umask(022);
	assert_int_equal(create("a", 1000, PREALLOC_OFF, NULL), 0);
	assert_int_equal(stat("a", &st), 0);
	assert_int_equal(st.st_size, 1000);
	assert_int_equal(st.st_mode & 07777, 0644);
	put_file("a", "full of data", 12);
	assert_int_equal(create("a", 5, PREALLOC_FULL, "nocow=on,extent_size_hint=64k"), 0);
	check_bytes("a", 0, "\0\0\0\0\0", 5);
	assert_int_equal(size_of("a"), 5);
	assert_int_equal(create("a", 5, PREALLOC_OFF, "extent_size_hint=8G"), -1);
	assert_string_equal(err.text, "Extent size hint is too large");
	assert_int_equal(create("no/a", 5, PREALLOC_OFF, NULL), -1);
	assert_string_equal(err.text, "Could not create 'no/a': No such file or directory");
	assert_int_equal(mkdir("d", 0755), 0);
	assert_int_equal(create("d", 5, PREALLOC_OFF, NULL), -1);
	assert_string_equal(err.text, "Could not create 'd': Is a directory");
	assert_int_equal(create("/dev/null", 0, PREALLOC_OFF, NULL), 0);
	assert_int_equal(create("/dev/null", 1, PREALLOC_OFF, NULL), -1);
	assert_string_equal(err.text, "Cannot grow device files");
	assert_int_equal(create("/dev/null", 0, PREALLOC_FULL, NULL), -1);
	assert_string_equal(err.text, "Unsupported preallocation mode 'full'");
	assert_int_equal(symlink("b", "l"), 0);
	assert_int_equal(create("l", 7, PREALLOC_FALLOC, NULL), 0);
	assert_int_equal(size_of("b"), 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(sizes_are_exact, scratch_empty),
		cmocka_unit_test_teardown(reads_past_the_end, scratch_empty),
		cmocka_unit_test_teardown(writes_and_grows, scratch_empty),
		cmocka_unit_test_teardown(readers_do_not_write, scratch_empty),
		cmocka_unit_test_teardown(failed_writes_say_where, scratch_empty),
		cmocka_unit_test_teardown(a_failed_sync_stays, scratch_empty),
		cmocka_unit_test_teardown(what_is_no_file, scratch_empty),
		cmocka_unit_test_teardown(terminals_are_refused, scratch_empty),
		cmocka_unit_test_teardown(leases_are_waited_for, scratch_empty),
		cmocka_unit_test_teardown(options_are_checked, scratch_empty),
		cmocka_unit_test_teardown(devices_without_contents, scratch_empty),
		cmocka_unit_test_teardown(the_kernel_may_copy, scratch_empty),
		cmocka_unit_test_teardown(grown_by_many, scratch_empty),
		cmocka_unit_test_teardown(resizes, scratch_empty),
		cmocka_unit_test_teardown(creates, scratch_empty),
	};

	return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
