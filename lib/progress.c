/*
 * One job at a time: its counters are static, so that the signal handler may look at
 * them at any moment.
 */
#include "lib/progress.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "lib/size.h"

#define REDRAW_NS UINT64_C(100000000) /* ten times a second at most */
#define STEP	  100		      /* of 10000: a line for each percent */

struct progress {
	enum progress_style style;
	pthread_mutex_t lock;  /* what follows; the counters are atomic */
	unsigned shown;	       /* hundredths of a percent in the last line */
	uint64_t began, drawn; /* ns */
	uint64_t drawn_at;     /* bytes done when it was drawn */
	double rate;	       /* bytes a second, smoothed; 0: not known yet */
	int width;	       /* of the last bar, to wipe it */
};

static struct progress job = {.lock = PTHREAD_MUTEX_INITIALIZER};
static _Atomic uint64_t done, whole;
static atomic_bool running;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Hundredths of a percent, 0..10000. */
static unsigned share(uint64_t part, uint64_t of)
{
	if (!of)
		return 0;
	if (part >= of)
		return 10000;
	return (unsigned)((double)part / (double)of * 10000);
}

/* Runs in a signal handler: write(2) and arithmetic only. */
static void on_signal(int sig)
{
	char line[] = "    (000.00/100%)\n";
	int saved = errno;
	unsigned s, skip = 0;

	if (!atomic_load(&running))
		return;
	s = share(atomic_load(&done), atomic_load(&whole));
	line[5] = (char)('0' + s / 10000);
	line[6] = (char)('0' + s / 1000 % 10);
	line[7] = (char)('0' + s / 100 % 10);
	line[9] = (char)('0' + s / 10 % 10);
	line[10] = (char)('0' + s % 10);
	if (s < 10000) /* no leading zeros: the blanks and the parenthesis move up */
		skip = s < 1000 ? 2 : 1;
	memmove(line + skip, line, 5);
	if (write(STDERR_FILENO, line + skip, sizeof(line) - 1 - skip) < 0)
		errno = saved; /* nobody to tell */
	errno = saved;
}

void progress_signals(void)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

	sigemptyset(&sa.sa_mask);
	sigaction(SIGUSR1, &sa, NULL);
#ifdef SIGINFO
	sigaction(SIGINFO, &sa, NULL);
#endif
}

static void print_peer(unsigned s)
{
	printf("    (%u.%02u/100%%)\r", s / 100, s % 100);
	fflush(stdout);
	job.shown = s;
}

static int columns(void)
{
	struct winsize w;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0)
		return w.ws_col;
	return 80;
}

static void format_time(double seconds, char out[SIZE_TEXT])
{
	unsigned long t = seconds > 359999 ? 359999 : (unsigned long)(seconds + 0.9);

	if (t >= 3600)
		snprintf(out, SIZE_TEXT, "%lu:%02lu:%02lu", t / 3600, t / 60 % 60, t % 60);
	else
		snprintf(out, SIZE_TEXT, "%lu:%02lu", t / 60, t % 60);
}

/* How long it took; a short time with a tenth. */
static void format_taken(double seconds, char out[SIZE_TEXT])
{
	if (seconds < 60)
		snprintf(out, SIZE_TEXT, "%.1f s", seconds);
	else
		format_time(seconds, out);
}

/* " 45.2%  1.2 GiB  512 MiB/s  0:12 left" after the bar. */
struct facts {
	unsigned share;
	uint64_t done;
	double rate;
	double seconds; /* left, or taken once it is over */
	bool over;
};

static void format_facts(char *out, size_t size, const struct facts *f)
{
	char bytes[SIZE_TEXT], speed[SIZE_TEXT], t[SIZE_TEXT];
	int n;

	size_human(f->done, bytes);
	n = snprintf(out, size, "%3u.%u%%  %s", f->share / 100, f->share / 10 % 10, bytes);
	if (f->rate < 1)
		return;
	size_human((uint64_t)f->rate, speed);
	if (f->over)
		format_taken(f->seconds, t);
	else
		format_time(f->seconds, t);
	snprintf(out + n, size - (size_t)n, "  %s/s  %s%s%s", speed, f->over ? "in " : "", t,
		 f->over ? "" : " left");
}

