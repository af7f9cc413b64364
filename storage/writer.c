#include "storage/writer.h"
#include "storage/collection_internal.h"
#include "storage/storage_internal.h"
#include "storage/thread_role.h"
#include "storage/write_group.h"

#include <signal.h>
#include <string.h>
#include <time.h>

enum {
    HELD_BACK_PAUSE_NS = 2000000, /* which other collections in the list wait, too */
};

/* What a writer found to do: one of the two, or neither when it is to end. */
struct errand {
    struct collection *collection;
    struct catalogue_job *job;
};

static struct errand next_errand(struct writer_pool *pool) {
    struct errand errand = {0};
    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        if (pool->catalogue_first && !pool->is_catalogue_busy) {
            errand.job = pool->catalogue_first;
            pool->catalogue_first = errand.job->next;
            if (!pool->catalogue_first)
                pool->catalogue_last = NULL;
            pool->catalogue_count--;
            pool->is_catalogue_busy = true;
            break;
        }
        if (pool->first) {
            errand.collection = pool->first;
            pool->first = errand.collection->next_scheduled;
            if (!pool->first)
                pool->last = NULL;
            break;
        }
        if (pool->is_stopping && !pool->catalogue_first)
            break;
        pthread_cond_wait(&pool->work, &pool->mutex);
    }
    pthread_mutex_unlock(&pool->mutex);
    return errand;
}

/* Whoever stops waits for what is queued, not for builders. */
static bool is_held_back(struct writer_pool *pool, struct collection *collection) {
    pthread_mutex_lock(&pool->mutex);
    bool is_stopping = pool->is_stopping;
    pthread_mutex_unlock(&pool->mutex);
    return !is_stopping && collection_is_held_back(collection);
}

/* Runs a group of a collection, or lets it wait for its builders at the end of the list. */
static void run_collection(struct writer_pool *pool, struct write_context *context,
                           struct collection *collection) {
    if (is_held_back(pool, collection))
        nanosleep(&(struct timespec){.tv_nsec = HELD_BACK_PAUSE_NS}, NULL);
    else
        write_group_run(context, collection, collection_take_jobs(collection));
    if (collection_stays_scheduled(collection))
        writer_pool_schedule(pool, collection);
    else
        collection_release(collection);
}

static void run_catalogue_job(struct writer_pool *pool, struct catalogue_job *job) {
    job->next = NULL;
    storage_run_catalogue_job(pool->storage, job);
    pthread_mutex_lock(&pool->mutex);
    pool->is_catalogue_busy = false;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    job->done(job); /* gives the job's memory back */
}

static void *writer_main(void *argument) {
    struct writer_pool *pool = argument;
    struct write_context context;
    thread_role_set(THREAD_ROLE_WRITER);
    write_context_init(&context);
    for (;;) {
        struct errand errand = next_errand(pool);
        if (errand.job)
            run_catalogue_job(pool, errand.job);
        else if (errand.collection)
            run_collection(pool, &context, errand.collection);
        else
            break;
    }
    write_context_free(&context);
    return NULL;
}

enum status writer_pool_start(struct writer_pool *pool, struct storage *storage, unsigned threads,
                              struct error *error) {
    *pool = (struct writer_pool){.storage = storage};
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    /* Signals belong to the loop thread; faults of memory still arrive where they happen. */
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = 0;
    while (code == 0 && pool->threads_count < threads && pool->threads_count < WRITER_THREADS_MAX) {
        code = pthread_create(&pool->threads[pool->threads_count], NULL, writer_main, pool);
        pool->threads_count += code == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code == 0)
        return STATUS_OK;
    writer_pool_stop(pool);
    return error_set(error, STATUS_NO_MEMORY, "start a writer thread: %s", strerror(code));
}

void writer_pool_stop(struct writer_pool *pool) {
    pthread_mutex_lock(&pool->mutex);
    pool->is_stopping = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    for (unsigned i = 0; i < pool->threads_count; i++)
        pthread_join(pool->threads[i], NULL);
    pool->threads_count = 0;
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
}

void writer_pool_schedule(struct writer_pool *pool, struct collection *collection) {
    pthread_mutex_lock(&pool->mutex);
    collection->next_scheduled = NULL;
    if (pool->last)
        pool->last->next_scheduled = collection;
    else
        pool->first = collection;
    pool->last = collection;
    pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
}

enum status writer_pool_submit(struct writer_pool *pool, struct catalogue_job *job,
                               struct error *error) {
    job->next = NULL;
    pthread_mutex_lock(&pool->mutex);
    bool is_full = pool->catalogue_count >= CATALOGUE_QUEUE_MAX, is_stopping = pool->is_stopping;
    if (!is_full && !is_stopping) {
        if (pool->catalogue_last)
            pool->catalogue_last->next = job;
        else
            pool->catalogue_first = job;
        pool->catalogue_last = job;
        pool->catalogue_count++;
        pthread_cond_signal(&pool->work);
    }
    pthread_mutex_unlock(&pool->mutex);
    if (is_stopping)
        return error_set(error, STATUS_UNAVAILABLE, "the server is stopping");
    return is_full ? error_set(error, STATUS_UNAVAILABLE, "too many changes are waiting")
                   : STATUS_OK;
}
