/* routes.h -- the table of all endpoints; read routes.c first. */
#ifndef ROUTES_H
#define ROUTES_H

#include "api/query_parameters.h"
#include "index/status.h"
#include "storage/arena.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    ROUTE_ARGUMENTS_MAX = 3,
    ROUTE_SEGMENTS_MAX = 16, /* of a request's path */
};

enum route_access {
    ACCESS_PUBLIC, /* no key needed */
    ACCESS_READ,
    ACCESS_WRITE,
};

struct answer;
struct api_call;
struct json_shape;

/* A handler answers (read), or hands the call to a writer that will: after STATUS_OK it is no
 * longer the caller's. After any other status it still is, and unanswered. Memory: the call's
 * arena; a handler frees nothing. */
typedef enum status route_handler(struct api_call *call, const void *request);

struct route {
    const char *method;  /* "GET"; GET rows answer HEAD as well */
    const char *pattern; /* "/collections/{collection_name}/points/query" */
    enum route_access access;
    const struct json_shape *request; /* NULL: no body is read */
    const struct answer *answer;      /* for OpenAPI */
    route_handler *handle;
    const char *summary;           /* for OpenAPI */
    enum parameter_set parameters; /* what may stand in the query string */
};

/* The decoded values of {..} in the order of the pattern; arena memory, NUL-terminated. */
struct route_arguments {
    const char *values[ROUTE_ARGUMENTS_MAX];
    size_t count;
};

enum route_match {
    ROUTE_FOUND,
    ROUTE_NOT_FOUND,    /* 404, empty body */
    ROUTE_WRONG_METHOD, /* 405; allow lists the methods */
    ROUTE_BAD_PATH,     /* 400: bad percent code, NUL, not UTF-8, too many segments */
    ROUTE_NO_MEMORY,
};

/* Finds the route of a request path (without query, still percent-encoded). Slashes that are
 * doubled or trail are ignored. allow: room for the Allow header's text. Any thread; no I/O. */
enum route_match routes_match(const char *method, const char *path, size_t path_length,
                              struct arena *arena, const struct route **route,
                              struct route_arguments *arguments, char allow[64]);

extern const struct route routes[];
extern const size_t routes_count;

#endif
