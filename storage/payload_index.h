/* payload_index.h -- postings from payload values to slots, kept in the same transaction as rows.
 *
 * One mechanism for all types: the value is turned into bytes whose memcmp order is the values'
 * order, and a posting is (field, class, value bytes, slot). What an index holds is a function of
 * the payload text alone, the same that filter_matches() looks at, so an index cannot change an
 * answer. Layout: docs/FORMAT.md.
 */
#ifndef PAYLOAD_INDEX_H
#define PAYLOAD_INDEX_H

#include "index/status.h"
#include "storage/payload_path.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PAYLOAD_INDEXES_MAX = 256, /* of one collection */
    PAYLOAD_INDEX_PARAMS_MAX =
        16 * 1024, /* bytes of one's schema: each writer copies all of them */
};

/* One row per type: constant, API name, the class of values it posts. Integer and float post the
 * same: every number, exactly, with a mark for "written as an integer". */
#define PAYLOAD_INDEX_TABLE(X)    \
    X(KEYWORD, "keyword", STRING) \
    X(INTEGER, "integer", NUMBER) \
    X(FLOAT, "float", NUMBER)     \
    X(BOOL, "bool", BOOL)         \
    X(UUID, "uuid", STRING)       \
    X(DATETIME, "datetime", DATETIME)

enum payload_index_type {
#define PAYLOAD_INDEX_ENUM(name, text, class) PAYLOAD_INDEX_##name,
    PAYLOAD_INDEX_TABLE(PAYLOAD_INDEX_ENUM)
#undef PAYLOAD_INDEX_ENUM
    PAYLOAD_INDEX_TYPE_COUNT
};

struct payload_index_field {
    uint16_t number; /* key prefix on disk; given by storage, 0 is reserved for "all live slots" */
    enum payload_index_type type;
    struct payload_path path;
    const char *params; /* the schema as the user sent it, JSON text; NULL: just the type's name */
    size_t params_length;
    bool is_ready;      /* false while it is being built: queries must not use it */
    uint32_t next_slot; /* while building: slots below are posted */
};

const char *payload_index_type_name(enum payload_index_type type);

#endif
