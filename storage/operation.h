/* operation.h -- what a write is: one serialisable operation on one collection.
 *
 * The api builds it on a read worker, checked as far as that is possible without the collection's
 * state (shapes, dimensions, finite numbers; cosine vectors are already normalised). The writer
 * resolves the rest inside its transaction -- filters, existence of ids -- and applies it whole or
 * not at all. Applying needs no clock, no randomness, no network (invariant 7).
 *
 * All memory an operation points at is the request's arena and must live until write_job.done.
 */
#ifndef OPERATION_H
#define OPERATION_H

#include "storage/filter.h"
#include "storage/payload_index.h"
#include "storage/point_id.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct named_vector {
    const char *name; /* "": the unnamed vector */
    const float *values;
    size_t count;
};

struct point_input {
    struct point_id id;
    const struct named_vector *vectors; /* each name at most once */
    size_t vectors_count;
    const char *payload; /* a JSON object's text, or NULL: none */
    size_t payload_length;
};

/* Which points an operation is about: ids if filter is NULL. */
struct point_selector {
    const struct point_id *ids;
    size_t ids_count;
    const struct filter *filter;
};

/* How a payload changes: a function of the old text and the operation's document. The editor is
 * given by api (it edits JSON trees there); it must be deterministic. Writer thread. Returns the
 * new text in the arena (*edited NULL: no payload). */
struct operation;
typedef enum status payload_edit_fn(const struct operation *operation, const char *payload,
                                    size_t payload_length, struct arena *arena, const char **edited,
                                    size_t *edited_length, struct error *error);

enum operation_kind {
    OPERATION_UPSERT,       /* points: each replaces the whole point; the last of equal ids wins */
    OPERATION_DELETE,       /* selector */
    OPERATION_EDIT_PAYLOAD, /* selector, edit: set, overwrite, delete keys, clear */
    OPERATION_UPDATE_VECTORS, /* points: their vectors replace those of the same name */
    OPERATION_DELETE_VECTORS, /* selector, vector_names */
    OPERATION_CREATE_INDEX,   /* field */
    OPERATION_DROP_INDEX,     /* field.path */
};

enum upsert_mode {
    UPSERT_MODE_UPSERT,
    UPSERT_MODE_INSERT_ONLY,
    UPSERT_MODE_UPDATE_ONLY,
};

struct operation {
    enum operation_kind kind;
    const struct point_input *points; /* UPSERT, UPDATE_VECTORS */
    size_t points_count;
    enum upsert_mode mode;              /* UPSERT */
    const struct filter *update_filter; /* UPSERT, UPDATE_VECTORS: existing points must match */
    struct point_selector selector;
    payload_edit_fn *edit;           /* EDIT_PAYLOAD */
    const void *edit_context;        /* EDIT_PAYLOAD: the editor's own, in the arena */
    const char *const *vector_names; /* DELETE_VECTORS */
    size_t vector_names_count;
    struct payload_index_field field; /* CREATE_INDEX, DROP_INDEX */
};

#endif
