/* openapi.h -- the OpenAPI 3.0 document, made of the route table and its shapes. */
#ifndef OPENAPI_H
#define OPENAPI_H

#include "api/json_writer.h"

/* Writes the whole document. */
MUST_CHECK enum status openapi_write(struct json_writer *writer, struct arena *arena,
                                     struct error *error);

#endif
