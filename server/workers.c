#include "server/workers.h"

#include "storage/thread_role.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct job_list {
    struct job *first, *last;
};

struct workers {
    struct workers_options options;
    pthread_mutex_t mutex; /* guards queued, queue_length, releases */
    /* Counts the jobs in both lists, and one for each thread that is to end. A condition variable
     * would take three system calls to hand over a job; this takes two. */
    sem_t work;
    struct job_list queued;         /* to be run */
    size_t queue_length;            /* of queued */
    struct job_list releases;       /* to be let go of */
    pthread_mutex_t returned_mutex; /* guards returned */
    struct job_list returned;       /* for the loop */
    unsigned threads_started;
    pthread_t threads[];
};

static void list_push(struct job_list *list, struct job *job) {
    job->next = NULL;
    if (list->last)
        list->last->next = job;
    else
        list->first = job;
    list->last = job;
}

static struct job *list_pop(struct job_list *list) {
    struct job *job = list->first;
    if (job) {
        list->first = job->next;
        if (!list->first)
            list->last = NULL;
        job->next = NULL;
    }
    return job;
}

/* Waits for the next job; NULL: stop. */
static struct job *next_job(struct workers *workers) {
    while (sem_wait(&workers->work) != 0)
        assert(errno == EINTR);
    pthread_mutex_lock(&workers->mutex);
    struct job *job = list_pop(&workers->releases); /* first: it gives memory back */
    if (!job && (job = list_pop(&workers->queued)))
        workers->queue_length--;
    pthread_mutex_unlock(&workers->mutex);
    return job;
}

static void *work(void *argument) {
    struct workers *workers = argument;
    struct job *job;
    thread_role_set(THREAD_ROLE_WORKER);
    while ((job = next_job(workers))) {
        if (job->is_release)
            workers->options.release(job);
        else
            workers->options.run(job);
    }
    return NULL;
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
    pthread_mutex_init(&workers->mutex, NULL);
    pthread_mutex_init(&workers->returned_mutex, NULL);
    sem_init(&workers->work, 0, 0);
    while (workers->threads_started < options->threads) {
        int code = start_thread(workers, &workers->threads[workers->threads_started]);
        if (code != 0) {
            error_set(error, STATUS_UNAVAILABLE, "cannot start worker thread %u of %u: %s",
                      workers->threads_started + 1, options->threads, strerror(code));
            workers_stop(workers);
            workers_free(workers);
            return STATUS_UNAVAILABLE;
        }
        workers->threads_started++;
    }
    *created = workers;
    return STATUS_OK;
}

void workers_stop(struct workers *workers) {
    /* Jobs were counted before, so the lists are empty when a thread finds nothing. */
    for (unsigned i = 0; i < workers->threads_started; i++)
        sem_post(&workers->work);
    for (unsigned i = 0; i < workers->threads_started; i++)
        pthread_join(workers->threads[i], NULL);
    workers->threads_started = 0;
}

void workers_free(struct workers *workers) {
    if (!workers)
        return;
    assert(workers->threads_started == 0 && !workers->queued.first && !workers->releases.first);
    assert(!workers->returned.first);
    sem_destroy(&workers->work);
    pthread_mutex_destroy(&workers->returned_mutex);
    pthread_mutex_destroy(&workers->mutex);
    free(workers);
}

bool workers_submit(struct workers *workers, struct job *job) {
    assert(!job->is_release);
    pthread_mutex_lock(&workers->mutex);
    bool is_full = workers->queue_length >= workers->options.queue_max;
    if (!is_full) {
        list_push(&workers->queued, job);
        workers->queue_length++;
    }
    pthread_mutex_unlock(&workers->mutex);
    /* After the lock, or the thread that wakes would find it taken and sleep again. */
    if (!is_full)
        sem_post(&workers->work);
    return !is_full;
}

void workers_submit_release(struct workers *workers, struct job *job) {
    job->is_release = true;
    pthread_mutex_lock(&workers->mutex);
    list_push(&workers->releases, job);
    pthread_mutex_unlock(&workers->mutex);
    sem_post(&workers->work);
}

void workers_return(struct workers *workers, struct job *job) {
    pthread_mutex_lock(&workers->returned_mutex);
    bool was_empty = !workers->returned.first;
    list_push(&workers->returned, job);
    pthread_mutex_unlock(&workers->returned_mutex);
    /* The job may be gone from here on. The loop drains the whole list, so one call is enough. */
    if (was_empty)
        workers->options.wake(workers->options.context);
}

struct job *workers_take_returned(struct workers *workers) {
    pthread_mutex_lock(&workers->returned_mutex);
    struct job *first = workers->returned.first;
    workers->returned = (struct job_list){0};
    pthread_mutex_unlock(&workers->returned_mutex);
    return first;
}

size_t workers_queue_length(struct workers *workers) {
    pthread_mutex_lock(&workers->mutex);
    size_t length = workers->queue_length;
    pthread_mutex_unlock(&workers->mutex);
    return length;
}
