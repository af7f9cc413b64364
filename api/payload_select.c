#include "api/payload_select.h"

#include "api/json_members.h"
#include "api/json_writer.h"

#include <assert.h>
#include <string.h>

/* ---- Reading --------------------------------------------------------------------------------- */

static enum status path_read(struct json_reader *reader, void *member) {
    struct json_text text;
    struct error reason;
    enum status status = json_read_text(reader, &text);
    if (status != STATUS_OK)
        return status;
    status = payload_path_parse(text.text, text.length, reader->arena, member, &reason);
    if (status == STATUS_INVALID)
        return json_reader_fail(reader, "%.200s", reason.message);
    return status == STATUS_OK ? status : json_reader_no_memory(reader);
}

static const struct json_custom path_json = {
    .read = path_read,
    .schema = "{\"type\":\"string\"}",
};

struct include_object {
    struct payload_path *include;
    size_t include_count;
    struct payload_path *exclude;
    size_t exclude_count;
};

static const struct json_field include_fields[] = {
    {JSON_LIST_OF(struct include_object, include, path_json), .max = PAYLOAD_SELECT_PATHS_MAX},
    {JSON_LIST_OF(struct include_object, exclude, path_json), .max = PAYLOAD_SELECT_PATHS_MAX},
};
static const struct json_shape include_shape =
    JSON_SHAPE("PayloadSelector", struct include_object, include_fields, .is_strict = true);

static enum status read_object(struct json_reader *reader, struct payload_select *select) {
    struct include_object object;
    enum status status = json_shape_read(reader, &include_shape, &object);
    if (status != STATUS_OK)
        return status;
    if (!object.include == !object.exclude)
        return json_reader_fail(reader, "expected either `include` or `exclude`");
    *select =
        object.include
            ? (struct payload_select){PAYLOAD_SELECT_INCLUDE, object.include, object.include_count}
            : (struct payload_select){PAYLOAD_SELECT_EXCLUDE, object.exclude, object.exclude_count};
    return STATUS_OK;
}

static enum status read_list(struct json_reader *reader, struct payload_select *select) {
    struct payload_path *paths = NULL;
    size_t count = 0, capacity = 0;
    bool more;
    enum status status = json_open_array(reader);
    while (status == STATUS_OK && (status = json_next_item(reader, &more)) == STATUS_OK && more) {
        if (count == PAYLOAD_SELECT_PATHS_MAX)
            return json_reader_fail(reader, "more than %d paths", PAYLOAD_SELECT_PATHS_MAX);
        if (count == capacity) {
            size_t grown = capacity > 0 ? capacity * 2 : 8;
            struct payload_path *memory =
                arena_grow(reader->arena, paths, capacity * sizeof(*paths), grown * sizeof(*paths));
            if (!memory)
                return json_reader_no_memory(reader);
            paths = memory;
            capacity = grown;
        }
        status = path_read(reader, &paths[count++]);
    }
    *select = (struct payload_select){PAYLOAD_SELECT_INCLUDE, paths, count};
    return status;
}

static enum status select_read(struct json_reader *reader, void *member) {
    struct payload_select *select = member;
    bool is_shown;
    enum status status;
    switch (json_reader_peek(reader)) {
    case JSON_TYPE_BOOL:
        status = json_read_bool(reader, &is_shown);
        select->kind = is_shown ? PAYLOAD_SELECT_ALL : PAYLOAD_SELECT_NONE;
        return status;
    case JSON_TYPE_ARRAY:
        return read_list(reader, select);
    case JSON_TYPE_OBJECT:
        return read_object(reader, select);
    default:
        return json_reader_fail(reader, "expected a boolean, a list of keys, or an object with "
                                        "`include` or `exclude`");
    }
}

const struct json_custom payload_select_json = {
    .name = "WithPayload",
    .read = select_read,
    .schema = "{\"nullable\":true,\"oneOf\":[{\"type\":\"boolean\"},"
              "{\"type\":\"array\",\"items\":{\"type\":\"string\"}},"
              "{\"type\":\"object\",\"properties\":{\"include\":{\"type\":\"array\",\"items\":"
              "{\"type\":\"string\"}},\"exclude\":{\"type\":\"array\",\"items\":"
              "{\"type\":\"string\"}}},\"additionalProperties\":false}]}",
};

/* ---- Writing --------------------------------------------------------------------------------- */

struct walk {
    bool is_include;
    struct arena *arena;
    struct json_writer *writer;
    struct error *error;
};

