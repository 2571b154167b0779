/* vvfat: a disk byte by byte, what is where, and folders that change while they are read. */
#include "tests/lib/io/scratch.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/io/fat/fat.h"
#include "lib/bytes.h"
#include "tests/lib/stamp.h"

static char warned[2000];

static void hear(const char *text)
{
	strncat(warned, text, sizeof(warned) - strlen(warned) - 2);
	strcat(warned, "\n");
}

static int fresh(void **state)
{
	setenv("SOURCE_DATE_EPOCH", "1000000000", 1);
	err_warn_to(hear);
	warned[0] = '\0';
	return scratch_empty(state) || mkdir("d", 0755);
}

static struct blk *open_fat(const char *opts)
{
	return scratch_open(&io_vvfat, NULL, 0, opts);
}

static void refused(const char *opts, const char *why)
{
	assert_null(open_fat(opts));
	if (!strstr(err.text, why))
		fail_msg("'%s' is not in '%s'", why, err.text);
}

static uint8_t *read_all(struct blk *b)
{
	size_t n = (size_t)blk_size(b);
	uint8_t *all = malloc(n);

	assert_non_null(all);
	assert_int_equal(blk_pread(b, all, n, 0, &err), 0);
	return all;
}

/* 1.44 MB: one boot sector, two FATs of nine, fourteen of the root. By hand from fatgen103. */
static void byte_by_byte(void **state)
{
	static const uint8_t boot[] =
		"\xeb\x3c\x90MSWIN4.1\0\2\1\1\0\2\xe0\0\x40\x0b\xf0\x09\0\x12\0\2\0\0\0\0\0"
		"\0\0\0\0\0\0\x29\xfd\x1a\xbe\xfaMY DISK    FAT12   ";
	static const uint8_t root[] =
		"MY DISK    \x08\0\0\xd4\x0d\x29\x2b\x29\x2b\0\0\xd4\x0d\x29\x2b\0\0\0\0\0\0"
		"A       TXT\x20\0\0\xd4\x0d\x29\x2b\x29\x2b\0\0\xd4\x0d\x29\x2b\3\0\5\0\0\0"
		"\x42t\0x\0t\0\0\0\xff\xff\x0f\0\xe5\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
		"\xff\xff\0\0\xff\xff\xff\xff"
		"\1l\0o\0n\0g\0 \0\x0f\0\xe5n\0\xe4\0m\0e\0 \0o\0\0\0f\0.\0"
		"LONGN_~1TXT\x20\0\0\xd4\x0d\x29\x2b\x29\x2b\0\0\xd4\x0d\x29\x2b\4\0\x58\2\0\0"
		"SUB        \x10\0\0\xd4\x0d\x29\x2b\x29\x2b\0\0\xd4\x0d\x29\x2b\2\0\0\0\0\0";
	static const uint8_t sub[] =
		".          \x10\0\0\xd4\x0d\x29\x2b\x29\x2b\0\0\xd4\x0d\x29\x2b\2\0\0\0\0\0"
		"..         \x10\0\0\xd4\x0d\x29\x2b\x29\x2b\0\0\xd4\x0d\x29\x2b\0\0\0\0\0\0"
		"EMPTY      \x20\0\0\xd4\x0d\x29\x2b\x29\x2b\0\0\xd4\x0d\x29\x2b\0\0\0\0\0\0";
	/* 2, 3: one cluster each; 4 goes on in 5 */
	static const uint8_t table[] = "\xf0\xff\xff\xff\xff\xff\5\xf0\xff";
	uint8_t text[600], *all;
	struct blk *b;

	memset(text, 'x', sizeof(text));
	put_file("d/A.TXT", "hello", 5);
	put_file("d/long n\xc3\xa4me of.txt", text, sizeof(text));
	mkdir("d/SUB", 0755);
	put_file("d/SUB/EMPTY", "", 0);
	b = open_fat("dir=d,floppy=on,fat-type=12,label=my disk");
	assert_non_null(b);
	assert_int_equal(blk_size(b), 2880 * 512);
	all = read_all(b);
	assert_memory_equal(all, boot, sizeof(boot) - 1);
	assert_int_equal(get_le16(all + 510), 0xaa55);
	assert_memory_equal(all + 512, table, sizeof(table) - 1);
	assert_memory_equal(all + 10 * 512, table, sizeof(table) - 1);
	/* the order is that of the bytes: A.TXT, SUB, long ... */
	assert_memory_equal(all + 19 * 512, root, 64);
	assert_memory_equal(all + 19 * 512 + 64, root + 160, 32);
	assert_memory_equal(all + 19 * 512 + 96, root + 64, 64);
	assert_memory_equal(all + 19 * 512 + 160, root + 128, 32);
	assert_memory_equal(all + 33 * 512, sub, sizeof(sub) - 1);
	assert_memory_equal(all + 34 * 512, "hello\0", 6);
	assert_memory_equal(all + 35 * 512, text, 600);
	assert_int_equal(all[35 * 512 + 600], 0);
	free(all);
	close_ok(b);
	assert_string_equal(warned, "");
}

