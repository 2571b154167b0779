#include "lib/pool.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

/*
 * Three queues of jobs: to run (in ticket order), ran (sorted by ticket, waiting for
 * their turn to commit) and to finish. Workers take the oldest step first: finish,
 * then commit, then run, so that memory is given back before more is taken.
 */
struct pool {
	pthread_mutex_t lock;
	pthread_cond_t work;  /* workers wait for steps */
	pthread_cond_t space; /* the submitter waits for room or for the end */
	pthread_t *thread;
	unsigned nthread, window, busy;
	unsigned low; /* the submitter sleeps until so few are under way: fewer wake-ups */
	bool quit, failed, committing;
	struct pool_job *to_run, **run_tail, *ran, *to_finish;
	unsigned long long next_ticket, next_commit;
	unsigned long long fail_ticket;
	struct err fail;
};

static void record_failure(struct pool *p, unsigned long long ticket, const struct err *err)
{
	/* of several failures the one that a serial run would have met first */
	if (!p->failed || ticket < p->fail_ticket) {
		p->fail = *err;
		p->fail_ticket = ticket;
	}
	p->failed = true;
}

static int step(int (*fn)(struct pool_job *, struct err *), struct pool_job *job,
		struct err *err)
{
	return fn ? fn(job, err) : 0;
}

static void retire(struct pool *p, struct pool_job *job)
{
	pthread_mutex_unlock(&p->lock);
	job->steps->done(job);
	pthread_mutex_lock(&p->lock);
	if (--p->busy <= p->low)
		pthread_cond_signal(&p->space);
}

static void insert_ran(struct pool *p, struct pool_job *job)
{
	struct pool_job **at = &p->ran;

	while (*at && (*at)->ticket < job->ticket)
		at = &(*at)->next;
	job->next = *at;
	*at = job;
}

/* Runs one step without the lock; true if the job goes on. */
static bool try_step(struct pool *p, int (*fn)(struct pool_job *, struct err *),
		     struct pool_job *job)
{
	struct err err;
	int rc;

	if (p->failed)
		return false;
	pthread_mutex_unlock(&p->lock);
	rc = step(fn, job, &err);
	pthread_mutex_lock(&p->lock);
	if (rc)
		record_failure(p, job->ticket, &err);
	return rc == 0;
}

/* Commits every job whose turn it is. One thread at a time. */
static void commit_ready(struct pool *p)
{
	if (p->committing)
		return;
	p->committing = true;
	while (p->ran && (p->failed || p->ran->ticket == p->next_commit)) {
		struct pool_job *job = p->ran;

		p->ran = job->next;
		p->next_commit = job->ticket + 1;
		if (try_step(p, job->steps->commit, job)) {
			job->next = p->to_finish;
			p->to_finish = job;
			pthread_cond_signal(&p->work);
		} else {
			retire(p, job);
		}
	}
	p->committing = false;
}

static bool work_once(struct pool *p)
{
	struct pool_job *job;

	if (p->to_finish) {
		job = p->to_finish;
		p->to_finish = job->next;
		try_step(p, job->steps->finish, job);
		retire(p, job);
		return true;
	}
	if (p->to_run) {
		job = p->to_run;
		p->to_run = job->next;
		if (!p->to_run)
			p->run_tail = &p->to_run;
		if (try_step(p, job->steps->run, job))
			insert_ran(p, job);
		else
			retire(p, job);
		commit_ready(p);
		return true;
	}
	return false;
}

static void *worker(void *arg)
{
	struct pool *p = arg;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		if (work_once(p))
			continue;
		if (p->quit)
			break;
		pthread_cond_wait(&p->work, &p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

struct pool *pool_new(unsigned threads, unsigned window, struct err *err)
{
	struct pool *p = calloc(1, sizeof(*p));

	if (!p) {
		err_nomem(err, sizeof(*p), "a job pool");
		return NULL;
	}
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->space, NULL);
	p->window = window ? window : 1;
	p->run_tail = &p->to_run;
	p->thread = calloc(threads ? threads : 1, sizeof(*p->thread));
	if (!p->thread) {
		err_nomem(err, threads * sizeof(*p->thread), "threads");
		pool_free(p);
		return NULL;
	}
	for (; p->nthread < threads; p->nthread++) {
		if (pthread_create(&p->thread[p->nthread], NULL, worker, p))
			break; /* fewer, down to none, give the same result */
	}
	return p;
}

static int failure(struct pool *p, struct err *err)
{
	if (!p->failed)
		return 0;
	*err = p->fail;
	return -1;
}

int pool_submit(struct pool *p, struct pool_job *job, struct err *err)
{
	int rc;

	pthread_mutex_lock(&p->lock);
	if (p->busy >= p->window && p->nthread) {
		p->low = p->window > p->nthread + 1 ? p->nthread + 1 : p->window - 1;
		while (p->busy > p->low)
			pthread_cond_wait(&p->space, &p->lock);
	}
	job->ticket = p->next_ticket++;
	job->next = NULL;
	p->busy++;
	*p->run_tail = job;
	p->run_tail = &job->next;
	if (p->nthread)
		pthread_cond_signal(&p->work);
	else
		while (work_once(p))
			;
	rc = failure(p, err);
	pthread_mutex_unlock(&p->lock);
	return rc;
}

int pool_drain(struct pool *p, struct err *err)
{
	int rc;

	pthread_mutex_lock(&p->lock);
	p->low = 0;
	while (p->busy > 0)
		pthread_cond_wait(&p->space, &p->lock);
	rc = failure(p, err);
	pthread_mutex_unlock(&p->lock);
	return rc;
}

void pool_free(struct pool *p)
{
	struct err ignored;

	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	if (p->busy > 0) {
		/* what has not begun is dropped: a failure nobody reads */
		err_set(&ignored, 0, "cancelled");
		record_failure(p, 0, &ignored);
		pthread_cond_broadcast(&p->work);
	}
	p->low = 0;
	while (p->busy > 0)
		pthread_cond_wait(&p->space, &p->lock);
	p->quit = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->nthread; i++)
		pthread_join(p->thread[i], NULL);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->space);
	pthread_mutex_destroy(&p->lock);
	free(p->thread);
	free(p);
}
