/* update_columns.h -- the columnar form of an upsert: {"ids": [], "vectors": ..., "payloads": []}.
 */
#ifndef UPDATE_COLUMNS_H
#define UPDATE_COLUMNS_H

#include "api/json_shape.h"
#include "storage/operation.h"

/* The vectors of one name, one for each id. */
struct vector_column {
    const char *name;
    struct floats *values;
    size_t count;
};

struct vector_columns {
    struct vector_column *items;
    size_t count;
};

struct upsert_columns {
    struct point_id *ids;
    size_t ids_count;
    struct vector_columns vectors;
    struct raw_json *payloads; /* text NULL where the payload is null */
    size_t payloads_count;
};

extern const struct json_shape update_columns_shape;

/* Turns columns into points of the arena. STATUS_VALIDATION if lengths differ. */
MUST_CHECK enum status update_columns_points(const struct upsert_columns *columns,
                                             struct arena *arena, struct point_input **points,
                                             size_t *count, struct error *error);

#endif
