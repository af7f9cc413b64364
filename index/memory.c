#include "index/memory.h"

#include <assert.h>
#include <stdint.h>
#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1; older kernels answer EINVAL, older headers lack it */
#endif

static size_t round_up(size_t bytes) {
    return (bytes + MEMORY_HUGE_PAGE - 1) & ~(MEMORY_HUGE_PAGE - 1);
}

void *memory_map(size_t bytes) {
    size_t length = round_up(bytes);
    if (length < bytes || length > SIZE_MAX - MEMORY_HUGE_PAGE)
        return NULL;
    char *start = mmap(NULL, length + MEMORY_HUGE_PAGE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED)
        return NULL;
    /* Cut off what lies before the first and after the last whole huge page. */
    size_t before = round_up((uintptr_t)start) - (uintptr_t)start;
    if (before > 0)
        munmap(start, before);
    if (before < MEMORY_HUGE_PAGE)
        munmap(start + before + length, MEMORY_HUGE_PAGE - before);
    /* Where huge pages are the system's default one row would take 2 MiB. */
    madvise(start + before, length, MADV_NOHUGEPAGE);
    return start + before;
}

void memory_unmap(void *memory, size_t bytes) {
    if (memory)
        munmap(memory, round_up(bytes));
}

void memory_use_huge_pages(void *memory, size_t bytes) {
    assert(((uintptr_t)memory & (MEMORY_HUGE_PAGE - 1)) == 0);
    size_t length = round_up(bytes);
    if (madvise(memory, length, MADV_HUGEPAGE) == 0)
        madvise(memory, length, MADV_COLLAPSE);
}

void memory_expect(void *memory, size_t bytes) {
    assert(((uintptr_t)memory & (MEMORY_HUGE_PAGE - 1)) == 0);
    madvise(memory, round_up(bytes), MADV_HUGEPAGE);
}
