#include "storage/point_id.h"

#include "storage/utf8.h"

#include <assert.h>
#include <string.h>

/* Key form: the kind, then what orders ids within it.
 *   00 | u64 big-endian
 *   01 | 16 bytes of the UUID
 *   02 | 1 .. POINT_ID_TEXT_MAX bytes of UTF-8, none of them NUL
 * The kind is on disk, so it is written out here rather than taken from the enum. */
enum {
    KEY_NUMBER = 0,
    KEY_UUID = 1,
    KEY_TEXT = 2,
};

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Reads 32 hex digits, with hyphens after the 8th, 12th, 16th and 20th if the text has 36 bytes. */
static bool uuid_digits(const char *text, size_t length, uint8_t uuid[16]) {
    bool hyphenated = length == POINT_ID_UUID_TEXT;
    if (!hyphenated && length != 32)
        return false;
    for (size_t i = 0; i < 16; i++) {
        if (hyphenated && (i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-')
            return false;
        int high = hex_digit(text[0]), low = hex_digit(text[1]);
        if (high < 0 || low < 0)
            return false;
        uuid[i] = (uint8_t)(high * 16 + low);
        text += 2;
    }
    return true;
}

static bool uuid_from_text(const char *text, size_t length, uint8_t uuid[16]) {
    static const char urn[] = "urn:uuid:";
    const size_t urn_length = sizeof(urn) - 1;
    if (length == urn_length + POINT_ID_UUID_TEXT && memcmp(text, urn, urn_length) == 0)
        return uuid_digits(text + urn_length, POINT_ID_UUID_TEXT, uuid);
    if (length == POINT_ID_UUID_TEXT + 2 && text[0] == '{' && text[length - 1] == '}')
        return uuid_digits(text + 1, POINT_ID_UUID_TEXT, uuid);
    return uuid_digits(text, length, uuid);
}

/* What makes a text an id; also true of what comes from disk. */
static bool is_text_id(const char *text, size_t length) {
    return length > 0 && length <= POINT_ID_TEXT_MAX && !memchr(text, '\0', length) &&
           utf8_is_valid(text, length);
}

bool point_id_from_string(const char *text, size_t length, struct point_id *id) {
    *id = (struct point_id){.kind = POINT_ID_UUID};
    if (uuid_from_text(text, length, id->uuid))
        return true;
    *id = (struct point_id){.kind = POINT_ID_TEXT, .text = text, .text_length = length};
    return is_text_id(text, length);
}

size_t point_id_key(const struct point_id *id, uint8_t key[POINT_ID_KEY_MAX]) {
    switch (id->kind) {
    case POINT_ID_NUMBER:
        key[0] = KEY_NUMBER;
        for (int i = 0; i < 8; i++)
            key[1 + i] = (uint8_t)(id->number >> (56 - 8 * i));
        return 9;
    case POINT_ID_UUID:
        key[0] = KEY_UUID;
        memcpy(key + 1, id->uuid, 16);
        return 17;
    case POINT_ID_TEXT:
        break;
    }
    assert(id->kind == POINT_ID_TEXT);
    assert(id->text_length > 0 && id->text_length <= POINT_ID_TEXT_MAX);
    key[0] = KEY_TEXT;
    memcpy(key + 1, id->text, id->text_length);
    return 1 + id->text_length;
}

bool point_id_from_key(const void *key, size_t length, struct point_id *id) {
    const uint8_t *bytes = key;
    *id = (struct point_id){.kind = POINT_ID_NUMBER};
    if (length == 0)
        return false;
    switch (bytes[0]) {
    case KEY_NUMBER:
        if (length != 9)
            return false;
        for (int i = 0; i < 8; i++)
            id->number = id->number << 8 | bytes[1 + i];
        return true;
    case KEY_UUID:
        if (length != 17)
            return false;
        id->kind = POINT_ID_UUID;
        memcpy(id->uuid, bytes + 1, 16);
        return true;
    case KEY_TEXT:
        id->kind = POINT_ID_TEXT;
        id->text = (const char *)key + 1;
        id->text_length = length - 1;
        return is_text_id(id->text, id->text_length);
    default:
        return false;
    }
}

int point_id_compare(const struct point_id *a, const struct point_id *b) {
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    switch (a->kind) {
    case POINT_ID_NUMBER:
        return (a->number > b->number) - (a->number < b->number);
    case POINT_ID_UUID:
        return memcmp(a->uuid, b->uuid, sizeof(a->uuid));
    case POINT_ID_TEXT:
        break;
    }
    size_t shorter = a->text_length < b->text_length ? a->text_length : b->text_length;
    int order = memcmp(a->text, b->text, shorter);
    return order ? order : (a->text_length > b->text_length) - (a->text_length < b->text_length);
}

void point_id_uuid_text(const uint8_t uuid[16], char text[POINT_ID_UUID_TEXT]) {
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *text++ = '-';
        *text++ = digits[uuid[i] >> 4];
        *text++ = digits[uuid[i] & 15];
    }
}

bool point_id_copy(const struct point_id *id, struct arena *arena, struct point_id *copy) {
    *copy = *id;
    if (id->kind != POINT_ID_TEXT)
        return true;
    copy->text = arena_text(arena, id->text, id->text_length);
    return copy->text != NULL;
}
