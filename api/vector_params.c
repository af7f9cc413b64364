#include "api/vector_params.h"

#include "api/collection_name.h"
#include "api/json_writer.h"

#include <string.h>

/* Of all that lies in memory or not, as the API has it. */
const char *const vector_params_memory_words[] = {"cold", "cached", "pinned", NULL};

/* ---- hnsw_config ----------------------------------------------------------------------------- */

static const struct json_field hnsw_fields[] = {
    {JSON_OPTIONAL(struct hnsw_settings, m), .max = COLLECTION_M_MAX},
    {JSON_OPTIONAL(struct hnsw_settings, ef_construct), .min = COLLECTION_EF_CONSTRUCT_MIN,
     .max = COLLECTION_EF_CONSTRUCT_MAX},
    {JSON_OPTIONAL(struct hnsw_settings, full_scan_threshold), .alias = "full_scan_threshold_kb"},
    {JSON_OPTIONAL(struct hnsw_settings, max_indexing_threads)},
    {JSON_OPTIONAL(struct hnsw_settings, on_disk)},
    {JSON_OPTIONAL(struct hnsw_settings, payload_m)},
    {JSON_OPTIONAL(struct hnsw_settings, inline_storage)},
    {JSON_MEMBER(struct hnsw_settings, memory), .words = vector_params_memory_words},
};
const struct json_shape vector_params_hnsw_shape =
    JSON_SHAPE("HnswConfig", struct hnsw_settings, hnsw_fields, .defaults = NULL);

/* ---- quantization_config --------------------------------------------------------------------- */

static const char *const scalar_types[] = {"int8", NULL};
static const char *const compressions[] = {"x4", "x8", "x16", "x32", "x64", NULL};
static const char *const encodings[] = {"one_bit", "two_bits", "one_and_half_bits", NULL};
static const char *const query_encodings[] = {"default", "binary", "scalar4bits", "scalar8bits",
                                              NULL};
static const char *const turbo_bits[] = {"bits1", "bits1_5", "bits2", "bits4", "bits8", NULL};

struct scalar_settings {
    const char *type;
    bool has_quantile, has_always_ram;
    float quantile;
    bool always_ram;
    const char *memory;
};

static const struct json_field scalar_fields[] = {
    {JSON_MEMBER(struct scalar_settings, type), .required = true, .words = scalar_types},
    {JSON_OPTIONAL(struct scalar_settings, quantile), .has_real_bounds = true, .real_min = 0.5,
     .real_max = 1.0},
    {JSON_OPTIONAL(struct scalar_settings, always_ram)},
    {JSON_MEMBER(struct scalar_settings, memory), .words = vector_params_memory_words},
};
static const struct json_shape scalar_shape =
    JSON_SHAPE("ScalarQuantization", struct scalar_settings, scalar_fields, .defaults = NULL);

struct product_settings {
    const char *compression;
    bool has_always_ram, always_ram;
    const char *memory;
};

static const struct json_field product_fields[] = {
    {JSON_MEMBER(struct product_settings, compression), .required = true, .words = compressions},
    {JSON_OPTIONAL(struct product_settings, always_ram)},
    {JSON_MEMBER(struct product_settings, memory), .words = vector_params_memory_words},
};
static const struct json_shape product_shape =
    JSON_SHAPE("ProductQuantization", struct product_settings, product_fields, .defaults = NULL);

struct binary_settings {
    bool has_always_ram, always_ram;
    const char *memory, *encoding, *query_encoding;
};

static const struct json_field binary_fields[] = {
    {JSON_OPTIONAL(struct binary_settings, always_ram)},
    {JSON_MEMBER(struct binary_settings, memory), .words = vector_params_memory_words},
    {JSON_MEMBER(struct binary_settings, encoding), .words = encodings},
    {JSON_MEMBER(struct binary_settings, query_encoding), .words = query_encodings},
};
static const struct json_shape binary_shape =
    JSON_SHAPE("BinaryQuantization", struct binary_settings, binary_fields, .defaults = NULL);

