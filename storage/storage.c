#include "storage/storage.h"
#include "storage/checkpoint.h"
#include "storage/collection_internal.h"
#include "storage/collection_verify.h"
#include "storage/data_folder.h"
#include "storage/file.h"
#include "storage/log.h"
#include "storage/map_guard.h"
#include "storage/process_memory.h"
#include "storage/storage_internal.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
    MAP_BYTES_DEFAULT_GIB = 64,
    WRITERS_DEFAULT = 2,
    DEAD_SLOTS_DEFAULT = 16384,
    READERS_DEFAULT = 64,
    NUMBER_DIGITS = 16,  /* of a collection's folder name */
    LEFTOVERS_MAX = 256, /* folders removed at one start */
};

/* ---- Opening ----------------------------------------------------------------------------------
 */

static enum status add_record(void *context, uint64_t number, const struct catalogue_record *record,
                              struct error *error) {
    struct storage *storage = context;
    if (!record) {
        if (!storage->options.recover_damaged)
            return error_set(error, STATUS_CORRUPT,
                             "the catalogue's record of collection %016llx is damaged: start with "
                             "the option to recover, or restore the folder",
                             (unsigned long long)number);
        log_event(LOG_LEVEL_ERROR, "the record of collection %016llx is damaged and left out",
                  (unsigned long long)number);
        return STATUS_OK;
    }
    return registry_add(storage, record) ? STATUS_OK
                                         : error_set(error, STATUS_NO_MEMORY, "out of memory");
}

static void quarantine(struct storage *storage, const uint64_t *numbers, size_t count) {
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < storage->entries_count; k++) {
            struct registry_entry *entry = storage->entries[k];
            if (entry->number != numbers[i] || entry->damage)
                continue;
            entry->damage = strdup("reading its data file ended the process");
            log_event(LOG_LEVEL_ERROR, "collection %s is quarantined: %s", entry->name,
                      "reading its data file ended the process");
        }
}

static enum status read_catalogue(struct storage *storage, struct error *error) {
    char path[PATH_MAX];
    uint64_t numbers[MAP_GUARD_NUMBERS_MAX];
    size_t numbers_count = 0;
    if (!file_path_join(path, sizeof(path), storage->path, "damaged"))
        return error_set(error, STATUS_INVALID, "path too long: %s", storage->path);
    enum status status = map_guard_open(path, numbers, &numbers_count, error);
    if (status == STATUS_OK)
        status = catalogue_each(&storage->catalogue, add_record, storage, error);
    if (status != STATUS_OK)
        return status;
    quarantine(storage, numbers, numbers_count);
    return data_folder_tidy(storage, error);
}

static void set_defaults(struct storage *storage, const struct storage_options *options) {
    storage->options = *options;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    storage->cores = cores > 0 ? (unsigned)cores : 1;
    if (storage->options.map_bytes == 0)
        storage->options.map_bytes = (uint64_t)MAP_BYTES_DEFAULT_GIB << 30;
    if (storage->options.writers == 0)
        storage->options.writers = WRITERS_DEFAULT;
    if (storage->options.builders == 0)
        storage->options.builders = storage->cores; /* see storage.h */
    if (storage->options.dead_slots_spare == 0)
        storage->options.dead_slots_spare = DEAD_SLOTS_DEFAULT;
    if (storage->options.readers_max == 0)
        storage->options.readers_max = READERS_DEFAULT;
    storage->options.path = storage->path;
}

static void free_storage(struct storage *storage) {
    for (size_t i = 0; i < storage->scratches_count; i++)
        index_scratch_free(storage->scratches[i]);
    registry_free(storage);
    if (storage->lock_fd >= 0)
        close(storage->lock_fd);
    pthread_cond_destroy(&storage->opened);
    pthread_mutex_destroy(&storage->registry_mutex);
    pthread_mutex_destroy(&storage->scratch_mutex);
    pthread_mutex_destroy(&storage->reason_mutex);
    free(storage);
}

