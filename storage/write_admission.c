#include "storage/write_admission.h"
#include "storage/storage_internal.h"

enum {
    SPACE_FACTOR = 4,             /* pages a job may change, in multiples of its bytes */
    SPACE_FOR_GROUP = 512 * 1024, /* ... and what any group changes: blocks, trees, free lists */
};

enum status write_admission_collection(struct collection *collection, struct error *error) {
    if (!atomic_load(&collection->is_read_only))
        return STATUS_OK;
    pthread_mutex_lock(&collection->reason_mutex);
    enum status status =
        error_set(error, STATUS_UNAVAILABLE, "the collection is read-only until restart: %s",
                  collection->reason);
    pthread_mutex_unlock(&collection->reason_mutex);
    return status;
}

bool write_admission_is_space_low(struct collection *collection, uint64_t bytes) {
    return storage_disk_is_low(collection->storage) &&
           lmdb_env_free_bytes(&collection->env) < SPACE_FOR_GROUP + SPACE_FACTOR * bytes;
}

/* What only removes may run when the disk is nearly full. */
static bool only_removes(const struct write_job *job) {
    for (size_t i = 0; i < job->operations_count; i++)
        if (job->operations[i].kind != OPERATION_DELETE &&
            job->operations[i].kind != OPERATION_DROP_INDEX)
            return false;
    return true;
}

enum status write_admission_job(const struct collection *collection, const struct write_job *job,
                                bool is_space_low, struct error *error) {
    if (atomic_load(&collection->is_deleted))
        return error_set(error, STATUS_NOT_FOUND, "Collection `%s` doesn't exist!",
                         collection->name);
    if (is_space_low && !only_removes(job))
        return error_set(error, STATUS_NO_SPACE,
                         "No space left: disk full, only deletions are accepted");
    return STATUS_OK;
}

enum status write_admission_no_slot(const struct storage *storage, struct error *error) {
    return error_set(
        error, STATUS_NO_MEMORY,
        "the memory limit of %llu MiB is reached (storage.memory_limit_mb): what needs "
        "no more memory is accepted, such as deletions",
        (unsigned long long)(storage->options.memory_limit_bytes >> 20));
}

uint64_t write_admission_count_slots(const struct write_job *job, uint64_t most) {
    uint64_t count = 0;
    for (size_t i = 0; i < job->operations_count && count <= most; i++) {
        const struct operation *operation = &job->operations[i];
        if (operation->kind == OPERATION_UPSERT || operation->kind == OPERATION_UPDATE_VECTORS)
            count += operation->points_count;
        else if (operation->kind == OPERATION_DELETE_VECTORS)
            count += operation->selector.filter ? 1 : operation->selector.ids_count;
    }
    return count;
}

enum status write_admission_ahead(struct collection *collection, const struct write_job *job,
                                  size_t queued_bytes, struct error *error) {
    enum status status = write_admission_collection(collection, error);
    if (status == STATUS_OK)
        status = write_admission_job(
            collection, job,
            write_admission_is_space_low(collection, (uint64_t)queued_bytes + job->bytes), error);
    uint64_t slots = write_admission_count_slots(job, UINT64_MAX);
    if (status == STATUS_OK && slots > 0 && storage_memory_is_low(collection->storage) &&
        slots > slot_pool_free_count(&collection->pool))
        status = write_admission_no_slot(collection->storage, error);
    return status;
}
