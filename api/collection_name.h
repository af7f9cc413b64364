/* collection_name.h -- which names collections and vectors may have. */
#ifndef COLLECTION_NAME_H
#define COLLECTION_NAME_H

#include "index/status.h"

#include <stdbool.h>

/* A name that a path may ask for: 1 to 255 characters. STATUS_PATH_VALIDATION. */
MUST_CHECK enum status collection_name_check(const char *name, struct error *error);

/* A name that may be given to a new collection: none of <>:"/\|?*, no control character, neither
 * "." nor "..". STATUS_PATH_VALIDATION. */
MUST_CHECK enum status collection_name_check_new(const char *name, struct error *error);

/* The character that may not stand in names of vectors either, or 0 if there is none. */
char collection_name_bad_character(const char *name);

#endif
