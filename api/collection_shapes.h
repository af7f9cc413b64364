/* collection_shapes.h -- the configuration of a collection in JSON.
 *
 * The document that storage keeps, the body that creates a collection and the body that changes one
 * are shapes over the same struct, so that a creation is the defaults read over by the request, and
 * a change is the present document read over by the patch.
 */
#ifndef COLLECTION_SHAPES_H
#define COLLECTION_SHAPES_H

#include "api/json_shape.h"
#include "index/distance.h"
#include "storage/collection_config.h"

enum {
    COLLECTION_DIMENSION_MAX = 65536,
    COLLECTION_M_MAX = 512,
    COLLECTION_EF_CONSTRUCT_MIN = 4,
    COLLECTION_EF_CONSTRUCT_MAX = 10000,
};

struct hnsw_settings {
    bool has_m, has_ef_construct, has_full_scan_threshold, has_max_indexing_threads, has_on_disk,
        has_payload_m, has_inline_storage;
    uint32_t m, ef_construct;
    uint64_t full_scan_threshold; /* kilobytes */
    uint64_t max_indexing_threads, payload_m;
    bool on_disk, inline_storage;
    const char *memory;
};

struct optimizer_settings {
    double deleted_threshold;
    uint64_t vacuum_min_vector_number, default_segment_number;
    bool has_max_segment_size, has_memmap_threshold, has_indexing_threshold,
        has_max_optimization_threads, has_prevent_unoptimized;
    uint64_t max_segment_size, memmap_threshold, indexing_threshold; /* kilobytes */
    uint64_t flush_interval_sec;
    uint64_t max_optimization_threads;
    bool prevent_unoptimized;
};

struct wal_settings {
    uint64_t wal_capacity_mb, wal_segments_ahead, wal_retain_closed;
};

struct quantization_settings;

struct vector_params {
    uint64_t size;
    enum distance distance;
    struct hnsw_settings *hnsw_config;
    struct quantization_settings *quantization_config;
    bool has_on_disk, on_disk;
    const char *memory, *datatype;
    struct raw_json multivector_config;
};

struct vectors_params {
    struct named_params {
        const char *name;
        struct vector_params params;
    } * items;
    size_t count;
    bool is_unnamed; /* the parameters stand alone, not in a map of names */
};

struct collection_params {
    struct vectors_params vectors;
    bool has_shard_number, has_replication_factor, has_write_consistency_factor,
        has_read_fan_out_factor, has_read_fan_out_delay_ms, has_on_disk_payload;
    uint32_t shard_number, replication_factor, write_consistency_factor, read_fan_out_factor;
    uint64_t read_fan_out_delay_ms;
    bool on_disk_payload;
    const char *sharding_method;
};

struct collection_document {
    struct collection_params *params;
    struct hnsw_settings *hnsw_config;
    struct optimizer_settings *optimizer_config;
    struct wal_settings *wal_config;
    struct quantization_settings *quantization_config;
    struct raw_json strict_mode_config;
    struct raw_json metadata;
};

/* The document, as CollectionInfo shows it under "config". */
extern const struct json_shape collection_document_shape;

/* The body of PUT: a struct collection_create. */
struct collection_create {
    struct collection_document document;
    struct collection_params params; /* the members of params stand at the top of the body */
};
extern const struct json_shape collection_create_shape;

/* The body of PATCH, over a struct collection_document. */
extern const struct json_shape collection_patch_shape;

/* What storage needs of a document, and its text; memory of the arena. present: the configuration
 * that this one changes, whose vectors keep their numbers; NULL for a new collection. */
MUST_CHECK enum status collection_shapes_config(const struct collection_document *document,
                                                const struct collection_config *present,
                                                struct arena *arena,
                                                struct collection_config *config,
                                                struct error *error);

#endif
