/* writer.h -- the writer threads, and the lists of what waits for them.
 *
 * A collection with queued writes stands in one list once; a writer takes it, runs one group, and
 * puts it back at the end if more is queued: collections take turns. Those in which a step of index
 * building failed stand in a list of those that wait for a time. Changes of the catalogue stand in
 * a list of their own and run one at a time.
 *
 * Threads: schedule and submit by any but the loop; the mutex is a leaf.
 */
#ifndef WRITER_H
#define WRITER_H

#include "storage/storage.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    WRITER_THREADS_MAX = 16,
    CATALOGUE_QUEUE_MAX = 256, /* changes of the catalogue that may wait */
};

struct writer_pool {
    struct storage *storage;
    pthread_t threads[WRITER_THREADS_MAX];
    unsigned threads_count;
    pthread_mutex_t mutex; /* of all below */
    pthread_cond_t work;
    struct collection *first, *last; /* scheduled; each holds a reference */
    struct collection *later;        /* to be scheduled at a time, in any order; the same */
    struct catalogue_job *catalogue_first, *catalogue_last;
    size_t catalogue_count;
    bool is_catalogue_busy;
    bool is_stopping;
};

MUST_CHECK enum status writer_pool_start(struct writer_pool *pool, struct storage *storage,
                                         unsigned threads, struct error *error);

/* Runs all that is queued, then ends the threads. */
void writer_pool_stop(struct writer_pool *pool);

/* Takes over the caller's reference. */
void writer_pool_schedule(struct writer_pool *pool, struct collection *collection);

MUST_CHECK enum status writer_pool_submit(struct writer_pool *pool, struct catalogue_job *job,
                                          struct error *error);

#endif
