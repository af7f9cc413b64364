/* filter_model.h -- random payloads and filters, and a second opinion on what they mean.
 *
 * Payloads are cJSON trees whose leaves come from a table that says what each is; filters name
 * those leaves. So the model never reads a number, a string or a date: it shares no code with the
 * program but the enum of kinds.
 */
#ifndef FILTER_MODEL_H
#define FILTER_MODEL_H

#include "storage/filter.h"

#include <check.h>
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#define MODEL_COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

enum {
    MODEL_LIST_MAX = 5,
    MODEL_CONDITIONS_MAX = 4,
    MODEL_VALUES_MAX = 512
};

struct model_leaf {
    const char *json;
    enum payload_type type;
    int identity; /* equal: same value; numbers: in their order */
    bool is_integer;
    bool is_date;
    int64_t microseconds;
};

static const struct model_leaf model_leaves[] = {
    {"null", PAYLOAD_NULL, 0, false, false, 0},
    {"true", PAYLOAD_BOOL, 1, false, false, 0},
    {"false", PAYLOAD_BOOL, 0, false, false, 0},
    {"-3", PAYLOAD_NUMBER, 1, true, false, 0},
    {"-3.0", PAYLOAD_NUMBER, 1, false, false, 0},
    {"0", PAYLOAD_NUMBER, 2, true, false, 0},
    {"-0", PAYLOAD_NUMBER, 2, true, false, 0},
    {"0.0", PAYLOAD_NUMBER, 2, false, false, 0},
    {"0.5", PAYLOAD_NUMBER, 3, false, false, 0},
    {"1", PAYLOAD_NUMBER, 4, true, false, 0},
    {"1e0", PAYLOAD_NUMBER, 4, false, false, 0},
    {"2", PAYLOAD_NUMBER, 5, true, false, 0},
    {"9007199254740992", PAYLOAD_NUMBER, 6, true, false, 0},
    {"9007199254740993", PAYLOAD_NUMBER, 7, true, false, 0},
    {"18446744073709551615", PAYLOAD_NUMBER, 8, true, false, 0},
    {"1e400", PAYLOAD_NUMBER, 9, false, false, 0},
    {"\"\"", PAYLOAD_STRING, 0, false, false, 0},
    {"\"a\"", PAYLOAD_STRING, 1, false, false, 0},
    {"\"\\u0061\"", PAYLOAD_STRING, 1, false, false, 0},
    {"\"ab\"", PAYLOAD_STRING, 2, false, false, 0},
    {"\"a\\u0000b\"", PAYLOAD_STRING, 3, false, false, 0},
    {"\"\\ud83d\\ude00\"", PAYLOAD_STRING, 4, false, false, 0},
    {"\"\xf0\x9f\x98\x80\"", PAYLOAD_STRING, 4, false, false, 0},
    {"\"1970-01-01\"", PAYLOAD_STRING, 5, false, true, 0},
    {"\"1970-01-01T00:00:00Z\"", PAYLOAD_STRING, 6, false, true, 0},
    {"\"1970-01-01T00:00:01Z\"", PAYLOAD_STRING, 7, false, true, 1000000},
    {"\"1969-12-31 23:59:59\"", PAYLOAD_STRING, 8, false, true, -1000000},
    {"\"1970-01-01T01:00:00+01:00\"", PAYLOAD_STRING, 9, false, true, 0},
    {"\"1970-02-30\"", PAYLOAD_STRING, 10, false, false, 0},
#define MODEL_HUNDRED                                                        \
    "0123456789012345678901234567890123456789012345678901234567890123456789" \
    "012345678901234567890123456789"
    {"\"" MODEL_HUNDRED MODEL_HUNDRED MODEL_HUNDRED MODEL_HUNDRED "\"", PAYLOAD_STRING, 11, false,
     false, 0},
    {"\"" MODEL_HUNDRED MODEL_HUNDRED MODEL_HUNDRED MODEL_HUNDRED "!\"", PAYLOAD_STRING, 12, false,
     false, 0},
};

static const char *const model_paths[] = {"a",         "b",     "c",      "a.b",   "a[].b",
                                          "b[].c",     "a[0]",  "a[1].b", "b[]",   "a.b.c",
                                          "c[].a[].b", "c[].a", "a[][]",  "\"a\"", "b.\"c\""};

/* ---- Random payloads ------------------------------------------------------------------------ */

static int model_below(int count) {
    return rand() % count;
}

/* Leaves and paths are mostly drawn from a few, so that payloads and filters meet often. */
static int model_favourites[4];

static int model_favourite_paths[4];

