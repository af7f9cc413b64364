/* loop_clock.h -- how long the loop's callbacks take, so that a blocked loop shows in /metrics.
 *
 * A callback's wall time is not ours to answer for while the thread waits for a core. The kernel
 * tells that wait only as a running total (/proc/self/task/<tid>/schedstat), and asking costs a
 * third of an average callback. So it is asked when a callback begins, if that was not done for a
 * millisecond, and at the end of one that took longer than a millisecond; what was waited in
 * between is taken off. That may be too much by what was waited in the millisecond before the
 * callback. (The CPU time of the thread would tell more exactly, for 1 us a request.)
 *
 * Loop thread; the figures may be read by any thread.
 */
#ifndef LOOP_CLOCK_H
#define LOOP_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>

struct loop_clock {
    int schedstat_fd;                 /* -1: not available; then nothing is taken off */
    unsigned depth;                   /* callbacks nest: libuv may call one from within another */
    uint64_t wall_ns;                 /* at the start of the outermost callback */
    uint64_t waited_ns;               /* schedstat's total when last asked, */
    uint64_t asked_ns;                /* which was at this time */
    _Atomic uint64_t longest_ns;      /* less the wait for a core */
    _Atomic uint64_t longest_wall_ns; /* as the clock on the wall saw it */
    _Atomic uint64_t callbacks;
};

/* On the loop's thread. */
void loop_clock_init(struct loop_clock *clock);
void loop_clock_close(struct loop_clock *clock);

void loop_clock_enter(struct loop_clock *clock);
void loop_clock_leave(struct loop_clock *clock);

#endif