/* The paths that lead to the value at hand; each agrees with the way so far in `depth` steps. */
struct candidates {
    const struct payload_path **paths;
    size_t count;
    size_t depth;
    bool any_ends; /* one of them leads no further: it selects the whole value */
};

static bool leads_to(const struct path_step *step, const struct json_text *key) {
    if (!key)
        return step->kind == PATH_STEP_ALL;
    return step->kind == PATH_STEP_KEY && step->key_length == key->length &&
           memcmp(step->key, key->text, key->length) == 0;
}

/* Narrows to those that lead on to a member (key) or to all elements (NULL). */
static void narrow(const struct candidates *from, const struct json_text *key,
                   struct candidates *to) {
    to->count = 0;
    to->depth = from->depth + 1;
    to->any_ends = false;
    for (size_t i = 0; i < from->count; i++) {
        if (!leads_to(&from->paths[i]->steps[from->depth], key))
            continue;
        to->paths[to->count++] = from->paths[i];
        to->any_ends = to->any_ends || from->paths[i]->count == to->depth;
    }
}

static enum status write_part(const struct walk *walk, const struct candidates *candidates,
                              struct json_text value);

static enum status write_object(const struct walk *walk, const struct candidates *candidates,
                                struct candidates *next, struct json_text value) {
    struct json_members members;
    enum status status = json_members_of_object(value, walk->arena, &members, walk->error);
    if (status != STATUS_OK)
        return status;
    json_write_open(walk->writer, '{');
    for (size_t i = 0; status == STATUS_OK && i < members.count; i++) {
        const struct json_member *member = &members.items[i];
        narrow(candidates, &member->key, next);
        bool is_whole = walk->is_include ? next->any_ends : next->count == 0;
        bool is_left_out = walk->is_include ? next->count == 0 : next->any_ends;
        if (is_left_out)
            continue;
        json_write_raw_key(walk->writer, member->key_text.text, member->key_text.length);
        if (is_whole)
            json_write_raw(walk->writer, member->value.text, member->value.length);
        else
            status = write_part(walk, next, member->value);
    }
    json_write_close(walk->writer, '}');
    return status;
}

static enum status write_array(const struct walk *walk, const struct candidates *candidates,
                               struct candidates *next, struct json_text value) {
    struct json_members items;
    narrow(candidates, NULL, next);
    bool is_whole = walk->is_include ? next->any_ends : next->count == 0;
    bool is_empty = walk->is_include ? next->count == 0 : next->any_ends;
    if (is_empty) {
        json_write_raw(walk->writer, "[]", 2);
        return STATUS_OK;
    }
    if (is_whole) {
        json_write_raw(walk->writer, value.text, value.length);
        return STATUS_OK;
    }
    enum status status = json_members_of_array(value, walk->arena, &items, walk->error);
    if (status != STATUS_OK)
        return status;
    json_write_open(walk->writer, '[');
    for (size_t i = 0; status == STATUS_OK && i < items.count; i++)
        status = write_part(walk, next, items.items[i].value);
    json_write_close(walk->writer, ']');
    return status;
}

/* Recursion is bounded by PAYLOAD_PATH_STEPS_MAX: each level uses up a step of each candidate. */
static enum status write_part(const struct walk *walk, const struct candidates *candidates,
                              struct json_text value) {
    struct candidates next = {0};
    if (!json_members_is_object(value) && !json_members_is_array(value)) {
        json_write_raw(walk->writer, value.text, value.length);
        return STATUS_OK;
    }
    next.paths = arena_alloc(walk->arena, (candidates->count + 1) * sizeof(*next.paths));
    if (!next.paths)
        return error_set(walk->error, STATUS_NO_MEMORY, "out of memory");
    return json_members_is_object(value) ? write_object(walk, candidates, &next, value)
                                         : write_array(walk, candidates, &next, value);
}

enum status payload_select_write(const struct payload_select *select, struct json_text payload,
                                 struct arena *arena, struct json_writer *writer,
                                 struct error *error) {
    assert(select->kind != PAYLOAD_SELECT_NONE);
    if (select->kind == PAYLOAD_SELECT_ALL) {
        json_write_raw(writer, payload.text, payload.length);
        return STATUS_OK;
    }
    const struct walk walk = {select->kind == PAYLOAD_SELECT_INCLUDE, arena, writer, error};
    struct candidates all = {.count = select->count};
    all.paths = arena_alloc(arena, (select->count + 1) * sizeof(*all.paths));
    if (!all.paths)
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < select->count; i++)
        all.paths[i] = &select->paths[i];
    return write_part(&walk, &all, payload);
}
