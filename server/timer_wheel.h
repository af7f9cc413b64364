/* timer_wheel.h -- deadlines of many connections, checked by one coarse timer.
 *
 * Putting a deadline off only writes a number; the entry moves when its old slot comes round. So
 * a request costs no timer work, and a tick looks only at the entries of one slot. Deadlines fire
 * up to two ticks late, never early. The wheel allocates nothing. One thread.
 */
#ifndef TIMER_WHEEL_H
#define TIMER_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TIMER_WHEEL_TICK_MS = 250,
    TIMER_WHEEL_SLOTS = 512, /* 128 s round; later deadlines go round again */
};

/* Part of whatever has a deadline. */
struct timer_entry {
    struct timer_entry *next, **link; /* the wheel's; link is NULL when not in a slot */
    uint64_t deadline_ms;             /* absolute; UINT64_MAX: none */
    uint64_t slot_tick;               /* when the wheel looks at it next */
};

struct timer_wheel {
    struct timer_entry *slots[TIMER_WHEEL_SLOTS];
    uint64_t tick; /* the last one that was handled */
};

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms);

/* Sets or moves the deadline of an entry (all zero before its first use). */
void timer_wheel_set(struct timer_wheel *wheel, struct timer_entry *entry, uint64_t deadline_ms);

/* Takes the entry out; harmless if it is not in. */
void timer_wheel_remove(struct timer_entry *entry);

/* Returns an entry whose deadline has passed, taken out, or NULL. Call until NULL. */
struct timer_entry *timer_wheel_expire(struct timer_wheel *wheel, uint64_t now_ms);

#endif