struct turbo_settings {
    const char *bits;
    bool has_always_ram, always_ram;
    const char *memory;
};

static const struct json_field turbo_fields[] = {
    {JSON_MEMBER(struct turbo_settings, bits), .words = turbo_bits},
    {JSON_OPTIONAL(struct turbo_settings, always_ram)},
    {JSON_MEMBER(struct turbo_settings, memory), .words = vector_params_memory_words},
};
static const struct json_shape turbo_shape =
    JSON_SHAPE("TurboQuantization", struct turbo_settings, turbo_fields, .defaults = NULL);

struct quantization_settings {
    struct scalar_settings *scalar;
    struct product_settings *product;
    struct binary_settings *binary;
    struct turbo_settings *turbo;
};

static const struct json_field quantization_fields[] = {
    {JSON_OBJECT(struct quantization_settings, scalar, scalar_shape)},
    {JSON_OBJECT(struct quantization_settings, product, product_shape)},
    {JSON_OBJECT(struct quantization_settings, binary, binary_shape)},
    {JSON_OBJECT(struct quantization_settings, turbo, turbo_shape)},
};
static const struct json_shape quantization_shape = JSON_SHAPE(
    "QuantizationConfig", struct quantization_settings, quantization_fields, .defaults = NULL);

static enum status check_quantization(struct json_reader *reader,
                                      const struct quantization_settings *settings) {
    int forms = (settings->scalar != NULL) + (settings->product != NULL) +
                (settings->binary != NULL) + (settings->turbo != NULL);
    if (forms != 1)
        return json_reader_fail(reader,
                                "expected exactly one of `scalar`, `product`, `binary`, `turbo`");
    return STATUS_OK;
}

static enum status quantization_read(struct json_reader *reader, void *member) {
    struct quantization_settings **target = member;
    const char *word;
    *target = NULL;
    if (json_reader_peek(reader) == JSON_TYPE_STRING) {
        enum status status = json_read_string(reader, &word);
        if (status == STATUS_OK && strcmp(word, "Disabled") != 0)
            return json_reader_fail(reader, "expected an object or \"Disabled\"");
        return status;
    }
    struct quantization_settings *settings = arena_alloc(reader->arena, sizeof(*settings));
    if (!settings)
        return json_reader_no_memory(reader);
    *target = settings;
    enum status status = json_shape_read(reader, &quantization_shape, settings);
    return status == STATUS_OK ? check_quantization(reader, settings) : status;
}

static void quantization_write(struct json_writer *writer, const void *member) {
    const struct quantization_settings *const *settings = member;
    json_shape_write(writer, &quantization_shape, *settings);
}

/* What the words of `binary.encoding` and `turbo.bits` get: where a number of bits is not ours, the
 * next one that is. 8 bits are what lean keeps. */
static const struct {
    const char *word;
    enum index_profile profile;
} sizes[] = {
    {"one_bit", INDEX_PROFILE_TURBO_1_BIT},   {"one_and_half_bits", INDEX_PROFILE_TURBO_2_BITS},
    {"two_bits", INDEX_PROFILE_TURBO_2_BITS}, {"bits1", INDEX_PROFILE_TURBO_1_BIT},
    {"bits1_5", INDEX_PROFILE_TURBO_2_BITS},  {"bits2", INDEX_PROFILE_TURBO_2_BITS},
    {"bits4", INDEX_PROFILE_TURBO_4_BITS},    {"bits8", INDEX_PROFILE_LEAN},
};

enum index_profile vector_params_profile(const struct quantization_settings *settings) {
    if (!settings)
        return INDEX_PROFILE_AUTO;
    if (settings->scalar || settings->product)
        return INDEX_PROFILE_LEAN;
    const char *word = settings->binary ? settings->binary->encoding : settings->turbo->bits;
    for (size_t i = 0; word && i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        if (strcmp(sizes[i].word, word) == 0)
            return sizes[i].profile;
    }
    return INDEX_PROFILE_TURBO;
}

