/* collection_queue.c -- the queue of writes of one collection: the way from a read worker to a
 * writer.
 *
 * Exports what collection.h and collection_internal.h promise about queues. The queue's mutex is a
 * leaf. While the queue is scheduled it holds one reference on the collection, so that writes that
 * were accepted outlive the callers' interest in it.
 */
#include "storage/collection_internal.h"
#include "storage/storage_internal.h"
#include "storage/thread_role.h"
#include "storage/write_admission.h"

#include <assert.h>
#include <math.h>

/* Builders that have done nothing about a backlog for so long are busy with something else, or lack
 * memory: a job goes on. */
#define HELD_BACK_NS UINT64_C(2000000000)

enum {
    PACE_STEP = 64, /* slots */
};

/* ---- Checks on the read worker ----------------------------------------------------------------
 */

static enum status prepare_vector(const struct collection_config *config,
                                  const struct named_vector *vector, struct error *error) {
    const struct vector_config *known = collection_config_vector(config, vector->name);
    if (!known)
        return error_set(error, STATUS_INVALID, "Not existing vector name error: %s", vector->name);
    if (vector->count != known->dimension)
        return error_set(error, STATUS_INVALID, "Vector dimension error: expected dim: %u, got %zu",
                         known->dimension, vector->count);
    for (size_t i = 0; i < vector->count; i++)
        if (!isfinite(vector->values[i]))
            return error_set(error, STATUS_INVALID, "vector[%zu]: the number is not finite", i);
    /* The operation's memory is the request's arena, which is ours to write (operation.h). */
    if (known->distance == DISTANCE_COSINE)
        distance_normalise((float *)(uintptr_t)vector->values, vector->count);
    return STATUS_OK;
}

enum status collection_prepare(struct collection *collection, struct operation *operation,
                               struct error *error) {
    if (operation->kind != OPERATION_UPSERT && operation->kind != OPERATION_UPDATE_VECTORS)
        return STATUS_OK;
    pthread_mutex_lock(&collection->config_mutex);
    struct shared_config *shared = collection_config_acquire(collection->config);
    pthread_mutex_unlock(&collection->config_mutex);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < operation->points_count && status == STATUS_OK; i++) {
        const struct point_input *point = &operation->points[i];
        for (size_t k = 0; k < point->vectors_count && status == STATUS_OK; k++)
            status = prepare_vector(&shared->config, &point->vectors[k], error);
    }
    collection_config_release(shared);
    return status;
}

/* ---- The queue --------------------------------------------------------------------------------
 */

static size_t count_queued_bytes(struct collection *collection) {
    pthread_mutex_lock(&collection->queue_mutex);
    size_t bytes = collection->queue_bytes;
    pthread_mutex_unlock(&collection->queue_mutex);
    return bytes;
}

enum status collection_submit(struct collection *collection, struct write_job *job,
                              struct error *error) {
    assert(thread_role_get() != THREAD_ROLE_LOOP);
    if (atomic_load(&collection->is_deleted))
        return error_set(error, STATUS_NOT_FOUND, "Collection `%s` doesn't exist!",
                         collection->name);
    job->next = NULL;
    if (job->is_unwatched) {
        enum status status =
            write_admission_ahead(collection, job, count_queued_bytes(collection), error);
        if (status != STATUS_OK)
            return status;
    }
    pthread_mutex_lock(&collection->queue_mutex);
    /* A job larger than the whole bound is taken by an empty queue, or it could never run. */
    bool is_full = collection->queue_jobs >= WRITE_QUEUE_JOBS_MAX ||
                   (collection->queue_jobs > 0 &&
                    collection->queue_bytes + job->bytes > WRITE_QUEUE_BYTES_MAX);
    bool is_closing = collection->is_closing, is_newly_scheduled = false;
    if (!is_full && !is_closing) {
        if (collection->queue_last)
            collection->queue_last->next = job;
        else
            collection->queue_first = job;
        collection->queue_last = job;
        collection->queue_jobs++;
        collection->queue_bytes += job->bytes;
        is_newly_scheduled = !collection->is_scheduled;
        collection->is_scheduled = true;
    }
    pthread_mutex_unlock(&collection->queue_mutex);
    if (is_closing)
        return error_set(error, STATUS_UNAVAILABLE, "the server is stopping");
    if (is_full)
        return error_set(error, STATUS_UNAVAILABLE, "too many writes are waiting");
    if (is_newly_scheduled)
        writer_pool_schedule(&collection->storage->writers, collection_acquire(collection));
    return STATUS_OK;
}

struct write_job *collection_take_jobs(struct collection *collection, uint64_t slots_max) {
    struct write_job *first, *last = NULL;
    size_t jobs = 0, bytes = 0;
    pthread_mutex_lock(&collection->queue_mutex);
    first = collection->queue_first;
    for (struct write_job *job = first; job && jobs < WRITE_GROUP_JOBS_MAX; job = job->next) {
        uint64_t slots = slots_max == UINT64_MAX ? 0 : write_admission_count_slots(job, slots_max);
        if (jobs > 0 && (bytes + job->bytes > WRITE_GROUP_BYTES_MAX || slots > slots_max))
            break;
        jobs++;
        bytes += job->bytes;
        slots_max -= slots < slots_max ? slots : slots_max;
        last = job;
    }
    if (last) {
        collection->queue_first = last->next;
        if (!last->next)
            collection->queue_last = NULL;
        last->next = NULL;
        collection->queue_jobs -= jobs;
        collection->queue_bytes -= bytes;
    }
    pthread_mutex_unlock(&collection->queue_mutex);
    return first;
}

