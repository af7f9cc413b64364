#include "storage/checkpoint.h"
#include "storage/collection_databases.h"
#include "storage/collection_internal.h"
#include "storage/file.h"
#include "storage/storage_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

uint64_t collection_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

const char *collection_name(const struct collection *collection) {
    return collection->name;
}

/* ---- The folder -------------------------------------------------------------------------------
 */

static enum status open_env(struct lmdb_env *env, const struct collection_source *source,
                            const char *path, struct error *error) {
    const struct storage_options *options = &source->storage->options;
    const struct lmdb_env_options env_options = {
        .path = path,
        .databases = collection_databases,
        .databases_count = COLLECTION_DBI_COUNT,
        .map_bytes = options->map_bytes,
        .map_bytes_max = options->map_bytes_max,
        .readers_max = options->readers_max,
        .guard_number = source->number,
    };
    return lmdb_env_open(env, &env_options, error);
}

static enum status write_first_state(struct lmdb_env *env, uint64_t incarnation,
                                     struct error *error) {
    const struct collection_state state = {.incarnation = incarnation, .next_field = 1};
    MDB_txn *txn;
    enum status status = lmdb_env_write_begin(env, &txn, error);
    if (status != STATUS_OK)
        return status;
    const struct point_rows rows = {.txn = txn, .dbis = env->dbis};
    status = point_rows_write_state(&rows, &state, error);
    if (status != STATUS_OK) {
        mdb_txn_abort(txn);
        return status;
    }
    int code = mdb_txn_commit(txn);
    return code == 0 ? STATUS_OK : lmdb_env_fail(error, code, "create the collection");
}

enum status collection_create_folder(const struct collection_source *source, struct error *error) {
    char path[PATH_MAX];
    struct lmdb_env *env = malloc(sizeof(*env));
    enum status status = env ? STATUS_OK : error_set(error, STATUS_NO_MEMORY, "out of memory");
    if (status == STATUS_OK)
        status = storage_collection_path(source->storage, source->number, path, error);
    if (status == STATUS_OK) /* left by a creation that a crash cut short */
        status = file_remove_folder(path, error);
    if (status == STATUS_OK && mkdir(path, 0750) < 0)
        status = error_set(error, file_is_no_space(errno) ? STATUS_NO_SPACE : STATUS_IO,
                           "create the collection's folder: %s", strerror(errno));
    if (status == STATUS_OK)
        status = open_env(env, source, path, error);
    if (status == STATUS_OK) {
        status = write_first_state(env, source->incarnation, error);
        lmdb_env_close(env);
    }
    if (status == STATUS_OK)
        status = file_sync_folder(path, error);
    free(env);
    return status;
}

/* ---- Life -------------------------------------------------------------------------------------
 */

enum status collection_create_index(struct collection *collection, struct collection_vector *vector,
                                    struct error *error) {
    const struct vector_config *config = NULL;
    for (size_t i = 0; i < collection->config->config.vectors_count; i++)
        if (collection->config->config.vectors[i].number == vector->layout.number)
            config = &collection->config->config.vectors[i];
    assert(config);
    uint64_t bytes = (uint64_t)config->dimension * sizeof(float);
    uint64_t rows = config->full_scan_threshold < UINT64_MAX / 1024
                        ? config->full_scan_threshold * 1024 / bytes
                        : UINT32_MAX;
    const struct vector_index_options options = {
        .dimension = config->dimension,
        .distance = config->distance,
        .profile = config->profile,
        .m = config->m,
        .ef_construct = config->ef_construct,
        .full_scan_rows = rows < UINT32_MAX ? (uint32_t)rows : UINT32_MAX,
    };
    return vector_index_create(&options, collection->slots, &vector->index, error);
}

