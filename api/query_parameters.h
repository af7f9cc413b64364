/* query_parameters.h -- what stands after '?' of a request.
 *
 * Names that no endpoint knows are ignored, as the API's clients expect. Values are checked also
 * where one node has no use for them (ordering, consistency).
 */
#ifndef QUERY_PARAMETERS_H
#define QUERY_PARAMETERS_H

#include "index/status.h"
#include "storage/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_writer;

enum {
    QUERY_PARAMETERS_MAX = 64, /* pairs of one request */
};

/* Which parameters an endpoint reads; a row of the route table says so. */
enum parameter_set {
    PARAMETERS_NONE,
    PARAMETERS_SERVICE,    /* anonymize, details_level, per_collection, timeout */
    PARAMETERS_READ,       /* timeout (seconds, not 0), consistency */
    PARAMETERS_WRITE,      /* wait, ordering, timeout */
    PARAMETERS_COLLECTION, /* timeout (1 or more) */
};

struct query_parameters {
    bool wait;
    bool has_timeout;
    uint64_t timeout_s;
    bool anonymize;
    bool per_collection;
    uint64_t details_level;
};

/* Reads the text, still percent-encoded. STATUS_QUERY_FORMAT, STATUS_QUERY_VALIDATION. */
MUST_CHECK enum status query_parameters_read(enum parameter_set set, const char *query,
                                             size_t length, struct arena *arena,
                                             struct query_parameters *parameters,
                                             struct error *error);

/* Writes the OpenAPI descriptions of a set's parameters, items of an array. */
void query_parameters_describe(struct json_writer *writer, enum parameter_set set);

#endif
