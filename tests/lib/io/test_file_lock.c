#include <signal.h>
#include <sys/wait.h>

#include "tests/lib/io/scratch.h"

/* "100 101 201": the bytes on which somebody else holds a read lock, as seen from outside. */
static const char *held(const char *name)
{
	static char text[200];
	int fd = open(name, O_RDWR);

	text[0] = '\0';
	for (int byte = 0; byte < 300; byte++) {
		struct flock l = {.l_type = F_WRLCK, .l_start = byte, .l_len = 1};

		assert_int_equal(fcntl(fd, F_OFD_GETLK, &l), 0);
		if (l.l_type == F_RDLCK)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%d",
				 text[0] ? " " : "", byte);
	}
	close(fd);
	return text;
}

static int lock_bytes(const char *name, short type, int from, int n)
{
	struct flock l = {.l_type = type, .l_start = from, .l_len = n};
	int fd = open(name, O_RDWR);

	assert_int_equal(fcntl(fd, F_OFD_SETLK, &l), 0);
	return fd;
}

/* As qemu-img 7.2 and qemu-io 7.2 hold them. */
static void the_bytes(void **state)
{
	static const struct {
		unsigned flags;
		const char *bytes;
	} mode[] = {
		{IO_NO_IO, ""},
		{IO_NO_IO | IO_ALONE, "201 203"},
		{IO_NO_IO | IO_ALONE | IO_SHARE, ""},
		{0, "100"},
		{IO_SHARE, "100"},
		{IO_ALONE, "100 201 203"},
		{IO_ALONE | IO_SHARE, "100"},
		{IO_WRITE, "100 101"},
		{IO_WRITE | IO_RESIZE, "100 101 103"},
		{IO_WRITE | IO_RESIZE | IO_ALONE, "100 101 103 201 203"},
	};

	make_file("a", 1);
	for (size_t i = 0; i < ARRAY_LEN(mode); i++) {
		struct blk *b = open_file("a", mode[i].flags);

		assert_non_null(b);
		assert_string_equal(held("a"), mode[i].bytes);
		close_ok(b);
		assert_string_equal(held("a"), "");
	}
}

static void changed_later(void **state)
{
	struct blk *b, *other;

	make_file("a", 1);
	b = open_file("a", IO_WRITE);
	assert_int_equal(io_file_lock(b, IO_WRITE | IO_RESIZE | IO_ALONE, &err), 0);
	assert_string_equal(held("a"), "100 101 103 201 203");
	assert_int_equal(io_file_lock(b, 0, &err), 0);
	assert_string_equal(held("a"), "100");
	/* a change that is refused changes nothing */
	other = open_file("a", IO_ALONE);
	assert_non_null(other);
	assert_int_equal(io_file_lock(b, IO_WRITE, &err), -1);
	assert_string_equal(held("a"), "100 201 203");
	close_ok(other);
	assert_string_equal(held("a"), "100");
	close_ok(b);
	b = io_mem_new("x", 1, &err);
	assert_int_equal(io_file_lock(b, IO_WRITE, &err), 0);
	close_ok(b);
}

static void refused(unsigned flags, const char *text)
{
	struct blk *b = open_file("a", flags);

	if (!text) {
		assert_non_null(b);
		close_ok(b);
		return;
	}
	assert_null(b);
	assert_string_equal(err.text, text);
	assert_int_not_equal(err.num, 0);
}

#define HINT	     "\nIs another process using the image [a]?"
#define NO_READ	     "Failed to get \"consistent read\" lock" HINT
#define NO_WRITE     "Failed to get \"write\" lock" HINT
#define NO_RESIZE    "Failed to get \"resize\" lock" HINT
#define NO_SHARE     "Failed to get shared \"write\" lock" HINT
#define NO_SHARE_END "Failed to get shared \"resize\" lock" HINT

