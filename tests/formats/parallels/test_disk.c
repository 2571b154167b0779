/* parallels: a disk of several files - its description, what it shows, its snapshots. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/parallels/descriptor.h"
#include "formats/parallels/parallels.h"
#include "lib/chain.h"
#include "lib/io/io.h"
#include "lib/mem.h"

#define GUID(n) "{0000000" #n "-0000-0000-0000-000000000000}"
#define NONE	GUID(0)

static char *text_of(const char *name, size_t *n)
{
	char path[200], *text = malloc(1 << 16);
	FILE *f;

	snprintf(path, sizeof(path), "tests/data/parallels/%s", name);
	f = fopen(path, "rb");
	assert_non_null(f);
	assert_non_null(text);
	*n = fread(text, 1, (1 << 16) - 1, f);
	text[*n] = '\0';
	fclose(f);
	return text;
}

/* ---- the golden disk ----------------------------------------------------------------------
 */

static struct blk *file_of(const char *name)
{
	struct err err = {0};
	struct blk *blk;
	uint8_t plain[2048];

	if (strcmp(name, "plain.raw") == 0) {
		memset(plain, 'p', sizeof(plain));
		blk = io_mem_new(plain, sizeof(plain), &err);
	} else {
		size_t n;
		AUTO_FREE char *text = text_of(name, &n);

		blk = io_mem_new(text, n, &err);
	}
	assert_non_null(blk);
	return blk;
}

static struct image *open_disk(void)
{
	struct image *image = NULL;
	struct err err = {0};

	if (format_parallels.open(file_of("DiskDescriptor.xml"), NULL, 0, &image, &err))
		fail_msg("%s", err.text);
	assert_int_equal(image->nfile, 4);
	for (size_t i = 0; i < image->nfile; i++)
		image->file[i].blk = file_of(image->file[i].name);
	if (format_parallels.attached(image, &err))
		fail_msg("%s", err.text);
	return image;
}

/* The letter or the number that each sector begins with: "." is zeros. */
static void shows(struct image *image, const char *want)
{
	struct err err = {0};
	char got[17] = "";
	uint8_t buf[512];

	for (unsigned i = 0; i < 16; i++) {
		struct extent e;

		if (blk_extent(&image->blk, i * 512, 512, &e, &err) ||
		    blk_read_extent(&image->blk, &e, buf, sizeof(buf), i * 512, &err))
			fail_msg("%s", err.text);
		got[i] = buf[0] == '0' ? (char)buf[7] : buf[0] ? (char)buf[0] : '.';
	}
	assert_string_equal(got, want);
}

static void test_golden(void **state)
{
	struct image *image = open_disk();
	struct info info = {0};
	struct err err = {0};

	assert_int_equal(blk_size(&image->blk), 16 * 512);
	/* base 23 45 67 .. .. .., over it top .. 23 .. 45 .. .. */
	shows(image, "232367"
		     "45....pppp");
	assert_int_equal(format_parallels.info(image, &info, &err), 0);
	assert_int_equal(info.nsnapshot, 1);
	assert_string_equal(info.snapshot->name, GUID(1));
	assert_string_equal(info.snapshot->id, "1");
	info_free(&info);
	assert_int_equal(format_parallels.snapshot->load(image, 1, &err), -1);
	assert_int_equal(err.num, ENOENT);
	assert_int_equal(format_parallels.snapshot->load(image, 0, &err), 0);
	shows(image, "234567"
		     "......pppp");
	assert_int_equal(blk_close(&image->blk, &err), 0);
}

static void test_read_only(void **state)
{
	struct blk *file = file_of("DiskDescriptor.xml");
	struct image *image;
	struct err err = {0};

	assert_int_equal(format_parallels.open(file, NULL, IMAGE_WRITE, &image, &err), -1);
	assert_int_equal(err.num, EACCES);
	blk_close(file, &err);
}

