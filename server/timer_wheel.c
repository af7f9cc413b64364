#include "server/timer_wheel.h"

#include <assert.h>
#include <string.h>

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms) {
    memset(wheel, 0, sizeof(*wheel));
    wheel->tick = now_ms / TIMER_WHEEL_TICK_MS;
}

static void insert(struct timer_wheel *wheel, struct timer_entry *entry) {
    /* Rounded up, and never the tick that is being handled: it would be skipped for a round. */
    uint64_t tick = entry->deadline_ms / TIMER_WHEEL_TICK_MS + 1;
    if (tick <= wheel->tick)
        tick = wheel->tick + 1;
    if (tick - wheel->tick >= TIMER_WHEEL_SLOTS)
        tick = wheel->tick + TIMER_WHEEL_SLOTS - 1;
    struct timer_entry **slot = &wheel->slots[tick % TIMER_WHEEL_SLOTS];
    entry->slot_tick = tick;
    entry->next = *slot;
    entry->link = slot;
    if (entry->next)
        entry->next->link = &entry->next;
    *slot = entry;
}

void timer_wheel_remove(struct timer_entry *entry) {
    if (!entry->link)
        return;
    *entry->link = entry->next;
    if (entry->next)
        entry->next->link = entry->link;
    entry->next = NULL;
    entry->link = NULL;
}

void timer_wheel_set(struct timer_wheel *wheel, struct timer_entry *entry, uint64_t deadline_ms) {
    entry->deadline_ms = deadline_ms;
    if (deadline_ms == UINT64_MAX) {
        timer_wheel_remove(entry);
        return;
    }
    /* In a slot that comes no later than the deadline: it will be moved on from there. */
    if (entry->link && entry->slot_tick <= deadline_ms / TIMER_WHEEL_TICK_MS + 1)
        return;
    timer_wheel_remove(entry);
    insert(wheel, entry);
}

struct timer_entry *timer_wheel_expire(struct timer_wheel *wheel, uint64_t now_ms) {
    uint64_t now_tick = now_ms / TIMER_WHEEL_TICK_MS;
    for (; wheel->tick < now_tick; wheel->tick++) {
        struct timer_entry **slot = &wheel->slots[(wheel->tick + 1) % TIMER_WHEEL_SLOTS];
        while (*slot) {
            struct timer_entry *entry = *slot;
            assert(entry->slot_tick == wheel->tick + 1);
            timer_wheel_remove(entry);
            if (entry->deadline_ms <= now_ms)
                return entry;
            /* Put off meanwhile. The slot being emptied counts as handled already. */
            wheel->tick++;
            insert(wheel, entry);
            wheel->tick--;
        }
    }
    return NULL;
}
