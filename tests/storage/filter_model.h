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

/* ---- What they mean ------------------------------------------------------------------------- */

struct model_values {
    const cJSON *items[MODEL_VALUES_MAX];
    int count;
};

/* What follows the first step of a path, which it copies into step: a key, [] or [n]. */
static const char *model_step(const char *path, char step[16]) {
    int used = 0;
    if (*path == '.')
        path++;
    if (*path == '[') {
        do
            step[used++] = *path;
        while (*path++ != ']');
    } else {
        for (; *path && *path != '.' && *path != '['; path++) {
            if (*path != '"')
                step[used++] = *path;
        }
    }
    step[used] = '\0';
    return path;
}

static void model_collect(const cJSON *at, const char *path, struct model_values *values) {
    char step[16];
    if (!*path) {
        ck_assert_int_lt(values->count, MODEL_VALUES_MAX);
        values->items[values->count++] = at;
        return;
    }
    path = model_step(path, step);
    if (*step == '[' && cJSON_IsArray(at)) {
        int i = 0;
        for (const cJSON *item = at->child; item; item = item->next, i++) {
            if (step[1] == ']' || atoi(step + 1) == i)
                model_collect(item, path, values);
        }
    } else if (*step != '[' && cJSON_IsObject(at)) {
        const cJSON *found = NULL;
        for (const cJSON *item = at->child; item; item = item->next) {
            if (strcmp(item->string, step) == 0)
                found = item;
        }
        if (found)
            model_collect(found, path, values);
    }
}

static const struct model_leaf *model_leaf_of(const cJSON *item) {
    return cJSON_IsRaw(item) ? &model_leaves[item->valueint] : NULL;
}

static bool model_is_null(const cJSON *item) {
    const struct model_leaf *leaf = model_leaf_of(item);
    return leaf && leaf->type == PAYLOAD_NULL;
}

static bool model_equals(const cJSON *item, int other) {
    const struct model_leaf *a = model_leaf_of(item), *b = &model_leaves[other];
    return a && a->type == b->type && a->identity == b->identity &&
           (a->type != PAYLOAD_NUMBER || (a->is_integer && b->is_integer));
}

static bool model_within(const struct model_condition *condition, int64_t value,
                         int64_t (*bound)(int)) {
    return (condition->lt < 0 || value < bound(condition->lt)) &&
           (condition->gt < 0 || value > bound(condition->gt)) &&
           (condition->lte < 0 || value <= bound(condition->lte)) &&
           (condition->gte < 0 || value >= bound(condition->gte));
}

static int64_t model_identity(int leaf) {
    return model_leaves[leaf].identity;
}
static int64_t model_moment(int leaf) {
    return model_leaves[leaf].microseconds;
}
static int64_t model_itself(int count) {
    return count;
}

/* Match, except and ranges, on one element. */
static bool model_holds_for(const struct model_condition *condition, const cJSON *item) {
    const struct model_leaf *leaf = model_leaf_of(item);
    bool is_listed = false;
    switch (condition->kind) {
    case CONDITION_RANGE:
        return leaf && leaf->type == PAYLOAD_NUMBER &&
               model_within(condition, leaf->identity, model_identity);
    case CONDITION_DATETIME:
        return leaf && leaf->is_date && model_within(condition, leaf->microseconds, model_moment);
    default:
        for (int i = 0; i < condition->count; i++)
            is_listed |= model_equals(item, condition->values[i]);
        return condition->kind == CONDITION_MATCH ? is_listed : !is_listed && !model_is_null(item);
    }
}

static bool model_any_element(const struct model_condition *condition,
                              const struct model_values *values) {
    for (int i = 0; i < values->count; i++) {
        if (!cJSON_IsArray(values->items[i])) {
            if (model_holds_for(condition, values->items[i]))
                return true;
            continue;
        }
        for (const cJSON *item = values->items[i]->child; item; item = item->next) {
            if (model_holds_for(condition, item))
                return true;
        }
    }
    return false;
}

