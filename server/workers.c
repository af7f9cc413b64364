#include "server/workers.h"

#include "server/job_ring.h"
#include "server/job_stack.h"
#include "storage/thread_role.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct workers {
    struct workers_options options;
    struct job_ring queued;    /* to be run */
    struct job_stack spent;    /* to be let go of */
    struct job_stack returned; /* for the loop */
    /* Threads that sleep, or are about to, and were not called yet. Whoever calls one takes it out
     * of the number first, so that none is called twice before it has got its core: on a busy
     * machine that was most of the calls, and each is a system call. (A condition variable takes
     * three system calls to hand over a job, and a mutex; this takes two, or none.) */
    atomic_uint sleepers;
    sem_t calls; /* one for each that was called */
    atomic_bool is_stopping;
    atomic_size_t queue_length; /* for whoever asks */
    unsigned threads_started;
    pthread_t threads[];
};

static void release_spent(struct workers *workers) {
    struct job *next;
    for (struct job *job = job_stack_take_all(&workers->spent); job; job = next) {
        next = job->next;
        workers->options.release(job);
    }
}

/* Takes one out of the number of sleepers. False: there is none. */
static bool take_sleeper(struct workers *workers) {
    unsigned sleepers = atomic_load(&workers->sleepers);
    while (sleepers > 0)
        if (atomic_compare_exchange_weak(&workers->sleepers, &sleepers, sleepers - 1))
            return true;
    return false;
}

/* Wakes a thread that sleeps. False: none does, and each looks for work before it sleeps. */
static bool call_one(struct workers *workers) {
    if (!take_sleeper(workers))
        return false;
    sem_post(&workers->calls);
    return true;
}

/* Sleeps until called, unless there is work. What is put after this looked finds a sleeper. */
static void sleep_until_called(struct workers *workers) {
    atomic_fetch_add(&workers->sleepers, 1);
    bool has_work = !job_ring_is_empty(&workers->queued) || atomic_load(&workers->is_stopping);
    if (has_work && take_sleeper(workers))
        return;
    /* If another took the last sleeper out of the number, a call is on its way for this one. */
    while (sem_wait(&workers->calls) != 0)
        assert(errno == EINTR);
}

/* What the thread runs next. A list is not needed: it is looked at after each job. */
static _Thread_local struct job *next_job;

void workers_run_next(struct job *job) {
    assert(thread_role_get() == THREAD_ROLE_WORKER && !next_job);
    next_job = job;
}

static void run(struct workers *workers, struct job *job) {
    while (job) {
        release_spent(workers); /* before more memory is asked for */
        workers->options.run(job);
        job = next_job;
        next_job = NULL;
    }
}

static void *work(void *argument) {
    struct workers *workers = argument;
    thread_role_set(THREAD_ROLE_WORKER);
    for (;;) {
        struct job *job = job_ring_take(&workers->queued);
        if (!job && atomic_load(&workers->is_stopping))
            return NULL;
        if (job) {
            atomic_fetch_sub_explicit(&workers->queue_length, 1, memory_order_relaxed);
            run(workers, job);
        } else {
            sleep_until_called(workers);
            release_spent(workers);
        }
    }
}

/* Signals are the loop thread's: a worker that took one would lose its system call to it. */
static int start_thread(struct workers *workers, pthread_t *thread) {
    sigset_t all, before;
    pthread_attr_t attributes;
    sigfillset(&all);
    int code = pthread_attr_init(&attributes);
    if (code != 0)
        return code;
    pthread_attr_setstacksize(&attributes, WORKERS_STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    code = pthread_create(thread, &attributes, work, workers);
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
    sem_init(&workers->calls, 0, 0);
    enum status status = job_ring_init(&workers->queued, options->queue_max, error);
    while (status == STATUS_OK && workers->threads_started < options->threads) {
        int code = start_thread(workers, &workers->threads[workers->threads_started]);
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
    while (call_one(workers))
        ;
    for (unsigned i = 0; i < workers->threads_started; i++)
        pthread_join(workers->threads[i], NULL);
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
    sem_destroy(&workers->calls);
    free(workers);
}

bool workers_submit(struct workers *workers, struct job *job) {
    atomic_fetch_add_explicit(&workers->queue_length, 1, memory_order_relaxed);
    if (job_ring_put(&workers->queued, job)) {
        (void)call_one(workers);
        return true;
    }
    atomic_fetch_sub_explicit(&workers->queue_length, 1, memory_order_relaxed);
    return false;
}

void workers_release_later(struct workers *workers, struct job *job, bool is_urgent) {
    (void)job_stack_put(&workers->spent, job);
    if (is_urgent)
        (void)call_one(workers);
}

void workers_release_waiting(struct workers *workers) {
    if (!job_stack_is_empty(&workers->spent))
        (void)call_one(workers);
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
