#include "storage/field_work.h"
#include "storage/fault.h"
#include "storage/log.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Between tries of a step that failed: doubled from the first to the last. */
#define PAUSE_FIRST_NS UINT64_C(50000000)
#define PAUSE_LAST_NS  UINT64_C(60000000000)

static enum status fault(struct error *error) {
    return error_set(error, STATUS_IO, "payload index: fault of a test");
}

static bool has_same_params(const struct payload_index_field *a,
                            const struct payload_index_field *b) {
    size_t a_length = a->params ? a->params_length : 0;
    size_t b_length = b->params ? b->params_length : 0;
    return a_length == b_length && (a_length == 0 || memcmp(a->params, b->params, a_length) == 0);
}

/* Hides the index and leaves its postings to be deleted step by step. */
static enum status begin_drop(struct write_context *context,
                              const struct payload_index_field *field, struct error *error) {
    if (FAULT_POINT("field.drop"))
        return fault(error);
    return field_table_put(&context->rows, field, FIELD_STATE_DROPPING, error);
}

enum status field_work_create(struct write_context *context,
                              const struct payload_index_field *wanted, struct error *error) {
    const struct payload_index_field *present =
        field_table_find(&context->fields, wanted->path.text, wanted->path.text_length);
    struct payload_index_field field = *wanted;
    enum status status = STATUS_OK;
    if (present && present->type == wanted->type) {
        if (has_same_params(present, wanted))
            return STATUS_OK;
        field.number = present->number;
        field.next_slot = present->next_slot;
        status =
            field_table_put(&context->rows, &field,
                            present->is_ready ? FIELD_STATE_READY : FIELD_STATE_BUILDING, error);
        return status == STATUS_OK ? write_context_load_fields(context, error) : status;
    }
    if (context->fields.count + context->fields.dropping_count >= PAYLOAD_INDEXES_MAX)
        return error_set(error, STATUS_INVALID, "a collection has at most %d payload indexes",
                         PAYLOAD_INDEXES_MAX);
    if (context->state.next_field == UINT16_MAX)
        return error_set(error, STATUS_INVALID, "too many payload indexes have been created");
    if (FAULT_POINT("field.create"))
        return fault(error);
    if (present)
        status = begin_drop(context, present, error);
    field.number = context->state.next_field++;
    field.next_slot = 0;
    bool is_empty = context->state.next_slot == 0;
    if (status == STATUS_OK)
        status = field_table_put(&context->rows, &field,
                                 is_empty ? FIELD_STATE_READY : FIELD_STATE_BUILDING, error);
    return status == STATUS_OK ? write_context_load_fields(context, error) : status;
}

enum status field_work_drop(struct write_context *context, const struct payload_path *path,
                            struct error *error) {
    const struct payload_index_field *present =
        field_table_find(&context->fields, path->text, path->text_length);
    if (!present)
        return STATUS_OK;
    enum status status = begin_drop(context, present, error);
    return status == STATUS_OK ? write_context_load_fields(context, error) : status;
}

bool field_work_is_pending(const struct write_context *context) {
    return context->fields.dropping_count > 0 ||
           context->fields.count > context->fields.ready_count;
}

static enum status drop_step(struct write_context *context, struct error *error) {
    uint16_t number = context->fields.dropping[0];
    bool is_done = false;
    enum status status =
        payload_index_drop_step(context->rows.txn, context->rows.dbis[COLLECTION_DBI_POSTINGS],
                                number, FIELD_STEP_DELETIONS, &is_done, error);
    if (status == STATUS_OK && FAULT_POINT("field.drop_step"))
        return fault(error);
    if (status == STATUS_OK && is_done)
        status = field_table_remove(&context->rows, number, error);
    return status;
}

