/* filter_text.h -- filters of tests, written as JSON in the API's grammar and read with cJSON.
 *
 * A string that begins with # stands for the number that follows it, since cJSON keeps numbers as
 * doubles only. Anything wrong ends the test: the reader of requests is api's filter_json. */
#ifndef FILTER_TEXT_H
#define FILTER_TEXT_H

#include "storage/filter.h"

#include <check.h>
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

static void filter_text_read(const cJSON *json, struct arena *arena, struct filter *filter);

static void *filter_text_alloc(struct arena *arena, size_t size) {
    void *memory = arena_alloc(arena, size ? size : 1);
    ck_assert_ptr_nonnull(memory);
    memset(memory, 0, size ? size : 1);
    return memory;
}

static struct payload_number filter_text_number(const cJSON *json) {
    if (cJSON_IsString(json)) {
        ck_assert_int_eq(*json->valuestring, '#');
        return payload_number_from_text(json->valuestring + 1, strlen(json->valuestring) - 1);
    }
    ck_assert(cJSON_IsNumber(json));
    if (json->valuedouble == (double)(int64_t)json->valuedouble)
        return payload_number_from_i64((int64_t)json->valuedouble);
    return payload_number_from_f64(json->valuedouble);
}

static struct payload_scalar filter_text_scalar(const cJSON *json, struct arena *arena) {
    struct payload_scalar scalar = {.type = PAYLOAD_BOOL, .boolean = cJSON_IsTrue(json)};
    if (cJSON_IsNumber(json) || (cJSON_IsString(json) && *json->valuestring == '#')) {
        scalar.type = PAYLOAD_NUMBER;
        scalar.number = filter_text_number(json);
    } else if (cJSON_IsString(json)) {
        scalar.type = PAYLOAD_STRING;
        scalar.string_length = strlen(json->valuestring);
        scalar.string = arena_text(arena, json->valuestring, scalar.string_length);
    } else {
        ck_assert(cJSON_IsBool(json));
    }
    return scalar;
}

static void filter_text_values(const cJSON *json, struct arena *arena,
                               struct condition *condition) {
    size_t count = cJSON_IsArray(json) ? (size_t)cJSON_GetArraySize(json) : 1, i = 0;
    struct payload_scalar *values = filter_text_alloc(arena, count * sizeof(*values));
    if (cJSON_IsArray(json)) {
        for (const cJSON *item = json->child; item; item = item->next)
            values[i++] = filter_text_scalar(item, arena);
    } else {
        values[0] = filter_text_scalar(json, arena);
    }
    condition->values = values;
    condition->values_count = count;
}

static void filter_text_bound(const cJSON *json, const char *name, bool is_date, bool *has,
                              struct payload_number *bound) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);
    int64_t microseconds;
    *has = item != NULL;
    if (item && is_date) {
        ck_assert(
            payload_datetime_parse(item->valuestring, strlen(item->valuestring), &microseconds));
        *bound = payload_number_from_i64(microseconds);
    } else if (item) {
        *bound = filter_text_number(item);
    }
}

static void filter_text_range(const cJSON *json, bool is_date, struct filter_range *range) {
    filter_text_bound(json, "lt", is_date, &range->has_lt, &range->lt);
    filter_text_bound(json, "gt", is_date, &range->has_gt, &range->gt);
    filter_text_bound(json, "lte", is_date, &range->has_lte, &range->lte);
    filter_text_bound(json, "gte", is_date, &range->has_gte, &range->gte);
}

static void filter_text_path(const cJSON *json, struct arena *arena, struct payload_path *path) {
    struct error error;
    ck_assert(cJSON_IsString(json));
    ck_assert_msg(payload_path_parse(json->valuestring, strlen(json->valuestring), arena, path,
                                     &error) == STATUS_OK,
                  "%s", error.message);
}

static int filter_text_compare_ids(const void *a, const void *b) {
    return point_id_compare(a, b);
}

static void filter_text_ids(const cJSON *json, struct arena *arena, struct condition *condition) {
    size_t count = (size_t)cJSON_GetArraySize(json), i = 0;
    struct point_id *ids = filter_text_alloc(arena, count * sizeof(*ids));
    for (const cJSON *item = json->child; item; item = item->next, i++) {
        if (cJSON_IsString(item))
            ck_assert(point_id_from_string(
                arena_text(arena, item->valuestring, strlen(item->valuestring)),
                strlen(item->valuestring), &ids[i]));
        else
            ids[i] =
                (struct point_id){.kind = POINT_ID_NUMBER, .number = (uint64_t)item->valuedouble};
    }
    qsort(ids, count, sizeof(*ids), filter_text_compare_ids);
    condition->ids = ids;
    condition->ids_count = count;
}

