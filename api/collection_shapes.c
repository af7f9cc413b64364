#include "api/collection_shapes.h"

#include "api/json_writer.h"
#include "api/payload_edit.h"
#include "api/vector_params.h"

#include <string.h>

/* ---- Defaults, which clients see and do not act on ------------------------------------------- */

static struct hnsw_settings default_hnsw = {
    .has_m = true,
    .m = 16,
    .has_ef_construct = true,
    .ef_construct = 100,
    .has_full_scan_threshold = true,
    .full_scan_threshold = 10000,
    .has_max_indexing_threads = true,
    .has_on_disk = true,
};

static struct optimizer_settings default_optimizer = {
    .deleted_threshold = 0.2,
    .vacuum_min_vector_number = 1000,
    .has_indexing_threshold = true,
    .indexing_threshold = 10000,
    .flush_interval_sec = 5,
};

static struct wal_settings default_wal = {.wal_capacity_mb = 32, .wal_retain_closed = 1};

/* ---- Parts ----------------------------------------------------------------------------------- */

/* A number, or "auto", which is the same as leaving it out. */
static enum status threads_read(struct json_reader *reader, void *member) {
    struct optimizer_settings *settings = member;
    const char *word;
    settings->has_max_optimization_threads = json_reader_peek(reader) != JSON_TYPE_STRING;
    if (settings->has_max_optimization_threads)
        return json_read_u64(reader, &settings->max_optimization_threads);
    enum status status = json_read_string(reader, &word);
    if (status == STATUS_OK && strcmp(word, "auto") != 0)
        return json_reader_fail(reader, "expected a number or \"auto\"");
    return status;
}

static void threads_write(struct json_writer *writer, const void *member) {
    const struct optimizer_settings *settings = member;
    if (settings->has_max_optimization_threads)
        json_write_u64(writer, settings->max_optimization_threads);
    else
        json_write_null(writer);
}

static const struct json_custom threads_json = {
    .read = threads_read,
    .write = threads_write,
    .schema = "{\"nullable\":true,\"oneOf\":[{\"type\":\"integer\",\"minimum\":0},"
              "{\"type\":\"string\",\"enum\":[\"auto\"]}]}",
};

static const struct json_field optimizer_fields[] = {
    {JSON_MEMBER(struct optimizer_settings, deleted_threshold), .has_real_bounds = true,
     .real_min = 0.0, .real_max = 1.0},
    {JSON_MEMBER(struct optimizer_settings, vacuum_min_vector_number), .min = 100},
    {JSON_MEMBER(struct optimizer_settings, default_segment_number)},
    {JSON_OPTIONAL(struct optimizer_settings, max_segment_size), .alias = "max_segment_size_kb",
     .is_null_shown = true},
    {JSON_OPTIONAL(struct optimizer_settings, memmap_threshold), .alias = "memmap_threshold_kb",
     .is_null_shown = true},
    {JSON_OPTIONAL(struct optimizer_settings, indexing_threshold), .alias = "indexing_threshold_kb",
     .is_null_shown = true},
    {JSON_MEMBER(struct optimizer_settings, flush_interval_sec)},
    {JSON_CUSTOM_WHOLE("max_optimization_threads", threads_json)},
    {JSON_OPTIONAL(struct optimizer_settings, prevent_unoptimized)},
};
static const struct json_shape optimizer_shape =
    JSON_SHAPE("OptimizersConfig", struct optimizer_settings, optimizer_fields, .defaults = NULL);

static const struct json_field wal_fields[] = {
    {JSON_MEMBER(struct wal_settings, wal_capacity_mb), .min = 1},
    {JSON_MEMBER(struct wal_settings, wal_segments_ahead)},
    {JSON_MEMBER(struct wal_settings, wal_retain_closed), .min = 1},
};
static const struct json_shape wal_shape =
    JSON_SHAPE("WalConfig", struct wal_settings, wal_fields, .defaults = NULL);

