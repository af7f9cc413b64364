#include "api/filter_json.h"

#include "api/filter_values.h"

#include <assert.h>
#include <string.h>

enum {
    CONDITIONS_CAPACITY_MIN = 4,
};

/* One filter being read, with all that lie within it. */
struct reading {
    struct json_reader *reader;
    unsigned depth;
    size_t conditions;
};

static enum status read_filter(struct reading *reading, struct filter *filter);

/* ---- Conditions ------------------------------------------------------------------------------ */

/* A condition while its members come in, in any order. */
struct draft {
    struct condition *condition;
    struct filter *filter; /* the clauses of a filter used as a condition; NULL if there are none */
    bool has_key;          /* `key`, of a condition on a field */
    const char *member;    /* what says the kind of the condition; NULL before it came */
    bool needs_key;
    bool is_either; /* member makes a condition with and without `key` */
};

typedef enum status member_read_fn(struct reading *reading, struct draft *draft);

static enum status unsupported(struct reading *reading, struct draft *draft) {
    (void)draft;
    return json_reader_reject(reading->reader, STATUS_BAD_REQUEST,
                              "this condition is not supported by this version");
}

static enum status read_key(struct reading *reading, struct draft *draft) {
    draft->has_key = true;
    return filter_values_path(reading->reader, &draft->condition->path);
}

static enum status read_match(struct reading *reading, struct draft *draft) {
    return filter_values_match(reading->reader, draft->condition);
}

static enum status read_range(struct reading *reading, struct draft *draft) {
    return filter_values_range(reading->reader, draft->condition);
}

static enum status read_values_count(struct reading *reading, struct draft *draft) {
    return filter_values_count(reading->reader, draft->condition);
}

static enum status read_has_id(struct reading *reading, struct draft *draft) {
    return filter_values_has_id(reading->reader, draft->condition);
}

static enum status read_has_vector(struct reading *reading, struct draft *draft) {
    return filter_values_has_vector(reading->reader, draft->condition);
}

/* {"key": path}, as in {"is_empty": {"key": "a"}}. */
static enum status read_key_object(struct json_reader *reader, struct payload_path *path) {
    struct json_text key;
    bool more, is_read = false;
    enum status status = json_open_object(reader);
    while (status == STATUS_OK && (status = json_next_key(reader, &key, &more)) == STATUS_OK &&
           more) {
        if (!json_text_is(key, "key") || is_read)
            return json_reader_fail(reader, "expected only `key`");
        is_read = true;
        status = filter_values_path(reader, path);
    }
    if (status == STATUS_OK && !is_read)
        return json_reader_fail(reader, "missing field `key`");
    return status;
}

/* Two forms: {"is_null": {"key": "a"}} and {"key": "a", "is_null": true}. */
static enum status read_emptiness(struct reading *reading, struct draft *draft,
                                  enum condition_kind kind) {
    draft->condition->kind = kind;
    draft->condition->expected = true;
    draft->needs_key = json_reader_peek(reading->reader) == JSON_TYPE_BOOL;
    if (draft->needs_key)
        return json_read_bool(reading->reader, &draft->condition->expected);
    return read_key_object(reading->reader, &draft->condition->path);
}

static enum status read_is_empty(struct reading *reading, struct draft *draft) {
    return read_emptiness(reading, draft, CONDITION_IS_EMPTY);
}

static enum status read_is_null(struct reading *reading, struct draft *draft) {
    return read_emptiness(reading, draft, CONDITION_IS_NULL);
}

static enum status new_filter(struct reading *reading, struct filter **filter) {
    *filter = arena_alloc(reading->reader->arena, sizeof(**filter));
    if (!*filter)
        return json_reader_no_memory(reading->reader);
    **filter = (struct filter){.has_min_should = false};
    return STATUS_OK;
}

static enum status read_nested(struct reading *reading, struct draft *draft) {
    struct json_reader *reader = reading->reader;
    struct condition *condition = draft->condition;
    struct filter *filter = NULL;
    struct json_text key;
    bool more, has_key = false;
    condition->kind = CONDITION_NESTED;
    enum status status = json_open_object(reader);
    while (status == STATUS_OK && (status = json_next_key(reader, &key, &more)) == STATUS_OK &&
           more) {
        if (json_text_is(key, "key") && !has_key) {
            has_key = true;
            status = filter_values_path(reader, &condition->path);
        } else if (json_text_is(key, "filter") && !filter) {
            status = new_filter(reading, &filter);
            if (status == STATUS_OK)
                status = read_filter(reading, filter);
        } else {
            return json_reader_fail(reader, "expected `key` and `filter`, each once");
        }
    }
    condition->filter = filter;
    if (status == STATUS_OK && (!filter || !has_key))
        return json_reader_fail(reader, "missing field `%s`", has_key ? "filter" : "key");
    return status;
}

