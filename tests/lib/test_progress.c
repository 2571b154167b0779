#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/progress.h"

/* Points fd at a new empty file; *saved gets back to where it was. */
static int divert(int fd, int *saved)
{
	char name[] = "/tmp/test_progress.XXXXXX";
	int file = mkstemp(name);

	assert_true(file >= 0);
	unlink(name);
	fflush(stdout);
	*saved = dup(fd);
	assert_true(dup2(file, fd) == fd);
	return file;
}

static char *restore(int fd, int file, int saved)
{
	static char text[1 << 16];
	ssize_t n;

	fflush(stdout);
	dup2(saved, fd);
	close(saved);
	n = pread(file, text, sizeof(text) - 1, 0);
	assert_true(n >= 0);
	text[n] = '\0';
	close(file);
	return text;
}

static void peer_lines(void **state)
{
	int saved, file = divert(1, &saved);
	struct progress *p = progress_new(PROGRESS_PEER, 1000);

	progress_add(p, 5); /* less than a percent: no line */
	progress_add(p, 118);
	progress_add(p, 877);
	progress_free(p, true);
	assert_string_equal(restore(1, file, saved),
			    "    (0.00/100%)\r    (12.30/100%)\r    (100.00/100%)\r"
			    "    (100.00/100%)\r\n");
}

static void failed_and_empty(void **state)
{
	int saved, file = divert(1, &saved);
	struct progress *p = progress_new(PROGRESS_PEER, 0);

	progress_total(p, 200);
	progress_add(p, 100);
	progress_free(p, false);
	progress_free(progress_new(PROGRESS_PEER, 0), true);
	progress_free(progress_new(PROGRESS_QUIET, 9), true);
	progress_free(progress_new(PROGRESS_SIGNAL, 9), true);
	progress_free(NULL, true);
	progress_add(NULL, 1);
	assert_string_equal(restore(1, file, saved), "    (0.00/100%)\r    (50.00/100%)\r\n"
						     "    (0.00/100%)\r    (100.00/100%)\r\n");
}

static void bar_without_terminal(void **state)
{
	int saved, file = divert(1, &saved);

	progress_free(progress_new(PROGRESS_BAR, 5), true);
	assert_string_equal(restore(1, file, saved), "    (0.00/100%)\r    (100.00/100%)\r\n");
}

static void signals(void **state)
{
	int saved, file;
	struct progress *p;

	progress_signals();
	raise(SIGUSR1); /* nothing runs: nothing happens */
	file = divert(2, &saved);
	p = progress_new(PROGRESS_SIGNAL, 10000);
	raise(SIGUSR1);
	progress_add(p, 907);
	raise(SIGUSR1);
	progress_add(p, 1000);
	raise(SIGUSR1);
	progress_add(p, 10000);
	raise(SIGUSR1);
	progress_free(p, true);
	raise(SIGUSR1);
	assert_string_equal(restore(2, file, saved),
			    "    (0.00/100%)\n    (9.07/100%)\n    (19.07/100%)\n"
			    "    (100.00/100%)\n");
}

static void *add(void *p)
{
	for (int i = 0; i < 20000; i++)
		progress_add(p, 1);
	return NULL;
}

static void threads(void **state)
{
	int saved, file = divert(1, &saved);
	struct progress *p = progress_new(PROGRESS_PEER, 80000);
	pthread_t t[4];
	char *text;

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, add, p), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	progress_free(p, true);
	text = restore(1, file, saved);
	assert_non_null(strstr(text, "(100.00/100%)\r\n"));
	assert_true(strlen(text) < 110 * 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peer_lines),
		cmocka_unit_test(failed_and_empty),
		cmocka_unit_test(bar_without_terminal),
		cmocka_unit_test(signals),
		cmocka_unit_test(threads),
	};

	return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
