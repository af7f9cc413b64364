#include "storage/plan_condition.h"

#include "index/slots.h"

#include <assert.h>
#include <string.h>

enum {
    ESTIMATE_VALUES_MAX = 64,  /* longer lists of a match are taken for the whole field */
    ESTIMATE_CHUNKS_MAX = 256, /* of one value: 16 million slots, surely not the smallest */
};

/* A condition on an indexed field, while it is planned. */
struct task {
    struct planner *planner;
    const struct condition *condition;
    const struct payload_index_field *field;
    enum posting_class class; /* of the field's values */
    const struct slot_set *within;
    struct slot_set *set; /* the result */
    bool is_exact;
};

static bool is_same_step(const struct path_step *a, const struct path_step *b) {
    if (a->kind != b->kind)
        return false;
    if (a->kind == PATH_STEP_KEY)
        return a->key_length == b->key_length && memcmp(a->key, b->key, a->key_length) == 0;
    return a->kind == PATH_STEP_ALL || a->index == b->index;
}

static bool is_same_path(const struct payload_path *a, const struct payload_path *b) {
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        if (!is_same_step(&a->steps[i], &b->steps[i]))
            return false;
    }
    return true;
}

static const struct payload_index_field *find_field(const struct plan_source *source,
                                                    const struct payload_path *path) {
    for (size_t i = 0; i < source->fields_count; i++) {
        if (source->fields[i].is_ready && is_same_path(&source->fields[i].path, path))
            return &source->fields[i];
    }
    return NULL;
}

static enum status add_mark(struct task *task, enum posting_class class, bool *any) {
    return planner_add_mark(task->planner, task->field->number, class, task->within, task->set,
                            any);
}

/* Adds slots that are only candidates. */
static enum status add_candidates(struct task *task, enum posting_class class) {
    bool any;
    enum status status = add_mark(task, class, &any);
    if (status == STATUS_OK && any)
        task->is_exact = false;
    return status;
}

/* Every slot that has an element which is not null, as candidates. */
static enum status add_all_elements(struct task *task) {
    enum status status = add_candidates(task, POSTING_TYPED);
    return status == STATUS_OK ? add_candidates(task, POSTING_OTHER) : status;
}

/* ---- Match ---------------------------------------------------------------------------------- */

/* Where the postings of a value that is matched lie. */
struct value_posting {
    enum {
        VALUE_NOWHERE, /* nothing equals it */
        VALUE_OTHER,   /* what equals it is of no class of the field */
        VALUE_POSTED,  /* what equals it is posted under these bytes */
    } where;
    bool is_exact; /* and what is posted there equals it */
    enum posting_class class;
    uint8_t bytes[POSTING_VALUE_MAX];
    size_t length;
};

static void locate_number(const struct payload_number *number, enum posting_class class,
                          struct value_posting *posting) {
    posting->where = VALUE_POSTED;
    posting->class = class;
    posting->length = POSTING_NUMBER_BYTES;
    posting_number(number, posting->bytes);
}

static void locate_string(const struct payload_scalar *value, enum posting_class class,
                          struct value_posting *posting) {
    int64_t microseconds;
    if (class == POSTING_STRING) {
        posting->where = VALUE_POSTED;
        posting->class =
            posting_string(value->string, value->string_length, posting->bytes, &posting->length);
        posting->is_exact = posting->class == POSTING_STRING;
    } else if (class == POSTING_DATETIME &&
               payload_datetime_parse(value->string, value->string_length, &microseconds)) {
        /* Other texts may name the same moment. */
        struct payload_number number = payload_number_from_i64(microseconds);
        locate_number(&number, class, posting);
        posting->is_exact = false;
    }
}

static void locate_value(const struct payload_scalar *value, enum posting_class class,
                         struct value_posting *posting) {
    posting->where = VALUE_OTHER;
    posting->is_exact = true;
    switch (value->type) {
    case PAYLOAD_STRING:
        locate_string(value, class, posting);
        return;
    case PAYLOAD_NUMBER:
        if (!value->number.is_integer)
            posting->where = VALUE_NOWHERE;
        else if (class == POSTING_NUMBER)
            locate_number(&value->number, class, posting);
        return;
    case PAYLOAD_BOOL:
        if (class != POSTING_BOOL)
            return;
        posting->where = VALUE_POSTED;
        posting->class = POSTING_BOOL;
        posting->bytes[0] = value->boolean;
        posting->length = 1;
        return;
    default:
        posting->where = VALUE_NOWHERE;
    }
}

