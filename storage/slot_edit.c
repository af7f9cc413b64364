#include "storage/slot_edit.h"
#include "index/slots.h"
#include "storage/write_admission.h"

#include <string.h>
#include <xxhash.h>

static enum status no_memory(struct error *error) {
    return error_set(error, STATUS_NO_MEMORY, "the operation needs too much memory");
}

static bool find_ordinal(const struct write_context *context, const char *name, uint16_t *ordinal) {
    const struct vector_config *vector = collection_config_vector(&context->config, name);
    if (!vector)
        return false;
    const struct collection_vector *found =
        collection_vector_of(context->collection, vector->number);
    if (!found)
        return false;
    *ordinal = (uint16_t)(found - context->collection->vectors);
    return true;
}

/* Puts a vector in its place; one of the same ordinal is replaced. */
static void insert(struct slot_vectors *vectors, struct slot_vector vector) {
    size_t at = vectors->count;
    while (at > 0 && vectors->items[at - 1].ordinal >= vector.ordinal)
        at--;
    if (at == vectors->count || vectors->items[at].ordinal != vector.ordinal) {
        memmove(&vectors->items[at + 1], &vectors->items[at],
                (vectors->count - at) * sizeof(vectors->items[0]));
        vectors->count++;
    }
    vectors->items[at] = vector;
}

enum status slot_edit_named(struct write_context *context, const struct named_vector *named,
                            size_t count, struct slot_vectors *vectors, struct error *error) {
    for (size_t i = 0; i < count; i++) {
        struct slot_vector vector = {.values = named[i].values};
        if (!find_ordinal(context, named[i].name, &vector.ordinal))
            return error_set(error, STATUS_INVALID, "Not existing vector name error: %s",
                             named[i].name);
        uint32_t dimension = context->collection->vectors[vector.ordinal].layout.dimension;
        if (named[i].count != dimension)
            return error_set(error, STATUS_INVALID,
                             "Vector dimension error: expected dim: %u, got %zu", dimension,
                             named[i].count);
        insert(vectors, vector);
    }
    return STATUS_OK;
}

enum status slot_edit_stored(struct write_context *context, const struct stored_row *row,
                             struct slot_vectors *vectors, struct error *error) {
    vectors->count = 0;
    for (size_t i = 0; i < row->vectors_count; i++) {
        const struct collection_vector *vector =
            collection_vector_of(context->collection, row_keys_row_vector(row, i));
        if (!vector)
            return error_set(error, STATUS_CORRUPT,
                             "Stored data is corrupt: a row has an unknown vector");
        const float *values;
        enum status status =
            vector_blocks_read(context->rows.txn, context->rows.dbis[COLLECTION_DBI_VECTORS],
                               &vector->layout, row->slot, row->born, NULL, &values, error);
        if (status != STATUS_OK)
            return status;
        insert(vectors,
               (struct slot_vector){.ordinal = (uint16_t)(vector - context->collection->vectors),
                                    .is_stored = true,
                                    .values = values});
    }
    return STATUS_OK;
}

bool slot_edit_same(const struct write_context *context, const struct slot_vectors *a,
                    const struct slot_vectors *b) {
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        uint16_t ordinal = a->items[i].ordinal;
        size_t bytes = context->collection->vectors[ordinal].layout.dimension * sizeof(float);
        if (b->items[i].ordinal != ordinal ||
            memcmp(a->items[i].values, b->items[i].values, bytes) != 0)
            return false;
    }
    return true;
}

/* Takes a free slot or a new one, and notes the birth so that a failing job gives it back. */
static enum status take_slot(struct write_context *context, const struct point_id *id,
                             uint32_t *taken, struct error *error) {
    uint8_t key[POINT_ID_KEY_MAX];
    uint64_t seed = XXH3_64bits(key, point_id_key(id, key));
    uint32_t slot = slot_pool_take(&context->collection->pool);
    bool is_reused = slot != SLOT_NONE;
    if (!is_reused) {
        if (context->state.next_slot >= SLOT_MAX)
            return error_set(error, STATUS_TOO_LARGE, "the collection holds too many points");
        if (context->is_memory_low)
            return write_admission_no_slot(context->collection->storage, error);
        slot = context->state.next_slot++;
    }
    enum status status =
        change_set_add_birth(&context->changes, slot, context->operation, seed, error);
    if (status != STATUS_OK && is_reused)
        slot_pool_give(&context->collection->pool, slot);
    *taken = slot;
    return status;
}

