#include "storage/filter.h"

#include <assert.h>
#include <stdlib.h>

static bool matches(const struct filter *filter, const struct filter_subject *subject,
                    unsigned depth);

/* What a visitor of values is given. */
struct test {
    const struct condition *condition;
    const struct filter_subject *subject;
    unsigned depth; /* of filters within filters */
};

static bool each_value(const struct condition *condition, const struct filter_subject *subject,
                       payload_visit_fn *visit, void *context) {
    return payload_each(subject->payload, subject->payload_length, &condition->path, visit,
                        context);
}

static bool each_element(const struct condition *condition, const struct filter_subject *subject,
                         payload_visit_fn *visit) {
    struct test test = {.condition = condition};
    return payload_each_element(subject->payload, subject->payload_length, &condition->path, visit,
                                &test);
}

/* ---- Match ---------------------------------------------------------------------------------- */

static int compare_scalars(const void *a, const void *b) {
    return payload_scalar_compare(a, b);
}

void filter_sort_values(struct payload_scalar *values, size_t count) {
    qsort(values, count, sizeof(*values), compare_scalars);
}

static int compare_value_with_scalar(const void *value, const void *scalar) {
    return payload_value_compare(value, scalar);
}

static bool is_listed(const struct condition *condition, const struct payload_value *value) {
    if (condition->values_sorted) {
        const struct payload_scalar *found =
            bsearch(value, condition->values, condition->values_count, sizeof(*condition->values),
                    compare_value_with_scalar);
        return found && payload_value_equals(value, found);
    }
    for (size_t i = 0; i < condition->values_count; i++) {
        if (payload_value_equals(value, &condition->values[i]))
            return true;
    }
    return false;
}

static bool visit_match(void *context, const struct payload_value *value) {
    const struct test *test = context;
    return is_listed(test->condition, value);
}

static bool test_match(const struct test *test) {
    return each_element(test->condition, test->subject, visit_match);
}

static bool visit_except(void *context, const struct payload_value *value) {
    const struct test *test = context;
    return value->type != PAYLOAD_NULL && !is_listed(test->condition, value);
}

static bool test_match_except(const struct test *test) {
    return each_element(test->condition, test->subject, visit_except);
}

/* ---- Ranges --------------------------------------------------------------------------------- */

bool filter_range_holds(const struct filter_range *range, const struct payload_number *number) {
    return (!range->has_lt || payload_number_compare(number, &range->lt) < 0) &&
           (!range->has_gt || payload_number_compare(number, &range->gt) > 0) &&
           (!range->has_lte || payload_number_compare(number, &range->lte) <= 0) &&
           (!range->has_gte || payload_number_compare(number, &range->gte) >= 0);
}

static bool visit_range(void *context, const struct payload_value *value) {
    const struct test *test = context;
    if (value->type != PAYLOAD_NUMBER)
        return false;
    struct payload_number number = payload_number_from_text(value->text, value->length);
    return filter_range_holds(&test->condition->range, &number);
}

static bool test_range(const struct test *test) {
    return each_element(test->condition, test->subject, visit_range);
}

static bool visit_datetime(void *context, const struct payload_value *value) {
    const struct test *test = context;
    int64_t microseconds;
    if (!payload_value_datetime(value, &microseconds))
        return false;
    struct payload_number number = payload_number_from_i64(microseconds);
    return filter_range_holds(&test->condition->range, &number);
}

static bool test_datetime(const struct test *test) {
    return each_element(test->condition, test->subject, visit_datetime);
}

/* ---- Counts, emptiness, null ---------------------------------------------------------------- */

static bool count_one(void *context, const struct payload_value *value) {
    (void)value;
    ++*(uint64_t *)context;
    return false;
}

struct count_test {
    const struct filter_range *range;
    bool has_values;
};

static bool visit_count(void *context, const struct payload_value *value) {
    struct count_test *test = context;
    uint64_t count = value->type != PAYLOAD_NULL;
    test->has_values = true;
    if (value->type == PAYLOAD_ARRAY) {
        count = 0;
        payload_array_each(value, count_one, &count);
    }
    struct payload_number number = payload_number_from_u64(count);
    return filter_range_holds(test->range, &number);
}

static bool test_values_count(const struct test *test) {
    struct count_test count = {.range = &test->condition->range};
    if (each_value(test->condition, test->subject, visit_count, &count))
        return true;
    const struct payload_number none = payload_number_from_u64(0);
    return !count.has_values && filter_range_holds(&test->condition->range, &none);
}

static bool stop_at_any(void *context, const struct payload_value *value) {
    (void)context, (void)value;
    return true;
}

bool filter_value_is_empty(const struct payload_value *value) {
    return value->type == PAYLOAD_NULL ||
           (value->type == PAYLOAD_ARRAY && !payload_array_each(value, stop_at_any, NULL));
}