static enum status start_threads(struct storage *storage, struct error *error) {
    enum status status =
        writer_pool_start(&storage->writers, storage, storage->options.writers, error);
    if (status != STATUS_OK)
        return status;
    status = builder_pool_start(&storage->builders, storage, storage->options.builders, error);
    if (status != STATUS_OK)
        writer_pool_stop(&storage->writers);
    return status;
}

enum status storage_open(const struct storage_options *options, struct storage **opened,
                         struct error *error) {
    struct storage *storage = calloc(1, sizeof(*storage));
    if (!storage)
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    storage->lock_fd = -1;
    pthread_mutex_init(&storage->registry_mutex, NULL);
    pthread_cond_init(&storage->opened, NULL);
    pthread_mutex_init(&storage->scratch_mutex, NULL);
    pthread_mutex_init(&storage->reason_mutex, NULL);
    set_defaults(storage, options);
    int n = snprintf(storage->path, sizeof(storage->path), "%s", options->path);
    enum status status =
        n > 0 && (size_t)n < sizeof(storage->path)
            ? STATUS_OK
            : error_set(error, STATUS_INVALID, "the data folder's path is too long");
    if (status == STATUS_OK)
        status = data_folder_open(storage, error);
    if (status != STATUS_OK) {
        free_storage(storage);
        return status;
    }
    status = read_catalogue(storage, error);
    if (status == STATUS_OK)
        status = start_threads(storage, error);
    if (status != STATUS_OK) {
        catalogue_close(&storage->catalogue);
        map_guard_close();
        free_storage(storage);
        return status;
    }
    *opened = storage;
    return STATUS_OK;
}

/* ---- Closing ----------------------------------------------------------------------------------
 */

void storage_close(struct storage *storage, unsigned timeout_ms) {
    if (!storage)
        return;
    uint64_t until = collection_now_ns() + (uint64_t)timeout_ms * 1000000;
    pthread_mutex_lock(&storage->registry_mutex); /* a writer may still change the catalogue */
    for (size_t i = 0; i < storage->entries_count; i++)
        if (storage->entries[i]->collection)
            collection_close_queue(storage->entries[i]->collection);
    pthread_mutex_unlock(&storage->registry_mutex);
    writer_pool_stop(&storage->writers);
    builder_pool_stop(&storage->builders);
    for (size_t i = 0; i < storage->entries_count; i++) {
        struct collection *collection = storage->entries[i]->collection;
        if (!collection)
            continue;
        struct error error = {0};
        bool is_worth_it =
            atomic_load(&collection->published) > atomic_load(&collection->saved_operation) ||
            atomic_load(&collection->unsaved_changes) > 0;
        if (is_worth_it && collection_now_ns() < until &&
            checkpoint_save(collection, &error) != STATUS_OK)
            log_event(LOG_LEVEL_WARN, "graph files of %s: %s", collection->path, error.message);
        collection_release(collection);
    }
    catalogue_close(&storage->catalogue);
    map_guard_close();
    free_storage(storage);
}

/* ---- What others ask --------------------------------------------------------------------------
 */

enum status storage_collection_path(const struct storage *storage, uint64_t number,
                                    char path[PATH_MAX], struct error *error) {
    int n = snprintf(path, PATH_MAX, "%s/%016llx", storage->collections_path,
                     (unsigned long long)number);
    return n > 0 && n < PATH_MAX
               ? STATUS_OK
               : error_set(error, STATUS_INVALID, "path too long: %s", storage->path);
}

bool storage_disk_is_low(const struct storage *storage) {
    uint64_t reserve = storage->options.disk_reserve_bytes;
    return reserve > 0 && file_free_bytes(storage->path) < reserve;
}

bool storage_memory_is_low(const struct storage *storage) {
    uint64_t limit = storage->options.memory_limit_bytes;
    return limit > 0 && process_memory_used() >= limit;
}

