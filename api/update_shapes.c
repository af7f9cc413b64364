#include "api/update_shapes.h"

#include "api/filter_json.h"
#include "api/payload_delete.h"
#include "api/payload_edit.h"
#include "api/point_json.h"
#include "api/update_columns.h"

#include <string.h>

/* ---- Shapes ---------------------------------------------------------------------------------- */

struct upsert_request {
    struct point_input *points;
    size_t points_count;
    struct upsert_columns *batch;
    const struct filter *update_filter;
    const char *update_mode;
};

static const struct json_field upsert_fields[] = {
    {JSON_LIST(struct upsert_request, points, point_json_point_shape)},
    {JSON_OBJECT(struct upsert_request, batch, update_columns_shape)},
    {JSON_CUSTOM(struct upsert_request, update_filter, filter_json)},
    {JSON_MEMBER(struct upsert_request, update_mode)},
    {JSON_CUSTOM_WHOLE("shard_key", point_json_shard_key)},
};
const struct json_shape update_upsert_shape =
    JSON_SHAPE("PointInsertOperations", struct upsert_request, upsert_fields, .defaults = NULL);

struct selector_request {
    struct point_id *points;
    size_t points_count;
    const struct filter *filter;
};

static const struct json_field selector_fields[] = {
    {JSON_LIST_OF(struct selector_request, points, point_json_id)},
    {JSON_CUSTOM(struct selector_request, filter, filter_json)},
    {JSON_CUSTOM_WHOLE("shard_key", point_json_shard_key)},
};
const struct json_shape update_selector_shape =
    JSON_SHAPE("PointsSelector", struct selector_request, selector_fields, .defaults = NULL);

struct payload_request {
    struct selector_request selector;
    struct raw_json payload;
    const char *key;
};

/* The rows of a selector that is a member of a larger request. */
#define SELECTOR_ROWS(type)                                                                    \
    {.name = "points",                                                                         \
     .kind = JSON_KIND_LIST,                                                                   \
     .offset = offsetof(type, selector.points),                                                \
     .count_offset = offsetof(type, selector.points_count),                                    \
     .item_size = sizeof(struct point_id),                                                     \
     .custom = &point_json_id},                                                                \
    {                                                                                          \
        .name = "filter", .kind = JSON_KIND_CUSTOM, .offset = offsetof(type, selector.filter), \
        .custom = &filter_json                                                                 \
    }

static const struct json_field payload_fields[] = {
    {JSON_CUSTOM(struct payload_request, payload, point_json_payload), .required = true},
    SELECTOR_ROWS(struct payload_request),
    {JSON_MEMBER(struct payload_request, key)},
    {JSON_CUSTOM_WHOLE("shard_key", point_json_shard_key)},
};
const struct json_shape update_payload_shape =
    JSON_SHAPE("SetPayload", struct payload_request, payload_fields, .defaults = NULL);

struct payload_keys_request {
    struct selector_request selector;
    const char **keys;
    size_t keys_count;
};

static const struct json_field payload_keys_fields[] = {
    {JSON_LIST_OF(struct payload_keys_request, keys, json_shape_string), .required = true,
     .max = PAYLOAD_SELECT_PATHS_MAX},
    SELECTOR_ROWS(struct payload_keys_request),
    {JSON_CUSTOM_WHOLE("shard_key", point_json_shard_key)},
};
const struct json_shape update_payload_keys_shape =
    JSON_SHAPE("DeletePayload", struct payload_keys_request, payload_keys_fields, .defaults = NULL);

struct vectors_request {
    struct point_input *points;
    size_t points_count;
    const struct filter *update_filter;
};

static const struct json_field vectors_fields[] = {
    {JSON_LIST(struct vectors_request, points, point_json_point_vectors_shape), .required = true},
    {JSON_CUSTOM(struct vectors_request, update_filter, filter_json)},
    {JSON_CUSTOM_WHOLE("shard_key", point_json_shard_key)},
};
const struct json_shape update_vectors_shape =
    JSON_SHAPE("UpdateVectors", struct vectors_request, vectors_fields, .defaults = NULL);

struct vector_names_request {
    struct selector_request selector;
    const char **vector;
    size_t vector_count;
};

static const struct json_field vector_names_fields[] = {
    {JSON_LIST_OF(struct vector_names_request, vector, json_shape_string), .required = true,
     .min = 1, .max = COLLECTION_VECTORS_MAX},
    SELECTOR_ROWS(struct vector_names_request),
    {JSON_CUSTOM_WHOLE("shard_key", point_json_shard_key)},
};
const struct json_shape update_vector_names_shape =
    JSON_SHAPE("DeleteVectors", struct vector_names_request, vector_names_fields, .defaults = NULL);

/* ---- Operations ------------------------------------------------------------------------------ */

static enum status no_memory(struct error *error) {
    return error_set(error, STATUS_NO_MEMORY, "out of memory");
}

static enum status empty_request(struct error *error) {
    return error_set(error, STATUS_BAD_REQUEST, "Empty update request");
}