/* A folder with some of everything. */
static void make_some(void)
{
	static uint8_t noise[100000];
	unsigned seed = 1;
	char name[100];

	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)dice(&seed);
	mkdir("d/sub", 0755);
	mkdir("d/sub/sub", 0755);
	for (unsigned i = 0; i < 60; i++) {
		snprintf(name, sizeof(name), "d/%s/a long name, number %u", i % 3 ? "sub" : ".",
			 i);
		put_file(name, noise, i * i * 20);
	}
	put_file("d/sub/sub/large", noise, sizeof(noise));
	make_file("d/sub/holes", 300000);
	make_file("d/sub/none", 0);
}

/* Whatever is asked for, the bytes are the same; an extent says which they are. */
static void pieces_make_the_whole(void **state)
{
	static const char *const how[] = {"dir=d", "dir=d,fat-type=12", "dir=d,fat-type=32",
					  "dir=d,floppy=on", "dir=d,floppy=on,fat-type=16"};
	static uint8_t piece[200000];
	unsigned seed = 7;

	make_some();
	for (size_t i = 0; i < ARRAY_LEN(how); i++) {
		struct blk *b = open_fat(how[i]);
		uint64_t size, used = 0;
		struct extent e;
		uint8_t *all;

		assert_non_null(b);
		size = blk_size(b);
		all = read_all(b);
		for (unsigned k = 0; k < 300; k++) {
			uint64_t off = dice(&seed) % (k % 4 ? 2000000 : size);
			size_t n = dice(&seed) % (k % 3 ? 700 : sizeof(piece));

			n = (size_t)MIN(n, size - MIN(off, size));
			assert_int_equal(blk_pread(b, piece, n, off, &err), 0);
			assert_memory_equal(piece, all + off, n);
		}
		for (uint64_t off = 0; off < size; off += e.len) {
			assert_int_equal(blk_extent(b, off, size - off, &e, &err), 0);
			assert_int_equal(e.off, off);
			assert_in_range(e.len, 1, size - off);
			if (e.flags & EXT_DATA) {
				assert_true(e.len <= sizeof(piece));
				assert_int_equal(
					blk_read_extent(b, &e, piece, e.len, off, &err), 0);
				assert_memory_equal(piece, all + off, e.len);
				used += e.len;
			} else {
				assert_int_equal(e.flags, EXT_ZERO);
				for (uint64_t k = 0; k < e.len; k++)
					assert_int_equal(all[off + k], 0);
			}
		}
		assert_in_range(used, 400000, 2200000);
		free(all);
		close_ok(b);
	}
}

