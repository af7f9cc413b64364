#include "api/filter_values.h"

#include "api/point_json.h"

#include <stdlib.h>
#include <string.h>

enum {
    VALUES_CAPACITY_MIN = 8,
};

enum status filter_values_path(struct json_reader *reader, struct payload_path *path) {
    struct json_text text;
    struct error reason;
    enum status status = json_read_text(reader, &text);
    if (status != STATUS_OK)
        return status;
    status = payload_path_parse(text.text, text.length, reader->arena, path, &reason);
    if (status == STATUS_INVALID)
        return json_reader_fail(reader, "%.200s", reason.message);
    return status == STATUS_OK ? status : json_reader_no_memory(reader);
}

/* ---- match ----------------------------------------------------------------------------------- */

static enum status read_integer(struct json_reader *reader, struct payload_scalar *scalar) {
    struct json_text text;
    struct json_number number;
    int64_t negative;
    uint64_t positive;
    enum status status = json_read_raw(reader, &text.text, &text.length);
    if (status != STATUS_OK)
        return status;
    if (!json_number_scan(text.text, text.text + text.length, &number) ||
        (!json_number_to_i64(&number, text.text, text.length, &negative) &&
         !json_number_to_u64(&number, text.text, text.length, &positive)))
        return json_reader_fail(reader, "a number that is matched must be whole and fit 64 bits");
    *scalar = (struct payload_scalar){.type = PAYLOAD_NUMBER,
                                      .number = payload_number_from_text(text.text, text.length)};
    return STATUS_OK;
}

static enum status read_keyword(struct json_reader *reader, struct payload_scalar *scalar) {
    struct json_text text;
    enum status status = json_read_text(reader, &text);
    *scalar = (struct payload_scalar){
        .type = PAYLOAD_STRING, .string = text.text, .string_length = text.length};
    return status;
}

static enum status read_scalar(struct json_reader *reader, struct payload_scalar *scalar) {
    switch (json_reader_peek(reader)) {
    case JSON_TYPE_STRING:
        return read_keyword(reader, scalar);
    case JSON_TYPE_NUMBER:
        return read_integer(reader, scalar);
    case JSON_TYPE_BOOL:
        *scalar = (struct payload_scalar){.type = PAYLOAD_BOOL};
        return json_read_bool(reader, &scalar->boolean);
    default:
        return json_reader_fail(reader, "expected a string, a whole number or a boolean");
    }
}

static enum status match_value(struct json_reader *reader, void *member) {
    struct condition *condition = member;
    struct payload_scalar *scalar = arena_alloc(reader->arena, sizeof(*scalar));
    if (!scalar)
        return json_reader_no_memory(reader);
    condition->kind = CONDITION_MATCH;
    condition->values = scalar;
    condition->values_count = 1;
    return read_scalar(reader, scalar);
}

/* Makes room for one more of count items. */
static void *list_grow(struct json_reader *reader, void *items, size_t count, size_t *capacity,
                       size_t size) {
    if (count < *capacity)
        return items;
    size_t grown = *capacity > 0 ? *capacity * 2 : VALUES_CAPACITY_MIN;
    void *memory = arena_grow(reader->arena, items, *capacity * size, grown * size);
    if (memory)
        *capacity = grown;
    return memory;
}

/* Strings or whole numbers, not mixed. */
static enum status read_scalars(struct json_reader *reader, struct condition *condition) {
    size_t count = 0, capacity = 0;
    struct payload_scalar *values = list_grow(reader, NULL, 0, &capacity, sizeof(*values));
    bool more;
    if (!values) /* an empty list is a list, not NULL */
        return json_reader_no_memory(reader);
    enum status status = json_open_array(reader);
    while (status == STATUS_OK && (status = json_next_item(reader, &more)) == STATUS_OK && more) {
        enum json_type type = json_reader_peek(reader);
        if (type != JSON_TYPE_STRING && type != JSON_TYPE_NUMBER)
            return json_reader_fail(reader, "expected strings or whole numbers");
        if (count == FILTER_VALUES_MAX)
            return json_reader_reject(reader, STATUS_BAD_REQUEST, "more than %d values",
                                      FILTER_VALUES_MAX);
        values = list_grow(reader, values, count, &capacity, sizeof(*values));
        if (!values)
            return json_reader_no_memory(reader);
        status = read_scalar(reader, &values[count]);
        if (status == STATUS_OK && values[count].type != values[0].type)
            return json_reader_fail(reader, "strings and numbers may not be mixed");
        count++;
    }
    if (status == STATUS_OK)
        filter_sort_values(values, count); /* or each payload is compared with a whole long list */
    condition->values = values;
    condition->values_count = count;
    condition->values_sorted = status == STATUS_OK;
    return status;
}

