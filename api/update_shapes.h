/* update_shapes.h -- the bodies of writes to points, and the operations they become.
 *
 * One row of the table a kind of update. Each has an endpoint of its own and a name under which it
 * stands in points/batch; both read the same shape and build the same operation.
 */
#ifndef UPDATE_SHAPES_H
#define UPDATE_SHAPES_H

#include "api/json_shape.h"
#include "storage/operation.h"

enum {
    UPDATE_OPERATIONS_MAX = 1024, /* of one points/batch */
};

enum update_kind {
    UPDATE_UPSERT,
    UPDATE_DELETE,
    UPDATE_SET_PAYLOAD,
    UPDATE_OVERWRITE_PAYLOAD,
    UPDATE_DELETE_PAYLOAD,
    UPDATE_CLEAR_PAYLOAD,
    UPDATE_UPDATE_VECTORS,
    UPDATE_DELETE_VECTORS,
    UPDATE_KIND_COUNT
};

/* Builds the operation in the arena from what the shape read. */
typedef enum status update_build_fn(const void *request, struct arena *arena,
                                    struct operation *operation, struct error *error);

struct update_row {
    const char *name; /* in points/batch */
    const struct json_shape *shape;
    update_build_fn *build;
};
extern const struct update_row update_rows[UPDATE_KIND_COUNT];

/* The shapes of the endpoints; update_rows refers to them. */
extern const struct json_shape update_upsert_shape, update_selector_shape, update_payload_shape,
    update_payload_keys_shape, update_vectors_shape, update_vector_names_shape;

/* points/batch: operations in order. */
struct batch_item {
    enum update_kind kind;
    const void *request;
};

struct batch_request {
    struct batch_item *operations;
    size_t operations_count;
};
extern const struct json_shape update_batch_shape;

#endif
