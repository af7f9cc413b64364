#include "storage/builder.h"
#include "storage/checkpoint.h"
#include "storage/collection_internal.h"
#include "storage/log.h"
#include "storage/storage_internal.h"
#include "storage/thread_role.h"

#include <assert.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* What is left to do for a collection after one piece of work. */
enum remains {
    REMAINS_NOTHING,
    REMAINS_NOW,
    REMAINS_LATER,
};

static enum remains more_urgent(enum remains a, enum remains b) {
    if (a == REMAINS_NOW || b == REMAINS_NOW)
        return REMAINS_NOW;
    return a == REMAINS_LATER || b == REMAINS_LATER ? REMAINS_LATER : REMAINS_NOTHING;
}

/* ---- Linking ----------------------------------------------------------------------------------
 */

/* True if there are reads, now or a moment ago: between two of them a builder must not settle. */
static bool are_reads_going_on(struct storage *storage) {
    return atomic_load_explicit(&storage->active_readers, memory_order_relaxed) > 0 ||
           collection_now_ns() - atomic_load_explicit(&storage->read_ns, memory_order_relaxed) <
               BUILDER_READS_MS * 1000000ULL;
}

/* While reads go on: a reader that wakes up on this core would else wait for the end of the
 * builder's time slice, which is up to 4 ms in spite of its low priority. */
static void offer_core(void *context) {
    struct storage *storage = context;
    if (are_reads_going_on(storage))
        sched_yield();
}

/* Links up to BUILDER_LINK_SLOTS slots. */
static enum status link_slots(struct collection *collection, struct vector_index *index,
                              struct index_scratch *scratch, uint32_t *linked,
                              struct error *error) {
    enum status status = STATUS_OK;
    uint32_t one = 1;
    *linked = 0;
    while (status == STATUS_OK && one > 0 && *linked < BUILDER_LINK_SLOTS) {
        status = vector_index_link(index, 1, scratch, &one, error);
        *linked += one;
        offer_core(collection->storage);
    }
    return status;
}

/* Keeps up what speeds up searches; true if there is more to do. */
static bool refresh_index(struct collection *collection, struct vector_index *index,
                          struct index_scratch *scratch) {
    bool is_more = true;
    for (unsigned piece = 0; is_more && piece < BUILDER_REFRESH_PIECES; piece++) {
        is_more = vector_index_refresh(index, scratch);
        offer_core(collection->storage);
    }
    return is_more;
}

static enum remains link_piece(struct collection *collection, struct index_scratch *scratch) {
    enum remains remains = REMAINS_NOTHING;
    for (size_t i = 0; i < collection->vectors_count; i++) {
        uint32_t linked = 0;
        struct error error = {0};
        enum status status =
            link_slots(collection, collection->vectors[i].index, scratch, &linked, &error);
        if (status != STATUS_OK) {
            log_event(LOG_LEVEL_WARN, "linking of %s: %s", collection->path, error.message);
            remains = more_urgent(remains, REMAINS_LATER);
        } else if (linked > 0 || refresh_index(collection, collection->vectors[i].index, scratch)) {
            remains = REMAINS_NOW;
        }
    }
    return remains;
}

/* Reads what a start has left in the graph files. */
static enum remains settle_piece(struct collection *collection) {
    static const enum remains remains_of[] = {[INDEX_REST_NONE] = REMAINS_NOTHING,
                                              [INDEX_REST_PIECES] = REMAINS_NOW,
                                              [INDEX_REST_IN_USE] = REMAINS_LATER};
    enum remains remains = REMAINS_NOTHING;
    for (size_t i = 0; i < collection->vectors_count; i++) {
        for (unsigned piece = 0; piece < BUILDER_SETTLE_PIECES; piece++) {
            enum index_rest rest = vector_index_settle(collection->vectors[i].index);
            remains = more_urgent(remains, remains_of[rest]);
            if (rest != INDEX_REST_PIECES)
                break;
            offer_core(collection->storage);
        }
    }
    return remains;
}

