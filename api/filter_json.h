/* filter_json.h -- the filter grammar: from JSON to storage's filters.
 *
 * Strict: a key that is not of the grammar is an error, since a misspelt condition must not match
 * everything. A new kind of condition is one row of the table in filter_json.c and one function.
 */
#ifndef FILTER_JSON_H
#define FILTER_JSON_H

#include "api/json_shape.h"
#include "storage/filter.h"

/* Reads a `const struct filter *`. */
extern const struct json_custom filter_json;

/* Schemas that the filter's refers to; they are not read by themselves. */
extern const struct json_custom filter_json_conditions;
extern const struct json_custom filter_json_condition;

#endif
