#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/pool.h"

struct trial {
	unsigned order[1000];
	unsigned committed, finished, done, ran;
	int fail_at, fail_step;
};

struct trial_job {
	struct pool_job pool;
	struct trial *t;
	unsigned n;
};

static int maybe_fail(struct trial_job *j, int at_step, struct err *err)
{
	if ((int)j->n >= j->t->fail_at && j->t->fail_at >= 0 && j->t->fail_step == at_step)
		return err_set(err, 5, "job %u", j->n);
	return 0;
}

static int run(struct pool_job *p, struct err *err)
{
	struct trial_job *j = (struct trial_job *)p;

	__atomic_add_fetch(&j->t->ran, 1, __ATOMIC_RELAXED);
	if (j->n % 7 == 0)
		usleep(300);
	return maybe_fail(j, 0, err);
}

static int commit(struct pool_job *p, struct err *err)
{
	struct trial_job *j = (struct trial_job *)p;

	if (maybe_fail(j, 1, err))
		return -1;
	j->t->order[j->t->committed++] = j->n; /* no lock: one at a time is the contract */
	return 0;
}

static int finish(struct pool_job *p, struct err *err)
{
	struct trial_job *j = (struct trial_job *)p;

	__atomic_add_fetch(&j->t->finished, 1, __ATOMIC_RELAXED);
	return maybe_fail(j, 2, err);
}

static void done(struct pool_job *p)
{
	struct trial_job *j = (struct trial_job *)p;

	__atomic_add_fetch(&j->t->done, 1, __ATOMIC_RELAXED);
	free(j);
}

static const struct pool_steps steps = {run, commit, finish, done};

static unsigned submit_all(struct pool *pool, struct trial *t, unsigned n, int *rc)
{
	unsigned submitted = 0;
	struct err err;

	*rc = 0;
	while (submitted < n && *rc == 0) {
		struct trial_job *j = calloc(1, sizeof(*j));

		j->pool.steps = &steps;
		j->t = t;
		j->n = submitted++;
		*rc = pool_submit(pool, &j->pool, &err);
	}
	return submitted;
}

static void test_order(void **state)
{
	static const unsigned threads[] = {0, 1, 2, 5, 16};
	static const unsigned windows[] = {1, 2, 8, 40};

	for (size_t i = 0; i < 5; i++) {
		for (size_t k = 0; k < 4; k++) {
			struct trial t = {.fail_at = -1};
			struct err err;
			struct pool *pool = pool_new(threads[i], windows[k], &err);
			int rc;

			assert_int_equal(submit_all(pool, &t, 500, &rc), 500);
			assert_int_equal(rc, 0);
			assert_int_equal(pool_drain(pool, &err), 0);
			assert_int_equal(t.committed, 500);
			assert_int_equal(t.finished, 500);
			assert_int_equal(t.done, 500);
			for (unsigned n = 0; n < 500; n++)
				assert_int_equal(t.order[n], n);
			pool_free(pool);
		}
	}
}

static void test_failure(void **state)
{
	for (int step = 0; step < 3; step++) {
		for (unsigned threads = 0; threads < 5; threads++) {
			struct trial t = {.fail_at = 100, .fail_step = step};
			struct err err;
			struct pool *pool = pool_new(threads, 8, &err);
			unsigned n;
			int rc;

			n = submit_all(pool, &t, 400, &rc);
			assert_int_equal(pool_drain(pool, &err), -1);
			assert_int_equal(err.num, 5);
			if (threads < 2)
				assert_string_equal(err.text, "job 100");
			assert_int_equal(t.done, n);
			assert_true(t.committed <= n);
			pool_free(pool);
		}
	}
}

static void test_free_drops(void **state)
{
	struct trial t = {.fail_at = -1};
	struct err err;
	struct pool *pool = pool_new(3, 100, &err);
	int rc;

	submit_all(pool, &t, 90, &rc);
	pool_free(pool);
	assert_int_equal(t.done, 90);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_failure),
		cmocka_unit_test(test_free_drops),
	};

	return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
