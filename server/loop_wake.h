/* loop_wake.h -- how other threads wake the loop.
 *
 * An eventfd, not uv_async_send(): that one is "busy" from before its write to after it, and the
 * loop that it woke spins until it no longer is. On a machine with all cores busy the loop takes
 * the sender's own core as soon as it is woken, so it would burn some 10 us, time and again.
 */
#ifndef LOOP_WAKE_H
#define LOOP_WAKE_H

#include "index/status.h"

#include <uv.h>

struct loop_wake {
    int fd; /* -1: none */
    uv_poll_t poll;
    void (*woken)(void *context); /* loop thread; once for all calls since the last time */
    void *context;
};

/* Sets woken and context before. Closed like any handle of the loop, then by loop_wake_close(). */
MUST_CHECK enum status loop_wake_open(struct loop_wake *wake, uv_loop_t *loop, struct error *error);
void loop_wake_close(struct loop_wake *wake);

/* Any thread. What the caller did before is visible to woken. */
void loop_wake_call(const struct loop_wake *wake);

#endif
