/*
 * Progress of a long job. Work is counted in bytes; the text goes to stdout.
 *
 * Peer style prints "    (12.34/100%)" and CR as qemu-img -p does: zero at once, then a
 * line for each percent. Bar style, for a terminal under our own name, shows a bar, the
 * rate and the time left; where stdout is no terminal it is peer style. In every style
 * SIGUSR1 (and SIGINFO where there is one) prints one peer-style line on stderr, at once.
 *
 * One job at a time. Threads: progress_add may be called from any thread.
 */
#ifndef LIB_PROGRESS_H
#define LIB_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

enum progress_style { PROGRESS_SIGNAL, PROGRESS_PEER, PROGRESS_BAR, PROGRESS_QUIET };

struct progress;

struct progress *progress_new(enum progress_style style, uint64_t total);
void progress_total(struct progress *p, uint64_t total);
void progress_add(struct progress *p, uint64_t bytes);
/* Prints a final 100% if `complete`, ends the line, frees. NULL is fine. */
void progress_free(struct progress *p, bool complete);
/* Installs the signals' handler, which does nothing while no job runs. */
void progress_signals(void);

#endif
