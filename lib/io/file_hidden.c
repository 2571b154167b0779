/*
 * Hidden names that exist at the moment, for the handler of a signal that ends the
 * program: fixed slots, since a handler may neither lock nor allocate.
 */
#include <limits.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "lib/io/file.h"
#include "lib/mem.h"

#define SLOTS 1024 /* a disk of 2 TiB in files of 2 GiB */

enum { FREE, BUSY, FULL };

static struct {
	atomic_int state;
	int dir;
	char name[NAME_MAX + 1];
} slot[SLOTS];

void file_hidden_add(int dir, const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(slot); i++) {
		int is = FREE;

		if (strlen(name) >= sizeof(slot[i].name))
			return;
		if (!atomic_compare_exchange_strong(&slot[i].state, &is, BUSY))
			continue;
		slot[i].dir = dir;
		memcpy(slot[i].name, name, strlen(name) + 1);
		atomic_store(&slot[i].state, FULL);
		return;
	}
}

void file_hidden_del(int dir, const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(slot); i++) {
		if (atomic_load(&slot[i].state) != FULL || slot[i].dir != dir ||
		    strcmp(slot[i].name, name))
			continue;
		atomic_store(&slot[i].state, FREE);
		return;
	}
}

void io_file_drop_hidden(void)
{
	for (size_t i = 0; i < ARRAY_LEN(slot); i++) {
		if (atomic_load(&slot[i].state) == FULL)
			unlinkat(slot[i].dir, slot[i].name, 0);
	}
}
