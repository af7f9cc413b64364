#include "api/query_shapes.h"

#include "api/filter_json.h"

#include <string.h>

/* ---- What is asked for ----------------------------------------------------------------------- */

/* True if the text that comes next is longer than any id, however that is written. */
static bool is_too_long_for_id(const struct json_reader *reader) {
    const size_t written_max = 2 + 6 * (size_t)POINT_ID_TEXT_MAX; /* each byte as \u0000 */
    size_t left = (size_t)(reader->end - reader->at);
    return left > written_max && !memchr(reader->at + 1, '"', written_max - 1);
}

/* A text may be an id or the base64 of a vector. */
static enum status read_text_target(struct json_reader *reader, struct query_target *target) {
    const char *start;
    size_t length;
    struct json_reader again;
    struct error ignored;
    struct point_id *id = &target->id;
    (void)json_reader_peek(reader);
    start = reader->at;
    if (is_too_long_for_id(reader)) {
        target->kind = QUERY_TARGET_VECTOR;
        return point_json_vector.read(reader, &target->vector);
    }
    enum status status = point_json_id.read(reader, id);
    bool is_id = status == STATUS_OK;
    if (status == STATUS_NO_MEMORY || (is_id && id->kind == POINT_ID_UUID)) {
        target->kind = QUERY_TARGET_ID;
        return status;
    }
    reader->at = start;
    status = json_read_raw(reader, &start, &length);
    if (status != STATUS_OK)
        return status;
    json_reader_init(&again, start, length, reader->arena, &ignored);
    bool is_vector = json_read_floats(&again, POINT_JSON_DIMENSION_MAX, &target->vector.values,
                                      &target->vector.count) == STATUS_OK &&
                     target->vector.count > 0;
    if (!is_id && !is_vector)
        return json_reader_fail(reader, "expected an id, or the base64 of a vector");
    target->kind = is_id && is_vector ? QUERY_TARGET_EITHER
                   : is_vector        ? QUERY_TARGET_VECTOR
                                      : QUERY_TARGET_ID;
    return STATUS_OK;
}

/* A vector or an id. */
static enum status read_input(struct json_reader *reader, struct query_target *target) {
    switch (json_reader_peek(reader)) {
    case JSON_TYPE_NUMBER:
        target->kind = QUERY_TARGET_ID;
        return point_json_id.read(reader, &target->id);
    case JSON_TYPE_STRING:
        return read_text_target(reader, target);
    default:
        target->kind = QUERY_TARGET_VECTOR;
        return point_json_vector.read(reader, &target->vector);
    }
}

/* Forms that the API knows and this version does not, each with what to call it. */
static const struct {
    const char *key, *name;
} later_forms[] = {
    {"recommend", "recommend queries"},
    {"discover", "discover queries"},
    {"context", "context queries"},
    {"order_by", "order_by queries"},
    {"fusion", "fusion queries"},
    {"rrf", "fusion queries"},
    {"formula", "formula queries"},
    {"sample", "sample queries"},
    {"relevance_feedback", "relevance feedback queries"},
    {"mmr", "mmr"},
    {"indices", "sparse vectors"},
    {"values", "sparse vectors"},
    {"text", "inference"},
    {"image", "inference"},
    {"object", "inference"},
    {"model", "inference"},
};

static enum status fail_form(struct json_reader *reader, struct json_text key) {
    for (size_t i = 0; i < sizeof(later_forms) / sizeof(later_forms[0]); i++) {
        if (json_text_is(key, later_forms[i].key))
            return json_reader_reject(reader, STATUS_BAD_REQUEST,
                                      "%s: this form is not supported by this version",
                                      later_forms[i].name);
    }
    return json_reader_fail(reader, "unknown form of a query");
}

static enum status read_form(struct json_reader *reader, struct query_target *target) {
    struct json_text key;
    bool more;
    enum status status = json_open_object(reader);
    while (status == STATUS_OK && (status = json_next_key(reader, &key, &more)) == STATUS_OK &&
           more) {
        if (json_reader_peek(reader) == JSON_TYPE_NULL)
            status = json_read_null(reader);
        else if (!json_text_is(key, "nearest"))
            return fail_form(reader, key);
        else if (target->kind != QUERY_TARGET_NONE)
            return json_reader_fail(reader, "duplicate field `nearest`");
        else
            status = read_input(reader, target);
    }
    if (status == STATUS_OK && target->kind == QUERY_TARGET_NONE)
        return json_reader_fail(reader, "expected a form of a query, such as `nearest`");
    return status;
}