/* What a creation gives under these names at its top, the document keeps under params. */
#define PARAMS_ROWS(type, prefix)                                                              \
    {.name = "shard_number",                                                                   \
     .kind = JSON_KIND_U32,                                                                    \
     .offset = offsetof(type, prefix shard_number),                                            \
     .has_presence = true,                                                                     \
     .presence_offset = offsetof(type, prefix has_shard_number),                               \
     .is_nonzero = true,                                                                       \
     .min = 1},                                                                                \
        {.name = "replication_factor",                                                         \
         .kind = JSON_KIND_U32,                                                                \
         .offset = offsetof(type, prefix replication_factor),                                  \
         .has_presence = true,                                                                 \
         .presence_offset = offsetof(type, prefix has_replication_factor),                     \
         .is_nonzero = true,                                                                   \
         .min = 1},                                                                            \
        {.name = "write_consistency_factor",                                                   \
         .kind = JSON_KIND_U32,                                                                \
         .offset = offsetof(type, prefix write_consistency_factor),                            \
         .has_presence = true,                                                                 \
         .presence_offset = offsetof(type, prefix has_write_consistency_factor),               \
         .is_nonzero = true,                                                                   \
         .min = 1},                                                                            \
        {.name = "on_disk_payload",                                                            \
         .kind = JSON_KIND_BOOL,                                                               \
         .offset = offsetof(type, prefix on_disk_payload),                                     \
         .has_presence = true,                                                                 \
         .presence_offset = offsetof(type, prefix has_on_disk_payload)},                       \
        {.name = "sharding_method",                                                            \
         .kind = JSON_KIND_STRING,                                                             \
         .offset = offsetof(type, prefix sharding_method)},                                    \
    {                                                                                          \
        .name = "vectors", .kind = JSON_KIND_CUSTOM, .offset = offsetof(type, prefix vectors), \
        .custom = &vector_params_json                                                          \
    }

static const struct json_field params_fields[] = {
    PARAMS_ROWS(struct collection_params, ),
    {JSON_OPTIONAL(struct collection_params, read_fan_out_factor)},
    {JSON_OPTIONAL(struct collection_params, read_fan_out_delay_ms)},
};
static const struct json_shape params_shape =
    JSON_SHAPE("CollectionParams", struct collection_params, params_fields, .defaults = NULL);

static const struct json_field params_patch_fields[] = {
    {JSON_OPTIONAL(struct collection_params, replication_factor), .is_nonzero = true, .min = 1},
    {JSON_OPTIONAL(struct collection_params, write_consistency_factor), .is_nonzero = true,
     .min = 1},
    {JSON_OPTIONAL(struct collection_params, read_fan_out_factor)},
    {JSON_OPTIONAL(struct collection_params, read_fan_out_delay_ms)},
    {JSON_OPTIONAL(struct collection_params, on_disk_payload)},
};
static const struct json_shape params_patch_shape = JSON_SHAPE(
    "CollectionParamsDiff", struct collection_params, params_patch_fields, .defaults = NULL);

/* None are taken; whoever names none means no harm. */
static enum status sparse_read(struct json_reader *reader, void *member) {
    struct raw_json raw;
    (void)member;
    enum status status = json_read_raw(reader, &raw.text, &raw.length);
    if (status == STATUS_OK && strspn(raw.text, "{} \t\r\n") < raw.length)
        return json_reader_reject(reader, STATUS_BAD_REQUEST,
                                  "sparse vectors are not supported by this version");
    return status;
}

static const struct json_custom sparse_json = {
    .read = sparse_read,
    .schema = "{\"type\":\"object\",\"maxProperties\":0,\"nullable\":true}",
};

/* An object that is merged into the one that is there; null removes a key. */
static enum status merged_read(struct json_reader *reader, void *member) {
    struct raw_json *raw = member;
    struct json_text patch, merged;
    if (json_reader_peek(reader) != JSON_TYPE_OBJECT)
        return json_reader_fail(reader, "expected an object");
    enum status status = json_read_raw(reader, &patch.text, &patch.length);
    if (status != STATUS_OK)
        return status;
    const struct json_text present =
        raw->text ? (struct json_text){raw->text, raw->length} : (struct json_text){"{}", 2};
    status = payload_edit_merge(present, patch, reader->arena, &merged, reader->error);
    *raw = (struct raw_json){merged.text, merged.length};
    return status;
}

