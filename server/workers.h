/* workers.h -- the threads that run jobs, and the ways that lead to them and back.
 *
 * The queue to the workers is bounded: when it is full the loop answers 503 at once, so a client
 * is never kept waiting for work that will not be reached in time. The way back is as long as
 * there are jobs. Neither takes a lock (job_ring.h, job_stack.h).
 *
 * Jobs are let go of by workers too, not by the loop: freeing takes the allocator's locks and
 * gives pages back to the system, and both may take milliseconds.
 */
#ifndef WORKERS_H
#define WORKERS_H

#include "server/job.h"
#include "server/wait_set.h"

enum {
    WORKERS_THREADS_MAX = 256,
    WORKERS_STACK_BYTES = 2 * 1024 * 1024, /* virtual; JSON and filters nest up to a limit */
};

struct lane_hand;

struct workers_options {
    unsigned threads;
    size_t queue_max;         /* jobs waiting, beside those being run */
    struct wait_set *sleep;   /* borrowed: where threads without work sleep */
    struct lane_hand **hands; /* borrowed: one a thread */
    void (*run)(struct lane_hand *hand, struct job *job); /* worker thread */
    void (*serve)(struct lane_hand *hand, uint64_t key);  /* worker thread: a socket in the
                                                           * wait set has news */
    void (*release)(struct job *job); /* worker thread; the loop's when stopping */
    void (*wake)(void *context); /* a job came back; any thread; may be called once for several */
    void *context;
};

struct lane_hand;
struct workers;

MUST_CHECK enum status workers_create(const struct workers_options *options,
                                      struct workers **workers, struct error *error);

/* Runs what is queued, then ends the threads. Loop thread. */
void workers_stop(struct workers *workers);

/* After workers_stop() and when no job is left. */
void workers_free(struct workers *workers);

/* Hands the job to a worker. False: the queue is full and the job is still the caller's. Loop
 * thread. */
MUST_CHECK bool workers_submit(struct workers *workers, struct job *job);

/* Has a worker let go of the job when it runs the next one; at once if is_urgent, because the job
 * holds much memory. Loop thread. */
void workers_release_later(struct workers *workers, struct job *job, bool is_urgent);

/* Has a worker let go of what still waits for that. Loop thread, now and then. */
void workers_release_waiting(struct workers *workers);

/* Hands a job back to the loop. Any thread. */
void workers_return(struct workers *workers, struct job *job);

/* Takes all jobs that came back, linked by next, oldest first; NULL if none. Loop thread. */
struct job *workers_take_returned(struct workers *workers);

/* How many jobs wait, about. */
size_t workers_queue_length(struct workers *workers);

#endif
