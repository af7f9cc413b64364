/* point_id.h -- the user's name of a point: a u64, a UUID or a text.
 *
 * Ids are ordered: numbers, then UUIDs, then texts bytewise. The key form below has that order
 * under memcmp, so LMDB keeps points sorted by id and a scroll is a walk of a cursor.
 */
#ifndef POINT_ID_H
#define POINT_ID_H

#include "index/status.h"
#include "storage/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    POINT_ID_TEXT_MAX = 255,                  /* bytes of UTF-8 */
    POINT_ID_KEY_MAX = 1 + POINT_ID_TEXT_MAX, /* kind byte, then the bytes */
    POINT_ID_UUID_TEXT = 36,                  /* 8-4-4-4-12 hex digits, lower case */
};

enum point_id_kind {
    POINT_ID_NUMBER,
    POINT_ID_UUID,
    POINT_ID_TEXT,
};

struct point_id {
    enum point_id_kind kind;
    uint64_t number;  /* NUMBER */
    uint8_t uuid[16]; /* UUID */
    const char *text; /* TEXT: borrowed, not NUL-terminated */
    size_t text_length;
};

/* Reads a string id: a UUID in any accepted form (32 hex digits, hyphenated, urn:uuid:, braces; any
 * case), else a text. False if it is empty, too long or holds a NUL. Borrows text. */
bool point_id_from_string(const char *text, size_t length, struct point_id *id);

/* Writes the key form; returns its length. */
size_t point_id_key(const struct point_id *id, uint8_t key[POINT_ID_KEY_MAX]);

/* Reads the key form, borrowing its text. False if it is none: keys come from disk. */
bool point_id_from_key(const void *key, size_t length, struct point_id *id);

int point_id_compare(const struct point_id *a, const struct point_id *b);

/* The canonical hyphenated lower-case text of a UUID id. */
void point_id_uuid_text(const uint8_t uuid[16], char text[POINT_ID_UUID_TEXT]);

/* A copy of id whose text lies in the arena. False when the arena is full. */
bool point_id_copy(const struct point_id *id, struct arena *arena, struct point_id *copy);

#endif
