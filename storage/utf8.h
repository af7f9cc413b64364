/* utf8.h -- is this text UTF-8? Pure; any thread. */
#ifndef UTF8_H
#define UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* True if the bytes are well-formed UTF-8 (Unicode table 3-7): no overlong forms, no surrogates,
 * nothing above U+10FFFF. NUL is a character like any other. */
bool utf8_is_valid(const char *text, size_t length);

#endif
