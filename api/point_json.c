#include "api/point_json.h"

#include "api/json_writer.h"

#include <inttypes.h>
#include <string.h>

enum {
    VECTORS_CAPACITY_MIN = 1,
    VALUE_PRINTED_MAX = 64, /* bytes of a wrong value in a message */
};

/* ---- Ids ------------------------------------------------------------------------------------- */

static enum status id_fail(struct json_reader *reader, const char *text, size_t length) {
    return json_reader_fail(reader,
                            "value %.*s is not a valid point ID, valid values are either an "
                            "unsigned integer or a UUID (or another text of 1 to %d bytes)",
                            length < VALUE_PRINTED_MAX ? (int)length : VALUE_PRINTED_MAX, text,
                            POINT_ID_TEXT_MAX);
}

static enum status id_read(struct json_reader *reader, void *member) {
    struct point_id *id = member;
    struct json_text text;
    struct json_number number;
    enum status status;
    if (json_reader_peek(reader) == JSON_TYPE_STRING) {
        status = json_read_text(reader, &text);
        if (status != STATUS_OK || point_id_from_string(text.text, text.length, id))
            return status;
        return id_fail(reader, text.text, text.length);
    }
    status = json_read_raw(reader, &text.text, &text.length);
    if (status != STATUS_OK)
        return status;
    *id = (struct point_id){.kind = POINT_ID_NUMBER};
    if (!json_number_scan(text.text, text.text + text.length, &number) ||
        !json_number_to_u64(&number, text.text, text.length, &id->number))
        return id_fail(reader, text.text, text.length);
    return STATUS_OK;
}

const struct json_custom point_json_id = {
    .name = "PointId",
    .read = id_read,
    .schema = "{\"oneOf\":[{\"type\":\"integer\",\"format\":\"uint64\",\"minimum\":0},"
              "{\"type\":\"string\",\"minLength\":1,\"maxLength\":255}]}",
};

void point_json_write_id(struct json_writer *writer, const struct point_id *id) {
    char uuid[POINT_ID_UUID_TEXT];
    switch (id->kind) {
    case POINT_ID_NUMBER:
        json_write_u64(writer, id->number);
        return;
    case POINT_ID_UUID:
        point_id_uuid_text(id->uuid, uuid);
        json_write_bytes(writer, uuid, sizeof(uuid));
        return;
    case POINT_ID_TEXT:
        json_write_bytes(writer, id->text, id->text_length);
        return;
    }
}

/* ---- Vectors --------------------------------------------------------------------------------- */

static enum status vector_read(struct json_reader *reader, void *member) {
    struct floats *vector = member;
    enum json_type type = json_reader_peek(reader);
    if (type == JSON_TYPE_OBJECT)
        return json_reader_reject(reader, STATUS_BAD_REQUEST,
                                  "sparse vectors and inference are not supported by this version");
    if (type == JSON_TYPE_ARRAY) {
        enum json_type item = json_reader_peek_item(reader);
        if (item == JSON_TYPE_ARRAY)
            return json_reader_reject(reader, STATUS_BAD_REQUEST,
                                      "multivectors are not supported by this version");
    }
    enum status status =
        json_read_floats(reader, POINT_JSON_DIMENSION_MAX, &vector->values, &vector->count);
    if (status == STATUS_OK && vector->count == 0)
        return json_reader_reject(reader, STATUS_VALIDATION, "must not be empty");
    return status;
}

#define VECTOR_SCHEMA                                                               \
    "{\"oneOf\":[{\"type\":\"array\",\"minItems\":1,\"maxItems\":65536,\"items\":{" \
    "\"type\":\"number\",\"format\":\"float\"}},{\"type\":\"string\",\"format\":\"byte\"}]}"

const struct json_custom point_json_vector = {
    .name = "DenseVector",
    .read = vector_read,
    .schema = VECTOR_SCHEMA,
};

struct vector_list {
    struct named_vector *items;
    size_t count;
};

static enum status add_vector(struct json_reader *reader, struct vector_list *vectors,
                              size_t *capacity, const char *name) {
    struct floats values = {0};
    if (vectors->count == *capacity) {
        size_t grown = *capacity > 0 ? *capacity * 2 : VECTORS_CAPACITY_MIN;
        struct named_vector *items = arena_grow(reader->arena, vectors->items,
                                                *capacity * sizeof(*items), grown * sizeof(*items));
        if (!items)
            return json_reader_no_memory(reader);
        vectors->items = items;
        *capacity = grown;
    }
    enum status status = vector_read(reader, &values);
    vectors->items[vectors->count++] =
        (struct named_vector){.name = name, .values = values.values, .count = values.count};
    return status;
}

