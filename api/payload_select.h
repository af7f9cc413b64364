/* payload_select.h -- which part of a payload an answer shows: with_payload in all its forms.
 *
 *     true | false | ["a", "b.c", "d[].e"] | {"include": [...]} | {"exclude": [...]}
 */
#ifndef PAYLOAD_SELECT_H
#define PAYLOAD_SELECT_H

#include "api/json_shape.h"
#include "storage/payload_path.h"

enum {
    PAYLOAD_SELECT_PATHS_MAX = 1024,
};

enum payload_select_kind {
    PAYLOAD_SELECT_NONE,
    PAYLOAD_SELECT_ALL,
    PAYLOAD_SELECT_INCLUDE,
    PAYLOAD_SELECT_EXCLUDE,
};

struct payload_select {
    enum payload_select_kind kind;
    const struct payload_path *paths; /* INCLUDE, EXCLUDE */
    size_t count;
};

/* Reads a struct payload_select. */
extern const struct json_custom payload_select_json;

/* Writes the part of the payload that is selected; kind is not NONE. The payload was validated when
 * it was stored. Elements of arrays are chosen by `[]` only: `a[0]` selects nothing. */
MUST_CHECK enum status payload_select_write(const struct payload_select *select,
                                            struct json_text payload, struct arena *arena,
                                            struct json_writer *writer, struct error *error);

#endif