/* ---- Repairing and freeing --------------------------------------------------------------------
 */

static bool have_searches_ended(const struct collection *collection,
                                const struct repaired_batch *batch) {
    for (size_t i = 0; i < collection->vectors_count; i++)
        if (!vector_index_epoch_passed(collection->vectors[i].index, batch->epochs[i]))
            return false;
    return true;
}

/* Gives back the slots that no running search can still hold. */
static void free_repaired(struct collection *collection) {
    struct repaired_batch *batch;
    while ((batch = collection->repaired) != NULL && have_searches_ended(collection, batch)) {
        for (size_t i = 0; i < batch->count; i++)
            slot_pool_give(&collection->pool, batch->slots[i]);
        collection->repaired = batch->next;
        free(batch);
    }
}

static void add_repaired(struct collection *collection, struct repaired_batch *batch) {
    struct repaired_batch **last = &collection->repaired;
    while (*last)
        last = &(*last)->next;
    for (size_t i = 0; i < collection->vectors_count; i++)
        batch->epochs[i] = vector_index_epoch_advance(collection->vectors[i].index);
    batch->next = NULL;
    *last = batch;
}

static enum status repair_slots(struct collection *collection, const uint32_t *slots, size_t count,
                                struct index_scratch *scratch, struct error *error) {
    for (size_t i = 0; i < collection->vectors_count; i++) {
        struct vector_index *index = collection->vectors[i].index;
        uint32_t present[COLLECTION_REPAIR_MAX];
        size_t present_count = 0;
        for (size_t k = 0; k < count; k++)
            if (vector_index_has(index, slots[k]))
                present[present_count++] = slots[k];
        enum status status =
            present_count > 0 ? vector_index_repair(index, present, present_count, scratch, error)
                              : STATUS_OK;
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* A list is mended once a batch, however many of its links die: half of 100,000 points take 65 s by
 * batches of 256, 28 s by 2,048. */
static size_t choose_count(struct collection *collection) {
    size_t count = slot_pool_dead_count(&collection->pool) / COLLECTION_REPAIR_SHARE;
    if (count > collection->repair_count)
        count = collection->repair_count;
    return count > COLLECTION_REPAIR_LEAST ? count : COLLECTION_REPAIR_LEAST;
}

static void adapt_count(struct collection *collection, size_t count, uint64_t took_ns) {
    uint64_t most_ns = COLLECTION_REPAIR_MS_MAX * 1000000ULL;
    if (took_ns > most_ns)
        collection->repair_count = count / 2;
    else if (took_ns < most_ns / 2 && count >= collection->repair_count)
        collection->repair_count = 2 * count;
    if (collection->repair_count > COLLECTION_REPAIR_MAX)
        collection->repair_count = COLLECTION_REPAIR_MAX;
}

/* Slots to repair: those of the last try, if it failed, or newly dead ones. NULL if there are none
 * that no reader sees, or no memory. */
static struct repaired_batch *take_batch(struct collection *collection) {
    struct repaired_batch *batch = collection->unrepaired;
    collection->unrepaired = NULL;
    if (batch)
        return batch;
    batch = malloc(sizeof(*batch) + collection->vectors_count * sizeof(batch->epochs[0]));
    if (!batch)
        return NULL;
    batch->count = slot_pool_take_dead(&collection->pool, collection_oldest_reader(collection),
                                       batch->slots, choose_count(collection));
    if (batch->count > 0)
        return batch;
    free(batch);
    return NULL;
}

static enum remains repair_piece(struct collection *collection, struct index_scratch *scratch) {
    struct error error = {0};
    free_repaired(collection);
    if (slot_pool_dead_count(&collection->pool) == 0 && !collection->unrepaired)
        return collection->repaired ? REMAINS_LATER : REMAINS_NOTHING;
    struct repaired_batch *batch = take_batch(collection);
    if (!batch)
        return REMAINS_LATER;
    uint64_t began_ns = collection_now_ns();
    if (repair_slots(collection, batch->slots, batch->count, scratch, &error) != STATUS_OK) {
        log_event(LOG_LEVEL_WARN, "repair of %s: %s", collection->path, error.message);
        collection->unrepaired = batch;
        return REMAINS_LATER;
    }
    adapt_count(collection, batch->count, collection_now_ns() - began_ns);
    add_repaired(collection, batch);
    return REMAINS_NOW;
}

/* ---- Saving -----------------------------------------------------------------------------------
 */

/* In a quiet moment with nothing left to link, or when the last time is long ago: a collection that
 * is never quiet would build its graph anew after a crash. */
static bool is_time_to_save(struct collection *collection, uint64_t now) {
    if (now - atomic_load(&collection->written_ns) >= BUILDER_QUIET_MS * 1000000ULL &&
        !collection_has_waiting(collection, 0))
        return true;
    uint64_t interval = BUILDER_SAVE_MS * 1000000ULL;
    if (interval < BUILDER_SAVE_SHARE * collection->save_cost_ns)
        interval = BUILDER_SAVE_SHARE * collection->save_cost_ns;
    return now - collection->saved_ns >= interval;
}

static enum remains save_if_due(struct collection *collection) {
    uint64_t now = collection_now_ns();
    if (collection->vectors_count == 0 ||
        atomic_load(&collection->unsaved_changes) < BUILDER_SAVE_CHANGES)
        return REMAINS_NOTHING;
    /* What is left of the disk is for data. */
    if (!is_time_to_save(collection, now) || storage_disk_is_low(collection->storage))
        return REMAINS_LATER;
    struct error error = {0};
    enum status status = checkpoint_save(collection, &error);
    collection->saved_ns = collection_now_ns();
    collection->save_cost_ns = collection->saved_ns - now;
    if (status != STATUS_OK) {
        log_event(LOG_LEVEL_WARN, "graph files of %s: %s", collection->path, error.message);
        atomic_store(&collection->written_ns, collection_now_ns()); /* try again, but not at once */
        return REMAINS_LATER;
    }
    return REMAINS_NOTHING;
}

/* ---- Threads ----------------------------------------------------------------------------------
 */

static enum remains work_on(struct collection *collection, struct index_scratch *scratch) {
    if (atomic_load(&collection->is_deleted))
        return REMAINS_NOTHING;
    enum remains remains = link_piece(collection, scratch);
    if (atomic_flag_test_and_set(&collection->is_maintained))
        return more_urgent(remains, REMAINS_LATER); /* another builder is at the rest, or past it */
    remains = more_urgent(remains, settle_piece(collection));
    remains = more_urgent(remains, repair_piece(collection, scratch));
    if (remains != REMAINS_NOW)
        remains = more_urgent(remains, save_if_due(collection));
    atomic_flag_clear(&collection->is_maintained);
    return remains;
}

/* The lists are changed with the mutex held; each entry holds a reference. */
static void list_now(struct builder_pool *pool, struct collection *collection) {
    collection->listed = BUILDER_LIST_NOW;
    collection->next_listed = NULL;
    if (pool->last)
        pool->last->next_listed = collection;
    else
        pool->first = collection;
    pool->last = collection;
    pthread_cond_signal(&pool->work);
}

static void list_later_ones_now(struct builder_pool *pool) {
    while (pool->later) {
        struct collection *collection = pool->later;
        pool->later = collection->next_listed;
        list_now(pool, collection);
    }
}

static struct collection *take_first(struct builder_pool *pool) {
    struct collection *collection = pool->first;
    pool->first = collection->next_listed;
    if (!pool->first)
        pool->last = NULL;
    collection->listed = BUILDER_LIST_NONE;
    return collection;
}

/* Takes the next collection; NULL when the thread is to end. */
static struct collection *next_collection(struct builder_pool *pool) {
    struct collection *collection = NULL;
    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        if (pool->later && collection_now_ns() >= pool->later_ns)
            list_later_ones_now(pool);
        if (pool->first || pool->is_stopping)
            break;
        const struct timespec until = {.tv_sec = (time_t)(pool->later_ns / 1000000000),
                                       .tv_nsec = (long)(pool->later_ns % 1000000000)};
        if (pool->later)
            pthread_cond_timedwait(&pool->work, &pool->mutex, &until);
        else
            pthread_cond_wait(&pool->work, &pool->mutex);
    }
    /* Off the list before the work, so that what comes meanwhile lists it again. */
    if (!pool->is_stopping)
        collection = take_first(pool);
    pthread_mutex_unlock(&pool->mutex);
    return collection;
}

void builder_pool_wake(struct builder_pool *pool, struct collection *collection) {
    pthread_mutex_lock(&pool->mutex);
    if (collection->listed == BUILDER_LIST_LATER)
        list_later_ones_now(pool); /* the others as well: looking costs little */
    else if (collection->listed == BUILDER_LIST_NONE && !pool->is_stopping)
        list_now(pool, collection_acquire(collection));
    pthread_mutex_unlock(&pool->mutex);
}

static void look_again_later(struct builder_pool *pool, struct collection *collection) {
    pthread_mutex_lock(&pool->mutex);
    if (collection->listed == BUILDER_LIST_NONE && !pool->is_stopping) {
        if (!pool->later)
            pool->later_ns = collection_now_ns() + BUILDER_PAUSE_MS * 1000000ULL;
        collection->listed = BUILDER_LIST_LATER;
        collection->next_listed = pool->later;
        pool->later = collection_acquire(collection);
        pthread_cond_signal(&pool->work);
    }
    pthread_mutex_unlock(&pool->mutex);
}

/* Reads come first: with every core busy reading, a builder waits a moment between pieces. */
static void give_way(struct storage *storage) {
    if (atomic_load(&storage->active_readers) < storage->cores)
        return;
    const struct timespec pause = {.tv_nsec = 2000000};
    nanosleep(&pause, NULL);
}

static void *builder_main(void *argument) {
    struct builder_pool *pool = argument;
    struct index_scratch *scratch = NULL;
    struct error error = {0};
    thread_role_set(THREAD_ROLE_BUILDER);
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), BUILDER_NICE);
    if (index_scratch_create(&scratch, &error) != STATUS_OK) {
        log_event(LOG_LEVEL_ERROR, "a builder cannot start: %s", error.message);
        return NULL;
    }
    index_scratch_set_offer(scratch, offer_core, pool->storage);
    struct collection *collection;
    while ((collection = next_collection(pool)) != NULL) {
        if (!atomic_load(&collection->is_deleted) &&
            collection_has_waiting(collection, BUILDER_LINK_SLOTS))
            builder_pool_wake(pool, collection); /* there is enough for another builder too */
        enum remains remains = work_on(collection, scratch);
        if (remains == REMAINS_NOW)
            builder_pool_wake(pool, collection);
        else if (remains == REMAINS_LATER)
            look_again_later(pool, collection);
        collection_release(collection);
        give_way(pool->storage);
    }
    index_scratch_free(scratch);
    return NULL;
}

enum status builder_pool_start(struct builder_pool *pool, struct storage *storage, unsigned threads,
                               struct error *error) {
    *pool = (struct builder_pool){.storage = storage};
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->work, &attributes);
    pthread_condattr_destroy(&attributes);
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = 0;
    while (code == 0 && pool->threads_count < threads &&
           pool->threads_count < BUILDER_THREADS_MAX) {
        code = pthread_create(&pool->threads[pool->threads_count], NULL, builder_main, pool);
        pool->threads_count += code == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code == 0)
        return STATUS_OK;
    builder_pool_stop(pool);
    return error_set(error, STATUS_NO_MEMORY, "start a builder thread: %s", strerror(code));
}

void builder_pool_stop(struct builder_pool *pool) {
    pthread_mutex_lock(&pool->mutex);
    pool->is_stopping = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    for (unsigned i = 0; i < pool->threads_count; i++)
        pthread_join(pool->threads[i], NULL);
    pool->threads_count = 0;
    list_later_ones_now(pool);
    while (pool->first)
        collection_release(take_first(pool));
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
}
