/* map_guard.h -- what happens when a page of a mapped file is not there or makes no sense.
 *
 * LMDB trusts its pages: a truncated file ends in SIGBUS, garbage in SIGSEGV. The guard knows which
 * range of addresses belongs to which collection. A fatal signal inside one writes the collection's
 * number into a file that was opened in advance and ends the process with a message; the next start
 * quarantines that collection and serves the others. Signals elsewhere go to the handler that was
 * there before.
 *
 * Process-wide, since signals are. Any thread may add and remove ranges.
 */
#ifndef MAP_GUARD_H
#define MAP_GUARD_H

#include "index/status.h"

#include <stddef.h>
#include <stdint.h>

enum {
    MAP_GUARD_RANGES_MAX = 4096,
    MAP_GUARD_NUMBERS_MAX = 256, /* of damaged collections that one start reads */
};

/* Installs the handlers and opens the file that they write to; numbers found in it are returned
 * (count at most MAP_GUARD_NUMBERS_MAX) and stay until map_guard_forgive. */
MUST_CHECK enum status map_guard_open(const char *path, uint64_t *numbers, size_t *count,
                                      struct error *error);
void map_guard_close(void);

/* Drops a number from the file: the collection was deleted. */
void map_guard_forgive(uint64_t number);

/* Watches [base, base + length); returns a handle, or -1 when the table is full (the range is then
 * not watched, which costs only the quarantine). */
int map_guard_add(const void *base, size_t length, uint64_t number);
void map_guard_move(int handle, const void *base, size_t length);
void map_guard_remove(int handle);

#endif