/* Ids win where both are given. */
static enum status build_selector(const struct selector_request *request,
                                  struct point_selector *selector, struct error *error) {
    if (!request->points && !request->filter)
        return error_set(error, STATUS_FORMAT,
                         "Either list of point ids or filter must be provided");
    if (request->points && request->points_count == 0)
        return empty_request(error);
    *selector = request->points ? (struct point_selector){.ids = request->points,
                                                          .ids_count = request->points_count}
                                : (struct point_selector){.filter = request->filter};
    return STATUS_OK;
}

static enum status read_mode(const char *text, enum upsert_mode *mode, struct error *error) {
    static const char *const names[] = {[UPSERT_MODE_UPSERT] = "upsert",
                                        [UPSERT_MODE_INSERT_ONLY] = "insert_only",
                                        [UPSERT_MODE_UPDATE_ONLY] = "update_only"};
    *mode = UPSERT_MODE_UPSERT;
    for (size_t i = 0; text && i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], text) == 0) {
            *mode = (enum upsert_mode)i;
            return STATUS_OK;
        }
    }
    if (text)
        return error_set(error, STATUS_FORMAT,
                         "update_mode: unknown variant `%.64s`, expected one of `upsert`, "
                         "`insert_only`, `update_only`",
                         text);
    return STATUS_OK;
}

static enum status build_upsert(const void *body, struct arena *arena, struct operation *operation,
                                struct error *error) {
    const struct upsert_request *request = body;
    struct point_input *points = request->points;
    size_t count = request->points_count;
    *operation =
        (struct operation){.kind = OPERATION_UPSERT, .update_filter = request->update_filter};
    enum status status = read_mode(request->update_mode, &operation->mode, error);
    if (status != STATUS_OK)
        return status;
    if (!request->points == !request->batch)
        return error_set(error, STATUS_FORMAT, "expected either `points` or `batch`");
    if (request->batch)
        status = update_columns_points(request->batch, arena, &points, &count, error);
    if (status != STATUS_OK)
        return status;
    operation->points = points;
    operation->points_count = count;
    return count > 0 ? STATUS_OK : empty_request(error);
}

static enum status build_delete(const void *body, struct arena *arena, struct operation *operation,
                                struct error *error) {
    (void)arena;
    *operation = (struct operation){.kind = OPERATION_DELETE};
    return build_selector(body, &operation->selector, error);
}

/* Begins an edit of payloads. NULL when the arena is full. */
static struct payload_edit *new_edit(enum payload_edit_kind kind, struct arena *arena,
                                     struct operation *operation) {
    struct payload_edit *edit = arena_alloc(arena, sizeof(*edit));
    if (edit)
        *edit = (struct payload_edit){.kind = kind};
    *operation = (struct operation){
        .kind = OPERATION_EDIT_PAYLOAD, .edit = payload_edit_apply, .edit_context = edit};
    return edit;
}

static enum status parse_path(const char *text, struct arena *arena, struct payload_path *path,
                              struct error *error) {
    enum status status = payload_path_parse(text, strlen(text), arena, path, error);
    if (status != STATUS_INVALID)
        return status;
    char reason[256];
    memcpy(reason, error->message, sizeof(reason) - 1);
    reason[sizeof(reason) - 1] = '\0';
    return error_set(error, STATUS_FORMAT, "Invalid json path: \'%.128s\': %s", text, reason);
}

static enum status build_payload(const struct payload_request *request, enum payload_edit_kind kind,
                                 struct arena *arena, struct operation *operation,
                                 struct error *error) {
    struct payload_edit *edit = new_edit(kind, arena, operation);
    if (!edit)
        return no_memory(error);
    edit->document = (struct json_text){request->payload.text, request->payload.length};
    edit->has_key = request->key != NULL;
    enum status status = build_selector(&request->selector, &operation->selector, error);
    if (status == STATUS_OK && request->key)
        status = parse_path(request->key, arena, &edit->key, error);
    return status;
}

static enum status build_set_payload(const void *body, struct arena *arena,
                                     struct operation *operation, struct error *error) {
    return build_payload(body, PAYLOAD_EDIT_SET, arena, operation, error);
}

static enum status build_overwrite_payload(const void *body, struct arena *arena,
                                           struct operation *operation, struct error *error) {
    return build_payload(body, PAYLOAD_EDIT_OVERWRITE, arena, operation, error);
}

static enum status build_delete_payload(const void *body, struct arena *arena,
                                        struct operation *operation, struct error *error) {
    const struct payload_keys_request *request = body;
    struct payload_edit *edit = new_edit(PAYLOAD_EDIT_DELETE, arena, operation);
    struct payload_path *paths = arena_alloc(arena, (request->keys_count + 1) * sizeof(*paths));
    if (!edit || !paths)
        return no_memory(error);
    edit->paths = paths;
    edit->paths_count = request->keys_count;
    enum status status = build_selector(&request->selector, &operation->selector, error);
    for (size_t i = 0; status == STATUS_OK && i < request->keys_count; i++)
        status = parse_path(request->keys[i], arena, &paths[i], error);
    if (status == STATUS_OK)
        payload_delete_order(paths, request->keys_count);
    return status;
}

