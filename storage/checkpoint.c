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

/* Files of a vector: by kind, and as each is called while it is written. */
static const char *const suffixes[INDEX_IMAGE_KINDS] = {
    [INDEX_IMAGE_WHOLE] = ".bin", [INDEX_IMAGE_DELTA] = ".delta"};

static enum status file_name(const struct collection *collection, uint16_t number,
                             const char *suffix, char path[PATH_MAX], struct error *error) {
    int n = snprintf(path, PATH_MAX, "%s/graph-%u%s", collection->path, number, suffix);
    return n > 0 && n < PATH_MAX ? STATUS_OK : error_set(error, STATUS_INVALID, "path too long");
}

/* Writes a file that survives a power cut under a temporary name. */
static enum status write_file(struct collection *collection, struct vector_index *index,
                              enum index_image kind, uint64_t operation, const char *temporary,
                              struct error *error) {
    const struct index_stamp stamp = {.operation = operation,
                                      .incarnation = collection->incarnation};
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return error_set(error, STATUS_IO, "create a graph file: %s", strerror(errno));
    enum status status = vector_index_save(index, fd, kind, &stamp, error);
    if (status == STATUS_OK && fsync(fd) < 0)
        status = error_set(error, STATUS_IO, "sync a graph file: %s", strerror(errno));
    close(fd);
    if (status == STATUS_OK && FAULT_POINT("checkpoint.written"))
        status = error_set(error, STATUS_IO, "graph file: fault of a test");
    return status;
}

static enum status replace_file(struct collection *collection, struct collection_vector *vector,
                                enum index_image kind, uint64_t operation, struct error *error) {
    char path[PATH_MAX], temporary[PATH_MAX];
    enum status status = file_name(collection, vector->layout.number, suffixes[kind], path, error);
    if (status == STATUS_OK)
        status = file_name(collection, vector->layout.number, ".tmp", temporary, error);
    if (status != STATUS_OK)
        return status;
    status = write_file(collection, vector->index, kind, operation, temporary, error);
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

static enum status save_vector(struct collection *collection, struct collection_vector *vector,
                               uint64_t operation, struct error *error) {
    char delta[PATH_MAX];
    enum index_image kind = vector_index_image_due(vector->index);
    enum status status = replace_file(collection, vector, kind, operation, error);
    if (kind == INDEX_IMAGE_DELTA)
        return status;
    if (status != STATUS_OK) {
        vector_index_forget_image(vector->index);
        return status;
    }
    /* The delta of the image before this one: a crash may leave it, and loading passes it over. */
    status =
        file_name(collection, vector->layout.number, suffixes[INDEX_IMAGE_DELTA], delta, error);
    if (status == STATUS_OK)
        unlink(delta);
    return status;
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
    /* Of a collection that failed memory may lack what was committed: its rows are to be read. */
    if (status == STATUS_OK && collection->vectors_count > 0 &&
        !atomic_load(&collection->is_read_only))
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

static void close_files(const struct index_files *files) {
    if (files->whole >= 0)
        close(files->whole);
    if (files->delta >= 0)
        close(files->delta);
}

/* Opens what is there, -1 for what is not. */
static enum status open_files(struct collection *collection, struct collection_vector *vector,
                              struct index_files *files, struct error *error) {
    int fds[INDEX_IMAGE_KINDS] = {-1, -1};
    char path[PATH_MAX];
    enum status status = file_name(collection, vector->layout.number, ".tmp", path, error);
    if (status == STATUS_OK)
        unlink(path); /* of a save that a crash cut short */
    for (size_t kind = 0; kind < INDEX_IMAGE_KINDS && status == STATUS_OK; kind++) {
        status = file_name(collection, vector->layout.number, suffixes[kind], path, error);
        if (status == STATUS_OK)
            fds[kind] = open(path, O_RDONLY | O_CLOEXEC);
    }
    *files = (struct index_files){.whole = fds[INDEX_IMAGE_WHOLE], .delta = fds[INDEX_IMAGE_DELTA]};
    return status;
}

static enum status load_files(struct collection *collection, struct collection_vector *vector,
                              const struct index_files *files, uint64_t *operation,
                              struct error *error) {
    struct index_stamp stamp;
    enum status status = vector_index_load(vector->index, files, &stamp, error);
    if (status != STATUS_OK)
        return status;
    if (stamp.incarnation != collection->incarnation)
        return error_set(error, STATUS_CORRUPT, "it belongs to another collection");
    *operation = stamp.operation;
    return STATUS_OK;
}

/* Fills one index; one whose files are of no use is made anew. Image and delta stand and fall
 * together: without a damaged delta the image would be as old as its last whole save, and each slot
 * that was used again since would have to be repaired before the collection can be opened. */
static enum status load_vector(struct collection *collection, struct collection_vector *vector,
                               uint64_t *operation, struct error *error) {
    struct index_files files = {-1, -1};
    struct error reason = {0};
    *operation = 0;
    enum status status = open_files(collection, vector, &files, error);
    if (status == STATUS_OK && files.whole >= 0) {
        status = load_files(collection, vector, &files, operation, &reason);
        if (status != STATUS_OK) {
            *operation = 0;
            log_event(LOG_LEVEL_WARN,
                      "graph files %s/graph-%u are not usable and are built again: %s",
                      collection->path, vector->layout.number, reason.message);
            status = start_over(collection, vector, error);
        }
    }
    close_files(&files);
    return status;
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