static void merged_write(struct json_writer *writer, const void *member) {
    const struct raw_json *raw = member;
    json_write_raw(writer, raw->text, raw->length);
}

static const struct json_custom merged_json = {
    .read = merged_read,
    .write = merged_write,
    .schema = "{\"type\":\"object\",\"nullable\":true,\"additionalProperties\":true}",
};

/* ---- The document ---------------------------------------------------------------------------- */

static const struct json_field document_fields[] = {
    {JSON_OBJECT(struct collection_document, params, params_shape)},
    {JSON_OBJECT(struct collection_document, hnsw_config, vector_params_hnsw_shape)},
    {JSON_OBJECT(struct collection_document, optimizer_config, optimizer_shape)},
    {JSON_OBJECT(struct collection_document, wal_config, wal_shape)},
    {JSON_CUSTOM(struct collection_document, quantization_config, vector_params_quantization_json),
     .is_pointer = true, .is_null_shown = true},
    {JSON_CUSTOM(struct collection_document, strict_mode_config, merged_json), .is_pointer = true},
    {JSON_CUSTOM(struct collection_document, metadata, merged_json), .is_pointer = true},
};
const struct json_shape collection_document_shape =
    JSON_SHAPE("CollectionConfig", struct collection_document, document_fields, .defaults = NULL);

#define IN_DOCUMENT(member) offsetof(struct collection_create, document.member)

static const struct json_field create_fields[] = {
    PARAMS_ROWS(struct collection_create, params.),
    {JSON_CUSTOM_WHOLE("sparse_vectors", sparse_json)},
    {.name = "hnsw_config",
     .kind = JSON_KIND_OBJECT,
     .offset = IN_DOCUMENT(hnsw_config),
     .item_size = sizeof(struct hnsw_settings),
     .shape = &vector_params_hnsw_shape},
    {.name = "optimizers_config",
     .alias = "optimizer_config",
     .kind = JSON_KIND_OBJECT,
     .offset = IN_DOCUMENT(optimizer_config),
     .item_size = sizeof(struct optimizer_settings),
     .shape = &optimizer_shape},
    {.name = "wal_config",
     .kind = JSON_KIND_OBJECT,
     .offset = IN_DOCUMENT(wal_config),
     .item_size = sizeof(struct wal_settings),
     .shape = &wal_shape},
    {.name = "quantization_config",
     .alias = "quantization",
     .kind = JSON_KIND_CUSTOM,
     .offset = IN_DOCUMENT(quantization_config),
     .custom = &vector_params_quantization_json},
    {.name = "strict_mode_config",
     .kind = JSON_KIND_CUSTOM,
     .offset = IN_DOCUMENT(strict_mode_config),
     .custom = &merged_json},
    {.name = "metadata",
     .kind = JSON_KIND_CUSTOM,
     .offset = IN_DOCUMENT(metadata),
     .custom = &merged_json},
};
const struct json_shape collection_create_shape =
    JSON_SHAPE("CreateCollection", struct collection_create, create_fields,
               .defaults = (&(const struct collection_create){
                   .document = {.hnsw_config = &default_hnsw,
                                .optimizer_config = &default_optimizer,
                                .wal_config = &default_wal},
                   .params = {.has_shard_number = true,
                              .shard_number = 1,
                              .has_replication_factor = true,
                              .replication_factor = 1,
                              .has_write_consistency_factor = true,
                              .write_consistency_factor = 1,
                              .has_on_disk_payload = true,
                              .on_disk_payload = true},
               }));

/* The vectors lie within params, which a body read by itself does not have. */
static enum status vectors_patch_read(struct json_reader *reader, void *member) {
    struct collection_document *document = member;
    struct vectors_params nothing = {.items = NULL};
    return vector_params_patch_json.read(reader,
                                         document->params ? &document->params->vectors : &nothing);
}

static const struct json_custom vectors_patch_json = {
    .read = vectors_patch_read,
    .schema = "{\"$ref\":\"#/components/schemas/VectorsConfigDiff\"}",
};