const struct json_custom vector_params_quantization_json = {
    .name = "QuantizationConfig",
    .read = quantization_read,
    .write = quantization_write,
    .schema =
        "{\"nullable\":true,\"oneOf\":[{\"type\":\"object\",\"minProperties\":1,"
        "\"maxProperties\":1,\"properties\":{"
        "\"scalar\":{\"type\":\"object\",\"description\":\"the graph keeps a byte a number\"},"
        "\"product\":{\"type\":\"object\",\"description\":\"the same as scalar\"},"
        "\"binary\":{\"type\":\"object\",\"description\":\"and 1 or 2 bits a number of each "
        "link: encoding is one_bit, one_and_half_bits (kept as 2) or two_bits\"},"
        "\"turbo\":{\"type\":\"object\",\"description\":\"and 1, 2 or 4 bits: bits is bits1, "
        "bits1_5 (kept as 2), bits2, bits4 or bits8 (the same as scalar)\"}}},"
        "{\"type\":\"string\",\"enum\":[\"Disabled\"]}]}",
};

/* ---- One vector ------------------------------------------------------------------------------ */

static enum status distance_read(struct json_reader *reader, void *member) {
    enum distance *distance = member;
    const char *name;
    enum status status = json_read_string(reader, &name);
    if (status != STATUS_OK)
        return status;
    for (int i = 0; i < DISTANCE_COUNT; i++) {
        if (strcmp(distance_name((enum distance)i), name) == 0) {
            *distance = (enum distance)i;
            return STATUS_OK;
        }
    }
    return json_reader_fail(
        reader, "unknown variant `%.64s`, expected one of `Cosine`, `Euclid`, `Dot`, `Manhattan`",
        name);
}

static void distance_write(struct json_writer *writer, const void *member) {
    const enum distance *distance = member;
    json_write_string(writer, distance_name(*distance));
}

static const struct json_custom distance_json = {
    .name = "Distance",
    .read = distance_read,
    .write = distance_write,
    .schema = "{\"type\":\"string\",\"enum\":[\"Cosine\",\"Euclid\",\"Dot\",\"Manhattan\"]}",
};

static const char *const datatypes[] = {"float32", "float16", "uint8", "turbo4", NULL};

#define VECTOR_OPTION_ROWS                                                                        \
    {JSON_OBJECT(struct vector_params, hnsw_config, vector_params_hnsw_shape)},                   \
        {JSON_CUSTOM(struct vector_params, quantization_config, vector_params_quantization_json), \
         .alias = "quantization", .is_pointer = true},                                            \
        {JSON_OPTIONAL(struct vector_params, on_disk)}, {                                         \
        JSON_MEMBER(struct vector_params, memory), .words = vector_params_memory_words            \
    }

static const struct json_field params_fields[] = {
    {JSON_MEMBER(struct vector_params, size), .required = true, .is_nonzero = true, .min = 1,
     .max = COLLECTION_DIMENSION_MAX},
    {JSON_CUSTOM(struct vector_params, distance, distance_json), .required = true},
    VECTOR_OPTION_ROWS,
    {JSON_MEMBER(struct vector_params, datatype), .words = datatypes},
    {JSON_MEMBER(struct vector_params, multivector_config)},
};
static const struct json_shape params_shape =
    JSON_SHAPE("VectorParams", struct vector_params, params_fields, .defaults = NULL);

static const struct json_field patch_fields[] = {VECTOR_OPTION_ROWS};
static const struct json_shape patch_shape =
    JSON_SHAPE("VectorParamsDiff", struct vector_params, patch_fields, .defaults = NULL);

