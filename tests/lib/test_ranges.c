#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/ranges.h"
#include "tests/lib/stamp.h"

#define SLOTS 64

struct board {
	struct ranges *r;
	int writers[SLOTS], readers[SLOTS]; /* who is in each slot, by relaxed atomics */
	int broken;
};

struct player {
	struct board *b;
	unsigned seed;
};

static void *play(void *arg)
{
	struct player *p = arg;
	struct board *b = p->b;

	for (int i = 0; i < 2000; i++) {
		unsigned from = dice(&p->seed) % SLOTS, to = from + 1 + dice(&p->seed) % 5;
		bool writer = dice(&p->seed) % 2;
		struct range_hold hold;

		if (to > SLOTS)
			to = SLOTS;
		ranges_lock(b->r, &hold, from, to, writer);
		for (unsigned s = from; s < to; s++) {
			int w = __atomic_load_n(&b->writers[s], __ATOMIC_RELAXED);
			int r = __atomic_load_n(&b->readers[s], __ATOMIC_RELAXED);

			if (w || (writer && r))
				__atomic_store_n(&b->broken, 1, __ATOMIC_RELAXED);
			__atomic_add_fetch(writer ? &b->writers[s] : &b->readers[s], 1,
					   __ATOMIC_RELAXED);
		}
		for (unsigned s = from; s < to; s++)
			__atomic_sub_fetch(writer ? &b->writers[s] : &b->readers[s], 1,
					   __ATOMIC_RELAXED);
		ranges_unlock(b->r, &hold);
	}
	return NULL;
}

static void test_exclusion(void **state)
{
	struct board b = {0};
	struct player p[8];
	pthread_t t[8];
	struct err err;

	b.r = ranges_new(&err);
	for (unsigned i = 0; i < 8; i++) {
		p[i] = (struct player){&b, i + 1};
		pthread_create(&t[i], NULL, play, &p[i]);
	}
	for (unsigned i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(b.broken, 0);
	ranges_free(b.r);
}

static void test_readers_share(void **state)
{
	struct range_hold a, b;
	struct err err;
	struct ranges *r = ranges_new(&err);

	ranges_lock(r, &a, 0, 10, false);
	ranges_lock(r, &b, 5, 15, false); /* would hang if readers excluded each other */
	ranges_unlock(r, &a);
	ranges_unlock(r, &b);
	ranges_lock(r, &a, 0, 5, true);
	ranges_lock(r, &b, 5, 10, true); /* neighbours do not touch */
	ranges_unlock(r, &b);
	ranges_unlock(r, &a);
	ranges_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exclusion),
		cmocka_unit_test(test_readers_share),
	};

	return cmocka_run_group_tests_name("ranges", tests, NULL, NULL);
}