static void test_probe(void **state)
{
	static const struct {
		const char *text;
		uint64_t size;
		int want;
	} rows[] = {
		{"<Parallels_disk_image Version=\"1.0\">", 100, 100},
		{"\xef\xbb\xbf \n<?xml?>\n<Parallels_disk_image>", 1 << 20, 100},
		{"<Parallels_disk_image>", (1 << 20) + 1, 0},
		{"x<Parallels_disk_image>", 100, 0},
		{"<html>", 100, 0},
		{"WithoutFreeSpace", 100, 0},
		{"", 0, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(format_parallels.probe((const uint8_t *)rows[i].text,
							strlen(rows[i].text), rows[i].size),
				 rows[i].want);
}

/* ---- descriptions -------------------------------------------------------------------------
 */

#define HEAD	      "<Parallels_disk_image Version='1.0'>"
#define PARAMETERS(n) "<Disk_Parameters><Disk_size>" #n "</Disk_size></Disk_Parameters>"
#define BEGIN                                                                                  \
	HEAD PARAMETERS(8) "<StorageData><Storage><Start>0</Start><End>8</End>"                \
			   "<Blocksize>2</Blocksize>"
#define IMAGE(guid, type, file)                                                                \
	"<Image><GUID>" guid "</GUID><Type>" type "</Type><File>" file "</File></Image>"
#define SHOT(guid, parent)                                                                     \
	"<Shot><GUID>" guid "</GUID><ParentGUID>" parent "</ParentGUID></Shot>"
#define MIDDLE "</Storage></StorageData><Snapshots>"
#define END    "</Snapshots></Parallels_disk_image>"

/* NULL: it is good, and so is the chain of its present state. */
static void parses(const char *text, const char *says)
{
	struct prl_descriptor d;
	struct err err = {0};
	size_t *parts, depth;
	int rc = prl_descriptor_parse(text, strlen(text), &d, &err);

	if (rc == 0) {
		rc = prl_descriptor_chain(&d, d.top, &parts, &depth, &err);
		if (rc == 0)
			free(parts);
		prl_descriptor_free(&d);
	}
	if ((rc == 0) != !says || (says && !strstr(err.text, says)))
		fail_msg("%s: %s", text, rc ? err.text : "good");
}

static void test_good(void **state)
{
	/* the only one there is, or the one that is named */
	parses(BEGIN IMAGE(GUID(1), "Plain", "a") MIDDLE END, NULL);
	parses(BEGIN IMAGE(GUID(1), "Plain", "a") "</Storage></StorageData>"
						  "</Parallels_disk_image>",
	       NULL);
	parses(BEGIN IMAGE(GUID(1), "Plain", "a/b") MIDDLE "<TopGUID>" GUID(1) "</TopGUID>" END,
	       NULL);
	parses(BEGIN IMAGE("{5fbaabe3-6958-40ff-92a7-860e329aab41}", "Compressed", "..a")
		       IMAGE(GUID(2), "Plain", "b..")
			       MIDDLE SHOT("{5FBAABE3-6958-40FF-92A7-860E329AAB41}", GUID(2))
				       SHOT(GUID(2), NONE) END,
	       NULL);
}

static void test_bad(void **state)
{
	static const char *const rows[][2] = {
		{"", "no element"},
		{"<a/>", "<a> is not <Parallels_disk_image>"},
		{"<Parallels_disk_image/>", "Version '' "},
		{"<Parallels_disk_image Version='1.1'/>", "Version '1.1'"},
		{HEAD "</Parallels_disk_image>", "no <Disk_Parameters>"},
		{HEAD "<Disk_Parameters/></Parallels_disk_image>", "no <Disk_size>"},
		{HEAD PARAMETERS(-1) END, "ends nothing"},
		{HEAD PARAMETERS(-1) "</Parallels_disk_image>", "'-1' is not a number"},
		{HEAD PARAMETERS(1x) "</Parallels_disk_image>", "'1x' is not a number"},
		{HEAD PARAMETERS(18014398509479936) "</Parallels_disk_image>", "up to"},
		{HEAD PARAMETERS(99999999999999999999) "</Parallels_disk_image>", "up to"},
		{HEAD PARAMETERS(1) "</Parallels_disk_image>", "no <Storage>"},
		{BEGIN IMAGE("x", "Plain", "a") MIDDLE END, "x"},
		{BEGIN IMAGE(GUID(1), "Sparse", "a") MIDDLE END, "type 'Sparse'"},
		{BEGIN IMAGE(GUID(1), "Plain", "") MIDDLE END, "no <File>"},
		{BEGIN IMAGE(GUID(1), "Plain", "/a") MIDDLE END, "in its folder"},
		{BEGIN IMAGE(GUID(1), "Plain", "a/..") MIDDLE END, "in its folder"},
		{BEGIN IMAGE(GUID(1), "Plain", "../a") MIDDLE END, "in its folder"},
		{BEGIN MIDDLE END, "present state is not said"},
		{BEGIN IMAGE(GUID(1), "Plain", "a") IMAGE(GUID(2), "Plain", "b") MIDDLE END,
		 "present state is not said"},
		{BEGIN IMAGE(GUID(1), "Plain", "a") MIDDLE "<TopGUID>" GUID(2) "</TopGUID>" END,
		 "Storage 0 has no image {00000002-"},
		{BEGIN IMAGE(GUID(1), "Plain", "a") MIDDLE SHOT(GUID(1), GUID(2)) END,
		 "1 images, and 2 are needed"},
		{BEGIN IMAGE(GUID(1), "Plain", "a") MIDDLE SHOT(GUID(1), NONE)
			 SHOT(GUID(1), NONE) END,
		 "there twice"},
		{BEGIN IMAGE(GUID(1), "Plain", "a") MIDDLE SHOT(GUID(1), GUID(1)) END, "loop"},
		{BEGIN IMAGE(GUID(1), "Plain", "a") IMAGE(GUID(2), "Plain", "b") MIDDLE
		 "<TopGUID>" GUID(1) "</TopGUID>" SHOT(GUID(1), GUID(2)) END,
		 "is plain, and yet"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		parses(rows[i][0], rows[i][1]);
}

/* Every prefix, and every byte changed: an error or a disk, and no more. */
static void test_damaged(void **state)
{
	size_t n, *parts, depth;
	AUTO_FREE char *text = text_of("DiskDescriptor.xml", &n);
	struct prl_descriptor d;
	struct err err;

	for (size_t i = 0; i < n; i++) {
		char was = text[i];

		text[i] = (char)(was ^ 1);
		if (prl_descriptor_parse(text, n, &d, &err) == 0) {
			if (prl_descriptor_chain(&d, d.top, &parts, &depth, &err) == 0)
				free(parts);
			prl_descriptor_free(&d);
		}
		text[i] = was;
		if (i + 30 < n)
			assert_int_equal(prl_descriptor_parse(text, i, &d, &err), -1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden), cmocka_unit_test(test_read_only),
		cmocka_unit_test(test_probe),  cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),    cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