static enum status check_options(struct json_reader *reader, const struct vector_params *params) {
    if (params->datatype && strcmp(params->datatype, "float32") != 0)
        return json_reader_reject(reader, STATUS_BAD_REQUEST,
                                  "datatype `%s` is not supported by this version",
                                  params->datatype);
    if (params->multivector_config.text)
        return json_reader_reject(reader, STATUS_BAD_REQUEST,
                                  "multivectors are not supported by this version");
    return STATUS_OK;
}

/* ---- All vectors ----------------------------------------------------------------------------- */

/* True if the object that comes next describes one vector: it has a `size` that is no object. */
static enum status is_unnamed(struct json_reader *reader, bool *unnamed) {
    const char *start = reader->at;
    struct json_text key;
    bool more;
    const char *text;
    size_t length;
    *unnamed = false;
    enum status status = json_open_object(reader);
    while (status == STATUS_OK && (status = json_next_key(reader, &key, &more)) == STATUS_OK &&
           more) {
        bool is_size = json_text_is(key, "size");
        bool is_distance = json_text_is(key, "distance");
        if ((is_size || is_distance) && json_reader_peek(reader) != JSON_TYPE_OBJECT)
            *unnamed = true;
        status = json_read_raw(reader, &text, &length);
    }
    reader->at = start;
    return status;
}

static enum status check_name(struct json_reader *reader, struct json_text name) {
    if (name.length > VECTOR_NAME_MAX)
        return json_reader_reject(reader, STATUS_VALIDATION,
                                  "the name of a vector has at most %d bytes", VECTOR_NAME_MAX);
    return STATUS_OK;
}

static enum status add_named(struct json_reader *reader, struct vectors_params *vectors,
                             struct json_text key) {
    enum status status = check_name(reader, key);
    if (status != STATUS_OK)
        return status;
    if (vectors->count == COLLECTION_VECTORS_MAX)
        return json_reader_reject(reader, STATUS_VALIDATION, "more than %d vectors",
                                  COLLECTION_VECTORS_MAX);
    char *name = arena_text(reader->arena, key.text, key.length);
    if (!name)
        return json_reader_no_memory(reader);
    if (strlen(name) != key.length || collection_name_bad_character(name))
        return json_reader_reject(reader, STATUS_VALIDATION,
                                  "the name of a vector may not hold any of <>:\"/\\|?* or control "
                                  "characters");
    for (size_t i = 0; i < vectors->count; i++) {
        if (strcmp(vectors->items[i].name, name) == 0)
            return json_reader_fail(reader, "duplicate vector name");
    }
    struct named_params *item = &vectors->items[vectors->count++];
    *item = (struct named_params){.name = name};
    status = json_shape_read(reader, &params_shape, &item->params);
    return status == STATUS_OK ? check_options(reader, &item->params) : status;
}

static enum status vectors_read(struct json_reader *reader, void *member) {
    struct vectors_params *vectors = member;
    struct json_text key;
    bool more;
    *vectors = (struct vectors_params){.is_unnamed = false};
    enum status status = is_unnamed(reader, &vectors->is_unnamed);
    if (status != STATUS_OK)
        return status;
    vectors->items = arena_alloc(reader->arena, COLLECTION_VECTORS_MAX * sizeof(*vectors->items));
    if (!vectors->items)
        return json_reader_no_memory(reader);
    if (vectors->is_unnamed) {
        vectors->count = 1;
        vectors->items[0] = (struct named_params){.name = ""};
        status = json_shape_read(reader, &params_shape, &vectors->items[0].params);
        return status == STATUS_OK ? check_options(reader, &vectors->items[0].params) : status;
    }
    status = json_open_object(reader);
    while (status == STATUS_OK && (status = json_next_key(reader, &key, &more)) == STATUS_OK &&
           more)
        status = add_named(reader, vectors, key);
    return status;
}

