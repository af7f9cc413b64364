#include "storage/point_edit.h"
#include "storage/point_match.h"
#include "storage/point_selector.h"
#include "storage/slot_edit.h"

#include <string.h>
#include <xxhash.h>

static enum status no_memory(struct error *error) {
    return error_set(error, STATUS_NO_MEMORY, "the operation needs too much memory");
}

/* ---- Equal ids in one operation ---------------------------------------------------------------
 */

/* Returns, for each point, whether a later one has the same id; NULL out of memory. */
static bool *find_superseded(struct write_context *context, const struct operation *operation) {
    size_t count = operation->points_count, size = 16;
    while (size < 2 * count)
        size *= 2;
    bool *superseded = arena_alloc(&context->scratch, count + 1);
    uint32_t *table = arena_alloc(&context->scratch, size * sizeof(*table));
    if (!superseded || !table)
        return NULL;
    memset(table, 0, size * sizeof(*table));
    for (size_t i = count; i-- > 0;) {
        uint8_t key[POINT_ID_KEY_MAX];
        const struct point_id *id = &operation->points[i].id;
        size_t place = XXH3_64bits(key, point_id_key(id, key)) & (size - 1);
        superseded[i] = false;
        while (table[place] != 0 && !superseded[i]) {
            superseded[i] = point_id_compare(&operation->points[table[place] - 1].id, id) == 0;
            place = (place + 1) & (size - 1);
        }
        if (!superseded[i])
            table[place] = (uint32_t)i + 1;
    }
    return superseded;
}

/* ---- Upsert -----------------------------------------------------------------------------------
 */

/* Replaces a point that exists. */
static enum status replace(struct write_context *context, const struct stored_row *old,
                           struct stored_row *row, const struct slot_vectors *vectors,
                           struct error *error) {
    struct slot_vectors present;
    enum status status = slot_edit_stored(context, old, &present, error);
    if (status != STATUS_OK)
        return status;
    if (slot_edit_same(context, &present, vectors))
        return slot_edit_payload(context, old, row->payload, row->payload_length, error);
    status = slot_edit_take(context, old, error);
    return status == STATUS_OK ? slot_edit_give(context, row, vectors, error) : status;
}

static enum status upsert_point(struct write_context *context, const struct operation *operation,
                                const struct point_input *input, struct error *error) {
    struct stored_row old, row = {.id = input->id};
    struct slot_vectors vectors = {.count = 0};
    bool exists;
    enum status status = point_rows_get_by_id(&context->rows, &input->id, &old, &exists, error);
    if (status != STATUS_OK)
        return status;
    if (exists ? operation->mode == UPSERT_MODE_INSERT_ONLY
               : operation->mode == UPSERT_MODE_UPDATE_ONLY)
        return STATUS_OK;
    if (exists && operation->update_filter &&
        !point_match_row(operation->update_filter, &old, &context->config))
        return STATUS_OK;
    status = slot_edit_named(context, input->vectors, input->vectors_count, &vectors, error);
    if (status != STATUS_OK)
        return status;
    bool has_payload = input->payload && input->payload_length > 0;
    row.payload = has_payload ? input->payload : "{}";
    row.payload_length = has_payload ? input->payload_length : 2;
    if (exists)
        return replace(context, &old, &row, &vectors, error);
    context->state.points++;
    return slot_edit_give(context, &row, &vectors, error);
}

enum status point_edit_upsert(struct write_context *context, const struct operation *operation,
                              struct error *error) {
    const bool *superseded = find_superseded(context, operation);
    if (!superseded)
        return no_memory(error);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < operation->points_count && status == STATUS_OK; i++) {
        if (superseded[i])
            continue;
        status = upsert_point(context, operation, &operation->points[i], error);
        if (status == STATUS_OK)
            status = write_context_after_point(context, error);
    }
    return status;
}

/* ---- Delete -----------------------------------------------------------------------------------
 */

/* What to do with each selected row. */
typedef enum status edit_row_fn(struct write_context *context, const struct operation *operation,
                                struct stored_row *row, struct error *error);

static enum status for_each_selected(struct write_context *context,
                                     const struct operation *operation,
                                     enum selector_missing missing, edit_row_fn *edit,
                                     struct error *error) {
    struct selected_slots selected;
    enum status status =
        point_selector_resolve(context, &operation->selector, missing, &selected, error);
    for (size_t i = 0; i < selected.count && status == STATUS_OK; i++) {
        struct stored_row row;
        status = point_rows_get_live(&context->rows, selected.slots[i], &row, error);
        if (status == STATUS_OK)
            status = edit(context, operation, &row, error);
        if (status == STATUS_OK)
            status = write_context_after_point(context, error);
    }
    return status;
}

static enum status delete_row(struct write_context *context, const struct operation *operation,
                              struct stored_row *row, struct error *error) {
    (void)operation;
    struct stored_row kept = *row;
    if (!point_id_copy(&row->id, &context->of_point, &kept.id))
        return no_memory(error);
    enum status status = slot_edit_take(context, row, error);
    context->state.points--;
    return status == STATUS_OK ? point_rows_remove_entry(&context->rows, &kept.id, error) : status;
}

enum status point_edit_delete(struct write_context *context, const struct operation *operation,
                              struct error *error) {
    return for_each_selected(context, operation, SELECTOR_MISSING_SKIP, delete_row, error);
}

/* ---- Payload ----------------------------------------------------------------------------------
 */