/* Each row: a key of a condition, what reads it, whether a condition on a field has it. */
static const struct member_row {
    const char *name;
    member_read_fn *read;
    bool needs_key;
} member_rows[] = {
    {"key", read_key, true},
    {"match", read_match, true},
    {"range", read_range, true},
    {"values_count", read_values_count, true},
    {"is_empty", read_is_empty, false}, /* with and without: the function says which */
    {"is_null", read_is_null, false},
    {"has_id", read_has_id, false},
    {"has_vector", read_has_vector, false},
    {"nested", read_nested, false},
    {"geo_bounding_box", unsupported, true},
    {"geo_radius", unsupported, true},
    {"geo_polygon", unsupported, true},
    {"slice", unsupported, false},
};

static const struct member_row *find_member(struct json_text key) {
    for (size_t i = 0; i < sizeof(member_rows) / sizeof(member_rows[0]); i++) {
        if (json_text_is(key, member_rows[i].name))
            return &member_rows[i];
    }
    return NULL;
}

/* ---- Clauses --------------------------------------------------------------------------------- */

static enum status read_condition(struct reading *reading, struct condition *condition);

static enum status add_condition(struct reading *reading, struct condition_list *list,
                                 size_t *capacity) {
    struct json_reader *reader = reading->reader;
    if (++reading->conditions > FILTER_CONDITIONS_MAX)
        return json_reader_reject(reader, STATUS_BAD_REQUEST,
                                  "a filter with more than %d conditions", FILTER_CONDITIONS_MAX);
    if (list->count == *capacity) {
        size_t grown = *capacity > 0 ? *capacity * 2 : CONDITIONS_CAPACITY_MIN;
        struct condition *items = arena_grow(reader->arena, list->items, *capacity * sizeof(*items),
                                             grown * sizeof(*items));
        if (!items)
            return json_reader_no_memory(reader);
        list->items = items;
        *capacity = grown;
    }
    /* Read aside: the list may move while what lies within is read. */
    struct condition condition;
    enum status status = read_condition(reading, &condition);
    if (status == STATUS_OK)
        list->items[list->count++] = condition;
    return status;
}

/* One condition, or a list. */
static enum status read_clause(struct reading *reading, struct condition_list *list) {
    struct json_reader *reader = reading->reader;
    size_t capacity = 0;
    bool more;
    if (json_reader_peek(reader) == JSON_TYPE_OBJECT)
        return add_condition(reading, list, &capacity);
    enum status status = json_open_array(reader);
    while (status == STATUS_OK && (status = json_next_item(reader, &more)) == STATUS_OK && more)
        status = add_condition(reading, list, &capacity);
    return status;
}

static enum status read_must(struct reading *reading, struct filter *filter) {
    return read_clause(reading, &filter->must);
}

static enum status read_should(struct reading *reading, struct filter *filter) {
    return read_clause(reading, &filter->should);
}

static enum status read_must_not(struct reading *reading, struct filter *filter) {
    return read_clause(reading, &filter->must_not);
}

static enum status read_min_count(struct json_reader *reader, size_t *min_count) {
    uint64_t count;
    enum status status = json_read_u64(reader, &count);
    if (status == STATUS_OK && count == 0)
        return json_reader_reject(reader, STATUS_VALIDATION,
                                  "value 0 invalid, must be 1 or larger");
    *min_count = (size_t)count;
    return status;
}

static enum status read_min_should(struct reading *reading, struct filter *filter) {
    struct json_reader *reader = reading->reader;
    struct json_text key;
    bool more, has_conditions = false, has_count = false;
    filter->has_min_should = true;
    enum status status = json_open_object(reader);
    while (status == STATUS_OK && (status = json_next_key(reader, &key, &more)) == STATUS_OK &&
           more) {
        if (json_text_is(key, "conditions") && !has_conditions) {
            has_conditions = true;
            status = read_clause(reading, &filter->min_should);
        } else if (json_text_is(key, "min_count") && !has_count) {
            has_count = true;
            status = read_min_count(reader, &filter->min_count);
        } else {
            return json_reader_fail(reader, "expected `conditions` and `min_count`, each once");
        }
    }
    if (status == STATUS_OK && (!has_conditions || !has_count))
        return json_reader_fail(reader, "missing field `%s`",
                                has_conditions ? "min_count" : "conditions");
    return status;
}