static inline void model_choose_favourites(void) {
    /* Neighbours in the table: alike, but not the same. */
    int first = 1 + model_below(MODEL_COUNT_OF(model_leaves) - 4);
    for (int i = 0; i < MODEL_COUNT_OF(model_favourites); i++)
        model_favourites[i] = first + i;
    for (int i = 0; i < MODEL_COUNT_OF(model_favourite_paths); i++)
        model_favourite_paths[i] = model_below(MODEL_COUNT_OF(model_paths));
}

static const char *model_any_path(void) {
    int path = model_below(3)
                   ? model_favourite_paths[model_below(MODEL_COUNT_OF(model_favourite_paths))]
                   : model_below(MODEL_COUNT_OF(model_paths));
    return model_paths[path];
}

static int model_any_leaf(void) {
    return model_below(3) ? model_favourites[model_below(MODEL_COUNT_OF(model_favourites))]
                          : model_below(MODEL_COUNT_OF(model_leaves));
}

static cJSON *model_tree(int depth) {
    int kind = model_below(10);
    if (depth == 0 || kind < 5) {
        int leaf = model_any_leaf();
        cJSON *item = cJSON_CreateRaw(model_leaves[leaf].json);
        item->valueint = leaf;
        return item;
    }
    cJSON *item = kind < 8 ? cJSON_CreateArray() : cJSON_CreateObject();
    for (int i = model_below(4); i > 0; i--) {
        if (cJSON_IsArray(item))
            cJSON_AddItemToArray(item, model_tree(depth - 1));
        else /* keys may stand twice */
            cJSON_AddItemToObject(item, (const char *[]){"a", "b", "c"}[model_below(3)],
                                  model_tree(depth - 1));
    }
    return item;
}

static inline cJSON *model_payload(void) {
    cJSON *payload = cJSON_CreateObject();
    for (int i = model_below(5); i > 0; i--)
        cJSON_AddItemToObject(payload, (const char *[]){"a", "b", "c"}[model_below(3)],
                              model_tree(3));
    return payload;
}

/* ---- Random filters ------------------------------------------------------------------------- */

struct model_filter;

struct model_condition {
    enum condition_kind kind;
    const char *path;
    int values[MODEL_LIST_MAX]; /* leaves of MATCH and MATCH_EXCEPT; ids of HAS_ID */
    int count;
    int lt, gt, lte, gte; /* leaves, counts of VALUES_COUNT; -1: none */
    bool expected;
    struct model_filter *filter;
};

struct model_list {
    struct model_condition items[MODEL_CONDITIONS_MAX];
    int count;
};

struct model_filter {
    struct model_list must, should, must_not, min_should;
    int min_count;
    bool has_min_should;
};

static struct model_filter *model_random_filter(struct arena *arena, int depth, int ids);

static int model_scalar(void) {
    int leaf = model_any_leaf();
    return leaf ? leaf : 1; /* not null */
}

static int model_bound(enum condition_kind kind) {
    if (model_below(2))
        return -1;
    if (kind == CONDITION_VALUES_COUNT)
        return model_below(4);
    for (;;) {
        int leaf = model_scalar();
        if (kind == CONDITION_RANGE ? model_leaves[leaf].type == PAYLOAD_NUMBER
                                    : model_leaves[leaf].is_date)
            return leaf;
    }
}

static void model_random_condition(struct arena *arena, int depth, int ids,
                                   struct model_condition *condition) {
    condition->kind = (enum condition_kind)model_below(CONDITION_FILTER + 1);
    if (depth == 0 && (condition->kind == CONDITION_NESTED || condition->kind == CONDITION_FILTER))
        condition->kind = CONDITION_MATCH;
    condition->path = model_any_path();
    condition->count = model_below(MODEL_LIST_MAX + 1);
    for (int i = 0; i < condition->count; i++)
        condition->values[i] =
            condition->kind == CONDITION_HAS_ID ? model_below(ids) : model_scalar();
    condition->lt = model_bound(condition->kind);
    condition->gt = model_bound(condition->kind);
    condition->lte = model_bound(condition->kind);
    condition->gte = model_bound(condition->kind);
    condition->expected = model_below(2);
    if (condition->kind == CONDITION_NESTED || condition->kind == CONDITION_FILTER)
        condition->filter = model_random_filter(arena, depth - 1, ids);
}

static void model_random_list(struct arena *arena, int depth, int ids, struct model_list *list) {
    list->count = model_below(3) ? 0 : 1 + model_below(MODEL_CONDITIONS_MAX);
    for (int i = 0; i < list->count; i++)
        model_random_condition(arena, depth, ids, &list->items[i]);
}

