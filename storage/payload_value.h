/* payload_value.h -- looking into a stored payload, which stays the JSON text that came in.
 *
 * A payload is walked in place, without building a tree and without allocating. Of a key that
 * stands twice in one object the last one counts. Texts were validated when they were stored
 * (strict JSON, UTF-8, depth), so walking cannot fail.
 *
 * Numbers are compared exactly, integers of 64 bits and doubles alike: a payload_number has the
 * order of the real numbers under memcmp of its key, so 2^53 + 1 is not 2^53 in match, range or
 * order, with an index or without.
 */
#ifndef PAYLOAD_VALUE_H
#define PAYLOAD_VALUE_H

#include "storage/payload_path.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PAYLOAD_NUMBER_KEY = 10, /* 8 bytes: the double below, in order; 2: what is above it */
};

/* A real number: key has the numbers' order. Integers from -2^63 to 2^64-1 and all finite doubles
 * are exact; other texts (1e400, more digits) are rounded to the nearest that is. */
struct payload_number {
    uint8_t key[PAYLOAD_NUMBER_KEY];
    bool is_integer; /* written without fraction or exponent, and exact: 5, not 5.0, not 1 << 64 */
};

enum payload_type {
    PAYLOAD_NULL,
    PAYLOAD_BOOL,
    PAYLOAD_NUMBER,
    PAYLOAD_STRING,
    PAYLOAD_ARRAY,
    PAYLOAD_OBJECT,
};

/* One value in a payload: its text, borrowed. */
struct payload_value {
    enum payload_type type;
    const char *text; /* from the first byte of the value */
    size_t length;
};

/* A decoded scalar that a filter compares with. */
struct payload_scalar {
    enum payload_type type; /* BOOL, NUMBER or STRING */
    bool boolean;
    struct payload_number number;
    const char *string; /* decoded bytes, may hold NUL */
    size_t string_length;
};

/* Calls visit for each value at the path (the steps `[]` fan out; a missing path gives none); stops
 * and returns true when visit does. */
typedef bool payload_visit_fn(void *context, const struct payload_value *value);
bool payload_each(const char *payload, size_t length, const struct payload_path *path,
                  payload_visit_fn *visit, void *context);

/* Like payload_each, but an array at the end of the path gives its elements (one level), which is
 * how match and range see it. */
bool payload_each_element(const char *payload, size_t length, const struct payload_path *path,
                          payload_visit_fn *visit, void *context);

/* Elements of an array value. */
bool payload_array_each(const struct payload_value *array, payload_visit_fn *visit, void *context);

/* Reads the value that starts at text (white space allowed in front). */
struct payload_value payload_value_at(const char *text, size_t length);

struct payload_number payload_number_from_text(const char *text, size_t length);
struct payload_number payload_number_from_i64(int64_t value);
struct payload_number payload_number_from_u64(uint64_t value);
struct payload_number payload_number_from_f64(double value); /* finite */
int payload_number_compare(const struct payload_number *a, const struct payload_number *b);

/* True if the string value (a JSON string text, with escapes) has exactly these decoded bytes. */
bool payload_string_equals(const struct payload_value *string, const char *bytes, size_t length);

/* Decodes a string value into out (room for value->length bytes); returns the decoded length. */
size_t payload_string_decode(const struct payload_value *string, char *out);

/* True if value equals scalar: same type and, for numbers, integer to integer only (5.0 is not 5).
 */
bool payload_value_equals(const struct payload_value *value, const struct payload_scalar *scalar);

/* The order of values and scalars, for sorted lists: by type, then false before true, numbers by
 * size (integers after what is equal and none), strings bytewise. 0 for two numbers of equal size
 * that are not integers both. value may be of any type. */
int payload_value_compare(const struct payload_value *value, const struct payload_scalar *scalar);
int payload_scalar_compare(const struct payload_scalar *a, const struct payload_scalar *b);

/* True if value is a string that payload_datetime_parse() takes. */
bool payload_value_datetime(const struct payload_value *value, int64_t *microseconds);

/* Reads a date as microseconds since 1970-01-01T00:00Z; what is finer is cut off. RFC 3339 and what
 * Qdrant takes beside it: time or zone may be missing (midnight, UTC), 'T' may be a space, seconds
 * and fraction may be missing where there is no zone, a zone may be +hh, +hhmm or UTC with a space
 * before it. Years 0000 to 9999. */
bool payload_datetime_parse(const char *text, size_t length, int64_t *microseconds);

#endif