static enum status target_read(struct json_reader *reader, void *member) {
    if (json_reader_peek(reader) == JSON_TYPE_OBJECT)
        return read_form(reader, member);
    return read_input(reader, member);
}

static const struct json_custom target_json = {
    .name = "QueryInterface",
    .read = target_read,
    .schema = "{\"nullable\":true,\"anyOf\":[{\"$ref\":\"#/components/schemas/DenseVector\"},"
              "{\"$ref\":\"#/components/schemas/PointId\"},{\"type\":\"object\",\"required\":["
              "\"nearest\"],\"properties\":{\"nearest\":{\"anyOf\":[{\"$ref\":"
              "\"#/components/schemas/DenseVector\"},{\"$ref\":\"#/components/schemas/PointId\"}"
              "]}}}]}",
};

/* ---- What this version has no use for -------------------------------------------------------- */

/* An empty list is as good as none. */
static enum status prefetch_read(struct json_reader *reader, void *member) {
    bool *has_prefetch = member;
    const char *text;
    size_t length;
    bool is_list = json_reader_peek(reader) == JSON_TYPE_ARRAY;
    *has_prefetch = !is_list || json_reader_peek_item(reader) != JSON_TYPE_END;
    return json_read_raw(reader, &text, &length);
}

static const struct json_custom prefetch_json = {
    .read = prefetch_read,
    .schema = "{\"type\":\"array\",\"nullable\":true,\"maxItems\":0,\"items\":{}}",
};

static enum status lookup_read(struct json_reader *reader, void *member) {
    (void)member;
    return json_reader_reject(reader, STATUS_BAD_REQUEST,
                              "looking up in another collection is not supported by this version");
}

static const struct json_custom lookup_json = {
    .read = lookup_read,
    .schema = "{\"type\":\"object\",\"nullable\":true}",
};

/* ---- params ---------------------------------------------------------------------------------- */

struct quantization_params {
    bool ignore;
    bool has_rescore, rescore;
    double oversampling;
};

static const struct json_field quantization_fields[] = {
    {JSON_MEMBER(struct quantization_params, ignore)},
    {JSON_OPTIONAL(struct quantization_params, rescore)},
    {JSON_MEMBER(struct quantization_params, oversampling), .has_real_bounds = true,
     .real_min = 1.0, .real_max = 1e6},
};
static const struct json_shape quantization_shape = JSON_SHAPE(
    "QuantizationSearchParams", struct quantization_params, quantization_fields, .defaults = NULL);

struct acorn_params {
    bool enable;
    double max_selectivity;
};

static const struct json_field acorn_fields[] = {
    {JSON_MEMBER(struct acorn_params, enable)},
    {JSON_MEMBER(struct acorn_params, max_selectivity), .has_real_bounds = true, .real_min = 0.0,
     .real_max = 1.0},
};
static const struct json_shape acorn_shape =
    JSON_SHAPE("AcornSearchParams", struct acorn_params, acorn_fields, .defaults = NULL);

/* The engine re-scores with full precision whatever it walked: quantization and acorn are checked
 * and have no further effect. */
struct read_params {
    struct query_params params;
    struct quantization_params *quantization;
    struct acorn_params *acorn;
};

static const struct json_field params_fields[] = {
    {.name = "hnsw_ef",
     .kind = JSON_KIND_U32,
     .offset = offsetof(struct read_params, params.hnsw_ef),
     .min = 1,
     .max = QUERY_EF_MAX},
    {.name = "exact", .kind = JSON_KIND_BOOL, .offset = offsetof(struct read_params, params.exact)},
    {.name = "indexed_only",
     .kind = JSON_KIND_BOOL,
     .offset = offsetof(struct read_params, params.indexed_only)},
    {JSON_OBJECT(struct read_params, quantization, quantization_shape)},
    {JSON_OBJECT(struct read_params, acorn, acorn_shape)},
};
static const struct json_shape params_shape =
    JSON_SHAPE("SearchParams", struct read_params, params_fields, .defaults = NULL);

/* ---- Requests -------------------------------------------------------------------------------- */

