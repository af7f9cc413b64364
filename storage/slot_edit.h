/* slot_edit.h -- giving a point a slot, and taking it away; the steps that point_edit is made of.
 */
#ifndef SLOT_EDIT_H
#define SLOT_EDIT_H

#include "storage/write_context.h"

/* One vector of a point. */
struct slot_vector {
    uint16_t ordinal;
    bool is_stored;      /* values are lent from the map, or a copy of such; else the request's */
    const float *values; /* to give: not in the map */
};

struct slot_vectors {
    struct slot_vector items[COLLECTION_VECTORS_MAX]; /* ascending ordinals */
    size_t count;
};

/* Finds the collection's vectors for the names; STATUS_INVALID for a name that does not exist. */
MUST_CHECK enum status slot_edit_named(struct write_context *context,
                                       const struct named_vector *named, size_t count,
                                       struct slot_vectors *vectors, struct error *error);

/* Reads the stored vectors of a row, lent from the map. */
MUST_CHECK enum status slot_edit_stored(struct write_context *context, const struct stored_row *row,
                                        struct slot_vectors *vectors, struct error *error);

/* True if both hold the same names with the same bits. */
bool slot_edit_same(const struct write_context *context, const struct slot_vectors *a,
                    const struct slot_vectors *b);

/* Writes the point into a slot of its own: id and payload of row are used, the rest is filled in.
 */
MUST_CHECK enum status slot_edit_give(struct write_context *context, struct stored_row *row,
                                      const struct slot_vectors *vectors, struct error *error);

/* Removes the row and its postings and notes the death. The id's entry is left. */
MUST_CHECK enum status slot_edit_take(struct write_context *context, const struct stored_row *row,
                                      struct error *error);

/* Rewrites the row in place with another payload. */
MUST_CHECK enum status slot_edit_payload(struct write_context *context,
                                         const struct stored_row *row, const char *payload,
                                         size_t payload_length, struct error *error);

/* Copies what the row borrows from the map into the arena of points. */
MUST_CHECK enum status slot_edit_keep(struct write_context *context, struct stored_row *row,
                                      struct error *error);

#endif