static struct posting_range value_range(const struct task *task,
                                        const struct value_posting *posting) {
    return (struct posting_range){.field = task->field->number,
                                  .class = posting->class,
                                  .low = posting->bytes,
                                  .low_length = posting->length,
                                  .high = posting->bytes,
                                  .high_length = posting->length};
}

/* Adds the postings of all listed values to set. *has_other: one of them is of no class of the
 * field; *is_exact: what was added equals one of them. *is_complete is false if that would have
 * taken longer than looking at the payloads. */
static enum status add_listed(struct task *task, struct slot_set *set, bool *has_other,
                              bool *is_exact, bool *is_complete) {
    const struct condition *condition = task->condition;
    struct planner *planner = task->planner;
    *has_other = false;
    *is_exact = true;
    *is_complete = planner_affords(planner, task->within, condition->values_count);
    for (size_t i = 0; i < condition->values_count && *is_complete; i++) {
        struct value_posting posting;
        locate_value(&condition->values[i], task->class, &posting);
        *has_other |= posting.where == VALUE_OTHER;
        if (posting.where != VALUE_POSTED)
            continue;
        struct posting_range range = value_range(task, &posting);
        enum status status =
            planner_add(planner, &range, task->within, UINT64_MAX, set, is_complete);
        if (status != STATUS_OK)
            return status;
        *is_exact &= posting.is_exact;
    }
    return STATUS_OK;
}

static enum status plan_match(struct task *task) {
    bool has_other, is_complete;
    enum status status = add_listed(task, task->set, &has_other, &task->is_exact, &is_complete);
    if (status != STATUS_OK)
        return status;
    if (!is_complete)
        return add_all_elements(task);
    return has_other ? add_candidates(task, POSTING_OTHER) : STATUS_OK;
}

/* The slots that have elements, less those whose only element is listed. */
static enum status plan_except(struct task *task) {
    struct planner *planner = task->planner;
    struct slot_set *listed = NULL, *multiple = NULL;
    bool any, any_other, has_other, is_listed_exact, is_complete;
    enum status status = add_mark(task, POSTING_TYPED, &any);
    if (status == STATUS_OK)
        status = planner_take(planner, &listed);
    if (status == STATUS_OK)
        status = planner_take(planner, &multiple);
    if (status == STATUS_OK)
        status = add_listed(task, listed, &has_other, &is_listed_exact, &is_complete);
    if (status == STATUS_OK)
        status = planner_add_mark(planner, task->field->number, POSTING_MULTIPLE, task->within,
                                  multiple, &any);
    if (status != STATUS_OK)
        goto out;
    /* Of a slot with several elements, one that is not listed is enough. */
    task->is_exact = is_complete && is_listed_exact && !slot_set_meets(listed, multiple);
    if (is_complete && is_listed_exact) {
        slot_set_and_not(listed, multiple);
        slot_set_and_not(task->set, listed);
    }
    status = add_mark(task, POSTING_OTHER, &any_other);
    if (any_other && has_other)
        task->is_exact = false;
out:
    planner_give(planner, multiple);
    planner_give(planner, listed);
    return status;
}

/* ---- Ranges --------------------------------------------------------------------------------- */

/* A bound as value bytes: a number's key, and FF after it for what lies above all that have this
 * key, whatever their mark. */
struct bound {
    uint8_t bytes[POSTING_NUMBER_BYTES];
    size_t length;
};

static struct bound bound_make(const struct payload_number *number, bool is_above) {
    struct bound bound = {.length = PAYLOAD_NUMBER_KEY + is_above};
    memcpy(bound.bytes, number->key, PAYLOAD_NUMBER_KEY);
    bound.bytes[PAYLOAD_NUMBER_KEY] = 0xff;
    return bound;
}

static int bound_compare(const struct bound *a, const struct bound *b) {
    int order = memcmp(a->bytes, b->bytes, a->length < b->length ? a->length : b->length);
    return order ? order : (a->length > b->length) - (a->length < b->length);
}

static void bound_raise(struct bound *low, const struct payload_number *number, bool is_above) {
    struct bound bound = bound_make(number, is_above);
    if (bound_compare(low, &bound) < 0)
        *low = bound;
}

static void bound_lower(struct bound *high, const struct payload_number *number, bool is_above) {
    struct bound bound = bound_make(number, is_above);
    if (bound_compare(high, &bound) > 0)
        *high = bound;
}

