/* status.h -- what every fallible function in this program returns.
 *
 * A function that can fail returns enum status and is marked MUST_CHECK. Where a person will read
 * the reason, it also takes a struct error as its last parameter: the function that first notices
 * the failure fills it in, everyone above passes it through untouched.
 *
 * Programmer errors are not statuses: they are assert()s, which stay on in release builds.
 */
#ifndef STATUS_H
#define STATUS_H

#include <stdarg.h>

#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

/* One row per status: its name, and its text for logs. api_error.c maps each to HTTP. */
#define STATUS_TABLE(X)                                  \
    X(OK, "ok")                                          \
    X(INVALID, "wrong input")                            \
    X(BAD_REQUEST, "bad request")                        \
    X(FORMAT, "format error in the body")                \
    X(QUERY_FORMAT, "format error in the query string")  \
    X(VALIDATION, "validation error in the body")        \
    X(QUERY_VALIDATION, "validation error in the query") \
    X(PATH_VALIDATION, "validation error in the path")   \
    X(NOT_FOUND, "not found")                            \
    X(CONFLICT, "already exists")                        \
    X(FORBIDDEN, "forbidden")                            \
    X(TOO_LARGE, "limit exceeded")                       \
    X(TIMEOUT, "timeout")                                \
    X(RATE_LIMITED, "too many requests")                 \
    X(UNAVAILABLE, "unavailable")                        \
    X(NO_SPACE, "no space left")                         \
    X(MAP_FULL, "the map of a data file is full")        \
    X(NO_MEMORY, "out of memory")                        \
    X(IO, "input/output error")                          \
    X(CORRUPT, "stored data is corrupt")                 \
    X(CANCELLED, "cancelled")

enum status {
#define STATUS_ENUM(name, text) STATUS_##name,
    STATUS_TABLE(STATUS_ENUM)
#undef STATUS_ENUM
};

enum {
    ERROR_MESSAGE_MAX = 1280, /* a collection name may take 1,020 bytes of it */
};

struct error {
    enum status status;
    char message[ERROR_MESSAGE_MAX]; /* a sentence without a full stop; may name a JSON path */
};

const char *status_text(enum status status);

/* Fills in error (which may be NULL) and returns status, so that callers can write
 * `return error_set(error, STATUS_INVALID, ...)`. */
enum status error_set(struct error *error, enum status status, const char *format, ...)
    PRINTF_LIKE(3, 4);

#endif