static struct model_filter *model_random_filter(struct arena *arena, int depth, int ids) {
    struct model_filter *filter = arena_alloc(arena, sizeof(*filter));
    memset(filter, 0, sizeof(*filter));
    model_random_list(arena, depth, ids, &filter->must);
    model_random_list(arena, depth, ids, &filter->should);
    model_random_list(arena, depth, ids, &filter->must_not);
    filter->has_min_should = model_below(4) == 0;
    if (filter->has_min_should) {
        model_random_list(arena, depth, ids, &filter->min_should);
        filter->min_count = 1 + model_below(3);
    }
    return filter;
}

/* ---- The same filter for the program -------------------------------------------------------- */

static struct payload_scalar model_scalar_of(int leaf, struct arena *arena) {
    const char *json = model_leaves[leaf].json;
    struct payload_value value = payload_value_at(json, strlen(json));
    struct payload_scalar scalar = {.type = value.type, .boolean = *json == 't'};
    if (value.type == PAYLOAD_NUMBER)
        scalar.number = payload_number_from_text(json, strlen(json));
    if (value.type == PAYLOAD_STRING) {
        char *bytes = arena_alloc(arena, strlen(json));
        scalar.string_length = payload_string_decode(&value, bytes);
        scalar.string = bytes;
    }
    return scalar;
}

static void model_convert_bound(enum condition_kind kind, int bound, bool *has,
                                struct payload_number *number, struct arena *arena) {
    *has = bound >= 0;
    if (!*has)
        return;
    if (kind == CONDITION_VALUES_COUNT)
        *number = payload_number_from_i64(bound);
    else if (kind == CONDITION_DATETIME)
        *number = payload_number_from_i64(model_leaves[bound].microseconds);
    else
        *number = model_scalar_of(bound, arena).number;
}

static int model_compare_ids(const void *a, const void *b) {
    return point_id_compare(a, b);
}

static const struct filter *model_convert(const struct model_filter *model, struct arena *arena);

static void model_convert_condition(const struct model_condition *model, struct arena *arena,
                                    struct condition *condition) {
    struct error error;
    struct payload_scalar *values = arena_alloc(arena, MODEL_LIST_MAX * sizeof(*values));
    struct point_id *ids = arena_alloc(arena, MODEL_LIST_MAX * sizeof(*ids));
    struct filter_range *range = &condition->range;
    *condition = (struct condition){.kind = model->kind, .expected = model->expected};
    ck_assert_int_eq(
        payload_path_parse(model->path, strlen(model->path), arena, &condition->path, &error),
        STATUS_OK);
    for (int i = 0; i < model->count; i++) {
        if (model->kind == CONDITION_HAS_ID)
            ids[i] = (struct point_id){.number = (uint64_t)model->values[i]};
        else
            values[i] = model_scalar_of(model->values[i], arena);
    }
    if (model->kind == CONDITION_HAS_ID)
        qsort(ids, (size_t)model->count, sizeof(*ids), model_compare_ids);
    condition->values = values;
    condition->values_count = (size_t)model->count;
    condition->values_sorted = model->kind != CONDITION_HAS_ID && model_below(2);
    if (condition->values_sorted)
        filter_sort_values(values, (size_t)model->count);
    condition->ids = ids;
    condition->ids_count = (size_t)model->count;
    condition->vector_name = "v";
    model_convert_bound(model->kind, model->lt, &range->has_lt, &range->lt, arena);
    model_convert_bound(model->kind, model->gt, &range->has_gt, &range->gt, arena);
    model_convert_bound(model->kind, model->lte, &range->has_lte, &range->lte, arena);
    model_convert_bound(model->kind, model->gte, &range->has_gte, &range->gte, arena);
    if (model->filter)
        condition->filter = model_convert(model->filter, arena);
}

static void model_convert_list(const struct model_list *model, struct arena *arena,
                               struct condition_list *list) {
    list->count = (size_t)model->count;
    list->items = arena_alloc(arena, MODEL_CONDITIONS_MAX * sizeof(*list->items));
    for (int i = 0; i < model->count; i++)
        model_convert_condition(&model->items[i], arena, &list->items[i]);
}

static const struct filter *model_convert(const struct model_filter *model, struct arena *arena) {
    struct filter *filter = arena_alloc(arena, sizeof(*filter));
    *filter = (struct filter){.min_count = (size_t)model->min_count,
                              .has_min_should = model->has_min_should};
    model_convert_list(&model->must, arena, &filter->must);
    model_convert_list(&model->should, arena, &filter->should);
    model_convert_list(&model->must_not, arena, &filter->must_not);
    model_convert_list(&model->min_should, arena, &filter->min_should);
    return filter;
}

#endif