static enum status plan_posted_range(struct task *task) {
    const struct filter_range *range = &task->condition->range;
    struct bound low = {.length = 0}, high = {.length = POSTING_NUMBER_BYTES};
    memset(high.bytes, 0xff, sizeof(high.bytes));
    if (range->has_gt)
        bound_raise(&low, &range->gt, true);
    if (range->has_gte)
        bound_raise(&low, &range->gte, false);
    if (range->has_lt)
        bound_lower(&high, &range->lt, false);
    if (range->has_lte)
        bound_lower(&high, &range->lte, true);
    if (bound_compare(&low, &high) >= 0)
        return STATUS_OK; /* nothing is in it */
    const struct posting_range postings = {.field = task->field->number,
                                           .class = task->class,
                                           .low = low.bytes,
                                           .low_length = low.length,
                                           .high = high.bytes,
                                           .high_length = high.length};
    bool is_complete;
    uint64_t budget = planner_budget(task->planner, task->within);
    enum status status =
        planner_add(task->planner, &postings, task->within, budget, task->set, &is_complete);
    if (status != STATUS_OK || is_complete)
        return status;
    slot_set_clear(task->set);
    return add_candidates(task, POSTING_TYPED);
}

static enum status plan_range(struct task *task) {
    return task->class == POSTING_NUMBER ? plan_posted_range(task)
                                         : add_candidates(task, POSTING_OTHER);
}

static enum status plan_datetime(struct task *task) {
    if (task->class == POSTING_DATETIME)
        return plan_posted_range(task);
    /* Dates are strings. */
    return add_candidates(task, task->class == POSTING_STRING ? POSTING_TYPED : POSTING_OTHER);
}

/* ---- Emptiness ------------------------------------------------------------------------------ */

/* The slots that have a mark, or those that have it not. */
static enum status plan_mark(struct task *task, enum posting_class class, bool has_it) {
    bool any;
    enum status status = add_mark(task, class, &any);
    if (status != STATUS_OK || has_it)
        return status;
    const struct slot_set *live;
    struct slot_set *others;
    status = planner_live(task->planner, &live);
    if (status == STATUS_OK)
        status = planner_take(task->planner, &others);
    if (status != STATUS_OK)
        return status;
    slot_set_or(others, live);
    slot_set_and_not(others, task->set);
    planner_give(task->planner, task->set);
    task->set = others;
    return STATUS_OK;
}

static bool counts_none(const struct condition *condition) {
    const struct payload_number none = payload_number_from_u64(0);
    return filter_range_holds(&condition->range, &none);
}

/* A value with a count of one or more is one that is not empty. */
static enum status plan_values_count(struct task *task) {
    const struct filter_range *range = &task->condition->range;
    const struct payload_number one = payload_number_from_u64(1);
    bool any;
    task->is_exact = !range->has_lt && !range->has_lte && filter_range_holds(range, &one);
    return add_mark(task, POSTING_HAS_VALUE, &any);
}

/* ---- Ids ------------------------------------------------------------------------------------ */

static enum status plan_has_id(struct planner *planner, const struct condition *condition,
                               const struct slot_set *within, struct plan_part *part) {
    const struct plan_source *source = planner->source;
    if (!planner_affords(planner, within, condition->ids_count))
        return STATUS_OK; /* looking for each costs more than comparing the candidates' ids */
    enum status status = planner_take(planner, &part->set);
    for (size_t i = 0; i < condition->ids_count && status == STATUS_OK; i++) {
        uint32_t slot = SLOT_NONE;
        status = planner_step(planner);
        if (status == STATUS_OK)
            status = source->slot_of(source->context, &condition->ids[i], &slot, planner->error);
        if (status == STATUS_OK && slot < source->slot_end)
            slot_set_add(part->set, slot);
    }
    part->is_exact = true;
    return status;
}

/* ---- Any condition -------------------------------------------------------------------------- */

static bool has_path(const struct condition *condition) {
    return condition->kind != CONDITION_HAS_ID && condition->kind != CONDITION_HAS_VECTOR &&
           condition->kind != CONDITION_FILTER && condition->kind != CONDITION_NESTED;
}

