#include "storage/checkpoint.h"
#include "storage/fault.h"
#include "storage/file.h"
#include "storage/log.h"
#include "storage/slot_file.h"
#include "storage/storage_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool file_name(const struct collection *collection, uint16_t number, const char *suffix,
                      char path[PATH_MAX]) {
    int n = snprintf(path, PATH_MAX, "%s/graph-%u.bin%s", collection->path, number, suffix);
    return n > 0 && n < PATH_MAX;
}

static enum status save_vector(struct collection *collection, struct collection_vector *vector,
                               uint64_t operation, struct error *error) {
    char path[PATH_MAX], temporary[PATH_MAX];
    if (!file_name(collection, vector->layout.number, "", path) ||
        !file_name(collection, vector->layout.number, ".tmp", temporary))
        return error_set(error, STATUS_INVALID, "path too long");
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return error_set(error, STATUS_IO, "create a graph file: %s", strerror(errno));
    const struct index_stamp stamp = {.operation = operation,
                                      .incarnation = collection->incarnation};
    enum status status = vector_index_save(vector->index, fd, &stamp, error);
    if (status == STATUS_OK && fsync(fd) < 0)
        status = error_set(error, STATUS_IO, "sync a graph file: %s", strerror(errno));
    close(fd);
    if (status == STATUS_OK && FAULT_POINT("checkpoint.written"))
        status = error_set(error, STATUS_IO, "graph file: fault of a test");
    if (status == STATUS_OK && rename(temporary, path) < 0)
        status = error_set(error, STATUS_IO, "rename a graph file: %s", strerror(errno));
    if (status != STATUS_OK) {
        unlink(temporary);
        return status;
    }
    if (FAULT_POINT("checkpoint.renamed"))
        return error_set(error, STATUS_IO, "graph file: fault of a test");
    return file_sync_folder(collection->path, error);
}

enum status checkpoint_save(struct collection *collection, struct error *error) {
    /* Read before the images are made: they hold at least what this operation brought. */
    uint64_t operation = atomic_load_explicit(&collection->published, memory_order_acquire);
    uint64_t changes = atomic_exchange(&collection->unsaved_changes, 0), waiting = 0;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < collection->vectors_count && status == STATUS_OK; i++) {
        struct vector_index_info info;
        vector_index_info(collection->vectors[i].index, &info);
        waiting += info.waiting_count; /* to be linked, and then to be saved again */
        status = save_vector(collection, &collection->vectors[i], operation, error);
    }
    if (status == STATUS_OK && collection->vectors_count > 0)
        status = slot_file_save(collection->path, collection->slots, operation,
                                collection->incarnation, error);
    if (status == STATUS_OK)
        atomic_store(&collection->saved_operation, operation);
    atomic_fetch_add(&collection->unsaved_changes, status == STATUS_OK ? waiting : changes);
    return status;
}

/* An index that a bad file half filled is to be made again. */
static enum status start_over(struct collection *collection, struct collection_vector *vector,
                              struct error *error) {
    vector_index_free(vector->index);
    vector->index = NULL;
    return collection_create_index(collection, vector, error);
}

static enum status load_file(struct collection *collection, struct collection_vector *vector,
                             int fd, uint64_t *operation, struct error *error) {
    struct index_stamp stamp;
    enum status status = vector_index_load(vector->index, fd, &stamp, error);
    if (status != STATUS_OK)
        return status;
    if (stamp.incarnation != collection->incarnation)
        return error_set(error, STATUS_CORRUPT, "it belongs to another collection");
    *operation = stamp.operation;
    return STATUS_OK;
}

/* Fills one index; one whose file is of no use is made anew. */
static enum status load_vector(struct collection *collection, struct collection_vector *vector,
                               uint64_t *operation, struct error *error) {
    char path[PATH_MAX];
    struct error reason = {0};
    *operation = 0;
    if (!file_name(collection, vector->layout.number, ".tmp", path))
        return error_set(error, STATUS_INVALID, "path too long");
    unlink(path); /* of a save that a crash cut short */
    path[strlen(path) - strlen(".tmp")] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return STATUS_OK;
    enum status status = load_file(collection, vector, fd, operation, &reason);
    close(fd);
    if (status == STATUS_OK)
        return STATUS_OK;
    *operation = 0;
    log_event(LOG_LEVEL_WARN, "graph file %s is not usable and is built again: %s", path,
              reason.message);
    return start_over(collection, vector, error);
}

static void *load_all(void *context) {
    struct checkpoint_load *load = context;
    struct collection *collection = load->collection;
    for (size_t i = 0; i < collection->vectors_count && load->status == STATUS_OK; i++)
        load->status =
            load_vector(collection, &collection->vectors[i], &load->operations[i], &load->error);
    return NULL;
}

void checkpoint_load_begin(struct checkpoint_load *load, struct collection *collection) {
    *load = (struct checkpoint_load){.collection = collection};
    load->has_thread =
        collection->vectors_count > 0 && pthread_create(&load->thread, NULL, load_all, load) == 0;
    if (!load->has_thread)
        load_all(load);
}

enum status checkpoint_load_end(struct checkpoint_load *load, struct error *error) {
    if (load->has_thread)
        pthread_join(load->thread, NULL);
    load->has_thread = false;
    if (load->status != STATUS_OK && error)
        *error = load->error;
    return load->status;
}
