#include "storage/point_selector.h"
#include "index/slots.h"
#include "storage/filter_plan.h"
#include "storage/point_match.h"

#include <stdlib.h>

static enum status no_memory(struct error *error) {
    return error_set(error, STATUS_NO_MEMORY, "the operation concerns too many points");
}

static int compare_slots(const void *left, const void *right) {
    const uint32_t *a = left, *b = right;
    return *a < *b ? -1 : *a > *b;
}

/* An id may stand twice in the list, and would have lost its slot to its first mention. */
static void drop_repeated(struct selected_slots *selected) {
    size_t kept = 0;
    if (selected->count > 1)
        qsort(selected->slots, selected->count, sizeof(*selected->slots), compare_slots);
    for (size_t i = 0; i < selected->count; i++)
        if (kept == 0 || selected->slots[i] != selected->slots[kept - 1])
            selected->slots[kept++] = selected->slots[i];
    selected->count = kept;
}

static enum status by_ids(struct write_context *context, const struct point_selector *selector,
                          enum selector_missing missing, struct selected_slots *selected,
                          struct error *error) {
    selected->slots =
        arena_alloc(&context->scratch, selector->ids_count * sizeof(*selected->slots) + 1);
    if (!selected->slots)
        return no_memory(error);
    for (size_t i = 0; i < selector->ids_count; i++) {
        uint32_t slot;
        bool is_found;
        enum status status =
            point_rows_find(&context->rows, &selector->ids[i], &slot, &is_found, error);
        if (status != STATUS_OK)
            return status;
        if (is_found)
            selected->slots[selected->count++] = slot;
        else if (missing == SELECTOR_MISSING_FAIL)
            return point_rows_not_found(error, &selector->ids[i]);
    }
    drop_repeated(selected);
    return STATUS_OK;
}

static enum status slot_of(void *opaque, const struct point_id *id, uint32_t *slot,
                           struct error *error) {
    const struct write_context *context = opaque;
    bool is_found;
    enum status status = point_rows_find(&context->rows, id, slot, &is_found, error);
    if (status == STATUS_OK && !is_found)
        *slot = SLOT_NONE;
    return status;
}

/* True in *matches if the filter accepts the slot's row. */
static enum status ask_filter(struct write_context *context, const struct filter *filter,
                              uint32_t slot, bool *matches, struct error *error) {
    struct stored_row row;
    enum status status = point_rows_get_live(&context->rows, slot, &row, error);
    *matches = status == STATUS_OK && point_match_row(filter, &row, &context->config);
    return status;
}

static enum status by_filter(struct write_context *context, const struct filter *filter,
                             struct selected_slots *selected, struct error *error) {
    const struct plan_source source = {
        .txn = context->rows.txn,
        .postings = context->rows.dbis[COLLECTION_DBI_POSTINGS],
        .fields = context->fields.fields,
        .fields_count = context->fields.ready_count,
        .slot_end = context->state.next_slot,
        .slot_of = slot_of,
        .context = context,
        .arena = &context->scratch,
    };
    struct filter_plan plan;
    enum status status = filter_plan_create(filter, &source, &plan, error);
    if (status != STATUS_OK)
        return status;
    selected->slots =
        arena_alloc(&context->scratch, (size_t)plan.count * sizeof(*selected->slots) + 1);
    if (!selected->slots)
        return no_memory(error);
    for (size_t word = 0; word < ((size_t)plan.slot_end + 63) / 64; word++) {
        for (uint64_t bits = plan.words[word]; bits != 0; bits &= bits - 1) {
            uint32_t slot = (uint32_t)(word * 64) + (uint32_t)__builtin_ctzll(bits);
            bool matches = plan.is_exact;
            if (!matches)
                status = ask_filter(context, filter, slot, &matches, error);
            if (status != STATUS_OK)
                return status;
            if (matches)
                selected->slots[selected->count++] = slot;
        }
    }
    return STATUS_OK;
}

enum status point_selector_resolve(struct write_context *context,
                                   const struct point_selector *selector,
                                   enum selector_missing missing, struct selected_slots *selected,
                                   struct error *error) {
    *selected = (struct selected_slots){0};
    return selector->filter ? by_filter(context, selector->filter, selected, error)
                            : by_ids(context, selector, missing, selected, error);
}
