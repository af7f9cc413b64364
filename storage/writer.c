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

/* What a writer found to do: one of the three, or none when it is to end. */
struct errand {
    struct collection *collection;
    struct collection *due; /* its time has come */
    struct catalogue_job *job;
};

/* Takes a collection whose time has come; else *next_ns is when that of the next will. One that was
 * deleted waits no longer: its files take space for as long as it is held. */
static struct collection *take_due(struct writer_pool *pool, uint64_t *next_ns) {
    uint64_t now = pool->later ? collection_now_ns() : 0;
    *next_ns = UINT64_MAX;
    for (struct collection **at = &pool->later; *at; at = &(*at)->next_later) {
        struct collection *collection = *at;
        if (collection->later_ns <= now || atomic_load(&collection->is_deleted)) {
            *at = collection->next_later;
            collection->is_later = false;
            return collection;
        }
        if (collection->later_ns < *next_ns)
            *next_ns = collection->later_ns;
    }
    return NULL;
}

static void wait_for_work(struct writer_pool *pool, uint64_t next_ns) {
    const struct timespec until = {.tv_sec = (time_t)(next_ns / 1000000000),
                                   .tv_nsec = (long)(next_ns % 1000000000)};
    if (next_ns == UINT64_MAX)
        pthread_cond_wait(&pool->work, &pool->mutex);
    else
        pthread_cond_timedwait(&pool->work, &pool->mutex, &until);
}

static struct errand next_errand(struct writer_pool *pool) {
    struct errand errand = {0};
    uint64_t next_ns;
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
        errand.due = take_due(pool, &next_ns);
        if (errand.due)
            break;
        if (pool->first) {
            errand.collection = pool->first;
            pool->first = errand.collection->next_scheduled;
            if (!pool->first)
                pool->last = NULL;
            break;
        }
        if (pool->is_stopping && !pool->catalogue_first)
            break;
        wait_for_work(pool, next_ns);
    }
    pthread_mutex_unlock(&pool->mutex);
    return errand;
}

/* Whoever stops waits for what is queued, not for builders. */
static bool is_held_back(struct writer_pool *pool, struct collection *collection,
                         uint64_t *slots_max) {
    pthread_mutex_lock(&pool->mutex);
    bool is_stopping = pool->is_stopping;
    pthread_mutex_unlock(&pool->mutex);
    *slots_max = UINT64_MAX;
    return !is_stopping && collection_is_held_back(collection, slots_max);
}

/* Has the collection scheduled at that time, in place of one that was set before. Takes over a
 * reference. */
static void schedule_later(struct writer_pool *pool, struct collection *collection,
                           uint64_t later_ns) {
    pthread_mutex_lock(&pool->mutex);
    bool is_known = collection->is_later;
    collection->later_ns = later_ns;
    if (!is_known) {
        collection->next_later = pool->later;
        pool->later = collection;
        collection->is_later = true;
    }
    pthread_cond_signal(&pool->work); /* who sleeps is to sleep no longer than until then */
    pthread_mutex_unlock(&pool->mutex);
    if (is_known)
        collection_release(collection);
}

static void run_due(struct collection *collection) {
    if (!atomic_load(&collection->is_deleted))
        collection_schedule(collection);
    collection_release(collection);
}

/* When a step of index building that failed is to be tried again; 0: none is. */
static uint64_t find_retry(const struct collection *collection) {
    bool is_over =
        atomic_load(&collection->is_read_only) || collection->field_retry_ns == FIELD_RETRY_NEVER;
    return is_over ? 0 : collection->field_retry_ns;
}

/* Runs a group of a collection, or lets it wait for its builders at the end of the list. */
static void run_collection(struct writer_pool *pool, struct write_context *context,
                           struct collection *collection) {
    uint64_t slots_max;
    if (is_held_back(pool, collection, &slots_max))
        nanosleep(&(struct timespec){.tv_nsec = HELD_BACK_PAUSE_NS}, NULL);
    else
        write_group_run(context, collection, collection_take_jobs(collection, slots_max));
    uint64_t retry_ns = find_retry(collection); /* the writer's, who lets go of it now */
    if (collection_stays_scheduled(collection))
        writer_pool_schedule(pool, collection);
    else if (retry_ns > 0)
        schedule_later(pool, collection, retry_ns);
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
        else if (errand.due)
            run_due(errand.due);
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
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->work, &attributes);
    pthread_condattr_destroy(&attributes);
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
    while (pool->later) {
        struct collection *collection = pool->later;
        pool->later = collection->next_later;
        collection_release(collection);
    }
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