static bool model_is_empty(const struct model_values *values) {
    for (int i = 0; i < values->count; i++) {
        const cJSON *item = values->items[i];
        if (!model_is_null(item) && !(cJSON_IsArray(item) && !item->child))
            return false;
    }
    return true;
}

static bool model_has_null(const struct model_values *values) {
    for (int i = 0; i < values->count; i++) {
        if (model_is_null(values->items[i]))
            return true;
        const cJSON *item = cJSON_IsArray(values->items[i]) ? values->items[i]->child : NULL;
        for (; item; item = item->next) {
            if (model_is_null(item))
                return true;
        }
    }
    return false;
}

static bool model_count_holds(const struct model_condition *condition,
                              const struct model_values *values) {
    for (int i = 0; i < values->count; i++) {
        const cJSON *item = values->items[i];
        int count = cJSON_IsArray(item) ? cJSON_GetArraySize(item) : !model_is_null(item);
        if (model_within(condition, count, model_itself))
            return true;
    }
    return values->count == 0 && model_within(condition, 0, model_itself);
}

static bool model_matches(const struct model_filter *filter, const cJSON *payload, int id);

static bool model_nested_holds(const struct model_condition *condition,
                               const struct model_values *values) {
    for (int i = 0; i < values->count; i++) {
        const cJSON *item = cJSON_IsArray(values->items[i]) ? values->items[i]->child : NULL;
        for (; item; item = item->next) {
            if (cJSON_IsObject(item) && model_matches(condition->filter, item, -1))
                return true;
        }
    }
    return false;
}

static bool model_holds(const struct model_condition *condition, const cJSON *payload, int id) {
    static struct model_values pool[16]; /* filters nest less deep than this */
    static int used;
    struct model_values *values = &pool[used++];
    char path[32];
    bool holds = false;
    strcpy(path, condition->path);
    size_t length = strlen(path);
    if (condition->kind == CONDITION_NESTED && length > 2 && strcmp(path + length - 2, "[]") == 0)
        path[length - 2] = '\0';
    values->count = 0;
    model_collect(payload, path, values);
    switch (condition->kind) {
    case CONDITION_MATCH:
    case CONDITION_MATCH_EXCEPT:
    case CONDITION_RANGE:
    case CONDITION_DATETIME:
        holds = model_any_element(condition, values);
        break;
    case CONDITION_VALUES_COUNT:
        holds = model_count_holds(condition, values);
        break;
    case CONDITION_IS_EMPTY:
        holds = model_is_empty(values) == condition->expected;
        break;
    case CONDITION_IS_NULL:
        holds = model_has_null(values) == condition->expected;
        break;
    case CONDITION_HAS_ID:
        for (int i = 0; i < condition->count; i++)
            holds |= condition->values[i] == id;
        break;
    case CONDITION_HAS_VECTOR: /* points with an even id have the vector that is asked for */
        holds = id >= 0 && id % 2 == 0;
        break;
    case CONDITION_NESTED:
        holds = model_nested_holds(condition, values);
        break;
    case CONDITION_FILTER:
        holds = model_matches(condition->filter, payload, id);
        break;
    }
    used--;
    return holds;
}

static int model_how_many(const struct model_list *list, const cJSON *payload, int id) {
    int count = 0;
    for (int i = 0; i < list->count; i++)
        count += model_holds(&list->items[i], payload, id);
    return count;
}

static bool model_matches(const struct model_filter *filter, const cJSON *payload, int id) {
    return model_how_many(&filter->must, payload, id) == filter->must.count &&
           model_how_many(&filter->must_not, payload, id) == 0 &&
           (filter->should.count == 0 || model_how_many(&filter->should, payload, id) > 0) &&
           (!filter->has_min_should ||
            model_how_many(&filter->min_should, payload, id) >= filter->min_count);
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