static enum status plan_task(struct task *task) {
    const struct condition *condition = task->condition;
    switch (condition->kind) {
    case CONDITION_MATCH:
        return plan_match(task);
    case CONDITION_MATCH_EXCEPT:
        return plan_except(task);
    case CONDITION_RANGE:
        return plan_range(task);
    case CONDITION_DATETIME:
        return plan_datetime(task);
    case CONDITION_VALUES_COUNT:
        return plan_values_count(task);
    case CONDITION_IS_EMPTY:
        return plan_mark(task, POSTING_HAS_VALUE, !condition->expected);
    case CONDITION_IS_NULL:
        return plan_mark(task, POSTING_HAS_NULL, condition->expected);
    default:
        assert(false && "a condition with a path");
        return STATUS_OK;
    }
}

enum status plan_condition(struct planner *planner, const struct condition *condition,
                           const struct slot_set *within, struct plan_part *part) {
    *part = (struct plan_part){.set = NULL, .is_exact = false};
    if (condition->kind == CONDITION_HAS_ID)
        return plan_has_id(planner, condition, within, part);
    const struct payload_index_field *field =
        has_path(condition) ? find_field(planner->source, &condition->path) : NULL;
    if (!field || (condition->kind == CONDITION_VALUES_COUNT && counts_none(condition)))
        return STATUS_OK;
    struct task task = {.planner = planner,
                        .condition = condition,
                        .field = field,
                        .class = payload_index_class(field->type),
                        .within = within,
                        .is_exact = true};
    enum status status = planner_take(planner, &task.set);
    if (status == STATUS_OK)
        status = plan_task(&task);
    *part = (struct plan_part){.set = task.set, .is_exact = task.is_exact};
    return status;
}

/* ---- Estimates ------------------------------------------------------------------------------ */

static enum status count_mark(struct planner *planner, uint16_t field, enum posting_class class,
                              uint64_t *count) {
    const struct posting_range range = {.field = field, .class = class};
    return planner_count(planner, &range, UINT64_MAX, count);
}

static enum status count_listed(struct task *task, uint64_t *count) {
    bool has_other = false;
    *count = 0;
    for (size_t i = 0; i < task->condition->values_count; i++) {
        struct value_posting posting;
        locate_value(&task->condition->values[i], task->class, &posting);
        has_other |= posting.where == VALUE_OTHER;
        if (posting.where != VALUE_POSTED)
            continue;
        uint64_t of_value;
        struct posting_range range = value_range(task, &posting);
        enum status status = planner_count(task->planner, &range, ESTIMATE_CHUNKS_MAX, &of_value);
        if (status != STATUS_OK)
            return status;
        *count += of_value;
    }
    uint64_t others = 0;
    enum status status = STATUS_OK;
    if (has_other)
        status = count_mark(task->planner, task->field->number, POSTING_OTHER, &others);
    *count += others;
    return status;
}

/* The slots with the mark, or the live ones without. */
static enum status estimate_mark(struct task *task, enum posting_class class, bool has_it,
                                 uint64_t *estimate) {
    uint64_t live = 0;
    enum status status = count_mark(task->planner, task->field->number, class, estimate);
    if (status != STATUS_OK || has_it)
        return status;
    status = count_mark(task->planner, POSTING_FIELD_LIVE, POSTING_LIVE, &live);
    *estimate = live > *estimate ? live - *estimate : 0;
    return status;
}

enum status plan_condition_estimate(struct planner *planner, const struct condition *condition,
                                    uint64_t *estimate) {
    *estimate = UINT64_MAX;
    if (condition->kind == CONDITION_HAS_ID)
        *estimate = condition->ids_count;
    const struct payload_index_field *field =
        has_path(condition) ? find_field(planner->source, &condition->path) : NULL;
    if (!field)
        return STATUS_OK;
    struct task task = {.planner = planner,
                        .condition = condition,
                        .field = field,
                        .class = payload_index_class(field->type)};
    switch (condition->kind) {
    case CONDITION_MATCH:
        if (condition->values_count <= ESTIMATE_VALUES_MAX)
            return count_listed(&task, estimate);
        break;
    case CONDITION_IS_EMPTY:
        return estimate_mark(&task, POSTING_HAS_VALUE, !condition->expected, estimate);
    case CONDITION_IS_NULL:
        return estimate_mark(&task, POSTING_HAS_NULL, condition->expected, estimate);
    case CONDITION_VALUES_COUNT:
        if (counts_none(condition))
            return STATUS_OK;
        break;
    default:
        break;
    }
    return count_mark(planner, field->number, POSTING_HAS_VALUE, estimate);
}