static enum status match_any(struct json_reader *reader, void *member) {
    struct condition *condition = member;
    condition->kind = CONDITION_MATCH;
    return read_scalars(reader, condition);
}

static enum status match_except(struct json_reader *reader, void *member) {
    struct condition *condition = member;
    condition->kind = CONDITION_MATCH_EXCEPT;
    return read_scalars(reader, condition);
}

static enum status match_of_texts(struct json_reader *reader, void *member) {
    (void)member;
    return json_reader_reject(reader, STATUS_BAD_REQUEST,
                              "matching in texts is not supported by this version");
}

static const struct match_kind {
    const char *name;
    json_read_fn *read;
} match_kinds[] = {
    {"value", match_value},     {"any", match_any},           {"except", match_except},
    {"text", match_of_texts},   {"text_any", match_of_texts}, {"phrase", match_of_texts},
    {"prefix", match_of_texts},
};

static const struct match_kind *find_match(struct json_text key) {
    for (size_t i = 0; i < sizeof(match_kinds) / sizeof(match_kinds[0]); i++) {
        if (json_text_is(key, match_kinds[i].name))
            return &match_kinds[i];
    }
    return NULL;
}

enum status filter_values_match(struct json_reader *reader, void *member) {
    struct json_text key;
    bool more, is_read = false;
    enum status status = json_open_object(reader);
    while (status == STATUS_OK && (status = json_next_key(reader, &key, &more)) == STATUS_OK &&
           more) {
        const struct match_kind *kind = find_match(key);
        if (!kind)
            return json_reader_fail(reader, "expected `value`, `any` or `except`");
        if (json_reader_peek(reader) == JSON_TYPE_NULL) {
            status = json_read_null(reader);
            continue;
        }
        if (is_read)
            return json_reader_fail(reader, "a match takes only one of its forms");
        is_read = true;
        status = kind->read(reader, member);
    }
    if (status == STATUS_OK && !is_read)
        return json_reader_fail(reader, "expected `value`, `any` or `except`");
    return status;
}

/* ---- Ranges ---------------------------------------------------------------------------------- */

/* Bounds as they are written: which kind of range this is shows only then. */
struct bounds {
    struct raw_json lt, gt, lte, gte;
};

static const struct json_field bounds_fields[] = {
    {JSON_MEMBER(struct bounds, lt)},
    {JSON_MEMBER(struct bounds, gt)},
    {JSON_MEMBER(struct bounds, lte)},
    {JSON_MEMBER(struct bounds, gte)},
};
static const struct json_shape bounds_shape =
    JSON_SHAPE("Range", struct bounds, bounds_fields, .is_strict = true);

typedef enum status bound_read_fn(struct json_reader *reader, const struct raw_json *bound,
                                  struct payload_number *number);

static enum status number_bound(struct json_reader *reader, const struct raw_json *bound,
                                struct payload_number *number) {
    struct json_number scanned;
    double value;
    if (!json_number_scan(bound->text, bound->text + bound->length, &scanned))
        return json_reader_fail(reader, "bounds of a range must be all numbers or all dates");
    if (!json_number_to_f64(&scanned, bound->text, bound->length, &value))
        return json_reader_fail(reader, "a bound is larger than a double can hold");
    *number = payload_number_from_text(bound->text, bound->length);
    return STATUS_OK;
}