/* A map of vectors by name, or what looks like one: a sparse vector, a text to embed. */
static enum status read_named(struct json_reader *reader, struct vector_list *vectors) {
    struct json_text key;
    size_t capacity = 0;
    bool more;
    enum status status = json_open_object(reader);
    while (status == STATUS_OK && (status = json_next_key(reader, &key, &more)) == STATUS_OK &&
           more) {
        if (vectors->count == COLLECTION_VECTORS_MAX)
            return json_reader_fail(reader, "more than %d vectors", COLLECTION_VECTORS_MAX);
        if (memchr(key.text, '\0', key.length))
            return json_reader_fail(reader, "a name may not hold U+0000");
        for (size_t i = 0; i < vectors->count; i++) {
            if (json_text_is(key, vectors->items[i].name))
                return json_reader_fail(reader, "duplicate vector name");
        }
        const char *name = arena_text(reader->arena, key.text, key.length);
        if (!name)
            return json_reader_no_memory(reader);
        status = add_vector(reader, vectors, &capacity, name);
    }
    return status;
}

static enum status vectors_read(struct json_reader *reader, void *member) {
    struct point_input *point = member;
    struct vector_list vectors = {0};
    size_t capacity = 0;
    enum status status = json_reader_peek(reader) == JSON_TYPE_OBJECT
                             ? read_named(reader, &vectors)
                             : add_vector(reader, &vectors, &capacity, "");
    point->vectors = vectors.items;
    point->vectors_count = vectors.count;
    return status;
}

const struct json_custom point_json_vectors = {
    .name = "VectorStruct",
    .read = vectors_read,
    .schema = "{\"oneOf\":[{\"$ref\":\"#/components/schemas/DenseVector\"},{\"type\":\"object\","
              "\"additionalProperties\":{\"$ref\":\"#/components/schemas/DenseVector\"}}]}",
};

static enum status shard_key_read_one(struct json_reader *reader) {
    struct json_text text;
    uint64_t number;
    if (json_reader_peek(reader) == JSON_TYPE_STRING)
        return json_read_text(reader, &text);
    if (json_reader_peek(reader) == JSON_TYPE_NUMBER)
        return json_read_u64(reader, &number);
    return json_reader_fail(reader, "a shard key is a string or a whole number");
}

static enum status shard_key_read(struct json_reader *reader, void *member) {
    bool more;
    (void)member;
    if (json_reader_peek(reader) != JSON_TYPE_ARRAY)
        return shard_key_read_one(reader);
    enum status status = json_open_array(reader);
    while (status == STATUS_OK && (status = json_next_item(reader, &more)) == STATUS_OK && more)
        status = shard_key_read_one(reader);
    return status;
}

const struct json_custom point_json_shard_key = {
    .name = "ShardKeySelector",
    .read = shard_key_read,
    .schema =
        "{\"nullable\":true,\"anyOf\":[{\"type\":\"string\"},{\"type\":\"integer\",\"minimum\":0},"
        "{\"type\":\"array\",\"items\":{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"integer\"}]}}]"
        "}",
};

static enum status payload_read(struct json_reader *reader, void *member) {
    struct raw_json *payload = member;
    if (json_reader_peek(reader) != JSON_TYPE_OBJECT)
        return json_reader_fail(reader, "expected an object");
    return json_read_raw(reader, &payload->text, &payload->length);
}

const struct json_custom point_json_payload = {
    .name = "Payload",
    .read = payload_read,
    .schema = "{\"type\":\"object\",\"additionalProperties\":true,\"nullable\":true}",
};

/* Part of a struct point_input. */
static enum status point_payload_read(struct json_reader *reader, void *member) {
    struct point_input *point = member;
    struct raw_json payload = {0};
    enum status status = payload_read(reader, &payload);
    point->payload = payload.text;
    point->payload_length = payload.length;
    return status;
}

static const struct json_custom point_payload_json = {
    .read = point_payload_read,
    .schema = "{\"$ref\":\"#/components/schemas/Payload\"}",
};

/* ---- Points ---------------------------------------------------------------------------------- */

static const struct json_field point_fields[] = {
    {JSON_CUSTOM(struct point_input, id, point_json_id), .required = true},
    {JSON_CUSTOM_WHOLE("vector", point_json_vectors), .alias = "vectors", .required = true},
    {JSON_CUSTOM_WHOLE("payload", point_payload_json)},
};
const struct json_shape point_json_point_shape =
    JSON_SHAPE("PointStruct", struct point_input, point_fields, .defaults = NULL);

static const struct json_field point_vectors_fields[] = {
    {JSON_CUSTOM(struct point_input, id, point_json_id), .required = true},
    {JSON_CUSTOM_WHOLE("vector", point_json_vectors), .alias = "vectors", .required = true},
};
const struct json_shape point_json_point_vectors_shape =
    JSON_SHAPE("PointVectors", struct point_input, point_vectors_fields, .defaults = NULL);

