/* json_number.h -- from the text of a JSON number to its value, correctly rounded.
 *
 * A number is scanned once into up to 19 significant digits and a power of ten; most values follow
 * from these by a few exact operations, the rest by strtod(). Pure functions, no allocation.
 */
#ifndef JSON_NUMBER_H
#define JSON_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_number {
    uint64_t digits;  /* the first 19 significant digits */
    int64_t exponent; /* the value is about +-digits * 10^exponent */
    bool is_negative;
    bool is_integer;   /* written without fraction and exponent */
    bool is_truncated; /* there were more digits than fit; their places are in exponent */
};

/* Scans the number that starts at `at`; returns where it ends, or NULL if the text there does not
 * begin with a number of the JSON grammar. */
const char *json_number_scan(const char *at, const char *end, struct json_number *number);

/* The nearest f32; the text is that which was scanned. False if it is beyond what f32 can hold. */
bool json_number_to_f32(const struct json_number *number, const char *text, size_t length,
                        float *value);

/* Reads numbers that are each followed by a comma, with a space before them or none, as long as
 * they are written as most are, such as -0.1234567, and lie well before the end: much faster than
 * one by one. Returns where the first lies that must be scanned; *count is how many values were
 * read. */
const char *json_number_read_usual(const char *at, const char *end, float *values, size_t max,
                                   size_t *count);

/* The nearest double; false if it is beyond what a double can hold. */
bool json_number_to_f64(const struct json_number *number, const char *text, size_t length,
                        double *value);

/* Whole numbers, exactly; false if it is none or does not fit. */
bool json_number_to_u64(const struct json_number *number, const char *text, size_t length,
                        uint64_t *value);
bool json_number_to_i64(const struct json_number *number, const char *text, size_t length,
                        int64_t *value);

#endif
