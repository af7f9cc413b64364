/* job_ring.h -- a bounded queue of jobs without a lock: one thread puts, many take.
 *
 * A mutex is held for nanoseconds, but whoever holds it may lose its core just then, and on a busy
 * machine gets it back milliseconds later; for so long the loop would stand still, and every
 * connection with it. Here nobody ever waits for anybody.
 */
#ifndef JOB_RING_H
#define JOB_RING_H

#include "index/status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct job;

/* D. Vyukov's bounded queue (1024cores.net), with one producer and an exact bound. */
struct job_ring_cell {
    atomic_size_t turn; /* position: may be filled; position + 1: may be taken */
    struct job *job;
};

struct job_ring {
    struct job_ring_cell *cells; /* owned; mask + 1 of them */
    size_t mask;
    size_t length_max;
    size_t head;        /* the next position to fill; the producer's */
    atomic_size_t tail; /* the next position to take */
};

MUST_CHECK enum status job_ring_init(struct job_ring *ring, size_t length_max, struct error *error);
void job_ring_free(struct job_ring *ring);

/* The producer's thread. False: full. It has a place in the one order of sequentially consistent
 * operations: a taker that says it will sleep and then finds the ring empty, and a producer that
 * puts and then looks who sleeps, cannot miss each other. */
MUST_CHECK bool job_ring_put(struct job_ring *ring, struct job *job);

/* Any thread; oldest first. NULL: empty. */
struct job *job_ring_take(struct job_ring *ring);

/* True if there is nothing to take. Any thread. */
bool job_ring_is_empty(struct job_ring *ring);

/* How many are in it, about. The producer's thread. */
size_t job_ring_length(struct job_ring *ring);

#endif