static void keeps_out(void **state)
{
	static const struct {
		int byte;
		const char *reader, *alone, *writer, *resizer;
	} by[] = {
		{100, NULL, NULL, NULL, NULL},
		{101, NULL, NO_SHARE, NULL, NULL},
		{102, NULL, NULL, NULL, NULL},
		{103, NULL, NO_SHARE_END, NULL, NULL},
		{200, NO_READ, NO_READ, NO_READ, NO_READ},
		{201, NULL, NULL, NO_WRITE, NO_WRITE},
		{202, NULL, NULL, NULL, NULL},
		{203, NULL, NULL, NULL, NO_RESIZE},
	};

	make_file("a", 1);
	for (size_t i = 0; i < ARRAY_LEN(by); i++) {
		int fd = lock_bytes("a", F_RDLCK, by[i].byte, 1);

		refused(0, by[i].reader);
		refused(IO_SHARE | IO_ALONE, by[i].reader);
		refused(IO_ALONE, by[i].alone);
		refused(IO_WRITE, by[i].writer);
		refused(IO_WRITE | IO_RESIZE, by[i].resizer);
		refused(IO_NO_IO, NULL);
		close(fd);
	}
}

static void locked_as_a_whole(void **state)
{
	struct blk *b;
	int fd;

	make_file("a", 1);
	fd = lock_bytes("a", F_WRLCK, 0, 0);
	refused(0, "Failed to lock byte 100");
	refused(IO_NO_IO | IO_ALONE, "Failed to lock byte 201");
	b = scratch_open(&io_file, "a", IO_WRITE, "locking=off");
	assert_non_null(b);
	close_ok(b);
	close(fd);
	b = scratch_open(&io_file, "a", IO_WRITE, "locking=on");
	assert_non_null(b);
	assert_string_equal(held("a"), "100 101");
	close_ok(b);
}

static void the_error_names_the_file_as_given(void **state)
{
	struct blk *b;

	make_file("a", 1);
	b = open_file("a", IO_WRITE | IO_RESIZE | IO_ALONE);
	assert_null(open_file("./a", IO_ALONE));
	assert_string_equal(err.text, "Failed to get shared \"write\" lock\n"
				      "Is another process using the image [./a]?");
	close_ok(b);
}

static void nobody_empties_it(void **state)
{
	struct opts *o = opts_new(&err);
	struct blk *b, *n;

	put_file("a", "abc", 3);
	opts_set(o, "filename", "a", &err);
	b = open_file("a", IO_ALONE);
	assert_int_equal(io_file.create(o, 10, PREALLOC_OFF, &err), -1);
	assert_string_equal(err.text, NO_WRITE);
	assert_int_equal(io_file_new("a", 0, &n, &err), -1);
	assert_string_equal(err.text, NO_WRITE);
	check_bytes("a", 0, "abc", 3);
	close_ok(b);
	/* beside who only reads and lets write, the peer empties it, and so do we */
	b = open_file("a", 0);
	assert_int_equal(io_file.create(o, 10, PREALLOC_OFF, &err), 0);
	assert_int_equal(size_of("a"), 10);
	close_ok(b);
	opts_free(o);
}

/* Another process that has the file locked is named, one that just has it open is not. */
static void says_who(void **state)
{
	char want[80], byte;
	int ready[2];
	pid_t pid;

	close(open("f", O_CREAT | O_RDWR, 0600));
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		open("f", O_RDONLY);
		lock_bytes("f", F_RDLCK, 201, 1);
		if (write(ready[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_null(scratch_open(&io_file, "f", IO_WRITE, NULL));
	assert_null(strstr(err.text, "open in"));
	io_file_tell_holders(true);
	assert_null(scratch_open(&io_file, "f", IO_WRITE, NULL));
	snprintf(want, sizeof(want), "\nIt is open in test_file_lock (pid %d).", (int)pid);
	assert_non_null(strstr(err.text, want));
	io_file_tell_holders(false);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(ready[0]);
	close(ready[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(the_bytes, scratch_empty),
		cmocka_unit_test_teardown(changed_later, scratch_empty),
		cmocka_unit_test_teardown(keeps_out, scratch_empty),
		cmocka_unit_test_teardown(locked_as_a_whole, scratch_empty),
		cmocka_unit_test_teardown(the_error_names_the_file_as_given, scratch_empty),
		cmocka_unit_test_teardown(says_who, scratch_empty),
		cmocka_unit_test_teardown(nobody_empties_it, scratch_empty),
	};

	return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
