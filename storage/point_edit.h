/* point_edit.h -- how operations change points inside the writer's transaction.
 *
 * A point whose vectors change takes a new slot and leaves its old one to die; one whose payload
 * alone changes keeps its slot (invariant 6). Postings and vectors are collected in the context,
 * births and deaths noted in its change set.
 */
#ifndef POINT_EDIT_H
#define POINT_EDIT_H

#include "storage/write_context.h"

MUST_CHECK enum status point_edit_upsert(struct write_context *context,
                                         const struct operation *operation, struct error *error);
MUST_CHECK enum status point_edit_delete(struct write_context *context,
                                         const struct operation *operation, struct error *error);
MUST_CHECK enum status point_edit_payload(struct write_context *context,
                                          const struct operation *operation, struct error *error);
MUST_CHECK enum status point_edit_update_vectors(struct write_context *context,
                                                 const struct operation *operation,
                                                 struct error *error);
MUST_CHECK enum status point_edit_delete_vectors(struct write_context *context,
                                                 const struct operation *operation,
                                                 struct error *error);

#endif