static const struct json_field patch_fields[] = {
    {JSON_CUSTOM_WHOLE("vectors", vectors_patch_json)},
    {JSON_CUSTOM_WHOLE("sparse_vectors", sparse_json)},
    {.name = "params",
     .kind = JSON_KIND_OBJECT,
     .offset = offsetof(struct collection_document, params),
     .item_size = sizeof(struct collection_params),
     .shape = &params_patch_shape},
    {JSON_OBJECT(struct collection_document, hnsw_config, vector_params_hnsw_shape)},
    {.name = "optimizers_config",
     .alias = "optimizer_config",
     .kind = JSON_KIND_OBJECT,
     .offset = offsetof(struct collection_document, optimizer_config),
     .item_size = sizeof(struct optimizer_settings),
     .shape = &optimizer_shape},
    {JSON_CUSTOM(struct collection_document, quantization_config, vector_params_quantization_json),
     .alias = "quantization"},
    {JSON_CUSTOM(struct collection_document, strict_mode_config, merged_json)},
    {JSON_CUSTOM(struct collection_document, metadata, merged_json)},
};
const struct json_shape collection_patch_shape =
    JSON_SHAPE("UpdateCollection", struct collection_document, patch_fields, .defaults = NULL);

/* ---- For storage ----------------------------------------------------------------------------- */

/* True if the graph is not to take memory that it can do without. `memory` goes before `on_disk`.
 */
static bool wants_disk(const struct hnsw_settings *settings) {
    return settings->memory ? strcmp(settings->memory, "cold") == 0 : settings->on_disk;
}

/* A vector's own settings go before the collection's; what is default is left to the engine, which
 * knows better than the figures that are shown for compatibility. */
static struct vector_config vector_config_of(const struct named_params *named,
                                             const struct collection_document *document) {
    const struct hnsw_settings *own = named->params.hnsw_config;
    const struct hnsw_settings *shared =
        document->hnsw_config ? document->hnsw_config : &default_hnsw;
    const struct quantization_settings *quantization = named->params.quantization_config;
    struct vector_config config = {
        .name = named->name,
        .dimension = (uint32_t)named->params.size,
        .distance = named->params.distance,
        .m = own && own->has_m ? own->m : shared->m,
        .ef_construct = own && own->has_ef_construct ? own->ef_construct : shared->ef_construct,
        .full_scan_threshold = own && own->has_full_scan_threshold ? own->full_scan_threshold
                                                                   : shared->full_scan_threshold,
        .profile =
            vector_params_profile(quantization ? quantization : document->quantization_config),
    };
    bool is_own = own && (own->memory || own->has_on_disk);
    if (config.profile == INDEX_PROFILE_AUTO && wants_disk(is_own ? own : shared))
        config.profile = INDEX_PROFILE_LEAN;
    if (config.m == default_hnsw.m)
        config.m = 0;
    if (config.ef_construct == default_hnsw.ef_construct)
        config.ef_construct = 0;
    return config;
}

enum status collection_shapes_config(const struct collection_document *document,
                                     const struct collection_config *present, struct arena *arena,
                                     struct collection_config *config, struct error *error) {
    const struct vectors_params *vectors = &document->params->vectors;
    struct json_writer writer;
    struct vector_config *configs = arena_alloc(arena, (vectors->count + 1) * sizeof(*configs));
    json_writer_init(&writer, arena);
    json_shape_write(&writer, &collection_document_shape, document);
    if (!configs || json_writer_finish(&writer) != STATUS_OK)
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    if (writer.length > COLLECTION_DOCUMENT_MAX)
        return error_set(error, STATUS_INVALID, "the configuration has more than %d bytes",
                         COLLECTION_DOCUMENT_MAX);
    for (size_t i = 0; i < vectors->count; i++) {
        const struct vector_config *before =
            present ? collection_config_vector(present, vectors->items[i].name) : NULL;
        configs[i] = vector_config_of(&vectors->items[i], document);
        configs[i].number = before ? before->number : 0;
    }
    *config = (struct collection_config){.vectors = configs,
                                         .vectors_count = vectors->count,
                                         .document = writer.text,
                                         .document_length = writer.length};
    return STATUS_OK;
}
