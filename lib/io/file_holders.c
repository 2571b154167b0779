/*
 * Who holds a lock: file_lock.c.
 *
 * Locks of open file descriptions have no owner that the kernel would name: whoever has the
 * file open may be it. /proc/PID/fd tells which processes have, /proc/PID/fdinfo which of
 * their descriptors have locks - of those processes that we may look at.
 */
#include "lib/io/file.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define LOOKS_MAX 100000 /* descriptors that are looked at */
#define COMM_MAX  64

static atomic_bool telling;

struct search {
	dev_t dev;
	ino_t ino;
	int byte;
	unsigned looks;
	/* the first process found, and how many others */
	long pid;
	unsigned others;
	bool locks; /* it has a lock on the byte: others, that just have it open, do not count
		     */
};

void io_file_tell_holders(bool on)
{
	telling = on;
}

/* Without asking a server that may not answer. */
static bool is_file(int dir, const char *name, const struct search *s)
{
	struct statx x;

	return statx(dir, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_INO, &x) == 0 &&
	       x.stx_ino == s->ino && makedev(x.stx_dev_major, x.stx_dev_minor) == s->dev;
}

/* "lock:	1: OFDLCK  ADVISORY  READ -1 fe:01:1234 100 101" */
static bool has_lock(long pid, const char *fd, int byte)
{
	char path[64], line[256];
	bool found = false;
	FILE *f;

	if (snprintf(path, sizeof(path), "/proc/%ld/fdinfo/%.16s", pid, fd) >=
	    (int)sizeof(path))
		return false;
	f = fopen(path, "re");
	while (f && !found && fgets(line, sizeof(line), f)) {
		long from, to;

		found = strncmp(line, "lock:", 5) == 0 && strstr(line, " OFDLCK ") &&
			sscanf(line, "lock: %*s %*s %*s %*s %*s %*s %ld %ld", &from, &to) ==
				2 &&
			from <= byte && byte <= to;
	}
	if (f)
		fclose(f);
	return found;
}

static void note(struct search *s, long pid, bool locks)
{
	if (s->pid == 0 || (locks && !s->locks)) {
		s->pid = pid;
		s->others = 0;
		s->locks = locks;
	} else if (locks == s->locks) {
		s->others++;
	}
}

static void look_into(struct search *s, long pid)
{
	char path[64];
	bool open = false, locks = false;
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%ld/fd", pid);
	d = opendir(path);
	while (d && !locks && s->looks < LOOKS_MAX && (e = readdir(d))) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		s->looks++;
		if (!is_file(dirfd(d), e->d_name, s))
			continue;
		open = true;
		locks = has_lock(pid, e->d_name, s->byte);
	}
	if (d)
		closedir(d);
	if (open)
		note(s, pid, locks);
}

static void search(struct search *s)
{
	struct dirent *e;
	DIR *d = opendir("/proc");

	while (d && s->looks < LOOKS_MAX && (e = readdir(d))) {
		long pid = strtol(e->d_name, NULL, 10);

		if (pid > 0 && pid != getpid())
			look_into(s, pid);
	}
	if (d)
		closedir(d);
}

/* A process chooses its name: what is not plain is left out. */
static void name_of(long pid, char name[COMM_MAX])
{
	char path[64];
	size_t n = 0, kept = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
	f = fopen(path, "re");
	if (f) {
		n = fread(name, 1, COMM_MAX - 1, f);
		fclose(f);
	}
	for (size_t i = 0; i < n; i++)
		if (name[i] >= ' ' && name[i] <= '~')
			name[kept++] = name[i];
	name[kept] = '\0';
}

int file_hint_holders(int fd, int byte, struct err *err)
{
	struct search s = {.byte = byte};
	char name[COMM_MAX];
	struct stat st;

	if (!telling || fstat(fd, &st) < 0)
		return -1;
	s.dev = st.st_dev;
	s.ino = st.st_ino;
	search(&s);
	if (s.pid == 0)
		return -1;
	name_of(s.pid, name);
	if (s.others)
		return err_hint(err, "It is open in %s (pid %ld) and %u more.", name, s.pid,
				s.others);
	return err_hint(err, "It is open in %s (pid %ld).", name, s.pid);
}
