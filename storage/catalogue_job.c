/* catalogue_job.c -- creating, changing and deleting collections.
 *
 * The order on disk makes each step safe to lose: a collection is its catalogue record. Creation
 * reserves a number, which marks its folder as a leftover, makes the folder, and writes the record
 * last; deletion turns the record into the mark first and removes the folder last. Folders that are
 * marked are removed at the next start, and no others.
 */
#include "storage/collection_internal.h"
#include "storage/fault.h"
#include "storage/file.h"
#include "storage/log.h"
#include "storage/map_guard.h"
#include "storage/storage_internal.h"
#include "storage/thread_role.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static enum status fault(struct error *error) {
    return error_set(error, STATUS_IO, "catalogue: fault of a test");
}

/* ---- Create -----------------------------------------------------------------------------------
 */

/* Checks what others promised, and numbers the vectors. */
static enum status number_vectors(const struct collection_config *config,
                                  struct vector_config *vectors, struct error *error) {
    if (config->vectors_count > COLLECTION_VECTORS_MAX ||
        config->document_length > COLLECTION_DOCUMENT_MAX)
        return error_set(error, STATUS_TOO_LARGE, "the collection's configuration is too large");
    for (size_t i = 0; i < config->vectors_count; i++) {
        vectors[i] = config->vectors[i];
        vectors[i].number = (uint16_t)i;
        if (vectors[i].dimension == 0 || vectors[i].dimension > VECTOR_DIMENSION_MAX ||
            vectors[i].distance >= DISTANCE_COUNT || strlen(vectors[i].name) > VECTOR_NAME_MAX)
            return error_set(error, STATUS_INVALID, "vectors: a vector is not valid");
        for (size_t k = 0; k < i; k++)
            if (strcmp(vectors[k].name, vectors[i].name) == 0)
                return error_set(error, STATUS_INVALID, "vectors: a name stands there twice");
    }
    return STATUS_OK;
}

static enum status make_folder(struct storage *storage, const struct catalogue_record *record,
                               struct shared_config *config, const char *name,
                               struct error *error) {
    const struct collection_source source = {.storage = storage,
                                             .name = name,
                                             .number = record->number,
                                             .incarnation = record->incarnation,
                                             .config = config};
    enum status status = collection_create_folder(&source, error);
    if (status == STATUS_OK && FAULT_POINT("create.folder"))
        return fault(error);
    if (status == STATUS_OK)
        status = file_sync_folder(storage->collections_path, error);
    if (status == STATUS_OK && FAULT_POINT("create.synced"))
        return fault(error);
    return status;
}

static void remove_folder(struct storage *storage, uint64_t number) {
    char path[PATH_MAX];
    struct error error = {0};
    enum status status = storage_collection_path(storage, number, path, &error);
    if (status == STATUS_OK)
        status = file_remove_folder(path, &error);
    if (status == STATUS_OK)
        status = file_sync_folder(storage->collections_path, &error);
    if (status == STATUS_OK)
        status = catalogue_forget(&storage->catalogue, number, &error);
    if (status != STATUS_OK) /* the next start tries again: the mark stands */
        log_event(LOG_LEVEL_WARN, "a deleted collection's folder: %s", error.message);
}

