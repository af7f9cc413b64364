#include "server/job_stack.h"

#include "server/job.h"

bool job_stack_put(struct job_stack *stack, struct job *job) {
    struct job *top = atomic_load_explicit(&stack->top, memory_order_relaxed);
    do
        job->next = top;
    while (!atomic_compare_exchange_weak_explicit(&stack->top, &top, job, memory_order_acq_rel,
                                                  memory_order_relaxed));
    return top == NULL;
}

struct job *job_stack_take_all(struct job_stack *stack) {
    struct job *job = atomic_exchange_explicit(&stack->top, NULL, memory_order_acq_rel);
    struct job *oldest = NULL;
    while (job) {
        struct job *next = job->next;
        job->next = oldest;
        oldest = job;
        job = next;
    }
    return oldest;
}

bool job_stack_is_empty(struct job_stack *stack) {
    return atomic_load_explicit(&stack->top, memory_order_relaxed) == NULL;
}
