#include "server/loop_clock.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum {
    ASK_NS = 1000000, /* how old an answer may be, and how long a callback that asks takes */
};

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Returns how long the thread waited for a core since the last call. */
static uint64_t take_wait(struct loop_clock *clock, uint64_t now) {
    char text[128];
    unsigned long long ran, waited;
    clock->asked_ns = now;
    if (clock->schedstat_fd < 0)
        return 0;
    ssize_t length = pread(clock->schedstat_fd, text, sizeof(text) - 1, 0);
    if (length <= 0)
        return 0;
    text[length] = '\0';
    if (sscanf(text, "%llu %llu", &ran, &waited) != 2)
        return 0;
    uint64_t before = clock->waited_ns;
    clock->waited_ns = waited;
    return waited - before;
}

static void raise_to(_Atomic uint64_t *figure, uint64_t value) {
    if (value > atomic_load_explicit(figure, memory_order_relaxed))
        atomic_store_explicit(figure, value, memory_order_relaxed);
}

void loop_clock_init(struct loop_clock *clock) {
    char path[64];
    *clock = (struct loop_clock){.schedstat_fd = -1};
    snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat", (int)gettid());
    clock->schedstat_fd = open(path, O_RDONLY | O_CLOEXEC);
    (void)take_wait(clock, now_ns());
}

void loop_clock_close(struct loop_clock *clock) {
    if (clock->schedstat_fd >= 0)
        close(clock->schedstat_fd);
    clock->schedstat_fd = -1;
}

void loop_clock_enter(struct loop_clock *clock) {
    if (clock->depth++ > 0)
        return;
    clock->wall_ns = now_ns();
    if (clock->wall_ns - clock->asked_ns > ASK_NS)
        (void)take_wait(clock, clock->wall_ns);
}

void loop_clock_leave(struct loop_clock *clock) {
    assert(clock->depth > 0);
    if (--clock->depth > 0)
        return;
    uint64_t now = now_ns(), wall = now - clock->wall_ns;
    uint64_t count = atomic_load_explicit(&clock->callbacks, memory_order_relaxed);
    atomic_store_explicit(&clock->callbacks, count + 1, memory_order_relaxed);
    uint64_t own = wall;
    if (wall > ASK_NS) {
        uint64_t waited = take_wait(clock, now);
        own -= waited < wall ? waited : wall;
    }
    raise_to(&clock->longest_ns, own);
    raise_to(&clock->longest_wall_ns, wall);
}