static void same_folder_same_bytes(void **state)
{
	uint8_t *one, *two;
	struct blk *b;
	uint64_t size;

	make_some();
	b = open_fat("dir=d");
	size = blk_size(b);
	one = read_all(b);
	close_ok(b);
	/* other inodes, another order, later times, another zone */
	assert_int_equal(system("mkdir e; (cd d; find . -type d | sort -r) | "
				"while read -r f; do mkdir -p \"e/$f\"; done; "
				"(cd d; find . -type f | sort -r) | "
				"while read -r f; do cat \"d/$f\" >\"e/$f\"; done"),
			 0);
	setenv("TZ", "Asia/Tokyo", 1);
	b = open_fat("dir=e");
	assert_int_equal(blk_size(b), size);
	two = read_all(b);
	assert_memory_equal(one, two, size);
	close_ok(b);
	free(two);
	/* and without the variable the time is the local one */
	unsetenv("SOURCE_DATE_EPOCH");
	b = open_fat("dir=e");
	two = read_all(b);
	assert_memory_not_equal(one, two, size);
	close_ok(b);
	unsetenv("TZ");
	free(one);
	free(two);
}

struct reader {
	struct blk *blk;
	const uint8_t *all;
	unsigned seed;
};

static void *read_here_and_there(void *arg)
{
	struct reader *r = arg;
	uint8_t piece[3000];
	struct err why;
	struct extent e;

	for (unsigned i = 0; i < 500; i++) {
		uint64_t off = 300000 + dice(&r->seed) % 2000000;

		if (blk_pread(r->blk, piece, sizeof(piece), off, &why) ||
		    memcmp(piece, r->all + off, sizeof(piece)) ||
		    blk_extent(r->blk, off, 1 << 20, &e, &why))
			return r;
	}
	return NULL;
}

/* More files than the pool holds, more threads than it has slots. */
static void many_threads(void **state)
{
	struct reader r[40];
	pthread_t id[40];
	uint8_t *all;
	struct blk *b;
	void *bad;

	make_some();
	b = open_fat("dir=d");
	all = read_all(b);
	for (unsigned i = 0; i < ARRAY_LEN(r); i++) {
		r[i] = (struct reader){b, all, i};
		assert_int_equal(pthread_create(&id[i], NULL, read_here_and_there, &r[i]), 0);
	}
	for (unsigned i = 0; i < ARRAY_LEN(r); i++) {
		pthread_join(id[i], &bad);
		assert_null(bad);
	}
	free(all);
	close_ok(b);
}

static unsigned open_descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1000; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void descriptors_are_few(void **state)
{
	unsigned before = open_descriptors();
	char name[50];
	struct blk *b;
	uint8_t *all;

	for (unsigned i = 0; i < 400; i++) {
		snprintf(name, sizeof(name), "d/f%u", i);
		put_file(name, "x", 1);
	}
	b = open_fat("dir=d");
	all = read_all(b);
	assert_in_range(open_descriptors() - before, 1, FAT_OPEN + 1);
	free(all);
	close_ok(b);
	assert_int_equal(open_descriptors(), before);
}

/* A process that has next to none left. */
static void descriptors_run_out(void **state)
{
	struct rlimit was, few;
	char name[50];
	struct blk *b;
	uint8_t *all;

	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "d/f%u", i);
		put_file(name, "x", 1);
	}
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	few = was;
	few.rlim_cur = open_descriptors() + 5;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	b = open_fat("dir=d,label=");
	all = read_all(b);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	free(all);
	close_ok(b);
}

/* Where the first file of a FAT16 disk begins, if it is the only one. */
static uint64_t first_file(struct blk *b)
{
	struct extent e;
	uint64_t off = 0;

	for (;;) {
		assert_int_equal(blk_extent(b, off, blk_size(b) - off, &e, &err), 0);
		if (e.home && e.home != b)
			return off;
		off += e.len;
		assert_true(off < blk_size(b));
	}
}