void storage_note_failure(struct storage *storage, const char *name, const char *reason) {
    pthread_mutex_lock(&storage->reason_mutex);
    snprintf(storage->failure, sizeof(storage->failure), "collection %.64s is read-only: %.128s",
             name, reason);
    pthread_mutex_unlock(&storage->reason_mutex);
    atomic_store(&storage->has_failed, true);
    log_event(LOG_LEVEL_ERROR, "collection %s is read-only until restart: %s", name, reason);
}

bool storage_is_ready(struct storage *storage, char reason[256]) {
    reason[0] = '\0';
    if (atomic_load(&storage->has_failed)) {
        pthread_mutex_lock(&storage->reason_mutex);
        snprintf(reason, STORAGE_REASON_MAX, "%s", storage->failure);
        pthread_mutex_unlock(&storage->reason_mutex);
        return false;
    }
    if (storage_disk_is_low(storage)) {
        snprintf(reason, STORAGE_REASON_MAX, "disk full");
        return false;
    }
    return true;
}

void storage_count_group(struct storage *storage, bool has_failed, const struct write_job *jobs) {
    atomic_fetch_add(has_failed ? &storage->commit_failures : &storage->commits, 1);
    for (; jobs; jobs = jobs->next)
        atomic_fetch_add(&storage->operations, jobs->operations_count);
}

enum status storage_take_scratch(struct storage *storage, struct index_scratch **scratch,
                                 struct error *error) {
    pthread_mutex_lock(&storage->scratch_mutex);
    *scratch = storage->scratches_count > 0 ? storage->scratches[--storage->scratches_count] : NULL;
    pthread_mutex_unlock(&storage->scratch_mutex);
    return *scratch ? STATUS_OK : index_scratch_create(scratch, error);
}

void storage_give_scratch(struct storage *storage, struct index_scratch *scratch) {
    pthread_mutex_lock(&storage->scratch_mutex);
    bool is_kept = storage->scratches_count < STORAGE_SCRATCH_MAX;
    if (is_kept)
        storage->scratches[storage->scratches_count++] = scratch;
    pthread_mutex_unlock(&storage->scratch_mutex);
    if (!is_kept)
        index_scratch_free(scratch);
}

enum status storage_submit_catalogue(struct storage *storage, struct catalogue_job *job,
                                     struct error *error) {
    return writer_pool_submit(&storage->writers, job, error);
}

/* ---- Collections ------------------------------------------------------------------------------
 */

/* Opens the entry's collection; the mutex is held on entry and exit, not in between. */
static enum status open_entry(struct storage *storage, struct registry_entry *entry,
                              struct error *error) {
    const struct collection_source source = {.storage = storage,
                                             .name = entry->name,
                                             .number = entry->number,
                                             .incarnation = entry->incarnation,
                                             .config = entry->config};
    struct collection *collection = NULL;
    entry->is_opening = true;
    pthread_mutex_unlock(&storage->registry_mutex);
    enum status status = collection_open(&source, &collection, error);
    pthread_mutex_lock(&storage->registry_mutex);
    entry->is_opening = false;
    pthread_cond_broadcast(&storage->opened);
    entry->collection = collection;
    if (status == STATUS_CORRUPT && !entry->damage) {
        entry->damage = strdup(error->message);
        log_event(LOG_LEVEL_ERROR, "collection %s is quarantined: %s", entry->name, error->message);
    }
    if (collection && collection->has_field_work)
        collection_schedule(collection);
    if (collection)
        builder_pool_wake(&storage->builders, collection);
    return status;
}

