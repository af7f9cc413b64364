/* percent.h -- percent-encoding of URLs, undone. */
#ifndef PERCENT_H
#define PERCENT_H

#include "storage/arena.h"

#include <stdbool.h>
#include <stddef.h>

/* Decodes text into a NUL-terminated copy in the arena; in a query '+' is a space. *decoded is NULL
 * if the arena is full. False if a code is malformed, is NUL, or the result is not UTF-8. */
bool percent_decode(const char *text, size_t length, bool is_query, struct arena *arena,
                    char **decoded);

#endif
