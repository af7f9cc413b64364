#include "api/payload_edit.h"

#include "api/json_members.h"
#include "api/json_writer.h"
#include "api/payload_delete.h"

#include <stdlib.h>
#include <string.h>

/* One walk over one payload. */
struct walk {
    const struct payload_path *path;
    struct json_text patch; /* SET */
    struct arena *arena;
    struct json_writer *writer;
    struct error *error;
};

static const struct json_text empty_object = {"{}", 2};

static void write_value(struct json_writer *writer, struct json_text value) {
    json_write_raw(writer, value.text, value.length);
}

static void write_member_key(struct json_writer *writer, const struct json_member *member) {
    json_write_raw_key(writer, member->key_text.text, member->key_text.length);
}

static int compare_texts(struct json_text a, struct json_text b) {
    size_t shorter = a.length < b.length ? a.length : b.length;
    int order = shorter > 0 ? memcmp(a.text, b.text, shorter) : 0;
    if (order != 0)
        return order;
    return (a.length > b.length) - (a.length < b.length);
}

static bool is_key(const struct json_member *member, const struct path_step *step) {
    const struct json_text key = {step->key, step->key_length};
    return compare_texts(member->key, key) == 0;
}

/* ---- Merging --------------------------------------------------------------------------------- */

/* A member of the patch, in the order of keys, so that each key of a payload finds it quickly. */
struct patch_member {
    struct json_member *member;
    bool is_written;
};

static int by_key_then_place(const void *a, const void *b) {
    const struct patch_member *left = a, *right = b;
    int order = compare_texts(left->member->key, right->member->key);
    if (order != 0)
        return order;
    return (left->member > right->member) - (left->member < right->member);
}

static int by_key(const void *key, const void *row) {
    const struct json_text *text = key;
    const struct patch_member *member = row;
    return compare_texts(*text, member->member->key);
}

/* Sorts the members of a patch; of equal keys the last one stays. */
static struct patch_member *sort_patch(struct json_members *patch, struct arena *arena,
                                       size_t *count) {
    struct patch_member *sorted = arena_alloc(arena, (patch->count + 1) * sizeof(*sorted));
    *count = 0;
    if (!sorted)
        return NULL;
    for (size_t i = 0; i < patch->count; i++)
        sorted[i] = (struct patch_member){.member = &patch->items[i]};
    qsort(sorted, patch->count, sizeof(*sorted), by_key_then_place);
    for (size_t i = 0; i < patch->count; i++) {
        bool is_last = i + 1 == patch->count ||
                       compare_texts(sorted[i].member->key, sorted[i + 1].member->key) != 0;
        if (is_last)
            sorted[(*count)++] = sorted[i];
    }
    return sorted;
}

/* Members keep their places; what is new follows in the order of the patch. */
static enum status write_merged(const struct walk *walk, struct json_text object) {
    struct json_members members, patch;
    size_t count;
    enum status status = json_members_of_object(object, walk->arena, &members, walk->error);
    if (status == STATUS_OK)
        status = json_members_of_object(walk->patch, walk->arena, &patch, walk->error);
    if (status != STATUS_OK)
        return status;
    struct patch_member *sorted = sort_patch(&patch, walk->arena, &count);
    if (!sorted)
        return error_set(walk->error, STATUS_NO_MEMORY, "out of memory");
    json_write_open(walk->writer, '{');
    for (size_t i = 0; i < members.count; i++) {
        struct patch_member *found =
            bsearch(&members.items[i].key, sorted, count, sizeof(*sorted), by_key);
        bool removed = found && (found->is_written || json_members_is_null(found->member->value));
        if (removed)
            continue;
        write_member_key(walk->writer, &members.items[i]);
        write_value(walk->writer, found ? found->member->value : members.items[i].value);
        if (found)
            found->is_written = true;
    }
    for (size_t i = 0; i < patch.count; i++) {
        const struct json_member *member = &patch.items[i];
        struct patch_member *row = bsearch(&member->key, sorted, count, sizeof(*sorted), by_key);
        if (row->is_written || row->member != member || json_members_is_null(member->value))
            continue;
        write_member_key(walk->writer, member);
        write_value(walk->writer, member->value);
    }
    json_write_close(walk->writer, '}');
    return STATUS_OK;
}

/* ---- Setting at a path ----------------------------------------------------------------------- */

static enum status write_set(const struct walk *walk, struct json_text value, size_t at);

