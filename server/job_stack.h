/* job_stack.h -- a list of jobs without a lock: any thread puts, and whoever takes, takes all.
 *
 * Like job_ring.h it exists so that the loop never waits for a thread that lost its core.
 */
#ifndef JOB_STACK_H
#define JOB_STACK_H

#include <stdatomic.h>
#include <stdbool.h>

struct job;

struct job_stack {
    _Atomic(struct job *) top;
};

/* True if the stack was empty before. The job may be gone when this returns. What the taker did
 * before it left the stack empty is visible to whoever is told so. */
bool job_stack_put(struct job_stack *stack, struct job *job);

/* All jobs, linked by next, in the order in which they were put; NULL if none. */
struct job *job_stack_take_all(struct job_stack *stack);

bool job_stack_is_empty(struct job_stack *stack);

#endif
