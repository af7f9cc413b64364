#include "server/wait_set.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    SLEEP_FOR_EVER = -1,
};

/* ---- The bell ------------------------------------------------------------------------------- */

static void add_calls(struct wait_set *set, uint64_t calls) {
    ssize_t written;
    do
        written = write(set->bell, &calls, sizeof(calls));
    while (written < 0 && errno == EINTR);
    /* EAGAIN would mean 2^64 - 2 calls that nobody has answered. */
    assert(written == (ssize_t)sizeof(calls));
}

/* Answers one of the calls and passes the rest on. False: somebody else has answered it. */
static bool answer_call(struct wait_set *set) {
    uint64_t calls;
    if (read(set->bell, &calls, sizeof(calls)) != (ssize_t)sizeof(calls))
        return false;
    if (calls > 1)
        add_calls(set, calls - 1);
    return true;
}

bool wait_set_call(struct wait_set *set) {
    int sleepers = atomic_load(&set->sleepers);
    while (sleepers > 0)
        if (atomic_compare_exchange_weak(&set->sleepers, &sleepers, sleepers - 1)) {
            add_calls(set, 1);
            return true;
        }
    return false;
}

/* ---- Sleeping ------------------------------------------------------------------------------- */

/* One event, which names a socket or the bell. False: none, or a signal came. */
static bool next_event(struct wait_set *set, int timeout_ms, uint64_t *key) {
    struct epoll_event event;
    int count = epoll_wait(set->epoll, &event, 1, timeout_ms);
    assert(count >= 0 || errno == EINTR);
    if (count != 1)
        return false;
    *key = event.data.u64;
    return true;
}

uint64_t wait_set_sleep(struct wait_set *set, bool (*has_work)(void *context), void *context) {
    uint64_t key = WAIT_SET_NONE;
    bool is_called = false;
    atomic_fetch_add(&set->sleepers, 1);
    if (!has_work(context)) {
        while (!next_event(set, SLEEP_FOR_EVER, &key))
            ;
        is_called = key == WAIT_SET_NONE && answer_call(set);
    }
    if (!is_called)
        atomic_fetch_sub(&set->sleepers, 1);
    return key;
}

uint64_t wait_set_peek(struct wait_set *set) {
    uint64_t key = WAIT_SET_NONE;
    if (atomic_load_explicit(&set->watched, memory_order_relaxed) == 0 || !next_event(set, 0, &key))
        return WAIT_SET_NONE;
    if (key == WAIT_SET_NONE && answer_call(set)) /* in place of a sleeper, which sleeps on */
        atomic_fetch_add(&set->sleepers, 1);
    return key;
}

/* ---- Watching ------------------------------------------------------------------------------- */

static bool add(struct wait_set *set, int fd, uint64_t key) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.u64 = key};
    return epoll_ctl(set->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

bool wait_set_watch(struct wait_set *set, int fd, uint64_t key) {
    assert(key != WAIT_SET_NONE);
    if (!add(set, fd, key))
        return false;
    atomic_fetch_add_explicit(&set->watched, 1, memory_order_relaxed);
    return true;
}

void wait_set_forget(struct wait_set *set, int fd) {
    int code = epoll_ctl(set->epoll, EPOLL_CTL_DEL, fd, NULL);
    assert(code == 0);
    (void)code;
    atomic_fetch_sub_explicit(&set->watched, 1, memory_order_relaxed);
}

enum status wait_set_open(struct wait_set *set, struct error *error) {
    *set = (struct wait_set){.epoll = epoll_create1(EPOLL_CLOEXEC),
                             .bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (set->epoll >= 0 && set->bell >= 0 && add(set, set->bell, WAIT_SET_NONE))
        return STATUS_OK;
    int code = errno;
    wait_set_close(set);
    return error_set(error, STATUS_UNAVAILABLE, "no file can be opened: %s", strerror(code));
}

void wait_set_close(struct wait_set *set) {
    if (set->epoll >= 0)
        close(set->epoll);
    if (set->bell >= 0)
        close(set->bell);
    set->epoll = set->bell = -1;
}