/* ---- The pace of writes ------------------------------------------------------------------------
 */

/* How many more slots there may be. When builders are first found behind, what there is stands,
 * however much, and the spare ones; and so does later what was not foreseen. A quarter of what they
 * give back is lost for writes: so the backlog falls, whatever is written. */
static uint64_t room_for(struct write_pace *pace, uint64_t slots, bool is_behind, uint64_t spare) {
    pace->slots = slots;
    if (!is_behind) {
        pace->slots_max = 0;
        return UINT64_MAX;
    }
    if (pace->slots_max == 0) {
        pace->slots_max = slots + spare;
        pace->slots_settled = slots;
    }
    /* By steps, or the quarter of a few would be nothing, each time. */
    if (slots > pace->slots_settled)
        pace->slots_settled = slots;
    if (pace->slots_settled - slots >= PACE_STEP) {
        pace->slots_max -= (pace->slots_settled - slots) / 4;
        pace->slots_settled = slots;
    }
    if (pace->slots_max < slots)
        pace->slots_max = slots;
    return pace->slots_max - slots;
}

static uint64_t room_to_link(struct collection *collection) {
    uint64_t waiting = 0;
    for (size_t i = 0; i < collection->vectors_count; i++) {
        struct vector_index_info info;
        vector_index_info(collection->vectors[i].index, &info);
        waiting = info.waiting_count > waiting ? info.waiting_count : waiting;
    }
    return room_for(&collection->linking, waiting, waiting > COLLECTION_WAITING_MAX, 0);
}

/* Points that die only change what holds their slots: deletions are never behind. After a large one
 * new points may take a quarter as many slots at once. */
static uint64_t room_to_repair(struct collection *collection) {
    uint64_t points = atomic_load(&collection->points);
    uint64_t dead_max = points / COLLECTION_DEAD_SHARE;
    if (dead_max < collection->storage->options.dead_slots_spare)
        dead_max = collection->storage->options.dead_slots_spare;
    /* What a reader still sees no builder can do anything about. */
    uint64_t dead =
        slot_pool_count_dead_before(&collection->pool, collection_oldest_reader(collection));
    return room_for(&collection->repairing, points + slot_pool_dead_count(&collection->pool),
                    dead > dead_max, dead > dead_max ? (dead - dead_max) / 4 : 0);
}

static bool is_larger_than(struct collection *collection, uint64_t room) {
    pthread_mutex_lock(&collection->queue_mutex);
    const struct write_job *job = collection->queue_first;
    bool is_larger = job && write_admission_count_slots(job, room) > room;
    pthread_mutex_unlock(&collection->queue_mutex);
    return is_larger;
}

/* False if the job has waited for builders that did nothing for too long. */
static bool is_worth_waiting(struct collection *collection) {
    uint64_t backlog = collection->linking.slots + collection->repairing.slots;
    uint64_t now = collection_now_ns();
    if (collection->backlog == 0 || backlog < collection->backlog) {
        collection->backlog = backlog;
        collection->backlog_ns = now;
    }
    return now - collection->backlog_ns < HELD_BACK_NS;
}

bool collection_is_held_back(struct collection *collection, uint64_t *slots_max) {
    uint64_t linking = room_to_link(collection), repairing = room_to_repair(collection);
    *slots_max = linking < repairing ? linking : repairing;
    if (*slots_max < UINT64_MAX && is_larger_than(collection, *slots_max) &&
        is_worth_waiting(collection))
        return true;
    collection->backlog = 0;
    return false;
}

bool collection_stays_scheduled(struct collection *collection) {
    pthread_mutex_lock(&collection->queue_mutex);
    bool has_more = collection->queue_first != NULL;
    bool has_work = collection->has_field_work && !collection->is_closing &&
                    !atomic_load(&collection->is_read_only) &&
                    !atomic_load(&collection->is_deleted);
    collection->is_scheduled = has_more || has_work;
    pthread_mutex_unlock(&collection->queue_mutex);
    return has_more || has_work;
}

void collection_close_queue(struct collection *collection) {
    pthread_mutex_lock(&collection->queue_mutex);
    collection->is_closing = true;
    pthread_mutex_unlock(&collection->queue_mutex);
}

void collection_schedule(struct collection *collection) {
    pthread_mutex_lock(&collection->queue_mutex);
    bool is_newly_scheduled = !collection->is_scheduled && !collection->is_closing;
    if (is_newly_scheduled)
        collection->is_scheduled = true;
    pthread_mutex_unlock(&collection->queue_mutex);
    if (is_newly_scheduled)
        writer_pool_schedule(&collection->storage->writers, collection_acquire(collection));
}