static enum status add_vectors(struct write_context *context, uint32_t slot,
                               const struct slot_vectors *vectors, struct error *error) {
    enum status status = STATUS_OK;
    for (size_t i = 0; i < vectors->count && status == STATUS_OK; i++) {
        const struct slot_vector *vector = &vectors->items[i];
        const struct vector_write write = {
            .layout = &context->collection->vectors[vector->ordinal].layout,
            .slot = slot,
            .born = context->operation,
            .values = vector->values};
        status = vector_blocks_add(&context->vectors, &write, error);
        if (status == STATUS_OK)
            status = change_set_add_vector(&context->changes, vector->ordinal,
                                           vector->is_stored ? NULL : vector->values, error);
    }
    return status;
}

enum status slot_edit_give(struct write_context *context, struct stored_row *row,
                           const struct slot_vectors *vectors, struct error *error) {
    uint8_t numbers[2 * COLLECTION_VECTORS_MAX];
    for (size_t i = 0; i < vectors->count; i++)
        row_put_u16(numbers + 2 * i,
                    context->collection->vectors[vectors->items[i].ordinal].layout.number);
    row->vectors = numbers;
    row->vectors_count = vectors->count;
    row->version = row->born = context->operation;
    enum status status = take_slot(context, &row->id, &row->slot, error);
    if (status == STATUS_OK)
        status = add_vectors(context, row->slot, vectors, error);
    if (status == STATUS_OK)
        status = field_table_collect(&context->fields, &context->postings, row, true, error);
    if (status == STATUS_OK)
        status = posting_batch_live(&context->postings, row->slot, true, error);
    if (status == STATUS_OK)
        status = point_rows_put(&context->rows, row, true, error);
    row->vectors = NULL; /* it pointed at this frame */
    row->vectors_count = 0;
    return status;
}

enum status slot_edit_take(struct write_context *context, const struct stored_row *row,
                           struct error *error) {
    uint32_t slot = row->slot;
    enum status status =
        field_table_collect(&context->fields, &context->postings, row, false, error);
    if (status == STATUS_OK)
        status = posting_batch_live(&context->postings, slot, false, error);
    if (status == STATUS_OK)
        status = change_set_add_death(&context->changes, slot, context->operation, error);
    return status == STATUS_OK ? point_rows_remove_row(&context->rows, slot, error) : status;
}

enum status slot_edit_keep(struct write_context *context, struct stored_row *row,
                           struct error *error) {
    size_t bytes = 2 * row->vectors_count;
    uint8_t *vectors = arena_alloc(&context->of_point, bytes + 1);
    char *payload = arena_text(&context->of_point, row->payload, row->payload_length);
    struct point_id id;
    if (!vectors || !payload || !point_id_copy(&row->id, &context->of_point, &id))
        return no_memory(error);
    memcpy(vectors, row->vectors, bytes);
    row->vectors = vectors;
    row->payload = payload;
    row->id = id;
    return STATUS_OK;
}

enum status slot_edit_payload(struct write_context *context, const struct stored_row *row,
                              const char *payload, size_t payload_length, struct error *error) {
    struct stored_row changed = *row;
    enum status status = slot_edit_keep(context, &changed, error);
    bool is_same =
        row->payload_length == payload_length && memcmp(row->payload, payload, payload_length) == 0;
    if (status == STATUS_OK && !is_same)
        status = field_table_collect(&context->fields, &context->postings, row, false, error);
    changed.payload = payload;
    changed.payload_length = payload_length;
    changed.version = context->operation;
    if (status == STATUS_OK && !is_same)
        status = field_table_collect(&context->fields, &context->postings, &changed, true, error);
    return status == STATUS_OK ? point_rows_put(&context->rows, &changed, false, error) : status;
}
