#include "api/payload_delete.h"

#include "api/json_members.h"
#include "api/json_writer.h"

#include <stdlib.h>
#include <string.h>

/* Paths that agree in all steps so far; never empty. */
struct path_range {
    size_t first, end;
};

/* All that lead to the value at hand: more than one range where `a[]` and `a[0]` both do. */
struct path_ranges {
    struct path_range *items;
    size_t count, capacity;
};

struct walk {
    const struct payload_path *paths;
    /* By steps taken. A value's ranges stay while the walk is inside it: that is further down. */
    struct path_ranges levels[PAYLOAD_PATH_STEPS_MAX + 1];
    struct arena *arena;
    struct json_writer *writer;
    struct error *error;
};

static enum status no_memory(const struct walk *walk) {
    return error_set(walk->error, STATUS_NO_MEMORY, "out of memory");
}

/* ---- The order of paths ---------------------------------------------------------------------- */

static int compare_numbers(size_t a, size_t b) {
    return (a > b) - (a < b);
}

/* By kind first: in a range those that lead into an object come before those into an array. */
static int compare_steps(const struct path_step *a, const struct path_step *b) {
    if (a->kind != b->kind)
        return compare_numbers((size_t)a->kind, (size_t)b->kind);
    if (a->kind == PATH_STEP_INDEX)
        return compare_numbers(a->index, b->index);
    if (a->kind == PATH_STEP_ALL)
        return 0;
    size_t shorter = a->key_length < b->key_length ? a->key_length : b->key_length;
    int order = shorter > 0 ? memcmp(a->key, b->key, shorter) : 0;
    return order != 0 ? order : compare_numbers(a->key_length, b->key_length);
}

/* Of two paths that agree the shorter one comes first. */
static int compare_paths(const void *left, const void *right) {
    const struct payload_path *a = left, *b = right;
    for (size_t i = 0; i < a->count && i < b->count; i++) {
        int order = compare_steps(&a->steps[i], &b->steps[i]);
        if (order != 0)
            return order;
    }
    return compare_numbers(a->count, b->count);
}

void payload_delete_order(struct payload_path *paths, size_t count) {
    if (count > 1)
        qsort(paths, count, sizeof(*paths), compare_paths);
}

/* The first path of the range whose step at depth is not below `step`, or not below or equal. */
static size_t find_bound(const struct walk *walk, struct path_range range, size_t depth,
                         const struct path_step *step, bool is_after) {
    while (range.first < range.end) {
        size_t middle = range.first + (range.end - range.first) / 2;
        int order = compare_steps(&walk->paths[middle].steps[depth], step);
        if (order < 0 || (order == 0 && is_after))
            range.first = middle + 1;
        else
            range.end = middle;
    }
    return range.first;
}

/* ---- Narrowing ------------------------------------------------------------------------------- */

/* Empties the ranges after depth + 1 steps, and makes room for what narrowing by an element, twice
 * as many, may give. */
static bool begin_next(struct walk *walk, size_t depth) {
    struct path_ranges *next = &walk->levels[depth + 1];
    size_t wanted = 2 * walk->levels[depth].count;
    next->count = 0;
    if (wanted <= next->capacity)
        return true;
    next->items = arena_alloc(walk->arena, wanted * sizeof(*next->items));
    next->capacity = next->items ? wanted : 0;
    return next->items != NULL;
}

/* Adds the paths that go on by this step. True if one of them ends there; such are not added. */
static bool narrow(struct walk *walk, size_t depth, const struct path_step *step) {
    const struct path_ranges *from = &walk->levels[depth];
    struct path_ranges *next = &walk->levels[depth + 1];
    bool is_end = false;
    for (size_t i = 0; i < from->count; i++) {
        struct path_range range = from->items[i];
        range.first = find_bound(walk, range, depth, step, false);
        range.end = find_bound(walk, range, depth, step, true);
        while (range.first < range.end && walk->paths[range.first].count == depth + 1) {
            is_end = true;
            range.first++;
        }
        if (range.first < range.end)
            next->items[next->count++] = range;
    }
    return is_end;
}