static enum status edit_row_payload(struct write_context *context,
                                    const struct operation *operation, struct stored_row *row,
                                    struct error *error) {
    const char *edited = NULL;
    size_t edited_length = 0;
    enum status status = operation->edit(operation, row->payload, row->payload_length,
                                         &context->of_point, &edited, &edited_length, error);
    if (status != STATUS_OK)
        return status;
    if (!edited) {
        edited = "{}";
        edited_length = 2;
    }
    return slot_edit_payload(context, row, edited, edited_length, error);
}

enum status point_edit_payload(struct write_context *context, const struct operation *operation,
                               struct error *error) {
    return for_each_selected(context, operation, SELECTOR_MISSING_FAIL, edit_row_payload, error);
}

/* ---- Vectors ----------------------------------------------------------------------------------
 */

/* Copies vectors that are lent from the map, until they are applied: pages move while the
 * transaction writes. */
static enum status keep_vectors(struct write_context *context, struct slot_vectors *vectors,
                                struct error *error) {
    for (size_t i = 0; i < vectors->count; i++) {
        struct slot_vector *vector = &vectors->items[i];
        if (!vector->is_stored)
            continue;
        size_t bytes =
            context->collection->vectors[vector->ordinal].layout.dimension * sizeof(float);
        float *copy = arena_alloc(&context->moved, bytes);
        if (!copy)
            return no_memory(error);
        vector->values = memcpy(copy, vector->values, bytes);
    }
    return STATUS_OK;
}

/* Moves the point to a slot with these vectors; payload and id stay. */
static enum status move_point(struct write_context *context, struct stored_row *row,
                              const struct slot_vectors *vectors, struct error *error) {
    enum status status = slot_edit_keep(context, row, error);
    if (status == STATUS_OK)
        status = slot_edit_take(context, row, error);
    return status == STATUS_OK ? slot_edit_give(context, row, vectors, error) : status;
}

static enum status update_vectors(struct write_context *context, const struct operation *operation,
                                  const struct point_input *input, struct error *error) {
    struct stored_row row;
    struct slot_vectors present, changed;
    bool is_found;
    enum status status = point_rows_get_by_id(&context->rows, &input->id, &row, &is_found, error);
    if (status == STATUS_OK && !is_found)
        return point_rows_not_found(error, &input->id);
    if (status != STATUS_OK)
        return status;
    if (operation->update_filter &&
        !point_match_row(operation->update_filter, &row, &context->config))
        return STATUS_OK;
    status = slot_edit_stored(context, &row, &present, error);
    changed = present;
    if (status == STATUS_OK)
        status = slot_edit_named(context, input->vectors, input->vectors_count, &changed, error);
    if (status != STATUS_OK)
        return status;
    if (slot_edit_same(context, &present, &changed))
        return slot_edit_payload(context, &row, row.payload, row.payload_length, error);
    status = keep_vectors(context, &changed, error);
    return status == STATUS_OK ? move_point(context, &row, &changed, error) : status;
}

enum status point_edit_update_vectors(struct write_context *context,
                                      const struct operation *operation, struct error *error) {
    const bool *superseded = find_superseded(context, operation);
    if (!superseded)
        return no_memory(error);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < operation->points_count && status == STATUS_OK; i++) {
        status = update_vectors(context, operation, &operation->points[i], error);
        /* The next mention of this id reads what this one wrote. */
        if (status == STATUS_OK)
            status = superseded[i] ? write_context_flush(context, error)
                                   : write_context_after_point(context, error);
    }
    return status;
}

static enum status delete_row_vectors(struct write_context *context,
                                      const struct operation *operation, struct stored_row *row,
                                      struct error *error) {
    struct slot_vectors vectors;
    enum status status = slot_edit_stored(context, row, &vectors, error);
    if (status != STATUS_OK)
        return status;
    size_t kept = 0;
    for (size_t i = 0; i < vectors.count; i++) {
        uint16_t number = context->collection->vectors[vectors.items[i].ordinal].layout.number;
        bool is_named = false;
        for (size_t k = 0; k < operation->vector_names_count; k++) {
            const struct vector_config *named =
                collection_config_vector(&context->config, operation->vector_names[k]);
            is_named |= named && named->number == number;
        }
        if (!is_named)
            vectors.items[kept++] = vectors.items[i];
    }
    if (kept == vectors.count)
        return STATUS_OK;
    vectors.count = kept;
    status = keep_vectors(context, &vectors, error);
    return status == STATUS_OK ? move_point(context, row, &vectors, error) : status;
}

enum status point_edit_delete_vectors(struct write_context *context,
                                      const struct operation *operation, struct error *error) {
    const char *names[COLLECTION_VECTORS_MAX];
    bool is_named[COLLECTION_VECTORS_MAX] = {false};
    struct operation once = *operation; /* a name repeated is not to be looked for at each point */
    once.vector_names = names;
    once.vector_names_count = 0;
    for (size_t i = 0; i < operation->vector_names_count; i++) {
        const struct vector_config *vector =
            collection_config_vector(&context->config, operation->vector_names[i]);
        if (!vector)
            return error_set(error, STATUS_INVALID, "Not existing vector name error: %s",
                             operation->vector_names[i]);
        size_t place = (size_t)(vector - context->config.vectors);
        if (!is_named[place])
            names[once.vector_names_count++] = vector->name;
        is_named[place] = true;
    }
    return for_each_selected(context, &once, SELECTOR_MISSING_FAIL, delete_row_vectors, error);
}