/* Objects on the way are made where there are none. */
static enum status write_set_key(const struct walk *walk, struct json_text value, size_t at) {
    const struct path_step *step = &walk->path->steps[at];
    struct json_members members;
    enum status status = json_members_of_object(
        json_members_is_object(value) ? value : empty_object, walk->arena, &members, walk->error);
    if (status != STATUS_OK)
        return status;
    const struct json_text key = {step->key, step->key_length};
    const struct json_member *found = json_members_find(&members, key);
    json_write_open(walk->writer, '{');
    for (size_t i = 0; status == STATUS_OK && i < members.count; i++) {
        const struct json_member *member = &members.items[i];
        if (member != found && found && is_key(member, step))
            continue; /* a repeated key: only the last one counted */
        write_member_key(walk->writer, member);
        if (member == found)
            status = write_set(walk, member->value, at + 1);
        else
            write_value(walk->writer, member->value);
    }
    if (status == STATUS_OK && !found) {
        json_write_bytes_key(walk->writer, key.text, key.length);
        status = write_set(walk, empty_object, at + 1);
    }
    json_write_close(walk->writer, '}');
    return status;
}

/* Elements of an array are changed, never added. */
static enum status write_set_elements(const struct walk *walk, struct json_text value, size_t at) {
    const struct path_step *step = &walk->path->steps[at];
    struct json_members items = {0};
    enum status status = STATUS_OK;
    if (json_members_is_array(value))
        status = json_members_of_array(value, walk->arena, &items, walk->error);
    json_write_open(walk->writer, '[');
    for (size_t i = 0; status == STATUS_OK && i < items.count; i++) {
        if (step->kind == PATH_STEP_ALL || step->index == i)
            status = write_set(walk, items.items[i].value, at + 1);
        else
            write_value(walk->writer, items.items[i].value);
    }
    json_write_close(walk->writer, ']');
    return status;
}

/* Recursion is bounded by PAYLOAD_PATH_STEPS_MAX. */
static enum status write_set(const struct walk *walk, struct json_text value, size_t at) {
    if (at == walk->path->count)
        return write_merged(walk, json_members_is_object(value) ? value : empty_object);
    if (walk->path->steps[at].kind == PATH_STEP_KEY)
        return write_set_key(walk, value, at);
    return write_set_elements(walk, value, at);
}

/* ---- Edits ----------------------------------------------------------------------------------- */

typedef enum status walk_fn(const struct walk *walk, struct json_text value);

static enum status merge_all(const struct walk *walk, struct json_text value) {
    return write_merged(walk, value);
}

static enum status set_at_path(const struct walk *walk, struct json_text value) {
    return write_set(walk, value, 0);
}

static enum status run_walk(const struct walk *walk, walk_fn *step, struct json_text value,
                            struct json_text *result) {
    struct json_writer writer;
    struct walk writing = *walk;
    json_writer_init(&writer, walk->arena);
    writing.writer = &writer;
    enum status status = step(&writing, value);
    if (status == STATUS_OK && json_writer_finish(&writer) != STATUS_OK)
        status = error_set(walk->error, STATUS_NO_MEMORY, "out of memory");
    *result = (struct json_text){writer.text, writer.length};
    return status;
}

enum status payload_edit_merge(struct json_text object, struct json_text patch, struct arena *arena,
                               struct json_text *merged, struct error *error) {
    const struct walk walk = {.patch = patch, .arena = arena, .error = error};
    return run_walk(&walk, merge_all, object, merged);
}

/* Setting inside a path can nest deeper than any request: what is stored must stay readable. */
static enum status check_depth(struct json_text value, struct arena *arena, struct error *error) {
    struct json_reader reader;
    struct json_text text;
    json_reader_init(&reader, value.text, value.length, arena, error);
    enum status status = json_read_raw(&reader, &text.text, &text.length);
    if (status == STATUS_FORMAT)
        return error_set(error, STATUS_INVALID, "the payload would be nested deeper than %d",
                         JSON_DEPTH_MAX);
    return status;
}

enum status payload_edit_apply(const struct operation *operation, const char *payload,
                               size_t payload_length, struct arena *arena, const char **edited,
                               size_t *edited_length, struct error *error) {
    const struct payload_edit *edit = operation->edit_context;
    struct walk walk = {
        .path = &edit->key, .patch = edit->document, .arena = arena, .error = error};
    struct json_text value = payload ? (struct json_text){payload, payload_length} : empty_object;
    enum status status = STATUS_OK;
    switch (edit->kind) {
    case PAYLOAD_EDIT_SET:
        status = run_walk(&walk, edit->has_key ? set_at_path : merge_all, value, &value);
        if (status == STATUS_OK && edit->has_key)
            status = check_depth(value, arena, error);
        break;
    case PAYLOAD_EDIT_OVERWRITE:
        value = edit->document;
        break;
    case PAYLOAD_EDIT_DELETE:
        status = payload_delete_apply(edit->paths, edit->paths_count, value, arena, &value, error);
        break;
    case PAYLOAD_EDIT_CLEAR:
        value = (struct json_text){0};
        break;
    }
    *edited = value.text;
    *edited_length = value.length;
    return status;
}