static enum status create_vectors(struct collection *collection, struct error *error) {
    const struct collection_config *config = &collection->config->config;
    collection->vectors = calloc(config->vectors_count + 1, sizeof(*collection->vectors));
    if (!collection->vectors)
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    enum status status = STATUS_OK;
    for (size_t i = 0; i < config->vectors_count && status == STATUS_OK; i++) {
        struct collection_vector *made = &collection->vectors[i];
        made->layout =
            vector_blocks_layout(config->vectors[i].number, config->vectors[i].dimension);
        made->distance = config->vectors[i].distance;
        status = collection_create_index(collection, made, error);
        collection->vectors_count += status == STATUS_OK;
    }
    return status;
}

/* Slots are reused by the block of the vector whose blocks are dearest to rewrite: the largest. */
static uint32_t reuse_group(const struct collection_config *config) {
    uint32_t group = 1024; /* without vectors any number does */
    for (size_t i = 0; i < config->vectors_count; i++) {
        uint32_t capacity = vector_blocks_layout(0, config->vectors[i].dimension).capacity;
        if (capacity < group)
            group = capacity;
    }
    return group;
}

static void collection_free(struct collection *collection) {
    assert(!collection->queue_first);
    if (collection->env.env)
        lmdb_env_close(&collection->env);
    for (size_t i = 0; i < collection->vectors_count; i++)
        if (collection->vectors[i].index)
            vector_index_free(collection->vectors[i].index);
    if (collection->slots)
        slots_free(collection->slots);
    slot_pool_destroy(&collection->pool);
    collection_config_release(collection->config);
    pthread_mutex_destroy(&collection->config_mutex);
    pthread_mutex_destroy(&collection->queue_mutex);
    pthread_mutex_destroy(&collection->reason_mutex);
    free(collection->vectors);
    free(collection->places);
    free(collection->unrepaired);
    while (collection->repaired) {
        struct repaired_batch *next = collection->repaired->next;
        free(collection->repaired);
        collection->repaired = next;
    }
    place_cache_pool_free(&collection->caches);
    free(collection->name);
    free(collection);
}

/* Everything but what is read from the folder. */
static enum status create_empty(const struct collection_source *source, struct collection **created,
                                struct error *error) {
    struct collection *collection = aligned_alloc(64, (sizeof(*collection) + 63) / 64 * 64);
    if (!collection)
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    memset(collection, 0, sizeof(*collection));
    collection->storage = source->storage;
    collection->number = source->number;
    collection->incarnation = source->incarnation;
    collection->saved_ns = collection_now_ns();
    collection->config = collection_config_acquire(source->config);
    atomic_init(&collection->references, 1);
    pthread_mutex_init(&collection->config_mutex, NULL);
    pthread_mutex_init(&collection->queue_mutex, NULL);
    pthread_mutex_init(&collection->reason_mutex, NULL);
    place_cache_pool_init(&collection->caches);
    enum status status =
        slot_pool_init(&collection->pool, reuse_group(&source->config->config), error);
    *created = collection;
    collection->name = strdup(source->name);
    collection->places_count = source->storage->options.readers_max + LMDB_READERS_SPARE;
    size_t bytes = collection->places_count * sizeof(*collection->places);
    collection->places = aligned_alloc(64, bytes);
    if (status == STATUS_OK && (!collection->name || !collection->places))
        status = error_set(error, STATUS_NO_MEMORY, "out of memory");
    if (collection->places)
        for (unsigned i = 0; i < collection->places_count; i++) {
            atomic_init(&collection->places[i].operation, READER_PLACE_IDLE);
            atomic_init(&collection->places[i].since_ns, 0);
        }
    return status;
}

/* The graphs are read while the data file is checked: a start has all cores to itself. */
static enum status open_files(struct collection *collection, const struct collection_source *source,
                              struct error *error) {
    struct checkpoint_load graphs;
    struct error reason = {0};
    checkpoint_load_begin(&graphs, collection);
    enum status status = open_env(&collection->env, source, collection->path, error);
    enum status of_graphs = checkpoint_load_end(&graphs, &reason);
    if (status == STATUS_OK && of_graphs != STATUS_OK)
        return error_set(error, of_graphs, "%s", reason.message);
    return status == STATUS_OK ? collection_load(collection, graphs.operations, error) : status;
}