static enum status date_bound(struct json_reader *reader, const struct raw_json *bound,
                              struct payload_number *number) {
    struct json_reader inner;
    struct json_text text;
    int64_t microseconds;
    if (*bound->text != '"')
        return json_reader_fail(reader, "bounds of a range must be all numbers or all dates");
    json_reader_init(&inner, bound->text, bound->length, reader->arena, reader->error);
    enum status status = json_read_text(&inner, &text);
    if (status != STATUS_OK)
        return status;
    if (!payload_datetime_parse(text.text, text.length, &microseconds))
        return json_reader_fail(reader, "\"%.*s\" is no RFC 3339 date",
                                text.length < 64 ? (int)text.length : 64, text.text);
    *number = payload_number_from_i64(microseconds);
    return STATUS_OK;
}

static enum status count_bound(struct json_reader *reader, const struct raw_json *bound,
                               struct payload_number *number) {
    struct json_number scanned;
    uint64_t count;
    if (!json_number_scan(bound->text, bound->text + bound->length, &scanned) ||
        !json_number_to_u64(&scanned, bound->text, bound->length, &count))
        return json_reader_fail(reader, "expected a whole number from 0");
    *number = payload_number_from_u64(count);
    return STATUS_OK;
}

static enum status set_bounds(struct json_reader *reader, const struct bounds *bounds,
                              bound_read_fn *read, struct filter_range *range) {
    const struct {
        const struct raw_json *text;
        bool *is_given;
        struct payload_number *number;
    } rows[] = {
        {&bounds->lt, &range->has_lt, &range->lt},
        {&bounds->gt, &range->has_gt, &range->gt},
        {&bounds->lte, &range->has_lte, &range->lte},
        {&bounds->gte, &range->has_gte, &range->gte},
    };
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < sizeof(rows) / sizeof(rows[0]); i++) {
        *rows[i].is_given = rows[i].text->text != NULL;
        if (*rows[i].is_given)
            status = read(reader, rows[i].text, rows[i].number);
    }
    return status;
}

enum status filter_values_range(struct json_reader *reader, void *member) {
    struct condition *condition = member;
    struct bounds bounds;
    enum status status = json_shape_read(reader, &bounds_shape, &bounds);
    if (status != STATUS_OK)
        return status;
    const struct raw_json *const all[] = {&bounds.lt, &bounds.gt, &bounds.lte, &bounds.gte};
    bool is_date = false;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        is_date = is_date || (all[i]->text && *all[i]->text == '"');
    condition->kind = is_date ? CONDITION_DATETIME : CONDITION_RANGE;
    return set_bounds(reader, &bounds, is_date ? date_bound : number_bound, &condition->range);
}

enum status filter_values_count(struct json_reader *reader, void *member) {
    struct condition *condition = member;
    struct bounds bounds;
    enum status status = json_shape_read(reader, &bounds_shape, &bounds);
    condition->kind = CONDITION_VALUES_COUNT;
    return status == STATUS_OK ? set_bounds(reader, &bounds, count_bound, &condition->range)
                               : status;
}

/* ---- Conditions on points -------------------------------------------------------------------- */

static int by_id(const void *a, const void *b) {
    return point_id_compare(a, b);
}

enum status filter_values_has_id(struct json_reader *reader, void *member) {
    struct condition *condition = member;
    size_t count = 0, capacity = 0;
    struct point_id *ids = list_grow(reader, NULL, 0, &capacity, sizeof(*ids));
    bool more;
    if (!ids)
        return json_reader_no_memory(reader);
    enum status status = json_open_array(reader);
    while (status == STATUS_OK && (status = json_next_item(reader, &more)) == STATUS_OK && more) {
        if (count == FILTER_VALUES_MAX)
            return json_reader_reject(reader, STATUS_BAD_REQUEST, "more than %d ids",
                                      FILTER_VALUES_MAX);
        ids = list_grow(reader, ids, count, &capacity, sizeof(*ids));
        if (!ids)
            return json_reader_no_memory(reader);
        status = point_json_id.read(reader, &ids[count++]);
    }
    if (status == STATUS_OK)
        qsort(ids, count, sizeof(*ids), by_id);
    condition->kind = CONDITION_HAS_ID;
    condition->ids = ids;
    condition->ids_count = count;
    return status;
}

enum status filter_values_has_vector(struct json_reader *reader, void *member) {
    struct condition *condition = member;
    condition->kind = CONDITION_HAS_VECTOR;
    return json_read_string(reader, &condition->vector_name);
}