static void files_that_change(void **state)
{
	uint8_t buf[1000];
	struct blk *b;
	uint64_t at;

	memset(buf, 'a', sizeof(buf));
	put_file("d/f", buf, 1000);
	b = open_fat("dir=d");
	at = first_file(b);
	/* shorter */
	assert_int_equal(truncate("d/f", 10), 0);
	assert_int_equal(blk_pread(b, buf, 1000, at, &err), 0);
	assert_int_equal(buf[9], 'a');
	assert_int_equal(buf[10], 0);
	assert_int_equal(buf[999], 0);
	assert_non_null(strstr(warned, "'d/f' became shorter while it was read"));
	/* said once */
	assert_int_equal(blk_pread(b, buf, 1000, at, &err), 0);
	assert_ptr_equal(strchr(warned, '\n'), warned + strlen(warned) - 1);
	close_ok(b);

	/* longer: what is new is not on the disk */
	b = open_fat("dir=d");
	warned[0] = '\0';
	memset(buf, 'b', sizeof(buf));
	put_file("d/f", buf, 1000);
	assert_int_equal(blk_pread(b, buf, 1000, at, &err), 0);
	assert_int_equal(buf[9], 'b');
	assert_int_equal(buf[10], 0);
	assert_non_null(strstr(warned, "'d/f' grew while it was read"));
	close_ok(b);

	/* another file */
	b = open_fat("dir=d");
	put_file("other", "secret", 6);
	assert_int_equal(rename("other", "d/f"), 0);
	assert_int_equal(blk_pread(b, buf, 1000, at, &err), -1);
	assert_non_null(strstr(err.text, "'d/f' was replaced"));
	close_ok(b);

	/* a link to another file, a FIFO, nothing */
	b = open_fat("dir=d");
	put_file("other", "secret", 6);
	assert_int_equal(unlink("d/f") | symlink("../other", "d/f"), 0);
	assert_int_equal(blk_pread(b, buf, 1000, at, &err), -1);
	assert_int_equal(unlink("d/f") | mkfifo("d/f", 0644), 0);
	assert_int_equal(blk_pread(b, buf, 1000, at, &err), -1);
	assert_int_equal(unlink("d/f"), 0);
	assert_int_equal(blk_pread(b, buf, 1000, at, &err), -1);
	assert_non_null(strstr(err.text, "'d/f': No such file"));
	close_ok(b);
}

static void links_and_others(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "d/socket"};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct blk *b;
	uint8_t *all;

	put_file("secret", "secret", 6);
	mkdir("d/sub", 0755);
	put_file("d/sub/IN", "inside", 6);
	assert_int_equal(symlink("sub/IN", "d/LINK"), 0);
	assert_int_equal(symlink("../sub/IN", "d/sub/UP"), 0);
	assert_int_equal(symlink("../secret", "d/OUT"), 0);
	assert_int_equal(symlink("/etc/passwd", "d/ABSOLUTE"), 0);
	assert_int_equal(symlink("sub", "d/FOLDER"), 0);
	assert_int_equal(symlink("nothing", "d/NOTHING"), 0);
	assert_int_equal(mkfifo("d/FIFO", 0644), 0);
	assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	close(fd);
	b = open_fat("dir=d,floppy=on,fat-type=12");
	assert_non_null(b);
	all = read_all(b);
	assert_memory_equal(all + 19 * 512 + 32, "LINK       \x20", 12);
	/* the long name of "sub" comes before it, and is the last */
	assert_memory_equal(all + 19 * 512 + 96, "SUB        \x10", 12);
	assert_int_equal(all[19 * 512 + 128], 0);
	assert_memory_equal(all + 34 * 512, "inside\0", 7);
	assert_memory_equal(all + 36 * 512, "inside\0", 7);
	free(all);
	close_ok(b);
	/* five of six by name, in order */
	assert_memory_equal(warned, "'d/ABSOLUTE' is left out", 24);
	assert_non_null(
		strstr(warned, "is left out: it is a symbolic link that leads to no file"));
	assert_non_null(strstr(warned, "'d': 1 more are left out"));
}

