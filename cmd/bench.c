/*
 * bench: how long do requests of one size take?
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd/args.h"
#include "cmd/cmd.h"
#include "lib/bench.h"

#define COUNT  75000
#define DEPTH  64
#define BUFFER 4096

static const struct opt bench_opts[] = {
	{"format", 'f', OPT_STR, 0, "FMT", NULL,
	 "The image's format, if it should not be guessed"},
	{"image-opts", 0, OPT_FLAG, 0, NULL, NULL, "FILENAME is a list of options"},
	{"cache", 't', OPT_STR, 0, "CACHE", NULL, "The cache mode to open the image with"},
	{"count", 'c', OPT_STR, 0, "COUNT", NULL, "The number of requests (75000)"},
	{"depth", 'd', OPT_STR, 0, "DEPTH", NULL,
	 "Requests under way at once (64); more than 64 are as 64"},
	{"offset", 'o', OPT_STR, 0, "OFFSET", NULL, "Where the first request begins (0)"},
	{"buffer-size", 's', OPT_STR, 0, "BUFFER_SIZE", NULL, "Bytes of each request (4k)"},
	{"step-size", 'S', OPT_STR, 0, "STEP_SIZE", NULL,
	 "From one request to the next; else as many bytes as each has"},
	{"write", 'w', OPT_FLAG, 0, NULL, NULL, "Write; without it, read"},
	{"pattern", 0, OPT_STR, 0, "PATTERN", NULL, "With -w, the byte to write (0)"},
	{"flush-interval", 0, OPT_STR, 0, "FLUSH_INTERVAL", NULL,
	 "With -w, flush after so many requests, with none under way"},
	{"no-drain", 0, OPT_FLAG, 0, NULL, NULL, "Flush while requests are under way"},
	{"aio", 'i', OPT_STR, 0, "AIO", "threads|native|io_uring",
	 "Kind of asynchronous I/O; threads are used for all of them"},
	{"native", 'n', OPT_FLAG, 0, NULL, NULL, "The same as -i native"},
	{"force-share", 'U', OPT_FLAG, 0, NULL, NULL,
	 "Read beside a program that writes the image"},
	{"quiet", 'q', OPT_FLAG, 0, NULL, NULL,
	 "Taken for qemu-img's sake: the result is printed all the same"},
	{.type = OPT_END},
};

struct request {
	bool native;
	const char *cache;
	struct bench b;
};

/* A number as C reads it: the peer takes 010 and +8, too. */
static int take_number(const char *text, uint32_t max, const char *what, uint32_t *out)
{
	unsigned long v;
	char *end;

	errno = 0;
	v = strtoul(text, &end, 0);
	if (end == text || *end || errno || v > max) {
		cmd_error("Invalid %s specified", what);
		return 1;
	}
	*out = (uint32_t)v;
	return 0;
}

static int take_small(const char *text, const char *what, uint32_t *out)
{
	uint64_t v;

	if (args_range(text, what, 0, INT_MAX, &v))
		return 1;
	*out = (uint32_t)v;
	return 0;
}

static int take_aio(struct request *q, const char *aio)
{
	if (strcmp(aio, "threads") && strcmp(aio, "native") && strcmp(aio, "io_uring")) {
		cmd_error("Invalid aio option: %s", aio);
		return 1;
	}
	q->native = strcmp(aio, "native") == 0;
	return 0;
}

static int take_cache(struct request *q, const char *mode)
{
	unsigned io;
	bool through;
	struct err err;

	q->cache = mode;
	if (stack_cache_mode(mode, &io, &through, &err) == 0)
		return 0;
	cmd_error("Invalid cache mode");
	return 1;
}

static int take_pattern(struct bench *b, const char *text)
{
	uint32_t v;

	if (take_number(text, 0xff, "pattern byte", &v))
		return 1;
	b->pattern = (uint8_t)v;
	return 0;
}

static int take(struct request *q, const char *key, const char *text)
{
	struct bench *b = &q->b;

	if (strcmp(key, "count") == 0)
		return take_number(text, INT_MAX, "request count", &b->count);
	if (strcmp(key, "depth") == 0)
		return take_number(text, INT_MAX, "queue depth", &b->depth);
	if (strcmp(key, "flush-interval") == 0)
		return take_number(text, INT_MAX, "flush interval", &b->flush_every);
	if (strcmp(key, "pattern") == 0)
		return take_pattern(b, text);
	if (strcmp(key, "offset") == 0)
		return args_bytes(text, "offset", &b->off);
	if (strcmp(key, "buffer-size") == 0)
		return take_small(text, "buffer size", &b->n);
	if (strcmp(key, "step-size") == 0)
		return take_small(text, "step_size", &b->step);
	if (strcmp(key, "aio") == 0)
		return take_aio(q, text);
	if (strcmp(key, "native") == 0)
		q->native = true;
	return strcmp(key, "cache") == 0 ? take_cache(q, text) : 0;
}

