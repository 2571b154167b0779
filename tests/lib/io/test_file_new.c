#include "tests/lib/io/scratch.h"

#include <dirent.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <sys/xattr.h>

static struct blk *new_file(const char *path, unsigned flags)
{
	struct blk *b = NULL;

	return io_file_new(path, flags, &b, &err) ? NULL : b;
}

static int entries(const char *dir)
{
	DIR *d = opendir(dir);
	int n = 0;

	for (struct dirent *e; (e = readdir(d));)
		n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
	closedir(d);
	return n;
}

static void write_all(struct blk *b, const char *text)
{
	assert_int_equal(blk_pwrite(b, text, strlen(text), 0, 0, &err), 0);
}

static ino_t inode(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	return st.st_ino;
}

static void a_new_name(void **state)
{
	struct stat st;
	struct blk *b;

	umask(022);
	b = new_file("a", 0);
	assert_non_null(b);
	assert_int_equal(blk_size(b), 0);
	assert_true(b->caps & BLK_ZERO_INIT);
	assert_true(b->caps & BLK_CAN_WRITE);
	assert_string_equal(b->name, "a");
	write_all(b, "new");
	assert_int_equal(access("a", F_OK), -1);
	assert_int_equal(io_file_publish(b, &err), 0);
	check_bytes("a", 0, "new", 3);
	assert_int_equal(stat("a", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	/* it goes on being written, and is locked against others */
	assert_null(open_file("a", IO_WRITE));
	assert_int_equal(blk_pwrite(b, "!", 1, 3, 0, &err), 0);
	close_ok(b);
	check_bytes("a", 0, "new!", 4);
	assert_int_equal(entries("."), 1);
}

static void thrown_away(void **state)
{
	struct blk *b;

	put_file("old", "old", 3);
	b = new_file("a", 0);
	write_all(b, "new");
	close_ok(b);
	b = new_file("old", 0);
	write_all(b, "new");
	close_ok(b);
	check_bytes("old", 0, "old", 3);
	assert_int_equal(entries("."), 1);
}

static void replaced(void **state)
{
	struct stat st;
	struct blk *b;
	ino_t before;

	put_file("a", "old and long", 12);
	assert_int_equal(chmod("a", 0600), 0);
	before = inode("a");
	b = new_file("a", IO_NO_FLUSH);
	write_all(b, "new");
	check_bytes("a", 0, "old and long", 12);
	/* who could have opened it before is kept out meanwhile */
	assert_null(open_file("a", IO_WRITE));
	assert_int_equal(io_file_publish(b, &err), 0);
	close_ok(b);
	assert_int_equal(size_of("a"), 3);
	check_bytes("a", 0, "new", 3);
	assert_int_equal(stat("a", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_not_equal(st.st_ino, before);
	assert_int_equal(entries("."), 1);
}

static void owner_and_attributes(void **state)
{
	char value[10] = "";
	struct stat st;
	struct blk *b;

	put_file("a", "old", 3);
	if (setxattr("a", "user.note", "keep me", 7, 0))
		skip();
	if (geteuid() == 0)
		assert_int_equal(chown("a", 12345, 23456), 0);
	b = new_file("a", 0);
	write_all(b, "newer");
	assert_int_equal(io_file_publish(b, &err), 0);
	close_ok(b);
	assert_int_equal(size_of("a"), 5);
	assert_int_equal(getxattr("a", "user.note", value, sizeof(value)), 7);
	assert_string_equal(value, "keep me");
	assert_int_equal(stat("a", &st), 0);
	if (geteuid() == 0) {
		assert_int_equal(st.st_uid, 12345);
		assert_int_equal(st.st_gid, 23456);
	}
}

/* Publishing leaves the same file with the new contents. */
static void expect_in_place(const char *path, unsigned flags)
{
	ino_t before = inode(path);
	struct blk *b;

	b = new_file(path, flags);
	assert_non_null(b);
	assert_int_equal(blk_size(b), 0);
	assert_true(b->caps & BLK_ZERO_INIT);
	write_all(b, "new");
	assert_int_equal(io_file_publish(b, &err), 0);
	close_ok(b);
	assert_int_equal(size_of(path), 3);
	check_bytes(path, 0, "new", 3);
	assert_int_equal(inode(path), before);
}

static void in_place(void **state)
{
	put_file("a", "old and long", 12);
	assert_int_equal(link("a", "second name"), 0);
	expect_in_place("a", 0);
	check_bytes("second name", 0, "new", 3);
	put_file("b", "old and long", 12);
	expect_in_place("b", IO_IN_PLACE);
	assert_int_equal(entries("."), 3);
}

static void mounted_on(void **state)
{
	put_file("a", "old and long", 12);
	put_file("b", "", 0);
	if (mount("a", "b", "none", MS_BIND, NULL))
		skip();
	expect_in_place("b", 0);
	assert_int_equal(umount("b"), 0);
	check_bytes("a", 0, "new", 3);
}

/* Without root's rights, in a child: the folder may not be written, the file may. */
static void locked_folder(void **state)
{
	int status = -1;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(scratch_dir, 0755), 0);
	assert_int_equal(mkdir("d", 0755), 0);
	put_file("d/a", "old and long", 12);
	assert_int_equal(chmod("d/a", 0666), 0);
	pid = fork();
	if (pid == 0) {
		if (setuid(54321))
			_exit(2);
		if (new_file("d/b", 0) ||
		    strcmp(err.text, "Could not create 'd/b': Permission denied") != 0)
			_exit(3);
		expect_in_place("d/a", 0);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void hidden_names(void)
{
	struct blk *b = new_file("a", 0);

	assert_non_null(b);
	write_all(b, "one");
	assert_int_equal(entries("."), 1);
	assert_int_equal(access("a", F_OK), -1);
	close_ok(b);
	assert_int_equal(entries("."), 0);
	for (int round = 0; round < 2; round++) {
		b = new_file("a", 0);
		write_all(b, round ? "two" : "one");
		assert_int_equal(entries("."), 1 + round);
		assert_int_equal(io_file_publish(b, &err), 0);
		close_ok(b);
		check_bytes("a", 0, round ? "two" : "one", 3);
		assert_int_equal(entries("."), 1);
	}
}

/* Without /proc a nameless file could not be given its name. */
static void without_proc(void **state)
{
	int status = -1;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNS) ||
		    mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) ||
		    mount("none", "/proc", "tmpfs", 0, NULL))
			_exit(77);
		hidden_names();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

static void links_are_followed(void **state)
{
	char to[20] = "";
	struct blk *b;

	assert_int_equal(mkdir("d", 0755), 0);
	assert_int_equal(symlink("d/l2", "l1"), 0);
	assert_int_equal(symlink("real", "d/l2"), 0);
	for (int round = 0; round < 2; round++) {
		b = new_file("l1", 0); /* first dangling, then not */
		assert_non_null(b);
		write_all(b, round ? "two" : "one");
		assert_int_equal(io_file_publish(b, &err), 0);
		close_ok(b);
		check_bytes("d/real", 0, round ? "two" : "one", 3);
	}
	assert_int_equal(readlink("l1", to, sizeof(to)), 4);
	assert_int_equal(readlink("d/l2", to, sizeof(to)), 4);
	assert_int_equal(entries("."), 2);
	assert_int_equal(entries("d"), 2);
}

static void refused(const char *path, const char *text)
{
	assert_null(new_file(path, 0));
	assert_string_equal(err.text, text);
}

static void what_cannot_be(void **state)
{
	assert_int_equal(mkdir("d", 0755), 0);
	assert_int_equal(mkfifo("ff", 0644), 0);
	assert_int_equal(symlink("loop", "loop"), 0);
	put_file("f", "x", 1);
	refused("", "Could not create '': No such file or directory");
	refused("d", "Could not create 'd': Is a directory");
	refused("new/", "Could not create 'new/': Is a directory");
	refused("no/a", "Could not create 'no/a': No such file or directory");
	refused("f/a", "Could not create 'f/a': Not a directory");
	refused("loop", "Could not create 'loop': Too many levels of symbolic links");
	refused("ff", "'file' driver requires 'ff' to be a regular file, not a FIFO");
	check_bytes("f", 0, "x", 1);
}

static void made_meanwhile(void **state)
{
	struct blk *b = new_file("a", 0);

	write_all(b, "ours");
	put_file("a", "theirs", 6);
	assert_int_equal(io_file_publish(b, &err), 0);
	close_ok(b);
	assert_int_equal(size_of("a"), 4);
	assert_int_equal(entries("."), 1);
}

static void long_names(void **state)
{
	char name[256];
	struct blk *b;

	memset(name, 'n', 255);
	name[255] = '\0';
	for (int round = 0; round < 2; round++) {
		b = new_file(name, 0);
		assert_non_null(b);
		write_all(b, "new");
		assert_int_equal(io_file_publish(b, &err), 0);
		close_ok(b);
	}
	assert_int_equal(entries("."), 1);
}

static void devices_stay(void **state)
{
	struct blk *b = new_file("/dev/null", 0);

	assert_non_null(b);
	assert_int_equal(blk_size(b), 0);
	assert_int_equal(io_file_publish(b, &err), 0);
	close_ok(b);
}

static void nowhere_left_behind(void **state)
{
	struct blk *b;

	/* the folder goes away: no name can be given */
	assert_int_equal(mkdir("d", 0755), 0);
	b = new_file("d/a", 0);
	write_all(b, "new");
	assert_int_equal(rmdir("d"), 0);
	assert_int_equal(io_file_publish(b, &err), -1);
	assert_string_equal(err.text,
			    "Could not give 'd/a' its name: No such file or directory");
	close_ok(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_new_name, scratch_empty),
		cmocka_unit_test_teardown(thrown_away, scratch_empty),
		cmocka_unit_test_teardown(replaced, scratch_empty),
		cmocka_unit_test_teardown(owner_and_attributes, scratch_empty),
		cmocka_unit_test_teardown(in_place, scratch_empty),
		cmocka_unit_test_teardown(mounted_on, scratch_empty),
		cmocka_unit_test_teardown(locked_folder, scratch_empty),
		cmocka_unit_test_teardown(without_proc, scratch_empty),
		cmocka_unit_test_teardown(links_are_followed, scratch_empty),
		cmocka_unit_test_teardown(what_cannot_be, scratch_empty),
		cmocka_unit_test_teardown(made_meanwhile, scratch_empty),
		cmocka_unit_test_teardown(long_names, scratch_empty),
		cmocka_unit_test_teardown(devices_stay, scratch_empty),
		cmocka_unit_test_teardown(nowhere_left_behind, scratch_empty),
	};

	return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