/* The conditions with a key. */
static void filter_text_field(const cJSON *json, struct arena *arena, struct condition *condition) {
    const cJSON *item = json->child->next;
    filter_text_path(json->child, arena, &condition->path);
    condition->expected = cJSON_IsTrue(item);
    if (strcmp(item->string, "match") == 0) {
        condition->kind =
            strcmp(item->child->string, "except") == 0 ? CONDITION_MATCH_EXCEPT : CONDITION_MATCH;
        filter_text_values(item->child, arena, condition);
    } else if (strcmp(item->string, "range") == 0) {
        bool is_date =
            item->child && cJSON_IsString(item->child) && *item->child->valuestring != '#';
        condition->kind = is_date ? CONDITION_DATETIME : CONDITION_RANGE;
        filter_text_range(item, is_date, &condition->range);
    } else if (strcmp(item->string, "values_count") == 0) {
        condition->kind = CONDITION_VALUES_COUNT;
        filter_text_range(item, false, &condition->range);
    } else if (strcmp(item->string, "is_empty") == 0) {
        condition->kind = CONDITION_IS_EMPTY;
    } else {
        ck_assert_str_eq(item->string, "is_null");
        condition->kind = CONDITION_IS_NULL;
    }
}

static void filter_text_condition(const cJSON *json, struct arena *arena,
                                  struct condition *condition) {
    const cJSON *item = json->child;
    const char *name = item ? item->string : "";
    struct filter *inner = filter_text_alloc(arena, sizeof(*inner));
    condition->expected = true;
    condition->filter = inner;
    if (strcmp(name, "key") == 0) {
        filter_text_field(json, arena, condition);
    } else if (strcmp(name, "is_empty") == 0 || strcmp(name, "is_null") == 0) {
        condition->kind = strcmp(name, "is_null") == 0 ? CONDITION_IS_NULL : CONDITION_IS_EMPTY;
        filter_text_path(item->child, arena, &condition->path);
    } else if (strcmp(name, "has_id") == 0) {
        condition->kind = CONDITION_HAS_ID;
        filter_text_ids(item, arena, condition);
    } else if (strcmp(name, "has_vector") == 0) {
        condition->kind = CONDITION_HAS_VECTOR;
        condition->vector_name = arena_text(arena, item->valuestring, strlen(item->valuestring));
    } else if (strcmp(name, "nested") == 0) {
        condition->kind = CONDITION_NESTED;
        filter_text_path(cJSON_GetObjectItemCaseSensitive(item, "key"), arena, &condition->path);
        filter_text_read(cJSON_GetObjectItemCaseSensitive(item, "filter"), arena, inner);
    } else {
        condition->kind = CONDITION_FILTER;
        filter_text_read(json, arena, inner);
    }
}

static void filter_text_list(const cJSON *json, struct arena *arena, struct condition_list *list) {
    if (!json)
        return;
    list->count = (size_t)cJSON_GetArraySize(json);
    list->items = filter_text_alloc(arena, list->count * sizeof(*list->items));
    size_t i = 0;
    for (const cJSON *item = json->child; item; item = item->next)
        filter_text_condition(item, arena, &list->items[i++]);
}

static void filter_text_read(const cJSON *json, struct arena *arena, struct filter *filter) {
    *filter = (struct filter){.has_min_should = false};
    filter_text_list(cJSON_GetObjectItemCaseSensitive(json, "must"), arena, &filter->must);
    filter_text_list(cJSON_GetObjectItemCaseSensitive(json, "should"), arena, &filter->should);
    filter_text_list(cJSON_GetObjectItemCaseSensitive(json, "must_not"), arena, &filter->must_not);
    const cJSON *least = cJSON_GetObjectItemCaseSensitive(json, "min_should");
    if (!least)
        return;
    filter->has_min_should = true;
    filter->min_count = (size_t)cJSON_GetObjectItemCaseSensitive(least, "min_count")->valuedouble;
    filter_text_list(cJSON_GetObjectItemCaseSensitive(least, "conditions"), arena,
                     &filter->min_should);
}

/* Reads a filter; memory of the arena. */
static inline const struct filter *filter_text_parse(const char *text, struct arena *arena) {
    struct filter *filter = filter_text_alloc(arena, sizeof(*filter));
    cJSON *json = cJSON_Parse(text);
    ck_assert_msg(json != NULL, "no JSON: %s", text);
    filter_text_read(json, arena, filter);
    cJSON_Delete(json);
    return filter;
}

#endif