/* One by one, so that of several mistakes the first is told. */
static int take_all(struct request *q, const struct opts *o)
{
	struct bench *b = &q->b;

	for (size_t i = 0; i < opts_count(o); i++)
		if (take(q, opts_key(o, i), opts_value(o, i)))
			return 1;
	if (b->step == 0)
		b->step = b->n;
	b->write = opts_has(o, "write");
	b->drain = !opts_has(o, "no-drain");
	/* the peer's requests fail at the end of a disk that is no multiple of the step */
	b->fit = cmd_persona == PERSONA_PLATTER;
	return 0;
}

/* What goes with what: a text if it does not. */
static const char *check_modes(const struct bench *b)
{
	if (!b->write && b->flush_every)
		return "--flush-interval is only available in write tests";
	if (b->flush_every && b->flush_every < b->depth)
		return "Flush interval can't be smaller than depth";
	if (b->depth == 0 && b->count > 0)
		return "Invalid queue depth specified"; /* the peer would wait for ever */
	return NULL;
}

static void announce(const struct bench *b)
{
	printf("Sending %" PRIu32 " %s requests, %" PRIu32 " bytes each, %" PRIu32
	       " in parallel (starting at offset %" PRIu64 ", step size %" PRIu32 ")\n",
	       b->count, b->write ? "write" : "read", b->n, b->depth, b->off, b->step);
	if (b->flush_every)
		printf("Sending flush every %" PRIu32 " requests\n", b->flush_every);
	fflush(stdout);
}

static int bench_chain(struct bench *b, struct chain *chain)
{
	struct timespec from, to;
	struct err err;

	b->blk = &chain->blk;
	announce(b);
	clock_gettime(CLOCK_MONOTONIC, &from);
	if (bench_run(b, &err)) {
		cmd_error("Failed request: %s",
			  cmd_persona == PERSONA_QEMU_IMG ? strerror(err.num) : err.text);
		return 1;
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("Run completed in %3.3f seconds.\n",
	       (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
	return 0;
}

static struct chain *open_image(const struct request *q, const struct opts *o, const char *name)
{
	struct stack_request r;
	struct chain *chain;
	struct err err;
	unsigned io = 0;
	bool through;

	if (args_source(o, name, &r))
		return NULL;
	r.cache = q->cache;
	r.write = q->b.write;
	chain = args_open(&r);
	if (!chain)
		return NULL;
	if (!q->native ||
	    (stack_cache_mode(q->cache, &io, &through, &err) == 0 && (io & IO_DIRECT)))
		return chain;
	blk_close(&chain->blk, &err);
	cmd_error("Could not open '%s': aio=native was specified, but it requires "
		  "cache.direct=on, which was not specified.",
		  name);
	return NULL;
}

static int bench_image(const struct request *q, const struct opts *o, const char *name)
{
	struct bench b = q->b;
	const char *clash = check_modes(&b);
	struct chain *chain;
	int rc;

	if (clash) {
		cmd_error("%s", clash);
		return 1;
	}
	chain = open_image(q, o, name);
	if (!chain)
		return 1;
	rc = bench_chain(&b, chain);
	return args_close(chain, rc);
}

static int run_bench(int argc, char **argv)
{
	struct request q = {.b = {.n = BUFFER, .count = COUNT, .depth = DEPTH}};
	struct opts *o;
	int npos, rc;

	o = cmd_parse(&cmd_bench, argc, argv, &npos, &rc);
	if (!o)
		return rc;
	rc = take_all(&q, o);
	if (rc == 0)
		rc = npos == 1 ? bench_image(&q, o, argv[1])
			       : cmd_usage("Expecting one image file name");
	opts_free(o);
	return rc;
}

const struct command cmd_bench = {
	.name = "bench",
	.synopsis = "FILENAME",
	.summary = "Measure how long requests take",
	.opts = bench_opts,
	.run = run_bench,
};
