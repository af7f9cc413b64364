/* builder.h -- the builder threads: they link, repair, free and save, at low priority.
 *
 * A collection with work stands in the list once; a builder takes it, does one bounded piece of
 * work, and puts it back, so that several builders may link one collection at once. Repairing,
 * freeing and saving is done by one builder at a time (collection.is_maintained). What must wait --
 * for readers to end, for the collection to be quiet -- is looked at again BUILDER_PAUSE_MS later,
 * or when something new comes for it, however busy other collections keep the builders.
 *
 * Builders give way: while reads go on they offer their core after each slot that they linked, and
 * while reads run on all cores they pause between pieces.
 */
#ifndef BUILDER_H
#define BUILDER_H

#include "index/status.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct collection;
struct storage;

enum {
    BUILDER_THREADS_MAX = 64,
    BUILDER_NICE = 10,
    BUILDER_LINK_SLOTS = 64,     /* linked at a time: about 10 ms */
    BUILDER_REFRESH_PIECES = 16, /* of vector_index_refresh, at a time: about as long */
    BUILDER_SETTLE_PIECES = 64,  /* of vector_index_settle, at a time: about as long */
    BUILDER_READS_MS = 20,       /* after the last read they count as going on */
    BUILDER_PAUSE_MS = 100,
    BUILDER_QUIET_MS = 2000,     /* no write for so long: time to save the graphs */
    BUILDER_SAVE_MS = 10000,     /* ... as it is after so long without a save: mostly of a delta */
    BUILDER_SAVE_SHARE = 20,     /* ... but saving takes at most a 20th of the time */
    BUILDER_SAVE_CHANGES = 1024, /* fewer slots since the last save are linked again in a moment */
};

/* Where a collection stands. */
enum builder_list {
    BUILDER_LIST_NONE,
    BUILDER_LIST_NOW,
    BUILDER_LIST_LATER,
};

struct builder_pool {
    struct storage *storage;
    pthread_t threads[BUILDER_THREADS_MAX];
    unsigned threads_count;
    pthread_mutex_t mutex; /* of all below */
    pthread_cond_t work;
    struct collection *first, *last; /* listed; each holds a reference */
    struct collection *later;        /* to be looked at again ... */
    uint64_t later_ns;               /* ... at this time, CLOCK_MONOTONIC */
    bool is_stopping;
};

MUST_CHECK enum status builder_pool_start(struct builder_pool *pool, struct storage *storage,
                                          unsigned threads, struct error *error);
void builder_pool_stop(struct builder_pool *pool);

/* Lists the collection for now, unless it is. Any thread that holds a reference. */
void builder_pool_wake(struct builder_pool *pool, struct collection *collection);

#endif