enum status collection_open(const struct collection_source *source, struct collection **opened,
                            struct error *error) {
    struct collection *collection = NULL;
    enum status status = create_empty(source, &collection, error);
    if (!collection)
        return status;
    if (status == STATUS_OK)
        status = storage_collection_path(source->storage, source->number, collection->path, error);
    if (status == STATUS_OK)
        status = slots_create(&collection->slots, error);
    if (status == STATUS_OK)
        status = create_vectors(collection, error);
    if (status == STATUS_OK)
        status = open_files(collection, source, error);
    if (status != STATUS_OK) {
        collection_free(collection);
        return status;
    }
    *opened = collection;
    return STATUS_OK;
}

struct collection *collection_acquire(struct collection *collection) {
    unsigned before = atomic_fetch_add(&collection->references, 1);
    assert(before > 0);
    return collection;
}

void collection_release(struct collection *collection) {
    unsigned before = atomic_fetch_sub(&collection->references, 1);
    assert(before > 0);
    if (before == 1)
        collection_free(collection);
}

struct collection_vector *collection_vector_of(struct collection *collection, uint16_t number) {
    for (size_t i = 0; i < collection->vectors_count; i++)
        if (collection->vectors[i].layout.number == number)
            return &collection->vectors[i];
    return NULL;
}

struct vector_index_info collection_index_info(struct collection *collection, uint16_t number) {
    struct vector_index_info info;
    const struct collection_vector *vector = collection_vector_of(collection, number);
    assert(vector);
    vector_index_info(vector->index, &info);
    return info;
}

bool collection_has_waiting(struct collection *collection, uint64_t least) {
    for (size_t i = 0; i < collection->vectors_count; i++) {
        struct vector_index_info info;
        vector_index_info(collection->vectors[i].index, &info);
        if (info.waiting_count > least)
            return true;
    }
    return false;
}

uint64_t collection_oldest_reader(const struct collection *collection) {
    /* published is read last: a reader that takes its place after we looked began later, and sees
     * at least what was published when we looked. */
    uint64_t oldest = UINT64_MAX;
    for (unsigned i = 0; i < collection->places_count; i++) {
        uint64_t operation = atomic_load(&collection->places[i].operation);
        oldest = operation < oldest ? operation : oldest;
    }
    uint64_t published = atomic_load(&collection->published);
    return published < oldest ? published : oldest;
}

void collection_fail(struct collection *collection, const char *reason) {
    pthread_mutex_lock(&collection->reason_mutex);
    snprintf(collection->reason, sizeof(collection->reason), "%s", reason);
    pthread_mutex_unlock(&collection->reason_mutex);
    atomic_store(&collection->is_read_only, true);
    storage_note_failure(collection->storage, collection->name, reason);
}

/* ---- Description ------------------------------------------------------------------------------
 */

void collection_status(struct collection *collection, struct collection_status *status) {
    *status = (struct collection_status){.points_count = atomic_load(&collection->points)};
    for (size_t i = 0; i < collection->vectors_count; i++) {
        struct vector_index_info info;
        vector_index_info(collection->vectors[i].index, &info);
        /* Dead slots stay linked until they are repaired; users count points. */
        status->indexed_vectors_count +=
            info.linked_count < status->points_count ? info.linked_count : status->points_count;
        status->waiting_count += info.waiting_count;
    }
    pthread_mutex_lock(&collection->queue_mutex);
    status->queue_length = collection->queue_jobs;
    pthread_mutex_unlock(&collection->queue_mutex);
    bool is_read_only = atomic_load(&collection->is_read_only);
    pthread_mutex_lock(&collection->reason_mutex);
    status->is_damaged = is_read_only || collection->is_field_stuck;
    if (is_read_only)
        snprintf(status->reason, sizeof(status->reason), "%s", collection->reason);
    else if (collection->is_field_stuck)
        snprintf(status->reason, sizeof(status->reason), "payload index: %.*s",
                 COLLECTION_REASON_MAX - 16, collection->field_reason);
    pthread_mutex_unlock(&collection->reason_mutex);
}
