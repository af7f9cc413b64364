/* payload_edit.h -- how the payload operations change a payload's text.
 *
 * Pure functions of the old text and the edit, so that a write can be applied again and again with
 * the same outcome (invariant 7). What an edit does not touch stays byte for byte.
 */
#ifndef PAYLOAD_EDIT_H
#define PAYLOAD_EDIT_H

#include "storage/json_reader.h"
#include "storage/operation.h"

enum payload_edit_kind {
    PAYLOAD_EDIT_SET,       /* merge document; a null removes its key */
    PAYLOAD_EDIT_OVERWRITE, /* document is the new payload */
    PAYLOAD_EDIT_DELETE,    /* what lies at the paths */
    PAYLOAD_EDIT_CLEAR,
};

/* operation.edit_context; all memory is the request's. */
struct payload_edit {
    enum payload_edit_kind kind;
    struct json_text document; /* SET, OVERWRITE: an object */
    bool has_key;              /* SET: merge at key, not at the top */
    struct payload_path key;
    const struct payload_path *paths; /* DELETE; in the order of payload_delete.h */
    size_t paths_count;
};

/* operation.edit: applies operation->edit_context, a struct payload_edit. Writer thread. */
payload_edit_fn payload_edit_apply;

/* Merges patch into object, the way SET does at the top. Used for configuration documents too. */
MUST_CHECK enum status payload_edit_merge(struct json_text object, struct json_text patch,
                                          struct arena *arena, struct json_text *merged,
                                          struct error *error);

#endif