/* ---- Views ----------------------------------------------------------------------------------- */

static enum status select_read(struct json_reader *reader, void *member) {
    struct vector_select *select = member;
    const char **names = NULL;
    size_t count = 0;
    bool more;
    *select = (struct vector_select){.all = false};
    if (json_reader_peek(reader) == JSON_TYPE_BOOL)
        return json_read_bool(reader, &select->all);
    if (json_reader_peek(reader) != JSON_TYPE_ARRAY)
        return json_reader_fail(reader, "expected a boolean or a list of names");
    names = arena_alloc(reader->arena, COLLECTION_VECTORS_MAX * sizeof(*names));
    if (!names)
        return json_reader_no_memory(reader);
    enum status status = json_open_array(reader);
    while (status == STATUS_OK && (status = json_next_item(reader, &more)) == STATUS_OK && more) {
        if (count == COLLECTION_VECTORS_MAX)
            return json_reader_fail(reader, "more than %d names", COLLECTION_VECTORS_MAX);
        status = json_read_string(reader, &names[count++]);
    }
    select->names = names;
    select->count = count;
    return status;
}

const struct json_custom point_json_vector_select = {
    .name = "WithVector",
    .read = select_read,
    .schema = "{\"nullable\":true,\"oneOf\":[{\"type\":\"boolean\"},{\"type\":\"array\","
              "\"items\":{\"type\":\"string\"}}]}",
};

enum status point_json_check_view(const struct point_view *view) {
    const struct collection_config *config = reader_config(view->reader);
    for (size_t i = 0; i < view->vectors->count; i++) {
        if (!collection_config_vector(config, view->vectors->names[i]))
            return error_set(view->error, STATUS_INVALID, "Not existing vector name error: %s",
                             view->vectors->names[i]);
    }
    return STATUS_OK;
}

static bool is_shown(const struct vector_select *select, const char *name) {
    for (size_t i = 0; i < select->count; i++) {
        if (strcmp(select->names[i], name) == 0)
            return true;
    }
    return select->all;
}

/* The unnamed vector stands alone; where there are names, all stand in an object. */
static void write_vectors(const struct point_view *view, const struct point_row *row,
                          struct json_writer *writer) {
    const struct collection_config *config = reader_config(view->reader);
    bool is_unnamed = config->vectors_count == 1 && *config->vectors[0].name == '\0';
    bool is_open = false;
    for (size_t i = 0; i < config->vectors_count; i++) {
        const struct vector_config *vector = &config->vectors[i];
        const float *values =
            is_shown(view->vectors, vector->name) ? reader_vector(view->reader, row, vector) : NULL;
        if (!values)
            continue;
        if (is_unnamed) {
            json_write_floats(writer, values, vector->dimension);
            return;
        }
        if (!is_open)
            json_write_open(writer, '{');
        is_open = true;
        json_write_key(writer, vector->name);
        json_write_floats(writer, values, vector->dimension);
    }
    if (!is_open)
        json_write_open(writer, '{');
    json_write_close(writer, '}');
}

static enum status write_parts(const struct point_view *view, const struct point_row *row,
                               struct json_writer *writer) {
    enum status status = STATUS_OK;
    size_t before = writer->length;
    if (view->payload->kind != PAYLOAD_SELECT_NONE) {
        const struct json_text payload = {row->payload, row->payload_length};
        json_write_key(writer, "payload");
        status = payload_select_write(view->payload, payload, view->arena, writer, view->error);
    }
    if (view->vectors->all || view->vectors->names) {
        json_write_key(writer, "vector");
        write_vectors(view, row, writer);
        if (status == STATUS_OK)
            status = reader_failure(view->reader, view->error);
    }
    json_write_close(writer, '}');
    if (status == STATUS_OK && json_writer_finish(writer) != STATUS_OK)
        return error_set(view->error, STATUS_NO_MEMORY, "out of memory");
    if (status == STATUS_OK)
        status = reader_step(view->reader, writer->length - before, view->error);
    return status;
}

enum status point_json_write_record(const struct point_view *view, const struct point_row *row,
                                    struct json_writer *writer) {
    json_write_open(writer, '{');
    json_write_key(writer, "id");
    point_json_write_id(writer, &row->id);
    return write_parts(view, row, writer);
}

enum status point_json_write_scored(const struct point_view *view, const struct point_row *row,
                                    uint64_t version, float score, struct json_writer *writer) {
    json_write_open(writer, '{');
    json_write_key(writer, "id");
    point_json_write_id(writer, &row->id);
    json_write_key_u64(writer, "version", version);
    json_write_key(writer, "score");
    json_write_f32(writer, score);
    return write_parts(view, row, writer);
}