static bool visit_not_empty(void *context, const struct payload_value *value) {
    (void)context;
    return !filter_value_is_empty(value);
}

static bool test_is_empty(const struct test *test) {
    bool is_empty = !each_value(test->condition, test->subject, visit_not_empty, NULL);
    return is_empty == test->condition->expected;
}

static bool stop_at_null(void *context, const struct payload_value *value) {
    (void)context;
    return value->type == PAYLOAD_NULL;
}

bool filter_value_is_null(const struct payload_value *value) {
    return value->type == PAYLOAD_NULL || payload_array_each(value, stop_at_null, NULL);
}

static bool visit_null(void *context, const struct payload_value *value) {
    (void)context;
    return filter_value_is_null(value);
}

static bool test_is_null(const struct test *test) {
    return each_value(test->condition, test->subject, visit_null, NULL) ==
           test->condition->expected;
}

/* ---- Ids, vectors, filters ------------------------------------------------------------------ */

static int compare_ids(const void *a, const void *b) {
    return point_id_compare(a, b);
}

static bool test_has_id(const struct test *test) {
    return test->subject->id &&
           bsearch(test->subject->id, test->condition->ids, test->condition->ids_count,
                   sizeof(*test->condition->ids), compare_ids);
}

static bool test_has_vector(const struct test *test) {
    const struct filter_subject *subject = test->subject;
    return subject->has_vector &&
           subject->has_vector(subject->context, test->condition->vector_name);
}

/* An element of the array that a nested condition looks at: a point without id and vectors. */
static bool visit_nested(void *context, const struct payload_value *value) {
    const struct test *test = context;
    if (value->type != PAYLOAD_OBJECT)
        return false;
    const struct filter_subject element = {.payload = value->text, .payload_length = value->length};
    return matches(test->condition->filter, &element, test->depth + 1);
}

static bool visit_nested_array(void *context, const struct payload_value *value) {
    return payload_array_each(value, visit_nested, context);
}

static bool test_nested(const struct test *test) {
    /* `a` and `a[]` mean the same here: the elements of the array at a. */
    struct condition condition = *test->condition;
    if (condition.path.count > 1 &&
        condition.path.steps[condition.path.count - 1].kind == PATH_STEP_ALL)
        condition.path.count--;
    struct test nested = *test;
    return each_value(&condition, test->subject, visit_nested_array, &nested);
}

static bool test_filter(const struct test *test) {
    return matches(test->condition->filter, test->subject, test->depth + 1);
}

/* ---- Filters -------------------------------------------------------------------------------- */

static bool holds(const struct condition *condition, const struct filter_subject *subject,
                  unsigned depth) {
    const struct test test = {condition, subject, depth};
    switch (condition->kind) {
    case CONDITION_MATCH:
        return test_match(&test);
    case CONDITION_MATCH_EXCEPT:
        return test_match_except(&test);
    case CONDITION_RANGE:
        return test_range(&test);
    case CONDITION_DATETIME:
        return test_datetime(&test);
    case CONDITION_VALUES_COUNT:
        return test_values_count(&test);
    case CONDITION_IS_EMPTY:
        return test_is_empty(&test);
    case CONDITION_IS_NULL:
        return test_is_null(&test);
    case CONDITION_HAS_ID:
        return test_has_id(&test);
    case CONDITION_HAS_VECTOR:
        return test_has_vector(&test);
    case CONDITION_NESTED:
        return test_nested(&test);
    case CONDITION_FILTER:
        return test_filter(&test);
    }
    assert(false && "a condition of a known kind");
    return false;
}

/* True if at least `least` conditions of the list hold; stops as soon as that is known. */
static bool holds_at_least(const struct condition_list *list, size_t least,
                           const struct filter_subject *subject, unsigned depth) {
    size_t held = 0;
    for (size_t i = 0; i < list->count && held < least; i++) {
        if (list->count - i < least - held)
            return false;
        held += holds(&list->items[i], subject, depth);
    }
    return held >= least;
}

static bool matches(const struct filter *filter, const struct filter_subject *subject,
                    unsigned depth) {
    assert(depth < FILTER_DEPTH_MAX);
    for (size_t i = 0; i < filter->must.count; i++) {
        if (!holds(&filter->must.items[i], subject, depth))
            return false;
    }
    if (holds_at_least(&filter->must_not, 1, subject, depth))
        return false;
    if (filter->should.count && !holds_at_least(&filter->should, 1, subject, depth))
        return false;
    return !filter->has_min_should ||
           holds_at_least(&filter->min_should, filter->min_count, subject, depth);
}

bool filter_matches(const struct filter *filter, const struct filter_subject *subject) {
    return matches(filter, subject, 0);
}
