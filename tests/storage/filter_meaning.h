/* filter_meaning.h -- what a filter of filter_model.h means on a payload of its: the second
 * opinion.
 *
 * It looks up what each leaf is in the model's table and walks cJSON trees, so it shares no code
 * with the program but the enum of kinds. */
#ifndef FILTER_MEANING_H
#define FILTER_MEANING_H

#include "tests/storage/filter_model.h"

/* ---- Values at a path ----------------------------------------------------------------------- */

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

#endif
