#include "storage/write_context.h"

#include <string.h>

void write_context_init(struct write_context *context) {
    *context = (struct write_context){0};
    arena_init(&context->fields_arena, WRITE_ARENA_MAX);
    arena_init(&context->postings_arena, WRITE_ARENA_MAX);
    arena_init(&context->moved, WRITE_ARENA_MAX);
    arena_init(&context->scratch, WRITE_ARENA_MAX);
    arena_init(&context->of_point, WRITE_ARENA_MAX);
}

void write_context_free(struct write_context *context) {
    arena_free(&context->fields_arena);
    arena_free(&context->postings_arena);
    arena_free(&context->moved);
    arena_free(&context->scratch);
    arena_free(&context->of_point);
    change_set_free(&context->changes);
    vector_blocks_batch_free(&context->vectors);
}

void write_context_begin(struct write_context *context, struct collection *collection) {
    context->collection = collection;
    pthread_mutex_lock(&collection->config_mutex);
    context->shared = collection_config_acquire(collection->config);
    pthread_mutex_unlock(&collection->config_mutex);
    context->config = context->shared->config;
    context->has_field_job = context->is_step_done = false;
    context->step_error.status = STATUS_OK;
}

void write_context_end(struct write_context *context) {
    write_context_drop(context);
    change_set_clear(&context->changes);
    arena_free(&context->fields_arena);
    collection_config_release(context->shared);
    context->shared = NULL;
    context->collection = NULL;
}

enum status write_context_load_fields(struct write_context *context, struct error *error) {
    arena_free(&context->fields_arena);
    enum status status =
        field_table_load(&context->fields, &context->rows, &context->fields_arena, error);
    return status == STATUS_OK
               ? field_table_keep_params(&context->fields, &context->fields_arena, error)
               : status;
}

void write_context_drop(struct write_context *context) {
    context->vectors.count = 0;
    arena_free(&context->moved);
    arena_free(&context->postings_arena);
    arena_free(&context->scratch);
    arena_free(&context->of_point);
    if (context->rows.dbis)
        posting_batch_init(&context->postings, &context->postings_arena,
                           context->rows.dbis[COLLECTION_DBI_POSTINGS]);
}

enum status write_context_flush(struct write_context *context, struct error *error) {
    const struct point_rows *rows = &context->rows;
    enum status status = posting_batch_apply(&context->postings, rows->txn, error);
    if (status == STATUS_OK)
        status = vector_blocks_apply(&context->vectors, rows->txn,
                                     rows->dbis[COLLECTION_DBI_VECTORS], error);
    arena_free(&context->moved);
    arena_free(&context->postings_arena);
    posting_batch_init(&context->postings, &context->postings_arena,
                       rows->dbis[COLLECTION_DBI_POSTINGS]);
    return status;
}

enum status write_context_after_point(struct write_context *context, struct error *error) {
    if (context->of_point.total > WRITE_EDIT_ARENA_KEPT)
        arena_free(&context->of_point);
    if (context->postings.count < WRITE_POSTINGS_MAX &&
        context->vectors.count < WRITE_VECTORS_MAX && context->moved.total < WRITE_MOVED_KEPT)
        return STATUS_OK;
    return write_context_flush(context, error);
}