/* params begins a struct read_params, which is what the row allocates. */
#define COMMON_ROWS                                                                \
    {JSON_CUSTOM(struct query_request, filter, filter_json)},                      \
        {JSON_CUSTOM_WHOLE("shard_key", point_json_shard_key)},                    \
        {.name = "params",                                                         \
         .kind = JSON_KIND_OBJECT,                                                 \
         .offset = offsetof(struct query_request, params),                         \
         .item_size = sizeof(struct read_params),                                  \
         .shape = &params_shape},                                                  \
        {JSON_OPTIONAL(struct query_request, score_threshold)},                    \
        {JSON_MEMBER(struct query_request, offset)},                               \
        {JSON_CUSTOM(struct query_request, with_vector, point_json_vector_select), \
         .alias = "with_vectors"},                                                 \
    {                                                                              \
        JSON_CUSTOM(struct query_request, with_payload, payload_select_json)       \
    }

static const struct json_field query_fields[] = {
    {JSON_CUSTOM(struct query_request, query, target_json)},
    {JSON_MEMBER(struct query_request, using)},
    COMMON_ROWS,
    {JSON_MEMBER(struct query_request, limit), .min = 1},
    {.name = "prefetch",
     .kind = JSON_KIND_CUSTOM,
     .offset = offsetof(struct query_request, has_prefetch),
     .custom = &prefetch_json},
    {.name = "lookup_from",
     .kind = JSON_KIND_CUSTOM,
     .offset = offsetof(struct query_request, query),
     .custom = &lookup_json},
};
const struct json_shape query_shapes_query =
    JSON_SHAPE("QueryRequest", struct query_request, query_fields, .inner = "internal",
               .defaults = (&(const struct query_request){.limit = 10}));

static const struct json_field query_batch_fields[] = {
    {JSON_LIST(struct query_batch, searches, query_shapes_query), .required = true,
     .max = QUERY_BATCH_MAX},
};
const struct json_shape query_shapes_query_batch =
    JSON_SHAPE("QueryRequestBatch", struct query_batch, query_batch_fields, .defaults = NULL);

/* {"name": "image", "vector": [...]}, or only the vector: sets query and using. */
static enum status search_vector_read(struct json_reader *reader, void *member) {
    struct query_request *request = member;
    struct json_text key;
    bool more;
    request->query.kind = QUERY_TARGET_VECTOR;
    if (json_reader_peek(reader) != JSON_TYPE_OBJECT)
        return point_json_vector.read(reader, &request->query.vector);
    enum status status = json_open_object(reader);
    while (status == STATUS_OK && (status = json_next_key(reader, &key, &more)) == STATUS_OK &&
           more) {
        if (json_text_is(key, "name") && !request->using)
            status = json_read_string(reader, &request->using);
        else if (json_text_is(key, "vector") && !request->query.vector.values)
            status = point_json_vector.read(reader, &request->query.vector);
        else
            return fail_form(reader, key);
    }
    if (status == STATUS_OK && (!request->using || request->query.vector.count == 0))
        return json_reader_fail(reader, "expected `name` and `vector`");
    return status;
}

static const struct json_custom search_vector_json = {
    .name = "NamedVectorStruct",
    .read = search_vector_read,
    .schema = "{\"anyOf\":[{\"$ref\":\"#/components/schemas/DenseVector\"},{\"type\":\"object\","
              "\"required\":[\"name\",\"vector\"],\"properties\":{\"name\":{\"type\":\"string\"},"
              "\"vector\":{\"$ref\":\"#/components/schemas/DenseVector\"}}}]}",
};

static const struct json_field search_fields[] = {
    {JSON_CUSTOM_WHOLE("vector", search_vector_json), .required = true},
    COMMON_ROWS,
    {JSON_MEMBER(struct query_request, limit), .alias = "top", .required = true, .min = 1},
};
const struct json_shape query_shapes_search =
    JSON_SHAPE("SearchRequest", struct query_request, search_fields, .inner = "search_request");

static const struct json_field search_batch_fields[] = {
    {JSON_LIST(struct query_batch, searches, query_shapes_search), .required = true,
     .max = QUERY_BATCH_MAX},
};
const struct json_shape query_shapes_search_batch =
    JSON_SHAPE("SearchRequestBatch", struct query_batch, search_batch_fields, .defaults = NULL);