/* Fills in the record of a new collection, whose vectors go into `vectors`. */
static enum status describe(struct storage *storage, struct catalogue_job *job,
                            struct vector_config *vectors, struct catalogue_record *record) {
    *record = (struct catalogue_record){.next_vector = (uint16_t)job->config.vectors_count,
                                        .name = job->name,
                                        .name_length = strlen(job->name),
                                        .config = job->config};
    record->config.vectors = vectors;
    enum status status = number_vectors(&job->config, vectors, &job->error);
    if (status != STATUS_OK)
        return status;
    if (record->name_length > COLLECTION_NAME_BYTES_MAX)
        return error_set(&job->error, STATUS_INVALID, "the collection's name is too long");
    if (storage_disk_is_low(storage))
        return error_set(&job->error, STATUS_NO_SPACE, "No space left: disk full");
    if (storage_memory_is_low(storage))
        return error_set(&job->error, STATUS_NO_MEMORY,
                         "the memory limit is reached (storage.memory_limit_mb)");
    ssize_t n = getrandom(&record->incarnation, sizeof(record->incarnation), 0);
    if (n != (ssize_t)sizeof(record->incarnation))
        return error_set(&job->error, STATUS_IO, "getrandom: %s", strerror(errno));
    pthread_mutex_lock(&storage->registry_mutex);
    bool exists = registry_find(storage, job->name) != NULL;
    pthread_mutex_unlock(&storage->registry_mutex);
    return exists ? error_set(&job->error, STATUS_CONFLICT, "Collection `%s` already exists!",
                              job->name)
                  : STATUS_OK;
}

/* Makes the number that was reserved for the record a collection, on disk and in memory. */
static enum status make_collection(struct storage *storage, const struct catalogue_record *record,
                                   struct catalogue_job *job) {
    struct shared_config *config = collection_config_create(&record->config);
    if (!config)
        return error_set(&job->error, STATUS_NO_MEMORY, "out of memory");
    enum status status = make_folder(storage, record, config, job->name, &job->error);
    collection_config_release(config);
    if (status == STATUS_OK)
        status = catalogue_put(&storage->catalogue, record, &job->error);
    if (status != STATUS_OK)
        return status;
    (void)FAULT_POINT("create.committed");
    pthread_mutex_lock(&storage->registry_mutex);
    struct registry_entry *entry = registry_add(storage, record);
    pthread_mutex_unlock(&storage->registry_mutex);
    if (entry)
        return STATUS_OK;
    /* Without its entry it must not exist: take the record back. */
    if (catalogue_remove(&storage->catalogue, record->number, NULL) != STATUS_OK)
        log_event(LOG_LEVEL_WARN, "a half created collection appears at the next start");
    return error_set(&job->error, STATUS_NO_MEMORY, "out of memory");
}

static enum status create(struct storage *storage, struct catalogue_job *job) {
    struct vector_config *vectors = malloc((job->config.vectors_count + 1) * sizeof(*vectors));
    struct catalogue_record record;
    if (!vectors)
        return error_set(&job->error, STATUS_NO_MEMORY, "out of memory");
    enum status status = describe(storage, job, vectors, &record);
    if (status == STATUS_OK)
        status = catalogue_reserve(&storage->catalogue, &record.number, &job->error);
    if (status == STATUS_OK) {
        status = make_collection(storage, &record, job);
        /* If the catalogue failed, the record may be on disk: the next start knows. */
        if (status != STATUS_OK && !storage->catalogue.has_failed)
            remove_folder(storage, record.number);
    }
    free(vectors);
    return status;
}

/* ---- Update -----------------------------------------------------------------------------------
 */

static bool has_same_vectors(const struct collection_config *a, const struct collection_config *b) {
    if (a->vectors_count != b->vectors_count)
        return false;
    for (size_t i = 0; i < a->vectors_count; i++)
        if (strcmp(a->vectors[i].name, b->vectors[i].name) != 0 ||
            a->vectors[i].number != b->vectors[i].number ||
            a->vectors[i].dimension != b->vectors[i].dimension ||
            a->vectors[i].distance != b->vectors[i].distance)
            return false;
    return true;
}

/* Only writers that run catalogue jobs remove entries or change their configurations, one at a
 * time, so an entry found stays while the mutex is not held. */
static struct registry_entry *find_entry(struct storage *storage, struct catalogue_job *job) {
    pthread_mutex_lock(&storage->registry_mutex);
    struct registry_entry *entry = registry_find(storage, job->name);
    while (entry && entry->is_opening) {
        pthread_cond_wait(&storage->opened, &storage->registry_mutex);
        entry = registry_find(storage, job->name);
    }
    pthread_mutex_unlock(&storage->registry_mutex);
    return entry;
}