static enum status build_clear_payload(const void *body, struct arena *arena,
                                       struct operation *operation, struct error *error) {
    if (!new_edit(PAYLOAD_EDIT_CLEAR, arena, operation))
        return no_memory(error);
    return build_selector(body, &operation->selector, error);
}

static enum status build_update_vectors(const void *body, struct arena *arena,
                                        struct operation *operation, struct error *error) {
    const struct vectors_request *request = body;
    (void)arena;
    if (request->points_count == 0)
        return empty_request(error);
    for (size_t i = 0; i < request->points_count; i++) {
        if (request->points[i].vectors_count == 0)
            return error_set(error, STATUS_VALIDATION,
                             "points[%zu].vector: must specify vectors to update for point", i);
    }
    *operation = (struct operation){
        .kind = OPERATION_UPDATE_VECTORS,
        .points = request->points,
        .points_count = request->points_count,
        .update_filter = request->update_filter,
    };
    return STATUS_OK;
}

static enum status build_delete_vectors(const void *body, struct arena *arena,
                                        struct operation *operation, struct error *error) {
    const struct vector_names_request *request = body;
    (void)arena;
    *operation = (struct operation){
        .kind = OPERATION_DELETE_VECTORS,
        .vector_names = request->vector,
        .vector_names_count = request->vector_count,
    };
    return build_selector(&request->selector, &operation->selector, error);
}

const struct update_row update_rows[UPDATE_KIND_COUNT] = {
    [UPDATE_UPSERT] = {"upsert", &update_upsert_shape, build_upsert},
    [UPDATE_DELETE] = {"delete", &update_selector_shape, build_delete},
    [UPDATE_SET_PAYLOAD] = {"set_payload", &update_payload_shape, build_set_payload},
    [UPDATE_OVERWRITE_PAYLOAD] = {"overwrite_payload", &update_payload_shape,
                                  build_overwrite_payload},
    [UPDATE_DELETE_PAYLOAD] = {"delete_payload", &update_payload_keys_shape, build_delete_payload},
    [UPDATE_CLEAR_PAYLOAD] = {"clear_payload", &update_selector_shape, build_clear_payload},
    [UPDATE_UPDATE_VECTORS] = {"update_vectors", &update_vectors_shape, build_update_vectors},
    [UPDATE_DELETE_VECTORS] = {"delete_vectors", &update_vector_names_shape, build_delete_vectors},
};

/* ---- points/batch ---------------------------------------------------------------------------- */

static enum status read_item(struct json_reader *reader, struct json_text key,
                             struct batch_item *item) {
    for (size_t i = 0; i < UPDATE_KIND_COUNT; i++) {
        const struct update_row *row = &update_rows[i];
        if (!json_text_is(key, row->name))
            continue;
        void *request = arena_alloc(reader->arena, row->shape->size);
        if (!request)
            return json_reader_no_memory(reader);
        *item = (struct batch_item){(enum update_kind)i, request};
        return json_shape_read(reader, row->shape, request);
    }
    return json_reader_fail(reader, "unknown operation `%.*s`",
                            key.length < 64 ? (int)key.length : 64, key.text);
}

/* {"upsert": {...}}: exactly one member, whose name is the operation's. */
static enum status item_read(struct json_reader *reader, void *member) {
    struct batch_item *item = member;
    struct json_text key;
    bool more;
    enum status status = json_open_object(reader);
    while (status == STATUS_OK && (status = json_next_key(reader, &key, &more)) == STATUS_OK &&
           more) {
        if (json_reader_peek(reader) == JSON_TYPE_NULL) {
            status = json_read_null(reader);
            continue;
        }
        if (item->request)
            return json_reader_fail(reader, "expected only one operation an object");
        status = read_item(reader, key, item);
    }
    if (status == STATUS_OK && !item->request)
        return json_reader_fail(reader, "expected an operation, such as `upsert`");
    return status;
}

static const struct json_custom item_json = {
    .name = "UpdateOperation",
    .read = item_read,
    .schema = "{\"type\":\"object\",\"minProperties\":1,\"maxProperties\":1,\"properties\":{"
              "\"upsert\":{\"$ref\":\"#/components/schemas/PointInsertOperations\"},"
              "\"delete\":{\"$ref\":\"#/components/schemas/PointsSelector\"},"
              "\"set_payload\":{\"$ref\":\"#/components/schemas/SetPayload\"},"
              "\"overwrite_payload\":{\"$ref\":\"#/components/schemas/SetPayload\"},"
              "\"delete_payload\":{\"$ref\":\"#/components/schemas/DeletePayload\"},"
              "\"clear_payload\":{\"$ref\":\"#/components/schemas/PointsSelector\"},"
              "\"update_vectors\":{\"$ref\":\"#/components/schemas/UpdateVectors\"},"
              "\"delete_vectors\":{\"$ref\":\"#/components/schemas/DeleteVectors\"}}}",
};

static const struct json_field batch_fields[] = {
    {JSON_LIST_OF(struct batch_request, operations, item_json), .required = true,
     .max = UPDATE_OPERATIONS_MAX},
};
const struct json_shape update_batch_shape =
    JSON_SHAPE("UpdateOperations", struct batch_request, batch_fields, .defaults = NULL);
