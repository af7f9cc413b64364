/* json_members.h -- a JSON object or array as a list of the texts of its members.
 *
 * Documents that are edited stay text: members that an edit does not touch come out byte for byte,
 * numbers and escapes included. Texts are borrowed; lists lie in the arena.
 */
#ifndef JSON_MEMBERS_H
#define JSON_MEMBERS_H

#include "storage/json_reader.h"

struct json_member {
    struct json_text key;      /* decoded; empty in an array */
    struct json_text key_text; /* as written, with its quotes */
    struct json_text value;    /* as written */
};

struct json_members {
    struct json_member *items;
    size_t count;
};

/* Splits an object. STATUS_FORMAT if it is none. */
MUST_CHECK enum status json_members_of_object(struct json_text object, struct arena *arena,
                                              struct json_members *members, struct error *error);

/* Splits an array. */
MUST_CHECK enum status json_members_of_array(struct json_text array, struct arena *arena,
                                             struct json_members *members, struct error *error);

/* The first byte of the value says what it is. */
bool json_members_is_object(struct json_text value);
bool json_members_is_array(struct json_text value);
bool json_members_is_null(struct json_text value);

/* The last member of this name, which is the one that counts, or NULL. */
const struct json_member *json_members_find(const struct json_members *members,
                                            struct json_text key);

#endif