static void swap_config(struct storage *storage, struct registry_entry *entry,
                        struct shared_config *config) {
    pthread_mutex_lock(&storage->registry_mutex);
    while (entry->is_opening) /* with the old one, which it reads */
        pthread_cond_wait(&storage->opened, &storage->registry_mutex);
    struct shared_config *old = entry->config;
    struct collection *collection = entry->collection;
    entry->config = config;
    if (collection) {
        pthread_mutex_lock(&collection->config_mutex);
        struct shared_config *of_collection = collection->config;
        collection->config = collection_config_acquire(config);
        pthread_mutex_unlock(&collection->config_mutex);
        collection_config_release(of_collection);
    }
    pthread_mutex_unlock(&storage->registry_mutex);
    collection_config_release(old);
}

static enum status update(struct storage *storage, struct catalogue_job *job) {
    struct registry_entry *entry = find_entry(storage, job);
    if (!entry)
        return error_set(&job->error, STATUS_NOT_FOUND, "Collection `%s` doesn't exist!",
                         job->name);
    struct collection_config changed = entry->config->config;
    enum status status = job->change(job, &entry->config->config, &changed, &job->error);
    if (status != STATUS_OK)
        return status;
    if (!has_same_vectors(&entry->config->config, &changed) ||
        changed.document_length > COLLECTION_DOCUMENT_MAX)
        return error_set(&job->error, STATUS_INVALID, "vectors: only their options can be changed");
    struct shared_config *config = collection_config_create(&changed);
    if (!config)
        return error_set(&job->error, STATUS_NO_MEMORY, "out of memory");
    const struct catalogue_record record = {.number = entry->number,
                                            .incarnation = entry->incarnation,
                                            .next_vector = entry->next_vector,
                                            .name = entry->name,
                                            .name_length = strlen(entry->name),
                                            .config = config->config};
    status = catalogue_put(&storage->catalogue, &record, &job->error);
    if (status == STATUS_OK)
        swap_config(storage, entry, config);
    else
        collection_config_release(config);
    return status;
}

/* ---- Delete -----------------------------------------------------------------------------------
 */

static enum status delete_collection(struct storage *storage, struct catalogue_job *job) {
    struct registry_entry *entry = find_entry(storage, job);
    job->existed = entry != NULL;
    if (!entry)
        return STATUS_OK;
    uint64_t number = entry->number;
    enum status status = catalogue_remove(&storage->catalogue, number, &job->error);
    if (status != STATUS_OK)
        return status;
    (void)FAULT_POINT("delete.committed");
    pthread_mutex_lock(&storage->registry_mutex);
    while (entry->is_opening)
        pthread_cond_wait(&storage->opened, &storage->registry_mutex);
    struct collection *collection = entry->collection;
    if (collection)
        atomic_store(&collection->is_deleted, true);
    registry_remove(storage, entry);
    pthread_mutex_unlock(&storage->registry_mutex);
    /* Readers go on in the open file; its space returns when the last one has left. */
    remove_folder(storage, number);
    (void)FAULT_POINT("delete.removed");
    map_guard_forgive(number);
    if (collection)
        collection_release(collection);
    return STATUS_OK;
}

void storage_run_catalogue_job(struct storage *storage, struct catalogue_job *job) {
    assert(thread_role_may_act_as(THREAD_ROLE_WRITER));
    job->error = (struct error){0};
    switch (job->kind) {
    case CATALOGUE_CREATE:
        job->status = create(storage, job);
        break;
    case CATALOGUE_UPDATE:
        job->status = update(storage, job);
        break;
    case CATALOGUE_DELETE:
        job->status = delete_collection(storage, job);
        break;
    }
    if (job->status == STATUS_IO && storage->catalogue.has_failed)
        storage_note_failure(storage, "the catalogue", job->error.message);
}