static const struct clause_row {
    const char *name;
    enum status (*read)(struct reading *reading, struct filter *filter);
} clause_rows[] = {
    {"must", read_must},
    {"should", read_should},
    {"must_not", read_must_not},
    {"min_should", read_min_should},
};

enum {
    CLAUSE_ROWS = sizeof(clause_rows) / sizeof(clause_rows[0]),
};

static size_t find_clause(struct json_text key) {
    size_t i = 0;
    while (i < CLAUSE_ROWS && !json_text_is(key, clause_rows[i].name))
        i++;
    return i;
}

/* Reads the clause whose key was just read; null says the same as leaving it out. */
static enum status read_clause_member(struct reading *reading, size_t row, unsigned *seen,
                                      struct filter *filter) {
    if (*seen & 1u << row)
        return json_reader_fail(reading->reader, "duplicate field `%s`", clause_rows[row].name);
    *seen |= 1u << row;
    if (json_reader_peek(reading->reader) == JSON_TYPE_NULL)
        return json_read_null(reading->reader);
    return clause_rows[row].read(reading, filter);
}

/* ---- Whole conditions and filters ------------------------------------------------------------ */

static enum status deeper(struct reading *reading) {
    if (reading->depth == FILTER_DEPTH_MAX)
        return json_reader_reject(reading->reader, STATUS_BAD_REQUEST,
                                  "filters nested deeper than %d", FILTER_DEPTH_MAX);
    reading->depth++;
    return STATUS_OK;
}

/* The condition turns out to be a filter: one level more. */
static enum status draft_filter(struct reading *reading, struct draft *draft) {
    if (draft->filter)
        return STATUS_OK;
    enum status status = deeper(reading);
    return status == STATUS_OK ? new_filter(reading, &draft->filter) : status;
}

static enum status read_condition_member(struct reading *reading, struct draft *draft,
                                         const struct member_row *row) {
    struct json_reader *reader = reading->reader;
    bool is_key = row->read == read_key;
    if (json_reader_peek(reader) == JSON_TYPE_NULL)
        return json_read_null(reader);
    if (is_key ? draft->has_key : draft->member != NULL)
        return json_reader_fail(reader, "a condition takes only one of `%s` and `%s`",
                                is_key ? "key" : draft->member, row->name);
    if (is_key)
        return read_key(reading, draft);
    draft->member = row->name;
    draft->needs_key = row->needs_key;
    /* `key` and what else is read may both set the path: only the field form has both. */
    return row->read(reading, draft);
}

static enum status finish_condition(struct reading *reading, struct draft *draft) {
    struct json_reader *reader = reading->reader;
    if (draft->filter && (draft->member || draft->has_key))
        return json_reader_fail(reader, "clauses of a filter beside those of a condition");
    if (draft->has_key && !draft->member)
        return json_reader_reject(reader, STATUS_VALIDATION,
                                  "At least one field condition must be specified");
    if (draft->member && draft->needs_key != draft->has_key)
        return json_reader_fail(
            reader, draft->has_key ? "`%s` takes no `key`" : "`%s` without `key`", draft->member);
    if (draft->member)
        return STATUS_OK;
    /* {} is a filter without clauses, which says nothing; it too is a level. */
    enum status status = draft_filter(reading, draft);
    draft->condition->kind = CONDITION_FILTER;
    draft->condition->filter = draft->filter;
    return status;
}

static enum status read_condition(struct reading *reading, struct condition *condition) {
    struct json_reader *reader = reading->reader;
    struct draft draft = {.condition = condition};
    struct json_text key;
    unsigned seen = 0;
    bool more;
    *condition = (struct condition){.expected = false};
    enum status status = json_open_object(reader);
    while (status == STATUS_OK && (status = json_next_key(reader, &key, &more)) == STATUS_OK &&
           more) {
        const struct member_row *row = find_member(key);
        size_t clause = find_clause(key);
        if (row) {
            status = read_condition_member(reading, &draft, row);
        } else if (clause < CLAUSE_ROWS) {
            status = draft_filter(reading, &draft);
            if (status == STATUS_OK)
                status = read_clause_member(reading, clause, &seen, draft.filter);
        } else {
            return json_reader_fail(reader, "unknown field `%.*s` of a condition",
                                    key.length < 64 ? (int)key.length : 64, key.text);
        }
    }
    if (status == STATUS_OK)
        status = finish_condition(reading, &draft);
    if (draft.filter)
        reading->depth--;
    return status;
}

