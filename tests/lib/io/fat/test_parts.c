/* vvfat: the names of locations, short names, the FAT, and the borders between its types. */
#include "tests/lib/io/scratch.h"

#include "lib/io/fat/fat.h"
#include "lib/bytes.h"
#include "tests/lib/stamp.h"

/* The keys as "fat-type dir floppy rw label". */
static void location(const char *text, const char *want)
{
	struct opts *o = opts_new(&err);
	char got[200];

	if (fat_location(text, o, &err))
		snprintf(got, sizeof(got), "error: %.10s", err.text);
	else
		snprintf(got, sizeof(got), "%s %s %s %s %s", opts_get(o, "fat-type"),
			 opts_get(o, "dir"), opts_get(o, "floppy"), opts_get(o, "rw"),
			 opts_has(o, "label") ? opts_get(o, "label") : "-");
	assert_string_equal(got, want);
	opts_free(o);
}

static void locations(void **state)
{
	location("fat:d", "0 d off off -");
	location("fat:/a/b", "0 /a/b off off -");
	location("fat:", "0  off off -");
	location("fat:12:d", "12 d off off -");
	location("fat:16:d", "16 d off off -");
	location("fat:32:floppy:d", "32 d on off -");
	location("fat:floppy:12:d", "12 d on off -");
	location("fat:32:12:16:d", "32 d off off -");
	location("fat:rw:label=a b:d", "0 d off on a b");
	location("fat:label=a:label=b:d", "0 d off off b");
	location("fat:label=:d", "0 d off off ");
	location("fat:c:d", "0 c:d off off -");
	location("fat:32:c:/d", "32 c:/d off off -");
	location("fat:1:d", "error: '1' is not");
	location("fat:./a:d", "error: './a' is n");
	location("fat:FLOPPY:d", "error: 'FLOPPY' i");
	location("fat:d:", "0 d: off off -");
	location("fat::d", "0 d off off -");
	location("d", "error: File name ");
	location("FAT:d", "error: File name ");
	location("", "error: File name ");
}

/* The short name that each file of the only folder gets. */
static void alias(const struct fat_tree *t, const char *name, const char *want, unsigned nlong)
{
	for (size_t i = 1; i < t->n; i++) {
		if (strcmp(t->node[i].name, name) != 0)
			continue;
		assert_memory_equal(t->node[i].alias, want, FAT_ALIAS);
		assert_int_equal(t->node[i].nlong, nlong);
		return;
	}
	fail_msg("no %s", name);
}

static void short_names(void **state)
{
	static const struct {
		const char *name, *alias;
		unsigned nlong;
	} file[] = {
		{"UPPER.TXT", "UPPER   TXT", 0},
		{"lower.txt", "LOWER   TXT", 1},
		{"EIGHTCHR", "EIGHTCHR   ", 0},
		{"NINECHARS", "NINECH~1   ", 1},
		{"NINECHARZ", "NINECH~2   ", 1},
		{"A.LONG", "A~1     LON", 1},
		{"A~1.LON", "A~1     LON", 0},
		{".profile", "PROFIL~1   ", 1},
		{"a.b.c", "AB~1    C  ", 1},
		{"a b", "AB~1       ", 1},
		{"a+b", "A_B~1      ", 1},
		{"x.", "", 0},
		{"\xc3\xa4", "_~1        ", 1},
		{"\xc3\xb6\xc3\xb6.\xc3\xb6", "__~1    _  ", 1},
		{"{}~!#$%&.-_@", "{}~!#$%&-_@", 0},
		{"exactly 13 ch", "EXACTL~1   ", 1},
		{"it is 14 chars", "ITIS14~1   ", 2},
	};
	struct fat_tree t = {.root = -1};

	for (size_t i = 0; i < ARRAY_LEN(file); i++)
		if (file[i].alias[0])
			put_file(file[i].name, "", 0);
	assert_int_equal(fat_scan(&t, ".", &err), 0);
	assert_int_equal(fat_alias(&t, 0, &err), 0);
	for (size_t i = 0; i < ARRAY_LEN(file); i++) {
		if (!file[i].alias[0] || strcmp(file[i].name, "A.LONG") == 0)
			continue;
		alias(&t, file[i].name, file[i].alias, file[i].nlong);
	}
	alias(&t, "A.LONG", "A~2     LON", 1); /* A~1.LON is there */
	fat_tree_free(&t);
}

/* A folder with nothing in it but sizes. */
static int shape(struct fat_shape *s, unsigned type, bool floppy, uint64_t files,
		 uint64_t bytes)
{
	struct fat_want w = {.type = type, .floppy = floppy};
	struct fat_tree t = {.n = files + 1, .root = -1};
	char name[] = "d";
	int rc;

	t.node = calloc(t.n, sizeof(*t.node));
	t.node[0] = (struct fat_node){.name = name, .folder = true, .size = 32};
	for (size_t i = 1; i < t.n; i++)
		t.node[i].size = bytes;
	rc = fat_shape_make(s, &t, &w, &err);
	free(t.node);
	return rc;
}

/* What every division must keep. */
static void sound(const struct fat_shape *s)
{
	uint32_t root = s->root_entries * 32 / 512;

	assert_int_equal(s->data, s->reserved + 2 * s->fat + root);
	assert_true(s->start + (uint64_t)s->size <= s->disk);
	assert_true(s->data + (uint64_t)s->clusters * s->per_cluster <= s->size);
	assert_true((uint64_t)s->fat * 512 * 8 / s->type >= s->clusters + 2ull);
	assert_true(s->used <= s->clusters);
	assert_true(s->type == 12   ? s->clusters < 4085
		    : s->type == 16 ? s->clusters >= 4085 && s->clusters < 65525
				    : s->clusters >= 65525);
	assert_true(s->start == 0 || (s->start + s->data) % 8 == 0);
}

