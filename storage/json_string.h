/* json_string.h -- the bytes between two quotes of JSON: checked, found the end of, decoded.
 *
 * Pure functions over borrowed bytes; no allocation.
 */
#ifndef JSON_STRING_H
#define JSON_STRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Finds the closing quote of the string whose first byte (after the opening quote) is at `at`, and
 * checks all up to it: UTF-8, escapes, no bare control characters, no half of a surrogate pair.
 * Returns NULL and the reason if it is none; *bad is then where. */
const char *json_string_end(const char *at, const char *end, bool *has_escapes, const char **bad,
                            const char **reason);

/* Decodes bytes that json_string_end() accepted. out: room for as many bytes as there are, an
 * escape never decodes to more than it is written with. Returns the decoded length. */
size_t json_string_decode(const char *at, const char *end, char *out);

/* How many bytes from `at` on stand for themselves in a string: ASCII without quotes, backslashes
 * and control characters. */
size_t json_string_plain(const char *at, const char *end);

/* The length of the UTF-8 sequence at `at`, 0 if there is no valid one. */
size_t json_string_utf8(const char *at, const char *end);

#endif
