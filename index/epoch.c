#include "index/epoch.h"

#include <assert.h>
#include <sched.h>

void epoch_init(struct epoch *epoch) {
    *epoch = (struct epoch){0};
    atomic_store(&epoch->present, 1);
}

/* Threads begin their search for a place at different ones. */
static uint32_t first_place(void) {
    static _Thread_local uint32_t place;
    static _Atomic uint32_t next;
    if (place == 0)
        place = 1 + atomic_fetch_add_explicit(&next, 1, memory_order_relaxed);
    return place % EPOCH_READERS_MAX;
}

uint32_t epoch_enter(struct epoch *epoch) {
    for (uint32_t place = first_place(), tries = 1;; tries++) {
        uint64_t free = 0, now = atomic_load(&epoch->present);
        if (atomic_compare_exchange_strong(&epoch->inside[place], &free, now)) {
            /* An advance between the two lines may not have seen us: then enter later. */
            while (atomic_load(&epoch->present) != now) {
                now = atomic_load(&epoch->present);
                atomic_store(&epoch->inside[place], now);
            }
            return place;
        }
        place = (place + 1) % EPOCH_READERS_MAX;
        if (tries % EPOCH_READERS_MAX == 0)
            sched_yield();
    }
}

void epoch_leave(struct epoch *epoch, uint32_t place) {
    assert(atomic_load_explicit(&epoch->inside[place], memory_order_relaxed) != 0);
    atomic_store_explicit(&epoch->inside[place], 0, memory_order_release);
}

uint64_t epoch_advance(struct epoch *epoch) {
    return atomic_fetch_add(&epoch->present, 1);
}

bool epoch_passed(const struct epoch *epoch, uint64_t ended) {
    for (uint32_t place = 0; place < EPOCH_READERS_MAX; place++) {
        uint64_t entered = atomic_load(&epoch->inside[place]);
        if (entered != 0 && entered <= ended)
            return false;
    }
    return true;
}