/* The row of a slot, unless the slot is free. */
static enum status find_live(struct write_context *context, uint32_t slot, struct stored_row *row,
                             bool *is_live, struct error *error) {
    enum status status = point_rows_get(&context->rows, slot, row, is_live, error);
    if (status != STATUS_OK || *is_live)
        return status;
    MDB_dbi postings = context->rows.dbis[COLLECTION_DBI_POSTINGS];
    status = postings_has_live(context->rows.txn, postings, slot, is_live, error);
    return status == STATUS_OK && *is_live ? point_rows_get_live(&context->rows, slot, row, error)
                                           : status;
}

static enum status build_step(struct write_context *context, uint32_t slots_max,
                              struct error *error) {
    struct payload_index_field field = context->fields.fields[context->fields.ready_count];
    uint32_t slot = field.next_slot, slot_end = context->state.next_slot;
    if (slot_end > slot && slot_end - slot > slots_max)
        slot_end = slot + slots_max;
    enum status status = STATUS_OK;
    for (; slot < slot_end && status == STATUS_OK; slot++) {
        struct stored_row row;
        bool is_live;
        status = find_live(context, slot, &row, &is_live, error);
        if (status == STATUS_OK && is_live)
            status = payload_index_collect(&context->postings, &field, 1, slot, row.payload,
                                           row.payload_length, true, error);
        if (status == STATUS_OK)
            status = write_context_after_point(context, error);
    }
    if (status == STATUS_OK)
        status = write_context_flush(context, error);
    if (status == STATUS_OK && FAULT_POINT("field.build_step"))
        return fault(error);
    field.next_slot = slot_end;
    bool is_ready = slot_end == context->state.next_slot;
    return status == STATUS_OK
               ? field_table_put(&context->rows, &field,
                                 is_ready ? FIELD_STATE_READY : FIELD_STATE_BUILDING, error)
               : status;
}

enum status field_work_step(struct write_context *context, uint32_t slots_max,
                            struct error *error) {
    assert(field_work_is_pending(context));
    enum status status = context->fields.dropping_count > 0 ? drop_step(context, error)
                                                            : build_step(context, slots_max, error);
    return status == STATUS_OK ? write_context_load_fields(context, error) : status;
}

/* ---- When a step may run ----------------------------------------------------------------------
 */

bool field_work_is_due(const struct write_context *context) {
    uint64_t retry_ns = context->collection->field_retry_ns;
    return field_work_is_pending(context) && (retry_ns == 0 || retry_ns <= collection_now_ns());
}

void field_work_put_off(struct collection *collection, const struct error *error) {
    uint64_t pause_ns = collection->field_pause_ns * 2;
    pause_ns = pause_ns < PAUSE_FIRST_NS  ? PAUSE_FIRST_NS
               : pause_ns > PAUSE_LAST_NS ? PAUSE_LAST_NS
                                          : pause_ns;
    /* What is damaged does not mend itself. */
    bool is_stuck = error && error->status == STATUS_CORRUPT, is_news = false;
    collection->field_pause_ns = pause_ns;
    collection->field_retry_ns = is_stuck ? FIELD_RETRY_NEVER : collection_now_ns() + pause_ns;
    collection->has_field_work = false;
    if (!error)
        return;
    char reason[COLLECTION_REASON_MAX];
    snprintf(reason, sizeof(reason), "%.*s", COLLECTION_REASON_MAX - 1, error->message);
    pthread_mutex_lock(&collection->reason_mutex);
    is_news = strcmp(collection->field_reason, reason) != 0;
    strcpy(collection->field_reason, reason);
    collection->is_field_stuck = is_stuck;
    pthread_mutex_unlock(&collection->reason_mutex);
    if (is_news)
        log_event(LOG_LEVEL_WARN, "payload index of %s: %s%s", collection->path, reason,
                  is_stuck ? ": not tried again before a restart" : "");
}

void field_work_resume(struct collection *collection, bool is_mended) {
    if (collection->field_retry_ns == 0)
        return;
    collection->field_retry_ns = collection->field_pause_ns = 0;
    pthread_mutex_lock(&collection->reason_mutex);
    collection->is_field_stuck = false;
    if (is_mended)
        collection->field_reason[0] = '\0';
    pthread_mutex_unlock(&collection->reason_mutex);
}
