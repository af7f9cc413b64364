/* memory.h -- large zeroed memory that never moves, in huge pages where that pays.
 *
 * Address space is taken at once, pages only when they are first written, so that a map for a
 * million rows that holds ten costs a few kilobytes. Any thread.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include <stddef.h>

#define MEMORY_HUGE_PAGE ((size_t)2 << 20)
#define MEMORY_LINE      ((size_t)64) /* bytes of a cache line */

/* Inlined by force: gcc takes a function that only prefetches for one without effect, and drops the
 * calls. */
#define MEMORY_PREFETCHING static inline __attribute__((always_inline)) void

/* Asks for memory that will be read soon, into the second-level cache: rows and records would push
 * each other out of the first. */
MEMORY_PREFETCHING memory_prefetch(const void *memory, size_t bytes) {
    const char *line = memory;
    for (size_t i = 0; i < bytes; i += MEMORY_LINE)
        __builtin_prefetch(line + i, 0, 2);
}

/* Zeroed memory, aligned to MEMORY_HUGE_PAGE; NULL when the address space is used up. */
void *memory_map(size_t bytes);

/* Accepts NULL. bytes as it was given to memory_map. */
void memory_unmap(void *memory, size_t bytes);

/* Says that the `bytes` at memory (aligned to MEMORY_HUGE_PAGE) are going to be filled: pages
 * written already are moved into huge ones. A refusal by the kernel is no error. */
void memory_use_huge_pages(void *memory, size_t bytes);

/* The same for pages that were not written yet: whoever writes gets huge ones. */
void memory_expect(void *memory, size_t bytes);

#endif