static void vectors_write(struct json_writer *writer, const void *member) {
    const struct vectors_params *vectors = member;
    if (vectors->is_unnamed) {
        json_shape_write(writer, &params_shape, &vectors->items[0].params);
        return;
    }
    json_write_open(writer, '{');
    for (size_t i = 0; i < vectors->count; i++) {
        json_write_key(writer, vectors->items[i].name);
        json_shape_write(writer, &params_shape, &vectors->items[i].params);
    }
    json_write_close(writer, '}');
}

#define PARAMS_SCHEMA                                                                            \
    "{\"type\":\"object\",\"required\":[\"size\",\"distance\"],\"properties\":{"                 \
    "\"size\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":65536},"                           \
    "\"distance\":{\"type\":\"string\",\"enum\":[\"Cosine\",\"Euclid\",\"Dot\",\"Manhattan\"]}," \
    "\"hnsw_config\":{\"$ref\":\"#/components/schemas/HnswConfig\"},"                            \
    "\"quantization_config\":{\"$ref\":\"#/components/schemas/QuantizationConfig\"},"            \
    "\"on_disk\":{\"type\":\"boolean\",\"nullable\":true},"                                      \
    "\"datatype\":{\"type\":\"string\",\"nullable\":true}}}"

const struct json_custom vector_params_json = {
    .name = "VectorsConfig",
    .read = vectors_read,
    .write = vectors_write,
    .schema = "{\"nullable\":true,\"anyOf\":[" PARAMS_SCHEMA ",{\"type\":\"object\","
              "\"additionalProperties\":" PARAMS_SCHEMA "}]}",
};

/* ---- Changes --------------------------------------------------------------------------------- */

static struct vector_params *find_params(struct vectors_params *vectors, struct json_text name) {
    for (size_t i = 0; i < vectors->count; i++) {
        if (json_text_is(name, vectors->items[i].name))
            return &vectors->items[i].params;
    }
    return NULL;
}

/* The names that a map of changes had so far. */
struct names_seen {
    struct json_text names[COLLECTION_VECTORS_MAX];
    size_t count;
};

static enum status patch_read(struct json_reader *reader, void *member) {
    struct vectors_params *vectors = member;
    struct names_seen seen = {.count = 0};
    struct json_text key;
    bool more;
    enum status status = json_open_object(reader);
    while (status == STATUS_OK && (status = json_next_key(reader, &key, &more)) == STATUS_OK &&
           more) {
        struct vector_params ignored = {.size = 0};
        struct vector_params *params = find_params(vectors, key);
        for (size_t i = 0; i < seen.count; i++) {
            if (seen.names[i].length == key.length &&
                memcmp(seen.names[i].text, key.text, key.length) == 0)
                return json_reader_fail(reader, "duplicate vector name");
        }
        if (seen.count == COLLECTION_VECTORS_MAX)
            return json_reader_fail(reader, "more than %d vectors", COLLECTION_VECTORS_MAX);
        seen.names[seen.count++] = key;
        if (!params && vectors->items)
            return error_set(reader->error, STATUS_INVALID, "Not existing vector name error: %.*s",
                             key.length < VECTOR_NAME_MAX ? (int)key.length : VECTOR_NAME_MAX,
                             key.text);
        params = params ? params : &ignored;
        status = json_shape_merge(reader, &patch_shape, params);
        if (status == STATUS_OK)
            status = check_options(reader, params);
    }
    return status;
}

const struct json_custom vector_params_patch_json = {
    .name = "VectorsConfigDiff",
    .read = patch_read,
    .schema = "{\"type\":\"object\",\"nullable\":true,\"additionalProperties\":{\"type\":"
              "\"object\",\"properties\":{\"hnsw_config\":{\"$ref\":"
              "\"#/components/schemas/HnswConfig\"},\"quantization_config\":{\"$ref\":"
              "\"#/components/schemas/QuantizationConfig\"},\"on_disk\":{\"type\":\"boolean\","
              "\"nullable\":true}}}}",
};
