#include "api/update_columns.h"

#include "api/point_json.h"

#include <string.h>

/* ---- Reading --------------------------------------------------------------------------------- */

struct vector_list {
    struct floats *values;
    size_t values_count;
};

static const struct json_field vector_list_fields[] = {
    {JSON_LIST_OF(struct vector_list, values, point_json_vector), .required = true},
};

/* A list of vectors is read by the row of a shape that has only this list. */
static enum status read_column(struct json_reader *reader, const char *name,
                               struct vector_column *column) {
    struct vector_list list = {0};
    enum status status = json_shape_read_list(reader, &vector_list_fields[0], &list);
    *column = (struct vector_column){name, list.values, list.values_count};
    return status;
}

static enum status read_named(struct json_reader *reader, struct vector_columns *columns) {
    struct json_text key;
    bool more;
    columns->items = arena_alloc(reader->arena, COLLECTION_VECTORS_MAX * sizeof(*columns->items));
    if (!columns->items)
        return json_reader_no_memory(reader);
    enum status status = json_open_object(reader);
    while (status == STATUS_OK && (status = json_next_key(reader, &key, &more)) == STATUS_OK &&
           more) {
        if (columns->count == COLLECTION_VECTORS_MAX)
            return json_reader_fail(reader, "more than %d vectors", COLLECTION_VECTORS_MAX);
        if (memchr(key.text, '\0', key.length))
            return json_reader_fail(reader, "a name may not hold U+0000");
        for (size_t i = 0; i < columns->count; i++) {
            if (json_text_is(key, columns->items[i].name))
                return json_reader_fail(reader, "duplicate vector name");
        }
        const char *name = arena_text(reader->arena, key.text, key.length);
        if (!name)
            return json_reader_no_memory(reader);
        status = read_column(reader, name, &columns->items[columns->count++]);
    }
    return status;
}

static enum status columns_read(struct json_reader *reader, void *member) {
    struct vector_columns *columns = member;
    *columns = (struct vector_columns){0};
    if (json_reader_peek(reader) == JSON_TYPE_OBJECT)
        return read_named(reader, columns);
    columns->items = arena_alloc(reader->arena, sizeof(*columns->items));
    if (!columns->items)
        return json_reader_no_memory(reader);
    columns->count = 1;
    return read_column(reader, "", columns->items);
}

static const struct json_custom columns_json = {
    .name = "BatchVectorStruct",
    .read = columns_read,
    .schema = "{\"oneOf\":[{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/"
              "DenseVector\"}},{\"type\":\"object\",\"additionalProperties\":{\"type\":\"array\","
              "\"items\":{\"$ref\":\"#/components/schemas/DenseVector\"}}}]}",
};

static enum status payload_read(struct json_reader *reader, void *member) {
    if (json_reader_peek(reader) == JSON_TYPE_NULL)
        return json_read_null(reader);
    return point_json_payload.read(reader, member);
}

static const struct json_custom payload_json = {
    .read = payload_read,
    .schema = "{\"type\":\"object\",\"nullable\":true}",
};

static const struct json_field columns_fields[] = {
    {JSON_LIST_OF(struct upsert_columns, ids, point_json_id), .required = true},
    {JSON_CUSTOM(struct upsert_columns, vectors, columns_json), .required = true},
    {JSON_LIST_OF(struct upsert_columns, payloads, payload_json)},
};
const struct json_shape update_columns_shape =
    JSON_SHAPE("Batch", struct upsert_columns, columns_fields, .defaults = NULL);

/* ---- Points ---------------------------------------------------------------------------------- */

static enum status check_lengths(const struct upsert_columns *columns, struct error *error) {
    for (size_t i = 0; i < columns->vectors.count; i++) {
        if (columns->vectors.items[i].count != columns->ids_count)
            return error_set(error, STATUS_VALIDATION,
                             "batch: number of ids and vectors must be equal (%zu != %zu)",
                             columns->ids_count, columns->vectors.items[i].count);
    }
    if (columns->payloads && columns->payloads_count != columns->ids_count)
        return error_set(error, STATUS_VALIDATION,
                         "batch: number of ids and payloads must be equal (%zu != %zu)",
                         columns->ids_count, columns->payloads_count);
    return STATUS_OK;
}

enum status update_columns_points(const struct upsert_columns *columns, struct arena *arena,
                                  struct point_input **points, size_t *count, struct error *error) {
    size_t names = columns->vectors.count;
    enum status status = check_lengths(columns, error);
    if (status != STATUS_OK)
        return status;
    *count = columns->ids_count;
    *points = arena_alloc(arena, (*count + 1) * sizeof(**points));
    struct named_vector *vectors = arena_alloc(arena, (*count * names + 1) * sizeof(*vectors));
    if (!*points || !vectors)
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < *count; i++) {
        for (size_t n = 0; n < names; n++) {
            const struct vector_column *column = &columns->vectors.items[n];
            vectors[i * names + n] = (struct named_vector){.name = column->name,
                                                           .values = column->values[i].values,
                                                           .count = column->values[i].count};
        }
        (*points)[i] = (struct point_input){
            .id = columns->ids[i], .vectors = &vectors[i * names], .vectors_count = names};
        if (columns->payloads) {
            (*points)[i].payload = columns->payloads[i].text;
            (*points)[i].payload_length = columns->payloads[i].length;
        }
    }
    return STATUS_OK;
}
