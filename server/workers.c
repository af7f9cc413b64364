#include "server/workers.h"

#include "server/job_ring.h"
#include "server/job_stack.h"
#include "storage/thread_role.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct worker {
    struct workers *workers;
    struct lane_hand *hand;
    pthread_t thread;
};

struct workers {
    struct workers_options options;
    struct job_ring queued;    /* to be run */
    struct job_stack spent;    /* to be let go of */
    struct job_stack returned; /* for the loop */
    atomic_bool is_stopping;
    atomic_size_t queue_length; /* for whoever asks */
    unsigned threads_started;
    struct worker threads[];
};

static void release_spent(struct workers *workers) {
    struct job *next;
    for (struct job *job = job_stack_take_all(&workers->spent); job; job = next) {
        next = job->next;
        workers->options.release(job);
    }
}

static bool has_work(void *context) {
    struct workers *workers = context;
    return !job_ring_is_empty(&workers->queued) || atomic_load(&workers->is_stopping);
}

/* Jobs and sockets in turn, so that neither waits for all of the other. */
static void work(struct workers *workers, struct lane_hand *hand) {
    for (;;) {
        struct job *job = job_ring_take(&workers->queued);
        if (!job && atomic_load(&workers->is_stopping))
            return;
        uint64_t key;
        if (job) {
            atomic_fetch_sub_explicit(&workers->queue_length, 1, memory_order_relaxed);
            release_spent(workers); /* before more memory is asked for */
            workers->options.run(hand, job);
            key = wait_set_peek(workers->options.sleep);
        } else {
            key = wait_set_sleep(workers->options.sleep, has_work, workers);
            release_spent(workers);
        }
        if (key != WAIT_SET_NONE)
            workers->options.serve(hand, key);
    }
}

static void *run_thread(void *argument) {
    struct worker *worker = argument;
    thread_role_set(THREAD_ROLE_WORKER);
    work(worker->workers, worker->hand);
    return NULL;
}

/* Signals are the loop thread's: a worker that took one would lose its system call to it. */
static int start_thread(struct worker *worker) {
    sigset_t all, before;
    pthread_attr_t attributes;
    sigfillset(&all);
    int code = pthread_attr_init(&attributes);
    if (code != 0)
        return code;
    pthread_attr_setstacksize(&attributes, WORKERS_STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    code = pthread_create(&worker->thread, &attributes, run_thread, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return code;
}

enum status workers_create(const struct workers_options *options, struct workers **created,
                           struct error *error) {
    assert(options->threads >= 1 && options->threads <= WORKERS_THREADS_MAX);
    struct workers *workers =
        calloc(1, sizeof(*workers) + options->threads * sizeof(workers->threads[0]));
    if (!workers)
        return error_set(error, STATUS_NO_MEMORY, "no memory for the workers");
    workers->options = *options;
    enum status status = job_ring_init(&workers->queued, options->queue_max, error);
    while (status == STATUS_OK && workers->threads_started < options->threads) {
        struct worker *worker = &workers->threads[workers->threads_started];
        *worker =
            (struct worker){.workers = workers, .hand = options->hands[workers->threads_started]};
        int code = start_thread(worker);
        if (code == 0)
            workers->threads_started++;
        else
            status = error_set(error, STATUS_UNAVAILABLE, "cannot start worker thread %u of %u: %s",
                               workers->threads_started + 1, options->threads, strerror(code));
    }
    if (status != STATUS_OK) {
        workers_stop(workers);
        workers_free(workers);
        return status;
    }
    *created = workers;
    return STATUS_OK;
}

void workers_stop(struct workers *workers) {
    atomic_store(&workers->is_stopping, true);
    while (wait_set_call(workers->options.sleep))
        ;
    for (unsigned i = 0; i < workers->threads_started; i++)
        pthread_join(workers->threads[i].thread, NULL);
    workers->threads_started = 0;
    release_spent(workers);
}

void workers_free(struct workers *workers) {
    if (!workers)
        return;
    assert(workers->threads_started == 0 && job_stack_is_empty(&workers->spent));
    assert(job_stack_is_empty(&workers->returned));
    assert(!workers->queued.cells || job_ring_length(&workers->queued) == 0);
    job_ring_free(&workers->queued);
    free(workers);
}

bool workers_submit(struct workers *workers, struct job *job) {
    atomic_fetch_add_explicit(&workers->queue_length, 1, memory_order_relaxed);
    if (job_ring_put(&workers->queued, job)) {
        (void)wait_set_call(workers->options.sleep);
        return true;
    }
    atomic_fetch_sub_explicit(&workers->queue_length, 1, memory_order_relaxed);
    return false;
}

void workers_release_later(struct workers *workers, struct job *job, bool is_urgent) {
    (void)job_stack_put(&workers->spent, job);
    if (is_urgent)
        (void)wait_set_call(workers->options.sleep);
}

void workers_release_waiting(struct workers *workers) {
    if (!job_stack_is_empty(&workers->spent))
        (void)wait_set_call(workers->options.sleep);
}

void workers_return(struct workers *workers, struct job *job) {
    /* The loop takes all there is, so one call is enough for several jobs. */
    if (job_stack_put(&workers->returned, job))
        workers->options.wake(workers->options.context);
}

struct job *workers_take_returned(struct workers *workers) {
    return job_stack_take_all(&workers->returned);
}

size_t workers_queue_length(struct workers *workers) {
    return atomic_load_explicit(&workers->queue_length, memory_order_relaxed);
}