static void refusals(void **state)
{
	refused("floppy=on", "vvfat block driver requires a 'dir' option");
	refused("dir=d,fat-type=13", "Valid FAT types are only 12, 16 and 32");
	refused("dir=d,fat-type=x", "Parameter 'fat-type' expects a number");
	refused("dir=d,floppy=x", "Parameter 'floppy' expects 'on' or 'off'");
	refused("dir=d,rw=on", "Unable to set VVFAT to 'rw' when drive is read-only");
	refused("dir=d,label=123456789012", "vvfat label cannot be longer than 11 bytes");
	refused("dir=d,label=a*b", "cannot be the label");
	refused("dir=d,label=\xc3\xa4", "cannot be the label");
	refused("dir=nothing", "Could not read directory nothing: No such file");
	refused("dir=d,floppy=on,fat-type=32", "too small for FAT32");
	assert_null(scratch_open(&io_vvfat, NULL, IO_WRITE, "dir=d"));
	assert_string_equal(err.text, "Image is read-only");
	setenv("SOURCE_DATE_EPOCH", "yesterday", 1);
	refused("dir=d", "SOURCE_DATE_EPOCH is 'yesterday'");
	setenv("SOURCE_DATE_EPOCH", "", 1);
	put_file("d/f", "", 0);
	refused("dir=d/f", "Could not read directory d/f: Not a directory");
	make_file("d/f", 3000000);
	refused("dir=d,floppy=on", "such a floppy disk has 2863 at most");
	make_file("d/f", 1ull << 32);
	refused("dir=d", "'d/f' has 4294967296 bytes");
	make_file("d/f", (1ull << 32) - 1);
	refused("dir=d,fat-type=16", "FAT16 has 65524 at most");
	close_ok(open_fat("dir=d"));
}

static void names_are_refused(void **state)
{
	static const char *const bad[] = {"d/a:b", "d/a?",    "d/a\\b",	       "d/a\nb",
					  "d/a.",  "d/a ",    "d/a|b",	       "d/a\x7f",
					  "d/<",   "d/a\xff", "d/\xed\xa0\x80"};
	static const char *const pairs[][2] = {
		{"d/a", "d/A"},
		{"d/Datei \xc3\x84", "d/datei \xc3\xa4"},
		{"d/\xd0\x96", "d/\xd0\xb6"}, /* Zhe */
		{"d/\xce\xa9", "d/\xcf\x89"}, /* Omega */
		{"d/\xc5\xbd.x", "d/\xc5\xbe.x"},
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		put_file(bad[i], "", 0);
		refused("dir=d", "cannot be on a FAT disk");
		unlink(bad[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		put_file(pairs[i][0], "", 0);
		put_file(pairs[i][1], "", 0);
		refused("dir=d", "are the same name on a FAT disk");
		unlink(pairs[i][0]);
		close_ok(open_fat("dir=d"));
		unlink(pairs[i][1]);
	}
	/* the root has a label, each folder two entries */
	mkdir("d/sub", 0755);
	for (unsigned i = 0; i < FAT_DIR_MAX - 1; i++) {
		char name[30];

		snprintf(name, sizeof(name), "d/sub/%u", i);
		close(open(name, O_CREAT | O_WRONLY, 0644));
	}
	refused("dir=d", "'d/sub' needs 65521 entries for its 65519 names");
	assert_int_equal(unlink("d/sub/1"), 0);
	close_ok(open_fat("dir=d"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(byte_by_byte, fresh),
		cmocka_unit_test_setup(pieces_make_the_whole, fresh),
		cmocka_unit_test_setup(same_folder_same_bytes, fresh),
		cmocka_unit_test_setup(many_threads, fresh),
		cmocka_unit_test_setup(descriptors_are_few, fresh),
		cmocka_unit_test_setup(descriptors_run_out, fresh),
		cmocka_unit_test_setup(files_that_change, fresh),
		cmocka_unit_test_setup(links_and_others, fresh),
		cmocka_unit_test_setup(refusals, fresh),
		cmocka_unit_test_setup(names_are_refused, fresh),
	};

	return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