static bool leads_into_object(const struct walk *walk, size_t depth) {
    const struct path_ranges *ranges = &walk->levels[depth];
    bool does = false;
    for (size_t i = 0; i < ranges->count && !does; i++)
        does = walk->paths[ranges->items[i].first].steps[depth].kind == PATH_STEP_KEY;
    return does;
}

static bool leads_into_array(const struct walk *walk, size_t depth) {
    const struct path_ranges *ranges = &walk->levels[depth];
    bool does = false;
    for (size_t i = 0; i < ranges->count && !does; i++)
        does = walk->paths[ranges->items[i].end - 1].steps[depth].kind != PATH_STEP_KEY;
    return does;
}

/* ---- Writing --------------------------------------------------------------------------------- */

static enum status write_value(struct walk *walk, struct json_text value, size_t depth);

static enum status write_object(struct walk *walk, struct json_text value, size_t depth) {
    struct json_members members;
    enum status status = json_members_of_object(value, walk->arena, &members, walk->error);
    if (status != STATUS_OK)
        return status;
    json_write_open(walk->writer, '{');
    for (size_t i = 0; status == STATUS_OK && i < members.count; i++) {
        const struct json_member *member = &members.items[i];
        const struct path_step step = {
            .kind = PATH_STEP_KEY, .key = member->key.text, .key_length = member->key.length};
        if (!begin_next(walk, depth))
            return no_memory(walk);
        if (narrow(walk, depth, &step))
            continue;
        json_write_raw_key(walk->writer, member->key_text.text, member->key_text.length);
        status = write_value(walk, member->value, depth + 1);
    }
    json_write_close(walk->writer, '}');
    return status;
}

static enum status write_array(struct walk *walk, struct json_text value, size_t depth) {
    const struct path_step all = {.kind = PATH_STEP_ALL};
    struct json_members items;
    enum status status = json_members_of_array(value, walk->arena, &items, walk->error);
    if (status != STATUS_OK)
        return status;
    json_write_open(walk->writer, '[');
    for (size_t i = 0; status == STATUS_OK && i < items.count; i++) {
        const struct path_step step = {.kind = PATH_STEP_INDEX, .index = (uint32_t)i};
        if (!begin_next(walk, depth))
            return no_memory(walk);
        if (narrow(walk, depth, &all))
            break;
        (void)narrow(walk, depth, &step); /* one that ends there does nothing */
        status = write_value(walk, items.items[i].value, depth + 1);
    }
    json_write_close(walk->writer, ']');
    return status;
}

/* Recursion is bounded by PAYLOAD_PATH_STEPS_MAX: each level uses up a step of each path. */
static enum status write_value(struct walk *walk, struct json_text value, size_t depth) {
    if (json_members_is_object(value) && leads_into_object(walk, depth))
        return write_object(walk, value, depth);
    if (json_members_is_array(value) && leads_into_array(walk, depth))
        return write_array(walk, value, depth);
    json_write_raw(walk->writer, value.text, value.length);
    return STATUS_OK;
}

enum status payload_delete_apply(const struct payload_path *paths, size_t count,
                                 struct json_text payload, struct arena *arena,
                                 struct json_text *result, struct error *error) {
    struct json_writer writer;
    struct path_range all = {0, count};
    struct walk walk = {.paths = paths, .arena = arena, .writer = &writer, .error = error};
    walk.levels[0] = (struct path_ranges){.items = &all, .count = count > 0, .capacity = 1};
    json_writer_init(&writer, arena);
    enum status status = write_value(&walk, payload, 0);
    if (status == STATUS_OK && json_writer_finish(&writer) != STATUS_OK)
        status = no_memory(&walk);
    *result = (struct json_text){writer.text, writer.length};
    return status;
}