static void draw_bar(const struct facts *f)
{
	char facts[160], bar[512];
	int cols = columns() - 1, room, full;

	format_facts(facts, sizeof(facts), f);
	room = cols - (int)strlen(facts) - 3;
	if (room > 40)
		room = 40;
	if (room >= 8) {
		full = (int)(f->share * (unsigned)room / 10000);
		memset(bar, '#', (size_t)full);
		memset(bar + full, '.', (size_t)(room - full));
		bar[room] = '\0';
		room = printf("\r[%s] %s", bar, facts) - 1;
	} else {
		room = printf("\r%.*s", cols > 0 ? cols : 0, facts) - 1;
	}
	if (room < job.width)
		printf("%*s", job.width - room, "");
	job.width = room;
	fflush(stdout);
}

static void update_bar(void)
{
	uint64_t t = now(), d = atomic_load(&done), w = atomic_load(&whole);
	double dt = (double)(t - job.drawn) / 1e9, rate;

	if (t - job.drawn < REDRAW_NS)
		return;
	rate = (double)(d - job.drawn_at) / dt;
	/* About two seconds of memory, so that the time left does not jump. */
	job.rate = job.rate > 0 ? job.rate + (rate - job.rate) * (dt < 2 ? dt / 2 : 1) : rate;
	job.drawn = t;
	job.drawn_at = d;
	draw_bar(&(struct facts){
		.share = share(d, w),
		.done = d,
		.rate = job.rate,
		.seconds = job.rate >= 1 ? (double)(w > d ? w - d : 0) / job.rate : 0,
	});
}

struct progress *progress_new(enum progress_style style, uint64_t total)
{
	if (style == PROGRESS_BAR && !isatty(STDOUT_FILENO))
		style = PROGRESS_PEER;
	job.style = style;
	job.began = job.drawn = now();
	job.drawn_at = 0;
	job.rate = 0;
	job.width = 0;
	atomic_store(&done, 0);
	atomic_store(&whole, total);
	atomic_store(&running, true);
	if (style == PROGRESS_PEER)
		print_peer(0);
	return &job;
}

void progress_total(struct progress *p, uint64_t total)
{
	if (p)
		atomic_store(&whole, total);
}

void progress_add(struct progress *p, uint64_t bytes)
{
	unsigned s;

	if (!p)
		return;
	s = share(atomic_fetch_add(&done, bytes) + bytes, atomic_load(&whole));
	if (p->style != PROGRESS_PEER && p->style != PROGRESS_BAR)
		return;
	/* Who comes while another thread prints has nothing to wait for. */
	if (pthread_mutex_trylock(&p->lock))
		return;
	if (p->style == PROGRESS_BAR)
		update_bar();
	else if (s >= p->shown + STEP || (s == 10000 && p->shown < s))
		print_peer(s);
	pthread_mutex_unlock(&p->lock);
}

static void finish_bar(bool complete)
{
	double seconds = (double)(now() - job.began) / 1e9;
	uint64_t d = atomic_load(&done);

	if (complete)
		draw_bar(&(struct facts){
			.share = 10000,
			.done = d,
			.rate = seconds > 0 ? (double)d / seconds : 0,
			.seconds = seconds,
			.over = true,
		});
	putchar('\n');
}

void progress_free(struct progress *p, bool complete)
{
	if (!p)
		return;
	atomic_store(&running, false);
	if (p->style == PROGRESS_PEER) {
		if (complete)
			print_peer(10000);
		putchar('\n');
	} else if (p->style == PROGRESS_BAR) {
		finish_bar(complete);
	}
	fflush(stdout);
}