static void borders(void **state)
{
	static const uint64_t k8 = 8192, k32 = 32768;
	struct fat_shape s;

	/* the peer's sizes */
	assert_int_equal(shape(&s, 0, false, 0, 0), 0);
	assert_int_equal(s.type, 16);
	assert_int_equal(s.disk, 1024 * 16 * 63);
	assert_int_equal(shape(&s, 12, false, 0, 0), 0);
	assert_int_equal(s.disk, 64 * 16 * 63);
	assert_int_equal(shape(&s, 32, false, 0, 0), 0);
	assert_int_equal(s.disk, 1024 * 16 * 63);
	assert_int_equal(shape(&s, 0, true, 0, 0), 0);
	assert_int_equal(s.disk, 5760);
	assert_int_equal(shape(&s, 12, true, 0, 0), 0);
	assert_int_equal(s.disk, 2880);

	/* as many clusters as there are, one more: the type, and the next disk */
	assert_int_equal(shape(&s, 0, false, 64474, k8), 0);
	assert_int_equal(s.type, 16);
	assert_int_equal(s.disk, 1024 * 16 * 63);
	assert_int_equal(shape(&s, 0, false, 64475, k8), 0);
	assert_int_equal(s.type, 32);
	assert_int_equal(shape(&s, 16, false, 65524, k8), 0);
	assert_int_equal(s.per_cluster, 16);
	assert_int_equal(s.used, 65524);
	assert_int_equal(shape(&s, 16, false, 65525, k8), -1);
	assert_int_equal(shape(&s, 16, false, 65524, k32), 0);
	assert_int_equal(s.per_cluster, 64);
	assert_int_equal(shape(&s, 12, false, 4084, k32), 0);
	assert_int_equal(shape(&s, 12, false, 4085, 1), -1);
	assert_int_equal(shape(&s, 12, true, 2847, 512), 0);
	assert_int_equal(shape(&s, 12, true, 2848, 512), -1);

	/* the last disk that 32 bits can count, and what is behind it */
	assert_int_equal(shape(&s, 0, false, 511, FAT_FILE_MAX), 0);
	assert_int_equal(s.per_cluster, 64);
	sound(&s);
	assert_int_equal(shape(&s, 0, false, 512, FAT_FILE_MAX), -1);
	assert_non_null(strstr(err.text, "2 TiB"));
}

static void all_shapes_are_sound(void **state)
{
	static const unsigned types[] = {0, 12, 16, 32};
	struct fat_shape s;
	unsigned seed = 3, made = 0;

	for (unsigned i = 0; i < 4000; i++) {
		unsigned type = types[dice(&seed) % 4];
		uint64_t files = dice(&seed) % (i % 2 ? 70 : 7000);
		uint64_t bytes = dice(&seed) % (1u << (10 + dice(&seed) % 15));

		if (shape(&s, type, i % 5 == 0, files, bytes * (i % 3 ? 1 : 100)))
			continue;
		sound(&s);
		made++;
	}
	/* each count around the borders */
	for (uint64_t n = 4000; n < 4200; n++)
		if (shape(&s, n % 2 ? 12 : 16, false, n, 8192) == 0)
			sound(&s);
	for (uint64_t n = 64400; n < 65600; n += 7)
		if (shape(&s, n % 2 ? 0 : 16, false, n, n % 3 ? 8192 : 16384) == 0)
			sound(&s);
	assert_true(made > 2000);
}

/* Any piece of the FAT is the same as that piece of the whole; entries are as written here. */
static void the_table(void **state)
{
	static const struct fat_chain chain[] = {
		{2, 1}, {3, 5}, {8, 340}, {348, 1}, {349, 200}};
	static const unsigned types[] = {12, 16, 32};

	for (size_t k = 0; k < ARRAY_LEN(types); k++) {
		struct fat_shape s = {.type = types[k], .media = 0xf8};
		uint32_t mask = types[k] == 32 ? 0x0fffffff : (1u << types[k]) - 1;
		static uint8_t whole[4096], piece[4096];
		unsigned seed = 5;

		fat_table_put(&s, chain, ARRAY_LEN(chain), 0, whole, sizeof(whole));
		for (uint32_t c = 0; c < 4096 * 8 / types[k]; c++) {
			uint32_t got = types[k] == 32	? get_le32(whole + 4 * c)
				       : types[k] == 16 ? get_le16(whole + 2 * c)
				       : c % 2		? get_le16(whole + c * 3 / 2) >> 4
							: get_le16(whole + c * 3 / 2) & 0xfff;
			uint32_t want = c == 0	  ? 0x0ffffff8
					: c == 1  ? 0x0fffffff
					: c > 548 ? 0
					: c == 2 || c == 7 || c == 347 || c == 348 || c == 548
						? 0x0fffffff
						: c + 1;

			assert_int_equal(got, want & mask);
		}
		for (unsigned i = 0; i < 3000; i++) {
			uint64_t off = dice(&seed) % 3000;
			size_t n = dice(&seed) % (4096 - off);

			fat_table_put(&s, chain, ARRAY_LEN(chain), off, piece, n);
			assert_memory_equal(piece, whole + off, n);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(locations), cmocka_unit_test_setup(short_names, scratch_empty),
		cmocka_unit_test(borders),   cmocka_unit_test(all_shapes_are_sound),
		cmocka_unit_test(the_table),
	};

	return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
