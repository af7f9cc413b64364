/* filter_values.h -- what stands inside one condition of a filter: values, ranges, ids, paths. */
#ifndef FILTER_VALUES_H
#define FILTER_VALUES_H

#include "api/json_shape.h"
#include "storage/filter.h"

/* Each reads one member of a condition into it; kind says what it became. */
json_read_fn filter_values_match; /* {"value"|"any"|"except": ...} */
json_read_fn filter_values_range; /* numbers, or dates as text */
json_read_fn filter_values_count; /* values_count */
json_read_fn filter_values_has_id;
json_read_fn filter_values_has_vector;

MUST_CHECK enum status filter_values_path(struct json_reader *reader, struct payload_path *path);

#endif