static enum status read_filter(struct reading *reading, struct filter *filter) {
    struct json_reader *reader = reading->reader;
    struct json_text key;
    unsigned seen = 0;
    bool more;
    enum status status = deeper(reading);
    if (status == STATUS_OK)
        status = json_open_object(reader);
    while (status == STATUS_OK && (status = json_next_key(reader, &key, &more)) == STATUS_OK &&
           more) {
        size_t clause = find_clause(key);
        if (clause == CLAUSE_ROWS)
            return json_reader_fail(
                reader,
                "unknown field `%.*s`, expected one of `must`, `should`, `must_not`, `min_should`",
                key.length < 64 ? (int)key.length : 64, key.text);
        status = read_clause_member(reading, clause, &seen, filter);
    }
    reading->depth--;
    return status;
}

static enum status filter_read(struct json_reader *reader, void *member) {
    const struct filter **target = member;
    struct reading reading = {.reader = reader};
    struct filter *filter;
    enum status status = new_filter(&reading, &filter);
    if (status == STATUS_OK)
        status = read_filter(&reading, filter);
    *target = filter;
    return status;
}

#define CONDITIONS "{\"$ref\":\"#/components/schemas/Conditions\"}"
#define PATH       "{\"type\":\"string\"}"
#define KEY_OBJECT "{\"type\":\"object\",\"required\":[\"key\"],\"properties\":{\"key\":" PATH "}}"

const struct json_custom filter_json = {
    .name = "Filter",
    .read = filter_read,
    .schema =
        "{\"type\":\"object\",\"nullable\":true,\"additionalProperties\":false,\"properties\":{"
        "\"must\":" CONDITIONS ",\"should\":" CONDITIONS ",\"must_not\":" CONDITIONS ","
        "\"min_should\":{\"type\":\"object\",\"nullable\":true,"
        "\"required\":[\"conditions\",\"min_count\"],\"properties\":{"
        "\"conditions\":" CONDITIONS ",\"min_count\":{\"type\":\"integer\",\"minimum\":1}}}}}",
};

const struct json_custom filter_json_conditions = {
    .name = "Conditions",
    .schema = "{\"nullable\":true,\"oneOf\":[{\"$ref\":\"#/components/schemas/Condition\"},"
              "{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/Condition\"}}]}",
};

const struct json_custom filter_json_condition = {
    .name = "Condition",
    .schema =
        "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"key\":" PATH ","
        "\"match\":{\"type\":\"object\",\"properties\":{\"value\":{},"
        "\"any\":{\"type\":\"array\",\"items\":{}},\"except\":{\"type\":\"array\",\"items\":{}}}},"
        "\"range\":{\"type\":\"object\",\"properties\":{\"lt\":{},\"gt\":{},\"lte\":{},\"gte\":{}}}"
        ","
        "\"values_count\":{\"type\":\"object\",\"properties\":{\"lt\":{\"type\":\"integer\"},"
        "\"gt\":{\"type\":\"integer\"},\"lte\":{\"type\":\"integer\"},"
        "\"gte\":{\"type\":\"integer\"}}},"
        "\"is_empty\":{\"oneOf\":[{\"type\":\"boolean\"}," KEY_OBJECT "]},"
        "\"is_null\":{\"oneOf\":[{\"type\":\"boolean\"}," KEY_OBJECT "]},"
        "\"has_id\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/PointId\"}},"
        "\"has_vector\":{\"type\":\"string\"},"
        "\"nested\":{\"type\":\"object\",\"required\":[\"key\",\"filter\"],\"properties\":{"
        "\"key\":" PATH ",\"filter\":{\"$ref\":\"#/components/schemas/Filter\"}}},"
        "\"must\":" CONDITIONS ",\"should\":" CONDITIONS ",\"must_not\":" CONDITIONS ","
        "\"min_should\":{\"type\":\"object\"}}}",
};
