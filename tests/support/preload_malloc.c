/* preload_malloc.c -- a shared object for LD_PRELOAD: fails chosen allocations of a running server.
 *
 * The test maps the file that NIGH_PRELOAD_CONTROL names and arms a failure in it, so one server
 * serves thousands of failures. Counting starts when the test sets `calls` to 0; the allocation
 * that raises it to fail_at fails, and so do the fail_count - 1 after it.
 *
 * It is not linked with nigh nor with its unit tests. Memory: the control file alone. Threads: any.
 */
#include <assert.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    FRAMES_MAX = 24
};

/* Known to tests/support/preload.py, which writes it from the other process. */
struct preload_malloc_control {
    atomic_uint_fast64_t is_mapped;  /* set here once the failures can be armed */
    atomic_uint_fast64_t calls;      /* allocations since the test wrote 0 */
    atomic_uint_fast64_t fail_at;    /* 0: none fails */
    atomic_uint_fast64_t fail_count; /* 1: that one alone; UINT64_MAX: it and all that follow */
    atomic_uint_fast64_t failed;     /* how many failed since the test wrote 0 */
    atomic_uint_fast64_t frames_count;
    uint64_t frames[FRAMES_MAX]; /* return addresses of the first that failed */
};

static_assert(sizeof(atomic_uint_fast64_t) == 8, "the test writes 8-byte words");
static_assert(offsetof(struct preload_malloc_control, frames) == 48, "the test reads it there");

/* glibc's own entry points: asking dlsym for malloc would allocate. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static struct preload_malloc_control *control;

__attribute__((constructor)) static void map_control(void) {
    const char *path = getenv("NIGH_PRELOAD_CONTROL");
    void *frames[1];
    int fd;

    /* The first call loads the unwinder, which allocates: not in the middle of a failure. */
    (void)backtrace(frames, 1);
    if (!path || (fd = open(path, O_RDWR | O_CLOEXEC)) < 0)
        return;
    void *mapped = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped == MAP_FAILED)
        return;
    control = mapped;
    atomic_store(&control->is_mapped, 1);
}

/* Noted while the stack stands: the test cannot know it afterwards. */
static void note_frames(void) {
    void *frames[FRAMES_MAX];
    int count = backtrace(frames, FRAMES_MAX);

    for (int i = 0; i < count; i++)
        control->frames[i] = (uint64_t)(uintptr_t)frames[i];
    atomic_store(&control->frames_count, (uint64_t)count);
}

static bool is_to_fail(void) {
    if (!control)
        return false;
    uint64_t call = atomic_fetch_add(&control->calls, 1) + 1;
    uint64_t first = atomic_load(&control->fail_at);
    if (first == 0 || call < first || call - first >= atomic_load(&control->fail_count))
        return false;
    if (atomic_fetch_add(&control->failed, 1) == 0)
        note_frames();
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size) {
    return is_to_fail() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    return is_to_fail() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
    return is_to_fail() ? NULL : __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size) {
    return is_to_fail() ? NULL : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    return is_to_fail() ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    if (is_to_fail())
        return ENOMEM;
    void *allocated = __libc_memalign(alignment, size);
    if (!allocated)
        return ENOMEM;
    *memory = allocated;
    return 0;
}