enum status storage_acquire_collection(struct storage *storage, const char *name,
                                       struct collection **collection, struct error *error) {
    enum status status = STATUS_OK;
    pthread_mutex_lock(&storage->registry_mutex);
    struct registry_entry *entry = registry_find(storage, name);
    while (entry && entry->is_opening) {
        pthread_cond_wait(&storage->opened, &storage->registry_mutex);
        entry = registry_find(storage, name);
    }
    if (!entry) {
        pthread_mutex_unlock(&storage->registry_mutex);
        return error_set(error, STATUS_NOT_FOUND, "Collection `%s` doesn't exist!", name);
    }
    if (entry->damage)
        status =
            error_set(error, STATUS_CORRUPT, "Collection `%s` is damaged: %s", name, entry->damage);
    else if (!entry->collection)
        status = open_entry(storage, entry, error);
    if (status == STATUS_OK)
        *collection = collection_acquire(entry->collection);
    pthread_mutex_unlock(&storage->registry_mutex);
    return status;
}

void storage_release_collection(struct collection *collection) {
    if (collection)
        collection_release(collection);
}

enum status storage_verify_collection(struct storage *storage, const char *name,
                                      storage_problem_fn *report, void *context,
                                      struct error *error) {
    struct collection *collection = NULL;
    enum status status = storage_acquire_collection(storage, name, &collection, error);
    if (status == STATUS_CORRUPT)
        report(context, error->message);
    if (status != STATUS_OK)
        return status;
    status = collection_verify(collection, report, context, error);
    collection_release(collection);
    return status;
}

bool storage_has_collection(struct storage *storage, const char *name) {
    pthread_mutex_lock(&storage->registry_mutex);
    bool is_there = registry_find(storage, name) != NULL;
    pthread_mutex_unlock(&storage->registry_mutex);
    return is_there;
}

enum status storage_list_collections(struct storage *storage, struct arena *arena,
                                     const char *const **names, size_t *count,
                                     struct error *error) {
    pthread_mutex_lock(&storage->registry_mutex);
    size_t total = storage->entries_count;
    const char **list = arena_alloc(arena, (total + 1) * sizeof(*list));
    bool is_complete = list != NULL;
    for (size_t i = 0; i < total && is_complete; i++) {
        list[i] = arena_text(arena, storage->entries[i]->name, strlen(storage->entries[i]->name));
        is_complete = list[i] != NULL;
    }
    pthread_mutex_unlock(&storage->registry_mutex);
    *names = list;
    *count = total;
    return is_complete ? STATUS_OK : error_set(error, STATUS_NO_MEMORY, "out of memory");
}

static void add_figures(struct collection *collection, struct storage_figures *figures) {
    figures->collections_open++;
    figures->points += atomic_load(&collection->points);
    for (size_t i = 0; i < collection->vectors_count; i++) {
        struct vector_index_info info;
        vector_index_info(collection->vectors[i].index, &info);
        figures->vectors_waiting += info.waiting_count;
        figures->index_bytes += info.memory_bytes;
    }
    figures->disk_bytes += lmdb_env_used_bytes(&collection->env);
    pthread_mutex_lock(&collection->queue_mutex);
    figures->write_queue_jobs += collection->queue_jobs;
    pthread_mutex_unlock(&collection->queue_mutex);
}

void storage_figures(struct storage *storage, struct storage_figures *figures) {
    *figures = (struct storage_figures){
        .commits = atomic_load(&storage->commits),
        .commit_failures = atomic_load(&storage->commit_failures),
        .operations = atomic_load(&storage->operations),
        .readers_over_1s = atomic_load(&storage->readers_over_1s),
        .memory_used_bytes = process_memory_used(),
        .memory_limit_bytes = storage->options.memory_limit_bytes,
        .huge_page_bytes = process_memory_huge(),
    };
    pthread_mutex_lock(&storage->registry_mutex);
    figures->collections = storage->entries_count;
    for (size_t i = 0; i < storage->entries_count; i++) {
        figures->quarantined += storage->entries[i]->damage != NULL;
        if (storage->entries[i]->collection)
            add_figures(storage->entries[i]->collection, figures);
    }
    pthread_mutex_unlock(&storage->registry_mutex);
}
