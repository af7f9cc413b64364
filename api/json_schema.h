/* json_schema.h -- the JSON Schema (OpenAPI 3.0 dialect) of shapes. */
#ifndef JSON_SCHEMA_H
#define JSON_SCHEMA_H

#include "api/json_shape.h"

struct json_writer;

enum {
    JSON_SCHEMA_COMPONENTS_MAX = 256,
};

/* The named schemas that a document refers to. */
struct json_schema_set {
    const struct json_shape *shapes[JSON_SCHEMA_COMPONENTS_MAX];
    size_t shapes_count;
    const struct json_custom *customs[JSON_SCHEMA_COMPONENTS_MAX];
    size_t customs_count;
};

/* Adds a shape and all that it refers to. */
void json_schema_collect(struct json_schema_set *set, const struct json_shape *shape);

/* Adds a named schema by itself. */
void json_schema_collect_custom(struct json_schema_set *set, const struct json_custom *custom);

/* Writes {"$ref": ...} to the shape's component. */
void json_schema_reference(struct json_writer *writer, const struct json_shape *shape);

/* Writes the reference to a named schema, or the schema in place. */
void json_schema_custom(struct json_writer *writer, const struct json_custom *custom);

/* Writes the components, an object by name. */
void json_schema_components(struct json_writer *writer, const struct json_schema_set *set);

#endif
