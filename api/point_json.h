/* point_json.h -- points in JSON: ids, vectors, payloads; read from requests, written to answers.
 */
#ifndef POINT_JSON_H
#define POINT_JSON_H

#include "api/json_shape.h"
#include "api/payload_select.h"
#include "storage/collection.h"
#include "storage/operation.h"

enum {
    POINT_JSON_DIMENSION_MAX = 65536,
};

/* ---- Reading --------------------------------------------------------------------------------- */

/* A struct point_id; a text is borrowed from the body or lies in the arena. */
extern const struct json_custom point_json_id;

/* The vectors of a point as they are sent, read into a struct point_input as a whole. One array (or
 * base64) is the vector of name "". */
extern const struct json_custom point_json_vectors;

/* One dense vector: a struct floats. */
extern const struct json_custom point_json_vector;

/* A key of shards, or a list of them: checked and ignored, one node has one shard. */
extern const struct json_custom point_json_shard_key;

/* An object, kept as its text: a struct raw_json. */
extern const struct json_custom point_json_payload;

/* An object that becomes a struct point_input. Without vectors it is refused. */
extern const struct json_shape point_json_point_shape;

/* The same for an update of vectors: it takes no payload. */
extern const struct json_shape point_json_point_vectors_shape;

/* ---- Writing --------------------------------------------------------------------------------- */

/* with_vector: true, false or a list of names. */
struct vector_select {
    bool all;
    const char *const *names; /* NULL: not a list */
    size_t count;
};
extern const struct json_custom point_json_vector_select;

/* What an answer shows of its points. */
struct point_view {
    struct reader *reader;
    struct arena *arena;
    struct error *error;
    const struct payload_select *payload;
    const struct vector_select *vectors;
};

/* Checks that the collection has the vectors that are to be shown. */
MUST_CHECK enum status point_json_check_view(const struct point_view *view);

void point_json_write_id(struct json_writer *writer, const struct point_id *id);

/* {"id", "payload"?, "vector"?} */
MUST_CHECK enum status point_json_write_record(const struct point_view *view,
                                               const struct point_row *row,
                                               struct json_writer *writer);

/* {"id", "version", "score", "payload"?, "vector"?} */
MUST_CHECK enum status point_json_write_scored(const struct point_view *view,
                                               const struct point_row *row, uint64_t version,
                                               float score, struct json_writer *writer);

#endif
