/* loop_clock.h -- how long the loop's callbacks take, so that a blocked loop shows in /metrics.
 *
 * A callback's wall time is not ours to answer for while the thread waits for a core. The kernel
 * tells that wait only as a running total (/proc/self/task/<tid>/schedstat), and asking costs more
 * than an average callback. So each callback notes wall and CPU time, and only one that took over
 * a millisecond asks; the wait since the last time it was asked, at most a tick ago, is taken off,
 * but never more than the time the callback was off the CPU.
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
    uint64_t wall_ns, cpu_ns;         /* at the start of the outermost callback */
    uint64_t waited_ns;               /* schedstat's total when last asked */
    _Atomic uint64_t longest_ns;      /* less the wait for a core */
    _Atomic uint64_t longest_wall_ns; /* as the clock on the wall saw it */
    _Atomic uint64_t callbacks;
};

/* On the loop's thread. */
void loop_clock_init(struct loop_clock *clock);
void loop_clock_close(struct loop_clock *clock);

void loop_clock_enter(struct loop_clock *clock);
void loop_clock_leave(struct loop_clock *clock);

/* Call it on each tick: keeps the total of waits fresh. */
void loop_clock_tick(struct loop_clock *clock);

#endif
