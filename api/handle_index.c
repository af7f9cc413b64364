#include "api/call.h"
#include "api/handlers.h"
#include "api/json_members.h"
#include "api/vector_params.h"

#include <string.h>

/* ---- Shapes ---------------------------------------------------------------------------------- */

/* The object form of a schema: options that the types of 1.19 have. What is kept is the text. */
struct schema_options {
    const char *type;
    bool has_lookup, has_range;
    bool lookup, range;
    bool is_tenant, is_principal, on_disk, enable_hnsw, prefix;
    const char *memory;
};

static const struct json_field options_fields[] = {
    {JSON_MEMBER(struct schema_options, type), .required = true},
    {JSON_OPTIONAL(struct schema_options, lookup)},
    {JSON_OPTIONAL(struct schema_options, range)},
    {JSON_MEMBER(struct schema_options, is_tenant)},
    {JSON_MEMBER(struct schema_options, is_principal)},
    {JSON_MEMBER(struct schema_options, on_disk)},
    {JSON_MEMBER(struct schema_options, enable_hnsw)},
    {JSON_MEMBER(struct schema_options, prefix)},
    {JSON_MEMBER(struct schema_options, memory), .words = vector_params_memory_words},
};
static const struct json_shape options_shape =
    JSON_SHAPE("PayloadSchemaParams", struct schema_options, options_fields, .defaults = NULL);

struct index_schema {
    enum payload_index_type type;
    struct raw_json params; /* text NULL: only the type's name was given */
};

static enum status read_type(struct json_reader *reader, const char *name,
                             enum payload_index_type *type) {
    for (int i = 0; i < PAYLOAD_INDEX_TYPE_COUNT; i++) {
        if (strcmp(payload_index_type_name((enum payload_index_type)i), name) == 0) {
            *type = (enum payload_index_type)i;
            return STATUS_OK;
        }
    }
    if (strcmp(name, "text") == 0 || strcmp(name, "geo") == 0)
        return json_reader_reject(reader, STATUS_BAD_REQUEST,
                                  "payload indexes of type `%s` are not supported by this version",
                                  name);
    return json_reader_fail(reader,
                            "unknown variant `%.64s`, expected one of `keyword`, `integer`, "
                            "`float`, `bool`, `datetime`, `uuid`, `geo`, `text`",
                            name);
}

static enum status read_options(struct json_reader *reader, struct index_schema *schema) {
    struct schema_options options;
    (void)json_reader_peek(reader);
    const char *start = reader->at;
    enum status status = json_shape_read(reader, &options_shape, &options);
    if (status == STATUS_OK)
        status = read_type(reader, options.type, &schema->type);
    if (status != STATUS_OK)
        return status;
    if (options.has_lookup && options.has_range && !options.lookup && !options.range)
        return json_reader_reject(reader, STATUS_VALIDATION,
                                  "the 'lookup' and 'range' capabilities can't be both disabled");
    size_t length = (size_t)(reader->at - start);
    if (length > PAYLOAD_INDEX_PARAMS_MAX)
        return json_reader_reject(reader, STATUS_VALIDATION,
                                  "has %zu bytes, at most %d are allowed", length,
                                  PAYLOAD_INDEX_PARAMS_MAX);
    schema->params = (struct raw_json){start, length};
    return STATUS_OK;
}

static enum status schema_read(struct json_reader *reader, void *member) {
    struct index_schema *schema = member;
    const char *name;
    *schema = (struct index_schema){.type = 0};
    if (json_reader_peek(reader) == JSON_TYPE_OBJECT)
        return read_options(reader, schema);
    enum status status = json_read_string(reader, &name);
    return status == STATUS_OK ? read_type(reader, name, &schema->type) : status;
}

static const struct json_custom schema_json = {
    .name = "PayloadFieldSchema",
    .read = schema_read,
    .schema = "{\"oneOf\":[{\"type\":\"string\",\"enum\":[\"keyword\",\"integer\",\"float\","
              "\"bool\",\"datetime\",\"uuid\"]},{\"type\":\"object\",\"required\":[\"type\"],"
              "\"properties\":{\"type\":{\"type\":\"string\"}}}]}",
};

struct index_request {
    const char *field_name;
    struct index_schema field_schema;
};

static const struct json_field index_fields[] = {
    {JSON_MEMBER(struct index_request, field_name), .required = true, .min = 1,
     .max = PAYLOAD_PATH_BYTES_MAX},
    {JSON_CUSTOM(struct index_request, field_schema, schema_json), .alias = "field_type",
     .required = true},
};
const struct json_shape handle_index_shape =
    JSON_SHAPE("CreateFieldIndex", struct index_request, index_fields, .defaults = NULL);

/* ---- Endpoints ------------------------------------------------------------------------------- */

static enum status submit(struct api_call *call, enum operation_kind kind, const char *name,
                          const struct index_schema *schema) {
    struct operation *operation = arena_alloc(call->arena, sizeof(*operation));
    if (!operation)
        return error_set(&call->error, STATUS_NO_MEMORY, "out of memory");
    *operation = (struct operation){
        .kind = kind,
        .field = {.type = schema->type,
                  .params = schema->params.text,
                  .params_length = schema->params.length},
    };
    enum status status =
        payload_path_parse(name, strlen(name), call->arena, &operation->field.path, &call->error);
    return status == STATUS_OK ? call_write(call, operation, 1, false) : status;
}

enum status handle_index_create(struct api_call *call, const void *body) {
    const struct index_request *request = body;
    return submit(call, OPERATION_CREATE_INDEX, request->field_name, &request->field_schema);
}

enum status handle_index_delete(struct api_call *call, const void *body) {
    const struct index_schema none = {.type = 0};
    (void)body;
    return submit(call, OPERATION_DROP_INDEX, call->arguments.values[1], &none);
}
